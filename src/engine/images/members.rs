//! What a name means besides the one image that runs on this host: images for other platforms, and what is attested of each. In
//! the store these are rows; manifests and an index are made of them when they leave it, because only then it is known which
//! digests the images have there.
//!
//! Source: BuildKit's "Image attestation storage", in the form that every registry and every puller takes: an image's manifest
//! whose layers are statements of in-toto, for a platform that there is not.

use rusqlite::{Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::documents::{OCI_CONFIG, OCI_MANIFEST};
use super::{Images, ImagesError, Live, manifests, rows};
use crate::model::{Digest, ImageRef};

/// A statement of in-toto, and what it is about.
const IN_TOTO: &str = "application/vnd.in-toto+json";
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// What is attested of an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attestation {
    /// An address that says what `predicate` is: `https://spdx.dev/Document`.
    pub predicate_type: String,
    pub predicate: Value,
}

/// One of the images that a name means.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    pub digest: Digest,
    pub attestations: Vec<Attestation>,
}

impl Member {
    pub fn of(digest: Digest) -> Self {
        Self { digest, attestations: Vec::new() }
    }
}

/// Whether they need an index.
pub(super) fn need_index(members: &[Member]) -> bool {
    members.len() > 1 || members.iter().any(|member| !member.attestations.is_empty())
}

/// A manifest of attestations with all that it names.
#[derive(Debug)]
pub(super) struct Attested {
    pub(super) manifest: Vec<u8>,
    pub(super) blobs: Vec<Vec<u8>>,
    /// In the index.
    pub(super) entry: Value,
}

/// Attests of the image whose manifest has this digest, and which is called by these addresses of packages.
pub(super) fn attest(attestations: &[Attestation], subject: &Digest, names: &[String]) -> Attested {
    let subjects: Vec<Value> = match names {
        [] => vec![json!({"name": "_", "digest": {"sha256": subject.hex().to_string()}})],
        names => names.iter().map(|name| json!({"name": name, "digest": {"sha256": subject.hex().to_string()}})).collect(),
    };
    let (mut layers, mut blobs, mut diff_ids) = (Vec::new(), Vec::new(), Vec::new());
    for Attestation { predicate_type, predicate } in attestations {
        let statement = json!({"_type": STATEMENT, "predicateType": predicate_type, "subject": subjects, "predicate": predicate});
        let content = statement.to_string().into_bytes();
        let digest = Digest::of(&content);
        let mut layer = manifests::descriptor(IN_TOTO, &digest, content.len() as u64);
        layer["annotations"] = json!({PREDICATE_TYPE: predicate_type});
        layers.push(layer);
        blobs.push(content);
        diff_ids.push(digest);
    }
    let config = json!({
        "architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = config.to_string().into_bytes();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": manifests::descriptor(OCI_CONFIG, &Digest::of(&config), config.len() as u64),
        "layers": layers,
    });
    let manifest = manifest.to_string().into_bytes();
    blobs.push(config);
    let mut entry = manifests::descriptor(OCI_MANIFEST, &Digest::of(&manifest), manifest.len() as u64);
    entry["annotations"] = json!({REFERENCE_DIGEST: subject, REFERENCE_TYPE: "attestation-manifest"});
    entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
    Attested { manifest, blobs, entry }
}

/// The address of a package that an image is: `pkg:docker/app@1?platform=linux%2Famd64`.
/// Source: the package URL specification, with the type `docker`.
pub fn package_url(reference: &ImageRef, platform: &str) -> String {
    let name = reference.to_string();
    let name = name.split('@').next().unwrap_or_default();
    let slash = name.rfind('/').map_or(0, |at| at + 1);
    let name = name[slash..].find(':').map_or(name, |at| &name[..slash + at]);
    let version = reference.tag().map(|tag| format!("@{tag}")).unwrap_or_default();
    let digest = reference.digest().map(|digest| format!("digest={digest}&")).unwrap_or_default();
    format!("pkg:docker/{name}{version}?{digest}platform={}", platform.replace('/', "%2F"))
}

impl Images {
    /// All images that a name means, where it means more than one, or where something is attested.
    pub fn members(&self, reference: &ImageRef) -> Result<Vec<Member>, ImagesError> {
        let found = self.inner.db.read(|t| read(t, reference))?;
        let member = |(digest, attestations): (Digest, String)| match serde_json::from_str(&attestations) {
            Ok(attestations) => Ok(Member { digest, attestations }),
            Err(_) => Err(ImagesError::Damaged { digest }),
        };
        found.into_iter().map(member).collect()
    }

    /// Gives another name to all that a name means.
    pub fn tag_like(&self, known: &ImageRef, digest: Digest, reference: &ImageRef) -> Result<(), ImagesError> {
        let members = self.members(known)?;
        self.tag(digest, reference)?;
        Ok(self.inner.db.write(|t| write(t, reference, &members))?)
    }

    /// Every image that is one of those of a name.
    pub fn all_members(&self) -> Result<Vec<Digest>, ImagesError> {
        Ok(self.inner.db.read(all)?.into_iter().collect())
    }

    /// Removes those of these images that nothing means any more, unless they are in `live`.
    pub fn collect_among(
        &self,
        candidates: &[Digest],
        live: impl FnOnce(&Transaction<'_>) -> Live,
    ) -> Result<super::Freed, ImagesError> {
        if candidates.is_empty() {
            return Ok(super::Freed::default());
        }
        self.sweep(|t| {
            let live = live(t)?;
            let unreferenced = rows::unreferenced(t)?;
            Ok(unreferenced.into_iter().filter(|digest| candidates.contains(digest) && !live.contains(digest)).collect())
        })
    }
}

fn read(t: &Transaction<'_>, reference: &ImageRef) -> rusqlite::Result<Vec<(Digest, String)>> {
    let mut query = t.prepare_cached("SELECT digest, attestations FROM image_members WHERE reference = ?1 ORDER BY position")?;
    query.query_map([reference.to_string()], |row| Ok((rows::parsed(row, 0)?, row.get(1)?)))?.collect()
}

/// Records all that a name means, which has an image already.
pub(super) fn write(t: &Transaction<'_>, reference: &ImageRef, members: &[Member]) -> rusqlite::Result<()> {
    forget(t, reference)?;
    if !need_index(members) {
        return Ok(());
    }
    for (position, member) in members.iter().enumerate() {
        let attestations =
            serde_json::to_string(&member.attestations).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        t.execute(
            "INSERT INTO image_members (reference, position, digest, attestations) VALUES (?1, ?2, ?3, ?4)",
            params![reference.to_string(), position as i64, member.digest.to_string(), attestations],
        )?;
    }
    Ok(())
}

/// A name that is given to another image means nothing else.
pub(super) fn forget(t: &Transaction<'_>, reference: &ImageRef) -> rusqlite::Result<()> {
    t.execute("DELETE FROM image_members WHERE reference = ?1", [reference.to_string()])?;
    Ok(())
}

/// Every image that is one of those of a name.
pub(super) fn all(t: &Transaction<'_>) -> rusqlite::Result<std::collections::BTreeSet<Digest>> {
    let mut query = t.prepare_cached("SELECT DISTINCT digest FROM image_members")?;
    query.query_map([], |row| rows::parsed(row, 0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_packages() {
        for (reference, expected) in [
            ("app", "pkg:docker/app@latest?platform=linux%2Famd64"),
            ("localhost:5000/team/app:1.2", "pkg:docker/localhost:5000/team/app@1.2?platform=linux%2Famd64"),
        ] {
            assert_eq!(package_url(&reference.parse().unwrap(), "linux/amd64"), expected);
        }
    }

    #[test]
    fn attestations_are_of_one_image() {
        let attestation = Attestation { predicate_type: "https://spdx.dev/Document".to_owned(), predicate: json!({"name": "x"}) };
        let subject = Digest::of(b"image");
        let made = attest(std::slice::from_ref(&attestation), &subject, &["pkg:docker/app".to_owned()]);
        let manifest: Value = serde_json::from_slice(&made.manifest).unwrap();
        assert_eq!(manifest["layers"][0]["annotations"][PREDICATE_TYPE], "https://spdx.dev/Document");
        assert_eq!(manifest["layers"][0]["digest"], Digest::of(&made.blobs[0]).to_string());
        assert_eq!(manifest["config"]["digest"], Digest::of(&made.blobs[1]).to_string());
        let statement: Value = serde_json::from_slice(&made.blobs[0]).unwrap();
        assert_eq!(statement["subject"], json!([{"name": "pkg:docker/app", "digest": {"sha256": subject.hex().to_string()}}]));
        assert_eq!(statement["predicate"], attestation.predicate);
        assert_eq!(made.entry["annotations"][REFERENCE_DIGEST], subject.to_string());
        assert_eq!(made.entry["platform"]["os"], "unknown");
        assert!(
            !need_index(&[Member::of(subject)]) && need_index(&[Member { digest: subject, attestations: vec![attestation] }])
        );
    }
}
