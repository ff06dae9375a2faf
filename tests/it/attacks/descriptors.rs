//! Descriptors that somebody left open lead to the host: as a working folder (`/proc/self/fd/N`), or to whoever looks.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::json;

use super::Canary;
use crate::harness::image::{Layout, busybox_folder};
use crate::harness::{BUSYBOX, Host, PATIENCE, Ran, Running};

/// Types a command in a shell that has the canary's folder open as each of the descriptors from 3 to 9.
fn with_open_folders(host: &Host, canary: &Canary, line: &str) -> Ran {
    let like = host.command(&[]);
    let open: String = (3..10).map(|fd| format!("exec {fd}<{}; ", canary.folder.display())).collect();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{open}exec $sp {line}")]).current_dir(&host.dir).env_clear().stdin(Stdio::null());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("sp", like.get_program());
    Running::spawn(command).wait(PATIENCE)
}

#[test]
fn a_working_folder_is_never_a_descriptor() {
    let host = Host::new().with_busybox();
    let canary = Canary::new(&host);
    host.sp(&["run", "-d", "--name", "a", "--network", "none", BUSYBOX, "sleep", "1000"]).ok();
    for number in 3..16 {
        let folder = format!("/proc/self/fd/{number}");
        for line in [
            format!("run --rm --network none -w {folder} {BUSYBOX} ls"),
            format!("run --rm --network none -w {folder}/../.. {BUSYBOX} ls"),
            format!("exec -w {folder} a ls"),
            format!("exec -w {folder}/../.. a ls"),
        ] {
            let ran = with_open_folders(&host, &canary, &line);
            assert!(ran.code != 0 && !ran.stdout.contains("secret"), "{line}: {ran:?}");
        }
    }
    canary.is_alive();
}

#[test]
fn an_image_cannot_ask_for_one_either() {
    let host = Host::new();
    let canary = Canary::new(&host);
    for number in [3, 5, 7, 8, 9] {
        let mut layout = Layout::new(host.dir.join(format!("layout-{number}")));
        layout.add_folder(busybox_folder(), &[]);
        let folder = layout.finish("1", &json!({"WorkingDir": format!("/proc/self/fd/{number}"), "Cmd": ["ls"]}));
        let tar = host.dir.join("image.tar");
        crate::harness::tool("tar", &["-C", folder.to_str().unwrap(), "-cf", tar.to_str().unwrap(), "."]);
        let loaded = host.sp(&["load", "-q", "-i", tar.to_str().unwrap()]).ok();
        let image = loaded.out().rsplit(' ').next().unwrap();
        let ran = with_open_folders(&host, &canary, &format!("run --rm --network none {image}"));
        assert!(ran.code == 125 && ran.stdout.is_empty() && !ran.stderr.contains("pull"), "{ran:?}");
        // It is not for another reason that it does not run.
        with_open_folders(&host, &canary, &format!("run --rm --network none -w / {image} ls")).ok();
    }
    canary.is_alive();
}

#[test]
fn what_the_caller_has_open_is_not_in_the_container() {
    let host = Host::new().with_busybox();
    let canary = Canary::new(&host);
    let list = "sh -c 'ls -l /proc/self/fd /proc/1/fd'";
    with_open_folders(&host, &canary, &format!("run -d --name a --network none {BUSYBOX} sleep 1000")).ok();
    for line in [format!("run --rm --network none {BUSYBOX} {list}"), format!("exec a {list}")] {
        let ran = with_open_folders(&host, &canary, &line).ok();
        assert!(!ran.stdout.contains("canary"), "{}", ran.stdout);
    }
    let open = fs::read_dir(format!("/proc/{}/fd", host.pid("a"))).unwrap().flatten();
    let open: Vec<_> = open.map(|fd| fd.file_name().into_string().unwrap()).collect();
    assert_eq!(open, ["0", "1", "2"]);
}
