//! Checks find what is damaged and repairs bring it again; prunes take what nobody needs; commits are differences.

use std::ffi::CString;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use super::scripted::Server;
use super::*;
use crate::engine::images::{CommitConfig, CommitSource, LabelFilter, Part, PruneFilter, Repair};

/// What it is called, what a check finds damaged, and how it is done.
type Damage<'a> = (&'static str, Part, Box<dyn Fn() + 'a>);

fn layer() -> Vec<u8> {
    Tar::default()
        .folder("etc")
        .file("etc/one", "one")
        .file("etc/two", "two")
        .hardlink("etc/again", "etc/two")
        .symlink("link", "etc/one")
        .file("twice", "1")
        .file("twice", "2")
        .file(".wh.gone", "")
        .file("implicit/parent/file", "x")
        .end()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_one_of_its_layers_counts_as_gone_until_it_is_pulled_again() {
    let (tar, other) = (layer(), Tar::default().file("other", "1").end());
    let mut sample = Sample::default();
    let image = digest_of(&sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]));
    let apart = digest_of(&sample.image(&here(), &[(&other, gzip(&other), GZIP)]));
    let server = Server::start(move |request, _| {
        let named = if request.path.contains("/apart/") { apart } else { image };
        sample.answer(named, request)
    })
    .await;
    let fixture = Fixture::new();
    let images = &fixture.images;
    let pull = async |name: &str| images.pull(&server.reference(name), None, silent()).await.unwrap();
    assert_eq!((pull("a:1").await, pull("apart:1").await), (image, apart));
    let seen = || {
        let present = images.present().unwrap();
        let digests = |all: Vec<observed::Image>| all.into_iter().map(|image| image.digest).collect::<BTreeSet<_>>();
        (digests(present.whole), digests(present.gone))
    };
    let both = BTreeSet::from([image, apart]);
    assert_eq!(seen(), (both.clone(), BTreeSet::new()));
    let layers = fixture.path().join("state/images/layers");
    std::fs::remove_dir_all(layers.join(Digest::of(&tar).hex())).unwrap();
    assert_eq!(seen(), (BTreeSet::from([apart]), BTreeSet::from([image])));
    assert!(!images.is_whole(&image).unwrap() && images.is_whole(&apart).unwrap());
    // Even the folder of all may go.
    std::fs::remove_dir_all(&layers).unwrap();
    assert_eq!(seen(), (BTreeSet::new(), both.clone()));
    assert_eq!((pull("a:1").await, pull("apart:1").await), (image, apart));
    assert_eq!(seen(), (both, BTreeSet::new()));
    assert!(images.is_whole(&image).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_damaged_is_found_and_brought_again() {
    let tar = layer();
    let mut sample = Sample::default();
    let image = digest_of(&sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]));
    let server = Server::start(move |request, _| sample.answer(image, request)).await;
    let fixture = Fixture::new();
    let images = &fixture.images;
    let options = PullOptions { keep_blobs: Some(true), ..PullOptions::default() };
    images.pull_with(&server.reference("a:1"), &options, silent()).await.unwrap();
    let report = images.check(false, silent()).await.unwrap();
    assert_eq!((report.images, report.layers, report.blobs, report.problems.as_slice()), (1, 1, 1, [].as_slice()));

    let state = fixture.path().join("state/images");
    let root = state.join("layers").join(Digest::of(&tar).hex());
    let skeleton = state.join("skeletons").join(Digest::of(&tar).hex());
    let blob = |digest: Digest| state.join("blobs/sha256").join(digest.hex());
    let config = images.content_of(&image).unwrap().0;
    let kept = Digest::of(&gzip(&tar));
    let flip = |path: PathBuf| {
        let mut content = std::fs::read(&path).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        // In place, as a disk does it, with the times as they were.
        let times = std::fs::metadata(&path).unwrap().modified().unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &content, 0).unwrap();
        file.set_modified(times).unwrap();
    };
    let damages: Vec<Damage<'_>> = vec![
        ("flipped file", Part::Layer, Box::new(|| flip(root.join("etc/one")))),
        ("flipped hard link", Part::Layer, Box::new(|| flip(root.join("etc/again")))),
        ("truncated file", Part::Layer, Box::new(|| std::fs::write(root.join("etc/one"), "o").unwrap())),
        ("missing file", Part::Layer, Box::new(|| std::fs::remove_file(root.join("etc/one")).unwrap())),
        ("missing folder", Part::Layer, Box::new(|| std::fs::remove_dir_all(root.join("implicit")).unwrap())),
        ("missing link", Part::Layer, Box::new(|| std::fs::remove_file(root.join("link")).unwrap())),
        ("missing whiteout", Part::Layer, Box::new(|| std::fs::remove_file(root.join("gone")).unwrap())),
        ("additional file", Part::Layer, Box::new(|| std::fs::write(root.join("etc/three"), "").unwrap())),
        (
            "another kind",
            Part::Layer,
            Box::new(|| {
                std::fs::remove_file(root.join("link")).unwrap();
                std::fs::create_dir_all(root.join("link/deep")).unwrap();
            }),
        ),
        (
            "mode of a file",
            Part::Layer,
            Box::new(|| {
                std::fs::set_permissions(root.join("etc/two"), std::fs::Permissions::from_mode(0o600)).unwrap();
            }),
        ),
        (
            "mode of a folder",
            Part::Layer,
            Box::new(|| {
                std::fs::set_permissions(root.join("etc"), std::fs::Permissions::from_mode(0o700)).unwrap();
            }),
        ),
        ("owner", Part::Layer, Box::new(|| std::os::unix::fs::chown(root.join("etc"), Some(7), None).unwrap())),
        (
            "attribute",
            Part::Layer,
            Box::new(|| {
                let flags = rustix::fs::XattrFlags::empty();
                rustix::fs::setxattr(root.join("etc"), "trusted.overlay.opaque", b"y", flags).unwrap();
            }),
        ),
        ("missing layer", Part::Layer, Box::new(|| std::fs::remove_dir_all(&root).unwrap())),
        ("missing skeleton", Part::Skeleton, Box::new(|| std::fs::remove_file(&skeleton).unwrap())),
        ("missing manifest", Part::Manifest, Box::new(|| std::fs::remove_file(blob(image)).unwrap())),
        ("flipped manifest", Part::Manifest, Box::new(|| flip(blob(image)))),
        ("flipped configuration", Part::Config, Box::new(|| flip(blob(config)))),
        ("truncated configuration", Part::Config, Box::new(|| std::fs::write(blob(config), "{").unwrap())),
        ("flipped blob", Part::Blob, Box::new(|| flip(blob(kept)))),
        ("missing blob", Part::Blob, Box::new(|| std::fs::remove_file(blob(kept)).unwrap())),
    ];
    for (what, part, damage) in &damages {
        damage();
        let report = images.check(false, silent()).await.unwrap();
        assert_eq!(report.problems.len(), 1, "{what}: {report:?}");
        assert_eq!((report.problems[0].part, report.is_clean()), (*part, false), "{what}");
        assert!(report.problems[0].images.contains(&server.reference("a:1").to_string()), "{what}");
        let report = images.check(true, silent()).await.unwrap();
        assert_eq!(report.problems[0].repair, Repair::Done, "{what}");
        let report = images.check(false, silent()).await.unwrap();
        assert!(report.problems.is_empty(), "{what}: {report:?}");
        let mut back = Vec::new();
        images.layer_tar(&Digest::of(&tar)).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == tar, "{what}");
    }
    fixture.assert_no_work_left();

    // What only a registry has cannot be had without it, and a skeleton that is of an earlier version's time is asked for.
    images.inner.db.write(|t| t.execute("DELETE FROM blob_places", [])).unwrap();
    std::fs::remove_file(blob(kept)).unwrap();
    images.inner.db.write(|t| t.execute("UPDATE layers SET tar_size = NULL", [])).unwrap();
    let report = images.check(true, silent()).await.unwrap();
    let failed = report.problems.iter().filter(|problem| matches!(problem.repair, Repair::Failed { .. })).count();
    assert_eq!((report.problems.len(), failed), (2, 1), "{report:?}");
    assert!(images.layer_tar(&Digest::of(&tar)).is_err());
    images.pull(&server.reference("a:1"), None, silent()).await.unwrap();
    assert!(images.check(false, silent()).await.unwrap().problems.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_the_difference() {
    let base = Tar::default().file("kept", "k").file("gone", "g").file("folder/old", "o").folder("etc").end();
    let mut sample = Sample::default();
    let image = digest_of(&sample.image(&here(), &[(&base, gzip(&base), GZIP)]));
    let server = Server::start(move |request, _| sample.answer(image, request)).await;
    let fixture = Fixture::new();
    let images = fixture.images.clone();
    images.pull(&server.reference("a:1"), None, silent()).await.unwrap();
    let lower = images.rootfs(image).unwrap().layers.remove(0);
    let work = |name: &str| {
        let folder = fixture.path().join(name);
        for part in ["upper", "work", "merged"] {
            std::fs::create_dir_all(folder.join(part)).unwrap();
        }
        let options = CString::new(format!(
            "lowerdir={},upperdir={},workdir={},index=off,redirect_dir=off,metacopy=off",
            lower.display(),
            folder.join("upper").display(),
            folder.join("work").display()
        ))
        .unwrap();
        let merged = folder.join("merged");
        std::thread::spawn(move || {
            use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            mount("overlay", &merged, "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
            std::fs::remove_file(merged.join("gone")).unwrap();
            std::fs::remove_dir_all(merged.join("folder")).unwrap();
            std::fs::create_dir(merged.join("folder")).unwrap();
            std::fs::write(merged.join("folder/new"), "n").unwrap();
            std::fs::write(merged.join("etc/hosts"), "").unwrap();
            std::fs::create_dir(merged.join("proc")).unwrap();
            // What differs from one run to the next are times; the content is the same.
            for (path, seconds) in [("folder/new", 1_700_000_100), ("folder", 1_700_000_200), ("etc", 1_700_000_300)] {
                let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
                std::fs::File::open(merged.join(path)).unwrap().set_modified(time).unwrap();
            }
            nix::mount::umount(merged.as_path()).unwrap();
        })
        .join()
        .unwrap();
        folder.join("upper")
    };
    let mount_points: BTreeSet<PathBuf> = ["etc/hosts", "proc"].map(PathBuf::from).into();
    let mut made = Vec::new();
    for (name, reference) in [("one", "made:1"), ("two", "made:2")] {
        let source = CommitSource { base: image, upper: work(name), mount_points: mount_points.clone() };
        let difference = images.difference(&source, &silent()).unwrap();
        let config = CommitConfig { author: Some("me".into()), message: Some("done".into()), ..CommitConfig::default() };
        made.push(images.commit(image, &difference, config, Some(&reference.parse().unwrap())).unwrap());
    }
    assert_eq!(made[0], made[1], "the same content gives the same image");
    let rootfs = images.rootfs(made[0]).unwrap();
    let set = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(names(&rootfs.layers[0]), set(&["etc", "folder", "gone"]));
    assert_eq!((names(&rootfs.layers[0].join("folder")), names(&rootfs.layers[0].join("etc"))), (set(&["new"]), set(&[])));
    let mut tar = Vec::new();
    images.layer_tar(&images.content_of(&made[0]).unwrap().1[1]).unwrap().read_to_end(&mut tar).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let entries: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(entries, ["./", "etc/", "folder/", "folder/.wh..wh..opq", "folder/new", ".wh.gone"]);
    let history = images.history(made[0]).unwrap();
    assert_eq!((history[0].author.as_str(), history[0].comment.as_str(), history.len()), ("me", "done", 2));
    assert_eq!((history[0].image, history[0].size, history[1].size), (Some(made[0]), 1, 3));
    assert!(images.check(false, silent()).await.unwrap().problems.is_empty());
    // Its manifest was made here, and is made again.
    std::fs::remove_file(fixture.path().join("state/images/blobs/sha256").join(made[0].hex())).unwrap();
    assert!(images.check(true, silent()).await.unwrap().is_clean());
    assert!(images.check(false, silent()).await.unwrap().problems.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn prunes_take_what_nobody_needs() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let mut made = Vec::new();
    for (name, content, label) in [("a:1", "a", "one"), ("b:1", "bb", "two"), ("c:1", "ccc", "one")] {
        let layer = Tar::default().file("shared", "s").end();
        let own = Tar::default().file(name, content).end();
        let config = json!({
            "architecture": here(), "os": "linux", "created": "2024-05-06T07:08:09Z", "config": {"Labels": {"k": label}},
            "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer), Digest::of(&own)]},
        });
        let list = json!([{"Config": "c.json", "RepoTags": [name], "Layers": ["l.tar", "o.tar"]}]).to_string();
        let archive = Tar::default().file("l.tar", &layer).file("o.tar", &own).file("c.json", config.to_string());
        let archive = archive.file("manifest.json", list).end();
        let loaded = images.load(Box::new(std::io::Cursor::new(archive)), LoadOptions::default(), silent()).await.unwrap();
        made.push(loaded[0].digest);
    }
    let live = BTreeSet::from([made[0]]);
    let usage = images.usage(&live).unwrap();
    assert_eq!((usage.size, usage.reclaimable), (1 + 1 + 2 + 3, 2 + 3));
    let of = |digest| usage.images.iter().find(|image| image.digest == digest).unwrap();
    assert_eq!((of(made[1]).size, of(made[1]).shared, of(made[1]).active, of(made[0]).active), (3, 1, false, true));

    let all = PruneFilter { all: true, ..PruneFilter::default() };
    let label = |value: &str, without| LabelFilter { key: "k".into(), value: Some(value.into()), without };
    assert!(images.prune(&PruneFilter::default(), |_| Ok(live.clone())).unwrap().images.is_empty());
    let young = PruneFilter { until: Some(time::macros::datetime!(2024-01-01 00:00 UTC)), ..all.clone() };
    assert!(images.prune(&young, |_| Ok(live.clone())).unwrap().images.is_empty());
    let pruned = images.prune(&PruneFilter { labels: vec![label("one", true)], ..all.clone() }, |_| Ok(live.clone())).unwrap();
    assert_eq!((pruned.images[0].digest, pruned.images.len(), pruned.bytes), (made[1], 1, 2));
    images.untag(&"c:1".parse().unwrap()).unwrap();
    let pruned =
        images.prune(&PruneFilter { labels: vec![label("one", false)], ..PruneFilter::default() }, |_| Ok(live.clone())).unwrap();
    assert_eq!((pruned.images[0].digest, pruned.images.len(), pruned.bytes), (made[2], 1, 3));
    assert!(images.prune(&all, |_| Ok(live.clone())).unwrap().images.is_empty());
    assert_eq!(images.prune(&all, |_| Ok(BTreeSet::new())).unwrap().images.len(), 1);
    assert_eq!((fixture.names("layers").len(), fixture.names("blobs/sha256").len()), (0, 0));
}
