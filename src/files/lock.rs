//! Locks between processes: `flock` on a file, which the kernel releases with the process, however it ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::FileError;

/// A held lock. Dropping it releases it; the file stays, since removing it would let two holders meet.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// Waits for the lock. Blocks the thread.
    pub fn wait(path: &Path) -> Result<Self, FileError> {
        let file = open(path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::INTR) => {}
                Err(e) => return Err(FileError::new("lock", path, e)),
            }
        }
    }

    /// The lock, or `None` when somebody else holds it.
    pub fn try_take(path: &Path) -> Result<Option<Self>, FileError> {
        Self::take(open(path)?, path)
    }

    /// As [`try_take`](Self::try_take), where it is only looked whether somebody else has it: whoever watches the folder is not told that
    /// a file was written, unless there was none.
    pub fn try_take_unseen(path: &Path) -> Result<Option<Self>, FileError> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => open(path)?,
            Err(e) => return Err(FileError::new("open", path, e)),
        };
        Self::take(file, path)
    }

    fn take(file: File, path: &Path) -> Result<Option<Self>, FileError> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(FileError::new("lock", path, e)),
        }
    }

    /// A place beside others who share the lock. Blocks the thread while somebody holds it alone.
    pub fn share(path: &Path) -> Result<Self, FileError> {
        let file = open(path)?;
        loop {
            match flock(&file, FlockOperation::LockShared) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::INTR) => {}
                Err(e) => return Err(FileError::new("lock", path, e)),
            }
        }
    }

    /// A place beside others who share the lock, or `None` when somebody holds it alone.
    pub fn try_share(path: &Path) -> Result<Option<Self>, FileError> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(FileError::new("lock", path, e)),
        }
    }

    /// Whether somebody holds the lock. A missing file is held by nobody.
    pub fn is_held(path: &Path) -> Result<bool, FileError> {
        match File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(FileError::new("open", path, e)),
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => Ok(false),
                Err(Errno::WOULDBLOCK) => Ok(true),
                Err(e) => Err(FileError::new("lock", path, e)),
            },
        }
    }

    /// Whether somebody holds the lock, alone or beside others. A missing file is held by nobody.
    pub fn is_used(path: &Path) -> Result<bool, FileError> {
        match File::open(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(FileError::new("open", path, e)),
            Ok(file) => Ok(Self::take(file, path)?.is_none()),
        }
    }

    /// The locked file, for a note by its holder.
    pub const fn file(&self) -> &File {
        &self.0
    }
}

fn open(path: &Path) -> Result<File, FileError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|e| FileError::new("open", path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!Lock::is_held(&path).unwrap());
        let held = Lock::wait(&path).unwrap();
        assert!(Lock::is_held(&path).unwrap());
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(Lock::try_take_unseen(&path).unwrap().is_none());
        drop(held);
        let unseen = Lock::try_take_unseen(&path).unwrap();
        assert!(unseen.is_some() && Lock::is_held(&path).unwrap());
        drop(unseen);
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn some_share_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert!(!Lock::is_used(&path).unwrap());
        let both = [Lock::share(&path).unwrap(), Lock::share(&path).unwrap()];
        assert!(Lock::is_used(&path).unwrap() && !Lock::is_held(&path).unwrap());
        drop(both);
        assert!(!Lock::is_used(&path).unwrap());
    }
}
