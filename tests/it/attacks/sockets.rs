//! Sockets of families that no program needs: code of the kernel that is rarely looked at. Asked for directly, with more than
//! 32 bits, by the calls of 32-bit programs, and by those of x32.

use super::{probe, probe_image, run};
use crate::harness::{Host, tool};

const ALLOWED: [&str; 4] = ["1", "2", "10", "16"];
/// AX25, KEY, PACKET, RDS, CAN, TIPC, BLUETOOTH, ALG, VSOCK, XDP, and two of them with a bit that the kernel does not look at.
const REFUSED: [&str; 12] = ["3", "15", "17", "21", "29", "30", "31", "38", "40", "44", "4294967313", "4294967334"];

fn attempts(printed: &str) -> Vec<(&str, &str, &str)> {
    let attempts = printed.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0], words[1], words[2])
    });
    attempts.collect()
}

#[test]
fn four_families_and_no_way_around() {
    let host = Host::new();
    let image = probe_image(&host);
    // Otherwise nothing would be shown by its failing in the container.
    let outside = tool(probe().to_str().unwrap(), &["sockets", "17"]);
    assert!(outside.contains("socket 17 done"), "{outside}");
    #[cfg(target_arch = "x86_64")]
    assert!(outside.contains("32-bit 17 done") && outside.contains("socketcall 17 done"), "{outside}");

    let command = [&["/probe", "sockets"][..], &ALLOWED, &REFUSED].concat();
    let inside = run(&host, &[], &image, &command).ok().stdout;
    host.sp(&["run", "-d", "--name", "a", "--network", "none", &image, "sleep", "1000"]).ok();
    let of_exec = host.sp(&[&["exec", "a"][..], &command].concat()).ok().stdout;
    assert_eq!(inside, of_exec);
    let all = attempts(&inside);
    assert!(all.len() >= 2 * (ALLOWED.len() + REFUSED.len()));
    for (how, family, outcome) in all {
        let is_allowed = ALLOWED.contains(&family);
        match how {
            // 97: the family is not supported.
            "socket" | "32-bit" => assert_eq!(outcome, if is_allowed { "done" } else { "97" }, "{how} {family}"),
            "socketpair" if is_allowed => {}
            "socketpair" => assert_eq!(outcome, "97", "{family}"),
            // 38: there is no such call, where the family cannot be seen.
            "socketcall" | "x32" => assert_eq!(outcome, "38", "{how} {family}"),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn raw_sockets_are_for_who_may_have_them() {
    let host = Host::new();
    let image = probe_image(&host);
    let ran = run(&host, &["--cap-add", "NET_RAW"], &image, &["/probe", "sockets", "17", "38"]).ok();
    let all = attempts(&ran.stdout);
    assert!(all.contains(&("socket", "17", "done")) && all.contains(&("socket", "38", "97")), "{all:?}");
}
