//! What is in a root after a copy.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, XattrFlags, getxattr, setxattr};

use super::*;

#[test]
fn where_files_go() {
    let root = folder(&[("file", "f"), ("other", "o"), ("dir/in", "i"), ("dir/sub/deep", "d"), ("dir/link -> in", "")]);
    let tree = context(&root);
    for (there, sources, destination, expected) in [
        // A single file takes the destination's name, unless that is a folder.
        (&[][..], &["file"][..], "/a/b", &["a/", "a/b=f"][..]),
        (&[], &["file"], "/a/b/", &["a/", "a/b/", "a/b/file=f"]),
        (&[("a/b/", "")], &["file"], "/a/b", &["a/", "a/b/", "a/b/file=f"]),
        (&[("a/", ""), ("b -> a", "")], &["file"], "/b", &["a/", "a/file=f", "b -> a"]),
        (&[], &["file"], "/", &["file=f"]),
        (&[], &["fil*"], "/x", &["x=f"]),
        (&[], &["file", "other"], "/a/", &["a/", "a/file=f", "a/other=o"]),
        (&[("a/", "")], &["[fo]*"], "/a", &["a/", "a/file=f", "a/other=o"]),
        (&[], &["d*", "file"], "/a/", &["a/", "a/file=f", "a/in=i", "a/link -> in", "a/sub/", "a/sub/deep=d"]),
        (&[], &["*r*"], "/a/", &["a/", "a/in=i", "a/link -> in", "a/other=o", "a/sub/", "a/sub/deep=d"]),
        (&[], &["dir/s*"], "/a", &["a/", "a/deep=d"]),
        // A folder's content, and not the folder itself.
        (&[], &["dir"], "/a", &["a/", "a/in=i", "a/link -> in", "a/sub/", "a/sub/deep=d"]),
        (&[("a/sub/kept", "k")], &["dir"], "/a", &["a/", "a/in=i", "a/link -> in", "a/sub/", "a/sub/deep=d", "a/sub/kept=k"]),
        (&[], &["dir", "file"], "/a/", &["a/", "a/file=f", "a/in=i", "a/link -> in", "a/sub/", "a/sub/deep=d"]),
        // Folders that are links are followed in the root; a link in the place of a file is replaced.
        (
            &[("real/", ""), ("a/sub -> /real", "")],
            &["dir"],
            "/a",
            &["a/", "a/in=i", "a/link -> in", "a/sub -> /real", "real/", "real/deep=d"],
        ),
        (&[("x", "x"), ("y -> x", "")], &["file"], "/y", &["x=x", "y=f"]),
        // A link on the way to where nothing is yet.
        (&[("y -> /a/../../b", "")], &["file"], "/y/c/", &["b/", "b/c/", "b/c/file=f", "y -> /a/../../b"]),
        (&[("x", "x")], &["file"], "/./a/../x", &["x=f"]),
    ] {
        let to = folder(there);
        put(&tree, sources, to.path(), &order(destination)).unwrap_or_else(|e| panic!("{sources:?} {destination}: {e}"));
        assert_eq!(listing(to.path()), expected, "{sources:?} to {destination}");
    }
}

#[test]
fn with_parents_the_destination_is_a_folder() {
    let root = folder(&[("a/b/file", "f"), ("a/c/file", "g"), ("top", "t")]);
    for (sources, expected) in [
        (&["top"][..], &["to/", "to/top=t"][..]),
        (&["a/b/file"], &["to/", "to/a/", "to/a/b/", "to/a/b/file=f"]),
        (&["a/./b/file"], &["to/", "to/b/", "to/b/file=f"]),
        (&["a/*/file"], &["to/", "to/a/", "to/a/b/", "to/a/b/file=f", "to/a/c/", "to/a/c/file=g"]),
    ] {
        let to = folder(&[]);
        let selection = select_but(&context(&root), sources, &[], true).unwrap();
        copy(&selection, open(to.path()).as_fd(), &order("/to")).unwrap_or_else(|e| panic!("{sources:?}: {e}"));
        assert_eq!(listing(to.path()), expected, "{sources:?}");
    }
}

#[test]
fn what_is_in_the_way_is_named() {
    let root = folder(&[("file", "f"), ("other", "o"), ("dir/file/x", "d"), ("two/file", "")]);
    let tree = context(&root);
    for (there, sources, destination, expected) in [
        (&[("file/", "")][..], &["file"][..], "/", r#""/file" is a folder there, and "file" of the context is none"#),
        (&[("file", "")], &["dir"], "/", r#""/file" is there and no folder, and "dir/file" of the context is to be in it"#),
        (&[("a", "")], &["dir"], "/a", r#""/a" is there and no folder"#),
        (&[("a", "")], &["file"], "/a/", r#""/a" is there and no folder"#),
        (&[("a", "")], &["file"], "/a/b", "is there and no folder"),
        (&[], &["file", "other"], "/a", "2 files are copied to \"/a\", which is not said to be a folder"),
        (&[], &["[fo]*"], "/a", "2 files are copied"),
        (&[], &["file"], "a", "no absolute path"),
    ] {
        let to = folder(there);
        let error = put(&tree, sources, to.path(), &order(destination)).unwrap_err();
        assert!(error.to_string().contains(expected), "{sources:?} to {destination}: {error}");
    }
}

#[test]
fn permissions_owners_and_times() {
    let root = folder(&[("dir/program", "p"), ("dir/sub/x", ""), ("dir/link -> x", ""), ("single", "s")]);
    let at = |path: &str| root.path().join(path);
    let time = UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    for path in ["dir/program", "dir/sub", "single"] {
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o4750)).unwrap();
        chown(at(path), Some(7), Some(8)).unwrap();
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o4750)).unwrap();
        fs::File::open(at(path)).unwrap().set_modified(time).unwrap();
    }
    lchown(at("dir/link"), Some(7), Some(8)).unwrap();
    let look = |to: &TempDir, path: &str| {
        let meta = fs::symlink_metadata(to.path().join(path)).unwrap();
        (meta.mode() & 0o7777, meta.uid(), meta.gid())
    };
    let (of_context, of_stage) = (context(&root), stage(&root));

    let to = folder(&[("d/sub/", "")]);
    put(&of_context, &["dir"], to.path(), &order("/d")).unwrap();
    assert_eq!(look(&to, "d/program"), (0o4750, 0, 0));
    // A folder that was there gets what its source has.
    assert_eq!(look(&to, "d/sub"), (0o4750, 0, 0));
    for path in ["d/program", "d/sub"] {
        assert_eq!(fs::metadata(to.path().join(path)).unwrap().modified().unwrap(), time, "{path}");
    }

    let to = folder(&[]);
    put(&of_stage, &["dir"], to.path(), &order("/new/d")).unwrap();
    assert_eq!((look(&to, "new"), look(&to, "new/d")), ((0o755, 0, 0), (0o755, 0, 0)));
    assert_eq!(look(&to, "new/d/program"), (0o4750, 7, 8));
    assert_eq!((look(&to, "new/d/link").1, look(&to, "new/d/link").2), (7, 8));

    let to = folder(&[]);
    let how = CopyOrder {
        owner: Some((5, 6)),
        mode: Some("u=rwX,go=rX".parse().unwrap()),
        epoch: Some(900_000_000),
        ..order("/new/d/")
    };
    put(&of_stage, &["dir", "single"], to.path(), &how).unwrap();
    assert_eq!((look(&to, "new"), look(&to, "new/d")), ((0o755, 5, 6), (0o755, 5, 6)));
    assert_eq!(look(&to, "new/d/program"), (0o755, 5, 6));
    assert_eq!(look(&to, "new/d/sub"), (0o755, 5, 6));
    assert_eq!(look(&to, "new/d/sub/x"), (0o644, 5, 6));
    assert_eq!((look(&to, "new/d/link").1, look(&to, "new/d/link").2), (5, 6));
    for path in ["new", "new/d", "new/d/program", "new/d/sub", "new/d/sub/x", "new/d/link", "new/d/single"] {
        let meta = fs::symlink_metadata(to.path().join(path)).unwrap();
        assert_eq!(meta.modified().unwrap(), UNIX_EPOCH + Duration::from_secs(900_000_000), "{path}");
    }
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let root = folder(&[("a/one", "x"), ("b/", "")]);
    fs::hard_link(root.path().join("a/one"), root.path().join("b/two")).unwrap();
    fs::hard_link(root.path().join("a/one"), root.path().join("three")).unwrap();
    let to = folder(&[("b/two", "old"), ("other", "")]);
    fs::hard_link(to.path().join("b/two"), to.path().join("same")).unwrap();
    put(&context(&root), &["."], to.path(), &order("/")).unwrap();
    let inode = |path: &str| fs::metadata(to.path().join(path)).unwrap().ino();
    assert_eq!((inode("a/one"), inode("a/one")), (inode("b/two"), inode("three")));
    assert_eq!(fs::read_to_string(to.path().join("same")).unwrap(), "old");
    assert_ne!(inode("a/one"), fs::metadata(root.path().join("a/one")).unwrap().ino());
}

#[test]
fn attributes_holes_and_devices() {
    let root = folder(&[("noted", "x"), ("dir/", ""), ("empty", "")]);
    let at = |path: &str| root.path().join(path);
    let capability = [vec![1, 0, 0, 2], vec![0; 16]].concat();
    setxattr(at("noted"), "user.note", b"n", XattrFlags::empty()).unwrap();
    setxattr(at("noted"), "user.long", &[b'v'; 1000], XattrFlags::empty()).unwrap();
    setxattr(at("noted"), "trusted.hidden", b"n", XattrFlags::empty()).unwrap();
    setxattr(at("noted"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    setxattr(at("dir"), "user.note", b"d", XattrFlags::empty()).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"middle", 32 << 20).unwrap();
    fs::write(at("large"), (0..3_000_000u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).unwrap();
    rustix::fs::mknodat(CWD, at("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o600), rustix::fs::makedev(1, 3))
        .unwrap();
    rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    fs::set_permissions(at("null"), fs::Permissions::from_mode(0o666)).unwrap();
    let to = folder(&[]);
    let copied = put(&stage(&root), &["."], to.path(), &CopyOrder { owner: Some((9, 9)), ..order("/") }).unwrap();
    assert!(copied.doubts.is_empty() && !copied.changed, "{copied:?}");
    let there = |path: &str| to.path().join(path);
    let value = |path: &str, name: &str| {
        let mut buffer = vec![0; 2000];
        getxattr(there(path), name, &mut buffer[..]).map(|length| buffer[..length].to_vec())
    };
    assert_eq!(value("noted", "user.note").unwrap(), b"n");
    assert_eq!(value("noted", "user.long").unwrap(), [b'v'; 1000]);
    assert_eq!(value("noted", "security.capability").unwrap(), capability);
    assert!(value("noted", "trusted.hidden").is_err());
    assert_eq!(value("dir", "user.note").unwrap(), b"d");
    let meta = fs::metadata(there("sparse")).unwrap();
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() * 512 < 1 << 20, "{}", meta.blocks());
    assert!(fs::read(there("sparse")).unwrap() == fs::read(at("sparse")).unwrap());
    assert!(fs::read(there("large")).unwrap() == fs::read(at("large")).unwrap());
    let null = fs::metadata(there("null")).unwrap();
    assert_eq!((null.rdev(), null.mode() & 0o7777, null.uid()), (rustix::fs::makedev(1, 3), 0o666, 9));
    assert_eq!(fs::metadata(there("pipe")).unwrap().mode() & 0o170_000, 0o010_000);
}

#[test]
fn what_changed_since_it_was_selected_is_told() {
    let root = folder(&[("a", "1"), ("b", "1"), ("l -> a", "")]);
    let selection = select(&context(&root), &["."]).unwrap();
    fs::write(root.path().join("a"), "longer").unwrap();
    let to = folder(&[]);
    let copied = copy(&selection, open(to.path()).as_fd(), &order("/")).unwrap();
    assert!(copied.changed);
    assert_eq!(copied.doubts, [Doubt::Changed { path: "a".to_owned() }]);
    for exchange in
        [(|path: &Path| symlink("/etc/passwd", path).unwrap()) as fn(&Path), |path| fs::create_dir(path).unwrap(), |_| ()]
    {
        fs::remove_file(root.path().join("b")).ok();
        fs::remove_dir(root.path().join("b")).ok();
        exchange(&root.path().join("b"));
        let error = copy(&selection, open(to.path()).as_fd(), &order("/")).unwrap_err();
        assert!(matches!(&error, FilesError::Exchanged { path, .. } if path == "b"), "{error}");
    }
}

#[test]
fn documents() {
    let to = folder(&[("there/", ""), ("file -> there", "")]);
    let root = open(to.path());
    write_document(root.as_fd(), &order("/new/script"), "EOF", b"one").unwrap();
    write_document(root.as_fd(), &order("/there"), "EOF", b"two").unwrap();
    let how = CopyOrder { owner: Some((1, 2)), mode: Some("0755".parse().unwrap()), epoch: Some(5), ..order("/x/") };
    write_document(root.as_fd(), &how, "EOF", b"three").unwrap();
    assert_eq!(listing(to.path()), ["file -> there", "new/", "new/script=one", "there/", "there/EOF=two", "x/", "x/EOF=three"]);
    let meta = fs::metadata(to.path().join("x/EOF")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.mtime()), (0o755, 1, 2, 5));
    let meta = fs::metadata(to.path().join("new/script")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o644, 0));
    assert!(meta.modified().unwrap() <= SystemTime::now());
    assert!(write_document(root.as_fd(), &order("/x/"), "../y", b"").is_err());
}

#[test]
fn fifty_thousand_files() {
    let root = folder(&[]);
    for d in 0..500 {
        let folder = root.path().join(format!("{}/{d}", d % 20));
        fs::create_dir_all(&folder).unwrap();
        for f in 0..100 {
            fs::write(folder.join(format!("{f}")), format!("{d} {f}")).unwrap();
        }
    }
    let start = std::time::Instant::now();
    let selection = select(&context(&root), &["."]).unwrap();
    let selected = start.elapsed();
    let known = FileDigests::in_memory();
    let first = selection.digest(&known).unwrap();
    let hashed = start.elapsed();
    let to = folder(&[]);
    let copied = copy(&selection, open(to.path()).as_fd(), &order("/to")).unwrap();
    let done = start.elapsed();
    println!("selected {selected:?}, hashed {:?}, copied {:?}", hashed - selected, done - hashed);
    assert_eq!((copied.entries, copied.changed), (50_520, false));
    assert_eq!(fs::read_to_string(to.path().join("to/7/487/99")).unwrap(), "487 99");
    let again = Tree::open(&to.path().join("to"), "the copy").unwrap();
    assert_eq!(select(&again, &["."]).unwrap().digest(&known).unwrap(), first);
}
