//! Signatures as cosign makes them, with keys of openssl's.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// A key of openssl's: its PEM, and a way to sign with it.
pub(super) struct Signer(tempfile::TempDir);

impl Signer {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Self(folder);
        signer.run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key"], b"");
        signer.run(&["pkey", "-in", "key", "-pubout", "-out", "public"], b"");
        signer
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("openssl");
        let command = command.args(arguments).current_dir(self.0.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    pub(super) fn pem(&self) -> String {
        std::fs::read_to_string(self.0.path().join("public")).unwrap()
    }

    /// The manifest of a bundle, as cosign writes it since its version 3, and the bundle.
    pub(super) fn bundle(&self, digest: Digest, predicate: &str) -> (Value, Vec<u8>) {
        let kind = "application/vnd.in-toto+json";
        let statement = json!({"_type": "https://in-toto.io/Statement/v1", "subject": [{"digest": {"sha256": digest.hex()}}],
            "predicateType": predicate, "predicate": {}})
        .to_string();
        let message = format!("DSSEv1 {} {kind} {} {statement}", kind.len(), statement.len());
        let signature = self.signature(message.as_bytes());
        let envelope =
            json!({"payload": STANDARD.encode(&statement), "payloadType": kind, "signatures": [{"sig": signature, "keyid": ""}]});
        let media_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let bundle = json!({"mediaType": media_type, "verificationMaterial": {"publicKey": {"hint": "x"}, "tlogEntries": []},
            "dsseEnvelope": envelope})
        .to_string()
        .into_bytes();
        let layer = json!({"mediaType": media_type, "digest": Digest::of(&bundle), "size": bundle.len()});
        let manifest = json!({"schemaVersion": 2, "mediaType": documents::OCI_MANIFEST, "artifactType": media_type,
            "layers": [layer], "annotations": {"dev.sigstore.bundle.content": "dsse-envelope"},
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::of(b"{}"), "size": 2}});
        (manifest, bundle)
    }

    /// A signature in base64. Through pipes, because several tests sign by one key at a time.
    fn signature(&self, message: &[u8]) -> String {
        STANDARD.encode(self.run(&["dgst", "-sha256", "-sign", "key"], message))
    }

    /// The manifest of a signature, and what is signed.
    pub(super) fn sign(&self, digest: Digest, name: &str) -> (Value, Vec<u8>) {
        let payload = json!({"critical": {
            "identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature"}, "optional": null})
        .to_string()
        .into_bytes();
        let signature = self.signature(&payload);
        let layer = json!({"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": Digest::of(&payload),
            "size": payload.len(), "annotations": {"dev.cosignproject.cosign/signature": signature}});
        let manifest = json!({"schemaVersion": 2, "mediaType": documents::OCI_MANIFEST, "layers": [layer],
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(b"{}"), "size": 2}});
        (manifest, payload)
    }
}

#[test]
fn one_key_signs_for_many_at_once() {
    let signer = Signer::new();
    let key: crate::engine::images::PublicKey = signer.pem().parse().unwrap();
    std::thread::scope(|scope| {
        for number in 0..8u8 {
            let (signer, key) = (&signer, &key);
            scope.spawn(move || {
                let signature = STANDARD.decode(signer.signature(&[number])).unwrap();
                assert!(key.has_signed(&[number], &signature), "{number}");
            });
        }
    });
}
