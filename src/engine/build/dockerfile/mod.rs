//! Dockerfiles: bytes become a typed tree in which every instruction has its place.
//!
//! ```text
//! bytes → lines (directives, comments, continuations, heredocs) → split (keyword, flags, arguments) → instruction (types)
//! ```
//!
//! Guarantees: all errors of a file are told at once, each with file, line, column, cause and hint; nothing panics and nothing
//! takes more than time in proportion to the text, whatever the text. Variables are not replaced here: that is done by who
//! knows their values, with [`super::expand`].
//!
//! Source: the Dockerfile reference (syntax 1.x); where that is silent, what BuildKit's parser does.

mod error;
mod files;
mod flags;
mod health;
mod heredoc;
mod instruction;
mod lines;
mod mounts;
mod run;
mod split;
mod syntax;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::{Cause, DockerfileErrors, Doubt, Fault, Warning};
pub use health::HealthcheckInstruction;
pub use heredoc::Heredoc;
pub use mounts::{MountError, MountOptions, RunMount, Sharing};
pub use syntax::{
    AddFiles, Argument, Command, CommandLine, CopyFiles, Device, Directives, Dockerfile, Document, From, Instruction, KEYWORDS,
    Network, OnBuild, Pair, Place, Run, SandboxMode, Script, SourceText, Transfer, Word,
};

use error::At;
use lines::{Line, Reader};

/// More errors than anybody reads.
const MOST: usize = 100;

/// Reads a Dockerfile. `file` is only what errors call it.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(file: &Path, bytes: &[u8]) -> Result<Dockerfile, DockerfileErrors> {
    let source = SourceText::new(file, bytes);
    let mut wrong = Vec::new();
    let mut warnings = Vec::new();
    let mut instructions: Vec<Instruction> = Vec::new();
    let mut reader = Reader::new(bytes);
    let mut read_any = false;
    loop {
        let line = match reader.next() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(at) => {
                read_any = true;
                // What follows could be read as anything.
                wrong.push(at);
                break;
            }
        };
        read_any = true;
        match read(&line, &mut reader, &mut warnings) {
            Ok(instruction) => instructions.push(instruction),
            Err(at) => {
                // Whether that announces heredocs is not known, so neither is what the lines after it are.
                let unclear = matches!(at.cause, Cause::Instruction { .. } | Cause::HeredocName(_)) && line.text.contains("<<");
                let lost = reader.lost() || unclear;
                wrong.push(at);
                if lost || wrong.len() == MOST {
                    break;
                }
            }
        }
    }
    if !read_any {
        wrong.push(At::new(Place::default(), Cause::Empty));
    } else if wrong.is_empty() {
        wrong.extend(before_the_first_stage(&instructions));
    }
    if wrong.is_empty() {
        let warnings = warnings.into_iter().map(|(place, doubt)| Warning::new(&source, place, doubt)).collect();
        Ok(Dockerfile { directives: reader.directives, instructions, warnings, source })
    } else {
        wrong.sort_by_key(|at| at.place);
        Err(DockerfileErrors { faults: wrong.into_iter().map(|at| at.fault(&source)).collect() })
    }
}

/// Reads one instruction that an image recorded by `ONBUILD`. Places in it are those of the text itself.
///
/// # Errors
/// When it is not exactly one instruction, or one that ONBUILD may not have.
pub fn parse_trigger(text: &str) -> Result<Instruction, DockerfileErrors> {
    let source = SourceText::new(Path::new("ONBUILD"), text.as_bytes());
    trigger(text).map_err(|at| DockerfileErrors { faults: vec![at.fault(&source)] })
}

fn trigger(text: &str) -> Result<Instruction, At> {
    let mut reader = Reader::of_trigger(text.as_bytes());
    let line = reader.next()?.ok_or_else(|| At::new(Place::default(), Cause::Empty))?;
    let instruction = read(&line, &mut reader, &mut Vec::new())?;
    instruction::trigger_allowed(&instruction)?;
    match reader.next()? {
        None => Ok(instruction),
        Some(second) => Err(At::new(second.place(0), Cause::SecondTrigger)),
    }
}

/// One instruction, with the heredocs that it announces.
fn read(line: &Line, reader: &mut Reader<'_>, warnings: &mut Vec<(Place, Doubt)>) -> Result<Instruction, At> {
    if let Some(place) = line.blank_inside {
        warnings.push((place, Doubt::BlankContinuation));
    }
    let raw = split::instruction(line, line.whole(), reader.directives.escape)?;
    let mut last_line = line.last;
    let mut heredocs = Vec::new();
    if raw.may_have_heredocs() && line.text.contains("<<") {
        for header in heredoc::announced(&line.text).map_err(|cause| line.at(0, cause))? {
            heredocs.push(reader.heredoc(header, line)?);
        }
        last_line = reader.line_number();
    }
    instruction::typed(line, &raw, heredocs, last_line, warnings)
}

/// Only ARG may stand before the first FROM.
fn before_the_first_stage(instructions: &[Instruction]) -> Option<At> {
    match instructions.iter().find(|instruction| !matches!(instruction.command, Command::Arg(_))) {
        None => Some(At::new(Place::default(), Cause::NoStage)),
        Some(Instruction { command: Command::From(_), .. }) => None,
        Some(other) => Some(At::new(other.place, Cause::BeforeFrom { keyword: other.keyword.clone() })),
    }
}
