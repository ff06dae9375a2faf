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
use crate::wire::frame::{Frame, FrameCodec, FrameError, FrameWriter, Splitter};
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
    let parts = body.into_data_stream().map_err(ClientError::from);
    // What comes of one part; a broken frame ends it all.
    let taken = futures_util::stream::unfold(Some((parts, Splitter::default())), |state| async move {
        let (mut parts, mut splitter) = state?;
        let mut frames = Vec::new();
        let result = match parts.next().await {
            Some(Ok(bytes)) => splitter.split(bytes, &mut frames).map_err(ClientError::from),
            Some(Err(error)) => Err(error),
            None if splitter.is_at_boundary() => return None,
            None => Err(FrameError::Truncated.into()),
        };
        let mut items: Vec<_> = frames.into_iter().map(Ok).collect();
        let next = result.is_ok().then_some((parts, splitter));
        items.extend(result.err().map(Err));
        Some((futures_util::stream::iter(items), next))
    });
    taken.flatten().boxed()
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
