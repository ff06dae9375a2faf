//! Layers that quarrel with themselves or with those below: sizes said twice, links that become folders, files that grow on
//! the way. Each is refused or stays inside, and a canary on the host sees nothing of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use super::laws::archive;
use super::*;
use crate::engine::images::layer::{complete, marks};

/// A folder of the host that a layer would like to change.
struct Canary {
    folder: tempfile::TempDir,
    before: Vec<String>,
}

impl Canary {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::write(folder.path().join("secret"), "secret").unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        let before = Self::look(folder.path());
        Self { folder, before }
    }

    fn look(folder: &Path) -> Vec<String> {
        let all = [folder.to_owned(), folder.join("secret")];
        let told = all.iter().map(|path| {
            let meta = std::fs::symlink_metadata(path).unwrap();
            format!("{:o} {} {} {:?} {:?}", meta.mode(), meta.uid(), meta.nlink(), meta.modified().unwrap(), names(folder))
        });
        told.collect()
    }

    fn path(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }

    fn assert_untouched(&self, what: &str) {
        assert_eq!(Self::look(self.folder.path()), self.before, "{what}");
        assert_eq!(std::fs::read(self.folder.path().join("secret")).unwrap(), b"secret", "{what}");
    }
}

/// A file whose header says one size and whose extension says another one.
fn two_sizes(header: usize, pax: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = Tar::default().pax(&[("size", pax.as_bytes())]).0;
    let file = Tar::default().raw(b'0', "file", "", 0o644, b"").0;
    let mut file: [u8; 512] = file[..512].try_into().unwrap();
    file[124..136].copy_from_slice(format!("{header:011o}\0").as_bytes());
    file[148..156].fill(b' ');
    let sum: u32 = file.iter().map(|byte| u32::from(*byte)).sum();
    file[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend(file);
    tar.extend(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
    [tar, Tar::default().file("after", "x").end()].concat()
}

#[test]
fn the_extension_has_the_last_word_about_a_size() {
    // The content is the header of an entry that would be seen by whoever believes the wrong size.
    let smuggled = Tar::default().file("smuggled", vec![b's'; 600]).0;
    let sizes = [0, 1, 511, 512, 513, 1024, smuggled.len()];
    for header in sizes {
        for pax in sizes {
            let content = &smuggled[..pax];
            let tar = two_sizes(header, &pax.to_string(), content);
            let (ours, theirs) = (tempfile::tempdir_in("/tmp").unwrap(), tempfile::tempdir_in("/tmp").unwrap());
            unpack_layer(&tar, ours.path(), &Limits::default()).unwrap();
            assert!(std::fs::read(ours.path().join("file")).unwrap() == content, "{header} {pax}");
            assert_eq!(names(ours.path()), BTreeSet::from(["after".to_owned(), "file".to_owned()]), "{header} {pax}");
            std::fs::write(theirs.path().join("tar"), &tar).unwrap();
            let listed = Command::new("tar").arg("-tf").arg(theirs.path().join("tar")).output().unwrap();
            assert_eq!(String::from_utf8(listed.stdout).unwrap(), "file\nafter\n", "{header} {pax}");
        }
    }
    for size in ["-1", "9223372036854775807", "99999999999999999999", "1e3", "0x10", "12 34", "\u{663}"] {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        let error = unpack_layer(&two_sizes(1, size, b"x"), root.path(), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("number") || error.contains("bytes"), "{size}: {error}");
        assert!(!root.path().join("after").exists(), "{size}");
    }
    // More than there is.
    let root = tempfile::tempdir_in("/tmp").unwrap();
    let error = unpack_layer(&two_sizes(1, "100000", b"x"), root.path(), &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("ends in the middle"), "{error}");
}

#[test]
fn what_has_no_content_has_no_size() {
    // A size in the entry of a folder or a link must not hide the entries behind it, nor make content of them.
    for kind in [b'1', b'2', b'3', b'4', b'5', b'6'] {
        let device = Tar::default().file("target", "t").pax(&[("size", b"1024")]).raw(kind, "it", "target", 0o755, b"");
        let tar = device.file("after", "x").end();
        let root = tempfile::tempdir_in("/tmp").unwrap();
        unpack_layer(&tar, root.path(), &Limits::default()).unwrap();
        assert!(root.path().join("after").exists(), "{}", char::from(kind));
    }
}

#[test]
fn a_link_that_becomes_a_folder_leads_nowhere() {
    let canary = Canary::new();
    let to = canary.path();
    let layers: &[(&str, Vec<u8>)] = &[
        ("a link, then a folder", Tar::default().symlink("d", &to).raw(b'5', "d", "", 0o777, b"").file("d/new", "x").end()),
        ("the folder twice", Tar::default().symlink("d", &to).folder("d").raw(b'5', "d/", "", 0o7777, b"").end()),
        ("a folder, then a link", Tar::default().raw(b'5', "d", "", 0o777, b"").symlink("d", &to).end()),
        (
            "a folder's time, set last",
            Tar::default().folder("d").file("d/x", "x").symlink("d", &to).symlink("e", "d").raw(b'5', "e", "", 0o777, b"").end(),
        ),
        ("a whiteout through it", Tar::default().symlink("d", &to).file("d/.wh.secret", "").file("d/.wh..wh..opq", "").end()),
        ("a hard link through it", Tar::default().symlink("d", &to).hardlink("x", "d/secret").end()),
        ("a link to a link", Tar::default().symlink("d", &to).hardlink("x", "d").raw(b'5', "x", "", 0o777, b"").end()),
        (
            "a deep one",
            Tar::default().folder("p").symlink("p/d", &to).file("p/d/.wh.secret", "").raw(b'5', "p/d/", "", 0o777, b"").end(),
        ),
    ];
    for (what, tar) in layers {
        let root = tempfile::tempdir_in("/tmp").unwrap();
        let unpacked = unpack_layer(tar, root.path(), &Limits::default());
        canary.assert_untouched(what);
        if let Ok(layer) = unpacked {
            let completion = tempfile::tempdir_in("/tmp").unwrap();
            // Whether it can be completed is another question.
            drop(complete(root.path(), layer.dependent, &[], completion.path(), &Limits::default()));
            canary.assert_untouched(what);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_below_leads_nowhere_either() {
    let canary = Canary::new();
    let to = canary.path();
    let below =
        Tar::default().symlink("d", &to).symlink("up", "../../../../../../..").folder("real").file("real/file", "f").end();
    let tops: &[(&str, Vec<u8>, Option<&str>)] = &[
        ("a folder over it", Tar::default().raw(b'5', "d", "", 0o777, b"").file("d/x", "x").end(), None),
        ("only something in it", Tar::default().file("d/x", "x").end(), None),
        ("a whiteout in it", Tar::default().file("d/.wh.secret", "").file("d/.wh..wh..opq", "").end(), None),
        ("a hard link through it", Tar::default().hardlink("x", "d/secret").end(), Some("neither")),
        ("a hard link through a climbing one", Tar::default().hardlink("x", &format!("up{to}/secret")).end(), Some("neither")),
        ("a hard link to it", Tar::default().hardlink("x", "d").raw(b'5', "x/", "", 0o777, b"").end(), None),
        ("a hard link by way of both", Tar::default().symlink("l", "up/real").hardlink("x", "l/file").end(), None),
        ("a hard link out", Tar::default().hardlink("x", "../../secret").end(), Some("`..`")),
    ];
    let fixture = Fixture::new();
    for (what, top, refused) in tops {
        let stored = [(below.as_slice(), below.clone(), PLAIN), (top.as_slice(), top.clone(), PLAIN)];
        let mut sample = Sample::default();
        let image = sample.image(&here(), &stored);
        let source = Box::new(std::io::Cursor::new(archive(&sample, &image)));
        let loaded = fixture.images.load(source, LoadOptions::default(), silent()).await;
        canary.assert_untouched(what);
        match (loaded, refused) {
            (Ok(loaded), None) => {
                let seen = laws::shown(&fixture.images.rootfs(loaded[0].digest).unwrap().layers);
                assert!(seen.0.values().all(|facts| facts.content != Some(Digest::of(b"secret"))), "{what}");
            }
            (Err(error), Some(why)) => assert!(error.to_string().contains(why), "{what}: {error}"),
            (loaded, _) => panic!("{what}: {loaded:?}"),
        }
        canary.assert_untouched(what);
    }
}

#[test]
fn attributes_by_which_layers_are_put_together_are_refused() {
    let mark = String::from_utf8(marks().to_vec()).unwrap();
    for name in [format!("{mark}link"), format!("{mark}implied"), "trusted.overlay.opaque".into(), "user.overlay.metacopy".into()]
    {
        let tar = Tar::default().pax(&[(&format!("SCHILY.xattr.{name}"), b"/etc/shadow")]).file("x", "").end();
        let root = tempfile::tempdir_in("/tmp").unwrap();
        let error = unpack_layer(&tar, root.path(), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains(&name), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_do_not_multiply_what_is_below() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let images = open(folder.path(), Limits { bytes: 10_000, ..Limits::default() });
    let below = Tar::default().file("a", vec![1; 4000]).file("b", vec![2; 4000]).end();
    let more = Tar::default().file("c", vec![3; 4000]).end();
    let top = Tar::default().hardlink("x", "a").hardlink("y", "b").hardlink("z", "c").end();
    let stored = [&below, &more, &top].map(|tar| (tar.as_slice(), tar.clone(), PLAIN));
    let mut sample = Sample::default();
    let image = sample.image(&here(), &stored);
    let source = Box::new(std::io::Cursor::new(archive(&sample, &image)));
    let error = images.load(source, LoadOptions::default(), silent()).await.unwrap_err().to_string();
    assert!(error.contains("more than 10000 bytes"), "{error}");
    assert!(names(&folder.path().join("state/images/layers")).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_limits_hold_for_commits_and_checks() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let base = Tar::default().file("a", "1").file("b", "2").file("c", "3").end();
    let mut sample = Sample::default();
    let image = sample.image(&here(), &[(&base, base.clone(), PLAIN)]);
    let source = Box::new(std::io::Cursor::new(archive(&sample, &image)));
    let image = images.load(source, LoadOptions::default(), silent()).await.unwrap()[0].digest;
    let settings = |text: &str| std::fs::write(fixture.path().join("registries.yaml"), text).unwrap();

    settings("limits: {entries: 2}");
    let report = images.check(false, silent()).await.unwrap();
    assert!(report.problems.len() == 1 && report.problems[0].what.contains("more than 2 entries"), "{:?}", report.problems);
    let upper = fixture.path().join("upper");
    std::fs::create_dir(&upper).unwrap();
    for name in ["x", "y", "z"] {
        std::fs::write(upper.join(name), vec![7; 3000]).unwrap();
    }
    let source = CommitSource { base: image, upper, mount_points: BTreeSet::new() };
    for (limits, why) in [("limits: {entries: 2}", "more than 2 entries"), ("limits: {bytes: 4k}", "more than 4096 bytes")] {
        settings(limits);
        let error = images.difference(&source, &silent()).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        fixture.assert_no_work_left();
    }
    settings("limits: {entries: 100}");
    assert!(images.check(false, silent()).await.unwrap().problems.is_empty());
    images.difference(&source, &silent()).unwrap();
}
