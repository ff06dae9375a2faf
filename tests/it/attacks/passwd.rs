//! `/etc/passwd` and `/etc/group` are the container's to make: a pipe that nobody writes to, a device without an end, or four
//! gibibytes of nothing must not stop or fill whoever looks a user up in them.

use crate::harness::{BUSYBOX, Host};

const MAKE: [(&str, &str); 6] = [
    ("a pipe", "mkfifo $f"),
    ("a device without an end", "ln -s /dev/zero $f"),
    ("large", "truncate -s 4G $f"),
    ("a folder", "mkdir $f"),
    ("a link to itself", "ln -s $f $f"),
    ("a descriptor of whoever looks", "ln -s /proc/self/fd/0 $f"),
];

#[test]
fn whatever_stands_there_numbers_work_and_names_are_unknown() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "a", "--network", "none", "-u", "1000:1000", BUSYBOX, "sleep", "1000"]).ok();
    for (what, make) in MAKE {
        let script = format!("for f in /etc/passwd /etc/group; do rm -rf $f; {make}; done");
        host.sp(&["exec", "-u", "0", "a", "busybox", "sh", "-c", &script]).ok();
        // Asked of the kernel: programs in the container may well wait for the pipe.
        let ids = host.sp(&["exec", "a", "grep", "-E", "^(Uid|Gid)", "/proc/self/status"]).ok().stdout;
        let ids: Vec<&str> = ids.lines().map(|line| line.split_whitespace().nth(1).unwrap()).collect();
        assert_eq!(ids, ["1000", "1000"], "{what}");
        host.sp(&["exec", "-u", "nobody", "a", "id"]).fails_with(125).says(&["nobody"]);
        host.sp(&["exec", "-u", "0:nogroup", "a", "id"]).fails_with(125).says(&["nogroup"]);
        // A start looks in the same place.
        host.sp(&["restart", "-t", "0", "a"]).ok();
        assert!(host.running_pid("a").is_some(), "{what}");
    }
}
