//! Groups of whoever calls, `disk` or `docker` perhaps, must not be those of the container's processes.

use std::process::{Command, Stdio};

use crate::harness::{BUSYBOX, Host, PATIENCE, Running};

fn as_member(host: &Host, args: &[&str]) -> String {
    let like = host.command(args);
    let mut command = Command::new("setpriv");
    command.args(["--groups", "4,6,24,998"]).arg(like.get_program()).args(args);
    command.current_dir(&host.dir).env_clear().stdin(Stdio::null());
    command.envs(like.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Running::spawn(command).wait(PATIENCE).ok().stdout
}

#[test]
fn supplementary_groups_are_the_users_own() {
    let host = Host::new().with_busybox();
    as_member(&host, &["run", "-d", "--name", "a", "--network", "none", BUSYBOX, "sleep", "1000"]);
    let print = ["grep", "^Groups", "/proc/self/status"];
    for (user, expected) in [("0", "0"), ("1000", "0"), ("1000:7", "7"), ("nobody", "65534")] {
        let run = [&["run", "--rm", "--network", "none", "-u", user, BUSYBOX][..], &print].concat();
        let exec = [&["exec", "-u", user, "a"][..], &print].concat();
        for args in [run, exec] {
            let printed = as_member(&host, &args);
            assert_eq!(printed.trim_start_matches("Groups:").trim(), expected, "{args:?}");
        }
    }
}
