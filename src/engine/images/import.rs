//! An import: a root file system, as a tar or a folder, becomes an image of one layer with a configuration of its own.
//! The same content and configuration give the same image, whenever and wherever they are imported.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::layer::{ChannelReader, Form, Layer, Limits, Plain, TreeError, UnpackError, unpack_layer, write_tree};
use super::progress::Meter;
use super::publish::Package;
use super::registry::{WebFile, WebVersion};
use super::rows::Record;
use super::store::{Scratch, Staged};
use super::{Images, ImagesError, InvalidChange, apply_changes, documents, layer};
use crate::files::FileError;
use crate::model::{Digest, ImageRef, Phase, Platform, ProgressSink};
use crate::sys::memory::TrimmedAfter;

/// Where a root file system comes from.
pub enum ImportSource {
    /// A tar (plain, gzip, bzip2, xz or zstd) or a folder.
    Path(PathBuf),
    /// The address of a tar (plain, gzip, bzip2, xz or zstd), `http://` or `https://`.
    Url(String),
    /// A tar (plain, gzip, bzip2, xz or zstd).
    Reader(Box<dyn AsyncRead + Send + Unpin>),
}

/// What containers of an imported image run by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportConfig {
    pub entrypoint: Option<Vec<String>>,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    /// Instructions of a Dockerfile on top of that.
    pub changes: Vec<String>,
    /// What the history says of it.
    pub message: Option<String>,
    /// What the programs in it are made for; this host when absent.
    pub platform: Option<Platform>,
}

impl Images {
    /// Digest over what tells that an import's source changed: a file's bytes; of a folder, every entry's path, kind,
    /// mode, owner, size, time of change and target.
    pub fn fingerprint(path: &Path) -> Result<Digest, ImagesError> {
        layer::fingerprint(path).map_err(|source| of_tree(path, source))
    }

    /// Begins to fetch a file of the web.
    pub async fn web_file(&self, url: &str) -> Result<WebFile, ImagesError> {
        let file = self.inner.http.file(url).await;
        file.map_err(|source| ImagesError::Ask { what: url.to_owned(), source: Box::new(source) })
    }

    /// The same, unless it is this version still.
    pub async fn newer_web_file(&self, url: &str, than: &WebVersion) -> Result<Option<WebFile>, ImagesError> {
        let file = self.inner.http.newer_file(url, than).await;
        file.map_err(|source| ImagesError::Ask { what: url.to_owned(), source: Box::new(source) })
    }

    /// Makes an image from a root file system and gives it the reference, if any.
    pub async fn import(
        &self,
        source: ImportSource,
        reference: impl Into<Option<&ImageRef>>,
        config: ImportConfig,
        fingerprint: Option<Digest>,
        progress: ProgressSink,
    ) -> Result<Digest, ImagesError> {
        let _trimmed = TrimmedAfter;
        let references: Vec<ImageRef> = reference.into().into_iter().cloned().collect();
        let scratch = self.inner.store.scratch()?;
        let limits = self.limits()?;
        let staged = match source {
            ImportSource::Path(path) => {
                tokio::task::spawn_blocking(move || from_path(&path, scratch, &limits, &progress)).await??
            }
            ImportSource::Url(url) => from_reader(self.web_file(&url).await?.body, scratch, limits, &progress).await?,
            ImportSource::Reader(reader) => from_reader(reader, scratch, limits, &progress).await?,
        };
        let package = Arc::new(package(&staged.layer, references, config, fingerprint)?);
        let (digest, reference) = (package.record.digest, package.references.first().cloned());
        let images = self.clone();
        let published = tokio::task::spawn_blocking(move || images.publish_now(&package, &[&staged])).await??;
        // The one layer is ours and is there, so nobody can have taken it away.
        match (published, reference) {
            (true, _) => Ok(digest),
            (false, Some(reference)) => Err(ImagesError::Contended { reference: Box::new(reference) }),
            (false, None) => Err(ImagesError::Missing(digest)),
        }
    }
}

/// Unpacks what a stream brings, while it comes.
async fn from_reader(
    reader: Box<dyn AsyncRead + Send + Unpin>,
    scratch: Scratch,
    limits: Limits,
    progress: &ProgressSink,
) -> Result<Staged, ImagesError> {
    let mut meter = Meter::new(progress, "import".to_owned(), None);
    meter.enter(Phase::Unpacking, 0);
    let (feed, parts) = mpsc::channel(16);
    let unpacking = tokio::task::spawn_blocking(move || {
        let layer = unpack_layer(ChannelReader::new(parts), &scratch.root(), scratch.recorder()?, &limits)?;
        Ok::<_, UnpackError>(scratch.into_staged(layer, None))
    });
    let done = pump(reader, feed, &mut meter).await;
    let staged = unpacking.await?;
    let done = done.map_err(ImagesError::ImportRead)?;
    let staged = staged.map_err(|source| ImagesError::Unpack { layer: "import".to_owned(), source: Box::new(source) })?;
    meter.enter(Phase::Done, done);
    Ok(staged)
}

fn from_path(path: &Path, scratch: Scratch, limits: &layer::Limits, progress: &ProgressSink) -> Result<Staged, ImagesError> {
    let fail = |action, e| FileError::new(action, path, e);
    let meta = fs::metadata(path).map_err(|e| fail("read", e))?;
    let part = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let mut meter = Meter::new(progress, part, meta.is_file().then_some(meta.len()));
    meter.enter(Phase::Unpacking, 0);
    let of_unpack = |source| ImagesError::Unpack { layer: path.display().to_string(), source: Box::new(source) };
    if !meta.is_dir() {
        let file = File::open(path).map_err(|e| fail("open", e))?;
        let layer =
            unpack_layer(Metered { inner: file, done: 0, meter: &mut meter }, &scratch.root(), scratch.recorder()?, limits)
                .map_err(of_unpack)?;
        meter.enter(Phase::Done, meta.len());
        return Ok(scratch.into_staged(layer, None));
    }
    from_tree(path, Form::Image, scratch, limits, &mut meter)
}

/// A folder becomes a layer, by way of its tar.
pub(super) fn from_tree(
    path: &Path,
    form: Form<'_>,
    scratch: Scratch,
    limits: &layer::Limits,
    meter: &mut Meter,
) -> Result<Staged, ImagesError> {
    let of_unpack = |source| ImagesError::Unpack { layer: path.display().to_string(), source: Box::new(source) };
    let (root, recorder) = (scratch.root(), scratch.recorder()?);
    let (reader, writer) = io::pipe().map_err(|e| FileError::new("open a pipe for", path, e))?;
    let layer = std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            let mut writer = Plain(BufWriter::with_capacity(256 << 10, writer));
            write_tree(path, form, &mut writer).and_then(|()| writer.flush().map_err(TreeError::Write))
        });
        let unpacked = unpack_layer(Metered { inner: reader, done: 0, meter: &mut *meter }, &root, recorder, limits);
        let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (written, unpacked) {
            // Whoever unpacks gave up first, and the pipe broke.
            (Err(TreeError::Write(e)), Err(source)) if e.kind() == io::ErrorKind::BrokenPipe => Err(of_unpack(source)),
            (Err(source), _) => Err(of_tree(path, source)),
            (Ok(()), unpacked) => unpacked.map_err(of_unpack),
        }
    })?;
    meter.enter(Phase::Done, layer.tar_size);
    Ok(scratch.into_staged(layer, None))
}

/// Reports what passes.
struct Metered<'a, R> {
    inner: R,
    done: u64,
    meter: &'a mut Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.done += n as u64;
        self.meter.moved(Phase::Unpacking, self.done);
        Ok(n)
    }
}

/// Feeds a thread that reads a channel.
pub(super) async fn pump(
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
    feed: mpsc::Sender<io::Result<bytes::Bytes>>,
    meter: &mut Meter,
) -> io::Result<u64> {
    let mut done = 0;
    loop {
        let mut part = bytes::BytesMut::with_capacity(128 << 10);
        match reader.read_buf(&mut part).await {
            Ok(0) => return Ok(done),
            Ok(n) => done += n as u64,
            Err(error) => {
                // The unpacking must not take this for the end of the archive.
                let told = io::Error::new(error.kind(), error.to_string());
                drop(feed.send(Err(told)).await);
                return Err(error);
            }
        }
        meter.moved(Phase::Unpacking, done);
        // Whoever unpacks has given up, and says why.
        if feed.send(Ok(part.freeze())).await.is_err() {
            return Ok(done);
        }
    }
}

fn of_tree(path: &Path, source: TreeError) -> ImagesError {
    match source {
        TreeError::File(error) => error.into(),
        source => ImagesError::Import { path: path.to_owned(), source },
    }
}

/// The documents of an image of one layer.
fn package(
    layer: &Layer,
    references: Vec<ImageRef>,
    config: ImportConfig,
    fingerprint: Option<Digest>,
) -> Result<Package, InvalidChange> {
    // As old as the newest thing in it, so that the same content gives the same image.
    let created = OffsetDateTime::from_unix_timestamp(layer.newest).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let created_text = created.format(&Rfc3339).ok();
    let platform = config.platform.unwrap_or_else(Platform::host);
    let comment = config.message.unwrap_or_else(|| "imported".to_owned());
    let mut run = Map::new();
    let mut say = |key: &str, value: Option<Value>| run.extend(value.map(|value| (key.to_owned(), value)));
    let environment: Vec<String> = config.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    say("User", config.user.map(Value::from));
    say("Env", Some(environment.into()));
    say("Entrypoint", config.entrypoint.map(Value::from));
    say("Cmd", config.command.map(Value::from));
    say("WorkingDir", config.working_dir.map(Value::from));
    apply_changes(&mut run, &config.changes)?;
    let mut image = json!({
        "created": created_text,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": run,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id]},
        "history": [{"created": created_text, "comment": comment}],
    });
    if let Some(variant) = platform.variant {
        image["variant"] = variant.into();
    }
    let image = image.to_string().into_bytes();
    let config_digest = Digest::of(&image);
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": documents::OCI_MANIFEST,
        "config": {"mediaType": documents::OCI_CONFIG, "digest": config_digest, "size": image.len()},
        "layers": [{"mediaType": documents::OCI_TAR, "digest": layer.diff_id, "size": layer.tar_size}],
    });
    let manifest = manifest.to_string().into_bytes();
    let record = Record {
        digest: Digest::of(&manifest),
        config: config_digest,
        created,
        layers: vec![layer.diff_id],
        imported_from: fingerprint,
    };
    let (blobs, members) = (Vec::new(), Vec::new());
    Ok(Package { record, manifest, config: image, references, members, blobs, place: None })
}
