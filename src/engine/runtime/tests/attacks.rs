//! Attacks that need more starts, or a faster hand, than commands can give.

use nix::sched::CloneFlags;
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;
use crate::sys::clone::{Cloned, clone_process, exit_now};

/// Swaps two names as fast as it can, until it is dropped.
struct Swapper(OwnedFd);

impl Swapper {
    fn start(one: &Path, other: &Path) -> Self {
        match clone_process(CloneFlags::empty(), None).unwrap() {
            Cloned::Parent { pidfd, .. } => Self(pidfd),
            Cloned::Child => {
                // Whoever forgets it does not keep it alive.
                rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL)).ok();
                while renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok() {}
                exit_now(1)
            }
        }
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        rustix::process::pidfd_send_signal(&self.0, rustix::process::Signal::KILL).unwrap();
        assert_eq!(wait_for(&self.0), 137, "it could not swap");
    }
}

/// Two containers share a volume. The one swaps a folder in it with a link that leads out, while the other starts again and
/// again with mounts below that folder.
#[test]
fn a_mount_target_that_is_swapped_with_a_link() {
    with_bench(|bench| {
        let (shared, canary, data) = (bench.path("shared"), bench.path("canary"), bench.path("data"));
        for folder in [&shared.join("real"), &canary, &data] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(canary.join("secret"), "alive").unwrap();
        fs::write(data.join("file"), "data").unwrap();
        let up = "../".repeat(20);
        symlink(format!("{up}{}", canary.strip_prefix("/").unwrap().display()), shared.join("evil")).unwrap();
        bench.mounts = vec![
            HostMount::Bind { source: shared.clone(), target: "/v".into(), read_only: false },
            HostMount::Bind { source: data.clone(), target: "/v/real/folder".into(), read_only: false },
            HostMount::Bind { source: data.join("file"), target: "/v/real/secret".into(), read_only: true },
            HostMount::Tmpfs { target: "/v/real/scratch".into(), size: Some(4096), mode: None },
        ];
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let swapper = Swapper::start(&shared.join("real"), &shared.join("evil"));
        let launch = bench.launch(&["true"]);
        let null = || crate::sys::pty::null().unwrap();
        let mut started = 0;
        for _ in 0..1000 {
            // It may well be refused, since what it asks for is not there half of the time.
            if let Ok(process) = start(&launch, Stdio { stdin: null(), stdout: null(), stderr: null() }, None) {
                started += 1;
                wait(&process);
                drop(process);
                bench.cgroup().remove().unwrap();
            }
        }
        drop(swapper);
        assert!(started > 0, "no start got as far as its mounts");
        assert_eq!(fs::read_to_string(canary.join("secret")).unwrap(), "alive");
        let there: Vec<_> = fs::read_dir(&canary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(there, ["secret"], "something was made for a mount");
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before, "a mount is on the host");
    });
}

/// A command's user is looked up while a process of the container swaps the file with a link to a pipe, which nobody writes to.
#[test]
fn a_table_of_users_that_is_swapped_with_a_pipe() {
    with_bench(|bench| {
        bench.user = Some("0".into());
        let null = || crate::sys::pty::null().unwrap();
        let stdio = || Stdio { stdin: null(), stdout: null(), stderr: null() };
        let launch = bench.launch(&["sh", "-c", "busybox mkfifo /etc/pipe; exec sleep 1000"]);
        let first = start(&launch, stdio(), None).unwrap();
        let etc = PathBuf::from(format!("/proc/{}/root/etc", first.pid));
        while !exists(etc.join("pipe")) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let swapper = Swapper::start(&etc.join("passwd"), &etc.join("pipe"));
        let request = ExecRequest {
            pid: first.pid,
            started_ticks: first.started_ticks,
            spec: launch.spec.clone(),
            filter: launch.filter.clone(),
            argv: vec!["true".into()],
            env: vec!["PATH=/bin".into()],
            user: Some("1234".into()),
            groups: Vec::new(),
            cwd: "/".into(),
            cgroup: bench.cgroup.clone(),
            tty: false,
        };
        for _ in 0..100 {
            assert_eq!(wait(&exec(&request, stdio()).unwrap()), 0);
        }
        drop(swapper);
        bench.cgroup().kill_all().unwrap();
        assert_eq!(wait(&first), 137);
        drop(first);
        bench.cgroup().remove().unwrap();
    });
}
