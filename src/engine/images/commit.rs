//! A commit: what a container has changed becomes a layer on top of the image that it was made from. Knows nothing of
//! containers: the folder of changes and the configuration are handed in.
//!
//! The same changes give the same layer, and with the same configuration the same image, whenever they are committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::import::from_tree;
use super::layer::{Form, Plain};
use super::progress::Meter;
use super::publish::Package;
use super::pull::created;
use super::rows::Record;
use super::store::Staged;
use super::{Images, ImagesError, documents, manifests};
use crate::model::{Digest, ImageRef, ProgressSink};

/// What is to be committed.
#[derive(Clone, Debug)]
pub struct CommitSource {
    /// The image that the container was made from.
    pub base: Digest,
    /// The upper folder of the container's overlay.
    pub upper: PathBuf,
    /// Where the container's mounts are, from its root. Empty files and folders there were made for them.
    pub mount_points: BTreeSet<PathBuf>,
}

/// What is said of a new image.
#[derive(Clone, Debug, Default)]
pub struct CommitConfig {
    /// What its containers run by default: the `config` of its configuration.
    pub run: Map<String, Value>,
    pub author: Option<String>,
    pub message: Option<String>,
    /// The command whose work is committed, for the history.
    pub created_by: String,
}

/// The layer of a commit, not yet an image: the container may go on.
#[derive(Debug)]
pub struct Difference(Staged);

impl Images {
    /// Reads what a container has changed. Blocks the thread.
    pub fn difference(&self, source: &CommitSource, progress: &ProgressSink) -> Result<Difference, ImagesError> {
        let scratch = self.inner.store.scratch()?;
        let mut meter = Meter::new(progress, "commit".to_owned(), None);
        let form = Form::Layer { mount_points: &source.mount_points };
        Ok(Difference(from_tree(&source.upper, form, scratch, &self.limits()?, &mut meter)?))
    }

    /// Makes an image of a difference. Blocks the thread.
    pub fn commit(
        &self,
        base: Digest,
        difference: &Difference,
        config: CommitConfig,
        reference: Option<&ImageRef>,
    ) -> Result<Digest, ImagesError> {
        let Difference(staged) = difference;
        let (base_config, mut diff_ids) = self.content_of(&base)?;
        let damaged = |_| ImagesError::Damaged { digest: base_config };
        let content = self.inner.store.blob(&base_config)?;
        let (parsed, _) = documents::configuration(&content, diff_ids.len()).map_err(|_| damaged(()))?;
        let mut image: Map<String, Value> = serde_json::from_slice(&content).map_err(|_| damaged(()))?;
        let mut layers = Vec::new();
        for diff_id in &diff_ids {
            layers.push((*diff_id, self.layer_tar(diff_id)?.size()));
        }
        layers.push((staged.layer.diff_id, staged.layer.tar_size));
        diff_ids.push(staged.layer.diff_id);

        // As old as the newest thing in it, so that the same content gives the same image.
        let newest = OffsetDateTime::from_unix_timestamp(staged.layer.newest).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let created = newest.max(created(&parsed));
        let created_text = created.format(&Rfc3339).unwrap_or_default();
        let mut step = json!({"created": created_text, "created_by": config.created_by});
        step["author"] = config.author.clone().into();
        step["comment"] = config.message.into();
        if let Value::Object(step) = &mut step {
            step.retain(|_, value| !value.is_null());
        }
        let mut history = image.get("history").and_then(Value::as_array).cloned().unwrap_or_default();
        // A history that does not tell of all layers below would take the new step for one of them.
        let told = history.iter().filter(|step| step.get("empty_layer").and_then(Value::as_bool) != Some(true)).count();
        for _ in told + 1..layers.len() {
            history.push(json!({"created_by": ""}));
        }
        history.push(step);
        image.insert("created".to_owned(), created_text.into());
        if let Some(author) = config.author {
            image.insert("author".to_owned(), author.into());
        }
        image.insert("config".to_owned(), config.run.into());
        image.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
        image.insert("history".to_owned(), history.into());
        // What an old docker noted of the container that an image was made from.
        for key in ["container", "container_config", "docker_version", "id", "parent"] {
            image.remove(key);
        }
        let content = Value::Object(image).to_string().into_bytes();
        let manifest = manifests::of_tars(&content, &layers);
        let record = Record {
            digest: Digest::of(&manifest),
            config: Digest::of(&content),
            created,
            layers: diff_ids,
            imported_from: None,
        };
        let package = Package {
            record,
            manifest,
            config: content,
            members: Vec::new(),
            references: reference.cloned().into_iter().collect(),
            blobs: layers.iter().map(|(diff_id, size)| manifests::plain_blob(*diff_id, *size)).collect(),
            place: None,
        };
        // The layers below were here a moment ago; somebody may have removed the image meanwhile.
        if self.publish_now(&package, &[staged])? { Ok(package.record.digest) } else { Err(ImagesError::Missing(base)) }
    }

    /// Writes a folder as a tar, as it is. Blocks the thread.
    pub fn export(root: &Path, output: &mut impl std::io::Write) -> Result<(), ImagesError> {
        super::layer::write_tree(root, Form::Export, &mut Plain(output))
            .map_err(|source| ImagesError::Export { path: root.to_owned(), source })
    }
}
