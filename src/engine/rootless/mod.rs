//! Setpoint as an ordinary user. One process for each instance, the keeper, holds a user namespace in which the user is root, and
//! with it mounts and a network that are the user's own; a program that needs no privileges connects that network with
//! the world. Every process of the engine executes its program anew inside, and from there on does what it always does.
//!
//! The engine's processes stay in the host's network: registries are asked from there, and a container that shares the
//! host's network has what the user has. Only what is done to networks is done in the other one.
//!
//! Knows nothing of containers, images and how networks are made.

mod delegate;
mod enter;
mod error;
mod ids;
mod keeper;
mod record;
pub mod slirp;
mod spaces;

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

pub use enter::{default_roots, enter, is_needed, leave};
pub use error::RootlessError;
pub use keeper::main;

use crate::sys;
use record::{Folder, Record};

/// The name of the keeper's role, as the first argument of this program.
pub const ROLE: &str = "@rootless";

/// What the world sees of the user's own network is at this address, as the program that connects it lays it out. Source:
/// slirp4netns(1).
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 100);
/// Who is asked for names there, and asks the host's name servers.
pub const NAMES: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);

/// Whether this process is inside, for the instance with this run-time folder.
pub fn is_inside(run_dir: &Path) -> bool {
    sys::userns::is_inside() && Folder::of(run_dir).record().exists()
}

/// The user's own network namespace. `None` where the engine has the host's.
///
/// # Errors
/// When the keeper is gone.
pub fn network(run_dir: &Path) -> Result<Option<OwnedFd>, RootlessError> {
    if !is_inside(run_dir) {
        return Ok(None);
    }
    let gone = || RootlessError::KeeperGone { folder: run_dir.to_owned() };
    let record = Record::read(&Folder::of(run_dir))?.ok_or_else(gone)?;
    let namespace = sys::netns::of_identified(record.pin.pid, record.pin.started);
    namespace.map_err(|source| RootlessError::Join { what: "network", source })?.ok_or_else(gone).map(Some)
}

/// The socket by which the program is told what to pass on from the host's ports.
pub fn ports_socket(run_dir: &Path) -> PathBuf {
    Folder::of(run_dir).socket()
}

/// Where it is written down what is to be passed on, for when that program is started again.
pub fn ports_file(run_dir: &Path) -> PathBuf {
    Folder::of(run_dir).ports()
}
