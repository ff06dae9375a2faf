//! Loads a finished seccomp program. Knows nothing of what it allows.
#![expect(unsafe_code, reason = "seccomp has no safe wrapper")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// One instruction of classic BPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub jump_true: u8,
    pub jump_false: u8,
    pub value: u32,
}

/// Asks [`load_with`] for a listener.
pub const NEW_LISTENER: u64 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;

/// Filters this thread's system calls, and those of all it starts, from now on and for ever.
pub fn load(program: &[Instruction]) -> io::Result<()> {
    load_with(program, 0).map(drop)
}

/// The same with flags of the kernel's. One of them asks for a descriptor on which the calls are told that are to be
/// judged by somebody else.
pub fn load_with(program: &[Instruction], flags: u64) -> io::Result<Option<OwnedFd>> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let filter = libc::sock_fprog { len: length, filter: program.as_ptr().cast::<libc::sock_filter>().cast_mut() };
    // SAFETY: `Instruction` has the layout of `sock_filter`; `filter` names `length` of them, which outlive the call, and
    // the kernel only reads them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, flags, &raw const filter) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: asked for a listener, the kernel returns a new descriptor that nobody else knows of.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as i32) }))
}
