//! Somebody exchanges folders for links while files are read and written. Outside there is a canary, which must neither come
//! along nor be touched.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::fs::{RenameFlags, renameat_with};

use super::*;

const ROUNDS: usize = 500;

/// Runs `work` again and again while `one` and `two` are exchanged without end.
fn exchanging(one: &Path, two: &Path, mut work: impl FnMut()) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (0..ROUNDS).for_each(|_| work())));
        done.store(true, Ordering::Relaxed);
        ran.unwrap();
    });
}

#[test]
fn nothing_outside_is_read() {
    let outer = folder(&[
        ("secret/sub/file", "canary"),
        ("secret/file", "canary"),
        ("root/d/sub/file", "inside"),
        ("root/d/file", "inside"),
        ("link -> ../../secret", ""),
    ]);
    symlink(outer.path().join("secret"), outer.path().join("root/out")).unwrap();
    let tree = Tree::open(&outer.path().join("root"), "the context").unwrap();
    let known = FileDigests::in_memory();
    let mut copies = 0;
    exchanging(&outer.path().join("root/d"), &outer.path().join("root/out"), || {
        for sources in [&["."][..], &["d"], &["d/sub/file"], &["*/file"]] {
            let to = folder(&[]);
            let Ok(selection) = select(&tree, sources) else { continue };
            let hashed = selection.digest(&known);
            let copied = copy(&selection, open(to.path()).as_fd(), &order("/to/"));
            copies += usize::from(hashed.is_ok() && copied.is_ok());
            assert!(!listing(to.path()).iter().any(|line| line.contains("canary")), "{:?}", listing(to.path()));
        }
    });
    assert!(copies > 0);
}

#[test]
fn nothing_outside_is_written() {
    let outer = folder(&[
        ("secret/x", "canary"),
        ("secret/sub/x", "canary"),
        ("root/d/sub/x", "old"),
        ("context/sub/x", "new"),
        ("context/y", "new"),
    ]);
    let secret = outer.path().join("secret");
    symlink(&secret, outer.path().join("root/out")).unwrap();
    let before = listing(&secret);
    let tree = Tree::open(&outer.path().join("context"), "the context").unwrap();
    let selection = select(&tree, &["."]).unwrap();
    let root = open(&outer.path().join("root"));
    let mut copies = 0;
    exchanging(&outer.path().join("root/d"), &outer.path().join("root/out"), || {
        copies += usize::from(copy(&selection, root.as_fd(), &order("/d")).is_ok());
        copies += usize::from(write_document(root.as_fd(), &order("/d/sub/x"), "EOF", b"new").is_ok());
        copies += usize::from(copy(&selection, root.as_fd(), &order("/d/new/")).is_ok());
    });
    assert!(copies > 0);
    assert_eq!(listing(&secret), before);
}

#[test]
fn links_in_the_root_stay_in_it() {
    let outer = folder(&[("secret/", ""), ("root/", ""), ("context/sub/x", "new"), ("context/x", "new")]);
    for (name, link) in [("up", "../secret"), ("absolute", "/secret"), ("far", "../../../../../../secret"), ("x", "../secret/x")]
    {
        symlink(link, outer.path().join("root").join(name)).unwrap();
    }
    symlink(outer.path().join("secret"), outer.path().join("root/sub")).unwrap();
    let tree = Tree::open(&outer.path().join("context"), "the context").unwrap();
    let selection = select(&tree, &["."]).unwrap();
    let root = open(&outer.path().join("root"));
    // What a link leads to in the root is made there, but nothing is made through a link in the place of a folder.
    copy(&selection, root.as_fd(), &order("/")).unwrap_err();
    for destination in ["/up/", "/absolute/a/", "/far", "/sub/"] {
        copy(&selection, root.as_fd(), &order(destination)).unwrap_or_else(|e| panic!("{destination}: {e}"));
    }
    write_document(root.as_fd(), &order("/x"), "EOF", b"new").unwrap();
    assert_eq!(listing(&outer.path().join("secret")), [""; 0]);
    assert_eq!(fs::read_to_string(outer.path().join("root/secret/a/sub/x")).unwrap(), "new");
}
