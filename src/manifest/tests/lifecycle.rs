//! How many there are of a container, what is run in it, and what it follows.

use super::*;
use crate::model::Span;
use crate::model::spec::{ContainerSpec, FailureAction, Hook, Ipv6Spec, Order, Update};

fn compose(text: &str) -> Loaded {
    load_files(&[("compose.yaml", text)])
}

#[test]
fn replicas_are_containers_of_their_own() {
    let loaded = compose(
        "services:\n\
         \x20 web: {image: web, deploy: {replicas: 3}, ports: [\"8080-8083:80\", 90], depends_on: [db], links: [\"db:store\"]}\n\
         \x20 db: {image: db, scale: \"2\", networks: [n, default]}\n\
         \x20 log: {image: log, depends_on: {web: {condition: service_healthy, restart: true}}}\n\
         \x20 none: {image: n, scale: 0}\n\
         \x20 late: {image: l, depends_on: [none]}\n\
         networks: {n: }\n",
    );
    let containers = &loaded.desired.containers;
    let names: Vec<&str> = containers.keys().map(Name::as_str).collect();
    assert_eq!(names, ["db", "db-2", "late", "log", "web", "web-2", "web-3"]);
    let ports = |name: &str| containers[name].spec.ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    assert_eq!([ports("web"), ports("web-2"), ports("web-3")], ["90 8080:80", "90 8081:80", "90 8082:80"]);
    assert_eq!(containers["web-2"].engine_name.as_str(), "s-web-2");
    let aliases = |name: &str, network: &str| {
        let attachment = &containers[name].spec.networks[network];
        attachment.aliases.iter().cloned().collect::<Vec<_>>().join(" ")
    };
    assert_eq!([aliases("web", "s-default"), aliases("web-3", "s-default")], ["", "web"]);
    assert_eq!([aliases("db", "s-n"), aliases("db-2", "s-n"), aliases("db-2", "s-default")], ["store", "db store", "db store"]);
    for (name, needs) in [("web-2", "db db-2"), ("log", "web web-2 web-3"), ("late", "")] {
        let found: Vec<&str> = containers[name].spec.depends_on.keys().map(Name::as_str).collect();
        assert_eq!(found.join(" "), needs);
    }
    assert!(containers["log"].spec.depends_on.values().all(|dependency| dependency.restart));
}

#[test]
fn a_range_of_ports_is_of_one_port_too() {
    let loaded = compose("services: {a: {image: a, ports: [{target: 80, published: \"8080-8090\", host_ip: 127.0.0.1}]}}\n");
    let ports: Vec<String> = loaded.desired.containers["a"].spec.ports.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["127.0.0.1:8080:80"]);
}

#[test]
fn scale_is_above_the_files() {
    let dir = folder(&[("compose.yaml", "services: {a: {image: a, scale: 3}, b: {image: b}}\n")]);
    let count = |scale: &[(&str, u32)]| {
        let scale = scale.iter().map(|(name, count)| (name.parse().unwrap(), *count)).collect();
        let fingerprint = |_: Source<'_>| Ok(Digest::of(b"").into());
        let options = LoadOptions { stack: None, environment: BTreeMap::new(), over: vec![], scale, fingerprint: &fingerprint };
        load(dir.path(), &options).map(|loaded| loaded.desired.containers.len()).map_err(|errors| errors.to_string())
    };
    assert_eq!(count(&[]).unwrap(), 4);
    assert_eq!(count(&[("a", 1), ("b", 5)]).unwrap(), 6);
    assert!(count(&[("c", 1)]).unwrap_err().contains("there is no container `c` to scale"));
}

#[test]
fn hooks_in_their_forms() {
    let loaded = compose(
        "services:\n  a:\n    image: a\n\
         \x20   post_start: [{command: echo 'a b', user: 0, privileged: true, working_dir: /srv, environment: [A=1]}, {command: [b]}]\n\
         \x20   pre_stop: [{command: bye}]\n    stdin_once: true\n    isolation: default\n    runtime: runc\n",
    );
    let spec = &loaded.desired.containers["a"].spec;
    let first = Hook {
        command: vec!["echo".into(), "a b".into()],
        user: Some("0".into()),
        privileged: true,
        working_dir: Some("/srv".into()),
        environment: BTreeMap::from([("A".into(), "1".into())]),
    };
    let plain = |word: &str| Hook { command: vec![word.into()], ..Hook::default() };
    assert_eq!(spec.post_start, [first, plain("b")]);
    assert_eq!(spec.pre_stop, [plain("bye")]);
    assert!(spec.stdin_once);
    assert_eq!(loaded.warnings[0].message, "`runtime` is without effect");
}

#[test]
fn raw_files_of_variables_are_taken_as_they_stand() {
    let loaded = load_files(&[
        ("compose.yaml", "services: {a: {image: a, env_file: [{path: raw.env, format: raw}]}}\n"),
        ("raw.env", "# c\nA='x' # y\nB=$TOKEN${\n\nC=\n"),
    ]);
    let environment = &loaded.desired.containers["a"].spec.environment;
    let shown: Vec<String> = environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["A='x' # y", "B=$TOKEN${", "C="]);
    let wrong = [("compose.yaml", "services: {a: {image: a, env_file: {path: e, format: raw}}}\n"), ("e", "A\n")];
    let found = errors_of(&[(wrong[0].0, &wrong[0].1.replace("{path: e, format: raw}", "[{path: e, format: raw}]")), wrong[1]]);
    assert_eq!(found, ["e:1:1 expected NAME=value"]);
}

#[test]
fn what_several_include_is_there_once() {
    let loaded = load_files(&[
        ("compose.yaml", "include: [one/compose.yaml, two/compose.yaml]\nservices: {}\n"),
        ("one/compose.yaml", "include: [../base/compose.yaml]\nservices: {a: {image: a, depends_on: [base]}}\n"),
        ("two/compose.yaml", "include: [../base/compose.yaml]\nservices: {b: {image: b, depends_on: [base]}}\n"),
        ("base/compose.yaml", "services: {base: {image: base}}\nvolumes: {v: }\n"),
    ]);
    assert_eq!(loaded.desired.containers.len(), 3);
}

#[test]
fn old_forms_are_read() {
    let loaded = compose(
        "services:\n  a:\n    image: a\n    environment: [A=1, A=2]\n    privileged: \"true\"\n\
         \x20   healthcheck: {test: x, retries: \"5\"}\n    networks: [n]\n    volumes: [\"v:/v\"]\n\
         networks: {n: {external: {name: other}, }}\nvolumes: {v: {external: {name: kept}}}\n",
    );
    let desired = &loaded.desired;
    let spec = &desired.containers["a"].spec;
    assert_eq!((spec.environment["A"].as_str(), spec.privileged), ("2", true));
    assert_eq!(spec.healthcheck.as_ref().unwrap().retries, 5);
    assert!(desired.networks["n"].external && desired.networks["n"].engine_name.as_str() == "other");
    assert_eq!(desired.volumes["v"].engine_name.as_str(), "kept");
    assert_eq!(loaded.warnings[0].message, "`A` is given twice");
}

#[test]
fn errors_of_lives() {
    let mut all = String::new();
    for text in [
        "services: {a: {image: a, scale: 2, ports: [\"80:80\"], container_name: x, mac_address: \"02:42:ac:11:00:02\"}}",
        "services: {a: {image: a, scale: 3, ports: [\"8080-8081:80\"]}}",
        "services: {a: {image: a, scale: 2000}, b: {image: b, scale: -1}}",
        "services: {a: {image: a, deploy: {mode: global, replicas: 2}}}",
        "services: {a: {image: a, scale: 2}, a-2: {image: b}}",
        "services: {a: {image: a, scale: 2, networks: {n: {ipv4_address: 10.1.0.5}}}}\nnetworks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}",
        "services: {a: {image: a, ports: [\"8080-8081:80\", \"8080:90\", \"8081:91\"]}}",
        "services: {a: {image: a, post_start: [{user: x}, {command: []}, {command: x, working_dir: y, uesr: z}]}}",
        "services: {a: {image: a, runtime: io.containerd.wasmedge.v1, isolation: hyperv}}",
        "services: {a: {image: a, provider: {type: x}, models: [m], gpus: all}}\nmodels: {m: {}}",
        "services: {}\nnetworks: {n: {enable_ipv6: true, enable_ipv4: false, driver: overlay, driver_opts: {a: b, com.docker.network.driver.mtu: 1000}}}",
        "services: {a: {image: a, networks: {n: {interface_name: e0}, m: {interface_name: e0}, l: {interface_name: \"a/b\"}}}}\nnetworks: {n: , m: , l: }",
        "services: {}\nvolumes: {v: {driver: nfs}, w: {external: {name: a}, name: b}}",
        "services: {}\nconfigs: {c: {external: true}, d: {content: x, external: false, name: n}}\nsecrets: {s: {external: true, name: n}}",
        "services: {}\nconfigs: {c: {external: true, name: s/x}, d: {external: {name: a/b}, content: x}, e: {external: {nam: a/b}}}",
    ] {
        all.push_str(text);
        all.push('\n');
        for error in errors_of(&[("compose.yaml", text)]) {
            all.push_str(&format!("    {error}\n"));
        }
    }
    insta::assert_snapshot!(all);
}

#[test]
fn what_is_done_before_a_start_is_containers_that_complete() {
    let loaded = compose(
        "services:\n\
         \x20 app:\n    image: app\n    scale: 2\n    restart: always\n    ports: [80]\n    environment: {A: \"1\"}\n    volumes: [\"data:/d\"]\n\
         \x20   user: u\n    entrypoint: [e]\n    depends_on: {db: {condition: service_healthy}}\n\
         \x20   pre_start: [{command: [migrate], environment: {B: \"2\"}}, {image: busybox, command: chown 1000 /d, user: root}]\n\
         \x20 db: {image: db, healthcheck: {test: x}}\nvolumes: {data: }\n",
    );
    let containers = &loaded.desired.containers;
    let names: Vec<&str> = containers.keys().map(Name::as_str).collect();
    assert_eq!(names, ["app", "app-2", "app-pre-start-1", "app-pre-start-2", "db"]);
    let needs = |name: &str| containers[name].spec.depends_on.keys().map(Name::as_str).collect::<Vec<_>>().join(" ");
    assert_eq!(needs("app-2"), "app-pre-start-2 db");
    assert_eq!([needs("app-pre-start-1"), needs("app-pre-start-2")], ["db", "app-pre-start-1 db"]);
    let (one, two) = (&containers["app-pre-start-1"].spec, &containers["app-pre-start-2"].spec);
    assert_eq!((one.image.to_string(), two.image.to_string()), ("app:latest".into(), "busybox:latest".into()));
    assert_eq!((one.user.as_deref(), one.environment.len(), one.mounts.len()), (Some("u"), 2, 1));
    assert_eq!((two.user.as_deref(), &two.entrypoint, one.ports.len()), (Some("root"), &None, 0));
    assert_eq!(one.restart.to_string(), "no");
}

#[test]
fn addresses_of_networks() {
    let loaded = compose(
        "services: {a: {image: a, networks: {n: {gw_priority: 5, interface_name: wan0, mac_address: \"02:42:ac:11:00:02\", ipv4_address: 10.1.0.1}}}}\n\
         networks: {n: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.1.0.254, ip_range: 10.1.0.128/25, aux_addresses: {h: 10.1.0.130}}]}}}\n",
    );
    let spec = &loaded.desired.containers["a"].spec;
    assert_eq!(spec.networks["s-n"].gw_priority, 5);
    assert_eq!(spec.networks["s-n"].interface_name.as_ref().unwrap().as_str(), "wan0");
    assert_eq!(spec.mac_address.unwrap().to_string(), "02:42:ac:11:00:02");
    let network = &loaded.desired.networks["n"].spec;
    let first = network.pool(network.subnet.unwrap()).next().unwrap();
    assert_eq!(first.to_string(), "10.1.0.128");
    let found = errors_of(&[(
        "compose.yaml",
        "services: {a: {image: a, networks: {n: {mac_address: \"02:42:ac:11:00:02\", ipv4_address: 10.1.0.9}, m: }}}\n\
         networks:\n  n: {ipam: {config: [{subnet: 10.1.0.0/24, gateway: 10.2.0.1, ip_range: 10.0.0.0/16, aux_addresses: {a: 10.1.0.9, b: x}}]}}\n\
         \x20 m: {ipam: {config: [{gateway: 10.1.0.1}]}}\n",
    )]);
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn addresses_of_ipv6() {
    let loaded = compose(
        "services:\n\
         \x20 a: {image: a, ports: [\"0.0.0.0:1:1\", \"[::1]:2:2\", {target: 3, published: 3, host_ip: \"::\"}], dns: [\"fd00:7::53\"],\n\
         \x20   extra_hosts: [\"far:[fd00:8::1]\", \"near=fd00:8::2\"], networks: {n: {ipv6_address: \"fd00:7::9\", ipv4_address: 10.7.0.9}}}\n\
         \x20 b: {image: b, ports: [\"0.0.0.0:4:4\", \"127.0.0.1:5:5\"]}\n\
         networks:\n\
         \x20 n: {ipam: {config: [{subnet: 10.7.0.0/24}, {subnet: \"fd00:7::/64\", gateway: \"fd00:7::1\", ip_range: \"fd00:7::f0/124\"}]}}\n\
         \x20 six: {enable_ipv6: true, enable_ipv4: false}\n",
    );
    let (a, b) = (&loaded.desired.containers["a"].spec, &loaded.desired.containers["b"].spec);
    let ports = |spec: &ContainerSpec| spec.ports.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(ports(a), ["0.0.0.0:1:1", "[::]:3:3", "[::1]:2:2"]);
    assert_eq!(ports(b), ["4:4", "127.0.0.1:5:5"], "where there is no IPv6, it is what it was");
    assert_eq!(a.dns[0].to_string(), "fd00:7::53");
    let hosts: Vec<String> = a.extra_hosts.iter().map(|(name, address)| format!("{name}={address}")).collect();
    assert_eq!(hosts, ["far=fd00:8::1", "near=fd00:8::2"]);
    assert_eq!(a.networks["s-n"].ipv6_address, "fd00:7::9".parse().ok());
    let six = loaded.desired.networks["n"].spec.ipv6.as_ref().unwrap();
    assert_eq!(six.gateway, None, "it is the usual one");
    assert_eq!(six.pool(six.subnet.unwrap()).next().unwrap().to_string(), "fd00:7::f0");
    let only = &loaded.desired.networks["six"].spec;
    assert!(only.ipv6_only && only.ipv6 == Some(Ipv6Spec::default()));

    let found = errors_of(&[(
        "compose.yaml",
        "services:\n\
         \x20 a: {image: a, networks: {n: {ipv6_address: \"fd00:7::1\"}, m: {ipv6_address: \"fd00:7::9\"}, six: {ipv4_address: 10.1.0.9}}}\n\
         \x20 b: {image: b, networks: {any: {ipv6_address: \"fd00:9::9\"}, n: {ipv6_address: 10.1.0.1}}}\n\
         \x20 c: {image: c, ports: [\"1:1\", \"[::1]:1:2\", \"0.0.0.0:3:3\", \"[::]:3:4\", \"[fe80::1]:5:5\"]}\n\
         networks:\n\
         \x20 n: {enable_ipv6: true, ipam: {config: [{subnet: \"fd00:7::/64\", gateway: \"fd00:8::1\"}, {subnet: \"fd00:6::/64\"}]}}\n\
         \x20 m: {enable_ipv6: false, ipam: {config: [{subnet: \"fd00:7::/64\"}]}}\n\
         \x20 six: {enable_ipv6: true, enable_ipv4: false, ipam: {config: [{subnet: 10.1.0.0/24}]}}\n\
         \x20 any: {enable_ipv6: true}\n\
         \x20 none: {enable_ipv4: false, ipam: {config: [{subnet: \"fe80::/64\"}]}}\n",
    )]);
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn several_are_replaced_one_after_the_other() {
    let loaded = compose(
        "services: {a: {image: a, scale: 4, deploy: {update_config: {parallelism: 2, order: start-first, delay: 5s, failure_action: rollback, max_failure_ratio: 0.25}, rollback_config: {parallelism: 1, monitor: 0s}}}, b: {image: b, update_after: a}}\n",
    );
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let spec = |name: &str| &loaded.desired.containers[name].spec;
    let after = |name: &str| spec(name).update_after.as_ref().map(ToString::to_string);
    let all: Vec<_> = ["a", "a-2", "a-3", "a-4", "b"].map(after).into_iter().collect();
    assert_eq!(all, [None, None, Some("a".into()), Some("a-2".into()), Some("a".into())]);
    assert_eq!(spec("a-2").rollback_after, Some("a".parse().unwrap()));
    let update = Update {
        order: Order::StartFirst,
        delay: Span::seconds(5),
        monitor: Span::seconds(5),
        failure_action: FailureAction::Rollback,
        max_failure_ratio: "0.25".parse().unwrap(),
        group: Some("a".parse().unwrap()),
    };
    assert_eq!(spec("a-4").update_config, update);
    assert_eq!(spec("a").rollback_config, Some(Update::default()));
    assert_eq!((&spec("b").update_config, &spec("b").rollback_config), (&Update::default(), &None));
    let found = errors_of(&[(
        "compose.yaml",
        "services: {a: {image: a, update_after: b, deploy: {update_config: {parallelism: -1, order: x, max_failure_ratio: 2}, rollback_config: {failure_action: rollback}}}}\n",
    )]);
    assert_eq!(found.len(), 5, "{found:?}");
}

#[test]
fn two_that_cannot_be_there_at_once_are_refused() {
    let found = errors_of(&[(
        "compose.yaml",
        "services:\n  a: {image: a, network_mode: \"service:b\", deploy: {update_config: {order: start-first}}}\n\
         \x20 b: {image: b, networks: {n: {ipv4_address: 10.1.0.9}}, deploy: {rollback_config: {order: start-first}}}\n\
         \x20 c: {image: c, container_name: x.swap}\nnetworks: {n: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n",
    )]);
    insta::assert_snapshot!(found.join("\n"));
}

#[test]
fn a_stack_says_how_its_containers_are_replaced() {
    let manifest = |kind: &str, name: &str, spec: &str| {
        format!("---\napiVersion: setpoint/v1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n")
    };
    let text = manifest("Stack", "shop", "{update: {monitor: 9s, failure_action: rollback}}")
        + &manifest("Container", "a", "{image: a}")
        + &manifest("Container", "b", "{image: b, deploy: {update_config: {failure_action: continue, order: start-first}}}");
    let loaded = load_files(&[("all.yaml", &text)]);
    let of = |name: &str| loaded.desired.containers[name].spec.update_config.clone();
    let usual = Update { monitor: Span::seconds(9), failure_action: FailureAction::Rollback, ..Update::default() };
    assert_eq!(of("a"), usual);
    let own = Update { order: Order::StartFirst, failure_action: FailureAction::Continue, monitor: Update::MONITOR, ..usual };
    assert_eq!(of("b"), own);
}
