//! How stacks stand: what was applied, against one look at the host. Sync (does the host match?) is kept apart from
//! health (is it well?).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use time::OffsetDateTime;

use super::ask::Ask;
use super::generations::{self, Generation, Hold, Setback};
use super::report::{Condition, Outcome, ResourceStatus, StackStatus, Sync};
use super::rollback::answers_of;
use super::{ReconcileError, Reconciler, ask, knowledge, record};
use crate::files::Lock;
use crate::manifest::Desired;
use crate::model::spec::Mount;
use crate::model::{Digest, Name};
use crate::observed::{Container, ContainerState, Health, Observed};
use crate::plan::{self, Cause, Kind, Plan, Resource};

/// The conditions in the order in which they are shown.
const SHOWN: [&str; 5] = ["Ready", "Healthy", "Reconciling", "Stalled", "Held"];

impl Reconciler {
    /// All stacks, or the one named.
    pub async fn status(&self, only: Option<&Name>) -> Result<Vec<StackStatus>, ReconcileError> {
        let mut observed = self.engine.observe_closely(only).await?;
        let db = self.engine.db();
        let mut all = Vec::new();
        for stack in record::stacks(db)? {
            if only.is_some_and(|only| *only != stack.name) {
                continue;
            }
            let hold = generations::hold(db, &stack.name)?;
            let (resources, health) = match self.newest(&stack.name)? {
                Some(Generation { desired, images, .. }) => {
                    observed.known = knowledge::known(db, &stack.name)?;
                    if hold.is_some() {
                        observed.known.answers = answers_of(&images);
                    }
                    let last = knowledge::lookups(db, &stack.name)?;
                    ask::ask(&self.engine, &desired, &mut observed, &last, Ask::Nothing, &[]).await;
                    (resources(&desired, &observed), health(&desired, &observed))
                }
                None => (Vec::new(), None),
            };
            let mut conditions = stack.conditions;
            if let Some(health) = health {
                // Who sees that it has changed writes it down, so that it is known since when.
                record::set_conditions(db, &stack.name, vec![health])?;
                conditions = record::stack(db, &stack.name)?.map_or(conditions, |record| record.conditions);
            }
            self.tell_interrupted(&stack.name, &mut conditions)?;
            let synced = resources.iter().all(|resource| resource.sync == Sync::Synced);
            if let Some(hold) = &hold {
                conditions.push(held(hold, stack.source.as_deref()));
            }
            conditions.sort_by_key(|one| SHOWN.iter().position(|kind| *kind == one.kind));
            all.push(StackStatus {
                stack: stack.name,
                source: stack.source,
                generation: stack.generation,
                observed_generation: stack.observed,
                sync: if synced { Sync::Synced } else { Sync::OutOfSync },
                conditions,
                resources,
            });
        }
        match only {
            Some(only) if all.is_empty() => Err(ReconcileError::NoSuchStack(only.clone())),
            _ => Ok(all),
        }
    }

    /// An apply that was killed cannot say so itself: whoever says that it is at work holds the stack's lock.
    fn tell_interrupted(&self, stack: &Name, conditions: &mut Vec<Condition>) -> Result<(), ReconcileError> {
        let at_work = |all: &[Condition]| all.iter().any(|one| one.kind == "Reconciling" && one.status);
        if !at_work(conditions) || Lock::is_held(&self.lock_path(stack))? {
            return Ok(());
        }
        // It may have come to its end since they were read.
        match record::stack(self.engine.db(), stack)?.map(|record| record.conditions) {
            Some(now) if !at_work(&now) => {
                conditions.retain(|one| now.iter().all(|new| new.kind != one.kind));
                conditions.extend(now);
            }
            _ => {
                let message = "an apply was broken off; the daemon or another apply finishes it";
                for one in conditions.iter_mut().filter(|one| matches!(one.kind.as_str(), "Reconciling" | "Ready")) {
                    let since = one.since;
                    *one = Condition { since, ..condition(&one.kind, false, "Interrupted", message) };
                }
            }
        }
        Ok(())
    }
}

fn resources(desired: &Desired, observed: &Observed) -> Vec<ResourceStatus> {
    let mut differences: BTreeMap<Resource, Vec<String>> = BTreeMap::new();
    match plan::plan(desired, observed) {
        Ok(plan) => {
            collect(&plan, &mut differences);
            configs(desired, observed, &mut differences);
        }
        Err(error) => {
            let name = desired.stack.clone();
            differences.insert(Resource { kind: Kind::Container, name }, vec![error.to_string()]);
        }
    }
    let mut all = Vec::new();
    let mut add = |kind, name: &Name, engine_name: String, state: String, health| {
        let resource = Resource { kind, name: name.clone() };
        let differences = differences.remove(&resource).unwrap_or_default();
        let sync = if differences.is_empty() { Sync::Synced } else { Sync::OutOfSync };
        all.push(ResourceStatus { resource, engine_name, sync, state, health, differences });
    };
    let there = |present: bool| if present { "present" } else { "missing" }.to_owned();
    for (name, image) in &desired.images {
        let present = observed.images.iter().any(|i| i.references.contains(&image.reference));
        add(Kind::Image, name, image.reference.to_string(), there(present), None);
    }
    for (name, network) in &desired.networks {
        let state = match observed.networks.iter().find(|n| n.name == network.engine_name) {
            Some(found) if found.faults.is_empty() => "present".to_owned(),
            Some(found) => found.faults.join(", "),
            None => "missing".to_owned(),
        };
        add(Kind::Network, name, network.engine_name.to_string(), state, None);
    }
    for (name, volume) in &desired.volumes {
        let present = observed.volumes.iter().any(|v| v.name == volume.engine_name && v.present);
        add(Kind::Volume, name, volume.engine_name.to_string(), there(present), None);
    }
    for (kind, name, digest) in contents(desired) {
        let used = desired.containers.values().any(|container| mounted(&container.spec.mounts, kind, name).next().is_some());
        let state = if used { "mounted" } else { "not used" };
        add(kind, name, digest.short(), state.to_owned(), None);
    }
    for (name, container) in &desired.containers {
        let found = observed.containers.iter().find(|c| c.name == container.engine_name);
        let state = found.map_or_else(|| "missing".to_owned(), |found| state_text(&found.state));
        add(Kind::Container, name, container.engine_name.to_string(), state, found.and_then(health_text));
    }
    // What is left belongs to resources that are no longer declared, or to the whole host.
    for (resource, differences) in differences {
        let engine_name = resource.name.to_string();
        let state = "to be removed or repaired".to_owned();
        all.push(ResourceStatus { resource, engine_name, sync: Sync::OutOfSync, state, health: None, differences });
    }
    all
}

/// Configs and secrets, with the digest of each.
fn contents(desired: &Desired) -> impl Iterator<Item = (Kind, &Name, Digest)> {
    let configs = desired.configs.iter().map(|(name, config)| (Kind::Config, name, config.digest()));
    configs.chain(desired.secrets.iter().map(|(name, secret)| (Kind::Secret, name, secret.digest())))
}

/// The digests of a config or secret that a container mounts.
fn mounted<'a>(mounts: &'a [Mount], kind: Kind, name: &'a Name) -> impl Iterator<Item = Digest> + 'a {
    mounts.iter().filter_map(move |mount| match mount {
        Mount::Config { source, digest, secret, .. } if source == name && *secret == (kind == Kind::Secret) => Some(*digest),
        Mount::Config { .. } | Mount::Volume { .. } | Mount::Anonymous { .. } | Mount::Bind { .. } | Mount::Tmpfs { .. } => None,
    })
}

/// A config or secret is what it ought to be when every container that is to mount it has its content.
fn configs(desired: &Desired, observed: &Observed, differences: &mut BTreeMap<Resource, Vec<String>>) {
    for (kind, name, wanted) in contents(desired) {
        let users = desired.containers.iter().filter(|(_, user)| mounted(&user.spec.mounts, kind, name).next().is_some());
        for (user, container) in users {
            let found = observed.containers.iter().find(|c| c.name == container.engine_name);
            let has = found.and_then(|found| mounted(&found.spec.mounts, kind, name).next());
            let text = match has {
                Some(has) if has == wanted => continue,
                Some(has) => format!("container/{user} has {}", has.short()),
                None => format!("container/{user} does not have it"),
            };
            let resource = Resource { kind, name: name.clone() };
            differences.entry(resource).or_default().push(text);
        }
    }
}

fn collect(plan: &Plan, differences: &mut BTreeMap<Resource, Vec<String>>) {
    for step in &plan.steps {
        // Waiting is for others; it says nothing of the resource itself.
        if step.action.only_waits() {
            continue;
        }
        let texts = differences.entry(step.resource.clone()).or_default();
        for cause in &step.causes {
            let text = cause_text(cause);
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
    }
}

fn cause_text(cause: &Cause) -> String {
    match cause {
        Cause::Missing => "missing".into(),
        Cause::NotDeclared => "no longer declared".into(),
        Cause::Changed { field, old, new } => {
            let short = |text: &String| text.parse::<Digest>().map_or_else(|_| text.clone(), |digest| digest.short());
            let show = |value: &Option<String>| value.as_ref().map_or_else(|| "(none)".into(), short);
            format!("{field}: {} → {}", show(old), show(new))
        }
        Cause::Drift { what } => what.clone(),
        Cause::Follows { resource, why } => format!("{resource}: {why}"),
    }
}

/// A container's state in a few words.
pub fn state_text(state: &ContainerState) -> String {
    match state {
        ContainerState::Created => "created".into(),
        ContainerState::Running { .. } => "running".into(),
        ContainerState::Restarting { code, .. } => format!("restarting (exited {code})"),
        ContainerState::Exited { error: Some(error), .. } => format!("failed: {error}"),
        ContainerState::Exited { code, .. } => format!("exited ({code})"),
        ContainerState::Lost => "lost".into(),
    }
}

fn health_text(container: &Container) -> Option<String> {
    match &container.state {
        ContainerState::Running { health, .. } => match health {
            Health::None => None,
            Health::Starting => Some("starting".into()),
            Health::Healthy => Some("healthy".into()),
            Health::Unhealthy => Some("unhealthy".into()),
        },
        ContainerState::Created | ContainerState::Restarting { .. } | ContainerState::Exited { .. } | ContainerState::Lost => {
            None
        }
    }
}

/// Whether every container is up and says that it is well; `None` where there is none.
pub(super) fn health(desired: &Desired, observed: &Observed) -> Option<Condition> {
    if desired.containers.is_empty() {
        return None;
    }
    let found: HashMap<&Name, &Container> = observed.containers.iter().map(|container| (&container.name, container)).collect();
    let (mut ill, mut coming) = (Vec::new(), true);
    for (name, placed) in &desired.containers {
        let container = found.get(&placed.engine_name);
        let (well, comes) = match container.map(|container| &container.state) {
            Some(ContainerState::Running { health, .. }) => {
                (matches!(health, Health::None | Health::Healthy), *health == Health::Starting)
            }
            Some(ContainerState::Exited { code: 0, error: None, .. }) => (true, false),
            Some(ContainerState::Created) | None => (false, true),
            Some(ContainerState::Restarting { .. } | ContainerState::Exited { .. } | ContainerState::Lost) => (false, false),
        };
        if !well {
            let state = container.map_or_else(|| "missing".to_owned(), |container| state_text(&container.state));
            let health = container.and_then(|container| health_text(container));
            ill.push(format!("{name} is {}", health.unwrap_or(state)));
            coming &= comes;
        }
    }
    Some(match (ill.is_empty(), coming) {
        (true, _) => condition("Healthy", true, "AllHealthy", "every container is up"),
        (false, true) => condition("Healthy", false, "Progressing", &ill.join("; ")),
        (false, false) => condition("Healthy", false, "NotHealthy", &ill.join("; ")),
    })
}

/// That it is kept as a generation was, or where one has stopped, and until when.
fn held(hold: &Hold, source: Option<&Path>) -> Condition {
    let until = match source {
        Some(source) => format!("until {} says something else than it did then, or somebody applies manifests", source.display()),
        None => "until somebody applies manifests".to_owned(),
    };
    let (reason, message) = match &hold.setback {
        None => ("RolledBack", format!("it was rolled back to generation {}, and stays so {until}", hold.of)),
        Some(setback) if setback.paused => ("UpdatePaused", format!("it stays where generation {} has stopped {until}", hold.of)),
        Some(setback) => {
            let failed = setback.generation;
            ("Quarantined", format!("generation {failed} has failed; it is as generation {} was, and stays so {until}", hold.of))
        }
    };
    Condition { since: hold.since, ..condition("Held", true, reason, &message) }
}

pub(super) fn condition(kind: &str, status: bool, reason: &str, message: &str) -> Condition {
    let (kind, reason, message) = (kind.to_owned(), reason.to_owned(), message.to_owned());
    Condition { kind, status, reason, message, since: OffsetDateTime::now_utc() }
}

pub(super) fn reconciling(plan: &Plan) -> Condition {
    condition("Reconciling", true, "Progressing", &format!("{} steps", plan.steps.len()))
}

/// The conditions after an apply has ended; `failures` are sentences about the steps that failed, and `setback` is why the stack is not
/// what its source says.
pub(super) fn after(outcome: &Outcome, failures: &[String], setback: Option<&Setback>) -> Vec<Condition> {
    let generation = outcome.generation;
    if let Some(Setback { generation: failed, why, paused, .. }) = setback.filter(|setback| setback.paused || outcome.failed == 0)
    {
        let (reason, now) = match paused {
            true => ("UpdatePaused", "what it had not come to stays as it was".to_owned()),
            false => ("Quarantined", format!("an earlier one is back, as generation {generation}")),
        };
        let message = format!("generation {failed} has failed ({why}); {now}, until the manifests change");
        let ready = condition("Ready", false, reason, &message);
        return vec![ready, condition("Reconciling", false, "Idle", ""), condition("Stalled", true, reason, &message)];
    }
    let ready = if outcome.failed == 0 {
        condition("Ready", true, "Applied", &format!("generation {generation} is applied"))
    } else {
        let counts = format!("{} steps failed, {} were skipped", outcome.failed, outcome.skipped);
        let message = failures.first().map_or(counts.clone(), |first| format!("{first} ({counts})"));
        condition("Ready", false, "StepsFailed", &message)
    };
    vec![ready, condition("Reconciling", false, "Idle", ""), condition("Stalled", false, "Idle", "")]
}

/// The conditions when nothing was done, because that could not even be planned. It is tried again; where only somebody's change can
/// help, the stack is stalled.
pub(super) fn refused(error: &ReconcileError) -> Vec<Condition> {
    let (reason, stalls) = match error {
        ReconcileError::Plan(_) => ("PlanFailed", true),
        ReconcileError::Engine(_) => ("HostFailed", false),
        _ => ("Failed", false),
    };
    let message = error.to_string();
    let stalled = if stalls { condition("Stalled", true, reason, &message) } else { condition("Stalled", false, "Idle", "") };
    vec![condition("Ready", false, reason, &message), condition("Reconciling", false, "Idle", ""), stalled]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Obstacle, PlanError};

    #[tokio::test(flavor = "multi_thread")]
    async fn an_apply_that_was_killed_is_told_by_others() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let instance = crate::model::Instance::new(folder.path().join("s"), folder.path().join("r"), None);
        let reconciler = Reconciler::new(crate::engine::Engine::open(instance).await.unwrap());
        let (db, stack): (_, Name) = (reconciler.engine().db(), "shop".parse().unwrap());
        let (desired, images) = (Desired::empty(stack.clone()), Default::default());
        let hold = generations::HoldChange::Stays;
        let beginning = generations::Beginning { desired: &desired, images: &images, source: None, brings_back: None, hold };
        generations::begin(db, beginning).unwrap();
        record::set_conditions(db, &stack, vec![condition("Reconciling", true, "Progressing", "1 steps")]).unwrap();
        let told = async || {
            let conditions = reconciler.status(None).await.unwrap().remove(0).conditions;
            let outcome = reconciler.history(&stack).unwrap().generations.remove(0).outcome;
            (conditions[0].status, conditions[0].reason.clone(), outcome)
        };
        let at_work = Lock::wait(&reconciler.lock_path(&stack)).unwrap();
        assert_eq!(told().await, (true, "Progressing".to_owned(), "applying".to_owned()));
        drop(at_work);
        assert_eq!(told().await, (false, "Interrupted".to_owned(), "interrupted".to_owned()));
    }

    #[test]
    fn what_was_not_done_is_said() {
        let told = |conditions: Vec<Condition>| -> Vec<String> {
            conditions.iter().map(|one| format!("{}={} {} {}", one.kind, one.status, one.reason, one.message)).collect()
        };
        let outcome = Outcome { failed: 2, skipped: 1, generation: 4, ..Outcome::default() };
        assert_eq!(
            told(after(&outcome, &["image/app: pull: no".into(), "b".into()], None)),
            [
                "Ready=false StepsFailed image/app: pull: no (2 steps failed, 1 were skipped)",
                "Reconciling=false Idle ",
                "Stalled=false Idle "
            ]
        );
        assert_eq!(
            told(after(&Outcome { generation: 4, ..Outcome::default() }, &[], None))[0],
            "Ready=true Applied generation 4 is applied"
        );
        let resource = Resource { kind: Kind::Container, name: "web".parse().unwrap() };
        let setback = Setback { generation: 3, resource, why: "it exited with 1".into(), paused: false };
        let held = told(after(&Outcome { generation: 4, ..Outcome::default() }, &[], Some(&setback)));
        let message = "Quarantined generation 3 has failed (it exited with 1); an earlier one is back, as generation 4, until the manifests change";
        assert_eq!(held, [format!("Ready=false {message}"), "Reconciling=false Idle ".into(), format!("Stalled=true {message}")]);
        let resource = Resource { kind: Kind::Volume, name: "data".parse().unwrap() };
        let obstacles = vec![Obstacle::ExternalMissing { resource, name: "data".parse().unwrap() }];
        let stalled = told(refused(&ReconcileError::Plan(PlanError { obstacles })));
        assert!(stalled[2].starts_with("Stalled=true PlanFailed volume/data: `data` is external"), "{stalled:?}");
        assert!(told(refused(&ReconcileError::Interrupted))[2].starts_with("Stalled=false"));
    }
}
