//! Images for the tests, made of files on this machine: a busybox root file system as a tar, and OCI layouts whose
//! layers are real gzipped tars. Knows nothing of registries.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use flate2::write::GzEncoder;
use serde_json::json;
use setpoint::model::Digest;
use sha2::{Digest as _, Sha256};

use super::tool;

/// What the tests call the busybox image that [`super::Host::with_busybox`] imports.
pub(crate) const BUSYBOX: &str = "localhost/busybox:1";

/// The folder that `examples/rootfs.sh` makes, made once a run of the tests.
pub(crate) fn busybox_folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("busybox");
        tool("sh", &[&format!("{}/examples/rootfs.sh", env!("CARGO_MANIFEST_DIR")), folder.to_str().unwrap()]);
        folder
    })
}

/// The same as a plain tar.
pub(crate) fn busybox_tar() -> &'static Path {
    static TAR: OnceLock<PathBuf> = OnceLock::new();
    TAR.get_or_init(|| {
        let (folder, tar) = (busybox_folder(), Path::new(env!("CARGO_TARGET_TMPDIR")).join("busybox.tar"));
        tool("tar", &["-C", folder.to_str().unwrap(), "--owner=0", "--group=0", "-cf", tar.to_str().unwrap(), "."]);
        tar
    })
}

/// An OCI layout in the making.
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    layers: Vec<Layer>,
}

struct Layer {
    digest: Digest,
    diff_id: Digest,
    size: u64,
}

impl Layout {
    pub(crate) fn new(folder: PathBuf) -> Self {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self { folder, layers: Vec::new() }
    }

    /// Adds a layer of a folder's content, as GNU tar packs it.
    pub(crate) fn add_folder(&mut self, content: &Path, exclude: &[&str]) {
        let mut tar = Command::new("tar")
            .args(["-C", content.to_str().unwrap(), "--numeric-owner", "--sort=name"])
            .args(exclude.iter().map(|pattern| format!("--exclude={pattern}")))
            .args(["-cf", "-", "."])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        self.add(&mut tar.stdout.take().unwrap());
        assert!(tar.wait().unwrap().success(), "tar of {}", content.display());
    }

    /// Adds a layer of regular files; a content of `None` takes the path away from the layers below.
    pub(crate) fn add_files(&mut self, files: &[(&str, Option<&str>)]) {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let whiteout = || {
                let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
                Path::new(parent).join(format!(".wh.{name}"))
            };
            let path = if content.is_some() { PathBuf::from(path) } else { whiteout() };
            let content = content.unwrap_or_default().as_bytes();
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, path, content).unwrap();
        }
        self.add(&mut tar.into_inner().unwrap().as_slice());
    }

    fn add(&mut self, tar: &mut dyn Read) {
        let draft = self.folder.join("layer");
        let mut gzip = GzEncoder::new(Hashing::new(File::create(&draft).unwrap()), flate2::Compression::fast());
        let mut plain = Hashing::new(&mut gzip);
        io::copy(tar, &mut plain).unwrap();
        let diff_id = plain.digest();
        let compressed = gzip.finish().unwrap();
        let size = compressed.written;
        let digest = compressed.digest();
        fs::rename(draft, self.blob(&digest)).unwrap();
        self.layers.push(Layer { digest, diff_id, size });
    }

    /// Writes configuration, manifest and index. `config` is the image's `config` object.
    pub(crate) fn finish(self, tag: &str, config: &serde_json::Value) -> PathBuf {
        let config = self.write(
            "application/vnd.oci.image.config.v1+json",
            &json!({
                "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
                "os": "linux",
                "config": config,
                "rootfs": {"type": "layers", "diff_ids": self.layers.iter().map(|l| l.diff_id).collect::<Vec<_>>()},
            }),
        );
        let layers = self.layers.iter().map(|layer| {
            json!({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size})
        });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers.collect::<Vec<_>>(),
        });
        let mut manifest = self.write(media_type, &manifest);
        manifest["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [manifest]});
        fs::write(self.folder.join("index.json"), index.to_string()).unwrap();
        self.folder
    }

    /// Writes a blob, and returns its descriptor.
    fn write(&self, media_type: &str, content: &serde_json::Value) -> serde_json::Value {
        let content = content.to_string();
        let digest = Digest::of(content.as_bytes());
        fs::write(self.blob(&digest), &content).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.folder.join("blobs/sha256").join(digest.hex())
    }
}

/// Passes bytes on, and remembers their number and hash.
struct Hashing<W> {
    inner: W,
    hash: Sha256,
    written: u64,
}

impl<W> Hashing<W> {
    fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), written: 0 }
    }

    fn digest(self) -> Digest {
        Digest::from_bytes(self.hash.finalize().into())
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
