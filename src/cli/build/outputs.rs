//! Where the result goes: `--output`, `--push` and `--load`.

use std::path::PathBuf;

use super::Inputs;
use super::error::{BuildArgsError, words};
use crate::cli::args::BuildArgs;
use crate::cli::spec::flag;
use crate::model::build::BuildOutput;
use crate::model::{ImageRef, build_words, did_you_mean};

const FLAG: &str = "--output";

#[derive(Debug, Default)]
pub(super) struct Outputs {
    /// Nothing is the store of images.
    pub(super) all: Vec<BuildOutput>,
    /// Names of the image, beside its tags.
    pub(super) names: Vec<ImageRef>,
    /// Whether what is written to the spool goes to standard output.
    pub(super) to_stdout: bool,
    /// The paths in it.
    pub(super) paths: Vec<PathBuf>,
}

pub(super) fn read(args: &BuildArgs, inputs: &Inputs<'_>) -> Result<Outputs, BuildArgsError> {
    let mut found = Outputs::default();
    for text in &args.output {
        found.add(text, inputs)?;
    }
    if args.load || args.push {
        found.image(args.push);
    }
    Ok(found)
}

/// One output as it is written.
#[derive(Debug, Default)]
struct Written {
    kind: Option<String>,
    dest: Option<String>,
    names: Vec<ImageRef>,
    push: bool,
    /// A folder instead of an archive.
    folder: bool,
}

impl Outputs {
    fn image(&mut self, push: bool) {
        for output in &mut self.all {
            if let BuildOutput::Image { push: known } = output {
                *known |= push;
                return;
            }
        }
        self.all.push(BuildOutput::Image { push });
    }

    fn add(&mut self, text: &str, inputs: &Inputs<'_>) -> Result<(), BuildArgsError> {
        if !text.contains('=') {
            match text {
                "" => return wrong(text, "expected a folder, `-`, or type=…"),
                "-" => return self.file(inputs, None, |path| BuildOutput::Tar { path }),
                folder => {
                    let path = self.path(inputs, folder);
                    self.all.push(BuildOutput::Local { path });
                    return Ok(());
                }
            }
        }
        let written = written(text)?;
        let Some(kind) = written.kind.as_deref() else { return wrong(text, "it needs `type=…`") };
        let is_image = matches!(kind, "image" | "registry") || kind == "docker" && written.dest.is_none();
        if written.push && !is_image {
            return wrong(text, "only images are pushed");
        }
        if written.folder && kind != "oci" {
            return wrong(text, "`tar=false` is for type=oci");
        }
        let names = written.names.clone();
        let dest = written.dest.clone();
        match kind {
            "image" | "registry" if dest.is_some() => return wrong(text, "an image has no `dest`"),
            "image" => self.image(written.push),
            "registry" => self.image(true),
            "docker" if dest.is_none() => self.image(written.push),
            "docker" => self.file(inputs, dest, |path| BuildOutput::Docker { path })?,
            "tar" => self.file(inputs, dest, |path| BuildOutput::Tar { path })?,
            "local" => match dest.as_deref() {
                None | Some("" | "-") => return wrong(text, "it needs `dest=FOLDER`"),
                Some(folder) => {
                    let path = self.path(inputs, folder);
                    self.all.push(BuildOutput::Local { path });
                }
            },
            "oci" if written.folder => match dest.as_deref() {
                None | Some("" | "-") => return wrong(text, "a layout without a tar needs `dest=FOLDER`"),
                Some(folder) => {
                    let path = self.path(inputs, folder);
                    self.all.push(BuildOutput::Oci { path, tar: false });
                }
            },
            "oci" => self.file(inputs, dest, |path| BuildOutput::Oci { path, tar: true })?,
            other => {
                let known = ["image", "registry", "tar", "local", "oci", "docker"];
                let hint = did_you_mean(other, known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
                return wrong(text, &format!("outputs of the type `{other}` are not supported: {hint}"));
            }
        }
        if !names.is_empty() && matches!(kind, "tar" | "local") {
            return wrong(text, "files have no `name`");
        }
        self.names.extend(names);
        Ok(())
    }

    /// A file, or standard output by way of the spool.
    fn file(
        &mut self,
        inputs: &Inputs<'_>,
        dest: Option<String>,
        output: fn(PathBuf) -> BuildOutput,
    ) -> Result<(), BuildArgsError> {
        let path = match dest.as_deref() {
            None | Some("" | "-") => {
                if std::mem::replace(&mut self.to_stdout, true) {
                    return Err(BuildArgsError::TwoToOutput);
                }
                self.paths.extend(inputs.spool.parent().map(PathBuf::from));
                inputs.spool.clone()
            }
            Some(file) => self.path(inputs, file),
        };
        self.all.push(output(path));
        Ok(())
    }

    fn path(&mut self, inputs: &Inputs<'_>, text: &str) -> PathBuf {
        let path = inputs.around.cwd.join(text);
        // What is not there yet is made below the nearest folder that is.
        self.paths.extend(path.ancestors().find(|folder| folder.is_dir()).map(PathBuf::from));
        path
    }
}

fn written(text: &str) -> Result<Written, BuildArgsError> {
    let mut found = Written::default();
    for (key, value) in words(FLAG, text, build_words::fields(text))? {
        let switch = |value: Option<&str>| match value {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(other) => wrong(text, &format!("`{key}` is `true` or `false`, and not {other:?}")),
        };
        match key.as_str() {
            "type" => found.kind = value,
            "dest" => found.dest = Some(value.unwrap_or_default()),
            "push" => found.push = switch(value.as_deref())?,
            "tar" => found.folder = !switch(value.as_deref())?,
            "name" => {
                for name in value.unwrap_or_default().split(',') {
                    found.names.push(flag(FLAG, text, name.parse())?);
                }
            }
            _ => {
                let known = ["type", "dest", "name", "push", "tar"];
                let hint = did_you_mean(&key, known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
                return wrong(text, &format!("an output has no `{key}`: {hint}"));
            }
        }
    }
    Ok(found)
}

fn wrong<T>(text: &str, why: &str) -> Result<T, BuildArgsError> {
    Ok(flag(FLAG, text, Err::<T, &str>(why))?)
}
