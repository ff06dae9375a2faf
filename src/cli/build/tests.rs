//! Tables of arguments: what they ask for, and what is said of those that are wrong.

use std::os::unix::net::UnixListener;
use std::path::Path;

use clap::Parser;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::cli::args::{Cli, Command};
use crate::model::build::{BuildSecret, ContextSource, DockerfileSource};

/// An image that goes to its registry.
pub(super) fn pushed() -> BuildOutput {
    BuildOutput::image(true)
}

/// A folder `app` with a Dockerfile, one outside of it, a secret and an agent.
struct Host {
    folder: TempDir,
    _agent: UnixListener,
}

fn host() -> Host {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for folder in ["app/docker", "lib", "layout"] {
        std::fs::create_dir_all(path.join(folder)).unwrap();
    }
    for (file, text) in
        [("app/Dockerfile", "FROM scratch"), ("app/docker/Web", "FROM scratch"), ("Other", "FROM scratch"), ("token", "s3cret\n")]
    {
        std::fs::write(path.join(file), text).unwrap();
    }
    let _agent = UnixListener::bind(path.join("agent")).unwrap();
    Host { folder, _agent }
}

impl Host {
    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What the words after `build` ask for, with this on standard input.
    fn asked_of(&self, words: &[&str], mut stdin: &[u8]) -> Result<Asked, String> {
        let args = match parsed(words)? {
            Command::Build(args) => args,
            other => panic!("{other:?}"),
        };
        let environment = [("TOKEN", "t0ken"), ("VERSION", "7"), ("http_proxy", "http://proxy"), ("EMPTY", "")];
        let mut environment: BTreeMap<String, String> =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        environment.insert("SSH_AUTH_SOCK".to_owned(), self.path().join("agent").display().to_string());
        if words.contains(&"reproducible") {
            environment.insert(EPOCH.to_owned(), "1700000000".to_owned());
        }
        let around = Surroundings { cwd: self.path().to_owned(), environment };
        let spool = PathBuf::from("/spool/result");
        let mut inputs = Inputs { around: &around, stdin: &mut stdin, stdin_is_terminal: false, spool };
        asked(&args, &mut inputs).map_err(|error| match error.hint() {
            Some(hint) => format!("{error} ({hint})").replace(self.path().to_str().unwrap(), "~"),
            None => error.to_string().replace(self.path().to_str().unwrap(), "~"),
        })
    }

    /// The same as JSON, without what is as usual.
    fn request(&self, line: &str) -> Result<Value, String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let asked = self.asked_of(&words, b"")?;
        let usual = BuildRequest::new(ContextSource::Nothing, DockerfileSource::InContext(None));
        let usual = serde_json::to_value(usual).unwrap();
        let mut request = serde_json::to_value(asked.request).unwrap();
        let fields = request.as_object_mut().unwrap();
        fields.retain(|name, value| name != "context" && usual[name] != *value);
        let text = request.to_string().replace(self.path().to_str().unwrap(), "~");
        Ok(serde_json::from_str(&text).unwrap())
    }
}

fn parsed(words: &[&str]) -> Result<Command, String> {
    let words = ["setpoint", "build"].into_iter().chain(words.iter().copied());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    Ok(cli.command)
}

#[test]
fn flags_are_what_they_ask_for() {
    let host = host();
    for (line, wanted) in [
        ("app", json!({})),
        ("-t a:1 --tag localhost:5000/b app", json!({"tags": ["a:1", "localhost:5000/b:latest"]})),
        ("--build-arg A=x=y --build-arg VERSION --build-arg NONE app", json!({"arguments": {"A": "x=y", "VERSION": "7"}})),
        ("--target web app", json!({"target": "web"})),
        ("--label a=b --label c app", json!({"labels": {"a": "b", "c": ""}})),
        ("--annotation a=b --annotation manifest:c=d app", json!({"annotations": {"a": "b", "c": "d"}})),
        ("--platform linux/amd64,linux/arm64 app", json!({"platforms": ["linux/amd64", "linux/arm64"]})),
        ("--no-cache --pull --no-cache-filter a,b app", json!({"no_cache": true, "pull": true, "no_cache_filter": ["a", "b"]})),
        ("--no-cache=false --pull=true app", json!({"pull": true})),
        ("--network none app", json!({"network": "none"})),
        ("--network host app", json!({"network": "host", "allow": ["network.host"]})),
        ("--allow network.host,security.insecure app", json!({"allow": ["network.host", "security.insecure"]})),
        (
            "--add-host db:10.0.0.5 --add-host gw=host-gateway app",
            json!({"extra_hosts": {"db": "10.0.0.5", "gw": "host-gateway"}}),
        ),
        ("--shm-size 128m app", json!({"shm_size": "128m"})),
        ("--ulimit nofile=10:20 app", json!({"ulimits": {"nofile": {"soft": 10, "hard": 20}}})),
        ("--ssh default app", json!({"ssh": [{"id": "default", "socket": "~/agent"}]})),
        ("--ssh key=./agent app", json!({"ssh": [{"id": "key", "socket": "~/./agent"}]})),
        (
            "--cache-from a/b --cache-to type=local,dest=c,mode=max app",
            json!({"cache_from": [{"registry": {"reference": "a/b:latest"}}], "cache_to": [{"place": {"local": {"path": "~/c"}}, "all": true}]}),
        ),
        ("--cache-to type=inline app", json!({"cache_to": [{"place": "inline", "all": false}]})),
        ("--build-arg SOURCE_DATE_EPOCH=5 app", json!({"arguments": {"SOURCE_DATE_EPOCH": "5"}, "epoch": 5})),
        (
            "--label reproducible --label x=y --target reproducible app",
            json!({"labels": {"reproducible": "", "x": "y"}, "target": "reproducible", "epoch": 1_700_000_000,
                "arguments": {"SOURCE_DATE_EPOCH": "1700000000"}}),
        ),
        ("--provenance=false --sbom=false --rm --force-rm=true app", json!({})),
        (
            "--provenance --sbom=1 --cgroup-parent /x app",
            json!({"provenance": {"max": true, "version": "v1", "reproducible": false, "inline_only": false}, "sbom": true,
                "cgroup_parent": "x"}),
        ),
        // Outputs.
        ("--push -t a app", json!({"tags": ["a:latest"], "outputs": [{"image": {"push": true}}]})),
        ("--load app", json!({"outputs": [{"image": {"push": false}}]})),
        ("-o out app", json!({"outputs": [{"local": {"path": "~/out"}}]})),
        ("-o - app", json!({"outputs": [{"tar": {"path": "/spool/result"}}]})),
        ("-o type=tar,dest=x.tar --load app", json!({"outputs": [{"tar": {"path": "~/x.tar"}}, {"image": {"push": false}}]})),
        ("-o type=registry,name=a/b app", json!({"tags": ["a/b:latest"], "outputs": [{"image": {"push": true}}]})),
        (
            "-o type=image,\"name=a,b\",push app",
            json!({"tags": ["a:latest", "b:latest"], "outputs": [{"image": {"push": true}}]}),
        ),
        ("-o type=oci,dest=x.tar app", json!({"outputs": [{"oci": {"path": "~/x.tar", "tar": true}}]})),
        ("-o type=oci,dest=x,tar=false app", json!({"outputs": [{"oci": {"path": "~/x", "tar": false}}]})),
        (
            "-o type=image,push=true,name=a,compression=zstd,compression-level=9,force-compression=true app",
            json!({"tags": ["a:latest"], "outputs": [{"image": {"push": true, "packing": {"compression": "zstd", "level": 9, "force": true}}}]}),
        ),
        (
            "-o type=image,push=true,name=a/b,push-by-digest=true,name-canonical=true,unpack=true app",
            json!({"tags": ["a/b:latest"], "outputs": [{"image": {"push": true, "by_digest": true}}]}),
        ),
        (
            "-o type=oci,dest=x,tar=false,compression=gzip,annotation.k=v,annotation-manifest.l=w,oci-mediatypes=true app",
            json!({"annotations": {"k": "v", "l": "w"}, "outputs": [{"oci": {"path": "~/x", "tar": false, "packing": {"compression": "gzip"}}}]}),
        ),
        (
            "-o type=docker,dest=x.tar,oci-mediatypes=false app",
            json!({"docker_types": true, "outputs": [{"docker": {"path": "~/x.tar"}}]}),
        ),
        (
            "-o type=oci,dest=x.tar,rewrite-timestamp=true --build-arg SOURCE_DATE_EPOCH=7 app",
            json!({"arguments": {"SOURCE_DATE_EPOCH": "7"}, "epoch": 7, "outputs": [{"oci": {"path": "~/x.tar", "tar": true}}]}),
        ),
        ("-o type=docker app", json!({"outputs": [{"image": {"push": false}}]})),
        ("-o type=docker,dest=- app", json!({"outputs": [{"docker": {"path": "/spool/result"}}]})),
        // Files and contexts.
        ("-f app/docker/Web app", json!({"dockerfile": {"incontext": "docker/Web"}})),
        ("-f Other app", json!({"dockerfile": {"file": "~/Other"}})),
        (
            "--build-context lib=lib --build-context base=docker-image://alpine:3 --build-context l=oci-layout://layout:v1 app",
            json!({"contexts": {"lib": {"folder": "~/lib"}, "base": {"image": "alpine:3"}, "l": {"layout": {"path": "~/layout", "image": "v1"}}}}),
        ),
    ] {
        assert_eq!(host.request(line), Ok(wanted), "{line}");
    }
    let limits = host.request("-m 512m --memory-swap -1 --cpu-shares 512 --cpu-quota 5000 --cpuset-cpus 0-1 app").unwrap();
    let limits = &limits["limits"];
    assert_eq!((&limits["memory"], &limits["cpu_shares"], &limits["cpuset_cpus"]), (&json!("512m"), &json!(512), &json!("0-1")));
}

#[test]
fn contexts_of_all_kinds() {
    let host = host();
    let context = |words: &[&str], stdin: &[u8]| {
        let asked = host.asked_of(words, stdin)?;
        Ok::<_, String>((asked.request.context, asked.request.dockerfile, asked.upload.is_some()))
    };
    let text = |text: &str| DockerfileSource::Text { name: "Dockerfile".into(), text: text.into() };
    let default = DockerfileSource::InContext(None);
    let folder = ContextSource::Folder(host.path().canonicalize().unwrap().join("app"));
    let gzip = [b"\x1f\x8b\x08".as_slice(), &[7; 2000]].concat();
    for (words, stdin, wanted) in [
        (vec!["app"], &b""[..], (folder.clone(), default.clone(), false)),
        (vec!["-f", "-", "app"], b"FROM a", (folder, text("FROM a"), false)),
        (vec!["-"], b"FROM scratch\n", (ContextSource::Nothing, text("FROM scratch\n"), false)),
        (vec!["-"], &gzip, (ContextSource::Upload, default.clone(), true)),
        (vec!["-f", "x/D", "-"], &gzip, (ContextSource::Upload, DockerfileSource::InContext(Some("x/D".into())), true)),
        (
            vec!["https://example.com/x.git#main:docker"],
            b"",
            (ContextSource::Git("https://example.com/x.git#main:docker".into()), default.clone(), false),
        ),
        (vec!["https://example.com/x.tgz"], b"", (ContextSource::Url("https://example.com/x.tgz".into()), default, false)),
        (
            vec!["-f", "-", "git@example.com:a/b"],
            b"FROM b",
            (ContextSource::Git("git@example.com:a/b".into()), text("FROM b"), false),
        ),
    ] {
        assert_eq!(context(&words, stdin), Ok(wanted), "{words:?}");
    }
    let asked = host.asked_of(&["-f", "Other", "-o", "new/deep", "app"], b"").unwrap();
    let root = host.path().canonicalize().unwrap();
    assert_eq!(asked.paths.len(), 3, "{:?}", asked.paths);
    assert!(asked.paths.contains(&root.join("Other")) && asked.paths.contains(&root.join("app")));
}

#[test]
fn secrets_come_from_files_and_variables() {
    let host = host();
    let secrets = |text: &str| {
        let asked = host.asked_of(&["--secret", text, "app"], b"")?;
        let show = |secret: &BuildSecret| format!("{}={}", secret.id, String::from_utf8_lossy(&secret.content));
        Ok::<_, String>(asked.request.secrets.iter().map(show).collect::<Vec<_>>().join(" "))
    };
    for (text, wanted) in [
        ("id=a,src=token", "a=s3cret\n"),
        ("id=a,source=./token,type=file", "a=s3cret\n"),
        ("id=token", "token=s3cret\n"),
        ("id=a,env=TOKEN", "a=t0ken"),
        ("id=TOKEN", "TOKEN=t0ken"),
        ("type=env,id=a,src=TOKEN", "a=t0ken"),
        ("type=env,id=TOKEN", "TOKEN=t0ken"),
        ("id=a,env=EMPTY", "a="),
    ] {
        assert_eq!(secrets(text).as_deref(), Ok(wanted), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let host = host();
    std::fs::write(host.path().join("long"), vec![b'x'; 600 << 10]).unwrap();
    for (line, stdin, wanted) in [
        ("none", "", "there is no folder ~/none"),
        ("Other", "", "~/Other is not a folder (the context is a folder; name the Dockerfile with --file)"),
        ("-f none app", "", "there is no file ~/none"),
        (
            "-f - -",
            "",
            "the context and the Dockerfile cannot both come from standard input (give the folder, or the Dockerfile, by its path)",
        ),
        ("-", "", "there is nothing on standard input (send a tar of the context, or a Dockerfile)"),
        (
            "-f x -",
            "FROM a",
            "standard input is a Dockerfile, and --file names another one (leave --file out, or send a tar of the context)",
        ),
        ("--push app", "", "an image that is pushed needs a name (name it with --tag REGISTRY/REPOSITORY:TAG)"),
        ("-o - -o type=tar app", "", "only one output can go to standard output"),
        ("-o type=local app", "", "--output \"type=local\": it needs `dest=FOLDER`"),
        (
            "-o type=zip,dest=x app",
            "",
            "--output \"type=zip,dest=x\": outputs of the type `zip` are not supported: there are image, registry, tar, local, oci, docker",
        ),
        ("-o type=tar,push=true app", "", "--output \"type=tar,push=true\": only images are pushed"),
        (
            "-o type=image,compression=zstd app",
            "",
            "--output \"type=image,compression=zstd\": layers of images here are not packed: `compression` is of what is pushed, and of archives",
        ),
        (
            "-o type=oci,dest=x,compression=lz4 app",
            "",
            "--output \"type=oci,dest=x,compression=lz4\": there is no compression \"lz4\": use gzip, zstd or uncompressed",
        ),
        (
            "-o type=docker,dest=x,tar=false app",
            "",
            "--output \"type=docker,dest=x,tar=false\": docker's form is an archive, which `docker load` reads: a folder is `type=oci,tar=false`",
        ),
        ("-o type=tar,dest=x,name=a app", "", "--output \"type=tar,dest=x,name=a\": files have no `name`"),
        (
            "-o type=oci,dest=x,rewrite-timestamp=true app",
            "",
            "--output \"rewrite-timestamp=true\": set SOURCE_DATE_EPOCH to the latest time that files may have",
        ),
        (
            "-o type=oci,dest=x,annotation-index.a=b app",
            "",
            "--output \"type=oci,dest=x,annotation-index.a=b\": annotations are of the image's manifest: `annotation.KEY=VALUE`",
        ),
        (
            "-o type=image,unpack=false app",
            "",
            "--output \"type=image,unpack=false\": layers are unpacked here: leave out `unpack`",
        ),
        (
            "--cache-from type=inline app",
            "",
            "--cache-from \"type=inline\": an inline cache is read from an image (name the image that has it: type=registry,ref=IMAGE)",
        ),
        ("--secret src=token app", "", "--secret \"src=token\": it needs `id=NAME`"),
        ("--secret id=a,env=NONE app", "", "--secret a: the variable NONE is not set"),
        ("--secret id=a,src=long app", "", "--secret a: ~/long has more than 500 KiB"),
        ("--secret id=token --secret id=token app", "", "--secret token is given twice"),
        ("--secret id=a,mode=1 app", "", "--secret \"id=a,mode=1\": a secret has no `mode`: there are id, src, env, type"),
        (
            "--ssh key=token app",
            "",
            "--ssh key: ~/token is a file, and not the socket of an agent (give the key to an agent: `ssh-add ~/token`, and --ssh default)",
        ),
        ("--network mine app", "", "--network \"mine\": RUN has the network `default`, `none` or `host`"),
        ("--allow all app", "", "--allow \"all\": `all` cannot be allowed (there are network.host and security.insecure)"),
        (
            "--cache-to type=s3 app",
            "",
            "--cache-to \"type=s3\": caches of the type `s3` are not supported (use type=registry, type=local or type=inline)",
        ),
        ("--build-context x app", "", "--build-context \"x\": expected NAME=CONTEXT"),
        ("--build-context x=none app", "", "there is no folder ~/none"),
        ("--build-arg SOURCE_DATE_EPOCH=now app", "", "SOURCE_DATE_EPOCH is \"now\", and not a number of seconds since 1970"),
        ("--annotation index:a=b app", "", "--annotation \"index:a=b\": annotations are of the image's manifest: KEY=VALUE"),
        ("-m 1m app", "", "the limit memory: the least is 6m: nothing starts with less"),
        (
            "--squash app",
            "",
            "--squash is not supported (leave it out, or copy the files into a last stage: `FROM scratch` and `COPY --from`)",
        ),
        ("--provenance=mode=most app", "", "--provenance \"mode=most\": `mode` is `min` or `max`"),
        (
            "--sbom=generator=x app",
            "",
            "--sbom \"generator=x\": a generator of the list of software cannot be chosen (leave it out: setpoint looks for software itself)",
        ),
        ("--rm=false app", "", "--rm is not supported (leave it out: nothing is left of a RUN but its layer)"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Err(said) = host.asked_of(&words, stdin.as_bytes()) else { panic!("{line} is accepted") };
        assert_eq!(said, wanted, "{line}");
    }
    for line in ["", "a b", "--platform x y", "-t A:B app", "--progress fast app", "--isolation"] {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(parsed(&words).is_err(), "{line}");
    }
}

#[test]
fn groups_have_the_same_command() {
    for words in [vec!["image", "build", "."], vec!["builder", "build", "."], vec!["buildx", "build", "--load", "."]] {
        let cli = Cli::try_parse_from(["setpoint"].into_iter().chain(words.iter().copied())).unwrap();
        let alone = crate::cli::commands::alone(cli.command);
        assert!(matches!(&alone, Command::Build(args) if args.context == "."), "{words:?}");
    }
}

#[test]
fn a_check_finds_what_is_wrong_and_what_is_doubtful() {
    let found = |text: &str, more: &[&str]| {
        let host = host();
        std::fs::write(host.path().join("app/Dockerfile"), text).unwrap();
        let words: Vec<&str> = more.iter().copied().chain(["app"]).collect();
        let Ok(Command::Build(args)) = parsed(&words) else { panic!("{words:?}") };
        let around = Surroundings { cwd: host.path().to_owned(), environment: BTreeMap::new() };
        let mut stdin: &[u8] = b"";
        let mut inputs = Inputs { around: &around, stdin: &mut stdin, stdin_is_terminal: false, spool: "/spool/result".into() };
        let found = check::check(&args, &mut inputs).unwrap();
        (found.errors.len(), found.warnings.len(), found.unused_arguments)
    };
    assert_eq!(found("FROM scratch\nLABEL a=b\n", &[]), (0, 0, vec![]));
    assert_eq!(found("FROM scratch\nMAINTAINER me\n", &["--build-arg", "X=1"]), (0, 1, vec!["X".to_owned()]));
    assert_eq!(found("FROM scratch\nRUNN x\nCOPI a b\n", &[]), (2, 0, vec![]));
    assert_eq!(found("FROM scratch AS a\n", &["--target", "b"]), (1, 0, vec![]));
}
