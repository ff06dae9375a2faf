//! One commit of a repository into a folder: exactly that one where the server lets itself be asked for it, and without what is
//! in the way of the same files being the same every time: times are those of the commit, permissions those that Git knows.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::program::{Git, GitAccess};
use super::source::{GitSource, Reference, is_hex};
use crate::engine::build::files::{FilesError, Tree};
use crate::files::{self, FileError};
use crate::model::Digest;

/// What has been fetched.
#[derive(Clone, Debug)]
pub struct Checkout {
    /// The folder that is meant.
    pub tree: Tree,
    /// All digits.
    pub commit: String,
    /// When it was committed, in seconds since 1970.
    pub time: i64,
    remote: String,
    subdir: String,
    keeps_git_dir: bool,
}

impl Checkout {
    /// What the cache knows it by. What is in `.git` is never the same twice, and is all of the commit.
    pub fn digest(&self) -> Digest {
        let Self { commit, remote, subdir, keeps_git_dir, .. } = self;
        let remote = if *keeps_git_dir { remote.as_str() } else { "" };
        Digest::of(format!("setpoint git 1\n{commit}\n{keeps_git_dir}\n{remote}\n{subdir}").as_bytes())
    }
}

/// Fetches what a source says into the empty folder `scratch`, which is made if it is not there. `.git` stays where that is
/// asked, by the source itself before `keep_git_dir`. Blocks the thread for as long as the network takes.
pub fn fetch(source: &GitSource, scratch: &Path, keep_git_dir: bool, access: &GitAccess) -> Result<Checkout, FilesError> {
    files::create_dirs(scratch, 0o700)?;
    let url = source.shown();
    let secret = source.remote.split_once("://").map(|(_, rest)| &rest[..rest.find('/').unwrap_or(rest.len())]);
    let secret = secret.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user.to_owned());
    let git = Git { folder: scratch, access, url: url.clone(), secret };
    let keep = source.keep_git_dir.unwrap_or(keep_git_dir);
    git.run("make a repository for", &["init", "--quiet"])?;
    git.run("name", &["remote", "add", "--", "origin", &source.remote])?;
    let (commit, tag) = commit(&git, source)?;
    if let Some(expected) = &source.checksum
        && !commit.starts_with(expected.as_str())
        && !tag.as_ref().is_some_and(|tag| tag.starts_with(expected.as_str()))
    {
        return Err(FilesError::Checksum { url, expected: expected.clone(), found: commit });
    }
    git.run("check out", &["checkout", "--quiet", "--force", "--detach", &commit, "--"])?;
    if source.submodules && scratch.join(".gitmodules").exists() {
        let update = ["submodule", "--quiet", "update", "--init", "--recursive", "--force", "--depth=1"];
        git.run("fetch submodules of", &update)?;
    }
    let time = git.run("read", &["show", "--no-patch", "--format=%ct", &commit, "--"])?;
    let time = time.trim().parse::<i64>().unwrap_or(0);
    if keep {
        git.run("name", &["remote", "set-url", "--", "origin", &url])?;
        files::remove_all(&scratch.join(".git/FETCH_HEAD"))?;
    }
    settle(scratch, keep, time)?;
    // Nobody else looks into the folder itself.
    set_mode(scratch, 0o700)?;
    let tree = Tree::open(scratch, &url)?.passing();
    let tree = if source.subdir.is_empty() { tree } else { tree.below(&source.subdir)? };
    Ok(Checkout { tree, commit, time, remote: url, subdir: source.subdir.clone(), keeps_git_dir: keep })
}

/// Brings the commit that is meant. Also returns the object of a tag that has one of its own.
fn commit(git: &Git<'_>, source: &GitSource) -> Result<(String, Option<String>), FilesError> {
    let missing = |name: &str| FilesError::NoReference { url: git.url.clone(), reference: name.to_owned() };
    let (names, digits) = match &source.reference {
        Reference::Head => (vec!["HEAD".to_owned()], None),
        Reference::Branch(name) => (vec![format!("refs/heads/{name}")], None),
        Reference::Tag(name) => (vec![format!("refs/tags/{name}")], None),
        Reference::Commit(digits) => (Vec::new(), Some(digits)),
        Reference::Any(name) => {
            let digits = ((7..=64).contains(&name.len()) && is_hex(name)).then_some(name);
            let names = match name.as_str() {
                "HEAD" => vec![name.clone()],
                full if full.starts_with("refs/") => vec![full.to_owned()],
                short => ["refs/tags", "refs/heads", "refs"].map(|before| format!("{before}/{short}")).to_vec(),
            };
            (names, digits)
        }
    };
    if !names.is_empty() {
        let mut asked = vec!["ls-remote", "--quiet", "--", "origin"];
        asked.extend(names.iter().map(String::as_str));
        let answer = git.run("list what is in", &asked)?;
        let there: Vec<(&str, &str)> = answer.lines().filter_map(|line| line.split_once('\t')).collect();
        // Patterns also fit the ends of other names.
        let found = names.iter().find_map(|name| there.iter().find(|(_, there)| there == name));
        if let Some((object, name)) = found {
            bring(git, name)?;
            let commit = verified(git, "FETCH_HEAD")?.ok_or_else(|| missing(name))?;
            let tag = (*object != commit).then(|| (*object).to_owned());
            return Ok((commit, tag));
        }
    }
    let Some(digits) = digits else { return Err(missing(names.first().map_or("", String::as_str))) };
    let digits = digits.to_ascii_lowercase();
    let whole = matches!(digits.len(), 40 | 64);
    if whole && bring(git, &digits).is_ok() && verified(git, &digits)?.is_some() {
        return Ok((digits, None));
    }
    // The server does not let itself be asked for a commit, or it is not said which one: all that it has.
    let all = ["fetch", "--quiet", "--no-tags", "origin", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"];
    git.run("fetch", &all)?;
    let found = verified(git, &digits)?.ok_or_else(|| missing(&digits))?;
    Ok((found, None))
}

/// Fetches one reference or commit, without what was before it where the server can do that.
fn bring(git: &Git<'_>, name: &str) -> Result<(), FilesError> {
    let shallow = git.run("fetch", &["fetch", "--quiet", "--no-tags", "--depth=1", "origin", name]);
    match shallow {
        Err(FilesError::Git { said, .. }) if said.contains("shallow") => {
            git.run("fetch", &["fetch", "--quiet", "--no-tags", "origin", name]).map(drop)
        }
        other => other.map(drop),
    }
}

/// The commit that a name means here.
fn verified(git: &Git<'_>, name: &str) -> Result<Option<String>, FilesError> {
    match git.run("read", &["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")]) {
        Ok(commit) => Ok(Some(commit.lines().last().unwrap_or_default().trim().to_owned()).filter(|commit| is_hex(commit))),
        Err(FilesError::Git { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes `.git` away where it is not kept, and gives all else the permissions that Git knows, and one time.
fn settle(folder: &Path, keep: bool, time: i64) -> Result<(), FilesError> {
    let failed = |action, path: &Path, e: std::io::Error| FilesError::from(FileError::new(action, path, e));
    for entry in fs::read_dir(folder).map_err(|e| failed("read folder", folder, e))? {
        let entry = entry.map_err(|e| failed("read folder", folder, e))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(|e| failed("look at", &path, e))?;
        if !keep && entry.file_name() == OsStr::new(".git") {
            files::remove_all(&path)?;
            continue;
        }
        if kind.is_dir() {
            settle(&path, keep, time)?;
        } else if kind.is_file() {
            let mode = entry.metadata().map_err(|e| failed("look at", &path, e))?.permissions().mode();
            set_mode(&path, if mode & 0o100 == 0 { 0o644 } else { 0o755 })?;
        }
        if !kind.is_dir() {
            set_time(&path, time)?;
        }
    }
    set_mode(folder, 0o755)?;
    set_time(folder, time)
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FilesError> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|e| FileError::new("set the mode of", path, e))?)
}

fn set_time(path: &Path, seconds: i64) -> Result<(), FilesError> {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    let done = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    Ok(done.map_err(|e| FileError::new("set the time of", path, e))?)
}
