//! Upgraded connections: a container's output and exit, or a command's in a container, with input and signals the other way.
//! A client that goes away ends the session, never the container.

use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use rustix::process::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::unix::OwnedWriteHalf;
use tokio::process::{Child, ChildStdin};
use tokio_util::codec::FramedRead;
use tracing::debug;

use crate::engine::Engine;
use crate::engine::containers::resize_exec;
use crate::engine::monitor::{Attached, INPUT_PIECE};
use crate::model::{ContainerId, Signal};
use crate::server::error::ApiError;
use crate::wire::frame::{Frame, FrameCodec, FrameError, FrameWriter};
use crate::wire::native::{ErrorBody, ErrorKind};

type Input = FramedRead<ReadHalf<TokioIo<Upgraded>>, FrameCodec>;
type Output = FrameWriter<WriteHalf<TokioIo<Upgraded>>>;

/// Sends all that a container prints, as it comes, until it has exited for good, and then the exit code. With `reap` it is
/// removed before that is sent, if it is one that is removed when it exits.
pub(super) async fn attached(upgrade: OnUpgrade, engine: Engine, id: ContainerId, reap: bool, attached: Attached) {
    let Attached { output, input } = attached;
    let last = async |frame: Result<Option<Frame>, FrameError>| match frame {
        Ok(Some(Frame::Exit(code))) if reap => engine.remove_ended(&id).await.map(|()| Frame::Exit(code)),
        Ok(Some(frame)) => Ok(frame),
        // It goes on without us.
        Ok(None) | Err(_) if engine.state(&id).is_ok_and(|state| state.is_alive()) => Ok(Frame::Failure(too_slow())),
        // The monitor was killed, and the container with it.
        Ok(None) | Err(_) => engine.wait(&id, reap).await.map(Frame::Exit),
    };
    let frames = stream::unfold(Some(output), async |output| {
        let mut output = output?;
        let frame = match output.next().await.transpose() {
            Ok(Some(frame @ (Frame::Stdout(_) | Frame::Stderr(_)))) => return Some((frame, Some(output))),
            end => last(end).await,
        };
        Some((frame.unwrap_or_else(|error| Frame::Failure(ApiError::from(error).0)), None))
    });
    relay_frames(upgrade, &engine, &id, pin!(frames), input).await;
}

fn too_slow() -> ErrorBody {
    let message = "the output was read too slowly, and the container does not wait".to_owned();
    let hint = Some("`setpoint logs` has what was missed".to_owned());
    ErrorBody { kind: ErrorKind::Conflict, message, hint, exit_code: None }
}

/// Sends frames until they end, and hands on what comes the other way: signals, and input for the monitor.
async fn relay_frames(
    upgrade: OnUpgrade,
    engine: &Engine,
    id: &ContainerId,
    mut frames: impl Stream<Item = Frame> + Unpin,
    mut monitor: FrameWriter<OwnedWriteHalf>,
) {
    let Some((mut input, mut writer)) = open(upgrade).await else { return };
    let sending = async {
        while let Some(frame) = frames.next().await {
            writer.send(frame).await?;
        }
        writer.close().await
    };
    let receiving = async {
        while let Some(Ok(frame)) = input.next().await {
            let passed = match frame {
                Frame::Signal(signal) => {
                    if let Err(error) = engine.signal(id, signal).await {
                        debug!(container = %id.short(), %error, "pass a signal on");
                    }
                    continue;
                }
                Frame::Stdin(bytes) => pass_input(&mut monitor, &bytes).await,
                Frame::StdinEnd | Frame::Resize { .. } => monitor.send(frame).await,
                Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Failure(_) => continue,
            };
            if let Err(error) = passed {
                debug!(container = %id.short(), %error, "pass input on");
            }
        }
    };
    finish("attach", first(sending, receiving).await);
}

async fn pass_input(monitor: &mut FrameWriter<OwnedWriteHalf>, mut bytes: &[u8]) -> Result<(), FrameError> {
    while !bytes.is_empty() {
        let (piece, rest) = bytes.split_at(bytes.len().min(INPUT_PIECE));
        monitor.send(Frame::Stdin(Bytes::copy_from_slice(piece))).await?;
        bytes = rest;
    }
    Ok(())
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
            Frame::Resize { rows, columns } => {
                // Without a terminal there is nothing to resize, and the command may have ended.
                if let Some(pid) = pid
                    && let Err(error) = resize_exec(pid, rows, columns)
                {
                    debug!(%error, "pass the size of a window on");
                }
            }
            Frame::Stdout(_) | Frame::Stderr(_) | Frame::Exit(_) | Frame::Failure(_) => {}
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
