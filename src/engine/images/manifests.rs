//! The manifests of images that are made here: of plain tars, because those are what the store can always bring back.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::documents::{OCI_CONFIG, OCI_MANIFEST, OCI_TAR};
use super::rows::LayerBlob;
use crate::model::Digest;

/// The manifest of a configuration and its layers' tars, lowest first, each with its size. The same image gives the same
/// bytes.
pub(super) fn of_tars(config: &[u8], layers: &[(Digest, u64)]) -> Vec<u8> {
    annotated(config, layers, &BTreeMap::new())
}

/// The same with annotations.
pub(super) fn annotated(config: &[u8], layers: &[(Digest, u64)], annotations: &BTreeMap<String, String>) -> Vec<u8> {
    let layers: Vec<Value> = layers.iter().map(|(diff_id, size)| descriptor(OCI_TAR, diff_id, *size)).collect();
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, &Digest::of(config), config.len() as u64),
        "layers": layers,
    });
    if !annotations.is_empty() {
        manifest["annotations"] = json!(annotations);
    }
    manifest.to_string().into_bytes()
}

pub(super) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({"mediaType": media_type, "digest": digest, "size": size})
}

/// What is known of a layer that is its own tar.
pub(super) fn plain_blob(diff_id: Digest, size: u64) -> LayerBlob {
    LayerBlob { diff_id, digest: diff_id, size, media_type: OCI_TAR.to_owned(), kept: false }
}
