//! Frames: several streams over one connection, both ways. Eight bytes of header (stream, three zeros, length as a big-endian
//! `u32`) and the payload, so that output and error output look to a reader as Docker's multiplexed streams do.
//! Knows nothing of containers.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::codec::{Decoder, Encoder};

use super::native::ErrorBody;
use crate::model::Signal;

/// One piece of one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// To the command: bytes for its standard input.
    Stdin(Bytes),
    /// To the command: its standard input ends here.
    StdinEnd,
    /// To the command: its terminal has this size now.
    Resize { rows: u16, columns: u16 },
    /// To the command: deliver this signal.
    Signal(Signal),
    /// From the command.
    Stdout(Bytes),
    /// From the command.
    Stderr(Bytes),
    /// From the command, last: its exit code.
    Exit(i32),
    /// From the server, last: why there is no more.
    Failure(ErrorBody),
}

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of {length} bytes is longer than the {MAX_PAYLOAD} that are allowed")]
    TooLong { length: usize },
    #[error("there is no stream {stream}")]
    UnknownStream { stream: u8 },
    #[error("the payload of a frame of stream {stream} is not what it should be")]
    Malformed { stream: u8 },
    #[error("the stream broke off in the middle of a frame")]
    Truncated,
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

/// The longest payload that is accepted: a bound on what a peer can make the other side hold.
pub const MAX_PAYLOAD: usize = 1 << 20;
const HEADER: usize = 8;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const EXIT: u8 = 3;
const STDIN_END: u8 = 4;
const RESIZE: u8 = 5;
const SIGNAL: u8 = 6;
const FAILURE: u8 = 7;

/// Reads and writes frames.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameCodec;

impl Encoder<Frame> for FrameCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Frame, out: &mut BytesMut) -> Result<(), FrameError> {
        match frame {
            Frame::Stdin(bytes) => put(STDIN, &bytes, out),
            Frame::Stdout(bytes) => put(STDOUT, &bytes, out),
            Frame::Stderr(bytes) => put(STDERR, &bytes, out),
            Frame::StdinEnd => put(STDIN_END, &[], out),
            Frame::Exit(code) => put(EXIT, &code.to_be_bytes(), out),
            Frame::Signal(signal) => put(SIGNAL, &signal.number().to_be_bytes(), out),
            Frame::Resize { rows, columns } => {
                let [a, b] = rows.to_be_bytes();
                let [c, d] = columns.to_be_bytes();
                put(RESIZE, &[a, b, c, d], out)
            }
            Frame::Failure(body) => {
                let json = serde_json::to_vec(&body).map_err(|_| FrameError::Malformed { stream: FAILURE })?;
                put(FAILURE, &json, out)
            }
        }
    }
}

/// Writes frames to a byte stream.
#[derive(Debug)]
pub struct FrameWriter<W> {
    inner: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(inner: W) -> Self {
        Self { inner, buffer: BytesMut::new() }
    }

    /// Returns when the whole frame is on its way: a reader that is slow slows its writer.
    pub async fn send(&mut self, frame: Frame) -> Result<(), FrameError> {
        self.buffer.clear();
        FrameCodec.encode(frame, &mut self.buffer)?;
        self.inner.write_all(&self.buffer).await?;
        self.inner.flush().await?;
        Ok(())
    }

    /// Says that no more frames come from this side.
    pub async fn close(&mut self) -> Result<(), FrameError> {
        Ok(self.inner.shutdown().await?)
    }
}

/// Output that is gathered in as few frames as can be, encoded as it comes: each byte is copied once.
#[derive(Debug, Default)]
pub struct Gathered {
    bytes: BytesMut,
    /// The stream of the last frame, and where its header begins, while more can go into it.
    open: Option<(u8, usize)>,
}

/// Bytes after which a frame is left for another.
const ENOUGH: usize = 256 << 10;

impl Gathered {
    /// Where bytes of standard output, or standard error, are to be appended: at most [`Self::ROOM`] at a time.
    pub fn stream(&mut self, error: bool) -> &mut BytesMut {
        let stream = if error { STDERR } else { STDOUT };
        match self.open {
            Some((open, at)) if open == stream && self.bytes.len() - at < ENOUGH => {}
            _ => {
                self.close();
                self.open = Some((stream, self.bytes.len()));
                self.bytes.put_slice(&output_header(error, 0));
            }
        }
        &mut self.bytes
    }

    /// So many bytes always fit.
    pub const ROOM: usize = MAX_PAYLOAD - ENOUGH;

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that was gathered.
    pub fn take(&mut self) -> Bytes {
        self.close();
        self.bytes.split().freeze()
    }

    fn close(&mut self) {
        if let Some((_, at)) = self.open.take() {
            let length = (self.bytes.len() - at - HEADER) as u32;
            self.bytes[at + 4..at + HEADER].copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// What stands before a payload of output that is not longer than a frame may be.
pub const fn output_header(error: bool, length: u32) -> [u8; 8] {
    let [a, b, c, d] = length.to_be_bytes();
    [if error { STDERR } else { STDOUT }, 0, 0, 0, a, b, c, d]
}

/// Splits what is longer than a frame may be: the streams of bytes have no boundaries of their own.
fn put(stream: u8, mut payload: &[u8], out: &mut BytesMut) -> Result<(), FrameError> {
    if payload.len() > MAX_PAYLOAD && !matches!(stream, STDIN | STDOUT | STDERR) {
        return Err(FrameError::TooLong { length: payload.len() });
    }
    loop {
        let (now, later) = payload.split_at(payload.len().min(MAX_PAYLOAD));
        out.reserve(HEADER + now.len());
        out.put_u8(stream);
        out.put_bytes(0, 3);
        out.put_u32(now.len() as u32);
        out.put_slice(now);
        if later.is_empty() {
            return Ok(());
        }
        payload = later;
    }
}

impl Decoder for FrameCodec {
    type Item = Frame;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some((header, _)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
        let [stream, _, _, _, length @ ..] = *header;
        let length = u32::from_be_bytes(length) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong { length });
        }
        if buffer.len() < HEADER + length {
            buffer.reserve(HEADER + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(HEADER);
        parse(stream, buffer.split_to(length).freeze()).map(Some)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        match self.decode(buffer)? {
            Some(frame) => Ok(Some(frame)),
            None if buffer.is_empty() => Ok(None),
            None => Err(FrameError::Truncated),
        }
    }
}

/// Takes a stream of bytes apart without copying it: what belongs to a stream of output is given out as it comes, even
/// where a frame goes on in the next bytes.
#[derive(Debug, Default)]
pub struct Splitter {
    /// A header, or a frame that is no output, as far as it has come.
    gathered: BytesMut,
    /// The stream that the next bytes belong to, and how many of them do.
    open: Option<(u8, usize)>,
}

impl Splitter {
    pub fn split(&mut self, mut bytes: Bytes, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            if let Some((stream, left)) = self.open {
                let now = bytes.split_to(left.min(bytes.len()));
                self.open = (left > now.len()).then_some((stream, left - now.len()));
                frames.push(parse(stream, now)?);
                continue;
            }
            let header = self.take(&mut bytes, HEADER);
            let Some([stream, _, _, _, length @ ..]) = header else { continue };
            let length = u32::from_be_bytes(length) as usize;
            if length > MAX_PAYLOAD {
                return Err(FrameError::TooLong { length });
            }
            if matches!(stream, STDIN | STDOUT | STDERR) {
                self.gathered.clear();
                self.open = (length > 0).then_some((stream, length));
            } else if self.take(&mut bytes, HEADER + length).is_some() && self.gathered.len() == HEADER + length {
                frames.push(parse(stream, self.gathered.split().freeze().slice(HEADER..))?);
            }
        }
        Ok(())
    }

    /// Whether the bytes may end here.
    pub fn is_at_boundary(&self) -> bool {
        self.gathered.is_empty() && self.open.is_none()
    }

    /// Gathers until there are so many bytes, and gives the header when it is whole.
    fn take(&mut self, bytes: &mut Bytes, wanted: usize) -> Option<[u8; HEADER]> {
        let missing = wanted.saturating_sub(self.gathered.len());
        self.gathered.extend_from_slice(&bytes.split_to(missing.min(bytes.len())));
        self.gathered.first_chunk().copied()
    }
}

fn parse(stream: u8, payload: Bytes) -> Result<Frame, FrameError> {
    let malformed = FrameError::Malformed { stream };
    let number = || <[u8; 4]>::try_from(payload.as_ref()).ok();
    Ok(match stream {
        STDIN => Frame::Stdin(payload),
        STDOUT => Frame::Stdout(payload),
        STDERR => Frame::Stderr(payload),
        STDIN_END => Frame::StdinEnd,
        EXIT => Frame::Exit(i32::from_be_bytes(number().ok_or(malformed)?)),
        SIGNAL => {
            let number = i32::from_be_bytes(number().ok_or(FrameError::Malformed { stream })?);
            Frame::Signal(number.to_string().parse().map_err(|_| malformed)?)
        }
        RESIZE => {
            let [a, b, c, d] = number().ok_or(malformed)?;
            Frame::Resize { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) }
        }
        FAILURE => Frame::Failure(serde_json::from_slice(&payload).map_err(|_| malformed)?),
        stream => return Err(FrameError::UnknownStream { stream }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::native::ErrorKind;

    fn samples() -> Vec<Frame> {
        let failure = ErrorBody {
            kind: ErrorKind::NotFound,
            message: "no container `x`".into(),
            hint: Some("list them".into()),
            exit_code: Some(125),
        };
        vec![
            Frame::Stdin(Bytes::from_static(b"in")),
            Frame::StdinEnd,
            Frame::Resize { rows: 24, columns: 80 },
            Frame::Signal(Signal::TERM),
            Frame::Stdout(Bytes::from_static(b"out\n")),
            Frame::Stderr(Bytes::new()),
            Frame::Exit(-1),
            Frame::Failure(failure),
        ]
    }

    #[test]
    fn decodes_what_it_encodes_however_it_arrives() {
        let mut all = BytesMut::new();
        for frame in samples() {
            FrameCodec.encode(frame, &mut all).unwrap();
        }
        for piece in [1, 3, 7, all.len()] {
            let (mut buffer, mut seen) = (BytesMut::new(), Vec::new());
            for bytes in all.chunks(piece) {
                buffer.extend_from_slice(bytes);
                while let Some(frame) = FrameCodec.decode(&mut buffer).unwrap() {
                    seen.push(frame);
                }
            }
            assert_eq!(seen, samples());
            assert_eq!(FrameCodec.decode_eof(&mut buffer).unwrap(), None);
        }
    }

    #[test]
    fn the_header_is_dockers() {
        let mut out = BytesMut::new();
        FrameCodec.encode(Frame::Stderr(Bytes::from_static(b"no")), &mut out).unwrap();
        assert_eq!(out.as_ref(), b"\x02\0\0\0\0\0\0\x02no");
    }

    #[test]
    fn long_output_is_split() {
        let mut out = BytesMut::new();
        FrameCodec.encode(Frame::Stdout(vec![7; MAX_PAYLOAD + 1].into()), &mut out).unwrap();
        let lengths: Vec<usize> = std::iter::from_fn(|| match FrameCodec.decode(&mut out).unwrap() {
            Some(Frame::Stdout(bytes)) => Some(bytes.len()),
            _ => None,
        })
        .collect();
        assert_eq!(lengths, [MAX_PAYLOAD, 1]);
    }

    #[test]
    fn what_is_gathered_is_frames() {
        let mut gathered = Gathered::default();
        assert!(gathered.is_empty());
        let long = vec![b'x'; ENOUGH];
        for (error, text) in [(false, &b"a"[..]), (false, b"b"), (true, b"c"), (true, &long), (true, b"d")] {
            gathered.stream(error).put_slice(text);
        }
        let mut out = BytesMut::from(&gathered.take()[..]);
        let frames: Vec<_> = std::iter::from_fn(|| FrameCodec.decode(&mut out).unwrap()).collect();
        let [Frame::Stdout(ab), Frame::Stderr(c), Frame::Stderr(d)] = &frames[..] else { panic!("{}", frames.len()) };
        assert_eq!((ab.as_ref(), c.len(), d.as_ref()), (&b"ab"[..], 1 + ENOUGH, &b"d"[..]));
        assert!(gathered.is_empty() && out.is_empty());
    }

    #[test]
    fn bytes_are_taken_apart_wherever_they_are_cut() {
        let mut bytes = BytesMut::new();
        let sent = [
            Frame::Stdout(Bytes::from_static(b"hello")),
            Frame::Stdout(Bytes::new()),
            Frame::Stderr(Bytes::from_static(b"world")),
            Frame::Exit(7),
        ];
        for frame in sent {
            FrameCodec.encode(frame, &mut bytes).unwrap();
        }
        let bytes = bytes.freeze();
        for step in 1..=bytes.len() {
            let mut splitter = Splitter::default();
            let mut frames = Vec::new();
            for from in (0..bytes.len()).step_by(step) {
                splitter.split(bytes.slice(from..bytes.len().min(from + step)), &mut frames).unwrap();
            }
            assert!(splitter.is_at_boundary());
            let mut all = (Vec::new(), Vec::new(), None);
            for frame in frames {
                match frame {
                    Frame::Stdout(bytes) => all.0.extend_from_slice(&bytes),
                    Frame::Stderr(bytes) => all.1.extend_from_slice(&bytes),
                    other => all.2 = Some(other),
                }
            }
            assert_eq!(all, (b"hello".to_vec(), b"world".to_vec(), Some(Frame::Exit(7))), "{step}");
        }
        let mut splitter = Splitter::default();
        splitter.split(bytes.slice(..10), &mut Vec::new()).unwrap();
        assert!(!splitter.is_at_boundary());
        assert!(splitter.split(Bytes::from_static(&[0xff; 64]), &mut Vec::new()).is_err());
    }

    #[test]
    fn refuses_nonsense() {
        for (bytes, what) in [
            (&b"\x01\0\0\0\xff\xff\xff\xff"[..], "longer"),
            (b"\x63\0\0\0\0\0\0\0", "no stream 99"),
            (b"\x03\0\0\0\0\0\0\x01x", "not what it should be"),
            (b"\x06\0\0\0\0\0\0\x04\0\0\0\x63", "not what it should be"),
            (b"\x01\0\0\0\0\0\0\x05ab", "broke off"),
        ] {
            let error = FrameCodec.decode_eof(&mut BytesMut::from(bytes)).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
    }
}
