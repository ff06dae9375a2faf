//! What is attested of images, where that is asked for: how each was built, and which software is in it. Without being asked a
//! build attests nothing, and its image is what it would be.

mod provenance;

use std::sync::Arc;

use time::OffsetDateTime;

use super::error::BuildError;
use super::files::Tree;
use super::{Finished, sbom};
use crate::engine::images::Attestation;
use crate::model::build::BuildRequest;

pub(super) use provenance::{Material, shown, without_user};

/// Whether something is to be attested that is seen in the files.
pub(super) const fn needs_files(request: &BuildRequest) -> bool {
    request.sbom
}

/// What is attested of each result of a build that began at that time.
pub(super) async fn attest(results: &[Finished], began: OffsetDateTime) -> Result<Vec<Vec<Attestation>>, BuildError> {
    let ended = OffsetDateTime::now_utc();
    let id = provenance::invocation()?;
    let mut all = Vec::with_capacity(results.len());
    for result in results {
        let request = &result.work.request;
        let mut attestations = Vec::new();
        if request.sbom {
            attestations.push(software(result, ended).await?);
        }
        if let Some(wanted) = &request.provenance {
            attestations.push(provenance::provenance(&result.work, wanted, &provenance::Run { id: id.clone(), began, ended }));
        }
        all.push(attestations);
    }
    Ok(all)
}

/// Which software is in the result for one platform.
async fn software(result: &Finished, now: OffsetDateTime) -> Result<Attestation, BuildError> {
    let work = Arc::clone(&result.work);
    let about = if work.is_one_of_several { format!(" for {}", work.platform) } else { String::new() };
    let running = work.events.begin(format!("looking for software in the result{about}"));
    let files = result.files.clone().ok_or(BuildError::Interrupted)?;
    let chain = result.stage.layers.chain();
    let looked = tokio::task::spawn_blocking(move || {
        let root = files.try_clone().map_err(BuildError::step("open the result"))?;
        let tree = Tree::of_root(root, "the result");
        let scratch = work.images.draft(None)?;
        let packages = sbom::scan(&tree, scratch.folder())?;
        let name = work.request.tags.first().map_or_else(|| "image".to_owned(), ToString::to_string);
        // A fixed time makes the list the same every time.
        let made = work.request.epoch.and_then(|epoch| OffsetDateTime::from_unix_timestamp(epoch).ok()).unwrap_or(now);
        Ok::<_, BuildError>(sbom::document(&name, &chain, &packages, made))
    });
    let predicate = running.ended(looked.await?, false)?;
    Ok(Attestation { predicate_type: sbom::PREDICATE.to_owned(), predicate })
}

pub(super) const PROVENANCE_FILE: &str = "provenance.json";

/// What the file is called that has an attestation, beside the files of a result.
pub(super) fn file_name(attestation: &Attestation) -> &'static str {
    if attestation.predicate_type == sbom::PREDICATE { "sbom.spdx.json" } else { PROVENANCE_FILE }
}
