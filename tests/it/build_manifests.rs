//! Stacks whose images are built: once, again when their sources change, and never for what the build does not look at.

use std::fs;

use crate::harness::{BUSYBOX, Host, PATIENCE, wait_until};

const COMPOSE: &str = "services:
  web:
    build: {context: ./app, args: {WHO: world}, secrets: [token]}
    command: [sh, -c, \"cat /said /in/hello; exec sleep 1000\"]
    stop_signal: SIGKILL
secrets:
  token: {file: ./token}
";

/// A stack in the folder `shop`.
fn with_shop(host: &Host) {
    host.write("shop/compose.yaml", COMPOSE);
    host.write("shop/token", "canary-of-a-stack");
    host.write("shop/app/hello", "first\n");
    host.write("shop/app/.dockerignore", "*.log\n");
    let dockerfile = format!(
        "FROM {BUSYBOX}\nARG WHO\nRUN --mount=type=secret,id=token test -s /run/secrets/token && echo \"hello $WHO\" > /said\nCOPY . /in/\n"
    );
    host.write("shop/app/Dockerfile", &dockerfile);
}

fn id(host: &Host, name: &str) -> String {
    host.inspect(name)["id"].as_str().unwrap().to_owned()
}

fn prints(host: &Host, name: &str, what: &str) {
    wait_until("it has printed", PATIENCE, || host.sp(&["logs", name]).stdout.contains(what));
}

#[test]
fn a_service_is_built_and_built_again_when_its_files_change() {
    let host = Host::new().with_busybox();
    with_shop(&host);
    host.sp(&["plan", "shop"]).fails_with(2).says(&["build", "shop-web"]);
    host.sp(&["apply", "shop"]).ok().says(&["built", "RUN --mount=type=secret"]);
    prints(&host, "shop-web", "hello world\nfirst\n");
    host.sp(&["plan", "shop"]).ok();
    let first = id(&host, "shop-web");
    // What the build does not look at.
    host.write("shop/app/debug.log", "noise");
    host.sp(&["plan", "shop"]).ok();
    host.write("shop/app/hello", "second\n");
    host.sp(&["plan", "shop"]).fails_with(2).says(&["spec.build.context/hello: ", "because image/web is built"]);
    host.sp(&["apply", "shop"]).ok();
    prints(&host, "shop-web", "second\n");
    assert_ne!(id(&host, "shop-web"), first);
    host.sp(&["plan", "shop"]).ok();
    // A touched file is looked at, and comes to the same image: nothing is made anew.
    let second = id(&host, "shop-web");
    host.write("shop/app/hello", "second\n");
    host.sp(&["apply", "shop"]).ok();
    assert_eq!(id(&host, "shop-web"), second);
    // Another argument.
    host.write("shop/compose.yaml", &COMPOSE.replace("world", "you"));
    host.sp(&["plan", "shop"]).fails_with(2).says(&["spec.build.args.", "world → you"]);
    host.sp(&["apply", "shop"]).ok();
    prints(&host, "shop-web", "hello you\n");
    let found = std::process::Command::new("grep")
        .args(["-rlF", "canary-of-a-stack", host.instance.state_dir().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    host.sp(&["destroy", "shop"]).ok();
}

#[test]
fn the_daemon_builds_again_when_a_file_of_the_context_changes() {
    let host = Host::new().with_busybox();
    let image =
        "apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: app}\nspec:\n  reference: localhost/app:1\n  build: ../app\n";
    let container = "---\napiVersion: setpoint/v1\nkind: Container\nmetadata: {name: app}\nspec:\n  image: localhost/app:1\n  command: [sh, -c, \"cat /file; exec sleep 1000\"]\n  stop_signal: SIGKILL\n";
    host.write("app/file", "one\n");
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nCOPY file /\n"));
    host.write("stack/app.yaml", &format!("{image}{container}"));
    let daemon = host.daemon(&host.dir.join("stack"));
    wait_until("the container runs", PATIENCE, || host.running_pid("stack-app").is_some());
    prints(&host, "stack-app", "one\n");
    host.write("app/file", "two\n");
    wait_until("it is another one", PATIENCE, || host.sp(&["logs", "stack-app"]).stdout.contains("two\n"));
    // One that cannot be built leaves what runs alone, and is built when it has been mended.
    let before = id(&host, "stack-app");
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo broken >&2; false\n"));
    wait_until("the failure is told", PATIENCE, || daemon.said().contains("Dockerfile:2"));
    assert_eq!(id(&host, "stack-app"), before);
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nCOPY file /\nRUN echo three >> /file\n"));
    wait_until("it has been mended", PATIENCE, || host.sp(&["logs", "stack-app"]).stdout.contains("three\n"));
    daemon.stop();
    host.sp(&["destroy", "stack"]).ok();
}

#[test]
fn a_build_that_fails_stops_only_what_needs_it() {
    let host = Host::new().with_busybox();
    let compose = format!(
        "services:\n  bad: {{build: ./bad}}\n  good: {{image: {BUSYBOX}, command: [sleep, \"1000\"], stop_signal: SIGKILL}}\n  gone: {{build: {{context: ./bad, target: none}}}}\n"
    );
    host.write("shop/compose.yaml", &compose);
    host.write("shop/bad/Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo what went wrong; exit 7\n"));
    let failed = host.sp(&["apply", "shop"]).fails_with(1);
    failed.says(&["what went wrong", "Dockerfile:2", "there is no stage `none`"]);
    assert_eq!(host.running(), ["shop-good"]);
    host.sp(&["destroy", "shop"]).ok();
    fs::remove_file(host.dir.join("shop/bad/Dockerfile")).unwrap();
    host.sp(&["validate", "shop"]).fails_with(1).says(&["compose.yaml:2", "there is no Dockerfile"]);
}
