//! The runtime on the real kernel: containers of a busybox in an overlay. Every test runs in a process of its own, because
//! the runtime refuses to work beside threads.

mod attacks;
mod cgroups;
mod exec;
mod isolation;
mod process;

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::process::{WaitId, WaitIdOptions};

use super::spec::{HostMount, SpecInput, build};
use super::*;
use crate::model::ContainerId;
use crate::model::spec::{ContainerSpec, NetworkMode};
use crate::sys::clone::in_own_process;

/// A folder with layers, and what is to be started on them.
struct Bench {
    folder: tempfile::TempDir,
    spec: ContainerSpec,
    mounts: Vec<HostMount>,
    user: Option<String>,
    terminal: bool,
    cgroup: CgroupPath,
}

#[derive(Debug)]
struct Outcome {
    /// The exit code, or 128 and the signal.
    code: i32,
    stdout: String,
    stderr: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("sprt").tempdir_in("/tmp").unwrap();
        let base = folder.path();
        for sub in ["top", "base/bin", "base/etc", "upper", "work"] {
            fs::create_dir_all(base.join(sub)).unwrap();
        }
        fs::copy("/bin/busybox", base.join("base/bin/busybox")).unwrap();
        for applet in ["sh", "cat", "true", "id", "ls", "sleep", "mount", "mknod", "dd", "head", "tr", "kill", "ps", "tty"] {
            symlink("busybox", base.join("base/bin").join(applet)).unwrap();
        }
        fs::write(base.join("base/etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:1234:55::/srv:/bin/sh\n").unwrap();
        fs::write(base.join("base/etc/group"), "root:x:0:\nweb:x:55:\nextra:x:77:web\n").unwrap();
        let random = crate::sys::random_bytes::<4>().unwrap();
        let cgroup = CgroupPath { parent: format!("sptest-{}", u32::from_le_bytes(random)), name: "box".into() };
        let mut spec = ContainerSpec::new("busybox".parse().unwrap());
        spec.network_mode = NetworkMode::None;
        Self { folder, spec, mounts: vec![], user: None, terminal: false, cgroup }
    }

    fn path(&self, sub: &str) -> PathBuf {
        self.folder.path().join(sub)
    }

    fn launch(&self, argv: &[&str]) -> Launch {
        let id = ContainerId::from_random(crate::sys::random_bytes().unwrap());
        let mut spec = self.spec.clone();
        spec.command = Some(argv.iter().map(|a| (*a).to_owned()).collect());
        let image = serde_json::from_value(serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []},
        }))
        .unwrap();
        let input = SpecInput {
            id: &id,
            hostname: "the-box",
            container: &spec,
            image: &image,
            mounts: self.mounts.clone(),
            devices: Vec::new(),
            terminal: self.terminal,
            users: None,
        };
        let (oci, filter) = build(&input).unwrap();
        let launch = Launch {
            spec: oci,
            filter,
            root: RootFs::Overlay {
                lower: vec![self.path("top"), self.path("base")],
                upper: self.path("upper"),
                work: self.path("work"),
                volatile: false,
            },
            user: self.user.clone(),
            cgroup: self.cgroup.clone(),
            groups: spec.group_add.iter().cloned().collect(),
            limits: spec.limits.clone(),
            network: Network::New,
            init: false,
            shm_of: None,
            id,
        };
        // The monitor reads it from a file.
        let text = serde_json::to_vec(&launch).unwrap();
        let back: Launch = serde_json::from_slice(&text).unwrap();
        assert_eq!(back, launch);
        back
    }

    fn start(&self, argv: &[&str]) -> Result<(Process, fs::File, fs::File), RuntimeError> {
        let (out_read, out_write) = pipe();
        let (err_read, err_write) = pipe();
        let stdio = Stdio { stdin: crate::sys::pty::null().unwrap(), stdout: out_write, stderr: err_write };
        let process = start(&self.launch(argv), stdio, None)?;
        Ok((process, out_read.into(), err_read.into()))
    }

    fn run(&self, argv: &[&str]) -> Result<Outcome, RuntimeError> {
        let (process, mut stdout, mut stderr) = self.start(argv)?;
        let (mut out, mut err) = (String::new(), String::new());
        stdout.read_to_string(&mut out).unwrap();
        stderr.read_to_string(&mut err).unwrap();
        let code = wait(&process);
        self.cgroup().remove().unwrap();
        Ok(Outcome { code, stdout: out, stderr: err })
    }

    /// The standard output of a shell line that succeeds.
    fn shell(&self, line: &str) -> String {
        let outcome = self.run(&["/bin/sh", "-c", line]).unwrap();
        assert_eq!(outcome.code, 0, "{line}: {outcome:?}");
        outcome.stdout
    }

    fn cgroup(&self) -> super::cgroups::Cgroup {
        super::cgroups::Cgroup::open(&self.cgroup).unwrap()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Ok(cgroup) = super::cgroups::Cgroup::open(&self.cgroup) {
            drop(cgroup.kill_all());
            drop(cgroup.remove());
        }
        drop(super::cgroups::remove_parent(&self.cgroup.parent));
    }
}

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

fn wait(process: &Process) -> i32 {
    wait_for(&process.pidfd)
}

fn wait_for(pidfd: &OwnedFd) -> i32 {
    use std::os::fd::AsFd;
    let status = rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap())
}

/// Runs the body with a bench in a process of its own.
fn with_bench(body: impl FnOnce(&mut Bench)) {
    in_own_process(|| {
        let mut bench = Bench::new();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(&mut bench)));
        drop(bench);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

fn exists(path: impl AsRef<Path>) -> bool {
    fs::symlink_metadata(path).is_ok()
}
