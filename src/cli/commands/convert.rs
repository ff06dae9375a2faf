//! `convert`: what manifests or compose files say, printed as manifests.

use std::path::Path;

use super::stacks::load_whole;
use crate::cli::args::ConvertArgs;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::files;
use crate::manifest::Desired;
use crate::manifest::print::{self, Origins, Printed};

/// Manifests may have passwords in their environments.
const MODE: u32 = 0o600;

pub(super) fn convert(mut args: ConvertArgs, output: Output) -> Result<i32, CliError> {
    if args.files.profile.is_empty() {
        // What is optional stays so: its profiles are printed with it.
        args.files.profile.push("*".to_owned());
    }
    let loaded = load_whole(&args.files, output)?;
    write(&loaded.desired, &loaded.origins, args.out.as_deref(), output)
}

/// Prints the manifests of a stack, or writes them into a folder.
pub(super) fn write(desired: &Desired, origins: &Origins, out: Option<&Path>, output: Output) -> Result<i32, CliError> {
    let Some(folder) = out else {
        output.text(print::join(&print::print(desired, origins, None)?))?;
        return Ok(0);
    };
    let base = std::path::absolute(folder).map_err(|source| CliError::Folder { path: folder.to_owned(), source })?;
    let all = print::print(desired, origins, Some(&base))?;
    files::create_dirs(folder, 0o755)?;
    // All or none: what is there already is somebody's.
    if let Some(Printed { file, .. }) = all.iter().find(|printed| folder.join(&printed.file).exists()) {
        return Err(CliError::FileThere { path: folder.join(file) });
    }
    for printed in &all {
        let path = folder.join(&printed.file);
        files::publish(&path, printed.text.as_bytes(), MODE)?;
        output.line(path.display().to_string())?;
    }
    Ok(0)
}
