//! A process that is killed in the middle of pulls: nothing half-made is visible, and recovery leaves nothing behind.

use std::process::{Command, Stdio};

use super::scripted::Server;
use super::*;

const FOLDER: &str = "SETPOINT_TEST_CRASH_FOLDER";
const REFERENCE: &str = "SETPOINT_TEST_CRASH_REFERENCE";

/// Not a test by itself: what the process does that is killed.
#[test]
fn victim() {
    let (Ok(folder), Ok(reference)) = (std::env::var(FOLDER), std::env::var(REFERENCE)) else { return };
    let reference: ImageRef = reference.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let images = open(Path::new(&folder), Limits::default());
    loop {
        let digest = runtime.block_on(images.pull(&reference, None, silent())).unwrap();
        // Long enough to be killed with the image in place, now and then.
        std::thread::sleep(Duration::from_millis(40));
        images.remove(digest).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment() {
    let mut sample = Sample::default();
    let layers: Vec<Vec<u8>> = (0..3)
        .map(|layer| {
            (0..150).fold(Tar::default(), |tar, i| tar.file(&format!("folder{layer}/{i}"), vec![b'a' + layer; 3000])).end()
        })
        .collect();
    let described: Vec<_> = layers.iter().map(|tar| (tar.as_slice(), gzip(tar), GZIP)).collect();
    let image = digest_of(&sample.image(&here(), &described));
    let server = Server::start(move |request, _| sample.answer(image, request)).await;
    let reference = server.reference("a:1");
    let fixture = Fixture::new();
    let (mut visible, mut begun) = (0, 0);
    for round in 0..25u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::images::tests::crash::victim"])
            .env(FOLDER, fixture.path())
            .env(REFERENCE, reference.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pause = Duration::from_millis(30 + round * 17 % 300);
        let (watched, wanted) = (fixture.images.clone(), reference.clone());
        let child = tokio::task::spawn_blocking(move || {
            std::thread::sleep(pause);
            // The last ones are let come to their end first.
            let begun = std::time::Instant::now();
            while round >= 20 && watched.find(&wanted).unwrap().is_none() && begun.elapsed().as_secs() < 20 {
                std::thread::sleep(Duration::from_millis(5));
            }
            child.kill().unwrap();
            child.wait().unwrap()
        });
        child.await.unwrap();
        begun += usize::from(!fixture.names("tmp").is_empty());
        // Another process opens the store, as the daemon does after a crash.
        let images = open(fixture.path(), Limits::default());
        images.recover().unwrap();
        drop(images);
        let images = open(fixture.path(), Limits::default());
        assert_eq!(fixture.names("tmp").len(), 0, "round {round}");
        match images.find(&reference).unwrap() {
            Some(found) => {
                visible += 1;
                assert_eq!(found.digest, image);
                let rootfs = images.rootfs(image).unwrap();
                assert_eq!(rootfs.layers.len(), 3);
                for (place, layer) in rootfs.layers.iter().rev().enumerate() {
                    let folder = layer.join(format!("folder{place}"));
                    assert!(names(&folder).iter().all(|name| std::fs::metadata(folder.join(name)).unwrap().len() == 3000));
                    assert_eq!(names(&folder).len(), 150);
                }
                assert_eq!((fixture.names("layers").len(), fixture.names("blobs/sha256").len()), (3, 2));
            }
            None => assert_eq!((fixture.names("layers").len(), fixture.names("blobs/sha256").len()), (0, 0), "round {round}"),
        }
    }
    println!("killed 25 times: work in progress was there {begun} times, the image was whole {visible} times");
    assert!(begun > 0 && visible > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn recovery_leaves_the_living_alone() {
    let fixture = Fixture::new();
    let scratch = fixture.images.inner.store.scratch().unwrap();
    std::fs::write(scratch.path().join("work"), "in progress").unwrap();
    std::fs::create_dir_all(fixture.path().join("state/images/tmp/1-1/0/of-the-dead")).unwrap();
    std::fs::create_dir_all(fixture.path().join("state/images/layers").join(Digest::of(b"x").hex())).unwrap();
    let another = open(fixture.path(), Limits::default());
    another.recover().unwrap();
    assert!(scratch.path().join("work").exists());
    assert_eq!((fixture.names("tmp").len(), fixture.names("layers").len()), (2, 0));
    drop(another);
    assert_eq!(fixture.names("tmp").len(), 1);
}
