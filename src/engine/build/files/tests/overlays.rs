//! Copies into and out of the root of an overlay that is mounted nowhere, as the layers of a stage are.

use std::os::unix::fs::MetadataExt;

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen};

use super::*;
use crate::engine::images::Fresh;

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

#[test]
fn files_of_new_folders_go_straight_into_the_layer() {
    let root = folder(&[
        ("upper0/srv/old", "old"),
        ("upper0/srv/app/there/old", "old"),
        ("upper0/app -> srv/app", ""),
        ("upper1/", ""),
        ("top/", ""),
        ("work/", ""),
    ]);
    let names: Vec<String> = (0..400).map(|n| format!("{}/d{}/f{n}", if n % 2 == 0 { "there" } else { "new" }, n % 7)).collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), name.as_str())).collect();
    files.extend([("there/old", "changed"), ("there/added", "added"), ("new/link -> d1/f1", ""), ("bare/", "")]);
    let context_root = folder(&files);
    fs::hard_link(context_root.path().join("new/d1/f1"), context_root.path().join("new/twice")).unwrap();
    let context = context(&context_root);
    let selection = select(&context, &["."]).unwrap();

    // The same in one step, elsewhere.
    let whole = folder(&[("there/old", "old")]);
    let done = copy(&selection, open(whole.path()).as_fd(), &order("/")).unwrap();

    let stage = overlay(&root);
    let (begun, rest) = copy_leaving(&selection, stage.as_fd(), &order("/app/")).unwrap();
    // What is known to lower layers goes through the overlay, and so do links and files with several names.
    let written = listing(&root.path().join("top/srv/app"));
    assert!(
        written.contains(&"there/added=added".to_owned()) && written.contains(&"new/link -> d1/f1".to_owned()),
        "{written:?}"
    );
    assert!(
        written.contains(&"new/twice=new/d1/f1".to_owned()) && !written.iter().any(|line| line.contains("d3/f")),
        "{written:?}"
    );
    drop(stage);
    let upper = fs::File::open(root.path().join("top")).unwrap();
    let copied = begun.clone().and(rest.copy(upper.as_fd(), &order("/app/"), &mut Fresh::default()).unwrap());
    assert!(begun.bytes < copied.bytes);
    assert_eq!((copied.entries, copied.bytes, copied.changed), (done.entries, done.bytes, false));
    assert_eq!(listing(&root.path().join("top/srv/app")), listing(whole.path()));
    // Owners, permissions and times, of folders too.
    let facts = |root: &Path| {
        let of = |name: &str| {
            let meta = fs::symlink_metadata(root.join(name)).unwrap();
            (meta.uid(), meta.gid(), meta.mode(), meta.mtime(), meta.mtime_nsec(), meta.nlink())
        };
        ["there/d2", "there/d2/f2", "new", "new/d1", "new/d1/f1", "new/d3/f3", "bare"].map(of)
    };
    assert_eq!(facts(&root.path().join("top/srv/app")), facts(whole.path()));
    // The overlay shows it as if all had gone through it.
    let shown = overlay(&root);
    let through = format!("/proc/self/fd/{}/srv/app", std::os::fd::AsRawFd::as_raw_fd(&shown));
    assert_eq!(listing(Path::new(&through)), listing(whole.path()));
}
