//! Out of the root by a folder kept open, and to a file by its number: what containers that only change their root fall to.

use super::{Canary, probe_image, run};
use crate::harness::Host;

#[test]
fn the_root_has_nothing_above_it() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let image = probe_image(&host);
    let ran = run(&host, &[], &image, &["/probe", "chroots", canary.secret.to_str().unwrap()]).ok();
    // 2: no such file.
    assert_eq!(ran.out().lines().collect::<Vec<_>>(), ["chroot 0 done", "fchdir 0 done", "root 0 done", "canary 0 2"]);
}

#[test]
fn no_file_is_opened_by_its_number() {
    let host = Host::new();
    let image = probe_image(&host);
    let bind = format!("{}:/etc/known", Canary::new(&host).secret.display());
    let ran = run(&host, &["-v", &bind], &image, &["/probe", "handles", "/etc/known"]).ok();
    assert_eq!(ran.out().lines().last(), Some("open 0 1"), "1: not permitted; {}", ran.stdout);
}
