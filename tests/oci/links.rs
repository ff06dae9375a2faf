//! Network devices that move into a container (`linux.netDevices`), each test in a network namespace of its own.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::bundle::{Bundle, Ran};

/// Runs a test in a thread that has a network namespace with a pair of links, `outer` and `far`.
fn with_links(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link add outer type veth peer name far");
        ip("address add 10.9.8.7/24 dev outer");
        ip("address add fd00::7/64 dev outer nodad");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

#[track_caller]
fn ip(words: &str) -> String {
    Ran::of(&Command::new("ip").args(words.split(' ')).output().unwrap()).ok()
}

fn bundle(script: &'static str, devices: Value) -> Bundle {
    Bundle::new(script).with(|c| c["linux"]["netDevices"] = devices)
}

#[test]
fn a_link_is_moved_with_its_addresses_and_raised() {
    with_links(|| {
        let script = "busybox ip link show dev inner; busybox ip address show dev inner";
        let out = bundle(script, json!({"outer": {"name": "inner"}})).run().ok();
        assert!(out.contains("10.9.8.7/24") && out.contains("fd00::7/64"), "{out}");
        assert!(out.lines().next().unwrap().contains("UP"), "{out}");
        // A virtual one goes with the namespace.
        assert!(!ip("link show").contains("outer"));
    });
}

#[test]
fn a_link_keeps_its_name_or_gets_one_by_a_template() {
    with_links(|| {
        let script = "busybox ip -o link | cut -d: -f2 | cut -d@ -f1";
        let out = bundle(script, json!({"outer": {}, "far": {"name": "net%d"}})).run().ok();
        let names: Vec<&str> = out.split_ascii_whitespace().collect();
        assert!(names.contains(&"outer") && names.contains(&"net0"), "{out}");
    });
}

#[test]
fn what_cannot_be_moved_is_an_error_and_stays() {
    with_links(|| {
        bundle("true", json!({"nothing": {}})).run().fails_with("move the network device nothing");
        bundle("true", json!({"far": {}, "outer": {"name": "lo"}})).run().fails_with("outer as lo: File exists");
        let shared = bundle("true", json!({"outer": {}}))
            .with(|c| c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network"));
        shared.run().fails_with("linux.netDevices need a network namespace");
        // What had been moved when the creation failed is back.
        let failing = bundle("true", json!({"outer": {"name": "inner"}})).with(|c| {
            c["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
        });
        failing.run().fails_with("createRuntime hook");
        let here = ip("address show dev outer");
        assert!(here.contains("10.9.8.7/24") && here.contains("fd00::7/64"), "{here}");
        ip("link show dev far");
    });
}
