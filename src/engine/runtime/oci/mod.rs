//! The runtime as the OCI Runtime Specification has it: bundles in, containers by name, and a record of each below a root.
//! The command line above it is `cli::oci`. Synchronous and single-threaded, like all of the runtime.
//!
//! # Guarantees
//! What fails to be created leaves nothing: no process, no mount, no cgroup, no record. A container's process is known by a
//! descriptor from before it runs anything, so that its end cannot be missed.

mod bundle;
mod cgroup_mount;
mod cgroups;
mod checks;
mod console;
mod create;
mod devices;
mod error;
mod exec;
mod features;
mod hooks;
mod init;
mod lifecycle;
mod listening;
mod mounts;
mod namespaces;
mod net_devices;
mod options;
mod placement;
mod process;
mod record;
mod rootfs;
mod template;
mod waiting;
mod watch;

pub use console::receive_descriptor;
pub use create::{CreateOptions, Created, create};
pub use error::OciError;
pub use exec::{ExecOptions, Executed, exec, process_of};
pub use features::features;
pub use lifecycle::{delete, kill, list, pause, processes, resume, start, state, update, wait};
pub use record::{State, Status};
pub use template::{rootless, template};
pub use watch::Watch;

/// Where containers are recorded when nobody says.
pub const DEFAULT_ROOT: &str = "/run/setpoint-oci";

/// The cgroup above those of containers that name none.
const DEFAULT_CGROUP: &str = "setpoint-oci";
