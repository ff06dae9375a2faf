//! A session with a container or with a command in one: its output here, our input and signals there, and its exit code.

use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::cli::detach::{DetachKeys, Watch};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::terminal::{self, Raw};
use crate::client::{ClientError, Session};
use crate::model::Signal;
use crate::wire::frame::{Frame, FrameError, FrameWriter};

/// What of our standard input goes to the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    None,
    Plain,
    /// Every key as it is pressed.
    Terminal,
}

impl Input {
    /// # Errors
    /// When keys are to be passed on, and there is no keyboard.
    pub(super) fn of(wanted: bool, tty: bool) -> Result<Self, CliError> {
        match (wanted, tty) {
            (true, true) if terminal::size().is_none() => Err(CliError::NotATerminal),
            (true, true) => Ok(Self::Terminal),
            (true, false) => Ok(Self::Plain),
            (false, _) => Ok(Self::None),
        }
    }
}

/// What a session is to be.
#[derive(Clone, Debug)]
pub(super) struct Wishes {
    pub(super) input: Input,
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    /// The other side has a terminal, which is to be as large as ours.
    pub(super) tty: bool,
    /// The program there is made to draw anew what it had drawn before we came.
    pub(super) redraw: bool,
    /// How one leaves.
    pub(super) keys: DetachKeys,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exit(i32),
    Detached,
}

impl End {
    /// The exit code, with a word to whoever has left.
    pub(super) fn told(self, output: Output) -> i32 {
        match self {
            Self::Exit(code) => code,
            Self::Detached => {
                output.note("read escape sequence");
                0
            }
        }
    }
}

/// The signals that are passed on rather than obeyed.
pub(super) struct Signals {
    passed: Vec<(SignalKind, Caught)>,
    resized: Caught,
}

impl Signals {
    /// Without `proxy` this program obeys them itself.
    pub(super) fn catch(proxy: bool) -> Result<Self, CliError> {
        let caught = |kind| signal(kind).map_err(CliError::Signals);
        let kinds = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
            SignalKind::quit(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
            SignalKind::alarm(),
        ];
        let kinds = kinds.into_iter().filter(|_| proxy);
        Ok(Self {
            passed: kinds.map(|kind| Ok((kind, caught(kind)?))).collect::<Result<_, CliError>>()?,
            resized: caught(SignalKind::window_change())?,
        })
    }

    /// The next one; `None` says that the terminal has another size.
    async fn next(&mut self) -> Option<i32> {
        poll_fn(|cx| {
            for (kind, caught) in &mut self.passed {
                if caught.poll_recv(cx).is_ready() {
                    return Poll::Ready(Some(kind.as_raw_value()));
                }
            }
            self.resized.poll_recv(cx).map(|_| None)
        })
        .await
    }
}

/// So many signals that ask to end, and this program ends without the other side: it may be deaf to them.
const PATIENCE: u32 = 3;
/// Frames that wait for the other side to take them.
const WAITING: usize = 4;

/// Passes everything on until the other side has exited, or until one leaves it.
pub(super) async fn pump(session: Session, signals: Signals, wishes: Wishes, output: Output) -> Result<End, CliError> {
    let Session { mut frames, input: writer } = session;
    let raw = (wishes.input == Input::Terminal).then(Raw::enter).transpose()?;
    let (stdout, stderr) = (wishes.stdout, wishes.stderr);
    // Tasks of their own: whoever does not read must not keep us from reading what it writes, nor from being interrupted.
    let (sender, receiver) = mpsc::channel(WAITING);
    let _writing = AbortOnDropHandle::new(tokio::spawn(write(writer, receiver)));
    let mut feeding = AbortOnDropHandle::new(tokio::spawn(feed(sender, signals, wishes)));
    let mut fed = false;
    let end = loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            end = &mut feeding, if !fed => {
                fed = true;
                match end {
                    Ok(Ok(Fed::Impatient(signal))) => return Err(CliError::Interrupted(signal)),
                    Ok(Ok(Fed::Left)) => break End::Detached,
                    Ok(Err(error)) => return Err(error),
                    // The other side has closed; what it still has to say is read.
                    Ok(Ok(Fed::Closed)) | Err(_) => continue,
                }
            }
        };
        match frame.transpose().map_err(ClientError::from)? {
            Some(Frame::Stdout(bytes)) if stdout => output.bytes(&bytes)?,
            Some(Frame::Stderr(bytes)) if stderr => output.error_bytes(&bytes)?,
            Some(Frame::Exit(code)) => break End::Exit(code),
            Some(Frame::Failure(error)) => return Err(ClientError::Refused(error).into()),
            Some(
                Frame::Stdout(_) | Frame::Stderr(_) | Frame::Stdin(_) | Frame::StdinEnd | Frame::Resize { .. } | Frame::Signal(_),
            ) => {}
            None => return Err(ClientError::Ended.into()),
        }
    };
    drop(raw);
    Ok(end)
}

async fn write<W: AsyncWrite + Unpin>(mut writer: FrameWriter<W>, mut frames: mpsc::Receiver<Frame>) -> Result<(), FrameError> {
    while let Some(frame) = frames.recv().await {
        writer.send(frame).await?;
    }
    // The connection stays as it is until the other side ends it: its end would be ours.
    std::future::pending().await
}

/// Why nothing more is sent.
enum Fed {
    Closed,
    /// The signal at which patience ended.
    Impatient(Signal),
    /// By the keys for it.
    Left,
}

/// Sends input and signals.
async fn feed(sender: mpsc::Sender<Frame>, mut signals: Signals, wishes: Wishes) -> Result<Fed, CliError> {
    let mut stdin = match wishes.input {
        Input::None => None,
        Input::Plain | Input::Terminal => Some(terminal::stdin().map_err(CliError::Input)?),
    };
    let mut watch = (wishes.input == Input::Terminal).then(|| Watch::new(wishes.keys));
    let mut waiting = stdin.is_none().then_some(Frame::StdinEnd);
    if wishes.tty
        && let Some((rows, columns)) = terminal::size()
    {
        if wishes.redraw {
            // Only a change of the size makes a program draw.
            sender.try_send(Frame::Resize { rows: rows.saturating_add(1), columns }).ok();
        }
        sender.try_send(Frame::Resize { rows, columns }).ok();
    }
    let mut buffer = vec![0; if stdin.is_some() { 64 << 10 } else { 0 }];
    let mut asked = 0;
    loop {
        tokio::select! {
            signal = signals.next() => match signal.map(|number| number.to_string().parse::<Signal>()) {
                Some(Ok(signal)) => {
                    asked += u32::from(matches!(signal.number(), libc::SIGINT | libc::SIGTERM));
                    if asked >= PATIENCE {
                        return Ok(Fed::Impatient(signal));
                    }
                    // Where so much waits already, this one would come too late as well.
                    sender.try_send(Frame::Signal(signal)).ok();
                }
                Some(Err(_)) => {}
                None if wishes.tty => {
                    if let Some((rows, columns)) = terminal::size() {
                        sender.try_send(Frame::Resize { rows, columns }).ok();
                    }
                }
                None => {}
            },
            permit = sender.reserve(), if waiting.is_some() => match (permit, waiting.take()) {
                (Ok(permit), Some(frame)) => permit.send(frame),
                (Err(_), _) => return Ok(Fed::Closed),
                (Ok(_), None) => {}
            },
            read = read(&mut stdin, &mut buffer), if stdin.is_some() && waiting.is_none() => match read.map_err(CliError::Input)? {
                0 => {
                    stdin = None;
                    waiting = Some(Frame::StdinEnd);
                }
                read => {
                    let (bytes, left) = match &mut watch {
                        Some(watch) => watch.take(&buffer[..read]),
                        None => (buffer[..read].to_vec(), false),
                    };
                    if left {
                        return Ok(Fed::Left);
                    }
                    waiting = (!bytes.is_empty()).then(|| Frame::Stdin(Bytes::from(bytes)));
                }
            },
        }
    }
}

async fn read<R: AsyncRead + Unpin>(reader: &mut Option<R>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match reader {
        Some(reader) => reader.read(buffer).await,
        None => Ok(0),
    }
}
