//! Desired state as manifests: the way back. What is printed and loaded again is the same [`Desired`], and is short: what is as
//! usual is left out.
//!
//! Assumption: what is printed was loaded, or could have been.

mod builds;
mod container;
mod images;
mod mounts;
mod resources;
mod yaml;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::model::Name;
use crate::model::spec::{Attachment, Elsewhere, NetworkSpec};

use super::desired::{Desired, Placed};
use super::document::API_VERSION;
use yaml::Yaml;

/// What a stack's files say that is not part of the state that they desire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    pub configs: BTreeMap<Name, ContentOrigin>,
    pub secrets: BTreeMap<Name, ContentOrigin>,
    /// The profiles of containers that are of any.
    pub profiles: BTreeMap<Name, BTreeSet<String>>,
    /// Dependencies that need not be there, by who has them.
    pub optional: BTreeMap<Name, BTreeSet<Name>>,
}

/// Where the content of a config or of a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentOrigin {
    /// It stands in the manifest.
    Inline,
    File(PathBuf),
    Variable(String),
    /// Another stack has it.
    External(Elsewhere),
}

/// One manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    /// What its file is called where each has a file of its own: `container-web.yaml`.
    pub file: String,
    pub text: String,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PrintError {
    #[error("the secret `{0}` is in no file, and a manifest must not have it")]
    Secret(Name),
    #[error("the config `{0}` is in no file, and is no text that a manifest could have")]
    Config(Name),
    #[error("the path {} is no text that a manifest could have", .0.display())]
    Path(PathBuf),
}

/// What everything is printed with.
struct Printer<'a> {
    desired: &'a Desired,
    origins: &'a Origins,
    /// Paths beneath it are written relative to it, and all others as they are.
    base: Option<&'a Path>,
}

/// The manifests of a stack: that of the stack itself first, then kind by kind.
///
/// # Errors
/// When something cannot stand in a manifest.
pub fn print(desired: &Desired, origins: &Origins, base: Option<&Path>) -> Result<Vec<Printed>, PrintError> {
    let printer = Printer { desired, origins, base };
    let mut all = vec![manifest("Stack", &desired.stack, Vec::new())];
    let implicit = images::implicit(desired);
    for (name, image) in desired.images.iter().filter(|(name, _)| !implicit.contains(*name)) {
        all.push(manifest("Image", name, printer.image(name, image)?));
    }
    for (name, placed) in desired.networks.iter().filter(|(name, placed)| !is_implicit(desired, name, placed)) {
        all.push(manifest("Network", name, printer.network(name, placed)));
    }
    for (name, placed) in &desired.volumes {
        all.push(manifest("Volume", name, printer.volume(name, placed)));
    }
    for (name, config) in &desired.configs {
        all.push(manifest("Config", name, printer.config(name, config)?));
    }
    for (name, secret) in &desired.secrets {
        all.push(manifest("Secret", name, printer.secret(name, secret)?));
    }
    for (name, placed) in &desired.containers {
        all.push(manifest("Container", name, printer.container(name, placed)?));
    }
    Ok(all)
}

/// All manifests in one file.
pub fn join(all: &[Printed]) -> String {
    all.iter().map(|printed| printed.text.as_str()).collect::<Vec<_>>().join("---\n")
}

fn manifest(kind: &str, name: &Name, spec: Vec<(String, Yaml)>) -> Printed {
    let mut fields = vec![
        ("apiVersion".to_owned(), Yaml::text(API_VERSION)),
        ("kind".to_owned(), Yaml::text(kind)),
        ("metadata".to_owned(), Yaml::Map(vec![("name".to_owned(), Yaml::text(name))])),
    ];
    if !spec.is_empty() {
        fields.push(("spec".to_owned(), Yaml::Map(spec)));
    }
    let file = match kind {
        "Stack" => "stack.yaml".to_owned(),
        kind => format!("{}-{name}.yaml", kind.to_lowercase()),
    };
    Printed { file, text: Yaml::Map(fields).document() }
}

/// Whether a network is there without being declared.
fn is_implicit(desired: &Desired, name: &Name, placed: &Placed<NetworkSpec>) -> bool {
    let usual = desired.stack.join(name).ok();
    name.as_str() == super::resolve::DEFAULT_NETWORK
        && !placed.external
        && usual.as_ref() == Some(&placed.engine_name)
        && placed.spec == NetworkSpec::default()
        && desired.containers.values().any(|container| container.spec.networks.contains_key(&placed.engine_name))
}

/// Fields in the making.
#[derive(Default)]
struct Fields(Vec<(String, Yaml)>);

impl Fields {
    fn put(&mut self, name: &str, value: Yaml) {
        self.0.push((name.to_owned(), value));
    }

    /// What is not there is not written.
    fn some(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(name, Yaml::text(value));
        }
    }

    fn number(&mut self, name: &str, value: Option<impl Into<i64>>) {
        if let Some(value) = value {
            self.put(name, Yaml::Integer(value.into()));
        }
    }

    /// Neither is what is false.
    fn when(&mut self, name: &str, value: bool) {
        if value {
            self.put(name, Yaml::Bool(true));
        }
    }

    /// Nor what is empty.
    fn texts<T: ToString>(&mut self, name: &str, all: impl IntoIterator<Item = T>) {
        let value = Yaml::texts(all);
        if value != Yaml::List(Vec::new()) {
            self.put(name, value);
        }
    }

    fn pairs<K: ToString, V: ToString>(&mut self, name: &str, all: impl IntoIterator<Item = (K, V)>) {
        self.map(name, Yaml::pairs(all));
    }

    fn map(&mut self, name: &str, value: Yaml) {
        if value != Yaml::Map(Vec::new()) && value != Yaml::List(Vec::new()) {
            self.put(name, value);
        }
    }
}

impl Printer<'_> {
    /// A path of the host.
    fn path(&self, path: &Path) -> Result<String, PrintError> {
        let whole = path.to_str().ok_or_else(|| PrintError::Path(path.to_owned()))?;
        let Some(beneath) = self.base.and_then(|base| path.strip_prefix(base).ok()).and_then(Path::to_str) else {
            return Ok(whole.to_owned());
        };
        Ok(if beneath.is_empty() { ".".to_owned() } else { format!("./{beneath}") })
    }

    /// `name` and `external` of what is called in the engine.
    fn placing<T>(&self, fields: &mut Fields, name: &Name, placed: &Placed<T>) {
        fields.when("external", placed.external);
        let usual = if placed.external { Some(name.clone()) } else { self.desired.stack.join(name).ok() };
        if usual.as_ref() != Some(&placed.engine_name) {
            fields.put("name", Yaml::text(&placed.engine_name));
        }
    }

    /// What the stack calls a container of this name in the engine.
    fn service(&self, engine_name: &str) -> Option<&Name> {
        self.desired.containers.iter().find(|(_, placed)| placed.engine_name.as_str() == engine_name).map(|(name, _)| name)
    }

    /// What the stack calls a network of this name in the engine.
    fn network_name(&self, engine_name: &Name) -> Name {
        let found = self.desired.networks.iter().find(|(_, placed)| placed.engine_name == *engine_name);
        found.map_or(engine_name, |(name, _)| name).clone()
    }

    fn volume_name(&self, engine_name: &Name) -> Name {
        let found = self.desired.volumes.iter().find(|(_, placed)| placed.engine_name == *engine_name);
        found.map_or(engine_name, |(name, _)| name).clone()
    }
}

/// Whether an attachment says nothing.
fn is_plain(attachment: &Attachment) -> bool {
    *attachment == Attachment::default()
}
