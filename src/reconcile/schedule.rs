//! When to look again: a key is woken, and becomes due after a short debounce, or later when its last run failed. Pure
//! over time; knows nothing of what a key is or why it was woken.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// What a run of a key came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is as it should be: look again when woken, or at the next full look.
    AwaitChange,
    /// Something failed: try again, later each time in a row.
    Retry,
}

/// Wake-ups within this time are one.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// So long after a look a key is not looked at again, however often it is woken: on a host where containers come and go all
/// the time, looking shall not take what they need.
const REST: Duration = Duration::from_millis(200);
/// Every key is looked at this often, whatever woke it or not.
pub const FULL_LOOK: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);

/// Deduplicates and delays keys.
///
/// Guarantee: a key is in flight at most once; a wake-up during its run makes it due again after the run.
#[derive(Debug)]
pub struct Schedule<K> {
    keys: HashMap<K, Entry>,
}

#[derive(Debug)]
struct Entry {
    due: Instant,
    /// Wake-ups do not come before this: the rest after a look, or the back-off of a key that failed.
    held_until: Option<Instant>,
    failures: u32,
    in_flight: bool,
    woken_in_flight: bool,
}

impl<K: Eq + Hash + Clone> Default for Schedule<K> {
    fn default() -> Self {
        Self { keys: HashMap::new() }
    }
}

impl<K: Eq + Hash + Clone> Schedule<K> {
    /// Asks for a look at `key`; a new key is known from now on.
    pub fn wake(&mut self, key: K, now: Instant) {
        let entry = self.keys.entry(key).or_insert_with(|| Entry {
            due: now + DEBOUNCE,
            held_until: None,
            failures: 0,
            in_flight: false,
            woken_in_flight: false,
        });
        if entry.in_flight {
            entry.woken_in_flight = true;
        } else {
            let earliest = entry.held_until.map_or(now + DEBOUNCE, |held| held.max(now + DEBOUNCE));
            entry.due = entry.due.min(earliest);
        }
    }

    /// Ends a key's back-off: what it is to be has changed, so its failures no longer say anything.
    pub fn renew(&mut self, key: K, now: Instant) {
        if let Some(entry) = self.keys.get_mut(&key) {
            entry.failures = 0;
            entry.held_until = None;
        }
        self.wake(key, now);
    }

    /// Forgets a key.
    pub fn forget(&mut self, key: &K) {
        self.keys.remove(key);
    }

    /// The keys that are due; they are in flight until [`finished`](Self::finished).
    pub fn take_due(&mut self, now: Instant) -> Vec<K> {
        let mut due = Vec::new();
        for (key, entry) in &mut self.keys {
            if !entry.in_flight && entry.due <= now {
                entry.in_flight = true;
                entry.woken_in_flight = false;
                due.push(key.clone());
            }
        }
        due
    }

    pub fn finished(&mut self, key: &K, verdict: Verdict, now: Instant) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        entry.in_flight = false;
        match verdict {
            Verdict::AwaitChange => {
                entry.failures = 0;
                entry.held_until = Some(now + REST);
                entry.due = now + if entry.woken_in_flight { REST } else { FULL_LOOK };
            }
            Verdict::Retry => {
                let delay = FIRST_RETRY.saturating_mul(1 << entry.failures.min(16)).min(LAST_RETRY);
                entry.failures += 1;
                entry.held_until = Some(now + delay);
                entry.due = now + delay;
            }
        }
    }

    /// When the next key is due; `None` when nothing is scheduled.
    pub fn next(&self) -> Option<Instant> {
        self.keys.values().filter(|entry| !entry.in_flight).map(|entry| entry.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_run_a_key_and_a_wake_during_it_is_not_lost() {
        let mut schedule = Schedule::default();
        let t = Instant::now();
        schedule.wake("a", t);
        schedule.wake("a", t);
        assert!(schedule.take_due(t).is_empty());
        let t = t + DEBOUNCE;
        assert_eq!(schedule.take_due(t), ["a"]);
        schedule.wake("a", t);
        assert!(schedule.take_due(t + FULL_LOOK).is_empty());
        schedule.finished(&"a", Verdict::AwaitChange, t);
        assert_eq!(schedule.next(), Some(t + REST));
        assert_eq!(schedule.take_due(t + REST), ["a"]);
        let t = t + REST;
        schedule.finished(&"a", Verdict::AwaitChange, t);
        assert_eq!(schedule.next(), Some(t + FULL_LOOK));
        schedule.wake("a", t);
        assert_eq!(schedule.next(), Some(t + REST), "it has just been looked at");
        schedule.renew("a", t);
        assert_eq!(schedule.next(), Some(t + DEBOUNCE), "but not for what it is to be now");
    }

    #[test]
    fn failures_back_off_and_a_new_desire_ends_that() {
        let mut schedule = Schedule::default();
        let t = Instant::now();
        schedule.wake("a", t);
        for expected in [1, 2, 4, 8] {
            let due = schedule.next().unwrap();
            assert_eq!(schedule.take_due(due), ["a"]);
            schedule.finished(&"a", Verdict::Retry, due);
            assert_eq!(schedule.next().unwrap() - due, Duration::from_secs(expected));
            schedule.wake("a", due);
            assert_eq!(schedule.next().unwrap() - due, Duration::from_secs(expected));
        }
        schedule.renew("a", t);
        assert_eq!(schedule.next(), Some(t + DEBOUNCE));
    }
}
