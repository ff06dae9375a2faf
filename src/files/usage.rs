//! What a tree takes on the disk. Knows nothing of what is in it.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::FileError;

/// Bytes that a folder and all in it take, each file once however many names it has. What goes away while this looks takes
/// nothing.
pub fn usage(root: &Path) -> Result<u64, FileError> {
    let mut bytes = 0;
    let mut seen = BTreeSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            meta => meta.map_err(|e| FileError::new("look at", &path, e))?,
        };
        if meta.is_dir() {
            match fs::read_dir(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                entries => {
                    for entry in entries.map_err(|e| FileError::new("read folder", &path, e))? {
                        waiting.push(entry.map_err(|e| FileError::new("read folder", &path, e))?.path());
                    }
                }
            }
        } else if meta.nlink() > 1 && !seen.insert((meta.dev(), meta.ino())) {
            continue;
        }
        if !meta.is_dir() {
            bytes += meta.blocks() * 512;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_each_file_once_and_holes_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(usage(&folder.path().join("missing")).unwrap(), 0);
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(folder.path().join("d/a"), vec![1; 100_000]).unwrap();
        fs::hard_link(folder.path().join("d/a"), folder.path().join("b")).unwrap();
        fs::File::create(folder.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        let found = usage(folder.path()).unwrap();
        assert!((100_000..200_000).contains(&found), "{found}");
    }
}
