//! The database of rpm, where it is one of SQLite: a table of headers in rpm's own binary form. The older databases, of Berkeley
//! DB and rpm's own, are not read.
//! Source: the RPM file format, "Header Structure".

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Distribution, LARGEST, Package, bytes, url};
use crate::engine::build::error::BuildError;
use crate::engine::build::files::Tree;
use crate::files::{self, FileError};

const DATABASES: [&str; 2] = ["var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite"];

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const VENDOR: u32 = 1011;
const LICENSE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;

/// A 32-bit number, and three forms of texts, in rpm's numbers for types.
const INT32: u32 = 4;
const TEXTS: [u32; 3] = [6, 8, 9];

pub(super) fn packages(tree: &Tree, distribution: &Distribution, scratch: &Path) -> Result<Vec<Package>, BuildError> {
    let mut found = Vec::new();
    for path in DATABASES {
        let Some(content) = bytes(tree, path, LARGEST)? else { continue };
        // SQLite wants a file, and may write beside it.
        let copy = scratch.join("rpmdb.sqlite");
        std::fs::write(&copy, content).map_err(|e| FileError::new("write", &copy, e))?;
        match headers(&copy) {
            Ok(headers) => found.extend(headers.iter().filter_map(|header| package(header, distribution, path))),
            Err(error) => tracing::warn!(%error, path, "a database of rpm cannot be read, so its packages are not listed"),
        }
        files::remove_all(&copy)?;
        // The other one is the same by way of a link.
        break;
    }
    Ok(found)
}

fn headers(path: &Path) -> rusqlite::Result<Vec<Vec<u8>>> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    // Whoever made the image may have made the database too.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    let mut query = connection.prepare("SELECT blob FROM Packages ORDER BY hnum")?;
    query.query_map([], |row| row.get(0))?.collect()
}

fn package(header: &[u8], distribution: &Distribution, from: &str) -> Option<Package> {
    let text = |tag| text(header, tag);
    let (name, version, release) = (text(NAME)?, text(VERSION)?, text(RELEASE)?);
    // A key to check signatures with is no software.
    if name == "gpg-pubkey" {
        return None;
    }
    let version = format!("{version}-{release}");
    let epoch = number(header, EPOCH).filter(|epoch| *epoch > 0).map(|epoch| epoch.to_string()).unwrap_or_default();
    let mut qualifiers = vec![("arch", text(ARCHITECTURE).unwrap_or_default()), ("epoch", epoch)];
    qualifiers.extend(distribution.qualifier());
    let url = url("rpm", &distribution.id, &name, &version, &qualifiers);
    Some(Package { name, version, url, license: text(LICENSE), supplier: text(VENDOR), from: from.to_owned() })
}

/// The data of a tag, from where it begins, if its type is one of these.
fn data<'h>(header: &'h [u8], tag: u32, kinds: &[u32]) -> Option<&'h [u8]> {
    let word = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let entries = usize::try_from(word(0)?).ok()?;
    let data = 8usize.checked_add(entries.checked_mul(16)?)?;
    for entry in (8..data).step_by(16) {
        if word(entry)? == tag && kinds.contains(&word(entry + 4)?) {
            return header.get(data.checked_add(usize::try_from(word(entry + 8)?).ok()?)?..);
        }
    }
    None
}

fn text(header: &[u8], tag: u32) -> Option<String> {
    let data = data(header, tag, &TEXTS)?;
    let end = data.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&data[..end]).into_owned()).filter(|text| !text.is_empty())
}

fn number(header: &[u8], tag: u32) -> Option<u32> {
    Some(u32::from_be_bytes(data(header, tag, &[INT32])?.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A header with these texts.
    pub(in super::super) fn header(texts: &[(u32, &str)]) -> Vec<u8> {
        let (mut index, mut data) = (Vec::new(), Vec::new());
        for (tag, text) in texts {
            for word in [*tag, 6, data.len() as u32, 1] {
                index.extend(word.to_be_bytes());
            }
            data.extend(text.as_bytes());
            data.push(0);
        }
        let mut header = (texts.len() as u32).to_be_bytes().to_vec();
        header.extend((data.len() as u32).to_be_bytes());
        [header, index, data].concat()
    }

    #[test]
    fn headers_are_read_and_broken_ones_are_none() {
        let whole = header(&[(NAME, "bash"), (VERSION, "5.2"), (RELEASE, "1.fc39"), (ARCHITECTURE, "x86_64"), (LICENSE, "GPL")]);
        let fedora = Distribution { id: "fedora".into(), version: "39".into() };
        let found = package(&whole, &fedora, "x").unwrap();
        assert_eq!(found.url, "pkg:rpm/fedora/bash@5.2-1.fc39?arch=x86_64&distro=fedora-39");
        assert_eq!(found.license.as_deref(), Some("GPL"));
        for length in 0..whole.len() - 40 {
            package(&whole[..length], &fedora, "x");
        }
        assert_eq!(package(&[0xff; 64], &fedora, "x"), None);
    }
}
