//! What is printed and loaded again is the same.

use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::super::print::{self, Origins, Printed};
use super::*;
use crate::model::spec::*;
use crate::model::{ByteSize, Span};

/// Writes manifests into a folder and loads them, with no name but their own.
fn load_printed(all: &[Printed], dir: &Path, variables: &[(&str, &str)]) -> Loaded {
    for printed in all {
        std::fs::write(dir.join(&printed.file), &printed.text).unwrap();
    }
    let fingerprint = |source: Source<'_>| -> Result<Found, Box<dyn std::error::Error + Send + Sync>> {
        match source {
            Source::Path(path) => Ok(Digest::of(&std::fs::read(path)?).into()),
            Source::Build(_) => Ok(Digest::of(b"context").into()),
        }
    };
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let options = LoadOptions { stack: None, environment, over: vec![], scale: BTreeMap::new(), fingerprint: &fingerprint };
    let text = print::join(all);
    load(dir, &options).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

const WHOLE: &str = r#"
name: shop
services:
  web:
    image: nginx:1.27
    build: {context: ./app, args: {A: "$$1", SOURCE_DATE_EPOCH: 5}, target: t, network: host, cache_from: [a/b, "type=local,src=c,tag=x"],
      cache_to: ["type=registry,ref=a/b,mode=max,compression=zstd,compression-level=3", type=inline], secrets: [{id: s, file: pw}],
      additional_contexts: {one: ./app, two: "docker-image://a:1", three: "oci-layout://app:x"}, tags: ["a:2"], platforms: [linux/amd64],
      provenance: "mode=min,builder-id=x", sbom: true, labels: {l: m}, extra_hosts: {a: 10.0.0.1}, ulimits: {nofile: 5}, shm_size: 1m,
      ssh: ["default=/run/agent"], dockerfile: ../other/Dockerfile, no_cache_filter: x, entitlements: [security.insecure]}
    scale: 2
    ports: ["8080-8089:80", "127.0.0.1::90/udp"]
    environment: {A: "a $$b", B: "", C: "yes", D: "0755", E: "x: y #z", F: "a\nb\n"}
    command: [sh, -c, "echo $$HOME; exit 1"]
    entrypoint: []
    volumes: ["data:/d", "./app:/e:ro", "/x", {type: bind, source: "/h:i", target: /j, bind: {create_host_path: false, propagation: shared}},
      {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: "1777"}}, {type: volume, source: mine, target: /m, volume: {nocopy: true, subpath: ./a/b}}]
    tmpfs: ["/u:uid=5,noexec"]
    configs: [conf, {source: file, target: /etc/f, mode: "0400", uid: "5"}]
    secrets: [pw, {source: token, target: t}, their]
    depends_on: {db: {condition: service_healthy, restart: true}, gone: {required: false}, tool: {required: false}, shop/db: {condition: service_healthy, restart: true, required: false}}
    networks: {front: {aliases: [w], gw_priority: 5, interface_name: wan0}, default: }
    links: ["db:store"]
  db:
    image: db:1
    pull_policy: daily
    container_name: the-db
    healthcheck: {test: "true", interval: 5s, x-setpoint: {startup: {tcp: 80}}}
    restart: on-failure:3
    networks: {other: , front: {ipv6_address: "fd00:9::77"}, six: }
    labels: [a=b]
  tool: {image: "nginx:1.27", profiles: [debug], network_mode: "service:db", pid: "service:db", volumes_from: [db, "container:far:ro"], depends_on: [db]}
  plain: {image: plain}
networks: {front: {ipam: {config: [{subnet: 10.9.0.0/24, gateway: 10.9.0.9, ip_range: 10.9.0.128/25, aux_addresses: {a: 10.9.0.130}}, {subnet: "fd00:9::/64", gateway: "fd00:9::9", ip_range: "fd00:9::100/120", aux_addresses: {a: "fd00:9::130"}}]}, enable_ipv6: true, internal: true, labels: {x: y},
  driver_opts: {com.docker.network.driver.mtu: 1400, com.docker.network.bridge.enable_icc: "false", com.docker.network.bridge.host_binding_ipv4: 127.0.0.1}}, six: {enable_ipv6: true, enable_ipv4: false}, other: {external: true}, far: {external: true, name: f}}
volumes: {data: , mine: {external: true, name: my}, kept: {name: k, labels: {a: b}}}
configs: {conf: {content: "a $$b\n c\n"}, file: {file: ./pw}, var: {environment: TOKEN}, theirs: {external: true, name: shop/conf}}
secrets: {pw: {file: pw}, token: {environment: TOKEN}, their: {external: {name: shop/pw}}}
"#;

/// Another folder beside the one with the files, so that paths are of all kinds.
#[test]
fn whole_stacks_are_printed() {
    let files = [("in/compose.yaml", WHOLE), ("in/pw", "hush"), ("in/app/index.json", "{}"), ("in/other/Dockerfile", "FROM a\n")];
    let dir = folder(&files);
    let variables = [("TOKEN", "t"), ("COMPOSE_PROFILES", "*")];
    let loaded = load_in(&dir.path().join("in/compose.yaml"), &variables);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{errors}"));
    for base in [None, Some(dir.path())] {
        let out = if base.is_some() { dir.path().to_owned() } else { dir.path().join("out") };
        std::fs::create_dir_all(&out).unwrap();
        let all = print::print(&loaded.desired, &loaded.origins, base).unwrap();
        let again = load_printed(&all, &out, &variables);
        assert_eq!(again.desired, loaded.desired, "{}", print::join(&all));
        assert_eq!(again.origins, loaded.origins);
        assert!(again.warnings.is_empty(), "{:?}", again.warnings);
        let text = print::join(&all);
        assert!(!text.contains("hush"), "{text}");
        assert_eq!(text.contains("./in/app"), base.is_some(), "{text}");
    }
    // Without its profiles it is what the compose file is without them.
    let all = print::print(&loaded.desired, &loaded.origins, None).unwrap();
    let again = load_printed(&all, &dir.path().join("out"), &[("TOKEN", "t")]);
    let few = load_in(&dir.path().join("in/compose.yaml"), &[("TOKEN", "t")]).unwrap();
    assert_eq!(again.desired.containers, few.desired.containers);
}

#[test]
fn images_are_printed() {
    let yaml = "apiVersion: setpoint/v1\nkind: Stack\nmetadata: {name: s}\n---\n\
        apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: a}\nspec: {reference: \"a/b\", pull: {policy: always, platform: linux/arm64, tag_policy: {semver: ~1.27}, keep_blobs: false}}\n---\n\
        apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: l}\nspec: {load: {archive: ./r.tar, reference: \"x:1\"}, push: {to: [\"r.local/x:1\"]}}\n---\n\
        apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: c}\nspec: {commit: {container: job, changes: [\"CMD [\\\"x\\\"]\"], author: me}}\n---\n\
        apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: i}\nspec: {import: {source: r.tar, command: [a], environment: {A: b}, user: \"0\"}}\n---\n\
        apiVersion: setpoint/v1\nkind: Image\nmetadata: {name: v}\nspec:\n  pull: {}\n  verify:\n    keys:\n    - |\n      -----BEGIN PUBLIC KEY-----\n      MFkw\n      -----END PUBLIC KEY-----\n---\n\
        apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: job}\nspec: {image: app}\n";
    let dir = folder(&[("a.yaml", yaml), ("r.tar", "tar"), ("out/x", "")]);
    let loaded = load_in(&dir.path().join("a.yaml"), &[]).unwrap_or_else(|errors| panic!("{errors}"));
    let all = print::print(&loaded.desired, &loaded.origins, None).unwrap();
    let again = load_printed(&all, &dir.path().join("out"), &[]);
    assert_eq!(again.desired, loaded.desired, "{}", print::join(&all));
}

fn word() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9]{0,6}"
}

/// Anything that a value may be, among it what YAML and variables take for something else.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("no".to_owned()),
        Just("1e3".to_owned()),
        Just("$HOME ${X:-y} $$".to_owned()),
        Just("a: b # c".to_owned()),
        Just("line\n  two\n".to_owned()),
        "[^\\x00]{0,12}",
        word(),
    ]
}

fn words() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..4)
}

fn span() -> impl Strategy<Value = Span> {
    (1u64..100_000_000).prop_map(|micros| Span(std::time::Duration::from_micros(micros)))
}

fn size() -> impl Strategy<Value = ByteSize> {
    prop_oneof![(6u64 << 20..1 << 40), (6u64..4000).prop_map(|m| m << 20)].prop_map(ByteSize)
}

fn probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        Just(Probe::Http("http://localhost:8080/x".parse().unwrap())),
        Just(Probe::Tcp("5432".parse().unwrap())),
        text().prop_map(Probe::Shell),
        vec(text(), 1..3).prop_map(Probe::Command),
    ]
}

fn healthcheck() -> impl Strategy<Value = Healthcheck> {
    let startup = (probe(), span(), span(), 1u32..9).prop_map(|(test, interval, timeout, retries)| Startup {
        test,
        interval,
        timeout,
        retries,
    });
    let of_test = prop_oneof![probe(), Just(Probe::None)];
    (of_test, span(), span(), 1u32..9, span(), any::<bool>(), option::of(startup)).prop_map(
        |(test, interval, start_period, retries, start_interval, restart, startup)| Healthcheck {
            interval,
            start_period,
            retries,
            start_interval,
            on_unhealthy: if restart { OnUnhealthy::Restart } else { OnUnhealthy::None },
            startup,
            ..Healthcheck::new(test)
        },
    )
}

fn hook() -> impl Strategy<Value = Hook> {
    let environment = btree_map(word(), text(), 0..2);
    (vec(text(), 1..3), option::of(word()), any::<bool>(), option::of(Just("/w".to_owned())), environment).prop_map(
        |(command, user, privileged, working_dir, environment)| Hook { command, user, privileged, working_dir, environment },
    )
}

fn on_change(number: u32) -> OnChange {
    ["recreate", "restart", "nothing", "SIGHUP"][number as usize % 4].parse().unwrap()
}

fn mount() -> impl Strategy<Value = Mount> {
    let options = prop_oneof![Just(vec![]), Just(vec!["noexec".to_owned(), "rshared".to_owned()])];
    let digest = Digest::of(b"content");
    (0u8..5, "/[a-d:]{1,2}(/[a-d]{1,2})?", any::<[bool; 2]>(), options, option::of(size()), 0u32..0o7777).prop_map(
        move |(kind, target, [read_only, other], options, size, mode)| match kind {
            0 => Mount::Volume {
                source: "s-data".parse().unwrap(),
                target,
                read_only,
                nocopy: other,
                options,
                subpath: (mode % 3 == 0).then(|| "a/b c".to_owned()),
            },
            1 => Mount::Anonymous { target, read_only, nocopy: other },
            2 => {
                // What is not there has the digest of nothing.
                let on_change = on_change(mode);
                let watched = (mode % 5 > 2).then_some(Watched { digest: Digest::of(b""), on_change });
                let source = format!("/no/such/host{}", mode % 3).into();
                Mount::Bind { source, target, read_only, create_host_path: other, options, watched }
            }
            3 => Mount::Tmpfs {
                target,
                size,
                mode: other.then_some(mode),
                options: if read_only { vec!["uid=5".to_owned(), "noexec".to_owned()] } else { vec![] },
            },
            _ => {
                let source = "conf".parse().unwrap();
                Mount::Config {
                    source,
                    digest,
                    target,
                    mode,
                    uid: mode % 2,
                    gid: mode % 3,
                    secret: false,
                    on_change: on_change(mode),
                }
            }
        },
    )
}

prop_compose! {
    fn limits()(
        memory in option::of(size()), cpus in option::of(1u32..64_000), pids in option::of(0u32..9999), shares in option::of(2u64..262_144),
        quota in option::of(1000u64..90_000), weight in option::of(10u16..1000), rates in vec(1u64..1 << 40, 0..2), kill in any::<bool>(),
        swap in any::<bool>(), cpuset in option::of(Just("0-3,7")),
    ) -> ResourceLimits {
        let rates: Vec<DeviceRate> = rates.into_iter().map(|rate| DeviceRate { path: "/dev/sda".into(), rate }).collect();
        ResourceLimits {
            memory,
            cpus: cpus.filter(|_| quota.is_none()).and_then(|millis| format!("{}", f64::from(millis.max(10)) / 1000.0).parse().ok()),
            pids,
            memory_reservation: memory.map(|memory| ByteSize(memory.0 / 2)),
            memory_swap: swap.then_some(SwapLimit::Unlimited),
            oom_kill_disable: kill,
            cpu_quota: quota,
            cpu_period: quota.map(|_| 50_000),
            cpu_shares: shares,
            cpuset_cpus: cpuset.map(|text| text.parse().unwrap()),
            cpuset_mems: cpuset.map(|_| "0".parse().unwrap()),
            blkio_weight: weight,
            blkio_weight_device: weight.map(|weight| DeviceWeight { path: "/dev/sda".into(), weight }).into_iter().collect(),
            device_read_bps: rates.clone(),
            device_write_bps: vec![],
            device_read_iops: rates,
            device_write_iops: vec![],
        }
    }
}

prop_compose! {
    fn security()(
        privileges in option::of(any::<bool>()), seccomp in 0u8..3, apparmor in option::of(word()), label in vec(word(), 0..2),
        paths in any::<bool>(), sockets in any::<bool>(),
    ) -> Security {
        Security {
            no_new_privileges: privileges,
            seccomp: match seccomp {
                0 => Seccomp::Default,
                1 => Seccomp::Unconfined,
                _ => Seccomp::Profile("{\"defaultAction\": \"SCMP_ACT_ALLOW\", \"x\": \"$a\"}".into()),
            },
            apparmor,
            label,
            unconfined_paths: paths,
            unconfined_sockets: sockets,
        }
    }
}

/// What it is made of, and what it does.
fn base() -> impl Strategy<Value = ContainerSpec> {
    let first = (
        option::of(words()),
        option::of(words()),
        btree_map(word(), text(), 0..4),
        btree_map("[a-z. $:]{1,6}", text(), 0..3),
        option::of(word()),
        any::<[bool; 8]>(),
        vec(mount(), 0..6),
        option::of(healthcheck()),
    );
    let second =
        (vec(hook(), 0..2), vec(hook(), 0..2), limits(), security(), span(), 0u8..6, any::<i16>(), btree_set(word(), 0..3));
    (first, second).prop_map(|(first, second)| {
        let (entrypoint, command, environment, labels, user, flags, mounts, healthcheck) = first;
        let (post_start, pre_stop, limits, security_opt, grace, choice, score, groups) = second;
        let mut spec = ContainerSpec::new("app:1".parse().unwrap());
        (spec.entrypoint, spec.command, spec.environment, spec.user) = (entrypoint, command, environment, user);
        spec.annotations = labels.clone();
        spec.labels = labels;
        [spec.tty, spec.stdin_open, spec.stdin_once, spec.read_only, spec.init, spec.privileged] =
            [flags[0], flags[1], flags[2], flags[3], flags[4], flags[5]];
        let mut targets = BTreeSet::new();
        spec.mounts = mounts.into_iter().filter(|mount| targets.insert(mount.target().to_owned())).collect();
        spec.mounts.sort_by_key(|mount| (mount.target().matches('/').count(), mount.target().to_owned()));
        spec.healthcheck = healthcheck;
        (spec.post_start, spec.pre_stop, spec.limits, spec.security_opt) = (post_start, pre_stop, limits, security_opt);
        spec.stop_grace_period = grace;
        spec.group_add = groups;
        spec.oom_score_adj = flags[6].then_some(score.clamp(-1000, 1000));
        spec.restart =
            ["no", "always", "unless-stopped", "on-failure", "on-failure:2", "no"][usize::from(choice)].parse().unwrap();
        spec.stop_signal = flags[7].then(|| "SIGINT".parse().unwrap());
        spec.working_dir = (choice == 1).then(|| "/srv".to_owned());
        spec.shm_size = (choice == 2).then_some(ByteSize(5 << 20));
        spec.cap_add = if choice == 3 { ["CAP_NET_ADMIN".to_owned()].into() } else { BTreeSet::new() };
        spec.cap_drop = if choice == 4 { ["ALL".to_owned()].into() } else { BTreeSet::new() };
        if choice == 5 {
            spec.devices = vec!["/dev/fuse:/dev/f:rw".parse().unwrap()];
            spec.device_cgroup_rules = vec!["c 1:* r".parse().unwrap()];
            spec.ulimits = BTreeMap::from([
                ("nofile".to_owned(), Ulimit { soft: 1, hard: u64::MAX }),
                ("core".to_owned(), Ulimit { soft: u64::MAX, hard: u64::MAX }),
            ]);
            spec.sysctls = BTreeMap::from([("net.core.somaxconn".to_owned(), "5".to_owned())]);
            spec.cgroup_parent = "/batch".parse().ok();
        }
        spec
    })
}

/// How it reaches others.
fn reach(mut spec: ContainerSpec, choice: u8, flags: [bool; 8], aliases: BTreeSet<String>) -> ContainerSpec {
    spec.depends_on = match choice % 3 {
        0 => BTreeMap::new(),
        1 => BTreeMap::from([("b".parse().unwrap(), Dependency::default())]),
        _ => BTreeMap::from([("b".parse().unwrap(), Dependency { condition: Condition::ServiceStarted, restart: flags[0] })]),
    };
    if flags[5] {
        let beyond = Beyond { condition: Condition::ServiceHealthy, restart: flags[0], optional: flags[6] };
        spec.depends_beyond = BTreeMap::from([("far/db".parse().unwrap(), beyond)]);
    }
    match choice % 5 {
        0 => spec.network_mode = NetworkMode::Host,
        1 => spec.network_mode = NetworkMode::None,
        2 => {
            // Who shares with a container of the stack depends on it.
            spec.network_mode = NetworkMode::Container("s-b".into());
            spec.ipc = IpcMode::Container("far".into());
            spec.shm_size = None;
            spec.volumes_from = vec![VolumesFrom { container: "s-b".into(), read_only: flags[1] }];
            spec.depends_on.entry("b".parse().unwrap()).or_default();
        }
        _ => {
            spec.networks.insert("s-default".parse().unwrap(), Attachment { aliases: aliases.clone(), ..Attachment::default() });
            if flags[2] {
                let ipv4_address = "10.9.0.7".parse().ok();
                let ipv6_address = "fd00:9::7".parse().ok().filter(|_| flags[3]);
                spec.networks.insert(
                    "s-front".parse().unwrap(),
                    Attachment { aliases, ipv4_address, ipv6_address, gw_priority: -1, interface_name: "wan0".parse().ok() },
                );
            }
            spec.ports = ["8080:80", "127.0.0.1:53:53/udp", "[::1]:53:53/udp", "90"]
                .iter()
                .filter(|_| flags[3])
                .map(|p| p.parse().unwrap())
                .collect();
            spec.expose = ["80/tcp", "53/udp"].iter().filter(|_| flags[4]).map(|p| p.parse().unwrap()).collect();
            spec.publish_all = flags[5];
            spec.mac_address = flags[6].then(|| "02:42:ac:11:00:02".parse().unwrap());
            spec.hostname = flags[7].then(|| "box".to_owned());
            spec.domainname = flags[7].then(|| "example.org".to_owned());
            spec.dns = if flags[0] { vec!["1.1.1.1".parse().unwrap(), "fd00::1".parse().unwrap()] } else { vec![] };
            spec.update_after = flags[1].then(|| "b".parse().unwrap());
            spec.rollback_after = flags[2].then(|| "b".parse().unwrap());
            let update = |seed: u8, actions: [FailureAction; 2]| Update {
                order: if seed % 2 == 1 && !flags[2] && !flags[6] { Order::StartFirst } else { Order::StopFirst },
                delay: Span::seconds(u64::from(seed % 3)),
                monitor: Span::seconds(u64::from(seed % 4)),
                failure_action: actions[usize::from(seed / 8 % 2)],
                max_failure_ratio: if flags[5] { "0.25".parse().unwrap() } else { Ratio::default() },
                group: flags[4].then(|| "b".parse().unwrap()),
            };
            spec.update_config = update(choice, [FailureAction::Rollback, FailureAction::Pause]);
            spec.rollback_config = flags[3].then(|| update(choice / 2, [FailureAction::Pause, FailureAction::Continue]));
            spec.external_links = if flags[0] { BTreeMap::from([("x".to_owned(), "far".to_owned())]) } else { BTreeMap::new() };
            spec.dns_search = if flags[1] { vec![".".to_owned()] } else { vec![] };
            spec.extra_hosts =
                BTreeMap::from([("h".to_owned(), "host-gateway".parse().unwrap()), ("i".to_owned(), "fd00::2".parse().unwrap())]);
            spec.userns = if spec.privileged { UsersMode::Host } else { UsersMode::Own { size: 65_536 } };
        }
    }
    spec
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_container_is_printed(
        spec in base(), choice in any::<u8>(), flags in any::<[bool; 8]>(), aliases in btree_set("[a-z]{1,4}", 0..3), engine_name in option::of("[a-z]{3,6}"),
    ) {
        let stack: Name = "s".parse().unwrap();
        let mut desired = Desired::empty(stack);
        let spec = reach(spec, choice, flags, aliases);
        let placed = |name: &str, spec: ContainerSpec| {
            let engine_name = format!("s-{name}").parse().unwrap();
            (name.parse::<Name>().unwrap(), Placed { engine_name, external: false, spec })
        };
        let mut other = ContainerSpec::new("app:1".parse().unwrap());
        other.networks.insert("s-default".parse().unwrap(), Attachment::default());
        let (name, mut placed_a) = placed("a", spec);
        if let Some(engine_name) = engine_name {
            placed_a.engine_name = engine_name.parse().unwrap();
        }
        desired.containers.insert(name, placed_a);
        desired.containers.extend([placed("b", other)]);
        let image = ImageSpec::new("app:1".parse().unwrap(), ImageSource::Pull(Pull::default()));
        desired.images.insert("app-1".parse().unwrap(), image);
        let network = |name: &str, subnet: Option<&str>| {
            let ipv6 = subnet.map(|_| Ipv6Spec { subnet: "fd00:9::/64".parse().ok(), ..Ipv6Spec::default() });
            let driver_opts = BridgeOptions { unmasqueraded: flags[0] && subnet.is_some(), ..BridgeOptions::default() };
            let subnet = subnet.map(|text| text.parse().unwrap());
            let spec = NetworkSpec { subnet, ipv6, driver_opts, ..NetworkSpec::default() };
            (name.parse::<Name>().unwrap(), Placed { engine_name: format!("s-{name}").parse().unwrap(), external: false, spec })
        };
        desired.networks.extend([network("default", None), network("front", Some("10.9.0.0/24"))]);
        let data = Placed { engine_name: "s-data".parse().unwrap(), external: false, spec: VolumeSpec::default() };
        desired.volumes.insert("data".parse().unwrap(), data);
        desired.configs.insert("conf".parse().unwrap(), ConfigSpec { content: b"content".to_vec(), external: None });

        let all = print::print(&desired, &Origins::default(), None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let again = load_printed(&all, dir.path(), &[]);
        prop_assert_eq!(&again.desired, &desired, "{}", print::join(&all));
        prop_assert!(again.warnings.is_empty(), "{:?}", again.warnings);
    }
}
