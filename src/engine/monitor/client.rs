//! Asking a monitor. Every call has a deadline; waiting for an exit takes as long as the container does, and a sign of life
//! is asked for meanwhile.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::codec::FramedRead;

use super::protocol::{self, Attachment, Behaviour, ProtocolError, Reply, Request};
use super::status::{SOCKET, Status};
use crate::model::spec::{Healthcheck, ResourceLimits};
use crate::model::{ContainerId, Instance, RestartPolicy, Signal};
use crate::wire::frame::{FrameCodec, FrameWriter};

/// How long a monitor may take to answer what it can answer at once.
const PROMPT: Duration = Duration::from_secs(10);
/// How long it may take to clear up after the last process has died.
const CLEARING: Duration = Duration::from_secs(20);
/// How often one who waits for an exit asks whether the monitor is still there to tell it.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Output that is read at once.
const OUTPUT_BUFFER: usize = 64 << 10;
/// The longest reply: a state with the output of its health checks.
const MAX_REPLY: u64 = 1 << 20;

/// Somebody's place at a container's streams. Dropping it lets the container go on without.
#[derive(Debug)]
pub struct Attached {
    /// Its output, and at last its exit code.
    pub output: FramedRead<BufReader<OwnedReadHalf>, FrameCodec>,
    /// Where its input goes, and the size of its window. Pieces of input have at most [`INPUT_PIECE`] bytes. The monitor
    /// takes the end of this half for the end of both.
    pub input: FrameWriter<OwnedWriteHalf>,
}

/// The longest piece of input that a monitor takes.
pub const INPUT_PIECE: usize = 16 << 10;

/// Talks to the monitor of one container.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no monitor (any more). What became of the container is in its state.
    #[error("the container has no monitor")]
    Gone,
    #[error("the container is not running")]
    NotRunning,
    #[error("the monitor at {} did not answer within {}", socket.display(), crate::model::Span(*after))]
    Silent { socket: PathBuf, after: Duration },
    #[error("the monitor refused: {0}")]
    Refused(String),
    #[error("talk to the monitor at {}: {source}", socket.display())]
    Io { socket: PathBuf, source: io::Error },
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("the monitor gave an answer to another question: {0}")]
    Unexpected(String),
}

/// Both halves, because a monitor takes the end of one for the end of both.
struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    pub fn new(instance: &Instance, id: &ContainerId) -> Self {
        Self { socket: instance.container_run_dir(id).join(SOCKET) }
    }

    pub async fn status(&self) -> Result<Status, ClientError> {
        match self.ask(&Request::State, PROMPT).await? {
            Reply::State { status } => Ok(*status),
            other => Err(unexpected(other)),
        }
    }

    pub async fn signal(&self, signal: Signal) -> Result<(), ClientError> {
        done(self.ask(&Request::Signal { signal }, PROMPT).await?)
    }

    /// Lets the container stand still, or go on.
    pub async fn pause(&self, pause: bool) -> Result<(), ClientError> {
        let request = if pause { Request::Pause } else { Request::Unpause };
        done(self.ask(&request, PROMPT).await?)
    }

    pub async fn update(&self, restart: Option<RestartPolicy>, limits: Option<ResourceLimits>) -> Result<(), ClientError> {
        done(self.ask(&Request::Update { restart, limits: limits.map(Box::new) }, PROMPT).await?)
    }

    /// Has it ended and recorded in another way.
    pub(crate) async fn behave(&self, behaviour: Behaviour) -> Result<(), ClientError> {
        done(self.ask(&Request::Behave(Box::new(behaviour)), PROMPT).await?)
    }

    /// Has its health checked in another way, or not at all.
    pub async fn check(&self, check: Option<Healthcheck>) -> Result<(), ClientError> {
        done(self.ask(&Request::Check { check: check.map(Box::new) }, PROMPT).await?)
    }

    /// Ends the container for good. Its exit code.
    pub async fn stop(&self, grace: Duration, signal: Option<Signal>) -> Result<i32, ClientError> {
        let request = Request::Stop { grace_millis: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), signal };
        Ok(exited(self.ask(&request, grace.saturating_add(CLEARING)).await?)?.0)
    }

    /// Waits for the final exit. The exit code, and whether it is now for the caller to remove the container.
    pub async fn wait(&self, reap: bool) -> Result<(i32, bool), ClientError> {
        let request = Request::Wait { reap };
        let mut waiting = std::pin::pin!(self.exchange(&request));
        loop {
            match timeout(SIGN_OF_LIFE, &mut waiting).await {
                Ok(reply) => return exited(reply?),
                // Its container takes its time, and not the monitor itself.
                Err(_) => match self.status().await {
                    Ok(_) => {}
                    // It may have said its last word in between.
                    Err(ClientError::Gone) => {
                        return exited(timeout(PROMPT, &mut waiting).await.map_err(|_| self.silent(PROMPT))??);
                    }
                    Err(error) => return Err(error),
                },
            }
        }
    }

    /// The container's output from now on, and a way to its input.
    pub async fn attach(&self, attachment: Attachment) -> Result<Attached, ClientError> {
        let asked = timeout(PROMPT, self.send(&Request::Attach(attachment))).await;
        match asked.map_err(|_| self.silent(PROMPT))?? {
            (Reply::Attached, connection) => Ok(Attached {
                output: FramedRead::with_capacity(connection.reader, FrameCodec, OUTPUT_BUFFER),
                input: FrameWriter::new(connection.writer),
            }),
            (other, _) => Err(unexpected(other)),
        }
    }

    async fn ask(&self, request: &Request, within: Duration) -> Result<Reply, ClientError> {
        timeout(within, self.exchange(request)).await.map_err(|_| self.silent(within))?
    }

    fn silent(&self, after: Duration) -> ClientError {
        ClientError::Silent { socket: self.socket.clone(), after }
    }

    async fn exchange(&self, request: &Request) -> Result<Reply, ClientError> {
        Ok(self.send(request).await?.0)
    }

    /// The reply, and the connection with what comes after it.
    async fn send(&self, request: &Request) -> Result<(Reply, Connection), ClientError> {
        let line = protocol::encode(request).map_err(ProtocolError::from)?;
        let mut stream = UnixStream::connect(&self.socket).await.map_err(|e| self.failed(e))?;
        stream.write_all(&line).await.map_err(|e| self.failed(e))?;
        let (reader, writer) = stream.into_split();
        let (mut reply, mut connection) = (Vec::new(), Connection { reader: BufReader::new(reader), writer });
        (&mut connection.reader).take(MAX_REPLY).read_until(b'\n', &mut reply).await.map_err(|e| self.failed(e))?;
        if reply.last() != Some(&b'\n') {
            return Err(ClientError::Gone);
        }
        match protocol::decode(&reply)? {
            Reply::NotRunning => Err(ClientError::NotRunning),
            Reply::Refused { why } => Err(ClientError::Refused(why)),
            reply @ (Reply::Done | Reply::Attached | Reply::State { .. } | Reply::Exited { .. }) => Ok((reply, connection)),
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
        match source.kind() {
            NotFound | ConnectionRefused | ConnectionReset | BrokenPipe => ClientError::Gone,
            _ => ClientError::Io { socket: self.socket.clone(), source },
        }
    }
}

fn done(reply: Reply) -> Result<(), ClientError> {
    if reply == Reply::Done { Ok(()) } else { Err(unexpected(reply)) }
}

fn exited(reply: Reply) -> Result<(i32, bool), ClientError> {
    match reply {
        Reply::Exited { code, reaper } => Ok((code, reaper)),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> ClientError {
    ClientError::Unexpected(format!("{reply:?}"))
}
