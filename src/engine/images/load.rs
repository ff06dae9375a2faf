//! A load: an archive of images, in the form of `docker save` or as an OCI layout, becomes images in the store. It is read
//! once, from its start to its end: what looks like a layer is unpacked as it comes, and the documents, wherever they stand,
//! say at the end what it was.
//!
//! Guarantees: as for a pull. All digests are checked before anything is visible, an image is whole and on the disk then,
//! and of an archive that is refused nothing remains.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex};
use serde::Deserialize;
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::documents::{self, Document, DocumentError, MAX_DOCUMENT, Manifest};
use super::import::pump;
use super::layer::{
    Archive, ArchiveError, ChannelReader, Entry, Hashed, Kept, Kind, UnpackError, looks_like_a_tar, plain, unpack_layer,
};
use super::progress::Meter;
use super::publish::Package;
use super::pull::{created, layer_blobs};
use super::rows::{self, Record};
use super::store::Staged;
use super::{Images, ImagesError, manifests};
use crate::files::Inside;
use crate::files::beneath::Escapes;
use crate::model::reference::InvalidReference;
use crate::model::{Digest, ImageRef, Phase, Platform, ProgressSink};
use crate::sys::memory::TrimmedAfter;

/// Annotations that name an image in an OCI layout.
pub(super) const CONTAINERD_NAME: &str = "io.containerd.image.name";
pub(super) const OCI_NAME: &str = "org.opencontainers.image.ref.name";

const DOCKER_INDEX: &str = "manifest.json";
const OCI_LAYOUT: &str = "oci-layout";
const OCI_INDEX_NAME: &str = "index.json";
/// What of an archive is kept in memory: its documents, and the names of its entries.
const MAX_DOCUMENTS: u64 = 64 << 20;
const MAX_ENTRIES: usize = 100_000;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("the archive is broken: {0}")]
    Archive(#[from] ArchiveError),
    #[error("refused: {0}")]
    Escapes(#[from] Escapes),
    #[error("it is not an archive of images: it has neither {DOCKER_INDEX} nor {OCI_INDEX_NAME}")]
    NoImages,
    #[error("the archive lacks {0}")]
    Lacks(String),
    #[error("{0} is not what it should be: expected a {1}")]
    Kind(String, &'static str),
    #[error("{name} has the digest {found}")]
    Digest { name: String, found: Digest },
    #[error("{name}: {source}")]
    Document { name: String, source: Box<DocumentError> },
    #[error("{name}: {source}")]
    Json { name: String, source: serde_json::Error },
    #[error("layer {name} unpacks to {found}, and the image's configuration says {expected}")]
    DiffId { name: String, expected: Digest, found: Digest },
    #[error(transparent)]
    Reference(#[from] InvalidReference),
    #[error("refused: more than {0}")]
    TooMuch(&'static str),
}

/// How an archive is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Of several in an index; this host's when absent.
    pub platform: Option<Platform>,
    /// Whether to keep the layers' blobs; as the settings say when absent.
    pub keep_blobs: Option<bool>,
}

/// An image that was loaded, and the names that it got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub digest: Digest,
    pub references: Vec<ImageRef>,
}

impl Images {
    /// Loads all images of an archive, plain or compressed with gzip, bzip2, xz or zstd.
    pub async fn load(
        &self,
        reader: Box<dyn AsyncRead + Send + Unpin>,
        options: LoadOptions,
        progress: ProgressSink,
    ) -> Result<Vec<Loaded>, ImagesError> {
        let _trimmed = TrimmedAfter;
        let (feed, parts) = mpsc::channel(16);
        let images = self.clone();
        let mut meter = Meter::new(&progress, "archive".to_owned(), None);
        let loading = tokio::task::spawn_blocking(move || images.load_now(ChannelReader::new(parts), &options, &progress));
        meter.enter(Phase::Unpacking, 0);
        let read = pump(reader, feed, &mut meter).await;
        let loaded = loading.await?;
        let read = read.map_err(ImagesError::ImportRead)?;
        meter.enter(Phase::Done, read);
        loaded
    }

    fn load_now(
        &self,
        source: impl Read + Send,
        options: &LoadOptions,
        progress: &ProgressSink,
    ) -> Result<Vec<Loaded>, ImagesError> {
        let keep = options.keep_blobs.unwrap_or(self.inner.settings.keep_blobs);
        let contents = self.read_archive(source, keep, progress)?;
        let wanted = options.platform.clone().unwrap_or_else(Platform::host);
        let packages = if contents.has(OCI_LAYOUT) && contents.has(OCI_INDEX_NAME) {
            contents.oci_packages(&wanted)?
        } else if contents.has(DOCKER_INDEX) {
            contents.docker_packages()?
        } else {
            return Err(LoadError::NoImages.into());
        };
        let staged: Vec<&Staged> = contents.layers.values().filter_map(|layer| layer.staged.as_ref()).collect();
        let mut loaded = Vec::new();
        for package in packages {
            // A layer that was here when it was read may have been removed since.
            if !self.publish_now(&package, &staged)? {
                return Err(ImagesError::Missing(package.record.digest));
            }
            loaded.push(Loaded { digest: package.record.digest, references: package.references });
        }
        Ok(loaded)
    }

    /// Reads the whole archive, and unpacks what looks like a layer.
    fn read_archive(&self, source: impl Read + Send, keep: bool, progress: &ProgressSink) -> Result<Contents, ImagesError> {
        let broken = |e| ImagesError::from(LoadError::Archive(e));
        let mut archive = Archive::new(plain(source, &self.limits()?).map_err(|e| broken(e.into()))?);
        let mut contents = Contents::default();
        let (mut entries, mut bytes) = (0, 0);
        while let Some(entry) = archive.next_entry().map_err(broken)? {
            entries += 1;
            if entries > MAX_ENTRIES {
                return Err(LoadError::TooMuch("100000 entries").into());
            }
            let name = Inside::new(&entry.name).map_err(LoadError::from)?.as_path().to_owned();
            match entry.kind {
                Kind::Symlink | Kind::Hardlink => {
                    contents.aliases.extend(target(&name, &entry).map(|target| (name, target)));
                }
                Kind::File if entry.pieces.is_none() => {
                    let mut head = Vec::new();
                    (&mut archive).take(512).read_to_end(&mut head).map_err(|e| broken(e.into()))?;
                    if entry.size == 0 || looks_like_a_tar(&head) {
                        let source = Read::chain(io::Cursor::new(head), &mut archive);
                        let layer = self.read_layer(source, &name, entry.size, keep, progress)?;
                        contents.layers.insert(name, layer);
                    } else if matches!(head.trim_ascii_start().first(), Some(b'{' | b'[')) && entry.size <= MAX_DOCUMENT {
                        bytes += entry.size;
                        if bytes > MAX_DOCUMENTS {
                            return Err(LoadError::TooMuch("64 MiB of documents").into());
                        }
                        archive.read_to_end(&mut head).map_err(|e| broken(e.into()))?;
                        checked(&name, Digest::of(&head))?;
                        contents.documents.insert(name, head);
                    }
                }
                Kind::File | Kind::CharDevice | Kind::BlockDevice | Kind::Folder | Kind::Fifo => {}
            }
        }
        archive.drain().map_err(broken)?;
        Ok(contents)
    }

    /// Unpacks a layer, or only checks it when it is here.
    fn read_layer(
        &self,
        source: impl Read + Send,
        name: &Path,
        size: u64,
        keep: bool,
        progress: &ProgressSink,
    ) -> Result<Layer, ImagesError> {
        let of_read = |e: io::Error| ImagesError::from(LoadError::Archive(e.into()));
        let part = promised(name).map_or_else(|| name.display().to_string(), |digest| digest.short());
        let mut meter = Meter::new(progress, part, Some(size));
        let mut source = Hashed::new(source);
        if let Some(diff_id) = self.known_layer(name)?.filter(|_| !keep) {
            io::copy(&mut source, &mut io::sink()).map_err(of_read)?;
            meter.enter(Phase::Exists, size);
            return Ok(Layer { diff_id, digest: checked(name, source.digest())?, size, staged: None, tar_size: size });
        }
        meter.enter(Phase::Unpacking, 0);
        let scratch = self.inner.store.scratch()?;
        let kept = keep.then(|| scratch.blob());
        let of_unpack = |source: UnpackError| ImagesError::Unpack { layer: name.display().to_string(), source: Box::new(source) };
        let copied = Kept::new(&mut source, kept)?;
        let layer = unpack_layer(copied, &scratch.root(), scratch.recorder()?, &self.limits()?).map_err(of_unpack)?;
        io::copy(&mut source, &mut io::sink()).map_err(of_read)?;
        let digest = checked(name, source.digest())?;
        meter.enter(Phase::Done, size);
        // A blob that is its own tar can be brought back without being kept.
        let kept = Some(digest).filter(|digest| keep && *digest != layer.diff_id);
        let (diff_id, tar_size) = (layer.diff_id, layer.tar_size);
        Ok(Layer { diff_id, digest, size, tar_size, staged: Some(scratch.into_staged(layer, kept)) })
    }

    /// The layer that is here and that a blob of this name is.
    fn known_layer(&self, name: &Path) -> Result<Option<Digest>, ImagesError> {
        let Some(digest) = promised(name) else { return Ok(None) };
        if self.has_layer(&digest)? {
            return Ok(Some(digest));
        }
        let known = self.inner.db.read(|t| rows::blob(t, &digest))?.map(|blob| blob.diff_id);
        Ok(match known {
            Some(diff_id) if self.has_layer(&diff_id)? => Some(diff_id),
            _ => None,
        })
    }
}

/// What was in an archive.
#[derive(Default)]
struct Contents {
    documents: BTreeMap<PathBuf, Vec<u8>>,
    layers: BTreeMap<PathBuf, Layer>,
    /// Links to other entries.
    aliases: BTreeMap<PathBuf, PathBuf>,
}

struct Layer {
    diff_id: Digest,
    /// Of what was in the archive.
    digest: Digest,
    size: u64,
    tar_size: u64,
    /// `None`: it was here.
    staged: Option<Staged>,
}

impl Contents {
    fn has(&self, name: &str) -> bool {
        self.documents.contains_key(Path::new(name))
    }

    fn resolve<'a>(&'a self, name: &'a Path) -> &'a Path {
        // A chain is as long as there are links at most.
        let mut name = name;
        for _ in 0..=self.aliases.len().min(16) {
            match self.aliases.get(name) {
                Some(target) => name = target,
                None => break,
            }
        }
        name
    }

    fn document(&self, name: &str) -> Result<&[u8], LoadError> {
        let found = self.documents.get(self.resolve(Path::new(name)));
        found.map(Vec::as_slice).ok_or_else(|| LoadError::Lacks(name.to_owned()))
    }

    fn layer(&self, name: &str) -> Result<&Layer, LoadError> {
        self.layers.get(self.resolve(Path::new(name))).ok_or_else(|| LoadError::Lacks(name.to_owned()))
    }

    fn docker_packages(&self) -> Result<Vec<Package>, LoadError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Image {
            config: String,
            repo_tags: Option<Vec<String>>,
            layers: Option<Vec<String>>,
        }
        let json = |source| LoadError::Json { name: DOCKER_INDEX.to_owned(), source };
        let images: Vec<Image> = serde_json::from_slice(self.document(DOCKER_INDEX)?).map_err(json)?;
        let mut packages = Vec::new();
        for image in images {
            let content = self.document(&image.config)?.to_vec();
            let names = image.layers.unwrap_or_default();
            let of_document = |source| LoadError::Document { name: image.config.clone(), source: Box::new(source) };
            let (config, diff_ids) = documents::configuration(&content, names.len()).map_err(of_document)?;
            // `<hex>.json`, as docker has named configurations for long.
            let digest = Digest::of(&content);
            let stem = image.config.strip_suffix(".json").filter(|stem| stem.len() == 64 && !stem.contains('/'));
            if stem.is_some_and(|stem| stem != digest.hex()) {
                return Err(LoadError::Digest { name: image.config, found: digest });
            }
            let mut layers = Vec::new();
            for (name, expected) in names.iter().zip(&diff_ids) {
                let layer = self.layer(name)?;
                same(name, *expected, layer.diff_id)?;
                let size = if layer.digest == layer.diff_id { layer.size } else { layer.tar_size };
                layers.push((*expected, size));
            }
            let manifest = manifests::of_tars(&content, &layers);
            let tags = image.repo_tags.unwrap_or_default();
            let references = tags.iter().filter(|tag| !tag.starts_with("<none>")).map(|tag| tag.parse::<ImageRef>());
            let references = references.collect::<Result<_, _>>()?;
            let record = Record {
                digest: Digest::of(&manifest),
                config: digest,
                created: created(&config),
                layers: diff_ids,
                imported_from: None,
            };
            packages.push(Package {
                record,
                manifest,
                config: content,
                references,
                members: Vec::new(),
                blobs: layers.iter().map(|(diff_id, size)| manifests::plain_blob(*diff_id, *size)).collect(),
                place: None,
            });
        }
        Ok(packages)
    }

    fn oci_packages(&self, wanted: &Platform) -> Result<Vec<Package>, LoadError> {
        let of_index = |source| LoadError::Document { name: OCI_INDEX_NAME.to_owned(), source: Box::new(source) };
        let index = match documents::parse(self.document(OCI_INDEX_NAME)?, Some(documents::OCI_INDEX)).map_err(of_index)? {
            Document::Index(index) => index,
            Document::Manifest(_) => return Err(LoadError::Kind(OCI_INDEX_NAME.to_owned(), "list of images")),
        };
        let mut packages: Vec<Package> = Vec::new();
        for descriptor in chosen(&index, wanted) {
            let mut name = blob_name(descriptor)?;
            let mut content = self.document(&name)?;
            let of_document = |name: &str| {
                let name = name.to_owned();
                move |source| LoadError::Document { name, source: Box::new(source) }
            };
            let mut parsed = documents::parse(content, Some(descriptor.media_type().as_ref())).map_err(of_document(&name))?;
            if let Document::Index(inner) = &parsed {
                let chosen = documents::select(inner, wanted).map_err(of_document(&name))?;
                name = format!("blobs/sha256/{}", chosen.digest.hex());
                content = self.document(&name)?;
                parsed = documents::parse(content, None).map_err(of_document(&name))?;
            }
            let Document::Manifest(manifest) = parsed else { return Err(of_document(&name)(DocumentError::Nested)) };
            let references = named(descriptor);
            let package = self.oci_package(&name, content, &manifest, references)?;
            match packages.iter_mut().find(|known| known.record.digest == package.record.digest) {
                Some(known) => known.references.extend(package.references),
                None => packages.push(package),
            }
        }
        Ok(packages)
    }

    fn oci_package(
        &self,
        name: &str,
        content: &[u8],
        manifest: &Manifest,
        references: Vec<ImageRef>,
    ) -> Result<Package, LoadError> {
        let of_document = |source| LoadError::Document { name: name.to_owned(), source: Box::new(source) };
        let config_content = self.document(&format!("blobs/sha256/{}", manifest.config.digest.hex()))?.to_vec();
        let (config, diff_ids) = documents::configuration(&config_content, manifest.layers.len()).map_err(of_document)?;
        for (blob, expected) in manifest.layers.iter().zip(&diff_ids) {
            let name = format!("blobs/sha256/{}", blob.digest.hex());
            same(&name, *expected, self.layer(&name)?.diff_id)?;
        }
        let record = Record {
            digest: Digest::of(content),
            config: manifest.config.digest,
            created: created(&config),
            layers: diff_ids,
            imported_from: None,
        };
        let blobs = layer_blobs(&record.layers, &manifest.layers);
        let (manifest, config, members) = (content.to_vec(), config_content, Vec::new());
        Ok(Package { record, manifest, config, references, members, blobs, place: None })
    }
}

/// The images of an index: all, but of one name only that of the wanted platform, and nothing that is no image.
fn chosen<'a>(index: &'a ImageIndex, wanted: &Platform) -> Vec<&'a Descriptor> {
    let all: Vec<&Descriptor> = index.manifests().iter().filter(|d| !is_for(d, |p| p.os == "unknown")).collect();
    let mut names = BTreeMap::<_, usize>::new();
    for descriptor in &all {
        *names.entry(named(descriptor)).or_default() += 1;
    }
    let several: BTreeSet<_> = names.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect();
    let fits = |d: &Descriptor| d.platform().is_none() || is_for(d, |platform| platform.runs_on(wanted));
    all.into_iter().filter(|d| !several.contains(&named(d)) || fits(d)).collect()
}

fn is_for(descriptor: &Descriptor, is: impl Fn(&Platform) -> bool) -> bool {
    descriptor.platform().as_ref().is_some_and(|platform| {
        is(&Platform {
            os: platform.os().to_string(),
            architecture: platform.architecture().to_string(),
            variant: platform.variant().clone(),
        })
    })
}

/// The name of an image in a layout. A bare tag says nothing of the repository, and is none.
fn named(descriptor: &Descriptor) -> Vec<ImageRef> {
    let Some(annotations) = descriptor.annotations() else { return Vec::new() };
    let whole = annotations.get(CONTAINERD_NAME);
    let name = whole.or_else(|| annotations.get(OCI_NAME).filter(|name| name.contains([':', '/'])));
    name.and_then(|name| name.parse().ok()).into_iter().collect()
}

fn blob_name(descriptor: &Descriptor) -> Result<String, LoadError> {
    let digest = descriptor.digest().to_string();
    let of_document = |source: DocumentError| LoadError::Document { name: OCI_INDEX_NAME.to_owned(), source: Box::new(source) };
    let digest: Digest = digest.parse().map_err(|e| of_document(DocumentError::Digest(e)))?;
    Ok(format!("blobs/sha256/{}", digest.hex()))
}

/// The digest that an entry's name promises.
fn promised(name: &Path) -> Option<Digest> {
    let hex = name.strip_prefix("blobs/sha256").ok()?.to_str()?;
    format!("sha256:{hex}").parse().ok()
}

fn checked(name: &Path, found: Digest) -> Result<Digest, LoadError> {
    match promised(name) {
        Some(expected) if expected != found => Err(LoadError::Digest { name: name.display().to_string(), found }),
        _ => Ok(found),
    }
}

fn same(name: &str, expected: Digest, found: Digest) -> Result<(), LoadError> {
    if expected == found { Ok(()) } else { Err(LoadError::DiffId { name: name.to_owned(), expected, found }) }
}

/// What a link in the archive leads to. `None`: out of it.
fn target(name: &Path, entry: &Entry) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let link = Path::new(std::ffi::OsStr::from_bytes(&entry.link));
    let base = if entry.kind == Kind::Symlink { name.parent()? } else { Path::new("") };
    let mut clean = PathBuf::new();
    for component in base.join(link).components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir if !clean.pop() => return None,
            Component::ParentDir | Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(clean)
}
