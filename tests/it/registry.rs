//! Images from a registry: a stack that pulls, and what happens when the registry's content changes or is damaged.

use std::fs;

use crate::harness::image::{Layout, busybox_folder};
use crate::harness::{Host, PATIENCE, Registry, Running, tool};
use serde_json::json;

/// Pushes an image of busybox and a second layer with one file, `/etc/edition`.
fn push(host: &Host, registry: &Registry, edition: &str) -> String {
    let mut layout = Layout::new(host.dir.join(format!("layout-{edition}")));
    layout.add_folder(busybox_folder(), &[]);
    layout.add_files(&[("etc/edition", Some(edition)), ("etc/group", None)]);
    let config = json!({"Env": ["PATH=/bin", "FROM=image"], "Cmd": ["cat", "/etc/edition"], "WorkingDir": "/etc"});
    let folder = layout.finish("1", &config);
    registry.push(&folder, "1", "test/app")
}

#[test]
fn pulls_runs_and_follows_a_moving_tag() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "first");
    assert_eq!(host.sp(&["run", "--rm", &reference]).ok().stdout, "first", "an absent image is pulled");
    assert_eq!(host.sp(&["run", "--rm", &reference, "sh", "-c", "echo $FROM $PWD; ls group"]).stdout, "image /etc\n");
    push(&host, &registry, "second");
    assert_eq!(host.sp(&["run", "--rm", &reference]).ok().stdout, "first", "a present image is not");
    host.sp(&["pull", &reference]).ok();
    assert_eq!(host.sp(&["run", "--rm", &reference]).ok().stdout, "second");
    let listed = host.sp(&["images", "--json"]).ok().json();
    assert!(listed.to_string().contains("test/app"), "{listed}");
    host.sp(&["pull", &format!("{}/test/none:1", Registry::ADDRESS)]).fails_with(1).says(&["test/none"]);
}

#[test]
fn a_stack_pulls_what_it_names() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "stacked");
    host.write(
        "s/s.yaml",
        &format!(
            "apiVersion: setpoint/v1
kind: Image
metadata: {{name: app}}
spec:
  reference: {reference}
  pull: {{policy: always}}
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: app}}
spec: {{image: {reference}, command: [sleep, inf]}}
"
        ),
    );
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    host.sp(&["apply", &folder]).ok();
    assert_eq!(host.sp(&["exec", "s-app", "cat", "/etc/edition"]).ok().stdout, "stacked");
    // Once applied, the registry is no longer needed to know that all is well.
    let image = host.inspect("s-app")["image_digest"].clone();
    drop(registry);
    host.sp(&["rm", "-f", "s-app"]).ok();
    let run = host.sp(&["run", "-d", "--name", "again", &reference, "sleep", "inf"]).ok();
    assert_eq!(host.inspect(run.out())["image_digest"], image);
}

#[test]
fn the_daemon_uses_the_login_of_whoever_asks() {
    let host = Host::new();
    let registry = Registry::start_locked(&host);
    let reference = push(&host, &registry, "locked");
    let copy = format!("{}/test/copy:1", Registry::ADDRESS);
    let manifests = format!(
        "apiVersion: setpoint/v1
kind: Image
metadata: {{name: app}}
spec: {{reference: {reference}, pull: {{}}, push: {{to: [{copy}]}}}}
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: app}}
spec: {{image: {reference}, command: [sleep, inf]}}
"
    );
    host.write("s/s.yaml", &manifests);
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    let watched = host.dir.join("watched");
    fs::create_dir(&watched).unwrap();
    let _daemon = host.daemon(&watched);
    // The daemon's user has no login, and neither has this one.
    host.sp(&["apply", &folder]).fails_with(1).says(&["not authorized"]);
    // Another user has, who asks the same daemon.
    let home = host.dir.join("home");
    let login = json!({"auths": {Registry::ADDRESS: {"auth": "bWU6c2VjcmV0"}}});
    host.write("home/.docker/config.json", &login.to_string());
    let typed = |args: &[&str]| {
        let mut command = host.command(args);
        command.env("HOME", &home);
        Running::spawn(command).wait(PATIENCE)
    };
    typed(&["plan", &folder]).fails_with(2).says(&["image/app: pull", "sha256:"]);
    let plan = host.dir.join("plan").to_str().unwrap().to_owned();
    typed(&["plan", "--out", &plan, &folder]).fails_with(2);
    assert!(!fs::read_to_string(&plan).unwrap().contains("bWU6c2VjcmV0"), "a plan that is saved has no password in it");
    typed(&["apply", &plan]).ok().says(&["image/app: pulled", "image/app: pushed"]);
    assert_eq!(host.sp(&["exec", "s-app", "cat", "/etc/edition"]).ok().stdout, "locked");
    tool("skopeo", &["inspect", "--tls-verify=false", "--creds", Registry::LOGIN, &format!("docker://{copy}")]);
}

#[test]
fn damaged_content_is_refused() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "whole");
    // One byte of every large blob is turned over where the registry keeps it.
    let blobs = host.dir.join("registry/data/docker/registry/v2/blobs/sha256");
    let mut damaged = 0;
    for folder in fs::read_dir(blobs).unwrap().flatten().flat_map(|first| fs::read_dir(first.path()).unwrap().flatten()) {
        let path = folder.path().join("data");
        let mut content = fs::read(&path).unwrap();
        if content.len() > 100_000 {
            let middle = content.len() / 2;
            content[middle] ^= 1;
            fs::write(&path, content).unwrap();
            damaged += 1;
        }
    }
    assert_eq!(damaged, 1);
    host.sp(&["pull", &reference]).fails_with(1).says(&["digest"]);
    host.sp(&["images", "-q"]).ok();
    assert_eq!(host.sp(&["images", "-q"]).ok().out(), "", "no half of an image is there");
}
