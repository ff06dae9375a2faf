//! The manifests of images that are made here: of plain tars, because those are what the store can always bring back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::documents::{Blob, DOCKER_CONFIG, DOCKER_MANIFEST, DOCKER_TAR, OCI_CONFIG, OCI_MANIFEST, OCI_TAR};
use super::rows::LayerBlob;
use crate::model::Digest;

/// The manifest of a configuration and its layers' tars, lowest first, each with its size. The same image gives the same
/// bytes.
pub(super) fn of_tars(config: &[u8], layers: &[(Digest, u64)]) -> Vec<u8> {
    annotated(config, layers, &BTreeMap::new(), false)
}

/// The same with annotations, in OCI's words or in Docker's.
pub(super) fn annotated(
    config: &[u8],
    layers: &[(Digest, u64)],
    annotations: &BTreeMap<String, String>,
    docker: bool,
) -> Vec<u8> {
    let (of_manifest, of_config, of_layer) = match docker {
        true => (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_TAR),
        false => (OCI_MANIFEST, OCI_CONFIG, OCI_TAR),
    };
    let layers: Vec<Value> = layers.iter().map(|(diff_id, size)| descriptor(of_layer, diff_id, *size)).collect();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": of_manifest,
        "config": descriptor(of_config, &Digest::of(config), config.len() as u64),
        "layers": layers,
    });
    if !annotations.is_empty() {
        manifest["annotations"] = json!(annotations);
    }
    manifest.to_string().into_bytes()
}

/// A manifest with blobs in the place of its layers: the place, and the blob. Media types stay of its family.
pub(super) fn with_blobs<'b>(manifest: &Value, blobs: impl Iterator<Item = (usize, &'b Blob)>) -> Vec<u8> {
    let mut manifest = manifest.clone();
    let family = manifest["mediaType"].as_str().unwrap_or(OCI_MANIFEST).to_owned();
    for (place, blob) in blobs {
        let entry = &mut manifest["layers"][place];
        entry["mediaType"] = of_family(&blob.media_type, &family).into();
        entry["digest"] = blob.digest.to_string().into();
        entry["size"] = blob.size.into();
        if let Some(entry) = entry.as_object_mut() {
            // Where the old blob could be had is not where the new one is.
            entry.shift_remove("urls");
        }
    }
    manifest.to_string().into_bytes()
}

/// A layer's media type in the words of the manifest that names it: OCI's and Docker's are not mixed.
fn of_family(layer: &str, manifest: &str) -> String {
    let suffix = ["gzip", "zstd"].into_iter().find(|suffix| layer.ends_with(suffix));
    match (manifest.starts_with("application/vnd.docker."), suffix) {
        (true, Some(suffix)) => format!("{DOCKER_TAR}.{suffix}"),
        (true, None) => DOCKER_TAR.to_owned(),
        (false, Some(suffix)) => format!("{OCI_TAR}+{suffix}"),
        (false, None) => OCI_TAR.to_owned(),
    }
}

pub(super) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// What is known of a layer that is its own tar.
pub(super) fn plain_blob(diff_id: Digest, size: u64) -> LayerBlob {
    LayerBlob { diff_id, digest: diff_id, size, media_type: OCI_TAR.to_owned(), kept: false }
}
