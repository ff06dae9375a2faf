//! Kernel parameters of the container's own namespaces. Those of the host are not settable from here.

use std::collections::HashMap;
use std::path::PathBuf;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::failure::{At, Failure, Stage};
use super::root::{Root, on_proc};

/// Whether the parameter belongs to a namespace that a container has of its own.
pub(super) fn is_namespaced(name: &str, own_network: bool) -> bool {
    const OF_IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    let plain = name.split('.').all(|part| !part.is_empty() && !part.contains("..") && !part.starts_with('/'));
    plain
        && (OF_IPC.contains(&name)
            || name == "kernel.domainname"
            || name.starts_with("fs.mqueue.")
            || own_network && name.starts_with("net."))
}

/// Writes the parameters through the container's own `/proc`, before it is made read-only.
pub(super) fn set_all(root: &Root, parameters: Option<&HashMap<String, String>>) -> Result<(), Failure> {
    for (name, value) in parameters.into_iter().flatten() {
        let path = PathBuf::from(format!("proc/sys/{}", name.replace('.', "/")));
        let file = root.open_plain(&path, OFlags::WRONLY).at(Stage::SetSysctl, name)?;
        // A container may have a mount of its own in the place of /proc.
        if !on_proc(&file).at(Stage::SetSysctl, name)? {
            return Err(Failure::new(
                Stage::SetSysctl,
                format!("{name}: what is mounted at /proc is something else"),
                Errno::XDEV,
            ));
        }
        rustix::io::write(&file, value.as_bytes()).at(Stage::SetSysctl, name)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_namespaced;

    #[test]
    fn only_what_a_namespace_owns() {
        assert!(is_namespaced("net.core.somaxconn", true));
        assert!(!is_namespaced("net.core.somaxconn", false));
        assert!(is_namespaced("kernel.shmmax", false));
        assert!(is_namespaced("fs.mqueue.msg_max", false));
        for bad in ["kernel.core_pattern", "vm.swappiness", "fs.file-max", "net./../kernel/core_pattern", "net...x", "", "net."] {
            assert!(!is_namespaced(bad, true), "{bad}");
        }
    }
}
