//! One build for several platforms: what needs no emulator, what needs one, and where the results go.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{BUSYBOX, Host, Registry, tool};

const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";

/// What is compiled on this host for whatever the image is for.
fn with_cross(host: &Host) {
    let dockerfile = format!(
        "FROM --platform=$BUILDPLATFORM {BUSYBOX} AS make\nRUN cat /proc/sys/kernel/random/uuid > /once\nARG TARGETARCH\nRUN echo $TARGETARCH > /arch\n\
         FROM scratch\nCOPY --from=make /arch /once /\n"
    );
    host.write("app/Dockerfile", &dockerfile);
}

fn raw(reference: &str) -> Value {
    let text = tool("skopeo", &["inspect", "--raw", "--tls-verify=false", &format!("docker://{reference}")]);
    serde_json::from_str(&text).unwrap()
}

fn read(host: &Host, path: &str) -> String {
    fs::read_to_string(host.dir.join(path)).unwrap()
}

#[test]
fn an_image_for_several_platforms_is_an_index() {
    let host = Host::new().with_busybox();
    let _registry = Registry::start(&host);
    with_cross(&host);
    let name = format!("{}/multi:1", Registry::ADDRESS);
    let platforms = "linux/amd64,linux/arm64,linux/arm/v7";
    let build = ["build", "--platform", platforms, "--progress", "plain"];
    let built = host.sp(&[&build[..], &["-t", &name, "--push", "-o", "out", "-o", "type=tar,dest=out.tar", "app"]].concat()).ok();
    built.says(&["[linux/amd64 make", "[linux/arm64 "]);
    for (folder, arch) in [("linux_amd64", "amd64\n"), ("linux_arm64", "arm64\n"), ("linux_arm_v7", "arm\n")] {
        assert_eq!(read(&host, &format!("out/{folder}/arch")), arch);
        // What all have in common was done once.
        assert_eq!(read(&host, &format!("out/{folder}/once")), read(&host, "out/linux_amd64/once"));
    }
    let listed = tool("tar", &["-tf", host.dir.join("out.tar").to_str().unwrap()]);
    assert!(listed.contains("linux_arm64/arch") && listed.contains("linux_amd64/arch"), "{listed}");
    let index = raw(&name);
    assert_eq!(index["mediaType"], "application/vnd.oci.image.index.v1+json");
    let found: Vec<&Value> = index["manifests"].as_array().unwrap().iter().map(|one| &one["platform"]).collect();
    let wanted = [
        json!({"os": "linux", "architecture": "amd64"}),
        json!({"os": "linux", "architecture": "arm64"}),
        json!({"os": "linux", "architecture": "arm", "variant": "v7"}),
    ];
    assert_eq!(found, wanted.iter().collect::<Vec<_>>());

    // The name is that of the image for this host; the others come along where it goes.
    let details = host.sp(&["inspect", &name]).ok().json();
    assert_eq!(details[0]["Architecture"].as_str(), Some("amd64"), "{details}");
    let again = format!("{}/again:1", Registry::ADDRESS);
    host.sp(&["tag", &name, &again]).ok();
    host.sp(&["image", "prune", "-f"]).ok();
    host.sp(&["push", &again]).ok();
    assert_eq!(raw(&again), index);
    host.sp(&["save", "--format", "oci", "-o", "multi.tar", &again]).ok();
    let layout = format!("oci-archive:{}", host.dir.join("multi.tar").display());
    let args = ["--insecure-policy", "--override-arch", "arm64", "copy", &layout, &format!("oci:{}/arm64", host.dir.display())];
    tool("skopeo", &args);
    // A stage can begin with each of them.
    host.write("app/Dockerfile", &format!("FROM {name}\nCOPY . /in/\n"));
    host.sp(&["build", "--platform", "linux/arm64", "-o", "based", "app"]).ok();
    assert_eq!(read(&host, "based/arch"), "arm64\n");
    let count = || host.sp(&["images", "-q"]).ok().stdout.lines().count();
    assert_eq!(count(), 4);
    host.sp(&["rmi", &name]).ok();
    host.sp(&["rmi", &again]).ok();
    assert_eq!(count(), 1, "the others go with the last name: {}", host.sp(&["images"]).stdout);

    // A base for another platform is brought, and does not take the name from what may have it.
    host.write("app/Dockerfile", &format!("FROM {again}\n"));
    host.sp(&["build", "--platform", "linux/arm64", "-o", "pulled", "app"]).ok();
    assert_eq!(read(&host, "pulled/arch"), "arm64\n");
    host.sp(&["inspect", &again]).fails_with(1);
    let known = host.sp(&["build", "--platform", "linux/arm64", "--progress", "plain", "-o", "here", "app"]).ok();
    assert!(!known.stderr.contains("[internal] pull"), "{}", known.stderr);

    host.sp(&["pull", "--platform", "linux/arm64", &again]).ok();
    host.sp(&["check"]).ok();
}

#[test]
fn archives_of_several_platforms() {
    let host = Host::new().with_busybox();
    with_cross(&host);
    let platforms = ["build", "--platform", "linux/amd64,linux/arm64"];
    host.sp(&[&platforms[..], &["-t", "app:1", "-o", "type=oci,dest=app.tar", "app"]].concat()).ok();
    host.sp(&["inspect", "app:1"]).fails_with(1);
    assert_eq!(host.sp(&["images", "-q"]).ok().stdout.lines().count(), 1, "no image was asked for");
    fs::create_dir(host.dir.join("layout")).unwrap();
    tool("tar", &["-xf", host.dir.join("app.tar").to_str().unwrap(), "-C", host.dir.join("layout").to_str().unwrap()]);
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(host.dir.join("layout").join(path)).unwrap()).unwrap() };
    let top = read(Path::new("index.json"));
    assert_eq!(top["manifests"].as_array().unwrap().len(), 1, "{top}");
    let digest = top["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    assert_eq!(read(&Path::new("blobs").join(digest))["manifests"].as_array().unwrap().len(), 2);
    host.sp(&["load", "-i", "app.tar"]).ok();
    host.sp(&["inspect", "app:1"]).ok();
    host.sp(&[&platforms[..], &["-o", "type=docker,dest=x.tar", "app"]].concat()).fails_with(1).says(&["type=oci"]);
    host.sp(&["build", "--platform", "windows/amd64", "app"]).fails_with(1).says(&["windows/amd64"]);
}

#[test]
fn a_platform_without_an_emulator_is_refused_before_anything_is_done() {
    let host = Host::new().with_busybox();
    // Whatever this machine has.
    tool("mount", &["-t", "tmpfs", "none", HANDLERS]);
    host.write("app/Dockerfile", "FROM scratch\nCOPY . /\nRUN [\"/hello\"]\n");
    let refused = host.sp(&["build", "--platform", "linux/amd64,linux/arm64", "--progress", "plain", "app"]).fails_with(1);
    let refused = refused.says(&["Dockerfile:3", "linux/arm64", "qemu-aarch64", "qemu-user-static", "--platform=$BUILDPLATFORM"]);
    assert!(!refused.stderr.contains("COPY"), "{}", refused.stderr);
}

/// A handler of the kernel's for programs of arm64, as long as this is there. It is in a place of its own and starts nothing that
/// this machine would otherwise start.
struct Handler {
    path: String,
}

impl Handler {
    fn register() -> Self {
        if !Path::new(HANDLERS).join("register").exists() {
            tool("mount", &["-t", "binfmt_misc", "binfmt_misc", HANDLERS]);
        }
        let name = format!("sptest-{}", std::process::id());
        let magic = "\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00";
        let mask = "\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff";
        let line = format!(":{name}:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:F");
        fs::write(format!("{HANDLERS}/register"), line).unwrap();
        Self { path: format!("{HANDLERS}/{name}") }
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        fs::write(&self.path, "-1").unwrap();
    }
}

/// A program for arm64 that prints a line, makes the folder `/made`, and ends.
fn arm64_program() -> Vec<u8> {
    let code: [u32; 13] = [
        0xd280_0020, // mov x0, #1
        0x1000_0181, // adr x1, the line
        0xd280_0222, // mov x2, #17
        0xd280_0808, // mov x8, #64 (write)
        0xd400_0001, // svc #0
        0x9280_0c60, // mov x0, #-100 (AT_FDCWD)
        0x3000_0161, // adr x1, the path
        0xd280_3da2, // mov x2, #0755
        0xd280_0448, // mov x8, #34 (mkdirat)
        0xd400_0001, // svc #0
        0xd280_0000, // mov x0, #0
        0xd280_0ba8, // mov x8, #93 (exit)
        0xd400_0001, // svc #0
    ];
    let mut body: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    body.extend(b"hello from arm64\n/made\0");
    let size = 120 + body.len() as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // A program for arm64 that begins behind both headers, which is one segment, loaded at 4 MiB.
    file.extend([2, 0, 0xb7, 0, 1, 0, 0, 0]);
    let words = |file: &mut Vec<u8>, words: &[u64]| words.iter().for_each(|word| file.extend(word.to_le_bytes()));
    words(&mut file, &[0x40_0078, 64, 0]);
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    words(&mut file, &[0, 0x40_0000, 0x40_0000, size, size, 0x1_0000]);
    file.extend(body);
    file
}

#[test]
fn commands_of_another_platform_run_by_an_emulator() {
    let host = Host::new();
    let handler = Handler::register();
    let program = host.dir.join("app/hello");
    fs::create_dir(host.dir.join("app")).unwrap();
    fs::write(&program, arm64_program()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    host.write("app/Dockerfile", "FROM scratch\nCOPY hello /\nRUN [\"/hello\"]\n");
    let args = ["build", "--platform", "linux/arm64", "--progress", "plain", "-t", "app:1", "-o", "out", "--load", "app"];
    host.sp(&args).ok().says(&["hello from arm64"]);
    assert!(host.dir.join("out/made").is_dir());
    // And so does a container.
    assert_eq!(host.sp(&["run", "--rm", "app:1", "/hello"]).ok().stdout, "hello from arm64\n");
    drop(handler);
}
