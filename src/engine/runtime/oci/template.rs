//! A specification to begin with: a shell in all its own namespaces, with the capabilities and hidden paths that are usual.

use serde_json::{Value, json};

/// What `spec` writes.
pub fn template() -> Value {
    let few = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];
    json!({
        "ociVersion": "1.2.1",
        "process": {
            "terminal": true,
            "user": { "uid": 0, "gid": 0 },
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": few, "effective": few, "permitted": few },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "setpoint",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "cgroup" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

/// What `spec --rootless` writes: an ordinary user is root in a user namespace of its own, shares the host's network, and has
/// no cgroup to limit.
pub fn rootless() -> Value {
    let mut document = template();
    let of = |id: u32| json!([{ "containerID": 0, "hostID": id, "size": 1 }]);
    let linux = &mut document["linux"];
    linux["uidMappings"] = of(rustix::process::geteuid().as_raw());
    linux["gidMappings"] = of(rustix::process::getegid().as_raw());
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
        namespaces.push(json!({ "type": "user" }));
    }
    if let Some(mounts) = document["mounts"].as_array_mut() {
        for mount in mounts.iter_mut() {
            if let Some(options) = mount["options"].as_array_mut() {
                // There is one user and one group only.
                options.retain(|option| !option.as_str().is_some_and(|o| o.starts_with("gid=") || o.starts_with("uid=")));
            }
            // Of the host's network, which the host's root has mounted: it can only be bound.
            if mount["destination"] == "/sys" {
                *mount = json!({ "destination": "/sys", "type": "none", "source": "/sys",
                    "options": ["rbind", "nosuid", "noexec", "nodev", "ro"] });
            }
        }
        mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    }
    document
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ordinary_users_too() {
        let spec: oci_spec::runtime::Spec = serde_json::from_value(super::rootless()).unwrap();
        let linux = spec.linux().as_ref().unwrap();
        assert!(linux.resources().is_none() && linux.uid_mappings().as_ref().is_some_and(|m| m.len() == 1));
        assert!(!super::rootless().to_string().contains("gid=5"));
    }

    #[test]
    fn it_is_a_specification() {
        let spec: oci_spec::runtime::Spec = serde_json::from_value(super::template()).unwrap();
        assert!(spec.process().is_some() && spec.linux().is_some());
    }
}
