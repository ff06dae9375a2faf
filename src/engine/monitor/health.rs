//! When a container's health is checked, and what the results come to. Pure: time is handed in. The rules are Docker's.

use std::time::{Duration, Instant};

use crate::model::spec::Healthcheck;
use crate::observed::Health;

/// The health of one run of a container.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    start_interval: Duration,
    start_period: Duration,
    retries: u32,
    /// The startup probe, until it has succeeded.
    startup: Option<Startup>,
    /// When the container started, or when its startup probe said that it had.
    started: Instant,
    next: Instant,
    health: Health,
    failing: u32,
}

#[derive(Clone, Copy, Debug)]
struct Startup {
    interval: Duration,
    retries: u32,
}

impl Schedule {
    /// The schedule, from `now` on, of a run that began at `began`.
    pub(crate) fn new(check: &Healthcheck, began: Instant, now: Instant) -> Self {
        let mut schedule = Self {
            interval: check.interval.0,
            start_interval: check.start_interval.0,
            start_period: check.start_period.0,
            retries: check.retries.max(1),
            startup: check.startup.as_ref().map(|s| Startup { interval: s.interval.0, retries: s.retries.max(1) }),
            started: began,
            next: now,
            health: Health::Starting,
            failing: 0,
        };
        schedule.plan(now);
        schedule
    }

    /// When the next check is due.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// Whether the startup probe is what is due.
    pub(crate) const fn starts_up(&self) -> bool {
        self.startup.is_some()
    }

    pub(crate) const fn health(&self) -> Health {
        self.health
    }

    /// Failed checks in a row.
    pub(crate) const fn failing(&self) -> u32 {
        self.failing
    }

    /// Takes in the result of a check that began at `began` and ended at `now`.
    pub(crate) fn result(&mut self, well: bool, began: Instant, now: Instant) {
        if let Some(startup) = self.startup {
            if well {
                // It is only now that it counts as started.
                (self.startup, self.started, self.failing, self.health) = (None, now, 0, Health::Starting);
            } else {
                self.fail(startup.retries);
            }
        } else if well {
            self.failing = 0;
            self.health = Health::Healthy;
        } else if !(self.health == Health::Starting && began.saturating_duration_since(self.started) < self.start_period) {
            self.fail(self.retries);
        }
        self.plan(now);
    }

    const fn fail(&mut self, retries: u32) {
        self.failing += 1;
        if self.failing >= retries {
            self.health = Health::Unhealthy;
        }
    }

    fn plan(&mut self, now: Instant) {
        let starting = self.health == Health::Starting && now.duration_since(self.started) < self.start_period;
        let pause = match self.startup {
            Some(startup) => startup.interval,
            None if starting => self.start_interval,
            None => self.interval,
        };
        // A zero would check without a pause.
        self.next = now + pause.max(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::model::spec::Probe;

    fn check() -> Healthcheck {
        Healthcheck {
            interval: Span::seconds(30),
            timeout: Span::seconds(5),
            retries: 3,
            start_period: Span::seconds(20),
            start_interval: Span::seconds(2),
            ..Healthcheck::new(Probe::Shell("true".into()))
        }
    }

    #[test]
    fn failures_count_after_the_start_period() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let mut schedule = Schedule::new(&check(), zero, zero);
        assert_eq!((schedule.next(), schedule.health()), (at(2), Health::Starting));
        schedule.result(false, at(2), at(3));
        assert_eq!((schedule.next(), schedule.failing(), schedule.health()), (at(5), 0, Health::Starting));
        // Begun within the period, so it does not count, though it ends after it.
        schedule.result(false, at(19), at(24));
        assert_eq!((schedule.next(), schedule.failing()), (at(54), 0));
        for (n, health) in [(1, Health::Starting), (2, Health::Starting), (3, Health::Unhealthy), (4, Health::Unhealthy)] {
            schedule.result(false, at(30 + n), at(30 + n));
            assert_eq!((schedule.health(), u64::from(schedule.failing())), (health, n));
        }
        schedule.result(true, at(60), at(60));
        assert_eq!((schedule.next(), schedule.health(), schedule.failing()), (at(90), Health::Healthy, 0));
    }

    #[test]
    fn one_success_ends_the_start_period() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let mut schedule = Schedule::new(&check(), zero, zero);
        schedule.result(true, at(2), at(2));
        assert_eq!((schedule.health(), schedule.next()), (Health::Healthy, at(32)));
        schedule.result(false, at(4), at(4));
        assert_eq!((schedule.health(), schedule.failing()), (Health::Healthy, 1));
    }

    #[test]
    fn without_a_start_period_the_interval_rules() {
        let zero = Instant::now();
        let mut plain = check();
        plain.start_period = Span::default();
        assert_eq!(Schedule::new(&plain, zero, zero).next(), zero + Duration::from_secs(30));
    }

    #[test]
    fn nothing_counts_before_the_startup_probe_has_succeeded() {
        use crate::model::spec::Startup;
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let mut check = check();
        check.startup = Some(Startup { interval: Span::seconds(1), retries: 3, ..Startup::new(Probe::Shell("ready".into())) });
        let mut schedule = Schedule::new(&check, zero, zero);
        assert!(schedule.starts_up());
        schedule.result(false, at(1), at(1));
        schedule.result(false, at(2), at(2));
        assert_eq!((schedule.next(), schedule.failing(), schedule.health()), (at(3), 2, Health::Starting));
        // Late, but in time: its start period begins now.
        schedule.result(true, at(100), at(100));
        assert!(!schedule.starts_up());
        assert_eq!((schedule.next(), schedule.failing(), schedule.health()), (at(102), 0, Health::Starting));
        schedule.result(false, at(102), at(102));
        assert_eq!((schedule.next(), schedule.failing()), (at(104), 0));
        schedule.result(true, at(104), at(104));
        assert_eq!(schedule.health(), Health::Healthy);

        let mut never = Schedule::new(&check, zero, zero);
        for second in 1..=3 {
            never.result(false, at(second), at(second));
        }
        assert_eq!((never.health(), never.starts_up()), (Health::Unhealthy, true));
        // It goes on trying: that it never starts was too early a word.
        never.result(true, at(9), at(9));
        assert_eq!(never.health(), Health::Starting);
    }

    #[test]
    fn a_changed_check_has_the_start_period_of_the_run() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let mut schedule = Schedule::new(&check(), zero, at(60));
        assert_eq!(schedule.next(), at(90));
        schedule.result(false, at(90), at(90));
        assert_eq!(schedule.failing(), 1);
    }
}
