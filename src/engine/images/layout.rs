//! A folder with an OCI layout: read, and written to. What has a digest is checked against it, whoever wrote it; what is written
//! has its name only once it is whole. Knows nothing of what is in it.
//! Source: OCI Image Specification, image-layout.md.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::documents::{Blob, OCI_INDEX};
use super::load::{CONTAINERD_NAME, OCI_NAME};
use crate::files::{self, FileError, Lock};
use crate::model::{Digest, ImageRef};

const MARK: &str = "oci-layout";
const INDEX: &str = "index.json";
/// The largest index that is read, and other documents, in bytes.
const MAX_DOCUMENT: u64 = 16 << 20;
const PART: usize = 256 << 10;

#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{} is not an OCI layout: it has no {MARK} and no {INDEX}", path.display())]
    NoLayout { path: PathBuf },
    #[error("{}: {what} is not what it should be", path.display())]
    Unread { path: PathBuf, what: &'static str },
    #[error("{} has no {wanted}; it has {}", path.display(), listed(there))]
    NotThere { path: PathBuf, wanted: String, there: Vec<String> },
    #[error("{} has several images: {}", path.display(), listed(there))]
    Several { path: PathBuf, there: Vec<String> },
    #[error("{} has the digest {found}", path.display())]
    Digest { path: PathBuf, found: Digest },
    #[error("{} has more than {limit} bytes", path.display())]
    TooLong { path: PathBuf, limit: u64 },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing that has a name".to_owned() } else { names.join(", ") }
}

/// An entry of the index.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) blob: Blob,
    descriptor: Value,
}

impl Entry {
    /// What it is called there: by its tag, or a whole reference.
    fn names(&self) -> impl Iterator<Item = &str> {
        let annotations = self.descriptor.get("annotations");
        [OCI_NAME, CONTAINERD_NAME].into_iter().filter_map(move |key| annotations?.get(key)?.as_str())
    }

    fn is_called(&self, wanted: &str) -> bool {
        let tag = |name: &str| name.parse::<ImageRef>().ok().and_then(|name| name.tag().map(str::to_owned));
        self.blob.digest.to_string() == wanted
            || self.names().any(|name| name == wanted || name.contains([':', '/']) && tag(name).as_deref() == Some(wanted))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// One that is there.
    pub(super) fn open(root: &Path) -> Result<Self, LayoutError> {
        let layout = Self { root: root.to_owned() };
        if !root.join(MARK).is_file() || !root.join(INDEX).is_file() {
            return Err(LayoutError::NoLayout { path: root.to_owned() });
        }
        Ok(layout)
    }

    /// One that is made where there is none. A folder with something else in it is left alone.
    pub(super) fn create(root: &Path) -> Result<Self, LayoutError> {
        files::create_dirs(root, 0o755)?;
        let fail = |e| FileError::new("read folder", root, e);
        let is_empty = fs::read_dir(root).map_err(fail)?.next().is_none();
        if !is_empty && !root.join(MARK).is_file() {
            return Err(LayoutError::NoLayout { path: root.to_owned() });
        }
        files::create_dirs(&root.join("blobs/sha256"), 0o755)?;
        files::publish(&root.join(MARK), br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
        Ok(Self { root: root.to_owned() })
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    fn unread(&self, what: &'static str) -> LayoutError {
        LayoutError::Unread { path: self.root.clone(), what }
    }

    fn entries(&self) -> Result<Vec<Entry>, LayoutError> {
        let path = self.root.join(INDEX);
        let index: Value = match bounded(&path)? {
            None => return Ok(Vec::new()),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|_| self.unread("its index"))?,
        };
        let all = index.get("manifests").and_then(Value::as_array).ok_or_else(|| self.unread("its index"))?;
        let entry = |descriptor: &Value| {
            let digest = descriptor.get("digest")?.as_str()?.parse().ok()?;
            let size = descriptor.get("size")?.as_u64()?;
            let media_type = descriptor.get("mediaType").and_then(Value::as_str).unwrap_or_default().to_owned();
            Some(Entry { blob: Blob { digest, size, media_type }, descriptor: descriptor.clone() })
        };
        all.iter().map(|descriptor| entry(descriptor).ok_or_else(|| self.unread("an entry of its index"))).collect()
    }

    /// What is meant: by tag, by digest, or as the only one that there is. `usual` is the tag that goes without saying.
    pub(super) fn select(&self, wanted: Option<&str>, usual: &str) -> Result<Vec<Blob>, LayoutError> {
        let all = self.entries()?;
        let there = || {
            let names = all.iter().map(|entry| entry.names().next().map_or_else(|| entry.blob.digest.to_string(), str::to_owned));
            names.collect::<Vec<_>>()
        };
        let blobs = |name: &str| {
            let found = all.iter().filter(|entry| entry.is_called(name)).map(|entry| entry.blob.clone());
            found.collect::<Vec<_>>()
        };
        if let Some(wanted) = wanted {
            let found = blobs(wanted);
            if found.is_empty() {
                // What an index leads to can be named by its digest, too.
                if let Ok(digest) = wanted.parse::<Digest>()
                    && let Ok(meta) = fs::metadata(self.blob_path(&digest))
                {
                    return Ok(vec![Blob { digest, size: meta.len(), media_type: String::new() }]);
                }
                return Err(LayoutError::NotThere { path: self.root.clone(), wanted: wanted.to_owned(), there: there() });
            }
            return Ok(found);
        }
        let found = blobs(usual);
        match (found.is_empty(), all.as_slice()) {
            (false, _) => Ok(found),
            (true, [only]) => Ok(vec![only.blob.clone()]),
            (true, []) => Err(LayoutError::NotThere { path: self.root.clone(), wanted: usual.to_owned(), there: Vec::new() }),
            (true, _) => Err(LayoutError::Several { path: self.root.clone(), there: there() }),
        }
    }

    /// A document, checked.
    pub(super) fn document(&self, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
        let path = self.blob_path(digest);
        let missing = || LayoutError::NotThere { path: self.root.clone(), wanted: digest.to_string(), there: Vec::new() };
        let content = bounded(&path)?.ok_or_else(missing)?;
        let found = Digest::of(&content);
        if found == *digest { Ok(content) } else { Err(LayoutError::Digest { path, found }) }
    }

    /// Whether a blob is there and is what its name says.
    pub(super) fn has(&self, digest: &Digest, size: u64) -> Result<bool, LayoutError> {
        let path = self.blob_path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(FileError::new("open", path, e).into()),
        };
        let fail = |e| FileError::new("read", &path, e);
        if file.metadata().map_err(fail)?.len() != size {
            return Ok(false);
        }
        let (mut hash, mut part) = (Sha256::new(), vec![0; PART]);
        loop {
            match file.read(&mut part).map_err(fail)? {
                0 => return Ok(Digest::from_bytes(hash.finalize().into()) == *digest),
                n => hash.update(&part[..n]),
            }
        }
    }

    pub(super) fn put(&self, content: &[u8]) -> Result<Digest, LayoutError> {
        let digest = Digest::of(content);
        files::publish(&self.blob_path(&digest), content, 0o644)?;
        Ok(digest)
    }

    /// Takes in what is in a file, which is known to have this digest.
    pub(super) fn take(&self, digest: &Digest, from: &Path) -> Result<(), LayoutError> {
        let path = self.blob_path(digest);
        // Several may be at it, in this process and in others.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let fresh = self.root.join(format!("blobs/.{}.{}-{number}", digest.hex(), std::process::id()));
        let copied = fs::copy(from, &fresh).map_err(|e| FileError::new("copy to", &fresh, e));
        let taken = copied.and_then(|_| fs::rename(&fresh, &path).map_err(|e| FileError::new("rename to", &path, e)));
        if taken.is_err() {
            files::remove_all(&fresh)?;
        }
        Ok(taken?)
    }

    /// Puts entries into the index, in the place of those of the same name. Other entries stay.
    pub(super) fn publish(&self, fresh: &[Value]) -> Result<(), LayoutError> {
        let _lock = Lock::wait(&self.root.join(format!("{INDEX}.lock")))?;
        let name = |descriptor: &Value| {
            let annotations = descriptor.get("annotations").cloned().unwrap_or_default();
            (annotations.get(OCI_NAME).cloned(), annotations.get(CONTAINERD_NAME).cloned())
        };
        let same = |old: &Value, new: &Value| match name(new) {
            (None, None) => old["digest"] == new["digest"],
            new => name(old) == new,
        };
        let mut all: Vec<Value> = self.entries()?.into_iter().map(|entry| entry.descriptor).collect();
        all.retain(|old| !fresh.iter().any(|new| same(old, new)));
        all.extend(fresh.iter().cloned());
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": all});
        Ok(files::publish(&self.root.join(INDEX), index.to_string().as_bytes(), 0o644)?)
    }
}

/// A file that is no longer than a document may be; `None` where there is none.
fn bounded(path: &Path) -> Result<Option<Vec<u8>>, LayoutError> {
    let fail = |e| FileError::new("read", path, e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(fail(e).into()),
    };
    let mut content = Vec::new();
    file.take(MAX_DOCUMENT + 1).read_to_end(&mut content).map_err(fail)?;
    if content.len() as u64 > MAX_DOCUMENT {
        return Err(LayoutError::TooLong { path: path.to_owned(), limit: MAX_DOCUMENT });
    }
    Ok(Some(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: &Digest, name: Option<&str>) -> Value {
        let mut entry = json!({"mediaType": "x", "digest": digest, "size": 1});
        if let Some(name) = name {
            entry["annotations"] = json!({OCI_NAME: name});
        }
        entry
    }

    #[test]
    fn entries_by_name_and_by_digest() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Layout::open(folder.path()), Err(LayoutError::NoLayout { .. })));
        let layout = Layout::create(folder.path()).unwrap();
        let (a, b) = (layout.put(b"a").unwrap(), layout.put(b"b").unwrap());
        assert!(layout.select(None, "latest").is_err());
        layout.publish(&[entry(&a, None)]).unwrap();
        let first = |wanted: Option<&str>| layout.select(wanted, "latest").map(|found| found[0].digest);
        assert_eq!(first(None).unwrap(), a, "the only one");
        layout.publish(&[entry(&b, Some("v1")), entry(&a, Some("localhost/x:v2"))]).unwrap();
        assert!(matches!(first(None), Err(LayoutError::Several { .. })));
        assert_eq!((first(Some("v1")).unwrap(), first(Some("v2")).unwrap()), (b, a));
        assert_eq!(first(Some(&b.to_string())).unwrap(), b);
        assert!(first(Some("v3")).unwrap_err().to_string().contains("v1"));
        // The same name once more is another image from now on.
        layout.publish(&[entry(&a, Some("v1"))]).unwrap();
        assert_eq!(first(Some("v1")).unwrap(), a);
        layout.publish(&[entry(&b, Some("latest"))]).unwrap();
        assert_eq!(first(None).unwrap(), b);
        assert_eq!(Layout::open(folder.path()).unwrap().entries().unwrap().len(), 4);
    }

    #[test]
    fn what_is_not_what_its_name_says_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::create(&folder.path().join("new/one")).unwrap();
        let digest = layout.put(b"content").unwrap();
        assert_eq!(layout.document(&digest).unwrap(), b"content");
        assert!(layout.has(&digest, 7).unwrap() && !layout.has(&digest, 8).unwrap());
        fs::write(layout.blob_path(&digest), "CONTENT").unwrap();
        assert!(matches!(layout.document(&digest), Err(LayoutError::Digest { .. })));
        assert!(!layout.has(&digest, 7).unwrap());
        let other = folder.path().join("file");
        fs::write(&other, "content").unwrap();
        layout.take(&digest, &other).unwrap();
        assert!(layout.has(&digest, 7).unwrap() && other.exists());
        // A folder with something else in it stays as it is.
        assert!(matches!(Layout::create(folder.path()), Err(LayoutError::NoLayout { .. })));
    }
}
