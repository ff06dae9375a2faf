//! Copies into and out of the root of an overlay that is mounted nowhere, as the layers of a stage are.

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::*;

/// An overlay of two layers and an empty one to write to, all of them in `root`.
fn overlay(root: &TempDir) -> OwnedFd {
    let at = |name: &str| root.path().join(name).display().to_string();
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    let lower = format!("{}:{}", at("upper1"), at("upper0"));
    for (key, value) in [("lowerdir", lower), ("upperdir", at("top")), ("workdir", at("work"))] {
        fsconfig_set_string(context.as_fd(), key, value).unwrap();
    }
    fsconfig_create(context.as_fd()).unwrap();
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

#[test]
fn only_what_is_copied_is_in_the_new_layer() {
    let root = folder(&[
        ("upper0/etc/old", "old"),
        ("upper0/etc/replaced", "old"),
        ("upper0/lib -> usr/lib", ""),
        ("upper0/usr/lib/", ""),
        ("upper0/dir/x", ""),
        ("upper1/etc/replaced", "newer"),
        ("upper1/hidden", ""),
        ("top/", ""),
        ("work/", ""),
    ]);
    let context_root = folder(&[("etc/replaced", "new"), ("etc/added", "new"), ("lib/so", "so"), ("dir", "")]);
    let stage = overlay(&root);
    let context = context(&context_root);
    copy(&select(&context, &["etc"]).unwrap(), stage.as_fd(), &order("/etc")).unwrap();
    copy(&select(&context, &["lib"]).unwrap(), stage.as_fd(), &order("/lib/")).unwrap();
    write_document(stage.as_fd(), &order("/hidden"), "EOF", b"seen").unwrap();
    let error = copy(&select(&context, &["."]).unwrap(), stage.as_fd(), &order("/")).unwrap_err();
    assert!(matches!(error, FilesError::FolderInTheWay { .. }), "{error}");
    let written = listing(&root.path().join("top"));
    let expected = ["etc/", "etc/added=new", "etc/replaced=new", "hidden=seen", "usr/", "usr/lib/", "usr/lib/so=so"];
    assert_eq!(written.iter().filter(|line| !line.starts_with("dir")).collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
    assert_eq!(fs::read_to_string(root.path().join("upper0/etc/replaced")).unwrap(), "old");
    assert_eq!(fs::read_to_string(root.path().join("upper1/etc/replaced")).unwrap(), "newer");

    // What a stage shows has the digest of the same files anywhere.
    let same = folder(&[("etc/old", "old"), ("etc/replaced", "new"), ("etc/added", "new")]);
    let known = FileDigests::in_memory();
    let of = |tree: &Tree| select(tree, &["etc"]).unwrap().digest(&known).unwrap();
    assert_eq!(of(&Tree::of_root(stage, "the stage")), of(&super::stage(&same)));
    assert_eq!(known.len(), 0);
}
