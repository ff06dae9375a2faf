//! From creation to removal: states, what each of them allows, signals, exit codes, lists.

use std::fs;
use std::time::Instant;

use serde_json::json;

use crate::bundle::{Bundle, PATIENCE};

#[test]
fn a_container_goes_through_its_states() {
    let bundle = Bundle::new("sleep 1000");
    bundle.create();
    let state = bundle.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["ociVersion"], bundle.config["ociVersion"]);
    assert_eq!(state["bundle"], bundle.path());
    // It waits, and is this program still: none of the bundle's runs yet.
    assert!(fs::read_to_string(format!("/proc/{}/cmdline", state["pid"])).unwrap().contains("setpoint"));
    bundle.start();
    assert_eq!(bundle.state()["status"], "running");
    bundle.verb("start").fails_with("it is running");
    bundle.verb("delete").fails_with("it is running");
    bundle.oci(&["create", "--bundle", bundle.path(), &bundle.id]).fails_with("exists already");
    assert!(bundle.oci(&["list"]).ok().contains(&bundle.id));
    assert_eq!(bundle.oci(&["list", "-q"]).ok(), bundle.id);
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    bundle.wait_for("stopped");
    assert!(bundle.state()["pid"].is_null());
    bundle.oci(&["kill", &bundle.id, "KILL"]).fails_with("it is stopped");
    bundle.verb("start").fails_with("it is stopped");
    bundle.verb("delete").ok();
    bundle.verb("state").fails_with("does not exist");
    bundle.verb("delete").fails_with("does not exist");
    bundle.oci(&["delete", "--force", &bundle.id]).ok();
}

#[test]
fn a_created_container_is_removed_without_having_run() {
    let bundle = Bundle::new("touch /ran; sleep 1000");
    bundle.create();
    let pid = bundle.state()["pid"].as_i64().unwrap();
    bundle.verb("delete").ok();
    assert!(!bundle.rootfs().join("ran").exists());
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
}

#[test]
fn exit_codes_are_told() {
    assert_eq!(Bundle::new("exit 0").run().code, 0);
    assert_eq!(Bundle::new("exit 7").run().code, 7);
    assert_eq!(
        Bundle::new("kill -9 $$; sleep 1000")
            .with(|c| c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid"))
            .run()
            .code,
        137
    );
    let missing = Bundle::new("").with(|c| c["process"]["args"] = json!(["/no/such"]));
    let ran = missing.run();
    assert_eq!(ran.code, 127, "{ran:?}");
    ran.fails_with("executable file not found");
    missing.verb("state").fails_with("does not exist");
    let ran = Bundle::new("").with(|c| c["process"]["args"] = json!(["/etc/passwd"])).run();
    assert_eq!(ran.code, 126, "{ran:?}");
}

#[test]
fn an_exit_at_once_is_never_missed() {
    for _ in 0..20 {
        let bundle = Bundle::new("exit 3");
        assert_eq!(bundle.run().code, 3);
    }
}

#[test]
fn what_fails_leaves_nothing() {
    let bundle = Bundle::new("true").with(|c| {
        let broken = json!({"destination": "/data", "type": "nosuchfs", "source": "x"});
        c["mounts"].as_array_mut().unwrap().push(broken);
    });
    bundle.run().fails_with("could not mount /data");
    assert!(bundle.cgroups().is_empty());
    assert_eq!(fs::read_dir(bundle.state_root()).unwrap().count(), 0);
}

#[test]
fn names_are_names() {
    let bundle = Bundle::new("true");
    bundle.write();
    for bad in ["../x", "a/b", "..", "a b"] {
        bundle.oci(&["create", "--bundle", bundle.path(), bad]).fails_with("is not a container's name");
    }
}

#[test]
fn signals_reach_one_or_all() {
    let bundle = Bundle::new("trap 'echo caught > /data/one; exit 0' USR1; sleep 1000 & wait");
    bundle.create();
    bundle.start();
    let begun = Instant::now();
    while !bundle.rootfs().join("data/one").exists() {
        // Before the shell has set its trap the kernel drops it, as it is the first of its namespace.
        bundle.oci(&["kill", &bundle.id, "USR1"]);
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    bundle.wait_for("stopped");
    let shared = Bundle::new("sleep 1000 & sleep 1000").with(|c| {
        c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
    });
    shared.create();
    shared.start();
    let begun = Instant::now();
    while shared.oci(&["ps", "--format", "json", &shared.id]).ok().matches(',').count() < 1 {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    shared.oci(&["kill", "--all", &shared.id, "KILL"]).ok();
    shared.wait_for("stopped");
    let begun = Instant::now();
    while shared.oci(&["ps", "--format", "json", &shared.id]).ok() != "[]" {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_pause_stops_it_in_its_tracks() {
    let bundle = Bundle::new("while :; do echo x >> /data/ticks; sleep 0.01; done");
    bundle.create();
    bundle.start();
    bundle.verb("pause").ok();
    assert_eq!(bundle.state()["status"], "paused");
    let size = || fs::metadata(bundle.rootfs().join("data/ticks")).map_or(0, |m| m.len());
    let before = size();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(size(), before);
    bundle.oci(&["exec", &bundle.id, "true"]).fails_with("it is paused");
    bundle.verb("pause").fails_with("it is paused");
    bundle.verb("resume").ok();
    assert_eq!(bundle.state()["status"], "running");
    let begun = Instant::now();
    while size() == before {
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Also a frozen one dies.
    bundle.verb("pause").ok();
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    bundle.wait_for("stopped");
}

#[test]
fn limits_are_set_and_changed() {
    let limit = |bundle: &Bundle, v1: &str, v2: &str| {
        let found = bundle.cgroups().into_iter().flat_map(|c| [c.join(v1), c.join(v2)]).find(|f| f.exists());
        fs::read_to_string(found.unwrap()).unwrap().trim().to_owned()
    };
    let bundle = Bundle::new("sleep 1000").with(|c| {
        c["linux"]["resources"]["pids"] = json!({"limit": 33});
        c["linux"]["resources"]["memory"] = json!({"limit": 64 << 20});
    });
    bundle.create();
    assert_eq!(limit(&bundle, "pids.max", "pids.max"), "33");
    assert_eq!(limit(&bundle, "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    bundle.oci(&["update", "--pids-limit", "44", "--memory", "32m", &bundle.id]).ok();
    assert_eq!(limit(&bundle, "pids.max", "pids.max"), "44");
    assert_eq!(limit(&bundle, "memory.limit_in_bytes", "memory.max"), (32 << 20).to_string());
    let document = bundle.folder.path().join("resources.json");
    fs::write(&document, r#"{"pids": {"limit": -1}}"#).unwrap();
    bundle.oci(&["update", "--resources", document.to_str().unwrap(), &bundle.id]).ok();
    assert_eq!(limit(&bundle, "pids.max", "pids.max"), "max");
    bundle.oci(&["update", &bundle.id]).fails_with("say what is to be different");
}

#[test]
fn what_is_not_supported_says_so() {
    let bundle = Bundle::new("true");
    bundle.write();
    bundle.oci(&["checkpoint", &bundle.id]).fails_with("not supported");
    let rdt = Bundle::new("true").with(|c| c["linux"]["intelRdt"] = json!({"closID": "x"}));
    rdt.run().fails_with("linux.intelRdt");
    let features: serde_json::Value = serde_json::from_str(&bundle.oci(&["features"]).ok()).unwrap();
    assert_eq!(features["linux"]["cgroup"]["systemd"], true);
}

/// That systemd makes them is tried where it runs, by `make test-vm`.
#[test]
fn systemd_makes_cgroups_where_it_runs() {
    let mut bundle = Bundle::new("true").with(|c| c["annotations"] = json!({ "org.systemd.property.TimeoutStopSec": "soon" }));
    let run = |bundle: &Bundle| {
        bundle.write();
        bundle.oci(&["--systemd-cgroup", "run", "--bundle", bundle.path(), &bundle.id])
    };
    run(&bundle).fails_with("slice:prefix:name");
    bundle.config["linux"]["cgroupsPath"] = json!(format!("sp-test.slice:oci:{}", bundle.id));
    run(&bundle).fails_with("org.systemd.property.TimeoutStopSec");
    bundle.config["annotations"] = json!({});
    let ran = run(&bundle);
    if std::path::Path::new("/run/systemd/system").exists() {
        ran.ok();
    } else {
        ran.fails_with("systemd does not run this host");
    }
    assert!(!bundle.state_root().join(&bundle.id).exists());
}

#[test]
fn errors_are_written_where_engines_read_them() {
    let bundle = Bundle::new("true");
    let log = bundle.folder.path().join("log.json");
    let words = ["--log", log.to_str().unwrap(), "--log-format", "json", "state", "nobody"];
    bundle.oci(&words).fails_with("does not exist");
    let line: serde_json::Value = serde_json::from_str(fs::read_to_string(&log).unwrap().trim()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"));
}
