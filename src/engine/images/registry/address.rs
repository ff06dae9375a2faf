//! Hosts as texts: what they are, and which of them nobody may lead us to. Knows nothing of registries' settings.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use reqwest::Url;

/// Where clouds answer questions about the machine itself, apart from the link-local addresses that most of them use.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

/// The name or address in `host[:port]`, without brackets.
fn name(host: &str) -> &str {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) => name,
        _ => host,
    };
    name.trim_matches(['[', ']'])
}

fn address(host: &str) -> Option<IpAddr> {
    Some(name(host).parse::<IpAddr>().ok()?.to_canonical())
}

/// Whether `host[:port]` is this host itself.
pub(super) fn is_loopback(host: &str) -> bool {
    let name = name(host);
    name.eq_ignore_ascii_case("localhost") || address(host).is_some_and(|ip| ip.is_loopback())
}

/// Whether `host[:port]` is a place that only this machine's own programs should ask: its cloud's metadata service, or
/// whoever else answers on the link alone.
pub(super) fn is_machine_private(host: &str) -> bool {
    let name = name(host).trim_end_matches('.');
    match address(host) {
        Some(ip) if METADATA.contains(&ip) => true,
        Some(IpAddr::V4(ip)) => ip.is_link_local() || ip.is_unspecified(),
        Some(IpAddr::V6(ip)) => ip.is_unicast_link_local() || ip.is_unspecified(),
        None => name.eq_ignore_ascii_case("metadata.google.internal") || name.eq_ignore_ascii_case("metadata"),
    }
}

/// Whether one that answers at `from` may send us to `to`: not to places that are private to this machine, unless it
/// is there itself.
pub(super) fn may_lead(from: &Url, to: &Url) -> bool {
    let (from, to) = (from.host_str().unwrap_or_default(), to.host_str().unwrap_or_default());
    from == to || !(is_machine_private(to) || is_loopback(to) && !is_loopback(from))
}

/// `host[:port]` of a URL.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["localhost", "localhost:5000", "127.8.9.1", "127.0.0.1:1", "[::1]:5000", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["localhost.example", "128.0.0.1:80", "docker.io", "0.0.0.0:80", "[::2]"] {
            assert!(!is_loopback(host), "{host}");
        }
        for host in
            ["169.254.169.254", "169.254.1.1:80", "[fe80::1]", "[fd00:ec2::254]:80", "[::ffff:169.254.169.254]", "0.0.0.0"]
        {
            assert!(is_machine_private(host), "{host}");
        }
        for host in ["metadata.google.internal", "METADATA.google.internal.:80", "100.100.100.200"] {
            assert!(is_machine_private(host), "{host}");
        }
        for host in ["10.0.0.1", "192.168.1.1:5000", "example.org", "[fd00::1]"] {
            assert!(!is_machine_private(host), "{host}");
        }
    }

    #[test]
    fn nobody_leads_to_this_machine() {
        let url = |text: &str| Url::parse(text).unwrap();
        for (from, to, may) in [
            ("https://a/", "https://b/", true),
            ("https://a/", "https://10.0.0.1/", true),
            ("https://a/", "http://169.254.169.254/", false),
            ("http://127.0.0.1:1/", "http://169.254.169.254/", false),
            ("https://a/", "https://localhost/", false),
            ("http://localhost:1/", "http://127.0.0.1:2/", true),
            ("http://0.0.0.0:1/", "http://0.0.0.0:2/", true),
            // How a browser would read these numbers.
            ("https://a/", "http://2852039166/", false),
            ("https://a/", "http://0x7f.1/", false),
        ] {
            assert_eq!(may_lead(&url(from), &url(to)), may, "{from} {to}");
        }
    }
}
