//! Completions, made once more out of the layers and compared; and put right. Layers are checked and repaired before.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::compare::{self, Compared};
use super::{Part, Problem, patch};
use crate::engine::images::chain::{chain_ids, hides_all};
use crate::engine::images::rows::{self, Completion};
use crate::engine::images::store::Scratch;
use crate::engine::images::{Images, ImagesError};
use crate::model::Digest;

/// A completion as it ought to be, and as it is recorded.
struct Expected {
    image: Digest,
    position: usize,
    chain_id: Digest,
    made: Result<Option<(Scratch, u64)>, ImagesError>,
    recorded: Option<Digest>,
}

impl Images {
    pub(super) fn check_completions(&self) -> Result<Vec<Problem>, ImagesError> {
        let mut problems = Vec::new();
        let mut seen = BTreeSet::new();
        self.each_completion(&mut |expected| {
            let what = match (&expected.made, expected.recorded) {
                (Err(error), _) => Some(error.to_string()),
                (Ok(None), None) => None,
                (Ok(None), Some(_)) => Some("is not needed".to_owned()),
                (Ok(Some(_)), None) => Some("is missing".to_owned()),
                (Ok(Some((scratch, _))), Some(chain_id)) => {
                    let place = self.inner.store.completion_path(&chain_id);
                    let compared = Compared { contents: true, marks: true };
                    let told =
                        if place.is_dir() { compare::trees(&scratch.root(), &place, compared)? } else { vec!["is gone".into()] };
                    Some(told.join("; ")).filter(|told| !told.is_empty())
                }
            };
            if let Some(what) = what.filter(|_| seen.insert(expected.chain_id)) {
                problems.push(Problem::new(Part::Completion, expected.chain_id, what));
            }
            Ok(())
        })?;
        Ok(problems)
    }

    /// Makes a completion what it ought to be, for all images that have it.
    pub(super) fn repair_completion(&self, chain_id: &Digest) -> Result<(), ImagesError> {
        let publishing = self.inner.store.publishing()?;
        let place = self.inner.store.completion_path(chain_id);
        let mut mended = false;
        self.each_completion(&mut |expected| {
            if expected.chain_id != *chain_id {
                return Ok(());
            }
            let completion = match expected.made? {
                Some((scratch, size)) => {
                    match (mended, place.is_dir()) {
                        (true, _) => {}
                        (false, true) => patch::patch(&scratch.root(), &place)?,
                        (false, false) => publishing.completion(&scratch, chain_id)?,
                    }
                    mended = true;
                    Some(Completion { chain_id: *chain_id, size })
                }
                None => None,
            };
            publishing.sync()?;
            let recorded =
                |t: &rusqlite::Transaction<'_>| rows::set_completion(t, &expected.image, expected.position, completion);
            Ok(self.inner.db.write(recorded)?)
        })
    }

    /// Makes the completions of all images once more, each image's from the lowest layer up.
    fn each_completion(&self, visit: &mut dyn FnMut(Expected) -> Result<(), ImagesError>) -> Result<(), ImagesError> {
        for image in self.list()? {
            let image = image.digest;
            let read = self.inner.db.read(|t| Ok((rows::content(t, &image)?, rows::completions_of(t, &image)?)))?;
            // One that is removed meanwhile is no problem.
            let (Some((_, diff_ids)), recorded) = read else { continue };
            let mut below: Vec<PathBuf> = Vec::new();
            let chain = chain_ids(&diff_ids).into_iter().zip(recorded);
            for (position, (diff_id, (chain_id, recorded))) in diff_ids.iter().zip(chain).enumerate() {
                let folder = self.inner.store.layer_path(diff_id);
                // Reported as a layer's problem.
                if !folder.is_dir() {
                    break;
                }
                let dependent = self.inner.db.read(|t| rows::is_dependent(t, diff_id))?;
                let made = match self.completed(diff_id, &folder, dependent, &below) {
                    Err(error) if !matches!(error, ImagesError::Complete { .. }) => return Err(error),
                    made => made,
                };
                let failed = made.is_err();
                visit(Expected { image, position, chain_id, made, recorded })?;
                if failed {
                    break;
                }
                let over = recorded.map(|chain_id| self.inner.store.completion_path(&chain_id)).filter(|over| over.is_dir());
                if hides_all(&folder)? {
                    below.clear();
                }
                below.splice(0..0, over.into_iter().chain([folder]));
            }
        }
        Ok(())
    }
}
