//! What a container shares, how it is confined, how it is reached and what it may use.

use super::{SpecArgs, SpecError, Surroundings, flag};
use crate::files;
use crate::model::spec::{
    ContainerSpec, DeviceRate, Exposed, IpcMode, NamespaceMode, NetworkMode, ResourceLimits, SecurityOption, VolumesFrom,
};

/// Labels of files, which those of flags win over.
pub(super) fn label_files(args: &SpecArgs, around: &Surroundings, spec: &mut ContainerSpec) -> Result<(), SpecError> {
    for path in &args.confine.label_file {
        let text = files::read_to_string(&around.cwd.join(path))?;
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            if key.is_empty() || key.contains(char::is_whitespace) {
                return flag("--label-file", &path.display().to_string(), Err(format!("{line:?} is not a label")));
            }
            spec.labels.insert(key.to_owned(), value.to_owned());
        }
    }
    Ok(())
}

/// What it shares with others, and how it is confined.
pub(super) fn apply(args: &SpecArgs, around: &Surroundings, spec: &mut ContainerSpec) -> Result<(), SpecError> {
    let wanted = &args.confine;
    spec.init = wanted.init;
    spec.privileged = wanted.privileged;
    for option in &wanted.security_opt {
        let read = |file: &str| -> Result<String, SpecError> {
            let text = files::read_to_string(&around.cwd.join(file))?;
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) if value.is_object() => Ok(text),
                Ok(_) => flag("--security-opt seccomp", file, Err("it is not a profile")),
                Err(error) => flag("--security-opt seccomp", file, Err(error)),
            }
        };
        spec.security_opt.apply(option.clone(), read)?;
        if let SecurityOption::Label(label) = option
            && label == "disable"
        {
            spec.security_opt.label = vec![label.clone()];
        }
    }
    spec.pid = wanted.pid.clone().unwrap_or_default();
    spec.ipc = wanted.ipc.clone().unwrap_or_default();
    spec.uts = not_of_a_container("--uts", wanted.uts.as_ref())?;
    spec.cgroup = not_of_a_container("--cgroupns", wanted.cgroupns.as_ref())?;
    spec.cgroup_parent = wanted.cgroup_parent.clone();
    spec.userns = wanted.userns.unwrap_or_default();
    spec.shm_size = wanted.shm_size.filter(|size| size.0 != 0);
    if spec.shm_size.is_some() && matches!(spec.ipc, IpcMode::Host | IpcMode::None | IpcMode::Container(_)) {
        let why = "its shared memory is not its own";
        return Err(SpecError::Excludes { flag: "--shm-size", beside: format!("--ipc {}", spec.ipc), why });
    }
    spec.devices = wanted.device.clone();
    spec.device_cgroup_rules = wanted.device_cgroup_rule.clone();
    spec.group_add = wanted.group_add.iter().cloned().collect();
    for text in &wanted.volumes_from {
        spec.volumes_from.push(flag("--volumes-from", text, VolumesFrom::parse(text))?);
    }
    spec.oom_score_adj = wanted.oom_score_adj;
    for text in &wanted.annotation {
        let (key, value) = flag("--annotation", text, text.split_once('=').ok_or("expected KEY=VALUE"))?;
        spec.annotations.insert(key.to_owned(), value.to_owned());
    }
    if spec.uts == NamespaceMode::Host {
        let names = [("--hostname", spec.hostname.is_some()), ("--domainname", args.reach.domainname.is_some())];
        for (flag, given) in names {
            if given {
                let why = "it would be the host that is renamed";
                return Err(SpecError::Excludes { flag, beside: "--uts host".to_owned(), why });
            }
        }
    }
    Ok(())
}

fn not_of_a_container(name: &'static str, mode: Option<&NamespaceMode>) -> Result<NamespaceMode, SpecError> {
    match mode {
        Some(NamespaceMode::Container(_)) => {
            flag(name, &mode.map(ToString::to_string).unwrap_or_default(), Err("it is the container's own, or the host's"))
        }
        mode => Ok(mode.cloned().unwrap_or_default()),
    }
}

/// By what names and addresses it is reached, and reaches others. After its network is known.
pub(super) fn reach(args: &SpecArgs, spec: &mut ContainerSpec) -> Result<(), SpecError> {
    let wanted = &args.reach;
    spec.domainname = wanted.domainname.clone();
    spec.dns = wanted.dns.clone();
    // A dot alone says: none, not even the host's.
    spec.dns_search = wanted.dns_search.clone();
    spec.dns_opt = wanted.dns_option.clone();
    for (name, texts) in [("--dns-search", &spec.dns_search), ("--dns-option", &spec.dns_opt)] {
        if let Some(bad) = texts.iter().find(|text| text.is_empty() || text.contains(char::is_whitespace)) {
            return flag(name, bad, Err("it is one word"));
        }
    }
    for text in &wanted.expose {
        spec.expose.extend(flag("--expose", text, Exposed::parse_all(text))?);
    }
    spec.publish_all = wanted.publish_all;
    spec.mac_address = wanted.mac_address;
    if spec.mac_address.is_some() && (spec.network_mode != NetworkMode::Bridge || spec.networks.len() > 1) {
        return Err(SpecError::NeedsOneNetwork { flag: "--mac-address" });
    }
    if spec.publish_all && spec.network_mode != NetworkMode::Bridge {
        return Err(SpecError::PortsWithoutNetwork { mode: spec.network_mode.clone() });
    }
    if let NetworkMode::Container(_) = &spec.network_mode {
        for (flag, given) in [
            ("--hostname", spec.hostname.is_some()),
            ("--dns", !spec.dns.is_empty()),
            ("--dns-search", !spec.dns_search.is_empty()),
            ("--dns-option", !spec.dns_opt.is_empty()),
            ("--add-host", !args.add_host.is_empty()),
            ("--expose", !spec.expose.is_empty()),
        ] {
            if given {
                let beside = format!("--network {}", spec.network_mode);
                let why = "these are the other container's";
                return Err(SpecError::Excludes { flag, beside, why });
            }
        }
    }
    Ok(())
}

/// What it may use.
pub(super) fn limits(args: &SpecArgs, pids: Option<u32>) -> Result<ResourceLimits, SpecError> {
    let wanted = &args.limits;
    let rates = |name: &'static str, texts: &[String], bytes: bool| -> Result<Vec<DeviceRate>, SpecError> {
        texts.iter().map(|text| flag(name, text, DeviceRate::parse(text, bytes))).collect()
    };
    let limits = ResourceLimits {
        memory: args.memory.filter(|size| size.0 != 0),
        cpus: args.cpus,
        pids,
        memory_reservation: wanted.memory_reservation.filter(|size| size.0 != 0),
        memory_swap: wanted.memory_swap,
        oom_kill_disable: wanted.oom_kill_disable,
        cpu_quota: wanted.cpu_quota.filter(|quota| *quota != 0),
        cpu_period: wanted.cpu_period.filter(|period| *period != 0),
        cpu_shares: wanted.cpu_shares.filter(|shares| *shares != 0),
        cpuset_cpus: wanted.cpuset_cpus.clone(),
        cpuset_mems: wanted.cpuset_mems.clone(),
        blkio_weight: wanted.blkio_weight.filter(|weight| *weight != 0),
        blkio_weight_device: wanted.blkio_weight_device.clone(),
        device_read_bps: rates("--device-read-bps", &wanted.device_read_bps, true)?,
        device_write_bps: rates("--device-write-bps", &wanted.device_write_bps, true)?,
        device_read_iops: rates("--device-read-iops", &wanted.device_read_iops, false)?,
        device_write_iops: rates("--device-write-iops", &wanted.device_write_iops, false)?,
    };
    limits.check().map_err(|(which, why)| SpecError::Limit { which, why })?;
    Ok(limits)
}
