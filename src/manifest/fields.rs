//! The fields that manifests and compose files may have: one table a kind of mapping. The reader accepts what stands
//! here, the schemas are made from it, and what Compose knows but setpoint does not yet is told apart from mistakes.

use schemars::{Schema, SchemaGenerator};

use crate::model::spec::{DeviceCgroupRule, IdList, MacAddress, Subnet, Subnet6, SwapLimit};
use crate::model::tag_policy::VersionRange;
use crate::model::{ByteSize, Cpus, ImageRef, Name, Platform, PullPolicy, RestartPolicy, Signal, Span};

mod builds;
mod compose;
mod lifecycle;
mod parts;
mod resources;

pub(super) use builds::{BUILD, BUILD_SECRET, BUILDS};
pub(super) use compose::{INCLUDE, WITHOUT_EFFECT};
pub(super) use lifecycle::{
    CONTAINER_EXTENSION, DEPENDENCY, DEPLOY, HOOK, LIMITS, PRE_START, RESOURCES, RESTART, ROLLBACK, STACK_UPDATE, ULIMIT, UPDATE,
};
pub(super) use parts::{BLKIO, DEVICE, DEVICE_RATE, DEVICE_WEIGHT, MOUNT_EXTENSION, RESERVATIONS, VOLUME_MOUNT};
use parts::{ON_CHANGE, ON_CHANGE_ABOUT};
pub(super) use resources::{
    ATTACHMENT, CONFIG, EXTERNAL_CONTENT, EXTERNAL_NAME, IPAM, IPAM_CONFIG, NETWORK, PORT, SECRET, VOLUME,
};

/// The fields of one kind of mapping.
pub(super) struct Table {
    /// For messages: "a container", "`healthcheck`".
    pub(super) what: &'static str,
    pub(super) fields: &'static [Field],
    /// Fields that Compose knows and setpoint does not support, each with what to do instead.
    pub(super) unsupported: &'static [(&'static str, &'static str)],
}

pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) form: Form,
    pub(super) about: &'static str,
    pub(super) required: bool,
}

/// What a field's value looks like. For the schemas; the reader's functions say the same in code.
pub(super) enum Form {
    Text,
    /// A string, or a number that is taken as it is spelled.
    Word,
    Bool,
    Integer,
    Choice(&'static [&'static str]),
    /// A type of the model, by its own schema.
    Of(fn(&mut SchemaGenerator) -> Schema),
    Object(&'static Table),
    List(&'static Form),
    Map(&'static Form),
    /// A mapping of names to a mapping, which may be left empty.
    Named(&'static Form),
    Either(&'static [Form]),
}

pub(super) const fn field(name: &'static str, form: Form, about: &'static str) -> Field {
    Field { name, form, about, required: false }
}

const fn required(name: &'static str, form: Form, about: &'static str) -> Field {
    Field { name, form, about, required: true }
}

impl Table {
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|field| field.name == name)
    }
}

const NAME: Form = Form::Of(|g| g.subschema_for::<Name>());
pub(super) const SPAN: Form = Form::Of(|g| g.subschema_for::<Span>());
pub(super) const SIZE: Form = Form::Either(&[Form::Of(|g| g.subschema_for::<ByteSize>()), Form::Integer]);
const CPUS: Form = Form::Either(&[
    Form::Of(|g| g.subschema_for::<Cpus>()),
    Form::Of(|_| schemars::json_schema!({"type": "number", "exclusiveMinimum": 0})),
]);
const PLATFORM: Form = Form::Of(|g| g.subschema_for::<Platform>());
const POLICY: Form = Form::Of(|g| g.subschema_for::<PullPolicy>());
const RANGE: Form = Form::Of(|g| g.subschema_for::<VersionRange>());
const REFERENCE: Form = Form::Of(|g| g.subschema_for::<ImageRef>());
const ANY_SUBNET: Form = Form::Either(&[Form::Of(|g| g.subschema_for::<Subnet>()), Form::Of(|g| g.subschema_for::<Subnet6>())]);
const SCALAR: Form = Form::Of(|_| schemars::json_schema!({"type": ["string", "number", "boolean", "null"]}));
/// A mapping of names to values, or a list of `NAME=value`.
pub(super) const PAIRS: Form = Form::Either(&[Form::Map(&SCALAR), Form::List(&Form::Text)]);
/// Words in a list, or a line that is split as a shell would.
const WORDS: Form = Form::Either(&[Form::Text, Form::List(&Form::Text)]);

pub(super) static DOCUMENT: Table = Table {
    what: "a manifest",
    fields: &[
        required("apiVersion", Form::Choice(&["setpoint/v1"]), "The version of this format"),
        required("kind", Form::Choice(&super::document::KINDS), "What the manifest declares"),
        required("metadata", Form::Object(&METADATA), "What the resource is called"),
        field("spec", Form::Of(|_| schemars::json_schema!({})), "What the resource is to be"),
    ],
    unsupported: &[("status", "a manifest says what is wanted; `setpoint status` says what is")],
};

pub(super) static METADATA: Table = Table {
    what: "`metadata`",
    fields: &[
        required("name", NAME, "The resource's name, unique in its stack per kind"),
        field("labels", Form::Map(&SCALAR), "Labels of the resource"),
        field("annotations", Form::Map(&SCALAR), "Remarks for people and tools; setpoint does not read them"),
    ],
    unsupported: &[("namespace", "the stack is the name space: it is the folder's name or `--stack`")],
};

pub(super) static STACK: Table = Table {
    what: "a stack",
    fields: &[field("update", Form::Object(&STACK_UPDATE), "How containers are replaced that do not say it themselves")],
    unsupported: &[],
};

pub(super) static IMAGE: Table = Table {
    what: "an image",
    fields: &[
        field("reference", REFERENCE, "What containers name it by; metadata.name unless given"),
        field("pull", Form::Object(&PULL), "Obtain it from its registry"),
        field("build", BUILDS, "Build it of a Dockerfile"),
        field("load", Form::Object(&LOAD), "Obtain it from an archive on a disk or a stick"),
        field("commit", Form::Object(&COMMIT), "Make it of a container of this stack that has completed"),
        field("import", Form::Object(&IMPORT), "Make it of a root file system"),
        field("push", Form::Object(&PUSH), "Where it is pushed to once it has been obtained"),
        field("verify", Form::Object(&VERIFY), "Whose signature it must have to be pulled"),
    ],
    unsupported: &[],
};

pub(super) static PULL: Table = Table {
    what: "`pull`",
    fields: &[
        field("policy", POLICY, "When to ask the registry; `missing` unless given"),
        field("platform", PLATFORM, "The platform to take, where it is not this host's"),
        field("tag_policy", Form::Object(&TAG_POLICY), "Which of the repository's tags it is; the reference has none then"),
        field("keep_blobs", Form::Bool, "Keep the layers as they were sent, to push them again byte by byte"),
    ],
    unsupported: &[],
};

pub(super) static TAG_POLICY: Table = Table {
    what: "`tag_policy`",
    fields: &[required("semver", RANGE, "The newest version in this range, such as ~1.27")],
    unsupported: &[],
};

pub(super) static LOAD: Table = Table {
    what: "`load`",
    fields: &[
        required(
            "archive",
            Form::Text,
            "An archive as `docker save` writes it or an OCI layout in a tar, relative to the manifest",
        ),
        field("reference", REFERENCE, "Which of the archive's images, where its name there is another one"),
    ],
    unsupported: &[],
};

pub(super) static COMMIT: Table = Table {
    what: "`commit`",
    fields: &[
        required("container", NAME, "A container of this stack, committed once it has exited with 0"),
        field("changes", Form::List(&Form::Text), "Instructions that change the image's configuration, such as CMD [\"serve\"]"),
        field("author", Form::Text, "Who made it"),
        field("message", Form::Text, "A remark for the image's history"),
    ],
    unsupported: &[],
};

pub(super) static PUSH: Table = Table {
    what: "`push`",
    fields: &[required("to", Form::List(&REFERENCE), "References, each with its registry")],
    unsupported: &[],
};

pub(super) static VERIFY: Table = Table {
    what: "`verify`",
    fields: &[required("keys", Form::List(&Form::Text), "Public keys in PEM, or files of them; any of them will do")],
    unsupported: &[("keyless", "use `keys`"), ("identities", "use `keys`")],
};

pub(super) static IMPORT: Table = Table {
    what: "`import`",
    fields: &[
        required("source", Form::Text, "A tar (plain, gzip, bzip2, xz or zstd) or a folder, relative to the manifest"),
        field("entrypoint", WORDS, "The image's entrypoint"),
        field("command", WORDS, "The image's command"),
        field("environment", PAIRS, "The image's environment"),
        field("working_dir", Form::Text, "The folder that commands start in"),
        field("user", Form::Word, "user[:group], by name or number"),
    ],
    unsupported: &[],
};

pub(super) static COMPOSE: Table = Table {
    what: "a compose file",
    fields: &[
        field("name", Form::Text, "The stack's name"),
        field("version", Form::Word, "Obsolete, without effect"),
        field(
            "include",
            Form::Either(&[Form::Text, Form::List(&Form::Either(&[Form::Text, Form::Object(&INCLUDE)]))]),
            "Further compose files, each with paths relative to itself",
        ),
        field("services", Form::Map(&Form::Object(&CONTAINER)), "The containers"),
        field("networks", Form::Named(&Form::Object(&NETWORK)), "The networks"),
        field("volumes", Form::Named(&Form::Object(&VOLUME)), "The volumes"),
        field("configs", Form::Map(&Form::Object(&CONFIG)), "The configs"),
        field("secrets", Form::Map(&Form::Object(&SECRET)), "The secrets"),
    ],
    unsupported: &[("models", "no model is run here: run its server as a container")],
};

pub(super) static CONTAINER: Table = Table {
    what: "a container",
    fields: &[
        field("image", REFERENCE, "The image it is made from, or what the image is called that is built for it"),
        field("build", BUILDS, "How its image is built, where no manifest declares that"),
        field(
            "pull_policy",
            Form::Either(&[POLICY, Form::Choice(&["build"])]),
            "When to ask the registry for an image that no manifest declares",
        ),
        field("platform", PLATFORM, "The platform of an image that no manifest declares"),
        field("container_name", NAME, "Its name in the engine, instead of <stack>-<name>"),
        field("entrypoint", WORDS, "The program, instead of the image's entrypoint"),
        field("command", WORDS, "Arguments, instead of the image's command"),
        field("environment", PAIRS, "Variables; one without a value is taken from setpoint's environment"),
        field(
            "env_file",
            Form::Either(&[Form::Text, Form::List(&Form::Either(&[Form::Text, Form::Object(&ENV_FILE)]))]),
            "Files of variables; `environment` wins",
        ),
        field("working_dir", Form::Text, "The folder that commands start in"),
        field("user", Form::Word, "user[:group], by name or number"),
        field("hostname", Form::Text, "Its host name"),
        field("tty", Form::Bool, "Whether its standard streams are a terminal"),
        field("stdin_open", Form::Bool, "Whether its standard input stays open for whoever attaches"),
        field("stdin_once", Form::Bool, "Whether its standard input ends with the first who attaches"),
        field("labels", PAIRS, "Labels of the container"),
        field(
            "volumes",
            Form::List(&Form::Either(&[Form::Text, Form::Object(&MOUNT)])),
            "Volumes, paths of the host and tmpfs: source:target[:ro], or the long form",
        ),
        field("tmpfs", Form::Either(&[Form::Text, Form::List(&Form::Text)]), "Folders in memory: target[:size=64m,mode=1777]"),
        field("configs", Form::List(&Form::Either(&[Form::Text, Form::Object(&CONFIG_MOUNT)])), "Configs, as files"),
        field(
            "secrets",
            Form::List(&Form::Either(&[Form::Text, Form::Object(&SECRET_MOUNT)])),
            "Secrets, as files in memory: /run/secrets/<name>, or the long form",
        ),
        field(
            "networks",
            Form::Either(&[Form::List(&Form::Text), Form::Named(&Form::Object(&ATTACHMENT))]),
            "Networks; `default` unless given",
        ),
        field("network_mode", Form::Text, "Where its network comes from: bridge, none, host, service:NAME or container:NAME"),
        field(
            "ports",
            Form::List(&Form::Either(&[Form::Word, Form::Object(&PORT)])),
            "Published ports: [[IP:]HOST:]CONTAINER[/PROTOCOL], or the long form",
        ),
        field("expose", Form::List(&Form::Word), "Ports that it has, beside those of its image"),
        field("publish_all", Form::Bool, "Every port that it has is published at a free port of the host"),
        field(
            "depends_on",
            Form::Either(&[Form::List(&Form::Text), Form::Map(&Form::Object(&DEPENDENCY))]),
            "Containers that must be there before: NAME, or STACK/NAME of another stack",
        ),
        field("x-setpoint", Form::Object(&CONTAINER_EXTENSION), "In a compose file: what Compose does not know"),
        field("links", Form::List(&Form::Text), "Containers that must be there before: NAME, or NAME:ALIAS with a further name"),
        field("update_after", NAME, "Where both are replaced, it is after this container runs again, and is healthy if checked"),
        field("rollback_after", NAME, "The same on the way back to what they were, where `rollback_config` is given"),
        field(
            "external_links",
            Form::List(&Form::Text),
            "Containers of others, in a network of both, by a name of its own: NAME or NAME:ALIAS",
        ),
        field(
            "profiles",
            Form::List(&Form::Text),
            "It is only there when one of these is active: `--profile`, or COMPOSE_PROFILES",
        ),
        field("scale", Form::Integer, "How many there are; the same as deploy.replicas"),
        field(
            "pre_start",
            Form::List(&Form::Object(&PRE_START)),
            "Containers that must have completed before, one after the other",
        ),
        field("post_start", Form::List(&Form::Object(&HOOK)), "What is run in it once it has started"),
        field("pre_stop", Form::List(&Form::Object(&HOOK)), "What is run in it before it is asked to stop, within its grace"),
        field("healthcheck", Form::Object(&super::health::HEALTHCHECK), "How to find out whether it is well"),
        field("restart", Form::Of(|g| g.subschema_for::<RestartPolicy>()), "When it is started again after it exited"),
        field("logging", Form::Object(&super::logging::LOGGING), "Where its output is recorded"),
        field("deploy", Form::Object(&DEPLOY), "Limits, in Compose's place for them"),
        field("mem_limit", SIZE, "Most memory; the same as deploy.resources.limits.memory"),
        field("cpus", CPUS, "Most processors; the same as deploy.resources.limits.cpus"),
        field(
            "pids_limit",
            Form::Integer,
            "Most processes (2048 by default, -1 for any number); the same as deploy.resources.limits.pids",
        ),
        field("stop_signal", Form::Of(|g| g.subschema_for::<Signal>()), "The signal that asks it to stop"),
        field("stop_grace_period", SPAN, "How long it has to stop before it is killed"),
        field("cap_add", Form::List(&Form::Text), "Capabilities to add"),
        field("cap_drop", Form::List(&Form::Text), "Capabilities to take away"),
        field("read_only", Form::Bool, "Its root file system cannot be written"),
        field("sysctls", PAIRS, "Kernel parameters of its namespaces"),
        field("ulimits", Form::Map(&Form::Either(&[Form::Integer, Form::Object(&ULIMIT)])), "Limits of its processes"),
        field("extra_hosts", PAIRS, "Further lines of /etc/hosts: name to address, or to host-gateway"),
        field("init", Form::Bool, "A small init is its process 1, which reaps zombies and passes signals on"),
        field("privileged", Form::Bool, "All capabilities and devices, nothing hidden and nothing filtered"),
        field(
            "security_opt",
            Form::List(&Form::Text),
            "no-new-privileges[:BOOL], seccomp=unconfined|FILE, apparmor=PROFILE, label=…, systempaths=unconfined, sockets=unconfined",
        ),
        field("pid", Form::Text, "Its processes: host, service:NAME or container:NAME"),
        field("ipc", Form::Text, "Its shared memory: private, shareable, none, host, service:NAME or container:NAME"),
        field("uts", Form::Choice(&["host", "private"]), "Whether its host name is the host's own"),
        field("cgroup", Form::Choice(&["host", "private"]), "Whether it sees the host's control groups"),
        field("cgroup_parent", Form::Text, "Where its control group is made: a path such as /batch, or a slice of systemd"),
        field(
            "userns_mode",
            Form::Text,
            "Its users: host, or auto for its own (auto:size=N for so many), of /etc/subuid and /etc/subgid",
        ),
        field("shm_size", SIZE, "The size of /dev/shm; 64m unless given"),
        field(
            "devices",
            Form::List(&Form::Either(&[Form::Text, Form::Object(&DEVICE)])),
            "Devices of the host: PATH[:PATH[:rwm]], or the long form",
        ),
        field(
            "device_cgroup_rules",
            Form::List(&Form::Of(|g| g.subschema_for::<DeviceCgroupRule>())),
            "Devices that it may use, by their numbers",
        ),
        field("group_add", Form::List(&Form::Word), "Further groups of its user, by name or number"),
        field("volumes_from", Form::List(&Form::Text), "Containers whose volumes it has too: NAME[:ro] or container:NAME[:ro]"),
        field("oom_score_adj", Form::Integer, "How readily the kernel kills it for want of memory, from -1000 to 1000"),
        field("isolation", Form::Choice(&["default"]), "There is one"),
        field("runtime", Form::Choice(&super::container::RUNTIMES), "Without effect: setpoint is its own runtime"),
        field("annotations", PAIRS, "Remarks for tools that read its OCI specification"),
        field("label_file", Form::Either(&[Form::Text, Form::List(&Form::Text)]), "Files of labels; `labels` wins"),
        field("domainname", Form::Text, "Its domain name"),
        field("dns", Form::Either(&[Form::Text, Form::List(&Form::Text)]), "Name servers, instead of the engine's"),
        field("dns_search", Form::Either(&[Form::Text, Form::List(&Form::Text)]), "Domains in which it looks names up"),
        field("dns_opt", Form::Either(&[Form::Text, Form::List(&Form::Text)]), "Options of its resolver, such as ndots:2"),
        field("mac_address", Form::Of(|g| g.subschema_for::<MacAddress>()), "The address of its one network link"),
        field("mem_reservation", SIZE, "What its memory is pressed down to when the host has little"),
        field(
            "memswap_limit",
            Form::Either(&[SIZE, Form::Of(|g| g.subschema_for::<SwapLimit>())]),
            "Memory and swap; -1 is none",
        ),
        field("oom_kill_disable", Form::Bool, "Its processes wait when memory runs out, instead of being killed"),
        field("cpu_shares", Form::Integer, "Its weight when processors are scarce; 1024 is usual"),
        field("cpu_quota", Form::Integer, "Microseconds of a processor in each period"),
        field("cpu_period", Form::Integer, "The period of cpu_quota in microseconds; 100000 unless given"),
        field(
            "cpuset",
            Form::Either(&[Form::Of(|g| g.subschema_for::<IdList>()), Form::Integer]),
            "The processors that it may use",
        ),
        field(
            "cpuset_mems",
            Form::Either(&[Form::Of(|g| g.subschema_for::<IdList>()), Form::Integer]),
            "The memory nodes that it may use",
        ),
        field("blkio_config", Form::Object(&BLKIO), "Its weight at disks, and their rates"),
    ],
    unsupported: &[
        ("cpu_count", "it is for Windows: use `cpus`"),
        ("cpu_percent", "it is for Windows: use `cpus`"),
        ("cpu_rt_period", "no host of today lets groups have it: remove it, or use `ulimits: {rtprio: …}`"),
        ("cpu_rt_runtime", "no host of today lets groups have it: remove it, or use `ulimits: {rtprio: …}`"),
        ("credential_spec", "it is for Windows: remove it"),
        ("driver_opts", "remove it"),
        ("extends", "only a compose file has it; use YAML anchors and `<<` merges"),
        ("gpus", "give the container the devices of your GPU with `devices`, and its libraries with `volumes`"),
        ("mem_swappiness", "hosts of today do not have it: use `memswap_limit`"),
        ("models", "no model is run here: run its server as a container"),
        ("provider", "nothing outside the host is made here: remove it"),
        ("pull_refresh_after", "write `pull_policy: every_…`"),
        ("storage_opt", "remove it: containers share the host's disk"),
        ("use_api_socket", "mount the socket as a volume of type `bind`"),
    ],
};

pub(super) static ENV_FILE: Table = Table {
    what: "`env_file`",
    fields: &[
        required("path", Form::Text, "The file, relative to the manifest"),
        field("required", Form::Bool, "Whether it must be there; true unless given"),
        field("format", Form::Choice(&["raw"]), "raw: values are taken as they stand, with their quotes and `$`"),
    ],
    unsupported: &[],
};

pub(super) static MOUNT: Table = Table {
    what: "a mount",
    fields: &[
        required("type", Form::Choice(&["volume", "bind", "tmpfs"]), "What is mounted"),
        field("source", Form::Text, "A volume's name, or a path of the host"),
        required("target", Form::Text, "Where it is mounted in the container"),
        field("read_only", Form::Bool, "It cannot be written"),
        field("bind", Form::Object(&BIND), "Settings of a bind mount"),
        field("volume", Form::Object(&VOLUME_MOUNT), "Settings of a volume"),
        field("tmpfs", Form::Object(&TMPFS), "Settings of a tmpfs"),
        field("on_change", ON_CHANGE, "Of a bind: what is there is watched, and a change of it does this to the container"),
        field("x-setpoint", Form::Object(&MOUNT_EXTENSION), "In a compose file: what Compose does not know"),
    ],
    unsupported: &[("image", "copy what is needed of the image into a volume"), ("cluster", "there is one host")],
};

pub(super) static BIND: Table = Table {
    what: "`bind`",
    fields: &[
        field("create_host_path", Form::Bool, "Make a folder where there is none; true unless given"),
        field(
            "propagation",
            Form::Choice(&["private", "rprivate", "slave", "rslave", "shared", "rshared"]),
            "How mounts that are made later show on the other side; rprivate unless given",
        ),
        field("recursive", Form::Choice(&["enabled", "disabled", "readonly"]), "Whether what is mounted below is there too"),
        field("options", Form::List(&Form::Text), "Options with which it is mounted, such as noexec"),
    ],
    unsupported: &[("selinux", "remove it")],
};

pub(super) static TMPFS: Table = Table {
    what: "`tmpfs`",
    fields: &[
        field("size", SIZE, "Most bytes"),
        field("mode", Form::Word, "Permissions in octal, such as 1777"),
        field("options", Form::List(&Form::Text), "Options with which it is mounted, such as noexec"),
    ],
    unsupported: &[],
};

pub(super) static CONFIG_MOUNT: Table = Table {
    what: "a container's config",
    fields: &[
        required("source", NAME, "The config's name"),
        field("target", Form::Text, "The file in the container; /<source> unless given"),
        field("uid", Form::Word, "The file's user, by number"),
        field("gid", Form::Word, "The file's group, by number"),
        field("mode", Form::Word, "The file's permissions in octal, such as 0440"),
        field("on_change", ON_CHANGE, ON_CHANGE_ABOUT),
        field("x-setpoint", Form::Object(&MOUNT_EXTENSION), "In a compose file: what Compose does not know"),
    ],
    unsupported: &[],
};

pub(super) static SECRET_MOUNT: Table = Table {
    what: "a container's secret",
    fields: &[
        required("source", NAME, "The secret's name"),
        field("target", Form::Text, "The file in the container, beside /run/secrets or absolute; its name unless given"),
        field("uid", Form::Word, "The file's user, by number"),
        field("gid", Form::Word, "The file's group, by number"),
        field("mode", Form::Word, "The file's permissions in octal, such as 0440"),
        field("on_change", ON_CHANGE, ON_CHANGE_ABOUT),
        field("x-setpoint", Form::Object(&MOUNT_EXTENSION), "In a compose file: what Compose does not know"),
    ],
    unsupported: &[],
};
