//! What becomes of a running container when something of it changes: by its manifest, behind the engine's back in its record, and
//! in the kernel. The first test is made from the table of all fields, so a new field has no place to hide.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Instant;

use setpoint::model::Span;
use setpoint::model::spec::classes::{Change, FIELDS, class};
use setpoint::model::spec::*;

use crate::harness::{BUSYBOX, Host, PATIENCE, tool, wait_until};

/// A container's identity, and its process.
fn who(host: &Host, name: &str) -> (String, i64) {
    let seen = host.inspect(name);
    (seen["id"].as_str().unwrap().to_owned(), seen["state"]["pid"].as_i64().unwrap_or_default())
}

/// Makes of a specification another one that differs in this field.
fn other(name: &str, spec: &mut ContainerSpec) {
    let text = || "other".to_owned();
    let set = || BTreeSet::from([text()]);
    match name {
        "image" => spec.image = "localhost/other:1".parse().unwrap(),
        "entrypoint" => spec.entrypoint = Some(vec![text()]),
        "command" => spec.command = Some(vec![text()]),
        "environment" => drop(spec.environment.insert(text(), text())),
        "working_dir" => spec.working_dir = Some("/other".into()),
        "user" => spec.user = Some("7".into()),
        "hostname" => spec.hostname = Some(text()),
        "tty" => spec.tty = true,
        "stdin_open" => spec.stdin_open = true,
        "stdin_once" => spec.stdin_once = true,
        "labels" => drop(spec.labels.insert(text(), text())),
        "mounts" => spec.mounts.clear(),
        "network_mode" => (spec.network_mode, spec.networks) = (NetworkMode::None, Default::default()),
        "networks" => spec.networks.clear(),
        "ports" => spec.ports = ["8099:80".parse().unwrap()].into(),
        "depends_on" => {
            let dependency: Dependency = serde_json::from_str(r#"{"condition": "service_started"}"#).unwrap();
            spec.depends_on.insert("other".parse().unwrap(), dependency);
        }
        "depends_beyond" => drop(spec.depends_beyond.insert("other/far".parse().unwrap(), Default::default())),
        "healthcheck" => spec.healthcheck = Some(Healthcheck::new(Probe::Shell("true".into()))),
        "restart" => spec.restart = "always".parse().unwrap(),
        "logging" => spec.logging.max_file = Some(7),
        "limits" => spec.limits.pids = Some(77),
        "stop_signal" => spec.stop_signal = Some("SIGUSR1".parse().unwrap()),
        "stop_grace_period" => spec.stop_grace_period = Span::seconds(3),
        "cap_add" => spec.cap_add = set(),
        "cap_drop" => spec.cap_drop = set(),
        "read_only" => spec.read_only = true,
        "sysctls" => drop(spec.sysctls.insert("net.ipv4.ip_default_ttl".into(), "77".into())),
        "ulimits" => drop(spec.ulimits.insert("nofile".into(), Ulimit { soft: 7, hard: 7 })),
        "extra_hosts" => drop(spec.extra_hosts.insert(text(), "10.9.8.7".parse().map(HostAddress::Ip).unwrap())),
        "init" => spec.init = true,
        "domainname" => spec.domainname = Some(text()),
        "privileged" => spec.privileged = true,
        "security_opt" => spec.security_opt.unconfined_paths = true,
        "pid" => spec.pid = NamespaceMode::Host,
        "ipc" => spec.ipc = serde_json::from_str("\"host\"").unwrap(),
        "uts" => spec.uts = NamespaceMode::Host,
        "cgroup" => spec.cgroup = NamespaceMode::Host,
        "cgroup_parent" => spec.cgroup_parent = Some("other".parse().unwrap()),
        "userns" => spec.userns = serde_json::from_str("\"auto\"").unwrap(),
        "shm_size" => spec.shm_size = Some("7m".parse().unwrap()),
        "devices" => spec.devices = serde_json::from_str(r#"["/dev/null:/dev/other"]"#).unwrap(),
        "device_cgroup_rules" => spec.device_cgroup_rules = serde_json::from_str(r#"["c 1:3 r"]"#).unwrap(),
        "group_add" => spec.group_add = ["7".to_owned()].into(),
        "volumes_from" => {
            spec.volumes_from = serde_json::from_str(r#"[{"container": "other", "read_only": true}]"#).unwrap();
        }
        "dns" => spec.dns = vec!["10.9.8.7".parse().unwrap()],
        "dns_search" => spec.dns_search = vec![text()],
        "dns_opt" => spec.dns_opt = vec![text()],
        "mac_address" => spec.mac_address = Some("02:42:ac:11:00:07".parse().unwrap()),
        "oom_score_adj" => spec.oom_score_adj = Some(77),
        "publish_all" => spec.publish_all = true,
        "annotations" => drop(spec.annotations.insert(text(), text())),
        "external_links" => drop(spec.external_links.insert(text(), "s-beside".into())),
        "update_after" => spec.update_after = Some("other".parse().unwrap()),
        "rollback_after" => spec.rollback_after = Some("other".parse().unwrap()),
        "update_config" => spec.update_config.monitor = Span::seconds(3),
        "rollback_config" => spec.rollback_config = Some(Update::default()),
        "post_start" => spec.post_start = serde_json::from_str(r#"[{"command": ["true"]}]"#).unwrap(),
        "pre_stop" => spec.pre_stop = serde_json::from_str(r#"[{"command": ["true"]}]"#).unwrap(),
        "expose" => spec.expose = ["77/tcp".parse().unwrap()].into(),
        new => panic!("say here how a container differs in the new field {new}"),
    }
}

#[test]
fn every_field_is_seen_and_takes_no_more_than_its_class() {
    let host = Host::new().with_busybox();
    let manifest = format!(
        "services:\n  app:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n    tmpfs: [/scratch]\n\
         \x20 beside: {{image: {BUSYBOX}, command: [sleep, \"1000\"], stop_signal: SIGKILL}}\n"
    );
    host.write("s/compose.yaml", &manifest);
    host.sp(&["apply", "s"]).ok();
    let beside = who(&host, "s-beside");
    let database = rusqlite::Connection::open(host.instance.state_dir().join("state.db")).unwrap();
    for field in FIELDS {
        let before = who(&host, "s-app");
        let row = [before.0.as_str()];
        let text: String = database.query_row("SELECT spec FROM containers WHERE id = ?1", row, |row| row.get(0)).unwrap();
        let declared: ContainerSpec = serde_json::from_str(&text).unwrap();
        let mut spec = declared.clone();
        other(field.name, &mut spec);
        assert_ne!(spec, declared, "{}", field.name);
        let spec = serde_json::to_string(&spec).unwrap();
        database.execute("UPDATE containers SET spec = ?2 WHERE id = ?1", [before.0.as_str(), &spec]).unwrap();

        let class = class(field.name, &declared);
        let planned = host.sp(&["plan", "s"]);
        let began = Instant::now();
        if class == Change::Nothing {
            planned.ok();
        } else {
            let word = if class == Change::Live { "update" } else { class.as_str() };
            planned.fails_with(2).says(&["container/app", word, &format!("spec.{}", field.name)]);
            host.sp(&["apply", "s"]).ok();
            host.sp(&["plan", "s"]).ok();
        }
        let after = who(&host, "s-app");
        println!("{}: {}, seen in {}, {} ms", field.name, class.as_str(), field.seen.as_str(), began.elapsed().as_millis());
        assert_eq!(after.0 == before.0, class < Change::Recreate, "the container after {}", field.name);
        assert_eq!(after.1 == before.1, class < Change::Restart, "the process after {}", field.name);
        assert!(after.1 > 0);
        assert_eq!(who(&host, "s-beside"), beside, "another one was touched for {}", field.name);
    }
    host.sp(&["destroy", "s"]).ok();
}

#[test]
fn what_changes_while_it_runs_is_real() {
    let host = Host::new().with_busybox();
    let stack = |own: &str, config: &str| {
        let command = "trap 'cat /etc/app.conf' HUP; trap 'exit 3' USR1; while :; do sleep 0.1; done";
        let text = format!(
            "services:\n  app:\n    image: {BUSYBOX}\n    command: [sh, -c, \"{command}\"]\n    stop_grace_period: 1s\n\
             \x20   configs: [{{source: app, target: /etc/app.conf, x-setpoint: {{on_change: SIGHUP}}}}]\n{own}\
             \x20 peer: {{image: {BUSYBOX}, command: [sleep, \"1000\"], stop_signal: SIGKILL, networks: [default, back]}}\n\
             configs: {{app: {{content: \"{config}\\n\"}}}}\nnetworks: {{back: {{}}}}\n"
        );
        host.write("s/compose.yaml", &text);
    };
    let inside = |words: &[&str]| host.sp(&[&["exec", "s-app"], words].concat());
    let cgroup = |file: &str| {
        let wanted = format!("*/{}/{file}", who(&host, "s-app").0);
        let found = std::process::Command::new("find").args(["/sys/fs/cgroup", "-path", &wanted]).output().unwrap();
        let path = String::from_utf8(found.stdout).unwrap();
        fs::read_to_string(path.lines().next().unwrap_or_else(|| panic!("no {file}"))).unwrap().trim().to_owned()
    };
    stack("", "one");
    host.sp(&["apply", "s"]).ok();
    let before = who(&host, "s-app");
    let layer = inside(&["sh", "-c", "echo kept > /kept && cat /kept"]).ok();
    assert_eq!(layer.stdout, "kept\n");

    stack(
        "    labels: {tier: front}\n    ports: [\"8098:80\"]\n    networks: {default: {aliases: [web]}, back: {}}\n\
         \x20   extra_hosts: [\"far:10.1.2.3\"]\n    dns_search: [example.test]\n    pids_limit: 55\n    restart: always\n\
         \x20   logging: {driver: json-file, options: {max-size: 1m, max-file: \"2\"}}\n    stop_signal: SIGUSR1\n\
         \x20   healthcheck: {test: [CMD, \"true\"], interval: 1s}\n",
        "two",
    );
    host.sp(&["plan", "s"]).fails_with(2).says(&["container/app: reload", "spec.ports", "/etc/app.conf.digest"]);
    host.sp(&["apply", "s"]).ok();
    host.sp(&["plan", "s"]).ok();
    assert_eq!(who(&host, "s-app"), before);
    assert_eq!(inside(&["cat", "/kept"]).ok().stdout, "kept\n");
    // The signal came after the content.
    wait_until("it has read its config again", PATIENCE, || host.sp(&["logs", "s-app"]).stdout.contains("two"));
    let hosts = inside(&["cat", "/etc/hosts"]).ok().stdout;
    assert!(hosts.contains("10.1.2.3\tfar"), "{hosts}");
    assert!(inside(&["cat", "/etc/resolv.conf"]).ok().stdout.contains("search example.test"));
    assert_eq!(cgroup("pids.max"), "55");
    let addresses = inside(&["ip", "-4", "addr"]).ok().stdout;
    assert_eq!(addresses.matches("inet ").count(), 3, "{addresses}");
    assert!(inside(&["ip", "route"]).ok().stdout.contains("default via"));
    // By its alias, over its new network, and at its port.
    inside(&["sh", "-c", "echo hello > /tmp/index.html; httpd -h /tmp -p 80"]).ok();
    wait_until("it is healthy", PATIENCE, || host.inspect("s-app")["state"]["health"] == "healthy");
    host.sp(&["exec", "s-peer", "wget", "-qO-", "http://web/index.html"]).ok().says(&["hello"]);
    let answer = std::process::Command::new("curl").args(["-s", "http://127.0.0.1:8098/index.html"]).output().unwrap();
    assert_eq!(answer.stdout, b"hello\n");

    // And back: what is taken away is gone.
    stack("    networks: [back]\n", "two");
    host.sp(&["apply", "s"]).ok();
    host.sp(&["plan", "s"]).ok();
    assert_eq!(who(&host, "s-app"), before);
    let addresses = inside(&["ip", "-4", "addr"]).ok().stdout;
    assert_eq!(addresses.matches("inet ").count(), 2, "{addresses}");
    assert!(inside(&["ip", "route"]).ok().stdout.contains("default via"));
    assert!(!inside(&["cat", "/etc/hosts"]).ok().stdout.contains("far"));
    assert!(host.sp(&["exec", "s-peer", "nslookup", "web"]).code != 0);
    let refused = std::process::Command::new("curl").args(["-s", "-m", "2", "http://127.0.0.1:8098/"]).status().unwrap();
    assert!(!refused.success());
    host.sp(&["exec", "s-peer", "wget", "-qO-", "http://app/index.html"]).ok().says(&["hello"]);
    host.sp(&["destroy", "s"]).ok();
}

#[test]
fn what_the_kernel_lost_is_put_back() {
    let host = Host::new().with_busybox();
    let manifest = format!(
        "services:\n  app:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n    ports: [\"8097:80\"]\n\
         \x20   volumes: [\"data:/data\", {{type: volume, source: kept, target: /part, volume: {{subpath: a}}}}]\n\
         \x20   configs: [app]\n    pids_limit: 100\n\
         \x20 beside: {{image: {BUSYBOX}, command: [sleep, \"1000\"], stop_signal: SIGKILL, networks: [other]}}\n\
         volumes: {{data: {{}}, kept: {{external: true}}}}\nconfigs: {{app: {{content: \"kept\"}}}}\nnetworks: {{other: {{}}}}\n"
    );
    host.write("s/compose.yaml", &manifest);
    host.sp(&["volume", "create", "kept"]).ok();
    fs::create_dir(host.instance.state_dir().join("volumes/kept/data/a")).unwrap();
    host.sp(&["apply", "s"]).ok();
    let beside = who(&host, "s-beside");
    let id = || who(&host, "s-app").0;
    let pid = || host.pid("s-app").to_string();
    let within = |words: &[&str]| {
        let pid = pid();
        tool("nsenter", &[&["-n", "-t", &pid], words].concat());
    };
    let find = |folder: &std::path::Path, pattern: &str| {
        let output = std::process::Command::new("find").arg(folder).args(["-path", pattern]).output().unwrap();
        let found = String::from_utf8(output.stdout).unwrap();
        found.lines().next().unwrap_or_else(|| panic!("nothing like {pattern}")).to_owned()
    };
    let state = host.instance.state_dir();
    let table = host.instance.nft_table();
    type Damage<'a> = (&'a str, &'a str, Change, Box<dyn Fn() + 'a>);
    let damages: Vec<Damage<'_>> = vec![
        (
            "a limit",
            "pids.max",
            Change::Live,
            Box::new(|| {
                fs::write(find("/sys/fs/cgroup".as_ref(), &format!("*/{}/pids.max", id())), "7").unwrap();
            }),
        ),
        (
            "the content of a config",
            "/app",
            Change::Live,
            Box::new(|| {
                fs::write(find(&state.join("containers"), &format!("*/{}/configs/*", id())), "changed").unwrap();
            }),
        ),
        ("an address", "lacks its address", Change::Live, Box::new(|| within(&["ip", "addr", "flush", "dev", "eth0"]))),
        ("the default route", "default route", Change::Live, Box::new(|| within(&["ip", "route", "del", "default"]))),
        ("a link", "link into network", Change::Live, Box::new(|| within(&["ip", "link", "del", "eth0"]))),
        (
            "the packet filter's elements",
            "set published lacks",
            Change::Live,
            Box::new(|| {
                tool("nft", &["flush", "map", "ip", &table, "published"]);
            }),
        ),
        ("the packet filter", "is gone", Change::Live, Box::new(|| drop(tool("nft", &["delete", "table", "ip", &table])))),
        (
            "a mount",
            "nothing is mounted at /data",
            Change::Restart,
            Box::new(|| {
                let pid = pid();
                tool("nsenter", &["-m", "-t", &pid, "umount", "/data"]);
            }),
        ),
        (
            "a volume's folder",
            "is gone",
            Change::Restart,
            Box::new(|| {
                fs::remove_dir_all(state.join("volumes/s-data/data")).unwrap();
            }),
        ),
        (
            "another folder in its place",
            "no longer what is at",
            Change::Restart,
            Box::new(|| {
                let folder = state.join("volumes/s-data");
                fs::rename(folder.join("data"), folder.join("old")).unwrap();
                fs::create_dir(folder.join("data")).unwrap();
            }),
        ),
        (
            "another folder in the place of a part of a volume",
            "no longer a of the volume kept",
            Change::Restart,
            Box::new(|| {
                let folder = state.join("volumes/kept/data");
                fs::rename(folder.join("a"), folder.join("b")).unwrap();
                fs::create_dir(folder.join("a")).unwrap();
            }),
        ),
        (
            "its monitor",
            "its monitor is gone",
            Change::Restart,
            Box::new(|| {
                let stat = fs::read_to_string(format!("/proc/{}/status", pid())).unwrap();
                let monitor = stat.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim();
                tool("kill", &["-KILL", monitor]);
                wait_until("it has ended", PATIENCE, || host.running_pid("s-app").is_none());
            }),
        ),
    ];
    for (what, said, class, damage) in damages {
        let before = who(&host, "s-app");
        damage();
        let began = Instant::now();
        let planned = host.sp(&["plan", "s"]).fails_with(2);
        assert!(planned.stdout.contains("drift") && planned.stdout.contains(said), "{what}: {}", planned.stdout);
        host.sp(&["apply", "s"]).ok();
        println!("{what}: {}, {} ms", class.as_str(), began.elapsed().as_millis());
        let after = who(&host, "s-app");
        assert_eq!(after.0, before.0, "{what}");
        assert_eq!(after.1 == before.1, class < Change::Restart, "the process after {what}");
        host.sp(&["plan", "s"]).ok();
        assert_eq!(who(&host, "s-beside"), beside, "another one was touched for {what}");
    }
    host.sp(&["exec", "s-app", "cat", "/app"]).ok().says(&["kept"]);
    let mounted = fs::metadata(format!("/proc/{}/root/data", pid())).unwrap();
    assert_eq!(mounted.ino(), fs::metadata(state.join("volumes/s-data/data")).unwrap().ino());
    let part = fs::metadata(format!("/proc/{}/root/part", pid())).unwrap();
    assert_eq!(part.ino(), fs::metadata(state.join("volumes/kept/data/a")).unwrap().ino());
    host.sp(&["destroy", "s"]).ok();
}
