//! Caches of builds that are elsewhere: what one engine has built, another one takes from a registry, a folder or an image.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{BUSYBOX, Host, PATIENCE, Ran, Registry, Running};

/// Steps whose results nobody comes to twice, so that whoever has the same has taken it from a cache.
const DOCKERFILE: &str = "FROM BUSYBOX AS build
WORKDIR /src
COPY hello /src/hello
RUN cat /src/hello /proc/sys/kernel/random/uuid > /made
FROM BUSYBOX
WORKDIR /app/deep
COPY --from=build /made /app/made
COPY --from=build --chown=root:root /src /app/src
RUN cat /app/made /proc/sys/kernel/random/uuid > /app/again
WORKDIR /bin
CMD [\"cat\", \"/app/again\"]
";

/// The same, where each stage comes to the same files whenever it is built, but not at the same time.
const REPEATABLE: &str = "FROM BUSYBOX AS build
RUN echo made > /thing
FROM BUSYBOX
COPY --from=build /thing /made
RUN cat /made /proc/sys/kernel/random/uuid > /again
CMD [\"cat\", \"/again\"]
";

/// Two engines that have a base in common, and nothing else.
fn two(dockerfile: &str) -> (Host, Host) {
    let (one, other) = (Host::new().with_busybox(), Host::beside().with_busybox());
    for host in [&one, &other] {
        with_app(host, dockerfile);
    }
    (one, other)
}

fn with_app(host: &Host, dockerfile: &str) {
    host.write("app/hello", "hello\n");
    host.write("app/Dockerfile", &dockerfile.replace("BUSYBOX", BUSYBOX));
}

fn cache() -> String {
    format!("type=registry,ref={}/team/cache:1", Registry::ADDRESS)
}

fn build(host: &Host, args: &[&str]) -> Ran {
    host.sp(&[&["build", "--progress", "json", "-t", "app:1"], args, &["app"]].concat())
}

/// The steps of the Dockerfile that a build told of, and whether each was known.
fn steps(ran: &Ran) -> Vec<(String, bool)> {
    let events = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let (mut titles, mut found) = (std::collections::BTreeMap::new(), Vec::new());
    for event in events {
        if let Some(started) = event.get("started") {
            titles.insert(started["step"].as_u64().unwrap(), started["title"].as_str().unwrap().to_owned());
        } else if let Some(finished) = event.get("finished") {
            let title = titles[&finished["step"].as_u64().unwrap()].clone();
            if title.starts_with('[') && !title.starts_with("[internal]") && !title.contains("] FROM ") {
                found.push((title, finished["cached"] == true));
            }
        }
    }
    found.sort();
    found
}

/// Those that were done.
fn done(ran: &Ran) -> Vec<String> {
    steps(ran).into_iter().filter_map(|(title, cached)| (!cached).then_some(title)).collect()
}

fn digest(host: &Host) -> String {
    host.sp(&["inspect", "app:1"]).ok().json()[0]["digest"].as_str().unwrap().to_owned()
}

fn result(host: &Host) -> String {
    host.sp(&["run", "--rm", "app:1"]).ok().stdout
}

/// The instructions of the steps that are kept, sorted.
fn kept(host: &Host) -> Vec<String> {
    let steps = host.sp(&["builder", "du", "--json"]).ok().json();
    let mut kept: Vec<String> = steps.as_array().unwrap().iter().map(|step| step["about"].as_str().unwrap().to_owned()).collect();
    kept.sort();
    kept
}

/// All files of the cache or registry below `folder` that have this many bytes or more, but for documents.
fn blobs(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => waiting.push(path),
                false if fs::read(&path).unwrap().starts_with(&[0x1f, 0x8b]) => found.push(path),
                false => {}
            }
        }
    }
    found
}

/// Makes every layer there something else of the same length.
fn spoil(folder: &Path) {
    let all = blobs(folder);
    assert!(!all.is_empty());
    for path in all {
        let mut content = fs::read(&path).unwrap();
        let middle = content.len() / 2;
        content[middle] ^= 0xff;
        fs::write(path, content).unwrap();
    }
}

#[test]
fn what_one_engine_did_another_one_takes_from_a_registry() {
    let (one, other) = two(DOCKERFILE);
    let _registry = Registry::start(&one);
    let to = format!("{},mode=max", cache());
    let first = build(&one, &["--cache-to", &to]).ok();
    assert_eq!(done(&first).len(), 7, "{:?}", steps(&first));
    let second = build(&other, &["--cache-from", &cache()]).ok();
    assert_eq!(done(&second), [""; 0], "{}", second.stdout);
    assert_eq!((digest(&other), result(&other)), (digest(&one), result(&one)));
    other.sp(&["check"]).ok();
    // The files of a stage that the result has nothing of were never needed.
    let instructions = kept(&other);
    assert!(!instructions.iter().any(|about| about.contains("> /made")), "{instructions:?}");
    assert!(instructions.iter().any(|about| about.contains("> /app/again")), "{instructions:?}");
    // What is changed is done on top of what is taken, whose files are brought for it.
    let third = Host::beside().with_busybox();
    with_app(
        &third,
        &DOCKERFILE.replace("> /made\n", "> /made\nRUN cat /made /made > /more\n").replace("=build /made", "=build /more"),
    );
    let changed = build(&third, &["--cache-from", &cache()]).ok();
    let instructions = done(&changed);
    assert!(instructions.iter().any(|title| title.contains("> /more")), "{instructions:?}");
    assert!(!instructions.iter().any(|title| title.contains("> /made")), "{instructions:?}");
    assert_eq!(third.sp(&["run", "--rm", "app:1", "cat", "/app/made"]).ok().stdout.lines().count(), 4);
}

/// With the least cache what the result is made of is known by what its stages come to, which are done again.
#[test]
fn the_least_cache_is_of_the_result() {
    let (one, other) = two(REPEATABLE);
    let _registry = Registry::start(&one);
    build(&one, &["--cache-to", &format!("{},mode=min,compression=zstd,compression-level=9", cache())]).ok();
    let second = build(&other, &["--cache-from", &cache()]).ok();
    let again = done(&second);
    assert_eq!(again.len(), 1, "{:?}", steps(&second));
    assert!(again[0].contains("echo made"), "{again:?}");
    assert_eq!((digest(&other), result(&other)), (digest(&one), result(&one)));
}

#[test]
fn a_folder_is_a_cache_too() {
    let (one, other) = two(DOCKERFILE);
    let to = "type=local,dest=cache,mode=max";
    build(&one, &["--cache-to", to]).ok();
    let folder = one.dir.join("cache");
    let from = format!("type=local,src={}", folder.display());
    let second = build(&other, &["--cache-from", &from, "--cache-to", "type=local,dest=copy,mode=max"]).ok();
    assert_eq!(done(&second), [""; 0], "{}", second.stdout);
    assert_eq!((digest(&other), result(&other)), (digest(&one), result(&one)));
    // What was handed on is whole, though its builder has never unpacked all of it.
    assert_eq!(blobs(&other.dir.join("copy")).len(), blobs(&folder).len());
    let third = Host::beside().with_busybox();
    with_app(&third, DOCKERFILE);
    let taken = build(&third, &["--cache-from", &format!("type=local,src={}", other.dir.join("copy").display())]).ok();
    assert_eq!((done(&taken).len(), digest(&third)), (0, digest(&one)));

    // One that is not there yet is no reason to fail, and neither is one that somebody has spoilt.
    let none = build(&third, &["--no-cache", "--cache-from", "type=local,src=none"]).ok();
    assert_eq!(done(&none).len(), 7);
    let fourth = Host::beside().with_busybox();
    with_app(&fourth, DOCKERFILE);
    build(&fourth, &["--cache-from", "type=local,src=none"]).ok().says(&["there is no cache"]);
    fourth.sp(&["rmi", "app:1"]).ok();
    fourth.sp(&["builder", "prune", "--all", "--force"]).ok();
    spoil(&folder);
    let spoilt = build(&fourth, &["--cache-from", &from]).ok().says(&["is left out from now on", "has the digest"]);
    assert!(!done(&spoilt).is_empty());
    assert!(result(&fourth) != result(&one));
    fourth.sp(&["check"]).ok();
    // Writing it again mends it.
    build(&one, &["--cache-to", to]).ok();
    let fifth = Host::beside().with_busybox();
    with_app(&fifth, DOCKERFILE);
    assert_eq!(done(&build(&fifth, &["--cache-from", &from]).ok()), [""; 0]);
    // A folder with something else in it is left alone.
    build(&one, &["--cache-to", "type=local,dest=app"]).fails_with(1).says(&["is not an OCI layout", "ignore-error=true"]);
    build(&one, &["--cache-to", "type=local,dest=app,ignore-error=true"]).ok().says(&["the cache is not written"]);
    assert!(!one.dir.join("app/blobs").exists());
}

#[test]
fn an_image_is_the_cache_of_what_it_is_made_of() {
    let (one, other) = two(REPEATABLE);
    let _registry = Registry::start(&one);
    let name = format!("{}/team/app:1", Registry::ADDRESS);
    one.sp(&["build", "-t", &name, "--push", "--cache-to", "type=inline", "app"]).ok();
    one.sp(&["tag", &name, "app:1"]).ok();
    // Docker's way to say it.
    let second = build(&other, &["--cache-from", &name, "--cache-to", "type=inline"]).ok();
    assert_eq!(done(&second).len(), 1, "{:?}", steps(&second));
    assert_eq!((digest(&other), result(&other)), (digest(&one), result(&one)));
    // An image that is built on it does not say that its cache is its own.
    other.write("more/Dockerfile", "FROM app:1\nLABEL a=b\n");
    other.sp(&["build", "-t", "more:1", "more"]).ok();
    other.sp(&["tag", "more:1", &format!("{}/team/more:1", Registry::ADDRESS)]).ok();
    other.sp(&["push", &format!("{}/team/more:1", Registry::ADDRESS)]).ok();
    let third = Host::beside().with_busybox();
    with_app(&third, REPEATABLE);
    let from = format!("{}/team/more:1", Registry::ADDRESS);
    build(&third, &["--cache-from", &from]).ok().says(&["the image has no cache in it"]);
}

#[test]
fn what_is_not_what_it_says_is_built_again() {
    let (one, other) = two(DOCKERFILE);
    let _registry = Registry::start(&one);
    build(&one, &["--cache-to", &format!("{},mode=max", cache())]).ok();
    spoil(&one.dir.join("registry/data"));
    let spoilt = build(&other, &["--cache-from", &cache()]).ok().says(&["is left out from now on"]);
    assert!(!done(&spoilt).is_empty());
    assert_ne!(result(&other), result(&one));
    other.sp(&["check"]).ok();
    // One that is no cache at all.
    let third = Host::beside().with_busybox();
    with_app(&third, DOCKERFILE);
    let none = format!("type=registry,ref={}/team/none:1", Registry::ADDRESS);
    build(&third, &["--cache-from", &none]).ok().says(&["there is no cache"]);
}

#[test]
fn steps_that_were_taken_are_as_old_as_their_use() {
    let (one, other) = two(REPEATABLE);
    let _registry = Registry::start(&one);
    // All is made long ago.
    let epoch = ["--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    build(&one, &[&epoch[..], &["--cache-to", &format!("{},mode=max", cache())]].concat()).ok();
    let second = build(&other, &[&epoch[..], &["--cache-from", &cache()]].concat()).ok();
    assert_eq!(done(&second), [""; 0], "{}", second.stdout);
    assert_eq!(digest(&other), digest(&one));
    let prune = |more: &[&str]| other.sp(&[&["builder", "prune", "--all", "--force"], more].concat()).ok();
    prune(&["--filter", "until=1h"]).says(&["Forgotten steps: 0"]);
    assert_eq!(kept(&other).len(), 2, "what was not brought is not here: {:?}", kept(&other));
    prune(&["--max-used-space", "1g"]).says(&["Forgotten steps: 0"]);
    other.sp(&["rmi", "app:1"]).ok();
    prune(&["--max-used-space", "0"]).says(&["Forgotten steps: 2"]);
    assert_eq!(kept(&other), [""; 0]);
    other.sp(&["check"]).ok();
}

#[test]
fn stacks_have_caches_too() {
    let (one, other) = two(DOCKERFILE);
    let _registry = Registry::start(&one);
    for (host, key) in [(&one, "cache_to: [\"CACHE,mode=max\"]"), (&other, "cache_from: [\"CACHE\"]")] {
        let build = key.replace("CACHE", &cache());
        host.write(
            "shop/compose.yaml",
            &format!(
                "services:\n  web:\n    image: app:1\n    build: {{context: ../app, {build}}}\n    command: [sleep, \"1000\"]\n    stop_signal: SIGKILL\n"
            ),
        );
        host.sp(&["apply", "shop"]).ok();
    }
    assert_eq!((digest(&other), result(&other)), (digest(&one), result(&one)));
    for host in [&one, &other] {
        host.sp(&["destroy", "shop"]).ok();
    }
}

/// A folder with a login in it, for whoever has it as DOCKER_CONFIG.
fn with_login(host: &Host, password: &str) -> PathBuf {
    use base64::Engine as _;
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
    let config = format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{auth}\"}}}}}}", Registry::ADDRESS);
    host.write(&format!("login-{password}/config.json"), &config).parent().unwrap().to_owned()
}

#[test]
fn logins_travel_with_a_build() {
    let (one, other) = two(DOCKERFILE);
    let _registry = Registry::start_locked(&one);
    let to = format!("{},mode=max", cache());
    build(&one, &["--cache-to", &to]).fails_with(1).says(&["write the cache", "not authorized"]);
    build(&one, &["--cache-to", &format!("{to},ignore-error=true")]).ok().says(&["the cache is not written", "not authorized"]);
    // The daemons have no login of their own.
    let daemons = [&one, &other].map(|host| {
        host.write("manifests/v.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: {}\n");
        host.daemon(&host.dir.join("manifests"))
    });
    let named = |host: &Host, password: &str, name: &str, args: &[&str]| {
        let mut command = host.command(&[&["build", "--progress", "json", "-t", name], args, &["app"]].concat());
        command.env("DOCKER_CONFIG", with_login(host, password));
        Running::spawn(command).wait(PATIENCE)
    };
    let as_user = |host: &Host, password: &str, args: &[&str]| named(host, password, "app:1", args);
    as_user(&one, "wrong", &["--cache-to", &to]).fails_with(1).says(&["401 Unauthorized"]);
    let name = format!("{}/team/app:1", Registry::ADDRESS);
    as_user(&one, "secret", &["--cache-to", &to]).ok();
    named(&one, "wrong", &name, &["--push"]).fails_with(1).says(&["401 Unauthorized"]);
    named(&one, "secret", &name, &["--push"]).ok();
    let refused = as_user(&other, "wrong", &["--cache-from", &cache()]).ok().says(&["is left out", "401 Unauthorized"]);
    assert_eq!(done(&refused).len(), 7);
    other.sp(&["rmi", "app:1"]).ok();
    other.sp(&["builder", "prune", "--all", "--force"]).ok();
    let taken = as_user(&other, "secret", &["--cache-from", &cache()]).ok();
    assert_eq!((done(&taken).len(), digest(&other)), (0, digest(&one)));
    // What an image begins with, too: where the Dockerfile is here, and where it comes on standard input.
    other.write("on/Dockerfile", &format!("FROM {name}\nRUN true\n"));
    other.sp(&["build", "on"]).fails_with(1).says(&["not authorized"]);
    let login = with_login(&other, "secret");
    for (args, tar) in [(&["build", "-t", "on:1", "on"][..], false), (&["build", "-t", "on:2", "-"], true)] {
        other.sp(&["rmi", &name]);
        let mut command = other.command(args);
        command.env("DOCKER_CONFIG", &login);
        if tar {
            let path = other.dir.join("on.tar");
            crate::harness::tool("tar", &["-C", other.dir.join("on").to_str().unwrap(), "-cf", path.to_str().unwrap(), "."]);
            command.stdin(fs::File::open(path).unwrap());
        }
        Running::spawn(command).wait(PATIENCE).ok();
    }
    for daemon in daemons {
        daemon.stop();
    }
}

/// Puts a document into a layout, and gives its descriptor.
fn put(layout: &Path, media_type: &str, content: &Value) -> Value {
    let text = content.to_string();
    let draft = layout.join("draft");
    fs::write(&draft, &text).unwrap();
    let sum = crate::harness::tool("sha256sum", &[draft.to_str().unwrap()]);
    let hex = sum.split_whitespace().next().unwrap();
    fs::rename(draft, layout.join("blobs/sha256").join(hex)).unwrap();
    serde_json::json!({"mediaType": media_type, "digest": format!("sha256:{hex}"), "size": text.len()})
}

/// What BuildKit writes has the same form, and other keys.
#[test]
fn caches_of_other_builders_are_told_from_ours() {
    let host = Host::new().with_busybox();
    with_app(&host, DOCKERFILE);
    let layout = host.dir.join("theirs");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("oci-layout"), "{\"imageLayoutVersion\": \"1.0.0\"}").unwrap();
    let records = serde_json::json!({"layers": [], "records": [{"digest": format!("sha256:{}", "a".repeat(64))}]});
    let config = put(&layout, "application/vnd.buildkit.cacheconfig.v0", &records);
    // As an image manifest, and as the index that it was before.
    let image = serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []});
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [config]});
    for (kind, document) in [("image", &image), ("index", &index)] {
        let mut entry = put(&layout, document["mediaType"].as_str().unwrap(), document);
        entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": kind});
        fs::write(layout.join("index.json"), serde_json::json!({"schemaVersion": 2, "manifests": [entry]}).to_string()).unwrap();
        let from = format!("type=local,src=theirs,tag={kind}");
        build(&host, &["--cache-from", &from]).ok().says(&["it is the cache of another builder"]);
    }
}
