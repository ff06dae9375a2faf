//! What is said of manifests that are wrong.

use std::time::Duration;

use proptest::prelude::*;

use super::super::fields::{self, Table};
use super::super::{health, logging};
use super::*;

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
             \x20 gpus: all\n\
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
        "volumes: [\"just/target\"]",
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
        "healthcheck: {test: x, http: 80}",
        "healthcheck: {http: \"https://localhost/\"}",
        "healthcheck: {tcp: \"db:5432\", on_unhealthy: reboot}",
        "healthcheck: {tcp: 80, startup: {interval: 1s}}",
        "healthcheck: {tcp: 80, startup: {test: [NONE]}}",
        "logging: {driver: fluentd}",
        "logging: {driver: none, options: {max-size: 1m}}",
        "logging: {options: {max-size: lots}}",
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
        "extra_hosts: [\"x:gateway\"]",
        "tmpfs: \"/x:uid=five\"",
        "pid: \"container:\"",
        "pid: service:b",
        "ipc: mine",
        "uts: container:x",
        "userns_mode: keep-id",
        "userns_mode: auto\nprivileged: true",
        "network_mode: container:x\ndns: 1.1.1.1",
        "network_mode: host\nmac_address: 02:42:ac:11:00:02",
        "uts: host\nhostname: h",
        "shm_size: 1g\nipc: host",
        "devices: [fuse, \"/dev/fuse:/dev/fuse:x\"]",
        "device_cgroup_rules: [\"c 1 r\"]",
        "security_opt: [seccomp, \"seccomp=gone.json\", \"mask=/x\"]",
        "volumes_from: [\"b:x\"]",
        "volumes: [{type: volume, source: v, target: /v, volume: {subpath: ../a}}, {type: volume, target: /v, volume: {subpath: a}}]",
        "volumes: [\"/x:shared\", \"/a:/b:nocopy\"]",
        "oom_score_adj: 2000",
        "mem_limit: 1m",
        "mem_limit: 10m\nmemswap_limit: 9m",
        "cpus: 1\ncpu_quota: 5000",
        "cpuset: 3-1",
        "blkio_config: {weight: 5, weight_device: [{path: /dev/sda, weight: 5}], device_read_bps: [{path: sda, rate: 1m}]}",
        "runtime: kata",
        "external_links: [b, \"c:d/e\"]\nnetwork_mode: host",
        "working_dir: srv",
        "labels: {a: b, a: c}",
        "pull_policy: build",
        "pull_policy: allways",
        "pull_policy: refresh",
        "pull_policy: every_1y",
        "pull_policy: true",
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

const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n";

#[test]
fn single_errors_of_images() {
    let mut all = String::new();
    for spec in [
        "{}",
        "build: {context: .}\npull: {}",
        "pull: {}\nimport: {source: r.tar}",
        "pull: {}\nload: {archive: r.tar}\ncommit: {container: c}",
        "pull: {policy: build}",
        "pull: {policy: every_}",
        "pull: {policy: dayly}",
        "pull: {policy: 12h}",
        "pull: {tag_policy: {}}",
        "pull: {tag_policy: latest}",
        "pull: {tag_policy: {semver: latest}}",
        "pull: {tag_policy: {semver: 1.2.3.4}}",
        "pull: {tag_policy: {semver: ~1.27}}\nreference: nginx:1.27",
        "pull: {tag_policy: {semver: ~1.27}}\nreference: localhost:5000/nginx@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "pull: {platform: linux}",
        "pull: {keep_blobs: yes}",
        "load: {}",
        "load: {archive: [r.tar]}",
        "load: {archive: r.tar, reference: A}",
        "load: {archive: .}",
        "load: {archive: r.tar}\nverify: {keys: [key.pem]}",
        "commit: {}",
        "commit: {container: provison}",
        "commit: {container: db}",
        "commit: {container: c, changes: CMD x}",
        "commit: {container: c, changes: [\"RUN x\", CMD, \"CMD [1]\"]}",
        "commit: {container: user}",
        "pull: {}\npush: {}",
        "pull: {}\npush: {to: []}",
        "pull: {}\npush: {to: [x, x, A, \"x@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]}",
        "pull: {}\npush: {to: [app]}",
        "pull: {}\nverify: {}",
        "pull: {}\nverify: {keys: []}",
        "pull: {}\nverify: {keys: [gone.pem, r.tar, \"-----BEGIN CERTIFICATE-----\"]}",
        "pull: {policy: never}\nverify: {keys: [key.pem]}",
    ] {
        let file = format!(
            "apiVersion: setpoint/v1\nkind: Image\nmetadata: {{name: app}}\nspec:\n  {}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: provision}}\nspec: {{image: base, network_mode: none}}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: c}}\nspec: {{image: base, network_mode: none}}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: db}}\nspec: {{image: base, restart: always, network_mode: none}}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: user}}\nspec: {{image: app, network_mode: none}}\n",
            spec.replace('\n', "\n  ")
        );
        all.push_str(&format!("{}\n", spec.replace('\n', " ⏎ ")));
        for error in errors_of(&[("a.yaml", &file), ("r.tar", "tar"), ("key.pem", KEY)]) {
            all.push_str(&format!("    {}\n", error.strip_prefix("a.yaml:").unwrap_or(&error)));
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_circle_through_a_commit_is_shown_as_a_way() {
    let found = errors_of(&[(
        "a.yaml",
        "apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: app}\nspec: {commit: {container: a}}\n---\n\
         apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec: {image: base, network_mode: none, depends_on: [b]}\n---\n\
         apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: b}\nspec: {image: app, network_mode: none}\n",
    )]);
    assert_eq!(found, ["a.yaml:9:54 containers depend on each other in a circle: a → b → a (remove one of these dependencies)"]);
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
        (vec![("a.yaml", volume), ("b.yaml", "services: {}")], "a compose file does not stand among manifests"),
        (vec![("compose.yaml", "")], "the file is empty"),
        (vec![("v.yaml", "[]")], "expected a mapping, found a list"),
        (vec![("v.yaml", "just text")], "expected a mapping, found a string"),
    ] {
        let found = errors_of(&files);
        assert!(found[0].contains(wanted), "{files:?}: {found:?}");
    }
}

/// What this thread has used: what others do on the machine is no part of it.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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
        let started = processor_time();
        assert!(load_in(dir.path(), &[]).is_err(), "{}", &text[..text.len().min(20)]);
        let took = processor_time() - started;
        assert!(took < Duration::from_secs(1), "{}: {took:?}", &text[..text.len().min(20)]);
    }
    let dir = folder(&[]);
    std::fs::write(dir.path().join("v.yaml"), b"a: \xff").unwrap();
    assert!(load_in(dir.path(), &[]).unwrap_err().to_string().contains("not UTF-8"));
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

/// Every field that a table names is read: a value that fits nothing is an error at its place.
#[test]
fn no_field_is_accepted_and_passed_over() {
    let manifest =
        |kind: &str, spec: &str| format!("{{apiVersion: setpoint/v1, kind: {kind}, metadata: {{name: a}}, spec: {{{spec}\n}}}}");
    let container = |body: String| manifest("Container", &format!("image: x, {body}"));
    type Wrap<'a> = Box<dyn Fn(&str) -> String + 'a>;
    /// A table, fields that go with the one that is tried, and what stands around them.
    type Case<'a> = (&'static Table, &'a [(&'a str, &'a str)], Wrap<'a>);
    let cases: Vec<Case> = vec![
        (
            &fields::DOCUMENT,
            &[("apiVersion", "setpoint/v1"), ("kind", "Volume"), ("metadata", "{name: a}")],
            Box::new(|body| format!("{{{body}\n}}")),
        ),
        (
            &fields::METADATA,
            &[("name", "a")],
            Box::new(|body| format!("{{apiVersion: setpoint/v1, kind: Volume, metadata: {{{body}\n}}}}")),
        ),
        (&fields::IMAGE, &[], Box::new(|body| manifest("Image", body))),
        (&fields::PULL, &[], Box::new(|body| manifest("Image", &format!("pull: {{{body}\n}}")))),
        (&fields::TAG_POLICY, &[], Box::new(|body| manifest("Image", &format!("pull: {{tag_policy: {{{body}\n}}}}")))),
        (&fields::LOAD, &[("archive", "/dev/null")], Box::new(|body| manifest("Image", &format!("load: {{{body}\n}}")))),
        (&fields::COMMIT, &[("container", "c")], Box::new(|body| manifest("Image", &format!("commit: {{{body}\n}}")))),
        (&fields::PUSH, &[], Box::new(|body| manifest("Image", &format!("pull: {{}}, push: {{{body}\n}}")))),
        (&fields::VERIFY, &[], Box::new(|body| manifest("Image", &format!("pull: {{}}, verify: {{{body}\n}}")))),
        (&fields::IMPORT, &[], Box::new(|body| manifest("Image", &format!("import: {{{body}\n}}")))),
        (&fields::NETWORK, &[], Box::new(|body| manifest("Network", body))),
        (&fields::IPAM, &[], Box::new(|body| manifest("Network", &format!("ipam: {{{body}\n}}")))),
        (&fields::IPAM_CONFIG, &[], Box::new(|body| manifest("Network", &format!("ipam: {{config: [{{{body}\n}}]}}")))),
        (&fields::VOLUME, &[], Box::new(|body| manifest("Volume", body))),
        (&fields::CONFIG, &[], Box::new(|body| manifest("Config", body))),
        (&fields::CONTAINER, &[("image", "x")], Box::new(|body| manifest("Container", body))),
        (&fields::ENV_FILE, &[("path", "/dev/null")], Box::new(|body| container(format!("env_file: [{{{body}\n}}]")))),
        (
            &fields::MOUNT,
            &[("type", "bind"), ("source", "/a"), ("target", "/b")],
            Box::new(|body| container(format!("volumes: [{{{body}\n}}]"))),
        ),
        (
            &fields::BIND,
            &[],
            Box::new(|body| container(format!("volumes: [{{type: bind, source: /a, target: /b, bind: {{{body}\n}}}}]"))),
        ),
        (&fields::TMPFS, &[], Box::new(|body| container(format!("volumes: [{{type: tmpfs, target: /b, tmpfs: {{{body}\n}}}}]")))),
        (&fields::CONFIG_MOUNT, &[("source", "c")], Box::new(|body| container(format!("configs: [{{{body}\n}}]")))),
        (&fields::ATTACHMENT, &[], Box::new(|body| container(format!("networks: {{default: {{{body}\n}}}}")))),
        (&fields::PORT, &[("target", "80")], Box::new(|body| container(format!("ports: [{{{body}\n}}]")))),
        (&fields::CONTAINER_EXTENSION, &[], Box::new(|body| container(format!("x-setpoint: {{{body}\n}}")))),
        (&fields::DEPENDENCY, &[], Box::new(|body| container(format!("depends_on: {{b: {{{body}\n}}}}")))),
        (&health::HEALTHCHECK, &[], Box::new(|body| container(format!("healthcheck: {{{body}\n}}")))),
        (&health::HEALTH_EXTENSION, &[], Box::new(|body| container(format!("healthcheck: {{x-setpoint: {{{body}\n}}}}")))),
        (&health::STARTUP, &[], Box::new(|body| container(format!("healthcheck: {{tcp: 80, startup: {{{body}\n}}}}")))),
        (&logging::LOGGING, &[], Box::new(|body| container(format!("logging: {{{body}\n}}")))),
        (&fields::DEPLOY, &[], Box::new(|body| container(format!("deploy: {{{body}\n}}")))),
        (&fields::UPDATE, &[], Box::new(|body| container(format!("deploy: {{update_config: {{{body}\n}}}}")))),
        (&fields::ROLLBACK, &[], Box::new(|body| container(format!("deploy: {{rollback_config: {{{body}\n}}}}")))),
        (&fields::STACK, &[], Box::new(|body| manifest("Stack", body))),
        (&fields::STACK_UPDATE, &[], Box::new(|body| manifest("Stack", &format!("update: {{{body}\n}}")))),
        (&fields::RESOURCES, &[], Box::new(|body| container(format!("deploy: {{resources: {{{body}\n}}}}")))),
        (&fields::LIMITS, &[], Box::new(|body| container(format!("deploy: {{resources: {{limits: {{{body}\n}}}}}}")))),
        (
            &fields::ULIMIT,
            &[("soft", "1"), ("hard", "1")],
            Box::new(|body| container(format!("ulimits: {{nofile: {{{body}\n}}}}"))),
        ),
    ];
    let check = |table: &Table, siblings: &[(&str, &str)], wrap: &dyn Fn(&str) -> String, file: &str| {
        for field in table.fields {
            let mut body = String::new();
            for (name, value) in siblings.iter().filter(|(name, _)| *name != field.name) {
                body.push_str(&format!("{name}: {value}, "));
            }
            body.push_str(&format!("\n  {}: [[{{}}]]", field.name));
            let text = wrap(&body);
            let line = text.lines().position(|line| line.contains("[[{}]]")).unwrap() + 1;
            let column = text.lines().nth(line - 1).unwrap().find("[[{}]]").unwrap() + 1;
            let found = errors_of(&[(file, &text)]);
            let there = |error: &&String| {
                let mut parts = error.split([':', ' ']).skip(1).map(|part| part.parse::<usize>().unwrap());
                parts.next().unwrap() == line && parts.next().unwrap() >= column
            };
            assert!(found.iter().any(|error| there(&error)), "{} of {} is not read: {found:?}", field.name, table.what);
        }
    };
    for (table, siblings, wrap) in cases {
        check(table, siblings, &wrap, "a.yaml");
    }
    check(&fields::COMPOSE, &[], &|body| format!("{{{body}\n}}"), "compose.yaml");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is written: no panic, and every problem stands at a place that is there.
    #[test]
    fn no_text_is_too_strange(
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), 0usize..12, "[-:{}\\[\\]&*!|>'\"%@,#? \n\tab0$]{0,4}"), 0..6),
    ) {
        let mut text: Vec<char> = "services:\n  web: &w\n    image: \"app:${TAG:-1}\"\n    ports: [\"80:80\", {target: 1}]\n    \
            environment:\n      A: 'x'\n    volumes:\n    - data:/d\n    - {type: tmpfs, target: /t}\n    healthcheck:\n      test: [CMD, x]\n  \
            db:\n    <<: *w\n    depends_on: {web: {condition: service_healthy}}\n    command: >\n      a b\nvolumes: {data: }\n".chars().collect();
        for (at, length, with) in cuts {
            let at = at.index(text.len() + 1);
            let end = (at + length).min(text.len());
            text.splice(at..end, with.chars());
        }
        let text: String = text.into_iter().collect();
        let dir = folder(&[("compose.yaml", &text)]);
        if let Err(errors) = load_in(dir.path(), &[]) {
            prop_assert!(!errors.problems.is_empty());
            let lines: Vec<&str> = text.lines().collect();
            for problem in &errors.problems {
                prop_assert!(problem.line <= lines.len() + 1, "{problem}");
                if let Some(line) = problem.line.checked_sub(1).and_then(|line| lines.get(line)) {
                    prop_assert!(problem.column <= line.chars().count() + 1, "{}:{} of {text:?}", problem.line, problem.column);
                }
                prop_assert!(!problem.to_string().is_empty());
            }
        }
    }
}
