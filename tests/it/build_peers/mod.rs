//! Dockerfiles as people write them, built by us and by buildah: the same configuration, the same files. The Dockerfiles are
//! in `dockerfiles/`: `NAME.Dockerfile`, whose lines that begin with `#:` are flags for both builders (or `after NAME`, which it
//! begins with); `NAME.plain`, where buildah 1.28 does not know the words: the same said in words that it knows;
//! `NAME.dockerignore`; and `NAME.own`, the file of what is ignored that belongs to one Dockerfile.

mod buildah;
mod context;
mod looks;
mod servers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::harness::{Host, PATIENCE, Running, image};
use buildah::Buildah;
use context::make_context;
use looks::{config, tree};
use servers::{AGENT, Servers, with_program};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const BASE: &str = "localhost/base:1";

/// What differs and may: the Dockerfile, what of it, what we make of it, and why that is right.
struct Known(&'static str, &'static str, &'static str, &'static str);

const KNOWN: &[Known] = &[
    Known(
        "archives",
        "tree gzip",
        "folder 755 0:0",
        "Docker leaves a folder that is there as it is, whatever the archive says of `.`",
    ),
    Known(
        "build-args",
        "tree second",
        "file 644 0:0 24 sha256:901dc52f0ec08dc7a8ad0986548968cf35f14d5d573b03991417a2d087ae1755",
        "BuildKit: a stage has the ARGs of the stage that it begins with",
    ),
    Known(
        "build-args",
        "tree still",
        "file 644 0:0 6 sha256:33a1d7b83f04a982e823e119aea63d1f652caf00e09a5516296fc8ad8713c374",
        "BuildKit: of ENV and ARG the last one counts, and what --build-arg says counts for each ARG",
    ),
    Known(
        "contexts",
        "tree jars/lib.jar",
        "file 644 0:0 4 sha256:a325dcacb80b202a014b420b93fc19061900018f8ce216d0a0cb00d610ec7f97",
        "COPY gives files of any context to root, where no --chown says otherwise",
    ),
    Known(
        "escape",
        "config Env",
        r#"["BACKSLASH=C:\\Windows","PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin","TICK=a$b"]"#,
        "the escape character of the directive is that of words too",
    ),
    Known("ignore", "tree all/scripts", "folder 2755 0:0", "Docker keeps all bits of the mode"),
    Known(
        "ignore",
        "tree all/scripts/setuid",
        "file 4755 0:0 8 sha256:33a7b215065f2ee8635efb72620bc269a1efb889ba3026560334da7366742374",
        "Docker keeps all bits of the mode",
    ),
    Known(
        "owners",
        "tree scripts/setuid",
        "file 4755 3:4 8 sha256:33a7b215065f2ee8635efb72620bc269a1efb889ba3026560334da7366742374",
        "Docker keeps all bits of the mode",
    ),
    Known("mount-cache", "tree var/cache", "nothing", "what a mount needs is no part of the image"),
    Known("ssh-agent", "tree run/buildkit", "nothing", "what a mount needs is no part of the image"),
    Known("shell", "config Cmd", r#"["/bin/sh","-e","-x","-c","echo started"]"#, "SHELL is for CMD too"),
    Known("shell", "config Entrypoint", r#"["/bin/busybox","ash","-c","echo entered"]"#, "SHELL is for ENTRYPOINT too"),
    Known("volumes", "tree variable", "nothing", "VOLUME makes no folder"),
    Known("workdir", "config WorkingDir", r#""/a/b""#, "BuildKit cleans the path"),
];

/// What buildah leaves in every image in which it has run something, or has only looked.
const LEFT_BY_BUILDAH: &[&str] =
    &["dev", "proc", "sys", "run", "etc", "etc/hosts", "etc/resolv.conf", "etc/hostname", "run/secrets"];

#[test]
fn buildah_makes_the_same_of_dockerfiles() {
    let host = Host::new();
    let buildah = Buildah::new(&host);
    let servers = Servers::start(&host);
    let tar = image::busybox_tar().to_str().unwrap();
    host.sp(&["import", "-c", &format!("ENV PATH={PATH}"), "-c", "CMD [\"sh\"]", tar, BASE]).ok();
    host.sp(&["save", "-o", "base.tar", BASE]).ok();
    buildah.pull(&host.dir.join("base.tar"));

    let cases = cases(&servers);
    assert!(cases.len() >= 40, "only {} Dockerfiles", cases.len());
    let (first, then): (Vec<&Case>, Vec<&Case>) =
        cases.iter().partition(|case| cases.iter().any(|other| other.after.as_ref() == Some(&case.name)));
    let mut differences = side_by_side(first, |case| build(&host, &buildah, case));
    differences.extend(side_by_side(then, |case| build(&host, &buildah, case)));

    // Those that both could build, all at once: their layers go the way that any image goes from one engine to another.
    let failed: BTreeSet<&str> = differences.iter().filter(|one| one.what == "build").map(|one| one.case.as_str()).collect();
    let built: Vec<&Case> = cases.iter().filter(|case| !failed.contains(case.name.as_str())).collect();
    let ours: Vec<String> = built.iter().map(|case| case.ours()).collect();
    let ours: Vec<&str> = ours.iter().map(String::as_str).collect();
    host.sp(&[&["save", "-o", "ours.tar"], &ours[..]].concat()).ok();
    buildah.load(&host.dir.join("ours.tar"));
    let mounted = buildah.mount(built.iter().flat_map(|case| [case.ours(), case.theirs()]).collect());
    differences.extend(side_by_side(built, |case| trees(case, &mounted)));

    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    for Difference { case, what, ours, theirs } in differences {
        match KNOWN.iter().position(|known| known.0 == case && known.1 == what && known.2 == ours) {
            Some(known) => drop(found.insert(known)),
            None => wrong.push(format!("{case}: {what}\n      ours: {ours}\n    theirs: {theirs}")),
        }
    }
    for (number, Known(name, what, _, why)) in KNOWN.iter().enumerate() {
        if !found.contains(&number) {
            wrong.push(format!("{name}: {what} no longer differs as is told ({why})"));
        }
    }
    wrong.sort();
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}

/// Does it for all cases, some at a time.
fn side_by_side(cases: Vec<&Case>, work: impl Fn(&Case) -> Vec<Difference> + Sync) -> Vec<Difference> {
    let (queue, found) = (Mutex::new(VecDeque::from(cases)), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) {
            scope.spawn(|| {
                loop {
                    let Some(case) = queue.lock().unwrap().pop_front() else { break };
                    let differences = work(case);
                    found.lock().unwrap().extend(differences);
                }
            });
        }
    });
    found.into_inner().unwrap()
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

impl Case {
    /// What we call the image.
    fn ours(&self) -> String {
        format!("localhost/ours/{}:latest", self.name)
    }

    /// What both call it for Dockerfiles that begin with it.
    fn theirs(&self) -> String {
        format!("localhost/{}:latest", self.name)
    }

    fn difference(&self, what: impl Into<String>, ours: impl Into<String>, theirs: impl Into<String>) -> Difference {
        Difference { case: self.name.clone(), what: what.into(), ours: ours.into(), theirs: theirs.into() }
    }
}

fn cases(servers: &Servers) -> Vec<Case> {
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
                None => flags.extend(line.split(' ').map(|flag| flag.replace(AGENT, servers.agent.to_str().unwrap()))),
            }
        }
        let (plain, ignore, own) = (beside("plain"), beside("dockerignore"), beside("own"));
        cases.push(Case { name: name.to_owned(), text, flags, after, plain, ignore, own });
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

struct Difference {
    case: String,
    what: String,
    ours: String,
    theirs: String,
}

/// Builds a case with both, and compares the configurations.
fn build(host: &Host, buildah: &Buildah, case: &Case) -> Vec<Difference> {
    let folder = host.dir.join("cases").join(&case.name);
    make_context(&folder);
    if case.text.contains("COPY programs/") {
        with_program(&folder.join("programs"), "ssh-add");
    }
    let file = if case.own.is_some() { folder.join("own/Dockerfile") } else { folder.join("Dockerfile") };
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, &case.text).unwrap();
    let beside = [("Plain", &case.plain), (".dockerignore", &case.ignore), ("own/Dockerfile.dockerignore", &case.own)];
    for (name, text) in beside {
        if let Some(text) = text {
            fs::write(folder.join(name), text).unwrap();
        }
    }

    let (name, ours) = (case.theirs(), case.ours());
    let flags: Vec<&str> = case.flags.iter().map(String::as_str).collect();
    let mut command = host.command(&[&["build", "-t", &name, "-t", &ours], &flags[..], &["."]].concat());
    command.current_dir(&folder).env("ALSO", "environment");
    let built = Running::spawn(command).wait(PATIENCE);
    if built.code != 0 {
        return vec![case.difference("build", built.stderr, "")];
    }
    let flags = if case.plain.is_some() { vec!["-f", "Plain"] } else { flags };
    let built = buildah.bud(&folder, &[&["-t", &name], &flags[..], &["."]].concat());
    if built.code != 0 {
        return vec![case.difference("build", "", built.stdout + &built.stderr)];
    }
    let inspected = host.sp(&["image", "inspect", &ours]).ok().json();
    let (mine, theirs) = (config(&inspected[0]), config(&buildah.inspect(&name)));
    let differing = mine.iter().filter(|(key, value)| theirs[*key] != **value);
    differing.map(|(key, value)| case.difference(format!("config {key}"), value.to_string(), theirs[key].to_string())).collect()
}

/// Compares the files of what both have built.
fn trees(case: &Case, mounted: &BTreeMap<String, PathBuf>) -> Vec<Difference> {
    let (mine, mut theirs) = (tree(&mounted[&case.ours()]), tree(&mounted[&case.theirs()]));
    theirs.retain(|path, _| mine.contains_key(path) || !LEFT_BY_BUILDAH.contains(&path.as_str()));
    let all: BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
    let differing = all.into_iter().filter(|path| mine.get(*path) != theirs.get(*path));
    let of = |tree: &BTreeMap<String, String>, path: &str| tree.get(path).map_or("nothing", String::as_str).to_owned();
    differing.map(|path| case.difference(format!("tree {path}"), of(&mine, path), of(&theirs, path))).collect()
}
