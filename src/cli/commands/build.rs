//! `build`: the request from the flags, the build as it is shown, and what comes of it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::signal::unix::{SignalKind, signal};

use super::Prepared;
use super::copy::BlockingWriter;
use super::registries::credentials;
use crate::cli::args::BuildArgs;
use crate::cli::build::show::{Show, TICK};
use crate::cli::build::upload::{self, UploadError};
use crate::cli::build::{self, Asked, BuildArgsError, Inputs, check};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::spec::Surroundings;
use crate::cli::{render, terminal};
use crate::client::{ByteStream, Client, ClientError, Events};
use crate::engine::images::Registries;
use crate::files::{self, FileError};
use crate::model::build::{BuildRequest, ContextSource, DockerfileSource};
use crate::model::{Digest, ImageRef, Signal};
use crate::wire::build::{Build as Request, BuildLine, Seen};
use crate::wire::native::{Credentials, ErrorKind};

/// A check needs no engine. For a build nothing is read yet: an ordinary user's command may have to begin anew elsewhere, and
/// what was read of standard input by then would be lost.
pub(super) fn prepare(args: Box<BuildArgs>, output: Output) -> Result<Prepared, CliError> {
    if !args.check {
        return Ok(Prepared::Build(args));
    }
    with_inputs(Spool::path(), |inputs| checked(&args, inputs, output)).map(Prepared::Done)
}

/// Hands on what flags refer to.
fn with_inputs<T>(folder: PathBuf, work: impl FnOnce(&mut Inputs<'_>) -> Result<T, CliError>) -> Result<T, CliError> {
    let around = Surroundings::of_this_process().map_err(CliError::Surroundings)?;
    let input = std::io::stdin();
    // Not the buffered one: what is not read here is the upload.
    let mut stdin = File::from(input.as_fd().try_clone_to_owned().map_err(CliError::Input)?);
    let spool = folder.join(RESULT);
    work(&mut Inputs { around: &around, stdin: &mut stdin, stdin_is_terminal: input.is_terminal(), spool })
}

/// The file in a spool.
const RESULT: &str = "result";

/// 1 where something is wrong.
fn checked(args: &BuildArgs, inputs: &mut Inputs<'_>, output: Output) -> Result<i32, CliError> {
    let found = check::check(args, inputs)?;
    for problem in &found.warnings {
        output.warning(problem.render(output.error_colour));
    }
    for name in &found.unused_arguments {
        output.warning(format!("no ARG asks for the build argument {name}"));
    }
    for problem in &found.errors {
        output.error(&problem.render(output.error_colour), None);
    }
    match (found.errors.len(), found.warnings.len() + found.unused_arguments.len()) {
        (0, 0) => output.line("Check complete, no warnings found.")?,
        (0, warnings) => output.line(format!("Check complete, warnings: {warnings}"))?,
        (errors, warnings) => output.line(format!("Check failed, errors: {errors}, warnings: {warnings}"))?,
    }
    Ok(i32::from(!found.errors.is_empty()))
}

pub(super) async fn build(client: &Client, args: BuildArgs, output: Output) -> Result<i32, CliError> {
    let folder = Spool::path();
    let asked = with_inputs(folder.clone(), |inputs| Ok(build::asked(&args, inputs)?))?;
    let Asked { request, paths, upload, to_stdout } = asked;
    if to_stdout && std::io::stdout().is_terminal() {
        return Err(CliError::ArchiveToTerminal);
    }
    let mut show = Show::new(args.progress, args.quiet, to_stdout, output)?;
    let spool = to_stdout.then(|| Spool::make(folder)).transpose()?;
    let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
    let seen = paths.into_iter().map(|path| Seen::at(path.clone()).map_err(|e| FileError::new("look at", path, e)));
    let logins = logins(client, &request).await?;
    let request = Request { request, seen: seen.collect::<Result<_, _>>()?, logins };
    // A file that is there from an older build must not be taken for this one's.
    if let Some(path) = &args.iidfile {
        files::remove_all(path)?;
    }
    let upload = upload.map(rest_of_stdin).transpose()?;
    let Built { digest, pushed } = match client.build(&request, upload).await {
        Ok(events) => follow(client, events, &mut show).await?,
        Err(error) if is_elsewhere(&error) => elsewhere(client, request, error, &mut show).await?,
        Err(error) => return Err(error.into()),
    };
    if let Some(spool) = spool {
        spool.write_out().await?;
    }
    let text = digest.map(|digest| digest.to_string());
    if let (Some(path), Some(digest)) = (&args.iidfile, &text) {
        files::publish(path, digest.as_bytes(), 0o644)?;
    }
    if let Some(path) = &args.metadata_file {
        // What others are to pull is what was pushed.
        let digest = pushed.values().next().map(ToString::to_string).or_else(|| text.clone());
        let metadata = json!({"containerimage.digest": digest, "image.name": names.join(",")});
        files::publish(path, &serde_json::to_vec_pretty(&metadata).map_err(CliError::Encode)?, 0o644)?;
    }
    if show.sums_up() {
        let summary = render::build::summary(text.as_deref(), &names, show.took(), show.tally(), output.error_colour);
        output.note(summary);
    }
    if let (true, Some(digest)) = (args.quiet && !to_stdout, &text) {
        output.line(digest)?;
    }
    Ok(0)
}

/// What this user has stored for the registries that the build has to do with; all that is stored, where those cannot be told.
async fn logins(client: &Client, request: &BuildRequest) -> Result<Vec<Credentials>, CliError> {
    if client.is_embedded() {
        return Ok(Vec::new());
    }
    let reached = build::logins::reached(request);
    let mut registries = reached.registries;
    if !reached.are_all {
        let stored = Registries::from_environment().stored().map_err(|source| CliError::Registry(source.into()))?;
        registries.extend(stored);
    }
    let mut all = Vec::new();
    for registry in &registries {
        all.extend(credentials(client, registry).await?);
    }
    Ok(all)
}

/// What has come of a build.
struct Built {
    digest: Option<Digest>,
    pushed: BTreeMap<ImageRef, Digest>,
}

/// Shows the build until it is over.
async fn follow(client: &Client, mut events: impl Events<BuildLine>, show: &mut Show) -> Result<Built, CliError> {
    let caught = |kind| signal(kind).map_err(CliError::Signals);
    let (mut interrupted, mut terminated) = (caught(SignalKind::interrupt())?, caught(SignalKind::terminate())?);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let result = loop {
        let line = tokio::select! {
            line = events.next() => line,
            _ = ticks.tick(), if show.ticks() => {
                show.tick()?;
                continue;
            }
            Some(()) = interrupted.recv() => break Err(CliError::Interrupted(Signal::INT)),
            Some(()) = terminated.recv() => break Err(CliError::Interrupted(Signal::TERM)),
        };
        match line.transpose() {
            Ok(Some(BuildLine::Event(event))) => show.tell(&event)?,
            Ok(Some(BuildLine::Alive)) => {}
            Ok(Some(BuildLine::Done { digest, pushed })) => break Ok(Built { digest, pushed }),
            Ok(None) => break Err(ClientError::Ended.into()),
            Err(error) => break Err(error.into()),
        }
    };
    show.end(result.is_err())?;
    drop(events);
    if client.is_embedded() && matches!(result, Err(CliError::Interrupted(_))) {
        // The engine ends with this process: it is given a moment to take away what is half-made.
        tokio::time::sleep(LAST_WORDS).await;
    }
    result
}

const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(300);

fn is_elsewhere(error: &ClientError) -> bool {
    error.refused().is_some_and(|body| body.kind == ErrorKind::Elsewhere)
}

/// The engine does not see this host's folders: what can be sent of them is sent.
async fn elsewhere(client: &Client, request: Request, refusal: ClientError, show: &mut Show) -> Result<Built, CliError> {
    let Request { request, seen, logins } = request;
    let ContextSource::Folder(folder) = request.context.clone() else { return Err(refusal.into()) };
    let (request, written) = sendable(request)?;
    // What is left must be the same there after all.
    let seen = seen.into_iter().filter(|seen| seen.path != folder && Some(&seen.path) != written.as_ref()).collect();
    let (writer, reader) = tokio::io::duplex(PIPE);
    let dockerfile = match &written {
        Some(path) => DockerfileSource::File(path.clone()),
        None => request.dockerfile.clone(),
    };
    let writer = BlockingWriter(tokio::runtime::Handle::current(), writer);
    let packing = tokio::task::spawn_blocking(move || upload::pack(&folder, &dockerfile, writer));
    let upload: ByteStream = Box::pin(reader);
    let sent = client.build(&Request { request, seen, logins }, Some(upload)).await;
    let events = match sent {
        Ok(events) => events,
        Err(error) => return Err(error.into()),
    };
    let built = follow(client, events, show).await;
    match (packing.await.map_err(|_| UploadError::Interrupted)?, built) {
        // A pipe that breaks is what the engine's refusal looks like from here.
        (Err(UploadError::Send(_)) | Ok(()), built) => built,
        (Err(error), _) => Err(error.into()),
    }
}

/// Bytes of an upload that are under way at most.
const PIPE: usize = 256 << 10;

/// The same request with the context as an upload, and a Dockerfile outside of it as its text. Gives that one's path.
fn sendable(mut request: BuildRequest) -> Result<(BuildRequest, Option<PathBuf>), CliError> {
    request.context = ContextSource::Upload;
    let DockerfileSource::File(path) = &request.dockerfile else { return Ok((request, None)) };
    let path = path.clone();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    request.dockerfile = DockerfileSource::Text { name, text: files::read_to_string(&path)? };
    Ok((request, Some(path)))
}

/// Standard input from its first byte on.
fn rest_of_stdin(head: Vec<u8>) -> Result<ByteStream, CliError> {
    let stdin = terminal::stdin().map_err(CliError::Input)?;
    Ok(Box::pin(std::io::Cursor::new(head).chain(stdin)))
}

/// A folder of this user's alone, for what the engine writes and standard output is to have.
#[derive(Debug)]
struct Spool {
    folder: PathBuf,
}

impl Spool {
    fn path() -> PathBuf {
        let moment = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        std::env::temp_dir().join(format!("setpoint-build-{}-{moment:x}", std::process::id()))
    }

    fn make(folder: PathBuf) -> Result<Self, FileError> {
        std::fs::DirBuilder::new().mode(0o700).create(&folder).map_err(|e| FileError::new("make", &folder, e))?;
        Ok(Self { folder })
    }

    async fn write_out(self) -> Result<(), CliError> {
        let path: &Path = &self.folder.join(RESULT);
        let file = tokio::fs::File::open(path).await.map_err(|e| FileError::new("open", path, e))?;
        let mut out = terminal::stdout()?;
        tokio::io::copy(&mut tokio::io::BufReader::with_capacity(PIPE, file), &mut out).await?;
        Ok(out.flush().await?)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = files::remove_all(&self.folder) {
            tracing::warn!(%error, "a folder is left over");
        }
    }
}

impl From<BuildArgsError> for CliError {
    fn from(error: BuildArgsError) -> Self {
        Self::Build(Box::new(error))
    }
}
