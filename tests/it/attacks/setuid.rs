//! A program with the set-user-id bit, in the image or in a mount, makes a user of the container root there.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{image, probe, run};
use crate::harness::Host;

#[test]
fn nobody_becomes_root_by_a_file() {
    let host = Host::new();
    let image = image(&host, "setuid", |root| {
        let file = root.join("probe");
        fs::copy(probe(), &file).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
    });
    assert_eq!(run(&host, &["-u", "1000"], &image, &["/probe", "euid"]).ok().out(), "1000 1000");
    host.sp(&["run", "-d", "--name", "a", "--network", "none", "-u", "1000", &image, "sleep", "1000"]).ok();
    assert_eq!(host.sp(&["exec", "a", "/probe", "euid"]).ok().out(), "1000 1000");
}
