//! What software is in a file system: a list of packages, from what package managers have written down and from what programs
//! say of themselves. Reads only; runs nothing of what it looks at, and follows no link out of the tree.
//!
//! It knows dpkg, apk, rpm with a database of SQLite, Python's and npm's installed packages, and programs of Go and Rust that
//! carry the list of their modules. It does not see what was compiled or copied without leaving one of these.

mod dpkg;
mod elf;
mod languages;
mod programs;
mod rpm;
mod spdx;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

pub(super) use spdx::{PREDICATE, document};

use super::error::BuildError;
use super::files::{Select, Selection, Tree};
use super::ignore::Ignore;

/// More than this no database of packages has, in bytes.
const LARGEST: u64 = 256 << 20;
/// And this no description of one package.
const LARGEST_DESCRIPTION: u64 = 4 << 20;

/// What is looked for, for people who read the list.
pub(super) const COVERS: &str = "Packages of dpkg, apk, rpm (SQLite), Python (dist-info, egg-info) and npm (node_modules), and the \
    modules of programs of Go and of Rust (cargo auditable). Other software is not listed.";

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// What it is known by everywhere: `pkg:deb/debian/bash@5.2`.
    pub(super) url: String,
    /// As it is written there, which need not be an expression of SPDX.
    pub(super) license: Option<String>,
    /// Who made it.
    pub(super) supplier: Option<String>,
    /// The file that says so.
    pub(super) from: String,
}

/// The distribution that a file system is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Distribution {
    id: String,
    version: String,
}

impl Distribution {
    /// For addresses of packages.
    fn qualifier(&self) -> Option<(&'static str, String)> {
        match (self.id.as_str(), self.version.as_str()) {
            ("", _) => None,
            (id, "") => Some(("distro", id.to_owned())),
            (id, version) => Some(("distro", format!("{id}-{version}"))),
        }
    }

    fn or<'a>(&'a self, usual: &'a str) -> &'a str {
        if self.id.is_empty() { usual } else { &self.id }
    }
}

/// Looks at all files of a tree. `scratch` is a folder for files of its own. Blocks the thread.
pub(super) fn scan(tree: &Tree, scratch: &Path) -> Result<Vec<Package>, BuildError> {
    let distribution = distribution(tree)?;
    let mut found = BTreeSet::new();
    found.extend(dpkg::dpkg(tree, &distribution)?);
    found.extend(dpkg::apk(tree, &distribution)?);
    found.extend(rpm::packages(tree, &distribution, scratch)?);
    let none = Ignore::default();
    let all = Selection::of(tree, &Select { sources: &["/".to_owned()], exclude: &none, parents: false })?;
    for item in all.items() {
        let path = item.path.to_string_lossy();
        found.extend(languages::package(tree, &path)?);
        if item.is_program {
            found.extend(programs::modules(tree, &path)?);
        }
    }
    Ok(found.into_iter().collect())
}

fn distribution(tree: &Tree) -> Result<Distribution, BuildError> {
    let mut found = Distribution::default();
    for path in ["etc/os-release", "usr/lib/os-release"] {
        let Some(text) = read(tree, path, LARGEST_DESCRIPTION)? else { continue };
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            match key.trim() {
                "ID" => found.id = value,
                "VERSION_ID" => found.version = value,
                _ => {}
            }
        }
        break;
    }
    Ok(found)
}

/// The text of a file; `None` where there is none, or something else than a file, or more than anybody would write.
fn read(tree: &Tree, path: &str, limit: u64) -> Result<Option<String>, BuildError> {
    Ok(bytes(tree, path, limit)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn bytes(tree: &Tree, path: &str, limit: u64) -> Result<Option<Vec<u8>>, BuildError> {
    match tree.open_file(path)? {
        Some(file) if file.size <= limit => Ok(tree.read(path, limit)?),
        _ => Ok(None),
    }
}

/// The address of a package. Source: the package URL specification.
fn url(kind: &str, namespace: &str, name: &str, version: &str, qualifiers: &[(&str, String)]) -> String {
    let mut url = format!("pkg:{kind}/");
    for part in namespace.split('/').filter(|part| !part.is_empty()) {
        url.push_str(&encoded(part));
        url.push('/');
    }
    url.push_str(&encoded(name));
    if !version.is_empty() {
        url.push('@');
        url.push_str(&encoded(version));
    }
    let mut qualifiers: Vec<_> = qualifiers.iter().filter(|(_, value)| !value.is_empty()).collect();
    qualifiers.sort();
    for (number, (key, value)) in qualifiers.into_iter().enumerate() {
        url.push(if number == 0 { '?' } else { '&' });
        url.push_str(&format!("{key}={}", encoded(value)));
    }
    url
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// The fields of `Key: value` lines; lines that go on with a blank are part of the one before.
fn field<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    let line = text.lines().take_while(|line| !line.is_empty()).find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.map(str::trim).filter(|value| !value.is_empty())
}
