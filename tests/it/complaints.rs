//! What users of other tools complain of, a test each: what they do, and what becomes of it here.

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{BUSYBOX, Host, PATIENCE, leftovers, tool, wait_until};

/// A stack of the folder `s`, with what all its services have.
fn stack(host: &Host, services: &str, rest: &str) {
    let image = format!("x-usual: &usual {{image: {BUSYBOX}, command: [sleep, \"1000\"], stop_signal: SIGKILL}}\n");
    host.write("s/compose.yaml", &format!("{image}services:\n{services}{rest}"));
}

fn id(host: &Host, name: &str) -> String {
    host.inspect(name)["id"].as_str().unwrap().to_owned()
}

#[test]
fn config_content_changed() {
    let host = Host::new().with_busybox();
    let services = "  app: {<<: *usual, configs: [conf]}\n  other: {<<: *usual}\n";
    stack(&host, services, "configs: {conf: {file: ./conf}}\n");
    host.write("s/conf", "one");
    host.sp(&["apply", "s"]).ok();
    let other = host.pid("s-other");
    host.write("s/conf", "two");
    host.sp(&["plan", "s"]).fails_with(2).says(&["container/app: recreate", "/conf.digest"]);
    host.sp(&["apply", "s"]).ok();
    assert_eq!(host.sp(&["exec", "s-app", "cat", "/conf"]).ok().stdout, "two");
    assert_eq!(host.pid("s-other"), other);
    // The same content again, in a file that is written anew, is no change.
    host.write("s/conf", "two");
    host.sp(&["plan", "s"]).ok();
    // Of a watched path of the host the manifest says what its change takes.
    stack(
        &host,
        "  app: {<<: *usual, volumes: [{type: bind, source: ./watched, target: /w, x-setpoint: {on_change: restart}}]}\n",
        "",
    );
    host.write("s/watched/a", "one");
    host.sp(&["apply", "s"]).ok();
    let (container, process) = (id(&host, "s-app"), host.pid("s-app"));
    host.sp(&["plan", "s"]).ok();
    host.write("s/watched/a", "two");
    host.sp(&["apply", "s"]).ok().says(&["container/app: stopped", "container/app: started"]);
    assert_eq!(id(&host, "s-app"), container);
    assert_ne!(host.pid("s-app"), process);
    host.sp(&["plan", "s"]).ok();
}

#[test]
fn secret_content_changed() {
    let host = Host::new().with_busybox();
    let waits = "command: [sh, -c, \"trap 'echo heard' HUP; while :; do sleep 0.1; done\"]";
    let services = format!(
        "  app: {{<<: *usual, secrets: [token]}}\n  other: {{<<: *usual}}\n\
         \x20 reader: {{<<: *usual, {waits}, secrets: [{{source: token, x-setpoint: {{on_change: SIGHUP}}}}]}}\n"
    );
    stack(&host, &services, "secrets: {token: {file: ./token}}\n");
    host.write("s/token", "first-token");
    host.sp(&["apply", "s"]).ok();
    let (app, reader, other) = (id(&host, "s-app"), host.pid("s-reader"), host.pid("s-other"));
    host.write("s/token", "second-token");
    let plan = host.sp(&["plan", "s"]).fails_with(2).says(&["container/app: recreate", "container/reader: "]).stdout.clone();
    assert!(!plan.contains("-token"), "{plan}");
    host.sp(&["apply", "s"]).ok();
    for name in ["s-app", "s-reader"] {
        assert_eq!(host.sp(&["exec", name, "cat", "/run/secrets/token"]).ok().stdout, "second-token");
    }
    assert_ne!(id(&host, "s-app"), app);
    assert_eq!((host.pid("s-reader"), host.pid("s-other")), (reader, other));
    wait_until("it was told", PATIENCE, || host.sp(&["logs", "s-reader"]).ok().stdout == "heard\n");
    host.sp(&["plan", "s"]).ok();
}

#[test]
fn image_tag_moved() {
    let host = Host::new().with_busybox();
    host.sp(&["tag", BUSYBOX, "localhost/app:1"]).ok();
    stack(&host, "  app: {<<: *usual, image: \"localhost/app:1\", pull_policy: never}\n", "");
    host.sp(&["apply", "s"]).ok();
    let before = id(&host, "s-app");
    // A tag that is set again and means the same is no change.
    host.sp(&["tag", BUSYBOX, "localhost/app:1"]).ok();
    host.sp(&["plan", "s"]).ok();
    host.sp(&["commit", "s-app", "localhost/app:1"]).ok();
    host.sp(&["plan", "s"]).fails_with(2).says(&["container/app: recreate"]);
    host.sp(&["apply", "s"]).ok();
    assert_ne!(id(&host, "s-app"), before);
    host.sp(&["plan", "s"]).ok();
}

#[test]
fn interrupted_recreate() {
    let host = Host::new().with_busybox();
    let edition = |number: u32| stack(&host, &format!("  app: {{<<: *usual, environment: {{EDITION: \"{number}\"}}}}\n"), "");
    edition(0);
    host.sp(&["apply", "s"]).ok();
    for (number, point) in
        ["step is done:1", "step begins:2", "step is done:2", "folders made:1", "step is done:3"].iter().enumerate()
    {
        edition(number as u32 + 1);
        let mut command = host.command(&["apply", "s"]);
        command.env("SETPOINT_FAIL", format!("{point}=kill"));
        assert!(!command.output().unwrap().status.success(), "{point}");
        // Neither a second one under another name, nor none.
        host.sp(&["apply", "s"]).ok();
        assert_eq!(host.containers(), ["s-app"], "{point}");
        let said = host.sp(&["exec", "s-app", "sh", "-c", "echo $EDITION"]).ok().stdout;
        assert_eq!(said.trim(), (number + 1).to_string(), "{point}");
    }
}

#[test]
fn container_removed_from_file() {
    let host = Host::new().with_busybox();
    let both = "  app: {<<: *usual}\n  gone: {<<: *usual, volumes: [\"data:/data\"]}\n";
    stack(&host, both, "volumes: {data: {}}\n");
    host.sp(&["run", "-d", "--name", "mine", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["apply", "s"]).ok();
    host.sp(&["exec", "s-gone", "sh", "-c", "echo precious > /data/file"]).ok();
    let process = host.pid("s-app");
    // The container goes, what is not the stack's is let alone, and the data stays.
    stack(&host, "  app: {<<: *usual}\n", "");
    host.sp(&["apply", "s"]).ok();
    assert_eq!(host.containers(), ["mine", "s-app"]);
    assert_eq!(host.pid("s-app"), process);
    host.sp(&["volume", "inspect", "s-data"]).ok();
    host.sp(&["plan", "s"]).ok();
    stack(&host, both, "volumes: {data: {}}\n");
    host.sp(&["apply", "s"]).ok();
    host.sp(&["exec", "s-gone", "cat", "/data/file"]).ok().says(&["precious"]);
    host.sp(&["destroy", "s", "--volumes"]).ok();
    assert_eq!(host.containers(), ["mine"]);
}

#[test]
fn network_renamed() {
    let host = Host::new().with_busybox();
    let in_network = |name: &str| {
        let services = format!(
            "  app: {{<<: *usual, networks: [{name}]}}\n  peer: {{<<: *usual, command: [httpd, -f, -p, \"80\"], networks: [{name}]}}\n"
        );
        stack(&host, &services, &format!("networks: {{{name}: {{}}}}\n"));
        host.sp(&["apply", "s"]).ok();
        wait_until("the other is reached", PATIENCE, || host.sp(&["exec", "s-app", "nc", "-w", "5", "peer", "80"]).code == 0);
        (host.pid("s-app"), host.pid("s-peer"))
    };
    let before = in_network("old");
    assert_eq!(in_network("new"), before, "under the feet of those that stay");
    let networks = host.sp(&["network", "ls"]).ok().stdout;
    assert!(networks.contains("s-new") && !networks.contains("s-old"), "{networks}");
    host.sp(&["plan", "s"]).ok();
}

/// Kills a container's process as a crash does, and waits until another one is there. Gives its number.
fn crash(host: &Host, name: &str) -> i32 {
    let before = host.pid(name);
    kill(Pid::from_raw(before), Signal::SIGKILL).unwrap();
    wait_until(&format!("{name} is there again"), PATIENCE, || host.running_pid(name).is_some_and(|pid| pid != before));
    host.pid(name)
}

#[test]
fn dependency_crash_restarts_dependents() {
    let host = Host::new().with_busybox();
    let services = "  db: {<<: *usual, restart: always}\n\
                    \x20 app: {<<: *usual, restart: always, depends_on: {db: {condition: service_started, restart: true}}}\n\
                    \x20 web: {<<: *usual, depends_on: {app: {condition: service_started, restart: true}}}\n\
                    \x20 other: {<<: *usual, depends_on: [db]}\n";
    stack(&host, services, "");
    let daemon = host.daemon(&host.dir.join("s"));
    wait_until("all run", PATIENCE, || host.running().len() == 4);
    host.sp(&["wait", "--for", "condition=Ready", "s", "--timeout", "2m"]).ok();
    // Its monitor starts it again, and its daemon those that follow it, one after the other; nobody else.
    let (app, web, other) = (host.pid("s-app"), host.pid("s-web"), host.pid("s-other"));
    crash(&host, "s-db");
    let is_new = |name: &str, before: i32| host.running_pid(name).is_some_and(|pid| pid != before);
    wait_until("the app follows", PATIENCE, || is_new("s-app", app));
    wait_until("what follows the app follows", PATIENCE, || is_new("s-web", web));
    host.sp(&["wait", "--for", "condition=Ready", "s", "--timeout", "2m"]).ok();
    assert_eq!(host.pid("s-other"), other);
    host.sp(&["plan", "s"]).ok();
    host.sp(&["why", "app"]).ok().says(&["container/db"]);
    // What one in the middle depends on stays as it is.
    let (db, web) = (host.pid("s-db"), host.pid("s-web"));
    crash(&host, "s-app");
    wait_until("what follows the app follows", PATIENCE, || is_new("s-web", web));
    assert_eq!((host.pid("s-db"), host.pid("s-other")), (db, other));
    daemon.stop();
    host.sp(&["destroy", "--stack", "s"]).ok();
}

#[test]
fn order_in_a_file_is_no_change() {
    let host = Host::new().with_busybox();
    let services = |env: &str, labels: &str, ports: &str, networks: &str| {
        format!("  app: {{<<: *usual, environment: {env}, labels: {labels}, ports: {ports}, networks: {networks}}}\n")
    };
    let rest = "networks: {one: {}, two: {}}\n";
    stack(&host, &services("[A=1, B=2]", "{x: y, z: \"1\"}", "[\"8070:80\", \"8071:81\"]", "[one, two]"), rest);
    host.sp(&["apply", "s"]).ok();
    let again =
        services("{B: 2, A: \"1\"}", "[z=1, x=y]", "[\"8071:81/tcp\", {target: 80, published: \"8070\"}]", "{two: {}, one: }");
    stack(&host, &again, rest);
    host.sp(&["plan", "s"]).ok();
    host.sp(&["destroy", "s"]).ok();
}

/// As a power cut leaves a host: nothing runs, and what is not on the disk is gone.
fn cut_the_power(host: &Host) {
    leftovers::end(&host.instance);
    fs::remove_dir_all(host.instance.run_dir()).unwrap();
    let links = tool("ip", &["-o", "link"]);
    for name in links.lines().filter_map(|line| line.split(": ").nth(1)) {
        let name = name.split('@').next().unwrap();
        if name != "lo" {
            // One end of a pair goes with the other.
            Command::new("ip").args(["link", "del", name]).output().unwrap();
        }
    }
    Command::new("nft").args(["delete", "table", "ip", &host.instance.nft_table()]).output().unwrap();
}

#[test]
fn boot_order_is_honoured_and_jobs_do_not_loop() {
    let host = Host::new().with_busybox();
    host.write("s/order", "");
    fs::set_permissions(host.dir.join("s"), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let said = |what: &str| format!("command: [sh, -c, \"echo {what} >> /seen/order; exec sleep 1000\"]");
    let services = format!(
        "  app: {{<<: *usual, restart: always, volumes: [\"./:/seen\"], {}, depends_on: {{db: {{condition: service_healthy}}, init: {{condition: \
         service_completed_successfully}}}}}}\n\
         \x20 db: {{<<: *usual, restart: always, volumes: [\"./:/seen\"], command: [sh, -c, \"sleep 0.2; echo db >> /seen/order; touch /tmp/ready; exec \
         sleep 1000\"], healthcheck: {{test: [CMD, test, -e, /tmp/ready], interval: 1s, start_interval: 50ms, start_period: 20s}}, tmpfs: [/tmp]}}\n\
         \x20 init: {{<<: *usual, volumes: [\"./:/seen\"], command: [sh, -c, \"echo init >> /seen/order\"]}}\n",
        said("app")
    );
    stack(&host, &services, "");
    host.sp(&["apply", "s"]).ok();
    let order =
        || fs::read_to_string(host.dir.join("s/order")).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    wait_until("the app has started", PATIENCE, || order().last().is_some_and(|last| last == "app"));
    // A job that has completed is not done again, however often somebody looks.
    for _ in 0..3 {
        host.sp(&["apply", "s"]).ok();
    }
    assert_eq!(order().iter().filter(|name| *name == "init").count(), 1);
    let source = host.dir.join("s");
    for boot in 0..20 {
        cut_the_power(&host);
        host.write("s/order", "");
        let daemon = host.daemon(&source);
        wait_until(&format!("all run after boot {boot}"), PATIENCE, || order().contains(&"app".to_owned()));
        let order = order();
        let at = |name: &str| order.iter().position(|one| one == name);
        assert!(at("db") < at("app") && at("db").is_some(), "boot {boot}: {order:?}");
        assert!(order.iter().filter(|name| *name == "init").count() <= 1, "boot {boot}: {order:?}");
        daemon.stop();
    }
    host.sp(&["destroy", "s"]).ok();
}

#[test]
fn the_owner_of_a_namespace_is_made_anew() {
    let host = Host::new().with_busybox();
    let services = |edition: u32| {
        format!(
            "  owner: {{<<: *usual, labels: {{a: b}}, environment: {{EDITION: \"{edition}\"}}}}\n\
             \x20 sharer: {{<<: *usual, network_mode: \"service:owner\"}}\n  other: {{<<: *usual}}\n"
        )
    };
    stack(&host, &services(1), "");
    host.sp(&["apply", "s"]).ok();
    let namespace = |name: &str| fs::read_link(format!("/proc/{}/ns/net", host.pid(name))).unwrap();
    assert_eq!(namespace("s-owner"), namespace("s-sharer"));
    let other = host.pid("s-other");
    stack(&host, &services(2), "");
    host.sp(&["apply", "s"]).ok();
    assert_eq!(namespace("s-owner"), namespace("s-sharer"));
    // By somebody who does not know of the other one.
    host.sp(&["restart", "s-owner"]).ok();
    assert_ne!(namespace("s-owner"), namespace("s-sharer"));
    host.sp(&["plan", "s"]).fails_with(2).says(&["container/sharer: restart", "no longer that of"]);
    host.sp(&["apply", "s"]).ok();
    assert_eq!(namespace("s-owner"), namespace("s-sharer"));
    assert_eq!(host.pid("s-other"), other);
    host.sp(&["plan", "s"]).ok();
}

#[test]
fn a_dry_run_changes_nothing() {
    let host = Host::new().with_busybox();
    stack(&host, "  app: {<<: *usual, ports: [\"8069:80\"]}\n", "");
    host.sp(&["apply", "s"]).ok();
    let before = host.inspect("s-app");
    stack(
        &host,
        "  app: {<<: *usual, ports: [\"8068:80\"], cap_add: [NET_ADMIN]}\n  new: {<<: *usual, volumes: [\"v:/v\"]}\n",
        "volumes: {v: {}}\n",
    );
    let trace = host.dir.join("trace");
    let calls = "trace=file,desc,process,network,kill,tkill,mount,umount2,setns,unshare,sethostname";
    let program = env!("CARGO_BIN_EXE_setpoint");
    let mut command = Command::new("strace");
    let plain = host.command(&[]);
    command.args(["-f", "-qq", "-y", "-s", "200", "-e", calls, "-o", trace.to_str().unwrap(), program, "plan", "s"]);
    command.current_dir(&host.dir).env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("strace");
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(&trace).unwrap();
    let wrong: Vec<&str> = text.lines().filter(|line| changes(line, &host)).collect();
    assert!(wrong.is_empty(), "a dry run did:\n{}", wrong.join("\n"));
    assert_eq!(host.inspect("s-app"), before);
    assert_eq!(host.containers(), ["s-app"]);
    assert!(host.sp(&["volume", "ls", "-q"]).ok().stdout.is_empty());
    let history: Value = host.sp(&["stack", "history", "s", "--json"]).ok().json();
    assert_eq!(history[0]["generations"].as_array().unwrap().len(), 1);
}

/// Whether a line of strace is a call that changes something which lasts.
fn changes(line: &str, host: &Host) -> bool {
    let call = line.split_once(' ').map_or(line, |(_, rest)| rest.trim_start());
    if call.contains(" = -1 ") || call.starts_with("<...") || call.starts_with("+++") || call.starts_with("---") {
        return false;
    }
    let name = call.split('(').next().unwrap();
    // The database is opened as by everybody, and locks exclude those who change something.
    let state = host.instance.state_dir().to_str().unwrap();
    let run = host.instance.run_dir().to_str().unwrap();
    let passing = |line: &str| {
        ["state.db\"", "state.db-wal\"", "state.db-shm\"", "\"/dev/null\"", ".lock\"", "/lock\""]
            .iter()
            .any(|end| line.contains(end))
    };
    match name {
        "open" | "openat" | "openat2" | "creat" => {
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"].iter().any(|flag| call.contains(flag));
            writes && !passing(call) && !call.contains("pipe:") && !call.contains("/dev/tty")
        }
        "unlink" | "unlinkat" | "rename" | "renameat" | "renameat2" | "mkdir" | "mkdirat" | "rmdir" | "mknod" | "mknodat"
        | "symlink" | "symlinkat" | "link" | "linkat" | "mount" | "umount2" | "chmod" | "fchmodat" | "chown" | "fchownat"
        | "lchown" | "truncate" | "setxattr" | "lsetxattr" | "removexattr" => {
            (call.contains(state) || call.contains(run)) && !passing(call) || name.contains("mount")
        }
        "kill" | "tkill" => true,
        _ => false,
    }
}
