//! Trees that come back as they were, and those that would lead out of their root.

use super::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn packed(root: &Path, path: &str, name: &str, follow: bool) -> Vec<u8> {
    let mut tar = Vec::new();
    pack(&Beneath::open(root).unwrap(), Path::new(path), OsStr::new(name), follow, None, &mut tar).unwrap();
    tar
}

fn put(tar: &[u8], root: &Path, into: &str, rename: Option<&str>) -> Result<(), TreeError> {
    let owner = Owner::Is { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() };
    let how = Unpack { rename: rename.map(OsStr::new), ..Unpack::new(Path::new(into), owner) };
    unpack(tar, &mut Beneath::open(root).unwrap(), &how).map(drop)
}

#[test]
fn a_tree_comes_back_as_it_was() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let long = "long/".repeat(40) + &"x".repeat(200);
    fs::create_dir_all(from.path().join("a").join(&long)).unwrap();
    fs::write(from.path().join("a/file"), vec![7; 100_000]).unwrap();
    fs::set_permissions(from.path().join("a/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::hard_link(from.path().join("a/file"), from.path().join("a/same")).unwrap();
    symlink("../../../etc/passwd", from.path().join("a/link")).unwrap();
    put(&packed(from.path(), "a", "a", false), to.path(), "", Some("b")).unwrap();
    assert_eq!(fs::read(to.path().join("b/file")).unwrap(), vec![7; 100_000]);
    let (file, same) = (fs::metadata(to.path().join("b/file")).unwrap(), fs::metadata(to.path().join("b/same")).unwrap());
    assert_eq!((file.ino(), file.mode() & 0o7777), (same.ino(), 0o751));
    assert_eq!(fs::read_link(to.path().join("b/link")).unwrap(), Path::new("../../../etc/passwd"));
    assert!(to.path().join("b").join(&long).is_dir());
    // The content alone, over what is there already.
    put(&packed(from.path(), "a", ".", false), to.path(), "b", None).unwrap();
    assert!(to.path().join("b/file").exists() && !to.path().join("b/a").exists());
}

#[test]
fn no_link_leads_out() {
    let outer = tempfile::tempdir().unwrap();
    let (root, secret) = (outer.path().join("root"), outer.path().join("secret"));
    fs::create_dir_all(root.join("d")).unwrap();
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("canary"), "sings").unwrap();
    symlink(&secret, root.join("out")).unwrap();
    symlink("../../../secret", root.join("d/up")).unwrap();
    let beneath = Beneath::open(&root).unwrap();
    assert_eq!(look(&beneath, Path::new("/out/canary"), true).unwrap(), None);
    assert_eq!(look(&beneath, Path::new("/out"), false).unwrap().unwrap().kind, FoundKind::Link);
    assert!(pack(&beneath, Path::new("d/up/canary"), OsStr::new("x"), true, None, &mut Vec::new()).is_err());
    // An archive with a link, and then a file through that link.
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size);
        header
    };
    tar.append_link(&mut header(tar::EntryType::Symlink, 0), "l", &secret).unwrap();
    tar.append_data(&mut header(tar::EntryType::Regular, 1), "l/new", &b"x"[..]).unwrap();
    assert!(put(&tar.into_inner().unwrap(), &root, "d", None).is_err());
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    for path in ["../x", "a/../../x"] {
        let mut header = header(tar::EntryType::Regular, 0);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        let mut tar = header.as_bytes().to_vec();
        tar.extend([0; 1024]);
        assert!(matches!(put(&tar, &root, "d", None), Err(TreeError::Escapes(_))), "{path}");
    }
}

#[test]
fn folders_and_files_do_not_replace_each_other() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(from.path().join("x")).unwrap();
    fs::write(to.path().join("x"), "file").unwrap();
    let tar = packed(from.path(), "x", "x", false);
    assert!(matches!(put(&tar, to.path(), "", None), Err(TreeError::NoFolderInTheWay { .. })));
    fs::remove_file(to.path().join("x")).unwrap();
    fs::create_dir(to.path().join("x")).unwrap();
    fs::remove_dir(from.path().join("x")).unwrap();
    fs::write(from.path().join("x"), "file").unwrap();
    let tar = packed(from.path(), "x", "x", false);
    assert!(matches!(put(&tar, to.path(), "", None), Err(TreeError::FolderInTheWay { .. })));
}

#[test]
fn what_users_have_noted_goes_along() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(from.path().join("a")).unwrap();
    fs::write(from.path().join("a/file"), "x").unwrap();
    let note = vec![7; 1000];
    setxattr(from.path().join("a/file"), "user.note", &note, XattrFlags::empty()).unwrap();
    setxattr(from.path().join("a"), "user.empty", b"", XattrFlags::empty()).unwrap();
    put(&packed(from.path(), "a", "a", false), to.path(), "", None).unwrap();
    let mut value = vec![0; 2000];
    let length = getxattr(to.path().join("a/file"), "user.note", &mut value[..]).unwrap();
    assert_eq!(value[..length], note);
    assert_eq!(getxattr(to.path().join("a"), "user.empty", &mut value[..]).unwrap(), 0);
}
