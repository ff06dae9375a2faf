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
    started: Instant,
    next: Instant,
    health: Health,
    failing: u32,
}

impl Schedule {
    /// The schedule of a run that began at `now`.
    pub(crate) fn new(check: &Healthcheck, now: Instant) -> Self {
        let mut schedule = Self {
            interval: check.interval.0,
            start_interval: check.start_interval.0,
            start_period: check.start_period.0,
            retries: check.retries.max(1),
            started: now,
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

    pub(crate) const fn health(&self) -> Health {
        self.health
    }

    /// Failed checks in a row.
    pub(crate) const fn failing(&self) -> u32 {
        self.failing
    }

    /// Takes in the result of a check that began at `began` and ended at `now`.
    pub(crate) fn result(&mut self, well: bool, began: Instant, now: Instant) {
        if well {
            self.failing = 0;
            self.health = Health::Healthy;
        } else if !(self.health == Health::Starting && began.duration_since(self.started) < self.start_period) {
            self.failing += 1;
            if self.failing >= self.retries {
                self.health = Health::Unhealthy;
            }
        }
        self.plan(now);
    }

    fn plan(&mut self, now: Instant) {
        let starting = self.health == Health::Starting && now.duration_since(self.started) < self.start_period;
        // A zero would check without a pause.
        let pause = if starting { self.start_interval } else { self.interval }.max(Duration::from_millis(1));
        self.next = now + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;
    use crate::model::spec::Probe;

    fn check() -> Healthcheck {
        Healthcheck {
            test: Probe::Shell("true".into()),
            interval: Span::seconds(30),
            timeout: Span::seconds(5),
            retries: 3,
            start_period: Span::seconds(20),
            start_interval: Span::seconds(2),
        }
    }

    #[test]
    fn failures_count_after_the_start_period() {
        let zero = Instant::now();
        let at = |seconds| zero + Duration::from_secs(seconds);
        let mut schedule = Schedule::new(&check(), zero);
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
        let mut schedule = Schedule::new(&check(), zero);
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
        assert_eq!(Schedule::new(&plain, zero).next(), zero + Duration::from_secs(30));
    }
}
