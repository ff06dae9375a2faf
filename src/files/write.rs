//! Writes that a reader sees whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::FileError;

/// Replaces `path` by a file of this content and mode. After a power cut the old content may be back: for run-time state.
pub fn publish(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    write(path, content, mode, false)
}

/// Like [`publish`], and on the disk when it returns.
pub fn publish_durably(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    write(path, content, mode, true)
}

/// Gives the very file at `path` another content, because it is open or mounted elsewhere. Who reads it meanwhile may see a part
/// of it, and a crash in between may leave one: whoever calls this looks again.
pub fn rewrite(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let attempt = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.write_all(content)?;
        file.set_len(content.len() as u64)
    };
    attempt().map_err(|e| FileError::new("write", path, e))
}

/// Makes a file of this content and mode. For one that nobody looks for before this has returned: until then it may be there
/// in part, and after a crash in between it is.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|e| FileError::new("create", path, e))?;
    file.write_all(content).map_err(|e| FileError::new("write", path, e)).inspect_err(|_| drop(fs::remove_file(path)))
}

fn write(path: &Path, content: &[u8], mode: u32, durable: bool) -> Result<(), FileError> {
    let (temporary, mut file) = loop {
        let temporary = beside(path);
        match OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary) {
            Ok(file) => break (temporary, file),
            // A process that was killed had the same number, and has left it.
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(FileError::new("create", temporary, e)),
        }
    };
    let mut attempt = || -> Result<(), FileError> {
        file.write_all(content).map_err(|e| FileError::new("write", &temporary, e))?;
        if durable {
            file.sync_all().map_err(|e| FileError::new("sync", &temporary, e))?;
        }
        fs::rename(&temporary, path).map_err(|e| FileError::new("rename to", path, e))?;
        if durable && let Some(folder) = path.parent() {
            File::open(folder).and_then(|f| f.sync_all()).map_err(|e| FileError::new("sync", folder, e))?;
        }
        Ok(())
    };
    attempt().inspect_err(|_| drop(fs::remove_file(&temporary)))
}

/// A name in the same folder that no other writer uses: the process's id and a number.
fn beside(path: &Path) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_whole_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        publish(&path, b"one", 0o600).unwrap();
        publish_durably(&path, b"two", 0o640).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        let error = publish(&folder.path().join("no/such"), b"", 0o600).unwrap_err();
        assert!(error.is_missing() && error.to_string().contains("no/"), "{error}");
    }

    #[test]
    fn what_a_killed_process_of_the_same_number_left_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        // Every name that could be next: other tests take some of them meanwhile.
        let next = || -> u32 {
            let name = beside(&path).file_name().unwrap().to_string_lossy().into_owned();
            name.strip_suffix(".tmp").unwrap().rsplit('-').next().unwrap().parse().unwrap()
        };
        let first = next() + 1;
        for number in first..first + 100 {
            let left = folder.path().join(format!(".state.json.{}-{number}.tmp", std::process::id()));
            fs::write(left, b"half").unwrap();
        }
        publish(&path, b"whole", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert!(next() > first, "it met what was left");
        let left = fs::read_dir(folder.path()).unwrap().filter(|one| one.as_ref().unwrap().path() != path);
        let mut count = 0;
        for one in left {
            assert_eq!(fs::read(one.unwrap().path()).unwrap(), b"half");
            count += 1;
        }
        assert_eq!(count, 100, "what is somebody else's stays");
    }
}
