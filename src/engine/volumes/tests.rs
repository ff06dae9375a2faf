//! Volumes on a real file system and the real overlayfs.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::process::Command;

use super::*;

struct Bench {
    folder: tempfile::TempDir,
    volumes: Volumes,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let instance = Instance::new(folder.path().join("state"), folder.path().join("run"), None);
        files::create_dirs(instance.state_dir(), 0o700).unwrap();
        let db = Arc::new(Db::open(instance.state_dir()).unwrap());
        Self { volumes: Volumes::open(&instance, db).unwrap(), folder }
    }

    fn layer(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let layer = self.folder.path().join(name);
        std::fs::create_dir_all(&layer).unwrap();
        for (path, content) in files {
            let path = layer.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        layer
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn owner(stack: &str) -> Owner {
    Owner { stack: name(stack), resource: name("data") }
}

#[test]
fn a_volume_stays_until_it_is_removed() {
    let bench = Bench::new();
    let volumes = &bench.volumes;
    let spec = VolumeSpec::default();
    let made = volumes.create(&name("data"), Some(&owner("s")), &spec).unwrap();
    std::fs::write(made.path.join("precious"), "1").unwrap();
    assert_eq!(volumes.create(&name("data"), Some(&owner("s")), &spec).unwrap(), made);
    assert!(matches!(volumes.create(&name("data"), None, &spec), Err(VolumeError::NotYours { .. })));
    let labelled = VolumeSpec { labels: [("a".to_owned(), "b".to_owned())].into() };
    assert_eq!(volumes.create(&name("data"), Some(&owner("s")), &labelled).unwrap().spec, labelled);
    assert_eq!(volumes.get(&name("data")).unwrap().unwrap().spec, labelled);

    // A record that a power cut took back: the data is adopted.
    volumes.db.write(|t| t.execute("DELETE FROM volumes", [])).unwrap();
    volumes.recover().unwrap();
    let adopted = volumes.create(&name("data"), None, &spec).unwrap();
    assert_eq!(std::fs::read(adopted.path.join("precious")).unwrap(), b"1");

    // A folder that somebody deleted is seen, and made again.
    std::fs::remove_dir_all(&adopted.path).unwrap();
    assert!(!volumes.list().unwrap()[0].present);
    assert!(volumes.create(&name("data"), None, &spec).unwrap().present);

    volumes.remove(&name("data")).unwrap();
    volumes.remove(&name("data")).unwrap();
    assert_eq!(volumes.list().unwrap(), []);
    assert!(!adopted.path.exists());
}

#[test]
fn interrupted_removals_are_finished() {
    let bench = Bench::new();
    let volumes = &bench.volumes;
    let made = volumes.create(&name("data"), None, &VolumeSpec::default()).unwrap();
    std::fs::rename(made.path.parent().unwrap(), volumes.root.join(".removing-data")).unwrap();
    volumes.recover().unwrap();
    assert_eq!(volumes.list().unwrap(), []);
    assert!(!volumes.root.join(".removing-data").exists());
}

#[test]
fn the_first_use_brings_the_image_content() {
    let bench = Bench::new();
    let volumes = &bench.volumes;
    let base = bench.layer("base", &[("srv/data/one", "base"), ("srv/data/sub/two", "2"), ("srv/data/gone", "x")]);
    let top = bench.layer("top", &[("srv/data/one", "top")]);
    let data = base.join("srv/data");
    symlink("/etc/passwd", data.join("link")).unwrap();
    std::fs::hard_link(data.join("sub/two"), data.join("hard")).unwrap();
    std::fs::set_permissions(data.join("sub"), std::fs::Permissions::from_mode(0o2710)).unwrap();
    std::fs::set_permissions(data.join("sub/two"), std::fs::Permissions::from_mode(0o4755)).unwrap();
    std::os::unix::fs::chown(data.join("sub"), Some(33), Some(44)).unwrap();
    std::fs::set_permissions(data.join("sub"), std::fs::Permissions::from_mode(0o2710)).unwrap();
    std::os::unix::fs::chown(&data, Some(7), Some(8)).unwrap();
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o1777)).unwrap();
    rustix::fs::lsetxattr(data.join("one"), c"user.note", b"base", rustix::fs::XattrFlags::empty()).unwrap();
    rustix::fs::lsetxattr(top.join("srv/data/one"), c"user.note", b"top", rustix::fs::XattrFlags::empty()).unwrap();
    // The upper layer's folder has its own metadata, which counts; and its sign that a file is deleted.
    std::os::unix::fs::chown(top.join("srv/data"), Some(7), Some(8)).unwrap();
    std::fs::set_permissions(top.join("srv/data"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(Command::new("mknod").arg(top.join("srv/data/gone")).args(["c", "0", "0"]).status().unwrap().success());
    assert!(Command::new("mkfifo").arg(top.join("srv/data/pipe")).status().unwrap().success());
    symlink("/srv", top.join("way")).unwrap();

    volumes.create(&name("data"), None, &VolumeSpec::default()).unwrap();
    assert!(volumes.needs_populating(&name("data")).unwrap());
    // What an interrupted copy left is in nobody's way.
    std::fs::create_dir_all(volumes.root.join("data/copy/half")).unwrap();
    volumes.populate(&name("data"), &[top.clone(), base.clone()], "/way/data").unwrap();

    let path = volumes.path(&name("data"));
    let meta = |at: &str| std::fs::symlink_metadata(path.join(at)).unwrap();
    assert_eq!(std::fs::read(path.join("one")).unwrap(), b"top");
    assert!(!path.join("gone").exists() && !path.join("half").exists());
    assert_eq!((meta("").uid(), meta("").gid(), meta("").mode() & 0o7777), (7, 8, 0o1777));
    assert_eq!((meta("sub").uid(), meta("sub").gid(), meta("sub").mode() & 0o7777), (33, 44, 0o2710));
    assert_eq!(meta("sub/two").mode() & 0o7777, 0o4755);
    assert_eq!((meta("sub/two").ino(), meta("sub/two").nlink()), (meta("hard").ino(), 2));
    assert_eq!(meta("sub").mtime(), std::fs::metadata(data.join("sub")).unwrap().mtime());
    assert_eq!(std::fs::read_link(path.join("link")).unwrap(), Path::new("/etc/passwd"));
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&meta("pipe").file_type()));
    let mut value = [0; 16];
    let length = rustix::fs::lgetxattr(path.join("one"), c"user.note", &mut value).unwrap();
    assert_eq!(&value[..length], b"top");

    // Only the first use, even when the user empties it later.
    assert!(!volumes.needs_populating(&name("data")).unwrap());
    Command::new("sh").arg("-c").arg(format!("rm -rf {}/*", path.display())).status().unwrap();
    volumes.populate(&name("data"), &[top, base], "/srv/data").unwrap();
    assert!(!path.join("one").exists());
    let left: Vec<_> = std::fs::read_dir(volumes.root.join("data")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "data, lock and marker: {left:?}");
}

#[test]
fn nothing_in_the_image_or_something_in_the_volume() {
    let bench = Bench::new();
    let volumes = &bench.volumes;
    let layer = bench.layer("layer", &[("a/file", "image"), ("b/file", "image")]);
    symlink("../../../../../../../../tmp", layer.join("escape")).unwrap();
    for (volume, target) in [("v1", "/no/such"), ("v2", "/a/file"), ("v3", "/escape")] {
        volumes.create(&name(volume), None, &VolumeSpec::default()).unwrap();
        volumes.populate(&name(volume), std::slice::from_ref(&layer), target).unwrap();
        assert_eq!(std::fs::read_dir(volumes.path(&name(volume))).unwrap().count(), 0, "{target}");
        assert!(!volumes.needs_populating(&name(volume)).unwrap());
    }
    let own = volumes.create(&name("own"), None, &VolumeSpec::default()).unwrap();
    std::fs::write(own.path.join("file"), "mine").unwrap();
    assert!(!volumes.needs_populating(&name("own")).unwrap());
    volumes.populate(&name("own"), std::slice::from_ref(&layer), "/b").unwrap();
    assert_eq!(std::fs::read(own.path.join("file")).unwrap(), b"mine");
    volumes.create(&name("one"), None, &VolumeSpec::default()).unwrap();
    volumes.populate(&name("one"), &[layer], "/b").unwrap();
    assert_eq!(std::fs::read(volumes.path(&name("one")).join("file")).unwrap(), b"image");
    assert!(matches!(volumes.populate(&name("none"), &[], "/"), Err(VolumeError::Unknown { .. })));
}
