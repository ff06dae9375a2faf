//! systemd as the host's maker of cgroups: scopes that are started for processes, changed and stopped, by its D-Bus interface.
//! Knows nothing of containers.

mod bus;
mod value;

use std::io;
use std::path::{Path, PathBuf};

use bus::{Bus, Call, Failed};
use value::Writer;

pub(in crate::engine::runtime) use value::Value;

#[derive(Debug, thiserror::Error)]
pub enum SystemdError {
    #[error(
        "systemd does not run this host (there is no {BOOTED}), so it can make no cgroups; leave --systemd-cgroup out, or name a path instead of a slice"
    )]
    NotThere,
    #[error("speak to systemd by {}: {source}; start dbus, or let the file system be used (cgroupfs)", path.display())]
    Bus { path: PathBuf, source: io::Error },
    #[error("systemd refuses to {action} {unit}: {says} ({name})")]
    Refused { action: &'static str, unit: String, name: String, says: String },
    #[error("systemd could not {action} {unit}: {result}; `journalctl -u {unit}` says more")]
    Job { action: &'static str, unit: String, result: String },
    #[error("systemd's answer about {unit} is not what is expected of it")]
    Answer { unit: String },
}

/// What says that systemd is process 1.
const BOOTED: &str = "/run/systemd/system";

const SOCKET: &str = "/run/dbus/system_bus_socket";

/// The manager of the host's units.
#[derive(Debug)]
pub(in crate::engine::runtime) struct Systemd {
    bus: Bus,
    socket: PathBuf,
    version: u32,
}

const DESTINATION: &str = "org.freedesktop.systemd1";
const MANAGER: Call<'_> = Call {
    destination: DESTINATION,
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
    member: "",
};
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// Whether systemd runs this host.
pub(in crate::engine::runtime) fn is_there() -> bool {
    Path::new(BOOTED).is_dir()
}

impl Systemd {
    /// # Errors
    /// [`SystemdError::NotThere`] where another process is the host's first.
    pub(in crate::engine::runtime) fn connect() -> Result<Self, SystemdError> {
        if !is_there() {
            return Err(SystemdError::NotThere);
        }
        let named = std::env::var("DBUS_SYSTEM_BUS_ADDRESS").ok();
        let named = named.as_deref().and_then(|address| address.strip_prefix("unix:path=")?.split([',', ';']).next());
        let socket = PathBuf::from(named.unwrap_or(SOCKET));
        let bus = Bus::connect(&socket).map_err(|source| SystemdError::Bus { path: socket.clone(), source })?;
        let mut systemd = Self { bus, socket, version: 0 };
        let text = systemd.property(MANAGER.path, MANAGER.interface, "Version", "systemd")?;
        systemd.version = leading_number(&text).ok_or(SystemdError::Answer { unit: text })?;
        Ok(systemd)
    }

    /// Such as 252.
    pub(in crate::engine::runtime) fn version(&self) -> u32 {
        self.version
    }

    /// Starts a scope and waits until it has taken its processes in. One of the same name that has failed is forgotten first.
    pub(in crate::engine::runtime) fn start_scope(
        &mut self,
        unit: &str,
        properties: &[(String, Value)],
    ) -> Result<(), SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("fail");
        body.properties(properties);
        // Further units are none.
        body.array(8, |_| ());
        match self.job("start", unit, "StartTransientUnit", "ssa(sv)a(sa(sv))", &body) {
            Err(SystemdError::Refused { name, .. }) if name == "org.freedesktop.systemd1.UnitExists" => {
                self.forget(unit)?;
                self.job("start", unit, "StartTransientUnit", "ssa(sv)a(sa(sv))", &body)
            }
            other => other,
        }
    }

    /// Changes properties of a unit until the next boot.
    pub(in crate::engine::runtime) fn set(&mut self, unit: &str, properties: &[(String, Value)]) -> Result<(), SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        // At run time only: nothing is written below /etc.
        body.u32(1);
        body.properties(properties);
        self.call("change", unit, Call { member: "SetUnitProperties", ..MANAGER }, "sba(sv)", &body).map(drop)
    }

    /// Stops a unit, and waits until it has stopped. One that is not there any more has.
    pub(in crate::engine::runtime) fn stop(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        body.text("replace");
        match self.job("stop", unit, "StopUnit", "ss", &body) {
            Err(SystemdError::Refused { name, .. }) if name == NO_UNIT => Ok(()),
            other => other.and_then(|()| self.forget(unit)),
        }
    }

    /// Lets it go where it has failed; otherwise it goes by itself.
    fn forget(&mut self, unit: &str) -> Result<(), SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        match self.call("forget", unit, Call { member: "ResetFailedUnit", ..MANAGER }, "s", &body) {
            Err(SystemdError::Refused { name, .. }) if name == NO_UNIT => Ok(()),
            other => other.map(drop),
        }
    }

    /// The cgroup of a scope, below the root of every hierarchy.
    pub(in crate::engine::runtime) fn cgroup_of(&mut self, unit: &str) -> Result<PathBuf, SystemdError> {
        let mut body = Writer::default();
        body.text(unit);
        let found = self.call("find", unit, Call { member: "GetUnit", ..MANAGER }, "s", &body)?;
        let strange = || SystemdError::Answer { unit: unit.to_owned() };
        let path = found.arguments().text().ok_or_else(strange)?;
        let cgroup = self.property(path, "org.freedesktop.systemd1.Scope", "ControlGroup", unit)?;
        if cgroup.len() > 1 { Ok(PathBuf::from(cgroup)) } else { Err(strange()) }
    }

    fn property(&mut self, path: &str, interface: &str, name: &str, unit: &str) -> Result<String, SystemdError> {
        let mut body = Writer::default();
        body.text(interface);
        body.text(name);
        let call = Call { destination: DESTINATION, path, interface: PROPERTIES, member: "Get" };
        let answer = self.call("describe", unit, call, "ss", &body)?;
        let mut from = answer.arguments();
        let text = from.signature().filter(|kind| *kind == "s").and_then(|_| from.text());
        text.map(str::to_owned).ok_or_else(|| SystemdError::Answer { unit: unit.to_owned() })
    }

    /// Asks for a job, and waits for its end.
    fn job(
        &mut self,
        action: &'static str,
        unit: &str,
        member: &str,
        signature: &str,
        body: &Writer,
    ) -> Result<(), SystemdError> {
        // Without a listener systemd tells nobody, and what is not matched the bus does not pass on.
        let mut rule = Writer::default();
        rule.text(&format!("type='signal',sender='{DESTINATION}',interface='{}',member='JobRemoved'", MANAGER.interface));
        let listen = Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "AddMatch",
        };
        self.call("watch", unit, listen, "s", &rule)?;
        match self.call("watch", unit, Call { member: "Subscribe", ..MANAGER }, "", &Writer::default()) {
            Err(SystemdError::Refused { name, .. }) if name == "org.freedesktop.systemd1.AlreadySubscribed" => {}
            other => drop(other?),
        }
        let asked = self.call(action, unit, Call { member, ..MANAGER }, signature, body)?;
        let strange = || SystemdError::Answer { unit: unit.to_owned() };
        let job = asked.arguments().text().ok_or_else(strange)?.to_owned();
        loop {
            let signal = self.bus.signal().map_err(|source| SystemdError::Bus { path: self.socket.clone(), source })?;
            // The job's number, its path, the unit and the result.
            if signal.member != "JobRemoved" || signal.signature != "uoss" {
                continue;
            }
            let mut from = signal.arguments();
            let (_, path) = (from.u32(), from.text());
            if path != Some(job.as_str()) {
                continue;
            }
            let (_, result) = (from.text(), from.text().ok_or_else(strange)?);
            return match result {
                "done" => Ok(()),
                other => Err(SystemdError::Job { action, unit: unit.to_owned(), result: other.to_owned() }),
            };
        }
    }

    fn call(
        &mut self,
        action: &'static str,
        unit: &str,
        call: Call<'_>,
        signature: &str,
        body: &Writer,
    ) -> Result<bus::Message, SystemdError> {
        self.bus.call(call, signature, body).map_err(|failed| match failed {
            Failed::Io(source) => SystemdError::Bus { path: self.socket.clone(), source },
            Failed::Refused(name, says) => SystemdError::Refused { action, unit: unit.to_owned(), name, says },
        })
    }
}

const NO_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";

/// Of `252.39-1~deb12u1` and `v255`.
fn leading_number(text: &str) -> Option<u32> {
    text.trim_start_matches('v').split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        for (text, number) in [("252.39-1~deb12u1", Some(252)), ("v255", Some(255)), ("249", Some(249)), ("", None)] {
            assert_eq!(leading_number(text), number);
        }
    }
}
