//! Repositories of this host, made by the host's own `git`.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use super::git::{Checkout, GitAccess, GitSource, fetch};
use super::*;

/// A repository with two commits on `main`, a tag on the first, an annotated one on the second, and a branch.
struct Repository {
    root: TempDir,
}

impl Repository {
    fn new() -> Self {
        let root = folder(&[
            ("repo/Dockerfile", "FROM one"),
            ("repo/deep/sub/x", "x"),
            ("repo/program", "p"),
            ("repo/link -> program", ""),
        ]);
        let repository = Self { root };
        fs::set_permissions(repository.path().join("program"), fs::Permissions::from_mode(0o755)).unwrap();
        repository.git(&["init", "--quiet", "--initial-branch=main"]);
        repository.commit();
        repository.git(&["tag", "v1"]);
        fs::write(repository.path().join("Dockerfile"), "FROM two").unwrap();
        repository.commit();
        repository.git(&["tag", "-a", "-m", "two", "v2"]);
        repository.git(&["branch", "topic/a"]);
        repository
    }

    fn path(&self) -> std::path::PathBuf {
        self.root.path().join("repo")
    }

    fn git(&self, arguments: &[&str]) -> String {
        git(&self.path(), arguments)
    }

    fn commit(&self) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message=m", "--date=2001-09-09T01:46:40Z"]);
    }

    fn url(&self) -> String {
        format!("file://{}", self.path().display())
    }

    fn fetch(&self, rest: &str, keep: bool) -> Result<(Checkout, TempDir), FilesError> {
        let scratch = folder(&[]);
        let source = GitSource::parse(&format!("{}{rest}", self.url()))?;
        let access = GitAccess { local: true, ..GitAccess::default() };
        Ok((fetch(&source, &scratch.path().join("s"), keep, &access)?, scratch))
    }
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", folder).env("GIT_CONFIG_NOSYSTEM", "1");
    command.env("GIT_ALLOW_PROTOCOL", "file").env("GIT_COMMITTER_DATE", "2001-09-09T01:46:40Z");
    command.args(["-c", "user.name=n", "-c", "user.email=e@e", "-C"]).arg(folder).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn every_way_to_say_which_commit() {
    let repository = Repository::new();
    let (first, second) = (repository.git(&["rev-parse", "v1"]), repository.git(&["rev-parse", "main"]));
    let tag = repository.git(&["rev-parse", "v2"]);
    for (rest, expected) in [
        (String::new(), &second),
        ("#v1".to_owned(), &first),
        ("#v2".to_owned(), &second),
        ("#main".to_owned(), &second),
        ("#topic/a".to_owned(), &second),
        ("#refs/tags/v1".to_owned(), &first),
        ("#HEAD".to_owned(), &second),
        (format!("#{first}"), &first),
        (format!("#{}", &first[..10]), &first),
        ("?branch=main".to_owned(), &second),
        ("?tag=v1".to_owned(), &first),
        ("?ref=v1".to_owned(), &first),
        (format!("?commit={first}"), &first),
        (format!("?tag=v1&checksum={}", &first[..8]), &first),
        (format!("?tag=v2&checksum={second}"), &second),
        (format!("?tag=v2&checksum={tag}"), &second),
    ] {
        let (checkout, scratch) = repository.fetch(&rest, false).unwrap_or_else(|e| panic!("{rest}: {e}"));
        assert_eq!((&checkout.commit, checkout.time), (expected, 1_000_000_000), "{rest}");
        let content = if *expected == first { "FROM one" } else { "FROM two" };
        assert_eq!(
            listing(&scratch.path().join("s")),
            [&format!("Dockerfile={content}"), "deep/", "deep/sub/", "deep/sub/x=x", "link -> program", "program=p"],
            "{rest}"
        );
        for (path, mode) in [("Dockerfile", 0o644), ("program", 0o755), ("deep/sub", 0o755)] {
            let meta = fs::metadata(scratch.path().join("s").join(path)).unwrap();
            assert_eq!((meta.mode() & 0o7777, meta.mtime()), (mode, 1_000_000_000), "{rest} {path}");
        }
    }
    for (rest, says) in [
        ("#v3", "has no branch, tag or commit \"refs/tags/v3\""),
        ("?branch=v1", "\"refs/heads/v1\""),
        ("#0123456789abcdef0123456789abcdef01234567", "\"0123456789"),
        ("?tag=v1&checksum=0123456", "checksum"),
        ("#main:none", "\"none\" is not in"),
        ("#main:Dockerfile", "is no folder"),
    ] {
        let error = repository.fetch(rest, false).unwrap_err().to_string();
        assert!(error.contains(says), "{rest}: {error}");
    }
}

#[test]
fn a_folder_of_it_and_its_own_folder() {
    let repository = Repository::new();
    let (checkout, _scratch) = repository.fetch("#main:deep", false).unwrap();
    let to = folder(&[]);
    put(&checkout.tree, &["."], to.path(), &order("/")).unwrap();
    assert_eq!(listing(to.path()), ["sub/", "sub/x=x"]);
    let (kept, scratch) = repository.fetch("", true).unwrap();
    assert_eq!(git(&scratch.path().join("s"), &["rev-parse", "HEAD"]), kept.commit);
    assert_ne!(kept.digest(), repository.fetch("", false).unwrap().0.digest());
    // What the source says comes first.
    let (_, scratch) = repository.fetch("?keep-git-dir=false", true).unwrap();
    assert!(!scratch.path().join("s/.git").exists());
}

#[test]
fn submodules_come_along() {
    let inner = Repository::new();
    let outer = Repository::new();
    git(&outer.path(), &["-c", "protocol.file.allow=always", "submodule", "--quiet", "add", &inner.url(), "lib"]);
    outer.commit();
    let (_, scratch) = outer.fetch("", false).unwrap();
    assert_eq!(fs::read_to_string(scratch.path().join("s/lib/Dockerfile")).unwrap(), "FROM two");
    assert!(!scratch.path().join("s/lib/.git").exists());
    let (_, scratch) = outer.fetch("?submodules=false", false).unwrap();
    assert!(!scratch.path().join("s/lib/Dockerfile").exists());
}

#[test]
fn nothing_of_the_repository_or_of_the_host_is_run() {
    let repository = Repository::new();
    let canary = repository.root.path().join("canary");
    let script = format!("#!/bin/sh\ntouch {}\n", canary.display());
    // As a context could have it: hooks and configuration in the tree, and a filter.
    fill(
        &repository.path(),
        &[(".gitattributes", "* filter=evil\n"), (".gitconfig", "[filter \"evil\"]\nsmudge = touch /tmp/x\n")],
    );
    for hook in ["post-checkout", "reference-transaction", "post-index-change"] {
        let path = repository.path().join("hooks").join(hook);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    repository.commit();
    repository.fetch("", false).unwrap();
    assert!(!canary.exists());
    // Repositories of this host are read only where that is allowed, and those of programs never.
    let source = GitSource::parse(&repository.url()).unwrap();
    let scratch = folder(&[]);
    let error = fetch(&source, &scratch.path().join("s"), false, &GitAccess::default()).unwrap_err();
    assert!(error.to_string().contains("not allowed"), "{error}");
    assert!(error.hint().unwrap().contains("https"), "{error}");
}

#[test]
fn by_the_protocol_of_git() {
    let repository = Repository::new();
    let base = repository.root.path().to_owned();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = std::os::fd::OwnedFd::from(stream.unwrap());
            let mut daemon = Command::new("git");
            daemon.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", &base);
            let base = format!("--base-path={}", base.display());
            daemon.args(["-c", "safe.directory=*", "daemon", "--inetd", "--export-all", &base]);
            daemon.stdin(stream.try_clone().unwrap()).stdout(stream).stderr(std::process::Stdio::null());
            daemon.status().unwrap();
        }
    });
    let first = repository.git(&["rev-parse", "v1"]);
    for (rest, content) in [("", "FROM two"), ("#v1", "FROM one"), (&format!("#{first}"), "FROM one")] {
        let source = GitSource::parse(&format!("git://127.0.0.1:{port}/repo{rest}")).unwrap();
        let scratch = folder(&[]);
        fetch(&source, &scratch.path().join("s"), false, &GitAccess::default()).unwrap_or_else(|e| panic!("{rest}: {e}"));
        assert_eq!(fs::read_to_string(scratch.path().join("s/Dockerfile")).unwrap(), content);
    }
}

/// A server that only has files lets itself be asked for no single commit.
#[test]
fn by_a_server_of_mere_files() {
    let repository = Repository::new();
    repository.git(&["update-server-info"]);
    let root = repository.path().join(".git");
    let mut answers = Vec::new();
    let mut waiting = vec![root.clone()];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = format!("/r.git/{}", path.strip_prefix(&root).unwrap().display());
        let name = if name == "/r.git/info/refs" { format!("{name}?service=git-upload-pack") } else { name };
        answers.push((&*name.leak(), String::new(), fs::read(&path).unwrap()));
    }
    let port = super::receives::serve(answers);
    let first = repository.git(&["rev-parse", "v1"]);
    for (rest, content) in [("", "FROM two"), ("#v1", "FROM one"), (&format!("#{first}"), "FROM one")] {
        let source = GitSource::parse(&format!("http://127.0.0.1:{port}/r.git{rest}")).unwrap();
        let scratch = folder(&[]);
        fetch(&source, &scratch.path().join("s"), false, &GitAccess::default()).unwrap_or_else(|e| panic!("{rest}: {e}"));
        assert_eq!(fs::read_to_string(scratch.path().join("s/Dockerfile")).unwrap(), content);
    }
}

#[test]
fn passwords_are_not_shown() {
    let source = GitSource::parse("http://user:hidden@127.0.0.1:1/repo.git").unwrap();
    let scratch = folder(&[]);
    let error = fetch(&source, &scratch.path().join("s"), false, &GitAccess::default()).unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:1/repo.git") && !error.contains("hidden"), "{error}");
}
