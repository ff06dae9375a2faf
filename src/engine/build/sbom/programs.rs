//! What programs say of what they were compiled of: Go's build information, and the list that `cargo auditable` embeds.
//! Sources: Go's debug/buildinfo; the rust-audit-info format.

use std::io::Read;

use flate2::read::ZlibDecoder;
use serde_json::Value;

use super::{Package, elf, url};
use crate::engine::build::error::BuildError;
use crate::engine::build::files::Tree;

const GO_MAGIC: &[u8] = b"\xff Go buildinf:";
/// Where texts begin that stand in the section itself; the flag says that they do.
const GO_TEXTS: usize = 32;
const GO_INLINE: u8 = 2;
/// What stands before and after the text of modules.
const GO_FENCE: usize = 16;
/// Bytes that the list of a Rust program may have.
const LONGEST: u64 = 64 << 20;

/// The modules of the program at this path.
pub(super) fn modules(tree: &Tree, path: &str) -> Result<Vec<Package>, BuildError> {
    let Some(opened) = tree.open_file(path)? else { return Ok(Vec::new()) };
    let Some([go, rust]) = elf::sections(&opened.file, [".go.buildinfo", ".dep-v0"]) else { return Ok(Vec::new()) };
    let mut found = go.and_then(|section| go_modules(&section, path)).unwrap_or_default();
    found.extend(rust.and_then(|section| rust_crates(&section, path)).unwrap_or_default());
    Ok(found)
}

fn go_modules(section: &[u8], path: &str) -> Option<Vec<Package>> {
    if !section.starts_with(GO_MAGIC) || section.get(15)? & GO_INLINE == 0 {
        return None;
    }
    let (version, rest) = text(section.get(GO_TEXTS..)?)?;
    let mut found = vec![module("stdlib", std::str::from_utf8(version).ok()?.trim_start_matches("go"), path)];
    let (modules, _) = text(rest)?;
    let modules = modules.get(GO_FENCE..modules.len().checked_sub(GO_FENCE)?).unwrap_or_default();
    for line in String::from_utf8_lossy(modules).lines() {
        let words: Vec<&str> = line.split('\t').collect();
        match words.as_slice() {
            // The main module, and those that it uses; one may stand in the place of the one before.
            ["mod" | "dep", name, version, ..] => found.push(module(name, version, path)),
            ["=>", name, version, ..] => {
                found.pop();
                found.push(module(name, version, path));
            }
            _ => {}
        }
    }
    Some(found)
}

/// A text with its length before it, and what comes after it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut shift) = (0u64, 0);
    for (at, byte) in bytes.iter().enumerate().take(9) {
        length |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes[at + 1..].split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

fn module(name: &str, version: &str, path: &str) -> Package {
    let (namespace, short) = name.rsplit_once('/').unwrap_or(("", name));
    // What was built in its own folder has no version.
    let known = if version == "(devel)" { "" } else { version };
    Package {
        name: name.to_owned(),
        version: known.to_owned(),
        url: url("golang", &namespace.to_lowercase(), &short.to_lowercase(), known, &[]),
        license: None,
        supplier: None,
        from: path.to_owned(),
    }
}

fn rust_crates(section: &[u8], path: &str) -> Option<Vec<Package>> {
    let mut json = Vec::new();
    ZlibDecoder::new(section).take(LONGEST).read_to_end(&mut json).ok()?;
    let said: Value = serde_json::from_slice(&json).ok()?;
    let crates = said["packages"].as_array()?.iter().filter(|one| one["kind"].as_str() != Some("build"));
    let package = |one: &Value| {
        let (name, version) = (one["name"].as_str()?, one["version"].as_str()?);
        Some(Package {
            name: name.to_owned(),
            version: version.to_owned(),
            url: url("cargo", "", name, version, &[]),
            license: None,
            supplier: None,
            from: path.to_owned(),
        })
    };
    Some(crates.filter_map(package).collect())
}
