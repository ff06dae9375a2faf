//! An image with real servers in it: PostgreSQL, Redis and nginx from Debian's packages, put together by debootstrap and
//! kept between runs as an OCI layout in the user's cache. Knows nothing of setpoint.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use setpoint::files::Lock;
use setpoint::model::Digest;

use crate::harness::image::Layout;
use crate::harness::tool;

pub(crate) const TAG: &str = "1";

const PACKAGES: &str = "postgresql,redis-server,nginx-light,libnginx-mod-stream";

/// What no server needs: a fifth of the layer's time and most of its bytes. LLVM serves PostgreSQL's JIT only.
const LEFT_OUT: [&str; 9] = [
    "./dev/*",
    "./proc/*",
    "./usr/share/doc",
    "./usr/share/locale",
    "./usr/share/man",
    "./var/cache/apt/*",
    "./var/lib/apt/lists/*",
    "./usr/lib/*/libLLVM*",
    "./usr/lib/postgresql/*/lib/bitcode",
];

/// Changes to what this file does with the packages.
const VERSION: u32 = 1;

/// The layout's folder, from the cache or made now (a minute or two, and some 70 MB from the Debian mirror).
pub(crate) fn layout() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("setpoint-tests");
    fs::create_dir_all(&cache).unwrap();
    let suite = suite();
    let key = Digest::of(format!("{VERSION} {suite} {PACKAGES} {LEFT_OUT:?}").as_bytes()).short();
    let folder = cache.join(format!("servers-{key}"));
    // Two runs at the same time make it once.
    let _lock = Lock::wait(&cache.join("servers.lock")).unwrap();
    if folder.exists() {
        return folder;
    }
    let draft = cache.join("servers-draft");
    for old in fs::read_dir(&cache).unwrap().flatten() {
        if old.file_name().to_string_lossy().starts_with("servers-") {
            fs::remove_dir_all(old.path()).unwrap();
        }
    }
    build(&draft, &suite);
    fs::rename(draft.join("layout"), &folder).unwrap();
    fs::remove_dir_all(&draft).unwrap();
    folder
}

/// The Debian release that this machine runs: its mirror is the one at hand.
fn suite() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap();
    let codename = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    codename.unwrap_or("bookworm").trim_matches('"').to_owned()
}

fn build(draft: &Path, suite: &str) {
    let tree = draft.join("tree");
    fs::create_dir_all(&tree).unwrap();
    // It mounts /proc in the tree; in a mount namespace of its own that is gone whatever happens.
    let mut debootstrap = Command::new("unshare");
    debootstrap.args(["--mount", "debootstrap", "--variant=minbase", &format!("--include={PACKAGES}"), suite]).arg(&tree);
    debootstrap.args(mirror(suite));
    let output = debootstrap.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "debootstrap: {}\n{said}{}", output.status, String::from_utf8_lossy(&output.stderr));

    let mut layout = Layout::new(draft.join("layout"));
    layout.add_folder(&tree, &LEFT_OUT);
    // A second layer that adds, replaces and takes away, as images of the world do.
    layout.add_files(&[
        ("usr/local/bin/nginx-here", Some(NGINX)),
        ("etc/motd", Some("replaced by the second layer\n")),
        ("etc/issue.net", None),
    ]);
    layout.finish(TAG, &json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}));
}

/// Where apt gets this machine's packages; debootstrap has a default of its own.
fn mirror(suite: &str) -> Option<String> {
    let listed = tool("apt-get", &["indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]);
    let of_suite = format!("{suite} main ");
    listed.lines().find_map(|line| line.strip_prefix(&of_suite)).map(str::to_owned)
}

/// nginx resolves the names of its backends at every connection, from the name server that this container was given:
/// a backend that was recreated may have another address.
const NGINX: &str = r#"#!/bin/sh
set -eu
resolver=$(sed -n 's/^nameserver //p' /etc/resolv.conf | head -n 1)
sed "s/@RESOLVER@/$resolver/" /etc/nginx.template >/tmp/nginx.conf
exec nginx -c /tmp/nginx.conf -g 'daemon off;'
"#;
