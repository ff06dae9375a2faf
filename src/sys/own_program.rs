//! This program's own file, out of reach of what it starts: a process on its way into a container is this program, and
//! whoever gets hold of its file could write into what the host executes as root the next time.
//!
//! # Guarantees
//! A process that was started from [`path`] has, as its own file, one that nobody can write to, whatever capabilities they
//! have: it is seen through an overlay that has no writable layer and is mounted nowhere. Where no such
//! overlay is to be had, it is a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

const OWN: &str = "/proc/self/exe";
/// Set for a process that has been executed from a sealed file, so that it does not try again for ever.
const MARK: &str = "SETPOINT_SEALED";
const OVERLAY: u64 = 0x794c_7630;
const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// The path from which children of this process execute its program, sealed. The file is made at the first call (in
/// less than a millisecond) and held until the process ends.
pub fn path() -> io::Result<PathBuf> {
    Ok(format!("/proc/self/fd/{}", held(|file| Ok(file.as_raw_fd()))?).into())
}

/// The sealed program, to be executed by its descriptor.
pub fn open() -> io::Result<OwnedFd> {
    held(OwnedFd::try_clone)
}

fn held<T>(with: impl FnOnce(&OwnedFd) -> io::Result<T>) -> io::Result<T> {
    static SEALED: Mutex<Option<OwnedFd>> = Mutex::new(None);
    let mut sealed = SEALED.lock().unwrap_or_else(PoisonError::into_inner);
    let file = match sealed.take() {
        Some(file) => file,
        None => seal()?,
    };
    with(sealed.insert(file))
}

/// Makes sure that this process's file is sealed: executes the program again, with the same arguments, when it is not.
///
/// # Assumptions
/// The process has just begun: nothing of its state is worth keeping but its arguments, environment and streams.
pub fn protect() -> io::Result<()> {
    if is_sealed()? {
        return Ok(());
    }
    if std::env::var_os(MARK).is_some() {
        return Err(io::Error::other("the program's file is not sealed although it was executed from one that is"));
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "setpoint".into());
    Err(Command::new(path()?).arg0(name).args(arguments).env(MARK, "1").exec())
}

/// Whether nobody can write to this process's file.
pub fn is_sealed() -> io::Result<bool> {
    let own = File::open(OWN)?;
    let on = rustix::fs::fstatvfs(&own)?;
    // Without a writable layer there is none to be had by mounting it differently.
    if on.f_flag.contains(StatVfsMountFlags::RDONLY) && rustix::fs::fstatfs(&own)?.f_type as u64 == OVERLAY {
        return Ok(true);
    }
    match rustix::fs::fcntl_get_seals(&own) {
        Ok(seals) => Ok(seals.contains(SEALS)),
        // Files on disk have no seals.
        Err(Errno::INVAL) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

fn seal() -> io::Result<OwnedFd> {
    if is_sealed()? {
        return Ok(rustix::fs::open(OWN, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
    }
    // Every failure has the same answer: a copy costs memory, but it can be made by anybody and of any file.
    overlay().or_else(|_| copy())
}

/// The file seen through an overlay of its folder. An overlay needs a second layer: any folder of another place, because
/// a name is looked for in the first one first.
fn overlay() -> io::Result<OwnedFd> {
    let path = std::fs::read_link(OWN)?;
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::NOENT.into());
    };
    let place = OFlags::PATH | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, place | OFlags::DIRECTORY, Mode::empty())?;
    let own = rustix::fs::stat(OWN)?;
    let there = rustix::fs::statat(&folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
    if (own.st_dev, own.st_ino) != (there.st_dev, there.st_ino) {
        // Replaced since: this process goes on as what it is.
        return Err(Errno::NOENT.into());
    }
    let mut last = Errno::NOENT;
    for second in ["/dev", "/run", "/sys"] {
        let attempt = || -> Result<OwnedFd, Errno> {
            let second = rustix::fs::open(second, place | OFlags::DIRECTORY, Mode::empty())?;
            let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            // By descriptor: a colon or a comma in a path would need care that depends on the kernel's version.
            let layers = format!("/proc/self/fd/{}:/proc/self/fd/{}", folder.as_raw_fd(), second.as_raw_fd());
            fsconfig_set_string(&context, "source", "setpoint")?;
            fsconfig_set_string(&context, "lowerdir", layers)?;
            fsconfig_set_string(&context, "xino", "off")?;
            fsconfig_create(&context)?;
            let attributes =
                MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
            rustix::fs::openat(&mount, name, place | OFlags::NOFOLLOW, Mode::empty())
        };
        match attempt() {
            Ok(file) => return Ok(file),
            Err(e) => last = e,
        }
    }
    Err(last.into())
}

fn copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let made = match rustix::fs::memfd_create("setpoint", flags | MemfdFlags::EXEC) {
        // Before kernel 6.3 there was no saying so, and no need to.
        Err(Errno::INVAL) => rustix::fs::memfd_create("setpoint", flags)?,
        other => other?,
    };
    let mut copy = File::from(made);
    io::copy(&mut File::open(OWN)?, &mut copy)?;
    rustix::fs::fcntl_add_seals(&copy, SEALS)?;
    // What is open for writing cannot be executed, sealed or not.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    Ok(rustix::fs::openat(CWD, Path::new(&path), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    /// Both ways give a file that can be executed and not written to.
    #[test]
    fn sealed_files_are_what_they_should_be() {
        assert!(!is_sealed().unwrap(), "the test's own program lies open");
        for (way, sealed) in [("overlay", overlay().unwrap()), ("copy", copy().unwrap())] {
            let path = format!("/proc/self/fd/{}", sealed.as_raw_fd());
            assert_eq!(std::fs::metadata(&path).unwrap().size(), std::fs::metadata(OWN).unwrap().size());
            let output = Command::new(&path).arg("--help").output().unwrap();
            assert!(output.status.success(), "{way}");
            let write = |mut file: File| std::io::Write::write(&mut file, b"x");
            let refused = std::fs::OpenOptions::new().write(true).open(&path).and_then(write).unwrap_err();
            let expected = if way == "overlay" { libc::EROFS } else { libc::EPERM };
            assert_eq!(refused.raw_os_error(), Some(expected), "{way}");
        }
        assert_eq!(path().unwrap(), path().unwrap());
    }

    #[test]
    fn a_process_started_from_it_knows() {
        if std::env::var_os("SETPOINT_TEST_SEALED").is_some() {
            assert!(is_sealed().unwrap());
            return;
        }
        let name = "sys::own_program::tests::a_process_started_from_it_knows";
        let output = Command::new(path().unwrap()).args(["--exact", name]).env("SETPOINT_TEST_SEALED", "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
