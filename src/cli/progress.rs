//! The story of an apply, a destroy, a pull: drawn on a terminal while it goes on, told in plain lines elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::error::CliError;
use super::output::Output;
use super::render::build::{Failures, Plain};
use super::render::{steps, table};
use crate::model::build::BuildEvent;
use crate::model::{Phase, Progress};
use crate::plan::{Plan, StepId};
use crate::reconcile::report::{Event, Outcome};

/// Tells what an apply does, on stdout.
#[derive(Debug)]
pub struct Story {
    output: Output,
    plan: Option<Plan>,
    /// Where lines are drawn, when they are.
    live: Option<MultiProgress>,
    running: BTreeMap<StepId, Running>,
    builds: BTreeMap<StepId, Building>,
}

/// A step that is a build.
#[derive(Debug)]
struct Building {
    began: Instant,
    plain: Plain,
    failures: Failures,
}

#[derive(Debug)]
struct Running {
    bar: ProgressBar,
    parts: BTreeMap<String, Progress>,
}

impl Story {
    pub fn new(output: Output) -> Self {
        let live = output.live.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));
        Self { output, plan: None, live, running: BTreeMap::new(), builds: BTreeMap::new() }
    }

    /// Tells one event; the last one gives the outcome.
    pub fn tell(&mut self, event: Event) -> Result<Option<Outcome>, CliError> {
        match event {
            Event::Waits => self.output.note("waiting until what else is at work on this stack has ended"),
            Event::Planned { plan } => self.plan = Some(plan),
            Event::StepStarted { step } => self.started(step),
            Event::StepProgress { step, progress } => self.progressed(step, progress),
            Event::StepBuild { step, said } => self.built(step, &said)?,
            Event::StepWarned { step, text } => {
                let plan = self.plan.as_ref();
                if let Some(step) = plan.and_then(|plan| plan.steps.get(step)) {
                    self.print(steps::warned(step, &text, self.output.colour))?;
                }
            }
            Event::StepDone { step, millis } => {
                self.ended(step, |plan, colour| Some(steps::done(plan.steps.get(step)?, millis, colour)))?;
            }
            Event::StepSpared { step } => {
                self.ended(step, |plan, colour| Some(steps::spared(plan.steps.get(step)?, colour)))?;
            }
            Event::RollsBack { to, why } => self.output.line(steps::rolls_back(to, &why, self.output.colour))?,
            Event::StepFailed { step, error, tolerated: true, .. } => {
                self.ended(step, |plan, colour| Some(steps::tolerated(plan.steps.get(step)?, &error, colour)))?;
            }
            Event::StepFailed { step, error, hint, .. } => {
                // Elsewhere it has been told already.
                if let (Some(live), Some(building)) = (&self.live, self.builds.get(&step)) {
                    for line in building.failures.lines() {
                        live.println(line)?;
                    }
                }
                self.ended(step, |plan, colour| Some(steps::failed(plan.steps.get(step)?, &error, hint.as_deref(), colour)))?;
            }
            Event::StepSkipped { step, because } => {
                self.ended(step, |plan, colour| Some(steps::skipped(plan.steps.get(step)?, plan.steps.get(because)?, colour)))?;
            }
            Event::Finished { outcome } => {
                if let Some(plan) = &self.plan {
                    let text = steps::summary(plan.stack.as_str(), outcome, plan.unchanged.len(), self.output.colour);
                    self.output.line(text)?;
                }
                return Ok(Some(outcome));
            }
        }
        Ok(None)
    }

    /// Whether something is to be told as time goes by.
    pub fn ticks(&self) -> bool {
        self.live.is_none() && !self.builds.is_empty()
    }

    /// Tells what builds have begun to say and not ended, as a question that waits for its answer.
    pub fn tick(&mut self) -> Result<(), CliError> {
        for (id, building) in &mut self.builds {
            let text = building.plain.tick(building.began.elapsed());
            let Some(step) = self.plan.as_ref().and_then(|plan| plan.steps.get(*id)) else { continue };
            for line in text.lines().filter(|line| !line.is_empty()) {
                self.output.line(format!("{}: {line}", step.resource))?;
            }
        }
        Ok(())
    }

    fn started(&mut self, id: StepId) {
        let (Some(live), Some(step)) = (&self.live, self.plan.as_ref().and_then(|plan| plan.steps.get(id))) else { return };
        let bar = live.add(ProgressBar::new_spinner().with_style(spinner()).with_message(steps::running(step)));
        bar.enable_steady_tick(TICK);
        self.running.insert(id, Running { bar, parts: BTreeMap::new() });
    }

    fn progressed(&mut self, id: StepId, progress: Progress) {
        let Some(step) = self.plan.as_ref().and_then(|plan| plan.steps.get(id)) else { return };
        if let Some(running) = self.running.get_mut(&id) {
            running.parts.insert(progress.part.clone(), progress);
            running.bar.set_message(format!("{} {}", steps::running(step), total(&running.parts)));
        }
    }

    /// On a terminal, which step of it runs; elsewhere all of it, each line with the resource before it.
    fn built(&mut self, id: StepId, said: &BuildEvent) -> Result<(), CliError> {
        let Some(step) = self.plan.as_ref().and_then(|plan| plan.steps.get(id)) else { return Ok(()) };
        let building = self.builds.entry(id).or_insert_with(|| Building {
            began: Instant::now(),
            plain: Plain::new(self.output.colour),
            failures: Failures::default(),
        });
        if self.live.is_none() {
            let text = building.plain.tell(said, building.began.elapsed());
            for line in text.lines().filter(|line| !line.is_empty()) {
                self.output.line(format!("{}: {line}", step.resource))?;
            }
            return Ok(());
        }
        building.failures.tell(said);
        if let (Some(running), Some(title)) = (self.running.get(&id), building.failures.running()) {
            running.bar.set_message(format!("{} {}", steps::running(step), table::shorten(title, TITLE)));
        }
        Ok(())
    }

    fn ended(&mut self, id: StepId, line: impl FnOnce(&Plan, bool) -> Option<String>) -> Result<(), CliError> {
        if let Some(running) = self.running.remove(&id) {
            running.bar.finish_and_clear();
        }
        let Some(line) = self.plan.as_ref().and_then(|plan| line(plan, self.output.colour)) else { return Ok(()) };
        self.print(line)
    }

    fn print(&self, line: String) -> Result<(), CliError> {
        match &self.live {
            Some(live) => Ok(live.println(line)?),
            None => self.output.line(line),
        }
    }
}

/// Tells how a pull or an import goes on, on stderr: stdout is for its result.
#[derive(Debug)]
pub struct Parts {
    output: Output,
    live: Option<MultiProgress>,
    bars: BTreeMap<String, ProgressBar>,
    quiet: bool,
}

impl Parts {
    pub fn new(output: Output, quiet: bool) -> Self {
        let live = (output.error_live && !quiet).then(MultiProgress::new);
        Self { output, live, bars: BTreeMap::new(), quiet }
    }

    pub fn tell(&mut self, progress: &Progress) {
        if self.quiet {
            return;
        }
        let Some(live) = &self.live else {
            match progress.phase {
                Phase::Done => self.output.note(format!("{}: done", progress.part)),
                Phase::Exists => self.output.note(format!("{}: already here", progress.part)),
                Phase::Waiting | Phase::Downloading | Phase::Unpacking | Phase::Compressing | Phase::Uploading => {}
            }
            return;
        };
        let bar = self.bars.entry(progress.part.clone()).or_insert_with(|| {
            live.add(ProgressBar::new(0).with_style(bytes_bar()).with_prefix(table::shorten(&progress.part, 20)))
        });
        bar.set_message(progress.phase.said());
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        match progress.phase {
            Phase::Done | Phase::Exists => {
                bar.set_style(done_bar());
                bar.finish();
            }
            Phase::Waiting | Phase::Downloading | Phase::Unpacking | Phase::Compressing | Phase::Uploading => {
                bar.set_position(progress.current);
            }
        }
    }
}

/// As much of the title of a build's step as fits on a line beside the image's name.
const TITLE: usize = 40;
pub const TICK: Duration = Duration::from_millis(100);

/// `3.2MB of 12.1MB`, over all parts whose length is known.
fn total(parts: &BTreeMap<String, Progress>) -> String {
    let (mut current, mut all) = (0, 0);
    for part in parts.values() {
        match part.phase {
            Phase::Exists => {}
            // Unpacking counts other bytes than the download does.
            Phase::Unpacking | Phase::Done => {
                current += part.total.unwrap_or(part.current);
                all += part.total.unwrap_or(part.current);
            }
            Phase::Waiting | Phase::Downloading | Phase::Compressing | Phase::Uploading => {
                current += part.current;
                all += part.total.unwrap_or(part.current);
            }
        }
    }
    if all == 0 { String::new() } else { format!("{} of {}", table::bytes(current), table::bytes(all)) }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants; a broken one would show as a bar in the default style, and in the test below.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

const SPINNER: &str = "{spinner} {msg} {elapsed}";
const BYTES: &str = "{prefix:20} {bar:30} {binary_bytes:>11} of {binary_total_bytes:11} {msg}";
const DONE: &str = "{prefix:20} {msg}";

fn spinner() -> ProgressStyle {
    style(SPINNER)
}

fn bytes_bar() -> ProgressStyle {
    style(BYTES).progress_chars("━╸ ")
}

fn done_bar() -> ProgressStyle {
    style(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_understood() {
        for template in [SPINNER, BYTES, DONE] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn totals() {
        let part = |name: &str, phase, current, total| (name.to_owned(), Progress { part: name.into(), phase, current, total });
        let parts = [
            part("a", Phase::Downloading, 500_000, Some(2_000_000)),
            part("b", Phase::Exists, 0, Some(7_000_000)),
            part("c", Phase::Done, 9, Some(1_000_000)),
        ];
        assert_eq!(total(&parts.into()), "1.5MB of 3.0MB");
        assert_eq!(total(&BTreeMap::new()), "");
    }
}
