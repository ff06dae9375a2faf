//! Layers one on the other: what overlayfs shows of an image in the store is what the reference says, the store is in order
//! then, and neither the order nor the number of layers that are pulled at a time makes a difference.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::encode::{FORMATS, tar};
use super::generate::{Entry, Habit, layer};
use super::reference::Tree;
use super::snapshot::Snapshot;
use super::{Random, seeds};
use crate::engine::images::layer::Limits;
use crate::engine::images::tests::scripted::Server;
use crate::engine::images::tests::*;
use crate::engine::runtime::view;

/// An image of generated layers.
struct Case {
    seed: u64,
    layers: Vec<Vec<Entry>>,
    tars: Vec<Vec<u8>>,
    wanted: Snapshot,
}

impl Case {
    fn new(seed: u64, most: usize) -> Self {
        let mut random = Random(seed);
        let mut tree = Tree::new();
        let count = 1 + random.below(most);
        let layers: Vec<_> = (0..count).map(|_| layer(&mut random, &mut tree, Habit::Layers)).collect();
        let tars = layers.iter().map(|entries| {
            let format = random.pick(&FORMATS);
            tar(entries, format, &mut random)
        });
        Self { seed, tars: tars.collect(), layers, wanted: tree.snapshot() }
    }

    fn sample(&self) -> (Sample, serde_json::Value) {
        let stored: Vec<(&[u8], Vec<u8>, &str)> = self
            .tars
            .iter()
            .enumerate()
            .map(|(i, tar)| match (self.seed as usize + i) % 3 {
                0 => (tar.as_slice(), tar.clone(), PLAIN),
                1 => (tar.as_slice(), gzip(tar), GZIP),
                _ => (tar.as_slice(), zstd(tar), ZSTD),
            })
            .collect();
        let mut sample = Sample::default();
        let image = sample.image(&here(), &stored);
        (sample, image)
    }

    fn assert_shown(&self, images: &Images, digest: Digest) -> Snapshot {
        let found = shown(&images.rootfs(digest).unwrap().layers);
        let differences = self.wanted.differences(&found);
        assert!(differences.is_empty(), "{}\n{}", differences.join("\n"), self.told());
        found
    }

    fn told(&self) -> String {
        format!("SETPOINT_TEST_SEED={} {:#?}", self.seed, self.layers)
    }
}

/// What overlayfs makes of layers, the top one first.
pub(in crate::engine::images::tests) fn shown(layers: &[PathBuf]) -> Snapshot {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let (bottom, mount_point) = (folder.path().join("bottom"), folder.path().join("merged"));
    std::fs::create_dir(&bottom).unwrap();
    std::fs::create_dir(&mount_point).unwrap();
    // As under a container's own layer, nothing is alone.
    let layers = [layers, &[bottom]].concat();
    std::thread::spawn(move || {
        let root = view::merged(&layers, &mount_point).unwrap();
        Snapshot::read(Path::new(&format!("/proc/self/fd/{}/.", std::os::fd::AsRawFd::as_raw_fd(&root))))
    })
    .join()
    .unwrap()
}

/// An OCI layout as a tar.
pub(in crate::engine::images::tests) fn archive(sample: &Sample, image: &serde_json::Value) -> Vec<u8> {
    let mut tar = Tar::default().file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#);
    for (digest, content) in &sample.blobs {
        tar = tar.file(&format!("blobs/sha256/{}", digest.hex()), content);
    }
    tar.file("index.json", json!({"schemaVersion": 2, "manifests": [image]}).to_string()).end()
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_one_on_the_other_show_what_the_reference_says() {
    // A store for some cases: they share layers now and then, and what one leaves must not disturb the next.
    let mut fixture = Fixture::new();
    for (number, seed) in seeds("stacks", 60).enumerate() {
        if number % 20 == 19 {
            fixture = Fixture::new();
        }
        let case = Case::new(seed, 5);
        let (sample, image) = case.sample();
        let loaded =
            fixture.images.load(Box::new(std::io::Cursor::new(archive(&sample, &image))), LoadOptions::default(), silent());
        let loaded = loaded.await.unwrap_or_else(|e| panic!("{e}: {}", case.told()));
        case.assert_shown(&fixture.images, loaded[0].digest);
        for tar in &case.tars {
            let mut back = Vec::new();
            fixture.images.layer_tar(&Digest::of(tar)).unwrap().read_to_end(&mut back).unwrap();
            assert!(back == *tar, "another tar comes out: {}", case.told());
        }
        if number % 5 == 0 {
            let report = fixture.images.check(false, silent()).await.unwrap();
            assert!(report.problems.is_empty(), "{:?}\n{}", report.problems, case.told());
        }
        if number % 2 == 0 {
            fixture.images.remove(loaded[0].digest).unwrap();
        }
    }
    for image in fixture.images.list().unwrap() {
        fixture.images.remove(image.digest).unwrap();
    }
    for folder in ["layers", "completions", "skeletons", "blobs/sha256"] {
        assert!(fixture.names(folder).is_empty(), "{folder}");
    }
    fixture.assert_no_work_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_of_one_three_and_sixteen_layers_at_a_time_are_equal() {
    for seed in seeds("pulls", 6) {
        let case = Case::new(seed, 16);
        let (sample, image) = case.sample();
        let digest = digest_of(&image);
        let server = Server::start(move |request, _| sample.answer(digest, request)).await;
        let mut found: BTreeMap<usize, (Snapshot, BTreeSet<String>)> = BTreeMap::new();
        for parallel in [1, 3, 16] {
            let folder = tempfile::tempdir_in("/tmp").unwrap();
            let settings = StoreSettings { parallel, ..StoreSettings::default() };
            let images = open_with(folder.path(), Limits::default(), PATIENCE, settings);
            let pulled = images.pull(&server.reference("a:1"), None, silent()).await;
            let pulled = pulled.unwrap_or_else(|e| panic!("{e}: {}", case.told()));
            let shown = case.assert_shown(&images, pulled);
            found.insert(parallel, (shown, names(&folder.path().join("state/images/completions"))));
        }
        let (one, completions) = &found[&1];
        for (parallel, (other, others)) in &found {
            // Folders of which nothing is said have the time of their making.
            let mut other = other.clone();
            for (path, facts) in &mut other.0 {
                facts.mtime = facts.mtime.filter(|_| case.wanted.0[path].mtime.is_some());
            }
            let mut one = one.clone();
            for (path, facts) in &mut one.0 {
                facts.mtime = facts.mtime.filter(|_| case.wanted.0[path].mtime.is_some());
            }
            assert!(one.differences(&other).is_empty() && completions == others, "{parallel} at a time: {}", case.told());
        }
    }
}
