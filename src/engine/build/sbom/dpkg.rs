//! The databases of dpkg and of apk: texts, a paragraph for each package.
//! Sources: Debian Policy, "Control files and their fields"; apk-tools, the format of `installed`.

use super::{Distribution, LARGEST, Package, bytes, field, read, url};
use crate::engine::build::error::BuildError;
use crate::engine::build::files::Tree;

const STATUS: &str = "var/lib/dpkg/status";
/// Where images that have no dpkg say what they were put together of.
const STATUS_FOLDER: &str = "var/lib/dpkg/status.d";
const INSTALLED: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

pub(super) fn dpkg(tree: &Tree, distribution: &Distribution) -> Result<Vec<Package>, BuildError> {
    let mut found = Vec::new();
    if let Some(text) = read(tree, STATUS, LARGEST)? {
        let installed =
            text.split("\n\n").filter(|one| field(one, "Status").is_some_and(|status| status.ends_with(" installed")));
        found.extend(installed.filter_map(|one| debian(one, distribution, STATUS)));
    }
    for name in tree.names_at(STATUS_FOLDER)? {
        let path = format!("{STATUS_FOLDER}/{name}");
        if !name.ends_with(".md5sums")
            && let Some(text) = read(tree, &path, super::LARGEST_DESCRIPTION)?
        {
            found.extend(debian(&text, distribution, &path));
        }
    }
    Ok(found)
}

fn debian(text: &str, distribution: &Distribution, from: &str) -> Option<Package> {
    let text = text.trim_start();
    let (name, version) = (field(text, "Package")?, field(text, "Version")?);
    let mut qualifiers = vec![("arch", field(text, "Architecture").unwrap_or_default().to_owned())];
    qualifiers.extend(distribution.qualifier());
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        url: url("deb", distribution.or("debian"), name, version, &qualifiers),
        license: None,
        supplier: field(text, "Maintainer").map(str::to_owned),
        from: from.to_owned(),
    })
}

pub(super) fn apk(tree: &Tree, distribution: &Distribution) -> Result<Vec<Package>, BuildError> {
    let mut found = Vec::new();
    for path in INSTALLED {
        let Some(content) = bytes(tree, path, LARGEST)? else { continue };
        let text = String::from_utf8_lossy(&content);
        found.extend(text.split("\n\n").filter_map(|one| alpine(one, distribution, path)));
        // The other one is the same by way of a link.
        break;
    }
    Ok(found)
}

fn alpine(text: &str, distribution: &Distribution, from: &str) -> Option<Package> {
    let text = text.trim_start();
    let (name, version) = (field(text, "P")?, field(text, "V")?);
    let mut qualifiers = vec![("arch", field(text, "A").unwrap_or_default().to_owned())];
    qualifiers.extend(distribution.qualifier());
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
        url: url("apk", distribution.or("alpine"), name, version, &qualifiers),
        license: field(text, "L").map(str::to_owned),
        supplier: field(text, "m").map(str::to_owned),
        from: from.to_owned(),
    })
}
