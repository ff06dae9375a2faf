//! An image calls its root `1000`: whoever asks for user 1000, to be sure that it is not root, must get user 1000.

use std::fs;

use super::{image, run};
use crate::harness::Host;

#[test]
fn a_number_is_never_a_name() {
    let host = Host::new();
    let image = image(&host, "digits", |root| {
        fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n1000:x:0:0::/root:/bin/sh\n").unwrap();
        fs::write(root.join("etc/group"), "root:x:0:\n1000:x:0:1000\n12:x:0:root\n").unwrap();
    });
    let ids = ["sh", "-c", "id -u; id -g; id -G"];
    for (user, expected) in [("1000", "1000\n0\n0"), ("1000:1000", "1000\n1000\n1000"), ("5:12", "5\n12\n12")] {
        assert_eq!(run(&host, &["-u", user], &image, &ids).ok().out(), expected, "{user}");
    }
    host.sp(&["run", "-d", "--name", "a", "--network", "none", &image, "sleep", "1000"]).ok();
    assert_eq!(host.sp(&["exec", "-u", "1000", "a", "id", "-u"]).ok().out(), "1000");
}
