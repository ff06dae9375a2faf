//! Dockerfiles as people write them, built by us and by buildah: the same configuration, the same files. The Dockerfiles are
//! in `dockerfiles/`: `NAME.Dockerfile`, whose lines that begin with `#:` are flags for both builders (or `after NAME`, which it
//! begins with); `NAME.plain`, where buildah 1.28 does not know the words: the same said in words that it knows;
//! `NAME.dockerignore`; and `NAME.own`, the file of what is ignored that belongs to one Dockerfile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Map, Value};
use setpoint::model::Digest;

use crate::harness::process::Ran;
use crate::harness::{Host, PATIENCE, Running, image, tool};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const BASE: &str = "localhost/base:1";

/// What differs and may: the Dockerfile, what of it, what we make of it, and why that is right.
struct Known(&'static str, &'static str, &'static str, &'static str);

const KNOWN: &[Known] = &[];

/// What buildah leaves in every image in which it has run something, or has only looked.
const LEFT_BY_BUILDAH: &[&str] = &["dev", "proc", "sys", "run", "etc", "etc/hosts", "etc/resolv.conf", "etc/hostname"];

#[test]
fn buildah_makes_the_same_of_dockerfiles() {
    let host = Host::new();
    let buildah = Buildah::new(&host);
    let tar = image::busybox_tar().to_str().unwrap();
    host.sp(&["import", "-c", &format!("ENV PATH={PATH}"), "-c", "CMD [\"sh\"]", tar, BASE]).ok();
    host.sp(&["save", "-o", "base.tar", BASE]).ok();
    buildah.pull(&host.dir.join("base.tar"));

    let cases = cases();
    assert!(cases.len() >= 40, "only {} Dockerfiles", cases.len());
    let (first, then): (VecDeque<&Case>, VecDeque<&Case>) =
        cases.iter().partition(|case| cases.iter().any(|other| other.after.as_ref() == Some(&case.name)));
    let wrong = Mutex::new(Vec::new());
    let found = Mutex::new(BTreeSet::new());
    for queue in [first, then] {
        let queue = Mutex::new(queue);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) {
                scope.spawn(|| {
                    loop {
                        let Some(case) = queue.lock().unwrap().pop_front() else { break };
                        for Difference { what, ours, theirs } in compare(&host, &buildah, case) {
                            let known = KNOWN.iter().position(|known| known.0 == case.name && known.1 == what && known.2 == ours);
                            match known {
                                Some(known) => drop(found.lock().unwrap().insert(known)),
                                None => {
                                    let line = format!("{}: {what}\n      ours: {ours}\n    theirs: {theirs}", case.name);
                                    wrong.lock().unwrap().push(line);
                                }
                            }
                        }
                    }
                });
            }
        });
    }
    let (mut wrong, found) = (wrong.into_inner().unwrap(), found.into_inner().unwrap());
    for (number, Known(name, what, _, why)) in KNOWN.iter().enumerate() {
        if !found.contains(&number) {
            wrong.push(format!("{name}: {what} no longer differs as is told ({why})"));
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// A Dockerfile, and all that it is built with.
struct Case {
    name: String,
    text: String,
    flags: Vec<String>,
    after: Option<String>,
    plain: Option<String>,
    ignore: Option<String>,
    own: Option<String>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dockerfiles");
    let mut cases = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = file.strip_suffix(".Dockerfile") else { continue };
        let text = fs::read_to_string(folder.join(&file)).unwrap();
        let beside = |ending: &str| fs::read_to_string(folder.join(format!("{name}.{ending}"))).ok();
        let (mut flags, mut after) = (Vec::new(), None);
        for line in text.lines().filter_map(|line| line.strip_prefix("#: ")) {
            match line.strip_prefix("after ") {
                Some(other) => after = Some(other.to_owned()),
                None => flags.extend(line.split(' ').map(str::to_owned)),
            }
        }
        let (plain, ignore, own) = (beside("plain"), beside("dockerignore"), beside("own"));
        cases.push(Case { name: name.to_owned(), text, flags, after, plain, ignore, own });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

struct Difference {
    what: String,
    ours: String,
    theirs: String,
}

/// Builds a case with both.
fn compare(host: &Host, buildah: &Buildah, case: &Case) -> Vec<Difference> {
    let failed = |ours: String, theirs: &str| vec![Difference { what: "build".to_owned(), ours, theirs: theirs.to_owned() }];
    let folder = host.dir.join("cases").join(&case.name);
    make_context(&folder);
    let file = if case.own.is_some() { folder.join("own/Dockerfile") } else { folder.join("Dockerfile") };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &case.text).unwrap();
    let beside = [("Plain", &case.plain), (".dockerignore", &case.ignore), ("own/Dockerfile.dockerignore", &case.own)];
    for (name, text) in beside {
        if let Some(text) = text {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    let (name, ours) = (format!("localhost/{}", case.name), format!("localhost/ours/{}", case.name));
    let flags: Vec<&str> = case.flags.iter().map(String::as_str).collect();
    let mut command = host.command(&[&["build", "-t", &name, "-t", &ours], &flags[..], &["."]].concat());
    command.current_dir(&folder).env("ALSO", "environment");
    let built = Running::spawn(command).wait(PATIENCE);
    if built.code != 0 {
        return failed(built.stderr, "");
    }
    let flags = if case.plain.is_some() { vec!["-f", "Plain"] } else { flags };
    let built = buildah.bud(&folder, &[&["-t", &name], &flags[..], &["."]].concat());
    if built.code != 0 {
        return failed(String::new(), &format!("{}{}", built.stdout, built.stderr));
    }

    let mut differences = Vec::new();
    let whole = host.sp(&["image", "inspect", &ours]).ok().json();
    let (mine, theirs) = (config(&whole[0]), config(&buildah.inspect(&name)));
    for (key, ours) in &mine {
        if theirs[key] != *ours {
            let what = format!("config {key}");
            differences.push(Difference { what, ours: ours.to_string(), theirs: theirs[key].to_string() });
        }
    }
    let archive = host.dir.join(format!("{}.tar", case.name));
    host.sp(&["save", "-o", archive.to_str().unwrap(), &ours]).ok();
    buildah.pull(&archive);
    let (mine, mut theirs) = (tree(&buildah.mount(&ours)), tree(&buildah.mount(&name)));
    theirs.retain(|path, _| mine.contains_key(path) || !LEFT_BY_BUILDAH.contains(&path.as_str()));
    for path in mine.keys().chain(theirs.keys()).collect::<BTreeSet<_>>() {
        let of = |tree: &BTreeMap<String, String>| tree.get(path).map_or("nothing", String::as_str).to_owned();
        if mine.get(path) != theirs.get(path) {
            differences.push(Difference { what: format!("tree {path}"), ours: of(&mine), theirs: of(&theirs) });
        }
    }
    differences
}

/// What all cases copy from.
fn make_context(folder: &Path) {
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
    for (flag, name) in [("-c", "plain.tar"), ("-cz", "tree.tar.gz"), ("-cj", "tree.tar.bz2"), ("-cJ", "tree.tgx")] {
        let archive = archives.join(name);
        let (folder, archive) = (content.to_str().unwrap(), archive.to_str().unwrap());
        tool("tar", &["-C", folder, "--owner=21", "--group=22", "--numeric-owner", "--sort=name", flag, "-f", archive, "."]);
    }
    // Compressed, and no archive.
    tool(
        "sh",
        &[
            "-c",
            "gzip -n <\"$0\" >\"$1\"",
            content.join("script").to_str().unwrap(),
            archives.join("not.tar.gz").to_str().unwrap(),
        ],
    );
    fs::remove_dir_all(content).unwrap();
}

/// What is compared of a configuration. That something is empty and that it is not there are the same.
fn config(inspected: &Value) -> Map<String, Value> {
    const KEYS: [&str; 12] = [
        "Env",
        "Cmd",
        "Entrypoint",
        "WorkingDir",
        "User",
        "ExposedPorts",
        "Volumes",
        "Labels",
        "OnBuild",
        "StopSignal",
        "Healthcheck",
        "Shell",
    ];
    let whole = ["Author", "Os", "Architecture"].map(|key| {
        let value = inspected.get(key).or_else(|| inspected.get(key.to_lowercase()));
        (key.to_owned(), value.cloned().unwrap_or_default())
    });
    let config = inspected.get("Config").or_else(|| inspected.get("config")).unwrap_or_else(|| panic!("{inspected}"));
    let of_config = KEYS.map(|key| {
        let mut value = config.get(key).cloned().unwrap_or_default();
        if key == "Labels"
            && let Value::Object(labels) = &mut value
        {
            labels.remove("io.buildah.version");
        }
        (key.to_owned(), value)
    });
    let is_empty = |value: &Value| match value {
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        _ => false,
    };
    let all = whole.into_iter().chain(of_config);
    all.map(|(key, value)| (key, if is_empty(&value) { Value::Null } else { value })).collect()
}

/// All files below a folder, and what each is. Of files that are one, each names the first. Times are not compared, nor is
/// the root itself, whose mode buildah's storage sets.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut inodes: BTreeMap<(u64, u64), String> = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let mut names: Vec<_> = fs::read_dir(root.join(&folder)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let inside = folder.join(name);
            let path = root.join(&inside);
            let metadata = fs::symlink_metadata(&path).unwrap();
            let kind = metadata.file_type();
            let mut said = format!("{:o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            if kind.is_dir() {
                folders.push(inside.clone());
                said = format!("folder {said}");
            } else if kind.is_symlink() {
                said = format!("link {said} to {}", fs::read_link(&path).unwrap().display());
            } else if kind.is_file() {
                said = format!("file {said} {} {}", metadata.len(), Digest::of(&fs::read(&path).unwrap()));
            } else {
                said = format!("{} {said} {}", if kind.is_fifo() { "fifo" } else { "other" }, metadata.rdev());
            }
            let told = inside.as_os_str().as_bytes().escape_ascii().to_string();
            if !kind.is_dir() && metadata.nlink() > 1 {
                let first = inodes.entry((metadata.dev(), metadata.ino())).or_insert_with(|| told.clone());
                said = format!("{said} as {first}");
            }
            for (name, value) in attributes(&path) {
                said = format!("{said} {name}={value}");
            }
            found.insert(told, said);
        }
    }
    found
}

fn attributes(path: &Path) -> Vec<(String, String)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut all: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 4096];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
            (String::from_utf8_lossy(name).into_owned(), value[..length].escape_ascii().to_string())
        })
        .collect();
    all.sort();
    all
}

/// Buildah with a store of its own. Dropping it unmounts what it has mounted.
struct Buildah {
    folder: PathBuf,
}

impl Buildah {
    fn new(host: &Host) -> Self {
        let folder = host.dir.join("buildah");
        fs::create_dir(&folder).unwrap();
        // Its locks. The mount is seen by this test alone.
        tool("mount", &["-t", "tmpfs", "tmpfs", "/run"]);
        // Whatever the machine's own configuration says.
        let roots = format!("graphroot = \"{0}/root\"\nrunroot = \"{0}/runroot\"", folder.display());
        let storage = format!("[storage]\ndriver = \"overlay\"\n{roots}\n");
        let files = [
            ("containers.conf", "[engine]\nlock_type = \"file\"\n"),
            ("storage.conf", storage.as_str()),
            ("registries.conf", "unqualified-search-registries = []\n"),
            ("policy.json", "{\"default\": [{\"type\": \"insecureAcceptAnything\"}]}\n"),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        Self { folder }
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(["--root", &self.at("root"), "--runroot", &self.at("runroot"), "--storage-driver", "overlay"])
            .args(args)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", &self.folder)
            .env("TMPDIR", &self.folder)
            .env("CONTAINERS_CONF", self.at("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", self.at("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", self.at("registries.conf"))
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> String {
        Running::spawn(self.command("buildah", args)).wait(PATIENCE).ok().stdout
    }

    fn pull(&self, archive: &Path) {
        let archive = format!("docker-archive:{}", archive.display());
        self.run(&["pull", "-q", "--signature-policy", &self.at("policy.json"), &archive]);
    }

    fn bud(&self, folder: &Path, args: &[&str]) -> Ran {
        let policy = self.at("policy.json");
        let own = ["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--signature-policy", &policy];
        let mut command = self.command("buildah", &[&own[..], args].concat());
        command.current_dir(folder).env("ALSO", "environment");
        Running::spawn(command).wait(PATIENCE)
    }

    /// The configuration of an image, with what only Docker's images have.
    fn inspect(&self, name: &str) -> Value {
        let inspected: Value = serde_json::from_str(&self.run(&["inspect", "--type", "image", name])).unwrap();
        inspected["Docker"].clone()
    }

    /// Where all files of an image can be looked at: by podman, for buildah pulls the triggers of what it mounts.
    fn mount(&self, name: &str) -> PathBuf {
        let tmp = self.at("tmp");
        let args = ["--tmpdir", &tmp, "--cgroup-manager", "cgroupfs", "--events-backend", "file", "image", "mount", name];
        PathBuf::from(Running::spawn(self.command("podman", &args)).wait(PATIENCE).ok().out())
    }
}

impl Drop for Buildah {
    fn drop(&mut self) {
        let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap_or_default();
        let below =
            mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|path| Path::new(path).starts_with(&self.folder));
        for path in below.collect::<Vec<_>>().into_iter().rev() {
            nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH).ok();
        }
    }
}
