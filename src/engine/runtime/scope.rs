//! A container of the engine below a slice of systemd: in a scope of its own, of which all that is below it is ours.

use std::fs;

use super::RuntimeError;
use super::cgroups::{CgroupError, CgroupPath, Layout};
use super::holder::Holder;
use super::systemd::{Systemd, Value};

/// A scope that is there as long as this is.
#[derive(Debug)]
pub struct Scope(Holder);

/// Where the scope's own process is, beside the container's: a cgroup that hands controllers down has none itself.
const HELD: &str = "held";

impl Scope {
    /// Starts the scope that a container's cgroup is in. `None` where that is in none.
    ///
    /// # Errors
    /// Those of systemd, and of a process with more than one thread.
    pub fn start(path: &CgroupPath, about: &str) -> Result<Option<Self>, RuntimeError> {
        let Some((slice, unit)) = path.scope() else { return Ok(None) };
        let mut systemd = Systemd::connect()?;
        let holder = Holder::new().map_err(RuntimeError::starter("make a process that holds the scope"))?;
        let text = |text: &str| Value::Text(text.to_owned());
        let properties = [
            ("Description", text(about)),
            ("Slice", text(slice)),
            ("Delegate", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
            ("CollectMode", text("inactive-or-failed")),
            // Of tasks the container has its own limit.
            ("TasksMax", Value::U64(u64::MAX)),
            ("PIDs", Value::Numbers(vec![holder.pid().cast_unsigned()])),
        ];
        systemd.start_scope(unit, &properties.map(|(name, value)| (name.to_owned(), value)))?;
        if let Layout::Unified { root } = Layout::of_host() {
            let folder = root.join(&path.parent).join(HELD);
            fs::create_dir(&folder).map_err(CgroupError::file("create", &folder))?;
            let procs = folder.join("cgroup.procs");
            fs::write(&procs, holder.pid().to_string()).map_err(CgroupError::file("write", procs))?;
        }
        Ok(Some(Self(holder)))
    }

    /// Whether somebody has stopped it.
    pub fn has_ended(&self) -> bool {
        self.0.has_ended()
    }
}
