//! What an instance has left on the host: processes, cgroups, mounts, links, packet filter tables and folders. Finds them in the
//! kernel and not through setpoint, which is what is being judged. Never panics: it runs on the way out of tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use setpoint::model::Instance;

/// All that is left of `instance` in the calling thread's namespaces, as lines for people. What is on its way out has a
/// moment to go.
pub(crate) fn of(instance: &Instance) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let left = look(instance);
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn look(instance: &Instance) -> Vec<String> {
    let mut left = Vec::new();
    left.extend(processes(instance).into_iter().map(|(pid, about)| format!("process {pid}: {about}")));
    left.extend(cgroups(instance).into_iter().map(|path| format!("cgroup {}", path.display())));
    left.extend(mounts(instance).into_iter().map(|line| format!("mount {line}")));
    left.extend(links(instance).into_iter().map(|name| format!("link {name}")));
    left.extend(tables().into_iter().filter(|t| *t == instance.nft_table()).map(|t| format!("nftables table {t}")));
    for folder in ["s/containers", "s/volumes", "r/containers"] {
        let root = if folder.starts_with('s') { instance.state_dir() } else { instance.run_dir() };
        let entries = fs::read_dir(root.join(&folder[2..])).into_iter().flatten().flatten();
        let things = entries.filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."));
        left.extend(things.map(|entry| format!("file {}", entry.path().display())));
    }
    left
}

/// Kills what is left and removes its cgroups, so that one broken test does not break those after it.
pub(crate) fn end(instance: &Instance) {
    for (pid, _) in processes(instance) {
        kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
    }
    std::thread::sleep(Duration::from_millis(300));
    let mut folders = cgroups(instance);
    folders.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    for folder in folders {
        fs::remove_dir(folder).ok();
    }
}

/// Processes that speak of the instance's roots: in their arguments, environment, open files or mounts.
pub(crate) fn processes(instance: &Instance) -> Vec<(i32, String)> {
    let own = std::process::id();
    let tag = format!("setpoint-{}", instance.tag());
    let roots = [instance.state_dir(), instance.run_dir()];
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let proc = entry.path();
        let said = |name: &str| fs::read(proc.join(name)).map(|b| String::from_utf8_lossy(&b).replace('\0', " "));
        if pid == own || said("stat").is_ok_and(|stat| stat.rsplit(") ").next().is_some_and(|s| s.starts_with('Z'))) {
            continue;
        }
        let speaks = |text: &str| roots.iter().any(|root| text.contains(&*root.to_string_lossy()));
        let command = said("cmdline").unwrap_or_default();
        let holds = || {
            let fds = fs::read_dir(proc.join("fd")).into_iter().flatten().flatten();
            fds.into_iter().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| roots.iter().any(|root| to.starts_with(root))))
        };
        let why = if speaks(&command) {
            "by its arguments"
        } else if said("cgroup").is_ok_and(|text| text.contains(&tag)) {
            "by its cgroup"
        } else if said("environ").is_ok_and(|text| speaks(&text)) {
            "by its environment"
        } else if holds() {
            "by an open file"
        } else {
            continue;
        };
        found.push((i32::try_from(pid).unwrap_or(i32::MAX), format!("{command}({why})")));
    }
    found
}

/// The instance's cgroups in every hierarchy.
pub(crate) fn cgroups(instance: &Instance) -> Vec<PathBuf> {
    fn walk(folder: &Path, name: &str, inside: bool, depth: u8, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if depth > 0 && entry.file_type().is_ok_and(|t| t.is_dir()) {
                let inside = inside || entry.file_name().to_string_lossy() == name;
                walk(&entry.path(), name, inside, depth - 1, found);
                if inside {
                    found.push(entry.path());
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &instance.cgroup_parent(), false, 8, &mut found);
    found
}

fn mounts(instance: &Instance) -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    let roots = [instance.state_dir(), instance.run_dir()].map(|root| root.to_string_lossy().into_owned());
    table.lines().filter(|line| roots.iter().any(|root| line.contains(root.as_str()))).map(str::to_owned).collect()
}

/// Links whose names carry the instance's tag.
pub(crate) fn links(instance: &Instance) -> Vec<String> {
    let listed = output("ip", &["-o", "link"]);
    let names = listed.lines().filter_map(|line| line.split(": ").nth(1)).map(|name| name.split('@').next().unwrap_or(name));
    let ours = |name: &&str| {
        let end = name.strip_prefix('v').and_then(|rest| rest.get(1..)).or_else(|| name.strip_prefix("sp"));
        end.is_some_and(|rest| rest.starts_with(instance.tag()))
    };
    names.filter(ours).map(str::to_owned).collect()
}

/// The packet filter's tables of the two families of IP.
pub(crate) fn tables() -> Vec<String> {
    let listed = output("nft", &["list", "tables"]);
    listed
        .lines()
        .filter_map(|line| line.strip_prefix("table ip ").or_else(|| line.strip_prefix("table ip6 ")))
        .map(str::to_owned)
        .collect()
}

fn output(program: &str, args: &[&str]) -> String {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    match Command::new(program).args(args).env("PATH", path).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(e) => format!("{program}: {e}"),
    }
}
