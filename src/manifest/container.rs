//! Reads a container: a manifest's `spec` and a compose file's service alike.

use std::collections::BTreeSet;

use crate::model::spec::{ContainerSpec, Dependency, NetworkMode};
use crate::model::{ImageRef, Name, Platform, PullPolicy};

use super::declared::{Container, ContainerBuild, Resource};
use super::problem::Place;
use super::reader::Reader;
use super::tree::Node;
use super::{builds, confine, connections, fields, health, images, lifecycle, limits, logging, updates};

/// Runtimes that do what setpoint does itself: to name one of them changes nothing.
pub(super) const RUNTIMES: [&str; 3] = ["runc", "crun", "youki"];

/// Reads a container called `name`. `None` only when not even its image could be read.
pub(super) fn read(reader: &mut Reader, name: Name, at: Place, node: &Node) -> Option<Resource<Container>> {
    let f = reader.fields(node, &fields::CONTAINER)?;
    let image = f.get("image").and_then(|node| reader.parse::<ImageRef>(node));
    let build = f.get("build").map(|node| builds::build(reader, node));
    if f.get("image").is_none() && build.is_none() {
        let at = f.place("image");
        reader.error_hint(at, "a container needs the field `image`", "the image it is made from, or `build`");
    }
    // Everything else is read even without an image, so that all its problems are told at once.
    let placeholder: ImageRef = "unknown".parse().ok()?;
    let mut spec = ContainerSpec::new(image.clone().unwrap_or(placeholder));

    spec.entrypoint = f.get("entrypoint").and_then(|node| reader.command(node));
    spec.command = f.get("command").and_then(|node| reader.command(node));
    if let Some(node) = f.get("env_file") {
        spec.environment = super::files::env_files(reader, node);
    }
    if let Some(node) = f.get("environment") {
        spec.environment.extend(reader.environment(node));
    }
    spec.working_dir = f.get("working_dir").and_then(|node| working_dir(reader, node));
    spec.user = f.get("user").and_then(|node| reader.word(node)).map(str::to_owned);
    spec.hostname = f.get("hostname").and_then(|node| connections::host_name(reader, node));
    spec.tty = f.get("tty").and_then(|node| reader.boolean(node)).unwrap_or_default();
    spec.stdin_open = f.get("stdin_open").and_then(|node| reader.boolean(node)).unwrap_or_default();
    spec.stdin_once = f.get("stdin_once").and_then(|node| reader.boolean(node)).unwrap_or_default();
    spec.labels = f.get("label_file").map(|node| confine::label_files(reader, node)).unwrap_or_default();
    if let Some(node) = f.get("labels") {
        spec.labels.extend(reader.labels(node));
    }
    spec.read_only = f.get("read_only").and_then(|node| reader.boolean(node)).unwrap_or_default();
    if let Some(node) = f.get("restart") {
        spec.restart = lifecycle::restart(reader, node).unwrap_or_default();
    }
    spec.healthcheck = f.get("healthcheck").and_then(|node| health::healthcheck(reader, node));
    spec.logging = f.get("logging").and_then(|node| logging::logging(reader, node)).unwrap_or_default();
    spec.limits = limits::limits(reader, &f);
    spec.stop_signal = f.get("stop_signal").and_then(|node| reader.parse(node));
    if let Some(period) = f.get("stop_grace_period").and_then(|node| reader.parse(node)) {
        spec.stop_grace_period = period;
    }
    spec.post_start = f.get("post_start").map(|node| lifecycle::hooks(reader, node)).unwrap_or_default();
    spec.pre_stop = f.get("pre_stop").map(|node| lifecycle::hooks(reader, node)).unwrap_or_default();
    if let Some(node) = f.get("isolation") {
        reader.choice(node, &[("default", ())]);
    }
    if let Some(node) = f.get("runtime") {
        runtime(reader, node);
    }
    spec.cap_add = f.get("cap_add").map(|node| limits::capabilities(reader, node)).unwrap_or_default();
    spec.cap_drop = f.get("cap_drop").map(|node| limits::capabilities(reader, node)).unwrap_or_default();
    spec.ulimits = f.get("ulimits").map(|node| limits::ulimits(reader, node)).unwrap_or_default();
    spec.sysctls = f.get("sysctls").map(|node| limits::sysctls(reader, node)).unwrap_or_default();
    spec.extra_hosts = f.get("extra_hosts").map(|node| connections::extra_hosts(reader, node)).unwrap_or_default();

    let shared = confine::read(reader, &f, &mut spec);
    let networks = f.get("networks").map(|node| connections::networks(reader, node));
    if let Some(address) = f.get("networks").and_then(|node| connections::link_address(reader, node)) {
        if spec.mac_address.is_some_and(|known| known != address) {
            reader.error_hint(f.place("mac_address"), format!("its link has the address {address} too"), "remove one of the two");
        }
        spec.mac_address = Some(address);
    }
    let (ports, ranges) = f.get("ports").map(|node| connections::ports(reader, node)).unwrap_or_default();
    spec.ports = ports;
    if spec.network_mode != NetworkMode::Bridge {
        for (name, present) in [("networks", networks.is_some()), ("ports", !spec.ports.is_empty() || !ranges.is_empty())] {
            if present {
                let at = f.place(name);
                reader.error_hint(at, format!("`{name}` cannot stand beside this `network_mode`"), "remove one of the two");
            }
        }
    }

    let mounts = super::mounts::read(reader, &f, &mut spec.mounts);
    let mut optional = BTreeSet::new();
    let mut depends_on: Vec<(Name, Place)> =
        f.get("depends_on").map(|node| lifecycle::depends_on(reader, node, &mut spec, &mut optional)).unwrap_or_default();
    // Compose has no word for containers of other stacks, and leaves `x-` fields to others.
    let extension = f.get("x-setpoint").and_then(|node| reader.fields(node, &fields::CONTAINER_EXTENSION));
    if let Some(node) = extension.as_ref().and_then(|f| f.get("depends_on")) {
        depends_on.extend(lifecycle::depends_on(reader, node, &mut spec, &mut optional));
    }
    let mut links = Vec::new();
    for item in f.get("links").map(|node| reader.list(node)).unwrap_or_default() {
        let Some(text) = reader.text(item) else { continue };
        let (name, alias) = text.split_once(':').map_or((text, None), |(name, alias)| (name, Some(alias)));
        let Some(name) = reader.parse_text::<Name>(item.at, name) else { continue };
        if let Some(alias) = alias.filter(|alias| *alias != name.as_str()) {
            links.push((name.clone(), alias.to_owned()));
        }
        if !spec.depends_on.contains_key(&name) {
            spec.depends_on.insert(name.clone(), Dependency::default());
            depends_on.push((name, item.at));
        }
    }
    let profiles = f.get("profiles").map(|node| reader.list(node)).unwrap_or_default();
    let profiles = profiles.iter().filter_map(|item| reader.text(item).map(str::to_owned)).collect();
    let deploy = f.get("deploy").and_then(|node| reader.fields(node, &fields::DEPLOY));
    let policy = deploy.as_ref().and_then(|deploy| deploy.get("restart_policy"));
    if let Some(policy) = policy.and_then(|node| lifecycle::restart_policy(reader, node))
        && f.get("restart").is_none()
    {
        spec.restart = policy;
    }
    let replicas = lifecycle::replicas(reader, &f, deploy.as_ref());
    let update = deploy.as_ref().and_then(|deploy| deploy.get("update_config"));
    let update = update.map(|node| updates::update(reader, node)).unwrap_or_default();
    let rollback = deploy.as_ref().and_then(|deploy| deploy.get("rollback_config"));
    let rollback = rollback.map(|node| updates::rollback(reader, node));
    spec.update_after = f.get("update_after").and_then(|node| reader.parse(node));
    spec.rollback_after = f.get("rollback_after").and_then(|node| reader.parse(node));
    let pre_start = f.get("pre_start").map(|node| lifecycle::pre_start(reader, node)).unwrap_or_default();
    for (name, at) in shared {
        if !spec.depends_on.contains_key(&name) {
            spec.depends_on.insert(name.clone(), Dependency::default());
            depends_on.push((name, at));
        }
    }
    let is_built = build.is_some();
    let pull_policy = f.get("pull_policy").and_then(|node| pull_policy(reader, node, is_built));
    let platform = f.get("platform").and_then(|node| Some((reader.parse(node)?, node.at)));
    let engine_name = f.get("container_name").and_then(|node| reader.parse(node));
    let image_at = f.get("image").map_or(f.at, |node| node.at);
    let unread = f.get("image").is_some() && image.is_none();
    let build = match build {
        // What could not be read of either has been told.
        Some(None) => return None,
        Some(Some(read)) if !unread => {
            if let Some(reference) = image.as_ref().filter(|reference| reference.digest().is_some()) {
                let message = format!("`{reference}` has a digest: that cannot be chosen");
                reader.error_hint(image_at, message, "write a tag only");
            }
            Some(for_container(reader, read, image, platform.as_ref()))
        }
        _ => {
            image?;
            None
        }
    };
    let platform = platform.filter(|_| !is_built);
    Some(Resource {
        name,
        at,
        engine_name,
        external: false,
        body: Container {
            spec,
            image_at,
            build,
            pull_policy,
            platform,
            networks,
            mounts,
            depends_on,
            optional,
            links,
            profiles,
            replicas,
            update,
            rollback,
            parallelism: (None, None),
            pre_start,
            ranges,
        },
    })
}

/// A folder in the container.
pub(super) fn working_dir(reader: &mut Reader, node: &Node) -> Option<String> {
    let text = reader.text(node)?;
    if !text.starts_with('/') {
        reader.error(node.at, format!("`{text}` is not a path within the container: it must begin with `/`"));
        return None;
    }
    Some(text.to_owned())
}

fn runtime(reader: &mut Reader, node: &Node) {
    let Some(text) = reader.text(node) else { return };
    if RUNTIMES.contains(&text) {
        let hint = Some("remove it: setpoint is its own runtime".to_owned());
        reader.problems.warn(node.at, "`runtime` is without effect", hint);
    } else {
        let hint = "remove it: setpoint is its own runtime, and runs programs of this host's kernel";
        reader.error_hint(node.at, format!("the runtime `{text}` is not supported"), hint);
    }
}

/// When to ask the registry. What is built is built again when it has changed, which `build` says too.
fn pull_policy(reader: &mut Reader, node: &Node, is_built: bool) -> Option<(PullPolicy, Place)> {
    if !is_built {
        return Some((images::policy(reader, node)?, node.at));
    }
    if reader.text(node)? != "build" {
        let hint = "remove it, or `build`: an image is built when its sources have changed";
        reader.error_hint(node.at, "`pull_policy` is for images that are pulled, and this one is built", hint);
    }
    None
}

/// The image of a container is for the container's platform, unless it is for several.
fn for_container(
    reader: &mut Reader,
    mut read: builds::Read,
    reference: Option<ImageRef>,
    platform: Option<&(Platform, Place)>,
) -> ContainerBuild {
    if let Some((platform, at)) = platform {
        if read.build.platforms.is_empty() {
            read.build.platforms.push(platform.clone());
        } else if !read.build.platforms.contains(platform) {
            let hint = "add it to the `platforms` of the build, or remove it";
            reader.error_hint(*at, format!("the image is not built for `{platform}`"), hint);
        }
    }
    ContainerBuild { read, reference }
}
