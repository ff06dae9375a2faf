//! Templates as Docker's `--format` has them: Go's text templates, over JSON values. Knows nothing of what the values are.
//! Source: Go's package text/template, and the functions that Docker adds to it.

mod eval;
mod functions;
mod parse;
#[cfg(test)]
mod tests;

use std::str::FromStr;

use serde_json::{Map, Value};

use parse::Node;

/// A template that has been read.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    nodes: Vec<Node>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TemplateError {
    #[error("template, at {near:?}: {why}")]
    Syntax { near: String, why: String },
    #[error("there is no field {field:?}")]
    NoField { field: String, known: Vec<String> },
    #[error("there is no variable {name:?}")]
    NoVariable { name: String },
    #[error("`{function}`: {why}")]
    Function { function: String, why: String },
    #[error("`range` goes through lists and maps, not {what}")]
    Range { what: String },
}

impl TemplateError {
    /// What one can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoField { known, .. } if !known.is_empty() => Some(format!("the fields here are {}", known.join(", "))),
            _ => None,
        }
    }
}

/// What a template is about: `.` at its beginning.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    pub fields: Value,
    /// Fields that can be asked for, but are not part of the whole: `{{.Label "key"}}`.
    pub methods: Map<String, Value>,
}

impl Subject {
    pub fn new(fields: Value) -> Self {
        Self { fields, methods: Map::new() }
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        Ok(Self { nodes: parse::parse(text)? })
    }
}

impl Template {
    /// The text that the template makes of a subject.
    pub fn render(&self, subject: &Subject) -> Result<String, TemplateError> {
        eval::render(&self.nodes, subject)
    }
}
