//! CVE-2019-5736: a container overwrites the program that starts containers, through `/proc/PID/exe` of a process on its
//! way in, and the host executes what it wrote.

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;

use super::{image, run};
use crate::harness::{BUSYBOX, Host, PATIENCE, leftovers, wait_until};

/// Not even the host's root can write to the file of a process that enters containers.
#[test]
fn processes_that_enter_have_a_file_without_a_writable_side() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "a", "--network", "none", BUSYBOX, "sleep", "1000"]).ok();
    let mut exec = host.start(&["exec", "a", "sh", "-c", "echo in; exec sleep 1000"]);
    wait_until("the command runs", PATIENCE, || exec.stdout() == "in\n");
    let mut roles = Vec::new();
    for (pid, about) in leftovers::processes(&host.instance) {
        let Some(role) = ["@monitor", "@exec"].into_iter().find(|role| about.contains(role)) else { continue };
        let path = format!("/proc/{pid}/exe");
        let refused = OpenOptions::new().write(true).open(&path).expect_err("it can be written to");
        assert_eq!(refused.raw_os_error(), Some(libc::EROFS), "{about}");
        // Opened for reading now, to be written to when nobody executes it any more.
        let read = File::open(&path).unwrap();
        let later = format!("/proc/self/fd/{}", read.as_raw_fd());
        assert_eq!(OpenOptions::new().write(true).open(later).unwrap_err().raw_os_error(), Some(libc::EROFS));
        roles.push(role);
    }
    roles.sort_unstable();
    assert_eq!(roles, ["@exec", "@monitor"]);
    assert!(!exec.has_ended());
}

#[test]
fn no_command_is_the_program_itself() {
    let host = Host::new();
    let before = fs::read(host.command(&[]).get_program()).unwrap();
    let image = image(&host, "steals", |root| {
        std::os::unix::fs::symlink("/proc/self/exe", root.join("bin/steal")).unwrap();
        std::os::unix::fs::symlink("steal", root.join("bin/twice")).unwrap();
    });
    host.sp(&["run", "-d", "--name", "a", "--network", "none", &image, "sleep", "1000"]).ok();
    for command in ["steal", "/bin/twice", "/proc/self/exe", "/proc/1/exe", "/proc/self/fd/0"] {
        let ran = run(&host, &["--cap-add", "ALL"], &image, &[command]);
        assert_eq!(ran.code, 126, "{ran:?}");
        let ran = host.sp(&["exec", "a", command]);
        assert_eq!(ran.code, 126, "{ran:?}");
    }
    assert!(fs::read(host.command(&[]).get_program()).unwrap() == before, "the program has been changed");
}
