//! Against a real registry on this host, filled by a real client.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::model::{Phase, Platform};

pub(super) struct Registry {
    child: Child,
    pub(super) port: u16,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A port that no other test of this run asks for, and that the kernel gives to nobody who leaves the choice to it.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(61).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 20_000 + (number % 10_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Registry {
    pub(super) fn start(folder: &Path) -> Self {
        Self::start_with(folder, "")
    }

    fn start_with(folder: &Path, http: &str) -> Self {
        Self::start_as(folder, http, "")
    }

    /// `more` are further lines of its configuration.
    pub(super) fn start_as(folder: &Path, http: &str, more: &str) -> Self {
        let port = free_port();
        let config = folder.join("registry.yml");
        let data = folder.join("registry");
        let text = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: \"127.0.0.1:{port}\"{http}}}\n{more}",
            data.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("/usr/bin/docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let mut registry = Self { child: command.spawn().unwrap(), port };
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return registry;
            }
            assert!(registry.child.try_wait().unwrap().is_none(), "the registry ended at once");
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the registry does not start");
    }

    pub(super) fn push(&self, layout: &Path, name: &str, options: &[&str]) -> ImageRef {
        let reference = format!("localhost:{}/{name}", self.port);
        let mut command = Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false"]).args(options);
        command.arg(format!("oci:{}:it", layout.display())).arg(format!("docker://{reference}"));
        assert!(command.status().unwrap().success());
        reference.parse().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_the_platform_with_every_compression() {
    let fixture = Fixture::new();
    let registry = Registry::start(fixture.path());
    let base = Tar::default().file("etc/os-release", "base").file("gone", "x").end();
    let middle = (0..500).fold(Tar::default(), |tar, i| tar.file(&format!("usr/lib/{i}"), vec![b'a'; 1000])).end();
    let top = Tar::default().file(".wh.gone", "").file("top", "t").end();
    let empty = Tar::default().end();
    let mut sample = Sample::default();
    let mine = sample.image(
        &here(),
        &[
            (&base, gzip(&base), GZIP),
            (&empty, gzip(&empty), GZIP),
            (&middle, zstd(&middle), ZSTD),
            (&empty, gzip(&empty), GZIP),
            (&top, top.clone(), PLAIN),
        ],
    );
    let other = sample.image("s390x", &[(&base, gzip(&base), GZIP), (&top, gzip(&top), GZIP)]);
    let index = sample.index(&[other.clone(), mine.clone()]);
    let reference = registry.push(&sample.layout(fixture.path(), &index), "team/app:1", &["--preserve-digests"]);

    let images = &fixture.images;
    // What it means and what it costs is known before anything is pulled.
    let size = [gzip(&base), gzip(&empty), zstd(&middle), top.clone()].iter().map(|layer| layer.len() as u64).sum::<u64>();
    let meant = images.look_up(&reference, &PullOptions::default()).await.unwrap();
    assert_eq!(meant, Resolution { named: digest_of(&index), digest: digest_of(&mine), bytes: size });
    assert_eq!(images.tags(&reference, None).await.unwrap(), ["1"]);
    assert!(images.list().unwrap().is_empty());
    let (sink, progress) = recorded();
    let digest = images.pull(&reference, None, sink).await.unwrap();
    assert_eq!(digest, digest_of(&mine));
    assert_eq!(images.look_up(&reference, &PullOptions::default()).await.unwrap(), Resolution { bytes: 0, ..meant });
    // The layers are here, and their blobs would have to come again to be kept.
    let keep = PullOptions { keep_blobs: Some(true), ..PullOptions::default() };
    assert_eq!(images.look_up(&reference, &keep).await.unwrap(), meant);
    let found = images.find(&reference).unwrap().unwrap();
    assert_eq!((found.digest, found.size), (digest, 4 + 1 + 500_000 + 1));
    assert_eq!(found.created, time::macros::datetime!(2024-05-06 07:08:09 UTC));
    let rootfs = images.rootfs(digest).unwrap();
    let tops: Vec<_> = rootfs.layers.iter().map(|l| names(l)).collect();
    assert_eq!(tops[0], BTreeSet::from(["gone".to_owned(), "top".to_owned()]));
    // Of five layers one is there twice, and counts where it is topmost.
    assert_eq!((tops.len(), tops[1].len()), (4, 0));
    assert_eq!(names(&rootfs.layers[2].join("usr/lib")).len(), 500);
    assert_eq!(rootfs.config.config().as_ref().unwrap().exposed_ports().clone().unwrap(), ["80/tcp"]);
    assert_eq!(fixture.names("layers").len(), 4);
    for phase in [Phase::Waiting, Phase::Downloading, Phase::Unpacking, Phase::Done] {
        assert_eq!(
            progress.lock().unwrap().iter().filter(|p| p.phase == phase).map(|p| &p.part).collect::<BTreeSet<_>>().len(),
            4
        );
    }

    // Another platform shares the base. A pin by the index or by the manifest finds the same image.
    let (sink, progress) = recorded();
    let foreign: Platform = "linux/s390x".parse().unwrap();
    let other_options = PullOptions { platform: Some(foreign.clone()), ..PullOptions::default() };
    let meant = images.look_up(&reference, &other_options).await.unwrap();
    assert_eq!(meant, Resolution { named: digest_of(&index), digest: digest_of(&other), bytes: 0 }, "its layers are here");
    let pinned_index = reference.at(digest_of(&index));
    assert_eq!(images.pull(&pinned_index, Some(&foreign), sink).await.unwrap(), digest_of(&other));
    assert!(progress.lock().unwrap().iter().all(|p| p.phase == Phase::Exists));
    assert_eq!(images.pull(&pinned_index, None, silent()).await.unwrap(), digest);
    let pinned = reference.at(digest);
    assert_eq!(images.find(&pinned).unwrap().unwrap().digest, digest);
    assert_eq!(images.pull(&pinned, None, silent()).await.unwrap(), digest);
    let name: ImageRef = "localhost/mine:1".parse().unwrap();
    let options = PullOptions { name: Some(name.clone()), ..PullOptions::default() };
    let again = reference.pinned(reference.tag(), digest_of(&index));
    assert_eq!(images.pull_with(&again, &options, silent()).await.unwrap(), digest);
    let names = images.find(&name).unwrap().unwrap().references;
    assert!(names.contains(&name) && !names.contains(&again), "it has the name that was asked for only: {names:?}");
    let error = images.pull(&reference.at(digest_of(&other)), None, silent()).await.unwrap_err().to_string();
    assert!(error.contains("linux/s390x"), "{error}");
    let error = images.pull(&reference, Some(&"linux/mips".parse().unwrap()), silent()).await.unwrap_err().to_string();
    assert!(error.contains("no image for linux/mips") && error.contains("linux/s390x"), "{error}");
    let nothing = format!("localhost:{}/nothing:1", registry.port).parse().unwrap();
    let error = images.pull(&nothing, None, silent()).await.unwrap_err().to_string();
    assert!(error.contains("no such manifest"), "{error}");

    // What one image shares with another stays when the other goes.
    assert_eq!(images.remove(digest).unwrap(), Freed { images: 1, layers: 2, bytes: 500_000 });
    assert_eq!(fixture.names("layers").len(), 2);
    assert_eq!(images.rootfs(digest_of(&other)).unwrap().layers.len(), 2);
    fixture.assert_no_work_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_docker_schema_2() {
    let fixture = Fixture::new();
    let registry = Registry::start(fixture.path());
    let tar = Tar::default().file("a", "b").end();
    let mut sample = Sample::default();
    let image = sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]);
    let reference = registry.push(&sample.layout(fixture.path(), &image), "docker:2", &["--format", "v2s2"]);
    let digest = fixture.images.pull(&reference, None, silent()).await.unwrap();
    assert_ne!(digest, digest_of(&image));
    assert_eq!(std::fs::read(fixture.images.rootfs(digest).unwrap().layers[0].join("a")).unwrap(), b"b");
}

const FOLDER: &str = "SETPOINT_TEST_TLS_FOLDER";
const REFERENCE: &str = "SETPOINT_TEST_TLS_REFERENCE";

/// Not a test by itself: pulls in a process whose environment names the certificates it trusts.
#[tokio::test(flavor = "multi_thread")]
async fn puller() {
    let (Ok(folder), Ok(reference)) = (std::env::var(FOLDER), std::env::var(REFERENCE)) else { return };
    let images = open(Path::new(&folder), Limits::default());
    match images.pull(&reference.parse().unwrap(), None, silent()).await {
        Ok(digest) => println!("pulled {digest}"),
        Err(error) => println!("failed: {error}"),
    }
}

#[test]
fn pulls_over_tls_from_whom_it_trusts() {
    let fixture = Fixture::new();
    let (key, certificate) = (fixture.path().join("key.pem"), fixture.path().join("cert.pem"));
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
    command
        .args(["-subj", "/CN=test", "-addext", "subjectAltName=IP:0.0.0.0", "-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(&key);
    assert!(command.arg("-out").arg(&certificate).stderr(Stdio::null()).status().unwrap().success());
    let tls = format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
    let registry = Registry::start_with(fixture.path(), &tls);
    let tar = Tar::default().file("a", "b").end();
    let mut sample = Sample::default();
    let image = sample.image(&here(), &[(&tar, gzip(&tar), GZIP)]);
    registry.push(&sample.layout(fixture.path(), &image), "a:1", &[]);
    let pull = |trusted: &Path| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::images::tests::real::puller", "--nocapture"])
            .env(FOLDER, fixture.path())
            // It leads to this host, and does not look like it, so that it needs TLS.
            .env(REFERENCE, format!("0.0.0.0:{}/a:1", registry.port))
            .env("SSL_CERT_FILE", trusted)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = pull(&certificate);
    assert!(said.contains(&format!("pulled {}", digest_of(&image))), "{said}");
    let said = pull(Path::new("/etc/ssl/certs/ca-certificates.crt"));
    assert!(said.contains("failed") && said.to_lowercase().contains("certificate"), "{said}");
}
