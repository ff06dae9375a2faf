//! What a change of each field of a container takes: the one table from which plans, messages and tests are made.
//!
//! A container's writable layer is what its command has made of its image, so what the command sees of its specification when it
//! begins makes another container. What only the kernel enforces takes a new process and leaves that layer alone, and what can be
//! told to the kernel or to the monitor while the process runs takes nothing of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{ContainerSpec, Mount, OnChange};
use crate::model::{Digest, Signal};

/// The least disruptive way in which a change becomes real, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// The planner itself is all that uses the field.
    Nothing,
    /// While the container runs: its process stays.
    Live,
    /// So too, and its process is sent a signal.
    Reload,
    /// Its process ends and another one starts. The writable layer, addresses and logs stay.
    Restart,
    /// Stop, remove, create and start: the writable layer goes.
    Recreate,
}

impl Change {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Live => "live",
            Self::Reload => "reload",
            Self::Restart => "restart",
            Self::Recreate => "recreate",
        }
    }
}

/// Where it is seen whether what is in force is what was declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// In what the container was made or started from, as it is recorded: the kernel tells nobody else, and lets nobody change it.
    Record,
    /// In the values of its cgroup.
    Cgroup,
    /// In its mounts, as its own process has them, and the files that are mounted.
    Mounts,
    /// In the links and addresses that it has.
    Links,
    /// In the packet filter.
    Filter,
    /// In the image that its reference names.
    Images,
}

impl Seen {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Cgroup => "cgroup",
            Self::Mounts => "mounts",
            Self::Links => "links",
            Self::Filter => "packet filter",
            Self::Images => "images",
        }
    }
}

/// One field of [`ContainerSpec`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As users write it.
    pub name: &'static str,
    pub change: Change,
    pub seen: Seen,
}

const fn field(name: &'static str, change: Change, seen: Seen) -> Field {
    Field { name, change, seen }
}

/// Every field. Mounts are the strictest of what differs in them, which [`mount_change`] says.
pub const FIELDS: [Field; 59] = [
    field("image", Change::Recreate, Seen::Images),
    field("entrypoint", Change::Recreate, Seen::Record),
    field("command", Change::Recreate, Seen::Record),
    field("environment", Change::Recreate, Seen::Record),
    field("working_dir", Change::Recreate, Seen::Record),
    field("user", Change::Recreate, Seen::Record),
    field("hostname", Change::Recreate, Seen::Record),
    field("tty", Change::Restart, Seen::Record),
    field("stdin_open", Change::Restart, Seen::Record),
    field("stdin_once", Change::Restart, Seen::Record),
    field("labels", Change::Live, Seen::Record),
    field("mounts", Change::Recreate, Seen::Mounts),
    field("network_mode", Change::Recreate, Seen::Record),
    field("networks", Change::Live, Seen::Links),
    field("ports", Change::Live, Seen::Filter),
    // It says when a container is started, not what it is; the next start obeys what is declared then.
    field("depends_on", Change::Nothing, Seen::Record),
    field("depends_beyond", Change::Nothing, Seen::Record),
    field("update_after", Change::Nothing, Seen::Record),
    field("rollback_after", Change::Nothing, Seen::Record),
    // They say how a container is replaced; the next replacement obeys what is declared then.
    field("update_config", Change::Nothing, Seen::Record),
    field("rollback_config", Change::Nothing, Seen::Record),
    field("healthcheck", Change::Live, Seen::Record),
    field("restart", Change::Live, Seen::Record),
    field("logging", Change::Live, Seen::Record),
    field("limits", Change::Live, Seen::Cgroup),
    field("stop_signal", Change::Live, Seen::Record),
    field("stop_grace_period", Change::Live, Seen::Record),
    field("cap_add", Change::Restart, Seen::Record),
    field("cap_drop", Change::Restart, Seen::Record),
    field("read_only", Change::Restart, Seen::Record),
    field("sysctls", Change::Restart, Seen::Record),
    field("ulimits", Change::Restart, Seen::Record),
    field("extra_hosts", Change::Live, Seen::Record),
    field("init", Change::Restart, Seen::Record),
    field("domainname", Change::Restart, Seen::Record),
    field("privileged", Change::Restart, Seen::Record),
    field("security_opt", Change::Restart, Seen::Record),
    field("pid", Change::Restart, Seen::Record),
    field("ipc", Change::Restart, Seen::Record),
    field("uts", Change::Restart, Seen::Record),
    field("cgroup", Change::Restart, Seen::Record),
    field("cgroup_parent", Change::Restart, Seen::Record),
    // Whose its files are is another number afterwards.
    field("userns", Change::Recreate, Seen::Record),
    field("shm_size", Change::Restart, Seen::Record),
    field("devices", Change::Restart, Seen::Record),
    field("device_cgroup_rules", Change::Restart, Seen::Record),
    field("group_add", Change::Restart, Seen::Record),
    field("volumes_from", Change::Recreate, Seen::Record),
    field("dns", Change::Live, Seen::Record),
    field("dns_search", Change::Live, Seen::Record),
    field("dns_opt", Change::Live, Seen::Record),
    field("mac_address", Change::Restart, Seen::Record),
    field("oom_score_adj", Change::Restart, Seen::Record),
    field("publish_all", Change::Live, Seen::Filter),
    field("external_links", Change::Live, Seen::Record),
    // What it does is done at a start only; the next stop obeys what is declared then.
    field("post_start", Change::Restart, Seen::Record),
    field("pre_stop", Change::Live, Seen::Record),
    // Written where a container is started, for tools that look there.
    field("annotations", Change::Restart, Seen::Record),
    // Of no effect but where all of them are published.
    field("expose", Change::Nothing, Seen::Filter),
];

/// What the change of a field takes, in a container that is to be `spec`.
pub fn class(name: &str, spec: &ContainerSpec) -> Change {
    if name == "expose" && spec.publish_all {
        return Change::Live;
    }
    // Which of its networks leads out is decided when it starts.
    if name == "networks" && spec.networks.values().any(|attachment| attachment.gw_priority != 0) {
        return Change::Restart;
    }
    FIELDS.iter().find(|field| field.name == name).map_or(Change::Recreate, |field| field.change)
}

/// What it takes when what is mounted at one place changes. `None`: nothing is mounted there.
pub fn mount_change(old: Option<&Mount>, new: Option<&Mount>) -> Change {
    match (old, new) {
        (old, new) if old == new => Change::Nothing,
        (Some(old), Some(new)) => match of_content(new) {
            // How a later change is to be told is told at once.
            Some(change) if at_rest(old) == at_rest(new) => {
                if content(old) == content(new) {
                    Change::Live
                } else {
                    change
                }
            }
            _ => Change::Recreate,
        },
        _ => Change::Recreate,
    }
}

/// The signals that tell the first process of files that have another content.
pub fn signals(old: &ContainerSpec, new: &ContainerSpec) -> Vec<Signal> {
    let before: BTreeMap<&str, &Mount> = old.mounts.iter().map(|mount| (mount.target(), mount)).collect();
    let mut signals = Vec::new();
    for mount in &new.mounts {
        let Some(on_change) = on_change(mount) else { continue };
        let OnChange::Signal(signal) = on_change else { continue };
        let before = before.get(mount.target()).copied();
        if mount_change(before, Some(mount)) == Change::Reload && !signals.contains(&signal) {
            signals.push(signal);
        }
    }
    signals
}

const fn on_change(mount: &Mount) -> Option<OnChange> {
    match mount {
        Mount::Config { on_change, .. } => Some(*on_change),
        Mount::Bind { watched: Some(watched), .. } => Some(watched.on_change),
        _ => None,
    }
}

fn of_content(mount: &Mount) -> Option<Change> {
    on_change(mount).map(OnChange::change)
}

const fn content(mount: &Mount) -> Option<Digest> {
    match mount {
        Mount::Config { digest, .. } => Some(*digest),
        Mount::Bind { watched: Some(watched), .. } => Some(watched.digest),
        _ => None,
    }
}

/// A mount without its content, and without what a change of it takes.
fn at_rest(mount: &Mount) -> Mount {
    let mut mount = mount.clone();
    match &mut mount {
        Mount::Config { digest, on_change, .. } => {
            (*digest, *on_change) = (Digest::from_bytes([0; 32]), OnChange::default());
        }
        Mount::Bind { watched, .. } => *watched = None,
        Mount::Volume { .. } | Mount::Anonymous { .. } | Mount::Tmpfs { .. } => {}
    }
    mount
}

/// The strictest change that is needed between two specifications.
pub fn strictest(old: &ContainerSpec, new: &ContainerSpec) -> Change {
    if old == new {
        return Change::Nothing;
    }
    // A specification is plain data, so both always have a JSON form.
    let (Some(before), Some(after)) = (named(old), named(new)) else { return Change::Recreate };
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let of_fields =
        names.into_iter().filter(|name| before.get(*name) != after.get(*name)).map(|name| class(name, new).max(class(name, old)));
    of_fields.max().unwrap_or(Change::Nothing).max(of_mounts(old, new))
}

/// All fields but the mounts.
fn named(spec: &ContainerSpec) -> Option<serde_json::Map<String, serde_json::Value>> {
    match serde_json::to_value(spec) {
        Ok(serde_json::Value::Object(mut fields)) => {
            fields.remove("mounts");
            Some(fields)
        }
        _ => None,
    }
}

/// What it takes that the mounts differ. Two that are mounted at different places need no order but that of their paths, which
/// they have in any specification.
pub fn of_mounts(old: &ContainerSpec, new: &ContainerSpec) -> Change {
    let by_target = |spec: &'_ ContainerSpec| -> BTreeMap<String, Mount> {
        spec.mounts.iter().map(|mount| (mount.target().to_owned(), mount.clone())).collect()
    };
    let (before, after) = (by_target(old), by_target(new));
    let targets: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    targets.into_iter().map(|target| mount_change(before.get(target), after.get(target))).max().unwrap_or(Change::Nothing)
}

/// The table as a page for people, in Markdown.
pub fn page() -> String {
    let mut page = String::from(
        "# What a change of each field takes\n\n\
         Made from the table in `src/model/spec/classes.rs`; a test keeps it fresh. The names are those of the resolved specification, \
         which `setpoint inspect` shows and plans speak of.\n\n\
         - **nothing**: only the planner uses the field.\n\
         - **live**: the container goes on running, with the same process.\n\
         - **reload**: so too, and its first process is sent a signal.\n\
         - **restart**: its process ends and another one starts; its writable layer, addresses, name and logs stay.\n\
         - **recreate**: it is removed and made anew: what it wrote outside of volumes goes.\n\n\
         *Seen in* says where it is looked at whether what is in force is what was declared, beside the record of what the container was \
         made from: what a container may change by itself (an address, where it has `NET_ADMIN`; a mount, where it has `SYS_ADMIN`) is its \
         own and is left alone.\n\n\
         | field | change | seen in |\n|---|---|---|\n",
    );
    for Field { name, change, seen } in FIELDS {
        page.push_str(&format!("| `{name}` | {} | {} |\n", change.as_str(), seen.as_str()));
    }
    page.push_str(
        "\nOf `mounts`, another content of a config, of a secret or of a watched path of the host takes what its `on_change` says: \
         `recreate` unless given (what a rollout in Kubernetes does where the name of a generated config has its content's hash), `restart`, \
         a signal such as `SIGHUP` (reload), or `nothing` (live). `expose` is live where `publish_all` is on, and `networks` \
         takes a restart where one of them has a `gw_priority`. A published port or a fixed address that moves between two containers in a circle takes a restart of one of them.\n\n\
         Of the other kinds: a network whose specification changes is made anew, and the containers in it restart; a volume is never \
         touched; an image is obtained again, and the containers of it are made anew where it has become another one. One of which the disk \
         has lost a layer is obtained again as it was.\n",
    );
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_on_the_disk_is_fresh() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/fields.md");
        if std::env::var_os("SETPOINT_WRITE_SCHEMAS").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page(), "run this test with SETPOINT_WRITE_SCHEMAS=1");
    }

    #[test]
    fn of_a_content_the_mount_says_what_it_takes() {
        let config = |text: &str, on_change: &str, mode| Mount::Config {
            source: "a".parse().unwrap(),
            digest: Digest::of(text.as_bytes()),
            target: "/a".into(),
            mode,
            uid: 0,
            gid: 0,
            secret: false,
            on_change: on_change.parse().unwrap(),
        };
        let takes = |old: &Mount, new: &Mount| mount_change(Some(old), Some(new));
        let old = config("one", "recreate", 0o444);
        assert_eq!(takes(&old, &config("two", "recreate", 0o444)), Change::Recreate);
        assert_eq!(takes(&old, &config("two", "restart", 0o444)), Change::Restart);
        assert_eq!(takes(&old, &config("two", "SIGHUP", 0o444)), Change::Reload);
        assert_eq!(takes(&old, &config("two", "nothing", 0o444)), Change::Live);
        assert_eq!(takes(&old, &config("one", "SIGHUP", 0o444)), Change::Live, "only what a change takes is another thing");
        assert_eq!(takes(&old, &config("one", "SIGHUP", 0o400)), Change::Recreate);
        assert_eq!(mount_change(None, Some(&old)), Change::Recreate);
        let mut before = ContainerSpec::new("a".parse().unwrap());
        let mut after = before.clone();
        before.mounts = vec![old];
        after.mounts = vec![config("two", "SIGHUP", 0o444)];
        assert_eq!(signals(&before, &after), ["SIGHUP".parse::<Signal>().unwrap()]);
        assert_eq!(signals(&after, &after), []);
    }
}
