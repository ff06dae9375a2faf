//! What comes out of a layer's folder and its skeleton is the tar that went in, byte by byte, whatever it was.

use std::io::Read;
use std::process::Command;

use super::scripted::Server;
use super::*;
use crate::engine::images::layer::Rebuilt;

/// Unpacks a tar, and gives what comes out again, and whether any work is left beside it.
fn there_and_back(tar: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (root, skeleton, replaced) = (folder.path().join("root"), folder.path().join("skeleton"), folder.path().join("replaced"));
    std::fs::create_dir(&root).unwrap();
    let recorder = Recorder::create(&skeleton, &replaced).unwrap();
    let layer = super::super::layer::unpack_layer(tar, &root, recorder, &Limits::default()).unwrap();
    assert_eq!(names(folder.path()), BTreeSet::from(["root".to_owned(), "skeleton".to_owned()]));
    let mut back = Vec::new();
    Rebuilt::open(&skeleton, &root).unwrap().read_to_end(&mut back).unwrap();
    assert_eq!(layer.tar_size, back.len() as u64);
    back
}

#[test]
fn the_same_bytes_come_out() {
    let long = "l".repeat(150);
    let mut trailing = Tar::default().file("a", "x").end();
    trailing.resize(70_000, 0);
    let all: &[(&str, Vec<u8>)] = &[
        ("nothing", Vec::new()),
        ("an end only", Tar::default().end()),
        ("no end", Tar::default().file("a", "content").0),
        ("padding behind the end", trailing),
        ("a last file without padding", Tar::default().file("a", "content").0[..519].to_vec()),
        ("rubbish behind the end", [Tar::default().file("a", "x").end(), b"rubbish".to_vec()].concat()),
        ("empty and large", Tar::default().file("empty", "").file("large", vec![7; 1_000_000]).end()),
        ("twice", Tar::default().file("a", "first").file("a", "second, and longer").file("a", "third").end()),
        ("a file that becomes a folder", Tar::default().file("a", "file").folder("a").file("a/b", "inside").end()),
        ("a folder that becomes a file", Tar::default().folder("a").file("a/b", "1").file("a/c", "2").file("a", "file").end()),
        (
            "a folder that goes with what was replaced in it",
            Tar::default()
                .file("d/a", "1")
                .file("d/a", "2")
                .symlink("d", "x")
                .folder("x")
                .file("d/a", "3")
                .file("x/a", "4")
                .end(),
        ),
        ("a hard link whose first name goes", Tar::default().file("a", "both").hardlink("b", "a").symlink("a", "b").end()),
        ("a hard link to what is replaced", Tar::default().file("a", "1").hardlink("b", "a").file("b", "2").file("a", "3").end()),
        (
            "through links",
            Tar::default().folder("etc").symlink("l", "/etc").file("l/a", "in etc").symlink("m", "l").file("m/b", "x").end(),
        ),
        (
            "a link that is replaced later",
            Tar::default().folder("e").symlink("l", "e").file("l/a", "in e").folder("l").file("l/a", "in l").end(),
        ),
        (
            "whiteouts",
            Tar::default().file(".wh.gone", "with content").file("o/.wh..wh..opq", "").file(".wh..wh.plnk/x", "y").end(),
        ),
        (
            "long names",
            Tar::default().raw(b'L', "././@LongLink", "", 0o644, format!("{long}\0").as_bytes()).file("s", "long").end(),
        ),
        ("pax", Tar::default().pax(&[("path", long.as_bytes()), ("mtime", b"1.5")]).file("s", "pax").end()),
        (
            "pax sparse",
            Tar::default()
                .pax(&[
                    ("GNU.sparse.major", b"1"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.realsize", b"1048577"),
                    ("GNU.sparse.name", b"sparse"),
                ])
                .file("x", [format!("{:\0<512}", "2\n0\n3\n1048576\n1\n").as_bytes(), b"abcz"].concat())
                .file("sparse", "replaced")
                .end(),
        ),
    ];
    for (what, tar) in all {
        assert!(there_and_back(tar) == *tar, "{what}");
    }
}

#[test]
fn the_same_comes_out_of_what_gnu_tar_writes() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let tree = folder.path().join("tree");
    std::fs::create_dir_all(tree.join("a".repeat(200)).join("b".repeat(100))).unwrap();
    std::fs::write(tree.join("a".repeat(200)).join("file"), vec![3; 70_001]).unwrap();
    std::fs::hard_link(tree.join("a".repeat(200)).join("file"), tree.join("again")).unwrap();
    std::os::unix::fs::symlink("t".repeat(300), tree.join("link")).unwrap();
    let sparse = std::fs::File::create(tree.join("sparse")).unwrap();
    for i in 0..60u64 {
        std::os::unix::fs::FileExt::write_all_at(&sparse, &[b'0' + i as u8; 4096], i * 100_000).unwrap();
    }
    sparse.set_len(8 << 20).unwrap();
    for format in ["gnu", "posix", "oldgnu", "ustar"] {
        let tar = folder.path().join(format);
        let mut command = Command::new("tar");
        command.arg("-cf").arg(&tar).arg(format!("--format={format}")).arg("-C").arg(&tree);
        // A ustar has no room for the long names, and no sparse files.
        if format == "ustar" {
            command.args(["again", "sparse"])
        } else {
            command.args(["--sparse", "."])
        };
        assert!(command.status().unwrap().success());
        let tar = std::fs::read(&tar).unwrap();
        assert!(there_and_back(&tar) == tar, "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_layer_is_a_tar_again_and_a_changed_one_says_so() {
    let mut sample = Sample::default();
    let tar = Tar::default().file("a", vec![1; 5000]).file("b", "b").file("a", vec![2; 5000]).end();
    let stored = gzip(&tar);
    let image = digest_of(&sample.image(&here(), &[(&tar, stored.clone(), GZIP)]));
    let server = Server::start(move |request, _| sample.answer(image, request)).await;
    let fixture = Fixture::new();
    let images = &fixture.images;
    let diff_id = Digest::of(&tar);
    let missing = images.layer_tar(&diff_id).err().unwrap();
    assert!(matches!(missing, ImagesError::LayerGone { .. }), "{missing}");
    images.pull(&server.reference("a:1"), None, silent()).await.unwrap();
    let mut back = Vec::new();
    let mut again = images.layer_tar(&diff_id).unwrap();
    assert_eq!(again.size(), tar.len() as u64);
    again.read_to_end(&mut back).unwrap();
    assert!(back == tar);
    assert_eq!((fixture.names("skeletons").len(), fixture.names("blobs/sha256").len()), (1, 2));

    // The blob is kept when that is asked for, also of a layer that is here.
    let options = PullOptions { keep_blobs: Some(true), ..PullOptions::default() };
    for _ in 0..2 {
        images.pull_with(&server.reference("a:1"), &options, silent()).await.unwrap();
        let mut blob = Vec::new();
        images.open_blob(&Digest::of(&stored)).unwrap().read_to_end(&mut blob).unwrap();
        assert!(blob == stored);
    }
    let known = images.layer_blobs(&diff_id).unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].digest, known[0].media_type.as_str(), known[0].kept), (Digest::of(&stored), GZIP, true));
    assert_eq!(server.requests("blobs/").len(), 3);

    let file = fixture.path().join("state/images/layers").join(diff_id.hex()).join("b");
    std::fs::write(&file, "c").unwrap();
    let error = images.layer_tar(&diff_id).unwrap().read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("damaged"), "{error}");
    std::fs::write(&file, "").unwrap();
    let error = images.layer_tar(&diff_id).unwrap().read_to_end(&mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("/b has 0 bytes where the layer has 1"), "{error}");

    images.remove(image).unwrap();
    assert_eq!((fixture.names("skeletons").len(), fixture.names("blobs/sha256").len()), (0, 0));
}
