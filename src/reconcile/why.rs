//! Why a resource is as it is: what it waits for, what was done to it last and for which reason. Asks the journal, the newest
//! generation and one look at the host; changes nothing.

use super::changes::changes;
use super::generations;
use super::journal::{self, Filter};
use super::report::{ResourceStatus, StepEvent, Why};
use super::{ReconcileError, Reconciler};
use crate::files::Lock;
use crate::manifest::Desired;
use crate::model::Name;
use crate::model::spec::{Condition, ContainerSpec};
use crate::observed::{self, ContainerState, Health};
use crate::plan::beyond::{self, Standing};
use crate::plan::{Kind, Resource};

/// So many changes of a resource are told.
const MOST: usize = 10;

/// The kinds that a resource can be named by.
const KINDS: [(&str, Kind); 6] = [
    ("container", Kind::Container),
    ("image", Kind::Image),
    ("network", Kind::Network),
    ("volume", Kind::Volume),
    ("config", Kind::Config),
    ("secret", Kind::Secret),
];

/// A resource as somebody names it: `NAME`, `KIND/NAME`, `STACK/NAME` or `STACK/KIND/NAME`.
#[derive(Debug, PartialEq, Eq)]
struct Said<'a> {
    stack: Option<&'a str>,
    kind: Option<Kind>,
    name: &'a str,
}

impl<'a> Said<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let kind = |text: &str| KINDS.iter().find(|(word, _)| *word == text).map(|(_, kind)| *kind);
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [name] => Some(Self { stack: None, kind: None, name }),
            [first, name] => match kind(first) {
                Some(kind) => Some(Self { stack: None, kind: Some(kind), name }),
                None => Some(Self { stack: Some(first), kind: None, name }),
            },
            [stack, word, name] => kind(word).map(|kind| Self { stack: Some(stack), kind: Some(kind), name }),
            _ => None,
        }
    }
}

/// The resources of a stack that a name can mean: those of the wanted kind; of any, where none is wanted, but containers first.
fn named(desired: &Desired, kind: Option<Kind>, name: &str) -> Vec<Resource> {
    let resource = |kind, name: &Name| Resource { kind, name: name.clone() };
    let containers =
        desired.containers.iter().filter(|(own, placed)| own.as_str() == name || placed.engine_name.as_str() == name);
    let containers: Vec<Resource> = containers.map(|(own, _)| resource(Kind::Container, own)).collect();
    if kind == Some(Kind::Container) || (kind.is_none() && !containers.is_empty()) {
        return containers;
    }
    let names = [
        (Kind::Image, desired.images.keys().collect::<Vec<_>>()),
        (Kind::Network, desired.networks.keys().collect()),
        (Kind::Volume, desired.volumes.keys().collect()),
        (Kind::Config, desired.configs.keys().collect()),
        (Kind::Secret, desired.secrets.keys().collect()),
    ];
    let wanted = names.into_iter().filter(|(own, _)| kind.is_none_or(|kind| kind == *own));
    let found = wanted.flat_map(|(kind, names)| names.into_iter().filter(|own| own.as_str() == name).map(move |own| (kind, own)));
    found.map(|(kind, own)| resource(kind, own)).collect()
}

impl Reconciler {
    /// The stack and the resource that a text names. One that is declared no longer is found in the journal, by its kind and name.
    pub fn find(&self, text: &str, stack: Option<&Name>) -> Result<(Name, Resource), ReconcileError> {
        let db = self.engine.db();
        let none = || ReconcileError::NoSuchResource(text.to_owned());
        let said = Said::read(text).ok_or_else(none)?;
        let stacks = self
            .stacks()?
            .into_iter()
            .filter(|own| said.stack.is_none_or(|named| named == own.as_str()) && stack.is_none_or(|named| named == own));
        let mut found = Vec::new();
        for own in stacks {
            if let Some(newest) = self.newest(&own)? {
                found.extend(named(&newest.desired, said.kind, said.name).into_iter().map(|resource| (own.clone(), resource)));
            }
        }
        if found.is_empty() {
            let name: Name = said.name.parse().map_err(|_| none())?;
            let resource = Resource { kind: said.kind.unwrap_or(Kind::Container), name };
            let steps = journal::read(db, &Filter { resource: Some(resource.to_string()), ..Filter::default() })?;
            let fits = |own: &Name| said.stack.is_none_or(|s| s == own.as_str()) && stack.is_none_or(|s| s == own);
            found.extend(steps.iter().rev().find(|step| fits(&step.stack)).map(|step| (step.stack.clone(), resource)));
        }
        match found.len() {
            0 => Err(none()),
            1 => Ok(found.remove(0)),
            _ => {
                let all = found.iter().map(|(stack, resource)| format!("{stack}/{resource}")).collect();
                Err(ReconcileError::WhichResource { text: text.to_owned(), all })
            }
        }
    }

    /// Why a resource is as it is.
    pub async fn why(&self, text: &str, stack: Option<&Name>) -> Result<Why, ReconcileError> {
        let (stack, resource) = self.find(text, stack)?;
        let db = self.engine.db();
        let steps = journal::read(db, &Filter { stack: Some(stack.clone()), ..Filter::default() })?;
        let mut status = None;
        if self.stacks()?.contains(&stack) {
            let all = self.status(Some(&stack)).await?.into_iter().flat_map(|stack| stack.resources);
            status = all.into_iter().find(|one| one.resource == resource);
        }
        let own: Vec<StepEvent> = steps.iter().filter(|step| step.resource == resource.to_string()).cloned().collect();
        let mut waits = Vec::new();
        let mut restarts = 0;
        if let Some(newest) = self.newest(&stack)?
            && resource.kind == Kind::Container
            && let Some(placed) = newest.desired.containers.get(&resource.name)
        {
            let observed = self.engine.observe().await?.containers;
            let found = |name: &Name| observed.iter().find(|container| container.name == *name);
            let itself = found(&placed.engine_name);
            restarts = itself.map_or(0, |itself| itself.restarts);
            if !itself.is_some_and(|itself| itself.state.is_alive()) {
                let standing = |name: &Name| newest.desired.containers.get(name).and_then(|placed| found(&placed.engine_name));
                waits.extend(unmet(&placed.spec, standing));
                waits.extend(unmet_beyond(&placed.spec, &observed));
                waits.extend(failing(&newest.desired, &placed.spec, &steps));
            }
        }
        if let Some(setback) = generations::hold(db, &stack)?.and_then(|hold| hold.setback).filter(|one| one.resource == resource)
        {
            waits.push(format!(
                "other manifests than those of generation {}, which has failed: {}",
                setback.generation, setback.why
            ));
        }
        let at_work = Lock::is_held(&self.lock_path(&stack))?;
        waits.extend(
            own.last().filter(|step| at_work && step.finished.is_none()).map(|step| format!("its own {} to end", step.action)),
        );
        let mut changes = changes(&own);
        changes.reverse();
        changes.truncate(MOST);
        Ok(Why { stack, status, resource, restarts, waits, changes })
    }
}

/// The conditions of dependencies that do not hold, as what is waited for.
fn unmet<'a>(spec: &ContainerSpec, standing: impl Fn(&Name) -> Option<&'a observed::Container>) -> Vec<String> {
    let mut all = Vec::new();
    for (name, dependency) in &spec.depends_on {
        let other = standing(name);
        let state = other.map(|other| &other.state);
        let met = match (dependency.condition, state) {
            (Condition::ServiceStarted, Some(state)) => state.is_alive() || matches!(state, ContainerState::Exited { .. }),
            (Condition::ServiceHealthy, Some(ContainerState::Running { health, .. })) => *health == Health::Healthy,
            (Condition::ServiceCompletedSuccessfully, Some(ContainerState::Exited { code, .. })) => *code == 0,
            _ => false,
        };
        if !met {
            let what = awaited(dependency.condition);
            all.push(format!("container/{name} {what}: it is {}", state_of(other)));
        }
    }
    all
}

/// The same of containers of other stacks.
fn unmet_beyond(spec: &ContainerSpec, observed: &[observed::Container]) -> Vec<String> {
    let unmet = spec.depends_beyond.iter().filter_map(|(other, dependency)| {
        let found = beyond::find(observed, other);
        let why = match beyond::standing(dependency.condition.into(), found.map(|found| &found.state)) {
            Standing::Holds => return None,
            Standing::Lacking(_) if dependency.optional && found.is_none() => return None,
            Standing::Coming => format!("it is {}", state_of(found)),
            Standing::Lacking(why) => why,
        };
        Some(format!("{other} of another stack {}: {why}", awaited(dependency.condition)))
    });
    unmet.collect()
}

const fn awaited(condition: Condition) -> &'static str {
    match condition {
        Condition::ServiceStarted => "to start",
        Condition::ServiceHealthy => "to be healthy",
        Condition::ServiceCompletedSuccessfully => "to complete",
    }
}

fn state_of(container: Option<&observed::Container>) -> String {
    match container.map(|container| &container.state) {
        None => "missing".to_owned(),
        Some(ContainerState::Running { health: Health::Starting, .. }) => "starting".to_owned(),
        Some(ContainerState::Running { health: Health::Unhealthy, .. }) => "unhealthy".to_owned(),
        Some(state) => super::status::state_text(state),
    }
}

/// What it is made of, and could not be had the last time.
fn failing(desired: &Desired, spec: &ContainerSpec, steps: &[StepEvent]) -> Vec<String> {
    let images = desired.images.iter().filter(|(_, image)| image.reference == spec.image).map(|(name, _)| (Kind::Image, name));
    let networks = desired.networks.iter().filter(|(_, placed)| spec.networks.contains_key(&placed.engine_name));
    let networks = networks.map(|(name, _)| (Kind::Network, name));
    let resources = images.chain(networks).map(|(kind, name)| Resource { kind, name: name.clone() }.to_string());
    let failed = resources.filter_map(|resource| {
        let last = steps.iter().rev().find(|step| step.resource == resource)?;
        last.error.as_ref().map(|error| format!("{resource}, whose {} failed: {error}", last.action))
    });
    failed.collect()
}

impl Why {
    /// Whether something else is wanted of the resource than it is.
    pub fn differs(&self) -> Option<&ResourceStatus> {
        self.status.as_ref().filter(|status| !status.differences.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_in_every_form() {
        let said = |stack, kind, name| Some(Said { stack, kind, name });
        for (text, expected) in [
            ("web", said(None, None, "web")),
            ("container/web", said(None, Some(Kind::Container), "web")),
            ("shop/web", said(Some("shop"), None, "web")),
            ("shop/image/web", said(Some("shop"), Some(Kind::Image), "web")),
            ("image/container/web", said(Some("image"), Some(Kind::Container), "web")),
            ("shop/thing/web", None),
            ("a/b/c/d", None),
        ] {
            assert_eq!(Said::read(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_waited_for_is_told() {
        let mut spec = ContainerSpec::new("app:1".parse().unwrap());
        for (name, condition) in [("a", "service_started"), ("b", "service_healthy"), ("c", "service_completed_successfully")] {
            let dependency = serde_json::json!({"condition": condition});
            spec.depends_on.insert(name.parse().unwrap(), serde_json::from_value(dependency).unwrap());
        }
        assert_eq!(
            unmet(&spec, |_| None),
            [
                "container/a to start: it is missing",
                "container/b to be healthy: it is missing",
                "container/c to complete: it is missing"
            ]
        );
    }
}
