//! The digest of a selection depends on all that is copied, and on nothing else.

use std::os::unix::fs::{PermissionsExt, chown};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{XattrFlags, setxattr};

use super::*;
use crate::model::Digest;

fn sample() -> TempDir {
    folder(&[("a", "1"), ("b", "2"), ("d/x", "3"), ("d/y", "4"), ("l -> a", ""), ("e/", "")])
}

fn digest(tree: &Tree) -> Digest {
    select(tree, &["."]).unwrap().digest(&FileDigests::in_memory()).unwrap()
}

#[test]
fn of_all_that_is_copied() {
    let whole = sample();
    let (of_context, of_stage) = (digest(&context(&whole)), digest(&stage(&whole)));
    assert_ne!(of_context, of_stage);
    assert_eq!(digest(&context(&sample())), of_context);
    assert_eq!(digest(&stage(&sample())), of_stage);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let note = |path: &Path| setxattr(path, "user.note", b"x", XattrFlags::empty()).unwrap();
    type Change<'a> = (&'a str, &'a dyn Fn(&Path));
    let changes: &[Change<'_>] = &[
        ("content", &|root| fs::write(root.join("a"), "2").unwrap()),
        ("another name", &|root| fs::rename(root.join("a"), root.join("c")).unwrap()),
        ("another folder", &|root| fs::rename(root.join("d/x"), root.join("e/x")).unwrap()),
        ("one more", &|root| fs::write(root.join("z"), "").unwrap()),
        ("one less", &|root| fs::remove_file(root.join("d/y")).unwrap()),
        ("exchanged contents", &|root| (fs::write(root.join("a"), "2"), fs::write(root.join("b"), "1")).0.unwrap()),
        ("permissions", &|root| mode(&root.join("a"), 0o755)),
        ("permissions of a folder", &|root| mode(&root.join("e"), 0o700)),
        ("set-user-id", &|root| mode(&root.join("b"), 0o4644)),
        ("attribute", &|root| note(&root.join("a"))),
        ("attribute of a folder", &|root| note(&root.join("d"))),
        ("target of a link", &|root| (fs::remove_file(root.join("l")), symlink("b", root.join("l")).unwrap()).1),
        ("kind", &|root| (fs::remove_file(root.join("l")), fs::write(root.join("l"), "a").unwrap()).1),
        ("an empty folder less", &|root| fs::remove_dir(root.join("e")).unwrap()),
        ("one file of two", &|root| (fs::remove_file(root.join("b")), fs::hard_link(root.join("a"), root.join("b"))).1.unwrap()),
    ];
    let mut seen = vec![of_context];
    for (what, change) in changes {
        let root = sample();
        change(root.path());
        let changed = digest(&context(&root));
        assert!(!seen.contains(&changed), "{what}");
        seen.push(changed);
    }
}

#[test]
fn not_of_times_and_of_owners_only_where_they_are_kept() {
    let root = sample();
    let (of_context, of_stage) = (digest(&context(&root)), digest(&stage(&root)));
    for path in ["a", "d", "d/x"] {
        fs::File::open(root.path().join(path)).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(7)).unwrap();
    }
    assert_eq!((digest(&context(&root)), digest(&stage(&root))), (of_context, of_stage));
    chown(root.path().join("d/x"), Some(5), None).unwrap();
    assert_eq!(digest(&context(&root)), of_context);
    assert_ne!(digest(&stage(&root)), of_stage);
}

#[test]
fn files_that_did_not_change_are_not_read() {
    let root = sample();
    let tree = context(&root);
    let known = FileDigests::in_memory();
    let selection = select(&tree, &["."]).unwrap();
    let first = selection.digest(&known).unwrap();
    // Just made, so not remembered.
    assert_eq!(known.len(), 0);
    // A reading that is told that they are old remembers them; that it asks the table shows by a wrong answer in it.
    for item in selection.items.iter().filter(|item| item.is_file()) {
        let mut old = item.meta;
        old.changed = (100, 0);
        known.put(&old, [7; 32]);
        assert_eq!(known.get(&old), Some([7; 32]));
        assert_eq!(known.get(&item.meta), None);
    }
    assert_eq!(selection.digest(&known).unwrap(), first);
    let mut aged = select(&tree, &["."]).unwrap();
    aged.items.iter_mut().for_each(|item| item.meta.changed = (100, 0));
    assert_ne!(aged.digest(&known).unwrap(), first);
    // A tree that does not last asks nothing and remembers nothing.
    let mut passing = select(&tree.clone().passing(), &["."]).unwrap();
    passing.items.iter_mut().for_each(|item| item.meta.changed = (100, 0));
    assert_eq!(passing.digest(&known).unwrap(), first);
}

#[test]
fn old_files_are_remembered_by_a_file() {
    let root = sample();
    let tree = context(&root);
    // The clock of the file system is what it is; wait until these files are clearly older.
    std::thread::sleep(Duration::from_millis(4100));
    let path = root.path().join("../").join(format!("{}.digests", root.path().file_name().unwrap().to_str().unwrap()));
    let known = FileDigests::open(&path).unwrap();
    let first = select(&tree, &["."]).unwrap().digest(&known).unwrap();
    assert_eq!(known.len(), 4);
    known.save().unwrap();
    let again = FileDigests::open(&path).unwrap();
    assert_eq!((again.len(), select(&tree, &["."]).unwrap().digest(&again).unwrap()), (4, first));
    fs::write(root.path().join("a"), "other").unwrap();
    assert_ne!(select(&tree, &["."]).unwrap().digest(&again).unwrap(), first);
    fs::remove_file(&path).unwrap();
}
