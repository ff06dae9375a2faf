//! `/proc/PID/root` and its relatives: as a way to other roots, for the container's processes and for commands of `exec`.

use super::{Canary, run};
use crate::harness::{BUSYBOX, Host};

#[test]
fn every_root_in_sight_is_its_own() {
    let host = Host::new().with_busybox();
    let canary = Canary::new(&host);
    let up = "../".repeat(20);
    let script = format!(
        "cd /proc/1/root/{up}; cat .{secret}; cat /proc/1/root/{up}{secret} /proc/self/cwd/{up}{secret} /proc/self/root{secret} \
         /proc/*/root{secret} /proc/*/cwd{secret}; echo looked",
        secret = canary.secret.display()
    );
    let script = script.as_str();
    assert_eq!(run(&host, &[], BUSYBOX, &["sh", "-c", script]).ok().out(), "looked");
    assert_eq!(run(&host, &["--cap-add", "SYS_PTRACE"], BUSYBOX, &["sh", "-c", script]).ok().out(), "looked");
    host.sp(&["run", "-d", "--name", "a", "--network", "none", BUSYBOX, "sleep", "1000"]).ok();
    for folder in ["/", "/proc/1/root", "/proc/1/cwd", "/proc/1/root/../.."] {
        let ran = host.sp(&["exec", "-w", folder, "a", "sh", "-c", script]);
        assert!(!ran.stdout.contains(super::ALIVE), "{folder}: {ran:?}");
    }
    canary.is_alive();
}
