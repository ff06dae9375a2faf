//! The host's disks and memory by device nodes, made in the container or brought along by its image.

use std::path::Path;

use super::{image, run};
use crate::harness::{Host, tool};

#[test]
fn a_node_opens_nothing() {
    let host = Host::new();
    // The disk that this folder is on, and memory.
    let disk = tool("stat", &["-c", "%Hd %Ld", host.dir.to_str().unwrap()]);
    let disk: Vec<&str> = disk.split_whitespace().collect();
    let image = image(&host, "nodes", |root| {
        let node = |name: &str, rest: &[&str]| {
            tool("mknod", &[&["-m", "666", root.join(name).to_str().unwrap()][..], rest].concat());
        };
        node("disk", &["b", disk[0], disk[1]]);
        node("memory", &["c", "1", "1"]);
        node("tty", &["c", "4", "0"]);
    });
    assert!(!Path::new("/disk").exists());
    for name in ["/disk", "/memory", "/tty"] {
        let ran = run(&host, &[], &image, &["head", "-c", "1", name]);
        assert!(ran.code != 0 && ran.stdout.is_empty() && ran.stderr.contains("not permitted"), "{ran:?}");
    }
    let make = format!("mknod /tmp/d b {} {}", disk[0], disk[1]);
    let ran = run(&host, &[], &image, &["sh", "-c", &make]);
    assert!(ran.code != 0 && ran.stderr.contains("not permitted"), "{ran:?}");
    // With the capability to make it, it still cannot be opened.
    let open = format!("{make} && head -c 1 /tmp/d");
    let ran = run(&host, &["--cap-add", "MKNOD"], &image, &["sh", "-c", &open]);
    assert!(ran.code != 0 && ran.stdout.is_empty() && ran.stderr.contains("not permitted"), "{ran:?}");
}
