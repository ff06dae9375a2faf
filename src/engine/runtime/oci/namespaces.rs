//! The namespaces of a container: which are new, which are joined by their path, and the users of a new user namespace.

use std::fs::File;
use std::os::fd::OwnedFd;

use nix::sched::{CloneFlags, setns};
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::io::Errno;

use super::super::failure::{At, Failure, Stage};
use super::error::OciError;
use crate::files::FileError;
use crate::sys;

#[derive(Debug)]
pub(super) struct Namespaces {
    /// All that are made anew.
    pub(super) new: CloneFlags,
    /// Those that exist, opened.
    pub(super) joined: Vec<(CloneFlags, OwnedFd)>,
}

/// The flag of the time namespace, which `CloneFlags` does not know.
pub(super) const TIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

pub(super) fn flag(kind: LinuxNamespaceType) -> CloneFlags {
    match kind {
        LinuxNamespaceType::Mount => CloneFlags::CLONE_NEWNS,
        LinuxNamespaceType::Cgroup => CloneFlags::CLONE_NEWCGROUP,
        LinuxNamespaceType::Uts => CloneFlags::CLONE_NEWUTS,
        LinuxNamespaceType::Ipc => CloneFlags::CLONE_NEWIPC,
        LinuxNamespaceType::User => CloneFlags::CLONE_NEWUSER,
        LinuxNamespaceType::Pid => CloneFlags::CLONE_NEWPID,
        LinuxNamespaceType::Network => CloneFlags::CLONE_NEWNET,
        LinuxNamespaceType::Time => TIME,
    }
}

impl Namespaces {
    pub(super) fn of(spec: &Spec) -> Result<Self, OciError> {
        let mut found = Self { new: CloneFlags::empty(), joined: Vec::new() };
        for namespace in spec.linux().iter().flat_map(|l| l.namespaces().iter().flatten()) {
            let flag = flag(namespace.typ());
            match namespace.path() {
                None => found.new |= flag,
                Some(path) => {
                    let file = File::open(path).map_err(|e| FileError::new("open the namespace", path, e))?;
                    let kind = sys::namespace::kind(&file)
                        .map(CloneFlags::from_bits_retain)
                        .map_err(|e| FileError::new("look at the namespace", path, e))?;
                    if kind != flag {
                        let reason = format!("{} is no {} namespace", path.display(), namespace.typ());
                        return Err(OciError::Argument { what: "linux.namespaces", reason });
                    }
                    found.joined.push((flag, file.into()));
                }
            }
        }
        Ok(found)
    }

    pub(super) fn joins(&self, flag: CloneFlags) -> bool {
        self.joined.iter().any(|(f, _)| *f == flag)
    }

    /// Whether the process must be made by one that is in between: the namespaces that it gets are then owned by, or joined
    /// before, its user namespace.
    pub(super) fn needs_two_steps(&self) -> bool {
        self.joins(CloneFlags::CLONE_NEWUSER) || self.new.contains(CloneFlags::CLONE_NEWUSER) && !self.joined.is_empty()
    }

    /// Joins all but what a process gets at its birth only.
    pub(super) fn join(&self) -> Result<(), Failure> {
        self.join_those(|flag| flag != CloneFlags::CLONE_NEWPID)
    }

    /// For a process in between.
    pub(super) fn join_all(&self) -> Result<(), Failure> {
        self.join_those(|_| true)
    }

    /// Joins all that are joined. Those of the host are open to its root only, and those of the user namespace to its: the
    /// first are tried before it is entered, the rest afterwards.
    fn join_those(&self, wanted: impl Fn(CloneFlags) -> bool) -> Result<(), Failure> {
        let about = |flag: &CloneFlags| format!("{flag:?}");
        let mut later = Vec::new();
        for (flag, fd) in self.joined.iter().filter(|(f, _)| *f != CloneFlags::CLONE_NEWUSER && wanted(*f)) {
            match setns(fd, *flag) {
                Err(nix::errno::Errno::EPERM) if self.joins(CloneFlags::CLONE_NEWUSER) => later.push((flag, fd)),
                other => other.at(Stage::JoinNamespace, about(flag))?,
            }
        }
        if let Some((flag, fd)) = self.joined.iter().find(|(f, _)| *f == CloneFlags::CLONE_NEWUSER) {
            setns(fd, *flag).at(Stage::JoinNamespace, about(flag))?;
        }
        later.into_iter().try_for_each(|(flag, fd)| setns(fd, *flag).at(Stage::JoinNamespace, about(flag)))
    }
}

/// Writes the mappings of a process's new user namespace, from outside.
pub(super) fn map_users(pid: i32, uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<(), OciError> {
    for (name, mappings) in [("uid_map", uids), ("gid_map", gids)] {
        let lines: Vec<String> =
            mappings.iter().map(|m| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size())).collect();
        let path = format!("/proc/{pid}/{name}");
        std::fs::write(&path, lines.concat()).map_err(|e| FileError::new("write", path, e))?;
    }
    Ok(())
}

/// Becomes the root of the own user namespace, as far as it has one.
pub(super) fn become_root() -> Result<(), Failure> {
    use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    match set_thread_groups(&[]) {
        // Forbidden in a namespace that was mapped without privileges.
        Err(Errno::PERM) => {}
        other => other.at(Stage::MapUsers, "groups")?,
    }
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Stage::MapUsers, "group 0")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Stage::MapUsers, "user 0")
}

/// A user namespace with nobody in it, for the mappings of a mount.
pub(super) fn mapping(uids: &[LinuxIdMapping], gids: &[LinuxIdMapping]) -> Result<OwnedFd, OciError> {
    use crate::sys::clone::{Cloned, clone_process, exit_now};
    let failed = OciError::step("make a user namespace for the mappings of a mount");
    let (keeper, kept) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| OciError::step("make a pipe")(e.into()))?;
    match clone_process(CloneFlags::CLONE_NEWUSER, None).map_err(failed)? {
        Cloned::Child => {
            drop(kept);
            // Until the other end is closed, whatever becomes of its holder.
            let _closed = rustix::io::read(&keeper, &mut [0u8; 1]);
            exit_now(0)
        }
        Cloned::Parent { pid, .. } => {
            drop(keeper);
            let path = format!("/proc/{pid}/ns/user");
            let opened =
                map_users(pid, uids, gids).and_then(|()| File::open(&path).map_err(|e| FileError::new("open", &path, e).into()));
            drop(kept);
            let ended = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            ended.map_err(|e| OciError::Step { action: "wait for the holder of a user namespace", source: e.into() })?;
            opened.map(Into::into)
        }
    }
}
