//! Who reaches whom, by address, by name and by published port.

use super::*;

#[test]
fn containers_find_and_reach_each_other() {
    let mut host = Host::new();
    let networks = host.networks("a");
    let front = host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    assert_eq!(host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap(), front);
    let error = host.wait(networks.create(&name("front"), None, &internal())).unwrap_err().to_string();
    assert!(error.contains("internal is false, not true"), "{error}");

    let web = host.wait(networks.attach(&id(1), &[join("front", &["web", "www"])], &BTreeSet::new())).unwrap();
    let db = host.wait(networks.attach(&id(2), &[join("front", &["db"])], &BTreeSet::new())).unwrap();
    let gateway = front.subnet.unwrap().gateway();
    assert_eq!(web.given.nameservers, [std::net::IpAddr::V4(gateway)]);
    assert_ne!(web.address("front"), db.address("front"));
    let _web = Echo::start(&web.netns, 80);
    inside(&db.netns, || {
        let said = lookup("www", gateway);
        assert!(said.contains(&web.address("front").to_string()), "{said}");
        let said = lookup("nobody", gateway);
        assert!(said.contains("NXDOMAIN"), "{said}");
        let said = lookup(&db.address("front").to_string(), gateway);
        assert!(said.contains("db.front"), "{said}");
        assert_eq!(tcp((web.address("front"), 80)), Ok(db.address("front").to_string()));
        assert_eq!(udp((web.address("front"), 80)), Ok(db.address("front").to_string()));
    });
    let look = host
        .wait(networks.observe(
            &[
                Live { id: id(1), pid: 1, started_ticks: 0, mac: None, inside: false },
                Live { id: id(2), pid: 1, started_ticks: 0, mac: None, inside: false },
            ],
            None,
        ))
        .unwrap();
    assert_eq!(look.networks, vec![front.clone()]);
    assert_eq!(look.firewall, None);
    assert_eq!(look.network_faults, BTreeMap::new());
    assert_eq!(look.endpoints[&id(1)], web.given.endpoints);

    let error = host.wait(networks.remove(&name("front"))).unwrap_err().to_string();
    assert!(error.contains(id(1).short()) && error.contains(id(2).short()), "{error}");
    for container in [id(1), id(2), id(2)] {
        host.wait(networks.detach(&container)).unwrap();
    }
    host.wait(networks.remove(&name("front"))).unwrap();
    host.wait(networks.remove(&name("front"))).unwrap();
    assert!(!succeeds("ip", &["link", "show", &front.bridge]));
    let deadline = Instant::now() + Duration::from_secs(60);
    while networks.0.dns.is_alive().unwrap() {
        assert!(Instant::now() < deadline, "the DNS server goes with the last network");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn published_ports_are_reached_from_where_they_should() {
    let mut host = Host::new();
    let networks = host.networks("a");
    for network in ["front", "back"] {
        host.wait(networks.create(&name(network), None, &NetworkSpec::default())).unwrap();
    }
    let ports = mappings(&["8080:80", "8080:80/udp", "127.0.0.1:8081:80", "198.51.100.1:8082:80"]);
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &ports)).unwrap();
    assert_eq!(web.given.ports, ports);
    let peer = host.wait(networks.attach(&id(2), &[join("front", &["peer"])], &BTreeSet::new())).unwrap();
    let other = host.wait(networks.attach(&id(3), &[join("back", &["other"])], &BTreeSet::new())).unwrap();
    let _web = Echo::start(&web.netns, 80);
    let address = web.address("front");

    for (to, reached) in [
        ((ANY, 8080), true),
        ((HERE, 8080), true),
        ((ANY, 8081), true),
        ((HERE, 8081), false),
        ((HERE, 8082), true),
        ((ANY, 8082), false),
        ((address, 80), true),
    ] {
        assert_eq!(tcp(to).is_ok(), reached, "from the host to {to:?}");
    }
    assert!(udp((ANY, 8080)).is_ok() && udp((HERE, 8080)).is_ok());
    inside(&host.elsewhere, || {
        // Its own address arrives: nothing on the way pretends to be it.
        assert_eq!(tcp((HERE, 8080)), Ok(ELSEWHERE.to_string()));
        assert_eq!(udp((HERE, 8080)), Ok(ELSEWHERE.to_string()));
        assert!(tcp((HERE, 8082)).is_ok());
        assert!(tcp((HERE, 8081)).is_err());
        assert!(tcp((address, 80)).is_err(), "a container's own address is not published");
    });
    for (namespace, who) in [(&web.netns, "itself"), (&peer.netns, "a neighbour"), (&other.netns, "another network")] {
        inside(namespace, || {
            assert!(tcp((HERE, 8080)).is_ok(), "from {who}");
            assert!(udp((HERE, 8080)).is_ok(), "from {who}");
            assert!(tcp((HERE, 8081)).is_err(), "from {who}");
        });
    }
    host.wait(networks.detach(&id(1))).unwrap();
    assert!(tcp((ANY, 8080)).is_err());
    assert_eq!(host.wait(networks.observe(&[], None)).unwrap().firewall, None);
}

#[test]
fn networks_are_apart_and_internal_ones_have_no_way_out() {
    let mut host = Host::new();
    let networks = host.networks("a");
    for (network, spec) in [("one", NetworkSpec::default()), ("two", NetworkSpec::default()), ("inner", internal())] {
        host.wait(networks.create(&name(network), None, &spec)).unwrap();
    }
    let one = host.wait(networks.attach(&id(1), &[join("one", &["one"])], &BTreeSet::new())).unwrap();
    let two = host.wait(networks.attach(&id(2), &[join("inner", &["both"]), join("two", &["both"])], &BTreeSet::new())).unwrap();
    let inner = host.wait(networks.attach(&id(3), &[join("inner", &["inner"])], &mappings(&["8090:80"]))).unwrap();
    let outside = Echo::start(&host.elsewhere, 90);
    let _here = Echo::start(&netns::current().unwrap(), 91);
    let _echoes: Vec<Echo> = [&one, &two, &inner].map(|a| Echo::start(&a.netns, 80)).into();
    let loopback = TcpListener::bind("127.0.0.1:92").unwrap();

    inside(&one.netns, || {
        assert_eq!(tcp((ELSEWHERE, 90)), Ok(HERE.to_string()), "masqueraded");
        assert_eq!(udp((ELSEWHERE, 90)), Ok(HERE.to_string()), "masqueraded");
        assert!(tcp((HERE, 91)).is_ok());
        assert!(tcp((two.address("two"), 80)).is_err());
        assert!(tcp((inner.address("inner"), 80)).is_err());
        let gateway = one.given.nameservers[0];
        assert!(!lookup("both", gateway).contains(&two.address("two").to_string()));
        // The host's loopback stays the host's, though bridges route to it.
        run("ip", &["address", "flush", "dev", "lo"]);
        run("sysctl", &["-qw", "net.ipv4.conf.eth0.route_localnet=1"]);
        run("ip", &["route", "add", "127.0.0.0/8", "via", &gateway.to_string(), "table", "local"]);
        assert!(tcp((ANY, 92)).is_err());
    });
    drop(loopback);
    // It is in both: it reaches both, has a way out, and finds all names by the one name server.
    assert_eq!(
        two.given.nameservers,
        [host.wait(async { networks.get(&name("two")).unwrap().unwrap().subnet.unwrap().gateway() })]
    );
    inside(&two.netns, || {
        assert!(tcp((inner.address("inner"), 80)).is_ok());
        assert!(tcp((ELSEWHERE, 90)).is_ok());
        let said = lookup("inner", two.given.nameservers[0]);
        assert!(said.contains(&inner.address("inner").to_string()), "{said}");
    });
    inside(&inner.netns, || {
        assert!(tcp((two.address("inner"), 80)).is_ok());
        // Even when it makes itself a route.
        run("ip", &["route", "add", "default", "via", &inner.given.nameservers[0].to_string()]);
        assert!(tcp((ELSEWHERE, 90)).is_err());
        assert!(tcp((one.address("one"), 80)).is_err());
        assert!(lookup("example.org", inner.given.nameservers[0]).contains("NXDOMAIN"));
    });
    inside(&host.elsewhere, || {
        for ip in [one.address("one"), two.address("two"), inner.address("inner")] {
            assert!(tcp((ip, 80)).is_err());
        }
        assert!(tcp((HERE, 8090)).is_err(), "an internal network is reached from the host only");
    });
    assert!(tcp((ANY, 8090)).is_ok());
    drop(outside);
}

#[test]
fn instances_live_side_by_side() {
    let mut host = Host::new();
    let (a, b) = (host.networks("a"), host.networks("b"));
    let mut attached = Vec::new();
    for (networks, port) in [(&a, "8080:80"), (&b, "8081:80")] {
        host.wait(networks.create(&name("default"), None, &NetworkSpec::default())).unwrap();
        attached.push(host.wait(networks.attach(&id(1), &[join("default", &["web"])], &mappings(&[port]))).unwrap());
    }
    let (one, two) = (attached[0].address("default"), attached[1].address("default"));
    assert_ne!(one, two);
    let _echoes: Vec<Echo> = attached.iter().map(|x| Echo::start(&x.netns, 80)).collect();
    assert!(tcp((ANY, 8080)).is_ok() && tcp((ANY, 8081)).is_ok());
    inside(&attached[0].netns, || {
        assert!(tcp((two, 80)).is_err());
        assert!(tcp((HERE, 8081)).is_ok());
        assert!(lookup("web", attached[0].given.nameservers[0]).contains(&one.to_string()));
    });
    host.wait(b.recover(|_| false, None)).unwrap();
    host.wait(b.teardown()).unwrap();
    let look = host.wait(a.observe(&[Live { id: id(1), pid: 1, started_ticks: 0, mac: None, inside: false }], None)).unwrap();
    assert_eq!((look.firewall, look.network_faults), (None, BTreeMap::new()));
    assert!(tcp((ANY, 8080)).is_ok() && tcp((ANY, 8081)).is_err());
}

#[test]
fn other_names_are_asked_of_the_host() {
    let mut host = Host::new();
    // A resolver on the host's loopback, as many hosts have.
    let resolver = UdpSocket::bind("127.0.0.53:53").unwrap();
    let file = host.folder.path().join("resolv.conf");
    std::fs::write(&file, "nameserver 127.0.0.53\n").unwrap();
    run("mount", &["--bind", file.to_str().unwrap(), "/etc/resolv.conf"]);
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 512];
        let (length, peer) = resolver.recv_from(&mut buffer).unwrap();
        let mut answer = buffer[..length].to_vec();
        // A response, with one answer: the asked name has the address 192.0.2.9.
        answer[2] |= 0x80;
        answer[7] = 1;
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 9]);
        resolver.send_to(&answer, peer).unwrap();
    });
    let networks = host.networks("a");
    host.wait(networks.create(&name("front"), None, &NetworkSpec::default())).unwrap();
    let web = host.wait(networks.attach(&id(1), &[join("front", &["web"])], &BTreeSet::new())).unwrap();
    let query = |question: &[u8]| {
        inside(&web.netns, || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
            socket.connect((web.given.nameservers[0], 53)).unwrap();
            let mut packet = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            packet.extend(question);
            packet.extend([0, 1, 0, 1]);
            socket.send(&packet).unwrap();
            let mut buffer = [0; 512];
            let length = socket.recv(&mut buffer).unwrap();
            buffer[..length].to_vec()
        })
    };
    let answer = query(b"\x07example\x03org\0");
    assert!(answer.starts_with(&[0x12, 0x34]) && answer.ends_with(&[192, 0, 2, 9]), "{answer:?}");
    thread.join().unwrap();
    // Nobody answers any more: an honest failure.
    let answer = query(b"\x07example\x03net\0");
    assert_eq!(answer[3] & 0x0f, 2, "SERVFAIL");
    let answer = query(b"\x03web\0");
    assert_eq!(answer[3] & 0x0f, 0);
}
