//! An instance of setpoint: its roots, and every name on the host that is derived from them, so that instances live
//! side by side on one host without meeting.

use std::path::{Path, PathBuf};

use super::{ContainerId, Digest};

/// The roots of one instance. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    state_dir: PathBuf,
    run_dir: PathBuf,
    socket: PathBuf,
    /// Empty for the default roots, else six hexadecimal digits of the digest of the state root's path.
    tag: String,
}

impl Instance {
    pub const DEFAULT_STATE_DIR: &'static str = "/var/lib/setpoint";
    pub const DEFAULT_RUN_DIR: &'static str = "/run/setpoint";

    /// An instance at these roots. The paths must be absolute; `socket` defaults to `setpoint.sock` in the run root.
    pub fn new(state_dir: PathBuf, run_dir: PathBuf, socket: Option<PathBuf>) -> Self {
        let tag = if state_dir == Path::new(Self::DEFAULT_STATE_DIR) {
            String::new()
        } else {
            let mut hex = Digest::of(state_dir.as_os_str().as_encoded_bytes()).hex();
            hex.truncate(6);
            hex
        };
        let socket = socket.unwrap_or_else(|| run_dir.join("setpoint.sock"));
        Self { state_dir, run_dir, socket, tag }
    }

    /// Durable state: the database and all content.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// State that a reboot ends: sockets, monitors' folders, the DNS zone.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// Where the daemon answers.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Six hexadecimal digits that tell this instance from others, empty for the default roots.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// `setpoint` or `setpoint-<tag>`: the folder under each cgroup hierarchy that holds all containers.
    pub fn cgroup_parent(&self) -> String {
        self.tagged("setpoint", "-")
    }

    /// The cgroup of the unit that systemd has for the containers of the host's own instance, where it is started.
    pub fn cgroup_of_unit(&self) -> Option<&'static str> {
        self.tag.is_empty().then_some("setpoint.slice/setpoint-containers.service")
    }

    /// `setpoint` or `setpoint_<tag>`: the nftables table (family `ip`) that this instance owns.
    pub fn nft_table(&self) -> String {
        self.tagged("setpoint", "_")
    }

    /// A network's bridge: `sp<tag>-<first digits of the network's id>`, within the kernel's 15 bytes.
    pub fn bridge(&self, network_id: &str) -> String {
        format!("sp{}-{}", self.tag, network_id.chars().take(6).collect::<String>())
    }

    /// The host's end of a container's link: unique by container and by the link's number in it.
    pub fn host_link(&self, container: &ContainerId, index: u8) -> String {
        format!("v{index:x}{}{}", self.tag, &container.as_str()[..13 - self.tag.len()])
    }

    /// A container's durable folder: writable layer, logs, last state.
    pub fn container_dir(&self, id: &ContainerId) -> PathBuf {
        self.state_dir.join("containers").join(id.as_str())
    }

    /// A container's run-time folder: the monitor's socket, lock and state. Named by 24 digits only, because the path
    /// of a unix socket has 107 bytes at most.
    pub fn container_run_dir(&self, id: &ContainerId) -> PathBuf {
        self.run_dir.join("containers").join(&id.as_str()[..24])
    }

    fn tagged(&self, base: &str, separator: &str) -> String {
        if self.tag.is_empty() { base.to_owned() } else { format!("{base}{separator}{}", self.tag) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_differ_by_instance() {
        let id = ContainerId::from_random([0xab; 32]);
        let default = Instance::new(Instance::DEFAULT_STATE_DIR.into(), Instance::DEFAULT_RUN_DIR.into(), None);
        let other = Instance::new("/tmp/x".into(), "/tmp/y".into(), None);
        for instance in [&default, &other] {
            assert!(instance.bridge("0123456789abcdef").len() <= 15);
            assert_eq!(instance.host_link(&id, 15).len(), 15);
        }
        assert_ne!(default.nft_table(), other.nft_table());
        assert_eq!(default.cgroup_parent(), "setpoint");
        assert_eq!(other.socket(), Path::new("/tmp/y/setpoint.sock"));
    }
}
