//! What ADD means by an address: which file of the web that is, told without fetching it where that can be told: by the checksum that is
//! written, or because the server says that it is what it was.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FilesError;
use super::add::{Download, Facts};
use crate::engine::images::{Images, WebVersion};
use crate::files::{self, FileError};
use crate::model::Digest;

/// Files that are remembered at most.
const MOST: usize = 1000;

/// A file of the web.
#[derive(Debug)]
pub enum Web {
    Here(Download),
    /// It has not been fetched.
    Known {
        url: String,
        checksum: Option<Digest>,
        /// What the cache knows it by.
        digest: Digest,
        /// Of its bytes.
        content: Digest,
    },
}

/// What files of the web were when they were last fetched: a folder with a small file for each address. Losing it costs downloads.
#[derive(Clone, Debug)]
pub struct Visits(PathBuf);

/// One of them. The address is not in it, because there may be a password in one.
#[derive(Debug, Serialize, Deserialize)]
struct Visit {
    version: WebVersion,
    facts: Facts,
}

impl Web {
    /// Looks at what `url` is. It is fetched into the new file `path` unless that is known otherwise; with `afresh`, in any case.
    pub async fn look(
        images: &Images,
        url: &str,
        path: PathBuf,
        checksum: Option<Digest>,
        visits: &Visits,
        afresh: bool,
    ) -> Result<Self, FilesError> {
        if afresh {
            return Download::fetch(images, url, path, checksum.as_ref(), visits).await.map(Self::Here);
        }
        if let Some(checksum) = checksum {
            let digest = Digest::of(format!("setpoint pinned download 1\n{checksum}\n{url}").as_bytes());
            return Ok(Self::Known { url: url.to_owned(), checksum: Some(checksum), digest, content: checksum });
        }
        let Some(visit) = visits.last(url)? else {
            return Download::fetch(images, url, path, None, visits).await.map(Self::Here);
        };
        match images.newer_web_file(url, &visit.version).await? {
            None => {
                let (digest, content) = (visit.facts.digest(), visit.facts.content());
                Ok(Self::Known { url: url.to_owned(), checksum: None, digest, content })
            }
            Some(file) => Download::take(file, url, path, None, visits).await.map(Self::Here),
        }
    }

    /// What the cache knows it by.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Here(download) => download.digest(),
            Self::Known { digest, .. } => *digest,
        }
    }

    /// The digest of its bytes.
    pub fn content(&self) -> Digest {
        match self {
            Self::Here(download) => download.content(),
            Self::Known { content, .. } => *content,
        }
    }

    /// The file itself, fetched into the new file `path` if need be; and whether it is another than [`Web::digest`] says.
    pub async fn bring(self, images: &Images, path: PathBuf, visits: &Visits) -> Result<(Download, bool), FilesError> {
        match self {
            Self::Here(download) => Ok((download, false)),
            Self::Known { url, checksum, digest, .. } => {
                let download = Download::fetch(images, &url, path, checksum.as_ref(), visits).await?;
                let changed = checksum.is_none() && download.digest() != digest;
                Ok((download, changed))
            }
        }
    }
}

impl Visits {
    pub const fn in_folder(folder: PathBuf) -> Self {
        Self(folder)
    }

    fn path(&self, url: &str) -> PathBuf {
        self.0.join(Digest::of(url.as_bytes()).hex())
    }

    /// What was there, if its server can be asked for what is newer. One that cannot be read is none.
    fn last(&self, url: &str) -> Result<Option<Visit>, FilesError> {
        let found = files::read_if_there(&self.path(url))?;
        let visit: Option<Visit> = found.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(visit.filter(|visit| visit.version.is_known()))
    }

    /// Remembers what was fetched.
    pub(super) fn remember(&self, url: &str, version: WebVersion, facts: Facts) -> Result<(), FilesError> {
        files::create_dirs(&self.0, 0o700)?;
        let text = serde_json::to_vec(&Visit { version, facts }).map_err(|_| FilesError::Worker)?;
        files::publish(&self.path(url), &text, 0o600)?;
        self.forget()
    }

    /// Drops what was fetched the longest ago, where there is more than is remembered.
    fn forget(&self) -> Result<(), FilesError> {
        let fail = |e| FileError::new("read folder", &self.0, e);
        let all = std::fs::read_dir(&self.0).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
        let Some(over) = all.len().checked_sub(MOST).filter(|over| *over > 0) else { return Ok(()) };
        let mut dated: Vec<_> = all.iter().filter_map(|one| Some((one.metadata().ok()?.modified().ok()?, one.path()))).collect();
        dated.sort();
        dated.iter().take(over).try_for_each(|(_, path)| files::remove_all(path)).map_err(FilesError::from)
    }
}

/// Where an instance remembers them.
pub fn visits(state_dir: &Path) -> Visits {
    Visits::in_folder(state_dir.join("build/web"))
}
