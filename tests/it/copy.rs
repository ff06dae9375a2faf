//! `cp`, as people type it, and as containers that exchange folders for links under it would like to have it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::harness::{BUSYBOX, Host, PATIENCE, Running, tool, wait_until};

/// A folder of the host with something of each kind.
fn source(host: &Host) -> PathBuf {
    let folder = host.dir.join("src");
    fs::create_dir_all(folder.join("inner")).unwrap();
    fs::write(folder.join("file"), "content\n").unwrap();
    fs::set_permissions(folder.join("file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(folder.join("inner/deep"), vec![7; 300_000]).unwrap();
    symlink("file", folder.join("link")).unwrap();
    folder
}

#[test]
fn files_and_folders_go_both_ways() {
    let host = Host::new().with_busybox();
    source(&host);
    host.sp(&["run", "-d", "--name", "run", "-u", "7:7", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["create", "--name", "still", BUSYBOX, "sh", "-c", "cat /new/file; cat /f"]).ok();
    for name in ["run", "still"] {
        let inside = |path: &str| format!("{name}:{path}");
        host.sp(&["cp", "src", &inside("/new")]).ok();
        host.sp(&["cp", "src", &inside("/new")]).ok();
        host.sp(&["cp", "src/.", &inside("/tmp/")]).ok();
        host.sp(&["cp", "src/file", &inside("/f")]).ok();
        host.sp(&["cp", "src/file", &inside("tmp")]).ok();
        host.sp(&["container", "cp", &inside("/new"), "back"]).ok();
        host.sp(&["cp", &inside("/new/."), "flat"]).ok();
        host.sp(&["cp", &inside("/f"), "back/f"]).ok();
        let back = host.dir.join("back");
        assert_eq!(fs::read(back.join("src/inner/deep")).unwrap(), vec![7; 300_000], "the second time it goes into it");
        assert_eq!(fs::read_to_string(back.join("f")).unwrap(), "content\n");
        assert_eq!(fs::read_link(back.join("link")).unwrap(), Path::new("file"));
        let file = fs::metadata(host.dir.join("flat/file")).unwrap();
        assert_eq!((file.mode() & 0o7777, file.uid()), (0o640, 0));
        for folder in ["back", "flat"] {
            fs::remove_dir_all(host.dir.join(folder)).unwrap();
        }
        for (args, why) in [
            (vec!["cp".to_owned(), "src".into(), inside("/f")], "none"),
            (vec!["cp".to_owned(), "src/file".into(), inside("/nowhere/f")], "not there"),
            (vec!["cp".to_owned(), "src/file".into(), inside("/nowhere/")], "to be a folder"),
            (vec!["cp".to_owned(), inside("/nowhere"), "x".into()], "nothing at"),
            (vec!["cp".to_owned(), "nowhere".into(), inside("/")], "nothing at"),
            (vec!["cp".to_owned(), inside("/f"), inside("/g")], "not supported"),
            (vec!["cp".to_owned(), "src".into(), "dst".into()], "CONTAINER:PATH"),
        ] {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            host.sp(&args).fails_with(1).says(&[why]);
        }
    }
    assert_eq!(host.sp(&["exec", "run", "cat", "/tmp/inner/deep"]).ok().stdout.len(), 300_000);
    // What was copied into one that had never been started is there when it starts.
    assert_eq!(host.sp(&["start", "-a", "still"]).ok().stdout, "content\ncontent\n");
}

#[test]
fn archives_stream_and_owners_are_kept_where_that_is_asked() {
    let host = Host::new().with_busybox();
    let folder = source(&host);
    tool("chown", &["1234:5678", folder.join("file").to_str().unwrap()]);
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sleep", "1000"]).ok();
    let owner = |path: &str| host.sp(&["exec", "c", "stat", "-c", "%u:%g", path]).ok().out().to_owned();
    host.sp(&["cp", "src", "c:/plain"]).ok();
    host.sp(&["cp", "-a", "src", "c:/kept"]).ok();
    assert_eq!((owner("/plain/file"), owner("/kept/file")), ("0:0".to_owned(), "1234:5678".to_owned()));
    host.sp(&["cp", "-a", "c:/kept", "kept"]).ok();
    assert_eq!(fs::metadata(host.dir.join("kept/file")).unwrap().uid(), 1234);

    // Out as a tar that others read, and in as one that others write.
    let tar = host.dir.join("out.tar");
    let mut command = host.command(&["cp", "c:/kept", "-"]);
    assert!(command.stdout(fs::File::create(&tar).unwrap()).status().unwrap().success());
    let listed = tool("tar", &["-tf", tar.to_str().unwrap()]);
    for name in ["kept/", "kept/file", "kept/inner/deep", "kept/link"] {
        assert!(listed.lines().any(|line| line == name), "{listed}");
    }
    tool("tar", &["-C", host.dir.to_str().unwrap(), "-cf", tar.to_str().unwrap(), "src"]);
    host.sp(&["exec", "c", "mkdir", "/in"]).ok();
    let mut command = host.command(&["cp", "-", "c:/in"]);
    command.stdin(fs::File::open(&tar).unwrap());
    Running::spawn(command).wait(PATIENCE).ok();
    assert_eq!(host.sp(&["exec", "c", "cat", "/in/src/file"]).ok().stdout, "content\n");
    let mut command = host.command(&["cp", "-", "c:/nowhere"]);
    command.stdin(fs::File::open(&tar).unwrap());
    Running::spawn(command).wait(PATIENCE).fails_with(1).says(&["nothing at"]);
    host.feed(&["cp", "-", "c:/in"], &[b'x'; 2048]).wait(PATIENCE).fails_with(1).says(&["archive"]);
    // An archive that is refused in its middle is heard of, however much is still to come.
    fs::write(host.dir.join("large"), vec![0; 8 << 20]).unwrap();
    host.sp(&["exec", "c", "mkdir", "-p", "/blocked/large"]).ok();
    host.sp(&["cp", "large", "c:/blocked/"]).fails_with(1).says(&["large"]);
    let mut broken = host.command(&["cp", "c:/kept", "-"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(broken.stdout.take());
    assert_eq!(broken.wait().unwrap().code(), Some(0), "a reader that has gone is no failure");
}

#[test]
fn links_are_followed_where_that_is_asked_and_volumes_are_seen() {
    let host = Host::new().with_busybox();
    source(&host);
    let given = host.dir.join("given");
    fs::create_dir(&given).unwrap();
    fs::write(given.join("of-host"), "bound\n").unwrap();
    let bind = format!("{}:/given:ro", given.display());
    let run = ["create", "--name", "c", "-v", "data:/data", "-v", &bind, BUSYBOX, "sleep", "1000"];
    host.sp(&run).ok();
    for state in ["still", "running"] {
        host.sp(&["cp", "src/file", "c:/data/"]).ok();
        host.sp(&["cp", "c:/data/file", "from-volume"]).ok();
        host.sp(&["cp", "c:/given/of-host", "from-bind"]).ok();
        assert_eq!(fs::read_to_string(host.dir.join("from-volume")).unwrap(), "content\n", "{state}");
        assert_eq!(fs::read_to_string(host.dir.join("from-bind")).unwrap(), "bound\n", "{state}");
        host.sp(&["cp", "src/file", "c:/given/"]).fails_with(1).says(&["Read-only"]);
        assert_eq!(fs::read_dir(&given).unwrap().count(), 1);
        host.sp(&["start", "c"]).ok();
    }
    host.sp(&["cp", "src/link", "c:/tmp/as-link"]).ok();
    host.sp(&["cp", "-L", "src/link", "c:/tmp/as-file"]).ok();
    let kinds = host.sp(&["exec", "c", "stat", "-c", "%F", "/tmp/as-link", "/tmp/as-file"]).ok();
    assert_eq!(kinds.out(), "symbolic link\nregular file");
    host.sp(&["exec", "c", "ln", "-s", "/data/file", "/tmp/out"]).ok();
    host.sp(&["cp", "c:/tmp/out", "as-link"]).ok();
    host.sp(&["cp", "-L", "c:/tmp/out", "as-file"]).ok();
    assert_eq!(fs::read_link(host.dir.join("as-link")).unwrap(), Path::new("/data/file"));
    assert_eq!(fs::read_to_string(host.dir.join("as-file")).unwrap(), "content\n");
    // What the kernel makes up has no size that an archive could begin with; devices are not for the host.
    host.sp(&["cp", "c:/proc/version", "x"]).fails_with(1).says(&["kernel"]);
    host.sp(&["cp", "c:/dev/null", "x"]).fails_with(1).says(&["device"]);
    host.sp(&["run", "-d", "--name", "ro", "--read-only", BUSYBOX, "sleep", "1000"]).ok();
    host.sp(&["cp", "src/file", "ro:/"]).fails_with(1).says(&["Read-only"]);
}

/// Exchanges two paths as fast as it can until it is told to stop.
struct Swapper {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Swapper {
    fn start(one: PathBuf, other: PathBuf) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut swaps = 0;
            while !stopped.load(Ordering::Relaxed) {
                renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        Self { stop, thread: Some(thread) }
    }

    fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// So many copies each way, as the issue that asks for this says.
const ROUNDS: usize = 500;

#[test]
fn no_exchanged_link_leads_a_copy_to_the_host() {
    let host = Host::new().with_busybox();
    // What must not be read, and not be written into: at the same path in the container there is something else.
    let canary = host.dir.join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "of the host").unwrap();
    fs::write(host.dir.join("sent"), "sent").unwrap();
    let inner = canary.display();
    let script = format!(
        "mkdir -p {inner} /work/place; echo -n inside >{inner}/file; ln -s {inner} /work/link; \
         echo -n inside >/work/place/file; sleep 10000"
    );
    host.sp(&["run", "-d", "--name", "c", BUSYBOX, "sh", "-c", &script]).ok();
    wait_until("it is ready", PATIENCE, || host.sp(&["exec", "c", "cat", "/work/place/file"]).stdout == "inside");
    let work = PathBuf::from(format!("/proc/{}/root/work", host.pid("c")));
    let swapper = Swapper::start(work.join("place"), work.join("link"));
    let (mut came, mut went) = (0, 0);
    for round in 0..ROUNDS {
        let out = host.dir.join("out");
        if host.sp(&["cp", "c:/work/place/file", "out"]).code == 0 {
            assert_eq!(fs::read_to_string(&out).unwrap(), "inside", "round {round}");
            fs::remove_file(&out).unwrap();
            came += 1;
        }
        went += usize::from(host.sp(&["cp", "sent", &format!("c:/work/place/new-{}", round % 3)]).code == 0);
    }
    let swaps = swapper.stop();
    // A copy that met an exchange may fail, but not all of them do.
    assert!(came > ROUNDS / 2 && went > ROUNDS / 2 && swaps > 1000, "{came} came, {went} went, {swaps} exchanges");
    let names: Vec<_> = fs::read_dir(&canary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"]);
    assert_eq!(fs::read_to_string(canary.join("file")).unwrap(), "of the host");
}

/// `cap_net_bind_service=ep`, as the kernel keeps it.
const CAPABLE: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn attributes_and_bits_go_along_where_that_is_safe() {
    use rustix::fs::{XattrFlags, getxattr, setxattr};
    let host = Host::new().with_busybox();
    let program = host.dir.join("program");
    fs::copy("/bin/busybox", &program).unwrap();
    setxattr(&program, "user.note", b"kept", XattrFlags::empty()).unwrap();
    setxattr(&program, "security.capability", &CAPABLE, XattrFlags::empty()).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o6755)).unwrap();
    fs::copy("/bin/busybox", host.dir.join("theirs")).unwrap();
    std::os::unix::fs::chown(host.dir.join("theirs"), Some(7), Some(8)).unwrap();
    fs::set_permissions(host.dir.join("theirs"), fs::Permissions::from_mode(0o6755)).unwrap();
    let attribute = |path: &Path, name: &str| {
        let mut value = [0; 64];
        getxattr(path, name, &mut value[..]).ok().map(|length| value[..length].to_vec())
    };
    let about = |name: &str| {
        let path = host.dir.join(name);
        let mode = fs::metadata(&path).unwrap().mode() & 0o7777;
        (mode, attribute(&path, "user.note").is_some(), attribute(&path, "security.capability"))
    };
    crate::own_users::give(&host, "setpoint:1300000000:65536");
    for (users, name) in [("host", "plain"), ("auto", "own")] {
        host.sp(&["run", "-d", "--name", name, "--userns", users, BUSYBOX, "sleep", "1000"]).ok();
        // Into a container: the host trusts itself, and a bit means who owns the file.
        host.sp(&["cp", "program", &format!("{name}:/program")]).ok();
        host.sp(&["cp", "theirs", &format!("{name}:/theirs")]).ok();
        let listed = ["exec", name, "stat", "-c", "%a %u:%g", "/program", "/theirs"];
        assert_eq!(host.sp(&listed).ok().out(), "6755 0:0\n755 0:0");
        // Out of one: only where all is asked for.
        host.sp(&["cp", &format!("{name}:/program"), "out"]).ok();
        assert_eq!(about("out"), (0o755, true, None), "{name}");
        host.sp(&["cp", "-a", &format!("{name}:/program"), "all"]).ok();
        assert_eq!(about("all"), (0o6755, true, Some(CAPABLE.to_vec())), "{name}");
        // The very same when it does not run.
        host.sp(&["stop", "-t", "0", name]).ok();
        host.sp(&["cp", "-a", &format!("{name}:/program"), "still"]).ok();
        assert_eq!(about("still"), about("all"), "{name}");
        for file in ["out", "all", "still"] {
            fs::remove_file(host.dir.join(file)).unwrap();
        }
    }
}
