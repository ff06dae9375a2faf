//! What flows between a user's terminal or script and a container: nothing of it is lost, nothing of the caller's is kept.

use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use setpoint::sys::pty;

use crate::harness::{BUSYBOX, Host, PATIENCE, Running, leftovers, wait_until};

/// A shell that finds the program as `$sp`, in the host's instance.
fn shell(host: &Host, script: &str) -> Command {
    let like = host.command(&[]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).current_dir(&host.dir).env_clear().stdin(Stdio::null());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("sp", like.get_program());
    command
}

#[test]
fn what_a_caller_has_open_is_not_kept() {
    let host = Host::new().with_busybox();
    host.write(
        "stack/a.yaml",
        "apiVersion: setpoint/v1\nkind: Container\nmetadata: {name: a}\nspec:\n  image: localhost/busybox:1\n  \
         command: [sleep, \"1000\"]\n",
    );
    let held = host.dir.join("held");
    // The pipe of `cat` ends only when nobody has its other end any more.
    let script = "exec 9>held; $sp apply stack | cat && $sp run -d --name b localhost/busybox:1 sleep 1000 | cat";
    Running::spawn(shell(&host, script)).wait(PATIENCE).ok().says(&["container/a"]);
    let mut looked = Vec::new();
    let mut pids: Vec<i32> = leftovers::processes(&host.instance).into_iter().map(|(pid, _)| pid).collect();
    pids.extend([host.pid("a"), host.pid("b")]);
    for pid in pids {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let open: Vec<_> = open.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        assert!(!open.contains(&held), "{pid} has {} open: {open:?}", held.display());
        looked.push(pid);
    }
    // Two monitors, two containers and the name server at least.
    assert!(looked.len() >= 5, "{looked:?}");
}

#[test]
fn a_slow_reader_of_a_foreground_run_misses_nothing() {
    let host = Host::new().with_busybox();
    // More than the bounds of a log.
    let script = "$sp run --rm localhost/busybox:1 sh -c 'seq 1 9000000' | (sleep 1; sha256sum); seq 1 9000000 | sha256sum";
    let ran = Running::spawn(shell(&host, script)).wait(PATIENCE).ok();
    let sums: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!((sums.len(), sums[0]), (2, sums[1]), "{}", ran.stderr);
}

#[test]
fn output_without_a_line_break_is_seen_at_once_and_streams_stay_apart() {
    let host = Host::new().with_busybox();
    let script = "printf 'name? '; printf oops >&2; exec sleep 1000";
    let running = host.start(&["run", "--rm", "--name", "asks", BUSYBOX, "sh", "-c", script]);
    wait_until("the prompt", PATIENCE, || running.stdout() == "name? " && running.stderr() == "oops");
    host.sp(&["kill", "asks"]).ok();
    assert_eq!(running.wait(PATIENCE).code, 137);
    assert!(host.containers().is_empty());
}

#[test]
fn the_exit_code_of_a_short_run_is_never_lost() {
    let host = Host::new().with_busybox();
    for round in 0..25 {
        let code = 1 + round % 7;
        let ran = host.sp(&["run", "--rm", "--network", "none", BUSYBOX, "sh", "-c", &format!("echo {round}; exit {code}")]);
        assert_eq!((ran.code, ran.stdout.as_str()), (code, format!("{round}\n").as_str()), "{}", ran.stderr);
    }
    assert!(host.containers().is_empty());
}

#[test]
fn a_command_on_a_terminal_knows_its_name_and_size() {
    let host = Host::new().with_busybox();
    host.sp(&["run", "-d", "--name", "a", BUSYBOX, "sleep", "1000"]).ok();
    let pty::Pty { controller, terminal } = pty::open().unwrap();
    pty::resize(&controller, 33, 101).unwrap();
    // The new size goes its own way and takes its time, so the command looks until it is there; or gives up, a minute later.
    let script = "tty; stty size; read -r _; for _ in $(seq 600); do [ \"$(stty size)\" != '20 70' ] || break; sleep 0.1; \
                  done; stty size; exit 5";
    let exec = host.command(&["exec", "-it", "a", "sh", "-c", script]);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(exec.get_program()).args(exec.get_args()).current_dir(&host.dir);
    command.env_clear().envs(exec.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let stream = || Stdio::from(terminal.try_clone().unwrap());
    let mut child = command.process_group(0).stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
    drop((terminal, command));
    let mut screen = fs::File::from(controller.try_clone().unwrap());
    let mut seen = String::new();
    let mut see = |what: &str| {
        let mut block = [0; 1024];
        while !seen.contains(what) {
            let count = screen.read(&mut block).unwrap();
            seen.push_str(&String::from_utf8_lossy(&block[..count]));
        }
    };
    see("/dev/pts/");
    see("33 101\r\n");
    pty::resize(&controller, 20, 70).unwrap();
    rustix::io::write(&controller, b"\r").unwrap();
    see("20 70\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}
