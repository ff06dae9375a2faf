//! Public keys as `cosign generate-key-pair` writes them: PEM of a SubjectPublicKeyInfo. Knows what a key is and whether it
//! has signed something, and nothing of images.
//! Sources: RFC 5280, 4.1 (SubjectPublicKeyInfo); RFC 5480 (elliptic curves); RFC 8410 (Ed25519); RFC 3279 (RSA).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::model::Digest;

/// A key that signatures are checked with.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    kind: Kind,
    bytes: Vec<u8>,
    /// Of the whole structure, as a name for people.
    digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidKey {
    #[error("it is not a public key in PEM (`-----BEGIN PUBLIC KEY-----`){}", if *private { "; this is a private key, which belongs elsewhere" } else { "" })]
    NotPem { private: bool },
    #[error("what is in the PEM is not a public key")]
    Structure,
    #[error("the key is of a kind that is not supported; ECDSA on P-256 or P-384, Ed25519 and RSA are")]
    Unsupported,
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

// Object identifiers, as they are encoded.
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
const ID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

const SEQUENCE: u8 = 0x30;
const OBJECT: u8 = 0x06;
const BITS: u8 = 0x03;

impl FromStr for PublicKey {
    type Err = InvalidKey;

    fn from_str(pem: &str) -> Result<Self, InvalidKey> {
        let not_pem = || InvalidKey::NotPem { private: pem.contains("PRIVATE KEY-----") };
        let (_, rest) = pem.split_once(BEGIN).ok_or_else(not_pem)?;
        let (body, _) = rest.split_once(END).ok_or_else(not_pem)?;
        let text: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        let der = STANDARD.decode(text).map_err(|_| not_pem())?;
        let (whole, rest) = element(&der, SEQUENCE)?;
        let (algorithm, key) = element(whole, SEQUENCE)?;
        let (bits, after) = element(key, BITS)?;
        if !rest.is_empty() || !after.is_empty() {
            return Err(InvalidKey::Structure);
        }
        // The first byte says how many bits of the last one do not count.
        let bytes = bits.strip_prefix(&[0]).ok_or(InvalidKey::Structure)?;
        let (name, parameters) = element(algorithm, OBJECT)?;
        let kind = match name {
            EC_PUBLIC_KEY => match element(parameters, OBJECT)?.0 {
                SECP256R1 => Kind::P256,
                SECP384R1 => Kind::P384,
                _ => return Err(InvalidKey::Unsupported),
            },
            ID_ED25519 => Kind::Ed25519,
            RSA_ENCRYPTION => Kind::Rsa,
            _ => return Err(InvalidKey::Unsupported),
        };
        let sound = match kind {
            Kind::P256 => bytes.len() == 65 && bytes[0] == 4,
            Kind::P384 => bytes.len() == 97 && bytes[0] == 4,
            Kind::Ed25519 => bytes.len() == 32,
            Kind::Rsa => bytes.len() >= 256,
        };
        if !sound {
            return Err(InvalidKey::Structure);
        }
        Ok(Self { kind, bytes: bytes.to_owned(), digest: Digest::of(&der) })
    }
}

impl PublicKey {
    pub(in crate::engine::images) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn VerificationAlgorithm = match self.kind {
            Kind::P256 => &ECDSA_P256_SHA256_ASN1,
            Kind::P384 => &ECDSA_P384_SHA256_ASN1,
            Kind::Ed25519 => &ED25519,
            Kind::Rsa => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(message, signature).is_ok()
    }
}

/// The key's kind and fingerprint.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::P256 => "ecdsa-p256",
            Kind::P384 => "ecdsa-p384",
            Kind::Ed25519 => "ed25519",
            Kind::Rsa => "rsa",
        };
        write!(f, "{kind}:{}", self.digest.short())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The content of the DER element that `bytes` begin with, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Result<(&[u8], &[u8]), InvalidKey> {
    let [found, first, rest @ ..] = bytes else { return Err(InvalidKey::Structure) };
    let (length, rest) = match *first {
        short @ ..=0x7f => (usize::from(short), rest),
        // What follows is the length, in so many bytes. Longer ones than two belong to no key.
        0x81 => match rest {
            [length, rest @ ..] => (usize::from(*length), rest),
            [] => return Err(InvalidKey::Structure),
        },
        0x82 => match rest {
            [high, low, rest @ ..] => (usize::from(*high) << 8 | usize::from(*low), rest),
            _ => return Err(InvalidKey::Structure),
        },
        _ => return Err(InvalidKey::Structure),
    };
    if *found != tag || length > rest.len() { Err(InvalidKey::Structure) } else { Ok(rest.split_at(length)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A key of openssl's, and its signature of `message`.
    fn openssl(kind: &[&str], message: &[u8], raw: bool) -> (String, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
        let run = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        std::fs::write(at("message"), message).unwrap();
        run(&[&["genpkey", "-out", &at("key")], kind].concat());
        run(&["pkey", "-in", &at("key"), "-pubout", "-out", &at("public")]);
        let (key, out, file) = (at("key"), at("signature"), at("message"));
        let digest: &[&str] = if raw { &["-rawin"] } else { &["-rawin", "-digest", "sha256"] };
        run(&[&["pkeyutl", "-sign", "-inkey", &key, "-in", &file, "-out", &out], digest].concat());
        (std::fs::read_to_string(at("public")).unwrap(), std::fs::read(at("signature")).unwrap())
    }

    #[test]
    fn checks_what_openssl_signs() {
        for (name, kind, raw) in [
            ("ecdsa-p256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..], false),
            ("ecdsa-p384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], false),
            ("ed25519", &["-algorithm", "ED25519"], true),
            ("rsa", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], false),
        ] {
            let (pem, mut signature) = openssl(kind, b"message", raw);
            let key: PublicKey = pem.parse().unwrap();
            assert!(key.to_string().starts_with(name), "{key}");
            assert!(key.has_signed(b"message", &signature), "{name}");
            assert!(!key.has_signed(b"another", &signature), "{name}");
            assert!(!key.has_signed(b"message", b""), "{name}");
            let last = signature.len() - 1;
            signature[last] ^= 1;
            assert!(!key.has_signed(b"message", &signature), "{name}");
        }
    }

    #[test]
    fn refuses_what_is_no_key() {
        let (p521, _) = openssl(&["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], b"", false);
        assert_eq!(p521.parse::<PublicKey>(), Err(InvalidKey::Unsupported));
        let (good, _) = openssl(&["-algorithm", "ED25519"], b"x", true);
        let body = good.lines().nth(1).unwrap();
        for bad in ["", "MCow", &body[..40], &format!("{body}AAAA"), "!!!!"] {
            let pem = format!("{BEGIN}\n{bad}\n{END}\n");
            assert!(pem.parse::<PublicKey>().is_err(), "{bad}");
        }
        let private = "-----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY-----";
        assert_eq!(private.parse::<PublicKey>(), Err(InvalidKey::NotPem { private: true }));
        // Every beginning of a key is refused, and none is a panic.
        let der = STANDARD.decode(body).unwrap();
        for length in 0..der.len() {
            let pem = format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(&der[..length]));
            assert!(pem.parse::<PublicKey>().is_err(), "{length}");
        }
    }
}
