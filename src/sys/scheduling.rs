//! How the kernel schedules this thread: policy, priorities, processors, memory nodes and the execution domain. Knows
//! nothing of what the values are good for.
#![expect(unsafe_code, reason = "these calls have no safe wrapper")]

use std::io;

/// The kernel's `struct sched_attr`, version 1.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    utilization_min: u32,
    utilization_max: u32,
}

/// Gives this thread a policy with its parameters.
pub fn set_scheduling(wanted: &Scheduling) -> io::Result<()> {
    let attributes = Scheduling { size: size_of::<Scheduling>() as u32, ..*wanted };
    // SAFETY: `attributes` is laid out as the kernel wants it, says its own size, and outlives the call.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) })
}

/// Gives this thread a class and a level within it for its reads and writes of disks.
pub fn set_io_priority(class: u32, level: u32) -> io::Result<()> {
    const OF_PROCESS: libc::c_int = 1;
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, OF_PROCESS, 0, class << 13 | level) })
}

/// Lets this thread run on these processors only.
pub fn set_affinity(processors: &[usize]) -> io::Result<()> {
    const MOST: usize = 8192;
    let mut mask = [0u64; MOST / 64];
    for processor in processors {
        let word = mask.get_mut(processor / 64).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        *word |= 1 << (processor % 64);
    }
    // SAFETY: the kernel reads as many bytes of the mask as there are.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&mask), mask.as_ptr()) })
}

/// Says from which nodes the memory of this thread is taken.
pub fn set_memory_policy(mode: u32, nodes: Option<&[usize]>) -> io::Result<()> {
    const MOST: usize = 1024;
    let mut mask = [0u64; MOST / 64];
    for node in nodes.unwrap_or_default() {
        let word = mask.get_mut(node / 64).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        *word |= 1 << (node % 64);
    }
    let (pointer, bits) = if nodes.is_some() { (mask.as_ptr(), MOST + 1) } else { (std::ptr::null(), 0) };
    // SAFETY: the pointer is null with no bits, or to as many bits as are said (the kernel counts one less).
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) })
}

/// Changes the execution domain of this process.
pub fn set_personality(domain: u64) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_personality, domain) })
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_that_are_too_large_are_refused() {
        assert_eq!(super::set_affinity(&[100_000]).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(super::set_memory_policy(2, Some(&[5000])).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
