//! Archives of images: what we save others load, what they save we load, and what is not right is refused whole.

use std::process::Command;

use super::scripted::Server;
use super::*;
use crate::engine::images::{ArchiveFormat, LoadOptions, Saved};

fn saved(images: &Images, all: &[(Digest, &[&str])], format: ArchiveFormat) -> Vec<u8> {
    let all: Vec<_> = all
        .iter()
        .map(|(digest, names)| Saved {
            digest: *digest,
            references: names.iter().map(|n| n.parse().unwrap()).collect(),
            members: Vec::new(),
        })
        .collect();
    let mut out = Vec::new();
    images.save(&all, format, &mut out).unwrap();
    out
}

async fn load(images: &Images, archive: Vec<u8>) -> Result<Vec<Loaded>, String> {
    load_with(images, archive, LoadOptions::default()).await
}

async fn load_with(images: &Images, archive: Vec<u8>, options: LoadOptions) -> Result<Vec<Loaded>, String> {
    images.load(Box::new(std::io::Cursor::new(archive)), options, silent()).await.map_err(|e| e.to_string())
}

fn entries(archive: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(archive);
    archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Two images that share a layer, pulled.
async fn two(fixture: &Fixture) -> ([Digest; 2], [Vec<u8>; 3]) {
    let tars = [
        Tar::default().file("base", vec![b'b'; 3000]).file("base", "again").end(),
        Tar::default().file("one", "1").file(".wh.base", "").end(),
        Tar::default().file("two", "2").end(),
    ];
    let mut sample = Sample::default();
    let one = digest_of(&sample.image(&here(), &[(&tars[0], gzip(&tars[0]), GZIP), (&tars[1], zstd(&tars[1]), ZSTD)]));
    let two = digest_of(&sample.image(&here(), &[(&tars[0], gzip(&tars[0]), GZIP), (&tars[2], tars[2].clone(), PLAIN)]));
    let server = Server::start(move |request, _| {
        let tag = if request.path.contains("/one/") { one } else { two };
        sample.answer(tag, request)
    })
    .await;
    for name in ["one:1", "two:1"] {
        fixture.images.pull(&server.reference(name), None, silent()).await.unwrap();
    }
    ([one, two], tars)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_loaded_again() {
    let fixture = Fixture::new();
    let ([one, two], tars) = two(&fixture).await;
    for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
        let names: &[(Digest, &[&str])] = &[(one, &["team/one:1", "localhost:5000/one:x"]), (two, &["two:2"])];
        let archive = saved(&fixture.images, names, format);
        assert!(archive == saved(&fixture.images, names, format), "the same images give the same bytes");
        // The layer that they share is there once.
        let shared = entries(&archive).iter().filter(|name| name.ends_with(&Digest::of(&tars[0]).hex())).count();
        assert_eq!((shared, entries(&archive).iter().filter(|name| name.starts_with("blobs/")).count() >= 5), (1, true));
        for stored in [archive.clone(), gzip(&archive), zstd(&archive)] {
            let other = Fixture::new();
            let loaded = load(&other.images, stored).await.unwrap();
            let names: Vec<Vec<String>> = loaded.iter().map(|l| l.references.iter().map(ToString::to_string).collect()).collect();
            assert_eq!(names, [vec!["team/one:1".to_owned(), "localhost:5000/one:x".to_owned()], vec!["two:2".to_owned()]]);
            for (there, here) in loaded.iter().zip([one, two]) {
                assert_eq!(other.images.raw_config(there.digest).unwrap(), fixture.images.raw_config(here).unwrap());
                assert_eq!(other.images.rootfs(there.digest).unwrap().layers.len(), 2);
            }
            assert_eq!((other.names("layers").len(), other.names("skeletons").len()), (3, 3));
            other.assert_no_work_left();
            // Once more changes nothing, and what was loaded is saved as the same archive.
            load(&other.images, archive.clone()).await.unwrap();
            assert_eq!(other.images.list().unwrap().len(), 2);
            let pairs: Vec<(Digest, Vec<String>)> = loaded.iter().map(|l| l.digest).zip(names).collect();
            let pairs: Vec<(Digest, Vec<&str>)> =
                pairs.iter().map(|(d, names)| (*d, names.iter().map(String::as_str).collect())).collect();
            let pairs: Vec<(Digest, &[&str])> = pairs.iter().map(|(d, names)| (*d, names.as_slice())).collect();
            assert!(saved(&other.images, &pairs, format) == archive);
        }
    }
}

/// Skopeo is what podman loads and saves with.
#[tokio::test(flavor = "multi_thread")]
async fn others_load_what_we_save_and_we_what_they_save() {
    let fixture = Fixture::new();
    let ([one, two], _) = two(&fixture).await;
    let skopeo = |args: &[&str]| {
        let output = Command::new("skopeo").arg("--insecure-policy").args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let folder = fixture.path().to_str().unwrap().to_owned();
    for (format, scheme) in [(ArchiveFormat::Docker, "docker-archive"), (ArchiveFormat::Oci, "oci-archive")] {
        let ours = format!("{folder}/{scheme}.tar");
        std::fs::write(&ours, saved(&fixture.images, &[(one, &["app/one:1"]), (two, &["app/two:2"])], format)).unwrap();
        let name = "docker.io/app/two:2";
        let config = skopeo(&["inspect", "--config", "--raw", &format!("{scheme}:{ours}:{name}")]);
        assert_eq!(Digest::of(&config), Digest::of(&fixture.images.raw_config(two).unwrap()));
        // Through their hands and back, in every form that they write.
        for (there, named) in [("docker-archive", ":app/two:3"), ("oci-archive", ":app/two:3")] {
            let theirs = format!("{folder}/{scheme}-{there}.tar");
            skopeo(&["copy", "--quiet", &format!("{scheme}:{ours}:{name}"), &format!("{there}:{theirs}{named}")]);
            let other = Fixture::new();
            let loaded = load(&other.images, std::fs::read(&theirs).unwrap()).await.unwrap();
            assert_eq!(loaded[0].references, ["app/two:3".parse::<ImageRef>().unwrap()], "{scheme} {there}");
            let config = documents::configuration(&other.images.raw_config(loaded[0].digest).unwrap(), 2).unwrap();
            let own = documents::configuration(&fixture.images.raw_config(two).unwrap(), 2).unwrap();
            assert_eq!(config.1, own.1);
        }
    }
}

/// The form that docker wrote until version 25: a folder a layer, links for layers that are there already, and the list last.
#[tokio::test(flavor = "multi_thread")]
async fn old_docker_archives() {
    let layer = Tar::default().file("a", "a").end();
    let config = json!({
        "architecture": here(), "os": "linux", "config": {"Cmd": ["x"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer), Digest::of(&layer)]},
    })
    .to_string();
    let list = |config_name: &str| {
        json!([{"Config": config_name, "RepoTags": ["old:1", "old:2"], "Layers": ["aa/layer.tar", "bb/layer.tar"]}]).to_string()
    };
    let name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let archive = |name: &str, config: &str, list: &str| {
        Tar::default()
            .folder("aa/")
            .file("aa/VERSION", "1.0")
            .file("aa/json", "{}")
            .file("aa/layer.tar", &layer)
            .folder("bb/")
            .symlink("bb/layer.tar", "../aa/layer.tar")
            .file(name, config)
            .file("manifest.json", list)
            .file("repositories", "{}")
            .end()
    };
    let fixture = Fixture::new();
    let loaded = load(&fixture.images, archive(&name, &config, &list(&name))).await.unwrap();
    assert_eq!(loaded[0].references.len(), 2);
    // It has one layer twice, and the kernel takes no folder twice.
    assert_eq!(fixture.images.rootfs(loaded[0].digest).unwrap().layers.len(), 1);
    // What docker calls the image's id finds it.
    let id = Digest::of(config.as_bytes());
    assert_eq!(fixture.images.find_by_id(&id.short()).unwrap().unwrap().digest, loaded[0].digest);

    let other = Fixture::new();
    let wrong = config.replace("\"x\"", "\"y\"");
    let error = load(&other.images, archive(&name, &wrong, &list(&name))).await.unwrap_err();
    assert!(error.contains("has the digest"), "{error}");
    let error = load(&other.images, archive(&name, &config, &list("missing.json"))).await.unwrap_err();
    assert!(error.contains("lacks missing.json"), "{error}");
    let lies = config.replace(&Digest::of(&layer).to_string(), &Digest::of(b"else").to_string());
    let error = load(&other.images, archive("c.json", &lies, &list("c.json"))).await.unwrap_err();
    assert!(error.contains("unpacks to"), "{error}");
    assert_eq!((other.names("layers").len(), other.names("blobs/sha256").len()), (0, 0));
    other.assert_no_work_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives_are_refused_whole() {
    let layer = Tar::default().file("a", "a").end();
    let hex = |content: &[u8]| format!("blobs/sha256/{}", Digest::of(content).hex());
    let escape = Tar::default().file("../escaped", "x").end();
    let bomb = gzip(&Tar::default().file("zeros", vec![0; 9 << 20]).end());
    let all: &[(&str, Vec<u8>, &str)] = &[
        ("nothing", Tar::default().end(), "neither"),
        ("not a tar", vec![b'x'; 4096], "broken"),
        ("a name that climbs", Tar::default().file("../manifest.json", "[]").end(), "`..`"),
        ("a blob of another digest", Tar::default().file(&hex(b"other"), &layer).end(), "has the digest"),
        ("a document of another digest", Tar::default().file(&hex(b"other"), "{}").end(), "has the digest"),
        ("a layer that climbs", Tar::default().file("l.tar", &escape).end(), "`..`"),
        ("a layer that is a bomb", Tar::default().file("l.tar", &bomb).end(), "for each compressed byte"),
        ("an archive that is a bomb", gzip(&Tar::default().file("pad", vec![0; 9 << 20]).end()), "for each compressed byte"),
        ("cut", Tar::default().file("l.tar", &layer).0[..900].to_vec(), "broken"),
        ("no list", Tar::default().file("manifest.json", "{}").end(), "manifest.json"),
        ("a list that is a tar", Tar::default().file("manifest.json", &layer).end(), "neither"),
        (
            "an index that is an image",
            Tar::default().file("oci-layout", "{}").file("index.json", r#"{"layers":[],"config":{}}"#).end(),
            "claims to be an index and an image",
        ),
        (
            "a digest that is a path",
            Tar::default()
                .file("oci-layout", "{}")
                .file(
                    "index.json",
                    format!(
                        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","size":1,"digest":"sha256:../../x"}}]}}"#,
                        documents::OCI_MANIFEST
                    ),
                )
                .end(),
            "index.json",
        ),
    ];
    for (what, archive, expected) in all {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let limits = Limits { bytes: 100 << 20, entries: 100, ratio: 50, small: 1 << 20 };
        let images = open(folder.path(), limits);
        let error = load(&images, archive.clone()).await.expect_err(what);
        assert!(error.contains(expected), "{what}: {error}");
        let fixture = Fixture { folder, images };
        assert_eq!((fixture.names("layers").len(), fixture.names("blobs/sha256").len()), (0, 0), "{what}");
        fixture.assert_no_work_left();
        assert!(fixture.images.list().unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_of_several_platforms_with_kept_blobs() {
    let tar = Tar::default().file("a", "a").end();
    let foreign = Tar::default().file("f", "f").end();
    let mut sample = Sample::default();
    let mine = sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]);
    let other = sample.image("s390x", &[(&foreign, gzip(&foreign), GZIP)]);
    let index = sample.index(&[other.clone(), mine.clone()]);
    let fixture = Fixture::new();
    let layout = sample.layout(fixture.path(), &index);
    let archive = fixture.path().join("layout.tar");
    assert!(Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&layout).arg(".").status().unwrap().success());
    let archive = std::fs::read(&archive).unwrap();
    let keep = LoadOptions { keep_blobs: Some(true), ..LoadOptions::default() };
    let loaded = load_with(&fixture.images, archive.clone(), keep).await.unwrap();
    assert_eq!(loaded, [Loaded { digest: digest_of(&mine), references: Vec::new() }]);
    // With its blobs, the image comes out under its own digest.
    let again = saved(&fixture.images, &[(loaded[0].digest, &["x:1"])], ArchiveFormat::Oci);
    assert!(entries(&again).contains(&format!("blobs/sha256/{}", digest_of(&mine).hex())));
    assert!(entries(&again).contains(&format!("blobs/sha256/{}", Digest::of(&gzip(&tar)).hex())));
    let foreign_options = LoadOptions { platform: Some("linux/s390x".parse().unwrap()), ..LoadOptions::default() };
    let loaded = load_with(&fixture.images, archive, foreign_options).await.unwrap();
    assert_eq!(loaded[0].digest, digest_of(&other));
}
