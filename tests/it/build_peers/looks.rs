//! What an image looks like: its configuration and its files, in words that can be compared.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use setpoint::model::Digest;

/// What is compared of a configuration. That something is empty and that it is not there are the same.
pub(super) fn config(inspected: &Value) -> Map<String, Value> {
    const KEYS: [&str; 12] = [
        "Env",
        "Cmd",
        "Entrypoint",
        "WorkingDir",
        "User",
        "ExposedPorts",
        "Volumes",
        "Labels",
        "OnBuild",
        "StopSignal",
        "Healthcheck",
        "Shell",
    ];
    let whole = ["Author", "Os", "Architecture"].map(|key| {
        let value = inspected.get(key).or_else(|| inspected.get(key.to_lowercase()));
        (key.to_owned(), value.cloned().unwrap_or_default())
    });
    let config = inspected.get("Config").or_else(|| inspected.get("config")).unwrap_or_else(|| panic!("{inspected}"));
    let of_config = KEYS.map(|key| {
        let mut value = config.get(key).cloned().unwrap_or_default();
        if key == "Labels"
            && let Value::Object(labels) = &mut value
        {
            labels.remove("io.buildah.version");
        }
        // Their order has no meaning. Buildah moves what is set again to the end.
        if key == "Env"
            && let Value::Array(lines) = &mut value
        {
            lines.sort_by_key(|line| line.as_str().unwrap_or_default().to_owned());
        }
        (key.to_owned(), value)
    });
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    let all = whole.into_iter().chain(of_config);
    all.map(|(key, value)| (key, if is_empty(&value) { Value::Null } else { value })).collect()
}

/// All files below a folder, and what each is. Of files that are one, each names the first. Times are not compared, nor is
/// the root itself, whose mode buildah's storage sets.
pub(super) fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let mut names: Vec<_> = fs::read_dir(root.join(&folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let inside = folder.join(name);
            let path = root.join(&inside);
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            let mut said = format!("{:o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            if kind.is_dir() {
                folders.push(inside.clone());
                said = format!("folder {said}");
            } else if kind.is_symlink() {
                said = format!("link {said} to {}", fs::read_link(&path).unwrap().display());
            } else if kind.is_file() {
                said = format!("file {said} {} {}", metadata.len(), Digest::of(&fs::read(&path).unwrap()));
            } else {
                said = format!("{} {said} {}", if kind.is_fifo() { "fifo" } else { "other" }, metadata.rdev());
            }
            let told = inside.as_os_str().as_bytes().escape_ascii().to_string();
            if !kind.is_dir() && metadata.nlink() > 1 {
                let first = inodes.entry((metadata.dev(), metadata.ino())).or_insert_with(|| told.clone());
                said = format!("{said} as {first}");
            }
            for (name, value) in attributes(&path) {
                said = format!("{said} {name}={value}");
            }
            found.insert(told, said);
        }
    }
    found
}

fn attributes(path: &Path) -> Vec<(String, String)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut all: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..length].escape_ascii().to_string())
        })
        .collect();
    all.sort();
    all
}
