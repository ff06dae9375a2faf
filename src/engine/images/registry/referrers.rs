//! What refers to an image: signatures, bills of materials. By the referrers API, and where a registry does not know it, by
//! the tag that stands in for it.
//! Source: the OCI Distribution Specification, "Listing Referrers" and "Unavailable Referrers API".

use std::collections::BTreeMap;

use reqwest::Client;
use serde::{Deserialize, Serialize};

use super::endpoint::Endpoint;
use super::{RegistryError, fetch};
use crate::model::Digest;

/// A manifest that names another one as its subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Referrer>,
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Answers come page by page; a registry that always has one more is not followed for ever.
const MAX_PAGES: usize = 32;

impl fetch::Registry {
    /// What refers to `digest`, of one kind or of all. Mirrors count only when they have something.
    pub(in crate::engine::images) async fn referrers(
        &self,
        digest: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>, RegistryError> {
        let (last, mirrors) = self.sources.split_last().ok_or(RegistryError::Nowhere)?;
        for mirror in mirrors {
            match mirror.referrers(digest).await {
                Ok(found) if !found.is_empty() => return Ok(of_type(found, artifact_type)),
                Ok(_) => {}
                Err(error) => tracing::info!(mirror = mirror.host, %error, "the mirror is passed over"),
            }
        }
        Ok(of_type(last.referrers(digest).await?, artifact_type))
    }
}

/// Registries need not filter, and some say that they have when they have not.
fn of_type(mut found: Vec<Referrer>, wanted: Option<&str>) -> Vec<Referrer> {
    found.retain(|referrer| wanted.is_none() || referrer.artifact_type.as_deref() == wanted);
    found
}

impl Endpoint {
    async fn referrers(&self, digest: Digest) -> Result<Vec<Referrer>, RegistryError> {
        let mut found = Vec::new();
        let mut next = Some(self.url("referrers", &digest.to_string())?);
        for page in 0..MAX_PAGES {
            let Some(url) = next.take() else { return Ok(found) };
            let build = |client: &Client| client.get(url.clone()).header(reqwest::header::ACCEPT, INDEX);
            match self.document("list of referrers", build).await {
                Ok((headers, content)) => {
                    let index: Index = serde_json::from_slice(&content).map_err(|_| self.unread("list of referrers"))?;
                    found.extend(index.manifests);
                    next = self.next_page(&url, &headers);
                }
                Err(RegistryError::NotFound { .. }) if page == 0 => return self.referrers_by_tag(digest).await,
                Err(error) => return Err(error),
            }
        }
        Err(RegistryError::Endless { registry: self.host.clone(), what: "list of referrers" })
    }

    async fn referrers_by_tag(&self, digest: Digest) -> Result<Vec<Referrer>, RegistryError> {
        let url = self.url("manifests", &format!("sha256-{}", digest.hex()))?;
        let build = |client: &Client| client.get(url.clone()).header(reqwest::header::ACCEPT, INDEX);
        match self.document("list of referrers", build).await {
            Ok((_, content)) => {
                let index: Index = serde_json::from_slice(&content).map_err(|_| self.unread("list of referrers"))?;
                Ok(index.manifests)
            }
            Err(RegistryError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
