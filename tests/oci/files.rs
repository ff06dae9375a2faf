//! The root file system: mounts with their options, hidden and protected paths, devices.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn mount(config: &mut Value, mount: Value) {
    config["mounts"].as_array_mut().unwrap().push(mount);
}

#[test]
fn binds_and_file_systems_have_their_options() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "here").unwrap();
    let script =
        "cat /data/ro/file; touch /data/ro/new || echo no; touch /data/rw/new && echo yes; grep -E ' /data/' /proc/self/mounts";
    let bundle = Bundle::new(script).with(|c| {
        mount(c, json!({"destination": "/data/ro", "type": "bind", "source": outside.path(), "options": ["rbind", "ro", "nosuid", "noatime"]}));
        mount(c, json!({"destination": "/data/rw", "type": "none", "source": outside.path(), "options": ["bind"]}));
        mount(c, json!({"destination": "/data/tmp", "type": "tmpfs", "source": "t", "options": ["size=4k", "mode=700", "nodev", "noexec"]}));
    });
    let out = bundle.run().ok();
    assert!(out.starts_with("hereno\nyes"), "{out}");
    let line = |at: &str| out.lines().find(|l| l.contains(at)).unwrap().to_owned();
    assert!(line("/data/ro ").contains("ro,nosuid,noatime"), "{out}");
    assert!(line("/data/rw ").contains("rw"), "{out}");
    assert!(line("/data/tmp ").contains("nodev,noexec") && line("/data/tmp ").contains("mode=700"), "{out}");
    assert!(outside.path().join("new").exists());
}

#[test]
fn recursive_options_reach_the_mounts_below() {
    let script = "touch /data/in/x && echo top; touch /data/in/sub/x || echo below";
    let bundle = Bundle::new(script).with(|c| {
        // The container's own /data/from has a mount below it by the time it is bound.
        mount(c, json!({"destination": "/data/in", "type": "tmpfs", "source": "t"}));
        mount(c, json!({"destination": "/data/in/sub", "type": "tmpfs", "source": "t"}));
        mount(c, json!({"destination": "/data/in", "type": "none", "source": "x", "options": ["remount", "rro"]}));
        mount(c, json!({"destination": "/data/in", "type": "none", "source": "x", "options": ["remount", "rw"]}));
    });
    assert_eq!(bundle.run().ok(), "top\nbelow");
}

#[test]
fn a_remount_changes_options_of_the_file_system_too() {
    let bundle = Bundle::new("grep ' /data/t ' /proc/self/mounts").with(|c| {
        mount(c, json!({"destination": "/data/t", "type": "tmpfs", "source": "t", "options": ["size=64k"]}));
        mount(
            c,
            json!({"destination": "/data/t", "type": "tmpfs", "source": "t", "options": ["remount", "size=128k", "noexec"]}),
        );
    });
    let out = bundle.run().ok();
    assert!(out.contains("size=128k") && out.contains("noexec"), "{out}");
}

#[test]
fn a_tmpfs_may_begin_with_what_was_there() {
    let bundle = Bundle::new("cat /etc/copied/a/b; readlink /etc/copied/link; touch /etc/copied/new; stat -c %a /etc/copied")
        .with(|c| {
            mount(c, json!({"destination": "/etc/copied", "type": "tmpfs", "source": "t", "options": ["tmpcopyup"]}));
        });
    let folder = bundle.rootfs().join("etc/copied");
    fs::create_dir_all(folder.join("a")).unwrap();
    fs::write(folder.join("a/b"), "kept\n").unwrap();
    symlink("a/b", folder.join("link")).unwrap();
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o750)).unwrap();
    assert_eq!(bundle.run().ok(), "kept\na/b\n750");
    assert!(!folder.join("new").exists());
}

#[test]
fn a_read_only_root_is_one_and_its_mounts_are_not() {
    let bundle = Bundle::new("touch /x || echo no; touch /dev/shm/x && echo yes").with(|c| c["root"]["readonly"] = json!(true));
    assert_eq!(bundle.run().ok(), "no\nyes");
}

#[test]
fn hidden_and_protected_paths() {
    let script =
        "wc -c < /etc/secret; ls /data | wc -l; echo x > /proc/sys/kernel/domainname || echo no; ls /etc/missing || echo none";
    let bundle = Bundle::new(script).with(|c| {
        c["linux"]["maskedPaths"] = json!(["/etc/secret", "/data", "/etc/missing"]);
        c["linux"]["readonlyPaths"] = json!(["/proc/sys", "/etc/missing"]);
    });
    fs::write(bundle.rootfs().join("etc/secret"), "secret").unwrap();
    fs::write(bundle.rootfs().join("data/file"), "secret").unwrap();
    assert_eq!(bundle.run().ok(), "0\n0\nno\nnone");
}

#[test]
fn links_in_the_image_lead_nowhere_else() {
    let outside = tempfile::tempdir().unwrap();
    let bundle = Bundle::new("true").with(|c| {
        mount(c, json!({"destination": "/data/link/made", "type": "tmpfs", "source": "t"}));
    });
    symlink(outside.path(), bundle.rootfs().join("data/link")).unwrap();
    bundle.run().ok();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    for name in ["proc", "sys"] {
        let bundle = Bundle::new("true");
        fs::remove_dir(bundle.rootfs().join(name)).unwrap();
        symlink("/data", bundle.rootfs().join(name)).unwrap();
        bundle.run().fails_with("must be mounted on ordinary directory");
    }
}

#[test]
fn devices_are_made_and_their_rules_hold() {
    let script = "stat -c '%F %t:%T %a %u' /dev/own; cat /dev/own < /dev/null || echo refused; echo x > /dev/null && echo null; \
        cat /dev/full > /dev/null & sleep 0.1; kill $! && echo full";
    let bundle = Bundle::new(script).with(|c| {
        // The kernel log: no rule allows it.
        c["linux"]["devices"] =
            json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 11, "fileMode": 0o640, "uid": 33, "gid": 0}]);
        c["linux"]["resources"]["devices"] = json!([{"allow": false, "access": "rwm"}]);
    });
    assert_eq!(bundle.run().ok(), "character special file 1:b 640 33\nrefused\nnull\nfull");
    let allowed = Bundle::new("echo x > /dev/own && echo written").with(|c| {
        c["linux"]["devices"] = json!([{"path": "/dev/own", "type": "c", "major": 1, "minor": 11}]);
        c["linux"]["resources"]["devices"] = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]);
    });
    assert_eq!(allowed.run().ok(), "written");
}

#[test]
fn owners_of_a_bind_are_mapped() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "x").unwrap();
    let bundle = Bundle::new("stat -c %u /data/mapped/file; touch /data/mapped/new").with(|c| {
        let maps = json!([{"containerID": 0, "hostID": 5000, "size": 1000}]);
        mount(
            c,
            json!({"destination": "/data/mapped", "type": "bind", "source": outside.path(), "options": ["bind"],
            "uidMappings": maps, "gidMappings": maps}),
        );
    });
    let ran = bundle.run();
    // What the host's 0 owns is the mount's 5000, and what its 5000 makes is the host's 0.
    assert_eq!(ran.out, "5000", "{ran:?}");
}

#[test]
fn the_root_may_be_shared_or_private() {
    for (word, expected) in [("private", false), ("shared", true), ("rshared", true)] {
        let bundle =
            Bundle::new("grep ' / / ' /proc/self/mountinfo || grep -E '^[0-9]+ [0-9]+ [^ ]+ [^ ]+ / ' /proc/self/mountinfo")
                .with(|c| c["linux"]["rootfsPropagation"] = json!(word));
        let out = bundle.run().ok();
        assert_eq!(out.contains("shared:"), expected, "{word}: {out}");
    }
    Bundle::new("true").with(|c| c["linux"]["rootfsPropagation"] = json!("odd")).run().fails_with("rootfsPropagation");
}
