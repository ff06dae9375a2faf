//! What is attested of images: how they were built and which software is in them, read back from a registry as others would.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{BUSYBOX, Host, PATIENCE, Registry, Running, net, tool};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn raw(reference: &str) -> Value {
    let text = tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")]);
    serde_json::from_str(&text).unwrap()
}

fn blob(repository: &str, digest: &Value) -> Value {
    let text = net::http(5000, &format!("/v2/{repository}/blobs/{}", digest.as_str().unwrap())).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn manifest(repository: &str, digest: &Value) -> Value {
    raw(&format!("{}/{repository}@{}", Registry::ADDRESS, digest.as_str().unwrap()))
}

fn digest(host: &Host, name: &str) -> String {
    host.sp(&["inspect", name]).ok().json()[0]["digest"].as_str().unwrap().to_owned()
}

/// A context whose image has a package of Debian's, and whose build knows a secret.
fn with_app(host: &Host) {
    let status = "Package: hello\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.10-3\n";
    host.write("app/status", status);
    host.write("token", "canary-secret");
    let dockerfile = format!(
        "FROM {BUSYBOX}\nARG TOKEN\nCOPY status /var/lib/dpkg/status\n\
         RUN --network=none --mount=type=secret,id=token cat /run/secrets/token > /dev/null; echo hello > /said\nCMD [\"cat\", \"/said\"]\n"
    );
    host.write("app/Dockerfile", &dockerfile);
}

#[test]
fn attestations_are_beside_the_image_and_secrets_in_none_of_them() {
    let host = Host::new().with_busybox();
    let _registry = Registry::start(&host);
    with_app(&host);
    let name = format!("{}/att:1", Registry::ADDRESS);
    let build = ["build", "--secret", "id=token,src=token", "--build-arg", "TOKEN=canary-secret", "--label", "a=b", "-t", &name];
    let attest = ["--provenance=mode=max", "--sbom", "--push", "-o", "out", "app"];
    host.sp(&[&build[..], &attest[..]].concat()).ok();

    let index = raw(&name);
    assert_eq!(index["mediaType"], INDEX);
    let entries = index["manifests"].as_array().unwrap();
    assert_eq!(entries.len(), 2, "{index}");
    assert_eq!(entries[0]["platform"]["architecture"], "amd64");
    assert_eq!(entries[1]["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(entries[1]["annotations"]["vnd.docker.reference.digest"], entries[0]["digest"]);
    assert_eq!(entries[1]["platform"]["os"], "unknown");
    let attested = manifest("att", &entries[1]["digest"]);
    let statements: Vec<Value> = attested["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| {
            assert_eq!(layer["mediaType"], "application/vnd.in-toto+json");
            let statement = blob("att", &layer["digest"]);
            assert_eq!(layer["annotations"]["in-toto.io/predicate-type"], statement["predicateType"]);
            let subject = format!("sha256:{}", statement["subject"][0]["digest"]["sha256"].as_str().unwrap());
            assert_eq!(entries[0]["digest"], subject);
            assert!(!statement.to_string().contains("canary-secret"), "{statement}");
            statement
        })
        .collect();
    let (software, built) = (&statements[0], &statements[1]);
    assert_eq!(software["predicateType"], "https://spdx.dev/Document");
    let packages = software["predicate"]["packages"].to_string();
    assert!(packages.contains("pkg:deb/debian/hello@2.10-3?arch=amd64"), "{packages}");
    assert_eq!(built["predicateType"], "https://slsa.dev/provenance/v1");
    let definition = &built["predicate"]["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!((&request["args"]["build-arg:TOKEN"], &request["args"]["label:a"]), (&"****".into(), &"b".into()));
    assert_eq!(request["secrets"][0]["id"], "token");
    assert!(definition["resolvedDependencies"][0]["uri"].as_str().unwrap().contains("busybox"), "{definition}");
    let metadata = &built["predicate"]["runDetails"]["metadata"];
    assert_eq!((&metadata["buildkit_hermetic"], &metadata["buildkit_completeness"]["request"]), (&true.into(), &true.into()));
    // Files have them beside them.
    let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(host.dir.join("out").join(name)).unwrap()).unwrap() };
    assert_eq!(read("provenance.json"), built["predicate"]);
    assert_eq!(read("sbom.spdx.json")["spdxVersion"], "SPDX-2.3");

    // Such an image is an image: here, and for others.
    assert_eq!(host.sp(&["run", "--rm", &name]).ok().stdout, "hello\n");
    host.sp(&["rmi", &name]).ok();
    host.sp(&["pull", &name]).ok();
    assert_eq!(host.sp(&["run", "--rm", &name]).ok().stdout, "hello\n");
    let copy = |to: &str, more: &[&str]| {
        let (from, to) = (format!("docker://{name}"), format!("dir:{}/{to}", host.dir.display()));
        tool("skopeo", &[&["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"], more, &[&from, &to]].concat())
    };
    podman_takes(&host, &name);
    copy("one", &[]);
    copy("all", &["--all"]);
    assert!(read_manifest(&host, "one")["layers"].is_array());
    assert_eq!(read_manifest(&host, "all")["manifests"].as_array().unwrap().len(), 2);
    host.sp(&["check"]).ok();
}

/// Podman pulls the image, and not what is attested of it.
fn podman_takes(host: &Host, name: &str) {
    let at = |name: &str| host.dir.join("podman").join(name).to_str().unwrap().to_owned();
    host.write("podman/policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}\n");
    host.write("podman/containers.conf", "[engine]\nlock_type = \"file\"\n");
    // Its locks, and what it knows of this boot. The mount is seen by this test alone.
    tool("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
    let podman = |args: &[&str]| {
        let mut command = Command::new("podman");
        command.args(["--root", &at("root"), "--runroot", &at("runroot"), "--tmpdir", &at("tmp"), "--storage-driver", "vfs"]);
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"]).args(args).current_dir(&host.dir);
        command.env("HOME", host.dir.join("podman")).env("CONTAINERS_CONF", at("containers.conf"));
        Running::spawn(command).wait(PATIENCE).ok().stdout
    };
    podman(&["pull", "--quiet", "--tls-verify=false", "--signature-policy", &at("policy.json"), name]);
    let ours = host.sp(&["inspect", name]).ok().json()[0]["Id"].as_str().unwrap().to_owned();
    assert_eq!(format!("sha256:{}", podman(&["image", "inspect", "--format", "{{.Id}}", name]).trim()), ours);
}

fn read_manifest(host: &Host, folder: &str) -> Value {
    serde_json::from_slice(&fs::read(host.dir.join(folder).join("manifest.json")).unwrap()).unwrap()
}

#[test]
fn less_is_told_unless_more_is_asked_for_and_nothing_unless_anything_is() {
    let host = Host::new().with_busybox();
    let _registry = Registry::start(&host);
    with_app(&host);
    let name = |tag: &str| format!("{}/att:{tag}", Registry::ADDRESS);
    let build = |tag: &str, more: &[&str]| {
        let tag = name(tag);
        let args = ["build", "--secret", "id=token,src=token", "--build-arg", "TOKEN=private", "-t", &tag, "--push"];
        let mut command = host.command(&[&args[..], more, &["app"]].concat());
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        Running::spawn(command).wait(PATIENCE).ok()
    };
    build("plain", &[]);
    build("off", &["--provenance=false", "--sbom=false", "--no-cache"]);
    build("min", &["--provenance=mode=min", "--attest", "type=sbom"]);
    build("old", &["--attest", "type=provenance,mode=min,version=v0.2"]);
    // What is attested changes nothing of the image.
    assert!(raw(&name("plain"))["layers"].is_array());
    for tag in ["off", "min", "old"] {
        assert_eq!(digest(&host, &name(tag)), digest(&host, &name("plain")), "{tag}");
    }
    assert_eq!(raw(&name("off")), raw(&name("plain")));
    let statement = |tag: &str, number: usize| {
        let attested = manifest("att", &raw(&name(tag))["manifests"][1]["digest"]);
        blob("att", &attested["layers"][number]["digest"])
    };
    let min = statement("min", 1);
    assert!(!min.to_string().contains("private") && !min.to_string().contains("token"), "{min}");
    let completeness = &min["predicate"]["runDetails"]["metadata"]["buildkit_completeness"];
    assert_eq!((&completeness["request"], &completeness["resolvedDependencies"]), (&false.into(), &false.into()));
    let old = statement("old", 0);
    assert_eq!(old["predicateType"], "https://slsa.dev/provenance/v0.2");
    assert_eq!(old["predicate"]["invocation"]["configSource"]["entryPoint"], "Dockerfile");
    assert_eq!(old["predicate"]["materials"].as_array().unwrap().len(), 1);
    // It goes along where the image goes, also later, and by another name.
    let again = format!("{}/other:1", Registry::ADDRESS);
    host.sp(&["tag", &name("min"), &again]).ok();
    host.sp(&["push", &again]).ok();
    let index = raw(&again);
    let attested = manifest("other", &index["manifests"][1]["digest"]);
    let statement = blob("other", &attested["layers"][0]["digest"]);
    assert_eq!(statement["subject"][0]["name"], format!("pkg:docker/{}/other@1?platform=linux%2Famd64", Registry::ADDRESS));
    host.sp(&["save", "--format", "oci", "-o", "att.tar", &again]).ok();
    host.sp(&["rmi", &again]).ok();
    host.sp(&["load", "-i", "att.tar"]).ok();
    assert_eq!(host.sp(&["run", "--rm", &again]).ok().stdout, "hello\n");
}
