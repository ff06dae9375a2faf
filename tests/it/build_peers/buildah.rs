//! Buildah, with a store of its own below the test's folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::PATH;
use crate::harness::process::Ran;
use crate::harness::{Host, PATIENCE, Running, tool};

/// Buildah with a store of its own. Dropping it unmounts what it has mounted.
pub(super) struct Buildah {
    folder: PathBuf,
}

impl Buildah {
    pub(super) fn new(host: &Host) -> Self {
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

    pub(super) fn pull(&self, archive: &Path) {
        let archive = format!("docker-archive:{}", archive.display());
        self.run(&["pull", "-q", "--signature-policy", &self.at("policy.json"), &archive]);
    }

    pub(super) fn bud(&self, folder: &Path, args: &[&str]) -> Ran {
        let policy = self.at("policy.json");
        let own = ["bud", "--isolation", "chroot", "--format", "docker", "--pull-never", "--signature-policy", &policy];
        let mut command = self.command("buildah", &[&own[..], args].concat());
        command.current_dir(folder).env("ALSO", "environment");
        Running::spawn(command).wait(PATIENCE)
    }

    /// The configuration of an image, with what only Docker's images have.
    pub(super) fn inspect(&self, name: &str) -> Value {
        let inspected: Value = serde_json::from_str(&self.run(&["inspect", "--type", "image", name])).unwrap();
        inspected["Docker"].clone()
    }

    /// What only podman does with buildah's store.
    fn podman(&self, args: &[&str]) -> String {
        let tmp = self.at("tmp");
        let own = ["--tmpdir", &tmp, "--cgroup-manager", "cgroupfs", "--events-backend", "file"];
        Running::spawn(self.command("podman", &[&own[..], args].concat())).wait(PATIENCE).ok().stdout
    }

    pub(super) fn load(&self, archive: &Path) {
        self.podman(&["load", "-q", "--signature-policy", &self.at("policy.json"), "-i", archive.to_str().unwrap()]);
    }

    /// Where all files of images can be looked at. Buildah itself would pull the triggers of what it mounts.
    pub(super) fn mount(&self, names: Vec<String>) -> BTreeMap<String, PathBuf> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mounted = self.podman(&[&["image", "mount", "--format", "json"], &names[..]].concat());
        let mounted: Value = serde_json::from_str(&mounted).unwrap();
        let mut found = BTreeMap::new();
        for image in mounted.as_array().unwrap() {
            let path = PathBuf::from(image["mountpoint"].as_str().unwrap());
            for name in image["Repositories"].as_array().unwrap() {
                found.insert(name.as_str().unwrap().to_owned(), path.clone());
            }
        }
        found
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
