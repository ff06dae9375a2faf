//! A session with a command in a container: its output here, our input and signals there, and its exit code.

use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::signal::unix::{Signal as Caught, SignalKind, signal};

use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::terminal::{self, Raw};
use crate::client::{ClientError, Session};
use crate::model::Signal;
use crate::wire::frame::{Frame, FrameError, FrameWriter};

/// What of our standard input goes to the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    None,
    Plain,
    /// Every key as it is pressed, and the size of the terminal.
    Terminal,
}

/// The signals that are passed on rather than obeyed.
pub(super) struct Signals {
    int: Caught,
    term: Caught,
    hup: Caught,
    quit: Caught,
    usr1: Caught,
    usr2: Caught,
    resized: Caught,
}

impl Signals {
    pub(super) fn catch() -> Result<Self, CliError> {
        let caught = |kind| signal(kind).map_err(CliError::Signals);
        Ok(Self {
            int: caught(SignalKind::interrupt())?,
            term: caught(SignalKind::terminate())?,
            hup: caught(SignalKind::hangup())?,
            quit: caught(SignalKind::quit())?,
            usr1: caught(SignalKind::user_defined1())?,
            usr2: caught(SignalKind::user_defined2())?,
            resized: caught(SignalKind::window_change())?,
        })
    }

    /// The next one; `None` says that the terminal has another size.
    async fn next(&mut self) -> Option<i32> {
        tokio::select! {
            _ = self.int.recv() => Some(SignalKind::interrupt()),
            _ = self.term.recv() => Some(SignalKind::terminate()),
            _ = self.hup.recv() => Some(SignalKind::hangup()),
            _ = self.quit.recv() => Some(SignalKind::quit()),
            _ = self.usr1.recv() => Some(SignalKind::user_defined1()),
            _ = self.usr2.recv() => Some(SignalKind::user_defined2()),
            _ = self.resized.recv() => None,
        }
        .map(|kind| kind.as_raw_value())
    }
}

/// So many signals that ask to end, and this program ends without the command: it may be deaf to them.
const PATIENCE: u32 = 3;

/// Passes everything on until the command has exited.
pub(super) async fn pump(session: Session, signals: Signals, input: Input, output: Output) -> Result<i32, CliError> {
    let Session { mut frames, input: writer } = session;
    let raw = (input == Input::Terminal).then(Raw::enter).transpose()?;
    // A task of its own: a command that does not read must not keep us from reading what it writes.
    let mut feeding = tokio::spawn(feed(writer, signals, input));
    let mut fed = false;
    let code = loop {
        let frame = tokio::select! {
            frame = frames.next() => frame,
            end = &mut feeding, if !fed => {
                fed = true;
                match end {
                    Ok(Ok(Some(impatient))) => return Err(CliError::Interrupted(impatient)),
                    // The other side has closed; what it still has to say is read.
                    Ok(Ok(None) | Err(_)) | Err(_) => continue,
                }
            }
        };
        match frame.transpose().map_err(ClientError::from)? {
            Some(Frame::Stdout(bytes)) => output.bytes(&bytes)?,
            Some(Frame::Stderr(bytes)) => output.error_bytes(&bytes)?,
            Some(Frame::Exit(code)) => break code,
            Some(Frame::Failure(error)) => return Err(ClientError::Refused(error).into()),
            Some(Frame::Stdin(_) | Frame::StdinEnd | Frame::Resize { .. } | Frame::Signal(_)) => {}
            None => return Err(ClientError::Ended.into()),
        }
    };
    feeding.abort();
    drop(raw);
    Ok(code)
}

/// Sends input and signals. Gives the signal at which patience ended.
async fn feed<W>(mut writer: FrameWriter<W>, mut signals: Signals, input: Input) -> Result<Option<Signal>, FrameError>
where
    W: AsyncWrite + Unpin,
{
    let mut stdin = match input {
        Input::None => None,
        Input::Plain | Input::Terminal => Some(terminal::stdin()?),
    };
    if stdin.is_none() {
        writer.send(Frame::StdinEnd).await?;
    }
    if input == Input::Terminal {
        resize(&mut writer).await?;
    }
    let mut buffer = vec![0; if stdin.is_some() { 64 << 10 } else { 0 }];
    let mut asked = 0;
    loop {
        tokio::select! {
            signal = signals.next() => match signal.map(|number| number.to_string().parse::<Signal>()) {
                Some(Ok(signal)) => {
                    asked += u32::from(matches!(signal.number(), libc::SIGINT | libc::SIGTERM));
                    if asked >= PATIENCE {
                        return Ok(Some(signal));
                    }
                    writer.send(Frame::Signal(signal)).await?;
                }
                Some(Err(_)) => {}
                None if input == Input::Terminal => resize(&mut writer).await?,
                None => {}
            },
            read = read(&mut stdin, &mut buffer), if stdin.is_some() => match read? {
                0 => {
                    stdin = None;
                    writer.send(Frame::StdinEnd).await?;
                }
                read => writer.send(Frame::Stdin(bytes::Bytes::copy_from_slice(&buffer[..read]))).await?,
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

async fn resize<W: AsyncWrite + Unpin>(writer: &mut FrameWriter<W>) -> Result<(), FrameError> {
    match terminal::size() {
        Some((rows, columns)) => writer.send(Frame::Resize { rows, columns }).await,
        None => Ok(()),
    }
}
