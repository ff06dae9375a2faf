//! A folder (or one file) of manifests on this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::manifest::{self, LoadErrors, LoadOptions, Loaded, Source};
use crate::model::Name;
use crate::sources::contexts;
use crate::sources::fingerprints::Fingerprints;

/// Where a stack's manifests are.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
    stack: Option<Name>,
    /// Further compose files, each laid over those before it.
    over: Vec<PathBuf>,
    scale: BTreeMap<Name, u32>,
    fingerprints: Fingerprints,
}

impl Folder {
    /// `stack` overrides the name that the manifests or the folder give.
    pub fn new(path: PathBuf, stack: Option<Name>) -> Self {
        Self { path, stack, over: Vec::new(), scale: BTreeMap::new(), fingerprints: Fingerprints::default() }
    }

    /// The same with further compose files laid over the first.
    #[must_use]
    pub fn with_over(mut self, over: Vec<PathBuf>) -> Self {
        self.over = over;
        self
    }

    /// The same with so many of containers, whatever the files say.
    #[must_use]
    pub fn with_scale(mut self, scale: BTreeMap<Name, u32>) -> Self {
        self.scale = scale;
        self
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The stack's name as long as the manifests have not been read.
    pub const fn given_name(&self) -> Option<&Name> {
        self.stack.as_ref()
    }

    /// Reads and validates everything. Blocks the thread: files are read, and import sources looked through.
    pub fn load(&self, environment: BTreeMap<String, String>) -> Result<Loaded, LoadErrors> {
        let fingerprints = self.fingerprints.clone();
        let fingerprint = move |source: Source<'_>| match source {
            Source::Path(path) => Ok(fingerprints.take(path)?.into()),
            Source::Build(build) => Ok(contexts::look(build)?),
        };
        let options = LoadOptions {
            stack: self.stack.clone(),
            environment,
            over: self.over.clone(),
            scale: self.scale.clone(),
            fingerprint: &fingerprint,
        };
        manifest::load(&self.path, &options)
    }
}
