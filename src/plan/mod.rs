//! What to do so that the host becomes what is desired. Pure: no clock, no input or output, no randomness.
//!
//! A plan is made by a list of passes, [`PASSES`]: the first ones say which steps there are, the others what each step
//! needs first.
//!
//! Guarantees: planning again after all steps succeeded plans nothing. What the stack does not own is never touched. A
//! volume is removed by [`plan_destroy`] only, when it is told to. Every step needs earlier steps only.
//!
//! What a tag means at its registry cannot be known without asking: whoever plans asks before, where the pull policy says
//! so, and hands the answers in with what was observed. Without an answer, an image that is here is the one that is meant.

mod between;
pub mod beyond;
mod built;
mod classes;
mod draft;
mod followers;
mod images;
mod moved;
mod order;
pub mod origin;
mod render;
mod replace;
pub mod step;
mod steps;

#[cfg(test)]
mod tests;

pub use between::{Difference, Edition, between};
pub use moved::moved;
pub use render::{cause_line, render};
pub use step::{Action, Cause, Kind, Plan, Resource, SparedIf, Stake, Step, StepId, WaitFor};

use crate::manifest::Desired;
use crate::model::{Name, Owner};
use crate::observed::Observed;

use draft::Draft;

/// Why there is no plan. All obstacles are told at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", obstacles.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PlanError {
    /// Never empty.
    pub obstacles: Vec<Obstacle>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("{resource}: the name `{name}` is taken by {}", owner_text(.owner.as_ref()))]
    NameTaken { resource: Resource, name: Name, owner: Option<Owner> },
    #[error("{resource}: `{name}` is external, and the host does not have it")]
    ExternalMissing { resource: Resource, name: Name },
    #[error("steps need each other in a circle: {}", .resources.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Circle { resources: Vec<Resource> },
    #[error("{resource}: containers of several stacks depend on each other in a circle: {way}")]
    CircleBeyond { resource: Resource, way: String },
}

impl Obstacle {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NameTaken { resource, owner: Some(owner), .. } => {
                format!("destroy the stack `{}`, or give {resource} another name", owner.stack)
            }
            Self::NameTaken { resource, owner: None, .. } => match resource.kind {
                Kind::Network | Kind::Volume => {
                    format!("declare {resource} with `external: true` to use what is there, or give it another name")
                }
                _ => format!("remove what is there, or give {resource} another name"),
            },
            Self::ExternalMissing { resource, .. } => {
                format!("create it, or declare {resource} without `external`")
            }
            Self::Circle { .. } | Self::CircleBeyond { .. } => "remove one of the dependencies".to_owned(),
        }
    }
}

fn owner_text(owner: Option<&Owner>) -> String {
    match owner {
        Some(owner) => format!("the stack `{}`", owner.stack),
        None => "something that no stack owns".to_owned(),
    }
}

/// A pass, and why it is there.
type Pass = (&'static str, fn(&mut Draft<'_>));

const PASSES: [Pass; 23] = [
    ("a packet filter that lacks something is made whole", steps::firewall),
    ("images come first: nothing is stopped for an image that cannot be had", images::images),
    ("networks are made, made anew or repaired", steps::networks),
    ("volumes are made, and never touched again", steps::volumes),
    ("containers are compared with what they were created from", steps::containers),
    ("whoever would wait for another in a circle starts again", steps::exchanges),
    ("who shares what another one has, or is to follow it, starts again with it", followers::followers),
    ("whoever is replaced is watched, where it says so", replace::watches),
    ("who is replaced after another one waits until that one is well", followers::rolled),
    ("what is to start may need others to run once more", steps::revive_dependencies),
    ("what is to start waits for what it needs of other stacks", beyond::waits),
    ("what is no longer declared goes", steps::removals),
    ("a container is made of its image, networks and volumes", order::references),
    ("stop, remove, create, start: in this order", order::verbs),
    ("of two that are there at once the new one is well before the old one goes", replace::switches),
    ("a network goes after the containers that are attached to it, and comes back before them", order::networks),
    ("what depends on others starts after them, and once they are healthy or completed", order::dependencies),
    ("what waits for other stacks neither starts nor stops before", beyond::order),
    ("what others depend on stops after them", order::stops),
    ("names, ports and addresses are free before they are taken again", order::takings),
    ("a volume goes after all that mounted it", order::volumes),
    ("one after the other is replaced what is to be so", order::rolls),
    ("nothing is stopped before its image is committed, unless the commit needs what it holds", order::commits),
];

/// The steps from `observed` to `desired`.
///
/// # Errors
/// When names are taken by what the stack does not own, or something external is missing.
pub fn plan(desired: &Desired, observed: &Observed) -> Result<Plan, PlanError> {
    run(Draft::new(desired, observed, false))
}

/// The steps that remove all that a stack owns; its volumes only when `volumes` says so.
///
/// # Errors
/// None that a host can cause; the type is that of [`plan`].
pub fn plan_destroy(stack: &Name, observed: &Observed, volumes: bool) -> Result<Plan, PlanError> {
    run(Draft::new(&Desired::empty(stack.clone()), observed, volumes))
}

fn run(mut draft: Draft<'_>) -> Result<Plan, PlanError> {
    for (_, pass) in PASSES {
        pass(&mut draft);
    }
    draft.finish()
}
