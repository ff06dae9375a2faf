//! What is in a file or folder of the host that a manifest has watched. Knows nothing of what it means.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::files::read_limited;
use super::problem::Place;
use super::reader::Reader;
use crate::model::Digest;

/// More than this is data, and not what tells a program how to behave.
const MOST_BYTES: u64 = 16 << 20;
const MOST_ENTRIES: usize = 1000;

/// The digest of what is at a path, and the path is watched from now on. Nothing there has a digest too: what comes there is a change.
pub(super) fn digest(reader: &mut Reader, at: Place, path: &Path) -> Option<Digest> {
    reader.watched.push(path.to_owned());
    let mut found = Found { text: Vec::new(), entries: 0, left: MOST_BYTES };
    match found.add(path, Path::new("")) {
        Ok(()) => Some(Digest::of(&found.text)),
        Err((place, error)) => {
            let hint = "watch the files of it that matter, each by a mount of its own";
            reader.error_hint(at, format!("{} cannot be watched: {error}", place.display()), hint);
            None
        }
    }
}

struct Found {
    /// A line for each entry: its path, its kind and the digest of its content.
    text: Vec<u8>,
    entries: usize,
    left: u64,
}

impl Found {
    fn add(&mut self, path: &Path, name: &Path) -> Result<(), (PathBuf, io::Error)> {
        let fail = |error| (path.to_owned(), error);
        let meta = match fs::symlink_metadata(path) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fail(error)),
        };
        self.entries += 1;
        if self.entries > MOST_ENTRIES {
            return Err(fail(io::Error::other(format!("there are more than {MOST_ENTRIES} files in it"))));
        }
        if meta.is_dir() {
            self.line(name, b"folder", None);
            let mut names = Vec::new();
            for entry in fs::read_dir(path).map_err(fail)? {
                names.push(entry.map_err(fail)?.file_name());
            }
            names.sort();
            return names.iter().try_for_each(|own| self.add(&path.join(own), &name.join(own)));
        }
        // The path itself may be a link to what is mounted; within a folder it is what it is.
        if meta.is_symlink() && !name.as_os_str().is_empty() {
            let target = fs::read_link(path).map_err(fail)?;
            self.line(name, b"link", Some(Digest::of(target.as_os_str().as_bytes())));
            return Ok(());
        }
        if meta.is_symlink() && path.is_dir() {
            let target = fs::canonicalize(path).map_err(fail)?;
            return self.add(&target, name);
        }
        let content = read_limited(path, self.left).map_err(fail)?;
        self.left -= content.len() as u64;
        self.line(name, b"file", Some(Digest::of(&content)));
        Ok(())
    }

    fn line(&mut self, name: &Path, kind: &[u8], digest: Option<Digest>) {
        let digest = digest.map(|digest| digest.to_string()).unwrap_or_default();
        // With its length, so that no name is taken for two.
        let name = name.as_os_str().as_bytes();
        self.text.extend(format!("{} ", name.len()).bytes());
        for part in [name, b" ", kind, b" ", digest.as_bytes(), b"\n"] {
            self.text.extend(part);
        }
    }
}
