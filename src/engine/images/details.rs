//! All that is known of an image: what the store has, and what the image's configuration says, under the names that Docker
//! has for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Images, ImagesError, rows};
use crate::model::Digest;
use crate::observed;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageDetails {
    #[serde(flatten)]
    pub image: observed::Image,
    /// The digest of the configuration, which is what Docker calls an image's id.
    #[serde(rename = "Id")]
    pub id: Digest,
    #[serde(rename = "RepoTags")]
    pub repo_tags: Vec<String>,
    /// The names with the digest in place of the tag.
    #[serde(rename = "RepoDigests")]
    pub repo_digests: Vec<String>,
    #[serde(rename = "Created")]
    pub created: Value,
    #[serde(rename = "Author")]
    pub author: String,
    /// What the newest step of the history says.
    #[serde(rename = "Comment")]
    pub comment: String,
    #[serde(rename = "Architecture")]
    pub architecture: String,
    #[serde(rename = "Variant")]
    pub variant: String,
    #[serde(rename = "Os")]
    pub os: String,
    /// Bytes of its layers, unpacked.
    #[serde(rename = "Size")]
    pub size: u64,
    /// What its containers run by default.
    #[serde(rename = "Config")]
    pub config: Value,
    #[serde(rename = "RootFS")]
    pub root_fs: RootFsDetails,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RootFsDetails {
    #[serde(rename = "Type")]
    pub kind: String,
    /// The digests of the layers' tars, the lowest first.
    pub layers: Vec<Digest>,
}

impl Images {
    pub fn details(&self, digest: Digest) -> Result<ImageDetails, ImagesError> {
        let image = self.inner.db.read(|t| rows::by_digest(t, &digest))?.ok_or(ImagesError::Missing(digest))?;
        let (id, layers) = self.content_of(&digest)?;
        let said = self.said(&digest)?;
        let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let newest = said.get("history").and_then(Value::as_array).and_then(|steps| steps.last()).cloned().unwrap_or_default();
        let tagged = image.references.iter().filter(|reference| reference.tag().is_some());
        let digests: std::collections::BTreeSet<String> =
            image.references.iter().map(|reference| reference.at(reference.digest().unwrap_or(digest)).to_string()).collect();
        Ok(ImageDetails {
            id,
            repo_tags: tagged.map(|reference| reference.tagged().to_string()).collect(),
            repo_digests: digests.into_iter().collect(),
            created: said.get("created").cloned().unwrap_or_default(),
            author: text(&said, "author"),
            comment: text(&newest, "comment"),
            architecture: text(&said, "architecture"),
            variant: text(&said, "variant"),
            os: text(&said, "os"),
            size: image.size,
            config: said.get("config").cloned().unwrap_or_default(),
            root_fs: RootFsDetails { kind: "layers".to_owned(), layers },
            image,
        })
    }

    /// The labels of all images that have any.
    pub fn labels(&self) -> Result<BTreeMap<Digest, BTreeMap<String, String>>, ImagesError> {
        let mut all = BTreeMap::new();
        for image in self.list()? {
            match self.labels_of(&image.digest) {
                Ok(labels) if labels.is_empty() => {}
                Ok(labels) => drop(all.insert(image.digest, labels)),
                // It has been removed since it was listed.
                Err(ImagesError::Missing(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// The labels of one image.
    pub(super) fn labels_of(&self, digest: &Digest) -> Result<BTreeMap<String, String>, ImagesError> {
        let said = self.said(digest)?;
        let labels = said.get("config").and_then(|config| config.get("Labels")).and_then(Value::as_object);
        let pairs = labels.into_iter().flatten();
        Ok(pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect())
    }

    /// The configuration, with whatever is in it.
    fn said(&self, digest: &Digest) -> Result<Value, ImagesError> {
        let (config, _) = self.content_of(digest)?;
        serde_json::from_slice(&self.inner.store.blob(&config)?).map_err(|_| ImagesError::Damaged { digest: config })
    }
}
