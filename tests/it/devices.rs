//! Devices of the host in a container: those that were given, as they were given, and no others.

use std::fs::OpenOptions;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use crate::harness::{BUSYBOX, Host, tool};

/// A device that no container has by itself, that root may open for reading and writing on this host.
fn device() -> (u64, u64) {
    let candidates = ["/dev/loop-control", "/dev/fuse", "/dev/net/tun", "/dev/hwrng", "/dev/kvm", "/dev/autofs", "/dev/tty0"];
    let usable = |path: &&str| OpenOptions::new().read(true).write(true).custom_flags(libc_nonblock()).open(path).is_ok();
    let path = candidates.into_iter().find(usable).expect("this host has none of the usual devices");
    let id = std::fs::metadata(path).unwrap().rdev();
    (rustix::fs::major(id).into(), rustix::fs::minor(id).into())
}

const fn libc_nonblock() -> i32 {
    0o4000
}

/// Its node, in a folder of the test's.
fn node(host: &Host) -> (PathBuf, u64, u64) {
    let (major, minor) = device();
    let folder = host.dir.join("nodes");
    std::fs::create_dir(&folder).unwrap();
    let path = folder.join("one");
    tool("mknod", &[path.to_str().unwrap(), "c", &major.to_string(), &minor.to_string()]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    (path, major, minor)
}

const READ: &str = "exec 3</dev/mine";
const WRITE: &str = "exec 3<>/dev/mine";

#[test]
fn as_they_were_given() {
    let host = Host::new().with_busybox();
    let (path, major, minor) = node(&host);
    let path = path.to_str().unwrap();
    let run = |flags: &[&str], script: &str| host.sp(&[&["run", "--rm"], flags, &[BUSYBOX, "sh", "-c", script]].concat());
    let all = format!("{path}:/dev/mine");
    let read_only = format!("{path}:/dev/mine:r");
    run(&["--device", &all], READ).ok();
    run(&["--device", &all], WRITE).ok();
    run(&["--device", &read_only], READ).ok();
    let denied = run(&["--device", &read_only], WRITE);
    assert!(denied.code != 0 && denied.stderr.contains("not permitted"), "{}", denied.stderr);
    // As on the host: a process without privileges may use it too, for its mode says so.
    run(&["--device", &all, "--user", "1000"], READ).ok();
    let shown = run(&["--device", &all], "stat -c '%t:%T %a' /dev/mine").ok();
    assert_eq!(shown.out(), format!("{major:x}:{minor:x} 666"));
    // Without it, a node of the container's own making is of no use; by its numbers it is.
    let made = format!("mknod /dev/mine c {major} {minor} && {READ}");
    assert_ne!(run(&["--cap-add", "MKNOD"], &made).code, 0);
    let rule = format!("c {major}:{minor} rwm");
    run(&["--cap-add", "MKNOD", "--device-cgroup-rule", &rule], &made).ok();
    // A folder of devices.
    let folder = format!("{}:/dev/some", host.dir.join("nodes").display());
    run(&["--device", &folder], "exec 3<>/dev/some/one").ok();
    let none = run(&["--device", "/etc/passwd:/dev/mine"], "true");
    assert!(none.code != 0 && none.stderr.contains("no device"), "{}", none.stderr);
    assert_ne!(run(&["--device", "/dev/of-no-host"], "true").code, 0);
    // The devices that every container has go on working.
    run(&["--device", &all], "echo x >/dev/null && head -c1 /dev/zero >/dev/null").ok();
}

#[test]
fn also_in_a_command_and_a_manifest() {
    let host = Host::new().with_busybox();
    let (path, ..) = node(&host);
    host.write(
        "stack/compose.yaml",
        &format!(
            "services:\n  a:\n    image: {BUSYBOX}\n    command: [sleep, \"1000\"]\n    devices:\n      - \
             {{source: {}, target: /dev/mine, permissions: r}}\n",
            path.display()
        ),
    );
    host.sp(&["apply", "stack"]).ok();
    host.sp(&["exec", "stack-a", "sh", "-c", READ]).ok();
    assert_ne!(host.sp(&["exec", "stack-a", "sh", "-c", WRITE]).code, 0);
    host.sp(&["plan", "stack"]).fails_with(0);
}

#[test]
fn privileged_has_all() {
    let host = Host::new().with_busybox();
    let (path, major, minor) = node(&host);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let bounding = status.lines().find_map(|line| line.strip_prefix("CapBnd:")).unwrap().trim().to_owned();
    let script = format!(
        "grep -e ^CapEff -e ^Seccomp: -e ^NoNewPrivs /proc/self/status; mount -t tmpfs none /mnt && echo mounted; \
         mknod /dev/mine c {major} {minor} && {WRITE} && echo opened; grep -c ' /proc/.* ro' /proc/mounts; \
         echo 1 >/proc/sys/net/ipv4/ip_forward && echo set; ls /dev"
    );
    let ran = host.sp(&["run", "--rm", "--privileged", BUSYBOX, "sh", "-c", &format!("mkdir -p /mnt; {script}")]).ok();
    let lines: Vec<String> = ran.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for expected in [&format!("CapEff: {bounding}"), "Seccomp: 0", "NoNewPrivs: 0", "mounted", "opened", "0", "set"] {
        assert!(lines.iter().any(|line| line == expected), "{expected} is missing in\n{}{}", ran.stdout, ran.stderr);
    }
    // What is not privileged can do nothing of that.
    let plain = host.sp(&["run", "--rm", BUSYBOX, "sh", "-c", &format!("mkdir -p /mnt; {script}")]);
    for unwanted in ["mounted", "opened", "set", "Seccomp:\t0"] {
        assert!(!plain.stdout.lines().any(|line| line == unwanted), "{unwanted} in\n{}", plain.stdout);
    }
    drop(path);
}
