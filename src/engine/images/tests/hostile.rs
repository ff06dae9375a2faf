//! Archives that want out, or to fill the host: nothing outside the folder changes, and the error says why.

use super::*;
use crate::engine::images::layer::complete;

/// Unpacks into `root` within a folder that also has a secret, and checks that the secret is untouched and alone.
fn attempt(tar: &[u8]) -> (tempfile::TempDir, Result<(), String>) {
    let outer = tempfile::tempdir_in("/tmp").unwrap();
    std::fs::write(outer.path().join("secret"), "secret").unwrap();
    std::fs::create_dir(outer.path().join("root")).unwrap();
    let result = unpack_and_complete(tar, &outer.path().join("root"));
    assert_eq!(std::fs::read(outer.path().join("secret")).unwrap(), b"secret");
    assert_eq!(names(outer.path()), BTreeSet::from(["root".to_owned(), "secret".to_owned()]));
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(outer.path().join("secret")).unwrap().nlink(), 1);
    (outer, result)
}

/// As the lowest layer of an image.
fn unpack_and_complete(tar: &[u8], root: &Path) -> Result<(), String> {
    let layer = unpack_layer(tar, root, &Limits::default()).map_err(|e| e.to_string())?;
    let completion = tempfile::tempdir_in("/tmp").unwrap();
    let made = complete(root, layer.dependent, &[], completion.path(), &Limits::default());
    made.map(drop).map_err(|e| e.to_string())
}

#[test]
fn nothing_leads_out() {
    let refused: &[(&str, Vec<u8>)] = &[
        ("parent", Tar::default().file("../escaped", "x").end()),
        ("parent in the middle", Tar::default().folder("a").file("a/../../escaped", "x").end()),
        ("parent folder", Tar::default().folder("..").end()),
        ("parent link", Tar::default().symlink("../escaped", "x").end()),
        ("hard link out", Tar::default().hardlink("a", "../secret").end()),
        ("hard link through a link", Tar::default().symlink("up", "..").hardlink("a", "up/secret").end()),
        ("hard link to a folder", Tar::default().folder("d").hardlink("a", "d").end()),
        ("hard link to nothing", Tar::default().hardlink("a", "b").end()),
        ("whiteout of the parent", Tar::default().file(".wh...", "").end()),
        ("whiteout of itself", Tar::default().file("a/.wh..", "").end()),
        ("whiteout of nothing", Tar::default().file("a/.wh.", "").end()),
        ("long name", Tar::default().raw(b'L', "././@LongLink", "", 0o644, b"../escaped\0").file("x", "x").end()),
        ("pax name", Tar::default().pax(&[("path", b"../escaped")]).file("x", "x").end()),
        ("pax name with a NUL", Tar::default().pax(&[("path", b"a\0b")]).file("x", "x").end()),
        ("dangling folder", Tar::default().symlink("a", "/nowhere/at/all").file("a/x", "x").end()),
        ("overlay's own attribute", Tar::default().pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")]).folder("a").end()),
        ("endless extension", Tar::default().raw(b'x', "x", "", 0, &vec![b'1'; 2 << 20]).end()),
        ("root as a file", Tar::default().file(".", "x").end()),
        ("unknown kind", Tar::default().raw(b'?', "x", "", 0, b"").end()),
        ("not a tar", vec![b'x'; 4096]),
        ("cut in a header", Tar::default().file("a", "x").0[..300].to_vec()),
        ("cut in a file", Tar::default().file("a", vec![1; 2000]).0[..1024].to_vec()),
    ];
    for (what, tar) in refused {
        let (_outer, result) = attempt(tar);
        let error = result.expect_err(what);
        assert!(!error.is_empty(), "{what}");
    }
}

#[test]
fn links_lead_within() {
    // An absolute link, a write through it, a link that climbs, and a write through that.
    let tar = Tar::default()
        .folder("etc")
        .symlink("absolute", "/etc")
        .file("absolute/one", "1")
        .symlink("climbs", "../../../../../..")
        .file("climbs/two", "2")
        .file("/three", "3")
        .symlink("to-secret", "../secret")
        .file("to-secret", "replaced")
        .end();
    let (outer, result) = attempt(&tar);
    result.unwrap();
    let root = outer.path().join("root");
    assert_eq!(std::fs::read(root.join("etc/one")).unwrap(), b"1");
    assert_eq!(std::fs::read(root.join("two")).unwrap(), b"2");
    assert_eq!(std::fs::read(root.join("three")).unwrap(), b"3");
    assert_eq!(std::fs::read(root.join("to-secret")).unwrap(), b"replaced");
}

#[test]
fn bombs_are_refused() {
    let limits = Limits { bytes: 10 << 20, entries: 100, ratio: 50, small: 1 << 20 };
    let unpack = |bytes: &[u8]| {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        unpack_layer(bytes, root.path(), &limits).map(|_| ()).unwrap_err().to_string()
    };
    let many = (0..101).fold(Tar::default(), |tar, i| tar.file(&format!("{i}"), "")).end();
    assert!(unpack(&many).contains("100 entries"));
    let big = Tar::default().file("big", vec![7; 11 << 20]).end();
    assert!(unpack(&big).contains("bytes"));
    let zeros = Tar::default().file("zeros", vec![0; 9 << 20]).end();
    let error = unpack(&gzip(&zeros));
    assert!(error.contains("for each compressed byte"), "{error}");
    // Behind the archive's end there may be padding, but not without an end.
    let mut tail = Tar::default().end();
    tail.resize(30 << 20, 0);
    assert!(unpack(&zstd(&tail)).contains("bytes"));
    // A hole costs no disk, yet whoever copies the file pays for it.
    let sparse = Tar::default()
        .pax(&[("GNU.sparse.map", b"0,1"), ("GNU.sparse.size", b"99999999999"), ("GNU.sparse.name", b"hole")])
        .file("x", "x")
        .end();
    assert!(unpack(&sparse).contains("bytes"));
}
