//! Answers that do not end soon: lines of JSON, frames one way, frames both ways.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;

use super::ClientError;
use crate::wire::frame::{Frame, FrameCodec, FrameWriter};
use crate::wire::native::Line;

/// A connection that carries frames both ways.
#[derive(Debug)]
pub struct Session {
    pub frames: FramedRead<ReadHalf<TokioIo<Upgraded>>, FrameCodec>,
    pub input: FrameWriter<WriteHalf<TokioIo<Upgraded>>>,
}

impl Session {
    pub(super) fn new(connection: TokioIo<Upgraded>) -> Self {
        let (read, write) = tokio::io::split(connection);
        Self { frames: FramedRead::with_capacity(read, FrameCodec, BUFFER), input: FrameWriter::new(write) }
    }
}

/// Frames from the engine.
pub type FrameStream = std::pin::Pin<Box<dyn Stream<Item = Result<Frame, ClientError>> + Send>>;

const BUFFER: usize = 64 << 10;
/// A plan with thousands of steps is one line.
const LONGEST_LINE: usize = 256 << 20;

pub(super) fn frames(body: Incoming) -> FrameStream {
    FramedRead::with_capacity(reader(body), FrameCodec, BUFFER).map_err(ClientError::from).boxed()
}

pub(super) fn lines<T: DeserializeOwned>(body: Incoming) -> impl Stream<Item = Result<T, ClientError>> + Unpin {
    FramedRead::new(reader(body), LinesCodec::new_with_max_length(LONGEST_LINE)).map(|line| {
        match serde_json::from_str(&line?).map_err(ClientError::Answer)? {
            Line::Value(value) => Ok(value),
            Line::Failed { error } => Err(ClientError::Refused(error)),
        }
    })
}

pub(super) fn reader(body: Incoming) -> impl AsyncRead + Unpin + Send {
    StreamReader::new(body.into_data_stream().map_err(io::Error::other).map_ok(Bytes::from))
}
