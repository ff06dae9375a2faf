//! What manifests and compose files say, read but not yet joined: names are those of the stack, and each remembers its
//! place, so that one that leads nowhere can be reported there. The seam between reading and resolving.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::spec::{Attachment, ContainerSpec, Elsewhere, ImageSpec, NetworkSpec, VolumeSpec};
use crate::model::{ImageRef, Name, Platform, PullPolicy};

use super::builds::{self, NamedSecret};
use super::connections::PortRange;
use super::print::ContentOrigin;
use super::problem::Place;
use super::updates::Given;

/// Everything that a stack's files declare.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub(super) stack: Option<(Name, Place)>,
    pub(super) images: Vec<Resource<Image>>,
    pub(super) containers: Vec<Resource<Container>>,
    pub(super) networks: Vec<Resource<NetworkSpec>>,
    pub(super) volumes: Vec<Resource<VolumeSpec>>,
    pub(super) configs: Vec<Resource<Config>>,
    pub(super) secrets: Vec<Resource<Secret>>,
    /// How containers are replaced that do not say it themselves.
    pub(super) update: Option<Given>,
    /// What is declared, but so wrong that it could not be read: names lead there all the same.
    pub(super) broken: Vec<(&'static str, Name)>,
}

impl Declared {
    /// Notes a resource, or that it could not be read.
    pub(super) fn note<T>(
        &mut self,
        kind: &'static str,
        name: &Name,
        resource: Option<Resource<T>>,
        list: fn(&mut Self) -> &mut Vec<Resource<T>>,
    ) {
        match resource {
            Some(resource) => list(self).push(resource),
            None => self.broken.push((kind, name.clone())),
        }
    }
}

#[derive(Debug)]
pub(super) struct Resource<T> {
    pub(super) name: Name,
    pub(super) at: Place,
    /// Instead of `<stack>-<name>`.
    pub(super) engine_name: Option<Name>,
    pub(super) external: bool,
    pub(super) body: T,
}

/// A config's content, and where it came from.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) content: Vec<u8>,
    pub(super) origin: ContentOrigin,
}

/// Where a secret's content is. A file is only read when a container has it.
#[derive(Debug)]
pub(super) enum Secret {
    File(PathBuf, Place),
    /// That of the variable of this name.
    Variable(String, Vec<u8>),
    /// Another stack has it.
    External(Elsewhere),
}

/// An image whose source's fingerprint, where it has one, is still to be taken.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) spec: ImageSpec,
    /// Where what the image is made of stands: a path, or a container's name.
    pub(super) source_at: Place,
    /// Secrets of the stack that its build is to have.
    pub(super) secrets: Vec<NamedSecret>,
}

/// An image that is declared with the container that it is for.
#[derive(Clone, Debug)]
pub(super) struct ContainerBuild {
    pub(super) read: builds::Read,
    /// What the container calls it; the stack and its own name unless given.
    pub(super) reference: Option<ImageRef>,
}

/// A container whose `networks` and `depends_on`, and whose mounts of volumes and configs, are apart from its `spec`.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) spec: ContainerSpec,
    pub(super) image_at: Place,
    /// How its image is built.
    pub(super) build: Option<ContainerBuild>,
    pub(super) pull_policy: Option<(PullPolicy, Place)>,
    pub(super) platform: Option<(Platform, Place)>,
    /// `None` when nothing is said of networks: the stack's `default`.
    pub(super) networks: Option<Vec<(Name, Place, Attachment)>>,
    /// Where each of `spec.mounts` stands; a volume's or config's `source` is the stack's name for it.
    pub(super) mounts: Vec<Place>,
    /// Where each of `spec.depends_on` stands.
    pub(super) depends_on: Vec<(Name, Place)>,
    /// Those of them that need not be there.
    pub(super) optional: BTreeSet<Name>,
    /// Further names that it knows another container by.
    pub(super) links: Vec<(Name, String)>,
    /// Those that bring it in; none for one that is always there.
    pub(super) profiles: Vec<String>,
    /// How many there are; `None` is one.
    pub(super) replicas: Option<Replicas>,
    /// How it is replaced, and how it becomes what it was, as far as it says so.
    pub(super) update: Given,
    pub(super) rollback: Option<Given>,
    /// How many of them are replaced at a time, and how many on the way back, where that is said; `None` is all.
    pub(super) parallelism: (Option<u32>, Option<Option<u32>>),
    pub(super) pre_start: Vec<PreStart>,
    /// Ranges of the host's ports, of which each one has a port.
    pub(super) ranges: Vec<PortRange>,
}

/// What is to be done before a container starts, in a container of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PreStart {
    pub(super) at: Place,
    pub(super) command: Option<Vec<String>>,
    /// Instead of the container's own.
    pub(super) image: Option<ImageRef>,
    pub(super) user: Option<String>,
    pub(super) privileged: bool,
    pub(super) working_dir: Option<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) per_replica: bool,
}

/// How many there are of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Replicas {
    pub(super) count: u32,
    pub(super) at: Place,
}
