//! `logs`, and the verbs that take names of containers.

use std::io::{self, Write};

use futures_util::StreamExt;
use time::OffsetDateTime;

use super::each;
use crate::cli::args::{KillArgs, LogsArgs, RmArgs, StopArgs};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::client::{Client, ClientError};
use crate::model::Span;
use crate::wire::frame::Frame;
use crate::wire::native::{ErrorKind, Kill, Logs, RemoveContainer, Stop};

pub(super) async fn logs(client: &Client, args: &LogsArgs, output: Output) -> Result<i32, CliError> {
    let now = OffsetDateTime::now_utc();
    let query = Logs {
        tail: args.tail.flatten(),
        since: args.since.map(|when| when.resolve(now)),
        until: args.until.map(|when| when.resolve(now)),
        follow: args.follow,
        timestamps: args.timestamps,
        details: args.details,
        grep: args.grep.clone(),
        json: args.json,
    };
    let mut frames = client.logs(&args.name, &query).await?;
    let mut out = io::stdout().lock();
    while let Some(frame) = frames.next().await {
        match frame? {
            Frame::Stdout(bytes) => {
                out.write_all(&bytes)?;
                out.flush()?;
            }
            Frame::Stderr(bytes) => output.error_bytes(&bytes)?,
            Frame::Failure(error) => return Err(ClientError::Refused(error).into()),
            Frame::Exit(_) | Frame::Stdin(_) | Frame::StdinEnd | Frame::Resize { .. } | Frame::Signal(_) => {}
        }
    }
    Ok(0)
}

pub(super) async fn stop(client: &Client, args: &StopArgs, output: Output) -> Result<i32, CliError> {
    let stop = stop_of(args);
    each(&args.names, output, async |name: &str| {
        client.stop(name, &stop).await?;
        Ok(name.to_owned())
    })
    .await
}

pub(super) async fn restart(client: &Client, args: &StopArgs, output: Output) -> Result<i32, CliError> {
    let stop = stop_of(args);
    each(&args.names, output, async |name: &str| {
        client.restart(name, &stop).await?;
        Ok(name.to_owned())
    })
    .await
}

fn stop_of(args: &StopArgs) -> Stop {
    // A negative number is patience without end.
    let grace = |seconds: i64| u64::try_from(seconds).map_or(FOR_EVER, Span::seconds);
    Stop { grace: args.seconds.map(grace), signal: args.signal }
}

/// A hundred years: as long as anybody waits, and short enough to be added to a point in time.
const FOR_EVER: Span = Span::seconds(100 * 365 * 24 * 3600);

pub(super) async fn pause(client: &Client, names: &[String], output: Output) -> Result<i32, CliError> {
    each(names, output, async |name: &str| {
        client.pause(name).await?;
        Ok(name.to_owned())
    })
    .await
}

pub(super) async fn unpause(client: &Client, names: &[String], output: Output) -> Result<i32, CliError> {
    each(names, output, async |name: &str| {
        client.unpause(name).await?;
        Ok(name.to_owned())
    })
    .await
}

pub(super) async fn kill(client: &Client, args: &KillArgs, output: Output) -> Result<i32, CliError> {
    let kill = Kill { signal: args.signal };
    each(&args.names, output, async |name: &str| {
        client.kill(name, &kill).await?;
        Ok(name.to_owned())
    })
    .await
}

pub(super) async fn remove(client: &Client, args: &RmArgs, output: Output) -> Result<i32, CliError> {
    if args.link {
        return Err(CliError::NoLinks);
    }
    let how = RemoveContainer { force: args.force, volumes: args.volumes };
    each(&args.names, output, async |name: &str| match client.remove(name, &how).await {
        // Whoever forces wants it gone, and it is.
        Err(ClientError::Refused(body)) if args.force && body.kind == ErrorKind::NotFound => Ok(String::new()),
        result => Ok(result.map(|()| name.to_owned())?),
    })
    .await
}

pub(super) async fn wait(client: &Client, names: &[String], output: Output) -> Result<i32, CliError> {
    each(names, output, async |name: &str| Ok(client.wait(name).await?.code.to_string())).await
}
