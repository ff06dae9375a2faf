//! CVE-2022-0492 and its elders: a program that the kernel runs on the host when a cgroup of v1 empties.

use super::{Canary, run};
use crate::harness::{BUSYBOX, Host};

#[test]
fn no_cgroup_of_the_containers_names_one() {
    let host = Host::new().with_busybox();
    let canary = Canary::new(&host);
    let script = format!(
        "mkdir -p /tmp/c
         for k in memory rdma pids cpu; do mount -t cgroup -o $k x /tmp/c && echo mounted $k; done
         mount -t cgroup2 x /tmp/c && echo mounted 2
         unshare -UrmC sh -c 'mount -t cgroup -o memory x /tmp/c && echo mounted in a user namespace'
         mount -o remount,rw /sys/fs/cgroup && echo remounted
         for a in $(find /sys/fs/cgroup /tmp/c -name release_agent -o -name notify_on_release -o -name cgroup.procs); do
             echo 1 >$a && echo wrote $a
         done
         for d in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $d/inner && echo made $d/inner; done
         printf '#!/bin/sh\\necho x >{}/escaped\\n' >/evil; chmod 755 /evil; echo tried",
        canary.folder.display()
    );
    let ran = run(&host, &[], BUSYBOX, &["sh", "-c", &script]).ok();
    assert_eq!(ran.out(), "tried", "{}", ran.stderr);
    canary.is_alive();
}
