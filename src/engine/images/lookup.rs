//! What registries can tell without anything being pulled: what there is, which tags it has, and what refers to it.

use super::registry::{Found, Given, Referrer, Registry, RegistryError};
use super::{Images, ImagesError};
use crate::model::{Digest, ImageRef};

impl Images {
    /// Repositories that match: `TERM` at Docker's registry, `host[:port]/TERM` in the catalog of another one.
    pub async fn search(&self, text: &str, limit: usize, credentials: Option<&Given>) -> Result<Vec<Found>, ImagesError> {
        self.inner.http.search(text, limit, credentials).await.map_err(|source| asked(text, source))
    }

    /// The tags of a repository.
    pub async fn tags(&self, reference: &ImageRef, credentials: Option<&Given>) -> Result<Vec<String>, ImagesError> {
        self.inner.http.tags(reference, credentials).await.map_err(|source| asked(&reference.to_string(), source))
    }

    /// What refers to the image with this digest in the reference's repository: signatures, bills of materials.
    pub async fn referrers(
        &self,
        reference: &ImageRef,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>, ImagesError> {
        let fail = |source| asked(&reference.to_string(), source);
        let registry = Registry::open(&self.inner.http, reference, None).map_err(fail)?;
        registry.referrers(digest, artifact_type).await.map_err(fail)
    }
}

fn asked(what: &str, source: RegistryError) -> ImagesError {
    ImagesError::Ask { what: what.to_owned(), source: Box::new(source) }
}
