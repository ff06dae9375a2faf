//! `/dev/null`, `/dev/console` and their like as links: what is mounted from or over them must be the real thing.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Canary, image, run};
use crate::harness::Host;

const NAMES: [&str; 6] = ["null", "console", "ptmx", "pts", "shm", "mqueue"];

#[test]
fn links_in_the_images_dev_are_not_seen() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let image = image(&host, "dev", |root| {
        fs::create_dir_all(root.join("dev")).unwrap();
        for name in NAMES {
            symlink(&canary.secret, root.join("dev").join(name)).unwrap();
        }
    });
    let script =
        "echo overwritten >/dev/null; test -c /dev/null && ! test -L /dev/null && wc -c </proc/timer_list && wc -c </proc/keys";
    assert_eq!(run(&host, &[], &image, &["sh", "-c", script]).ok().out(), "0\n0");
    canary.is_alive();
}

/// A volume in the place of /dev is full of whatever a container before has put there.
#[test]
fn links_in_a_volume_at_dev_lead_nowhere() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let image = image(&host, "plain", |_| {});
    let canary_folder = canary.folder.display();
    let plant = format!("cd /v && for n in {}; do ln -s {canary_folder} $n; done", NAMES.join(" "));
    run(&host, &["-v", "dev:/v"], &image, &["sh", "-c", &plant]).ok();
    // Whether it starts is all the same; masks come from the host's null device.
    let ran = run(&host, &["-v", "dev:/dev"], &image, &["sh", "-c", "cat /proc/timer_list /proc/keys; echo x >/dev/shm/secret"]);
    assert!(ran.stdout.is_empty(), "{ran:?}");
    canary.is_alive();
}
