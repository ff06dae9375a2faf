//! Signatures as cosign makes them, with keys of openssl's.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

/// A key of openssl's: its PEM, and a way to sign with it.
pub(super) struct Signer(tempfile::TempDir);

impl Signer {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signer = Self(folder);
        signer.run(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key"]);
        signer.run(&["pkey", "-in", "key", "-pubout", "-out", "public"]);
        signer
    }

    fn run(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub(super) fn pem(&self) -> String {
        std::fs::read_to_string(self.0.path().join("public")).unwrap()
    }

    /// The manifest of a signature, and what is signed.
    pub(super) fn sign(&self, digest: Digest, name: &str) -> (Value, Vec<u8>) {
        let payload = json!({"critical": {
            "identity": {"docker-reference": name}, "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature"}, "optional": null})
        .to_string()
        .into_bytes();
        std::fs::write(self.0.path().join("payload"), &payload).unwrap();
        self.run(&["dgst", "-sha256", "-sign", "key", "-out", "signature", "payload"]);
        let signature = STANDARD.encode(std::fs::read(self.0.path().join("signature")).unwrap());
        let layer = json!({"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "digest": Digest::of(&payload),
            "size": payload.len(), "annotations": {"dev.cosignproject.cosign/signature": signature}});
        let manifest = json!({"schemaVersion": 2, "mediaType": documents::OCI_MANIFEST, "layers": [layer],
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(b"{}"), "size": 2}});
        (manifest, payload)
    }
}
