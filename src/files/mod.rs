//! Files, with care: writes that are whole or absent, locks between processes, and errors that carry the path.
//! Knows nothing of what the files mean.

pub mod archive;
pub mod beneath;
pub mod failpoint;
pub mod lock;
pub mod tree;
pub mod usage;
pub mod write;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use beneath::{Beneath, Inside};
pub use failpoint::failpoint;
pub use lock::Lock;
pub use usage::usage;
pub use write::{publish, publish_durably, rewrite, write_new};

/// An operation of the file system that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {source}", path.display())]
pub struct FileError {
    /// A verb in the infinitive: `read`, `create folder`.
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

impl FileError {
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self { action, path: path.into(), source: source.into() }
    }

    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|e| FileError::new("read", path, e))
}

pub fn read_to_string(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|e| FileError::new("read", path, e))
}

/// `None` when there is no such file.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(FileError::new("read", path, e)),
    }
}

/// Makes a folder and its parents, each new one with `mode`. An existing folder is left as it is.
pub fn create_dirs(path: &Path, mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|e| FileError::new("create folder", path, e))
}

/// Removes a folder and all in it, or a file. What is not there is removed already.
pub fn remove_all(path: &Path) -> Result<(), FileError> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", path, e)),
        _ => Ok(()),
    }
}
