//! What a process does to itself before it becomes another program, and how a process is told from a later one with the
//! same number. Knows nothing of why.
#![expect(unsafe_code, reason = "close_range, keyctl and signal dispositions have no safe wrapper")]

use std::io;

/// When a process was started, in clock ticks since the boot. Together with its number it names a process for ever.
pub fn start_ticks(pid: i32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in parentheses, and may itself contain blanks and parentheses.
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    after_name
        .split_ascii_whitespace()
        .nth(19)
        .and_then(|field| field.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no start time")))
}

/// Closes every descriptor from `first` to `last`, both included.
///
/// # Assumptions
/// The caller is about to become another program and uses none of them: whoever owns one would use a closed descriptor.
pub fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the call touches no memory. That no owner of a closed descriptor goes on is what the contract assumes.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}

/// Closes every descriptor but the three standard streams: what whoever started this process left open, without knowing.
///
/// # Assumptions
/// The process has just begun, and has opened nothing itself.
pub fn close_inherited() -> io::Result<()> {
    close_range(3, u32::MAX)
}

/// Every signal to its default, none blocked: ignored and blocked signals would survive `execve`.
pub fn reset_signals() -> io::Result<()> {
    // The kernel's own call, because the C library refuses the two signals that it keeps for itself, and who ignores those
    // passes that on. All zero is: the default action, no flags, nothing blocked.
    const SIGNALS: libc::c_int = 64;
    let default = [0u64; 4];
    for signal in 1..=SIGNALS {
        // SAFETY: the kernel reads 32 bytes of an array that is there, and writes nothing for a null pointer; a default
        // action is no function that could be called. Signals that cannot be changed are refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), size_of::<u64>());
        }
    }
    Ok(nix::sys::signal::SigSet::empty().thread_set_mask()?)
}

/// Joins a new session keyring, so that keys of the starter's session are out of reach.
pub fn new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for an anonymous keyring; no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) })
}

/// From now on files that this thread makes belong to others; it stays who it is in all else, and keeps its capabilities.
///
/// # Errors
/// `EPERM` for who may not.
pub fn set_file_ids(uid: u32, gid: u32) -> io::Result<()> {
    let before = rustix::thread::capabilities(None)?;
    for (call, id) in [(libc::SYS_setfsgid, gid), (libc::SYS_setfsuid, uid)] {
        // The call answers with the id from before, and never with an error: asked with one that is none, it changes nothing.
        // SAFETY: numbers only.
        let now = unsafe {
            libc::syscall(call, id);
            libc::syscall(call, u32::MAX)
        };
        if now != libc::c_long::from(id) {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
    }
    // The change has taken those that are about files out of the effective set.
    Ok(rustix::thread::set_capabilities(None, before)?)
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn start_time_is_stable_and_plausible() {
        let own = std::process::id() as i32;
        let ticks = super::start_ticks(own).unwrap();
        assert!(ticks > 0);
        assert_eq!(super::start_ticks(own).unwrap(), ticks);
        assert!(super::start_ticks(1).unwrap() <= ticks);
        assert!(super::start_ticks(i32::MAX).is_err());
    }
}
