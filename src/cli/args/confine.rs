//! Arguments of `run` and `create` that say what a container shares, how it is confined, and what it may use.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

use crate::model::spec::{
    CgroupParent, Device, DeviceCgroupRule, DeviceWeight, IdList, IpcMode, MacAddress, NamespaceMode, SecurityOption, SwapLimit,
    UsersMode,
};
use crate::model::{ByteSize, Platform};

#[derive(Clone, Debug, Args)]
pub struct ConfineArgs {
    /// Run a small init as its process 1, which reaps zombies and passes signals on
    #[arg(long)]
    pub init: bool,
    /// All capabilities and devices, nothing hidden and nothing filtered
    #[arg(long)]
    pub privileged: bool,
    /// no-new-privileges[:BOOL], seccomp=unconfined|FILE, apparmor=PROFILE, label=…, systempaths=unconfined, sockets=unconfined
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<SecurityOption>,
    /// Its processes: host, or container:NAME
    #[arg(long, value_name = "MODE")]
    pub pid: Option<NamespaceMode>,
    /// Its shared memory: private, shareable, none, host, or container:NAME
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<IpcMode>,
    /// Its host name: host for the host's own
    #[arg(long, value_name = "MODE")]
    pub uts: Option<NamespaceMode>,
    /// Its view of control groups: private or host
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<NamespaceMode>,
    /// Where its control group is made: a path such as /batch, or a slice of systemd such as batch.slice
    #[arg(long, value_name = "PARENT")]
    pub cgroup_parent: Option<CgroupParent>,
    /// Its users: host, or auto for its own (auto:size=N for so many), of /etc/subuid and /etc/subgid
    #[arg(long, value_name = "MODE")]
    pub userns: Option<UsersMode>,
    /// The size of its /dev/shm [default: 64m]
    #[arg(long, value_name = "BYTES")]
    pub shm_size: Option<ByteSize>,
    /// Give it a device of the host: PATH[:PATH[:rwm]]
    #[arg(long, value_name = "DEVICE")]
    pub device: Vec<Device>,
    /// Let it use devices by their numbers: "TYPE MAJOR:MINOR rwm"
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<DeviceCgroupRule>,
    /// A further group of its user, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Mount what another container mounts: NAME[:ro]
    #[arg(long, value_name = "CONTAINER")]
    pub volumes_from: Vec<String>,
    /// How readily the kernel kills it for want of memory, from -1000 to 1000
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-1000..=1000))]
    pub oom_score_adj: Option<i16>,
    /// A remark for tools that read its OCI specification
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Read labels from a file, one KEY=VALUE a line
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// The platform of its image, where it is not this host's
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<Platform>,
}

#[derive(Clone, Debug, Args)]
pub struct ReachArgs {
    /// Its domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// A name server, instead of the engine's
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<IpAddr>,
    /// A domain in which it looks names up
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// An option of its resolver, such as ndots:2
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// The address of its network link
    #[arg(long, value_name = "ADDRESS")]
    pub mac_address: Option<MacAddress>,
    /// A port that it has, beside those of its image
    #[arg(long, value_name = "PORT")]
    pub expose: Vec<String>,
    /// Publish every port that it has at a free port of the host
    #[arg(short = 'P', long)]
    pub publish_all: bool,
}

#[derive(Clone, Debug, Args)]
pub struct LimitArgs {
    /// What its memory is pressed down to when the host has little
    #[arg(long, value_name = "BYTES")]
    pub memory_reservation: Option<ByteSize>,
    /// Memory and swap together; -1 for unlimited swap
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub memory_swap: Option<SwapLimit>,
    /// Let its processes wait when memory runs out, instead of killing one
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Its weight when processors are scarce, 1024 being usual
    #[arg(short = 'c', long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,
    /// Microseconds of a processor in each period
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<u64>,
    /// The period of --cpu-quota [default: 100000]
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// The processors that it may use, such as 0-3,7
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<IdList>,
    /// The memory nodes that it may use, such as 0
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<IdList>,
    /// Its weight when disks are busy, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// Its weight at one disk, from 10 to 1000: PATH:WEIGHT
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight_device: Vec<DeviceWeight>,
    /// At most so many bytes a second are read of a disk: PATH:RATE
    #[arg(long, value_name = "RATE")]
    pub device_read_bps: Vec<String>,
    /// At most so many bytes a second are written to a disk: PATH:RATE
    #[arg(long, value_name = "RATE")]
    pub device_write_bps: Vec<String>,
    /// At most so many reads a second of a disk: PATH:RATE
    #[arg(long, value_name = "RATE")]
    pub device_read_iops: Vec<String>,
    /// At most so many writes a second to a disk: PATH:RATE
    #[arg(long, value_name = "RATE")]
    pub device_write_iops: Vec<String>,
}

/// What Docker has and setpoint has not: each is refused with advice.
#[derive(Clone, Debug, Default, Args)]
pub struct RefusedArgs {
    #[arg(long, hide = true)]
    pub gpus: Option<String>,
    #[arg(long, hide = true)]
    pub runtime: Option<String>,
    #[arg(long, hide = true)]
    pub link: Vec<String>,
    #[arg(long, hide = true)]
    pub link_local_ip: Vec<String>,
    #[arg(long, hide = true)]
    pub storage_opt: Vec<String>,
    #[arg(long, hide = true)]
    pub volume_driver: Option<String>,
    #[arg(long, hide = true)]
    pub isolation: Option<String>,
    #[arg(long, hide = true)]
    pub kernel_memory: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    pub memory_swappiness: Option<String>,
    #[arg(long, hide = true)]
    pub cpu_rt_period: Option<String>,
    #[arg(long, hide = true)]
    pub cpu_rt_runtime: Option<String>,
    #[arg(long, hide = true)]
    pub use_api_socket: bool,
    #[arg(long, hide = true)]
    pub cpu_count: Option<String>,
    #[arg(long, hide = true)]
    pub cpu_percent: Option<String>,
    #[arg(long, hide = true)]
    pub io_maxbandwidth: Option<String>,
    #[arg(long, hide = true)]
    pub io_maxiops: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub disable_content_trust: Option<String>,
}

impl RefusedArgs {
    /// The first that was given, and what to do instead.
    pub fn first(&self) -> Option<(&'static str, &'static str)> {
        [
            (
                self.gpus.is_some(),
                "--gpus",
                "give the container the devices of your GPU with `--device`, and its libraries with `-v`",
            ),
            (self.runtime.is_some(), "--runtime", "leave it out: setpoint is its own runtime"),
            (
                !self.link.is_empty(),
                "--link",
                "put both containers in one network (`--network`), where they find each other by name",
            ),
            (!self.link_local_ip.is_empty(), "--link-local-ip", "leave it out, or add the address in the container"),
            (
                !self.storage_opt.is_empty(),
                "--storage-opt",
                "leave it out: root file systems are overlays without a size of their own",
            ),
            (self.volume_driver.as_deref().is_some_and(|d| d != "local"), "--volume-driver", "mount a path of the host instead"),
            (self.isolation.as_deref().is_some_and(|i| i != "default"), "--isolation", "leave it out: it is for Windows"),
            (self.kernel_memory.is_some(), "--kernel-memory", "use `--memory`: kernels have no such limit any more"),
            (self.memory_swappiness.as_deref().is_some_and(|s| s != "-1"), "--memory-swappiness", "use `--memory-swap`"),
            (self.cpu_rt_period.is_some(), "--cpu-rt-period", "leave it out, or use `--ulimit rtprio=…`"),
            (self.cpu_rt_runtime.is_some(), "--cpu-rt-runtime", "leave it out, or use `--ulimit rtprio=…`"),
            (self.use_api_socket, "--use-api-socket", "mount the socket with `-v`"),
            (self.cpu_count.is_some(), "--cpu-count", "use `--cpus`: it is for Windows"),
            (self.cpu_percent.is_some(), "--cpu-percent", "use `--cpus`: it is for Windows"),
            (self.io_maxbandwidth.is_some(), "--io-maxbandwidth", "use `--device-read-bps`: it is for Windows"),
            (self.io_maxiops.is_some(), "--io-maxiops", "use `--device-read-iops`: it is for Windows"),
            (
                self.disable_content_trust.is_some(),
                "--disable-content-trust",
                "leave it out: who must have signed what is said in /etc/setpoint/registries.yaml",
            ),
        ]
        .into_iter()
        .find_map(|(given, flag, advice)| given.then_some((flag, advice)))
    }
}
