//! The making of the graph: which stage, image or context each name means, and whether the stages can be built in some order.

use std::collections::BTreeSet;

use super::error::{At, StageCause, StageErrors, errors};
use super::platforms;
use super::scope::is_predefined;
use super::{BuildSettings, Globals, Source, Stage, Stages, Step};
use crate::engine::build::dockerfile::{Command, Dockerfile, From, Instruction, Place, Word, parse_trigger};
use crate::model::{ImageRef, did_you_mean};

/// Makes the graph of a Dockerfile's stages.
///
/// # Errors
/// All that is wrong with the stages that the target needs, and with every FROM.
pub fn plan(dockerfile: &Dockerfile, settings: &BuildSettings) -> Result<Stages, StageErrors> {
    let escape = dockerfile.directives.escape;
    let mut wrong = Vec::new();
    let last_name = dockerfile.instructions.iter().rev().find_map(|instruction| match &instruction.command {
        Command::From(from) => Some(from.name.as_deref()),
        _ => None,
    });
    let mut globals = Globals::predefined(settings, last_name.flatten());
    let mut made = Stages {
        stages: Vec::new(),
        target: 0,
        globals: globals.clone(),
        escape,
        unused_arguments: Vec::new(),
        settings: settings.clone(),
        source: dockerfile.source.clone(),
    };
    for instruction in &dockerfile.instructions {
        match &instruction.command {
            Command::Arg(arguments) if made.stages.is_empty() => {
                for argument in arguments {
                    wrong.extend(globals.declare(argument, &settings.arguments, escape).err());
                }
            }
            Command::From(from) => match made.begin(from, instruction.place, &globals) {
                Ok(stage) => made.stages.push(stage),
                // The others cannot be told apart by their numbers any more.
                Err(at) => {
                    wrong.push(at);
                    return Err(errors(wrong, &dockerfile.source));
                }
            },
            // A context that takes a stage's place has none of its steps.
            _ => {
                if let Some(stage) = made.stages.last_mut().filter(|stage| !stage.is_replaced()) {
                    stage.steps.push(Step { instruction: instruction.clone(), from: Vec::new(), is_trigger: false });
                }
            }
        }
    }
    made.globals = globals;
    made.take_in_triggers(&mut wrong);
    match made.find_target() {
        Ok(target) => made.target = target,
        Err(cause) => wrong.push(At::new(Place::default(), cause)),
    }
    if wrong.is_empty() {
        wrong = made.resolve();
    }
    made.unused_arguments = unused_arguments(dockerfile, settings, &made.globals);
    if wrong.is_empty() { Ok(made) } else { Err(errors(wrong, &made.source)) }
}

impl Stages {
    /// Puts the triggers of a stage's base, which is known once that was pulled, before the stage's own steps. They may need
    /// stages and images that were not needed before: ask [`Stages::needed`] and [`Stages::images`] again.
    ///
    /// # Errors
    /// When a trigger is not an instruction, or names what it cannot.
    pub fn add_triggers(&mut self, stage: usize, triggers: &[String]) -> Result<(), StageErrors> {
        let mut wrong = Vec::new();
        self.prepend(stage, triggers, &mut wrong);
        if wrong.is_empty() {
            wrong = self.resolve();
        }
        if wrong.is_empty() { Ok(()) } else { Err(errors(wrong, &self.source)) }
    }

    fn prepend(&mut self, stage: usize, triggers: &[String], wrong: &mut Vec<At>) {
        let place = self.stages[stage].place;
        let mut steps = Vec::new();
        for text in triggers {
            match parse_trigger(text) {
                // What a trigger is about stands in no line of this file but the one that has the base.
                Ok(instruction) => {
                    let instruction = Instruction { place, last_line: place.line, ..instruction };
                    steps.push(Step { instruction, from: Vec::new(), is_trigger: true });
                }
                Err(source) => {
                    let text = text.chars().take(200).collect();
                    wrong.push(At::new(place, StageCause::Trigger { text, source: Box::new(source) }));
                }
            }
        }
        self.stages[stage].steps.splice(0..0, steps);
    }

    /// A stage that begins with another has that one's triggers.
    fn take_in_triggers(&mut self, wrong: &mut Vec<At>) {
        for index in 0..self.stages.len() {
            let Source::Stage(base) = self.stages[index].base else { continue };
            let triggers = self.stages[base].steps.iter().filter_map(|step| match &step.instruction.command {
                Command::Onbuild(onbuild) => Some(onbuild.text.clone()),
                _ => None,
            });
            let triggers: Vec<String> = triggers.collect();
            self.prepend(index, &triggers, wrong);
        }
    }

    /// A stage from its FROM, without steps. What it begins with is an earlier stage, a context, or an image.
    fn begin(&self, from: &From, place: Place, globals: &Globals) -> Result<Stage, At> {
        let index = self.stages.len();
        let wanted = &self.settings.target_platform;
        let platform = match &from.platform {
            None => None,
            Some(word) => {
                let text = self.filled(word, globals)?;
                let platform = platforms::parse(&text, wanted);
                Some(
                    platform
                        .ok_or_else(|| At::new(word.place, StageCause::Platform { text: text.chars().take(60).collect() }))?,
                )
            }
        };
        let stage = |base, platform| Stage { index, name: from.name.clone(), place, base, platform, steps: Vec::new() };
        let usual = || platform.clone().unwrap_or_else(|| wanted.clone());
        if let Some(name) = from.name.as_ref().filter(|name| self.settings.contexts.contains(*name)) {
            return Ok(stage(Source::Context(name.clone()), usual()));
        }
        let base = self.filled(&from.base, globals)?;
        if let Some(earlier) = self.named(&base, index) {
            return Ok(stage(Source::Stage(earlier), self.stages[earlier].platform.clone()));
        }
        Ok(stage(self.elsewhere(&base, from.base.place)?, usual()))
    }

    /// A word of FROM with its variables replaced, which leaves something.
    fn filled(&self, word: &Word, globals: &Globals) -> Result<String, At> {
        let expanded = globals.expand(&word.text, self.escape).map_err(|error| At::new(word.place, error.into()))?;
        if expanded.value.is_empty() {
            let known = globals.names().map(str::to_owned).collect();
            let unset = expanded.unset.into_iter().collect();
            return Err(At::new(word.place, StageCause::Blank { text: word.text.clone(), unset, known }));
        }
        Ok(expanded.value)
    }

    /// The last stage of that name before `before`.
    fn named(&self, name: &str, before: usize) -> Option<usize> {
        self.stages[..before].iter().rposition(|stage| stage.name.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name)))
    }

    /// What is no stage: a context, nothing, or an image.
    fn elsewhere(&self, name: &str, place: Place) -> Result<Source, At> {
        if name == "scratch" {
            return Ok(Source::Scratch);
        }
        let reference = name.parse::<ImageRef>();
        let same = |context: &&String| {
            let as_image = || context.parse::<ImageRef>().is_ok_and(|context| reference.as_ref() == Ok(&context));
            context.as_str() == name || as_image()
        };
        if let Some(context) = self.settings.contexts.iter().find(same) {
            return Ok(Source::Context(context.clone()));
        }
        reference.map(Source::Image).map_err(|source| {
            let near = did_you_mean(name, self.stages.iter().filter_map(|stage| stage.name.as_deref()));
            At::new(place, StageCause::Reference { source, near })
        })
    }

    fn find_target(&self) -> Result<usize, StageCause> {
        let last = self.stages.len().saturating_sub(1);
        let Some(name) = &self.settings.target else { return Ok(last) };
        let number = || name.parse::<usize>().ok().filter(|number| *number < self.stages.len());
        self.named(name, self.stages.len()).or_else(number).ok_or_else(|| StageCause::Target {
            name: name.chars().take(60).collect(),
            known: self.stages.iter().filter_map(|stage| stage.name.clone()).collect(),
        })
    }

    /// Finds what every `--from` means, and says what is wrong with those of the stages that are needed.
    fn resolve(&mut self) -> Vec<At> {
        let mut wrong: Vec<(usize, At)> = Vec::new();
        for stage in 0..self.stages.len() {
            for step in 0..self.stages[stage].steps.len() {
                let command = &self.stages[stage].steps[step].instruction.command;
                let from: Vec<Option<Result<Source, At>>> = match command {
                    Command::Copy(copy) => copy.from.iter().map(|word| Some(self.source_of(word, stage))).collect(),
                    Command::Run(run) => {
                        run.mounts.iter().map(|mount| mount.from.as_ref().map(|word| self.source_of(word, stage))).collect()
                    }
                    _ => Vec::new(),
                };
                let mut sources = Vec::new();
                for source in from {
                    sources.push(match source.transpose() {
                        Ok(source) => source,
                        Err(at) => {
                            wrong.push((stage, at));
                            None
                        }
                    });
                }
                self.stages[stage].steps[step].from = sources;
            }
        }
        let needed = self.needed();
        let mut found: Vec<At> = wrong.into_iter().filter(|(stage, _)| needed.contains(stage)).map(|(_, at)| at).collect();
        found.extend(self.out_of_order(&needed));
        found
    }

    fn source_of(&self, word: &Word, stage: usize) -> Result<Source, At> {
        let name = word.text.as_str();
        if name.bytes().all(|b| b.is_ascii_digit()) {
            let number = name.parse::<usize>().ok().filter(|number| *number < self.stages.len());
            let (number_text, stages) = (name.chars().take(20).collect(), self.stages.len());
            return number
                .map(Source::Stage)
                .ok_or_else(|| At::new(word.place, StageCause::Number { number: number_text, stages }));
        }
        match self.named(name, stage).or_else(|| self.named(name, self.stages.len())) {
            Some(index) => Ok(Source::Stage(index)),
            None => self.elsewhere(name, word.place),
        }
    }

    /// Stages that take from themselves or from later ones.
    fn out_of_order(&self, needed: &[usize]) -> Vec<At> {
        let mut found = Vec::new();
        for stage in needed.iter().map(|index| &self.stages[*index]) {
            for step in &stage.steps {
                for source in step.from.iter().flatten() {
                    let Source::Stage(other) = source else { continue };
                    let cause = if *other == stage.index {
                        StageCause::Itself
                    } else if *other < stage.index {
                        continue;
                    } else if let Some(path) = self.path(*other, stage.index) {
                        let path = std::iter::once(stage.index).chain(path).map(|index| self.called(index)).collect();
                        StageCause::Cycle { path }
                    } else {
                        StageCause::Later { name: self.called(*other) }
                    };
                    found.push(At::new(step.instruction.place, cause));
                }
            }
        }
        found
    }

    /// The stages from one to another that it needs, both included.
    fn path(&self, from: usize, to: usize) -> Option<Vec<usize>> {
        let mut seen = BTreeSet::new();
        let mut open = vec![vec![from]];
        while let Some(path) = open.pop() {
            let last = path[path.len() - 1];
            if last == to {
                return Some(path);
            }
            if seen.insert(last) {
                open.extend(self.stages[last].needs().map(|next| path.iter().copied().chain([next]).collect()));
            }
        }
        None
    }

    fn called(&self, index: usize) -> String {
        self.stages[index].name.clone().unwrap_or_else(|| index.to_string())
    }
}

/// Build arguments that nothing asks for are often misspelt.
fn unused_arguments(dockerfile: &Dockerfile, settings: &BuildSettings, globals: &Globals) -> Vec<String> {
    let declared: BTreeSet<&str> = dockerfile
        .instructions
        .iter()
        .filter_map(|instruction| match &instruction.command {
            Command::Arg(arguments) => Some(arguments),
            _ => None,
        })
        .flatten()
        .map(|argument| argument.name.text.as_str())
        .chain(globals.names())
        .collect();
    // What a name with a variable in it comes to is known only in its stage.
    if declared.iter().any(|name| name.contains('$')) {
        return Vec::new();
    }
    let unused = settings.arguments.keys().filter(|name| !declared.contains(name.as_str()) && !is_predefined(name));
    unused.cloned().collect()
}
