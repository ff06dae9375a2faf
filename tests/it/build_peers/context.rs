//! The folder that all the Dockerfiles are built in: files of all kinds, and archives of such.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use crate::harness::tool;

/// What all cases copy from.
pub(super) fn make_context(folder: &Path) {
    let files: &[(&str, u32, &str)] = &[
        ("app/README.md", 0o644, "# The program\n"),
        ("app/main.c", 0o644, "int main(void) { return 0; }\n"),
        ("app/lib/util.c", 0o640, "int util(void) { return 1; }\n"),
        ("app/lib/util.h", 0o644, "int util(void);\n"),
        ("conf/nginx.conf", 0o644, "worker_processes 1;\n"),
        ("conf/site.conf", 0o644, "server {}\n"),
        ("conf/private.conf", 0o600, "private\n"),
        ("scripts/run.sh", 0o755, "#!/bin/sh\nexec \"$@\"\n"),
        ("scripts/tool", 0o750, "a tool\n"),
        ("scripts/setuid", 0o4755, "another\n"),
        ("hard/one", 0o644, "linked\n"),
        ("odd/a b.txt", 0o644, "a b\n"),
        ("odd/c.txt", 0o644, "c\n"),
        ("odd/ü.txt", 0o644, "ü\n"),
        ("odd/[x].txt", 0o644, "x\n"),
        ("odd/.hidden", 0o644, "hidden\n"),
        ("java/lib.jar", 0o644, "lib\n"),
        ("java/app.jar", 0o644, "app\n"),
        ("attributes/file", 0o644, "with attributes\n"),
        ("archives/text.gz", 0o644, "not an archive\n"),
        ("package.json", 0o644, "{}\n"),
        ("package-lock.json", 0o644, "{\"lock\": 1}\n"),
        ("password.txt", 0o600, "hunter2\n"),
    ];
    for (path, mode, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        // Owners are those of the context's maker, and no part of the image.
        chown(&path, Some(1234), Some(5678)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
    }
    for (path, mode) in [("conf/empty", 0o750), ("links", 0o755), ("scripts", 0o2755)] {
        fs::create_dir_all(folder.join(path)).unwrap();
        fs::set_permissions(folder.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let links =
        [("relative", "../conf/nginx.conf"), ("absolute", "/etc/passwd"), ("dangling", "nowhere"), ("folder", "../app/lib")];
    for (name, target) in links {
        symlink(target, folder.join("links").join(name)).unwrap();
    }
    fs::hard_link(folder.join("hard/one"), folder.join("hard/two")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(folder.join("attributes/file"), "user.colour", b"blue", flags).unwrap();

    let content = folder.join("content");
    fs::create_dir_all(content.join("deep/er")).unwrap();
    fs::write(content.join("deep/er/file"), "unpacked\n").unwrap();
    fs::write(content.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(content.join("script"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(content.join("script"), content.join("deep/same")).unwrap();
    symlink("deep/er/file", content.join("link")).unwrap();
    let archives = folder.join("archives");
    // One of them says something of the folder itself.
    let all = "deep link script";
    for (flag, name, what) in
        [("-c", "plain.tar", all), ("-cz", "tree.tar.gz", "."), ("-cj", "tree.tar.bz2", all), ("-cJ", "tree.tgx", all)]
    {
        let archive = archives.join(name);
        let own = ["-C", content.to_str().unwrap(), "--owner=21", "--group=22", "--numeric-owner", "--sort=name"];
        let what: Vec<&str> = what.split(' ').collect();
        tool("tar", &[&own[..], &[flag, "-f", archive.to_str().unwrap()], &what].concat());
    }
    // Compressed, and no archive.
    let (text, packed) = (content.join("script"), archives.join("not.tar.gz"));
    tool("sh", &["-c", "gzip -n <\"$0\" >\"$1\"", text.to_str().unwrap(), packed.to_str().unwrap()]);
    fs::remove_dir_all(content).unwrap();
}
