//! Tables of manifests: what they come to, and what is said of those that are wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::Builder::new().prefix("stack-").tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn load_in(dir: &Path, variables: &[(&str, &str)]) -> Result<Loaded, LoadErrors> {
    let fingerprint =
        |path: &Path| -> Result<Digest, Box<dyn std::error::Error + Send + Sync>> { Ok(Digest::of(&std::fs::read(path)?)) };
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(dir, &LoadOptions { stack: Some("s".parse().unwrap()), environment, fingerprint: &fingerprint })
}

fn load_files(files: &[(&str, &str)]) -> Loaded {
    let dir = folder(files);
    load_in(dir.path(), &[("HOME", "/home/me"), ("TOKEN", "t")]).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The errors as `file:line:column message (hint)`.
fn errors_of(files: &[(&str, &str)]) -> Vec<String> {
    let dir = folder(files);
    let root = dir.path().to_str().unwrap().to_owned();
    let Err(errors) = load_in(dir.path(), &[]) else { panic!("it loads") };
    let show = |problem: &Problem| {
        let file = problem.file.strip_prefix(dir.path()).unwrap().display().to_string();
        let hint = problem.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        format!("{file}:{}:{} {}{hint}", problem.line, problem.column, problem.message).replace(&root, "")
    };
    errors.problems.iter().map(show).collect()
}

fn service(yaml: &str) -> Value {
    let indented: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
    let loaded = load_files(&[
        (
            "compose.yaml",
            &format!(
                "services:\n  a:\n    image: app:1\n{indented}  b: {{image: app:1, healthcheck: {{test: [CMD, \"true\"]}}}}\n\
                 volumes: {{data: }}\nnetworks:\n  front: {{ipam: {{config: [{{subnet: 10.9.0.0/24}}]}}}}\n\
                 configs: {{conf: {{content: hello}}}}\n"
            ),
        ),
        ("vars.env", "ONE=1\nTWO=two words\n"),
    ]);
    let mut spec = serde_json::to_value(&loaded.desired.containers["a"].spec).unwrap();
    // Only what differs from the defaults.
    let plain = serde_json::to_value(crate::model::spec::ContainerSpec::new("app:1".parse().unwrap())).unwrap();
    let fields = spec.as_object_mut().unwrap();
    fields.retain(|field, value| plain[field] != *value);
    if fields.get("networks") == Some(&json!({"s-default": {"aliases": [], "ipv4_address": null}})) {
        fields.remove("networks");
    }
    spec
}

#[test]
fn fields_of_containers_in_their_forms() {
    let conf = Digest::of(b"hello").to_string();
    for (yaml, wanted) in [
        ("", json!({})),
        ("command: sh -c 'exit 3'", json!({"command": ["sh", "-c", "exit 3"]})),
        ("command: [sh, -c, \"exit 3\"]\nentrypoint: []", json!({"command": ["sh", "-c", "exit 3"], "entrypoint": []})),
        (
            "environment: {A: x, B: 1, C: true, D: 0755, TOKEN: , NOT_SET: }",
            json!({"environment": {"A": "x", "B": "1", "C": "true", "D": "0755", "TOKEN": "t"}}),
        ),
        ("environment: [A=x=y, TOKEN, B=]", json!({"environment": {"A": "x=y", "B": "", "TOKEN": "t"}})),
        ("env_file: vars.env\nenvironment: {ONE: eins}", json!({"environment": {"ONE": "eins", "TWO": "two words"}})),
        ("env_file: [{path: none.env, required: false}, ./vars.env]", json!({"environment": {"ONE": "1", "TWO": "two words"}})),
        ("working_dir: /srv\nuser: 1000\nhostname: box", json!({"working_dir": "/srv", "user": "1000", "hostname": "box"})),
        ("labels: [a=b, c]", json!({"labels": {"a": "b", "c": ""}})),
        ("labels: {a: 1, c: }", json!({"labels": {"a": "1", "c": ""}})),
        (
            "volumes: [\"data:/d\", \"data:/e/:ro\"]",
            json!({"mounts": [
            {"type": "volume", "source": "s-data", "target": "/d", "read_only": false},
            {"type": "volume", "source": "s-data", "target": "/e", "read_only": true}]}),
        ),
        (
            "volumes: [\"/a//b/../c:/deep/in\", \"~/x:/y:rw\"]",
            json!({"mounts": [
            {"type": "bind", "source": "/home/me/x", "target": "/y", "read_only": false, "create_host_path": true},
            {"type": "bind", "source": "/a/c", "target": "/deep/in", "read_only": false, "create_host_path": true}]}),
        ),
        (
            "volumes:\n- {type: bind, source: /a, target: /b, bind: {create_host_path: false}, read_only: true}\n- {type: tmpfs, target: /t, tmpfs: {size: 64m, mode: 01777}}\n- {type: volume, source: data, target: /v}",
            json!({"mounts": [
            {"type": "bind", "source": "/a", "target": "/b", "read_only": true, "create_host_path": false},
            {"type": "tmpfs", "target": "/t", "size": "64m", "mode": 0o1777},
            {"type": "volume", "source": "s-data", "target": "/v", "read_only": false}]}),
        ),
        ("tmpfs: /run", json!({"mounts": [{"type": "tmpfs", "target": "/run", "size": null, "mode": null}]})),
        (
            "tmpfs: [\"/run:size=1k,mode=700\"]",
            json!({"mounts": [{"type": "tmpfs", "target": "/run", "size": "1k", "mode": 0o700}]}),
        ),
        (
            "configs: [conf]",
            json!({"mounts": [
            {"type": "config", "source": "conf", "digest": conf, "target": "/conf", "mode": 0o444, "uid": 0, "gid": 0}]}),
        ),
        (
            "configs: [{source: conf, target: /etc/c, uid: \"5\", gid: 6, mode: 0440}]",
            json!({"mounts": [
            {"type": "config", "source": "conf", "digest": conf, "target": "/etc/c", "mode": 0o440, "uid": 5, "gid": 6}]}),
        ),
        ("networks: [front]", json!({"networks": {"s-front": {"aliases": [], "ipv4_address": null}}})),
        (
            "networks: {front: {aliases: [x], ipv4_address: 10.9.0.9}, default: }",
            json!({"networks": {
            "s-default": {"aliases": [], "ipv4_address": null},
            "s-front": {"aliases": ["x"], "ipv4_address": "10.9.0.9"}}}),
        ),
        ("network_mode: host", json!({"network_mode": "host"})),
        (
            "ports: [80, \"8080:80\", \"127.0.0.1:53:53/udp\"]",
            json!({"ports": [
            {"host_ip": null, "host_port": null, "container_port": 80, "protocol": "tcp"},
            {"host_ip": null, "host_port": 8080, "container_port": 80, "protocol": "tcp"},
            {"host_ip": "127.0.0.1", "host_port": 53, "container_port": 53, "protocol": "udp"}]}),
        ),
        (
            "ports: [{target: 80, published: \"8080\", host_ip: 127.0.0.1}]\nexpose: [80, \"90/udp\"]",
            json!({"ports": [
            {"host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "protocol": "tcp"}]}),
        ),
        ("depends_on: [b]", json!({"depends_on": {"b": {"condition": "service_started"}}})),
        ("depends_on: {b: {condition: service_healthy}}", json!({"depends_on": {"b": {"condition": "service_healthy"}}})),
        (
            "healthcheck: {test: curl -f localhost, interval: 1m30s, retries: 5}",
            json!({"healthcheck": {
            "test": {"shell": "curl -f localhost"}, "interval": "1m30s", "timeout": "30s", "retries": 5,
            "start_period": "0s", "start_interval": "5s"}}),
        ),
        (
            "healthcheck: {disable: true}",
            json!({"healthcheck": {
            "test": "none", "interval": "30s", "timeout": "30s", "retries": 3, "start_period": "0s", "start_interval": "5s"}}),
        ),
        ("restart: on-failure:3\nread_only: true", json!({"restart": "on-failure:3", "read_only": true})),
        ("restart: no", json!({})),
        (
            "deploy: {resources: {limits: {cpus: 0.5, memory: 64M, pids: 100}}}",
            json!({"limits": {"memory": "64m", "cpus": "0.5", "pids": 100}}),
        ),
        ("mem_limit: 1gb\ncpus: \"2\"\npids_limit: -1", json!({"limits": {"memory": "1g", "cpus": "2", "pids": null}})),
        ("stop_signal: int\nstop_grace_period: 1m", json!({"stop_signal": "SIGINT", "stop_grace_period": "1m"})),
        (
            "cap_add: [net_admin, CAP_SYS_TIME]\ncap_drop: [ALL]",
            json!({"cap_add": ["CAP_NET_ADMIN", "CAP_SYS_TIME"], "cap_drop": ["ALL"]}),
        ),
        ("sysctls: [net.core.somaxconn=1024]", json!({"sysctls": {"net.core.somaxconn": "1024"}})),
        (
            "ulimits: {nofile: {soft: 10, hard: 20}, core: -1}",
            json!({"ulimits": {
            "nofile": {"soft": 10, "hard": 20}, "core": {"soft": u64::MAX, "hard": u64::MAX}}}),
        ),
        ("extra_hosts: [\"a:10.0.0.1\", \"b=::1\"]", json!({"extra_hosts": {"a": "10.0.0.1", "b": "::1"}})),
        ("extra_hosts: {a: 10.0.0.1}", json!({"extra_hosts": {"a": "10.0.0.1"}})),
        ("hostname: ${NAME:-box}\nread_only: ${RO:-true}\nx-mine: {any: thing}", json!({"hostname": "box", "read_only": true})),
        ("command: [echo, \"$$HOME ${TOKEN}\"]", json!({"command": ["echo", "$HOME t"]})),
    ] {
        assert_eq!(service(yaml), wanted, "{yaml}");
    }
}

#[test]
fn a_folder_of_manifests_becomes_a_stack() {
    let loaded = load_files(&[
        (
            "a.yaml",
            "apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: app}\nspec:\n  import: {source: ./rootfs.tar, command: serve}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: web, labels: {tier: front}, annotations: {note: x}}\n\
             spec:\n  image: app\n  labels: {own: \"1\"}\n  volumes: [\"data:/data\", \"./conf:/etc/app:ro\"]\n  networks: [front]\n  configs: [greeting]\n",
        ),
        (
            "b.yml",
            "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: data}\n---\n\
             apiVersion: setpoint/v1\nkind: Network\nmetadata: {name: front}\nspec: {internal: true}\n---\n\
             apiVersion: setpoint/v1\nkind: Config\nmetadata: {name: greeting}\nspec: {file: files/greeting}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: db}\nspec: {image: \"db:2\", network_mode: none}\n",
        ),
        ("rootfs.tar", "tar"),
        ("files/greeting", "hello"),
        ("files/not-read.yaml", "{"),
        (".hidden.yaml", "{"),
    ]);
    let Desired { stack, images, containers, networks, volumes, configs } = &loaded.desired;
    assert_eq!(stack.as_str(), "s");
    assert_eq!(images.keys().map(Name::as_str).collect::<Vec<_>>(), ["app", "db-2"]);
    assert_eq!(networks.keys().map(Name::as_str).collect::<Vec<_>>(), ["front"]);
    assert_eq!(networks["front"].engine_name.as_str(), "s-front");
    assert_eq!(volumes["data"].engine_name.as_str(), "s-data");
    assert_eq!(configs["greeting"].content, b"hello");
    let web = &containers["web"];
    assert_eq!(web.engine_name.as_str(), "s-web");
    assert_eq!(web.spec.labels, BTreeMap::from([("own".into(), "1".into()), ("tier".into(), "front".into())]));
    let watched: Vec<String> =
        loaded.watched.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    for name in ["a.yaml", "b.yml", "rootfs.tar", "greeting"] {
        assert!(watched.iter().any(|known| known == name), "{name} is not among {watched:?}");
    }
    assert!(loaded.watched.iter().all(|path| path.is_absolute()));
}

#[test]
fn stacks_are_named() {
    let fingerprint = |_: &Path| -> Result<Digest, Box<dyn std::error::Error + Send + Sync>> { Ok(Digest::of(b"")) };
    let name = |dir: &Path| {
        let options = LoadOptions { stack: None, environment: BTreeMap::new(), fingerprint: &fingerprint };
        load(dir, &options).map(|loaded| loaded.desired.stack.to_string()).map_err(|e| e.to_string())
    };
    let volume = "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\n";
    let dir = folder(&[
        ("My Shop.1/v.yaml", volume),
        ("named/v.yaml", &format!("{volume}---\napiVersion: setpoint/v1\nkind: Stack\nmetadata: {{name: shop}}\n")),
        ("composed/docker-compose.yml", "name: shop2\nservices: {}\n"),
        ("composed/other.yaml", "a: [b"),
        ("single/my.yaml", "services: {}\n"),
        ("___/v.yaml", volume),
    ]);
    assert_eq!(name(&dir.path().join("My Shop.1")).unwrap(), "myshop1");
    assert_eq!(name(&dir.path().join("named")).unwrap(), "shop");
    assert_eq!(name(&dir.path().join("composed")).unwrap(), "shop2");
    assert_eq!(name(&dir.path().join("single/my.yaml")).unwrap(), "single");
    assert!(name(&dir.path().join("___")).unwrap_err().contains("--stack"));
    assert!(name(&dir.path().join("nowhere")).unwrap_err().contains("No such file"));
}

#[test]
fn all_errors_at_once_each_at_its_place() {
    let found = errors_of(&[
        (
            "a.yaml",
            "apiVersion: setpoint/v1\n\
             kind: Container\n\
             metadata:\n  name: web\n\
             spec:\n\
             \x20 image: app:1\n\
             \x20 port: [80]\n\
             \x20 command: 5\n\
             \x20 read_only: yes\n\
             \x20 image: app:2\n\
             \x20 volumes: [\"dta:/x\", \"/a:b\"]\n\
             \x20 depends_on: [bd]\n\
             \x20 privileged: true\n\
             \x20 deploy:\n    replicas: 2\n\
             \x20 stop_grace_period: soon\n",
        ),
        (
            "b.yaml",
            "apiVersion: setpoint/v2\nkind: Contaner\nmetadata: {nam: x}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: db}\nspec: {image: \"A:1\", network_mode: none, networks: [x]}\n---\n\
             apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: data}\n---\n\
             apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: data}\n",
        ),
    ]);
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn single_errors() {
    let mut all = String::new();
    let compose = |yaml: &str| format!("services:\n  a:\n    image: app:1\n    {}\n", yaml.replace('\n', "\n    "));
    for yaml in [
        "ports: [\"80:80\", \"80:81\"]",
        "ports: [\"99999\"]",
        "ports: {a: b}",
        "volumes: [\"/just/target\"]",
        "volumes: [\"a:/x\", \"b:/x/\"]",
        "volumes: [\"./a:/x:Z\"]",
        "volumes: [\"a\\\\b:/x\"]",
        "volumes: [{type: bind, target: /x}]",
        "volumes: [{type: npipe, source: x, target: /x}]",
        "configs: [{source: nope, mode: 440}]",
        "mem_limit: 1g\ndeploy: {resources: {limits: {memory: 2g}}}",
        "network_mode: service:b",
        "network_mode: hots",
        "healthcheck: {interval: 5s}",
        "healthcheck: {test: [curl]}",
        "healthcheck: {test: x, retries: 0, timeout: 0s}",
        "restart: false",
        "restart: sometimes",
        "cap_add: [NET_ADMN]",
        "ulimits: {nofiles: 5}",
        "environment: [=x]",
        "environment: {A: [1]}",
        "command: \"echo 'x\"",
        "user: true",
        "depends_on: [a]",
        "networks: {default: {ipv4_address: 10.0.0.5}}",
        "hostname: \"${NOPE:?give it}\"",
        "hostname: \"${\"",
        "env_file: gone.env",
        "extra_hosts: [\"x:host-gateway\"]",
        "tmpfs: \"/x:uid=5\"",
        "working_dir: srv",
        "labels: {a: b, a: c}",
        "build: .",
        "<<: 5",
        "hostname: !secret x",
        "hostname: *nothing",
    ] {
        let file = compose(yaml);
        all.push_str(&format!("{}\n", yaml.replace('\n', " ⏎ ")));
        for error in errors_of(&[("compose.yaml", &file)]) {
            all.push_str(&format!("    {}\n", error.strip_prefix("compose.yaml:").unwrap_or(&error)));
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn circles_are_shown_as_ways() {
    let found = errors_of(&[(
        "compose.yaml",
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}\n",
    )]);
    assert_eq!(
        found,
        ["compose.yaml:2:30 containers depend on each other in a circle: a → b → c → a (remove one of these dependencies)"]
    );
}

#[test]
fn folders_that_are_no_stack() {
    let volume = "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\n";
    for (files, wanted) in [
        (vec![("readme.txt", "")], "there are no manifests in this folder"),
        (vec![("compose.yaml", "services: {}"), ("v.yaml", volume)], "v.yaml is a manifest, and stands beside"),
        (vec![("compose.yaml", "services: {}"), ("compose.override.yaml", "")], "override files"),
        (vec![("a.yaml", volume), ("b.yaml", "services: {}")], "a compose file does not stand among manifests"),
        (vec![("compose.yaml", "")], "the file is empty"),
        (vec![("v.yaml", "[]")], "expected a mapping, found a list"),
        (vec![("v.yaml", "just text")], "expected a mapping, found a string"),
    ] {
        let found = errors_of(&files);
        assert!(found[0].contains(wanted), "{files:?}: {found:?}");
    }
}

#[test]
fn hostile_files_are_errors_within_a_second() {
    let big = format!("a: {}", "x".repeat(50 << 20));
    let deep = format!("a: {}", "[".repeat(100_000));
    let wide: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", ")));
    }
    for text in [big, deep, wide, bomb, "\u{0}".to_owned(), "a: \u{7}".to_owned(), "? [a]\n: b".to_owned()] {
        let dir = folder(&[("v.yaml", &text)]);
        let started = Instant::now();
        assert!(load_in(dir.path(), &[]).is_err(), "{}", &text[..text.len().min(20)]);
        assert!(started.elapsed() < Duration::from_secs(1), "{}: {:?}", &text[..text.len().min(20)], started.elapsed());
    }
    let dir = folder(&[]);
    std::fs::write(dir.path().join("v.yaml"), b"a: \xff").unwrap();
    assert!(load_in(dir.path(), &[]).unwrap_err().to_string().contains("not UTF-8"));
}

#[test]
fn warnings_do_not_stop() {
    let loaded = load_files(&[("compose.yaml", "version: \"3\"\nservices: {a: {image: x, hostname: \"x$NOPE\"}}\n")]);
    let shown: Vec<String> = loaded.warnings.iter().map(|w| format!("{}:{} {}", w.line, w.column, w.message)).collect();
    assert_eq!(
        shown,
        ["2:36 the variable `NOPE` is not set: nothing is put in its place", "1:1 `version` is obsolete and without effect"]
    );
}

#[test]
fn dot_env_is_below_the_environment() {
    let dir = folder(&[
        ("compose.yaml", "services: {a: {image: \"${I}:${T}\", environment: [T]}}"),
        (".env", "I=app\nT=1\nX=${T}$I\n"),
    ]);
    let loaded = load_in(dir.path(), &[("T", "2")]).unwrap();
    let spec = &loaded.desired.containers["a"].spec;
    assert_eq!(spec.image.to_string(), "app:2");
    assert_eq!(spec.environment["T"], "2");
    assert!(loaded.watched.iter().any(|path| path.ends_with(".env")));
    let found = errors_of(&[("compose.yaml", "services: {}"), (".env", "A=1\nwrong\n")]);
    assert_eq!(found, [".env:2:1 expected NAME=value"]);
}

#[test]
fn externals_and_names() {
    let loaded = load_files(&[(
        "compose.yaml",
        "services:\n  a: {image: x, container_name: mine, networks: [n, o], volumes: [\"v:/v\"]}\n\
         networks: {n: {external: true}, o: {external: true, name: other}}\nvolumes: {v: {name: kept}}\n",
    )]);
    let desired = &loaded.desired;
    assert_eq!(desired.containers["a"].engine_name.as_str(), "mine");
    let attached: Vec<&str> = desired.containers["a"].spec.networks.keys().map(Name::as_str).collect();
    assert_eq!(attached, ["n", "other"]);
    assert!(desired.networks["n"].external && !desired.networks.contains_key("default"));
    assert_eq!(desired.volumes["v"].engine_name.as_str(), "kept");
}

#[test]
fn images_that_nobody_declares_are_pulled() {
    let loaded = load_files(&[(
        "compose.yaml",
        "services:\n  a: {image: \"localhost:5000/x/app:1\", pull_policy: never}\n  b: {image: \"localhost:5000/x/app:1\", pull_policy: always}\n  c: {image: \"localhost:5000/x-app:1\"}\n",
    )]);
    let shown: Vec<String> =
        loaded.desired.images.iter().map(|(name, image)| format!("{name} {} {:?}", image.reference, image.source)).collect();
    assert_eq!(
        shown,
        [
            "localhost-5000-x-app-1 localhost:5000/x-app:1 Pull { policy: Missing, platform: None }",
            "localhost-5000-x-app-1-2 localhost:5000/x/app:1 Pull { policy: Always, platform: None }",
        ]
    );
}

#[test]
fn a_changed_configuration_is_a_changed_import() {
    let fingerprint = |command: &str| {
        let yaml = format!(
            "apiVersion: setpoint/v1\nkind: Image\nmetadata: {{name: app}}\nspec: {{import: {{source: r.tar{command}}}}}\n"
        );
        let loaded = load_files(&[("a.yaml", &yaml), ("r.tar", "x")]);
        match &loaded.desired.images["app"].source {
            crate::model::spec::ImageSource::Import { fingerprint, .. } => *fingerprint,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fingerprint(""), Digest::of(b"x"));
    assert_ne!(fingerprint(", command: a"), fingerprint(", command: b"));
}

#[test]
fn errors_show_the_line_and_the_place() {
    let dir = folder(&[("compose.yaml", "services:\n  a:\n    image: x\n    port: [80]\n")]);
    let errors = load_in(dir.path(), &[]).unwrap_err();
    let shown = errors.to_string().replace(dir.path().to_str().unwrap(), "");
    assert_eq!(
        shown,
        "/compose.yaml:4:5: a container has no field `port`\n   |\n 4 |     port: [80]\n   |     ^^^^\n   = did you mean `ports`?\n\n1 error in the manifests"
    );
    assert!(errors.render(true).contains("\u{1b}["));
}

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// `SETPOINT_WRITE_SCHEMAS=1` writes them.
#[test]
fn schemas_on_disk_are_fresh() {
    for (name, schema) in schemas() {
        let path = project().join("schemas").join(name);
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if std::env::var_os("SETPOINT_WRITE_SCHEMAS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(known == text, "{} is stale: run the tests with SETPOINT_WRITE_SCHEMAS=1", path.display());
    }
}

fn to_json(node: &Node) -> Value {
    match &node.value {
        super::tree::Value::Null => Value::Null,
        super::tree::Value::List(items) => items.iter().map(to_json).collect(),
        super::tree::Value::Map(entries) => entries.iter().map(|(key, value)| (key.text.clone(), to_json(value))).collect(),
        super::tree::Value::Scalar(scalar) => match scalar.kind() {
            super::tree::ScalarKind::Text => json!(scalar.text),
            super::tree::ScalarKind::Bool => json!(scalar.text.eq_ignore_ascii_case("true")),
            super::tree::ScalarKind::Number => {
                scalar.text.parse::<i64>().map_or_else(|_| json!(scalar.text.parse::<f64>().unwrap()), |n| json!(n))
            }
        },
    }
}

fn validate(schema: &str, text: &str) -> Vec<String> {
    let validator = jsonschema::validator_for(&schemas()[schema]).unwrap();
    let mut problems = Problems::default();
    let file = problems.file(Path::new("x"), text);
    let documents = super::tree::parse(file, text, &mut problems);
    documents.iter().flat_map(|d| validator.iter_errors(&to_json(d)).map(|e| e.to_string()).collect::<Vec<_>>()).collect()
}

#[test]
fn schemas_accept_what_the_reader_accepts() {
    let manifest = "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec:\n  image: x\n  ports: [80, \"1:2\"]\n  mem_limit: ${M}\n  cpus: 0.5\n  environment: {A: 1, B: }\n  networks: {front: }\n";
    assert_eq!(validate("setpoint-v1.json", manifest), [""; 0]);
    assert_eq!(validate("setpoint-v1.json", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: a}\n"), [""; 0]);
    assert!(!validate("setpoint-v1.json", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {nam: a}\n").is_empty());
    assert!(
        !validate("setpoint-v1.json", "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec: {port: [1]}\n")
            .is_empty()
    );
    let compose = "name: x\nx-y: {}\nservices:\n  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: y, healthcheck: {test: [CMD, a]}, volumes: [{type: tmpfs, target: /x}]}\nvolumes: {v: }\n";
    assert_eq!(validate("compose.json", compose), [""; 0]);
    assert!(!validate("compose.json", "services: {a: {image: x, command: 5}}").is_empty());
}

/// Every folder of `examples/` is a stack that loads, and its files obey the schemas.
#[test]
fn examples_load_and_obey_the_schemas() {
    let Ok(examples) = std::fs::read_dir(project().join("examples")) else { return };
    for example in examples {
        let path = example.unwrap().path();
        let has_yaml = |dir: &Path| {
            std::fs::read_dir(dir).unwrap().any(|f| f.unwrap().path().extension().is_some_and(|e| e == "yaml" || e == "yml"))
        };
        if !path.is_dir() || !has_yaml(&path) {
            continue;
        }
        // What is imported may be made by the example's own script.
        let fingerprint = |_: &Path| -> Result<Digest, Box<dyn std::error::Error + Send + Sync>> { Ok(Digest::of(b"")) };
        let options = LoadOptions { stack: None, environment: BTreeMap::new(), fingerprint: &fingerprint };
        if let Err(errors) = load(&path, &options) {
            panic!("{errors}");
        }
        for file in std::fs::read_dir(&path).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|e| e == "yaml" || e == "yml") {
                let schema = if files::is_compose_name(&file) { "compose.json" } else { "setpoint-v1.json" };
                let text = std::fs::read_to_string(&file).unwrap();
                assert_eq!(validate(schema, &text), [""; 0], "{}", file.display());
            }
        }
    }
}
