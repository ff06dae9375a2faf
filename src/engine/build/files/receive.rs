//! Contexts that come as streams: a tar in any compression is unpacked into a folder, and a text is a Dockerfile alone.
//!
//! Assumption: the folder is made for this build, and nobody else can look into it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use super::FilesError;
use crate::engine::images::Images;
use crate::files::archive::{Limits, looks_like_a_tar, plain};
use crate::files::tree::{Devices, Owner, TreeError, Unpack, unpack};
use crate::files::{self, Beneath};

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A tar, which is in the folder now.
    Tree,
    /// A Dockerfile, and no files beside it.
    Dockerfile(String),
}

/// Bytes of a Dockerfile.
const MAX_DOCKERFILE: u64 = 4 << 20;

/// Takes what `reader` brings into the empty folder `scratch`, which is made if it is not there. `name` is what errors call it.
pub async fn receive(
    reader: impl AsyncRead + Send + Unpin + 'static,
    scratch: PathBuf,
    name: String,
) -> Result<Received, FilesError> {
    let bridge = SyncIoBridge::new(reader);
    let work = tokio::task::spawn_blocking(move || receive_now(bridge, &scratch, &name));
    work.await.map_err(|_| FilesError::Worker)?
}

/// Fetches a context from the web into the empty folder `scratch`.
pub async fn receive_url(images: &Images, url: &str, scratch: PathBuf) -> Result<Received, FilesError> {
    let file = images.web_file(url).await?;
    receive(file.body, scratch, url.to_owned()).await
}

/// The same as [`receive`], for a thread that may block.
pub fn receive_now(mut reader: impl Read + Send, scratch: &Path, name: &str) -> Result<Received, FilesError> {
    let stream = |source| FilesError::Stream { name: name.to_owned(), source };
    let mut head = Vec::with_capacity(512);
    (&mut reader).take(512).read_to_end(&mut head).map_err(stream)?;
    if head.is_empty() {
        return Err(FilesError::Empty { name: name.to_owned() });
    }
    let is_tar = looks_like_a_tar(&head);
    let mut whole = io::Cursor::new(head).chain(reader);
    if !is_tar {
        let mut text = Vec::new();
        (&mut whole).take(MAX_DOCKERFILE + 1).read_to_end(&mut text).map_err(stream)?;
        let text = String::from_utf8(text).ok().filter(|text| !text.contains('\0') && text.len() as u64 <= MAX_DOCKERFILE);
        return text.map(Received::Dockerfile).ok_or_else(|| FilesError::NoContext { name: name.to_owned() });
    }
    files::create_dirs(scratch, 0o700)?;
    let limits = Limits::default();
    let mut tar = plain(&mut whole, &limits).map_err(stream)?;
    let mut root = Beneath::open(scratch)?;
    let how = Unpack {
        // A context's devices are not copied anyway.
        devices: Devices::LeftOut,
        replaces: true,
        limits,
        ..Unpack::new(Path::new(""), Owner::Unpacker)
    };
    let archive = |source| FilesError::Archive { name: name.to_owned(), source };
    unpack(&mut tar, &mut root, &how).map_err(archive)?;
    // To its end, where the checksum is, and for whoever sends it: an answer comes when all is sent.
    io::copy(&mut tar, &mut io::sink()).map_err(|e| archive(TreeError::Archive(e.into())))?;
    Ok(Received::Tree)
}
