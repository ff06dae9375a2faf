//! The vocabulary of plans: a graph of steps, each one verb on one resource, with its causes and what it needs first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::model::spec::{Elsewhere, FailureAction};
use crate::model::{ContainerId, Digest, ImageRef, Name, Span};
use crate::observed::Answer;

/// A position in [`Plan::steps`].
pub type StepId = usize;

/// A graph of steps in an order that satisfies `needs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub stack: Name,
    /// Digest of all that was observed and mattered. A saved plan is refused when a new look gives another.
    pub base: Digest,
    /// Every step's `needs` are earlier positions.
    pub steps: Vec<Step>,
    /// Resources that are as desired already.
    pub unchanged: Vec<Resource>,
    /// The same for each thing that was observed, to tell what has changed since.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
    /// What registries answered when it was made: whoever carries it out does not ask again.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<ImageRef, Answer>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub action: Action,
    pub resource: Resource,
    /// The resource's name in the engine; an image's reference, or the one that it is pushed to; `firewall` for the packet
    /// filter; `STACK/NAME` for a container of another stack that this one waits for.
    pub target: String,
    /// Which container is meant, where it exists already.
    pub container: Option<ContainerId>,
    /// Never empty.
    pub causes: Vec<Cause>,
    /// Steps that must have succeeded before.
    pub needs: BTreeSet<StepId>,
    /// Whether the step may turn out to be needless.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared_if: Option<SparedIf>,
    /// Steps that must have ended before, and must not have failed beyond what an update may fail.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<StepId>,
    /// What a new container is called in the engine as long as the one that it replaces has its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aside: Option<Name>,
    /// What it means when it fails, where it is part of an update that says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stake: Option<Stake>,
}

impl Step {
    /// The container of another stack that is waited for, where it is such a step.
    pub fn beyond(&self) -> Option<Elsewhere> {
        if matches!(self.action, Action::Wait(_)) { self.target.parse().ok() } else { None }
    }
}

/// What a failure of one container means for the update of all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stake {
    pub action: FailureAction,
    /// Those whose failures are counted together; the container alone unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
    /// So many of them may fail, and the update goes on.
    pub tolerates: usize,
}

/// An image that an earlier step obtains turns out to be the one that it was: then the step does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparedIf {
    pub image: ImageRef,
    pub is: Digest,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    pub kind: Kind,
    /// What the stack's manifests call it.
    pub name: Name,
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Image,
    Network,
    Volume,
    Config,
    Secret,
    Container,
    /// The packet filter's table, which belongs to the whole instance.
    Firewall,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "image",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Config => "config",
            Self::Secret => "secret",
            Self::Container => "container",
            Self::Firewall => "firewall",
        })
    }
}

/// The verbs. A container is recreated by `Stop`, `Remove`, `Create` and `Start`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Image: from its registry.
    Pull,
    /// Image: from a Dockerfile.
    Build,
    /// Image: from a tar or a folder.
    Import,
    /// Image: from an archive of images.
    Load,
    /// Image: from a container's file system.
    Commit,
    /// Image: its name goes back to one that it was before, which the host has kept.
    Restore,
    /// Image: to a registry.
    Push,
    /// Network, volume, container.
    Create,
    Start,
    Stop,
    /// Container (with its writable layer), network. A volume only when the user allowed it.
    Remove,
    /// Container: what it is to be, without a new process where it runs; of one that is stopped, from its next start on.
    Update,
    /// Container: so too, and its first process is told by a signal that its files have another content.
    Reload,
    /// Network, container's links, packet filter: put back what the kernel lost.
    Repair,
    /// Container: until the condition holds.
    Wait(WaitFor),
    /// Container: a new one takes over the name, the aliases and the published ports of the one that it replaces.
    Switch,
    /// Container: that it lives and is well for so long, and until its health check has said so.
    Watch(Span),
    /// Container: so long, before the next one is replaced.
    Delay(Span),
}

impl Action {
    /// What is being done, in words: `pull`, `wait until healthy`.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Build => "build",
            Self::Import => "import",
            Self::Load => "load",
            Self::Commit => "commit",
            Self::Restore => "restore",
            Self::Push => "push",
            Self::Create => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::Update => "update",
            Self::Reload => "reload",
            Self::Repair => "repair",
            Self::Wait(WaitFor::Started) => "wait until started",
            Self::Wait(WaitFor::Healthy) => "wait until healthy",
            Self::Wait(WaitFor::Completed) => "wait until completed",
            Self::Switch => "switch",
            Self::Watch(_) => "watch",
            Self::Delay(_) => "delay",
        }
    }

    /// Whether it does nothing itself, but waits for something to be so.
    pub const fn only_waits(self) -> bool {
        matches!(self, Self::Wait(_) | Self::Watch(_) | Self::Delay(_))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaitFor {
    /// Only of a container of another stack.
    Started,
    Healthy,
    Completed,
}

/// Why a step is in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Cause {
    /// It is declared and the host does not have it.
    Missing,
    /// The host has it, and no manifest declares it any more.
    NotDeclared,
    /// A field differs: `old` is what the host has, `new` what the manifest says; `None` is absence.
    Changed { field: String, old: Option<String>, new: Option<String> },
    /// The host differs from what was applied, though no manifest changed.
    Drift { what: String },
    /// Another resource's step brings this one with it.
    Follows { resource: Resource, why: String },
}
