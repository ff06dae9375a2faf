//! The laws of planning, and plans as people see them. Applying is played on plain values, and the play is strict: a step
//! that could not work on a real host fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use time::OffsetDateTime;

use super::*;
use crate::manifest::Placed;
use crate::model::build::{ContextSource, DockerfileSource};
use crate::model::spec::classes::{Change, strictest};
use crate::model::spec::*;
use crate::model::{ByteSize, ContainerId, Digest, ImageRef, Name, RestartPolicy, Span};
use crate::observed::{Answer, Container, ContainerState, Endpoint, Health, Image, Network, Observed, Origin, Resolved, Volume};

use super::step::SparedIf;

mod followers;
mod golden;
mod held;
mod laws;
mod replace;
mod spared;

const NOW: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

fn name(text: impl AsRef<str>) -> Name {
    text.as_ref().parse().unwrap()
}

fn stack() -> Name {
    name("s")
}

fn owner(resource: &str) -> Option<Owner> {
    Some(Owner { stack: stack(), resource: name(resource) })
}

fn placed<T>(resource: &str, spec: T) -> (Name, Placed<T>) {
    (name(resource), Placed { engine_name: name(format!("s-{resource}")), external: false, spec })
}

/// A host that has nothing, where every id is new.
#[derive(Clone, Default)]
struct Host {
    observed: Observed,
    ids: u32,
}

fn running(spec: &ContainerSpec) -> ContainerState {
    let health = if spec.healthcheck.is_some() { Health::Starting } else { Health::None };
    ContainerState::Running { pid: 1, started: NOW, health }
}

impl Host {
    /// Plays a plan, step by step.
    fn apply(&mut self, desired: &Desired, plan: &Plan) {
        for (at, step) in plan.steps.iter().enumerate() {
            assert!(step.needs.iter().all(|need| *need < at), "{step:?} needs what comes later");
            assert!(!step.causes.is_empty(), "{step:?} has no cause");
            self.step(desired, step);
        }
    }

    fn container(&mut self, step: &Step) -> &mut Container {
        let called = |name: &str| self.observed.containers.iter().position(|c| c.name.as_str() == name);
        let at = match (&step.container, &step.aside) {
            (Some(id), _) => self.observed.containers.iter().position(|c| c.id == *id),
            (None, Some(aside)) => called(aside.as_str()).or(called(&step.target)),
            (None, None) => called(&step.target),
        };
        let found = &mut self.observed.containers[at.expect("a container")];
        assert_eq!(found.owner.as_ref().map(|o| &o.stack), Some(&stack()), "{step:?} touches what is not the stack's");
        if let Some(id) = &step.container {
            assert_eq!(*id, found.id);
        }
        found
    }

    fn step(&mut self, desired: &Desired, step: &Step) {
        let is = |spared_if: &SparedIf| self.image(&spared_if.image).is_some_and(|image| image.digest == spared_if.is);
        if step.spared_if.as_ref().is_some_and(is) {
            return;
        }
        let resource = &step.resource.name;
        match (step.action, step.resource.kind) {
            (Action::Pull | Action::Build | Action::Import | Action::Load | Action::Commit, Kind::Image) => {
                self.obtain(desired, step)
            }
            (Action::Restore, Kind::Image) => {
                let reference: ImageRef = step.target.parse().unwrap();
                let Some(Answer::Held { digest }) = self.observed.known.answers.get(&reference).cloned() else {
                    panic!("{step:?}: nobody says what it was");
                };
                self.observed.images.iter_mut().for_each(|image| {
                    image.references.remove(&reference);
                });
                let image = self.observed.images.iter_mut().find(|image| image.digest == digest);
                image.expect("it is kept").references.insert(reference);
            }
            (Action::Push, Kind::Image) => {
                let image = self.observed.images.iter().find(|i| i.references.contains(&desired.images[resource].reference));
                let digest = image.expect("what is pushed is here").digest;
                assert!(desired.images[resource].push.contains(&step.target.parse().unwrap()));
                self.observed.known.pushed.insert(step.target.parse().unwrap(), digest);
            }
            (Action::Create, Kind::Network) => {
                let Placed { engine_name, spec, .. } = &desired.networks[resource];
                assert!(self.observed.networks.iter().all(|n| n.name != *engine_name), "the network is there already");
                let taken = |subnet: Subnet| self.observed.networks.iter().any(|n| n.subnet.is_some_and(|s| s.overlaps(subnet)));
                let subnet = spec.subnet.unwrap_or_else(|| {
                    (0..=255).map(|i| format!("10.{i}.0.0/16").parse().unwrap()).find(|s| !taken(*s)).unwrap()
                });
                assert!(!taken(subnet), "the subnet is taken");
                self.ids += 1;
                self.observed.networks.push(Network {
                    id: self.ids.to_string(),
                    name: engine_name.clone(),
                    owner: owner(resource.as_str()),
                    spec: spec.clone(),
                    subnet: Some(subnet),
                    subnet6: None,
                    bridge: "b".into(),
                    faults: Vec::new(),
                });
            }
            (Action::Create, Kind::Volume) => {
                let Placed { engine_name, spec, .. } = &desired.volumes[resource];
                let users = self.observed.containers.iter().filter(|c| {
                    c.state.is_alive()
                        && c.spec.mounts.iter().any(|m| matches!(m, Mount::Volume { source, .. } if source == engine_name))
                });
                assert_eq!(users.count(), 0, "the folder is still mounted");
                self.observed.volumes.retain(|v| v.name != *engine_name || v.present);
                self.observed.volumes.push(Volume {
                    name: engine_name.clone(),
                    owner: owner(resource.as_str()),
                    spec: spec.clone(),
                    path: "/v".into(),
                    present: true,
                    created: NOW,
                });
            }
            (Action::Create, Kind::Container) => {
                let Placed { engine_name, spec, .. } = &desired.containers[resource];
                let engine_name = step.aside.as_ref().unwrap_or(engine_name);
                assert!(self.observed.containers.iter().all(|c| c.name != *engine_name), "the name is taken");
                let spec = &if step.aside.is_some() { spec.unpublished() } else { spec.clone() };
                self.is_there(spec);
                let image = self.observed.images.iter().find(|i| i.references.contains(&spec.image)).unwrap();
                self.ids += 1;
                self.observed.containers.push(Container {
                    id: ContainerId::from_random(*Digest::of(&self.ids.to_le_bytes()).hex().as_bytes().first_chunk().unwrap()),
                    name: engine_name.clone(),
                    owner: owner(resource.as_str()),
                    created: NOW,
                    image_digest: image.digest,
                    spec: Arc::new(spec.clone()),
                    state: ContainerState::Created,
                    networks: BTreeMap::new(),
                    ports: BTreeSet::new(),
                    paused: false,
                    network_faults: Vec::new(),
                    faults: Vec::new(),
                    restarts: 0,
                    health: None,
                });
            }
            (Action::Start, Kind::Container) => {
                let spec = &desired.containers[resource].spec;
                self.is_there(spec);
                for (other, dependency) in &spec.depends_on {
                    let target = &desired.containers[other].engine_name;
                    let target = self.observed.containers.iter().find(|c| c.name == *target).expect("a dependency");
                    let ok = match (&target.state, dependency.condition) {
                        (ContainerState::Running { health, .. }, Condition::ServiceHealthy) => *health == Health::Healthy,
                        (ContainerState::Exited { code: 0, .. }, Condition::ServiceCompletedSuccessfully) => true,
                        (ContainerState::Created, _) => false,
                        (_, condition) => condition == Condition::ServiceStarted,
                    };
                    assert!(ok, "{resource} starts before {other} is {dependency:?}: {:?}", target.state);
                }
                let beside = self.container(step).name.is_aside();
                for port in spec.ports.iter().filter(|_| !beside) {
                    let clash = self.observed.containers.iter().find(|c| c.ports.contains(port));
                    assert!(clash.is_none(), "the port {port} is taken");
                }
                let container = self.container(step);
                assert!(!container.state.is_alive(), "it runs already");
                assert!(beside || container.spec.ports == spec.ports);
                container.state = running(spec);
                container.ports = container.spec.ports.clone();
                container.network_faults.clear();
                container.networks = spec
                    .networks
                    .keys()
                    .map(|n| {
                        (n.clone(), Endpoint { address: Some(Ipv4Addr::LOCALHOST), ipv6_address: None, aliases: BTreeSet::new() })
                    })
                    .collect();
            }
            (Action::Wait(_), Kind::Container) if step.beyond().is_some() => {}
            (Action::Wait(wait), Kind::Container) => {
                let container = self.container(step);
                match wait {
                    WaitFor::Started => panic!("only of another stack's is it waited for"),
                    WaitFor::Healthy => {
                        assert!(container.state.is_running(), "{:?}", container.state);
                        container.state = ContainerState::Running { pid: 1, started: NOW, health: Health::Healthy };
                    }
                    WaitFor::Completed => {
                        container.state = ContainerState::Exited { code: 0, at: NOW, stopped: false, error: None };
                        container.ports.clear();
                    }
                }
            }
            (Action::Watch(_), Kind::Container) => {
                assert!(self.container(step).state.is_alive() || !self.container(step).spec.restart.keeps_running());
            }
            (Action::Delay(_), Kind::Container) => {}
            (Action::Switch, Kind::Container) => {
                let spec = desired.containers[resource].spec.clone();
                let new = self.container(step);
                // A job that somebody waits for has done its work by then.
                let completed = matches!(new.state, ContainerState::Exited { code: 0, stopped: false, .. });
                assert!(new.name.is_aside() && (new.state.is_alive() || completed));
                let aside = std::mem::replace(&mut new.name, name(&step.target));
                new.ports.clone_from(&spec.ports);
                new.spec = Arc::new(spec);
                let id = new.id.clone();
                let old = self.observed.containers.iter_mut().find(|c| c.name.as_str() == step.target && c.id != id).unwrap();
                old.name = aside;
                old.ports.clear();
                let taken = |one: &Container| {
                    let new = self.observed.containers.iter().find(|c| c.id == id).unwrap();
                    one.id != id && !one.ports.is_disjoint(&new.ports)
                };
                assert!(!self.observed.containers.iter().any(taken), "a port is taken");
            }
            (Action::Stop, Kind::Container) => {
                let container = self.container(step);
                assert!(container.state.is_alive());
                container.state = ContainerState::Exited { code: 143, at: NOW, stopped: true, error: None };
                container.ports.clear();
                container.networks.clear();
            }
            (Action::Remove, Kind::Container) => {
                let container = self.container(step);
                assert!(!container.state.is_alive(), "it still runs");
                let id = container.id.clone();
                self.observed.containers.retain(|c| c.id != id);
            }
            (Action::Update, Kind::Container) => {
                let wanted = desired.containers[resource].spec.clone();
                let container = self.container(step);
                // No more than what an engine can change while a container runs.
                let change = strictest(&container.spec, &wanted);
                assert!(!container.state.is_alive() || change < Change::Reload, "{change:?} of one that runs");
                if container.state.is_alive() {
                    container.networks.retain(|network, _| wanted.networks.contains_key(network));
                    container.ports.clone_from(&wanted.ports);
                }
                container.spec = Arc::new(wanted);
            }
            (Action::Reload, Kind::Container) => {
                let wanted = desired.containers[resource].spec.clone();
                let container = self.container(step);
                assert!(strictest(&container.spec, &wanted) <= Change::Reload);
                container.spec = Arc::new(wanted);
            }
            (Action::Remove, Kind::Network) => {
                let network = self.observed.networks.iter().position(|n| n.name.as_str() == step.target).expect("a network");
                let network = self.observed.networks.remove(network);
                assert_eq!(network.owner.as_ref().map(|o| &o.stack), Some(&stack()));
                let attached = |c: &&Container| c.state.is_alive() && c.spec.networks.contains_key(&network.name);
                let user = self.observed.containers.iter().find(attached);
                assert!(user.is_none(), "{} is still attached", user.unwrap().name);
            }
            (Action::Repair, Kind::Network) => {
                let network = self.observed.networks.iter_mut().find(|n| n.name.as_str() == step.target).unwrap();
                network.faults.clear();
            }
            (Action::Repair, Kind::Container) => {
                let container = self.container(step);
                container.network_faults.clear();
                container.faults.clear();
            }
            (Action::Repair, Kind::Firewall) => self.observed.firewall = None,
            (Action::Remove, Kind::Volume) => {
                let volume = self.observed.volumes.iter().position(|v| v.name.as_str() == step.target).expect("a volume");
                let volume = self.observed.volumes.remove(volume);
                assert_eq!(volume.owner.map(|o| o.stack), Some(stack()));
            }
            other => panic!("no such step: {other:?}"),
        }
    }

    fn obtain(&mut self, desired: &Desired, step: &Step) {
        let reference: ImageRef = step.target.parse().unwrap();
        let image = &desired.images[&step.resource.name];
        let said = match self.observed.known.answers.get(&reference) {
            Some(Answer::Is(resolved)) => Some(resolved.digest),
            Some(Answer::Held { digest }) => Some(*digest),
            Some(Answer::Unknown { why }) => panic!("nobody knows what it is: {why}"),
            None => None,
        };
        let (digest, imported_from, origin) = match &image.source {
            ImageSource::Pull(_) => {
                // Whoever applies asks before an image that is here is checked again.
                let here = self.observed.images.iter().find(|i| i.references.contains(&reference)).map(|i| i.digest);
                let digest = said.or(here).unwrap_or(Digest::of(step.target.as_bytes()));
                (digest, None, image.pulled_as())
            }
            // Now and then another tree is the same image.
            ImageSource::Import { fingerprint, .. } => {
                (Digest::of(&fingerprint.hex().as_bytes()[..1]), Some(*fingerprint), Some(*fingerprint))
            }
            // A change of what is built of need not change what comes of it.
            ImageSource::Build(build) => {
                let here = |base: &ImageRef| self.observed.images.iter().find(|i| i.references.contains(base)).map(|i| i.digest);
                let declared = images::declared_bases(desired, image, build);
                let bases = declared.filter_map(|base| Some((base.clone(), here(base)?))).collect();
                let origin = origin::of_build(build, &bases);
                (Digest::of(format!("built {}", &origin.hex()[32..33]).as_bytes()), None, Some(origin))
            }
            ImageSource::Load { fingerprint, reference, .. } => {
                let origin = origin::of_load(fingerprint.expect("the archive is there"), reference.as_ref());
                (Digest::of(format!("loaded {origin}").as_bytes()), None, Some(origin))
            }
            ImageSource::Commit(commit) => {
                let source = &desired.containers[&commit.container];
                let container =
                    self.observed.containers.iter().find(|c| c.name == source.engine_name).expect("what is committed");
                assert!(matches!(container.state, ContainerState::Exited { code: 0, .. }), "{:?} is committed", container.state);
                // All but what only the planner itself uses, which a container is not changed for.
                let (change, causes) = super::classes::compare(&container.spec, &source.spec);
                assert_eq!(change, Change::Nothing, "it is committed otherwise than declared: {causes:?}");
                let origin = origin::of_commit(&source.spec, container.image_digest, commit);
                (Digest::of(format!("committed {origin}").as_bytes()), None, Some(origin))
            }
        };
        self.observed.images.iter_mut().for_each(|image| {
            image.references.remove(&reference);
        });
        self.observed.images.retain(|image| image.digest != digest || !image.references.is_empty());
        match self.observed.images.iter_mut().find(|image| image.digest == digest) {
            Some(image) => {
                image.references.insert(reference.clone());
                image.imported_from = imported_from.or(image.imported_from);
            }
            None => {
                let references = BTreeSet::from([reference.clone()]);
                self.observed.images.push(Image { digest, references, size: 1, created: NOW, imported_from });
            }
        }
        if let Some(origin) = origin {
            self.observed.known.origins.insert(reference, Origin { origin, digest });
        }
    }

    fn image(&self, reference: &ImageRef) -> Option<&Image> {
        self.observed.images.iter().find(|image| image.references.contains(reference))
    }

    /// All that a container is made of.
    fn is_there(&self, spec: &ContainerSpec) {
        assert!(self.observed.firewall.is_none(), "the packet filter is broken");
        assert!(self.observed.images.iter().any(|i| i.references.contains(&spec.image)), "no image {}", spec.image);
        for network in spec.networks.keys() {
            assert!(self.observed.networks.iter().any(|n| n.name == *network && n.faults.is_empty()), "no network {network}");
        }
        for mount in &spec.mounts {
            if let Mount::Volume { source, .. } = mount {
                assert!(self.observed.volumes.iter().any(|v| v.name == *source && v.present), "no volume {source}");
            }
        }
    }
}
