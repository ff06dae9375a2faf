//! A folder as a tar, for an engine that does not see it. What `.dockerignore` leaves out is not sent, but the files that the
//! engine itself reads always are.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::engine::build::ignore::{Ignore, Verdict};
use crate::files::FileError;
use crate::model::build::DockerfileSource;
use crate::sources::contexts::{self, ContextError, DOCKERFILE};

#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Context(#[from] ContextError),
    #[error("send the context: {0}")]
    Send(io::Error),
    #[error("{} has a name that is not UTF-8", path.display())]
    Name { path: PathBuf },
    #[error("the sending of the context ended abnormally")]
    Interrupted,
}

/// Writes the context as a tar.
pub fn pack(folder: &Path, dockerfile: &DockerfileSource, output: impl Write) -> Result<(), UploadError> {
    let (_, ignore) = contexts::rules(folder, dockerfile)?;
    let name = match dockerfile {
        DockerfileSource::InContext(inside) => inside.as_deref().unwrap_or(DOCKERFILE),
        DockerfileSource::File(_) | DockerfileSource::Text { .. } => DOCKERFILE,
    };
    let needed = [name.to_owned(), format!("{name}.dockerignore"), ".dockerignore".to_owned()];
    let mut packing = Packing { folder, ignore, needed, tar: tar::Builder::new(output) };
    packing.folder(Path::new(""), &Verdict::default())?;
    packing.tar.finish().map_err(UploadError::Send)
}

struct Packing<'a, W: Write> {
    folder: &'a Path,
    ignore: Ignore,
    /// What the engine itself reads, whatever the rules.
    needed: [String; 3],
    tar: tar::Builder<W>,
}

impl<W: Write> Packing<'_, W> {
    fn folder(&mut self, inside: &Path, verdict: &Verdict) -> Result<(), UploadError> {
        let path = self.folder.join(inside);
        let fail = |e| FileError::new("read", &path, e);
        let mut names = fs::read_dir(&path).map_err(fail)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>();
        if let Ok(names) = &mut names {
            names.sort();
        }
        for name in names.map_err(fail)? {
            let inside = inside.join(&name);
            let path = self.folder.join(&inside);
            let text = inside.to_str().ok_or_else(|| UploadError::Name { path: path.clone() })?;
            let said = self.ignore.look(text, verdict);
            let meta = fs::symlink_metadata(&path).map_err(|e| FileError::new("look at", &path, e))?;
            let needed = self.needed.iter().any(|needed| needed == text);
            let leads = self.needed.iter().any(|needed| Path::new(needed).starts_with(text));
            if meta.is_dir() {
                if !said.ignored {
                    self.entry(&path, text, &meta, tar::EntryType::Directory)?;
                }
                if !said.ignored || leads || self.ignore.may_keep_below(text) {
                    self.folder(&inside, &said)?;
                }
            } else if !said.ignored || needed {
                self.other(&path, text, &meta)?;
            }
        }
        Ok(())
    }

    fn other(&mut self, path: &Path, name: &str, meta: &Metadata) -> Result<(), UploadError> {
        let kind = meta.file_type();
        if kind.is_symlink() {
            self.entry(path, name, meta, tar::EntryType::Symlink)
        } else if kind.is_fifo() {
            self.entry(path, name, meta, tar::EntryType::Fifo)
        } else if kind.is_file() {
            self.entry(path, name, meta, tar::EntryType::Regular)
        } else {
            // Sockets cannot be in a tar, and devices of the host are none of an image's.
            Ok(())
        }
    }

    fn entry(&mut self, path: &Path, name: &str, meta: &Metadata, kind: tar::EntryType) -> Result<(), UploadError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(meta.mode() & 0o7777);
        header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        let sent = match kind {
            tar::EntryType::Symlink => {
                let target = fs::read_link(path).map_err(|e| FileError::new("read", path, e))?;
                self.tar.append_link(&mut header, name, target)
            }
            tar::EntryType::Regular => {
                let file = File::open(path).map_err(|e| FileError::new("open", path, e))?;
                header.set_size(meta.len());
                // A file may grow or shrink meanwhile; an entry has the size that it was announced with.
                self.tar.append_data(&mut header, name, file.chain(io::repeat(0)).take(meta.len()))
            }
            _ => self.tar.append_data(&mut header, name, io::empty()),
        };
        sent.map_err(UploadError::Send)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: &[(&str, &str)], dockerfile: &DockerfileSource) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let mut bytes = Vec::new();
        pack(folder.path(), dockerfile, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn what_is_ignored_is_not_sent_but_what_the_engine_reads_is() {
        let plain = DockerfileSource::InContext(None);
        let files = [("Dockerfile", ""), (".dockerignore", "*\n!src/*.rs"), ("src/a.rs", ""), ("src/b.c", ""), ("x/y", "")];
        assert_eq!(names(&files, &plain), [".dockerignore", "Dockerfile", "src/a.rs"]);
        let other = DockerfileSource::InContext(Some("build/Dockerfile".into()));
        let files = [
            ("build/Dockerfile", ""),
            ("build/Dockerfile.dockerignore", "build\nb"),
            (".dockerignore", "a"),
            ("a", ""),
            ("b", ""),
        ];
        assert_eq!(names(&files, &other), [".dockerignore", "a", "build/Dockerfile", "build/Dockerfile.dockerignore"]);
    }

    #[test]
    fn kinds_and_contents() {
        let folder = tempfile::tempdir().unwrap();
        let long = "n".repeat(200);
        fs::write(folder.path().join(&long), "content").unwrap();
        std::os::unix::fs::symlink("../outside", folder.path().join("link")).unwrap();
        fs::create_dir(folder.path().join("empty")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
        let mut bytes = Vec::new();
        pack(folder.path(), &DockerfileSource::InContext(None), &mut bytes).unwrap();
        let mut found = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            let target = entry.link_name().unwrap().map(|target| target.to_string_lossy().into_owned());
            found.push((entry.path().unwrap().to_string_lossy().into_owned(), text, target));
        }
        let none = String::new();
        assert_eq!(
            found,
            [
                ("empty".to_owned(), none.clone(), None),
                ("link".to_owned(), none, Some("../outside".to_owned())),
                (long, "content".to_owned(), None)
            ]
        );
    }
}
