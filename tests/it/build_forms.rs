//! Forms of Dockerfiles and of builds that are easily forgotten, and what goes on beside a build of a stack.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::{BUSYBOX, Host, PATIENCE, wait_until};

fn said(host: &Host, image: &str) -> String {
    host.sp(&["run", "--rm", image, "cat", "/said"]).ok().stdout
}

#[test]
fn a_question_is_told_before_its_line_ends() {
    let host = Host::new().with_busybox();
    let script = "printf 'Continue? '; sleep 3; echo yes; printf '1%%\\r50%%\\r100%%\\n'";
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN {script}\n"));
    let lines = host.sp(&["build", "--progress", "json", "app"]).ok().stdout;
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let texts: Vec<String> = events.filter_map(|event| Some(event["output"]["text"].as_str()?.to_owned())).collect();
    assert_eq!(texts[0], "Continue? ", "{texts:?}");
    assert_eq!(texts.concat(), "Continue? yes\n1%\r50%\r100%\n");
    let plain = host.sp(&["build", "--no-cache", "--progress", "plain", "app"]).ok();
    plain.says(&[" Continue?\n", " Continue? yes\n", " 100%\n"]);
}

#[test]
fn arguments_of_a_base_stage_and_ports_of_sctp() {
    let host = Host::new().with_busybox();
    let dockerfile = format!(
        "FROM {BUSYBOX} AS base\nARG ONE=1\nENV TWO=env\nARG TWO=arg\nRUN echo \"$ONE $TWO\" > /base\n\
         FROM base\nRUN echo \"$(cat /base) $ONE $TWO\" > /said\nEXPOSE 80 9899/sctp\n\
         FROM base AS other\nARG ONE=own\nRUN echo \"$ONE\" > /said\n"
    );
    host.write("app/Dockerfile", &dockerfile);
    host.sp(&["build", "-t", "app:1", "--target", "1", "app"]).ok();
    // An ARG after ENV counts in its stage, and at the beginning of the next one ENV does.
    assert_eq!(said(&host, "app:1"), "1 arg 1 env\n");
    let config = host.sp(&["inspect", "app:1"]).ok().stdout;
    assert!(config.contains("9899/sctp") && config.contains("80/tcp"), "{config}");
    // What nobody can publish is left out.
    assert_eq!(host.sp(&["run", "--rm", "-P", "app:1", "echo", "ran"]).ok().stdout, "ran\n");
    host.sp(&["build", "-t", "app:2", "app"]).ok();
    assert_eq!(said(&host, "app:2"), "own\n");
}

#[test]
fn an_agent_has_the_owner_that_a_mount_says() {
    let host = Host::new().with_busybox();
    let _agent = UnixListener::bind(host.dir.join("agent")).unwrap();
    let dockerfile = format!(
        "FROM {BUSYBOX}\nRUN --mount=type=ssh,uid=1000,gid=1001,mode=0660 test -S $SSH_AUTH_SOCK && stat -c '%u %g %a' $SSH_AUTH_SOCK > /said\n\
         RUN --mount=type=ssh,target=/run/own test \"$SSH_AUTH_SOCK\" = /run/own && stat -c '%u %g %a' /run/own >> /said\n\
         RUN test -z \"$SSH_AUTH_SOCK\"\n"
    );
    host.write("app/Dockerfile", &dockerfile);
    host.sp(&["build", "-t", "app:1", "--ssh", "default=agent", "app"]).ok();
    assert_eq!(said(&host, "app:1"), "1000 1001 660\n0 0 600\n");
}

/// Folders of the hierarchies at this path.
fn cgroups(path: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir("/sys/fs/cgroup") else { return Vec::new() };
    let roots = entries.flatten().map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]);
    roots.map(|root| root.join(path)).filter(|folder| folder.is_dir()).collect()
}

#[test]
fn commands_have_their_cgroup_below_a_parent() {
    let host = Host::new().with_busybox();
    let parent = format!("sptest-build-{}", host.instance.tag());
    let word = format!("{}", 5_000_000 + std::process::id());
    host.write("app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN exec sleep {word}\n"));
    let below = || {
        let folders = cgroups(&parent).into_iter().flat_map(|folder| fs::read_dir(folder).unwrap().flatten());
        folders.filter(|entry| entry.path().is_dir()).count()
    };
    for signal in [Signal::SIGINT, Signal::SIGKILL] {
        let mut running = host.start(&["build", "--cgroup-parent", &format!("/{parent}"), "app"]);
        wait_until("it has a cgroup there", PATIENCE, || {
            assert!(!running.has_ended(), "{}", running.stderr());
            below() > 0
        });
        running.signal(signal);
        running.wait(PATIENCE).fails_with(128 + signal as i32);
    }
    // What a killed build has left, the next command that looks takes away.
    host.write("stack/v.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: {}\n");
    host.sp(&["apply", "stack"]).ok();
    wait_until("nothing is below it", PATIENCE, || below() == 0);
    cgroups(&parent).into_iter().for_each(|folder| fs::remove_dir(folder).unwrap());
    host.sp(&["build", "--cgroup-parent", "batch.slice", "app"]).fails_with(1).says(&["slice", "name a path such as /batch"]);
}

/// A long build holds nobody up who looks at the stack's containers or stops one.
#[test]
fn a_stack_can_be_used_while_one_of_its_images_is_built() {
    let host = Host::new().with_busybox();
    let word = format!("{}", 6_000_000 + std::process::id());
    host.write("shop/app/Dockerfile", &format!("FROM {BUSYBOX}\nRUN echo begun; exec sleep {word}\n"));
    let compose = format!(
        "services:\n  web: {{image: \"{BUSYBOX}\", command: [sh, -c, \"echo here; exec sleep 1000\"], stop_signal: KILL}}\n  slow: {{build: ./app}}\n"
    );
    host.write("shop/compose.yaml", &compose);
    let mut applying = host.start(&["apply", "shop"]);
    wait_until("the build and the other service run", PATIENCE, || {
        assert!(!applying.has_ended(), "{}", applying.stderr());
        applying.stdout().contains("begun") && host.running() == ["shop-web"]
    });
    host.sp(&["ps"]).ok().says(&["shop-web"]);
    wait_until("it has printed", PATIENCE, || host.sp(&["logs", "shop-web"]).ok().stdout == "here\n");
    host.sp(&["exec", "shop-web", "true"]).ok();
    host.sp(&["stop", "shop-web"]).ok();
    assert!(host.running().is_empty());
    host.sp(&["plan", "shop"]).fails_with(2);
    let mut destroying = host.start(&["destroy", "shop"]);
    wait_until("who has to wait is told", PATIENCE, || destroying.stderr().contains("waiting until"));
    assert!(!destroying.has_ended() && !applying.has_ended(), "it still builds");
    applying.signal(Signal::SIGINT);
    applying.wait(PATIENCE);
    destroying.wait(PATIENCE).ok();
    assert!(host.containers().is_empty());
}
