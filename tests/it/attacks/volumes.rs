//! A new volume gets what the image has at its place: links there must not fill it with the host's files, nor lead those who
//! use it later out of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{ALIVE, Canary, image, run};
use crate::harness::Host;

/// All regular files below, without following anything.
fn contents(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(contents(&entry.path())),
            kind if kind.is_file() => found.push(String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned()),
            _ => {}
        }
    }
    found
}

#[test]
fn planted_links_bring_nothing_of_the_host() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let image = image(&host, "planted", |root| {
        symlink(&canary.folder, root.join("absolute")).unwrap();
        symlink(canary.path_from_below(), root.join("up")).unwrap();
        symlink("/proc/self/root", root.join("magic")).unwrap();
        fs::create_dir(root.join("seed")).unwrap();
        fs::write(root.join("seed/own"), "own").unwrap();
        symlink(&canary.secret, root.join("seed/file")).unwrap();
        symlink(&canary.folder, root.join("seed/folder")).unwrap();
        symlink(canary.path_from_below(), root.join("seed/up")).unwrap();
    });
    let magic = format!("m:/magic{}", canary.folder.display());
    for volume in ["a:/absolute", "u:/up", &magic, "s:/seed"] {
        // Whether a start is refused for such a target does not matter here.
        run(&host, &["-v", volume], &image, &["true"]);
    }
    let found = contents(&host.instance.state_dir().join("volumes"));
    assert!(found.iter().any(|text| text == "own"), "{found:?}");
    assert!(!found.iter().any(|text| text.contains(ALIVE)), "the host's file was copied");

    let write = "echo over >/v/file; echo over >/v/folder/secret; echo over >/v/up/secret; cat /v/own";
    assert_eq!(run(&host, &["-v", "s:/v"], &image, &["sh", "-c", write]).ok().out(), "own");
    canary.is_alive();
}
