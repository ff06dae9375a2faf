//! The runtime's own program file, which a container's first process is for a moment: it is executed from a mount on which
//! nobody can write, so that no container can change it, whatever it gets hold of.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::error::OciError;
use crate::sys::mounts::set_attributes;

const OWN: &str = "/proc/self/exe";

/// Executes this program anew from a read-only mount, unless it is there already. Returns when it is.
///
/// # Assumptions
/// The process has just begun, and nothing of it needs to be kept.
pub fn execute_read_only() -> Result<(), OciError> {
    let failed = OciError::step("execute the own program from where nobody can write");
    let is_read_only = || -> std::io::Result<bool> { Ok(rustix::fs::statvfs(OWN)?.f_flag.contains(StatVfsMountFlags::RDONLY)) };
    let attempt = || -> std::io::Result<()> {
        if is_read_only()? {
            return Ok(());
        }
        let tree: OwnedFd = open_tree(CWD, OWN, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        set_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
        let strings = |all: Vec<std::ffi::OsString>| -> std::io::Result<Vec<CString>> {
            all.into_iter().map(|s| CString::new(s.into_vec()).map_err(Into::into)).collect()
        };
        let arguments = strings(std::env::args_os().collect())?;
        let environment = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        let Err(error) = nix::unistd::fexecve(tree, &arguments, &strings(environment.collect())?);
        Err(error.into())
    };
    attempt().map_err(failed)
}
