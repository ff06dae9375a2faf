//! The OCI runtime's command line on the real kernel: bundles that are made, run and taken away again. Needs root and busybox.

#![expect(clippy::unwrap_used, reason = "what helps tests may panic as they do")]

mod bundle;
mod containerd;
mod docker;
mod engines;
mod files;
mod hooks;
mod life;
mod links;
mod namespaces;
mod podman;
mod process;
