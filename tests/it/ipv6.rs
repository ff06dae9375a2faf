//! A stack whose networks have IPv6, from its compose file to what its callers get.

use std::net::{Ipv6Addr, SocketAddr};

use crate::harness::net::{http, http_at};
use crate::harness::{BUSYBOX, Host, PATIENCE, tool, wait_until};

/// What the host gets from its own loopback by IPv6.
fn page(port: u16) -> Option<String> {
    http_at(SocketAddr::from((Ipv6Addr::LOCALHOST, port)), "/").ok()
}

#[test]
fn a_stack_with_ipv6() {
    let host = Host::new().with_busybox();
    let serve = |page: &str| format!("[sh, -c, \"mkdir /www; echo {page} >/www/index.html; exec httpd -f -p 80 -h /www\"]");
    let compose = format!(
        "services:\n\
         \x20 web: {{image: {BUSYBOX}, init: true, command: {}, ports: [\"8080:80\", \"[::1]:8081:80\", \"0.0.0.0:8082:80\"], networks: {{default: {{aliases: [site]}}}}}}\n\
         \x20 db: {{image: {BUSYBOX}, init: true, command: [sleep, \"1000\"], networks: {{fixed: {{ipv4_address: 10.213.78.9, ipv6_address: \"fd00:77::9\"}}, default: }}}}\n\
         \x20 only: {{image: {BUSYBOX}, init: true, command: {}, ports: [\"8090:80\"], networks: [six], extra_hosts: [\"far:[fd00:78::1]\"]}}\n\
         \x20 old: {{image: {BUSYBOX}, init: true, command: {}, ports: [\"[::1]:8070:80\"], networks: [plain]}}\n\
         networks:\n\
         \x20 default: {{enable_ipv6: true}}\n\
         \x20 fixed: {{internal: true, ipam: {{config: [{{subnet: 10.213.78.0/24}}, {{subnet: \"fd00:77::/64\", gateway: \"fd00:77::ff\"}}]}}}}\n\
         \x20 six: {{enable_ipv6: true, enable_ipv4: false}}\n\
         \x20 plain: \n",
        serve("web"),
        serve("only"),
        serve("old"),
    );
    host.write("site/compose.yaml", &compose);
    host.sp(&["apply", "site"]).ok();
    host.sp(&["plan", "site"]).ok();

    for (port, text) in [(8080, "web"), (8081, "web"), (8090, "only"), (8070, "old")] {
        wait_until("it is reached by IPv6", PATIENCE, || page(port).is_some_and(|page| page.trim() == text));
    }
    assert_eq!(http(8082, "/").unwrap(), "web\n");
    assert_eq!((page(8082), http(8081, "/").is_ok(), http(8090, "/").is_ok()), (None, false, false), "the other family");
    let web = host.inspect("site-web");
    let six = &web["NetworkSettings"]["Networks"]["site-default"];
    let address: Ipv6Addr = six["GlobalIPv6Address"].as_str().unwrap().parse().unwrap();
    let gateway: Ipv6Addr = six["IPv6Gateway"].as_str().unwrap().parse().unwrap();
    assert_eq!((address.octets()[0], six["GlobalIPv6PrefixLen"].as_u64()), (0xfd, Some(64)));
    assert_eq!(host.inspect("site-db")["networks"]["site-fixed"]["ipv6_address"], "fd00:77::9");
    host.sp(&["ps"]).ok().says(&["[::]:8080->80/tcp", "[::1]:8081->80/tcp", "0.0.0.0:8082->80/tcp", "[::1]:8070->80/tcp"]);
    host.sp(&["port", "site-web"]).ok().says(&["80/tcp -> [::]:8080", "80/tcp -> [::1]:8081"]);
    host.sp(&["network", "ls"]).ok().says(&["fd00:77::/64"]);

    // Names and ways, from within.
    host.sp(&["exec", "site-db", "nslookup", "site"]).ok().says(&[&address.to_string()]);
    host.sp(&["exec", "site-db", "wget", "-qO-", &format!("http://[{address}]/")]).ok().says(&["web"]);
    host.sp(&["exec", "site-db", "cat", "/etc/hosts"]).ok().says(&["10.213.78.9\t", "fd00:77::9\t"]);
    host.sp(&["exec", "site-only", "nslookup", "only"]).ok();
    host.sp(&["exec", "site-only", "cat", "/etc/hosts"]).ok().says(&["fd00:78::1\tfar"]);
    host.sp(&["exec", "site-web", "ip", "-6", "route"]).ok().says(&[&format!("default via {gateway}")]);
    let shown = host.sp(&["run", "--rm", "--network", "site-fixed", "--ip6", "fd00:77::33", BUSYBOX, "ip", "-6", "address"]).ok();
    assert!(shown.stdout.contains("fd00:77::33/64") && !shown.stdout.contains("tentative"), "{shown:?}");
    host.sp(&["run", "--rm", "--network", "site-fixed", "--ip6", "fd00:77::9", BUSYBOX, "true"])
        .fails_with(125)
        .says(&["is taken"]);

    // What is lost of it is put back, and its process stays.
    let pid = host.pid("site-web");
    let table = host.instance.nft_table();
    let within = |args: &[&str]| {
        tool("nsenter", &[&["-n", "-t", &pid.to_string()], args].concat());
    };
    let damages: [(&str, &dyn Fn()); 3] = [
        ("lacks its address fd", &|| within(&["ip", "-6", "address", "flush", "dev", "eth0", "scope", "global"])),
        ("default route to fd", &|| within(&["ip", "-6", "route", "del", "default"])),
        ("set published lacks", &|| drop(tool("nft", &["flush", "map", "ip6", &table, "published"]))),
    ];
    for (said, damage) in damages {
        damage();
        host.sp(&["plan", "site"]).fails_with(2).says(&["drift", said]);
        host.sp(&["apply", "site"]).ok();
        host.sp(&["plan", "site"]).ok();
    }
    assert_eq!(host.pid("site-web"), pid);
    host.sp(&["exec", "site-db", "wget", "-qO-", &format!("http://[{address}]/")]).ok().says(&["web"]);

    // The same as manifests; and without IPv6 it is another network.
    host.sp(&["convert", "site", "--out", "made"]).ok();
    host.sp(&["plan", "made"]).ok();
    host.write("site/compose.yaml", &compose.replace("default: {enable_ipv6: true}", "default: {}"));
    host.sp(&["plan", "site"]).fails_with(2).says(&["ipv6", "made anew"]);
    host.sp(&["destroy", "site"]).ok();
    assert!(page(8070).is_none());
}
