//! Signatures in the form that cosign writes since its version 3: a Sigstore bundle with an envelope (DSSE) around an in-toto
//! statement. Pure: bytes in, signatures out. What else a bundle proves, such as an entry in a transparency log, is not
//! asked for: the keys are known beforehand.
//! Sources: Sigstore's bundle format, "dsseEnvelope"; the DSSE specification, "Signature Definition"; in-toto's Statement.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::payload::Claim;
use super::{Signature, VerifyError};
use crate::model::Digest;

/// What the types of all versions of bundles begin with.
const TYPE: &str = "application/vnd.dev.sigstore.bundle";
const STATEMENT: &str = "application/vnd.in-toto+json";
/// What a statement says that is a signature, and not an attestation of something else.
const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// Whether this is the type of a bundle, be it of an artifact or of its layer.
pub(super) fn is_type(media_type: &str) -> bool {
    media_type.starts_with(TYPE)
}

/// The signatures in a bundle; none where it is an attestation of something else than that the image is the signer's.
pub(super) fn parse(content: &[u8]) -> Result<Vec<Signature>, VerifyError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Bundle {
        dsse_envelope: Option<Envelope>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Envelope {
        payload: String,
        payload_type: String,
        signatures: Vec<One>,
    }
    #[derive(Deserialize)]
    struct One {
        sig: String,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement {
        predicate_type: String,
        subject: Vec<Subject>,
    }
    #[derive(Deserialize)]
    struct Subject {
        #[serde(default)]
        digest: BTreeMap<String, String>,
    }
    let unreadable = || VerifyError::Unreadable("one of them is not what a bundle is");
    let bundle: Bundle = serde_json::from_slice(content).map_err(|_| unreadable())?;
    // A signature of bytes says nothing of what they are.
    let Some(envelope) = bundle.dsse_envelope else { return Ok(Vec::new()) };
    if envelope.payload_type != STATEMENT {
        return Ok(Vec::new());
    }
    let payload = STANDARD.decode(envelope.payload).map_err(|_| unreadable())?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|_| unreadable())?;
    if statement.predicate_type != SIGN {
        return Ok(Vec::new());
    }
    let digests = statement.subject.iter().filter_map(|subject| format!("sha256:{}", subject.digest.get("sha256")?).parse().ok());
    let digests: Vec<Digest> = digests.collect();
    let claim = (!digests.is_empty()).then_some(Claim { digests, name: None });
    let message = encoded(STATEMENT, &payload);
    let signatures = envelope.signatures.into_iter().map(|one| Signature {
        message: message.clone(),
        // One that is not base64 is kept as one that nobody can have made.
        signature: STANDARD.decode(one.sig).unwrap_or_default(),
        claim: claim.clone(),
    });
    Ok(signatures.collect())
}

/// What is signed of an envelope: its type and its content, so that neither can be taken for the other.
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn bundle(statement: &Value, kind: &str) -> Vec<u8> {
        let payload = STANDARD.encode(statement.to_string());
        let envelope = json!({"payload": payload, "payloadType": kind, "signatures": [{"sig": "AAAA"}, {"sig": "?"}]});
        json!({"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": {"publicKey": {}},
            "dsseEnvelope": envelope})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn a_signature_is_told_from_what_else_is_in_bundles() {
        let digest = Digest::of(b"x");
        let statement = |predicate: &str, hex: &str| {
            json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": hex}}],
                "predicateType": predicate, "predicate": {}})
        };
        let signed = statement(SIGN, &digest.hex());
        let found = parse(&bundle(&signed, STATEMENT)).unwrap();
        assert_eq!(found[0].claim, Some(Claim { digests: vec![digest], name: None }));
        assert_eq!((found[0].signature.len(), found[1].signature.len()), (3, 0));
        assert_eq!(found[0].message, format!("DSSEv1 28 {STATEMENT} {} {signed}", signed.to_string().len()).into_bytes());
        for other in [
            bundle(&statement("https://slsa.dev/provenance/v1", &digest.hex()), STATEMENT),
            bundle(&signed, "application/x"),
            br#"{"messageSignature": {}}"#.to_vec(),
        ] {
            assert!(parse(&other).unwrap().is_empty());
        }
        let hostile = parse(&bundle(&statement(SIGN, "../../x"), STATEMENT)).unwrap();
        assert_eq!(hostile[0].claim, None);
        for broken in [b"<html>".to_vec(), bundle(&json!({"predicateType": SIGN}), STATEMENT)] {
            assert!(parse(&broken).is_err());
        }
    }

    #[test]
    fn what_is_signed_is_as_the_specification_has_it() {
        let expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world";
        assert_eq!(encoded("http://example.com/HelloWorld", b"hello world"), expected);
    }
}
