//! Opening paths by `openat2` with bounds on where they lead. Knows nothing of what is opened.
//!
//! With `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH` the kernel gives up with "try again" when anything on the host was renamed or
//! mounted while it went through a `..`. That says nothing of the path, so everybody opens through here.
//! Source: openat2(2), "EAGAIN".

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// Enough for any honest race, and few enough that somebody who renames without end delays nobody for long.
const TRIES: usize = 4096;

/// Opens what is at `path` from `folder`; never inherited by what is executed. It makes nothing.
pub fn open_by(folder: impl AsFd, path: impl Arg + Copy, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    again(|| openat2(&folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve))
}

/// Repeats what was interrupted or raced.
fn again<T>(mut attempt: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 1..TRIES {
        match attempt() {
            Err(Errno::AGAIN | Errno::INTR) => rustix::thread::sched_yield(),
            other => return other,
        }
    }
    attempt()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::{CWD, RenameFlags, renameat_with};

    use super::*;

    #[test]
    fn a_race_is_tried_again_and_an_endless_one_ends() {
        let mut left = 100;
        let raced = again(|| {
            left -= 1;
            if left == 0 { Ok(7) } else { Err(if left % 2 == 0 { Errno::AGAIN } else { Errno::INTR }) }
        });
        assert_eq!(raced, Ok(7));
        assert_eq!(again(|| Err::<(), _>(Errno::AGAIN)), Err(Errno::AGAIN));
        let mut tries = 0;
        let refused = again(|| {
            tries += 1;
            Err::<(), _>(Errno::LOOP)
        });
        assert_eq!((refused, tries), (Err(Errno::LOOP), 1));
    }

    #[test]
    fn renames_elsewhere_fail_no_open() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        std::fs::create_dir_all(folder.path().join("root/a/b")).unwrap();
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        let root = rustix::fs::open(folder.path().join("root"), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let (path, flags) = ("a/b/../../a/b/../../a/b", OFlags::PATH | OFlags::DIRECTORY);
        let done = AtomicBool::new(false);
        let failed = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE).unwrap();
                }
            });
            let opens = (0..20_000).map(|_| open_by(&root, path, flags, ResolveFlags::IN_ROOT));
            let failed = opens.filter_map(Result::err).next();
            done.store(true, Ordering::Relaxed);
            failed
        });
        assert_eq!(failed, None);
    }
}
