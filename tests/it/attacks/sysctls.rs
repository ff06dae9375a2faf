//! Kernel parameters: those of the host are none of a container's, by whatever name, and a value is written to the kernel or
//! not at all.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Canary, image, run};
use crate::harness::Host;

#[test]
fn names_lead_to_the_containers_own_only() {
    let host = Host::new();
    let image = image(&host, "plain", |_| {});
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    for name in [
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "net.ipv4.../kernel/core_pattern",
        "net./../../proc/sysrq-trigger",
        "net..core.somaxconn",
        "vm.swappiness",
        "fs.mqueue./../../kernel/core_pattern",
    ] {
        let ran = run(&host, &["--sysctl", &format!("{name}=1")], &image, &["true"]);
        assert!(ran.code != 0, "{name}");
    }
    assert_eq!(fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap(), before);
}

/// CVE-2025-52881: what is written to a parameter goes where a mount of the container's has it.
#[test]
fn a_value_goes_to_the_kernel_or_nowhere() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let image = image(&host, "plain", |_| {});
    let planted = host.dir.join("planted");
    let core = planted.join("sys/net/core");
    fs::create_dir_all(&core).unwrap();
    let options = ["--sysctl", "net.core.somaxconn=77", "-v", &format!("{}:/proc", planted.display())];
    // Another name of the very file, and a link to it.
    fs::hard_link(&canary.secret, core.join("somaxconn")).unwrap();
    run(&host, &options, &image, &["true"]).fails_with(125);
    canary.is_alive();
    fs::remove_file(core.join("somaxconn")).unwrap();
    symlink(&canary.secret, core.join("somaxconn")).unwrap();
    run(&host, &options, &image, &["true"]).fails_with(125);
    canary.is_alive();
}
