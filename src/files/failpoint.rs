//! Places where a run can be made to fail, so that tests find out what a failure there leaves behind. In a program that is built for
//! release there are none.
//!
//! `SETPOINT_FAIL=<point>[:<n>]=error|panic|delay|kill` makes the n-th passing of a point fail in that way, once in a process.
//! Standard error says that it was met.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use super::FileError;

/// All points, for tests that try each. Those of steps and of the database are passed many times in one run.
pub const POINTS: [&str; 15] = [
    "step begins",
    "step is done",
    "database before",
    "database after",
    "folders made",
    "start attached",
    "start ordered",
    "links made",
    "names exchanged",
    "alter told",
    "alter attached",
    "alter rewritten",
    "erase begun",
    "bridge made",
    "bridge gone",
];
/// A delay that lets others come between, and is not waited for long.
const DELAY: Duration = Duration::from_millis(300);

struct Order {
    point: String,
    passing: u64,
    how: String,
    passed: AtomicU64,
}

/// Passes a point.
///
/// # Errors
/// When a test wants that, and never in a program that is built for release.
pub fn failpoint(name: &'static str) -> Result<(), FileError> {
    if !cfg!(debug_assertions) {
        return Ok(());
    }
    debug_assert!(POINTS.contains(&name), "{name} is not in the list");
    static ORDER: OnceLock<Option<Order>> = OnceLock::new();
    let order = ORDER.get_or_init(|| parse(&std::env::var("SETPOINT_FAIL").ok()?));
    match order {
        Some(order) if order.point == name && order.passed.fetch_add(1, Ordering::Relaxed) + 1 == order.passing => meet(order),
        _ => Ok(()),
    }
}

fn parse(text: &str) -> Option<Order> {
    let (point, how) = text.rsplit_once('=')?;
    let (point, passing) = point.split_once(':').unwrap_or((point, "1"));
    let passing = passing.parse().ok()?;
    Some(Order { point: point.to_owned(), passing, how: how.to_owned(), passed: AtomicU64::new(0) })
}

#[expect(clippy::print_stderr, reason = "a test reads it, and nobody else ever sees it")]
fn meet(order: &Order) -> Result<(), FileError> {
    eprintln!("failpoint: {}", order.point);
    match order.how.as_str() {
        "kill" => {
            let killed = kill_process(getpid(), Signal::KILL);
            killed.map_err(|e| FileError::new("end the process at", &order.point, e))
        }
        "delay" => {
            std::thread::sleep(DELAY);
            Ok(())
        }
        "panic" => panic!("a test wants a panic at {}", order.point),
        _ => Err(FileError::new("go on after", &order.point, io::Error::other("a test wants a failure here"))),
    }
}
