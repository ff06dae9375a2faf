//! Caches of builds that are elsewhere: in a registry, in a folder with an OCI layout, or in an image's configuration. Which key
//! came to which layer is read at once, layers only when somebody needs their files. Knows nothing of what a step is.
//!
//! Guarantees: a cache in a registry must be signed where an image there must be; every layer is checked against both of its digests
//! before anything is made of it; a cache has its name only once all that it names is there.

mod document;
mod export;
mod import;

use super::ImagesError;
use super::layout::LayoutError;
use super::registry::{RegistryError, Trouble};

pub use self::document::{CacheDocumentError, INLINE_OWN, INLINE_RECORDS};
use self::document::{write, write_inline};
pub use self::import::ImportedCache;
pub(super) use self::import::{Fetched, Pending};

/// What can go wrong with a cache; where it is says whoever named it.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("{0}")]
    Registry(Box<RegistryError>),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Document(#[from] CacheDocumentError),
    #[error(transparent)]
    Images(Box<ImagesError>),
    #[error("a cache in the image itself is written with the image")]
    Inline,
}

impl CacheError {
    /// Whether there is no such cache, which is as well: it is not written yet.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Registry(error) => error.trouble() == Trouble::NotFound,
            Self::Layout(LayoutError::NoLayout { path }) => !path.exists(),
            _ => false,
        }
    }
}

impl From<RegistryError> for CacheError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<ImagesError> for CacheError {
    fn from(error: ImagesError) -> Self {
        Self::Images(Box::new(error))
    }
}

impl From<tokio::task::JoinError> for CacheError {
    fn from(error: tokio::task::JoinError) -> Self {
        ImagesError::from(error).into()
    }
}
