//! Compose files that are made of several: merged, extended, included; and what brings containers in.

use super::*;

fn spec(loaded: &Loaded, name: &str) -> Value {
    serde_json::to_value(&loaded.desired.containers[name].spec).unwrap()
}

fn over(files: &[(&str, &str)], over: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, LoadErrors> {
    let dir = folder(files);
    let over = over.iter().map(|name| dir.path().join(name)).collect();
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let fingerprint = |_: Source<'_>| Ok(Digest::of(b"").into());
    load(
        &dir.path().join("compose.yaml"),
        &LoadOptions { stack: Some("s".parse().unwrap()), environment, over, scale: BTreeMap::new(), fingerprint: &fingerprint },
    )
}

/// One service that is laid over another: what one field comes to.
fn merged(base: &str, later: &str, field: &str) -> Value {
    let service = |yaml: &str| format!("services:\n  a:\n    image: app:1\n    {}\n", yaml.replace('\n', "\n    "));
    let rest = "volumes: {one: , two: }\nnetworks: {x: , y: }\nconfigs: {c: {content: c}}\n";
    let base = service(base) + "  b: {image: b}\n  c: {image: c}\n" + rest;
    let loaded =
        over(&[("compose.yaml", &base), ("o.yaml", &service(later))], &["o.yaml"], &[]).unwrap_or_else(|e| panic!("{e}"));
    spec(&loaded, "a")[field].clone()
}

#[test]
fn files_are_merged_field_by_field() {
    let strings = |list: &[&str]| json!(list);
    for (base, later, field, wanted) in [
        ("command: [a, b]", "command: [c]", "command", strings(&["c"])),
        ("entrypoint: [a]", "user: x", "entrypoint", strings(&["a"])),
        ("environment: {A: 1, B: 2}", "environment: [B=3, C=4]", "environment", json!({"A": "1", "B": "3", "C": "4"})),
        ("environment: [A=1, B=2]", "environment: [B=3]", "environment", json!({"A": "1", "B": "3"})),
        ("labels: [a=1]", "labels: {b: 2}", "labels", json!({"a": "1", "b": "2"})),
        (
            "ports: [\"80:80\"]",
            "ports: [\"80:80/tcp\", \"81:81\"]",
            "ports",
            json!([
                {"host_ip": null, "host_port": 80, "container_port": 80, "protocol": "tcp"},
                {"host_ip": null, "host_port": 81, "container_port": 81, "protocol": "tcp"},
            ]),
        ),
        ("dns: 1.1.1.1", "dns: [2.2.2.2, 1.1.1.1]", "dns", strings(&["1.1.1.1", "2.2.2.2"])),
        ("cap_add: [CHOWN]", "cap_add: [KILL, CHOWN]", "cap_add", strings(&["CAP_CHOWN", "CAP_KILL"])),
        ("mem_limit: 1g\ncpus: 2", "mem_limit: 2g", "limits", json!({"memory": "2g", "cpus": "2"})),
        ("logging: {driver: journald}", "logging: {driver: none}", "logging", json!({"driver": "none"})),
        (
            "depends_on: [b]",
            "depends_on: {c: {condition: service_started}}",
            "depends_on",
            json!({
                "b": {"condition": "service_started"}, "c": {"condition": "service_started"},
            }),
        ),
        ("environment: {A: 1}", "environment: !reset {}", "environment", json!({})),
        ("environment: {A: 1, B: 2}", "environment: {A: !reset null}", "environment", json!({"B": "2"})),
        ("cap_add: [CHOWN]", "cap_add: !override [KILL]", "cap_add", strings(&["CAP_KILL"])),
        ("user: a", "user: !reset \"\"", "user", Value::Null),
        ("ulimits: {nofile: {soft: 1, hard: 2}}", "ulimits: {nofile: 5}", "ulimits", json!({"nofile": {"soft": 5, "hard": 5}})),
    ] {
        let mut found = merged(base, later, field);
        if let (Value::Object(found), Value::Object(wanted)) = (&mut found, &wanted)
            && field != "environment"
        {
            found.retain(|name, _| wanted.contains_key(name));
        }
        assert_eq!(found, wanted, "{base} | {later}");
    }
    let mounts = merged("volumes: [\"one:/a\", \"two:/b\"]", "volumes: [{type: volume, source: two, target: /a}]", "mounts");
    let sources: Vec<&str> = mounts.as_array().unwrap().iter().map(|mount| mount["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["s-two", "s-two"]);
    let networks = merged("networks: [x]", "networks: {y: {aliases: [z]}}", "networks");
    assert_eq!(networks["s-y"]["aliases"], json!(["z"]));
    assert!(networks["s-x"].is_object());
}

#[test]
fn an_override_file_is_laid_over_the_compose_file_beside_it() {
    let loaded = load_files(&[
        ("compose.yaml", "services: {a: {image: app:1, command: [x]}}\n"),
        ("compose.override.yaml", "services: {a: {image: app:2}, b: {image: db}}\nvolumes: {v: }\n"),
    ]);
    assert_eq!((spec(&loaded, "a")["image"].as_str(), spec(&loaded, "a")["command"][0].as_str()), (Some("app:2"), Some("x")));
    assert!(loaded.desired.containers.contains_key("b") && loaded.desired.volumes.contains_key("v"));
    assert!(loaded.watched.iter().any(|path| path.ends_with("compose.override.yaml")));
}

#[test]
fn services_extend_others() {
    let loaded = load_files(&[
        (
            "compose.yaml",
            "services:\n\
             \x20 base: {image: app:1, environment: {A: 1}, env_file: own.env}\n\
             \x20 web: {extends: base, environment: {B: 2}}\n\
             \x20 far: {extends: {service: top, file: sub/other.yaml}, command: [go]}\n",
        ),
        ("own.env", "E=own\n"),
        (
            "sub/other.yaml",
            "services:\n  low: {image: \"low:${TAG:-1}\", volumes: [\"./data:/data\"], env_file: [e.env]}\n  top: {extends: low, user: u}\n",
        ),
        ("sub/e.env", "E=far\n"),
    ]);
    let web = spec(&loaded, "web");
    assert_eq!((&web["image"], &web["environment"]), (&json!("app:1"), &json!({"A": "1", "B": "2", "E": "own"})));
    let far = spec(&loaded, "far");
    assert_eq!((&far["image"], &far["user"], &far["environment"]), (&json!("low:1"), &json!("u"), &json!({"E": "far"})));
    assert!(far["mounts"][0]["source"].as_str().unwrap().ends_with("/sub/data"), "{far}");
    assert!(loaded.watched.iter().any(|path| path.ends_with("sub/other.yaml")));
}

#[test]
fn projects_include_others() {
    let loaded = load_files(&[
        (
            "compose.yaml",
            "name: outer\ninclude: [sub/compose.yaml, {path: [two/a.yaml, two/b.yaml], env_file: two/two.env, project_directory: two}]\n\
             services: {a: {image: app, depends_on: [b]}}\n",
        ),
        ("sub/compose.yaml", "name: inner\nservices: {b: {image: \"b:${X}\", env_file: b.env}}\nvolumes: {v: }\n"),
        ("sub/.env", "X=sub\n"),
        ("sub/b.env", "FROM=sub\n"),
        ("two/a.yaml", "services: {c: {image: \"c:${X}\", volumes: [\"./d:/d\"]}}\n"),
        ("two/b.yaml", "services: {c: {user: u}}\n"),
        ("two/two.env", "X=two\n"),
    ]);
    assert_eq!(spec(&loaded, "b")["image"], "b:sub");
    assert_eq!(spec(&loaded, "b")["environment"], json!({"FROM": "sub"}));
    let c = spec(&loaded, "c");
    assert_eq!((&c["image"], &c["user"]), (&json!("c:two"), &json!("u")));
    assert!(c["mounts"][0]["source"].as_str().unwrap().ends_with("/two/d"));
    assert!(loaded.desired.volumes.contains_key("v"));
    for file in ["sub/compose.yaml", "sub/.env", "two/b.yaml", "two/two.env"] {
        assert!(loaded.watched.iter().any(|path| path.ends_with(file)), "{file}");
    }
}

#[test]
fn profiles_bring_containers_in() {
    let files = [(
        "compose.yaml",
        "services:\n\
         \x20 a: {image: a, depends_on: {d: {required: false}, gone: {required: false}}}\n\
         \x20 d: {image: d, profiles: [debug, more]}\n\
         \x20 e: {image: e, profiles: [extra], build: .}\n",
    )];
    let names = |active: &[(&str, &str)]| {
        let loaded = over(&files, &[], active).unwrap_or_else(|errors| panic!("{errors}"));
        let names: Vec<String> = loaded.desired.containers.keys().map(ToString::to_string).collect();
        assert_eq!(loaded.desired.containers["a"].spec.depends_on.contains_key("d"), names.contains(&"d".to_owned()));
        assert_eq!(loaded.desired.images.contains_key("e"), names.contains(&"e".to_owned()));
        names.join(" ")
    };
    assert_eq!(names(&[]), "a");
    assert_eq!(names(&[(PROFILES, "more")]), "a d");
    assert_eq!(names(&[(PROFILES, "debug, extra")]), "a d e");
    assert_eq!(names(&[(PROFILES, "*")]), "a d e");
}

#[test]
fn links_are_names_and_an_order() {
    let loaded = load_files(&[(
        "compose.yaml",
        "services:\n  a: {image: a, links: [\"db:database\", c]}\n  db: {image: d, networks: [n]}\n  c: {image: c}\nnetworks: {n: }\n",
    )]);
    let a = spec(&loaded, "a");
    assert_eq!(a["depends_on"].as_object().unwrap().keys().collect::<Vec<_>>(), ["c", "db"]);
    assert_eq!(spec(&loaded, "db")["networks"]["s-n"]["aliases"], json!(["database"]));
    assert_eq!(spec(&loaded, "c")["networks"]["s-default"]["aliases"], json!([]));
}

#[test]
fn secrets_are_files_in_memory() {
    let loaded = load_files(&[
        (
            "compose.yaml",
            "services:\n\
             \x20 a: {image: a, secrets: [pw, {source: token, target: t, mode: 0400, uid: \"5\"}, {source: pw, target: /etc/pw}]}\n\
             secrets: {pw: {file: pw.txt}, token: {environment: TOKEN}, unused: {file: gone}}\n",
        ),
        ("pw.txt", "hush"),
    ]);
    let mount = |target: &str, source: &str, content: &[u8], mode: u32, uid: u32| {
        json!({"type": "config", "source": source, "digest": Digest::of(content).to_string(), "target": target, "mode": mode,
            "uid": uid, "gid": 0, "secret": true})
    };
    assert_eq!(
        spec(&loaded, "a")["mounts"],
        json!([
            mount("/etc/pw", "pw", b"hush", 0o444, 0),
            mount("/run/secrets/pw", "pw", b"hush", 0o444, 0),
            mount("/run/secrets/t", "token", b"t", 0o400, 5),
        ])
    );
    assert!(loaded.watched.iter().any(|path| path.ends_with("pw.txt")));
    assert_eq!(loaded.desired.secrets.len(), 2);
    let shown = format!("{:?} {}", loaded.desired, serde_json::to_string(&loaded.desired.clone().without_secrets()).unwrap());
    assert!(!shown.contains("hush") && !shown.contains("aHVzaA"), "{shown}");
}

/// One file may be several secrets, and a config as well.
#[test]
fn secrets_may_share_a_file() {
    let loaded = load_files(&[
        (
            "compose.yaml",
            "services: {a: {image: a, secrets: [x], configs: [c]}, b: {image: b, secrets: [y]}}\n\
             secrets: {x: {file: pw}, y: {file: pw}}\nconfigs: {c: {file: pw}}\n",
        ),
        ("pw", "hush"),
    ]);
    let contents: Vec<&[u8]> = loaded.desired.secrets.values().map(|secret| secret.content.as_slice()).collect();
    assert_eq!(contents, [b"hush", b"hush"]);
    assert_eq!(spec(&loaded, "b")["mounts"][0]["digest"], Digest::of(b"hush").to_string());
}

#[test]
fn a_secret_is_a_manifest_too() {
    let loaded = load_files(&[
        (
            "a.yaml",
            "apiVersion: setpoint/v1\nkind: Secret\nmetadata: {name: pw}\nspec: {file: pw.txt}\n---\n\
             apiVersion: setpoint/v1\nkind: Config\nmetadata: {name: c}\nspec: {environment: TOKEN}\n---\n\
             apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec: {image: a, secrets: [pw], configs: [c]}\n",
        ),
        ("pw.txt", "hush"),
    ]);
    assert_eq!(loaded.desired.secrets["pw"].content, b"hush");
    assert_eq!(loaded.desired.configs["c"].content, b"t");
}

#[test]
fn what_has_no_effect_is_said() {
    let loaded = load_files(&[(
        "compose.yaml",
        "services:\n  a:\n    image: a\n    attach: false\n    ports: [{target: 80, mode: host}]\n\
         \x20   deploy: {replicas: 1, mode: replicated, placement: {constraints: [x]}, restart_policy: {condition: on-failure, max_attempts: 3}}\n",
    )]);
    let said: Vec<&str> = loaded.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(said, ["`attach` is without effect", "`placement` is without effect", "`mode` is without effect"]);
    assert_eq!(spec(&loaded, "a")["restart"], "on-failure:3");
}

#[test]
fn errors_of_projects() {
    let compose = |text: &str| ("compose.yaml", text.to_owned());
    let other = ("other.yaml", "services: {b: {image: b, extends: a}, a: {image: a, extends: b}, c: {image: }}\n".to_owned());
    let mut all = String::new();
    for files in [
        vec![compose("services: {a: {extends: b}}\n")],
        vec![compose("services: {a: {image: a, extends: a}}\n")],
        vec![compose("services: {a: {extends: {service: b, file: other.yaml}}}\n"), other.clone()],
        vec![compose("services: {a: {extends: {service: x, file: other.yaml}}}\n"), other.clone()],
        vec![compose("services: {a: {extends: {service: x, file: gone.yaml}}}\n")],
        vec![compose("services: {a: {extends: {file: other.yaml}}}\n"), other.clone()],
        vec![compose("services: {a: {extends: {service: x, flie: other.yaml}}}\n"), other],
        vec![compose("include: [gone.yaml]\nservices: {}\n")],
        vec![compose("include: [compose.yaml]\nservices: {}\n")],
        vec![compose("include: [{path: o.yaml, env_file: gone.env}]\nservices: {}\n"), ("o.yaml", "services: {}\n".to_owned())],
        vec![compose("include: [o.yaml]\nservices: {a: {image: a}}\n"), ("o.yaml", "services: {a: {image: b}}\n".to_owned())],
        vec![compose("services: {a: {image: a, depends_on: [b]}, b: {image: b, profiles: [p]}}\n")],
        vec![compose("services: {a: {image: a, scale: 2, deploy: {replicas: 3, restart_policy: {max_attempts: 2}}}}\n")],
        vec![compose("services: {a: {image: a, secrets: [x, y]}}\nsecrets: {y: {file: gone}, z: {environment: NOT_SET}}\n")],
        vec![compose("services: {a: {image: a}}\nsecrets: {x: {content: c}, y: {file: a, environment: b}, z: {}}\n")],
        vec![("a.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: !reset {}\n".to_owned())],
        vec![compose("services: {a: {image: a}}\n"), ("compose.override.yaml", String::new())],
    ] {
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        all.push_str(files[0].1.lines().next().unwrap_or_default());
        all.push('\n');
        for error in errors_of(&files) {
            all.push_str(&format!("    {error}\n"));
        }
    }
    insta::assert_snapshot!(all);
}
