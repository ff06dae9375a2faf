//! Notifications of changed files, reduced to "look again". What changed is not passed on: whoever is woken reads all.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use tokio::sync::watch;

/// Editors write a file in several steps; they are one change.
const DEBOUNCE: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("start watching files: {0}")]
    Start(notify::Error),
    #[error("watch {}: {source}; more watches can be allowed by the sysctl fs.inotify.max_user_watches", path.display())]
    Path { path: PathBuf, source: notify::Error },
}

/// A running watch of folders. Dropping it ends it.
pub struct Wakes {
    debouncer: Debouncer<notify::RecommendedWatcher, RecommendedCache>,
    changes: watch::Receiver<u64>,
}

impl Wakes {
    pub fn new() -> Result<Self, WatchError> {
        let (sender, changes) = watch::channel(0u64);
        let debouncer = new_debouncer(DEBOUNCE, None, move |result: DebounceEventResult| {
            // An error (such as a full queue) means that something was missed: that is a reason to look, too.
            let looks = match &result {
                Ok(events) => events.iter().any(|event| event.need_rescan() || !matches!(event.kind, EventKind::Access(_))),
                Err(_) => true,
            };
            if looks {
                sender.send_modify(|count| *count += 1);
            }
        })
        .map_err(WatchError::Start)?;
        Ok(Self { debouncer, changes })
    }

    /// Watches a folder and all below it, or a file by its folder, so that a file replaced by rename stays watched. Of
    /// what is not there, such as an archive on a stick, the nearest folder that is.
    pub fn add(&mut self, path: &Path) -> Result<(), WatchError> {
        let (folder, mode) = match path.is_dir() {
            true => (path, RecursiveMode::Recursive),
            false => (path.ancestors().skip(1).find(|folder| folder.is_dir()).unwrap_or(path), RecursiveMode::NonRecursive),
        };
        self.debouncer.watch(folder, mode).map_err(|source| WatchError::Path { path: folder.to_owned(), source })
    }

    /// A receiver whose value changes whenever something did.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.clone()
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
}
