//! Images of manifests: tags that move, ranges of versions, archives, and what is asked of a registry and when.

use std::path::PathBuf;
use std::time::Duration;

use crate::harness::image::{Layout, busybox_folder};
use crate::harness::{Host, Registry, tool, wait_until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use setpoint::model::Digest;

const SOON: Duration = Duration::from_secs(60);

/// An OCI layout of busybox and a second layer with one file, `/etc/edition`.
fn layout(host: &Host, edition: &str) -> PathBuf {
    let mut layout = Layout::new(host.dir.join(format!("layout-{edition}")));
    layout.add_folder(busybox_folder(), &[]);
    layout.add_files(&[("etc/edition", Some(edition))]);
    layout.finish("1", &json!({"Cmd": ["sleep", "inf"]}))
}

fn push(host: &Host, registry: &Registry, edition: &str, name: &str) -> String {
    let folder = layout(host, edition);
    let (name, tag) = name.split_once(':').unwrap();
    let reference = format!("{}/{name}:{tag}", Registry::ADDRESS);
    let from = registry.push(&folder, "1", name);
    // The layout has one tag; the registry gets the other one beside it.
    retag(&from, &reference);
    reference
}

/// Makes one tag of the registry mean what another one does.
fn retag(from: &str, to: &str) {
    let (from, to) = (format!("docker://{from}"), format!("docker://{to}"));
    let plain = ["--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests"];
    tool("skopeo", &[&["--insecure-policy", "copy", "--quiet"], &plain[..], &[&from, &to]].concat());
}

/// A stack of one image and one container of it; what `spec` adds to the image's.
fn stack(host: &Host, reference: &str, spec: &str) -> String {
    host.write(
        "s/s.yaml",
        &format!(
            "apiVersion: setpoint/v1
kind: Image
metadata: {{name: app}}
spec:
  reference: {reference}
  {spec}
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: app}}
spec: {{image: \"{reference}\", command: [sleep, inf], stop_grace_period: 1s, network_mode: none}}
"
        ),
    );
    host.dir.join("s").to_str().unwrap().to_owned()
}

fn edition(host: &Host) -> String {
    host.sp(&["exec", "s-app", "cat", "/etc/edition"]).ok().stdout
}

fn status(host: &Host) -> Value {
    host.sp(&["status", "--json"]).ok().json()[0].clone()
}

fn sync_of(status: &Value, resource: &str) -> String {
    let (kind, name) = resource.split_once('/').unwrap();
    let all = status["resources"].as_array().unwrap();
    let found = all.iter().find(|r| r["resource"]["kind"] == kind && r["resource"]["name"] == name);
    found.unwrap_or_else(|| panic!("{resource} is not in {status}"))["sync"].as_str().unwrap().to_owned()
}

#[test]
fn a_moved_tag_is_shown_followed_and_recorded() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "first", "test/app:1");
    let folder = stack(&host, &reference, "pull: {policy: always}");
    let first = host.sp(&["plan", &folder]).fails_with(2);
    first.says(&["image/app: pull", &reference, "to pull ("]);
    host.sp(&["apply", &folder]).ok().says(&[&format!("image/app: pulled {reference}")]);
    assert_eq!(edition(&host), "first");
    host.sp(&["plan", &folder]).ok();
    let container = host.inspect("s-app")["id"].clone();

    // The same image under a tag that is set again is no change.
    retag(&reference, &reference);
    host.sp(&["apply", &folder]).ok().says(&["nothing to do", "generation 1"]);

    push(&host, &registry, "second", "test/app:1");
    let plan = host.sp(&["plan", &folder]).fails_with(2);
    assert!(plan.stdout.contains("(sha256:") && plan.stdout.contains("… → sha256:"), "{}", plan.stdout);
    plan.says(&["container/app: recreate"]);
    // A plan that is kept brings what it showed, whatever the tag means by then.
    let saved = host.dir.join("plan");
    host.sp(&["plan", &folder, "--out", saved.to_str().unwrap()]).fails_with(2);
    push(&host, &registry, "third", "test/app:1");
    host.sp(&["apply", saved.to_str().unwrap()]).ok().says(&["generation 2"]);
    assert_eq!(edition(&host), "second");
    assert_ne!(host.inspect("s-app")["id"], container);
    // What is known is enough to tell how it stands.
    assert_eq!(sync_of(&status(&host), "image/app"), "Synced");
    host.sp(&["apply", &folder]).ok().says(&["generation 3"]);
    assert_eq!(edition(&host), "third");
    host.sp(&["plan", &folder]).ok();

    // What the disk has lost of an image comes again, as it was, whatever the tag means by now; what runs stays as it is.
    push(&host, &registry, "fourth", "test/app:1");
    let container = (host.inspect("s-app")["id"].clone(), host.pid("s-app"));
    let layers = std::fs::read_dir(host.instance.state_dir().join("images/layers")).unwrap().map(|entry| entry.unwrap().path());
    let lost = layers.filter(|layer| std::fs::read_to_string(layer.join("etc/edition")).is_ok_and(|text| text == "third"));
    lost.for_each(|layer| std::fs::remove_dir_all(layer).unwrap());
    host.sp(&["plan", &folder]).fails_with(2).says(&["image/app: pull", "the disk has lost layers of it"]);
    assert_eq!(sync_of(&status(&host), "image/app"), "OutOfSync");
    host.sp(&["apply", &folder]).ok().says(&["1 step done", "generation 3"]);
    assert_eq!((host.inspect("s-app")["id"].clone(), host.pid("s-app")), container);
    let again = host.sp(&["run", "--rm", "--network", "none", "--pull", "never", &reference, "cat", "/etc/edition"]);
    assert_eq!(again.ok().stdout, "third");
}

#[test]
fn a_registry_that_is_away_stops_only_what_needs_it() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "first", "test/app:1");
    let folder = stack(&host, &reference, "pull: {policy: always}");
    host.sp(&["apply", &folder]).ok();
    let container = host.inspect("s-app")["id"].clone();
    drop(registry);
    host.write("s/more.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: more}\n");
    host.sp(&["apply", &folder]).fails_with(1).says(&[
        "image/app: pull",
        "could not be found out",
        "does not answer",
        "volume/more: created",
    ]);
    assert_eq!(host.inspect("s-app")["id"], container, "what runs goes on");
    stack(&host, &reference, "pull: {}");
    host.sp(&["apply", &folder]).ok();
    host.sp(&["plan", &folder]).ok();
    assert_eq!(host.inspect("s-app")["id"], container);
}

#[test]
fn pushed_once_to_each_place() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let archive = host.dir.join("s/app.tar");
    let from = format!("oci:{}:1", layout(&host, "first").display());
    std::fs::create_dir_all(host.dir.join("s")).unwrap();
    tool(
        "skopeo",
        &["--insecure-policy", "copy", "--quiet", &from, &format!("docker-archive:{}:localhost/app:1", archive.display())],
    );
    let place = |name: &str| format!("{}/{name}", Registry::ADDRESS);
    let load = |to: &str| format!("load: {{archive: ./app.tar}}\n  push: {{to: [{to}]}}");
    let folder = stack(&host, "localhost/app:1", &load(&format!("\"{}\"", place("one/app:1"))));
    host.sp(&["plan", &folder]).fails_with(2).says(&[&format!("image/app: push {}", place("one/app:1"))]);
    host.sp(&["apply", &folder]).ok().says(&[&format!("image/app: pushed {}", place("one/app:1"))]);
    host.sp(&["plan", &folder]).ok();
    let both = format!("\"{}\", \"{}\"", place("one/app:1"), place("two/app:new"));
    stack(&host, "localhost/app:1", &load(&both));
    let applied = host.sp(&["apply", &folder]).ok();
    assert!(applied.stdout.contains("two/app:new") && !applied.stdout.contains("one/app:1"), "{}", applied.stdout);
    host.sp(&["plan", &folder]).ok();
    for name in ["one/app:1", "two/app:new"] {
        assert_eq!(host.sp(&["run", "--rm", &place(name), "cat", "/etc/edition"]).ok().stdout, "first");
    }
    drop(registry);
    host.sp(&["apply", &folder]).ok().says(&["nothing to do"]);
}

/// Signs the image behind a tag with a new key as cosign does, puts the signature beside it, and gives the public key.
fn sign(host: &Host, reference: &str, name: &str) -> String {
    let path = |what: &str| host.dir.join(format!("{name}.{what}")).to_str().unwrap().to_owned();
    let (private, public, payload, signature) = (path("key"), path("pub"), path("payload"), path("sig"));
    tool("openssl", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", &private]);
    tool("openssl", &["pkey", "-in", &private, "-pubout", "-out", &public]);
    let source = format!("docker://{reference}");
    let digest = tool("skopeo", &["inspect", "--tls-verify=false", "--format", "{{.Digest}}", &source]);
    let (repository, _) = reference.rsplit_once(':').unwrap();
    let said = json!({
        "critical": {
            "identity": {"docker-reference": repository},
            "image": {"docker-manifest-digest": digest.trim()},
            "type": "cosign container image signature",
        },
        "optional": null,
    });
    std::fs::write(&payload, said.to_string()).unwrap();
    tool("openssl", &["dgst", "-sha256", "-sign", &private, "-out", &signature, &payload]);
    let signature = STANDARD.encode(std::fs::read(&signature).unwrap());

    let folder = host.dir.join(format!("{name}-signature"));
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let blob = |content: &Value, media_type: &str| {
        let content = content.to_string();
        let digest = Digest::of(content.as_bytes());
        std::fs::write(blobs.join(digest.hex()), &content).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": content.len()})
    };
    let mut layer = blob(&said, "application/vnd.dev.cosign.simplesigning.v1+json");
    layer["annotations"] = json!({"dev.cosignproject.cosign/signature": signature});
    let config = json!({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}, "config": {}});
    let config = blob(&config, "application/vnd.oci.image.config.v1+json");
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": [layer]});
    let mut manifest = blob(&manifest, media_type);
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": "1"});
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    std::fs::write(folder.join("index.json"), json!({"schemaVersion": 2, "manifests": [manifest]}).to_string()).unwrap();
    let target = format!("docker://{repository}:{}.sig", digest.trim().replace(':', "-"));
    let from = format!("oci:{}:1", folder.display());
    tool("skopeo", &["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false", "--preserve-digests", &from, &target]);
    public
}

#[test]
fn only_what_is_signed_is_run() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "first", "test/app:1");
    let folder = stack(&host, &reference, "pull: {}");
    host.sp(&["apply", &folder]).ok();
    let container = host.inspect("s-app")["id"].clone();

    // An image that is here already is checked, too, before it counts as the one that is meant.
    let other = push(&host, &registry, "second", "test/other:1");
    let wrong = sign(&host, &other, "wrong");
    stack(&host, &reference, &format!("pull: {{}}\n  verify: {{keys: [{wrong}]}}"));
    host.sp(&["apply", &folder]).fails_with(1).says(&["image/app: pull", "sign"]);
    host.sp(&["rm", "-f", "s-app"]).ok();
    host.sp(&["apply", &folder]).fails_with(1).says(&["container/app: create", "skipped"]);
    assert!(host.containers().is_empty(), "nothing runs that is not signed");

    let right = sign(&host, &reference, "right");
    stack(&host, &reference, &format!("pull: {{}}\n  verify: {{keys: [{wrong}, {right}]}}"));
    host.sp(&["apply", &folder]).ok();
    assert_eq!(edition(&host), "first");
    assert_ne!(host.inspect("s-app")["id"], container);
    host.sp(&["plan", &folder]).ok();
    // What was checked once need not be checked again.
    drop(registry);
    host.sp(&["apply", &folder]).ok().says(&["nothing to do"]);
}

#[test]
fn the_newest_version_in_a_range() {
    let host = Host::new();
    let registry = Registry::start(&host);
    for version in ["1.27.1", "1.27.3", "1.28.0"] {
        push(&host, &registry, version, &format!("test/app:{version}"));
    }
    let repository = format!("{}/test/app", Registry::ADDRESS);
    let folder = stack(&host, &repository, "pull: {tag_policy: {semver: ~1.27}}");
    host.sp(&["plan", &folder]).fails_with(2).says(&[&format!("pull {repository}:1.27.3 (sha256:")]);
    host.sp(&["apply", &folder]).ok();
    assert_eq!(edition(&host), "1.27.3");
    // It is asked again when another range is wanted, or when the policy says so.
    push(&host, &registry, "1.27.4", "test/app:1.27.4");
    host.sp(&["plan", &folder]).ok();
    stack(&host, &repository, "pull: {policy: always, tag_policy: {semver: ~1.27}}");
    host.sp(&["apply", &folder]).ok();
    assert_eq!(edition(&host), "1.27.4");
    stack(&host, &repository, "pull: {tag_policy: {semver: ~1.28}}");
    host.sp(&["apply", &folder]).ok();
    assert_eq!(edition(&host), "1.28.0");
    stack(&host, &repository, "pull: {tag_policy: {semver: ~2}}");
    host.sp(&["apply", &folder]).fails_with(1).says(&["no tag of test/app fits ~2"]);
    assert_eq!(edition(&host), "1.28.0");
}

#[test]
fn an_archive_that_may_be_away() {
    let host = Host::new();
    let archive = host.dir.join("s/app.tar");
    let pack = |edition: &str, name: &str| {
        let folder = layout(&host, edition);
        std::fs::remove_file(&archive).ok();
        let (from, to) = (format!("oci:{}:1", folder.display()), format!("docker-archive:{}:{name}", archive.display()));
        tool("skopeo", &["--insecure-policy", "copy", "--quiet", &from, &to]);
    };
    let folder = stack(&host, "localhost/app:1", "load: {archive: ./app.tar}");
    pack("first", "localhost/other:1");
    host.sp(&["apply", &folder]).ok().says(&["image/app: loaded localhost/app:1"]);
    assert_eq!(edition(&host), "first");
    host.sp(&["plan", &folder]).ok();
    pack("second", "localhost/other:1");
    host.sp(&["apply", &folder]).ok();
    assert_eq!(edition(&host), "second");
    // Another archive with the same image: it is loaded, and the container goes on as it was.
    let (id, pid) = (host.inspect("s-app")["id"].clone(), host.pid("s-app"));
    host.write("README", "nothing of an image");
    tool("tar", &["-C", host.dir.to_str().unwrap(), "-rf", archive.to_str().unwrap(), "README"]);
    host.sp(&["plan", &folder]).says(&["image/app: load", "container/app: recreate", "only if that is another image"]);
    host.sp(&["apply", &folder]).ok().says(&["= container/app: not stopped, its image is the same"]);
    assert_eq!((host.inspect("s-app")["id"].clone(), host.pid("s-app")), (id, pid));
    host.sp(&["plan", &folder]).ok().says(&["Nothing to do"]);
    std::fs::rename(&archive, host.dir.join("away")).unwrap();
    host.sp(&["apply", &folder]).ok().says(&["nothing to do", "generation 3"]);
    // Once the image is gone as well, it takes the archive to have it again.
    host.sp(&["rm", "-f", "s-app"]).ok();
    host.sp(&["rmi", "-f", "localhost/app:1", "localhost/other:1"]).ok();
    host.sp(&["apply", &folder]).fails_with(1).says(&["image/app: load", "app.tar"]);
    std::fs::rename(host.dir.join("away"), &archive).unwrap();
    stack(&host, "localhost/app:1", "load: {archive: ./app.tar, reference: localhost/none:1}");
    host.sp(&["apply", &folder]).fails_with(1).says(&["has no image localhost/none:1; it has localhost/other:1"]);
    stack(&host, "localhost/app:1", "load: {archive: ./app.tar, reference: \"localhost/other:1\"}");
    host.sp(&["apply", &folder]).ok();
    assert_eq!(edition(&host), "second");
}

#[test]
fn the_daemon_asks_when_it_is_due() {
    let host = Host::new();
    let registry = Registry::start(&host);
    let reference = push(&host, &registry, "first", "test/app:1");
    let folder = stack(&host, &reference, "pull: {policy: every_1s}");
    let daemon = host.daemon(folder.as_ref());
    wait_until("the first runs", SOON, || host.running() == ["s-app"]);
    assert_eq!(edition(&host), "first");
    push(&host, &registry, "second", "test/app:1");
    // Each look asks whether something is due; a touched file is a reason to look.
    wait_until("the second runs", SOON, || {
        std::thread::sleep(Duration::from_millis(1100));
        stack(&host, &reference, "pull: {policy: every_1s}");
        let ran = host.sp(&["exec", "s-app", "cat", "/etc/edition"]);
        ran.stdout == "second"
    });
    daemon.stop();
}

#[test]
fn status_knows_configs() {
    let host = Host::new().with_busybox();
    let write = |content: &str, mounted: &str| {
        host.write(
            "s/s.yaml",
            &format!(
                "apiVersion: setpoint/v1
kind: Config
metadata: {{name: greeting}}
spec: {{content: {content}}}
---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: app}}
spec: {{image: \"localhost/busybox:1\", command: [sleep, inf], network_mode: none, stop_grace_period: 1s, configs: [{mounted}]}}
"
            ),
        )
    };
    write("hello", "greeting");
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    host.sp(&["apply", &folder]).ok();
    host.sp(&["status"]).ok().says(&["config/greeting", "mounted"]);
    assert_eq!(sync_of(&status(&host), "config/greeting"), "Synced");
    host.sp(&["rm", "-f", "s-app"]).ok();
    assert_eq!(sync_of(&status(&host), "config/greeting"), "OutOfSync");
    write("hello", "");
    host.sp(&["apply", &folder]).ok();
    host.sp(&["status"]).ok().says(&["config/greeting", "not used"]);
}
