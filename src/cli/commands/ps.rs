//! `ps`: containers, those that are asked for, in the form that is asked for.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::cli::args::PsArgs;
use crate::cli::error::CliError;
use crate::cli::format::Format;
use crate::cli::output::Output;
use crate::cli::pattern::NamePattern;
use crate::cli::render::containers::{self, KIND, SHOWN, SHOWN_WITH_SIZE};
use crate::cli::select::{Filters, InvalidFilter, Wanted, invalid};
use crate::client::Client;
use crate::model::spec::{Mount, NetworkMode};
use crate::model::{ImageRef, Protocol};
use crate::observed::{Container, ContainerState, Health, Network};

const FILTERS: &[&str] = &[
    "id", "name", "label", "status", "health", "ancestor", "network", "volume", "exited", "before", "since", "publish", "expose",
];
const STATUS: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const HEALTH: &[&str] = &["none", "starting", "healthy", "unhealthy"];

pub(super) async fn ps(client: &Client, args: &PsArgs, output: Output) -> Result<i32, CliError> {
    let filters = Filters::new(&args.filter, FILTERS)?;
    let format = args.format.clone().unwrap_or_default();
    KIND.check(&format)?;
    let mut all = client.containers().await?;
    all.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.name.cmp(&b.name)));
    let networks = if filters.has("network") { client.networks().await? } else { Vec::new() };
    let asked = Asked::new(&filters, &all, &networks)?;
    let last = if args.latest { Some(1) } else { args.last.and_then(|n| usize::try_from(n).ok()) };
    // Whoever asks for a status, or for the last ones, means those that do not run, too.
    let any_state = args.all || last.is_some() || filters.has("status") || filters.has("exited");
    let shown = all.iter().filter(|container| any_state || container.state.is_alive()).filter(|container| asked.takes(container));
    let shown: Vec<&Container> = shown.take(last.unwrap_or(usize::MAX)).collect();
    if args.json {
        output.json(&shown)?;
        return Ok(0);
    }
    let sizes = if args.size { client.sizes().await? } else { BTreeMap::new() };
    let now = OffsetDateTime::now_utc();
    let rows: Vec<_> =
        shown.iter().map(|container| containers::row(container, sizes.get(&container.id), now, args.no_trunc)).collect();
    let text = if args.quiet && args.format.as_ref().is_none_or(|format| *format == Format::Table) {
        KIND.only(&rows, "ID")
    } else {
        KIND.render(&rows, &format, if args.size { SHOWN_WITH_SIZE } else { SHOWN }, output.colour)?
    };
    output.text(text)?;
    Ok(0)
}

/// What all filters ask for.
struct Asked<'a> {
    filters: &'a Filters<'a>,
    id: Wanted<String>,
    name: Wanted<NamePattern>,
    status: Wanted<String>,
    health: Wanted<String>,
    ancestor: Wanted<(String, Option<ImageRef>)>,
    /// Names of networks.
    network: Wanted<String>,
    volume: Wanted<String>,
    exited: Wanted<i32>,
    before: Wanted<OffsetDateTime>,
    since: Wanted<OffsetDateTime>,
    publish: Wanted<Ports>,
    expose: Wanted<Ports>,
}

/// A range of ports of a protocol.
struct Ports {
    first: u16,
    last: u16,
    protocol: Protocol,
}

impl<'a> Asked<'a> {
    fn new(filters: &'a Filters<'a>, all: &[Container], networks: &[Network]) -> Result<Self, InvalidFilter> {
        let text = |value: &str| Ok(value.to_owned());
        let one_of = |key: &'static str, known: &'static [&'static str], expected: &'static str| {
            move |value: &str| if known.contains(&value) { Ok(value.to_owned()) } else { Err(invalid(key, value, expected)) }
        };
        let created = |key: &'static str| {
            move |value: &str| {
                let meant = |c: &&Container| c.name.as_str() == value || (!value.is_empty() && c.id.as_str().starts_with(value));
                all.iter()
                    .find(meant)
                    .map(|container| container.created)
                    .ok_or_else(|| invalid(key, value, "a container that is there"))
            }
        };
        Ok(Self {
            id: filters.read("id", text)?,
            name: filters.read("name", |value| {
                // Docker's names begin with a slash, which some patterns name.
                let pattern = NamePattern::new(&value.replacen("^/", "^", 1));
                pattern.map_err(|source| InvalidFilter::Pattern { key: "name".to_owned(), source })
            })?,
            status: filters
                .read("status", one_of("status", STATUS, "created, running, paused, restarting, removing, exited or dead"))?,
            health: filters.read("health", one_of("health", HEALTH, "none, starting, healthy or unhealthy"))?,
            ancestor: filters.read("ancestor", |value| Ok((value.to_owned(), value.parse().ok())))?,
            network: filters.read("network", |value| {
                let by_id = networks.iter().find(|network| value.len() >= 4 && network.id.starts_with(value));
                Ok(by_id.map_or_else(|| value.to_owned(), |network| network.name.to_string()))
            })?,
            volume: filters.read("volume", text)?,
            exited: filters.read("exited", |value| value.parse().map_err(|_| invalid("exited", value, "an exit code")))?,
            before: filters.read("before", created("before"))?,
            since: filters.read("since", created("since"))?,
            publish: filters
                .read("publish", |value| Ports::parse(value).ok_or_else(|| invalid("publish", value, Ports::FORM)))?,
            expose: filters.read("expose", |value| Ports::parse(value).ok_or_else(|| invalid("expose", value, Ports::FORM)))?,
            filters,
        })
    }

    fn takes(&self, container: &Container) -> bool {
        let spec = &container.spec;
        self.filters.take_labels(&spec.labels)
            && self.id.takes(|id| container.id.as_str().starts_with(id.as_str()))
            && self.name.takes(|pattern| pattern.matches(container.name.as_str()))
            && self.status.takes(|status| containers::state(container) == status)
            && self.health.takes(|health| health_of(container) == health)
            && self.ancestor.takes(|(text, reference)| is_of(container, text, reference.as_ref()))
            && self.network.takes(|network| is_in(container, network))
            && self.volume.takes(|volume| spec.mounts.iter().any(|mount| is_mount(mount, volume)))
            && self.exited.takes(|wanted| matches!(container.state, ContainerState::Exited { code, .. } if code == *wanted))
            && self.before.takes(|time| container.created < *time)
            && self.since.takes(|time| container.created > *time)
            && self.publish.takes(|ports| {
                container.ports.iter().any(|port| port.protocol == ports.protocol && port.host_port.is_some_and(|p| ports.has(p)))
            })
            && self.expose.takes(|ports| {
                let mut known = spec.ports.iter().chain(&container.ports);
                known.any(|port| port.protocol == ports.protocol && ports.has(port.container_port))
            })
    }
}

impl Ports {
    const FORM: &'static str = "PORT[-PORT][/tcp|/udp]";

    fn parse(text: &str) -> Option<Self> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return None,
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last).then_some(Self { first, last, protocol })
    }

    fn has(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

const fn health_of(container: &Container) -> &'static str {
    match &container.state {
        ContainerState::Running { health: Health::Starting, .. } => "starting",
        ContainerState::Running { health: Health::Healthy, .. } => "healthy",
        ContainerState::Running { health: Health::Unhealthy, .. } => "unhealthy",
        _ => "none",
    }
}

/// By the reference that it was made from, or by the digest of its image or the beginning of that.
fn is_of(container: &Container, text: &str, reference: Option<&ImageRef>) -> bool {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    (digits.len() >= 4 && container.image_digest.hex().starts_with(digits))
        || reference
            .is_some_and(|reference| *reference == container.spec.image || reference.digest() == Some(container.image_digest))
}

fn is_in(container: &Container, network: &str) -> bool {
    match container.spec.network_mode {
        NetworkMode::Host => network == "host",
        NetworkMode::None => network == "none",
        _ => container.spec.networks.keys().any(|name| name.as_str() == network),
    }
}

/// By the name of a volume, the path on the host, or the place in the container.
fn is_mount(mount: &Mount, text: &str) -> bool {
    let source = match mount {
        Mount::Volume { source, .. } => source.as_str() == text,
        Mount::Bind { source, .. } => source.as_os_str() == text,
        _ => false,
    };
    source || mount.target().trim_end_matches('/') == text.trim_end_matches('/')
}
