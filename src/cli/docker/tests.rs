//! What Docker says, and what is made of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::inspect::{Config, Container};
use super::translate::{self, Around};
use crate::model::spec::ContainerSpec;

/// What differs from a plain container, and the warnings.
fn translated(said: &Value, of_image: &Value) -> (Value, Vec<String>) {
    let container: Container = serde_json::from_value(said.clone()).unwrap();
    let of_image: Config = serde_json::from_value(of_image.clone()).unwrap();
    let names = BTreeMap::from([("0123456789ab".to_owned(), "db".parse().unwrap())]);
    let around = Around { image: "app:1".parse().unwrap(), of_image: &of_image, names: &names };
    let mut warnings = Vec::new();
    let spec = translate::spec(&container, &around, &mut warnings);
    let plain = serde_json::to_value(ContainerSpec::new("app:1".parse().unwrap())).unwrap();
    let mut fields = serde_json::to_value(&spec).unwrap();
    fields.as_object_mut().unwrap().retain(|field, value| plain[field] != *value);
    // Docker has no limit of processes unless told so.
    assert_eq!(fields["limits"].as_object_mut().unwrap().remove("pids"), Some(json!(0)));
    (fields, warnings)
}

#[test]
fn how_a_container_is_reached() {
    let said = json!({
        "Id": "ffff456789ab", "Name": "/web",
        "Config": {"Hostname": "ffff4567", "Domainname": "example.org", "ExposedPorts": {"80/tcp": {}, "90/udp": {}}},
        "HostConfig": {
            "NetworkMode": "front", "Dns": ["1.1.1.1"], "ExtraHosts": ["h:host-gateway", "i:fd00::1"],
            "PortBindings": {
                "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "127.0.0.1", "HostPort": ""}],
                "90/udp": [{"HostIp": "0.0.0.0", "HostPort": "90"}], "5/sctp": [{"HostPort": "5"}],
                "81/tcp": [{"HostIp": "::1", "HostPort": "81"}, {"HostIp": "::", "HostPort": ""}],
            },
        },
        "NetworkSettings": {"Networks": {
            "front": {"Aliases": ["w", "web", "ffff456789ab"], "IPAMConfig": {"IPv4Address": "10.9.0.5", "IPv6Address": "fd00:9::5"}},
            "bridge": {"Aliases": null, "IPAMConfig": null},
        }},
    });
    let (fields, warnings) = translated(&said, &json!({"ExposedPorts": {"80/tcp": {}}}));
    let port = |ip: Value, host: Value, port: u16, protocol: &str| json!({"host_ip": ip, "host_port": host, "container_port": port, "protocol": protocol});
    assert_eq!(
        fields,
        json!({
            "domainname": "example.org", "dns": ["1.1.1.1"], "expose": ["90/udp"], "limits": {"memory": null, "cpus": null},
            "extra_hosts": {"h": "host-gateway", "i": "fd00::1"},
            "networks": {"front": {"aliases": ["w"], "ipv4_address": "10.9.0.5", "ipv6_address": "fd00:9::5"}, "default": {"aliases": [], "ipv4_address": null}},
            "ports": [
                port(json!(null), json!(8080), 80, "tcp"), port(json!("0.0.0.0"), json!(90), 90, "udp"),
                port(json!("127.0.0.1"), json!(null), 80, "tcp"), port(json!("::"), json!(null), 81, "tcp"),
                port(json!("::1"), json!(81), 81, "tcp"),
            ],
        })
    );
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("5/sctp"));
}

#[test]
fn what_the_image_says_itself_is_left_out() {
    let own = json!({"Env": ["A=1", "B=2"], "Cmd": ["run"], "Entrypoint": ["/e"], "User": "u", "WorkingDir": "/w", "Labels": {"a": "b"},
        "StopSignal": "SIGINT", "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5_000_000_000_u64}});
    let said = json!({"Config": own, "HostConfig": {"NetworkMode": "none"}});
    let limits = json!({"memory": null, "cpus": null});
    assert_eq!(translated(&said, &own).0, json!({"network_mode": "none", "limits": limits}));
    let mut changed = said;
    for (field, value) in [
        ("Env", json!(["A=1", "B=3"])),
        ("Cmd", json!(["other"])),
        ("User", json!("v")),
        ("Labels", json!({"a": "b", "c": "d", "com.docker.compose.project": "p"})),
        ("Healthcheck", json!({"Test": ["NONE"]})),
    ] {
        changed["Config"][field] = value;
    }
    let (fields, _) = translated(&changed, &own);
    let some = json!({"environment": fields["environment"], "command": fields["command"], "user": fields["user"], "labels": fields["labels"],
        "test": fields["healthcheck"]["test"], "entrypoint": fields["entrypoint"]});
    let wanted = json!({"environment": {"B": "3"}, "command": ["other"], "user": "v", "labels": {"c": "d"}, "test": "none", "entrypoint": null});
    assert_eq!(some, wanted);
}

#[test]
fn what_is_shared_and_limited() {
    let said = json!({"HostConfig": {
        "NetworkMode": "container:0123456789ab", "PidMode": "container:0123456789ab", "IpcMode": "shareable", "UTSMode": "host",
        "VolumesFrom": ["0123456789ab:ro"], "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "label=disable"],
        "Memory": 67_108_864, "MemorySwap": 134_217_728, "NanoCpus": 1_500_000_000_u64, "CpusetCpus": "0-1", "ShmSize": 67_108_864,
        "BlkioDeviceReadIOps": [{"Path": "/dev/sda", "Rate": 5}], "LogConfig": {"Type": "syslog"}, "Runtime": "runsc",
        "DeviceRequests": [{}], "Tmpfs": {"/t": "size=1m,uid=5"}, "MemorySwappiness": 5,
    }});
    let (fields, warnings) = translated(&said, &json!({}));
    assert_eq!(
        fields,
        json!({
            "network_mode": "container:db", "pid": "container:db", "ipc": "shareable", "uts": "host",
            "volumes_from": [{"container": "db", "read_only": true}],
            "security_opt": {"no_new_privileges": true, "seccomp": "unconfined", "apparmor": null, "label": [],
                "unconfined_paths": false, "unconfined_sockets": false},
            "limits": {"memory": "64m", "cpus": "1.5", "cpuset_cpus": "0-1", "device_read_iops": ["/dev/sda:5"]},
            "mounts": [{"type": "tmpfs", "target": "/t", "size": "1m", "mode": null, "options": ["uid=5"]}],
        })
    );
    assert_eq!(warnings.len(), 4, "{warnings:?}");
}
