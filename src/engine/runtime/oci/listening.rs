//! Whoever judges system calls for a container: gets the listener, and the state of the container with it.

use std::os::fd::OwnedFd;

use oci_spec::runtime::Spec;
use serde::Serialize;

use super::console;
use super::error::OciError;
use super::record::State;

/// The specification's `containerProcessState`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    metadata: &'a str,
    state: &'a State,
}

/// Sends the listener to the path that the bundle names.
pub(super) fn send(spec: &Spec, state: &State, listener: &OwnedFd, name: &str, pid: i32) -> Result<(), OciError> {
    let seccomp = spec.linux().as_ref().and_then(|l| l.seccomp().as_ref());
    let Some(path) = seccomp.and_then(|s| s.listener_path().as_ref()) else {
        let reason = "an action is SCMP_ACT_NOTIFY and there is no listenerPath".to_owned();
        return Err(OciError::Argument { what: "linux.seccomp", reason });
    };
    let message = ContainerProcessState {
        oci_version: &state.oci_version,
        fds: [name],
        pid,
        metadata: seccomp.and_then(|s| s.listener_metadata().as_deref()).unwrap_or_default(),
        state,
    };
    let text = serde_json::to_vec(&message).map_err(|e| OciError::Step { action: "write the state", source: e.into() })?;
    let socket = console::connect_to(path)?;
    console::send_descriptor(socket, &text, listener).map_err(OciError::step("send the listener for system calls"))
}
