//! A folder as a canonical tar: the same folder gives the same bytes, wherever and whenever. Also the fingerprint that
//! tells cheaply whether a source has changed. Knows nothing of images.
//!
//! Entries are sorted by name, owners are numeric, times have nanoseconds, hard links point to the first name.
//! Refused in an image: names that layers give a meaning to. Left out: sockets, which no archive can hold.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

use super::ahead::gather;
use super::facts::Fresh;
use super::found::{Content, Found, walk};
use super::{pax, seal};
use crate::files::FileError;
use crate::model::Digest;

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} cannot be in an image: names that start with `.wh.` mean a deleted file there", .0.display())]
    Whiteout(PathBuf),
    #[error("{} changed while it was read", .0.display())]
    Changed(PathBuf),
    #[error("write the archive: {0}")]
    Write(io::Error),
}

/// Digest over what tells that a source changed: a file's bytes; of a folder, every entry's path, kind, mode, owner,
/// size, time of change and target.
pub(in crate::engine::images) fn fingerprint(path: &Path) -> Result<Digest, TreeError> {
    let is_folder = fs::metadata(path).map_err(|e| FileError::new("read", path, e))?.is_dir();
    let mut hash = Sha256::new();
    if !is_folder {
        let mut file = File::open(path).map_err(|e| FileError::new("open", path, e))?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer).map_err(|e| FileError::new("read", path, e))? {
                0 => return Ok(Digest::from_bytes(hash.finalize().into())),
                n => hash.update(&buffer[..n]),
            }
        }
    }
    walk(path, Form::Image, false, &mut |found| {
        let is = &found.facts;
        let size = if is.kind.is_file() { is.size } else { 0 };
        let facts: [i64; 8] = [
            is.mode.into(),
            is.uid.into(),
            is.gid.into(),
            size.cast_signed(),
            is.modified.0,
            is.modified.1,
            is.number.cast_signed(),
            found.link.as_bytes().len() as i64,
        ];
        hash.update((found.name.len() as u64).to_le_bytes());
        hash.update(&found.name);
        facts.iter().for_each(|fact| hash.update(fact.to_le_bytes()));
        hash.update(found.link.as_bytes());
        Ok(())
    })?;
    Ok(Digest::from_bytes(hash.finalize().into()))
}

/// What a tree is written as.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::images) enum Form<'a> {
    /// The whole of an image.
    Image,
    /// The upper folder of an overlay, as a layer. Its root's time is none of the content's, and mount points are left out
    /// that were made for a container: empty files and folders at these paths.
    Layer { mount_points: &'a BTreeSet<PathBuf> },
    /// The same of a folder that is to be the layer itself, and that nobody else has any more: it becomes what unpacking the
    /// tar would make. Nothing in it is newer than `epoch`, in seconds since 1970. What is `fresh` is not read.
    Sealed { epoch: Option<i64>, fresh: &'a Fresh },
    /// What a container sees, which may go on changing.
    Export,
}

impl Form<'_> {
    /// Whether it is what changed on top of other layers.
    const fn is_difference(self) -> bool {
        matches!(self, Self::Layer { .. } | Self::Sealed { .. })
    }
}

/// Where a tree's tar goes.
pub(in crate::engine::images) trait Output: Write {
    /// The next `length` bytes are what the file at `path`, from the root, has from its beginning.
    fn content(&mut self, path: &Path, length: u64) -> Result<(), FileError>;

    /// The next entry hides something of the layers below.
    fn hides(&mut self) {}
}

/// One to which it does not matter what is in a file.
pub(in crate::engine::images) struct Plain<W>(pub(in crate::engine::images) W);

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Output for Plain<W> {
    fn content(&mut self, _: &Path, _: u64) -> Result<(), FileError> {
        Ok(())
    }
}

/// Writes the folder `root` as a tar to `output`. A thread of its own looks at the files and reads them ahead.
pub(in crate::engine::images) fn write_tree(root: &Path, form: Form<'_>, output: &mut impl Output) -> Result<(), TreeError> {
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let (found, written) = gather(
        |visit| walk(root, form, true, &mut |mut found| if settled(&mut found, form)? { visit(found) } else { Ok(()) }),
        |mut found| one(&mut found, form, &mut first_names, output),
    );
    // What went wrong here has ended the walk too.
    written?;
    found?;
    // The end of an archive is two empty blocks.
    output.write_all(&[0; 1024]).map_err(TreeError::Write)
}

/// Whether it belongs into an archive at all. What is sealed becomes what the archive says of it.
fn settled(found: &mut Found, form: Form<'_>) -> Result<bool, TreeError> {
    if let Form::Sealed { epoch, .. } = form
        && !seal::settle(found, epoch)?
    {
        return Ok(false);
    }
    if found.facts.kind.is_socket() {
        tracing::warn!(path = %found.path.display(), "a socket is left out of the archive");
        return Ok(false);
    }
    Ok(true)
}

fn one(
    found: &mut Found,
    form: Form<'_>,
    first_names: &mut HashMap<(u64, u64), Vec<u8>>,
    output: &mut impl Output,
) -> Result<(), TreeError> {
    let kind = found.facts.kind;
    if form.is_difference() && kind.is_char_device() && found.facts.number == 0 {
        return whiteout(&found.name, output);
    }
    if let Form::Layer { mount_points } = form
        && (found.is_empty_folder || (kind.is_file() && found.facts.size == 0))
        && mount_points.contains(Path::new(OsStr::from_bytes(&found.name)))
    {
        return Ok(());
    }
    let named = found.path.file_name().filter(|_| found.name != b"./");
    if !matches!(form, Form::Export) && named.is_some_and(|n| n.as_bytes().starts_with(b".wh.")) {
        return Err(TreeError::Whiteout(found.path.clone()));
    }
    let identity = found.facts.identity;
    let link = match first_names.get(&identity) {
        Some(first) => Some(first.clone()),
        None => {
            if !kind.is_dir() && found.facts.names > 1 {
                first_names.insert(identity, found.name.clone());
            }
            None
        }
    };
    entry(found, form, link, output)?;
    if form.is_difference() && kind.is_dir() && found.is_opaque() {
        let folder = if found.name == b"./" { b"".as_slice() } else { &found.name };
        mark(&[folder, b".wh..wh..opq"].concat(), output)?;
    }
    Ok(())
}

fn entry(found: &mut Found, form: Form<'_>, hardlink: Option<Vec<u8>>, output: &mut impl Output) -> Result<(), TreeError> {
    let facts = &found.facts;
    let kind = facts.kind;
    let mut header = Header::new_ustar();
    let mut records = Vec::new();
    let target = hardlink.as_deref().unwrap_or(found.link.as_bytes());
    header.set_entry_type(match () {
        () if hardlink.is_some() => EntryType::Link,
        () if kind.is_dir() => EntryType::Directory,
        () if kind.is_symlink() => EntryType::Symlink,
        () if kind.is_char_device() => EntryType::Char,
        () if kind.is_block_device() => EntryType::Block,
        () if kind.is_fifo() => EntryType::Fifo,
        () => EntryType::Regular,
    });
    let size = if kind.is_file() && hardlink.is_none() { facts.size } else { 0 };
    if !place(&mut header.as_old_mut().name, &found.name) {
        records.extend(pax::record(b"path", &found.name));
    }
    if !place(&mut header.as_old_mut().linkname, target) {
        records.extend(pax::record(b"linkpath", target));
    }
    let wide = |records: &mut Vec<u8>, key: &str, value: u64, most: u64| {
        if value > most {
            records.extend(pax::record(key.as_bytes(), value.to_string().as_bytes()));
        }
        value.min(most)
    };
    header.set_mode(facts.mode & 0o7777);
    header.set_uid(wide(&mut records, "uid", facts.uid.into(), 0o7_777_777));
    header.set_gid(wide(&mut records, "gid", facts.gid.into(), 0o7_777_777));
    header.set_size(wide(&mut records, "size", size, 0o77_777_777_777));
    let timeless = form.is_difference() && found.name == b"./";
    let (seconds, nanoseconds) = if timeless { (0, 0) } else { facts.modified };
    header.set_mtime(u64::try_from(seconds).unwrap_or(0).min(0o77_777_777_777));
    if nanoseconds != 0 || !(0..=0o77_777_777_777).contains(&seconds) {
        records.extend(pax::record(b"mtime", decimal_time(seconds, nanoseconds).as_bytes()));
    }
    if (kind.is_char_device() || kind.is_block_device())
        && let Some(ustar) = header.as_ustar_mut()
    {
        ustar.set_device_major(major(facts.number));
        ustar.set_device_minor(minor(facts.number));
    }
    if hardlink.is_none() {
        for (name, value) in found.attributes.iter().filter(|(name, _)| !is_of_host(name)) {
            records.extend(pax::xattr(name, value));
        }
    }
    if !records.is_empty() {
        extension(&records, output)?;
    }
    header.set_cksum();
    output.write_all(header.as_bytes()).map_err(TreeError::Write)?;
    if size > 0 {
        output.content(Path::new(OsStr::from_bytes(&found.name)), size)?;
        copy(found, size, form, output)?;
        pad(size, output)?;
    }
    Ok(())
}

fn extension(records: &[u8], output: &mut impl Output) -> Result<(), TreeError> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::XHeader);
    place(&mut header.as_old_mut().name, b"pax");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(records.len() as u64);
    header.set_cksum();
    output.write_all(header.as_bytes()).map_err(TreeError::Write)?;
    output.write_all(records).map_err(TreeError::Write)?;
    pad(records.len() as u64, output)
}

/// Exactly `size` bytes of the file: the header has promised them.
fn copy(found: &mut Found, size: u64, form: Form<'_>, output: &mut impl Output) -> Result<(), TreeError> {
    let changes = matches!(form, Form::Export);
    let path = &found.path;
    let mut file: Box<dyn Read> = match std::mem::take(&mut found.content) {
        Content::Read(bytes) if bytes.len() as u64 == size => return output.write_all(&bytes).map_err(TreeError::Write),
        Content::Read(bytes) => Box::new(io::Cursor::new(bytes)),
        Content::Open(file) => Box::new(file),
        Content::None => Box::new(io::empty()),
    };
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(256 << 10)];
    let mut left = size;
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        match file.read(&mut buffer[..most]).map_err(|e| FileError::new("read", path, e))? {
            0 if changes => {
                tracing::warn!(path = %path.display(), "it became shorter while it was read, and is filled up with zeros");
                file = Box::new(io::repeat(0));
            }
            0 => return Err(TreeError::Changed(path.clone())),
            n => {
                output.write_all(&buffer[..n]).map_err(TreeError::Write)?;
                left -= n as u64;
            }
        }
    }
    Ok(())
}

fn pad(size: u64, output: &mut impl Output) -> Result<(), TreeError> {
    let padding = (size.next_multiple_of(512) - size) as usize;
    output.write_all(&[0; 512][..padding]).map_err(TreeError::Write)
}

/// Says that what has this name in the layers below is not there.
fn whiteout(name: &[u8], output: &mut impl Output) -> Result<(), TreeError> {
    output.hides();
    let start = name.iter().rposition(|b| *b == b'/').map_or(0, |slash| slash + 1);
    mark(&[&name[..start], b".wh.", &name[start..]].concat(), output)
}

/// An empty file whose name is all that it says.
fn mark(name: &[u8], output: &mut impl Output) -> Result<(), TreeError> {
    let mut header = Header::new_ustar();
    if !place(&mut header.as_old_mut().name, name) {
        extension(&pax::record(b"path", name), output)?;
    }
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    header.set_mtime(0);
    header.set_cksum();
    output.write_all(header.as_bytes()).map_err(TreeError::Write)
}

/// Puts `text` into a field, cut when it is too long; then false.
fn place(field: &mut [u8], text: &[u8]) -> bool {
    let most = text.len().min(field.len());
    field[..most].copy_from_slice(&text[..most]);
    text.len() <= field.len() && text.is_ascii()
}

fn decimal_time(seconds: i64, nanoseconds: i64) -> String {
    // -1.25 s is stored as -2 s and 750,000,000 ns.
    let (sign, whole, rest) = if seconds < 0 && nanoseconds > 0 {
        ("-", seconds.unsigned_abs() - 1, 1_000_000_000 - nanoseconds)
    } else if seconds < 0 {
        ("-", seconds.unsigned_abs(), 0)
    } else {
        ("", seconds.unsigned_abs(), nanoseconds)
    };
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:09}") }
}

/// Whether an attribute belongs to this host's file system rather than to the content.
fn is_of_host(name: &[u8]) -> bool {
    name.starts_with(b"trusted.") || name == b"security.selinux" || name.starts_with(b"user.overlay.")
}
