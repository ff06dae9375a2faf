//! Joins what was declared: every name leads somewhere, everything has its name in the engine, and what was left out is
//! filled in. The last step of a load.

mod images;
mod pre_start;
mod profiles;
mod replicas;
mod secrets;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;

use petgraph::graph::{DiGraph, NodeIndex};

use crate::model::spec::{
    Condition, ConfigSpec, ContainerSpec, Elsewhere, ImageSource, Mount, NetworkMode, NetworkSpec, Order, Probe,
};
use crate::model::{ImageRef, Name, PortMapping};

use super::Fingerprint;
use super::declared::{Config, Container, Declared, Resource, Secret};
use super::desired::{Desired, Placed};
use super::print::{ContentOrigin, Origins};
use super::problem::{Place, Problems, did_you_mean};
use super::{sharing, updates};
pub use images::pulled_name;
use images::{note_image, undeclared_images};
use secrets::Secrets;

/// The network of containers that name none.
pub(super) const DEFAULT_NETWORK: &str = "default";

pub(super) fn resolve(
    stack: Name,
    mut declared: Declared,
    active: &BTreeSet<String>,
    fingerprint: &Fingerprint,
    problems: &mut Problems,
    watched: &mut Vec<PathBuf>,
) -> Option<(Desired, Origins)> {
    let default: Name = DEFAULT_NETWORK.parse().ok()?;
    profiles::choose(&mut declared, active, problems);
    profiles::link(&mut declared, &default);
    images::declare_builds(&stack, &mut declared, problems);
    pre_start::expand(&mut declared, problems);
    updates::settle(&mut declared, problems);
    replicas::expand(&mut declared, &default, problems);
    let mut origins = origins(&declared);
    let broken = declared.broken;
    let mut places = HashMap::new();
    let mut desired = Desired::empty(stack.clone());
    desired.networks = place(&stack, "network", declared.networks, &mut places, problems);
    desired.volumes = place(&stack, "volume", declared.volumes, &mut places, problems);
    for config in declared.configs {
        once("config", &config.name, config.at, &mut places, problems);
        let Config { content, origin } = config.body;
        let external = match &origin {
            ContentOrigin::External(external) => Some(external.clone()),
            ContentOrigin::Inline | ContentOrigin::File(_) | ContentOrigin::Variable(_) => None,
        };
        not_own(&stack, external.as_ref(), config.at, problems);
        origins.configs.insert(config.name.clone(), origin);
        desired.configs.insert(config.name, ConfigSpec { content, external });
    }
    let mut secrets = BTreeMap::new();
    for secret in declared.secrets {
        once("secret", &secret.name, secret.at, &mut places, problems);
        let origin = match &secret.body {
            Secret::File(path, _) => ContentOrigin::File(path.clone()),
            Secret::Variable(name, _) => ContentOrigin::Variable(name.clone()),
            Secret::External(external) => {
                not_own(&stack, Some(external), secret.at, problems);
                ContentOrigin::External(external.clone())
            }
        };
        origins.secrets.insert(secret.name.clone(), origin);
        secrets.insert(secret.name, secret.body);
    }
    let secrets = Secrets { all: secrets, broken: &broken };
    let sources = images::images(declared.images, &secrets, fingerprint, &mut places, &mut desired, problems, watched);
    let mut containers = place(&stack, "container", declared.containers, &mut places, problems);
    sharing::link(&mut containers);

    // The default network is there for whoever names it, or names none.
    let uses_default = |placed: &Placed<Container>| {
        placed.spec.spec.network_mode == NetworkMode::Bridge
            && match placed.spec.networks.as_deref() {
                None | Some([]) => true,
                Some(networks) => networks.iter().any(|(name, ..)| *name == default),
            }
    };
    if containers.values().any(uses_default)
        && !desired.networks.contains_key(&default)
        && let Ok(engine_name) = stack.join(&default)
    {
        let spec = NetworkSpec::default();
        desired.networks.insert(default.clone(), Placed { engine_name, external: false, spec });
    }
    unique_engine_names("network", &desired.networks, &places, problems);
    unique_engine_names("volume", &desired.volumes, &places, problems);
    unique_engine_names("container", &containers, &places, problems);
    for (name, placed) in &containers {
        let Some(at) = places.get(&("container", name.clone())) else { continue };
        let taken = placed.engine_name.is_aside();
        if taken || (placed.spec.spec.update_config.order == Order::StartFirst && placed.engine_name.aside().is_err()) {
            let message = format!(
                "its name in the engine, `{}`, {}",
                placed.engine_name,
                match taken {
                    true => format!("ends with `{}`, as those do that are being replaced", Name::ASIDE),
                    false => "is too long: two of it are there while it is replaced".to_owned(),
                }
            );
            problems.error_hint(*at, message, "give it another `container_name`");
        }
    }

    let commits = commits(&desired, &sources, &containers, &broken, problems);
    dependencies(&containers, &commits, &broken, problems);
    for placed in containers.values() {
        for other in placed.spec.spec.depends_beyond.keys().filter(|other| other.stack == stack) {
            let hint = format!("write `{}`: it is of this stack", other.name);
            problems.error_hint(placed.spec.image_at, format!("`{other}` is no container of another stack"), hint);
        }
    }
    let mut wanted = images::Wanted::new();
    let mut addresses = HashMap::new();
    for (name, placed) in containers {
        let Placed { engine_name, external, spec: container } = placed;
        note_image(&container, &mut wanted, problems);
        secrets.bring(&container.spec.mounts, &mut desired, problems, watched);
        let spec = join(&name, container, &default, &desired, &secrets, &mut addresses, problems);
        desired.containers.insert(name, Placed { engine_name, external, spec });
    }
    undeclared_images(wanted, &mut desired, problems);
    Some((desired, origins))
}

/// What the containers' descriptions say beside what is desired of them.
fn origins(declared: &Declared) -> Origins {
    let mut origins = Origins::default();
    for container in &declared.containers {
        let Container { profiles, optional, depends_on, .. } = &container.body;
        if !profiles.is_empty() {
            origins.profiles.insert(container.name.clone(), profiles.iter().cloned().collect());
        }
        let there = |name: &&Name| depends_on.iter().any(|(known, _)| known == *name);
        let optional: BTreeSet<Name> = optional.iter().filter(there).cloned().collect();
        if !optional.is_empty() {
            origins.optional.insert(container.name.clone(), optional);
        }
    }
    origins
}

/// Declared, but not readable: kind and name.
type Broken = [(&'static str, Name)];

fn is_broken(broken: &Broken, kind: &str, name: &Name) -> bool {
    broken.iter().any(|(known_kind, known)| *known_kind == kind && known == name)
}

type Places = HashMap<(&'static str, Name), Place>;

/// Reports a resource that is declared twice.
fn once(kind: &'static str, name: &Name, at: Place, places: &mut Places, problems: &mut Problems) {
    if let Some(first) = places.get(&(kind, name.clone())) {
        let hint = format!("the first is in {}", problems.show(*first));
        problems.error_hint(at, format!("the {kind} `{name}` is declared twice"), hint);
    } else {
        places.insert((kind, name.clone()), at);
    }
}

fn place<T>(
    stack: &Name,
    kind: &'static str,
    resources: Vec<Resource<T>>,
    places: &mut Places,
    problems: &mut Problems,
) -> BTreeMap<Name, Placed<T>> {
    let mut placed = BTreeMap::new();
    for Resource { name, at, engine_name, external, body } in resources {
        once(kind, &name, at, places, problems);
        let engine_name = match engine_name {
            Some(engine_name) => engine_name,
            // What belongs to somebody else is not named after this stack.
            None if external => name.clone(),
            None => match stack.join(&name) {
                Ok(joined) => joined,
                Err(_) => {
                    let hint = "give it a shorter name, or a `name` of its own";
                    problems.error_hint(at, format!("`{stack}-{name}` is too long for a name"), hint);
                    continue;
                }
            },
        };
        placed.insert(name, Placed { engine_name, external, spec: body });
    }
    placed
}

fn unique_engine_names<T>(kind: &'static str, resources: &BTreeMap<Name, Placed<T>>, places: &Places, problems: &mut Problems) {
    let mut known: HashMap<&Name, &Name> = HashMap::new();
    for (name, placed) in resources {
        if let Some(other) = known.insert(&placed.engine_name, name)
            && let Some(at) = places.get(&(kind, name.clone()))
        {
            let message = format!("the {kind}s `{other}` and `{name}` have the same name `{}`", placed.engine_name);
            problems.error_hint(*at, message, "change the `name` or `container_name` of one of them");
        }
    }
}

/// The container that each image is committed from, by the image's reference. Reports those that never complete.
fn commits(
    desired: &Desired,
    sources: &BTreeMap<Name, Place>,
    containers: &BTreeMap<Name, Placed<Container>>,
    broken: &Broken,
    problems: &mut Problems,
) -> HashMap<ImageRef, (Name, Place)> {
    let mut commits = HashMap::new();
    for (name, image) in &desired.images {
        let (ImageSource::Commit(commit), Some(at)) = (&image.source, sources.get(name)) else { continue };
        let container = &commit.container;
        match containers.get(container) {
            Some(source) if source.spec.spec.restart.keeps_running() => {
                let hint = format!("give `{container}` another `restart` policy than `{}`", source.spec.spec.restart);
                problems.error_hint(*at, format!("`{container}` never completes: it is always restarted"), hint);
            }
            Some(_) => {
                commits.insert(image.reference.clone(), (container.clone(), *at));
            }
            None if is_broken(broken, "container", container) => {}
            None => {
                let hint = did_you_mean(container.as_str(), containers.keys().map(Name::as_str))
                    .unwrap_or_else(|| "an image is committed from a container of the same stack".to_owned());
                problems.error_hint(*at, format!("there is no container `{container}`"), hint);
            }
        }
    }
    commits
}

/// Reports dependencies on what is not there, on what can never be as wanted, and in circles. A container of an image that is
/// committed from another one depends on that, too.
fn dependencies(
    containers: &BTreeMap<Name, Placed<Container>>,
    commits: &HashMap<ImageRef, (Name, Place)>,
    broken: &Broken,
    problems: &mut Problems,
) {
    let mut graph: DiGraph<&Name, ()> = DiGraph::new();
    let nodes: BTreeMap<&Name, NodeIndex> = containers.keys().map(|name| (name, graph.add_node(name))).collect();
    for (name, placed) in containers {
        let source = commits.get(&placed.spec.spec.image).and_then(|(other, _)| nodes.get(other));
        if let (Some(from), Some(to)) = (nodes.get(name), source) {
            graph.add_edge(*from, *to, ());
        }
        let spec = &placed.spec.spec;
        let after = [("update_after", &spec.update_after), ("rollback_after", &spec.rollback_after)];
        let after = after.into_iter().filter_map(|(field, other)| Some((field, other.as_ref()?)));
        for (field, other) in after.filter(|(_, other)| !containers.contains_key(*other)) {
            let hint = did_you_mean(other.as_str(), containers.keys().map(Name::as_str))
                .unwrap_or_else(|| format!("`{field}` names a container of the same stack"));
            problems.error_hint(placed.spec.image_at, format!("there is no container `{other}` to be replaced after"), hint);
        }
        for (other, at) in &placed.spec.depends_on {
            let Some(target) = containers.get(other) else {
                if is_broken(broken, "container", other) {
                    continue;
                }
                let hint = did_you_mean(other.as_str(), containers.keys().map(Name::as_str))
                    .unwrap_or_else(|| "containers depend on containers of the same stack".to_owned());
                problems.error_hint(*at, format!("there is no container `{other}`"), hint);
                continue;
            };
            if let (Some(from), Some(to)) = (nodes.get(name), nodes.get(other)) {
                graph.add_edge(*from, *to, ());
            }
            let target = &target.spec.spec;
            let condition = placed.spec.spec.depends_on.get(other).map(|d| d.condition).unwrap_or_default();
            match condition {
                Condition::ServiceHealthy if target.healthcheck.as_ref().is_some_and(|c| c.test == Probe::None) => {
                    let hint = format!("give `{other}` a `test`, or wait for `service_started`");
                    problems.error_hint(*at, format!("`{other}` is never healthy: its health check is disabled"), hint);
                }
                Condition::ServiceCompletedSuccessfully if target.restart.keeps_running() => {
                    let hint = format!("give `{other}` another `restart` policy than `{}`", target.restart);
                    problems.error_hint(*at, format!("`{other}` never completes: it is always restarted"), hint);
                }
                _ => {}
            }
        }
    }
    for circle in petgraph::algo::tarjan_scc(&graph) {
        let Some(first) = circle.iter().min_by_key(|node| graph[**node]).copied() else { continue };
        if circle.len() == 1 && !graph.contains_edge(first, first) {
            continue;
        }
        let path: Vec<&Name> = walk(&graph, first).into_iter().map(|node| graph[node]).collect();
        let [start, next, ..] = path.as_slice() else { continue };
        let Some(first) = containers.get(*start).map(|placed| &placed.spec) else { continue };
        let named = first.depends_on.iter().find(|(other, _)| other == *next).map(|(_, at)| *at);
        let committed = || commits.get(&first.spec.image).filter(|(other, _)| other == *next).map(|(_, at)| *at);
        let shown: Vec<&str> = path.iter().map(|name| name.as_str()).collect();
        let way = shown.join(" → ");
        match (named, named.or_else(committed)) {
            (Some(at), _) => {
                let message = format!("containers depend on each other in a circle: {way}");
                problems.error_hint(at, message, "remove one of these dependencies");
            }
            (None, Some(at)) => {
                let message = format!("this image is committed from a container that needs it first: {way}");
                problems.error_hint(at, message, "give the container that is committed another image");
            }
            (None, None) => {}
        }
    }
}

/// A shortest way from `first` back to it.
fn walk(graph: &DiGraph<&Name, ()>, first: NodeIndex) -> Vec<NodeIndex> {
    let mut from: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut queue = std::collections::VecDeque::from([first]);
    while let Some(at) = queue.pop_front() {
        for next in graph.neighbors(at) {
            if next == first {
                let mut path = vec![first, at];
                let mut step = at;
                while let Some(before) = from.get(&step) {
                    path.push(*before);
                    step = *before;
                }
                path.dedup();
                path.reverse();
                if at == first {
                    path.push(first);
                }
                return path;
            }
            if next != first && !from.contains_key(&next) {
                from.insert(next, at);
                queue.push_back(next);
            }
        }
    }
    vec![first]
}

/// What another stack has is not this one's.
fn not_own(stack: &Name, external: Option<&Elsewhere>, at: Place, problems: &mut Problems) {
    if let Some(external) = external.filter(|external| external.stack == *stack) {
        problems.error_hint(at, format!("`{external}` is of this stack"), format!("use `{}` itself", external.name));
    }
}

/// A container's spec with the engine's names of networks and volumes, and the digests of configs.
fn join(
    name: &Name,
    container: Container,
    default: &Name,
    desired: &Desired,
    secrets: &Secrets<'_>,
    addresses: &mut HashMap<(Name, IpAddr), Name>,
    problems: &mut Problems,
) -> ContainerSpec {
    let Container { mut spec, networks, mounts: places, image_at, .. } = container;
    let unknown = |problems: &mut Problems, at: Place, kind: &str, name: &Name, known: Vec<&str>| {
        if is_broken(secrets.broken, kind, name) {
            return;
        }
        let hint = did_you_mean(name.as_str(), known).unwrap_or_else(|| match kind {
            "volume" => "declare it, or begin a path of the host with `./` or `/`".to_owned(),
            _ => format!("declare the {kind}"),
        });
        problems.error_hint(at, format!("there is no {kind} `{name}`"), hint);
    };
    if spec.network_mode == NetworkMode::Bridge {
        let mut may_have_ipv6 = false;
        let networks = networks
            .filter(|networks| !networks.is_empty())
            .unwrap_or_else(|| vec![(default.clone(), image_at, Default::default())]);
        for (network, at, attachment) in networks {
            let Some(placed) = desired.networks.get(&network) else {
                unknown(problems, at, "network", &network, desired.networks.keys().map(Name::as_str).collect());
                continue;
            };
            for address in attachment.fixed() {
                fixed_address(name, &network, address, placed, at, addresses, problems);
            }
            spec.networks.insert(placed.engine_name.clone(), attachment);
            may_have_ipv6 |= placed.external || placed.spec.ipv6.is_some();
        }
        if !may_have_ipv6 {
            // All addresses of IPv4 are all that there are.
            spec.ports = std::mem::take(&mut spec.ports).into_iter().map(PortMapping::at_all_of_ipv4).collect();
        }
    }
    for (mount, at) in spec.mounts.iter_mut().zip(places) {
        match mount {
            Mount::Volume { source, .. } => match desired.volumes.get(source) {
                Some(placed) => *source = placed.engine_name.clone(),
                None => unknown(problems, at, "volume", source, desired.volumes.keys().map(Name::as_str).collect()),
            },
            Mount::Config { source, digest, secret: true, .. } => match desired.secrets.get(source) {
                Some(secret) => *digest = secret.digest(),
                None if secrets.has(source) => {}
                None => unknown(problems, at, "secret", source, secrets.names()),
            },
            Mount::Config { source, digest, .. } => match desired.configs.get(source) {
                Some(config) => *digest = config.digest(),
                None => unknown(problems, at, "config", source, desired.configs.keys().map(Name::as_str).collect()),
            },
            Mount::Anonymous { .. } | Mount::Bind { .. } | Mount::Tmpfs { .. } => {}
        }
    }
    spec
}

fn fixed_address(
    container: &Name,
    network: &Name,
    address: IpAddr,
    placed: &Placed<NetworkSpec>,
    at: Place,
    addresses: &mut HashMap<(Name, IpAddr), Name>,
    problems: &mut Problems,
) {
    if !placed.external {
        let spec = &placed.spec;
        // The subnet, its gateway, and whether the address is one for containers.
        let found = match (address, &spec.ipv6) {
            (IpAddr::V4(_), _) if spec.ipv6_only => None,
            (IpAddr::V4(ip), _) => {
                Some(spec.subnet.map(|subnet| (subnet.to_string(), spec.gateway_in(subnet).into(), spec.is_host(subnet, ip))))
            }
            (IpAddr::V6(_), None) => None,
            (IpAddr::V6(ip), Some(six)) => {
                Some(six.subnet.map(|subnet| (subnet.to_string(), IpAddr::from(six.gateway_in(subnet)), six.is_host(subnet, ip))))
            }
        };
        match found {
            None => {
                let (family, field) = if address.is_ipv4() { ("IPv4", "enable_ipv4") } else { ("IPv6", "enable_ipv6") };
                let hint = format!("give the network `{field}: true`, or remove the address");
                problems.error_hint(at, format!("`{network}` has no {family}"), hint);
            }
            Some(None) => {
                let subnet = if address.is_ipv4() { "10.5.0.0/24" } else { "fd00:5::/64" };
                let hint = format!("give the network a subnet: `ipam: {{config: [{{subnet: {subnet}}}]}}`");
                problems.error_hint(at, format!("a fixed address needs a fixed subnet, and `{network}` has none"), hint);
            }
            Some(Some((subnet, gateway, false))) => {
                let hint = format!("the subnet is {subnet}, and {gateway} is its gateway");
                problems.error_hint(at, format!("{address} is not an address for containers of `{network}`"), hint);
            }
            Some(Some((.., true))) => {}
        }
    }
    if let Some(other) = addresses.insert((network.clone(), address), container.clone()) {
        problems.error(at, format!("{address} is the address of `{other}` already"));
    }
}
