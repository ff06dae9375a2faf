//! Gathers all problems of a load, each with its place. Knows nothing of what the manifests mean.

use std::fmt;
use std::path::{Path, PathBuf};

pub use crate::model::Problem;
pub(super) use crate::model::did_you_mean;

/// All that is wrong with what was to be loaded, in the order of files and lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadErrors {
    pub problems: Vec<Problem>,
}

impl LoadErrors {
    /// Every problem, then how many there are.
    pub fn render(&self, colour: bool) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text.push_str(&problem.render(colour));
            text.push_str("\n\n");
        }
        match self.problems.len() {
            1 => text.push_str("1 error in the manifests"),
            many => text.push_str(&format!("{many} errors in the manifests")),
        }
        text
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for LoadErrors {}

/// A place in one of the files of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: u32,
    pub(super) line: u32,
    pub(super) column: u32,
    pub(super) width: u32,
}

impl Place {
    /// The file as a whole.
    pub(super) const fn whole(file: u32) -> Self {
        Self { file, line: 0, column: 0, width: 0 }
    }
}

/// The files of a load and what was found wrong in them.
#[derive(Debug, Default)]
pub(super) struct Problems {
    files: Vec<File>,
    errors: Vec<(Place, Problem)>,
    warnings: Vec<Problem>,
    /// Places whose value is unknown because of an error: what else would be said of them is no news.
    spoiled: Vec<Place>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    lines: Vec<String>,
}

/// More than anybody reads; a file that is wrong everywhere is not reported for ever.
const MOST: usize = 200;

impl Problems {
    /// Makes a file known, with its text where it could be read, and gives its number.
    pub(super) fn file(&mut self, path: &Path, text: &str) -> u32 {
        self.files.push(File { path: path.to_owned(), lines: text.lines().map(str::to_owned).collect() });
        self.files.len() as u32 - 1
    }

    pub(super) fn error(&mut self, place: Place, message: impl Into<String>) {
        self.push(place, message.into(), None);
    }

    pub(super) fn error_hint(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.push(place, message.into(), Some(hint.into()));
    }

    /// Reports an error that leaves the value at `place` unknown.
    pub(super) fn spoil(&mut self, place: Place, message: impl Into<String>, hint: impl Into<String>) {
        self.push(place, message.into(), Some(hint.into()));
        self.spoiled.push(place);
    }

    /// Says that the value at `place` is unknown because of an error that has been told.
    pub(super) fn silence(&mut self, place: Place) {
        self.spoiled.push(place);
    }

    pub(super) fn warn(&mut self, place: Place, message: impl Into<String>, hint: Option<String>) {
        let problem = self.problem(place, message.into(), hint);
        if self.warnings.len() < MOST && !self.warnings.contains(&problem) {
            self.warnings.push(problem);
        }
    }

    /// Whether there are so many errors that further ones are not kept: whoever would spend time on one need not.
    pub(super) fn full(&self) -> bool {
        self.errors.len() >= MOST
    }

    pub(super) fn any(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn into_warnings(self) -> Vec<Problem> {
        self.warnings
    }

    /// All errors in the order of files and lines.
    pub(super) fn into_errors(mut self) -> LoadErrors {
        self.errors.sort_by_key(|(place, _)| (place.file, place.line, place.column));
        LoadErrors { problems: self.errors.into_iter().map(|(_, problem)| problem).collect() }
    }

    /// A place as people read it, for hints.
    pub(super) fn show(&self, place: Place) -> String {
        format!("{}:{}", self.files[place.file as usize].path.display(), place.line)
    }

    fn push(&mut self, place: Place, message: String, hint: Option<String>) {
        if self.full() || self.spoiled.contains(&place) {
            return;
        }
        let problem = self.problem(place, message, hint);
        // What is written once and used often (an anchor) is reported once.
        if !self.errors.iter().any(|(_, known)| *known == problem) {
            self.errors.push((place, problem));
        }
    }

    fn problem(&self, place: Place, message: String, hint: Option<String>) -> Problem {
        let file = &self.files[place.file as usize];
        let line = place.line as usize;
        Problem {
            file: file.path.clone(),
            line,
            column: place.column as usize,
            width: place.width.max(1) as usize,
            snippet: line.checked_sub(1).and_then(|line| file.lines.get(line)).cloned().unwrap_or_default(),
            message,
            hint,
        }
    }
}
