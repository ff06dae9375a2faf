//! The image that a stage has come to: what its containers run by default, its variables and its history, changed by one
//! instruction after the other. Pure. What changes files is done elsewhere; here it is only noted.
//!
//! The configuration is kept as JSON, under Docker's names, so that what no standard names (health checks, shells, triggers)
//! passes from base to image. Source: Docker Image Specification 1.3; OCI Image Specification, config.md.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::dockerfile::{Command, CommandLine, HealthcheckInstruction, Pair, Word};
use super::expand::{ExpandError, Expanded};
use super::stages::{Globals, Scope};
use crate::engine::runtime::DEFAULT_PATH;
use crate::model::{Digest, Platform, PortMapping, Signal};

/// What runs lines of a shell where no SHELL says otherwise.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// What is wrong with an instruction once its variables are replaced, at which word.
#[derive(Debug)]
pub struct Wrong {
    pub place: super::dockerfile::Place,
    pub cause: ConfigError,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Expand(#[from] ExpandError),
    #[error("{0}")]
    Signal(#[from] crate::model::signal::InvalidSignal),
    #[error("`{text}` is not a port such as 80, 53/udp or 8000-8010")]
    Port { text: String },
    #[error("{instruction}: {name:?} is nothing once its variables are replaced")]
    Blank { instruction: &'static str, name: String },
    #[error("the base's configuration cannot be read: {why}")]
    Base { why: String },
}

/// Where an image has come to.
#[derive(Clone, Debug)]
pub struct Image {
    /// All of the base's configuration but what is set anew at the end.
    whole: Map<String, Value>,
    /// What its containers run by default.
    run: Map<String, Value>,
    pub scope: Scope,
    history: Vec<Value>,
    /// Whether this Dockerfile's stage has set the command.
    has_command: bool,
    platform: Platform,
}

impl Image {
    /// An empty image for `platform`.
    pub fn scratch(platform: Platform, escape: char) -> Self {
        let mut run = Map::new();
        with_path(&mut run);
        let scope = Scope::new([], escape);
        let mut image = Self { whole: Map::new(), run, scope, history: Vec::new(), has_command: false, platform };
        image.scope = Scope::new(image.environment(), escape);
        image
    }

    /// The image whose configuration is `content`, and the triggers that it has for whoever begins with it.
    ///
    /// # Errors
    /// When it is not an object of JSON.
    pub fn of_base(content: &[u8], platform: Platform, escape: char) -> Result<(Self, Vec<String>), ConfigError> {
        let mut whole: Map<String, Value> =
            serde_json::from_slice(content).map_err(|error| ConfigError::Base { why: error.to_string() })?;
        let mut run = match whole.remove("config") {
            Some(Value::Object(run)) => run,
            _ => Map::new(),
        };
        let history = match whole.remove("history") {
            Some(Value::Array(history)) => history,
            _ => Vec::new(),
        };
        // What an old docker noted of the container that an image was made from.
        for key in
            ["container", "container_config", "docker_version", "id", "parent", "created", "rootfs", "moby.buildkit.cache.v0"]
        {
            whole.remove(key);
        }
        let triggers = strings(run.remove("OnBuild").as_ref());
        with_path(&mut run);
        let environment = strings(run.get("Env")).into_iter().filter_map(|line| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        });
        let scope = Scope::new(environment, escape);
        Ok((Self { whole, run, scope, history, has_command: false, platform }, triggers))
    }

    /// The same for a stage that begins with this one: triggers are the stage's own business. ARGs are handed down, and where
    /// ENV has the same name, it counts again: so BuildKit has it.
    pub fn handed_down(&self) -> Self {
        let mut image = self.clone();
        image.run.remove("OnBuild");
        for (name, value) in self.environment() {
            image.scope.set(&name, value);
        }
        image.has_command = false;
        image
    }

    /// Its variables: of the base and of ENV, in their order.
    pub fn environment(&self) -> Vec<(String, String)> {
        let lines = strings(self.run.get("Env")).into_iter();
        lines.filter_map(|line| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))).collect()
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.run.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    pub fn user(&self) -> Option<&str> {
        self.text("User")
    }

    /// Absolute.
    pub fn working_dir(&self) -> &str {
        self.text("WorkingDir").unwrap_or("/")
    }

    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// What a line of a shell is run by.
    pub fn shell(&self) -> Vec<String> {
        let own = strings(self.run.get("Shell"));
        if own.is_empty() { SHELL.map(str::to_owned).to_vec() } else { own }
    }

    /// A command line as arguments.
    pub fn arguments(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.shell().into_iter().chain([text.clone()]).collect(),
        }
    }

    /// Replaces the variables of a word.
    pub fn word(&self, word: &Word, unset: &mut Vec<(super::dockerfile::Place, String)>) -> Result<String, Wrong> {
        take(self.scope.word(&word.text), word, unset)
    }

    /// Does what an instruction says that changes no file. False: it is another one, and nothing is done. Variables without a
    /// value are told in `unset`.
    ///
    /// # Errors
    /// What is wrong with it, once its variables are replaced.
    pub fn apply(
        &mut self,
        command: &Command,
        globals: &Globals,
        given: &std::collections::BTreeMap<String, String>,
        unset: &mut Vec<(super::dockerfile::Place, String)>,
    ) -> Result<bool, Wrong> {
        match command {
            Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::From(_) | Command::Workdir(_) => return Ok(false),
            Command::Arg(arguments) => {
                for argument in arguments {
                    let declared = self.scope.declare(argument, globals, given);
                    let name = declared.map_err(|error| wrong(argument.name.place, error))?;
                    let value = self.scope.get(&name).map(|value| format!("={value}")).unwrap_or_default();
                    self.note(format!("ARG {name}{value}"));
                }
            }
            Command::Env(pairs) => {
                let pairs = self.pairs("ENV", pairs, unset)?;
                let mut lines = strings(self.run.get("Env"));
                let mut told = Vec::new();
                for (name, value) in pairs {
                    let line = format!("{name}={value}");
                    told.push(line.clone());
                    match lines.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
                        Some(known) => *known = line,
                        None => lines.push(line),
                    }
                    self.scope.set(&name, value);
                }
                self.put("Env", lines.into());
                self.note(format!("ENV {}", told.join(" ")));
            }
            Command::Label(pairs) => {
                let pairs = self.pairs("LABEL", pairs, unset)?;
                let told: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
                pairs.into_iter().for_each(|(name, value)| drop(self.object("Labels").insert(name, value.into())));
                self.note(format!("LABEL {}", told.join(" ")));
            }
            Command::Cmd(line) => {
                let words = self.arguments(line);
                self.note(format!("CMD {}", json!(words)));
                self.put("Cmd", words.into());
                self.has_command = true;
            }
            Command::Entrypoint(line) => {
                let words = self.arguments(line);
                self.note(format!("ENTRYPOINT {}", json!(words)));
                self.put("Entrypoint", words.into());
                // A command of the base was made for the base's entry point.
                if !self.has_command {
                    self.run.remove("Cmd");
                }
            }
            Command::Shell(words) => {
                self.note(format!("SHELL {}", json!(words)));
                self.put("Shell", words.clone().into());
            }
            Command::User(word) => {
                let user = self.filled("USER", word, unset)?;
                self.note(format!("USER {user}"));
                self.put("User", user.into());
            }
            Command::Stopsignal(word) => {
                let text = self.filled("STOPSIGNAL", word, unset)?;
                // As it was written: programs that read it know numbers and both spellings.
                text.parse::<Signal>().map_err(|error| wrong(word.place, error))?;
                self.note(format!("STOPSIGNAL {text}"));
                self.put("StopSignal", text.into());
            }
            Command::Expose(words) => {
                let mut told = Vec::new();
                for word in words {
                    for text in take(self.scope.words(&word.text), word, unset)? {
                        // Of what is written as for publishing, the container's port counts, and the case never does: so
                        // Docker, and Dockerfiles have it.
                        let lower = text.to_ascii_lowercase();
                        // It can be told that a port is for SCTP, though nothing publishes it.
                        let (ports, protocol) = match lower.strip_suffix("/sctp").filter(|ports| !ports.contains('/')) {
                            Some(ports) => (PortMapping::parse_all(ports), Some("sctp")),
                            None => (PortMapping::parse_all(&lower), None),
                        };
                        for port in ports.map_err(|_| wrong(word.place, ConfigError::Port { text: text.clone() }))? {
                            let port = format!("{}/{}", port.container_port, protocol.unwrap_or(port.protocol.as_str()));
                            told.push(port.clone());
                            self.object("ExposedPorts").insert(port, json!({}));
                        }
                    }
                }
                self.note(format!("EXPOSE {}", told.join(" ")));
            }
            Command::Volume(words) => {
                let mut told = Vec::new();
                for word in words {
                    let path = self.filled("VOLUME", word, unset)?;
                    told.push(path.clone());
                    self.object("Volumes").insert(path, json!({}));
                }
                self.note(format!("VOLUME {}", json!(told)));
            }
            Command::Healthcheck(check) => self.check(check),
            Command::Maintainer(author) => {
                self.whole.insert("author".to_owned(), author.clone().into());
                self.note(format!("MAINTAINER {author}"));
            }
            Command::Onbuild(trigger) => {
                let mut all = strings(self.run.get("OnBuild"));
                all.push(trigger.text.clone());
                self.put("OnBuild", all.into());
                self.note(format!("ONBUILD {}", trigger.text));
            }
        }
        Ok(true)
    }

    /// Where WORKDIR leads, from where the image is.
    pub fn enter(&mut self, path: &str) -> String {
        let joined = clean(&format!("{}/{path}", if path.starts_with('/') { "" } else { self.working_dir() }));
        self.put("WorkingDir", joined.clone().into());
        joined
    }

    /// Labels of the command line.
    pub fn label(&mut self, name: &str, value: &str) {
        self.object("Labels").insert(name.to_owned(), value.into());
    }

    fn check(&mut self, check: &HealthcheckInstruction) {
        let HealthcheckInstruction::Command { command, interval, timeout, start_period, start_interval, retries } = check else {
            self.put("Healthcheck", json!({"Test": ["NONE"]}));
            self.note("HEALTHCHECK NONE".to_owned());
            return;
        };
        let test: Vec<String> = match command {
            CommandLine::Exec(words) => std::iter::once("CMD".to_owned()).chain(words.clone()).collect(),
            CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
        };
        self.note(format!("HEALTHCHECK {}", json!(test)));
        let mut said = Map::new();
        said.insert("Test".to_owned(), test.into());
        let times =
            [("Interval", interval), ("Timeout", timeout), ("StartPeriod", start_period), ("StartInterval", start_interval)];
        for (key, span) in times {
            if let Some(span) = span {
                said.insert(key.to_owned(), u64::try_from(span.0.as_nanos()).unwrap_or(u64::MAX).into());
            }
        }
        if let Some(retries) = retries {
            said.insert("Retries".to_owned(), (*retries).into());
        }
        self.put("Healthcheck", said.into());
    }

    fn pairs(
        &self,
        instruction: &'static str,
        pairs: &[Pair],
        unset: &mut Vec<(super::dockerfile::Place, String)>,
    ) -> Result<Vec<(String, String)>, Wrong> {
        // All of them see the variables as they were before the instruction.
        let pair = |pair: &Pair| Ok((self.filled(instruction, &pair.name, unset)?, self.word(&pair.value, unset)?));
        pairs.iter().map(pair).collect()
    }

    /// A word that says something once its variables are replaced.
    fn filled(
        &self,
        instruction: &'static str,
        word: &Word,
        unset: &mut Vec<(super::dockerfile::Place, String)>,
    ) -> Result<String, Wrong> {
        let text = self.word(word, unset)?;
        if text.is_empty() {
            return Err(wrong(word.place, ConfigError::Blank { instruction, name: word.text.clone() }));
        }
        Ok(text)
    }

    /// A step that made no layer.
    pub fn note(&mut self, created_by: String) {
        self.history.push(json!({"created_by": created_by, "empty_layer": true}));
    }

    /// A step that made one, at that time.
    pub fn note_layer(&mut self, created_by: String, created: i64) {
        self.history.push(json!({"created": time_of(created), "created_by": created_by}));
    }

    fn put(&mut self, key: &str, value: Value) {
        self.run.insert(key.to_owned(), value);
    }

    fn object(&mut self, key: &str) -> &mut Map<String, Value> {
        let value = self.run.entry(key.to_owned()).or_insert_with(|| json!({}));
        if !value.is_object() {
            *value = json!({});
        }
        match value {
            Value::Object(map) => map,
            // It was made one just now.
            _ => unreachable!(),
        }
    }

    /// The configuration of the image as it is published, with these layers, and when it was made: when the last layer was, so
    /// that a build that finds everything done gives the same image. `epoch` is for all, where it is given.
    pub fn finish(&self, diff_ids: &[Digest], created: Option<i64>, epoch: Option<i64>) -> (Vec<u8>, OffsetDateTime) {
        let seconds = epoch.or(created).unwrap_or(0);
        let created = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let mut image = self.whole.clone();
        image.insert("created".to_owned(), time_of(seconds).into());
        image.insert("os".to_owned(), self.platform.os.clone().into());
        image.insert("architecture".to_owned(), self.platform.architecture.clone().into());
        if let Some(variant) = &self.platform.variant {
            image.insert("variant".to_owned(), variant.clone().into());
        }
        image.insert("config".to_owned(), self.run.clone().into());
        image.insert("rootfs".to_owned(), json!({"type": "layers", "diff_ids": diff_ids}));
        image.insert("history".to_owned(), self.history_of(diff_ids.len(), epoch).into());
        (Value::Object(image).to_string().into_bytes(), created)
    }

    /// Steps without a layer are as old as the layer before them.
    fn history_of(&self, layers: usize, epoch: Option<i64>) -> Vec<Value> {
        let mut history = self.history.clone();
        let mut last: Option<Value> = None;
        for step in &mut history {
            let Some(step) = step.as_object_mut() else { continue };
            match (epoch, step.get("created")) {
                // Those of the base stay what they are.
                (_, Some(created)) => last = Some(created.clone()),
                (Some(epoch), None) => drop(step.insert("created".to_owned(), time_of(epoch).into())),
                (None, None) => {
                    if let Some(last) = &last {
                        step.insert("created".to_owned(), last.clone());
                    }
                }
            }
        }
        // A history that does not tell of all layers of the base would be taken to tell of other ones.
        let told = history.iter().filter(|step| step.get("empty_layer").and_then(Value::as_bool) != Some(true)).count();
        let untold = layers.saturating_sub(told);
        history.splice(0..0, (0..untold).map(|_| json!({"created_by": ""})));
        history
    }
}

/// Where programs are looked for, where the base does not say it: programs that read an image's variables expect it there.
fn with_path(run: &mut Map<String, Value>) {
    let mut lines = strings(run.get("Env"));
    if !lines.iter().any(|line| line.starts_with("PATH=")) {
        lines.insert(0, format!("PATH={DEFAULT_PATH}"));
        run.insert("Env".to_owned(), lines.into());
    }
}

/// A time as images have it.
fn time_of(seconds: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

fn wrong(place: super::dockerfile::Place, cause: impl Into<ConfigError>) -> Wrong {
    Wrong { place, cause: cause.into() }
}

fn take<T>(
    expanded: Result<Expanded<T>, ExpandError>,
    word: &Word,
    unset: &mut Vec<(super::dockerfile::Place, String)>,
) -> Result<T, Wrong> {
    let expanded = expanded.map_err(|error| wrong(word.place, error))?;
    unset.extend(expanded.unset.into_iter().map(|name| (word.place, name)));
    Ok(expanded.value)
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An absolute path without `.`, `..` and repeated slashes.
pub fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::engine::build::dockerfile::parse;
    use crate::engine::build::stages::{BuildSettings, plan};

    /// Applies all instructions of the last stage to an image that has `config`.
    fn built(config: Value, text: &str) -> Result<Image, String> {
        let whole = json!({"os": "linux", "architecture": "amd64", "author": "first", "odd": 1, "config": config}).to_string();
        let (mut image, _) = Image::of_base(whole.as_bytes(), Platform::host(), '\\').unwrap();
        let parsed =
            parse(Path::new("Dockerfile"), format!("FROM base\n{text}").as_bytes()).map_err(|errors| errors.to_string())?;
        let settings = BuildSettings {
            target: None,
            arguments: BTreeMap::from([("GIVEN".to_owned(), "yes".to_owned())]),
            build_platform: Platform::host(),
            target_platform: Platform::host(),
            contexts: std::collections::BTreeSet::new(),
        };
        let stages = plan(&parsed, &settings).map_err(|errors| errors.to_string())?;
        for step in &stages.stages[0].steps {
            let mut unset = Vec::new();
            match &step.instruction.command {
                Command::Workdir(path) => drop(image.enter(&path.text)),
                command => {
                    let applied = image.apply(command, &stages.globals, stages.arguments(), &mut unset);
                    applied.map_err(|wrong| format!("{}:{}: {}", wrong.place.line, wrong.place.column, wrong.cause))?;
                }
            }
        }
        Ok(image)
    }

    /// Without the default path, which every image has.
    #[track_caller]
    fn becomes(before: Value, text: &str, after: Value) {
        let image = built(before, text).unwrap_or_else(|error| panic!("{error}"));
        let mut found = image.run.clone();
        let lines: Vec<String> =
            strings(found.get("Env")).into_iter().filter(|line| *line != format!("PATH={DEFAULT_PATH}")).collect();
        match lines.is_empty() {
            true => drop(found.remove("Env")),
            false => drop(found.insert("Env".to_owned(), lines.into())),
        }
        assert_eq!(Value::Object(found), after, "{text}");
    }

    #[test]
    fn instructions_change_the_configuration() {
        becomes(json!({}), "ENV A=1 B=\"two words\"\nENV A=2 C=$A", json!({"Env": ["A=2", "B=two words", "C=1"]}));
        becomes(json!({"Env": ["PATH=/bin"]}), "ENV PATH=/usr/bin:$PATH", json!({"Env": ["PATH=/usr/bin:/bin"]}));
        becomes(json!({}), "ARG GIVEN=no\nARG D=x\nLABEL a=$GIVEN b=${D:+set}", json!({"Labels": {"a": "yes", "b": "set"}}));
        becomes(json!({}), "WORKDIR /a\nWORKDIR b/../c", json!({"WorkingDir": "/a/c"}));
        becomes(json!({}), "CMD echo $HOME", json!({"Cmd": ["/bin/sh", "-c", "echo $HOME"]}));
        becomes(
            json!({}),
            "SHELL [\"/bin/bash\", \"-ec\"]\nCMD x",
            json!({"Shell": ["/bin/bash", "-ec"], "Cmd": ["/bin/bash", "-ec", "x"]}),
        );
        becomes(json!({}), "USER ${NOBODY:-app}:app", json!({"User": "app:app"}));
        becomes(
            json!({}),
            "ENV P=80\nEXPOSE $P 53/UDP 9-10 1:7 5-6/SCTP",
            json!({"Env": ["P=80"], "ExposedPorts": {
                "80/tcp": {}, "53/udp": {}, "9/tcp": {}, "10/tcp": {}, "7/tcp": {}, "5/sctp": {}, "6/sctp": {},
            }}),
        );
        becomes(json!({}), "VOLUME [\"/a\", \"/b\"]\nVOLUME /c", json!({"Volumes": {"/a": {}, "/b": {}, "/c": {}}}));
        becomes(json!({}), "STOPSIGNAL SIGQUIT", json!({"StopSignal": "SIGQUIT"}));
        becomes(json!({}), "ONBUILD RUN make", json!({"OnBuild": ["RUN make"]}));
        becomes(
            json!({}),
            "HEALTHCHECK --interval=5s --retries=3 CMD [\"curl\", \"x\"]",
            json!({"Healthcheck": {"Test": ["CMD", "curl", "x"], "Interval": 5_000_000_000u64, "Retries": 3}}),
        );
        becomes(json!({"Healthcheck": {"Test": ["CMD", "x"]}}), "HEALTHCHECK NONE", json!({"Healthcheck": {"Test": ["NONE"]}}));
        // Triggers of the base are the builder's business.
        becomes(json!({"OnBuild": ["RUN x"]}), "CMD [\"y\"]", json!({"Cmd": ["y"]}));
    }

    #[test]
    fn a_command_goes_with_its_entry_point() {
        let base = || json!({"Entrypoint": ["old"], "Cmd": ["of", "base"]});
        becomes(base(), "ENTRYPOINT [\"new\"]", json!({"Entrypoint": ["new"]}));
        becomes(base(), "CMD [\"own\"]\nENTRYPOINT [\"new\"]", json!({"Entrypoint": ["new"], "Cmd": ["own"]}));
        becomes(base(), "CMD [\"own\"]", json!({"Entrypoint": ["old"], "Cmd": ["own"]}));
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        for (text, expected) in [
            ("EXPOSE ${P:-99999}", "2:8: `99999` is not a port"),
            ("EXPOSE 80/sctp/tcp", "2:8: `80/sctp/tcp` is not a port"),
            ("EXPOSE 80/udp/sctp", "2:8: `80/udp/sctp` is not a port"),
            ("STOPSIGNAL ${S:-NOPE}", "2:12: "),
            ("USER $NOBODY", "2:6: USER: \"$NOBODY\" is nothing"),
            ("ENV A=${B:?needed}", "2:7: the variable `B` is required: needed"),
        ] {
            let error = built(json!({}), text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    /// The same instructions on the same base give the same bytes, and steps without a layer are as old as the layer before.
    #[test]
    fn the_published_configuration_is_steady() {
        let make = || {
            let mut image = built(json!({}), "ENV A=1\nCMD [\"x\"]").unwrap();
            image.note_layer("RUN x".to_owned(), 1000);
            image.note("LABEL a=b".to_owned());
            image
        };
        let layers = [Digest::of(b"a"), Digest::of(b"b")];
        let (bytes, created) = make().finish(&layers, Some(1000), None);
        assert_eq!(bytes, make().finish(&layers, Some(1000), None).0);
        assert_eq!(created.unix_timestamp(), 1000);
        let said: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&said["author"], &said["odd"]), (&json!("first"), &json!(1)));
        assert_eq!(said["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
        let history = said["history"].as_array().unwrap();
        let with_layers = history.iter().filter(|step| step.get("empty_layer").is_none()).count();
        assert_eq!((history.len(), with_layers), (5, 2), "{history:?}");
        assert_eq!(history[4]["created"], "1970-01-01T00:16:40Z");
        let (bytes, created) = make().finish(&layers, Some(1000), Some(7));
        let said: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((created.unix_timestamp(), &said["created"]), (7, &json!("1970-01-01T00:00:07Z")));
    }

    #[test]
    fn paths_are_cleaned() {
        for (path, expected) in [("/", "/"), ("//a/./b/../c/", "/a/c"), ("/../x", "/x"), ("", "/")] {
            assert_eq!(clean(path), expected);
        }
    }
}
