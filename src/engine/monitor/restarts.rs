//! Whether and when a container starts again after it exited. Pure.

use std::time::Duration;

use crate::model::RestartPolicy;

/// What is remembered from run to run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restarts {
    /// Restarts since the last run that was long enough to count as healthy.
    in_a_row: u32,
}

impl Restarts {
    /// How long to wait before the next start, or `None` when the container stays down.
    pub(crate) fn after_exit(&mut self, policy: RestartPolicy, code: i32, ran: Duration) -> Option<Duration> {
        if ran >= RestartPolicy::HEALTHY_RUN {
            self.in_a_row = 0;
        }
        if !policy.restarts(code, self.in_a_row) {
            return None;
        }
        let delay = RestartPolicy::delay(self.in_a_row);
        self.in_a_row += 1;
        Some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_a_row_and_begins_anew_after_a_healthy_run() {
        let policy = RestartPolicy::OnFailure(Some(2));
        let (short, long) = (Duration::from_secs(1), RestartPolicy::HEALTHY_RUN);
        let mut restarts = Restarts::default();
        assert_eq!(restarts.after_exit(policy, 1, short), Some(Duration::from_millis(100)));
        assert_eq!(restarts.after_exit(policy, 1, short), Some(Duration::from_millis(200)));
        assert_eq!(restarts.after_exit(policy, 1, short), None);
        assert_eq!(restarts.after_exit(policy, 1, long), Some(Duration::from_millis(100)));
        assert_eq!(restarts.after_exit(policy, 0, short), None);
    }
}
