//! What can go wrong with images, each with the image, layer or path it went wrong with.

use std::path::PathBuf;

use super::documents::DocumentError;
use super::layer::{CompleteError, TreeError, UnpackError};
use super::layout::LayoutError;
use super::load::LoadError;
use super::registry::{RegistryError, SettingsError};
use super::verify::VerifyError;
use crate::engine::state::StateError;
use crate::files::FileError;
use crate::model::{Digest, ImageRef};

#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error("pull {reference}: {source}")]
    Registry { reference: Box<ImageRef>, source: Box<RegistryError> },
    #[error("pull {reference}: {source}")]
    Document { reference: Box<ImageRef>, source: Box<DocumentError> },
    #[error("pull {reference}: refused: {source}")]
    Verify { reference: Box<ImageRef>, source: Box<VerifyError> },
    #[error("push {reference}: {source}")]
    Push { reference: Box<ImageRef>, source: Box<RegistryError> },
    #[error("push {reference}: the content of layer {diff_id} is not kept, and cannot be made again from its folder")]
    NotPushable { reference: Box<ImageRef>, diff_id: Digest },
    #[error("push {reference}: a push names a tag, and not only a digest")]
    NoTag { reference: Box<ImageRef> },
    #[error("push {reference}: {image} is for {platform}, as another image of the index is")]
    SamePlatform { reference: Box<ImageRef>, image: String, platform: String },
    #[error("ask {what}: {source}")]
    Ask { what: String, source: Box<RegistryError> },
    #[error("settings of registries: {0}")]
    Settings(#[from] SettingsError),
    #[error("unpack layer {layer}: {source}")]
    Unpack { layer: String, source: Box<UnpackError> },
    #[error("layer {diff_id}: {source}")]
    Complete { diff_id: Digest, source: CompleteError },
    #[error("{} has the digest {found}, and {expected} was promised", path.display())]
    Blob { path: PathBuf, expected: Digest, found: Digest },
    #[error("layer {blob} unpacks to {found}, and the image's configuration says {expected}")]
    DiffId { blob: Digest, expected: Digest, found: Digest },
    #[error("import {}: {source}", path.display())]
    Import { path: PathBuf, source: TreeError },
    #[error("export {}: {source}", path.display())]
    Export { path: PathBuf, source: TreeError },
    #[error("read the archive: {0}")]
    ImportRead(std::io::Error),
    #[error(transparent)]
    Change(#[from] super::InvalidChange),
    #[error("load: {0}")]
    Load(Box<LoadError>),
    #[error(transparent)]
    Layout(Box<LayoutError>),
    #[error("write the archive: {0}")]
    Save(std::io::Error),
    #[error("{0} is an image's id, and not a name")]
    Id(Digest),
    #[error("no image {0} here")]
    Missing(Digest),
    #[error("{text:?} is the start of more than one image's digest; give more digits")]
    Ambiguous { text: String },
    #[error("the folder of layer {diff_id} is gone from the store; remove the image and pull it again")]
    LayerGone { diff_id: Digest },
    #[error("it was not pulled from a registry, and its blob was not kept, so there is nowhere to get it from")]
    NoSource,
    #[error("layer {diff_id} is damaged: {what}")]
    LayerDamaged { diff_id: Digest, what: String },
    #[error("layer {diff_id} was unpacked by an earlier version, which did not keep what its tar needs")]
    NoSkeleton { diff_id: Digest },
    #[error("the stored content {digest} is damaged; remove the image and pull it again")]
    Damaged { digest: Digest },
    #[error("the image {reference} was removed again and again while it was pulled")]
    Contended { reference: Box<ImageRef> },
    #[error("a worker ended before its work: {0}")]
    Worker(#[from] tokio::task::JoinError),
}

impl From<LoadError> for ImagesError {
    fn from(error: LoadError) -> Self {
        Self::Load(Box::new(error))
    }
}
