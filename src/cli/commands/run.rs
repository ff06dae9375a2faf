//! `run`, `create` and `exec`: containers and commands whose output and exit code are passed on.

use std::collections::BTreeMap;

use super::session::{self, Signals};
use super::{NewContainer, Prepared, images, registries};
use crate::cli::args::{CreateArgs, ExecArgs, PullWhen, RunArgs, SpecArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::spec::{self, SpecError, Surroundings};
use crate::cli::terminal;
use crate::client::{Client, ClientError};
use crate::model::ContainerId;
use crate::wire::native::{Attach, CreateContainer, ErrorKind, Exec, Pull, RemoveContainer};

/// A container that is ready to be made.
#[derive(Debug)]
pub struct Run {
    container: NewContainer,
    then: Then,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Start,
    Attach,
}

pub(super) fn prepare(args: RunArgs) -> Result<Prepared, CliError> {
    let then = if args.detach { Then::Start } else { Then::Attach };
    Ok(Prepared::Run(Box::new(Run { container: container(&args.spec, args.rm)?, then })))
}

pub(super) fn prepare_create(args: CreateArgs) -> Result<Prepared, CliError> {
    Ok(Prepared::Run(Box::new(Run { container: container(&args.spec, args.rm)?, then: Then::Nothing })))
}

fn container(args: &SpecArgs, auto_remove: bool) -> Result<NewContainer, CliError> {
    let around = Surroundings::of_this_process().map_err(CliError::Surroundings)?;
    let spec = spec::container(args, &around)?;
    if auto_remove && spec.restart != crate::model::RestartPolicy::No {
        return Err(CliError::RemovedAndRestarted { policy: spec.restart });
    }
    Ok(NewContainer {
        create: CreateContainer { name: args.name.clone(), auto_remove, platform: args.confine.platform.clone(), spec },
        pull: args.pull,
    })
}

pub(super) async fn run(client: &Client, run: Run, output: Output) -> Result<i32, CliError> {
    let reap = run.container.create.auto_remove;
    // From here on a Ctrl-C is the container's.
    let signals = (run.then == Then::Attach).then(Signals::catch).transpose()?;
    let id = create(client, &run.container, output).await?;
    let Some(signals) = signals else {
        if run.then == Then::Start {
            start(client, &id, reap).await?;
        }
        output.line(id.as_str())?;
        return Ok(0);
    };
    match client.attach(id.as_str(), &Attach { start: true, reap }).await {
        Ok(session) => session::pump(session, signals, session::Input::None, output).await,
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
async fn create(client: &Client, new: &NewContainer, output: Output) -> Result<ContainerId, CliError> {
    if new.pull == PullWhen::Always {
        pull(client, new, false, output).await?;
    }
    match client.create(&new.create).await {
        Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound && new.pull == PullWhen::Missing => {
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
    images::follow(client.pull(&pull).await?, false, output).await?;
    Ok(())
}

pub(super) async fn exec(client: &Client, args: ExecArgs, output: Output) -> Result<i32, CliError> {
    let around = Surroundings::of_this_process().map_err(CliError::Surroundings)?;
    let mut env = BTreeMap::new();
    for text in &args.env {
        env.extend(spec::variable(text, &around).map_err(|why| SpecError::Flag {
            flag: "--env",
            value: text.clone(),
            why: why.into(),
        })?);
    }
    let input = match (args.interactive, args.tty) {
        (true, true) if terminal::size().is_none() => return Err(CliError::NotATerminal),
        (true, true) => session::Input::Terminal,
        (true, false) => session::Input::Plain,
        (false, _) => session::Input::None,
    };
    let mut rest = args.rest.into_iter();
    let name = rest.next().unwrap_or_default();
    let exec = Exec {
        argv: rest.collect(),
        env,
        user: args.user,
        working_dir: args.workdir,
        tty: args.tty,
        window: terminal::size().filter(|_| args.tty),
    };
    let signals = Signals::catch()?;
    let session = client.exec(&name, &exec).await?;
    session::pump(session, signals, input, output).await
}
