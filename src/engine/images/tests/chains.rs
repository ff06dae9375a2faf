//! Layers that need those below them: hard links to files there, and folders of which they say nothing.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::laws::{archive, shown};
use super::*;

async fn load(images: &Images, layers: &[&[u8]]) -> Result<Digest, String> {
    let stored: Vec<_> = layers.iter().map(|tar| (*tar, gzip(tar), GZIP)).collect();
    let mut sample = Sample::default();
    let image = sample.image(&here(), &stored);
    let archive = Box::new(std::io::Cursor::new(archive(&sample, &image)));
    let loaded = images.load(archive, LoadOptions::default(), silent()).await.map_err(|e| e.to_string())?;
    Ok(loaded[0].digest)
}

fn inode(path: &Path) -> (u64, u64) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    (meta.ino(), meta.nlink())
}

/// A link to a file below, a name of that file which nobody speaks of, and a folder that only has an entry in it.
fn linking() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let one =
        Tar::default().file("a", "of one").hardlink("other", "a").raw(b'5', "tmp/", "", 0o1777, b"").file("tmp/x", "x").end();
    let two = Tar::default().file("a", "of two").end();
    let top = Tar::default().hardlink("d/b", "a").hardlink("c", "d/b").file("tmp/y", "y").end();
    (one, two, top)
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_lead_into_the_layers_below_whichever_they_are() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let (one, two, top) = linking();
    let first = load(images, &[&one, &top]).await.unwrap();
    let second = load(images, &[&two, &top]).await.unwrap();
    assert_eq!((fixture.names("layers").len(), fixture.names("completions").len()), (3, 2));
    for (image, content, others) in [(first, "of one", 4), (second, "of two", 3)] {
        let folders = images.rootfs(image).unwrap().layers;
        assert_eq!(folders.len(), 3);
        let completion = &folders[0];
        assert_eq!(std::fs::read_to_string(completion.join("c")).unwrap(), content);
        assert_eq!(inode(&completion.join("a")), inode(&completion.join("d/b")));
        assert_eq!(inode(&completion.join("c")).1, others);
    }
    let seen = shown(&images.rootfs(first).unwrap().layers);
    let same: Vec<_> = ["a", "c", "d/b", "other"].iter().map(|name| seen.0[*name].same_as.clone().unwrap()).collect();
    assert_eq!(same, ["a"; 4]);
    assert_eq!((seen.0["tmp"].mode, seen.0["d"].mode), (0o1777, 0o755));
    let mut back = Vec::new();
    images.layer_tar(&Digest::of(&top)).unwrap().read_to_end(&mut back).unwrap();
    assert!(back == top);
    let usage = images.usage(&BTreeSet::new()).unwrap();
    assert_eq!(usage.size, (6 + 1) + 6 + 1 + 6 + 6, "files of three layers and of two completions");

    // One image's completion goes with it.
    images.remove(first).unwrap();
    assert_eq!((fixture.names("layers").len(), fixture.names("completions").len()), (2, 1));
    assert!(images.check(false, silent()).await.unwrap().problems.is_empty());
    images.remove(second).unwrap();
    assert_eq!((fixture.names("layers").len(), fixture.names("completions").len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_to_nothing_is_refused_and_nothing_remains() {
    let fixture = Fixture::new();
    let (one, _, top) = linking();
    let removes = Tar::default().file(".wh.a", "").end();
    let turns = Tar::default().folder("a").end();
    let first = Tar::default().file(".wh.a", "").hardlink("b", "a").end();
    let opaque = Tar::default().file("d/.wh..wh..opq", "").hardlink("b", "d/a").end();
    for (layers, why) in [
        (vec![top.as_slice()], "which neither the layer nor those below it have"),
        (vec![&one, &removes, &top], "which neither the layer nor those below it have"),
        (vec![&one, &turns, &top], "which is a folder"),
        (vec![&one, &first], "which the same layer hides"),
        (vec![&one, &opaque], "which the same layer hides"),
    ] {
        let error = load(&fixture.images, &layers).await.unwrap_err();
        assert!(error.contains(why), "{error}");
        for folder in ["layers", "completions", "skeletons", "blobs/sha256"] {
            assert!(fixture.names(folder).is_empty(), "{folder}: {error}");
        }
        fixture.assert_no_work_left();
    }
    assert!(fixture.images.list().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_finds_damaged_completions_and_makes_them_again() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let (one, _, top) = linking();
    let image = load(images, &[&one, &top]).await.unwrap();
    let completion = images.rootfs(image).unwrap().layers.remove(0);
    let wanted = shown(&images.rootfs(image).unwrap().layers);
    let time = std::fs::metadata(completion.join("a")).unwrap().modified().unwrap();
    let damages: [(&str, &dyn Fn()); 4] = [
        ("another content", &|| {
            std::fs::write(completion.join("a"), "of oNe").unwrap();
            std::fs::File::open(completion.join("a")).unwrap().set_modified(time).unwrap();
        }),
        ("another mode", &|| {
            std::fs::set_permissions(completion.join("tmp"), std::fs::Permissions::from_mode(0o700)).unwrap();
        }),
        ("is missing", &|| std::fs::remove_file(completion.join("d/b")).unwrap()),
        ("is gone", &|| std::fs::remove_dir_all(&completion).unwrap()),
    ];
    for (what, damage) in damages {
        damage();
        let report = images.check(false, silent()).await.unwrap();
        let [problem] = report.problems.as_slice() else { panic!("{what}: {:?}", report.problems) };
        assert_eq!((problem.part, problem.images.len()), (Part::Completion, 1));
        assert!(problem.what.contains(what), "{}", problem.what);
        let report = images.check(true, silent()).await.unwrap();
        assert!(report.is_clean(), "{:?}", report.problems);
        assert!(images.check(false, silent()).await.unwrap().problems.is_empty());
        assert!(wanted.differences(&shown(&images.rootfs(image).unwrap().layers)).is_empty());
    }
    // What a process has left that died before its commit.
    let left = fixture.path().join("state/images/completions").join("ab".repeat(32));
    std::fs::create_dir(&left).unwrap();
    images.recover().unwrap();
    assert!(!left.exists() && completion.is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_root_that_hides_all_below_does_so() {
    let fixture = Fixture::new();
    let one = Tar::default().file("low", "x").file("a", "x").end();
    let top = Tar::default().file(".wh..wh..opq", "").file("high", "y").end();
    let image = load(&fixture.images, &[&one, &top]).await.unwrap();
    let seen = shown(&fixture.images.rootfs(image).unwrap().layers);
    assert_eq!(seen.0.keys().map(String::as_str).collect::<Vec<_>>(), ["", "high"]);
}
