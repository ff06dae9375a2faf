//! A link of the image stands where a mount is to go. What is mounted, or made for it, must stay in the container.

use std::fs;
use std::os::unix::fs::symlink;

use super::{Canary, image, run};
use crate::harness::Host;

#[test]
fn links_at_mount_targets_lead_nowhere() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let data = host.dir.join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("file"), "data").unwrap();
    let image = image(&host, "linked", |root| {
        symlink(&canary.folder, root.join("absolute")).unwrap();
        symlink(canary.path_from_below(), root.join("up")).unwrap();
        symlink("/up", root.join("twice")).unwrap();
        // The engine itself mounts here.
        fs::remove_file(root.join("etc/hosts")).ok();
        symlink(&canary.secret, root.join("etc/hosts")).unwrap();
        symlink(format!("../{}/made", canary.path_from_below()), root.join("etc/hostname")).unwrap();
    });
    let data = data.to_str().unwrap();
    for target in ["/absolute", "/up", "/twice", "/absolute/new/deep", "/up/new", "/twice/new"] {
        let script = format!("cat {target}/file && echo more >{target}/more");
        let ran = run(&host, &["-v", &format!("{data}:{target}")], &image, &["sh", "-c", &script]).ok();
        assert_eq!(ran.out(), "data", "{target}");
        canary.is_alive();
    }
    let file = format!("{data}/file:/absolute/other:ro");
    assert_eq!(run(&host, &["-v", &file], &image, &["cat", "/absolute/other"]).ok().out(), "data");
    canary.is_alive();
    let tmpfs = ["--tmpfs", "/up/scratch", "--tmpfs", "/absolute"];
    run(&host, &tmpfs, &image, &["sh", "-c", "echo x >/up/scratch/x; echo x >/absolute/secret"]);
    canary.is_alive();
}

/// What the kernel takes as an order is no place for a mount, however it is called.
#[test]
fn no_mount_goes_over_a_file_of_proc() {
    let host = Host::new();
    let canary = Canary::new(&host);
    for (number, order) in ["/proc/sysrq-trigger", "/proc/self/attr/exec", "/proc/sys/kernel/core_pattern"].iter().enumerate() {
        let image = image(&host, &format!("order{number}"), |root| {
            fs::remove_file(root.join("etc/resolv.conf")).ok();
            symlink(order, root.join("etc/resolv.conf")).unwrap();
        });
        run(&host, &[], &image, &["true"]).fails_with(125).says(&["/etc/resolv.conf"]);
    }
    let image = image(&host, "plain", |_| {});
    let secret = canary.secret.to_str().unwrap();
    for target in ["/proc/sys/kernel/core_pattern", "/proc/1/oom_score_adj", "/proc/kcore", "/proc/scsi"] {
        run(&host, &["-v", &format!("{secret}:{target}")], &image, &["true"]).fails_with(125).says(&[target]);
    }
    run(&host, &["--tmpfs", "/proc/sys"], &image, &["true"]).fails_with(125).says(&["/proc/sys"]);
    // Files that only tell of amounts are what containers are shown their own share by.
    let shown = run(&host, &["-v", &format!("{secret}:/proc/meminfo:ro")], &image, &["cat", "/proc/meminfo"]).ok();
    assert_eq!(shown.out(), super::ALIVE);
    canary.is_alive();
}
