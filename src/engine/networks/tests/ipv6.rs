//! Networks with IPv6, beside IPv4 and without it.

use std::net::{IpAddr, Ipv6Addr};

use super::*;
use crate::model::spec::Ipv6Spec;

const HERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 1);
const ELSEWHERE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 2);
const LOOPBACK: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// A host that reaches another one by IPv6 too.
fn host() -> Host {
    let host = Host::new();
    let add = |ip: Ipv6Addr| run("ip", &["address", "add", &format!("{ip}/64"), "dev", "ext0", "nodad"]);
    add(HERE6);
    run("ip", &["-6", "route", "add", "default", "via", &ELSEWHERE6.to_string()]);
    inside(&host.elsewhere, || {
        add(ELSEWHERE6);
        // A neighbour that knows the way to the containers.
        run("ip", &["-6", "route", "add", "fc00::/7", "via", &HERE6.to_string()]);
    });
    host
}

fn spec(internal: bool, ipv6_only: bool) -> NetworkSpec {
    NetworkSpec { ipv6: Some(Ipv6Spec::default()), internal, ipv6_only, ..NetworkSpec::default() }
}

fn echo(attached: &Attached) -> Echo {
    Echo::at(&attached.netns, (Ipv6Addr::UNSPECIFIED, 80).into())
}

impl Attached {
    fn address6(&self, network: &str) -> Ipv6Addr {
        self.given.endpoints[network].ipv6_address.unwrap()
    }
}

/// Some links take a moment to pass packets, and a process must have heard of the ports that it leads on.
fn soon<T: std::fmt::Debug>(mut attempt: impl FnMut() -> Result<T, ErrorKind>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn containers_reach_and_are_reached_by_ipv6() {
    let mut host = host();
    let networks = host.networks("a");
    let mut made = Vec::new();
    for (network, spec) in [("front", spec(false, false)), ("six", spec(false, true)), ("inner", spec(true, false))] {
        made.push(host.wait(networks.create(&name(network), None, &spec)).unwrap());
        assert_eq!(host.wait(networks.create(&name(network), None, &spec)).unwrap(), made[made.len() - 1]);
    }
    // Who listened to routers goes on doing so, though the host forwards now.
    let of_links = ["ext0/accept_ra", "default/accept_ra", "all/forwarding"]
        .map(|key| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{key}")).unwrap().trim().to_owned());
    assert_eq!(of_links, ["2", "2", "1"]);
    let subnets: Vec<_> = made.iter().map(|network| network.subnet6.unwrap()).collect();
    assert!(subnets.iter().all(|s| s.prefix() == 64 && s.address().octets()[0] == 0xfd));
    assert_eq!(subnets[0].address().segments()[..3], subnets[1].address().segments()[..3], "one prefix for the instance");
    assert_eq!((made[1].subnet, made[0].subnet.is_some()), (None, true));
    let error = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap_err().to_string();
    assert!(error.contains("IPv6 is a subnet chosen by setpoint, not off"), "{error}");

    let ports =
        mappings(&["8080:80", "8080:80/udp", "[::1]:8081:80", &format!("[{HERE6}]:8082:80"), "0.0.0.0:8083:80", "[::]:8084:80"]);
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &ports)).unwrap();
    assert_eq!(web.given.ports, ports);
    let wanted = Join { ipv6_address: Some(subnets[0].gateway()), ..join("front", &[]) };
    let error = host.wait(networks.attach(&id(9), &[wanted], &BTreeSet::new())).unwrap_err().to_string();
    assert!(error.contains("is not one for containers"), "{error}");
    let chosen = Ipv6Addr::from(u128::from(subnets[0].address()) + 0x77);
    let wanted = Join { ipv6_address: Some(chosen), ..join("front", &["peer"]) };
    let peer = host.wait(networks.attach(&id(2), std::slice::from_ref(&wanted), &BTreeSet::new())).unwrap();
    assert_eq!(peer.address6("front"), chosen);
    let error = host.wait(networks.attach(&id(9), &[wanted], &BTreeSet::new())).unwrap_err().to_string();
    assert!(error.contains("is taken by"), "{error}");
    let other = host.wait(networks.attach(&id(3), &[join("six", &["other"])], &mappings(&["8090:80"]))).unwrap();
    let both = [join("inner", &["both"]), join("six", &["both"])];
    let both = host.wait(networks.attach(&id(4), &both, &BTreeSet::new())).unwrap();
    let inner = host.wait(networks.attach(&id(5), &[join("inner", &["inner"])], &mappings(&["8091:80"]))).unwrap();
    let _echoes: Vec<Echo> = [&web, &peer, &other, &both, &inner].map(echo).into();
    let _outside = Echo::at(&host.elsewhere, (Ipv6Addr::UNSPECIFIED, 90).into());
    let (address, here) = (web.address6("front"), IpAddr::V6(HERE6));

    // From the host: by all that it has, or what was said.
    for (to, ports) in [
        (IpAddr::V6(LOOPBACK), &[8080, 8081, 8084, 8090, 8091][..]),
        (here, &[8080, 8082, 8084, 8090, 8091]),
        (ANY.into(), &[8080, 8083, 8091]),
    ] {
        for port in [8080, 8081, 8082, 8083, 8084, 8090, 8091] {
            if ports.contains(&port) {
                soon(|| tcp((to, port)));
            } else {
                assert!(tcp((to, port)).is_err(), "from the host to {to} port {port}");
            }
        }
    }
    soon(|| udp((LOOPBACK, 8080)));
    soon(|| udp((HERE6, 8080)));
    inside(&host.elsewhere, || {
        assert_eq!(soon(|| tcp((HERE6, 8080))), ELSEWHERE6.to_string(), "its own address arrives");
        assert_eq!(soon(|| udp((HERE6, 8080))), ELSEWHERE6.to_string());
        soon(|| tcp((HERE6, 8082)));
        soon(|| tcp((HERE6, 8090)));
        for to in [(HERE6, 8081), (HERE6, 8083), (HERE6, 8091), (address, 80), (other.address6("six"), 80)] {
            assert!(tcp(to).is_err(), "{to:?} is not published there");
        }
    });
    inside(&peer.netns, || {
        assert_eq!(soon(|| tcp((address, 80))), chosen.to_string());
        soon(|| tcp((HERE6, 8080)));
        assert!(tcp((other.address6("six"), 80)).is_err(), "networks are apart");
        assert_eq!(soon(|| tcp((ELSEWHERE6, 90))), HERE6.to_string(), "masqueraded");
        assert!(tcp((HERE6, 8081)).is_err());
        let said = lookup("web", peer.given.nameservers[0]);
        assert!(said.contains(&address.to_string()) && said.contains(&web.address("front").to_string()), "{said}");
        let said = lookup(&address.to_string(), peer.given.nameservers[0]);
        assert!(said.contains("web.front"), "{said}");
    });
    inside(&web.netns, || drop(soon(|| tcp((HERE6, 8080)))));
    // Without IPv4 all goes by IPv6, names too.
    assert_eq!(other.given.nameservers, [IpAddr::V6(subnets[1].gateway())]);
    inside(&other.netns, || {
        assert_eq!(soon(|| tcp((ELSEWHERE6, 90))), HERE6.to_string(), "masqueraded");
        let said = lookup("both", other.given.nameservers[0]);
        assert!(said.contains(&both.address6("six").to_string()), "{said}");
        assert!(!succeeds("ip", &["-4", "route", "get", "198.51.100.1"]));
    });
    inside(&both.netns, || {
        soon(|| tcp((inner.address6("inner"), 80)));
        soon(|| tcp((ELSEWHERE6, 90)));
    });
    inside(&inner.netns, || {
        soon(|| tcp((both.address6("inner"), 80)));
        run("ip", &["-6", "route", "add", "default", "via", &subnets[2].gateway().to_string()]);
        assert!(tcp((ELSEWHERE6, 90)).is_err(), "even when it makes itself a route");
        assert!(tcp((address, 80)).is_err());
    });
    let look = host.wait(networks.observe(&[], None)).unwrap();
    assert_eq!((look.firewall, look.networks), (None, networks.list().unwrap()));

    // It gets a port back that this instance itself still has at the loopback.
    host.wait(networks.detach(&id(1))).unwrap();
    let again = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &ports)).unwrap();
    assert_eq!(again.given, web.given);
    for container in 1..=5 {
        host.wait(networks.detach(&id(container))).unwrap();
    }
    assert!(tcp((HERE6, 8080)).is_err());
    let table = networks.0.instance.nft_table();
    for network in ["front", "six", "inner"] {
        assert!(succeeds("nft", &["list", "table", "ip6", &table]));
        host.wait(networks.remove(&name(network))).unwrap();
    }
    assert!(!succeeds("nft", &["list", "table", "ip6", &table]));
}

/// What is said of a damage, and what makes it.
type Damage<'a> = (&'static str, Box<dyn Fn() + 'a>);

#[test]
fn what_ipv6_lacks_is_seen_and_put_back() {
    let mut host = host();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &spec(false, false))).unwrap();
    let ports = mappings(&["8080:80"]);
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &ports)).unwrap();
    let _web = echo(&web);
    let mut process = sleeper(&web.netns);
    let pid = process.id().cast_signed();
    let started_ticks = crate::sys::process_start_ticks(pid).unwrap();
    let live = Live { id: id(1), pid, started_ticks, mac: None, inside: true };
    let look = || host.wait(networks.observe(std::slice::from_ref(&live), None)).unwrap();
    let whole = look();
    assert_eq!((&whole.firewall, &whole.network_faults, &whole.networks[0].faults), (&None, &BTreeMap::new(), &Vec::new()));
    let (address, gateway) = (web.address6("front"), front.subnet6.unwrap().gateway());
    assert_eq!(whole.endpoints[&id(1)]["front"].ipv6_address, Some(address));

    let within = |arguments: &[&str]| inside(&web.netns, || run("ip", arguments));
    let damages: [Damage<'_>; 4] = [
        ("lacks its address fd", Box::new(|| within(&["address", "del", &format!("{address}/64"), "dev", "eth0"]))),
        ("default route to fd", Box::new(|| within(&["-6", "route", "del", "default"]))),
        ("leads to", Box::new(|| within(&["-6", "route", "replace", "default", "via", &format!("{address}7"), "dev", "eth0"]))),
        ("is down in the container", Box::new(|| within(&["link", "set", "eth0", "down"]))),
    ];
    for (fault, damage) in damages {
        damage();
        let found = look().network_faults.remove(&id(1)).unwrap_or_default();
        assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:?}");
        host.wait(networks.repair_container(live.clone())).unwrap();
        assert_eq!(said(look()), said(whole.clone()), "after {fault}");
    }
    let (bridge, table) = (front.bridge.as_str(), networks.0.instance.nft_table());
    let off = |setting: &str| run("sysctl", &["-qw", &format!("net.ipv6.conf.{setting}")]);
    let damages: [Damage<'_>; 3] = [
        ("lacks its address fd", Box::new(|| run("ip", &["address", "del", &format!("{gateway}/64"), "dev", bridge]))),
        ("IPv6 of bridge", Box::new(|| off(&format!("{bridge}.disable_ipv6=1")))),
        ("does not forward IPv6", Box::new(|| off("all.forwarding=0"))),
    ];
    for (fault, damage) in damages {
        let mut word = networks.word().unwrap();
        damage();
        // A switch that is thrown is told nobody, and seen at the next look.
        if !fault.contains("forward") {
            assert!(tells(&mut word, Duration::from_secs(60)), "{fault}");
        }
        let found = look().networks[0].faults.clone();
        assert!(found.iter().any(|found| found.contains(fault)), "{fault}: {found:?}");
        host.wait(networks.repair_network(&name("front"), std::slice::from_ref(&live))).unwrap();
        assert_eq!(said(look()), said(whole.clone()), "after {fault}");
    }
    for (fault, arguments) in [
        ("set published lacks", &["flush", "map", "ip6", &table, "published"][..]),
        ("chain postrouting has other rules", &["flush", "chain", "ip6", &table, "postrouting"]),
        ("is gone", &["delete", "table", "ip6", &table]),
    ] {
        run("nft", arguments);
        let found = look().firewall.unwrap_or_default();
        assert!(found.contains(fault), "{fault}: {found}");
        host.wait(networks.repair_firewall()).unwrap();
        assert_eq!(said(look()), said(whole.clone()), "after {fault}");
    }
    soon(|| tcp((HERE6, 8080)));
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn a_name_server_of_an_older_version_is_replaced() {
    let mut host = host();
    let networks = host.networks("a");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &BTreeSet::new())).unwrap();
    let file = networks.0.instance.run_dir().join("dns/serving.json");
    let said = || serde_json::from_slice::<serde_json::Value>(&std::fs::read(&file).unwrap()).unwrap();
    let mut old = said();
    let first = old["pid"].clone();
    old.as_object_mut().unwrap().remove("speaks");
    std::fs::write(&file, old.to_string()).unwrap();
    // As long as nothing is asked of it that it does not know, it stays.
    host.wait(networks.create(&name("back"), None, &NetworkSpec::default())).unwrap();
    soon(|| if said()["gateways"].as_array().unwrap().len() == 2 { Ok(()) } else { Err(ErrorKind::WouldBlock) });
    assert_eq!(said()["pid"], first);
    let mut old = said();
    old.as_object_mut().unwrap().remove("speaks");
    std::fs::write(&file, old.to_string()).unwrap();
    host.wait(networks.create(&name("six"), None, &spec(false, false))).unwrap();
    assert_ne!(said()["pid"], first);
    inside(&web.netns, || {
        let said = lookup("web", web.given.nameservers[0]);
        assert!(said.contains(&web.address("front").to_string()), "{said}");
    });
}

#[test]
fn a_host_without_ipv6_says_so() {
    let mut host = host();
    let networks = host.networks("a");
    run("sysctl", &["-qw", "net.ipv6.conf.all.disable_ipv6=1"]);
    let error = host.wait(networks.create(&name("front"), None, &spec(false, false))).unwrap_err().to_string();
    assert!(error.contains("this host has no IPv6: the setting net.ipv6.conf.all.disable_ipv6 is 1"), "{error}");
    assert_eq!(networks.list().unwrap(), []);
    // It is nothing to networks of IPv4.
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&["8086:80"]))).unwrap();
    let echo = Echo::start(&web.netns, 80);
    soon(|| tcp((ANY, 8086)));
    inside(&web.netns, || {
        let state = std::fs::read_to_string("/proc/sys/net/ipv6/conf/eth0/disable_ipv6").unwrap();
        assert_eq!(state.trim(), "1");
    });
    assert!(tcp((LOOPBACK, 8086)).is_err());
    run("sysctl", &["-qw", "net.ipv6.conf.all.disable_ipv6=0"]);
    // Callers by IPv6 are led to a container that has IPv4 only.
    host.wait(networks.detach(&id(1))).unwrap();
    drop(echo);
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&["[::1]:8085:80", "8086:80"]))).unwrap();
    let _web = Echo::start(&web.netns, 80);
    soon(|| tcp((LOOPBACK, 8085)));
    assert!(tcp((LOOPBACK, 8086)).is_err());
}

/// What a look comes to, without what it was made of.
fn said(look: Look) -> impl PartialEq + std::fmt::Debug {
    (look.networks, look.endpoints, look.ports, look.network_faults, look.firewall)
}
