//! Honest layers: everything that a tar can say of a file arrives on the disk, and whiteouts hide as overlayfs hides.

use std::ffi::CString;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::Command;

use super::*;

fn unpack(tar: &[u8]) -> (tempfile::TempDir, Layer) {
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let layer = unpack_layer(tar, root.path(), &Limits::default()).unwrap();
    (root, layer)
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, value.as_mut_slice()).ok()?;
    value.truncate(length);
    Some(value)
}

#[test]
fn all_that_a_tar_says_arrives() {
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, b'\n', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let long = "d".repeat(90) + "/" + &"e".repeat(90) + "/" + &"f".repeat(90);
    let tar = Tar::default()
        .raw(b'5', "./", "", 0o711, b"")
        .raw(b'0', "suid", "", 0o4755, b"suid")
        .pax(&[
            ("uid", b"3000000"),
            ("gid", b"70000"),
            ("mtime", b"1234567890.123456789"),
            ("SCHILY.xattr.security.capability", capability),
        ])
        .raw(b'0', "file", "", 0o640, b"content")
        .hardlink("again", "./file")
        .symlink("link", "file")
        .raw(b'3', "null", "", 0o666, b"")
        .raw(b'6', "pipe", "", 0o600, b"")
        .file("deep/missing/parents", "x")
        .raw(b'L', "././@LongLink", "", 0o644, format!("{long}\0").as_bytes())
        .file("short", "long")
        .raw(b'5', "locked", "", 0o1000, b"")
        .file("locked/inside", "y")
        .file("twice", "first")
        .file("twice", "second")
        .folder("was-folder/with")
        .file("was-folder", "now a file")
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"1048577"),
            ("GNU.sparse.name", b"sparse"),
        ])
        .file("GNUSparseFile/sparse", [format!("{:\0<512}", "2\n0\n3\n1048576\n1\n").as_bytes(), b"abcz"].concat())
        .end();
    let (root, layer) = unpack(&tar);
    assert_eq!((layer.diff_id, layer.tar_size), (Digest::of(&tar), tar.len() as u64));
    assert_eq!(layer.newest, 1_700_000_000);
    let root = root.path();
    let meta = |name: &str| std::fs::symlink_metadata(root.join(name)).unwrap();
    assert_eq!(meta("").mode() & 0o7777, 0o711);
    assert_eq!(meta("suid").mode() & 0o7777, 0o4755);
    let file = meta("file");
    assert_eq!((file.mode() & 0o7777, file.uid(), file.gid(), file.nlink()), (0o640, 3_000_000, 70_000, 2));
    assert_eq!((file.mtime(), file.mtime_nsec()), (1_234_567_890, 123_456_789));
    assert_eq!(xattr(&root.join("file"), "security.capability").unwrap(), capability);
    assert_eq!(meta("again").ino(), file.ino());
    assert_eq!(std::fs::read_link(root.join("link")).unwrap(), Path::new("file"));
    assert_eq!(meta("link").mtime(), 1_700_000_000);
    assert!(meta("null").file_type().is_char_device() && meta("pipe").file_type().is_fifo());
    assert_eq!(meta("deep/missing").mode() & 0o7777, 0o755);
    assert_eq!(std::fs::read(root.join(&long)).unwrap(), b"long");
    assert_eq!((meta("locked").mode() & 0o7777, meta("locked").mtime()), (0o1000, 1_700_000_000));
    assert_eq!(std::fs::read(root.join("twice")).unwrap(), b"second");
    assert_eq!(std::fs::read(root.join("was-folder")).unwrap(), b"now a file");
    let sparse = std::fs::read(root.join("sparse")).unwrap();
    assert_eq!((sparse.len(), &sparse[..4], sparse[1_048_576]), (1_048_577, b"abc\0".as_slice(), b'z'));
    assert!(meta("sparse").blocks() * 512 < 1 << 20);
}

#[test]
fn reads_what_gnu_tar_writes() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("a".repeat(200)).join("b".repeat(200))).unwrap();
    std::fs::write(tree.join("a".repeat(200)).join("b".repeat(200)).join("file"), "x").unwrap();
    std::os::unix::fs::symlink("t".repeat(300), tree.join("link")).unwrap();
    let sparse = std::fs::File::create(tree.join("sparse")).unwrap();
    // More pieces than a header holds.
    for i in 0..60u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[b'0' + i as u8; 4096], i * 100_000).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    for format in ["gnu", "posix", "pax", "oldgnu"] {
        let tar = folder.path().join(format);
        let mut command = Command::new("tar");
        command.arg("-cf").arg(&tar).arg("--sparse").arg(format!("--format={format}")).arg("-C").arg(&tree).arg(".");
        assert!(command.status().unwrap().success());
        let (root, _) = unpack(&std::fs::read(&tar).unwrap());
        assert_eq!(std::fs::read_link(root.path().join("link")).unwrap().as_os_str().len(), 300);
        assert!(root.path().join("a".repeat(200)).join("b".repeat(200)).join("file").exists(), "{format}");
        let (one, two) = (std::fs::read(tree.join("sparse")).unwrap(), std::fs::read(root.path().join("sparse")).unwrap());
        assert!(one == two, "{format}");
        assert!(std::fs::metadata(root.path().join("sparse")).unwrap().blocks() * 512 < 1 << 20, "{format}");
    }
}

#[test]
fn whiteouts_hide_in_a_real_overlay() {
    let (lower, _) = unpack(
        &Tar::default()
            .file("gone", "x")
            .file("kept", "x")
            .file("opaque/old", "x")
            .file("replaced/old", "x")
            .file("turned/old", "x")
            .folder("gone-folder/sub")
            .end(),
    );
    let (upper, _) = unpack(
        &Tar::default()
            .file(".wh.gone", "")
            .file(".wh.gone-folder", "")
            .file("opaque/new", "y")
            .file("opaque/.wh..wh..opq", "")
            // Hidden and made anew in the same layer, in both orders.
            .file(".wh.replaced", "")
            .folder("replaced")
            .file("replaced/new", "y")
            .folder("turned")
            .file("turned/new", "y")
            .file(".wh.turned", "")
            .file(".wh..wh.plnk/x", "")
            .end(),
    );
    assert!(std::fs::symlink_metadata(upper.path().join("gone")).unwrap().file_type().is_char_device());
    assert_eq!(xattr(&upper.path().join("opaque"), "trusted.overlay.opaque").unwrap(), b"y");
    let merged = tempfile::tempdir_in("/tmp").unwrap();
    let (target, options) = (
        CString::new(merged.path().to_str().unwrap()).unwrap(),
        CString::new(format!("lowerdir={}:{}", upper.path().display(), lower.path().display())).unwrap(),
    );
    std::thread::spawn(move || {
        use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        mount("overlay", target.as_c_str(), "overlay", MountFlags::RDONLY, Some(options.as_c_str())).unwrap();
        let root = Path::new(target.to_str().unwrap()).to_owned();
        let set = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(names(&root), set(&["kept", "opaque", "replaced", "turned"]));
        for hidden in ["opaque", "replaced", "turned"] {
            assert_eq!(names(&root.join(hidden)), set(&["new"]), "{hidden}");
        }
        nix::mount::umount(root.as_path()).unwrap();
    })
    .join()
    .unwrap();
}

#[test]
fn compression_is_seen_not_believed() {
    let tar = Tar::default().file("a", vec![b'a'; 100_000]).end();
    let (first, second) = tar.split_at(700);
    for stored in [
        tar.clone(),
        gzip(&tar),
        zstd(&tar),
        bzip2(&tar),
        [gzip(first), gzip(second)].concat(),
        [zstd(first), zstd(second)].concat(),
    ] {
        let (root, layer) = unpack(&stored);
        assert_eq!(layer.diff_id, Digest::of(&tar));
        assert_eq!(std::fs::metadata(root.path().join("a")).unwrap().permissions().mode() & 0o777, 0o644);
    }
    let root = tempfile::tempdir_in("/tmp").unwrap();
    assert!(unpack_layer(&b"BZh91AY"[..], root.path(), &Limits::default()).is_err());
    // Nothing at all is an empty layer.
    assert_eq!(unpack(b"").1.size, 0);
}
