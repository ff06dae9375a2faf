//! Upgraded connections: a container's output and exit, or a command's in a container, with input and signals the other way.
//! A client that goes away ends the session, never the container.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::process::{Child, ChildStdin};
use tokio_util::codec::FramedRead;
use tracing::debug;

use crate::engine::containers::Held;
use crate::engine::{Engine, EngineError, Kind};
use crate::model::{ContainerId, Signal};
use crate::server::error::ApiError;
use crate::wire::frame::{Frame, FrameCodec, FrameError, FrameWriter};
use crate::wire::native::ErrorKind;

type Input = FramedRead<ReadHalf<TokioIo<Upgraded>>, FrameCodec>;
type Output = FrameWriter<WriteHalf<TokioIo<Upgraded>>>;

/// The end of a container that somebody waits for.
pub(super) struct End {
    engine: Engine,
    id: ContainerId,
    reap: bool,
    /// Keeps whoever settles a container that has exited from removing it before its exit code is known.
    held: Option<Held>,
}

/// How long a container that was just started is held. By then its monitor knows that somebody waits for its end, and
/// leaves the removal to us.
const HOLD: Duration = Duration::from_millis(100);

impl End {
    /// With `reap`, a container that is to be removed at its end is removed by whoever waits here.
    pub(super) async fn begin(engine: &Engine, id: &ContainerId, reap: bool) -> Result<Self, EngineError> {
        let held = if reap { Some(engine.containers().hold(id).await?) } else { None };
        Ok(Self { engine: engine.clone(), id: id.clone(), reap, held })
    }

    /// Waits until the container has exited for good.
    async fn code(&mut self) -> Result<i32, EngineError> {
        let mut waiting = pin!(self.engine.containers().wait(&self.id, self.reap));
        if self.held.is_some() {
            let early = tokio::time::timeout(HOLD, waiting.as_mut()).await;
            self.held = None;
            if let Ok(code) = early {
                return Ok(code?);
            }
        }
        Ok(waiting.await?)
    }

    async fn clear_away(&self) -> Result<(), EngineError> {
        if !self.reap {
            return Ok(());
        }
        match self.engine.remove(&self.id, true).await {
            // Somebody else was faster.
            Err(error) if error.status() == Kind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// Sends `output` until it ends, which it does when the container has exited for good, and then the exit code.
pub(super) async fn attached(upgrade: OnUpgrade, mut end: End, mut output: impl Stream<Item = Frame> + Unpin) {
    let Some((mut input, mut writer)) = open(upgrade).await else { return };
    let (engine, id) = (end.engine.clone(), end.id.clone());
    let sending = async {
        let relaying = async {
            while let Some(frame) = output.next().await {
                writer.send(frame).await?;
            }
            Ok::<(), FrameError>(())
        };
        // Both at once: the monitor must know soon that its container's end is waited for.
        let (relayed, code) = tokio::join!(relaying, end.code());
        relayed?;
        let last = match code {
            Ok(code) => end.clear_away().await.map(|()| Frame::Exit(code)),
            Err(error) => Err(error),
        };
        writer.send(last.unwrap_or_else(|error| Frame::Failure(ApiError::from(error).0))).await?;
        writer.close().await
    };
    let receiving = async {
        while let Some(Ok(frame)) = input.next().await {
            if let Frame::Signal(signal) = frame
                && let Err(error) = engine.signal(&id, signal).await
            {
                debug!(container = %id.short(), %error, "pass a signal on");
            }
        }
    };
    finish("attach", first(sending, receiving).await);
}

/// Connects a command's stdio until it has exited, and then sends its exit code.
pub(crate) async fn executing(upgrade: OnUpgrade, mut child: Child) {
    let Some((input, mut writer)) = open(upgrade).await else { return };
    let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let receiving = feed(input, child.stdin.take(), pid);
    let sending = async {
        let last = match relay(&mut child, &mut writer).await? {
            Ok(code) => Frame::Exit(code),
            Err(error) => {
                let message = format!("wait for the command: {error}");
                Frame::Failure(ApiError::new(ErrorKind::Internal, message).0)
            }
        };
        writer.send(last).await?;
        writer.close().await
    };
    finish("exec", first(sending, receiving).await);
}

async fn open(upgrade: OnUpgrade) -> Option<(Input, Output)> {
    match upgrade.await {
        Ok(connection) => {
            let (read, write) = tokio::io::split(TokioIo::new(connection));
            Some((FramedRead::new(read, FrameCodec), FrameWriter::new(write)))
        }
        Err(error) => {
            debug!(%error, "the client went away before its connection was upgraded");
            None
        }
    }
}

/// Runs both directions until everything is sent, or until the client has gone.
async fn first(
    sending: impl Future<Output = Result<(), FrameError>>,
    receiving: impl Future<Output = ()>,
) -> Result<(), FrameError> {
    tokio::select! {
        sent = sending => sent,
        () = receiving => Ok(()),
    }
}

fn finish(what: &str, result: Result<(), FrameError>) {
    if let Err(error) = result {
        debug!(%error, what, "the client went away");
    }
}

/// Hands input and signals on. Ends when the client has gone.
async fn feed(mut input: Input, mut stdin: Option<ChildStdin>, pid: Option<Pid>) {
    while let Some(Ok(frame)) = input.next().await {
        match frame {
            Frame::Stdin(bytes) => {
                // A command that has closed its input does not want the rest of it.
                if let Some(open) = &mut stdin
                    && open.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Frame::StdinEnd => stdin = None,
            Frame::Signal(signal) => deliver(pid, signal),
            // Without a terminal there is nothing to resize.
            Frame::Resize { .. } | Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Failure(_) => {}
        }
    }
}

fn deliver(pid: Option<Pid>, signal: Signal) {
    let Some(pid) = pid else { return };
    // The numbers are the kernel's; the child is not reaped before the session ends, so that the id is still its own.
    let Some(number) = rustix::process::Signal::from_named_raw(signal.number()) else { return };
    if let Err(error) = rustix::process::kill_process(pid, number) {
        debug!(%error, "pass a signal on");
    }
}

const BUFFER: usize = 64 << 10;
/// What others that hold the command's output still write is waited for so long, once the command has exited.
const DRAIN: Duration = Duration::from_millis(100);

/// Sends output until the command has exited and its output has ended. The inner error is of waiting for it.
async fn relay(child: &mut Child, writer: &mut Output) -> Result<std::io::Result<i32>, FrameError> {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (BytesMut::new(), BytesMut::new());
    let mut status = None;
    while status.is_none() || stdout.is_some() || stderr.is_some() {
        tokio::select! {
            // Output first: what a command printed before it exited comes before its exit.
            biased;
            read = read(&mut stdout, &mut out), if stdout.is_some() => if let Some(bytes) = read {
                writer.send(Frame::Stdout(bytes)).await?;
            },
            read = read(&mut stderr, &mut err), if stderr.is_some() => if let Some(bytes) = read {
                writer.send(Frame::Stderr(bytes)).await?;
            },
            exited = child.wait(), if status.is_none() => status = Some(exited),
            () = tokio::time::sleep(DRAIN), if status.is_some() => break,
        }
    }
    Ok(match status {
        Some(exited) => exited.map(code),
        None => child.wait().await.map(code),
    })
}

/// The next bytes; at the end the reader is taken away.
async fn read<R: AsyncRead + Unpin>(reader: &mut Option<R>, buffer: &mut BytesMut) -> Option<Bytes> {
    let open = reader.as_mut()?;
    buffer.reserve(BUFFER);
    match open.read_buf(buffer).await {
        Ok(read) if read > 0 => Some(buffer.split().freeze()),
        Ok(_) | Err(_) => {
            *reader = None;
            None
        }
    }
}

fn code(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(125)
}
