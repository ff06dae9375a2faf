//! Where the result goes: `--output`, `--push` and `--load`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Inputs;
use super::error::{BuildArgsError, words};
use crate::cli::args::BuildArgs;
use crate::cli::spec::flag;
use crate::model::build::BuildOutput;
use crate::model::{Compression, ImageRef, Packing, build_words, did_you_mean, packing};

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
    /// Of the image's manifest.
    pub(super) annotations: BTreeMap<String, String>,
    /// Whether images have Docker's media types, where an output says it.
    docker_types: Option<bool>,
    /// Whether times in layers are to be no later than `SOURCE_DATE_EPOCH`, where an output says it.
    rewrites: Option<bool>,
}

impl Outputs {
    /// Whether what is said of times can be had with this epoch: with one no layer has later times, and without one all have their
    /// own.
    pub(super) fn check_times(&self, epoch: Option<i64>) -> Result<(), BuildArgsError> {
        match (self.rewrites, epoch) {
            (Some(true), None) => wrong("rewrite-timestamp=true", "set SOURCE_DATE_EPOCH to the latest time that files may have"),
            (Some(false), Some(_)) => {
                wrong("rewrite-timestamp=false", "with SOURCE_DATE_EPOCH no file in a layer is newer: leave one of the two out")
            }
            _ => Ok(()),
        }
    }

    pub(super) fn docker_types(&self) -> bool {
        self.docker_types.unwrap_or_default()
    }
}

pub(super) fn read(args: &BuildArgs, inputs: &Inputs<'_>) -> Result<Outputs, BuildArgsError> {
    let mut found = Outputs::default();
    for text in &args.output {
        found.add(text, inputs)?;
    }
    if args.load || args.push {
        found.image(&Written { push: args.push, ..Written::default() });
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
    packing: Packing,
    /// Pushed without a tag.
    by_digest: bool,
    docker_types: Option<bool>,
    annotations: BTreeMap<String, String>,
    /// Times in layers are no later than `SOURCE_DATE_EPOCH`.
    rewrites: Option<bool>,
}

impl Outputs {
    fn image(&mut self, written: &Written) {
        for output in &mut self.all {
            if let BuildOutput::Image { push, by_digest, packing } = output {
                *push |= written.push;
                *by_digest |= written.by_digest;
                if !written.packing.is_default() {
                    *packing = written.packing;
                }
                return;
            }
        }
        let Written { push, by_digest, packing, .. } = *written;
        self.all.push(BuildOutput::Image { push, by_digest, packing });
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
        let mut written = written(text)?;
        let Some(kind) = written.kind.clone() else { return wrong(text, "it needs `type=…`") };
        let kind = kind.as_str();
        written.push |= kind == "registry";
        let is_image = matches!(kind, "image" | "registry") || kind == "docker" && written.dest.is_none();
        check(text, kind, is_image, &written)?;
        let (dest, packing) = (written.dest.clone(), written.packing);
        match kind {
            "image" | "registry" if dest.is_some() => return wrong(text, "an image has no `dest`"),
            "image" | "registry" => self.image(&written),
            "docker" if dest.is_none() => self.image(&written),
            "docker" => self.file(inputs, dest, |path| BuildOutput::Docker { path, packing })?,
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
                    self.all.push(BuildOutput::Oci { path, tar: false, packing });
                }
            },
            "oci" => self.file(inputs, dest, |path| BuildOutput::Oci { path, tar: true, packing })?,
            other => {
                let known = ["image", "registry", "tar", "local", "oci", "docker"];
                let hint = did_you_mean(other, known).unwrap_or_else(|| format!("there are {}", known.join(", ")));
                return wrong(text, &format!("outputs of the type `{other}` are not supported: {hint}"));
            }
        }
        if let Some(docker) = written.docker_types
            && self.docker_types.replace(docker).is_some_and(|before| before != docker)
        {
            return wrong(text, "one image has either OCI's media types or Docker's");
        }
        self.rewrites = written.rewrites.or(self.rewrites);
        self.names.extend(written.names);
        for (key, value) in written.annotations {
            if self.annotations.insert(key.clone(), value.clone()).is_some_and(|before| before != value) {
                return wrong(text, &format!("one image has one annotation `{key}`"));
            }
        }
        Ok(())
    }

    /// A file, or standard output by way of the spool.
    fn file(
        &mut self,
        inputs: &Inputs<'_>,
        dest: Option<String>,
        output: impl FnOnce(PathBuf) -> BuildOutput,
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

/// Whether the fields fit the type.
fn check(text: &str, kind: &str, is_image: bool, written: &Written) -> Result<(), BuildArgsError> {
    if written.push && !is_image {
        return wrong(text, "only images are pushed");
    }
    if written.folder && kind == "docker" {
        return wrong(text, "docker's form is an archive, which `docker load` reads: a folder is `type=oci,tar=false`");
    }
    if written.folder && kind != "oci" {
        return wrong(text, "`tar=false` is for type=oci");
    }
    if written.by_digest && !written.push {
        return wrong(text, "`push-by-digest` needs `push=true`");
    }
    if matches!(kind, "tar" | "local") {
        let given = [
            (!written.names.is_empty(), "name"),
            (!written.packing.is_default(), "compression"),
            (written.docker_types.is_some(), "oci-mediatypes"),
            (!written.annotations.is_empty(), "annotation"),
        ];
        if let Some((_, key)) = given.iter().find(|(given, _)| *given) {
            return wrong(text, &format!("files have no `{key}`"));
        }
    }
    if !written.packing.is_default() && is_image && !written.push {
        return wrong(text, "layers of images here are not packed: `compression` is of what is pushed, and of archives");
    }
    if written.docker_types == Some(true) && written.packing.compression == Some(Compression::Zstd) {
        return wrong(text, "Docker's media types have no zstd: leave out `oci-mediatypes=false`");
    }
    Ok(())
}

fn written(text: &str) -> Result<Written, BuildArgsError> {
    let mut found = Written::default();
    for (key, value) in words(FLAG, text, build_words::fields(text))? {
        let value = value.as_deref();
        let switch = |key: &'static str| flag(FLAG, text, packing::switch(key, value));
        match key.as_str() {
            "type" => found.kind = value.map(str::to_owned),
            "dest" => found.dest = Some(value.unwrap_or_default().to_owned()),
            "push" => found.push = switch("push")?,
            "tar" => found.folder = !switch("tar")?,
            "push-by-digest" => found.by_digest = switch("push-by-digest")?,
            "oci-mediatypes" => found.docker_types = Some(!switch("oci-mediatypes")?),
            "rewrite-timestamp" => found.rewrites = Some(switch("rewrite-timestamp")?),
            // What is built here is unpacked, is kept, and is found by its name with its digest.
            "unpack" if !switch("unpack")? => return wrong(text, "layers are unpacked here: leave out `unpack`"),
            "store" if !switch("store")? => {
                return wrong(text, "an image is kept here: leave out `store`, or write it elsewhere with type=oci,dest=FILE");
            }
            "name-canonical" if !switch("name-canonical")? => {
                return wrong(text, "an image is found by its name with its digest: leave out `name-canonical`");
            }
            "unpack" | "store" | "name-canonical" => {}
            "registry.insecure" => {
                return wrong(text, "say in /etc/setpoint/registries.yaml which registries speak plain HTTP: `plainHttp`");
            }
            "name" => {
                for name in value.unwrap_or_default().split(',') {
                    found.names.push(flag(FLAG, text, name.parse())?);
                }
            }
            key => {
                if flag(FLAG, text, found.packing.field(key, value))? {
                    continue;
                }
                let Some((level, name)) = key.split_once('.').filter(|(level, _)| level.starts_with("annotation")) else {
                    let known = KNOWN.iter().copied().chain(Packing::KEYS);
                    let hint = did_you_mean(key, known).unwrap_or_else(|| format!("there are {}", KNOWN.join(", ")));
                    return wrong(text, &format!("an output has no `{key}`: {hint}"));
                };
                if !matches!(level, "annotation" | "annotation-manifest") || name.is_empty() {
                    return wrong(text, "annotations are of the image's manifest: `annotation.KEY=VALUE`");
                }
                found.annotations.insert(name.to_owned(), value.unwrap_or_default().to_owned());
            }
        }
    }
    flag(FLAG, text, found.packing.check())?;
    Ok(found)
}

const KNOWN: [&str; 12] = [
    "type",
    "dest",
    "name",
    "push",
    "tar",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "annotation.KEY",
    "rewrite-timestamp",
    "push-by-digest",
];

fn wrong<T>(text: &str, why: &str) -> Result<T, BuildArgsError> {
    Ok(flag(FLAG, text, Err::<T, &str>(why))?)
}
