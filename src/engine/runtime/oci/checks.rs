//! What a bundle must not say, as far as a look at its values shows it: each rule is one of the specification's. Knows nothing
//! of the host.

use std::path::Path;

use oci_spec::runtime::{Hook, LinuxIdMapping, LinuxSeccomp, LinuxSeccompAction, Spec};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Parts of a document that are not Linux's, and that the types of the specification do not have.
#[derive(Debug, Deserialize)]
pub(super) struct OtherPlatforms {
    freebsd: Option<IgnoredAny>,
    zos: Option<IgnoredAny>,
}

impl OtherPlatforms {
    pub(super) fn any(&self) -> bool {
        self.freebsd.is_some() || self.zos.is_some()
    }
}

/// Gives the reason why the document is not one.
pub(super) fn check(spec: &Spec) -> Result<(), String> {
    check_hooks(spec)?;
    for mount in spec.mounts().iter().flatten() {
        let place = || format!("mount {}", mount.destination().display());
        check_mappings(&place(), mount.uid_mappings().as_deref(), mount.gid_mappings().as_deref())?;
    }
    let Some(linux) = spec.linux() else { return Ok(()) };
    check_mappings("linux", linux.uid_mappings().as_deref(), linux.gid_mappings().as_deref())?;
    for namespace in linux.namespaces().iter().flatten() {
        if let Some(path) = namespace.path().as_ref().filter(|path| !path.is_absolute()) {
            return Err(format!("linux.namespaces: {:?} is not absolute", path.display()));
        }
    }
    for (name, device) in linux.net_devices().iter().flatten() {
        let inner = device.name().as_deref().filter(|n| !n.is_empty()).unwrap_or(name);
        for name in [name.as_str(), inner] {
            check_link_name(name)?;
        }
    }
    linux.seccomp().as_ref().map_or(Ok(()), check_seccomp)
}

fn check_hooks(spec: &Spec) -> Result<(), String> {
    let Some(hooks) = spec.hooks() else { return Ok(()) };
    let phases = [
        ("prestart", hooks.prestart()),
        ("createRuntime", hooks.create_runtime()),
        ("createContainer", hooks.create_container()),
        ("startContainer", hooks.start_container()),
        ("poststart", hooks.poststart()),
        ("poststop", hooks.poststop()),
    ];
    for (phase, listed) in phases {
        listed.iter().flatten().try_for_each(|hook| check_hook(hook).map_err(|reason| format!("hooks.{phase}: {reason}")))?;
    }
    Ok(())
}

fn check_hook(hook: &Hook) -> Result<(), String> {
    if !hook.path().is_absolute() {
        return Err(format!("the path {:?} is not absolute", hook.path().display()));
    }
    match hook.timeout() {
        Some(seconds) if seconds <= 0 => Err(format!("the timeout {seconds} of {} is not above zero", hook.path().display())),
        _ => Ok(()),
    }
}

/// Both, or none.
fn check_mappings(of: &str, uids: Option<&[LinuxIdMapping]>, gids: Option<&[LinuxIdMapping]>) -> Result<(), String> {
    let named = |mappings: Option<&[LinuxIdMapping]>| mappings.is_some_and(|m| !m.is_empty());
    match (named(uids), named(gids)) {
        (true, false) => Err(format!("{of}: uidMappings without gidMappings; name both")),
        (false, true) => Err(format!("{of}: gidMappings without uidMappings; name both")),
        _ => Ok(()),
    }
}

/// As the kernel has it: 15 bytes at most, and no way to write a path.
fn check_link_name(name: &str) -> Result<(), String> {
    let odd = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace();
    let bad = name.is_empty() || name.len() > 15 || matches!(name, "." | "..") || name.bytes().any(odd);
    if bad { Err(format!("linux.netDevices: {name:?} is no name of a link")) } else { Ok(()) }
}

fn check_seccomp(seccomp: &LinuxSeccomp) -> Result<(), String> {
    use LinuxSeccompAction::{ScmpActErrno, ScmpActTrace};
    let named = |path: &Option<std::path::PathBuf>| path.as_deref().is_some_and(|p| p != Path::new(""));
    if seccomp.listener_metadata().as_ref().is_some_and(|m| !m.is_empty()) && !named(seccomp.listener_path()) {
        return Err("linux.seccomp: listenerMetadata without listenerPath".to_owned());
    }
    let takes_number = |action: LinuxSeccompAction| matches!(action, ScmpActErrno | ScmpActTrace);
    if seccomp.default_errno_ret().is_some() && !takes_number(seccomp.default_action()) {
        return Err(format!("linux.seccomp: defaultErrnoRet is of no use to {}", seccomp.default_action()));
    }
    for rule in seccomp.syscalls().iter().flatten() {
        if rule.names().is_empty() {
            return Err("linux.seccomp.syscalls: a rule without names".to_owned());
        }
        if rule.errno_ret().is_some() && !takes_number(rule.action()) {
            return Err(format!("linux.seccomp.syscalls {}: errnoRet is of no use to {}", rule.names()[0], rule.action()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn said_of(part: Value) -> String {
        let mut document = json!({"ociVersion": "1.2.0"});
        document.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        check(&serde_json::from_value(document).unwrap()).err().unwrap_or_default()
    }

    #[test]
    fn what_must_not_be_said() {
        let hook = |hook: Value| said_of(json!({"hooks": {"poststop": [hook]}}));
        assert!(hook(json!({"path": "x"})).contains("hooks.poststop: the path"));
        assert!(hook(json!({"path": "/x", "timeout": 0})).contains("not above zero"));
        assert_eq!(hook(json!({"path": "/x", "timeout": 1})), "");
        let maps = json!([{"containerID": 0, "hostID": 1, "size": 1}]);
        assert!(said_of(json!({"mounts": [{"destination": "/x", "uidMappings": maps}]})).contains("mount /x: uidMappings"));
        assert!(said_of(json!({"linux": {"gidMappings": maps}})).contains("linux: gidMappings"));
        assert!(said_of(json!({"linux": {"namespaces": [{"type": "pid", "path": "x"}]}})).contains("not absolute"));
        assert!(said_of(json!({"linux": {"netDevices": {"a/b": {}}}})).contains("no name of a link"));
        assert!(said_of(json!({"linux": {"netDevices": {"eth0": {"name": "sixteen-and-more"}}}})).contains("no name"));
        assert_eq!(said_of(json!({"linux": {"netDevices": {"eth0": {"name": "inner%d"}}}})), "");
        let filter = |filter: Value| said_of(json!({"linux": {"seccomp": filter}}));
        assert!(filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1})).contains("defaultErrnoRet"));
        assert!(filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"})).contains("listenerMetadata"));
        let rule = json!([{"names": ["getcwd"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]);
        assert!(filter(json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule})).contains("getcwd: errnoRet"));
    }
}
