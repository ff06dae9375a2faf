//! Imports: the same content gives the same image, and nothing of it is lost on the way.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use super::*;

fn tree(folder: &Path) -> PathBuf {
    let root = folder.join("rootfs");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::create_dir_all(root.join("etc/empty")).unwrap();
    std::fs::write(root.join("bin/sh"), vec![7; 300_000]).unwrap();
    std::fs::set_permissions(root.join("bin/sh"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::fs::hard_link(root.join("bin/sh"), root.join("bin/ash")).unwrap();
    symlink("bin", root.join("usr")).unwrap();
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
    std::os::unix::fs::chown(root.join("etc/passwd"), Some(3_000_000), Some(42)).unwrap();
    let long = root.join("l".repeat(120));
    std::fs::write(&long, "long").unwrap();
    std::fs::write(root.join("ümläut"), "").unwrap();
    rustix::fs::setxattr(&long, "user.note", b"a\nb", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("null"),
        rustix::fs::FileType::CharacterDevice,
        rustix::fs::Mode::from_raw_mode(0o666),
        rustix::fs::makedev(1, 3),
    )
    .unwrap();
    root
}

fn config() -> ImportConfig {
    ImportConfig {
        command: Some(vec!["/bin/sh".into()]),
        environment: BTreeMap::from([("PATH".into(), "/bin".into())]),
        working_dir: Some("/etc".into()),
        user: Some("1:2".into()),
        ..ImportConfig::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instructions_change_what_is_said_of_an_image() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path().join("root")).unwrap();
    let reference: ImageRef = "localhost/app:1".parse().unwrap();
    let import = async |changes: &[&str]| {
        let source = ImportSource::Path(fixture.path().join("root"));
        let changes = changes.iter().map(|text| (*text).to_owned()).collect();
        let config = ImportConfig { changes, ..config() };
        fixture.images.import(source, &reference, config, None, silent()).await
    };
    let all = ["ENV PATH=/sbin B=2", "EXPOSE 80/tcp", "LABEL a=b", "VOLUME /data", "WORKDIR sub", "STOPSIGNAL INT", "USER 7"];
    let digest = import(&all).await.unwrap();
    let config = fixture.images.rootfs(digest).unwrap().config;
    let run = config.config().clone().unwrap();
    assert_eq!(run.env().clone().unwrap(), ["PATH=/sbin", "B=2"]);
    assert_eq!(run.exposed_ports().clone().unwrap(), ["80/tcp"]);
    assert_eq!(run.labels().clone().unwrap()["a"], "b");
    assert_eq!(run.volumes().clone().unwrap(), ["/data"]);
    assert_eq!(run.working_dir().as_deref(), Some("/etc/sub"));
    assert_eq!((run.user().as_deref(), run.cmd().clone().unwrap()), (Some("7"), vec!["/bin/sh".to_owned()]));
    assert!(matches!(import(&["RUN x"]).await.unwrap_err(), ImagesError::Change(_)));
    fixture.assert_no_work_left();
}

/// Every fact of every entry.
fn facts(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_file() { Digest::of(&std::fs::read(&path).unwrap()).short() } else { String::new() };
        let link = std::fs::read_link(&path).unwrap_or_default();
        let nlink = if meta.is_dir() { 0 } else { meta.nlink() };
        all.push(format!(
            "{} {:o} {}:{} {nlink} {}.{} {} {content} {}",
            path.strip_prefix(root).unwrap().display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.rdev(),
            link.display()
        ));
        if meta.is_dir() {
            waiting.extend(names(&path).into_iter().map(|n| path.join(n)));
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_arrives_whole_and_reproducibly() {
    let fixture = Fixture::new();
    let root = tree(fixture.path());
    let images = &fixture.images;
    let reference: ImageRef = "app:1".parse().unwrap();
    let print = Images::fingerprint(&root).unwrap();
    let (sink, progress) = recorded();
    let digest = images.import(ImportSource::Path(root.clone()), &reference, config(), Some(print), sink).await.unwrap();
    assert!(progress.lock().unwrap().len() >= 2);
    let found = images.find(&reference).unwrap().unwrap();
    assert_eq!((found.digest, found.imported_from), (digest, Some(print)));
    assert_eq!(found.size, 300_000 + 22 + 4);
    let rootfs = images.rootfs(digest).unwrap();
    assert_eq!(rootfs.layers.len(), 1);
    assert_eq!(facts(&rootfs.layers[0]), facts(&root));
    let run = rootfs.config.config().clone().unwrap();
    assert_eq!((run.user().as_deref(), run.working_dir().as_deref()), (Some("1:2"), Some("/etc")));
    assert_eq!(
        (run.env().clone().unwrap(), run.cmd().clone().unwrap()),
        (vec!["PATH=/bin".to_owned()], vec!["/bin/sh".to_owned()])
    );

    // Once more, and elsewhere: the very same image.
    let other: ImageRef = "other".parse().unwrap();
    let again = images.import(ImportSource::Path(root.clone()), &other, config(), Some(print), silent()).await.unwrap();
    assert_eq!(again, digest);
    let elsewhere = Fixture::new();
    let there = elsewhere.images.import(ImportSource::Path(root.clone()), &other, config(), None, silent()).await.unwrap();
    assert_eq!(there, digest);
    // The unpacked layer is the same tree again.
    let layer = rootfs.layers[0].clone();
    let from_layer = elsewhere.images.import(ImportSource::Path(layer), &other, config(), None, silent()).await.unwrap();
    assert_eq!(from_layer, digest);
    assert_eq!(images.list().unwrap().len(), 1);
    assert_eq!(images.list().unwrap()[0].references, BTreeSet::from([reference.clone(), other]));
    fixture.assert_no_work_left();

    // A change of anything gives another fingerprint.
    std::fs::set_permissions(root.join("etc"), std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_ne!(Images::fingerprint(&root).unwrap(), print);
    std::fs::set_permissions(root.join("etc"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(Images::fingerprint(&root).unwrap(), print);
    std::fs::rename(root.join("usr"), root.join("usr2")).unwrap();
    assert_ne!(Images::fingerprint(&root).unwrap(), print);
}

#[tokio::test(flavor = "multi_thread")]
async fn tars_by_path_and_by_reader() {
    let fixture = Fixture::new();
    let root = tree(fixture.path());
    let plain = fixture.path().join("rootfs.tar");
    let mut command = Command::new("tar");
    command.arg("--xattrs").arg("--format=posix").arg("-cf").arg(&plain).arg("-C").arg(&root).arg(".");
    assert!(command.status().unwrap().success());
    let bytes = std::fs::read(&plain).unwrap();
    let packed = fixture.path().join("rootfs.tar.zst");
    std::fs::write(&packed, zstd(&bytes)).unwrap();
    let reference: ImageRef = "app:1".parse().unwrap();
    let images = &fixture.images;
    let one = images.import(ImportSource::Path(plain.clone()), &reference, config(), None, silent()).await.unwrap();
    let two = images.import(ImportSource::Path(packed), &reference, config(), None, silent()).await.unwrap();
    let reader = Box::new(std::io::Cursor::new(gzip(&bytes)));
    let three = images.import(ImportSource::Reader(reader), &reference, config(), None, silent()).await.unwrap();
    assert_eq!((one, two), (two, three));
    assert_eq!(facts(&images.rootfs(one).unwrap().layers[0]), facts(&root));
    assert_eq!(Images::fingerprint(&plain).unwrap(), Digest::of(&bytes));

    // What goes wrong leaves nothing.
    let reader = Box::new(std::io::Cursor::new(bytes[..100_000].to_vec()));
    let error = images
        .import(ImportSource::Reader(reader), &"bad".parse::<ImageRef>().unwrap(), config(), None, silent())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("ends in the middle"), "{error}");
    std::fs::write(root.join(".wh.x"), "").unwrap();
    let error =
        images.import(ImportSource::Path(root), &"bad".parse::<ImageRef>().unwrap(), config(), None, silent()).await.unwrap_err();
    assert!(error.to_string().contains(".wh."), "{error}");
    let missing = ImportSource::Path(fixture.path().join("missing"));
    let error = images.import(missing, &"bad".parse::<ImageRef>().unwrap(), config(), None, silent()).await.unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
    fixture.assert_no_work_left();
    assert_eq!(images.list().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_removal_and_collection() {
    let fixture = Fixture::new();
    let images = &fixture.images;
    let import = async |name: &str, content: &str| {
        let reader = Box::new(std::io::Cursor::new(Tar::default().file("a", content).end()));
        images
            .import(ImportSource::Reader(reader), &name.parse::<ImageRef>().unwrap(), ImportConfig::default(), None, silent())
            .await
            .unwrap()
    };
    let one = import("one", "1").await;
    let two = import("two", "2").await;
    let moved = import("one", "33").await;
    assert_eq!(images.find(&"one".parse().unwrap()).unwrap().unwrap().digest, moved);
    assert_eq!(images.find_by_id(&one.short()).unwrap().unwrap().references, BTreeSet::new());
    assert_eq!(images.resolve(&two.to_string()).unwrap().unwrap().digest, two);
    assert_eq!(images.resolve("two").unwrap().unwrap().digest, two);
    assert!(images.resolve("nothing").unwrap().is_none() && images.resolve("").unwrap().is_none());
    assert_eq!(images.find(&"two".parse::<ImageRef>().unwrap().at(one)).unwrap().unwrap().digest, one);

    assert_eq!(images.collect(|_| Ok(BTreeSet::from([one]))).unwrap(), Freed::default());
    assert_eq!(images.collect(|_| Ok(BTreeSet::new())).unwrap(), Freed { images: 1, layers: 1, bytes: 1 });
    assert!(matches!(images.rootfs(one), Err(ImagesError::Missing(_))));
    assert!(images.untag(&"two".parse().unwrap()).unwrap() && !images.untag(&"two".parse().unwrap()).unwrap());
    assert_eq!(images.remove(moved).unwrap(), Freed { images: 1, layers: 1, bytes: 2 });
    images.collect(|_| Ok(BTreeSet::new())).unwrap();
    assert_eq!((fixture.names("layers"), fixture.names("blobs/sha256")), (BTreeSet::new(), BTreeSet::new()));
    fixture.assert_no_work_left();
}
