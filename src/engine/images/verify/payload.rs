//! What a signature says: the simple-signing document that cosign signs, up to its version 2. Pure: bytes in, a claim out.
//! Source: containers/image, "atomic signature" format; cosign's signature specification.

use serde::Deserialize;

use crate::model::{Digest, ImageRef};

/// What was signed: this content, under this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Never empty.
    pub(super) digests: Vec<Digest>,
    /// Registry and repository; `None` when the signature names none that can be read.
    pub(super) name: Option<(String, String)>,
}

/// `None` when it is not such a document.
pub(super) fn parse(content: &[u8]) -> Option<Claim> {
    #[derive(Deserialize)]
    struct Payload {
        critical: Critical,
    }
    #[derive(Deserialize)]
    struct Critical {
        identity: Identity,
        image: Image,
        #[serde(rename = "type")]
        kind: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Identity {
        docker_reference: Option<String>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Image {
        docker_manifest_digest: Digest,
    }
    let Payload { critical } = serde_json::from_slice(content).ok()?;
    if !matches!(critical.kind.as_str(), "cosign container image signature" | "atomic container signature") {
        return None;
    }
    let reference = critical.identity.docker_reference.and_then(|text| text.parse::<ImageRef>().ok());
    let name = reference.map(|reference| (reference.registry().to_owned(), reference.repository().to_owned()));
    Some(Claim { digests: vec![critical.image.docker_manifest_digest], name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cosign_writes_and_nothing_else() {
        let digest = Digest::of(b"x");
        let text = |kind: &str, name: &str, digest: &str| {
            serde_json::json!({
                "critical": {"identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest}, "type": kind},
                "optional": {"creator": "someone"},
            })
            .to_string()
        };
        let cosign = "cosign container image signature";
        let claim = parse(text(cosign, "r.example/team/app", &digest.to_string()).as_bytes()).unwrap();
        assert_eq!(claim, Claim { digests: vec![digest], name: Some(("r.example".into(), "team/app".into())) });
        assert_eq!(parse(text(cosign, "", &digest.to_string()).as_bytes()).unwrap().name, None);
        for bad in [
            text("something else", "a/b", &digest.to_string()),
            text(cosign, "a/b", "sha256:../../x"),
            text(cosign, "a/b", ""),
            "{}".to_owned(),
            "<html>".to_owned(),
        ] {
            assert_eq!(parse(bad.as_bytes()), None, "{bad}");
        }
    }
}
