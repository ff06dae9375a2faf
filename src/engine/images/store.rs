//! Where content lives: blobs by digest, layers unpacked by diff id with their skeletons beside them, and work in progress. Knows nothing of registries,
//! nor which content is needed: the rows say that.
//!
//! Guarantees: what has its final name is whole; a row is committed only once the content it names is on the disk.
//! What a dead process has left is told from what a live one is working on by the lock that a live one holds.

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::syncfs;

use super::error::ImagesError;
use super::layer::{Layer, Recorder};
use super::rows::Names;
use crate::files::{self, FileError, Lock};
use crate::model::Digest;

#[derive(Debug)]
pub(super) struct Store {
    root: PathBuf,
    /// This process's own folder for work in progress, made when it is needed first.
    session: Mutex<Option<Arc<Session>>>,
}

/// A folder under `tmp/` and the lock that says that its owner lives.
#[derive(Debug)]
struct Session {
    path: PathBuf,
    next: AtomicU64,
    _lock: Lock,
}

impl Drop for Session {
    fn drop(&mut self) {
        discard(&self.path);
    }
}

/// An unpacked layer that is not published yet. Dropping it removes what is left of it.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) layer: Layer,
    /// The blob that it was unpacked from, where that is to be kept.
    pub(super) kept: Option<Digest>,
    folder: Scratch,
}

/// A folder for work in progress, removed with all in it when it is dropped.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    _session: Arc<Session>,
}

impl Scratch {
    /// Whatever is put here besides is removed with it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The empty folder for a layer.
    pub(super) fn root(&self) -> PathBuf {
        self.path.join("layer")
    }

    pub(super) fn skeleton(&self) -> PathBuf {
        self.path.join("skeleton")
    }

    /// Where the blob goes that the layer is unpacked from.
    pub(super) fn blob(&self) -> PathBuf {
        self.path.join("blob")
    }

    pub(super) fn recorder(&self) -> Result<Recorder, FileError> {
        Recorder::create(&self.skeleton(), &self.path.join("replaced"))
    }

    pub(super) fn into_staged(self, layer: Layer, kept: Option<Digest>) -> Staged {
        Staged { layer, kept, folder: self }
    }
}

impl Staged {
    /// Whether it is still to be published: others may share it, and have done so.
    pub(super) fn is_there(&self) -> bool {
        self.folder.root().exists()
    }

    /// Its folder, until it is published.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.root()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        discard(&self.path);
    }
}

/// Removes work in progress; what cannot be removed now is swept by the next recovery.
fn discard(path: &Path) {
    if let Err(error) = files::remove_all(path) {
        tracing::warn!(%error, "work in progress is left for recovery to sweep");
    }
}

/// Held while content gets its final name or loses it, until the rows say the same.
#[derive(Debug)]
pub(super) struct Publishing<'a> {
    store: &'a Store,
    _lock: Lock,
}

impl Store {
    pub(super) fn open(state_dir: &Path) -> Result<Self, FileError> {
        let root = state_dir.join("images");
        for folder in ["blobs/sha256", "layers", "completions", "skeletons", "tmp"] {
            files::create_dirs(&root.join(folder), 0o700)?;
        }
        Ok(Self { root, session: Mutex::new(None) })
    }

    pub(super) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    /// What is laid over the layer that this chain ends with.
    pub(super) fn completion_path(&self, chain_id: &Digest) -> PathBuf {
        self.root.join("completions").join(chain_id.hex())
    }

    /// The hexadecimal digits of the layers and of the completions that there are.
    pub(super) fn folders(&self) -> Result<(HashSet<String>, HashSet<String>), FileError> {
        let there = |folder: &str| {
            let path = self.root.join(folder);
            match list(&path) {
                // With all that was in it: so that it can be filled again.
                Err(error) if error.is_missing() => files::create_dirs(&path, 0o700).map(|()| HashSet::new()),
                all => Ok(all?.iter().map(|path| name(path)).collect()),
            }
        };
        Ok((there("layers")?, there("completions")?))
    }

    /// What of a layer's tar is not in its folder.
    pub(super) fn skeleton_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("skeletons").join(diff_id.hex())
    }

    /// A blob's content, checked against its name.
    pub(super) fn blob(&self, digest: &Digest) -> Result<Vec<u8>, ImagesError> {
        let content = files::read(&self.blob_path(digest))?;
        if Digest::of(&content) == *digest { Ok(content) } else { Err(ImagesError::Damaged { digest: *digest }) }
    }

    /// An empty folder for work in progress.
    pub(super) fn scratch(&self) -> Result<Scratch, FileError> {
        let session = self.session()?;
        let path = session.path.join(session.next.fetch_add(1, Ordering::Relaxed).to_string());
        let scratch = Scratch { path, _session: session };
        let root = scratch.root();
        files::create_dirs(&root, 0o755)?;
        // Exactly: a container whose layers say nothing of their root gets this one.
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).map_err(|e| FileError::new("set the mode of", &root, e))?;
        Ok(scratch)
    }

    /// Waits until no other process publishes or sweeps. Blocks the thread.
    pub(super) fn publishing(&self) -> Result<Publishing<'_>, FileError> {
        Ok(Publishing { store: self, _lock: Lock::wait(&self.root.join("lock"))? })
    }

    /// Removes what dead processes left under `tmp/`.
    pub(super) fn sweep_work(&self) -> Result<(), FileError> {
        let tmp = self.root.join("tmp");
        // Held to the end, or a new process with a dead one's id could make the folder that is being removed.
        let _guard = Lock::wait(&self.root.join("tmp.lock"))?;
        for path in list(&tmp)? {
            if !Lock::is_held(&path.join("lock"))? {
                files::remove_all(&path)?;
            }
        }
        Ok(())
    }

    fn session(&self) -> Result<Arc<Session>, FileError> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = &*session {
            return Ok(session.clone());
        }
        // Between the folder's making and its locking it must not look dead.
        let _guard = Lock::wait(&self.root.join("tmp.lock"))?;
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = loop {
            let path = self.root.join("tmp").join(format!("{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                // An earlier process had the same id.
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number = NEXT.fetch_add(1, Ordering::Relaxed),
                Err(e) => return Err(FileError::new("create folder", path, e)),
            }
        };
        let lock = Lock::wait(&path.join("lock"))?;
        let made = Arc::new(Session { path, next: AtomicU64::new(0), _lock: lock });
        *session = Some(made.clone());
        Ok(made)
    }
}

impl Publishing<'_> {
    /// Gives a staged layer its final name. Only for a layer without a row: what has the name already is what a
    /// process left that died before its commit, perhaps with a power cut, and is not trusted.
    pub(super) fn layer(&self, staged: &Staged) -> Result<(), FileError> {
        let path = self.store.layer_path(&staged.layer.diff_id);
        self.remove(&path)?;
        self.skeleton(staged)?;
        move_to(&staged.folder.root(), &path)
    }

    /// Gives a completion its final name. As for a layer: only for one without a row.
    pub(super) fn completion(&self, made: &Scratch, chain_id: &Digest) -> Result<(), FileError> {
        let path = self.store.completion_path(chain_id);
        self.remove(&path)?;
        move_to(&made.root(), &path)
    }

    /// Gives a staged layer's skeleton its final name, where the layer itself is there.
    pub(super) fn skeleton(&self, staged: &Staged) -> Result<(), FileError> {
        move_once(&staged.folder.skeleton(), &self.store.skeleton_path(&staged.layer.diff_id))
    }

    /// Gives the blob that a layer was unpacked from its final name.
    pub(super) fn kept_blob(&self, staged: &Staged, digest: &Digest) -> Result<(), FileError> {
        move_once(&staged.folder.blob(), &self.store.blob_path(digest))
    }

    pub(super) fn blob(&self, digest: &Digest, content: &[u8]) -> Result<(), FileError> {
        files::publish(&self.store.blob_path(digest), content, 0o600)
    }

    /// Returns when everything published is on the disk.
    pub(super) fn sync(&self) -> Result<(), FileError> {
        let root = &self.store.root;
        let folder = File::open(root).map_err(|e| FileError::new("open", root, e))?;
        syncfs(&folder).map_err(|e| FileError::new("sync", root, e))
    }

    /// Removes what is not needed. Its rows must be gone already.
    pub(super) fn sweep(&self, needed: &Names) -> Result<(), FileError> {
        for (folder, names) in [("completions", &needed.completions), ("layers", &needed.layers)] {
            for path in list(&self.store.root.join(folder))?.iter().filter(|path| !names.contains(&name(path))) {
                self.remove(path)?;
            }
        }
        for (folder, names) in [("skeletons", &needed.layers), ("blobs/sha256", &needed.blobs)] {
            for path in list(&self.store.root.join(folder))?.iter().filter(|path| !names.contains(&name(path))) {
                files::remove_all(path)?;
            }
        }
        Ok(())
    }

    /// Removes a layer: out of sight at once, then file by file.
    pub(super) fn remove(&self, path: &Path) -> Result<(), FileError> {
        if fs::symlink_metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(());
        }
        let aside = self.store.scratch()?;
        match fs::rename(path, aside.path.join("layer")) {
            Ok(()) => files::remove_all(&aside.path),
            Err(e) => Err(FileError::new("remove", path, e)),
        }
    }
}

/// Pulls share what one of them has fetched: for a layer that was here already, another one may have been first.
fn move_once(from: &Path, to: &Path) -> Result<(), FileError> {
    match move_to(from, to) {
        Err(error) if error.is_missing() && to.exists() => Ok(()),
        moved => moved,
    }
}

fn move_to(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|e| FileError::new("rename to", to, e))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let fail = |e| FileError::new("read folder", folder, e);
    fs::read_dir(folder).map_err(fail)?.map(|entry| Ok(entry.map_err(fail)?.path())).collect()
}
