//! The steps of a plan as sentences, for the story of an apply.

use crate::cli::output::{Tone, paint};
use crate::model::Span;
use crate::plan::{Action, Kind, Step, WaitFor};
use crate::reconcile::report::{BrokenOff, Outcome};

/// What has been done: `pulled`, `healthy`.
pub const fn participle(action: Action) -> &'static str {
    match action {
        Action::Pull => "pulled",
        Action::Build => "built",
        Action::Import => "imported",
        Action::Load => "loaded",
        Action::Commit => "committed",
        Action::Restore => "restored",
        Action::Push => "pushed",
        Action::Create => "created",
        Action::Start => "started",
        Action::Stop => "stopped",
        Action::Remove => "removed",
        Action::Update => "updated",
        Action::Reload => "reloaded",
        Action::Repair => "repaired",
        Action::Wait(WaitFor::Started) => "seen started",
        Action::Wait(WaitFor::Healthy) => "healthy",
        Action::Wait(WaitFor::Completed) => "completed",
        Action::Switch => "switched",
        Action::Watch(_) => "well",
        Action::Delay(_) => "waited",
    }
}

/// What of the resource or the action, where the name does not say it: an image is known by its reference, too.
fn object(step: &Step) -> String {
    match step.action {
        Action::Watch(span) if span != Span::default() => format!(" for {span}"),
        Action::Delay(span) => format!(" {span}"),
        _ if step.beyond().is_some() => format!(" ({})", step.target),
        _ if step.resource.kind == Kind::Image => format!(" {}", step.target),
        _ => String::new(),
    }
}

pub fn running(step: &Step) -> String {
    format!("{}: {}{}", step.resource, step.action.verb(), object(step))
}

pub fn done(step: &Step, millis: u64, colour: bool) -> String {
    let mark = paint(colour, Tone::Good, "✓");
    let time = paint(colour, Tone::Faint, &seconds(millis));
    format!("{mark} {}: {}{} {time}", step.resource, participle(step.action), object(step))
}

pub fn spared(step: &Step, colour: bool) -> String {
    let mark = paint(colour, Tone::Faint, "=");
    format!("{mark} {}: not {}, its image is the same", step.resource, participle(step.action))
}

pub fn failed(step: &Step, error: &str, hint: Option<&str>, colour: bool) -> String {
    let mark = paint(colour, Tone::Bad, "✗");
    let mut text = format!("{mark} {}: {}{}: {error}", step.resource, step.action.verb(), object(step));
    if let Some(hint) = hint {
        text.push_str(&format!("\n  {}: {hint}", paint(colour, Tone::Hint, "hint")));
    }
    text
}

pub fn warned(step: &Step, text: &str, colour: bool) -> String {
    format!("{} {}: {}{}: {text}", paint(colour, Tone::Warn, "!"), step.resource, step.action.verb(), object(step))
}

/// One that failed, and that may fail.
pub fn tolerated(step: &Step, error: &str, colour: bool) -> String {
    let mark = paint(colour, Tone::Warn, "✗");
    format!("{mark} {}: {}{}: {error}; the update goes on", step.resource, step.action.verb(), object(step))
}

pub fn rolls_back(to: u64, why: &str, colour: bool) -> String {
    format!("{} the update has failed ({why}): generation {to} is brought back", paint(colour, Tone::Bad, "↶"))
}

pub fn skipped(step: &Step, because: &Step, colour: bool) -> String {
    let mark = paint(colour, Tone::Warn, "-");
    let what = object(step);
    if step == because {
        return format!("{mark} {}: {}{what}: left to whoever goes on with it", step.resource, step.action.verb());
    }
    format!("{mark} {}: {}{what}: skipped, because {} failed", step.resource, step.action.verb(), because.resource)
}

/// The last line of an apply or a destroy.
pub fn summary(stack: &str, outcome: Outcome, unchanged: usize, colour: bool) -> String {
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    let (tone, mut text) = match outcome {
        Outcome { failed, back_to: Some(number), .. } => {
            let why = plural(failed, "step");
            (
                Tone::Bad,
                format!("{stack}: {why} failed; it is as generation {number} was, and stays so until its manifests change"),
            )
        }
        Outcome { done, failed: 0, skipped, broken_off: Some(why), .. } => {
            let (left, why) = (plural(skipped, "step"), because(why));
            (Tone::Bad, format!("{stack}: broken off because {why}, {done} done, {left} left to the next one"))
        }
        Outcome { done: 0, failed: 0, skipped: 0, .. } => {
            (Tone::Good, format!("{stack}: nothing to do, {} as declared", plural(unchanged, "resource")))
        }
        Outcome { done, failed: 0, skipped: 0, .. } => (Tone::Good, format!("{stack}: {} done", plural(done, "step"))),
        Outcome { done, failed, skipped, .. } => {
            (Tone::Bad, format!("{stack}: {} failed, {skipped} skipped, {done} done", plural(failed, "step")))
        }
    };
    if outcome.tolerated > 0 {
        text.push_str(&format!(", {} failed as they may", outcome.tolerated));
    }
    if outcome.generation > 0 {
        text.push_str(&format!(" (generation {})", outcome.generation));
    }
    paint(colour, tone, &text)
}

const fn because(why: BrokenOff) -> &'static str {
    match why {
        BrokenOff::Stopping => "the daemon stops",
        BrokenOff::Superseded => "somebody says something new",
    }
}

fn seconds(millis: u64) -> String {
    match millis {
        0..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{}.{}s", millis / 1000, millis % 1000 / 100),
        _ => format!("{}m{:02}s", millis / 60_000, millis / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Cause, Resource};

    fn step(action: Action) -> Step {
        Step {
            action,
            resource: Resource { kind: Kind::Container, name: "web".parse().unwrap() },
            target: "demo-web".into(),
            container: None,
            causes: vec![Cause::Missing],
            needs: Default::default(),
            spared_if: None,
            after: Default::default(),
            aside: None,
            stake: None,
        }
    }

    #[test]
    fn sentences() {
        let (create, wait) = (step(Action::Create), step(Action::Wait(WaitFor::Healthy)));
        assert_eq!(running(&wait), "container/web: wait until healthy");
        assert_eq!(done(&create, 1_240, false), "✓ container/web: created 1.2s");
        assert_eq!(spared(&create, false), "= container/web: not created, its image is the same");
        assert_eq!(failed(&create, "no", Some("do"), false), "✗ container/web: create: no\n  hint: do");
        assert_eq!(skipped(&wait, &create, false), "- container/web: wait until healthy: skipped, because container/web failed");
        assert_eq!(skipped(&wait, &wait, false), "- container/web: wait until healthy: left to whoever goes on with it");
        let mut pull = step(Action::Pull);
        (pull.resource.kind, pull.target) = (Kind::Image, "nginx:1".into());
        assert_eq!(done(&pull, 5, false), "✓ image/web: pulled nginx:1 5ms");
        for (outcome, text) in [
            (Outcome { generation: 2, ..Outcome::default() }, "demo: nothing to do, 4 resources as declared (generation 2)"),
            (Outcome { done: 1, ..Outcome::default() }, "demo: 1 step done"),
            (
                Outcome { done: 1, skipped: 2, broken_off: Some(BrokenOff::Superseded), ..Outcome::default() },
                "demo: broken off because somebody says something new, 1 done, 2 steps left to the next one",
            ),
            (
                Outcome { done: 1, failed: 2, skipped: 3, generation: 1, ..Outcome::default() },
                "demo: 2 steps failed, 3 skipped, 1 done (generation 1)",
            ),
            (Outcome { done: 3, tolerated: 2, ..Outcome::default() }, "demo: 3 steps done, 2 failed as they may"),
            (
                Outcome { failed: 1, back_to: Some(4), generation: 6, ..Outcome::default() },
                "demo: 1 step failed; it is as generation 4 was, and stays so until its manifests change (generation 6)",
            ),
        ] {
            assert_eq!(summary("demo", outcome, 4, false), text);
        }
        assert_eq!((seconds(12), seconds(61_500)), ("12ms".into(), "1m01s".into()));
    }
}
