//! What Python's and npm's installers leave beside each package.
//! Sources: the Python Packaging User Guide, "Core metadata specifications"; npm's documentation of package.json.

use serde_json::Value;

use super::{LARGEST_DESCRIPTION, Package, field, read, url};
use crate::engine::build::error::BuildError;
use crate::engine::build::files::Tree;

/// The package that the file at this path describes, if it does.
pub(super) fn package(tree: &Tree, path: &str) -> Result<Option<Package>, BuildError> {
    let mut names = path.rsplit('/');
    let (file, folder) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let is_python = file == "METADATA" && folder.ends_with(".dist-info")
        || file == "PKG-INFO" && folder.ends_with(".egg-info")
        || file.ends_with(".egg-info");
    let above = names.next().unwrap_or_default();
    let is_node =
        file == "package.json" && (above == "node_modules" || above.starts_with('@') && names.next() == Some("node_modules"));
    if !is_python && !is_node {
        return Ok(None);
    }
    let Some(text) = read(tree, path, LARGEST_DESCRIPTION)? else { return Ok(None) };
    Ok(if is_python { python(&text, path) } else { node(&text, path) })
}

fn python(text: &str, path: &str) -> Option<Package> {
    let (name, version) = (field(text, "Name")?, field(text, "Version")?);
    let license = field(text, "License-Expression").or_else(|| field(text, "License"));
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        url: url("pypi", "", &name.to_lowercase().replace('_', "-"), version, &[]),
        license: license.map(str::to_owned),
        supplier: field(text, "Author").or_else(|| field(text, "Author-email")).map(str::to_owned),
        from: path.to_owned(),
    })
}

fn node(text: &str, path: &str) -> Option<Package> {
    let said: Value = serde_json::from_str(text).ok()?;
    let (name, version) = (said["name"].as_str()?, said["version"].as_str()?);
    let (scope, short) = name.rsplit_once('/').unwrap_or(("", name));
    let license = said["license"].as_str().or_else(|| said["license"]["type"].as_str());
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        url: url("npm", scope, short, version, &[]),
        license: license.map(str::to_owned),
        supplier: said["author"].as_str().or_else(|| said["author"]["name"].as_str()).map(str::to_owned),
        from: path.to_owned(),
    })
}
