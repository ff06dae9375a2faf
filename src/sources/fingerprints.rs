//! Fingerprints of what images are made of, remembered as long as the file stays the same: a daemon looks every minute, and
//! an archive may have gigabytes. Folders are looked through each time.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::engine::images::{Images, ImagesError};
use crate::model::Digest;

/// Shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints(Arc<Mutex<HashMap<PathBuf, (Stamp, Digest)>>>);

/// What no write leaves as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Of the last change of content or mode, in nanoseconds. No program sets it as it likes.
    changed: i128,
}

/// A file that was changed so shortly before could change again without its time telling.
const SETTLED: Duration = Duration::from_secs(2);

impl Fingerprints {
    /// The fingerprint of a file or a folder. Blocks the thread.
    pub fn take(&self, path: &Path) -> Result<Digest, ImagesError> {
        let Some(before) = stamp(path) else { return Images::fingerprint(path) };
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path).copied();
        if let Some((stamp, digest)) = known
            && stamp == before
        {
            return Ok(digest);
        }
        let settled = before.changed + SETTLED.as_nanos().cast_signed() < now();
        let digest = Images::fingerprint(path)?;
        if settled && stamp(path) == Some(before) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (before, digest));
        }
        Ok(digest)
    }
}

/// `None` for what is not a file, or is not there.
fn stamp(path: &Path) -> Option<Stamp> {
    let meta: Metadata = std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    let changed = i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec());
    Some(Stamp { device: meta.dev(), inode: meta.ino(), size: meta.size(), changed })
}

fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.tar");
        let all = Fingerprints::default();
        assert!(all.take(&path).is_err());
        std::fs::write(&path, "one").unwrap();
        let one = all.take(&path).unwrap();
        assert!(all.0.lock().unwrap().is_empty(), "it was changed a moment ago");
        // As if it had been there for long.
        let stamp = stamp(&path).unwrap();
        all.0.lock().unwrap().insert(path.clone(), (stamp, Digest::of(b"known")));
        assert_eq!(all.take(&path).unwrap(), Digest::of(b"known"));
        std::fs::write(&path, "two").unwrap();
        let two = all.take(&path).unwrap();
        assert!(two != one && two != Digest::of(b"known"));
        assert_eq!(all.take(folder.path()).unwrap(), Images::fingerprint(folder.path()).unwrap());
    }
}
