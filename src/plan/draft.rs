//! A plan in the making: what is compared, the steps so far, and which needs which. Knows no rules; those are the passes'.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use crate::manifest::Desired;
use crate::model::{ContainerId, Digest, ImageRef, Name, Owner};
use crate::observed::{Answer, Container, ContainerState, Image, Network, Observed, Volume};

use super::step::{Action, Cause, Kind, Plan, Resource, SparedIf, Stake, Step, WaitFor};
use super::{Obstacle, PlanError};

pub(super) struct Draft<'a> {
    pub(super) desired: &'a Desired,
    pub(super) observed: &'a Observed,
    /// Whether the stack's volumes may be removed.
    pub(super) drop_volumes: bool,
    /// The stack's containers on the host, by resource.
    pub(super) mine: BTreeMap<&'a Name, &'a Container>,
    /// Containers of the stack that are not declared, or are one too many.
    pub(super) strays: Vec<&'a Container>,
    /// Containers that were on their way to take the place of one of [`mine`](Self::mine), or have left it to that, by resource.
    pub(super) asides: BTreeMap<&'a Name, &'a Container>,
    /// What containers are called as long as those that they replace have their names, by the names that they come to have.
    pub(super) called: HashMap<String, Name>,
    /// What it means when the update of a container fails, by resource.
    pub(super) stakes: HashMap<&'a Name, Stake>,
    pub(super) obstacles: Vec<Obstacle>,
    images: HashMap<&'a ImageRef, &'a Image>,
    networks: HashMap<&'a Name, &'a Network>,
    volumes: HashMap<&'a Name, &'a Volume>,
    containers: HashMap<&'a Name, &'a Container>,
    graph: DiGraph<Draught, Edge>,
    index: HashMap<(Kind, String, Action), NodeIndex>,
    /// What is done to anything of a kind.
    verbs: HashSet<(Kind, Action)>,
}

/// A step that may be in the plan or not: what is done, and to what, by its name in the engine.
type Key<'k> = (Kind, &'k dyn ToString, Action);

/// Why a step comes after another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edge {
    /// That one must have succeeded.
    Need,
    /// That one must have ended.
    After,
}

/// A step before its place is known.
struct Draught {
    action: Action,
    resource: Resource,
    target: String,
    container: Option<ContainerId>,
    causes: Vec<Cause>,
    spared_if: Option<SparedIf>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(desired: &'a Desired, observed: &'a Observed, drop_volumes: bool) -> Self {
        let mut mine: BTreeMap<&Name, &Container> = BTreeMap::new();
        let mut strays = Vec::new();
        let mut asides = BTreeMap::new();
        let mut owned: Vec<_> = observed
            .containers
            .iter()
            .filter_map(|container| Some((container.owner.as_ref().filter(|o| o.stack == desired.stack)?, container)))
            .collect();
        owned.sort_by_key(|(owner, container)| {
            let declared = desired.containers.get(&owner.resource);
            let right_name = declared.is_some_and(|placed| placed.engine_name == container.name);
            (&owner.resource, !right_name, container.created, &container.id)
        });
        for (owner, container) in owned {
            match desired.containers.get(&owner.resource) {
                Some(_) if !mine.contains_key(&owner.resource) => drop(mine.insert(&owner.resource, container)),
                Some(placed) if placed.engine_name.aside().is_ok_and(|aside| aside == container.name) => {
                    asides.insert(&owner.resource, container);
                }
                _ => strays.push(container),
            }
        }
        let images = observed.images.iter().flat_map(|image| image.references.iter().map(move |r| (r, image))).collect();
        Self {
            desired,
            observed,
            drop_volumes,
            mine,
            strays,
            asides,
            called: HashMap::new(),
            stakes: HashMap::new(),
            obstacles: Vec::new(),
            images,
            networks: observed.networks.iter().map(|network| (&network.name, network)).collect(),
            volumes: observed.volumes.iter().map(|volume| (&volume.name, volume)).collect(),
            containers: observed.containers.iter().map(|container| (&container.name, container)).collect(),
            graph: DiGraph::new(),
            index: HashMap::new(),
            verbs: HashSet::new(),
        }
    }

    fn node(&self, (kind, target, action): Key<'_>) -> Option<NodeIndex> {
        // Most steps that the rules speak of are not there, and to spell the names takes most of a plan's time.
        if !self.verbs.contains(&(kind, action)) {
            return None;
        }
        self.index.get(&(kind, target.to_string(), action)).copied()
    }

    /// Both, where they are there and are two.
    fn nodes(&self, step: Key<'_>, other: Key<'_>) -> Option<(NodeIndex, NodeIndex)> {
        self.node(step).zip(self.node(other)).filter(|(step, other)| step != other)
    }

    /// Whether the stack owns what has this owner.
    pub(super) fn owns(&self, owner: &Option<Owner>) -> bool {
        owner.as_ref().is_some_and(|owner| owner.stack == self.desired.stack)
    }

    pub(super) fn image(&self, reference: &ImageRef) -> Option<&'a Image> {
        self.images.get(reference).copied()
    }

    /// What a registry answered for a reference, where it was asked.
    pub(super) fn answer(&self, reference: &ImageRef) -> Option<&'a Answer> {
        self.observed.known.answers.get(reference)
    }

    pub(super) fn network(&self, engine_name: &Name) -> Option<&'a Network> {
        self.networks.get(engine_name).copied()
    }

    pub(super) fn volume(&self, engine_name: &Name) -> Option<&'a Volume> {
        self.volumes.get(engine_name).copied()
    }

    /// Whoever's container has this name in the engine.
    pub(super) fn container(&self, engine_name: &Name) -> Option<&'a Container> {
        self.containers.get(engine_name).copied()
    }

    /// Adds a step, or further causes to the one that is there. The target is the name in the engine.
    pub(super) fn add(
        &mut self,
        action: Action,
        resource: Resource,
        target: impl ToString,
        container: Option<&Container>,
        causes: Vec<Cause>,
    ) {
        let target = target.to_string();
        let key = (resource.kind, target.clone(), action);
        if let Some(known) = self.index.get(&key) {
            let draught = &mut self.graph[*known];
            for cause in causes {
                if !draught.causes.contains(&cause) {
                    draught.causes.push(cause);
                }
            }
            return;
        }
        let container = container.map(|container| container.id.clone());
        let node = self.graph.add_node(Draught { action, resource, target, container, causes, spared_if: None });
        self.verbs.insert((key.0, action));
        self.index.insert(key, node);
    }

    /// Says when a step that is there turns out to be needless; `None` that it never does.
    pub(super) fn spare(&mut self, target: &Name, action: Action, spared_if: Option<SparedIf>) {
        if let Some(known) = self.node((Kind::Container, target, action)) {
            self.graph[known].spared_if = spared_if;
        }
    }

    /// When a step turns out to be needless, if ever.
    pub(super) fn spared(&self, target: &dyn ToString, action: Action) -> Option<SparedIf> {
        self.graph[self.node((Kind::Container, target, action))?].spared_if.clone()
    }

    /// Why a step is there; nothing of one that is not.
    pub(super) fn causes(&self, target: &Name, action: Action) -> &[Cause] {
        let known = self.node((Kind::Container, target, action));
        known.map_or(&[], |node| self.graph[node].causes.as_slice())
    }

    pub(super) fn has(&self, kind: Kind, target: &dyn ToString, action: Action) -> bool {
        self.node((kind, target, action)).is_some()
    }

    /// Where both steps are in the plan, the first needs the second.
    pub(super) fn need(&mut self, step: Key<'_>, other: Key<'_>) {
        if let Some((step, other)) = self.nodes(step, other) {
            self.graph.update_edge(other, step, Edge::Need);
        }
    }

    /// As [`need`](Self::need), unless the second needs the first already.
    pub(super) fn need_if_free(&mut self, step: Key<'_>, other: Key<'_>) {
        if let Some((step, other)) = self.nodes(step, other)
            && !petgraph::algo::has_path_connecting(&self.graph, step, other, None)
        {
            self.graph.update_edge(other, step, Edge::Need);
        }
    }

    /// Where both steps are in the plan, the first comes after the second has ended, unless the second needs the first.
    pub(super) fn after_if_free(&mut self, step: Key<'_>, other: Key<'_>) {
        if let Some((step, other)) = self.nodes(step, other)
            && !self.graph.contains_edge(other, step)
            && !petgraph::algo::has_path_connecting(&self.graph, step, other, None)
        {
            self.graph.add_edge(other, step, Edge::After);
        }
    }

    /// The steps in an order in which each comes after all that it needs: among those that could be next, what prepares
    /// comes before what disturbs, and names decide between equals.
    pub(super) fn finish(self) -> Result<Plan, PlanError> {
        // Where there is nothing to do, there is nothing that could be done otherwise later.
        let (base, parts) = if self.graph.node_count() == 0 { (Digest::of(b""), BTreeMap::new()) } else { self.base() };
        let Self { desired, observed, graph, mut obstacles, called, stakes, .. } = self;
        let mut missing: Vec<usize> =
            graph.node_indices().map(|node| graph.neighbors_directed(node, Direction::Incoming).count()).collect();
        let rank = |node: NodeIndex| {
            let draught = &graph[node];
            Reverse((rank(draught), draught.target.clone(), node))
        };
        let mut ready: BinaryHeap<_> = graph.node_indices().filter(|node| missing[node.index()] == 0).map(rank).collect();
        let mut position: Vec<Option<usize>> = vec![None; graph.node_count()];
        let mut steps = Vec::with_capacity(graph.node_count());
        while let Some(Reverse((_, _, node))) = ready.pop() {
            let Draught { action, resource, target, container, causes, spared_if } = &graph[node];
            let before = |edge: Edge| {
                let edges = graph.edges_directed(node, Direction::Incoming).filter(move |one| *one.weight() == edge);
                edges.filter_map(|one| position[one.source().index()]).collect()
            };
            let (needs, after) = (before(Edge::Need), before(Edge::After));
            let is_new = container.is_none() && resource.kind == Kind::Container && *action != Action::Remove;
            let stake = stakes
                .get(&resource.name)
                .filter(|_| resource.kind == Kind::Container && is_staked(*action) && !target.contains('/'));
            position[node.index()] = Some(steps.len());
            steps.push(Step {
                action: *action,
                resource: resource.clone(),
                target: target.clone(),
                container: container.clone(),
                causes: causes.clone(),
                needs,
                spared_if: spared_if.clone(),
                after,
                aside: called.get(target).filter(|_| is_new).cloned(),
                stake: stake.cloned(),
            });
            for next in graph.neighbors_directed(node, Direction::Outgoing) {
                missing[next.index()] -= 1;
                if missing[next.index()] == 0 {
                    ready.push(rank(next));
                }
            }
        }
        if steps.len() < graph.node_count() {
            let stuck: BTreeSet<&Resource> = petgraph::algo::tarjan_scc(&graph)
                .into_iter()
                .filter(|circle| circle.len() > 1)
                .flatten()
                .map(|node| &graph[node].resource)
                .collect();
            obstacles.push(Obstacle::Circle { resources: stuck.into_iter().cloned().collect() });
        }
        if !obstacles.is_empty() {
            return Err(PlanError { obstacles });
        }
        let changing: BTreeSet<&Resource> = steps.iter().map(|step| &step.resource).collect();
        let kinds = [
            (Kind::Image, desired.images.keys().collect::<Vec<_>>()),
            (Kind::Network, desired.networks.iter().filter(|(_, p)| !p.external).map(|(name, _)| name).collect()),
            (Kind::Volume, desired.volumes.iter().filter(|(_, p)| !p.external).map(|(name, _)| name).collect()),
            (Kind::Container, desired.containers.keys().collect()),
        ];
        let unchanged = kinds
            .into_iter()
            .flat_map(|(kind, names)| names.into_iter().map(move |name| Resource { kind, name: name.clone() }))
            .filter(|resource| !changing.contains(resource))
            .collect();
        let asked = desired.images.values().filter_map(|image| observed.known.answers.get_key_value(&image.reference));
        let answers = asked.map(|(reference, answer)| (reference.clone(), answer.clone())).collect();
        Ok(Plan { stack: desired.stack.clone(), base, parts, steps, unchanged, answers })
    }

    /// The digest of what was observed and mattered, and of each part of it: nothing that changes by itself, as health and times do.
    fn base(&self) -> (Digest, BTreeMap<String, String>) {
        let phase = |state: &ContainerState| match state {
            ContainerState::Created => "created",
            ContainerState::Running { .. } | ContainerState::Restarting { .. } => "alive",
            ContainerState::Exited { stopped: true, .. } => "stopped",
            ContainerState::Exited { error: Some(_), .. } => "failed",
            ContainerState::Exited { code: 0, .. } => "completed",
            ContainerState::Exited { .. } => "exited",
            ContainerState::Lost => "lost",
        };
        let mut parts: BTreeMap<String, String> = BTreeMap::new();
        let mut add = |what: String, line: String| parts.insert(what, Digest::of(line.as_bytes()).short());
        for container in &self.observed.containers {
            if self.owns(&container.owner) {
                let spec = serde_json::to_string(&container.spec).unwrap_or_default();
                let (id, image, phase) = (&container.id, container.image_digest, phase(&container.state));
                let line = format!("{id} {image} {phase} {:?} {:?} {spec}", container.network_faults, container.faults);
                add(format!("container {}", container.name), line);
            } else {
                add(format!("container {}", container.name), "another's".to_owned());
            }
        }
        for network in &self.observed.networks {
            let spec = serde_json::to_string(&network.spec).unwrap_or_default();
            let owned = self.owns(&network.owner);
            add(format!("network {}", network.name), format!("{} {owned} {:?} {spec}", network.id, network.faults));
        }
        for volume in &self.observed.volumes {
            add(format!("volume {}", volume.name), format!("{} {}", self.owns(&volume.owner), volume.present));
        }
        for image in self.desired.images.values() {
            let known = self.image(&image.reference).map(|image| (image.digest, image.imported_from));
            let said = self.answer(&image.reference).map(|answer| match answer {
                Answer::Is(resolved) => Some(resolved.digest),
                Answer::Held { digest } => Some(*digest),
                Answer::Unknown { .. } => None,
            });
            let origin = self.observed.known.origins.get(&image.reference);
            let pushed: Vec<_> = image.push.iter().map(|target| (target, self.observed.known.pushed.get(target))).collect();
            add(format!("image {}", image.reference), format!("{known:?} {said:?} {origin:?} {pushed:?}"));
        }
        add("firewall".to_owned(), format!("{:?}", self.observed.firewall));
        let lines: Vec<String> = parts.iter().map(|(what, digest)| format!("{what} {digest}")).collect();
        (Digest::of(lines.join("\n").as_bytes()), parts)
    }
}

/// Whether an action brings a container to life, or finds out that it does not live.
const fn is_staked(action: Action) -> bool {
    matches!(
        action,
        Action::Create | Action::Start | Action::Update | Action::Reload | Action::Wait(WaitFor::Healthy) | Action::Watch(_)
    )
}

fn rank(draught: &Draught) -> u8 {
    match (draught.action, draught.resource.kind) {
        (Action::Pull | Action::Build | Action::Import | Action::Load | Action::Commit | Action::Restore, _) => 0,
        (Action::Repair, Kind::Firewall) => 1,
        (Action::Stop, _) => 2,
        (Action::Remove, _) => 3,
        (Action::Create, Kind::Network | Kind::Volume) | (Action::Repair, Kind::Network) => 4,
        (Action::Repair | Action::Update | Action::Reload, _) => 5,
        (Action::Create, _) => 6,
        (Action::Start, _) => 7,
        (Action::Wait(_) | Action::Watch(_) | Action::Switch, _) => 8,
        (Action::Delay(_), _) => 9,
        (Action::Push, _) => 9,
    }
}
