//! What goes wrong, what is left of it, and how it is put right.

use super::*;

#[test]
fn what_the_kernel_loses_is_seen_and_put_back() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&["8080:80"]))).unwrap();
    let _echo = Echo::start(&web.netns, 80);
    let mut process = sleeper(&web.netns);
    let pid = process.id().cast_signed();
    let live = [Live { id: id(1), pid, started_ticks: crate::sys::process_start_ticks(pid).unwrap(), mac: None, inside: false }];
    let link = networks.0.instance.host_link(&id(1), 0);
    let mut word = networks.word().unwrap();
    let reached = || tcp((HERE, 8080)).is_ok() && tcp((ANY, 8080)).is_ok();
    assert!(reached());

    let damages: [(&[&str], &str); 9] = [
        (&["ip", "link", "delete", &front.bridge], "is gone"),
        (&["ip", "link", "set", &front.bridge, "down"], "is down"),
        (&["ip", "address", "flush", "dev", &front.bridge], "lacks its address"),
        (&["ip", "link", "set", &link, "nomaster"], "not on the network's bridge"),
        (&["ip", "link", "delete", &link], "is gone"),
        (&["ip", "link", "set", &link, "down"], "down on the host"),
        (&["nft", "flush", "ruleset"], "is gone"),
        (&["nft", "flush", "map", "ip", &networks.0.instance.nft_table(), "published"], "lacks tcp . 8080"),
        (&["nft", "flush", "chain", "ip", &networks.0.instance.nft_table(), "forward"], "other rules"),
    ];
    for (damage, fault) in damages {
        run(damage[0], &damage[1..]);
        assert!(tells(&mut word, Duration::from_secs(30)), "{damage:?}");
        let look = host.wait(networks.observe(&live, None)).unwrap();
        let said = format!("{:?} {:?} {:?}", look.networks[0].faults, look.network_faults, look.firewall);
        assert!(said.contains(fault), "{damage:?}: {said}");
        if !look.networks[0].faults.is_empty() {
            host.wait(networks.repair_network(&name("front"), &live)).unwrap();
        }
        let look = host.wait(networks.observe(&live, None)).unwrap();
        if !look.network_faults.is_empty() {
            host.wait(networks.repair_container(live[0].clone())).unwrap();
        }
        if look.firewall.is_some() {
            host.wait(networks.repair_firewall()).unwrap();
        }
        let look = host.wait(networks.observe(&live, None)).unwrap();
        assert_eq!((&look.networks, &look.firewall), (&vec![front.clone()], &None), "after {damage:?}");
        assert_eq!(look.network_faults, BTreeMap::new(), "after {damage:?}");
        assert!(reached(), "after {damage:?}");
        inside(&web.netns, || assert!(tcp((HERE, 8080)).is_ok(), "after {damage:?}"));
        // What the repair itself made known.
        while tells(&mut word, Duration::from_millis(100)) {}
    }

    // A process that has only the number of the container's first one is let alone.
    run("ip", &["link", "delete", &link]);
    let other = Live { started_ticks: live[0].started_ticks + 1, ..live[0].clone() };
    host.wait(networks.repair_container(other)).unwrap();
    assert!(!host.wait(networks.observe(&live, None)).unwrap().network_faults.is_empty());
    host.wait(networks.repair_container(live[0].clone())).unwrap();
    assert_eq!(host.wait(networks.observe(&live, None)).unwrap().network_faults, BTreeMap::new());

    // The DNS server is part of the network.
    let note = files::read_to_string(&dns::zone::Files::of(networks.0.instance.run_dir()).lock()).unwrap();
    run("kill", &["-9", note.split(' ').next().unwrap()]);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let faults = host.wait(networks.observe(&live, None)).unwrap().networks[0].faults.clone();
        if faults.iter().any(|f| f.contains("DNS")) {
            break;
        }
        assert!(Instant::now() < deadline, "{faults:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    host.wait(networks.repair_network(&name("front"), &live)).unwrap();
    inside(&web.netns, || assert!(lookup("web", web.given.nameservers[0]).contains(&web.address("front").to_string())));
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn failures_leave_nothing_and_leftovers_are_swept() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let attach = |id: &ContainerId, joins: &[Join], ports: &[&str]| host.wait(networks.attach(id, joins, &mappings(ports)));
    let rows = || networks.0.rows().unwrap();

    let busy = TcpListener::bind("0.0.0.0:8088").unwrap();
    let error = attach(&id(1), &[join("front", &[])], &["8088:80"]).unwrap_err().to_string();
    assert!(error.contains("port 8088/tcp is in use on the host by ") && error.contains("pid"), "{error}");
    drop(busy);
    let error = attach(&id(1), &[join("front", &[]), join("no", &[])], &[]).unwrap_err().to_string();
    assert!(error.contains("no does not exist"), "{error}");
    let error = attach(&id(1), &[], &["80"]).unwrap_err().to_string();
    assert!(error.contains("no network"), "{error}");
    let wrong = Join { ipv4_address: Some(front.subnet.unwrap().gateway()), ..join("front", &[]) };
    assert!(attach(&id(1), &[wrong], &[]).is_err());
    // Somebody else serves port 53 of the gateway, which comes out after rows, ports and names were written.
    let back = host.wait(networks.create(&name("back"), None, &NetworkSpec::default())).unwrap();
    let other = UdpSocket::bind((back.subnet.unwrap().gateway(), 53)).unwrap();
    let error = attach(&id(1), &[join("front", &["x"]), join("back", &["x"])], &["8089:80"]).unwrap_err().to_string();
    assert!(error.contains("cannot listen"), "{error}");
    assert_eq!((rows().leases, rows().published), (vec![], vec![]));
    drop(other);
    host.wait(networks.detach(&id(1))).unwrap();
    assert_eq!(rows().leases, []);
    assert_eq!(host.wait(networks.observe(&[], None)).unwrap().firewall, None);

    // Free host ports are chosen, kept apart, and refused to others by the holder's name.
    let one = attach(&id(1), &[join("front", &["one"])], &["80", "81"]).unwrap();
    let chosen: BTreeSet<u16> = one.given.ports.iter().map(|p| p.host_port.unwrap()).collect();
    assert_eq!(chosen.len(), 2);
    let text = format!("{}:1", chosen.first().unwrap());
    let error = attach(&id(2), &[join("front", &["two"])], &[&text]).unwrap_err().to_string();
    assert!(error.contains("container one"), "{error}");
    // A start after a crash, of which the rows are left, gets what the container had.
    let again = attach(&id(1), &[join("front", &["one"])], &["80", "81"]).unwrap();
    assert_eq!(&again.given, &one.given);
    drop(one);

    let two = attach(&id(2), &[join("front", &["two"])], &["8091:80"]).unwrap();
    let known = BTreeSet::from([id(1), id(2)]);
    host.wait(networks.recover(|container| [id(2), id(3)].contains(container), None)).unwrap();
    assert_eq!(rows().leases.iter().map(|l| l.container.clone()).collect::<Vec<_>>(), [id(2)]);
    assert!(!succeeds("ip", &["link", "show", &networks.0.instance.host_link(&id(1), 0)]));
    assert!(succeeds("ip", &["link", "show", &networks.0.instance.host_link(&id(2), 0)]));
    // A bridge of ours whose row is gone, as after a power cut that took the transaction back.
    let back = networks.get(&name("back")).unwrap().unwrap();
    rows::delete_network(&networks.0.db, &back.id).unwrap();
    host.wait(networks.recover(move |container| known.contains(container), None)).unwrap();
    assert!(!succeeds("ip", &["link", "show", &back.bridge]));
    assert!(succeeds("ip", &["link", "show", &front.bridge]));
    drop((again, two));
}

#[test]
fn a_namespace_that_dies_takes_its_links_along() {
    let mut host = Host::new();
    let networks = host.networks("a");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &BTreeSet::new())).unwrap();
    let link = networks.0.instance.host_link(&id(1), 0);
    assert!(succeeds("ip", &["link", "show", &link]));
    drop(web);
    let deadline = Instant::now() + Duration::from_secs(60);
    while succeeds("ip", &["link", "show", &link]) {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    let faults = host
        .wait(networks.observe(&[Live { id: id(1), pid: 1, started_ticks: 0, mac: None, inside: false }], None))
        .unwrap()
        .network_faults;
    assert!(faults[&id(1)][0].contains("gone"), "{faults:?}");
    let alone = host.wait(networks.attach(&id(2), &[], &BTreeSet::new())).unwrap();
    assert_eq!(alone.given, Given::default());
    let _echo = Echo::start(&alone.netns, 80);
    inside(&alone.netns, || {
        assert!(tcp((ANY, 80)).is_ok());
        assert!(tcp((HERE, 80)).is_err());
    });
}

#[test]
fn links_and_bridges_are_as_they_are_asked_for() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let options = BridgeOptions { mtu: Some(1400), isolated: true, unmasqueraded: true, host_binding: Some(Ipv4Addr::LOCALHOST) };
    let plain = host.wait(networks.create(&name("plain"), None, &NetworkSpec::default())).unwrap();
    let spec = NetworkSpec { driver_opts: options, ..NetworkSpec::default() };
    let own = host.wait(networks.create(&name("own"), None, &spec)).unwrap();
    let called = |network: &str, link: &str| Join { interface: Some(link.to_owned()), ..join(network, &[]) };
    // Who asks for no name gives way to who does.
    let joins = [join("own", &["web"]), called("plain", "eth0")];
    let web = host.wait(networks.attach(&id(1), &joins, &mappings(&["8080:80"]))).unwrap();
    let peer = host.wait(networks.attach(&id(2), &[called("own", "wan0")], &BTreeSet::new())).unwrap();
    let twice = [called("own", "x"), called("plain", "x")];
    let error = host.wait(networks.attach(&id(3), &twice, &BTreeSet::new())).unwrap_err().to_string();
    assert!(error.contains("both be called x"), "{error}");
    let mut process = sleeper(&peer.netns);
    let pid = process.id().cast_signed();
    let live = [Live { id: id(2), pid, started_ticks: crate::sys::process_start_ticks(pid).unwrap(), mac: None, inside: true }];
    let has = |netns: &OwnedFd, link: &str, address: Ipv4Addr| {
        inside(netns, || {
            let output = Command::new("ip").args(["addr", "show", link]).output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            said.contains(&address.to_string()) && (said.contains("mtu 1400") || link == "eth0")
        })
    };
    let (own_address, plain_address) = (web.address("own"), web.address("plain"));
    assert!(has(&web.netns, "eth0", plain_address) && has(&web.netns, "eth1", own_address));
    assert!(has(&peer.netns, "wan0", peer.address("own")));
    // Its ports are the loopback's, and its containers do not reach each other but by them.
    let _echoes: Vec<Echo> = [&web, &peer].map(|one| Echo::start(&one.netns, 80)).into();
    tcp((ANY, 8080)).unwrap();
    assert!(tcp((HERE, 8080)).is_err(), "published at the loopback only");
    tcp((own_address, 80)).unwrap();
    let _outside = Echo::start(&host.elsewhere, 90);
    inside(&peer.netns, || {
        assert!(tcp((own_address, 80)).is_err(), "isolated");
        assert_eq!(tcp((ELSEWHERE, 90)).unwrap(), peer.address("own").to_string(), "its own address arrives");
    });

    let link = networks.0.instance.host_link(&id(2), 0);
    let damages: [(&[&str], bool, &str); 3] = [
        (&["link", "set", &own.bridge, "mtu", "1300"], false, "has the MTU 1300 instead of 1400"),
        (&["link", "set", &link, "type", "bridge_slave", "isolated", "off"], false, "reaches the others"),
        (&["link", "set", "wan0", "down", "name", "other"], true, "is not called wan0"),
    ];
    for (damage, within, fault) in damages {
        if within {
            inside(&peer.netns, || {
                run("ip", damage);
                run("ip", &["link", "set", "other", "up"]);
            });
        } else {
            run("ip", damage);
        }
        let look = host.wait(networks.observe(&live, None)).unwrap();
        let faults: Vec<&str> = look.networks.iter().flat_map(|network| &network.faults).map(String::as_str).collect();
        let said = format!("{faults:?} {:?}", look.network_faults);
        assert!(said.contains(fault), "{damage:?}: {said}");
        host.wait(networks.repair_network(&name("own"), &live)).unwrap();
        host.wait(networks.repair_container(live[0].clone())).unwrap();
        let look = host.wait(networks.observe(&live, None)).unwrap();
        assert_eq!((look.networks, look.network_faults), (vec![own.clone(), plain.clone()], BTreeMap::new()), "{damage:?}");
        assert!(has(&peer.netns, "wan0", peer.address("own")));
    }
    // While it runs it gets another name, and then none of its own.
    for (joins, link) in [([called("own", "lan0")], "lan0"), ([join("own", &[])], "eth0")] {
        let given = host.wait(networks.reattach(&id(2), Some(live[0].clone()), &joins, &BTreeSet::new())).unwrap();
        assert_eq!(given.endpoints[&name("own")].address, Some(peer.address("own")));
        assert!(has(&peer.netns, link, peer.address("own")), "{link}");
        assert!(!inside(&peer.netns, || succeeds("ip", &["link", "show", "wan0"])));
    }
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn subnets_that_the_host_uses_are_left_alone() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let spec = |subnet: &str| NetworkSpec { subnet: Some(subnet.parse().unwrap()), ..NetworkSpec::default() };
    let error = host.wait(networks.create(&name("n"), None, &spec("198.51.100.128/25"))).unwrap_err().to_string();
    assert!(error.contains("ext0"), "{error}");
    run("ip", &["route", "add", "10.210.0.0/17", "via", &ELSEWHERE.to_string()]);
    for i in 0..3 {
        let network = host.wait(networks.create(&name(&format!("n{i}")), None, &NetworkSpec::default())).unwrap();
        let low: Subnet = "10.210.0.0/17".parse().unwrap();
        assert!(!network.subnet.unwrap().overlaps(low), "{:?}", network.subnet);
    }
    let given = host.wait(networks.create(&name("given"), None, &spec("10.77.0.0/29"))).unwrap();
    let error = host.wait(networks.create(&name("again"), None, &spec("10.77.0.0/16"))).unwrap_err().to_string();
    assert!(error.contains("network given"), "{error}");
    let mut all = Vec::new();
    for i in 0..5 {
        all.push(host.wait(networks.attach(&id(i), &[join("given", &[])], &BTreeSet::new())).unwrap());
    }
    assert!(all.iter().all(|a| given.subnet.unwrap().contains(a.address("given"))));
    let error = host.wait(networks.attach(&id(9), &[join("given", &[])], &BTreeSet::new())).unwrap_err().to_string();
    assert!(error.contains("no free address"), "{error}");
}

#[test]
fn many_at_once() {
    const COUNT: u8 = 60;
    let mut host = Host::new();
    let networks = host.networks("a");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let joins: Vec<[Join; 1]> = (0..COUNT).map(|i| [join("front", &[&format!("c{i}")])]).collect();
    let ports = mappings(&["80"]);
    let ids: Vec<ContainerId> = (0..COUNT).map(id).collect();
    let work = ids.iter().zip(&joins).map(|(id, joins)| networks.attach(id, joins, &ports));
    let attached: Vec<Attached> = host.wait(futures_util::future::join_all(work)).into_iter().collect::<Result<_>>().unwrap();
    let addresses: BTreeSet<Ipv4Addr> = attached.iter().map(|a| a.address("front")).collect();
    assert_eq!(addresses.len(), usize::from(COUNT));
    let ports: BTreeSet<PortMapping> = attached.iter().flat_map(|a| a.given.ports.iter().cloned()).collect();
    assert_eq!(ports.len(), usize::from(COUNT));
    let live: Vec<Live> =
        ids.iter().map(|id| Live { id: id.clone(), pid: 1, started_ticks: 0, mac: None, inside: false }).collect();
    for _ in 0..2 {
        let look = host.wait(networks.observe(&live, None)).unwrap();
        assert_eq!((look.firewall, look.network_faults), (None, BTreeMap::new()));
        assert_eq!(look.endpoints.len(), usize::from(COUNT));
    }
    inside(&attached[0].netns, || {
        let said = lookup("c59", attached[0].given.nameservers[0]);
        assert!(said.contains(&attached[59].address("front").to_string()), "{said}");
    });
    for result in host.wait(futures_util::future::join_all(ids.iter().map(|id| networks.detach(id)))) {
        result.unwrap();
    }
    assert_eq!(networks.0.rows().unwrap().leases, []);
    let link = networks.0.instance.host_link(&id(7), 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while succeeds("ip", &["link", "show", &link]) {
        assert!(Instant::now() < deadline, "links go after a while");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reboot_leaves_the_rows_only() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let outside = Echo::start(&host.elsewhere, 90);
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&["8080:80"]))).unwrap();
    // What a reboot does to the kernel, and to the run-time folder.
    let reboot = || {
        networks.0.dns.stop().unwrap();
        files::remove_all(networks.0.instance.run_dir()).unwrap();
        files::create_dirs(networks.0.instance.run_dir(), 0o700).unwrap();
        run("ip", &["link", "delete", &front.bridge]);
        run("nft", &["flush", "ruleset"]);
        run("sysctl", &["-qw", "net.ipv4.ip_forward=0"]);
    };
    reboot();
    drop(web);
    host.wait(networks.recover(|_| false, None)).unwrap();
    for create_first in [false, true] {
        if create_first {
            assert_eq!(host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap(), front);
        }
        let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&["8080:80"]))).unwrap();
        let _echo = Echo::start(&web.netns, 80);
        assert!(tcp((HERE, 8080)).is_ok());
        inside(&web.netns, || assert_eq!(tcp((ELSEWHERE, 90)), Ok(HERE.to_string())));
        let look =
            host.wait(networks.observe(&[Live { id: id(1), pid: 1, started_ticks: 0, mac: None, inside: false }], None)).unwrap();
        assert_eq!((look.firewall, look.network_faults, look.networks), (None, BTreeMap::new(), vec![front.clone()]));
        reboot();
        host.wait(networks.detach(&id(1))).unwrap();
    }
    drop(outside);
}

/// What is left of the links of one run is deleted in the background, by which time the next run has links of the same names.
#[test]
fn the_links_of_a_start_right_after_a_stop_stay() {
    let mut host = Host::new();
    let networks = host.networks("links");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let link = networks.0.instance.host_link(&id(1), 0);
    for round in 0..30 {
        if round == 15 {
            // From here on it is threads that delete them, and not processes.
            networks.stay();
        }
        let before = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&[]))).unwrap();
        host.wait(networks.detach(&id(1))).unwrap();
        // It lives on while the deletion is under way, as that of a container whose processes are still ending.
        let after = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &mappings(&[]))).unwrap();
        drop(before);
        std::thread::sleep(std::time::Duration::from_millis(40));
        assert!(succeeds("ip", &["link", "show", &link]), "round {round}");
        host.wait(networks.detach(&id(1))).unwrap();
        drop(after);
    }
}
