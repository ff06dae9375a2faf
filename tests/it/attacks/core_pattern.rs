//! Programs that the host's kernel starts as root when something happens: a container must not say which.

use std::fs;
use std::path::Path;

use crate::harness::{BUSYBOX, Host};

const ORDERS: [&str; 9] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/poweroff_cmd",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
];

#[test]
fn no_helper_of_the_kernel_is_changed() {
    let host = Host::new().with_busybox();
    let there: Vec<&str> = ORDERS.into_iter().filter(|path| Path::new(path).exists()).collect();
    assert!(there.contains(&ORDERS[0]), "{there:?}");
    let read = || there.iter().map(|path| fs::read(path).unwrap_or_default()).collect::<Vec<_>>();
    let before = read();
    let script = "mount -o remount,rw /proc/sys; mount -o remount,rw /sys; umount /proc/sys; mount -t proc proc /tmp; \
         mount -t sysfs sysfs /tmp; \
         for f; do chmod 666 $f; { echo '|/tmp/evil' >$f; } && echo wrote $f; done 2>/dev/null; echo tried";
    let command = [&["run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", script, "sh"][..], &there].concat();
    let ran = host.sp(&command).ok();
    assert_eq!(ran.out(), "tried", "{}", ran.stderr);
    assert_eq!(before, read());
}
