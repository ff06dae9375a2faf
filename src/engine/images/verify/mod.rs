//! Whose images are run: cosign's signatures by keys that are known beforehand, checked before anything of an image is
//! fetched. Signatures by certificates of a transparency service are not known here.
//!
//! Guarantees: it fails closed. Where a signature is wanted, whatever hinders finding or checking one ends the pull.
//! Source: cosign's signature specification ("simple signing"), with signatures under the tag `sha256-<hex>.sig` and as
//! referrers; and the bundles that cosign writes since its version 3, as referrers.

mod bundle;
mod key;
mod payload;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

pub use self::key::{InvalidKey, PublicKey};

use self::payload::Claim;
use super::documents::Blob;
use super::registry::{RawManifest, Registry, RegistryError};
use crate::model::{Digest, ImageRef};

/// What is asked of an image.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) keys: Vec<PublicKey>,
    /// Whether an image without any signature is refused; one that has signatures must always have a good one.
    pub(super) required: bool,
    /// Whether the signature must be for this repository by name, and not only for this content.
    pub(super) check_name: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("it has no signature, and one by {} is wanted", shown(keys))]
    Unsigned { keys: Vec<PublicKey> },
    #[error("none of its {count} signatures is good: {}; one by {} is wanted", why.join("; "), shown(keys))]
    NoneGood { count: usize, why: Vec<&'static str>, keys: Vec<PublicKey> },
    #[error("look for its signatures: {0}")]
    Registry(#[from] Box<RegistryError>),
    #[error("its signatures cannot be read: {0}")]
    Unreadable(&'static str),
}

fn shown(keys: &[PublicKey]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
}

/// One signature and what was signed.
#[derive(Debug)]
struct Signature {
    /// The bytes that were signed.
    message: Vec<u8>,
    signature: Vec<u8>,
    /// What they say, where they say something of an image. Worth nothing until the signature is found to be good.
    claim: Option<Claim>,
}

/// A signature is some hundred bytes, and nobody has so many of them.
const MAX_PAYLOAD: u64 = 1 << 20;
const MAX_SIGNATURES: usize = 64;
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const ARTIFACT: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
const ANNOTATION: &str = "dev.cosignproject.cosign/signature";

/// Checks the image behind `digests` (the index that the reference led to, and the manifest that was chosen of it)
/// against all rules. A signature of the index is one of all that is in it.
pub(super) async fn check(
    registry: &Registry,
    reference: &ImageRef,
    digests: &[Digest],
    rules: &[Rule],
) -> Result<(), VerifyError> {
    if rules.is_empty() {
        return Ok(());
    }
    let mut found = Vec::new();
    for digest in digests {
        found.extend(signatures(registry, *digest).await?);
    }
    for rule in rules {
        if found.is_empty() {
            if rule.required {
                return Err(VerifyError::Unsigned { keys: rule.keys.clone() });
            }
            continue;
        }
        judge(rule, reference, digests, &found)?;
    }
    Ok(())
}

/// Finds one good signature, or says why none is.
fn judge(rule: &Rule, reference: &ImageRef, digests: &[Digest], found: &[Signature]) -> Result<(), VerifyError> {
    let mut why = Vec::new();
    for one in found {
        if !rule.keys.iter().any(|key| key.has_signed(&one.message, &one.signature)) {
            why.push("another key's");
            continue;
        }
        let Some(claim) = &one.claim else {
            why.push("of something that is not an image");
            continue;
        };
        if !claim.digests.iter().any(|digest| digests.contains(digest)) {
            why.push("of another image");
            continue;
        }
        match &claim.name {
            _ if !rule.check_name => {}
            Some((registry, repository)) if registry == reference.registry() && repository == reference.repository() => {}
            Some(_) => {
                why.push("of an image with another name");
                continue;
            }
            None => {
                why.push("of an image that it does not name, and `checkName` wants that");
                continue;
            }
        }
        return Ok(());
    }
    why.sort_unstable();
    why.dedup();
    Err(VerifyError::NoneGood { count: found.len(), why, keys: rule.keys.clone() })
}

/// All signatures of what has this digest, under its tag and among its referrers.
async fn signatures(registry: &Registry, digest: Digest) -> Result<Vec<Signature>, VerifyError> {
    let mut manifests = Vec::new();
    match registry.manifest_of_tag(&format!("sha256-{}.sig", digest.hex())).await {
        Ok(manifest) => manifests.push(manifest),
        Err(RegistryError::NotFound { .. }) => {}
        Err(error) => return Err(Box::new(error).into()),
    }
    let mut referrers = registry.referrers(digest, None).await.map_err(Box::new)?;
    referrers.retain(|one| one.artifact_type.as_deref().is_some_and(|kind| kind == ARTIFACT || bundle::is_type(kind)));
    if referrers.len() > MAX_SIGNATURES {
        return Err(VerifyError::Unreadable("there are too many of them"));
    }
    for referrer in referrers {
        manifests.push(registry.manifest_of_digest(referrer.digest).await.map_err(Box::new)?);
    }
    let mut found = Vec::new();
    for manifest in manifests {
        read(registry, &manifest, &mut found).await?;
    }
    Ok(found)
}

/// Reads the signatures that a manifest lists: a layer each, which is what was signed, or a bundle.
async fn read(registry: &Registry, manifest: &RawManifest, found: &mut Vec<Signature>) -> Result<(), VerifyError> {
    #[derive(Deserialize)]
    struct Manifest {
        layers: Vec<Layer>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Layer {
        media_type: String,
        digest: Digest,
        size: u64,
        #[serde(default)]
        annotations: BTreeMap<String, String>,
    }
    let unreadable = |_| VerifyError::Unreadable("the manifest is not that of signatures");
    let parsed: Manifest = serde_json::from_slice(&manifest.content).map_err(unreadable)?;
    for layer in parsed.layers {
        let text = layer.annotations.get(ANNOTATION).filter(|_| layer.media_type == SIMPLE_SIGNING);
        if text.is_none() && !bundle::is_type(&layer.media_type) {
            continue;
        }
        if found.len() >= MAX_SIGNATURES {
            return Err(VerifyError::Unreadable("there are too many of them"));
        }
        if layer.size > MAX_PAYLOAD {
            return Err(VerifyError::Unreadable("one of them is too large"));
        }
        let blob = Blob { digest: layer.digest, size: layer.size, media_type: layer.media_type };
        let content = registry.small_blob(&blob).await.map_err(Box::new)?;
        match text {
            Some(text) => {
                // One that is not base64 is kept as one that nobody can have made.
                let signature = STANDARD.decode(text.trim()).unwrap_or_default();
                found.push(Signature { claim: payload::parse(&content), message: content, signature });
            }
            None => found.extend(bundle::parse(&content)?),
        }
    }
    Ok(())
}
