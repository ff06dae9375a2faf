//! Whether what the store has is what it ought to be: every document, every layer's files with all that is said of them,
//! every blob that is kept. And what is damaged, brought again.

mod compare;
mod completions;
mod patch;
mod repair;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};

use self::compare::Compared;
use super::chain::chain_ids;
use super::documents::{self, Document};
use super::layer::{Hashed, unpack_hollow};
use super::{Images, ImagesError, rows};
use crate::files::FileError;
use crate::model::{Digest, ProgressSink};

/// What a check has looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckReport {
    pub images: u64,
    pub layers: u64,
    /// Blobs of layers that are kept.
    pub blobs: u64,
    pub problems: Vec<Problem>,
}

/// Something that is not as it ought to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub part: Part,
    pub digest: Digest,
    /// The images that have it, by a name or by their digest.
    pub images: BTreeSet<String>,
    pub what: String,
    pub repair: Repair,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Manifest,
    Config,
    Layer,
    /// What a layer's tar has besides files.
    Skeleton,
    /// What is laid over a layer, because its hard links and folders take something from the layers below. Its digest is
    /// the chain id.
    Completion,
    /// The blob of a layer.
    Blob,
}

/// What became of a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Repair {
    /// Nobody asked for a repair.
    None,
    Done,
    Failed {
        why: String,
    },
}

impl CheckReport {
    /// Whether all is well, or has been made so.
    pub fn is_clean(&self) -> bool {
        self.problems.iter().all(|problem| problem.repair == Repair::Done)
    }
}

impl Images {
    /// Checks the whole store, and brings what is damaged again where that is wanted and possible.
    pub async fn check(&self, repair: bool, progress: ProgressSink) -> Result<CheckReport, ImagesError> {
        let images = self.clone();
        let mut report = tokio::task::spawn_blocking(move || images.check_now()).await??;
        if repair {
            for problem in &mut report.problems {
                problem.repair = match self.repair(problem, &progress).await {
                    Ok(()) => Repair::Done,
                    Err(error) => Repair::Failed { why: error.to_string() },
                };
            }
        }
        Ok(report)
    }

    /// Looks at everything. Blocks the thread.
    fn check_now(&self) -> Result<CheckReport, ImagesError> {
        let mut report = CheckReport::default();
        for image in self.list()? {
            report.images += 1;
            // An image that is removed meanwhile is no problem.
            let Some((config, diff_ids)) = self.inner.db.read(|t| rows::content(t, &image.digest))? else { continue };
            let mut add = |part, digest, what| report.problems.push(Problem::new(part, digest, what));
            match self.inner.store.blob(&image.digest) {
                Err(error) => add(Part::Manifest, image.digest, error.to_string()),
                Ok(content) => match documents::parse(&content, None) {
                    Ok(Document::Manifest(manifest)) if manifest.config.digest == config => {}
                    Ok(_) => add(Part::Manifest, image.digest, "it is not the manifest of this image".to_owned()),
                    Err(error) => add(Part::Manifest, image.digest, error.to_string()),
                },
            }
            match self.inner.store.blob(&config) {
                Err(error) => add(Part::Config, config, error.to_string()),
                Ok(content) => match documents::configuration(&content, diff_ids.len()) {
                    Ok((_, found)) if found == diff_ids => {}
                    Ok(_) => add(Part::Config, config, "it has other layers than the image".to_owned()),
                    Err(error) => add(Part::Config, config, error.to_string()),
                },
            }
        }
        let layers: Vec<_> = self.inner.db.read(rows::layers)?.into_iter().map(|(diff_id, ..)| diff_id).collect();
        report.layers = layers.len() as u64;
        for diff_id in layers {
            report.problems.extend(self.check_layer(&diff_id)?.map(|(part, what)| Problem::new(part, diff_id, what)));
        }
        report.problems.extend(self.check_completions()?);
        for blob in self.inner.db.read(rows::kept_blobs)? {
            report.blobs += 1;
            if let Err(what) = check_blob(&self.inner.store.blob_path(&blob.digest), &blob.digest) {
                report.problems.push(Problem::new(Part::Blob, blob.digest, what));
            }
        }
        self.attribute(&mut report.problems)?;
        Ok(report)
    }

    /// What is wrong with a layer.
    fn check_layer(&self, diff_id: &Digest) -> Result<Option<(Part, String)>, ImagesError> {
        let tar = match self.layer_tar(diff_id) {
            Ok(tar) => tar,
            Err(error @ ImagesError::NoSkeleton { .. }) => return Ok(Some((Part::Skeleton, error.to_string()))),
            Err(error @ ImagesError::LayerGone { .. }) => return Ok(Some((Part::Layer, error.to_string()))),
            Err(ImagesError::LayerDamaged { what, .. }) => return Ok(Some((Part::Skeleton, what))),
            Err(error) => return Err(error),
        };
        let scratch = self.inner.store.scratch()?;
        // The tar says by itself when its digest is not the layer's.
        let mut tar = Told { inner: tar, failure: None };
        if let Err(error) = unpack_hollow(&mut tar, &scratch.root(), &self.limits()?) {
            return match (tar.failure, error) {
                (Some(failure), _) => Ok(Some((Part::Layer, failure))),
                // Of this host's disk and not of the layer.
                (None, super::UnpackError::File(error)) => Err(error.into()),
                (None, error) => Ok(Some((Part::Layer, format!("its tar cannot be read: {error}")))),
            };
        }
        let marks = self.inner.db.read(|t| rows::is_dependent(t, diff_id))?.is_some();
        let compared = Compared { contents: false, marks };
        let differences = compare::trees(&scratch.root(), &self.inner.store.layer_path(diff_id), compared)?;
        Ok((!differences.is_empty()).then(|| (Part::Layer, differences.join("; "))))
    }

    /// Says which images have a problem, and forgets problems of what is not there any more.
    fn attribute(&self, problems: &mut Vec<Problem>) -> Result<(), ImagesError> {
        let mut owners: BTreeMap<Digest, BTreeSet<Digest>> = BTreeMap::new();
        let images = self.list()?;
        for image in &images {
            let Some((config, diff_ids)) = self.inner.db.read(|t| rows::content(t, &image.digest))? else { continue };
            for digest in chain_ids(&diff_ids).into_iter().chain(diff_ids).chain([config, image.digest]) {
                owners.entry(digest).or_default().insert(image.digest);
            }
        }
        for problem in problems.iter_mut() {
            let of = match problem.part {
                Part::Blob => self.inner.db.read(|t| rows::blob(t, &problem.digest))?.map(|blob| blob.diff_id),
                Part::Manifest | Part::Config | Part::Layer | Part::Skeleton | Part::Completion => Some(problem.digest),
            };
            let of = of.and_then(|digest| owners.get(&digest)).into_iter().flatten();
            problem.images = of
                .filter_map(|digest| images.iter().find(|image| image.digest == *digest))
                .map(|image| image.references.first().map_or_else(|| image.digest.to_string(), ToString::to_string))
                .collect();
        }
        problems.retain(|problem| !problem.images.is_empty());
        Ok(())
    }
}

impl Problem {
    const fn new(part: Part, digest: Digest, what: String) -> Self {
        Self { part, digest, images: BTreeSet::new(), what, repair: Repair::None }
    }
}

/// A reader that remembers what went wrong in it, which the archive's reader reports in its own words.
struct Told<R> {
    inner: R,
    failure: Option<String>,
}

impl<R: Read> Read for Told<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).inspect_err(|e| {
            self.failure.get_or_insert_with(|| e.to_string());
        })
    }
}

fn check_blob(path: &Path, digest: &Digest) -> Result<(), String> {
    let fail = |e| FileError::new("read", path, e).to_string();
    let mut content = Hashed::new(std::fs::File::open(path).map_err(fail)?);
    io::copy(&mut content, &mut io::sink()).map_err(fail)?;
    if content.digest() == *digest { Ok(()) } else { Err("its content is not what it was".to_owned()) }
}
