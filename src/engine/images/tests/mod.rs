//! Tests of the whole: against a real registry, a scripted one, hostile archives and sudden deaths.

mod archives;
mod care;
mod chains;
mod contained;
mod crash;
mod drafts;
mod honest;
mod hostile;
mod import;
mod laws;
mod layers;
mod pulls;
mod pushes;
mod real;
mod registries;
mod scenarios;
mod scripted;
mod signers;
mod skeletons;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::layer::{Layer, Limits, Recorder};
use super::registry::{Http, Patience};
use super::*;
use crate::model::{Progress, ProgressSink};

/// A store of its own.
struct Fixture {
    folder: tempfile::TempDir,
    images: Images,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let images = open(folder.path(), Limits::default());
        Self { folder, images }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What is in a folder of the store.
    fn names(&self, under: &str) -> BTreeSet<String> {
        names(&self.path().join("state/images").join(under))
    }

    /// Only this process's empty session may be under `tmp`.
    fn assert_no_work_left(&self) {
        for session in self.names("tmp") {
            assert_eq!(self.names(&format!("tmp/{session}")), BTreeSet::from(["lock".to_owned()]));
        }
    }
}

fn open(folder: &Path, limits: Limits) -> Images {
    open_with(folder, limits, PATIENCE, StoreSettings::default())
}

/// Short, so that tests of what a registry fails to do end soon.
const PATIENCE: Patience = Patience {
    attempts: 4,
    first: Duration::from_millis(10),
    longest: Duration::from_secs(3),
    stall: Duration::from_millis(700),
    crawl: (2_000, Duration::from_secs(1)),
    chunk: 300_000,
};

fn open_with(folder: &Path, limits: Limits, patience: Patience, settings: StoreSettings) -> Images {
    let state = folder.join("state");
    std::fs::create_dir_all(&state).unwrap();
    let instance = Instance::new(state.clone(), folder.join("run"), None);
    let http = Http::new(folder.join("registries.yaml"), BTreeSet::new(), Some(folder.join("docker-config.json")), patience);
    Images::with(&instance, Arc::new(Db::open(&state).unwrap()), http, limits, settings).unwrap()
}

/// Unpacks without a store.
fn unpack_layer(source: &[u8], root: &Path, limits: &Limits) -> Result<Layer, UnpackError> {
    let aside = tempfile::tempdir_in("/tmp").unwrap();
    let recorder = Recorder::create(&aside.path().join("skeleton"), &aside.path().join("replaced")).unwrap();
    super::layer::unpack_layer(source, root, recorder, limits)
}

fn names(folder: &Path) -> BTreeSet<String> {
    std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

fn silent() -> ProgressSink {
    Arc::new(|_| {})
}

/// A sink that keeps what it is told.
fn recorded() -> (ProgressSink, Arc<Mutex<Vec<Progress>>>) {
    let all = Arc::new(Mutex::new(Vec::new()));
    let keep = all.clone();
    (Arc::new(move |progress| keep.lock().unwrap().push(progress)), all)
}

/// Writes archives, also such as no honest program would.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn raw(mut self, kind: u8, name: &str, link: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(k, v)| super::layer::pax::record(k.as_bytes(), v)).collect();
        self.raw(b'x', "pax", "", 0o644, &body)
    }

    fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        self.raw(b'0', name, "", 0o644, content.as_ref())
    }

    fn folder(self, name: &str) -> Self {
        self.raw(b'5', name, "", 0o755, b"")
    }

    fn symlink(self, name: &str, target: &str) -> Self {
        self.raw(b'2', name, target, 0o777, b"")
    }

    fn hardlink(self, name: &str, target: &str) -> Self {
        self.raw(b'1', name, target, 0o644, b"")
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

fn bzip2(content: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

/// An image as a registry has it: documents and layers as blobs.
#[derive(Clone, Default)]
struct Sample {
    blobs: Vec<(Digest, Vec<u8>)>,
}

impl Sample {
    fn blob(&mut self, content: Vec<u8>) -> (Digest, usize) {
        let (digest, size) = (Digest::of(&content), content.len());
        self.blobs.push((digest, content));
        (digest, size)
    }

    /// Adds an image; each layer is its tar, what is stored, and its media type. The descriptor of its manifest.
    fn image(&mut self, architecture: &str, layers: &[(&[u8], Vec<u8>, &str)]) -> Value {
        let diff_ids: Vec<_> = layers.iter().map(|(tar, _, _)| Digest::of(tar)).collect();
        let config = json!({
            "created": "2024-05-06T07:08:09Z", "architecture": architecture, "os": "linux",
            "config": {"Env": ["A=b"], "Cmd": ["/bin/sh"], "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let (config, size) = self.blob(config.to_string().into_bytes());
        let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": size});
        let mut described = Vec::new();
        for (_, stored, kind) in layers {
            let (digest, size) = self.blob(stored.clone());
            described.push(json!({"mediaType": kind, "digest": digest, "size": size}));
        }
        let kind = documents::OCI_MANIFEST;
        let manifest = json!({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": described});
        let (digest, size) = self.blob(manifest.to_string().into_bytes());
        json!({"mediaType": kind, "digest": digest, "size": size, "platform": {"os": "linux", "architecture": architecture}})
    }

    fn index(&mut self, manifests: &[Value]) -> Value {
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
        let (digest, size) = self.blob(index.to_string().into_bytes());
        json!({"mediaType": kind, "digest": digest, "size": size})
    }

    /// Writes it as an OCI layout whose one image is `descriptor`.
    fn layout(&self, folder: &Path, descriptor: &Value) -> PathBuf {
        let layout = folder.join("layout");
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        for (digest, content) in &self.blobs {
            std::fs::write(layout.join("blobs/sha256").join(digest.hex()), content).unwrap();
        }
        let mut named = descriptor.clone();
        named["annotations"] = json!({"org.opencontainers.image.ref.name": "it"});
        std::fs::write(layout.join("index.json"), json!({"schemaVersion": 2, "manifests": [named]}).to_string()).unwrap();
        layout
    }
}

fn digest_of(descriptor: &Value) -> Digest {
    descriptor["digest"].as_str().unwrap().parse().unwrap()
}

/// This host's architecture, as images name it.
fn here() -> String {
    crate::model::Platform::host().architecture
}
