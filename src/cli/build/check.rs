//! `--check`: what is wrong and what is doubtful in a Dockerfile, without a build.

use std::path::{Path, PathBuf};

use super::error::BuildArgsError;
use super::{Inputs, asked};
use crate::cli::args::BuildArgs;
use crate::engine::build::dockerfile;
use crate::engine::build::stages::{self, BuildSettings};
use crate::files;
use crate::model::Problem;
use crate::model::build::{BuildRequest, ContextSource, DockerfileSource};

/// What a check has found.
#[derive(Debug)]
pub struct Findings {
    pub errors: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// Build arguments that no ARG asks for.
    pub unused_arguments: Vec<String>,
}

/// Checks the Dockerfile that the arguments name. It must be on this host.
pub fn check(args: &BuildArgs, inputs: &mut Inputs<'_>) -> Result<Findings, BuildArgsError> {
    let request = asked(args, inputs)?.request;
    let (name, bytes) = text(&request)?;
    let mut found = Findings { errors: Vec::new(), warnings: Vec::new(), unused_arguments: Vec::new() };
    let file = match dockerfile::parse(&name, &bytes) {
        Ok(file) => file,
        Err(errors) => {
            found.errors.extend(errors.faults.into_iter().map(|fault| fault.problem));
            return Ok(found);
        }
    };
    found.warnings.extend(file.warnings.iter().map(|warning| warning.problem.clone()));
    let settings =
        BuildSettings::on_this_host(request.target.as_ref(), &request.arguments, &request.platforms, request.contexts.keys());
    match stages::plan(&file, &settings) {
        Ok(stages) => found.unused_arguments.extend(stages.unused_arguments),
        Err(errors) => found.errors.extend(errors.faults.into_iter().map(|fault| fault.problem)),
    }
    Ok(found)
}

/// The Dockerfile's content, and what errors call it: a path from the current folder, as its reader would type it.
pub(super) fn text(request: &BuildRequest) -> Result<(PathBuf, Vec<u8>), BuildArgsError> {
    let path = match (&request.dockerfile, &request.context) {
        (DockerfileSource::Text { name, text }, _) => return Ok((name.into(), text.clone().into_bytes())),
        (DockerfileSource::File(path), _) => path.clone(),
        (DockerfileSource::InContext(inside), ContextSource::Folder(folder)) => {
            folder.join(inside.as_deref().unwrap_or("Dockerfile"))
        }
        (DockerfileSource::InContext(_), ContextSource::Git(source) | ContextSource::Url(source)) => {
            return Err(BuildArgsError::NotChecked { what: source.clone() });
        }
        (DockerfileSource::InContext(_), _) => {
            return Err(BuildArgsError::NotChecked { what: "what comes on standard input".to_owned() });
        }
    };
    if !path.exists() {
        return Err(BuildArgsError::NoDockerfile { path });
    }
    let bytes = files::read(&path)?;
    let name = path.file_name().map_or_else(|| path.clone(), |name| Path::new(name).to_owned());
    Ok((name, bytes))
}
