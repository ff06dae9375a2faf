//! Known ways out of containers, one a file. Each is tried as it was found in the field, with a canary on the host that
//! tells whether it worked. Containers run with setpoint's defaults unless a test says what it adds.

mod bind_targets;
mod capabilities;
mod chroots;
mod core_pattern;
mod descriptors;
mod dev_links;
mod devices;
mod digit_names;
mod groups;
mod interpreters;
mod kernel_folders;
mod masked_paths;
#[cfg(target_arch = "x86_64")]
mod narrow;
mod own_binary;
mod own_users;
mod passwd;
mod pids;
mod planted_tools;
mod proc_root;
mod release_agent;
mod setuid;
mod sockets;
mod sysctls;
mod user_ids;
mod userns;
mod volumes;
mod watchers;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::harness::image::busybox_folder;
use crate::harness::{Host, Ran, tool};

const ALIVE: &str = "the canary is alive";

/// A folder of the host that no container is to change or read.
struct Canary {
    folder: PathBuf,
    secret: PathBuf,
    inode: u64,
}

impl Canary {
    fn new(host: &Host) -> Self {
        let folder = host.dir.join("canary");
        let secret = folder.join("secret");
        fs::create_dir(&folder).unwrap();
        fs::write(&secret, ALIVE).unwrap();
        let inode = fs::metadata(&secret).unwrap().ino();
        Self { folder, secret, inode }
    }

    /// A link in a root file system that leads to the canary when it is followed on the host, however deep the root is.
    fn path_from_below(&self) -> String {
        format!("{}{}", "../".repeat(20), self.folder.strip_prefix("/").unwrap().display())
    }

    #[track_caller]
    fn is_alive(&self) {
        assert_eq!(fs::read_to_string(&self.secret).unwrap(), ALIVE);
        assert_eq!(fs::metadata(&self.secret).unwrap().ino(), self.inode, "it is another file");
        let names: Vec<_> = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["secret"], "something was made beside it");
    }
}

/// An image of busybox that `change` has worked on.
fn image(host: &Host, name: &str, change: impl FnOnce(&Path)) -> String {
    let root = host.dir.join(format!("rootfs-{name}"));
    tool("cp", &["-a", busybox_folder().to_str().unwrap(), root.to_str().unwrap()]);
    change(&root);
    let reference = format!("localhost/{name}:1");
    host.sp(&["import", root.to_str().unwrap(), &reference]).ok();
    reference
}

/// `run --rm` without a network, which most attacks do not need.
fn run(host: &Host, options: &[&str], image: &str, command: &[&str]) -> Ran {
    let common: [&str; 4] = ["run", "--rm", "--network", "none"];
    host.sp(&[&common[..], options, &[image], command].concat())
}

/// The program of `probe.c`, static, for what no shell can try.
fn probe() -> &'static Path {
    static PROBE: OnceLock<PathBuf> = OnceLock::new();
    PROBE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/attacks/probe.c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
        let draft = program.with_extension(std::process::id().to_string());
        let (from, to) = (source.to_str().unwrap(), draft.to_str().unwrap());
        tool("cc", &["-static", "-no-pie", "-O1", "-Wall", "-o", to, from]);
        fs::rename(draft, &program).unwrap();
        program
    })
}

/// An image with the probe as `/probe`.
fn probe_image(host: &Host) -> String {
    image(host, "probe", |root| {
        fs::copy(probe(), root.join("probe")).unwrap();
    })
}
