//! Where errors and warnings go: to the standard error, and to the file that an engine reads them from.

use std::io::Write;
use std::path::PathBuf;

use crate::cli::output::Output;

pub(super) struct Journal {
    pub(super) path: Option<PathBuf>,
    pub(super) json: bool,
    pub(super) debug: bool,
    pub(super) output: Output,
}

impl Journal {
    pub(super) fn error(&self, message: &str) {
        self.output.error(message, None);
        self.append("error", message);
    }

    pub(super) fn warning(&self, message: &str) {
        self.output.warning(message);
        self.append("warning", message);
    }

    pub(super) fn warnings(&self, messages: &[String]) {
        messages.iter().for_each(|message| self.warning(message));
    }

    /// For who looks for a mistake.
    pub(super) fn notes(&self, messages: &[String]) {
        for message in messages.iter().filter(|_| self.debug) {
            self.output.note(format!("debug: {message}"));
            self.append("debug", message);
        }
    }

    /// The form of runc, which engines look for. What cannot be written there has been said on the standard error.
    fn append(&self, level: &str, message: &str) {
        let Some(path) = &self.path else { return };
        let time = time::OffsetDateTime::now_utc().format(&time::format_description::well_known::Rfc3339).unwrap_or_default();
        let line = match self.json {
            true => serde_json::json!({ "level": level, "msg": message, "time": time }).to_string(),
            false => format!("time={time:?} level={level} msg={message:?}"),
        };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        if let Err(error) = file.and_then(|mut file| writeln!(file, "{line}")) {
            self.output.warning(format!("write the log {}: {error}", path.display()));
        }
    }
}
