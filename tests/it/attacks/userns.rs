//! Namespaces of a container's own making: in a user namespace it would be root over code that is made for the host's.

use super::run;
use crate::harness::{BUSYBOX, Host};

#[test]
fn no_namespace_is_made_or_joined() {
    let host = Host::new().with_busybox();
    let script = "for f in U m n p i u C T; do unshare -$f true && echo made $f; done
        unshare -Ur true && echo mapped
        for n in mnt net pid user cgroup; do nsenter -t 1 --$n true && echo joined $n; done
        mount -t tmpfs x /tmp && echo mounted
        mount --bind /etc /tmp && echo bound
        umount /proc && echo unmounted
        pivot_root / /tmp && echo pivoted
        echo tried";
    for user in ["0", "1000"] {
        let ran = run(&host, &["-u", user], BUSYBOX, &["sh", "-c", script]).ok();
        assert_eq!(ran.out(), "tried", "{}", ran.stderr);
    }
}
