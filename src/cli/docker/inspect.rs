//! What Docker says of containers, images and networks, as far as it is asked for.
//! Source: the reference of the Docker Engine API.

use std::collections::BTreeMap;

use serde::Deserialize;

/// `GET /containers/{id}/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Container {
    pub(super) id: String,
    /// With a slash before it.
    pub(super) name: String,
    /// The image's id.
    pub(super) image: String,
    pub(super) config: Config,
    pub(super) host_config: HostConfig,
    pub(super) mounts: Vec<Mount>,
    pub(super) network_settings: NetworkSettings,
}

/// Of a container or of an image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Config {
    pub(super) image: String,
    pub(super) hostname: String,
    pub(super) domainname: String,
    pub(super) user: String,
    pub(super) tty: bool,
    pub(super) open_stdin: bool,
    pub(super) stdin_once: bool,
    pub(super) env: Option<Vec<String>>,
    pub(super) cmd: Option<Vec<String>>,
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) working_dir: String,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    pub(super) stop_signal: String,
    /// Seconds.
    pub(super) stop_timeout: Option<u64>,
    pub(super) healthcheck: Option<Healthcheck>,
    pub(super) mac_address: String,
}

/// Times are in nanoseconds; nothing is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Healthcheck {
    pub(super) test: Option<Vec<String>>,
    pub(super) interval: u64,
    pub(super) timeout: u64,
    pub(super) retries: u32,
    pub(super) start_period: u64,
    pub(super) start_interval: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct HostConfig {
    pub(super) network_mode: String,
    pub(super) port_bindings: Option<BTreeMap<String, Option<Vec<PortBinding>>>>,
    pub(super) publish_all_ports: bool,
    pub(super) restart_policy: RestartPolicy,
    pub(super) auto_remove: bool,
    pub(super) cap_add: Option<Vec<String>>,
    pub(super) cap_drop: Option<Vec<String>>,
    pub(super) dns: Option<Vec<String>>,
    pub(super) dns_options: Option<Vec<String>>,
    pub(super) dns_search: Option<Vec<String>>,
    pub(super) extra_hosts: Option<Vec<String>>,
    pub(super) group_add: Option<Vec<String>>,
    pub(super) ipc_mode: String,
    pub(super) pid_mode: String,
    #[serde(rename = "UTSMode")]
    pub(super) uts_mode: String,
    pub(super) cgroupns_mode: String,
    pub(super) userns_mode: String,
    pub(super) cgroup_parent: String,
    pub(super) privileged: bool,
    pub(super) readonly_rootfs: bool,
    pub(super) security_opt: Option<Vec<String>>,
    pub(super) sysctls: Option<BTreeMap<String, String>>,
    pub(super) ulimits: Option<Vec<Ulimit>>,
    pub(super) devices: Option<Vec<Device>>,
    pub(super) device_cgroup_rules: Option<Vec<String>>,
    pub(super) device_requests: Option<Vec<serde_json::Value>>,
    pub(super) runtime: String,
    pub(super) log_config: LogConfig,
    pub(super) tmpfs: Option<BTreeMap<String, String>>,
    pub(super) shm_size: u64,
    pub(super) volumes_from: Option<Vec<String>>,
    pub(super) links: Option<Vec<String>>,
    pub(super) storage_opt: Option<BTreeMap<String, String>>,
    pub(super) init: Option<bool>,
    pub(super) oom_score_adj: i64,
    pub(super) oom_kill_disable: Option<bool>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    pub(super) memory: u64,
    pub(super) memory_reservation: u64,
    pub(super) memory_swap: i64,
    pub(super) memory_swappiness: Option<i64>,
    pub(super) nano_cpus: u64,
    pub(super) cpu_shares: u64,
    pub(super) cpu_period: u64,
    pub(super) cpu_quota: i64,
    pub(super) cpuset_cpus: String,
    pub(super) cpuset_mems: String,
    pub(super) pids_limit: Option<i64>,
    pub(super) blkio_weight: u16,
    pub(super) blkio_weight_device: Option<Vec<Weight>>,
    pub(super) blkio_device_read_bps: Option<Vec<Rate>>,
    pub(super) blkio_device_write_bps: Option<Vec<Rate>>,
    #[serde(rename = "BlkioDeviceReadIOps")]
    pub(super) blkio_device_read_iops: Option<Vec<Rate>>,
    #[serde(rename = "BlkioDeviceWriteIOps")]
    pub(super) blkio_device_write_iops: Option<Vec<Rate>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct PortBinding {
    pub(super) host_ip: String,
    pub(super) host_port: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RestartPolicy {
    pub(super) name: String,
    pub(super) maximum_retry_count: u32,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Ulimit {
    pub(super) name: String,
    pub(super) soft: i64,
    pub(super) hard: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Device {
    pub(super) path_on_host: String,
    pub(super) path_in_container: String,
    pub(super) cgroup_permissions: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Rate {
    pub(super) path: String,
    pub(super) rate: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Weight {
    pub(super) path: String,
    pub(super) weight: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct LogConfig {
    #[serde(rename = "Type")]
    pub(super) driver: String,
    pub(super) config: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Mount {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    /// Of a volume.
    pub(super) name: String,
    pub(super) source: String,
    pub(super) destination: String,
    #[serde(rename = "RW")]
    pub(super) writable: bool,
    pub(super) propagation: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkSettings {
    pub(super) networks: Option<BTreeMap<String, Endpoint>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Endpoint {
    pub(super) aliases: Option<Vec<String>>,
    #[serde(rename = "IPAMConfig")]
    pub(super) ipam_config: Option<EndpointAddress>,
    pub(super) driver_opts: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointAddress {
    #[serde(rename = "IPv4Address")]
    pub(super) ipv4_address: String,
    #[serde(rename = "IPv6Address")]
    pub(super) ipv6_address: String,
}

/// `GET /images/{id}/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    pub(super) repo_tags: Option<Vec<String>>,
    pub(super) config: Option<Config>,
}

/// `GET /networks/{name}`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Network {
    pub(super) driver: String,
    pub(super) internal: bool,
    #[serde(rename = "EnableIPv6")]
    pub(super) enable_ipv6: bool,
    #[serde(rename = "IPAM")]
    pub(super) ipam: Ipam,
    pub(super) labels: Option<BTreeMap<String, String>>,
    pub(super) options: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Ipam {
    pub(super) config: Option<Vec<IpamConfig>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct IpamConfig {
    pub(super) subnet: String,
}

/// One of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Listed {
    pub(super) id: String,
    /// With slashes before them.
    pub(super) names: Vec<String>,
    pub(super) state: String,
}
