//! Every folder of `examples/` does what it says. Each is copied first: a test writes nothing into the source tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::net::http;
use crate::harness::{Host, image, tool, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// A copy of an example, with the root file system that `examples/rootfs.sh` makes for it.
fn copy(host: &Host, name: &str) -> PathBuf {
    let folder = host.dir.join(name);
    tool("cp", &["-r", &format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR")), folder.to_str().unwrap()]);
    // What a demonstration on this machine has put there.
    fs::remove_dir_all(folder.join("rootfs")).ok();
    tool("cp", &["-a", image::busybox_folder().to_str().unwrap(), folder.join("rootfs").to_str().unwrap()]);
    folder
}

/// Applies, checks that a second time there is nothing to do, runs `check`, destroys.
fn apply(host: &Host, path: &Path, check: impl FnOnce()) {
    let path = path.to_str().unwrap();
    host.sp(&["validate", path]).ok();
    host.sp(&["plan", path]).fails_with(2);
    host.sp(&["apply", path]).ok();
    host.sp(&["plan", path]).ok().says(&["othing"]);
    check();
    host.sp(&["plan", path]).ok();
    host.sp(&["destroy", path]).ok();
    assert!(host.containers().is_empty());
}

/// The page counts its visitors and shows what the other container says.
fn greets(visitor: u32) {
    let mut said = String::new();
    wait_until("the page is served", SOON, || {
        said = http(8080, "/").unwrap_or_default();
        !said.is_empty()
    });
    assert!(said.contains("Hello from setpoint"), "{said}");
    assert!(said.contains(&format!("visitor {visitor}")), "{said}");
    assert!(said.contains("UTC"), "the clock's answer: {said}");
}

#[test]
fn hello() {
    let host = Host::new();
    let folder = copy(&host, "hello");
    apply(&host, &folder, || {
        greets(1);
        greets(2);
    });
    // The volume outlives the stack.
    host.sp(&["apply", folder.to_str().unwrap()]).ok();
    greets(3);
}

#[test]
fn hello_compose() {
    let host = Host::new();
    let folder = copy(&host, "hello-compose");
    host.sp(&["import", image::busybox_tar().to_str().unwrap(), "localhost/hello:1"]).ok();
    apply(&host, &folder.join("compose.yaml"), || {
        greets(1);
        greets(2);
    });
}

#[test]
fn limits() {
    let host = Host::new();
    let folder = copy(&host, "limits");
    apply(&host, &folder, || {
        let worker = host.inspect("limits-worker");
        assert_eq!(worker["state"]["health"], "healthy", "apply waits for what others depend on: {worker}");
        assert_eq!(host.running(), ["limits-client", "limits-worker"]);
        // It gets unwell, and says so; then well again.
        let health = || host.inspect("limits-worker")["state"]["health"].clone();
        host.sp(&["exec", "limits-worker", "rm", "/tmp/well"]).ok();
        wait_until("it is unhealthy", SOON, || health() == "unhealthy");
        host.sp(&["exec", "limits-worker", "touch", "/tmp/well"]).ok();
        wait_until("it is healthy", SOON, || health() == "healthy");
    });
}

#[test]
fn provision() {
    let host = Host::new();
    let folder = copy(&host, "provision");
    let serves = |text: &str| wait_until(text, SOON, || http(8080, "/").is_ok_and(|body| body == format!("{text}\n")));
    apply(&host, &folder, || {
        serves("made once");
        let manifest = folder.join("provision.yaml");
        let changed = fs::read_to_string(&manifest).unwrap().replace("made once", "made again");
        fs::write(&manifest, changed).unwrap();
        host.sp(&["apply", folder.to_str().unwrap()]).ok().says(&["image/site: committed localhost/site:1"]);
        serves("made again");
    });
}

#[test]
fn every_example_has_a_test() {
    let folder = format!("{}/examples", env!("CARGO_MANIFEST_DIR"));
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().flatten().filter(|e| e.path().is_dir()).map(|e| e.file_name()).collect();
    names.sort();
    assert_eq!(names, ["hello", "hello-compose", "limits", "provision"], "write a test above for each");
}
