//! `kill -9` of daemon, monitors and containers in every combination, at random and under load. However they die: how a
//! container ended is recorded or said to be unknown, its policy is honoured, and nothing is left of it.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::crash::Dice;
use crate::harness::{BUSYBOX, Daemon, Host, PATIENCE, leftovers, wait_until};

/// Containers that are hit, over all waves, unless time runs out on a slow machine.
const ROUNDS: u64 = 300;
/// No wave begins later than this.
const ENOUGH: Duration = Duration::from_secs(40);

/// What a container of a wave is created with, and what its policy demands once it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `--restart always`: it runs again.
    Always,
    /// `--restart on-failure`: a kill is no success, so it runs again.
    OnFailure,
    /// No restarts: it is down, and one can see how it ended.
    Never,
    /// `--rm`: it is gone.
    Removed,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Always, Self::OnFailure, Self::Never, Self::Removed];

    const fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Always => &["--restart", "always"],
            Self::OnFailure => &["--restart", "on-failure:5"],
            Self::Never => &["--restart", "no"],
            Self::Removed => &["--rm"],
        }
    }
}

/// A container of a wave, and which of its processes are killed.
#[derive(Debug)]
struct Victim {
    name: String,
    kind: Kind,
    pid: i32,
    monitor: i32,
    hits: Vec<i32>,
}

impl Victim {
    fn lost_its_monitor(&self) -> bool {
        self.hits.contains(&self.monitor)
    }

    /// Whether its state is what has to come of it.
    fn is_settled(&self, state: Option<&Value>) -> bool {
        let phase = state.and_then(|state| state["phase"].as_str());
        match self.kind {
            Kind::Always | Kind::OnFailure => {
                phase == Some("running") && state.is_some_and(|state| state["pid"].as_i64() != Some(self.pid.into()))
            }
            Kind::Removed => state.is_none(),
            Kind::Never => match phase {
                Some("exited") => state.is_some_and(|state| state["code"] == 137 && state["stopped"] == false),
                // Nobody was there to see how it ended, and that is what is said.
                Some("lost") => self.lost_its_monitor(),
                _ => false,
            },
        }
    }
}

/// The states of all containers, by name; `None` while the daemon that was asked is being killed.
fn states(host: &Host) -> Option<BTreeMap<String, Value>> {
    let listed = host.sp(&["ps", "-a", "--json"]);
    if listed.code != 0 {
        return None;
    }
    let listed = listed.json();
    let of = |container: &Value| Some((container["name"].as_str()?.to_owned(), container["state"].clone()));
    listed.as_array()?.iter().map(of).collect()
}

fn parent(pid: i32) -> i32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// A zombie is dead: nobody here is its parent.
fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

/// Starts one container of each kind, twice, that print as fast as they can and are deaf to their stop signal. One of
/// them has an address and a port that must be given back.
fn wave(host: &Host, number: u64, dice: &mut Dice) -> Vec<Victim> {
    let script = "trap '' TERM; while :; do echo 0123456789012345678901234567890123456789; sleep 0.01 & wait; done";
    let kinds: Vec<Kind> = Kind::ALL.into_iter().chain(Kind::ALL).collect();
    let started: Vec<_> = kinds
        .iter()
        .enumerate()
        .map(|(index, kind)| {
            let name = format!("w{number}-{index}");
            let network: &[&str] = if index == 0 { &["-p", "9000:80"] } else { &["--network", "none"] };
            let mut args = vec!["run", "-d", "--name", &name];
            args.extend(kind.flags().iter().chain(network));
            args.extend([BUSYBOX, "sh", "-c", script]);
            let running = host.start(&args);
            (name, *kind, running)
        })
        .collect();
    let mut victims = Vec::new();
    for (name, kind, running) in started {
        running.wait(PATIENCE).ok();
        victims.push((name, kind));
    }
    let states = states(host).unwrap();
    let victim = |(name, kind): (String, Kind)| {
        let pid = i32::try_from(states[&name]["pid"].as_i64().unwrap_or_else(|| panic!("{name}: {states:?}"))).unwrap();
        let monitor = parent(pid);
        // One of the two, or both in either order.
        let hits = match dice.below(4) {
            0 => vec![pid],
            1 => vec![monitor],
            2 => vec![pid, monitor],
            _ => vec![monitor, pid],
        };
        Victim { name, kind, pid, monitor, hits }
    };
    victims.into_iter().map(victim).collect()
}

/// Kills in a random order over all victims, with random pauses, and the daemon somewhere in between when `daemon` is given.
fn strike(victims: &[Victim], daemon: Option<&Daemon>, dice: &mut Dice) {
    let mut queues: Vec<Vec<i32>> = victims.iter().map(|victim| victim.hits.iter().rev().copied().collect()).collect();
    queues.extend(daemon.map(|daemon| vec![i32::try_from(daemon.pid()).unwrap()]));
    while !queues.is_empty() {
        let next = usize::try_from(dice.below(queues.len() as u64)).unwrap();
        match queues[next].pop() {
            // A container dies with its monitor, so the second of the two may have gone already.
            Some(pid) => drop(kill(Pid::from_raw(pid), Signal::SIGKILL)),
            None => drop(queues.swap_remove(next)),
        }
        if dice.below(3) > 0 {
            std::thread::sleep(Duration::from_micros(dice.below(3_000)));
        }
    }
}

fn open_descriptors(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

#[test]
fn whoever_is_killed_the_truth_is_told_and_nothing_is_left() {
    let mut dice = Dice::from_environment();
    let host = Host::new().with_busybox();
    host.write(
        "s/s.yaml",
        &format!(
            "apiVersion: setpoint/v1\nkind: Container\nmetadata: {{name: kept}}\nspec:\n  image: {BUSYBOX}\n  \
             command: [sleep, inf]\n  restart: always\n  network_mode: none\n"
        ),
    );
    let source = host.dir.join("s");
    let mut daemon = host.daemon(&source);
    wait_until("the stack stands", PATIENCE, || host.running_pid("s-kept").is_some());
    let begun = Instant::now();
    let (mut rounds, mut number) = (0u64, 0u64);
    let mut descriptors: Option<usize> = None;
    while rounds < ROUNDS && (number < 4 || begun.elapsed() < ENOUGH) {
        let mut victims = wave(&host, number, &mut dice);
        // The stack's own is hit in every wave: what it needs is in the manifest.
        let pid = host.pid("s-kept");
        let monitor = parent(pid);
        let hits = if number.is_multiple_of(2) { vec![monitor] } else { vec![pid, monitor] };
        victims.push(Victim { name: "s-kept".to_owned(), kind: Kind::Always, pid, monitor, hits });
        // Every second wave takes the daemon too. It is started again, as systemd does.
        let struck = !number.is_multiple_of(2);
        strike(&victims, struck.then_some(&daemon), &mut dice);
        if struck {
            daemon.kill();
            daemon = host.daemon(&source);
            descriptors = None;
        }
        let mut last = None;
        let end = Instant::now() + PATIENCE;
        loop {
            last = states(&host).or(last);
            let open: Vec<_> = match &last {
                Some(states) => victims.iter().filter(|victim| !victim.is_settled(states.get(&victim.name))).collect(),
                None => victims.iter().collect(),
            };
            if open.is_empty() {
                break;
            }
            let said = || daemon.said();
            assert!(Instant::now() < end, "wave {number}: {open:?} stand as {last:?}; the daemon said {}", said());
            std::thread::sleep(Duration::from_millis(10));
        }
        // Whoever waits is told at once, and never kept waiting for what nobody will ever know.
        for victim in victims.iter().filter(|victim| victim.kind == Kind::Never) {
            let waited = host.sp(&["wait", &victim.name]);
            match last.as_ref().and_then(|states| states[&victim.name]["code"].as_i64()) {
                Some(code) => assert_eq!(waited.ok().out(), code.to_string()),
                None => drop(waited.fails_with(1).says(&["monitor"])),
            }
        }
        rounds += victims.len() as u64;
        let names: Vec<&str> = victims.iter().filter(|v| v.kind != Kind::Removed).map(|v| v.name.as_str()).collect();
        let own: Vec<&str> = names.iter().copied().filter(|name| *name != "s-kept").collect();
        host.sp(&[&["rm", "-f"], &own[..]].concat()).ok();
        assert_eq!(host.containers(), ["s-kept"]);
        for victim in &victims[..victims.len() - 1] {
            for pid in [victim.pid, victim.monitor] {
                wait_until("a killed process is gone", PATIENCE, || !is_alive(pid));
            }
        }
        // What is left of the instance is one container: its cgroup, its folders, and nothing that was published.
        let folders = |root: &std::path::Path| fs::read_dir(root.join("containers")).unwrap().count();
        wait_until("only one container's folders are there", PATIENCE, || {
            folders(host.instance.state_dir()) == 1 && folders(host.instance.run_dir()) == 1
        });
        let links = || leftovers::links(&host.instance).into_iter().filter(|name| name.starts_with('v')).count();
        wait_until("no link of a container is there", PATIENCE, || links() == 0);
        if let Some(before) = descriptors {
            // It closes them when it notices, and it is never more than a few at a time.
            wait_until("the daemon has closed what it had open", PATIENCE, || open_descriptors(&daemon) <= before + 8);
        } else {
            descriptors = Some(open_descriptors(&daemon));
        }
        number += 1;
    }
    println!("{rounds} rounds in {number} waves took {:?}", begun.elapsed());
    let pid = host.pid("s-kept");
    daemon.stop();
    assert_eq!(host.pid("s-kept"), pid);
}

#[test]
fn without_a_daemon_the_next_command_clears_up() {
    let host = Host::new().with_busybox();
    let flags: [&[&str]; 2] = [&["--rm"], &["--restart", "always"]];
    for ((name, port), flags) in [("gone", "9001:80"), ("back", "9002:80")].into_iter().zip(flags) {
        host.sp(&[&["run", "-d", "--name", name], flags, &["-p", port, BUSYBOX, "sleep", "inf"]].concat()).ok();
        kill(Pid::from_raw(parent(host.pid(name))), Signal::SIGKILL).unwrap();
        wait_until("it is seen", PATIENCE, || states(&host).unwrap()[name]["phase"] == "lost");
    }
    // A daemon's start is such a command: what is to be removed goes, and what is to run comes back.
    fs::create_dir(host.dir.join("s")).unwrap();
    host.write("s/s.yaml", "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: v}\nspec: {}\n");
    let daemon = host.daemon(&host.dir.join("s"));
    assert_eq!(host.containers(), ["back"]);
    assert!(host.running_pid("back").is_some());
    daemon.stop();
}

#[test]
fn a_foreground_run_whose_monitor_is_killed_says_that_it_does_not_know() {
    let host = Host::new().with_busybox();
    let running = host.start(&["run", "--rm", "--name", "a", BUSYBOX, "sh", "-c", "echo begun; sleep inf"]);
    wait_until("it runs", PATIENCE, || running.stdout().contains("begun"));
    kill(Pid::from_raw(parent(host.pid("a"))), Signal::SIGKILL).unwrap();
    let ran = running.wait(PATIENCE);
    assert!(ran.code != 0 && ran.stderr.contains("monitor"), "{ran:?}");
    assert!(host.containers().is_empty(), "{:?}", host.containers());
}
