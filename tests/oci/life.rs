//! From creation to removal: states, what each of them allows, signals, exit codes, lists.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Instant;

use serde_json::json;
use setpoint::engine::runtime::oci::receive_descriptor;

use crate::bundle::{Bundle, PATIENCE, Ran};

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
fn a_cgroup_of_others_is_refused() {
    let first = Bundle::new("sleep 1000");
    first.create();
    first.start();
    let second = Bundle::new("true").with(|c| c["linux"]["cgroupsPath"] = json!(format!("/{}", first.id)));
    second.run().fails_with("there are processes in it already");
    assert_eq!(first.state()["status"], "running");
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
fn flags_of_other_runtimes_are_honoured_or_refused() {
    let bundle = Bundle::new("true");
    bundle.write();
    bundle.oci(&["--rootless", "auto", "list"]).ok();
    bundle.oci(&["--rootless=true", "list"]).fails_with("--rootless");
    bundle.oci(&["--criu", "/bin/true", "list"]).fails_with("--criu");
    bundle.oci(&["run", "--no-subreaper", "--bundle", bundle.path(), &bundle.id]).ok();
    let updated = |words: &[&str]| bundle.oci(&[&["update"], words, &[bundle.id.as_str()]].concat());
    updated(&["--kernel-memory", "5m"]).fails_with("--kernel-memory: kernels count it as memory");
    updated(&["--l3-cache-schema", "L3:0=f"]).fails_with("--l3-cache-schema: resctrl is not supported");
    let memory = Bundle::new("true").with(|c| c["linux"]["resources"]["memory"] = json!({"kernel": 1 << 20}));
    memory.run().fails_with("linux.resources.memory.kernel");
    for platform in ["zos", "freebsd", "windows"] {
        let other = Bundle::new("true").with(|c| {
            c[platform] = json!({"layerFolders": []});
        });
        other.run().fails_with("another platform");
    }
}

#[test]
fn an_ordinary_users_document_is_written() {
    let bundle = Bundle::new("true");
    let folder = bundle.folder.path().join("other");
    fs::create_dir(&folder).unwrap();
    bundle.oci(&["spec", "--rootless", "--bundle", folder.to_str().unwrap()]).ok();
    let spec: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    assert_eq!(spec["linux"]["uidMappings"], json!([{"containerID": 0, "hostID": 0, "size": 1}]));
    let ours = Bundle::new("id -u").with(|c| {
        *c = spec;
        c["process"]["terminal"] = json!(false);
        c["process"]["args"] = json!(["/bin/id", "-u"]);
    });
    assert_eq!(ours.run().ok(), "0");
}

#[test]
fn what_a_container_uses_is_told_until_it_ends() {
    let bundle = Bundle::new("sleep 1000").with(|c| c["linux"]["resources"]["pids"] = json!({"limit": 20}));
    bundle.create();
    bundle.start();
    let once: serde_json::Value = serde_json::from_str(&bundle.oci(&["events", "--stats", &bundle.id]).ok()).unwrap();
    assert_eq!((once["type"].as_str(), once["id"].as_str()), (Some("stats"), Some(bundle.id.as_str())));
    assert_eq!(once["data"]["pids"], json!({"current": 1, "limit": 20}));
    assert!(once["data"]["memory"]["usage"]["usage"].as_u64().unwrap() > 0, "{once}");
    let events = bundle.command(&["events", "--interval", "50ms", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    bundle.oci(&["kill", &bundle.id, "KILL"]).ok();
    let told = Ran::of(&events.wait_with_output().unwrap()).ok();
    assert!(told.lines().count() > 1, "{told}");
    bundle.wait_for("stopped");
    bundle.oci(&["events", "--stats", &bundle.id]).fails_with("it is stopped");
}

#[test]
fn want_of_memory_is_told() {
    let script = "while [ ! -e /data/go ]; do sleep 0.1; done; tail /dev/zero";
    let bundle = Bundle::new(script).with(|c| c["linux"]["resources"]["memory"] = json!({"limit": 16 << 20, "swap": 16 << 20}));
    std::os::unix::fs::symlink("busybox", bundle.rootfs().join("bin/tail")).unwrap();
    bundle.create();
    bundle.start();
    let mut events = bundle.command(&["events", "--interval", "1h", &bundle.id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("stats"));
    fs::write(bundle.rootfs().join("data/go"), "").unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    events.wait().unwrap();
    assert!(rest.iter().any(|line| line.contains(r#""type":"oom""#)), "{rest:?}");
}

#[test]
fn a_descriptor_of_the_process_is_handed_out() {
    let bundle = Bundle::new("sleep 1000");
    let path = bundle.folder.path().join("pidfd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.write();
    let words = ["create", "--pidfd-socket", path.to_str().unwrap(), "--bundle", bundle.path(), &bundle.id];
    bundle.oci(&words).ok();
    let (connection, _) = listener.accept().unwrap();
    let pidfd = receive_descriptor(&connection).unwrap();
    bundle.start();
    let about = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    assert!(about.contains(&format!("Pid:\t{}\n", bundle.state()["pid"])), "{about}");
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
