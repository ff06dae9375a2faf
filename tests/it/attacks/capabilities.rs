//! Capabilities that nobody asked for: more than the eleven, or some in the sets that programs inherit.

use crate::harness::{BUSYBOX, Host, Running};

const PRINT: [&str; 4] = ["grep", "-E", "^(Cap|NoNewPrivs|Seccomp:)", "/proc/self/status"];

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect(name).trim()
}

#[test]
fn eleven_and_none_to_inherit() {
    let host = Host::new().with_busybox();
    const ELEVEN: &str = "00000000800405fb";
    const NONE: &str = "0000000000000000";
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"];
    // The caller's own inheritable capabilities are the bait.
    let mut lured = host.command(&[]);
    let own = lured.get_program().to_owned();
    lured = {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--inh-caps", "+net_raw,+sys_admin", "--ambient-caps", "+net_raw,+sys_admin"]).arg(own);
        command.args(["run", "--rm", "--network", "none", BUSYBOX]).args(PRINT).current_dir(&host.dir);
        command.env_clear().envs(lured.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    };
    let as_root = Running::spawn(lured).wait(crate::harness::PATIENCE).ok().stdout;
    assert_eq!(sets.map(|set| field(&as_root, set)), [NONE, ELEVEN, ELEVEN, ELEVEN, NONE]);
    assert_eq!((field(&as_root, "NoNewPrivs"), field(&as_root, "Seccomp")), ("1", "2"));

    host.sp(&["run", "-d", "--name", "a", "--network", "none", BUSYBOX, "sleep", "1000"]).ok();
    let exec = host.sp(&[&["exec", "a"][..], &PRINT].concat()).ok().stdout;
    assert_eq!(exec, as_root, "a command of exec may do as much");
    let as_user = host.sp(&[&["exec", "-u", "1000", "a"][..], &PRINT].concat()).ok().stdout;
    assert_eq!(sets.map(|set| field(&as_user, set)), [NONE, NONE, NONE, ELEVEN, NONE]);
}
