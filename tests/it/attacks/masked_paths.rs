//! What tells of the host is hidden, and neither a mount of the user's nor root in the container brings it back.

use std::fs;
use std::path::Path;

use super::{image, run};
use crate::harness::Host;

const HIDDEN: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

#[test]
fn hidden_paths_stay_hidden() {
    let host = Host::new();
    let image = image(&host, "plain", |_| {});
    let there: Vec<&str> = HIDDEN.into_iter().filter(|path| Path::new(path).exists()).collect();
    assert!(there.contains(&"/proc/keys") && there.contains(&"/sys/dev/block"), "{there:?}");
    let look = "for p; do umount $p 2>/dev/null; umount -l $p 2>/dev/null; if test -d $p; then ls -A $p; else cat $p; fi; done; \
         echo looked";
    let ran = run(&host, &[], &image, &[&["sh", "-c", look, "sh"][..], &there].concat()).ok();
    assert_eq!(ran.out(), "looked");
}

/// A folder of the user's in the place of /proc may have links where something is to be hidden.
#[test]
fn a_mask_does_not_follow_a_link() {
    let host = Host::new();
    let image = image(&host, "plain", |_| {});
    let canary = super::Canary::new(&host);
    let planted = host.dir.join("planted");
    fs::create_dir_all(planted.join("sys")).unwrap();
    for name in ["kcore", "keys", "scsi"] {
        std::os::unix::fs::symlink(&canary.secret, planted.join(name)).unwrap();
    }
    let bind = format!("{}:/proc", planted.display());
    // The host's network spares the start the parameters that it otherwise sets first.
    let ran = host.sp(&["run", "--rm", "--network", "host", "-v", &bind, &image, "true"]);
    assert_eq!(ran.code, 125, "{ran:?}");
    canary.is_alive();
}
