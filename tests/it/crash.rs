//! `kill -9` at any moment, then apply again: the stack converges, once, and nothing is left over. The moments are drawn
//! from a seed that is printed, and `SETPOINT_TEST_SEED` draws the same again.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{BUSYBOX, Host, PATIENCE, leftovers, wait_until};

/// A generator of our own (SplitMix64), because a repeated run must draw the same on every version of every crate.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn from_environment() -> Self {
        let seed = std::env::var("SETPOINT_TEST_SEED").map_or(20_261_123, |text| text.parse().unwrap());
        println!("SETPOINT_TEST_SEED={seed}");
        Self(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// A stack of three containers on two networks; each edition recreates what differs from the one before.
fn write_stack(host: &Host, edition: u64) {
    let mut text = String::new();
    for network in ["one", "two"] {
        text += &format!("apiVersion: setpoint/v1\nkind: Network\nmetadata: {{name: {network}}}\nspec: {{}}\n---\n");
    }
    text += "apiVersion: setpoint/v1\nkind: Volume\nmetadata: {name: data}\nspec: {}\n";
    // The third container is there in every second edition only.
    for i in 0..if edition.is_multiple_of(2) { 3 } else { 2 } {
        text += &format!(
            "---
apiVersion: setpoint/v1
kind: Container
metadata: {{name: c{i}}}
spec:
  image: {BUSYBOX}
  command: [sleep, inf]
  environment: {{EDITION: \"{}\"}}
  volumes: [\"data:/data\"]
  networks: [one, two]
  ports: [\"{}:80\"]
  restart: always
  stop_grace_period: 0s
",
            if i == 0 { 0 } else { edition },
            9000 + i
        );
    }
    host.write("s/s.yaml", &text);
}

fn expected(edition: u64) -> Vec<&'static str> {
    if edition.is_multiple_of(2) { vec!["s-c0", "s-c1", "s-c2"] } else { vec!["s-c0", "s-c1"] }
}

/// The stack stands as its newest edition says, and the kernel has exactly that.
#[track_caller]
fn stands(host: &Host, edition: u64) {
    assert_eq!(host.containers(), expected(edition), "edition {edition}: containers");
    assert_eq!(host.running(), expected(edition), "edition {edition}: running");
    for name in &expected(edition)[1..] {
        let ran = host.sp(&["exec", name, "sh", "-c", "echo $EDITION"]).ok();
        assert_eq!(ran.out(), edition.to_string(), "{name}");
    }
    let links = leftovers::links(&host.instance);
    let count = 2 + 2 * expected(edition).len();
    assert_eq!(links.len(), count, "edition {edition}: two bridges and two links a container, not {links:?}");
    let folders = fs::read_dir(host.instance.state_dir().join("containers")).unwrap().count();
    assert_eq!(folders, expected(edition).len(), "edition {edition}: folders of containers");
    let folders = fs::read_dir(host.instance.run_dir().join("containers")).unwrap().count();
    assert_eq!(folders, expected(edition).len(), "edition {edition}: run-time folders of containers");
}

/// How many applies are killed; `SETPOINT_TEST_KILLS` says another number.
const KILLS: u64 = 40;

#[test]
fn a_killed_apply_is_finished_by_the_next() {
    let mut dice = Dice::from_environment();
    let host = Host::new().with_busybox();
    let folder = host.dir.join("s").to_str().unwrap().to_owned();
    write_stack(&host, 0);
    let start = std::time::Instant::now();
    host.sp(&["apply", &folder]).ok();
    let span = u64::try_from(start.elapsed().as_micros()).unwrap();
    stands(&host, 0);
    let first = host.pid("s-c0");
    let wanted: u64 = std::env::var("SETPOINT_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let (mut killed, mut edition) = (0, 0);
    while killed < wanted {
        edition += 1;
        write_stack(&host, edition);
        // Some are killed twice in a row, so that what the second finds half-made was left by the first.
        for _ in 0..=dice.below(2) {
            let mut apply = host.start(&["apply", &folder]);
            std::thread::sleep(Duration::from_micros(dice.below(span)));
            if !apply.has_ended() {
                apply.signal(Signal::SIGKILL);
                killed += 1;
            }
            drop(apply);
        }
        host.sp(&["apply", &folder]).ok();
        stands(&host, edition);
        host.sp(&["plan", &folder]).ok();
    }
    println!("{killed} killed, {edition} editions");
    assert_eq!(host.pid("s-c0"), first, "what never changed was never restarted");
    // And in the middle of taking it all down.
    let destroy = host.start(&["destroy", &folder]);
    std::thread::sleep(Duration::from_micros(dice.below(span)));
    drop(destroy);
    host.sp(&["destroy", &folder]).ok();
    assert!(host.containers().is_empty());
    assert_eq!(leftovers::links(&host.instance), Vec::<String>::new());
}

#[test]
fn a_killed_daemon_is_resumed_by_the_next() {
    let mut dice = Dice::from_environment();
    let host = Host::new().with_busybox();
    write_stack(&host, 0);
    let source = host.dir.join("s");
    host.daemon(&source).stop();
    for edition in 1..=15 {
        let daemon = host.daemon(&source);
        write_stack(&host, edition);
        std::thread::sleep(Duration::from_millis(dice.below(1500)));
        daemon.kill();
    }
    let daemon = host.daemon(&source);
    wait_until("the stack stands", PATIENCE, || host.sp(&["plan", source.to_str().unwrap()]).code == 0);
    stands(&host, 15);
    daemon.stop();
}

#[test]
fn a_killed_run_leaves_nothing_half_made() {
    let mut dice = Dice::from_environment();
    let host = Host::new().with_busybox();
    for i in 0..20 {
        let name = format!("c{i}");
        let run = host.start(&["run", "--rm", "-d", "--name", &name, "-p", "9000:80", BUSYBOX, "sleep", "inf"]);
        std::thread::sleep(Duration::from_micros(dice.below(150_000)));
        drop(run);
        // Whether it was killed before it had started or after: it can be removed, and its name and port are free again.
        let ran = host.sp(&["rm", "-f", &name]);
        assert!(ran.code == 0 || ran.stderr.contains(&name), "{ran:?}");
        assert!(host.containers().is_empty(), "{:?}", host.containers());
        host.sp(&["run", "--rm", "--name", &name, "-p", "9000:80", BUSYBOX, "true"]).ok();
    }
    let folders = fs::read_dir(host.instance.run_dir().join("containers")).unwrap().count();
    assert_eq!(folders, 0, "run-time folders of containers");
}
