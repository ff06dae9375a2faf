//! Builds as they are told and as they are pictured, from lists of events.

use std::time::Duration;

use super::*;
use crate::model::build::BuildStream::{Stderr, Stdout};

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn started(step: u32, title: &str) -> BuildEvent {
    BuildEvent::Started { step, title: title.into() }
}

fn output(step: u32, stream: BuildStream, text: &str) -> BuildEvent {
    BuildEvent::Output { step, stream, text: text.into() }
}

fn finished(step: u32, cached: bool, error: Option<&str>, millis: u64) -> BuildEvent {
    BuildEvent::Finished { step, cached, error: error.map(str::to_owned), millis }
}

fn moved(step: u32, part: &str, phase: Phase, current: u64, total: u64) -> BuildEvent {
    BuildEvent::Progress { step, progress: Progress { part: part.into(), phase, current, total: Some(total) } }
}

/// A build with two stages at the same time, and the milliseconds at which each event comes.
fn story() -> Vec<(u64, BuildEvent)> {
    vec![
        (0, started(1, "[internal] load build context")),
        (40, finished(1, false, None, 40)),
        (50, started(2, "FROM debian:12")),
        (60, moved(2, "a3ed95caeb02", Phase::Downloading, 500_000, 2_000_000)),
        (700, moved(2, "a3ed95caeb02", Phase::Done, 2_000_000, 2_000_000)),
        (710, finished(2, false, None, 660)),
        (710, started(3, "[build 2/3] RUN make\nthe rest of a heredoc")),
        (710, started(4, "[web 2/2] COPY . /srv")),
        (711, finished(4, true, None, 0)),
        (1022, output(3, Stdout, "cc -c a.c\ncc -c")),
        (1100, output(3, Stderr, "warning: \u{1b}[31mred\u{1b}[0m\u{1b}[2J\n")),
        (1200, output(3, Stdout, " b.c\n10%\r90%")),
        (1300, started(5, "[web 3/3] RUN true")),
        (1400, output(3, Stdout, "\r100%\n")),
        (1500, BuildEvent::Warning { text: "no ARG asks for the build argument X".into() }),
        (1900, finished(5, false, None, 600)),
        (2710, output(3, Stdout, "no newline")),
        (2711, finished(3, false, Some("Dockerfile:7: RUN make\nexit code 2"), 2001)),
    ]
}

#[test]
fn a_build_in_plain_lines() {
    let mut plain = Plain::new(false);
    let text: String = story().iter().map(|(now, event)| plain.tell(event, at(*now))).collect();
    let wanted = "\
#1 [internal] load build context
#1 DONE 0.0s

#2 FROM debian:12
#2 a3ed95caeb02 2.0MB done
#2 DONE 0.7s

#3 [build 2/3] RUN make …

#4 [web 2/2] COPY . /srv
#4 CACHED

#3 [build 2/3] RUN make …
#3 0.312 cc -c a.c
#3 0.390 warning: red
#3 0.490 cc -c b.c

#5 [web 3/3] RUN true

#3 [build 2/3] RUN make …
#3 0.690 100%
warning: no ARG asks for the build argument X

#5 [web 3/3] RUN true
#5 DONE 0.6s

#3 [build 2/3] RUN make …
#3 2.001 no newline
#3 ERROR: Dockerfile:7: RUN make
";
    assert_eq!(text, wanted);
    assert_eq!(plain.tally(), Tally { steps: 5, cached: 1 });
}

#[test]
fn a_question_is_told_before_its_line_ends() {
    let mut plain = Plain::new(false);
    plain.tell(&started(1, "RUN ask"), at(0));
    assert_eq!(plain.tell(&output(1, Stdout, "10%\rContinue? "), at(100)), "");
    assert_eq!((plain.tick(at(200)), plain.tick(at(600))), (String::new(), String::new()));
    assert_eq!(plain.tick(at(800)), "#1 0.800 Continue?\n");
    assert_eq!(plain.tick(at(2000)), "", "it is told once");
    assert_eq!(plain.tell(&output(1, Stdout, "yes\n"), at(3000)), "#1 3.000 Continue? yes\n");
    plain.tell(&output(1, Stderr, "Sure? "), at(3100));
    plain.tick(at(3200));
    assert_eq!(plain.tick(at(4000)), "#1 4.000 Sure?\n");
    assert_eq!(plain.tell(&output(1, Stderr, "\n"), at(4100)), "", "the line is what was told already");
    plain.tell(&output(1, Stderr, "50%"), at(4200));
    for now in (4300..9000).step_by(100) {
        assert_eq!(plain.tick(at(now)), "", "what goes on is told when it ends");
        plain.tell(&output(1, Stderr, &format!("\r{now}")), at(now));
    }
    plain.tick(at(9100));
    assert_eq!(plain.tick(at(9900)), "#1 9.900 8900\n");
    assert_eq!(plain.tell(&finished(1, false, None, 9950), at(9950)), "#1 DONE 10.0s\n");
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let mut plain = Plain::new(true);
    let text: String = story().iter().map(|(now, event)| plain.tell(event, at(*now))).collect();
    assert!(text.contains("warning: \u{1b}[31mred\u{1b}[0m\u{1b}[0m\n"), "{text:?}");
    assert!(!text.contains("[2J"));
}

/// What stays of the story so far, and the picture at its end.
fn live(until: u64, size: Size) -> (Vec<String>, Vec<String>) {
    let mut live = Live::new(false);
    let mut above = Vec::new();
    for (now, event) in story().iter().filter(|(now, _)| *now <= until) {
        above.extend(live.tell(event, at(*now), size));
    }
    (above, live.picture(at(until), size))
}

#[test]
fn a_build_as_a_picture() {
    let size = Size { columns: 40, rows: 24 };
    let (above, picture) = live(600, size);
    assert_eq!(above, ["✓ [internal] load build context     0.0s"]);
    assert_eq!(picture, ["⠦ FROM debian:12    500kB of 2.0MB  0.6s", "  │ a3ed95caeb02 downloading", "  1 step done  0.6s"]);
    let (above, picture) = live(1350, size);
    assert_eq!(above.len(), 2, "what the cache had is only counted: {above:?}");
    assert_eq!(
        picture,
        [
            "⠸ [build 2/3] RUN make …            0.6s",
            "  │ cc -c a.c",
            "  │ warning: red",
            "  │ cc -c b.c",
            "  │ 90%",
            "⠸ [web 3/3] RUN true                0.1s",
            "  2 steps done, 1 cached  1.4s",
        ]
    );
    let (above, picture) = live(3000, size);
    assert_eq!(
        above[2..],
        [
            "! no ARG asks for the build argument X",
            "✓ [web 3/3] RUN true                0.6s",
            "✗ [build 2/3] RUN make …            2.0s",
            "  │ cc -c a.c",
            "  │ warning: red",
            "  │ cc -c b.c",
            "  │ 100%",
            "  │ no newline",
        ]
    );
    assert_eq!(picture, ["  4 steps done, 1 cached  3.0s"]);
}

#[test]
fn a_picture_fits_the_terminal() {
    let long = "漢字".repeat(60);
    for rows in [1, 3, 5, 9, 40] {
        for columns in [20, 33, 80] {
            let size = Size { columns, rows };
            let mut live = Live::new(true);
            for step in 1..=6 {
                live.tell(&started(step, &long), at(0), size);
                live.tell(&output(step, Stdout, &format!("{long}\n").repeat(30)), at(1), size);
            }
            let picture = live.picture(at(61_000), size);
            assert!(picture.len() < rows.max(3), "{rows}: {}", picture.len());
            for row in &picture {
                assert!(width(row) <= columns, "{columns}: {row}");
            }
        }
    }
}

#[test]
fn failures_are_told_of_a_build_that_was_not_shown() {
    let mut failures = Failures::default();
    story().iter().for_each(|(_, event)| failures.tell(event));
    assert_eq!(failures.lines()[0], "[build 2/3] RUN make …");
    assert_eq!(failures.lines().last().unwrap(), "  no newline");
    assert_eq!(failures.lines().len(), 6);
    assert_eq!(failures.running(), None);
    let mut failures = Failures::default();
    failures.tell(&started(1, "RUN x"));
    failures.tell(&output(1, Stdout, "the last word\n\n"));
    assert_eq!(failures.running(), Some("RUN x"));
    failures.tell(&finished(1, false, Some("exit code 1\n  the last word"), 1));
    assert!(failures.lines().is_empty(), "the error says it itself");
}

#[test]
fn what_a_build_has_come_to() {
    let names = ["app:1".to_owned(), "app:latest".to_owned()];
    let tally = Tally { steps: 9, cached: 4 };
    assert_eq!(
        summary(Some("sha256:ab"), &names, at(3210), tally, false),
        "✓ built sha256:ab as app:1, app:latest in 3.2s, 4 of 9 steps cached"
    );
    assert_eq!(summary(None, &[], at(187_000), Tally { steps: 1, cached: 0 }, false), "✓ built in 3m07s");
}

#[test]
fn times() {
    for (millis, wanted) in [(0, "0.0s"), (49, "0.0s"), (50, "0.1s"), (59_949, "59.9s"), (59_950, "1m00s"), (3_600_000, "60m00s")]
    {
        assert_eq!(time(at(millis)), wanted, "{millis}");
    }
}
