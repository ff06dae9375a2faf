//! The tree of a Dockerfile: what its instructions are made of. Only data, and the few questions that need nothing else.

use std::path::{Path, PathBuf};

use super::error::Warning;
use super::health::HealthcheckInstruction;
use super::heredoc::{self, Heredoc};
use super::mounts::MountOptions;
use crate::model::Problem;

/// Every instruction there is.
pub const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A place in a text: line and column from 1, the column in characters. Line 0 is the text as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// A text in which variables are yet to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub place: Place,
}

/// A whole file.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    pub directives: Directives,
    /// In their order; before the first FROM there are only ARGs, and there is at least one FROM.
    pub instructions: Vec<Instruction>,
    pub warnings: Vec<Warning>,
    pub source: SourceText,
}

/// The text as it was given, for what is said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    file: PathBuf,
    lines: Vec<String>,
}

impl SourceText {
    pub(super) fn new(file: &Path, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes));
        Self { file: file.to_owned(), lines: text.lines().map(str::to_owned).collect() }
    }

    /// All of it, as it was read.
    pub fn text(&self) -> String {
        self.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// What is wrong at a place of this text, to be shown to who wrote it.
    pub fn problem(&self, place: Place, message: String, hint: Option<String>) -> Problem {
        let snippet = (place.line as usize).checked_sub(1).and_then(|line| self.lines.get(line)).cloned().unwrap_or_default();
        let width = snippet.chars().skip((place.column as usize).saturating_sub(1)).take_while(|c| !c.is_whitespace()).count();
        Problem {
            file: self.file.clone(),
            line: place.line as usize,
            column: place.column as usize,
            width: width.max(1),
            snippet,
            message,
            hint,
        }
    }
}

/// Comments at the head of the file that say how it is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The frontend that the file asks for. It is recorded, and the file is read by this parser all the same.
    pub syntax: Option<String>,
    /// What takes the meaning from the next character, and joins a line with the next: `\` or `` ` ``.
    pub escape: char,
    /// Settings of checks, such as `skip=all`; recorded only.
    pub check: Option<String>,
}

impl Default for Directives {
    fn default() -> Self {
        Self { syntax: None, escape: '\\', check: None }
    }
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub place: Place,
    /// The last line that belongs to it, heredocs and all.
    pub last_line: u32,
    /// The instruction's name as it was written.
    pub keyword: String,
    /// All of it on one line, without the bodies of heredocs.
    pub text: String,
    pub command: Command,
}

/// What an instruction says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Add(AddFiles),
    Arg(Vec<Argument>),
    Cmd(CommandLine),
    Copy(CopyFiles),
    Entrypoint(CommandLine),
    Env(Vec<Pair>),
    /// Each may become several ports once its variables are replaced.
    Expose(Vec<Word>),
    From(From),
    Healthcheck(HealthcheckInstruction),
    Label(Vec<Pair>),
    Maintainer(String),
    Onbuild(OnBuild),
    Run(Run),
    Shell(Vec<String>),
    Stopsignal(Word),
    User(Word),
    Volume(Vec<Word>),
    Workdir(Word),
}

/// The exec form, which is executed as it is, or the shell form, which is handed to the stage's shell as one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    Exec(Vec<String>),
    Shell(String),
}

/// `name=value`, or, in the legacy form of ENV and LABEL, `name value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    pub name: Word,
    pub value: Word,
}

/// `ARG name[=default]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument {
    pub name: Word,
    pub default: Option<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// A stage, an image, or `scratch`.
    pub base: Word,
    pub platform: Option<Word>,
    /// In lower case.
    pub name: Option<String>,
}

/// What COPY and ADD have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    pub sources: Vec<Word>,
    /// Files that are written in the Dockerfile itself; they are copied after the sources.
    pub documents: Vec<Document>,
    pub destination: Word,
    pub chown: Option<Word>,
    pub chmod: Option<Word>,
    /// A layer of its own, which does not look at what is below.
    pub link: bool,
    /// Patterns as in `.dockerignore`; variables are not replaced in them.
    pub exclude: Vec<String>,
}

/// A heredoc of COPY or ADD: a file of mode 0644.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    pub name: String,
    pub content: String,
    /// Whether variables are replaced in it.
    pub expand: bool,
    pub place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFiles {
    pub files: Transfer,
    /// A stage, an image or a named context; else it is the build context. Variables cannot stand here.
    pub from: Option<Word>,
    /// Keep the folders that a source is in.
    pub parents: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddFiles {
    pub files: Transfer,
    pub checksum: Option<Word>,
    /// Unset: as the source itself says, or not.
    pub keep_git_dir: Option<bool>,
    /// Unset: local archives are, downloaded ones are not.
    pub unpack: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnBuild {
    /// What is recorded in the image: the instruction with its heredocs.
    pub text: String,
    pub command: Box<Command>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub command: CommandLine,
    /// The heredocs that the shell form announces.
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<MountOptions>,
    pub network: Network,
    pub security: SandboxMode,
    pub devices: Vec<Device>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    #[default]
    Default,
    None,
    Host,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SandboxMode {
    #[default]
    Sandbox,
    /// All privileges; only where whoever builds allows it.
    Insecure,
}

/// `--device=name[,required]`: a device of the Container Device Interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    pub required: bool,
}

/// What RUN executes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    Exec(Vec<String>),
    /// One argument of the stage's shell.
    Shell(String),
    /// A heredoc that begins with `#!`: an executable file of this name that is put in the container for the time being.
    File {
        name: String,
        content: String,
    },
}

impl Run {
    pub fn script(&self) -> Script {
        let text = match &self.command {
            CommandLine::Exec(words) => return Script::Exec(words.clone()),
            CommandLine::Shell(text) => text,
        };
        match (self.heredocs.as_slice(), heredoc::header(text)) {
            // A heredoc alone is the script itself, so that shells that have none can be used.
            ([only], Ok(Some(_))) => {
                let content = only.body();
                if content.starts_with("#!") { Script::File { name: only.name.clone(), content } } else { Script::Shell(content) }
            }
            (heredocs, _) => Script::Shell(heredoc::attached(text, heredocs)),
        }
    }
}

impl Command {
    /// The instruction's name, in upper case.
    pub fn keyword(&self) -> &'static str {
        match self {
            Self::Add(_) => "ADD",
            Self::Arg(_) => "ARG",
            Self::Cmd(_) => "CMD",
            Self::Copy(_) => "COPY",
            Self::Entrypoint(_) => "ENTRYPOINT",
            Self::Env(_) => "ENV",
            Self::Expose(_) => "EXPOSE",
            Self::From(_) => "FROM",
            Self::Healthcheck(_) => "HEALTHCHECK",
            Self::Label(_) => "LABEL",
            Self::Maintainer(_) => "MAINTAINER",
            Self::Onbuild(_) => "ONBUILD",
            Self::Run(_) => "RUN",
            Self::Shell(_) => "SHELL",
            Self::Stopsignal(_) => "STOPSIGNAL",
            Self::User(_) => "USER",
            Self::Volume(_) => "VOLUME",
            Self::Workdir(_) => "WORKDIR",
        }
    }
}
