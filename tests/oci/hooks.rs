//! Hooks: their order, what they are told, and what becomes of a container whose hook fails.

use std::fs;

use serde_json::{Value, json};

use crate::bundle::Bundle;

/// A hook on the host that appends a word and the status it was told.
fn hook(bundle: &Bundle, word: &str, code: i32) -> Value {
    let log = bundle.folder.path().join("log");
    let script = format!(
        "read state; echo {word} $(echo $state | grep -o '\"status\":\"[a-z]*' | cut -d'\"' -f4) >> {}; exit {code}",
        log.display()
    );
    json!({"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]})
}

#[test]
fn hooks_are_told_the_process_as_it_is_seen_where_they_run() {
    let mut bundle = Bundle::new("sleep 1000");
    let hook = |phase: &str| {
        let script = format!(
            "read state; echo {phase} $(echo $state | grep -o '\"pid\":[0-9]*') >> {}",
            bundle.path().to_owned() + "/log"
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}])
    };
    let inside = json!([{"path": "/bin/sh", "args": ["sh", "-c", "grep -o '\"pid\":[0-9]*' > /data/pid"], "env": ["PATH=/bin"]}]);
    let hooks = json!({"createRuntime": hook("runtime"), "createContainer": hook("container"), "startContainer": inside});
    bundle.config["hooks"] = hooks;
    bundle.create();
    bundle.start();
    let pid = bundle.state()["pid"].clone();
    assert_eq!(log(&bundle), format!("runtime \"pid\":{pid}, container \"pid\":1"));
    assert_eq!(fs::read_to_string(bundle.rootfs().join("data/pid")).unwrap().trim(), "\"pid\":1");
}

fn log(bundle: &Bundle) -> String {
    fs::read_to_string(bundle.folder.path().join("log")).unwrap_or_default().trim().replace('\n', ", ")
}

#[test]
fn every_phase_has_its_turn() {
    let mut bundle = Bundle::new("echo program >> /data/log");
    let hooks = json!({
        "prestart": [hook(&bundle, "prestart", 0)],
        "createRuntime": [hook(&bundle, "createRuntime", 0)],
        "createContainer": [hook(&bundle, "createContainer", 0)],
        // In the container, by its own program.
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo startContainer >> /data/log"]}],
        "poststart": [hook(&bundle, "poststart", 0)],
        "poststop": [hook(&bundle, "poststop", 0)],
    });
    bundle.config["hooks"] = hooks;
    bundle.create();
    assert_eq!(log(&bundle), "prestart creating, createRuntime creating, createContainer creating");
    bundle.start();
    bundle.wait_for("stopped");
    bundle.verb("delete").ok();
    assert!(log(&bundle).ends_with("poststart running, poststop stopped"), "{}", log(&bundle));
    assert_eq!(fs::read_to_string(bundle.rootfs().join("data/log")).unwrap(), "startContainer\nprogram\n");
}

#[test]
fn a_failing_hook_of_the_creation_ends_it() {
    for phase in ["prestart", "createRuntime", "createContainer"] {
        let mut bundle = Bundle::new("touch /data/ran");
        let hooks = json!({
            phase: [hook(&bundle, "one", 0), hook(&bundle, "two", 5), hook(&bundle, "three", 0)],
            "poststop": [hook(&bundle, "stop", 0)],
        });
        bundle.config["hooks"] = hooks;
        bundle.run().fails_with(&format!("{phase} hook /bin/sh"));
        assert_eq!(log(&bundle), "one creating, two creating, stop stopped");
        assert!(!bundle.rootfs().join("data/ran").exists());
        bundle.verb("state").fails_with("does not exist");
    }
}

#[test]
fn a_failing_hook_of_the_start_keeps_the_program_from_running() {
    let bundle = Bundle::new("touch /data/ran").with(|c| {
        c["hooks"] = json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 4"]}]});
    });
    bundle.create();
    bundle.verb("start").fails_with("startContainer hook /bin/sh");
    bundle.wait_for("stopped");
    assert!(!bundle.rootfs().join("data/ran").exists());
}

#[test]
fn a_failing_hook_after_the_start_ends_the_container() {
    let mut bundle = Bundle::new("sleep 1000");
    bundle.config["hooks"] = json!({"poststart": [hook(&bundle, "one", 1), hook(&bundle, "two", 0)]});
    bundle.create();
    bundle.verb("start").fails_with("poststart hook");
    bundle.wait_for("stopped");
    assert_eq!(log(&bundle), "one running");
}

#[test]
fn hooks_after_the_end_all_have_their_turn() {
    let mut bundle = Bundle::new("true");
    bundle.config["hooks"] = json!({"poststop": [hook(&bundle, "one", 1), hook(&bundle, "two", 0)]});
    let ran = bundle.run();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("warning"), "{ran:?}");
    assert_eq!(log(&bundle), "one stopped, two stopped");
}

#[test]
fn a_hook_that_takes_too_long_is_ended() {
    let bundle = Bundle::new("true").with(|c| {
        c["hooks"] = json!({"prestart": [{"path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1}]});
    });
    bundle.run().fails_with("not done after 1 s");
}
