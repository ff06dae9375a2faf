//! What is kept of steps of builds, as a table.

use time::OffsetDateTime;

use crate::cli::render::table::{self, Cell, bytes};
use crate::cli::time::ago;
use crate::wire::build::CachedStep;

const WIDEST: usize = 60;

/// One line a step, and what all take together.
pub fn cache(steps: &[CachedStep], now: OffsetDateTime, whole: bool, colour: bool) -> String {
    let rows: Vec<[Cell; 6]> = steps
        .iter()
        .map(|step| {
            let about = super::one_line(&step.about, false);
            let about = if whole { about } else { table::shorten(&about, WIDEST) };
            let reclaimable = if step.shared { "false" } else { "true" };
            let (uses, used) = (step.uses.to_string(), ago(step.used, now));
            [step.id.short().into(), reclaimable.into(), bytes(step.size).into(), uses.into(), used.into(), about.into()]
        })
        .collect();
    let sum = |shared: bool| steps.iter().filter(|step| step.shared == shared).map(|step| step.size).sum::<u64>();
    let (shared, own) = (sum(true), sum(false));
    let mut text = table::render(["ID", "RECLAIMABLE", "SIZE", "USES", "LAST USED", "STEP"], &rows, colour);
    text.push_str(&format!("Shared: {}\nReclaimable: {}\nTotal: {}\n", bytes(shared), bytes(own), bytes(shared + own)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn steps_and_their_sums() {
        let at = |seconds| OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        let step = |about: &str, size, shared| CachedStep {
            id: Digest::of(about.as_bytes()),
            about: about.to_owned(),
            created: at(0),
            used: at(100),
            uses: 3,
            size,
            shared,
        };
        let steps = [step("RUN make\nmore", 2_000_000, false), step(&format!("RUN {}", "x".repeat(80)), 500, true)];
        let text = cache(&steps, at(3700), false, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ID             RECLAIMABLE   SIZE    USES   LAST USED           STEP");
        assert!(lines[1].contains("true          2.0MB   3      ") && lines[1].ends_with("RUN make …"), "{text}");
        assert!(lines[2].contains("false") && lines[2].ends_with('…'), "{text}");
        assert_eq!(lines[3..], ["Shared: 500B", "Reclaimable: 2.0MB", "Total: 2.0MB"]);
    }
}
