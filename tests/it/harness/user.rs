//! An ordinary user on a test's host: in the files of the host that this test alone sees, with subordinate ids, a home and a
//! run-time folder. Knows nothing of setpoint but where its program is.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use super::tool;

/// The first of the ids that the users in containers are, but for root.
pub(crate) const SUBORDINATE: u32 = 600_000;

pub(crate) struct User {
    pub(crate) id: u32,
    /// The program, where the user can reach it.
    pub(crate) program: PathBuf,
    pub(crate) home: PathBuf,
    pub(crate) runtime: PathBuf,
}

impl User {
    /// Makes the user, in a folder that is the user's then. The calling thread has its own mounts.
    pub(crate) fn new(root: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(71_000);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("u{id}");
        let user = Self { id, program: root.join("bin/setpoint"), home: root.join("home"), runtime: root.join("run") };
        for folder in [&user.home, &user.runtime, &root.join("bin"), &root.join("etc")] {
            fs::create_dir(folder).unwrap();
        }
        // Where the built program lies may be open to root only.
        fs::write(&user.program, "").unwrap();
        mount(Path::new(env!("CARGO_BIN_EXE_setpoint")), &user.program);
        let passwd =
            fs::read_to_string("/etc/passwd").unwrap() + &format!("{name}:x:{id}:{id}::{}:/bin/sh\n", user.home.display());
        let range = format!("{name}:{SUBORDINATE}:65536\n");
        for (path, content) in [("passwd", passwd.as_str()), ("subuid", &range), ("subgid", &range)] {
            let own = root.join("etc").join(path);
            fs::write(&own, content).unwrap();
            mount(&own, &Path::new("/etc").join(path));
        }
        // Most hosts let everybody have one; a machine for builds may not.
        let tun = root.join("etc/tun");
        tool("mknod", &["-m", "666", tun.to_str().unwrap(), "c", "10", "200"]);
        mount(&tun, Path::new("/dev/net/tun"));
        fs::set_permissions(&user.runtime, fs::Permissions::from_mode(0o700)).unwrap();
        for folder in [root, &root.join("w"), &user.home, &user.runtime] {
            chown(folder, Some(id), Some(id)).unwrap();
        }
        user
    }

    /// Makes a command the user's own.
    pub(crate) fn dress(&self, command: &mut Command) {
        command.uid(self.id).gid(self.id).env("HOME", &self.home).env("XDG_RUNTIME_DIR", &self.runtime);
    }

    /// Without subordinate ids from now on.
    pub(crate) fn lose_ids(&self) {
        fs::write("/etc/subuid", "").unwrap();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // A folder with something mounted in it could not be removed.
        let unmounted = nix::mount::umount2(&self.program, nix::mount::MntFlags::MNT_DETACH);
        if !std::thread::panicking() {
            unmounted.expect("unmount the user's program");
        }
    }
}

fn mount(from: &Path, to: &Path) {
    tool("mount", &["--bind", from.to_str().unwrap(), to.to_str().unwrap()]);
}
