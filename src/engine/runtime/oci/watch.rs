//! Looking at a container that lives, again and again: what it uses, and whether it has ended.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::cgroups::Cgroup;
use super::error::OciError;
use super::lifecycle;
use super::record::{self, Status};

/// A container that lived when this was made.
#[derive(Debug)]
pub struct Watch {
    cgroup: Cgroup,
    process: OwnedFd,
}

impl Watch {
    pub fn begin(root: &Path, id: &str) -> Result<Self, OciError> {
        let (_, record) = lifecycle::open(root, id)?;
        let stopped = || OciError::Status { verb: "watch", id: id.to_owned(), status: Status::Stopped };
        let process = record::process(&record).ok_or_else(stopped)?;
        Ok(Self { cgroup: Cgroup::at(&record.cgroup)?, process })
    }

    /// What it uses, as runc's `events` has it.
    pub fn usage(&self) -> Value {
        self.cgroup.usage()
    }

    /// How often the kernel has killed in it for want of memory.
    pub fn oom_kills(&self) -> u64 {
        self.cgroup.oom_kills()
    }

    /// Waits so long at most, and says whether its process has ended.
    pub fn ends_within(&self, time: Duration) -> Result<bool, OciError> {
        let timeout = Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&self.process, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => Ok(false),
            other => Ok(other.map_err(|e| OciError::step("wait for the end of the process")(e.into()))? > 0),
        }
    }
}
