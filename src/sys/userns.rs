//! Whether this process is in a user namespace that is not the host's own, in which root is somebody else outside. Knows
//! nothing of who made it.

use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// Whether the users of this process's namespace are others on the host. Asked once: a process that enters another
/// namespace executes its program anew.
pub fn is_inside() -> bool {
    static INSIDE: OnceLock<bool> = OnceLock::new();
    *INSIDE.get_or_init(|| read_map().is_some_and(|map| !is_identity(&map)))
}

/// Who root of this namespace is in the one around it.
pub fn outer_root() -> Option<u32> {
    let map = read_map()?;
    let mut words = map.lines().next()?.split_ascii_whitespace();
    (words.next()? == "0").then(|| words.next()?.parse().ok()).flatten()
}

/// The largest number that a group can have in this namespace.
pub fn largest_group() -> Option<u32> {
    largest(&std::fs::read_to_string("/proc/self/gid_map").ok()?)
}

/// Of lines with a first number, its counterpart outside, and how many there are.
fn largest(map: &str) -> Option<u32> {
    let last = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let first: u32 = words.next()?.parse().ok()?;
        let count: u32 = words.nth(1)?.parse().ok()?;
        first.checked_add(count.checked_sub(1)?)
    };
    map.lines().filter_map(last).max()
}

/// A kernel without user namespaces has no such file.
fn read_map() -> Option<String> {
    std::fs::read_to_string("/proc/self/uid_map").ok()
}

/// Source: user_namespaces(7): the initial namespace maps all numbers to themselves.
fn is_identity(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// Whether this thread has the namespace `kind` (as `/proc/self/ns` calls it) of the process with this number. What is the
/// same need not be joined, and where it is the host's it cannot be by who is root in a user namespace only.
pub fn shares(kind: &str, pid: i32) -> std::io::Result<bool> {
    let file = |of: &str| rustix::fs::stat(format!("/proc/{of}/ns/{kind}"));
    match (file("thread-self")?, file(&pid.to_string())) {
        (own, Ok(other)) => Ok((own.st_dev, own.st_ino) == (other.st_dev, other.st_ino)),
        (_, Err(Errno::NOENT)) => Ok(false),
        (_, Err(e)) => Err(e.into()),
    }
}

/// Whether a namespace that is open is the one of this thread.
pub fn is_own(kind: &str, namespace: impl std::os::fd::AsFd) -> std::io::Result<bool> {
    let own = rustix::fs::openat(CWD, format!("/proc/thread-self/ns/{kind}"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (a, b) = (rustix::fs::fstat(own)?, rustix::fs::fstat(namespace)?);
    Ok((a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps() {
        assert!(is_identity("         0          0 4294967295\n"));
        assert!(!is_identity("0 1000 1\n1 100000 65536\n"));
        assert!(!is_identity(""));
        assert_eq!(largest("0 1000 1\n1 100000 65536\n"), Some(65536));
        assert_eq!((largest(""), largest("0 0 0\n")), (None, None));
        assert!(shares("uts", std::process::id().cast_signed()).unwrap());
        assert!(!shares("uts", i32::MAX).unwrap());
        assert!(is_own("net", std::fs::File::open("/proc/self/ns/net").unwrap()).unwrap());
    }
}
