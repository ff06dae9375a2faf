//! Which variables have which values: the global ones before the first FROM, and those of a stage, as its instructions come.
//! Source: Dockerfile reference, "Understand how ARG and FROM interact", "Automatic platform ARGs", "Predefined ARGs".

use std::collections::BTreeMap;

use super::BuildSettings;
use super::error::{At, StageCause};
use super::platforms::normal;
use crate::engine::build::dockerfile::Argument;
use crate::engine::build::expand::{ExpandError, Expanded, Expander};

/// Names and values in the order in which they first came.
type Variables = Vec<(String, String)>;

fn get<'v>(variables: &'v [(String, String)], name: &str) -> Option<&'v str> {
    variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn set(variables: &mut Variables, name: &str, value: String) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => *old = value,
        None => variables.push((name.to_owned(), value)),
    }
}

/// What FROM can name, and what an ARG of a stage without a value has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Globals(Variables);

impl Globals {
    /// The variables of the platforms and of the target, which is the last stage where none is named. `--build-arg` can replace
    /// them all.
    pub(super) fn predefined(settings: &BuildSettings, last_stage: Option<&str>) -> Self {
        let (build, target) = (normal(settings.build_platform.clone()), normal(settings.target_platform.clone()));
        let stage = settings.target.as_deref().or(last_stage).unwrap_or("default").to_owned();
        let variant = |platform: &crate::model::Platform| platform.variant.clone().unwrap_or_default();
        let values = [
            ("BUILDPLATFORM", build.to_string()),
            ("BUILDOS", build.os.clone()),
            ("BUILDOSVERSION", String::new()),
            ("BUILDARCH", build.architecture.clone()),
            ("BUILDVARIANT", variant(&build)),
            ("TARGETPLATFORM", target.to_string()),
            ("TARGETOS", target.os.clone()),
            ("TARGETOSVERSION", String::new()),
            ("TARGETARCH", target.architecture.clone()),
            ("TARGETVARIANT", variant(&target)),
            ("TARGETSTAGE", stage),
        ];
        let given = |name: &str| settings.arguments.get(name).cloned();
        Self(values.into_iter().map(|(name, value)| (name.to_owned(), given(name).unwrap_or(value))).collect())
    }

    /// An ARG before the first FROM.
    pub(super) fn declare(&mut self, argument: &Argument, given: &BTreeMap<String, String>, escape: char) -> Result<(), At> {
        let at = |error: ExpandError| At::new(argument.name.place, StageCause::Expand(error));
        let name = self.expand(&argument.name.text, escape).map_err(at)?.value;
        if let Some(value) = given.get(&name) {
            set(&mut self.0, &name, value.clone());
        } else if let Some(default) = &argument.default {
            let expanded = self.expand(&default.text, escape);
            let value = expanded.map_err(|error| At::new(default.place, StageCause::Expand(error)))?.value;
            set(&mut self.0, &name, value);
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        get(&self.0, name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn expand(&self, text: &str, escape: char) -> Result<Expanded<String>, ExpandError> {
        Expander::new(escape, &|name| self.get(name).map(str::to_owned)).word(text)
    }
}

/// The variables of one stage at one point of it. A stage that begins with another goes on with a copy of that one's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// What a RUN has in its environment: of the base, of ENV and of ARG, the last one counts.
    variables: Variables,
    /// The ARGs that were declared, with the values that they had then.
    arguments: Vec<(String, Option<String>)>,
    escape: char,
}

impl Scope {
    /// At the beginning of a stage whose base is an image with this environment.
    pub fn new(environment: impl IntoIterator<Item = (String, String)>, escape: char) -> Self {
        let mut scope = Self { variables: Vec::new(), arguments: Vec::new(), escape };
        environment.into_iter().for_each(|(name, value)| scope.set(&name, value));
        scope
    }

    /// ENV: also what an image's own environment gets.
    pub fn set(&mut self, name: &str, value: String) {
        set(&mut self.variables, name, value);
    }

    /// ARG: what the command line says, or the default, or what the global ARG of that name has. Without any of them it is
    /// known and unset. Its name once its variables are replaced.
    ///
    /// # Errors
    /// When the name or a default that counts cannot be expanded.
    pub fn declare(
        &mut self,
        argument: &Argument,
        globals: &Globals,
        given: &BTreeMap<String, String>,
    ) -> Result<String, ExpandError> {
        let name = self.word(&argument.name.text)?.value;
        let value = match (given.get(&name), &argument.default) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(default)) => Some(self.word(&default.text)?.value),
            (None, None) => globals.get(&name).map(str::to_owned),
        };
        if let Some(value) = &value {
            self.set(&name, value.clone());
        }
        self.arguments.retain(|(known, _)| *known != name);
        self.arguments.push((name.clone(), value));
        Ok(name)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        get(&self.variables, name)
    }

    /// What a RUN has in its environment.
    pub fn environment(&self) -> &[(String, String)] {
        &self.variables
    }

    /// The ARGs that are in force, each with the value that a RUN sees.
    pub fn arguments(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.arguments.iter().map(|(name, value)| (name.as_str(), self.get(name).or(value.as_deref())))
    }

    /// A word of an instruction. ARGs that are declared and have no value are not told as unset.
    pub fn word(&self, text: &str) -> Result<Expanded<String>, ExpandError> {
        self.told(|expander| expander.word(text))
    }

    /// The words that a text becomes, as EXPOSE has them.
    pub fn words(&self, text: &str) -> Result<Expanded<Vec<String>>, ExpandError> {
        self.told(|expander| expander.words(text))
    }

    /// A heredoc that is a file.
    pub fn document(&self, text: &str) -> Result<Expanded<String>, ExpandError> {
        let variables = |name: &str| self.get(name).map(str::to_owned);
        self.without_arguments(Expander::of_documents(&variables).word(text))
    }

    fn told<T>(&self, run: impl FnOnce(Expander<'_>) -> Result<Expanded<T>, ExpandError>) -> Result<Expanded<T>, ExpandError> {
        let variables = |name: &str| self.get(name).map(str::to_owned);
        self.without_arguments(run(Expander::new(self.escape, &variables)))
    }

    fn without_arguments<T>(&self, expanded: Result<Expanded<T>, ExpandError>) -> Result<Expanded<T>, ExpandError> {
        expanded.map(|mut expanded| {
            expanded.unset.retain(|name| !self.arguments.iter().any(|(known, _)| known == name));
            expanded
        })
    }
}

/// The build arguments that every RUN has in its environment without any ARG, in both spellings, and that are part of no
/// cache key and no history.
pub fn proxies(given: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for name in PROXIES {
        let upper = name.to_ascii_uppercase();
        if let Some(value) = given.get(name).or_else(|| given.get(&upper)) {
            found.push((upper, value.clone()));
            found.push((name.to_owned(), value.clone()));
        }
    }
    found
}

const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Whether a build argument is one of those.
pub fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| proxy.eq_ignore_ascii_case(name))
}

/// Whether a build argument has a meaning without an ARG that asks for it.
pub(super) fn is_predefined(name: &str) -> bool {
    is_proxy(name) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}
