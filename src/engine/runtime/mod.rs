//! The OCI runtime: from a specification to a process in its namespaces. Synchronous and single-threaded.
//!
//! # Assumptions
//! [`start`] and [`exec`] are called in a process with one thread (they refuse to work in another), as root.
//!
//! # Guarantees
//! What fails leaves nothing: no process, no mount, no cgroup. What is returned runs the program that was asked for, and
//! its end cannot be missed, because nobody has waited for it.

mod capabilities;
pub mod cgroups;
mod dev;
mod devices;
mod ended;
mod enter;
mod error;
mod exec;
mod failure;
mod holder;
mod init;
pub mod kin;
mod launch;
mod mounts;
pub mod oci;
mod overlay;
mod own_users;
mod root;
mod scope;
mod seccomp;
mod shm;
mod shown;
pub mod small_init;
pub mod spaces;
pub mod spec;
mod start;
mod support;
mod sysctl;
pub mod systemd;
mod users;
pub mod view;

#[cfg(test)]
mod tests;

pub use capabilities::grant_all;
pub use cgroups::CgroupPath;
pub use enter::DEFAULT_PATH;
pub use error::RuntimeError;
pub use exec::{exec, open_terminal};
pub use failure::Stage;
pub use launch::{ExecRequest, Launch, Network, Process, RootFs, Stdio};
pub use scope::Scope;
pub use seccomp::Filter;
pub use shown::{View, shows_file};
pub use start::start;
pub use users::look_up_at;
