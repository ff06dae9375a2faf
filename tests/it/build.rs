//! Builds as people type them: what they ask for, what they see, and what comes of it.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::process::Running;
use crate::harness::{BUSYBOX, Host, PATIENCE, Registry, Typist, tool, wait_until};

/// A context called `app`: a file that is copied, and a command that is run.
fn with_app(host: &Host) {
    host.write("app/hello", "hello from a file\n");
    let dockerfile = format!(
        "FROM {BUSYBOX}\nARG WHO=world\nRUN echo working; echo \"hello $WHO\" > /said\nCOPY hello /hello\nCMD [\"cat\", \"/said\", \"/hello\"]\n"
    );
    host.write("app/Dockerfile", &dockerfile);
}

fn digest(host: &Host, name: &str) -> String {
    host.sp(&["inspect", name]).ok().json()[0]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn a_dockerfile_becomes_an_image_once() {
    let host = Host::new().with_busybox();
    with_app(&host);
    let built = host.sp(&["build", "-t", "app:1", "--tag", "app:also", "--progress", "plain", "app"]).ok();
    assert_eq!(built.stdout, "", "only what was asked for goes there");
    built.says(&["RUN echo working", " working\n", "DONE", "✓ built sha256:", "as app:1, app:also"]);
    assert_eq!(host.sp(&["run", "--rm", "app:also"]).ok().stdout, "hello world\nhello from a file\n");
    host.sp(&["build", "-t", "app:2", "--progress=plain", "app"]).ok().says(&["CACHED", "steps cached"]);
    assert_eq!(digest(&host, "app:1"), digest(&host, "app:2"));
    // Another value of an argument is another image, whoever gives it.
    let mut command = host.command(&["builder", "build", "-q", "-t", "app:3", "--build-arg", "WHO", "app"]);
    command.env("WHO", "you");
    let quiet = Running::spawn(command).wait(PATIENCE).ok();
    assert_eq!((quiet.out(), quiet.stderr.as_str()), (digest(&host, "app:3").as_str(), ""));
    assert_eq!(host.sp(&["run", "--rm", "app:3", "cat", "/said"]).ok().stdout, "hello you\n");
    host.sp(&["check"]).ok();
}

#[test]
fn what_was_built_is_written_where_it_is_asked_for() {
    let host = Host::new().with_busybox();
    with_app(&host);
    host.write("id", "of an older build");
    let files = ["--iidfile", "id", "--metadata-file", "about.json"];
    host.sp(&[&["build", "-t", "app:1"], &files[..], &["app"]].concat()).ok();
    let read = |name: &str| fs::read_to_string(host.dir.join(name)).unwrap();
    assert_eq!(read("id"), digest(&host, "app:1"));
    let about: Value = serde_json::from_str(&read("about.json")).unwrap();
    assert_eq!((&about["containerimage.digest"], &about["image.name"]), (&read("id").into(), &"app:1".into()));
    let lines = host.sp(&["build", "--progress", "json", "app"]).ok().stdout;
    let events: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["started"]["title"].is_string()), "{lines}");
    assert!(events.iter().any(|event| event["finished"]["cached"] == true), "{lines}");
}

#[test]
fn contexts_and_dockerfiles_come_on_standard_input_too() {
    let host = Host::new().with_busybox();
    with_app(&host);
    let dir = host.dir.to_str().unwrap();
    for flag in ["-c", "-cz"] {
        let tar = format!("{dir}/app.tar");
        tool("tar", &["-C", &format!("{dir}/app"), flag, "-f", &tar, "."]);
        let tar = fs::read(tar).unwrap();
        host.feed(&["build", "-t", "app:1", "-"], &tar).wait(PATIENCE).ok();
        assert_eq!(host.sp(&["run", "--rm", "app:1"]).ok().stdout, "hello world\nhello from a file\n");
        host.sp(&["rmi", "app:1"]).ok();
    }
    let alone = format!("FROM {BUSYBOX}\nRUN echo alone > /said\n");
    host.feed(&["build", "-t", "alone:1", "-"], alone.as_bytes()).wait(PATIENCE).ok();
    assert_eq!(host.sp(&["run", "--rm", "alone:1", "cat", "/said"]).ok().stdout, "alone\n");
    let other = format!("FROM {BUSYBOX}\nCOPY hello /other\n");
    host.feed(&["build", "-t", "other:1", "-f", "-", "app"], other.as_bytes()).wait(PATIENCE).ok();
    host.sp(&["run", "--rm", "other:1", "cat", "/other"]).ok().says(&["hello from a file"]);
    host.write("elsewhere/Docker", &format!("FROM {BUSYBOX}\nCOPY hello /outside\n"));
    host.sp(&["build", "-t", "outside:1", "-f", "elsewhere/Docker", "app"]).ok();
    host.sp(&["run", "--rm", "outside:1", "cat", "/outside"]).ok().says(&["hello from a file"]);
}

#[test]
fn a_step_that_fails_is_shown_with_its_place_and_its_last_words() {
    let host = Host::new().with_busybox();
    let dockerfile = format!("FROM {BUSYBOX}\nRUN true\nRUN echo last words; \\\n    echo complaint >&2; exit 3\n");
    host.write("app/Dockerfile", &dockerfile);
    for progress in ["plain", "quiet"] {
        let failed = host.sp(&["build", "--progress", progress, "-t", "app:1", "app"]).fails_with(1);
        failed.says(&["error: ", "Dockerfile:3", "last words", "complaint", "3"]);
    }
    host.sp(&["inspect", "app:1"]).fails_with(1);
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUNN true\nCOPI a b\n"));
    host.sp(&["build", "app"]).fails_with(1).says(&["Dockerfile:2:1", "Dockerfile:3:1", "did you mean"]);
    host.sp(&["build", "--check", "app"]).fails_with(1).says(&["Dockerfile:2:1", "Dockerfile:3:1", "errors: 2"]);
    host.write("app/Dockerfile", "FROM scratch\nMAINTAINER me\n");
    host.sp(&["build", "--check", "app"]).ok().says(&["MAINTAINER is deprecated", "warnings: 1"]);
    assert!(host.sp(&["images", "-q"]).ok().stdout.lines().count() == 1, "a check builds nothing");
}

#[test]
fn secrets_are_there_for_a_step_and_nowhere_afterwards() {
    let host = Host::new().with_busybox();
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN --mount=type=secret,id=token --mount=type=secret,id=var,target=/v \
         test \"$(cat /run/secrets/token)\" = \"$(printf 'canary-%s' file)\" && test \"$(cat /v)\" = \"$(printf 'canary-%s' variable)\"\n"
    );
    host.write("app/Dockerfile", &dockerfile);
    host.write("token", "canary-file");
    let args = ["build", "-t", "app:1", "--secret", "id=token,src=token", "--secret", "id=var,env=TOKEN", "app"];
    let mut command = host.command(&args);
    command.env("TOKEN", "canary-variable");
    Running::spawn(command).wait(PATIENCE).ok();
    let state = host.instance.state_dir().to_str().unwrap();
    for canary in ["canary-file", "canary-variable"] {
        let found = Command::new("grep").args(["-rlF", canary, state]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{canary}");
    }
}

/// Somebody else's engine sees other files at the same path: what can be sent is sent.
#[test]
fn a_context_that_the_daemon_does_not_see_is_sent() {
    let host = Host::new().with_busybox();
    with_app(&host);
    host.write("manifests/v.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: {}\n");
    let daemon = host.daemon(&host.dir.join("manifests"));
    // The same path, and in it something else, for this command only.
    let script = "mount -t tmpfs none app && printf 'FROM localhost/busybox:1\\nCOPY . /in/\\n' > app/Dockerfile \
                  && echo seen > app/seen && echo left out > app/out && echo out > app/.dockerignore && exec \"$@\"";
    let like = host.command(&["build", "-t", "app:1", "app"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(like.get_program()).args(like.get_args()).current_dir(&host.dir);
    command.env_clear().envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Running::spawn(command).wait(PATIENCE).ok();
    host.sp(&["run", "--rm", "app:1", "cat", "/in/seen"]).ok().says(&["seen"]);
    host.sp(&["run", "--rm", "app:1", "test", "-e", "/in/out"]).fails_with(1);
    daemon.stop();
}

/// The processes with this word among their arguments.
fn processes_with(word: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let has = |line: Vec<u8>| line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes());
    entries.filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(has)).count()
}

#[test]
fn a_build_ends_when_nobody_waits_for_it() {
    let host = Host::new().with_busybox();
    // Nothing else on this machine sleeps for so long.
    let word = format!("{}", 70_000 + std::process::id());
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo waiting; exec sleep {word}\n"));
    host.write("manifests/v.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: {}\n");
    let daemon = host.daemon(&host.dir.join("manifests"));
    for signal in [Signal::SIGKILL, Signal::SIGINT] {
        let mut running = host.start(&["build", "--no-cache", "--progress", "plain", "app"]);
        wait_until("the step sleeps", PATIENCE, || {
            assert!(!running.has_ended(), "{}", running.stderr());
            processes_with(&word) > 0
        });
        running.signal(signal);
        wait_until("it has ended", PATIENCE, || processes_with(&word) == 0);
        if signal == Signal::SIGINT {
            running.wait(PATIENCE).fails_with(130);
        }
    }
    daemon.stop();
}

/// The engine ends with the command: what it was at is over, and the next command finds nothing of it.
#[test]
fn a_build_without_a_daemon_ends_with_its_command() {
    let host = Host::new().with_busybox();
    let word = format!("{}", 4_000_000 + std::process::id());
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN exec sleep {word}\n"));
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut running = host.start(&["build", "app"]);
        wait_until("the step sleeps", PATIENCE, || {
            assert!(!running.has_ended(), "{}", running.stderr());
            processes_with(&word) > 0
        });
        running.signal(signal);
        running.wait(PATIENCE).fails_with(128 + signal as i32);
        wait_until("it has ended", PATIENCE, || processes_with(&word) == 0);
    }
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN true\n"));
    host.sp(&["build", "app"]).ok();
}

#[test]
fn results_that_are_no_images() {
    let host = Host::new().with_busybox();
    host.write("app/file", "content\n");
    host.write("app/Dockerfile", "FROM scratch\nCOPY file /deep/file\n");
    host.sp(&["build", "-o", "out/here", "app"]).ok();
    assert_eq!(fs::read_to_string(host.dir.join("out/here/deep/file")).unwrap(), "content\n");
    fs::create_dir(host.dir.join("tmp")).unwrap();
    let script = "exec \"$@\" > out.tar";
    let like = host.command(&["build", "-o", "-", "app"]);
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(like.get_program()).args(like.get_args()).current_dir(&host.dir);
    command
        .env_clear()
        .envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .env("TMPDIR", host.dir.join("tmp"));
    Running::spawn(command).wait(PATIENCE).ok();
    assert!(tool("tar", &["-tf", host.dir.join("out.tar").to_str().unwrap()]).contains("deep/file"));
    assert_eq!(fs::read_dir(host.dir.join("tmp")).unwrap().count(), 0, "nothing of it is left");
    assert_eq!(host.sp(&["images", "-q"]).ok().stdout.lines().count(), 1, "no image was asked for");
    for kind in ["oci", "docker"] {
        host.sp(&["build", "-t", "made:1", "-o", &format!("type={kind},dest={kind}.tar"), "app"]).ok();
        host.sp(&["inspect", "made:1"]).fails_with(1);
        host.sp(&["load", "-i", &format!("{kind}.tar")]).ok();
        host.sp(&["rmi", "made:1"]).ok();
    }
}

#[test]
fn an_image_is_pushed_where_its_name_says() {
    let host = Host::new().with_busybox();
    with_app(&host);
    let _registry = Registry::start(&host);
    let name = format!("{}/team/app:1", Registry::ADDRESS);
    host.sp(&["build", "--push", "-t", &name, "app"]).ok();
    host.sp(&["build", "--load", "-t", "here:1", "app"]).ok();
    host.sp(&["build", "--push", "app"]).fails_with(1).says(&["needs a name", "--tag"]);
    host.sp(&["pull", &name]).ok();
    assert_eq!(host.sp(&["run", "--rm", &name]).ok().stdout, "hello world\nhello from a file\n");
}

#[test]
fn steps_are_kept_and_forgotten() {
    let host = Host::new().with_busybox();
    with_app(&host);
    host.sp(&["build", "--progress", "plain", "app"]).ok();
    host.sp(&["builder", "du"]).ok().says(&["RECLAIMABLE", "RUN", "Total: "]);
    let steps = host.sp(&["builder", "du", "--json"]).ok().json();
    assert!(steps.as_array().is_some_and(|steps| !steps.is_empty()), "{steps}");
    host.sp(&["builder", "prune", "--all", "--force", "--filter", "until=24h"]).ok().says(&["Forgotten steps: 0"]);
    host.sp(&["builder", "prune", "--all", "--force"]).ok().says(&["Total reclaimed space: "]);
    assert_eq!(host.sp(&["builder", "du", "--json"]).ok().json().as_array().map(Vec::len), Some(0));
    let again = host.sp(&["build", "--progress", "plain", "app"]).ok();
    assert!(again.stderr.contains(" working\n"), "{}", again.stderr);
}

#[test]
fn a_terminal_shows_a_picture() {
    let host = Host::new().with_busybox();
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo a line of output; sleep 1; echo '\\033[2Jx'\n"));
    let mut typist = Typist::start(&host, &["build", "-t", "app:1", "app"]);
    typist.sees("RUN echo a line of output");
    typist.sees("│");
    typist.sees("a line of output");
    typist.sees("✓");
    typist.sees("built sha256:");
    typist.sees("as app:1");
    assert_eq!(typist.ends(), 0);
}
