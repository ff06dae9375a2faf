//! Notifications of changed files, reduced to "look again". What changed is not passed on: whoever is woken reads all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// Editors write a file in several steps; they are one change, which is over when nothing came for so long.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// A change that does not end is told of meanwhile.
const LONGEST: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("start watching files: {0}")]
    Start(notify::Error),
    #[error("watch {}: {source}; more watches can be allowed by the sysctl fs.inotify.max_user_watches", path.display())]
    Path { path: PathBuf, source: notify::Error },
}

/// A running watch of folders. Dropping it ends it.
pub struct Wakes {
    watcher: RecommendedWatcher,
    changes: watch::Receiver<u64>,
}

impl Wakes {
    /// # Assumptions
    /// It is called within a tokio runtime.
    pub fn new() -> Result<Self, WatchError> {
        let (seen, heard) = watch::channel(());
        let watcher = notify::recommended_watcher(move |result: notify::Result<notify::Event>| {
            // An error (such as a full queue) means that something was missed: that is a reason to look, too.
            let looks = result.as_ref().map_or(true, |event| event.need_rescan() || !matches!(event.kind, EventKind::Access(_)));
            if looks {
                seen.send_replace(());
            }
        })
        .map_err(WatchError::Start)?;
        let (sender, changes) = watch::channel(0u64);
        tokio::spawn(debounce(heard, sender));
        Ok(Self { watcher, changes })
    }

    /// Watches a folder and all below it, or a file by its folder, so that a file replaced by rename stays watched. Of
    /// what is not there, such as an archive on a stick, the nearest folder that is.
    pub fn add(&mut self, path: &Path) -> Result<(), WatchError> {
        let (folder, mode) = match path.is_dir() {
            true => (path, RecursiveMode::Recursive),
            false => (path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(path), RecursiveMode::NonRecursive),
        };
        self.watcher.watch(folder, mode).map_err(|source| WatchError::Path { path: folder.to_owned(), source })
    }

    /// A receiver whose value changes whenever something did.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }
}

/// Passes on that something was heard, once it is quiet again. Sleeps where nothing is heard, and ends with the watcher.
async fn debounce(mut heard: watch::Receiver<()>, sender: watch::Sender<u64>) {
    while heard.changed().await.is_ok() {
        let latest = Instant::now() + LONGEST;
        while let Ok(Ok(())) = timeout_at(latest.min(Instant::now() + DEBOUNCE), heard.changed()).await {}
        sender.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_not_there_yet_wakes_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let mut wakes = Wakes::new().unwrap();
        wakes.add(&folder.path().join("stick/app.tar")).unwrap();
        let mut changes = wakes.changes();
        changes.mark_unchanged();
        std::fs::create_dir(folder.path().join("stick")).unwrap();
        tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_replaced_file_wakes() {
        let folder = tempfile::tempdir().unwrap();
        let mut wakes = Wakes::new().unwrap();
        wakes.add(folder.path()).unwrap();
        let mut changes = wakes.changes();
        changes.mark_unchanged();
        for content in [b"one", b"two"] {
            crate::files::publish(&folder.path().join("web.yaml"), content, 0o644).unwrap();
            tokio::time::timeout(Duration::from_secs(10), changes.changed()).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_change_that_does_not_end_is_told_of() {
        let (seen, heard) = watch::channel(());
        let (sender, mut changes) = watch::channel(0);
        let debouncing = tokio::spawn(debounce(heard, sender));
        let steps = async {
            loop {
                seen.send_replace(());
                tokio::time::sleep(DEBOUNCE / 10).await;
            }
        };
        tokio::select! {
            () = steps => {}
            changed = changes.changed() => changed.unwrap(),
        }
        drop(seen);
        debouncing.await.unwrap();
    }
}
