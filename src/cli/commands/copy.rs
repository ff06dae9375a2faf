//! `cp`: files out of a container, or into one. What goes where is decided as cp(1) and Docker do.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::pin::Pin;

use tokio::io::AsyncRead;

use crate::cli::args::CpArgs;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::render::table::bytes;
use crate::cli::terminal;
use crate::client::Client;
use crate::files::tree::{self, Found, FoundKind, Owner, Unpack};
use crate::files::{Beneath, FileError};
use crate::wire::verbs::{PathIn, PutArchive};

#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("one of the two is to be a path in a container: CONTAINER:PATH")]
    NoContainer,
    #[error("copying from one container into another is not supported")]
    TwoContainers,
    #[error("there is nothing at {path:?}")]
    Nothing { path: String },
    #[error("{path:?} is not a folder")]
    NoFolder { path: String },
    #[error("a folder cannot be copied over {path:?}, which is none")]
    FolderOverFile { path: String },
    #[error("the folder of {path:?} is not there")]
    NoParent { path: String },
    #[error("{path:?} is to be a folder, and there is none")]
    NoSuchFolder { path: String },
    #[error(transparent)]
    Tree(#[from] tree::TreeError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("a work thread ended before its work did")]
    Interrupted,
}

impl CopyError {
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoContainer => Some("a path of the host with a colon in it begins with `./` or `/`".into()),
            Self::TwoContainers => Some("setpoint cp ONE:PATH - | setpoint cp - OTHER:FOLDER".into()),
            _ => None,
        }
    }
}

enum Side<'a> {
    Container {
        name: &'a str,
        path: &'a str,
    },
    Host(&'a str),
    /// Standard input or output.
    Stream,
}

/// Docker's rule: a path of the host begins with `/` or `.`, or has no colon.
fn side(text: &str) -> Side<'_> {
    if text == "-" {
        return Side::Stream;
    }
    match text.split_once(':') {
        Some((name, path)) if !text.starts_with(['/', '.']) && !name.is_empty() => Side::Container { name, path },
        _ => Side::Host(text),
    }
}

pub(super) async fn copy(client: &Client, args: &CpArgs, output: Output) -> Result<i32, CliError> {
    match (side(&args.source), side(&args.destination)) {
        (Side::Container { name, path }, Side::Stream) => to_stream(client, args, name, path, output).await?,
        (Side::Container { name, path }, Side::Host(to)) => to_host(client, args, name, path, to, output).await?,
        (Side::Stream, Side::Container { name, path }) => {
            if std::io::stdin().is_terminal() {
                return Err(CliError::ArchiveFromTerminal);
            }
            let path = container_path(path);
            match client.look_in(name, &PathIn { path: path.clone(), follow: true }).await? {
                Some(Found { kind: FoundKind::Folder, .. }) => {}
                Some(_) => return Err(CopyError::NoFolder { path }.into()),
                None => return Err(CopyError::Nothing { path }.into()),
            }
            let tar = Box::pin(terminal::stdin().map_err(CliError::Input)?);
            client.copy_in(name, &PutArchive { path, owners: args.archive }, tar).await?;
        }
        (Side::Host(from), Side::Container { name, path }) => to_container(client, args, from, name, path, output).await?,
        (Side::Container { .. }, Side::Container { .. }) => return Err(CopyError::TwoContainers.into()),
        (Side::Host(_) | Side::Stream, Side::Host(_) | Side::Stream) => return Err(CopyError::NoContainer.into()),
    }
    Ok(0)
}

/// Paths begin at the container's root.
fn container_path(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// What a copy is of.
#[derive(Clone, Copy, Debug)]
struct Source<'a> {
    name: &'a str,
    is_folder: bool,
    /// Only what is in it.
    content: bool,
}

/// What there is where a copy goes.
#[derive(Clone, Copy, Debug)]
struct Destination<'a> {
    path: &'a str,
    /// Whether it is a folder; `None` when there is nothing.
    is_folder: Option<bool>,
}

/// The folder that an archive goes into, and what its first part is called there; empty is the folder itself.
fn place(source: Source<'_>, destination: Destination<'_>) -> Result<(PathBuf, String), CopyError> {
    let path = || destination.path.to_owned();
    let asks_for_folder = destination.path.ends_with('/') || destination.path.ends_with("/.") || destination.path == ".";
    match destination.is_folder {
        Some(true) if source.content => Ok((PathBuf::from(destination.path), String::new())),
        Some(true) => Ok((PathBuf::from(destination.path), source.name.to_owned())),
        Some(false) if source.is_folder => Err(CopyError::FolderOverFile { path: path() }),
        Some(false) if asks_for_folder => Err(CopyError::NoFolder { path: path() }),
        None if !source.is_folder && asks_for_folder => Err(CopyError::NoSuchFolder { path: path() }),
        Some(false) | None => {
            let trimmed = Path::new(destination.path.trim_end_matches('/'));
            let parent = match trimmed.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from(if destination.path.starts_with('/') { "/" } else { "." }),
            };
            let name = trimmed.file_name().map(|name| name.to_string_lossy().into_owned());
            Ok((parent, name.ok_or_else(|| CopyError::NoParent { path: path() })?))
        }
    }
}

fn asks_for_content(path: &str) -> bool {
    path.ends_with("/.") || path == "."
}

async fn to_stream(client: &Client, args: &CpArgs, name: &str, path: &str, output: Output) -> Result<(), CliError> {
    if output.live {
        return Err(CliError::ArchiveToTerminal);
    }
    let (_, mut tar) = client.copy_out(name, &PathIn { path: container_path(path), follow: args.follow_link }).await?;
    let mut out = terminal::stdout()?;
    tokio::io::copy(&mut tar, &mut out).await?;
    tokio::io::AsyncWriteExt::flush(&mut out).await?;
    Ok(())
}

async fn to_host(client: &Client, args: &CpArgs, name: &str, path: &str, to: &str, output: Output) -> Result<(), CliError> {
    let path = container_path(path);
    // A link with a slash behind it is the folder that it leads to, as everywhere.
    let follow = args.follow_link || path.ends_with('/');
    let (found, tar) = client.copy_out(name, &PathIn { path: path.clone(), follow }).await?;
    let is_folder = found.kind == FoundKind::Folder;
    let source = Source { name: &found.name, is_folder, content: is_folder && (asks_for_content(&path) || found.name == "/") };
    let is_there = std::fs::metadata(to).ok().map(|meta| meta.is_dir());
    let (folder, renamed) = place(source, Destination { path: to, is_folder: is_there })?;
    if !folder.is_dir() {
        return Err(CopyError::NoParent { path: to.to_owned() }.into());
    }
    let owner = if args.archive {
        Owner::AsArchived
    } else {
        Owner::Is { uid: rustix::process::geteuid().as_raw(), gid: rustix::process::getegid().as_raw() }
    };
    // The root of a container comes without a name that could be replaced.
    let keeps_names = found.name == "/" && renamed.is_empty();
    let reader = Blocking(tokio::runtime::Handle::current(), tar);
    let work = move || {
        let mut root = Beneath::open(&folder)?;
        let rename = (!keeps_names).then(|| OsStr::new(&renamed));
        if found.name == "/" && !keeps_names {
            // What comes is the content of a folder that is made for it.
            root.make_folder(Path::new(&renamed))?;
            let how = Unpack::new(Path::new(&renamed), owner);
            return Ok(tree::unpack(reader, &mut root, &how).map(drop)?);
        }
        Ok::<_, CopyError>(tree::unpack(reader, &mut root, &Unpack { rename, ..Unpack::new(Path::new(""), owner) }).map(drop)?)
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| CopyError::Interrupted)??;
    told(args, output, &format!("Copied {path} of {name} to {to}"));
    Ok(())
}

async fn to_container(
    client: &Client,
    args: &CpArgs,
    from: &str,
    name: &str,
    path: &str,
    output: Output,
) -> Result<(), CliError> {
    let follow = args.follow_link || from.ends_with('/');
    let look = if follow { std::fs::metadata(from) } else { std::fs::symlink_metadata(from) };
    let meta = look.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => CliError::from(CopyError::Nothing { path: from.to_owned() }),
        _ => FileError::new("look at", from, e).into(),
    })?;
    // What has no name of its own, such as `..`, is called as it really is.
    let real = std::fs::canonicalize(from).ok();
    let named = Path::new(from).file_name().or_else(|| real.as_deref().and_then(Path::file_name));
    let named = named.map_or_else(|| ".".to_owned(), |name| name.to_string_lossy().into_owned());
    let source = Source { name: &named, is_folder: meta.is_dir(), content: meta.is_dir() && asks_for_content(from) };
    let path = container_path(path);
    let there = client.look_in(name, &PathIn { path: path.clone(), follow: true }).await?;
    let is_folder = there.map(|found| found.kind == FoundKind::Folder);
    let (folder, renamed) = place(source, Destination { path: &path, is_folder })?;
    let parent = folder.to_string_lossy().into_owned();
    match client.look_in(name, &PathIn { path: parent.clone(), follow: true }).await? {
        Some(Found { kind: FoundKind::Folder, .. }) => {}
        _ => return Err(CopyError::NoParent { path }.into()),
    }
    let (writer, reader) = tokio::io::duplex(PIPE);
    let (source_path, entry) = (PathBuf::from(from), if renamed.is_empty() { ".".to_owned() } else { renamed });
    let handle = tokio::runtime::Handle::current();
    let packing = tokio::task::spawn_blocking(move || {
        // Every path of the host may be meant, so the root is the host's; a relative one begins here.
        let source_path = std::path::absolute(&source_path).map_err(|e| FileError::new("find", &source_path, e))?;
        let root = Beneath::open(Path::new("/"))?;
        let mut writer = BlockingWriter(handle, writer);
        Ok::<_, tree::TreeError>(tree::pack(&root, &source_path, OsStr::new(&entry), follow, None, &mut writer)?.bytes)
    });
    let tar: Pin<Box<dyn AsyncRead + Send>> = Box::pin(reader);
    let sent = client.copy_in(name, &PutArchive { path: parent, owners: args.archive }, tar).await;
    let packed = packing.await.map_err(|_| CopyError::Interrupted)?;
    // What the engine says comes first: a pipe that breaks is what its refusal looks like from here.
    sent?;
    let size = packed.map_err(CopyError::from)?;
    told(args, output, &format!("Copied {} to {name}:{path}", bytes(size)));
    Ok(())
}

/// Bytes that are under way at most.
const PIPE: usize = 256 << 10;

fn told(args: &CpArgs, output: Output, text: &str) {
    if !args.quiet && output.error_live {
        output.note(text);
    }
}

/// What comes asynchronously, for a thread that may block.
struct Blocking<R>(tokio::runtime::Handle, R);

impl<R: AsyncRead + Unpin> std::io::Read for Blocking<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.block_on(tokio::io::AsyncReadExt::read(&mut self.1, buffer))
    }
}

pub(super) struct BlockingWriter<W>(pub(super) tokio::runtime::Handle, pub(super) W);

impl<W: tokio::io::AsyncWrite + Unpin> std::io::Write for BlockingWriter<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.block_on(tokio::io::AsyncWriteExt::write(&mut self.1, buffer))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.block_on(tokio::io::AsyncWriteExt::flush(&mut self.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_told_apart() {
        assert!(matches!(side("c:/x"), Side::Container { name: "c", path: "/x" }));
        assert!(matches!(side("c:x"), Side::Container { name: "c", path: "x" }));
        assert!(
            matches!(side("./a:b"), Side::Host(_)) && matches!(side("/a:b"), Side::Host(_)) && matches!(side("a"), Side::Host(_))
        );
        assert!(matches!(side("-"), Side::Stream));
    }

    #[test]
    fn places_are_those_of_docker() {
        let source = |is_folder, content| Source { name: "s", is_folder, content };
        let (file, folder, content) = (source(false, false), source(true, false), source(true, true));
        let to = |path, is_folder| Destination { path, is_folder };
        let ok = |path: &str, name: &str| Some((PathBuf::from(path), name.to_owned()));
        for (source, destination, expected) in [
            (file, to("/d", Some(true)), ok("/d", "s")),
            (file, to("/d/f", Some(false)), ok("/d", "f")),
            (file, to("/d/new", None), ok("/d", "new")),
            (file, to("/d/new/", None), None),
            (file, to("/d/f/", Some(false)), None),
            (file, to("new", None), ok(".", "new")),
            (folder, to("/d", Some(true)), ok("/d", "s")),
            (folder, to("/d/new", None), ok("/d", "new")),
            (folder, to("/d/new/", None), ok("/d", "new")),
            (folder, to("/d/f", Some(false)), None),
            (content, to("/d", Some(true)), ok("/d", "")),
            (content, to("/d/new", None), ok("/d", "new")),
            (file, to(".", Some(true)), ok(".", "s")),
            (file, to("/new", None), ok("/", "new")),
        ] {
            assert_eq!(place(source, destination).ok(), expected, "{source:?} {destination:?}");
        }
    }
}
