//! What a stack was before: it is listed and compared, and comes back with its images and contents when somebody asks for it.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::crash::Dice;
use crate::harness::image::{Layout, busybox_folder};
use crate::harness::{BUSYBOX, Host, PATIENCE, Registry, wait_until};

const SOON: Duration = Duration::from_secs(120);

/// Makes `test/app:1` of the registry an image whose `/etc/edition` says so.
fn push(host: &Host, registry: &Registry, edition: &str) -> String {
    let mut layout = Layout::new(host.dir.join(format!("layout-{edition}")));
    layout.add_folder(busybox_folder(), &[]);
    layout.add_files(&[("etc/edition", Some(edition))]);
    let layout = layout.finish("1", &json!({"Cmd": ["sleep", "inf"]}));
    registry.push(&layout, "1", "test/app")
}

fn edition(host: &Host) -> String {
    host.sp(&["exec", "s-app", "cat", "/etc/edition"]).ok().stdout
}

/// What the steps of a plan do, to what and why.
fn steps(plan: &Value) -> Vec<(Value, Value, Value)> {
    let steps = plan["steps"].as_array().unwrap().iter();
    steps.map(|step| (step["action"].clone(), step["target"].clone(), step["causes"].clone())).collect()
}

#[test]
fn an_earlier_generation_comes_back_with_its_images_while_the_network_is_cut() {
    let host = Host::new().with_busybox();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "first");
    host.write(
        "s/compose.yaml",
        &format!(
            "services:
  app: {{image: \"{reference}\", pull_policy: always, command: [sleep, inf], stop_grace_period: 0s, network_mode: none}}
  other: {{image: \"{BUSYBOX}\", command: [sleep, inf], stop_grace_period: 0s, network_mode: none}}
"
        ),
    );
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    host.sp(&["rollback"]).fails_with(1).says(&["no stack has been applied"]);
    host.sp(&["apply", &folder]).ok().says(&["generation 1"]);
    let other = host.pid("s-other");
    host.sp(&["rollback"]).fails_with(1).says(&["no earlier generation", "stack history"]);
    push(&host, &registry, "second");
    host.sp(&["apply", &folder]).ok().says(&["generation 2"]);
    assert_eq!(edition(&host), "second");
    drop(registry);

    let history = host.sp(&["stack", "history", "s", "--json"]).ok().json();
    let digest = |at: usize| history[0]["generations"][at]["images"][&reference].as_str().unwrap().to_owned();
    assert_ne!(digest(0), digest(1));
    assert_eq!(history[0]["generations"][1]["source"], folder.as_str());
    host.sp(&["stack", "history"]).ok().says(&["applied, current", "image/127.0.0.1-5000-test-app-1"]);
    host.sp(&["stack", "diff", "1", "2"]).ok().says(&["~ image/127.0.0.1-5000-test-app-1", "digest: "]);
    host.sp(&["stack", "diff", "1", "9"]).fails_with(1).says(&["generation 9 of s is not kept; there are 2, 1"]);
    // Nothing that cleans up takes away what can come back.
    host.sp(&["image", "prune", "--all", "--force"]).ok();
    host.sp(&["rmi", &digest(1)]).fails_with(1).says(&["can go back to"]);

    let saved = host.dir.join("plan").to_str().unwrap().to_owned();
    host.sp(&["plan", "--to", "1", "--out", &saved])
        .fails_with(2)
        .says(&["image/127.0.0.1-5000-test-app-1: restore", "container/app: recreate"]);
    let plan = host.sp(&["plan", "--to", "1", "--json"]).fails_with(2).json();
    let told = host.sp(&["rollback", "--json"]).ok().stdout;
    let planned: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(steps(&planned["plan"]), steps(&plan), "it does what the plan said");
    assert_eq!((edition(&host).as_str(), host.pid("s-other")), ("first", other));
    host.sp(&["plan", "--to", "1"]).ok();
    host.sp(&["status"]).ok().says(&["Held", "rolled back to generation 1", "generation 3"]);
    host.sp(&["stack", "history"]).ok().says(&["applied, current, held", "rollback to 1: image/127.0.0.1-5000-test-app-1"]);
    host.sp(&["apply", &saved]).fails_with(1).says(&["no longer fits", "s-app"]);
    // The way back from there is a rollback too: its own plan, saved and carried out.
    host.sp(&["plan", "--to", "2", "--out", &saved]).fails_with(2);
    host.sp(&["apply", &saved]).ok().says(&["image/127.0.0.1-5000-test-app-1: restored", "generation 4"]);
    assert_eq!((edition(&host).as_str(), host.pid("s-other")), ("second", other));
    // Docker's verbs of these names are what they are.
    host.sp(&["history", &reference]).ok().says(&["CREATED BY"]);
    host.sp(&["diff", "s-other"]).ok();
}

fn manifests(version: &str) -> String {
    format!(
        "apiVersion: setpoint/v1
kind: Config
metadata: {{name: conf}}
spec: {{content: \"conf of {version}\"}}
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: app}}
spec:
  image: {BUSYBOX}
  command: [sh, -c, \"exec sleep inf\"]
  environment: {{VERSION: \"{version}\", WHO: \"${{WHO:-nobody}}\"}}
  configs: [{{source: conf, target: /etc/conf}}]
  network_mode: none
  stop_grace_period: 0s
  restart: always
"
    )
}

/// What runs, by its environment and its config.
fn version(host: &Host) -> String {
    let ran = host.sp(&["exec", "s-app", "sh", "-c", "echo $VERSION, $(cat /etc/conf)"]);
    if ran.code == 0 { ran.stdout.trim().to_owned() } else { String::new() }
}

fn held(host: &Host) -> bool {
    let status = host.sp(&["status", "--json"]).ok().json();
    status[0]["conditions"].as_array().unwrap().iter().any(|condition| condition["type"] == "Held")
}

#[test]
fn a_rollback_is_held_by_the_daemon_until_the_folder_says_something_else() {
    let host = Host::new().with_busybox();
    let folder = host.dir.join("s");
    host.write("s/app.yaml", &manifests("1"));
    let daemon = host.daemon(&folder);
    wait_until("the first runs", SOON, || version(&host) == "1, conf of 1");
    host.write("s/app.yaml", &manifests("2"));
    wait_until("the second runs", SOON, || version(&host) == "2, conf of 2");
    host.sp(&["rollback"]).ok().says(&["generation 3"]);
    assert_eq!(version(&host), "1, conf of 1");
    assert!(held(&host));

    // What drifts is set right as it is held, and the same content again is no reason to leave it.
    let killed = host.pid("s-app");
    kill(Pid::from_raw(killed), Signal::SIGKILL).unwrap();
    wait_until("a killed container comes back", SOON, || host.running_pid("s-app").is_some_and(|pid| pid != killed));
    host.write("s/app.yaml", &manifests("2"));
    host.sp(&["rm", "-f", "s-app"]).ok();
    wait_until("a removed container is made again", SOON, || version(&host) == "1, conf of 1");
    assert!(held(&host));
    // Another daemon holds it as well.
    daemon.stop();
    let daemon = host.daemon(&folder);
    host.sp(&["rm", "-f", "s-app"]).ok();
    wait_until("a removed container is made again", SOON, || version(&host) == "1, conf of 1");
    assert!(held(&host));

    host.write("s/app.yaml", &manifests("3"));
    wait_until("the third runs", SOON, || version(&host) == "3, conf of 3");
    assert!(!held(&host));
    daemon.stop();
    // It is held by what the files say, and not by the variables of whoever brought it back.
    let rollback = host.command(&["rollback", "1"]).env("WHO", "somebody").output().unwrap();
    assert!(rollback.status.success(), "{rollback:?}");
    assert_eq!(version(&host), "1, conf of 1");
    let daemon = host.daemon(&folder);
    host.sp(&["rm", "-f", "s-app"]).ok();
    wait_until("a removed container is made again", SOON, || version(&host) == "1, conf of 1");
    assert!(held(&host));
    // Manifests that cannot be read when it is brought back count as what they said last: mended, they say nothing new.
    host.write("s/app.yaml", &manifests("4"));
    wait_until("the fourth runs", SOON, || version(&host) == "4, conf of 4");
    host.write("s/app.yaml", &manifests("4").replace("kind: Container", "kind: Cont"));
    host.sp(&["wait", "--for", "condition=Stalled", "s", "--timeout", "2m"]).ok();
    host.sp(&["rollback", "1"]).ok();
    host.write("s/app.yaml", &manifests("4"));
    host.sp(&["rm", "-f", "s-app"]).ok();
    wait_until("a removed container is made again", SOON, || version(&host) == "1, conf of 1");
    assert!(held(&host));
    host.write("s/app.yaml", &manifests("3"));
    wait_until("the third runs", SOON, || version(&host) == "3, conf of 3");
    host.sp(&["rollback", "1"]).ok();
    daemon.stop();
    // Somebody who applies manifests means them.
    host.sp(&["apply", folder.to_str().unwrap()]).ok().says(&["generation 10"]);
    assert_eq!(version(&host), "3, conf of 3");
    assert!(!held(&host));
}

#[test]
fn a_killed_rollback_is_finished_by_the_next() {
    let host = Host::new().with_busybox();
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    for edition in ["1", "2"] {
        host.write("s/app.yaml", &manifests(edition));
        host.sp(&["apply", &folder]).ok();
    }
    let newest = || host.sp(&["stack", "history", "--json"]).ok().json()[0]["generations"][0].clone();
    let mut dice = Dice::from_environment();
    for wanted in ["1, conf of 1", "2, conf of 2", "1, conf of 1", "2, conf of 2", "1, conf of 1", "2, conf of 2"] {
        let before = newest()["generation"].as_u64().unwrap();
        let killed = host.start(&["rollback"]);
        std::thread::sleep(Duration::from_millis(dice.below(120)));
        killed.signal(Signal::SIGKILL);
        killed.wait(PATIENCE);
        let after = newest();
        if after["generation"].as_u64().unwrap() == before || after["outcome"] != "applied" {
            host.sp(&["rollback"]).ok();
        }
        assert_eq!(version(&host), wanted);
        assert_eq!(host.containers(), ["s-app"]);
        assert!(held(&host));
    }
}
