//! A container's own users: which ids of the host they are, the namespace that maps them, and becoming them. Everything that
//! is the container's is made by the host's root, who acts on files as the container's root; the process joins its users last
//! of all, with nothing of the host's left in its hands.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxIdMapping, Spec};
use rustix::io::Errno;
use rustix::thread::{Gid, Uid, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::error::RuntimeError;
use super::failure::{At, Failure, Stage};
use crate::sys;
use crate::sys::clone::{Cloned, clone_process, exit_now};

/// The mappings of a container's own user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Users {
    uids: Vec<LinuxIdMapping>,
    gids: Vec<LinuxIdMapping>,
}

impl Users {
    /// Those of a specification; `None` where the users are the host's.
    pub(super) fn of(spec: &Spec) -> Option<Self> {
        let linux = spec.linux().as_ref()?;
        let listed = |mappings: &Option<Vec<LinuxIdMapping>>| mappings.clone().unwrap_or_default();
        let users = Self { uids: listed(linux.uid_mappings()), gids: listed(linux.gid_mappings()) };
        (!users.uids.is_empty() || !users.gids.is_empty()).then_some(users)
    }

    /// The host's id of a user; `None` when the container has no such user.
    pub(super) fn host_uid(&self, uid: u32) -> Option<u32> {
        on_host(&self.uids, uid)
    }

    pub(super) fn host_gid(&self, gid: u32) -> Option<u32> {
        on_host(&self.gids, gid)
    }

    /// Those of the container's root.
    pub(super) fn root(&self) -> Result<(u32, u32), Failure> {
        let missing = || Failure::new(Stage::MapUsers, "user 0 or group 0 is not among them", Errno::INVAL);
        self.host_uid(0).zip(self.host_gid(0)).ok_or_else(missing)
    }
}

fn on_host(mappings: &[LinuxIdMapping], id: u32) -> Option<u32> {
    let mapping = mappings.iter().find(|m| id.checked_sub(m.container_id()).is_some_and(|above| above < m.size()))?;
    mapping.host_id().checked_add(id - mapping.container_id())
}

/// A new user namespace of these users, with nobody in it.
pub(super) fn namespace(users: &Users) -> Result<OwnedFd, RuntimeError> {
    let (keeper, kept) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|e| RuntimeError::Starter { action: "make a pipe", source: e.into() })?;
    match clone_process(CloneFlags::CLONE_NEWUSER, None).map_err(RuntimeError::starter("make a user namespace"))? {
        Cloned::Child => {
            drop(kept);
            // Until the other end is closed, whatever becomes of its holder.
            let _closed = rustix::io::read(&keeper, &mut [0u8; 1]);
            exit_now(0)
        }
        Cloned::Parent { pid, .. } => {
            drop(keeper);
            let opened = map(pid, users).and_then(|()| File::open(format!("/proc/{pid}/ns/user")));
            drop(kept);
            let ended = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
            ended.map_err(|e| RuntimeError::Starter { action: "wait for the holder of a user namespace", source: e.into() })?;
            opened.map(Into::into).map_err(RuntimeError::starter("map the users of the container"))
        }
    }
}

fn map(pid: i32, users: &Users) -> io::Result<()> {
    for (name, mappings) in [("uid_map", &users.uids), ("gid_map", &users.gids)] {
        let lines: Vec<String> =
            mappings.iter().map(|m| format!("{} {} {}\n", m.container_id(), m.host_id(), m.size())).collect();
        std::fs::write(format!("/proc/{pid}/{name}"), lines.concat())?;
    }
    Ok(())
}

/// From here on what this process makes belongs to the container's root. To the kernel it stays the host's root in all else.
pub(super) fn act_as_root_of(users: &Users) -> Result<(), Failure> {
    let (uid, gid) = users.root()?;
    sys::process::set_file_ids(uid, gid).at(Stage::MapUsers, format!("make files as {uid}:{gid}"))
}

/// Becomes the root of the users of `space`: a user namespace, or a process that is in it. What only the host's root may do is
/// over.
pub(super) fn join(space: impl AsFd) -> Result<(), Failure> {
    nix::sched::setns(space, CloneFlags::CLONE_NEWUSER).at(Stage::JoinNamespaces, "user")?;
    set_thread_groups(&[]).at(Stage::MapUsers, "groups")?;
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Stage::MapUsers, "group 0")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Stage::MapUsers, "user 0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::LinuxIdMappingBuilder;

    #[test]
    fn ids_of_the_host() {
        let mapping = |inside: u32, outside: u32, size: u32| {
            LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(size).build().unwrap()
        };
        let users = Users { uids: vec![mapping(0, 1000, 10), mapping(20, 5000, 1)], gids: vec![mapping(0, 2000, 10)] };
        assert_eq!(
            (users.host_uid(0), users.host_uid(9), users.host_uid(10), users.host_uid(20)),
            (Some(1000), Some(1009), None, Some(5000))
        );
        assert_eq!(users.root().unwrap(), (1000, 2000));
        let none = Users { uids: vec![mapping(1, 1000, 10)], gids: vec![mapping(0, 2000, 10)] };
        assert!(none.root().is_err());
    }
}
