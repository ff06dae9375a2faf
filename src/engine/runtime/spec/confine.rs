//! How a container is confined: its namespaces, what is hidden from it, what it may call, and its devices.

use std::collections::{BTreeMap, HashMap};

use oci_spec::runtime::{
    Capabilities, Linux, LinuxDevice, LinuxDeviceCgroup, LinuxDeviceType, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace,
    LinuxNamespaceType, LinuxResources,
};

use super::{HostDevice, SpecError, SpecInput, defaults};
use crate::engine::runtime::seccomp::{self, Filter, SeccompError};
use crate::engine::runtime::sysctl;
use crate::model::spec::{ContainerSpec, DeviceAccess, DeviceCgroupRule, IpcMode, NamespaceMode, NetworkMode, Seccomp};
use crate::sys;

/// Whether its programs can gain no privileges. A privileged container has all of them anyway.
pub(super) fn no_new_privileges(container: &ContainerSpec) -> bool {
    container.security_opt.no_new_privileges.unwrap_or(!container.privileged)
}

/// The profile of AppArmor that it asks for.
pub(super) fn apparmor(container: &ContainerSpec) -> Option<String> {
    container.security_opt.apparmor.clone().filter(|profile| profile != "unconfined")
}

pub(super) fn linux(input: &SpecInput<'_>) -> Result<Linux, SpecError> {
    let (container, devices) = (input.container, input.devices.as_slice());
    let security = &container.security_opt;
    if let Some(label) = security.label.iter().find(|label| *label != "disable") {
        return Err(SpecError::Label { label: label.clone() });
    }
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(container, input.users.is_some())))
        .set_uid_mappings(input.users.map(|users| mapping(users.uid, users.size)).transpose()?)
        .set_gid_mappings(input.users.map(|users| mapping(users.gid, users.size)).transpose()?)
        .set_sysctl(Some(sysctls(container)?))
        // What is called is judged by a filter that is kept beside the specification, ready made.
        .set_seccomp(None)
        .set_devices((!devices.is_empty()).then(|| devices.iter().map(node).collect()))
        .set_resources(rules(container, devices).map(|rules| {
            let mut resources = LinuxResources::default();
            resources.set_devices(Some(rules));
            resources
        }));
    let open = container.privileged || security.unconfined_paths;
    linux
        .set_masked_paths((!open).then(|| defaults::masked().to_vec()))
        .set_readonly_paths((!open).then(|| defaults::READ_ONLY.map(str::to_owned).to_vec()));
    Ok(linux)
}

/// All but the host's. Which of them are another container's is not said here: they have no path yet.
fn namespaces(container: &ContainerSpec, own_users: bool) -> Vec<LinuxNamespace> {
    use LinuxNamespaceType as Type;
    [
        (Type::Mount, true),
        (Type::Pid, container.pid != NamespaceMode::Host),
        (Type::Uts, container.uts != NamespaceMode::Host),
        (Type::Ipc, container.ipc != IpcMode::Host),
        (Type::Cgroup, container.cgroup != NamespaceMode::Host),
        (Type::Network, container.network_mode != NetworkMode::Host),
        (Type::User, own_users),
    ]
    .into_iter()
    .filter(|(_, own)| *own)
    .map(|(kind, _)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind);
        namespace
    })
    .collect()
}

/// The ids from 0 on are these of the host.
fn mapping(first: u32, size: u32) -> Result<Vec<LinuxIdMapping>, SpecError> {
    let built = LinuxIdMappingBuilder::default().container_id(0u32).host_id(first).size(size).build();
    let built = built.map_err(|e| SpecError::Assemble { what: "the mapping of its users", reason: e.to_string() })?;
    Ok(vec![built])
}

/// What its programs may call.
pub(super) fn filter(container: &ContainerSpec, capabilities: &Capabilities) -> Result<Filter, SpecError> {
    let profile = |e: SeccompError| SpecError::Profile { why: e.to_string() };
    match &container.security_opt.seccomp {
        Seccomp::Unconfined => Ok(Filter::default()),
        Seccomp::Profile(text) => {
            let rules = seccomp::custom(text, capabilities).map_err(|e| SpecError::Profile { why: e.to_string() })?;
            seccomp::compile(Some(&rules)).map(Filter::from).map_err(profile)
        }
        Seccomp::Default if container.privileged => Ok(Filter::default()),
        Seccomp::Default => {
            let sockets = match container.security_opt.unconfined_sockets {
                true => seccomp::Sockets::All,
                false => seccomp::Sockets::FourFamilies,
            };
            seccomp::of_default(capabilities, sockets).map_err(profile)
        }
    }
}

/// What it may change of the kernel's parameters: those of namespaces that are its own.
fn sysctls(container: &ContainerSpec) -> Result<HashMap<String, String>, SpecError> {
    let own_network = !matches!(container.network_mode, NetworkMode::Host | NetworkMode::Container(_));
    let own_ipc = !matches!(container.ipc, IpcMode::Host | IpcMode::Container(_));
    let own_names = container.uts != NamespaceMode::Host;
    let mut all = HashMap::new();
    if own_network {
        // Ports below 1024 and ping without any capability: in a network of one's own there is nothing to protect.
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        // Groups that a user namespace has not are refused.
        let largest = sys::userns::largest_group().unwrap_or(u32::MAX).min(i32::MAX.cast_unsigned());
        all.insert("net.ipv4.ping_group_range".to_owned(), format!("0 {largest}"));
    }
    let own: &BTreeMap<String, String> = &container.sysctls;
    for (name, value) in own {
        let of_ipc = !name.starts_with("net.") && name != "kernel.domainname";
        let elsewhere = (of_ipc && !own_ipc) || (name == "kernel.domainname" && !own_names);
        if elsewhere || !sysctl::is_namespaced(name, own_network) {
            return Err(SpecError::Sysctl { name: name.clone() });
        }
        all.insert(name.clone(), value.clone());
    }
    Ok(all)
}

fn node(device: &HostDevice) -> LinuxDevice {
    let mut node = LinuxDevice::default();
    node.set_path(device.path.clone())
        .set_typ(kind(device))
        .set_major(i64::from(device.major))
        .set_minor(i64::from(device.minor))
        .set_file_mode(Some(device.mode))
        .set_uid(Some(device.uid))
        .set_gid(Some(device.gid));
    node
}

const fn kind(device: &HostDevice) -> LinuxDeviceType {
    if device.block { LinuxDeviceType::B } else { LinuxDeviceType::C }
}

/// Rules beside the usual ones; `None` where there are none.
fn rules(container: &ContainerSpec, devices: &[HostDevice]) -> Option<Vec<LinuxDeviceCgroup>> {
    if container.privileged {
        return Some(vec![rule(LinuxDeviceType::A, None, None, DeviceAccess::ALL)]);
    }
    let of_devices = devices.iter().map(|d| rule(kind(d), Some(d.major), Some(d.minor), d.access));
    let own = container.device_cgroup_rules.iter().map(|DeviceCgroupRule { kind, major, minor, access }| {
        let kind = match kind {
            'b' => LinuxDeviceType::B,
            'c' => LinuxDeviceType::C,
            _ => LinuxDeviceType::A,
        };
        rule(kind, *major, *minor, *access)
    });
    let rules: Vec<_> = of_devices.chain(own).collect();
    (!rules.is_empty()).then_some(rules)
}

fn rule(kind: LinuxDeviceType, major: Option<u32>, minor: Option<u32>, access: DeviceAccess) -> LinuxDeviceCgroup {
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(kind))
        .set_major(major.map(i64::from))
        .set_minor(minor.map(i64::from))
        .set_access(Some(access.to_string()));
    rule
}
