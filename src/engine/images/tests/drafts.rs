//! Layers of builds: the upper folder of an overlay is the layer, as if its tar had been unpacked.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};

use super::*;
use crate::engine::images::{Fresh, FreshFile};
use crate::engine::runtime::view;

/// An image with something to hide, to replace and to change.
async fn base(fixture: &Fixture) -> Base {
    let root = fixture.path().join("base");
    for folder in ["etc", "usr/bin", "var/lib/old/deep", "var/cache", "opt/app"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    for file in ["etc/passwd", "etc/hosts", "usr/bin/tool", "var/lib/old/deep/file", "var/cache/x", "opt/app/main"] {
        fs::write(root.join(file), file).unwrap();
    }
    fs::hard_link(root.join("usr/bin/tool"), root.join("usr/bin/other")).unwrap();
    let source = ImportSource::Path(root);
    let digest = fixture.images.import(source, None, ImportConfig::default(), None, silent()).await.unwrap();
    fixture.images.base(digest).unwrap()
}

/// Changes the tree in every way that an overlay notes somehow.
fn change(root: &std::path::Path) {
    // As a folder of which the layer below says nothing.
    let mark = std::str::from_utf8(crate::engine::images::layer::marks()).unwrap();
    setxattr(root.join("var"), format!("{mark}implied"), b"", XattrFlags::empty()).unwrap();
    fs::remove_file(root.join("etc/hosts")).unwrap();
    fs::remove_file(root.join("var/cache/x")).unwrap();
    fs::remove_dir_all(root.join("var/lib/old")).unwrap();
    // A folder in the place of one that was there hides what that had.
    fs::create_dir(root.join("var/lib/old")).unwrap();
    fs::write(root.join("var/lib/old/new"), "new").unwrap();
    // A file in the place of a folder, and the other way round.
    fs::remove_dir_all(root.join("opt/app")).unwrap();
    fs::write(root.join("opt/app"), "a file now").unwrap();
    fs::remove_file(root.join("etc/passwd")).unwrap();
    fs::create_dir(root.join("etc/passwd")).unwrap();
    fs::write(root.join("usr/bin/tool"), "changed").unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o4755)).unwrap();
    let long = root.join("srv").join("d".repeat(120)).join("e".repeat(120));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("ä".repeat(100)), "long").unwrap();
    fs::hard_link(long.join("ä".repeat(100)), root.join("srv/again")).unwrap();
    symlink("/nowhere/at/all", root.join("srv/link")).unwrap();
    fs::write(root.join("srv/marked"), "x").unwrap();
    setxattr(root.join("srv/marked"), "user.note", b"value", XattrFlags::empty()).unwrap();
    mknodat(CWD, root.join("srv/pipe"), FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    mknodat(CWD, root.join("srv/device"), FileType::CharacterDevice, Mode::from_raw_mode(0o600), makedev(1, 3)).unwrap();
    std::os::unix::net::UnixListener::bind(root.join("srv/socket")).unwrap();
    let sparse = fs::File::create(root.join("srv/sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    fs::rename(root.join("srv/marked"), root.join("srv/moved")).unwrap();
    std::os::unix::fs::chown(root.join("srv/moved"), Some(1234), Some(5678)).unwrap();
}

fn through(root: &std::os::fd::OwnedFd) -> PathBuf {
    format!("/proc/self/fd/{}/", root.as_raw_fd()).into()
}

fn layer(images: &Images, base: &Base, epoch: Option<i64>, change: impl Fn(&std::path::Path)) -> DraftLayer {
    let draft = images.draft(base.folders.first().map(PathBuf::as_path)).unwrap();
    let root = view::detached(&base.folders, Some((&draft.upper(), &draft.work()))).unwrap();
    change(&through(&root));
    drop(root);
    images.seal(draft, epoch, &Fresh::default()).unwrap()
}

fn image(base: &Base, layer: &DraftLayer) -> BuiltImage {
    let layers: Vec<Digest> = base.diff_ids.iter().copied().chain([layer.diff_id]).collect();
    let config = json!({"os": "linux", "architecture": "amd64", "config": {}, "rootfs": {"type": "layers", "diff_ids": layers}});
    BuiltImage {
        config: config.to_string().into_bytes(),
        layers,
        created: time::OffsetDateTime::UNIX_EPOCH,
        references: vec!["built:1".parse().unwrap()],
        members: Vec::new(),
        annotations: std::collections::BTreeMap::new(),
        docker_types: false,
    }
}

/// What GNU tar and we make of a layer's tar, and what the overlay shows.
#[tokio::test]
async fn a_sealed_folder_is_what_its_tar_unpacks_to() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let base = base(&fixture).await;
    let layer = layer(images, &base, None, change);
    let step = Step { key: Digest::of(b"key"), about: "RUN change".to_owned(), layer: layer.clone(), known: false };
    let digest = images.publish_build(&[step], Some(image(&base, &layer))).unwrap().unwrap();
    // The check compares the folder with the tar in everything, contents and overlay marks included.
    let report = images.check(false, silent()).await.unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);

    // What is seen is what was left.
    let seen = view::detached(&images.rootfs(digest).unwrap().layers, None).unwrap();
    let seen = through(&seen);
    for gone in ["etc/hosts", "var/cache/x", "var/lib/old/deep", "srv/marked", "srv/socket"] {
        assert!(fs::symlink_metadata(seen.join(gone)).is_err(), "{gone}");
    }
    assert!(seen.join("etc/passwd").is_dir() && seen.join("opt/app").is_file());
    assert_eq!(fs::read_to_string(seen.join("var/lib/old/new")).unwrap(), "new");
    let tool = fs::metadata(seen.join("usr/bin/tool")).unwrap();
    assert_eq!(tool.mode() & 0o7777, 0o4755);
    assert_eq!(fs::metadata(seen.join("srv/sparse")).unwrap().len(), 3 << 20);
    let moved = fs::metadata(seen.join("srv/moved")).unwrap();
    assert_eq!((moved.uid(), moved.gid()), (1234, 5678));

    // GNU tar reads it, and finds each whiteout and the folder that hides.
    let mut tar = Vec::new();
    std::io::Read::read_to_end(&mut images.layer_tar(&layer.diff_id).unwrap(), &mut tar).unwrap();
    let path = fixture.path().join("layer.tar");
    fs::write(&path, tar).unwrap();
    let listed = Command::new("tar").arg("-tf").arg(&path).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8_lossy(&listed.stdout);
    for name in ["etc/.wh.hosts", "var/cache/.wh.x", "var/lib/old/.wh..wh..opq", "srv/pipe", "srv/device", "srv/link"] {
        assert!(listed.lines().any(|line| line == name), "{name} in {listed}");
    }
    assert!(!listed.contains("socket"), "{listed}");
}

/// With a time for all, two builds of the same at different moments are the same bytes.
#[tokio::test]
async fn nothing_is_newer_than_the_epoch() {
    let fixture = Fixture::new();
    let base = base(&fixture).await;
    let first = layer(&fixture.images, &base, Some(1_000_000_000), change);
    std::thread::sleep(Duration::from_millis(1100));
    let second = layer(&fixture.images, &base, Some(1_000_000_000), change);
    assert_eq!(first.diff_id, second.diff_id);
    assert_eq!(first.created, 1_000_000_000);
    let other = layer(&fixture.images, &base, None, change);
    assert_ne!(first.diff_id, other.diff_id);
    let newest = |folder: &std::path::Path| {
        let mut newest = 0;
        let mut waiting = vec![folder.to_owned()];
        while let Some(path) = waiting.pop() {
            let meta = fs::symlink_metadata(&path).unwrap();
            let is_whiteout = meta.rdev() == 0 && meta.mode() & 0o170_000 == 0o020_000;
            newest = newest.max(if is_whiteout { 0 } else { meta.mtime() });
            if meta.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
        newest
    };
    assert_eq!(newest(&first.folder().unwrap()), 1_000_000_000);
}

/// Steps are found again as long as they are kept, and keep their layers.
#[tokio::test]
async fn steps_are_found_until_they_are_forgotten() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let base = base(&fixture).await;
    let made = layer(images, &base, None, change);
    let key = Digest::of(b"key");
    assert!(images.known_step(&key).unwrap().is_none());
    let step = Step { key, about: "RUN change".to_owned(), layer: made.clone(), known: false };
    images.publish_build(&[step], None).unwrap().unwrap();
    let found = images.known_step(&key).unwrap().unwrap();
    assert_eq!((found.diff_id, found.created), (made.diff_id, made.created));
    // A collection leaves what a step needs.
    images.collect(|_| Ok(BTreeSet::from([base.image]))).unwrap();
    assert!(found.folder().unwrap().is_dir());
    // The image of a step that was found, and a name: nothing is written anew.
    let step = Step { key, about: "RUN change".to_owned(), layer: found.clone(), known: true };
    let digest = images.publish_build(&[step], Some(image(&base, &found))).unwrap().unwrap();
    assert_eq!(images.find(&"built:1".parse().unwrap()).unwrap().unwrap().digest, digest);
    let usage = images.steps().unwrap();
    assert_eq!((usage.len(), usage[0].uses, usage[0].shared, usage[0].about.as_str()), (1, 1, true, "RUN change"));
    // With the image gone the layer lives by its step, and then by nothing.
    images.remove(digest).unwrap();
    assert!(found.folder().unwrap().is_dir());
    let freed = images.forget_steps(&BTreeSet::from([key])).unwrap();
    assert!(freed.layers == 1 && freed.bytes > 0 && !found.folder().unwrap().exists());
    assert!(images.known_step(&key).unwrap().is_none());
}

/// Steps that change nothing make the same layer; an image that has one twice is mounted all the same.
#[tokio::test]
async fn an_image_may_have_a_layer_twice() {
    let fixture = Fixture::new();
    let base = base(&fixture).await;
    let nothing = layer(&fixture.images, &base, None, |_| ());
    let other = layer(&fixture.images, &base, None, change);
    let mut image = image(&base, &other);
    image.layers = base.diff_ids.iter().copied().chain([nothing.diff_id, other.diff_id, nothing.diff_id]).collect();
    image.config = json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": image.layers}})
        .to_string()
        .into_bytes();
    let step = |key: &str, layer: &DraftLayer| Step {
        key: Digest::of(key.as_bytes()),
        about: key.to_owned(),
        layer: layer.clone(),
        known: false,
    };
    let steps = [step("nothing", &nothing), step("other", &other)];
    let digest = fixture.images.publish_build(&steps, Some(image)).unwrap().unwrap();
    let layers = fixture.images.rootfs(digest).unwrap().layers;
    assert_eq!(layers.len(), 3, "{layers:?}");
    let seen = view::detached(&layers, None).unwrap();
    assert!(through(&seen).join("opt/app").is_file());
}

/// What a draft made goes with it.
#[tokio::test]
async fn nothing_is_left_of_what_is_not_published() {
    let fixture = Fixture::new();
    let base = base(&fixture).await;
    drop(layer(&fixture.images, &base, None, change));
    drop(fixture.images.draft(None).unwrap());
    fixture.assert_no_work_left();
}

/// Files that were just written are taken from memory, and the layer is the same.
#[test]
fn what_is_fresh_makes_the_same_layer() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let make = |seal: &dyn Fn(crate::engine::images::Draft, &Fresh) -> DraftLayer| {
        let draft = images.draft(None).unwrap();
        let root = draft.upper();
        fs::create_dir(root.join("folder")).unwrap();
        let mut fresh = Fresh::default();
        for (name, mode) in
            [("folder/plain", 0o644), ("folder/program", 0o4755), ("folder/noted", 0o600), ("folder/twice", 0o600)]
        {
            let path = root.join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            if name.ends_with("noted") {
                setxattr(&path, "user.note", b"value", XattrFlags::empty()).unwrap();
            }
            if name.ends_with("twice") {
                fs::hard_link(&path, root.join("folder/again")).unwrap();
            }
            let file = fs::File::open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789)).unwrap();
            let kept = FreshFile::of(&file, name.as_bytes()).unwrap();
            assert_eq!(kept.is_some(), !name.ends_with("noted") && !name.ends_with("twice"), "{name}");
            kept.into_iter().for_each(|kept| fresh.add(name.as_bytes().to_vec(), kept));
        }
        set_time(&root.join("folder"));
        seal(draft, &fresh).diff_id
    };
    let read = make(&|draft, _| images.seal(draft, None, &Fresh::default()).unwrap());
    assert_eq!(make(&|draft, fresh| images.seal(draft, None, fresh).unwrap()), read);
    // It is taken from memory indeed.
    let other = make(&|draft, fresh| {
        fs::remove_file(draft.upper().join("folder/plain")).unwrap();
        fs::write(draft.upper().join("folder/plain"), "folder/other").unwrap();
        set_time(&draft.upper().join("folder"));
        images.seal(draft, None, fresh).unwrap()
    });
    assert_eq!(other, read);
}

fn set_time(folder: &std::path::Path) {
    fs::File::open(folder).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
}
