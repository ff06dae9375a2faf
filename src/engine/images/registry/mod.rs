//! The client of one repository: manifests and blobs, checked as they arrive, from mirrors or the registry itself. Knows
//! nothing of layers, of the store or of platforms.
//! Source: the OCI Distribution Specification.

mod address;
mod auth;
mod catalog;
mod challenge;
mod credentials;
mod endpoint;
mod error;
mod fetch;
mod file;
mod helper;
mod http;
mod login;
mod referrers;
mod retry;
mod settings;
mod upload;

pub use self::catalog::Found;
pub use self::credentials::{Credentials, CredentialsError, Given};
pub use self::error::{RegistryError, Trouble};
pub(super) use self::fetch::{Download, Registry};
pub use self::file::{WebFile, WebVersion};
pub(super) use self::http::Http;
pub use self::login::{Login, Registries};
pub use self::referrers::Referrer;
pub(super) use self::retry::Patience;
pub use self::settings::SettingsError;
pub(super) use self::upload::{Piece, Source, Target, Written};

use crate::model::Digest;

/// A manifest as it was sent.
#[derive(Debug)]
pub(super) struct RawManifest {
    pub(super) digest: Digest,
    pub(super) content: Vec<u8>,
    pub(super) content_type: Option<String>,
}
