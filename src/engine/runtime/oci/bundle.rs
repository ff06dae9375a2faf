//! A bundle: its `config.json` as values, and what of it cannot be honoured on this host refused before anything is made.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Process, Spec};

use super::super::sysctl;
use super::checks;
use super::error::OciError;
use crate::files;

/// A read and checked bundle.
#[derive(Debug)]
pub(super) struct Bundle {
    pub(super) path: PathBuf,
    /// The file's bytes, which are kept: a change of the file after the creation has no effect.
    pub(super) text: Vec<u8>,
    pub(super) spec: Spec,
    pub(super) rootfs: PathBuf,
}

impl Bundle {
    pub(super) fn read(folder: &Path) -> Result<Self, OciError> {
        let path = std::path::absolute(folder).map_err(OciError::step("find the bundle"))?;
        let config = path.join("config.json");
        let text = files::read(&config)?;
        let others: checks::OtherPlatforms =
            serde_json::from_slice(&text).map_err(|source| OciError::Config { path: config.clone(), source })?;
        let spec: Spec = serde_json::from_slice(&text).map_err(|source| OciError::Config { path: config.clone(), source })?;
        let invalid = |reason: &str| OciError::Invalid { path: config.clone(), reason: reason.to_owned() };
        let root = spec.root().as_ref().ok_or_else(|| invalid("root is missing"))?;
        let rootfs = path.join(root.path());
        // Resolved once: what is mounted later is never reached by a path of the container's.
        let rootfs = rootfs.canonicalize().map_err(|e| files::FileError::new("open the root file system", rootfs, e))?;
        if !version_is_known(spec.version()) {
            return Err(invalid(&format!("ociVersion {:?} is none of 1.x", spec.version())));
        }
        if let Some(process) = spec.process() {
            check_process(process).map_err(|reason| invalid(&reason))?;
        }
        checks::check(&spec).map_err(|reason| invalid(&reason))?;
        if let Some(linux) = spec.linux() {
            check_linux(&spec, linux).map_err(|reason| invalid(&reason))?;
        }
        refuse_unsupported(&spec, &others)?;
        Ok(Self { path, text, spec, rootfs })
    }
}

fn version_is_known(version: &str) -> bool {
    let mut parts = version.split(['.', '-', '+']);
    parts.next() == Some("1") && parts.next().is_some_and(|minor| minor.parse::<u32>().is_ok())
}

/// The same for a container's process and for those that join it.
pub(super) fn check_process(process: &Process) -> Result<(), String> {
    if process.args().as_ref().and_then(|a| a.first()).is_none_or(String::is_empty) {
        return Err("process.args is empty: it has the command".to_owned());
    }
    if !process.cwd().is_absolute() {
        return Err(format!("process.cwd {:?} is not absolute", process.cwd()));
    }
    let mut limits: Vec<String> = process.rlimits().iter().flatten().map(|l| l.typ().to_string()).collect();
    limits.sort();
    match limits.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("process.rlimits has {} twice", pair[0])),
        None => Ok(()),
    }
}

fn check_linux(spec: &Spec, linux: &Linux) -> Result<(), String> {
    use LinuxNamespaceType as Type;
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    for (index, namespace) in namespaces.iter().enumerate() {
        if namespaces[..index].iter().any(|earlier| earlier.typ() == namespace.typ()) {
            return Err(format!("linux.namespaces has {} twice", namespace.typ()));
        }
    }
    let has = |kind: Type| namespaces.iter().any(|n| n.typ() == kind);
    let named = |name: &Option<String>| name.as_ref().is_some_and(|n| !n.is_empty());
    if (named(spec.hostname()) || named(spec.domainname())) && !has(Type::Uts) {
        return Err("hostname and domainname need a uts namespace".to_owned());
    }
    let new = |kind: Type| namespaces.iter().any(|n| n.typ() == kind && n.path().is_none());
    let mapped = linux.uid_mappings().as_ref().is_some_and(|m| !m.is_empty());
    if new(Type::User) && !mapped {
        return Err("a new user namespace needs linux.uidMappings and linux.gidMappings".to_owned());
    }
    if mapped && !has(Type::User) {
        return Err("linux.uidMappings need a user namespace".to_owned());
    }
    if linux.time_offsets().as_ref().is_some_and(|o| !o.is_empty()) && !new(Type::Time) {
        return Err("linux.timeOffsets need a new time namespace".to_owned());
    }
    if linux.net_devices().as_ref().is_some_and(|d| !d.is_empty()) && !has(Type::Network) {
        return Err("linux.netDevices need a network namespace".to_owned());
    }
    for name in linux.sysctl().iter().flatten().map(|(name, _)| name) {
        let own = sysctl::is_namespaced(name, has(Type::Network)) && (name.starts_with("net.") || has(Type::Ipc))
            || matches!(name.as_str(), "kernel.domainname" | "kernel.hostname") && has(Type::Uts);
        if !own {
            return Err(format!("linux.sysctl {name}: it is not of a namespace that the container has of its own"));
        }
    }
    let hidden = linux.masked_paths().as_ref().is_some_and(|p| !p.is_empty())
        || linux.readonly_paths().as_ref().is_some_and(|p| !p.is_empty());
    if hidden && !has(Type::Mount) {
        return Err("linux.maskedPaths and linux.readonlyPaths need a mount namespace".to_owned());
    }
    Ok(())
}

/// What no container gets from this runtime.
fn refuse_unsupported(spec: &Spec, others: &checks::OtherPlatforms) -> Result<(), OciError> {
    let refuse = |present: bool, part: &str, hint: &'static str| match present {
        true => Err(OciError::Unsupported { part: part.to_owned(), hint }),
        false => Ok(()),
    };
    let other = spec.vm().is_some() || spec.windows().is_some() || spec.solaris().is_some() || others.any();
    refuse(other, "another platform's part", "remove it")?;
    let Some(linux) = spec.linux() else { return Ok(()) };
    refuse(linux.intel_rdt().is_some(), "linux.intelRdt", "remove it")?;
    let label = linux.mount_label().as_ref().is_some_and(|l| !l.is_empty());
    refuse(label && !Path::new("/sys/fs/selinux/enforce").exists(), "linux.mountLabel", "this host has no SELinux; remove it")
}

/// The security labels, refused where the host does not know them.
pub(super) fn check_labels(process: &Process) -> Result<(), OciError> {
    let wanted = |label: &Option<String>| label.as_ref().is_some_and(|l| !l.is_empty());
    if wanted(process.apparmor_profile()) && !Path::new("/sys/kernel/security/apparmor").exists() {
        let part = "process.apparmorProfile".to_owned();
        return Err(OciError::Unsupported { part, hint: "this host has no AppArmor; remove it" });
    }
    if wanted(process.selinux_label()) && !Path::new("/sys/fs/selinux/enforce").exists() {
        let part = "process.selinuxLabel".to_owned();
        return Err(OciError::Unsupported { part, hint: "this host has no SELinux; remove it" });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (version, known) in
            [("1.0.2", true), ("1.2.0-rc.1", true), ("1.2.1+dev", true), ("2.0.0", false), ("", false), ("1", false)]
        {
            assert_eq!(version_is_known(version), known, "{version}");
        }
    }
}
