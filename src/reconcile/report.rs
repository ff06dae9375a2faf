//! What an apply says while it runs, and how a stack stands. Values only: the server sends them on as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::model::build::BuildEvent;
use crate::model::{Digest, ImageRef, Name, Progress};
use crate::plan::{Cause, Difference, Plan, Resource, StepId};

/// One line of an apply's story, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Before all others, where another one is at work on the stack: this one waits for it to end.
    Waits,
    /// First: the plan that is being executed.
    Planned {
        plan: Plan,
    },
    StepStarted {
        step: StepId,
    },
    StepProgress {
        step: StepId,
        progress: Progress,
    },
    /// How the build goes on that the step is.
    StepBuild {
        step: StepId,
        said: BuildEvent,
    },
    /// Something of it went wrong, and it goes on.
    StepWarned {
        step: StepId,
        text: String,
    },
    StepDone {
        step: StepId,
        millis: u64,
    },
    StepFailed {
        step: StepId,
        error: String,
        hint: Option<String>,
        /// The update that it is part of goes on all the same.
        #[serde(default)]
        tolerated: bool,
    },
    /// An update has failed, and the stack becomes what it was; the plan of that follows.
    RollsBack {
        /// The generation that is brought back.
        to: u64,
        why: String,
    },
    /// It has turned out to be needless: the image that its container is made of is the same as before.
    StepSpared {
        step: StepId,
    },
    /// Not tried, because a step that it needs failed; or broken off, where that is the step itself.
    StepSkipped {
        step: StepId,
        because: StepId,
    },
    /// Last.
    Finished {
        outcome: Outcome,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub done: usize,
    pub failed: usize,
    pub skipped: usize,
    /// Failures that the update which they were part of allows.
    #[serde(default)]
    pub tolerated: usize,
    /// The generation that is back, because the one that was applied failed.
    #[serde(default)]
    pub back_to: Option<u64>,
    /// What has failed is not tried again by itself.
    #[serde(default)]
    pub halted: bool,
    /// Why not all was waited for: the next apply, or the next daemon, goes on with it.
    #[serde(default)]
    pub broken_off: Option<BrokenOff>,
    /// The stack's generation now.
    pub generation: u64,
}

/// Why nobody waits any more for what was to be waited for. It is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BrokenOff {
    /// Whoever did it was asked to stop.
    Stopping,
    /// Somebody else has something new to say of the stack.
    Superseded,
}

/// How one stack stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StackStatus {
    pub stack: Name,
    /// The folder that the daemon watches, where it watches one.
    pub source: Option<PathBuf>,
    /// The generation that was applied last.
    pub generation: u64,
    /// The generation that all of `conditions` speak of.
    #[serde(rename = "observedGeneration")]
    pub observed_generation: u64,
    /// Whether the host is as that generation says, apart from how well it is.
    pub sync: Sync,
    pub conditions: Vec<Condition>,
    pub resources: Vec<ResourceStatus>,
}

/// A statement about a stack, in the form that Flux and Kubernetes use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// `Ready`, `Reconciling`, `Stalled`, `Healthy` or `Held`.
    #[serde(rename = "type")]
    pub kind: String,
    pub status: bool,
    /// One word in CamelCase.
    pub reason: String,
    pub message: String,
    #[serde(rename = "lastTransitionTime", with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceStatus {
    pub resource: Resource,
    pub engine_name: String,
    pub sync: Sync,
    /// `running`, `exited (1)`, `present`, `missing`, …
    pub state: String,
    /// `healthy`, `starting`, `unhealthy`; `None` without a health check.
    pub health: Option<String>,
    /// What differs, where it is out of sync.
    pub differences: Vec<String>,
}

/// A step that was begun, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEvent {
    /// Later ones are greater.
    pub id: i64,
    pub stack: Name,
    /// What it was for; `None` where a stack was taken down.
    pub generation: Option<u64>,
    /// `kind/name`.
    pub resource: String,
    /// A verb of plans.
    pub action: String,
    pub causes: Vec<Cause>,
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// `None`: it is not known to have ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished: Option<OffsetDateTime>,
    pub error: Option<String>,
}

/// Steps of one resource that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceChange {
    /// `created`, `recreated`, `restarted`, …
    pub what: String,
    pub generation: Option<u64>,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// `None`: it is not known to have ended.
    #[serde(with = "time::serde::rfc3339::option")]
    pub ended: Option<OffsetDateTime>,
    pub causes: Vec<Cause>,
    pub error: Option<String>,
}

/// Why a resource is as it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Why {
    pub stack: Name,
    pub resource: Resource,
    /// `None`: it is declared no longer.
    pub status: Option<ResourceStatus>,
    /// How often its restart policy started it again.
    pub restarts: u32,
    /// What must be so before it can go on.
    pub waits: Vec<String>,
    /// What was done to it, newest first.
    pub changes: Vec<ResourceChange>,
}

/// One generation that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GenerationInfo {
    pub generation: u64,
    /// When it began to be applied.
    #[serde(with = "time::serde::rfc3339")]
    pub applied: OffsetDateTime,
    /// `applying`, `interrupted`, `applied`, `failed`, `paused` or `quarantined`.
    pub outcome: String,
    /// Where its manifests were.
    pub source: Option<String>,
    /// The generation that it is again.
    pub brings_back: Option<u64>,
    /// Which images its references meant.
    pub images: BTreeMap<ImageRef, Digest>,
    /// Digests of contents.
    pub configs: BTreeMap<Name, Digest>,
    pub secrets: BTreeMap<Name, Digest>,
    /// The resources that differ from those of the generation before, where that is kept.
    pub changes: Vec<Resource>,
}

/// The generations of a stack that are kept, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    pub stack: Name,
    /// The generation that is held against the stack's source, if one is.
    pub held: Option<u64>,
    pub generations: Vec<GenerationInfo>,
}

/// What differs between two generations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    pub stack: Name,
    pub from: u64,
    pub to: u64,
    pub differences: Vec<Difference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sync {
    Synced,
    OutOfSync,
}
