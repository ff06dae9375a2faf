//! ADD: archives are unpacked where they go, and files come from the web.
//! Source: Dockerfile reference, "ADD": what is an archive is seen by its content; a tar is laid over what is there and keeps its
//! own owners where no `--chown` says otherwise; a file of the web is 0600 and has the time that its server says.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::copy::{Copied, copy_but, several};
use super::select::Selection;
use super::target::{CopyOrder, Target};
use super::web::Visits;
use super::{Doubt, FilesError, digest, document};
use crate::engine::images::{Images, WebFile};
use crate::files::archive::{Limits, decompress, is_header, plain};
use crate::files::tree::{Devices, Owner, TreeError, Unpack, unpack};
use crate::files::{Beneath, FileError};
use crate::model::Digest;
use crate::sys;

/// Copies a selection as ADD does: files among the sources that are archives are unpacked into the destination, if `unpacks`.
pub fn add(selection: &Selection, target: BorrowedFd<'_>, order: &CopyOrder, unpacks: bool) -> Result<Copied, FilesError> {
    let mut archives = Vec::new();
    for (index, item) in selection.items.iter().enumerate().filter(|(_, item)| unpacks && item.top && item.is_file()) {
        let folder = selection.tree.folder(&selection.folders[item.folder as usize])?;
        let (mut file, meta) = digest::open(selection, item, &folder)?;
        let path = selection.path(item);
        if is_archive(&mut file).map_err(|e| FileError::new("read", &path, e))? {
            archives.push((index, file, meta, path));
        }
    }
    if let Some(several) = several(selection, &Target::new(target, order, selection.tree.name())?) {
        return Err(several);
    }
    let skipped: BTreeSet<usize> = archives.iter().map(|(index, ..)| *index).collect();
    let mut done = copy_but(selection, target, order, &skipped, None)?;
    for (index, file, meta, path) in archives {
        done = done.and(unpack_into(target, order, file, &path, selection.tree.name())?);
        if !meta.unchanged(&selection.items[index].meta) {
            done.changed = true;
            done.doubts.push(Doubt::Changed { path: path.display().to_string() });
        }
    }
    Ok(done)
}

/// Whether a file is a tar, perhaps a compressed one. It is at its beginning before and after.
fn is_archive(file: &mut File) -> io::Result<bool> {
    let mut head = Vec::with_capacity(512);
    // What only looks compressed is no archive.
    let read = decompress(&*file).and_then(|plain| plain.take(512).read_to_end(&mut head));
    file.rewind()?;
    Ok(read.is_ok() && is_header(&head) && head.iter().any(|byte| *byte != 0))
}

fn unpack_into(target: BorrowedFd<'_>, order: &CopyOrder, file: File, path: &Path, from: &str) -> Result<Copied, FilesError> {
    let mut target = Target::new(target, order, from)?;
    let folder = target.destination(path)?;
    let archive = |source| FilesError::Archive { name: format!("{} of {from}", path.display()), source };
    let limits = Limits::default();
    let mut tar = plain(&file, &limits).map_err(|e| archive(TreeError::Archive(e.into())))?;
    // As Docker, which makes the destination its root: no link of the archive leads out of that.
    let folder = folder.try_clone().map_err(|e| FileError::new("open folder", target.root.show(&target.path), e))?;
    let mut root = Beneath::over(folder, target.root.show(&target.path));
    let owner = order.owner.map_or(Owner::AsArchived, |(uid, gid)| Owner::Trusting { uid, gid });
    let how = Unpack {
        // Nobody makes nodes of devices in a user namespace.
        devices: if sys::userns::is_inside() { Devices::LeftOut } else { Devices::Made },
        replaces: true,
        latest: order.epoch,
        limits,
        ..Unpack::new(Path::new(""), owner)
    };
    let unpacked = unpack(&mut tar, &mut root, &how).map_err(archive)?;
    io::copy(&mut tar, &mut io::sink()).map_err(|e| archive(TreeError::Archive(e.into())))?;
    target.finish()?;
    let doubts = unpacked.left_out.into_iter().map(|path| Doubt::NotCopied { path, what: "a device" }).collect();
    Ok(Copied { entries: unpacked.entries, bytes: unpacked.bytes, doubts, changed: false })
}

/// A file of the web that is here now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    path: PathBuf,
    url: String,
    facts: Facts,
    size: u64,
}

/// What is known of a file of the web.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Facts {
    /// What it is to be called in a folder.
    name: Option<String>,
    content: Digest,
    /// In seconds since 1970.
    modified: i64,
}

impl Facts {
    /// The digest of its bytes.
    pub(super) const fn content(&self) -> Digest {
        self.content
    }

    /// What the cache knows it by: its content, its name and its time.
    pub(super) fn digest(&self) -> Digest {
        let name = self.name.as_deref().unwrap_or_default();
        Digest::of(format!("setpoint download 1\n{}\n{}\n{name}", self.content, self.modified).as_bytes())
    }
}

impl Download {
    /// Fetches `url` into the new file `path`, and compares it with a checksum. `visits` remembers it.
    pub async fn fetch(
        images: &Images,
        url: &str,
        path: PathBuf,
        checksum: Option<&Digest>,
        visits: &Visits,
    ) -> Result<Self, FilesError> {
        Self::take(images.web_file(url).await?, url, path, checksum, visits).await
    }

    /// The same of a file that is on its way.
    pub(super) async fn take(
        mut file: WebFile,
        url: &str,
        path: PathBuf,
        checksum: Option<&Digest>,
        visits: &Visits,
    ) -> Result<Self, FilesError> {
        let failed = |action, e| FilesError::from(FileError::new(action, path.clone(), e));
        let mut options = tokio::fs::OpenOptions::new();
        let mut to = options.write(true).create_new(true).mode(0o600).open(&path).await.map_err(|e| failed("create", e))?;
        let (mut hash, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 128 << 10]);
        loop {
            let read = file.body.read(&mut buffer).await;
            let read = read.map_err(|source| FilesError::Stream { name: url.to_owned(), source })?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
            size += read as u64;
            to.write_all(&buffer[..read]).await.map_err(|e| failed("write", e))?;
        }
        to.flush().await.map_err(|e| failed("write", e))?;
        let content = Digest::from_bytes(hash.finalize().into());
        if let Some(expected) = checksum.filter(|expected| **expected != content) {
            let (url, expected, found) = (url.to_owned(), expected.to_string(), content.to_string());
            return Err(FilesError::Checksum { url, expected, found });
        }
        let name = file.disposition.as_deref().and_then(disposed).or_else(|| last_part(url));
        // As BuildKit does where the server says nothing.
        let facts = Facts { name, content, modified: file.modified.unwrap_or(0) };
        visits.remember(url, file.version, facts.clone())?;
        Ok(Self { path, url: url.to_owned(), facts, size })
    }

    /// What the cache knows it by.
    pub fn digest(&self) -> Digest {
        self.facts.digest()
    }

    /// The digest of its bytes.
    pub const fn content(&self) -> Digest {
        self.facts.content()
    }

    /// Bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Puts it where the order says; an archive is unpacked there if `unpacks`.
    pub fn put(&self, target: BorrowedFd<'_>, order: &CopyOrder, unpacks: bool) -> Result<Copied, FilesError> {
        let mut file = File::open(&self.path).map_err(|e| FileError::new("open", &self.path, e))?;
        if unpacks && is_archive(&mut file).map_err(|e| FileError::new("read", &self.path, e))? {
            let name = self.facts.name.clone().unwrap_or_default();
            return unpack_into(target, order, file, Path::new(&name), &self.url);
        }
        let to_folder = order.to_folder || Target::new(target, order, &self.url)?.is_folder();
        let name = match &self.facts.name {
            Some(name) => name.as_str(),
            None if to_folder => return Err(FilesError::NoName { url: self.url.clone() }),
            None => "download",
        };
        document::place(target, order, name.as_ref(), 0o600, (self.facts.modified, 0), &mut |to| io::copy(&mut file, to))
    }

    /// Removes the file.
    pub fn discard(self) -> Result<(), FilesError> {
        Ok(fs::remove_file(&self.path).map_err(|e| FileError::new("remove", &self.path, e))?)
    }
}

/// The last part of a URL's path.
fn last_part(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let last = url.path_segments()?.rfind(|part| !part.is_empty())?;
    plain_name(&percent_decoded(last)?)
}

/// The name in a `Content-Disposition`. Source: RFC 6266.
fn disposed(header: &str) -> Option<String> {
    let mut name = None;
    for parameter in parameters(header) {
        let (key, value) = parameter.split_once('=')?;
        match key.trim().to_ascii_lowercase().as_str() {
            "filename*" => {
                let value = value.trim();
                let encoded = value.get(..7).filter(|charset| charset.eq_ignore_ascii_case("utf-8''")).map(|_| &value[7..]);
                if let Some(extended) = encoded.and_then(percent_decoded) {
                    return plain_name(&extended);
                }
            }
            "filename" => {
                let value = value.trim();
                let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
                name = Some(quoted.map_or_else(|| value.to_owned(), |quoted| quoted.replace("\\\"", "\"").replace("\\\\", "\\")));
            }
            _ => {}
        }
    }
    name.as_deref().and_then(plain_name)
}

/// What stands between semicolons, but for those in quotes, without the first.
fn parameters(header: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, c) in header.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ';' if !quoted => {
                parts.push(&header[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    parts.push(&header[start..]);
    parts.into_iter().skip(1).filter(|part| !part.trim().is_empty()).collect()
}

/// A name that is one, whatever the server says.
fn plain_name(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next()?;
    let fits = !name.is_empty() && name != "." && name != ".." && name.len() <= 255 && !name.chars().any(char::is_control);
    fits.then(|| name.to_owned())
}

fn percent_decoded(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let pair = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match pair.filter(|_| *byte == b'%').and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_downloads() {
        for (url, name) in [
            ("http://x/a/b.tar.gz?c=d#e", Some("b.tar.gz")),
            ("http://x/a%20b/", Some("a b")),
            ("http://x/", None),
            ("http://x", None),
            ("http://x/..%2f..%2fetc%2fpasswd", Some("passwd")),
            ("http://x/%2e%2e", None),
        ] {
            assert_eq!(last_part(url).as_deref(), name, "{url}");
        }
        for (header, name) in [
            ("attachment; filename=\"a;b.txt\"", Some("a;b.txt")),
            ("attachment; filename=plain.txt; size=3", Some("plain.txt")),
            ("attachment; filename=\"a\"; filename*=UTF-8''%e2%82%ac.txt", Some("€.txt")),
            ("attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            ("attachment; filename=\"..\"", None),
            ("attachment; filename*=latin1''x", None),
            ("inline", None),
            ("", None),
        ] {
            assert_eq!(disposed(header).as_deref(), name, "{header}");
        }
    }
}
