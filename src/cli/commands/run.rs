//! `run`, `create` and `exec`: containers and commands whose output and exit code are passed on.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use super::session::{self, Input, Signals, Wishes};
use super::{NewContainer, Prepared, images, registries};
use crate::cli::args::{CreateArgs, ExecArgs, PullWhen, RunArgs, SpecArgs, StandardStream};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::spec::{self, SpecError, Surroundings};
use crate::cli::terminal;
use crate::client::{Client, ClientError};
use crate::model::{ContainerId, ImageRef};
use crate::wire::native::{Attach, CreateContainer, ErrorKind, Exec, Pull, RemoveContainer};

/// A container that is ready to be made.
#[derive(Debug)]
pub struct Run {
    container: NewContainer,
    then: Then,
    cidfile: Option<CidFile>,
}

#[derive(Clone, Debug)]
enum Then {
    Nothing,
    Start,
    Attach { sig_proxy: bool, wishes: Wishes },
}

pub(super) fn prepare(args: RunArgs) -> Result<Prepared, CliError> {
    let RunArgs { detach, rm, attach, proxy, spec } = args;
    let has = |stream| attach.contains(&stream);
    // Docker's rule: `-i` attaches its input, whatever else is named.
    let stdin = spec.interactive;
    let then = if detach {
        Then::Start
    } else {
        let wishes = Wishes {
            input: Input::of(stdin, spec.tty)?,
            stdout: attach.is_empty() || has(StandardStream::Stdout),
            stderr: attach.is_empty() || has(StandardStream::Stderr),
            tty: spec.tty,
            redraw: false,
            keys: proxy.detach_keys.unwrap_or_default(),
        };
        Then::Attach { sig_proxy: proxy.sig_proxy, wishes }
    };
    let mut container = container(&spec, rm)?;
    container.create.spec.stdin_once = stdin && !detach;
    let cidfile = spec.cidfile.map(CidFile::make).transpose()?;
    Ok(Prepared::Run(Box::new(Run { container, then, cidfile })))
}

pub(super) fn prepare_create(args: CreateArgs) -> Result<Prepared, CliError> {
    let mut container = container(&args.spec, args.rm)?;
    container.create.spec.stdin_once = args.spec.interactive;
    let cidfile = args.spec.cidfile.map(CidFile::make).transpose()?;
    Ok(Prepared::Run(Box::new(Run { container, then: Then::Nothing, cidfile })))
}

/// A file for a container's id. One that was made and not written is removed again.
#[derive(Debug)]
struct CidFile {
    path: PathBuf,
    file: Option<File>,
}

impl CidFile {
    fn make(path: PathBuf) -> Result<Self, CliError> {
        match File::create_new(&path) {
            Ok(file) => Ok(Self { path, file: Some(file) }),
            Err(source) => Err(CliError::CidFile { path, source }),
        }
    }

    fn write(mut self, id: &ContainerId) -> Result<(), CliError> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write_all(id.as_str().as_bytes()).map_err(|source| CliError::CidFile { path: self.path.clone(), source })
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if self.file.is_some()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "remove the file for the id of a container that was not made");
        }
    }
}

fn container(args: &SpecArgs, auto_remove: bool) -> Result<NewContainer, CliError> {
    let around = Surroundings::of_this_process().map_err(CliError::Surroundings)?;
    let spec = spec::container(args, &around)?;
    if auto_remove && spec.restart != crate::model::RestartPolicy::No {
        return Err(CliError::RemovedAndRestarted { policy: spec.restart });
    }
    Ok(NewContainer {
        id: args.rest.first().filter(|text| is_like_an_id(text)).cloned(),
        create: CreateContainer { name: args.name.clone(), auto_remove, platform: args.confine.platform.clone(), spec },
        pull: args.pull,
        quiet: args.quiet,
    })
}

/// Whether it has only hexadecimal digits.
fn is_like_an_id(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    (1..=64).contains(&hex.len()) && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) async fn run(client: &Client, run: Run, output: Output) -> Result<i32, CliError> {
    let Run { container, then, cidfile } = run;
    let reap = container.create.auto_remove;
    // From here on a Ctrl-C is the container's.
    let signals = match &then {
        Then::Attach { sig_proxy, .. } => Some(Signals::catch(*sig_proxy)?),
        Then::Nothing | Then::Start => None,
    };
    let id = create(client, &container, cidfile, output).await?;
    let (Some(signals), Then::Attach { wishes, .. }) = (signals, then.clone()) else {
        if matches!(then, Then::Start) {
            start(client, &id, reap).await?;
        }
        output.line(id.as_str())?;
        return Ok(0);
    };
    let to = Attach { start: true, reap, stdin: wishes.input != Input::None };
    match client.attach(id.as_str(), &to).await {
        Ok(session) => Ok(session::pump(session, signals, wishes, output).await?.told(output)),
        Err(error) => Err(undo(client, &id, reap, error).await),
    }
}

async fn start(client: &Client, id: &ContainerId, reap: bool) -> Result<(), CliError> {
    match client.start(id.as_str()).await {
        Ok(()) => Ok(()),
        Err(error) => Err(undo(client, id, reap, error).await),
    }
}

/// A container that was to remove itself and could not start is removed here.
async fn undo(client: &Client, id: &ContainerId, reap: bool, error: ClientError) -> CliError {
    if reap && let Err(second) = client.remove(id.as_str(), &RemoveContainer { force: true, volumes: false }).await {
        let gone = second.refused().is_some_and(|body| body.kind == ErrorKind::NotFound);
        if !gone {
            tracing::warn!(container = %id.short(), error = %second, "remove the container that could not start");
        }
    }
    error.into()
}

/// Makes the container. The image is only looked for when the engine misses something: that it is here is the usual case.
async fn create(client: &Client, new: &NewContainer, cidfile: Option<CidFile>, output: Output) -> Result<ContainerId, CliError> {
    if new.pull == PullWhen::Always {
        pull(client, new, false, output).await?;
    }
    let id = match client.create(&new.create).await {
        Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound => match by_id(client, new).await? {
            Some(create) => client.create(&create).await?.id,
            // No registry has anything by an id.
            None if new.create.spec.image.id().is_some() => return Err(ClientError::Refused(body).into()),
            None => match new.pull {
                PullWhen::Never => return Err(ClientError::Refused(body).into()),
                PullWhen::Always => after_pull(client, new, output).await?,
                PullWhen::Missing => {
                    pull(client, new, true, output).await?;
                    after_pull(client, new, output).await?
                }
            },
        },
        created => created?.id,
    };
    if let Some(cidfile) = cidfile {
        cidfile.write(&id)?;
    }
    Ok(id)
}

/// The same of the image that is here and whose id, or the beginning of it, stands where its name would: a name goes before.
async fn by_id(client: &Client, new: &NewContainer) -> Result<Option<CreateContainer>, CliError> {
    let Some(text) = &new.id else { return Ok(None) };
    match client.image(text).await {
        Ok(found) => {
            let mut create = new.create.clone();
            create.spec.image = ImageRef::of_id(found.image.digest);
            Ok(Some(create))
        }
        Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Until there is a container, an image that was pulled is one that nobody uses: a prune may take it away. It is brought once more.
async fn after_pull(client: &Client, new: &NewContainer, output: Output) -> Result<ContainerId, CliError> {
    match client.create(&new.create).await {
        Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound => {
            pull(client, new, true, output).await?;
            Ok(client.create(&new.create).await?.id)
        }
        created => Ok(created?.id),
    }
}

async fn pull(client: &Client, new: &NewContainer, missing: bool, output: Output) -> Result<(), CliError> {
    let reference = new.create.spec.image.clone();
    let credentials = registries::credentials(client, reference.registry()).await?;
    let platform = new.create.platform.clone();
    // One that is here may be for another platform, which was why it did not do.
    let pull = Pull { reference, missing: missing && platform.is_none(), platform, credentials };
    images::follow(client.pull(&pull).await?, new.quiet, output).await?;
    Ok(())
}

pub(super) async fn exec(client: &Client, args: ExecArgs, output: Output) -> Result<i32, CliError> {
    let around = Surroundings::of_this_process().map_err(CliError::Surroundings)?;
    let mut env = BTreeMap::new();
    for path in &args.env_file {
        env.extend(spec::read_env_file(path, &around)?);
    }
    for text in &args.env {
        env.extend(spec::variable(text, &around).map_err(|why| SpecError::Flag {
            flag: "--env",
            value: text.clone(),
            why: why.into(),
        })?);
    }
    let input = Input::of(args.interactive && !args.detach, args.tty)?;
    let mut rest = args.rest.into_iter();
    let name = rest.next().unwrap_or_default();
    let exec = Exec {
        argv: rest.collect(),
        env,
        user: args.user,
        working_dir: args.workdir,
        tty: args.tty,
        privileged: args.privileged,
        window: terminal::size().filter(|_| args.tty),
    };
    if args.detach {
        client.exec_detached(&name, &exec).await?;
        return Ok(0);
    }
    let wishes =
        Wishes { input, stdout: true, stderr: true, tty: args.tty, redraw: false, keys: args.detach_keys.unwrap_or_default() };
    let signals = Signals::catch(true)?;
    let session = client.exec(&name, &exec).await?;
    Ok(session::pump(session, signals, wishes, output).await?.told(output))
}
