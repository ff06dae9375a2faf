//! Reads compose files: other rooms, the same furniture. Each service is a container, and every section is read by what
//! reads manifests.
//! Source: the Compose Specification.

mod extends;
mod merge;
pub(super) mod project;

use crate::model::Name;

use super::declared::Declared;
use super::fields;
use super::reader::{Fields, Reader};
use super::tree::{Key, Node, Value};
use super::{container, resources};

/// Reads the one document of a compose file into `declared`.
pub(super) fn read(reader: &mut Reader, root: &Node, declared: &mut Declared) {
    let Some(f) = reader.fields(root, &fields::COMPOSE) else { return };
    if let Some(node) = f.get("name")
        && let Some(text) = reader.text(node)
    {
        match reader.parse_text::<Name>(node.at, text) {
            Some(name) if super::stack_name(text).as_ref() == Some(&name) => declared.stack = Some((name, node.at)),
            Some(_) => {
                let hint = "lower-case letters, digits, `-` and `_`, starting with a letter or digit";
                reader.error_hint(node.at, format!("`{text}` is not a stack's name"), hint);
            }
            None => {}
        }
    }
    if let Some(node) = f.get("version") {
        reader.word(node);
        let at = f.place("version");
        reader.problems.warn(at, "`version` is obsolete and without effect", Some("remove it".to_owned()));
    }
    for (name, key, node) in section(reader, &f, "services", false) {
        let resource = container::read(reader, name.clone(), key.at, &node);
        declared.note("container", &name, resource, |all| &mut all.containers);
    }
    for (name, key, node) in section(reader, &f, "networks", true) {
        let resource = resources::network(reader, name.clone(), key.at, &node);
        declared.note("network", &name, resource, |all| &mut all.networks);
    }
    for (name, key, node) in section(reader, &f, "volumes", true) {
        let resource = resources::volume(reader, name.clone(), key.at, &node);
        declared.note("volume", &name, resource, |all| &mut all.volumes);
    }
    for (name, key, node) in section(reader, &f, "configs", false) {
        let resource = resources::config(reader, name.clone(), key.at, &node);
        declared.note("config", &name, resource, |all| &mut all.configs);
    }
    for (name, key, node) in section(reader, &f, "secrets", false) {
        let resource = resources::secret(reader, name.clone(), key.at, &node);
        declared.note("secret", &name, resource, |all| &mut all.secrets);
    }
}

/// The named entries of a section. An entry without a value is an empty mapping where that is a whole description.
fn section<'n>(
    reader: &mut Reader,
    f: &Fields<'n>,
    name: &str,
    may_be_empty: bool,
) -> Vec<(Name, &'n Key, std::borrow::Cow<'n, Node>)> {
    let Some(node) = f.get(name) else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in reader.map(node).unwrap_or_default() {
        if key.text.starts_with("x-") {
            continue;
        }
        let Some(name) = reader.parse_text::<Name>(key.at, &key.text) else { continue };
        let node = match value.value {
            Value::Null if may_be_empty => std::borrow::Cow::Owned(Node { at: key.at, value: Value::Map(Vec::new()) }),
            _ => std::borrow::Cow::Borrowed(value),
        };
        found.push((name, key, node));
    }
    found
}
