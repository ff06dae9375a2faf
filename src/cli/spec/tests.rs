//! Tables: a command line on one side, the spec on the other.

use clap::Parser;

use super::*;
use crate::cli::args::{Cli, Command};
use crate::model::spec::{LogDriver, Mount, OnUnhealthy, Probe, ResourceLimits};
use crate::model::{RestartPolicy, Signal};

fn around() -> Surroundings {
    let environment = [("HOME", "/root"), ("HERE", "yes")].map(|(k, v)| (k.into(), v.into()));
    Surroundings { cwd: "/srv".into(), environment: environment.into() }
}

fn parse(line: &str) -> Result<ContainerSpec, SpecError> {
    let cli = Cli::try_parse_from(["setpoint", "run"].into_iter().chain(line.split(' '))).unwrap();
    match cli.command {
        Command::Run(args) => container(&args.spec, &around()),
        other => panic!("{other:?}"),
    }
}

fn spec(line: &str) -> ContainerSpec {
    parse(line).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn strings(texts: &[&str]) -> Option<Vec<String>> {
    Some(texts.iter().map(|text| text.to_string()).collect())
}

#[test]
fn nothing_but_an_image_is_all_defaults() {
    assert_eq!(spec("nginx"), ContainerSpec::new("nginx".parse().unwrap()));
}

#[test]
fn what_follows_the_image_is_the_commands() {
    let made = spec("--rm alpine ls -l --rm --name x -- y");
    assert_eq!(made.command, strings(&["ls", "-l", "--rm", "--name", "x", "--", "y"]));
    assert_eq!(spec("alpine -l").command, strings(&["-l"]));
    assert_eq!(spec("alpine --help").command, strings(&["--help"]));
    assert_eq!(spec("-- alpine ls").command, strings(&["ls"]));
}

#[test]
fn process() {
    let made = spec("-e A=1 -e HERE -e GONE -e E= --entrypoint /init -w /w -u app:2 --hostname h -l a=b -l c alpine x");
    let variables: Vec<_> = made.environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(variables, ["A=1", "E=", "HERE=yes"]);
    assert_eq!((made.entrypoint, made.command), (strings(&["/init"]), strings(&["x"])));
    assert_eq!(
        (made.working_dir.as_deref(), made.user.as_deref(), made.hostname.as_deref()),
        (Some("/w"), Some("app:2"), Some("h"))
    );
    assert_eq!(made.labels.get("a").map(String::as_str), Some("b"));
    assert_eq!(made.labels.get("c").map(String::as_str), Some(""));
    assert_eq!(spec("--entrypoint= alpine").entrypoint, strings(&[]));
}

#[test]
fn mounts_are_in_the_order_of_mounting() {
    let made = spec("-v ./a:/x/y/z -v data:/x --tmpfs /x/y alpine");
    assert_eq!(made.mounts.iter().map(Mount::target).collect::<Vec<_>>(), ["/x", "/x/y", "/x/y/z"]);
    assert!(matches!(parse("-v a:/x -v b:/x/ alpine"), Err(SpecError::SameTarget { .. })));
    assert_eq!(spec("-v /x alpine").mounts, [Mount::Anonymous { target: "/x".into(), read_only: false, nocopy: false }]);
}

#[test]
fn network() {
    let made = spec("--network front --network back --network-alias web -p 8080:80 -p 127.0.0.1:53:53/udp alpine");
    assert_eq!(made.networks.keys().map(Name::as_str).collect::<Vec<_>>(), ["back", "front"]);
    assert!(made.networks.values().all(|a| a.aliases.contains("web")));
    assert_eq!(made.ports.len(), 2);
    assert_eq!(spec("--net none alpine").network_mode, NetworkMode::None);
    assert_eq!(spec("--net host alpine").network_mode, NetworkMode::Host);
    assert_eq!(spec("--network bridge -p 80 alpine").ports.len(), 1);
    let made = spec("--network front --ip 10.0.0.9 alpine");
    assert_eq!(made.networks.values().next().and_then(|a| a.ipv4_address), Some([10, 0, 0, 9].into()));
    for bad in ["--network none -p 80 a", "--ip 10.0.0.9 a", "--network host --network x a", "--network-alias x a", "-p 0:0 a"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn limits_and_the_rest() {
    let made = spec(
        "-m 64m --cpus 0.5 --pids-limit 10 --restart on-failure:3 --stop-signal INT --stop-timeout 3 --read-only \
         --cap-drop all --cap-add CAP_NET_ADMIN,chown --ulimit nofile=10:20 --sysctl net.a=1 --add-host db:10.0.0.2 alpine"
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
    );
    assert_eq!((made.limits.memory.map(|m| m.0), made.limits.pids), (Some(64 << 20), Some(10)));
    assert_eq!(made.limits.cpus.map(|c| c.millis()), Some(500));
    assert_eq!(made.restart, RestartPolicy::OnFailure(Some(3)));
    assert_eq!((made.stop_signal, made.stop_grace_period), ("INT".parse::<Signal>().ok(), Span::seconds(3)));
    assert!(made.read_only && made.cap_drop.contains("ALL"));
    assert_eq!(made.cap_add.iter().map(String::as_str).collect::<Vec<_>>(), ["CHOWN", "NET_ADMIN"]);
    assert_eq!(made.ulimits.get("nofile"), Some(&Ulimit { soft: 10, hard: 20 }));
    assert_eq!(made.extra_hosts.get("db"), Some(&HostAddress::Ip([10, 0, 0, 2].into())));
    let unlimited = ResourceLimits { pids: Some(ResourceLimits::ANY_PIDS), ..ResourceLimits::default() };
    assert_eq!(spec("-m 0 --pids-limit -1 alpine").limits, unlimited);
    assert_eq!(spec("--pids-limit 0 alpine").limits, unlimited);
    assert_eq!(spec("alpine").limits, ResourceLimits::default());
}

#[test]
fn health() {
    let made = spec("--health-cmd true --health-interval 2s --health-retries 1 alpine").healthcheck.unwrap();
    assert_eq!((made.test, made.interval, made.retries), (Probe::Shell("true".into()), Span::seconds(2), 1));
    let made =
        spec("--health-http 8080/ok --health-on-failure restart --health-startup-tcp 8080 --health-startup-retries 5 alpine");
    let made = made.healthcheck.unwrap();
    assert_eq!(made.test, Probe::Http("http://localhost:8080/ok".parse().unwrap()));
    assert_eq!(made.on_unhealthy, OnUnhealthy::Restart);
    let startup = made.startup.unwrap();
    assert_eq!((startup.test, startup.retries), (Probe::Tcp("8080".parse().unwrap()), 5));
    assert_eq!(spec("--no-healthcheck alpine").healthcheck.map(|h| h.test), Some(Probe::None));
}

#[test]
fn env_files() {
    let text = "# note\n\nA=1\n  B=two words\nHERE\nGONE\nQ=\"kept\"\n";
    let read = super::env_file(text, &around()).unwrap();
    let lines: Vec<_> = read.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(lines, ["A=1", "B=two words", "HERE=yes", "Q=\"kept\""]);
    assert!(super::env_file("=x", &around()).unwrap_err().contains("line 1"));
}

#[test]
fn what_is_not_supported_is_said() {
    for (line, what) in [
        ("-w rel alpine", "absolute"),
        ("-v a:/b:xyz alpine", "not known"),
        ("--ulimit nofile=9:1 alpine", "above"),
        ("Alpine", "not an image reference"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(what), "{line}: {error}");
    }
}

#[test]
fn sharing_and_confinement() {
    let made = spec(
        "--init --privileged --pid host --ipc shareable --uts host --cgroupns host --cgroup-parent /batch --userns host --device /dev/fuse:r \
         --security-opt no-new-privileges:false --security-opt seccomp=unconfined --group-add 7 \
         --shm-size 1m --volumes-from db:ro --oom-score-adj -5 --annotation a=b alpine"
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
    );
    assert!(made.init && made.privileged && made.volumes_from[0].read_only);
    let modes = [made.pid.to_string(), made.ipc.to_string(), made.uts.to_string(), made.cgroup.to_string()];
    assert_eq!(modes, ["host", "shareable", "host", "host"]);
    assert_eq!(made.devices[0].to_string(), "/dev/fuse:/dev/fuse:r");
    assert_eq!((made.security_opt.no_new_privileges, made.oom_score_adj), (Some(false), Some(-5)));
    let own = spec("--userns auto:size=1000 alpine");
    assert_eq!((own.userns.to_string().as_str(), made.userns.to_string().as_str()), ("auto:size=1000", "host"));
    for bad in [
        "--uts container:x a",
        "--cgroupns container:x a",
        "--ipc host --shm-size 1m a",
        "--uts host --hostname h a",
        "--network container:x -p 80 a",
        "--network container:x --dns 1.1.1.1 a",
        "--network container:x --hostname h a",
        "--network host --mac-address 02:42:ac:11:00:02 a",
        "--network none -P a",
        "--security-opt seccomp=/no/such/file a",
        "--volumes-from db:x a",
        "--memory 1m a",
        "--memory-swap 64m a",
        "--cpus 1 --cpu-quota 5000 a",
        "--blkio-weight 5 a",
        "--device-read-bps sda:1m a",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn what_docker_has_and_setpoint_has_not_is_refused_with_advice() {
    for line in ["--gpus all a", "--runtime runc a", "--link db a", "--storage-opt size=1g a"] {
        let error = parse(line).unwrap_err();
        let flag = line.split(' ').next().unwrap();
        assert!(error.to_string().contains(flag) && error.hint().is_some(), "{line}: {error}");
    }
}

#[test]
fn reach_and_further_limits() {
    let made = spec(
        "--domainname example --dns 10.0.0.1 --dns-search a.example --dns-option ndots:2 --mac-address 02:42:ac:11:00:02 \
         --expose 80-81 -P --add-host h:host-gateway -m 64m --memory-swap -1 --memory-reservation 32m --cpu-shares 512 \
         --cpuset-cpus 0 --oom-kill-disable --device-write-bps /dev/vda:1m alpine"
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .as_str(),
    );
    assert!(made.publish_all && made.expose.len() == 2 && made.mac_address.is_some());
    assert_eq!(made.extra_hosts.get("h"), Some(&HostAddress::Gateway));
    assert_eq!(made.limits.memory_swap.map(|swap| swap.to_string()).as_deref(), Some("-1"));
    assert_eq!(made.limits.device_write_bps[0].rate, 1 << 20);
    assert!(made.limits.oom_kill_disable && made.limits.cpu_shares == Some(512));
}

#[test]
fn output_is_recorded_as_told() {
    assert_eq!(spec("alpine").logging, Logging::default());
    let made = spec("--log-driver journald --log-opt tag={{.Name}} --log-opt labels=a,b alpine").logging;
    assert_eq!((made.driver, made.tag.as_deref(), made.labels.len()), (LogDriver::Journald, Some("{{.Name}}"), 2));
    for (line, says) in [
        ("--log-driver fluentd alpine", "journald"),
        ("--log-driver none --log-opt max-size=1m alpine", "max-size"),
        ("--log-opt compress=true alpine", "max-file"),
        ("--log-opt max-size alpine", "KEY=VALUE"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
