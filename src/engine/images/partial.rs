//! Downloads that were broken off: what had come of a blob, kept for the next attempt, also when the process was killed.
//! Bounded in number and bytes. Knows nothing of registries; what is in a partial is believed by nobody until the whole
//! blob has the right digest.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::ImagesError;
use super::registry::Download;
use crate::files::{self, FileError, Lock};
use crate::model::Digest;

/// Less than this is no gain for the next attempt.
const WORTH: u64 = 64 << 10;
/// A smaller blob is fetched anew in the time that it takes to look for it.
const SMALLEST: u64 = 1 << 20;
const MOST: usize = 64;
const MOST_BYTES: u64 = 16 << 30;
const PART: usize = 256 << 10;
/// Parts that may wait for the disk.
const AHEAD: usize = 8;

/// The folder of partials.
#[derive(Debug)]
pub(super) struct Partials {
    folder: PathBuf,
}

/// What there is of one blob, held by this process alone.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    lock: Lock,
}

/// A partial that grows while a blob is downloaded.
#[derive(Debug)]
pub(super) struct Growing {
    path: PathBuf,
    writing: JoinHandle<Lock>,
    /// How many bytes were there before.
    pub(super) had: u64,
}

impl Partials {
    pub(super) fn open(state_dir: &Path) -> Self {
        Self { folder: state_dir.join("images/partial") }
    }

    /// The place for a blob; `None` when it is not worth one, or another process is at it.
    pub(super) fn take(&self, digest: &Digest, size: u64) -> Result<Option<Partial>, FileError> {
        if !(SMALLEST..=MOST_BYTES).contains(&size) {
            return Ok(None);
        }
        files::create_dirs(&self.folder, 0o700)?;
        let path = self.folder.join(digest.hex());
        let Some(lock) = Lock::try_take(&path)? else { return Ok(None) };
        let partial = Partial { path, lock };
        let meta = |file: &File| file.metadata().map_err(|e| FileError::new("look at", &partial.path, e));
        let own = meta(partial.lock.file())?;
        // Somebody may have removed it between our opening and locking it.
        if fs::symlink_metadata(&partial.path).is_ok_and(|there| (there.dev(), there.ino()) != (own.dev(), own.ino()))
            || own.nlink() == 0
        {
            return Ok(None);
        }
        self.make_room(size.saturating_sub(own.len()), &partial.path)?;
        Ok(Some(partial))
    }

    /// Removes the oldest until there is room for so many bytes more; those that grow now stay.
    fn make_room(&self, bytes: u64, except: &Path) -> Result<(), FileError> {
        let fail = |e| FileError::new("read folder", &self.folder, e);
        let mut all = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            // One that goes away meanwhile needs no room.
            if let Ok(meta) = fs::symlink_metadata(&path) {
                all.push((meta.mtime(), meta.mtime_nsec(), meta.len(), path));
            }
        }
        all.sort();
        let (mut count, mut sum) = (all.len(), all.iter().map(|(.., size, _)| size).sum::<u64>().saturating_add(bytes));
        for (.., size, path) in all {
            if count <= MOST && sum <= MOST_BYTES {
                break;
            }
            if path == except || Lock::is_held(&path)? {
                continue;
            }
            files::remove_all(&path)?;
            (count, sum) = (count - 1, sum - size);
        }
        Ok(())
    }
}

impl Partial {
    /// Gives the download what there is, and lets it write on from there.
    pub(super) async fn resume(self, download: &mut Download, size: u64) -> Result<Growing, ImagesError> {
        let Self { path, lock } = self;
        let fail = |e| FileError::new("read", &path, e);
        let mut file = lock.file().try_clone().map_err(fail)?;
        let mut had = file.metadata().map_err(fail)?.len();
        if had > size {
            file.set_len(0).map_err(|e| FileError::new("empty", &path, e))?;
            had = 0;
        }
        if had > 0 {
            let (parts, mut known) = mpsc::channel(4);
            let reading = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
                file.seek(SeekFrom::Start(0))?;
                loop {
                    let mut part = Vec::with_capacity(PART);
                    (&mut file).take(PART as u64).read_to_end(&mut part)?;
                    // Nobody listens any more when the pull has been abandoned.
                    if part.is_empty() || parts.blocking_send(Bytes::from(part)).is_err() {
                        return Ok(());
                    }
                }
            });
            while let Some(part) = known.recv().await {
                download.known(part).await;
            }
            reading.await?.map_err(fail)?;
        }
        let (sender, mut parts) = mpsc::channel::<Bytes>(AHEAD);
        let shown = path.clone();
        let writing = tokio::task::spawn_blocking(move || {
            let mut file = lock.file();
            let mut write = || -> std::io::Result<()> {
                file.seek(SeekFrom::Start(had))?;
                while let Some(part) = parts.blocking_recv() {
                    file.write_all(&part)?;
                }
                Ok(())
            };
            // A disk that is full is no reason not to go on with the download itself.
            if let Err(error) = write() {
                tracing::warn!(path = %shown.display(), %error, "what has come of a download is not kept");
            }
            lock
        });
        download.copy_to(sender);
        Ok(Growing { path, writing, had })
    }
}

impl Growing {
    /// Ends it, once the download has gone. It is of no use any more where the blob has come, or cannot come from it.
    pub(super) async fn end(self, keep: bool) -> Result<(), ImagesError> {
        let lock = self.writing.await?;
        let had = lock.file().metadata().map_err(|e| FileError::new("look at", &self.path, e))?.len();
        if !keep || had < WORTH {
            files::remove_all(&self.path)?;
        }
        drop(lock);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let partials = Partials::open(folder.path());
        let digest = |i: u32| Digest::of(&i.to_le_bytes());
        assert!(partials.take(&digest(0), 100).unwrap().is_none());
        assert!(partials.take(&digest(0), u64::MAX).unwrap().is_none());
        let held = partials.take(&digest(0), SMALLEST).unwrap().unwrap();
        assert!(partials.take(&digest(0), SMALLEST).unwrap().is_none());
        for i in 1..=MOST as u32 + 5 {
            let partial = partials.take(&digest(i), SMALLEST).unwrap().unwrap();
            let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(i));
            partial.lock.file().set_modified(old).unwrap();
        }
        let there = |i| partials.folder.join(digest(i).hex()).exists();
        assert_eq!(fs::read_dir(&partials.folder).unwrap().count(), MOST);
        assert!(there(0) && !there(1) && !there(6) && there(7) && there(MOST as u32 + 5));
        // A sparse file counts by its length.
        held.lock.file().set_len(MOST_BYTES - SMALLEST).unwrap();
        drop(held);
        partials.take(&digest(1000), 2 * SMALLEST).unwrap().unwrap();
        assert!(!there(0) || there(7));
        let sum: u64 = fs::read_dir(&partials.folder).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
        assert!(sum <= MOST_BYTES - 2 * SMALLEST);
    }
}
