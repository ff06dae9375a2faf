//! What leaves a build and comes into one as a folder with an OCI layout, and how the layers of what leaves it are packed.

use std::fs;

use serde_json::Value;

use crate::harness::{BUSYBOX, Host, Registry, tool};

const DOCKERFILE: &str = "FROM BUSYBOX\nCOPY file /file\nRUN cat /file > /again\nCMD [\"cat\", \"/again\"]\n";

fn with_app(host: &Host) {
    host.write("app/file", "content\n");
    host.write("app/Dockerfile", &DOCKERFILE.replace("BUSYBOX", BUSYBOX));
}

fn images(host: &Host) -> usize {
    host.sp(&["images", "--all", "-q"]).ok().stdout.lines().count()
}

/// The manifest of the image that skopeo finds there.
fn manifest(place: &str) -> Value {
    let text = tool("skopeo", &["--insecure-policy", "inspect", "--raw", "--tls-verify=false", place]);
    serde_json::from_str(&text).unwrap()
}

fn layer_types(manifest: &Value) -> Vec<String> {
    let layers = manifest["layers"].as_array().unwrap();
    layers.iter().map(|layer| layer["mediaType"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_layout_is_what_others_read_and_a_context() {
    let host = Host::new().with_busybox();
    with_app(&host);
    host.sp(&["build", "-t", "app:1", "-o", "type=oci,dest=layout,tar=false,annotation.org.example.a=b", "app"]).ok();
    let layout = host.dir.join("layout");
    let found = manifest(&format!("oci:{}", layout.display()));
    assert_eq!(found["annotations"]["org.example.a"], "b");
    assert_eq!(layer_types(&found), ["application/vnd.oci.image.layer.v1.tar"; 3]);
    assert_eq!(images(&host), 1, "it was not asked for here");

    let (there, before) = (layout.display(), images(&host));
    host.write("on/Dockerfile", "FROM base\nRUN cat /again /again > /twice\nCMD [\"cat\", \"/twice\"]\n");
    let digest = serde_json::from_slice::<Value>(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let digest = digest["manifests"][0]["digest"].as_str().unwrap().to_owned();
    for (name, tag) in [(String::new(), "on:1"), (":1".to_owned(), "on:2"), (format!("@{digest}"), "on:3")] {
        let context = format!("base=oci-layout://{there}{name}");
        host.sp(&["build", "-t", tag, "--build-context", &context, "on"]).ok();
        assert_eq!(host.sp(&["run", "--rm", tag]).ok().stdout, "content\ncontent\n");
    }
    // All three are the same image, and the one that they begin with is not here.
    assert_eq!(images(&host), before + 1);
    host.sp(&["check"]).ok();
    // Files are taken from it, too.
    host.write("of/Dockerfile", "FROM scratch\nCOPY --from=base /file /taken\n");
    host.sp(&["build", "--build-context", &format!("base=oci-layout://{there}:1"), "-o", "out", "of"]).ok();
    assert_eq!(fs::read_to_string(host.dir.join("out/taken")).unwrap(), "content\n");

    // A second image beside it; the same name once more is the new image.
    host.sp(&["build", "-t", "app:2", "-o", "type=oci,dest=layout,tar=false", "app"]).ok();
    host.write("app/file", "other\n");
    host.sp(&["build", "-t", "app:1", "-o", "type=oci,dest=layout,tar=false", "app"]).ok();
    let of = |tag: &str| {
        host.sp(&["build", "--build-context", &format!("base=oci-layout://{there}{tag}"), "-o", "out", "of"]);
        fs::read_to_string(host.dir.join("out/taken")).unwrap()
    };
    assert_eq!((of(":2").as_str(), of(":1").as_str()), ("content\n", "other\n"));
    let refused =
        |context: &str| host.sp(&["build", "--build-context", &format!("base=oci-layout://{context}"), "of"]).fails_with(1);
    refused(&there.to_string()).says(&["has several images", "app:1", "app:2"]);
    refused(&format!("{there}:3")).says(&["has no 3", "app:2"]);
    refused("app").says(&["is not an OCI layout"]);
    // A blob that is not what its name says.
    for blob in fs::read_dir(layout.join("blobs/sha256")).unwrap() {
        let path = blob.unwrap().path();
        let mut content = fs::read(&path).unwrap();
        if content.len() > 1024 {
            content[700] ^= 1;
            fs::write(path, content).unwrap();
        }
    }
    let other = Host::beside();
    other.write("of/Dockerfile", "FROM scratch\nCOPY --from=base /file /taken\n");
    let context = format!("base=oci-layout://{there}:1");
    other.sp(&["build", "--build-context", &context, "of"]).fails_with(1).says(&["has the digest"]);
    assert_eq!(images(&other), 0);
}

#[test]
fn archives_are_packed_as_it_is_asked() {
    let host = Host::new().with_busybox();
    with_app(&host);
    let archive = host.dir.join("app.tar");
    for (packing, suffix) in [("gzip,compression-level=9", "+gzip"), ("zstd", "+zstd"), ("uncompressed", "")] {
        let output = format!("type=oci,dest=app.tar,compression={packing}");
        host.sp(&["build", "-t", "app:1", "-o", &output, "app"]).ok();
        let found = manifest(&format!("oci-archive:{}", archive.display()));
        assert_eq!(layer_types(&found), vec![format!("application/vnd.oci.image.layer.v1.tar{suffix}"); 3]);
        host.sp(&["load", "-i", "app.tar"]).ok();
        assert_eq!(host.sp(&["run", "--rm", "app:1"]).ok().stdout, "content\n");
        host.sp(&["rmi", "app:1"]).ok();
    }
    host.sp(&["build", "-t", "app:1", "-o", "type=docker,dest=app.tar,compression=gzip", "app"]).ok();
    tool("skopeo", &["--insecure-policy", "inspect", "--config", &format!("docker-archive:{}", archive.display())]);
    host.sp(&["load", "-i", "app.tar"]).ok();
    assert_eq!(host.sp(&["run", "--rm", "app:1"]).ok().stdout, "content\n");
    // In Docker's words.
    host.sp(&["build", "-t", "app:1", "-o", "type=oci,dest=app.tar,oci-mediatypes=false", "app"]).ok();
    let found = manifest(&format!("oci-archive:{}", archive.display()));
    assert_eq!(found["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let failed = host.sp(&["build", "-o", "type=oci,dest=x.tar,oci-mediatypes=false,annotation.a=b", "app"]).fails_with(1);
    failed.says(&["annotations", "oci-mediatypes"]);
}

#[test]
fn what_is_pushed_is_packed_as_it_is_asked() {
    let host = Host::new().with_busybox();
    with_app(&host);
    let _registry = Registry::start(&host);
    let name = |tag: &str| format!("{}/team/app:{tag}", Registry::ADDRESS);
    let push = |tag: &str, more: &str| {
        host.sp(&["build", "-o", &format!("type=image,push=true,name={}{more}", name(tag)), "app"]).ok();
        manifest(&format!("docker://{}", name(tag)))
    };
    let of = |suffix: &str| vec![format!("application/vnd.oci.image.layer.v1.tar{suffix}"); 3];
    assert_eq!(layer_types(&push("gzip", "")), of("+gzip"));
    // What is there is taken as it is, unless it is forced.
    assert_eq!(layer_types(&push("kept", ",compression=zstd")), of("+gzip"));
    assert_eq!(layer_types(&push("zstd", ",compression=zstd,force-compression=true")), of("+zstd"));
    assert_eq!(layer_types(&push("plain", ",compression=uncompressed,force-compression=true")), of(""));
    let docker = push("docker", ",oci-mediatypes=false,compression=gzip,force-compression=true");
    assert_eq!(layer_types(&docker), ["application/vnd.docker.image.rootfs.diff.tar.gzip"; 3]);
    for tag in ["zstd", "plain", "docker"] {
        host.sp(&["pull", &name(tag)]).ok();
        assert_eq!(host.sp(&["run", "--rm", &name(tag)]).ok().stdout, "content\n");
    }
    // Without a tag: what can be pulled is what the metadata say.
    let output = format!("type=image,push=true,push-by-digest=true,name={}/team/untagged", Registry::ADDRESS);
    host.sp(&["build", "-o", &output, "--metadata-file", "about.json", "app"]).ok();
    host.sp(&["pull", &format!("{}/team/untagged:latest", Registry::ADDRESS)]).fails_with(1);
    let about: Value = serde_json::from_slice(&fs::read(host.dir.join("about.json")).unwrap()).unwrap();
    let digest = about["containerimage.digest"].as_str().unwrap();
    host.sp(&["pull", &format!("{}/team/untagged@{digest}", Registry::ADDRESS)]).ok();
}

#[test]
fn the_same_sources_give_the_same_bytes_on_two_hosts() {
    let (one, other) = (Host::new().with_busybox(), Host::beside().with_busybox());
    let mut archives = Vec::new();
    for host in [&one, &other] {
        with_app(host);
        let output = "type=oci,dest=app.tar,rewrite-timestamp=true,compression=gzip";
        host.sp(&["build", "--build-arg", "SOURCE_DATE_EPOCH=1000000000", "-t", "app:1", "-o", output, "app"]).ok();
        archives.push(fs::read(host.dir.join("app.tar")).unwrap());
        host.sp(&["build", "-o", "type=oci,dest=x.tar,rewrite-timestamp=true", "app"]).fails_with(1).says(&["SOURCE_DATE_EPOCH"]);
    }
    assert!(archives[0] == archives[1]);
}
