//! Tables of manifests: what they come to, and what is said of those that are wrong.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::model::spec::{ImageSource, ImageSpec};

mod builds;
mod compose;
mod lifecycle;
mod prints;
mod schemas;
mod wrong;

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
    let fingerprint = |source: Source<'_>| -> Result<Found, Box<dyn std::error::Error + Send + Sync>> {
        match source {
            Source::Path(path) => Ok(Digest::of(&std::fs::read(path)?).into()),
            Source::Build(_) => Ok(Digest::of(b"context").into()),
        }
    };
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    load(
        dir,
        &LoadOptions {
            stack: Some("s".parse().unwrap()),
            environment,
            over: vec![],
            scale: BTreeMap::new(),
            fingerprint: &fingerprint,
        },
    )
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
            json!({"expose": ["80/tcp", "90/udp"], "ports": [
            {"host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "protocol": "tcp"}]}),
        ),
        ("depends_on: [b]", json!({"depends_on": {"b": {"condition": "service_started"}}})),
        (
            "depends_on: [far/db]\nx-setpoint: {depends_on: {far/x: {restart: true, required: false}}}",
            json!({"depends_beyond": {
                "far/db": {"condition": "service_started"},
                "far/x": {"condition": "service_started", "restart": true, "optional": true}}}),
        ),
        ("depends_on: {b: {condition: service_healthy}}", json!({"depends_on": {"b": {"condition": "service_healthy"}}})),
        (
            "healthcheck: {test: curl -f localhost, interval: 1m30s, retries: 5}",
            json!({"healthcheck": {
            "test": {"shell": "curl -f localhost"}, "interval": "1m30s", "timeout": "30s", "retries": 5,
            "start_period": "0s", "start_interval": "5s", "on_unhealthy": "none", "startup": null}}),
        ),
        (
            "healthcheck:\n  http: 8080/ok\n  on_unhealthy: restart\n  startup: {tcp: 8080, retries: 5}",
            json!({"healthcheck": {
            "test": {"http": "http://localhost:8080/ok"}, "interval": "30s", "timeout": "30s", "retries": 3,
            "start_period": "0s", "start_interval": "5s", "on_unhealthy": "restart",
            "startup": {"test": {"tcp": "localhost:8080"}, "interval": "1s", "timeout": "30s", "retries": 5}}}),
        ),
        (
            "healthcheck:\n  interval: 5s\n  x-setpoint: {tcp: \"127.0.0.1:80\", on_unhealthy: restart}",
            json!({"healthcheck": {
            "test": {"tcp": "127.0.0.1:80"}, "interval": "5s", "timeout": "30s", "retries": 3,
            "start_period": "0s", "start_interval": "5s", "on_unhealthy": "restart", "startup": null}}),
        ),
        (
            "healthcheck: {disable: true}",
            json!({"healthcheck": {
            "test": "none", "interval": "30s", "timeout": "30s", "retries": 3, "start_period": "0s", "start_interval": "5s",
            "on_unhealthy": "none", "startup": null}}),
        ),
        ("restart: on-failure:3\nread_only: true", json!({"restart": "on-failure:3", "read_only": true})),
        ("restart: no", json!({})),
        (
            "logging: {driver: json-file, options: {max-size: 1m, max-file: \"2\", labels: \"a,b\"}}",
            json!({"logging": {"driver": "file", "max_size": "1m", "max_file": 2, "tag": null, "labels": ["a", "b"]}}),
        ),
        (
            "logging: {driver: journald, options: {tag: \"{{.Name}}\"}}",
            json!({"logging": {"driver": "journald", "max_size": null, "max_file": null, "tag": "{{.Name}}", "labels": []}}),
        ),
        (
            "deploy: {resources: {limits: {cpus: 0.5, memory: 64M, pids: 100}}}",
            json!({"limits": {"memory": "64m", "cpus": "0.5", "pids": 100}}),
        ),
        ("mem_limit: 1gb\ncpus: \"2\"\npids_limit: -1", json!({"limits": {"memory": "1g", "cpus": "2", "pids": 0}})),
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
        ("extra_hosts: [\"a:host-gateway\"]", json!({"extra_hosts": {"a": "host-gateway"}})),
        (
            "init: true\nprivileged: true\npid: host\nipc: shareable\nuts: host\ncgroup: host\nuserns_mode: host",
            json!({"init": true, "privileged": true, "pid": "host", "ipc": "shareable", "uts": "host", "cgroup": "host"}),
        ),
        ("userns_mode: auto:size=1000", json!({"userns": "auto:size=1000"})),
        (
            "pid: container:other\nipc: service:b\nvolumes_from: [\"b:ro\", \"container:x\"]",
            json!({"pid": "container:other", "ipc": "container:s-b",
                "volumes_from": [{"container": "s-b", "read_only": true}, {"container": "x", "read_only": false}],
                "depends_on": {"b": {"condition": "service_started"}}}),
        ),
        (
            "network_mode: container:s-b",
            json!({"network_mode": "container:s-b", "depends_on": {"b": {"condition": "service_started"}}}),
        ),
        (
            "devices: [\"/dev/fuse\", {source: /dev/a, target: /dev/b, permissions: r}]\ndevice_cgroup_rules: [\"c 10:* rwm\"]",
            json!({"devices": ["/dev/fuse:/dev/fuse:rwm", "/dev/a:/dev/b:r"], "device_cgroup_rules": ["c 10:* rwm"]}),
        ),
        (
            "security_opt: [\"no-new-privileges:false\", seccomp=unconfined, label=disable, systempaths=unconfined, \
             sockets=unconfined]",
            json!({"security_opt": {"no_new_privileges": false, "seccomp": "unconfined", "apparmor": null,
                "label": ["disable"], "unconfined_paths": true, "unconfined_sockets": true}}),
        ),
        (
            "dns: 10.0.0.1\ndns_search: [a.example, b.example]\ndns_opt: [ndots:2]\ndomainname: x.example\nmac_address: 02:42:AC:11:00:02",
            json!({"dns": ["10.0.0.1"], "dns_search": ["a.example", "b.example"], "dns_opt": ["ndots:2"],
                "domainname": "x.example", "mac_address": "02:42:ac:11:00:02"}),
        ),
        (
            "shm_size: 1g\ngroup_add: [audio, 7]\noom_score_adj: 500\nannotations: {a: b}\npublish_all: true",
            json!({"shm_size": "1g", "group_add": ["7", "audio"], "oom_score_adj": 500, "annotations": {"a": "b"}, "publish_all": true}),
        ),
        (
            "mem_limit: 64m\nmem_reservation: 32m\nmemswap_limit: -1\ncpu_shares: 512\ncpuset: 0-1\ncpuset_mems: 0\noom_kill_disable: true\n\
             blkio_config: {weight: 100, weight_device: [{path: /dev/vda, weight: 200}], device_write_bps: [{path: /dev/vda, rate: 1m}]}",
            json!({"limits": {"memory": "64m", "cpus": null, "pids": null, "memory_reservation": "32m", "memory_swap": "-1",
                "oom_kill_disable": true, "cpu_shares": 512, "cpuset_cpus": "0-1", "cpuset_mems": "0", "blkio_weight": 100, "blkio_weight_device": ["/dev/vda:200"],
                "device_write_bps": ["/dev/vda:1048576"]}}),
        ),
        (
            "volumes: [/own, \"data:/d:nocopy\", \"/a:/b:rslave,noexec\"]\ntmpfs: \"/t:uid=5,exec\"",
            json!({"mounts": [
            {"type": "bind", "source": "/a", "target": "/b", "read_only": false, "create_host_path": true, "options": ["rslave", "noexec"]},
            {"type": "volume", "source": "s-data", "target": "/d", "read_only": false, "nocopy": true},
            {"type": "anonymous", "target": "/own", "read_only": false},
            {"type": "tmpfs", "target": "/t", "size": null, "mode": null, "options": ["uid=5", "exec"]}]}),
        ),
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
    let Desired { stack, images, containers, networks, volumes, configs, secrets } = &loaded.desired;
    assert!(secrets.is_empty());
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
    let fingerprint = |_: Source<'_>| -> Result<Found, Box<dyn std::error::Error + Send + Sync>> { Ok(Digest::of(b"").into()) };
    let name = |dir: &Path| {
        let options = LoadOptions {
            stack: None,
            environment: BTreeMap::new(),
            over: vec![],
            scale: BTreeMap::new(),
            fingerprint: &fingerprint,
        };
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
    let policy = |image: &ImageSpec| match &image.source {
        ImageSource::Pull(pull) => pull.policy.to_string(),
        other => panic!("{other:?}"),
    };
    let shown = loaded.desired.images.iter().map(|(name, image)| format!("{name} {} {}", image.reference, policy(image)));
    let shown: Vec<String> = shown.collect();
    assert_eq!(
        shown,
        ["localhost-5000-x-app-1 localhost:5000/x-app:1 missing", "localhost-5000-x-app-1-2 localhost:5000/x/app:1 always",]
    );
}

#[test]
fn images_in_their_forms() {
    let key = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----";
    let tar = Digest::of(b"tar").to_string();
    let pull = |extra: Value| {
        let mut pull = json!({"policy": "missing", "platform": null});
        pull.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"reference": "app:latest", "source": {"pull": pull}})
    };
    let made = |source: Value| json!({"reference": "app:latest", "source": source});
    for (spec, wanted) in [
        ("pull: {}", pull(json!({}))),
        ("pull: {policy: if_not_present}", pull(json!({}))),
        ("pull: {policy: always, platform: linux/arm64/v8}", pull(json!({"policy": "always", "platform": "linux/arm64/v8"}))),
        ("pull: {policy: every_1d12h, keep_blobs: true}", pull(json!({"policy": "every_1d12h", "keep_blobs": true}))),
        ("pull: {policy: every_24h}", pull(json!({"policy": "daily"}))),
        ("pull: {tag_policy: {semver: ~1.27}}", pull(json!({"tag_policy": {"semver": "~1.27"}}))),
        ("pull: {tag_policy: {semver: 1.2}}\nreference: app", pull(json!({"tag_policy": {"semver": "1.2"}}))),
        ("load: {archive: ./r.tar}", made(json!({"load": {"archive": "/r.tar", "fingerprint": tar}}))),
        (
            "load: {archive: r.tar, reference: other:2}",
            made(json!({"load": {"archive": "/r.tar", "fingerprint": tar, "reference": "other:2"}})),
        ),
        ("load: {archive: away.tar}", made(json!({"load": {"archive": "/away.tar", "fingerprint": null}}))),
        (
            "commit: {container: c, changes: [\"CMD x\"], author: me, message: why}",
            made(json!({"commit": {"container": "c", "changes": ["CMD x"], "author": "me", "message": "why"}})),
        ),
    ] {
        let yaml = format!(
            "apiVersion: setpoint/v1\nkind: Image\nmetadata: {{name: app}}\nspec:\n  {}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: c}}\nspec: {{image: base}}\n",
            spec.replace('\n', "\n  ")
        );
        let dir = folder(&[("a.yaml", &yaml), ("r.tar", "tar")]);
        let loaded = load_in(dir.path(), &[]).unwrap_or_else(|errors| panic!("{errors}"));
        let found = serde_json::to_string(&loaded.desired.images["app"]).unwrap().replace(dir.path().to_str().unwrap(), "");
        assert_eq!(serde_json::from_str::<Value>(&found).unwrap(), wanted, "{spec}");
        if spec.contains("load") {
            let archive = if spec.contains("away") { "away.tar" } else { "r.tar" };
            assert!(loaded.watched.contains(&dir.path().join(archive)));
        }
    }
    let yaml = format!(
        "apiVersion: setpoint/v1\nkind: Image\nmetadata: {{name: app}}\nspec:\n  pull: {{}}\n  push: {{to: [\"r.local/b:1\", \"r.local/a\"]}}\n  \
         verify:\n    keys:\n    - keys/one.pem\n    - |\n      {}\n",
        key.replace("MFkw", "MFkx").replace('\n', "\n      ")
    );
    let loaded = load_files(&[("a.yaml", &yaml), ("keys/one.pem", &format!("{key}\n"))]);
    let image = &loaded.desired.images["app"];
    assert_eq!(image.push.iter().map(ToString::to_string).collect::<Vec<_>>(), ["r.local/a:latest", "r.local/b:1"]);
    assert_eq!(image.verify.as_ref().unwrap().keys, [key.to_owned(), key.replace("MFkw", "MFkx")].into());
    assert!(loaded.watched.iter().any(|path| path.ends_with("keys/one.pem")));
}

#[test]
fn the_most_eager_policy_of_an_image_that_nobody_declares_counts() {
    let loaded = load_files(&[(
        "compose.yaml",
        "services:\n  a: {image: x, pull_policy: weekly}\n  b: {image: x, pull_policy: every_12h}\n  c: {image: x, pull_policy: missing}\n  d: {image: x}\n",
    )]);
    let ImageSource::Pull(pull) = &loaded.desired.images["x-latest"].source else { panic!("it is pulled") };
    assert_eq!(pull.policy.to_string(), "every_12h");
}

#[test]
fn a_changed_configuration_is_a_changed_import() {
    let fingerprint = |command: &str| {
        let yaml = format!(
            "apiVersion: setpoint/v1\nkind: Image\nmetadata: {{name: app}}\nspec: {{import: {{source: r.tar{command}}}}}\n"
        );
        let loaded = load_files(&[("a.yaml", &yaml), ("r.tar", "x")]);
        match &loaded.desired.images["app"].source {
            ImageSource::Import { fingerprint, .. } => *fingerprint,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fingerprint(""), Digest::of(b"x"));
    assert_ne!(fingerprint(", command: a"), fingerprint(", command: b"));
}
