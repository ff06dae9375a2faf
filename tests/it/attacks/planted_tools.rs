//! An image brings its own `nsenter`, `nft`, `xz` or name service library, in the hope that the host runs one of them as
//! root while it works on the container's files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::{Canary, image};
use crate::harness::{Host, tool};

const TOOLS: [&str; 19] = [
    "nsenter",
    "nft",
    "iptables",
    "ip",
    "xz",
    "unxz",
    "gzip",
    "gunzip",
    "unpigz",
    "zstd",
    "tar",
    "mount",
    "umount",
    "modprobe",
    "newuidmap",
    "newgidmap",
    "getent",
    "ldconfig",
    "setpoint",
];
const LIBRARIES: [&str; 4] = ["libnss_files.so.2", "libnss_dns.so.2", "libnss_compat.so.2", "libc.so.6"];

/// A library that leaves a mark as soon as it is loaded.
fn library(host: &Host, mark: &Path) -> std::path::PathBuf {
    let source = host.dir.join("library.c");
    let text = format!(
        "#include <fcntl.h>\n__attribute__((constructor)) static void loaded(void) {{ open(\"{}\", O_CREAT | O_WRONLY, 0600); }}\n",
        mark.display()
    );
    fs::write(&source, text).unwrap();
    let library = host.dir.join("library.so");
    tool("cc", &["-shared", "-fPIC", "-o", library.to_str().unwrap(), source.to_str().unwrap()]);
    library
}

#[test]
fn nothing_of_an_image_runs_on_the_host() {
    let host = Host::new();
    let canary = Canary::new(&host);
    let mark = canary.folder.join("ran");
    let library = library(&host, &mark);
    let image = image(&host, "planted", |root| {
        // It could run in its own root too, where the same path is another file.
        fs::create_dir_all(root.join(canary.folder.strip_prefix("/").unwrap())).unwrap();
        for folder in ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            for tool in TOOLS {
                let file = root.join(folder).join(tool);
                fs::remove_file(&file).ok();
                fs::write(&file, format!("#!/bin/sh\necho $0 $* >>{}\n", mark.display())).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        for folder in ["lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            for name in LIBRARIES {
                fs::copy(&library, root.join(folder).join(name)).unwrap();
            }
        }
        fs::write(root.join("etc/nsswitch.conf"), "passwd: files compat\nhosts: files dns\n").unwrap();
        fs::write(root.join("etc/ld.so.preload"), "/lib/libc.so.6\n").unwrap();
    });
    let container = ["run", "-d", "--name", "a", "-p", "127.0.0.1:18080:80", "-v", "v:/usr/bin", "-e"];
    let environment = "LD_PRELOAD=/lib/libc.so.6";
    host.sp(&[&container[..], &[environment, "-u", "nobody", &image, "sleep", "1000"]].concat()).ok();
    host.sp(&["exec", "-u", "nobody", "a", "/bin/busybox", "true"]).ok();
    host.sp(&["exec", "-u", "0", "a", "/bin/busybox", "touch", "/made"]).ok();
    host.sp(&["stop", "-t", "0", "a"]).ok();
    host.sp(&["start", "a"]).ok();
    host.sp(&["commit", "a", "localhost/committed:1"]).ok();
    host.sp(&["export", "-o", "root.tar", "a"]).ok();
    host.sp(&["save", "-o", "image.tar", "localhost/committed:1"]).ok();
    host.sp(&["rm", "-f", "a"]).ok();
    host.sp(&["load", "-i", "image.tar"]).ok();
    canary.is_alive();
    // Nor in its own root, but for what was asked for: the committed layer would have it.
    let listed = tool("tar", &["-tf", host.dir.join("root.tar").to_str().unwrap()]);
    let inside = mark.strip_prefix("/").unwrap().to_str().unwrap();
    assert!(!listed.contains(inside), "a planted tool ran in the container");
}
