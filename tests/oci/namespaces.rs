//! Namespaces: which are the container's own, which are joined, and whose users are whose.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::bundle::Bundle;

fn namespaces(config: &mut Value) -> &mut Vec<Value> {
    config["linux"]["namespaces"].as_array_mut().unwrap()
}

#[test]
fn names_and_numbers_of_its_own() {
    let bundle = Bundle::new("hostname; echo $$; cat /proc/sys/kernel/domainname").with(|c| {
        c["hostname"] = json!("inner");
        c["domainname"] = json!("some.domain");
    });
    assert_eq!(bundle.run().ok(), "inner\n1\nsome.domain");
    Bundle::new("true").with(|c| namespaces(c).retain(|n| n["type"] != "uts")).run().fails_with("need a uts namespace");
    Bundle::new("true").with(|c| namespaces(c).push(json!({"type": "pid"}))).run().fails_with("twice");
}

#[test]
fn namespaces_are_joined_by_their_path() {
    let first = Bundle::new("sleep 1000");
    first.create();
    let pid = first.state()["pid"].clone();
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
    let script = "for n in net ipc uts pid; do readlink /proc/self/ns/$n; done";
    let second = Bundle::new(script).with(|c| {
        c.as_object_mut().unwrap().remove("hostname");
        for namespace in namespaces(c) {
            let file = match namespace["type"].as_str().unwrap() {
                "network" => "net",
                "ipc" => "ipc",
                "uts" => "uts",
                "pid" => "pid",
                _ => continue,
            };
            namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
        }
    });
    let expected = ["net", "ipc", "uts", "pid"].map(link).join("\n");
    assert_eq!(second.run().ok(), expected);
    let wrong = Bundle::new("true").with(|c| {
        for namespace in namespaces(c).iter_mut().filter(|n| n["type"] == "network") {
            namespace["path"] = json!(format!("/proc/{pid}/ns/uts"));
        }
    });
    wrong.run().fails_with("is no net namespace");
}

fn with_users(config: &mut Value) {
    namespaces(config).push(json!({"type": "user"}));
    config["linux"]["uidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
    config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 200_000, "size": 65_536}]);
}

#[test]
fn a_user_namespace_has_users_of_its_own() {
    let bundle = Bundle::new("id -u; touch /dev/shm/x; stat -c %u /dev/shm/x; echo x > /dev/null && echo null; echo >> /data/new && stat -c %u /data/new")
        .with(with_users);
    std::os::unix::fs::chown(bundle.rootfs().join("data"), Some(200_000), Some(200_000)).unwrap();
    std::os::unix::fs::chown(bundle.rootfs(), Some(200_000), Some(200_000)).unwrap();
    assert_eq!(bundle.run().ok(), "0\n0\nnull\n0");
    assert_eq!(fs::metadata(bundle.rootfs().join("data/new")).unwrap().uid(), 200_000);
    let unmapped = Bundle::new("true").with(|c| namespaces(c).push(json!({"type": "user"})));
    unmapped.run().fails_with("needs linux.uidMappings");
}

#[test]
fn a_user_namespace_is_joined_with_those_that_it_owns() {
    let first = Bundle::new("sleep 1000").with(with_users);
    first.create();
    let pid = first.state()["pid"].clone();
    let second = Bundle::new("id -u; readlink /proc/self/ns/user; readlink /proc/self/ns/net").with(|c| {
        namespaces(c).push(json!({"type": "user", "path": format!("/proc/{pid}/ns/user")}));
        for namespace in namespaces(c).iter_mut().filter(|n| n["type"] == "network") {
            namespace["path"] = json!(format!("/proc/{pid}/ns/net"));
        }
    });
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
    assert_eq!(second.run().ok(), format!("0\n{}\n{}", link("user"), link("net")));
}

#[test]
fn exec_joins_everything() {
    let bundle = Bundle::new("sleep 1000").with(with_users);
    bundle.create();
    bundle.start();
    let script = "id -u; hostname; for n in user mnt pid net uts ipc cgroup; do readlink /proc/self/ns/$n; done";
    let pid = bundle.state()["pid"].clone();
    let link = |name: &str| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap().display().to_string();
    let expected = ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup"].map(link).join("\n");
    assert_eq!(bundle.oci(&["exec", &bundle.id, "sh", "-c", script]).ok(), format!("0\nsetpoint\n{expected}"));
}

#[test]
fn clocks_are_moved_in_a_time_namespace() {
    if !std::path::Path::new("/proc/self/ns/time").exists() {
        eprintln!("this kernel has no time namespaces");
        return;
    }
    let bundle = Bundle::new("cat /proc/uptime").with(|c| {
        namespaces(c).push(json!({"type": "time"}));
        c["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000}});
    });
    let uptime: f64 = bundle.run().ok().split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 1e9, "{uptime}");
}

#[test]
fn parameters_of_its_namespaces_only() {
    let bundle = Bundle::new("cat /proc/sys/kernel/shmmni /proc/sys/net/ipv4/ip_forward").with(|c| {
        c["linux"]["sysctl"] = json!({"kernel.shmmni": "4000", "net.ipv4.ip_forward": "1"});
    });
    assert_eq!(bundle.run().ok(), "4000\n1");
    let host = Bundle::new("true").with(|c| c["linux"]["sysctl"] = json!({"vm.swappiness": "1"}));
    host.run().fails_with("linux.sysctl vm.swappiness");
    let shared = Bundle::new("true").with(|c| {
        namespaces(c).retain(|n| n["type"] != "ipc");
        c["linux"]["sysctl"] = json!({"kernel.shmmni": "4000"});
    });
    shared.run().fails_with("linux.sysctl kernel.shmmni");
}
