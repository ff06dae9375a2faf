//! Where the files and the instructions of a build are: PATH, URL or `-`, `--file` and `--build-context`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{BuildArgsError, words};
use super::{Inputs, archive};
use crate::cli::spec::flag;
use crate::files::FileError;
use crate::model::build::{ContextSource, DockerfileSource};
use crate::model::build_words;

/// Where a build takes from what it is made of.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) source: ContextSource,
    pub(super) dockerfile: DockerfileSource,
    /// What was read of standard input, where the rest of it is the upload.
    pub(super) upload: Option<Vec<u8>>,
    /// The paths in it.
    pub(super) paths: Vec<PathBuf>,
}

/// What errors call a Dockerfile that has no path.
const STDIN_NAME: &str = "Dockerfile";
/// More than any Dockerfile has.
const LONGEST_DOCKERFILE: u64 = 16 << 20;

pub(super) fn read(context: &str, file: Option<&str>, inputs: &mut Inputs<'_>) -> Result<Context, BuildArgsError> {
    if context == "-" {
        return from_input(file, inputs);
    }
    let none = |source, dockerfile| Context { source, dockerfile, upload: None, paths: Vec::new() };
    if let Some(source) = build_words::remote(context) {
        return Ok(none(
            source,
            match file {
                Some("-") => text(inputs, Vec::new())?,
                file => DockerfileSource::InContext(file.map(str::to_owned)),
            },
        ));
    }
    let folder = folder(&inputs.around.cwd.join(context))?;
    let mut found = none(ContextSource::Folder(folder.clone()), DockerfileSource::InContext(None));
    found.paths.push(folder.clone());
    match file {
        None => {}
        Some("-") => found.dockerfile = text(inputs, Vec::new())?,
        Some(file) => {
            let path = dockerfile(&inputs.around.cwd.join(file))?;
            match path.strip_prefix(&folder) {
                Ok(inside) => found.dockerfile = DockerfileSource::InContext(Some(inside.to_string_lossy().into_owned())),
                Err(_) => {
                    found.paths.push(path.clone());
                    found.dockerfile = DockerfileSource::File(path);
                }
            }
        }
    }
    Ok(found)
}

/// A tar, or a Dockerfile alone.
fn from_input(file: Option<&str>, inputs: &mut Inputs<'_>) -> Result<Context, BuildArgsError> {
    if file == Some("-") {
        return Err(BuildArgsError::BothFromInput);
    }
    if inputs.stdin_is_terminal {
        return Err(BuildArgsError::Terminal);
    }
    let head = archive::head(inputs.stdin).map_err(BuildArgsError::Input)?;
    if head.is_empty() {
        return Err(BuildArgsError::NoInput);
    }
    if archive::is_archive(&head) {
        let dockerfile = DockerfileSource::InContext(file.map(str::to_owned));
        return Ok(Context { source: ContextSource::Upload, dockerfile, upload: Some(head), paths: Vec::new() });
    }
    if file.is_some() {
        return Err(BuildArgsError::InputIsDockerfile);
    }
    let dockerfile = text(inputs, head)?;
    Ok(Context { source: ContextSource::Nothing, dockerfile, upload: None, paths: Vec::new() })
}

/// The rest of standard input as a Dockerfile.
fn text(inputs: &mut Inputs<'_>, mut bytes: Vec<u8>) -> Result<DockerfileSource, BuildArgsError> {
    use std::io::Read;
    inputs.stdin.take(LONGEST_DOCKERFILE).read_to_end(&mut bytes).map_err(BuildArgsError::Input)?;
    let text = String::from_utf8(bytes).map_err(|_| BuildArgsError::InputIsNothing)?;
    Ok(DockerfileSource::Text { name: STDIN_NAME.to_owned(), text })
}

/// A folder as it really is.
pub(super) fn folder(path: &Path) -> Result<PathBuf, BuildArgsError> {
    let found = fs::canonicalize(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => BuildArgsError::NoFolder { path: path.to_owned() },
        _ => FileError::new("find", path, e).into(),
    })?;
    if found.is_dir() { Ok(found) } else { Err(BuildArgsError::NotAFolder { path: path.to_owned() }) }
}

/// A Dockerfile in the folder that it really is in, under the name that it was given.
fn dockerfile(path: &Path) -> Result<PathBuf, BuildArgsError> {
    let missing = || BuildArgsError::NoDockerfile { path: path.to_owned() };
    if !path.is_file() {
        return Err(missing());
    }
    let (parent, name) = path.parent().zip(path.file_name()).ok_or_else(missing)?;
    Ok(fs::canonicalize(parent).map_err(|e| FileError::new("find", parent, e))?.join(name))
}

/// The further contexts, and the paths in them.
pub(super) fn named(
    texts: &[String],
    inputs: &Inputs<'_>,
) -> Result<(BTreeMap<String, ContextSource>, Vec<PathBuf>), BuildArgsError> {
    const FLAG: &str = "--build-context";
    let (mut contexts, mut paths) = (BTreeMap::new(), Vec::new());
    for text in texts {
        let (name, value) = flag(FLAG, text, text.split_once('=').ok_or("expected NAME=CONTEXT"))?;
        if name.is_empty() {
            flag(FLAG, text, Err::<(), _>("a context needs a name"))?;
        }
        let source = match words(FLAG, text, build_words::context(value))? {
            ContextSource::Folder(path) => ContextSource::Folder(folder(&inputs.around.cwd.join(path))?),
            ContextSource::Layout { path, image } => {
                ContextSource::Layout { path: folder(&inputs.around.cwd.join(path))?, image }
            }
            other => other,
        };
        if let ContextSource::Folder(path) | ContextSource::Layout { path, .. } = &source {
            paths.push(path.clone());
        }
        if contexts.insert(name.to_owned(), source).is_some() {
            return Err(BuildArgsError::Twice { flag: FLAG, id: name.to_owned() });
        }
    }
    Ok((contexts, paths))
}
