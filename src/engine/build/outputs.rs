//! Where the result of a build goes: registries, archives and folders.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::BuildError;
use super::files::{CopyOrder, Select, Selection, Tree, copy};
use super::ignore::Ignore;
use super::work::Work;
use crate::engine::images::{ArchiveFormat, Given, Images, ImagesError, PushOptions, Saved};
use crate::files::{self, FileError};
use crate::model::build::BuildOutput;
use crate::model::{Digest, ImageRef, Packing};

/// Whether an output is made of an image in the store.
pub(super) const fn needs_image(output: &BuildOutput) -> bool {
    matches!(output, BuildOutput::Image { .. } | BuildOutput::Oci { .. } | BuildOutput::Docker { .. })
}

/// Whether an output is made of the files of the result.
pub(super) const fn needs_files(output: &BuildOutput) -> bool {
    matches!(output, BuildOutput::Local { .. } | BuildOutput::Tar { .. })
}

/// Makes one output. `files`, the root of the result, and `image` are there where an output needs them. What is pushed, and the
/// digest that it has where it went, is put into `gone`.
pub(super) async fn make(
    work: &Arc<Work>,
    output: &BuildOutput,
    files: Option<&Arc<OwnedFd>>,
    image: Option<Digest>,
    gone: &mut BTreeMap<ImageRef, Digest>,
) -> Result<(), BuildError> {
    match output {
        BuildOutput::Image { push: false, .. } => Ok(()),
        BuildOutput::Image { push: true, by_digest, packing } => {
            let digest = image.ok_or(BuildError::Interrupted)?;
            for tag in &work.request.tags {
                let running = work.events.begin(format!("pushing {tag}"));
                let credentials = Given::of(&work.given, tag).cloned();
                let options = PushOptions { credentials, packing: *packing, by_digest: *by_digest, ..PushOptions::default() };
                let pushed = work.images.push(digest, tag, &options, running.progress()).await;
                gone.insert(tag.clone(), running.ended(pushed, false)?.digest);
            }
            Ok(())
        }
        BuildOutput::Local { path } => {
            let root = files.ok_or(BuildError::Interrupted)?.clone();
            let (path, title) = (path.clone(), format!("copying the files to {}", path.display()));
            written(work, title, move |work| local(work, &root, &path)).await
        }
        BuildOutput::Tar { path } => {
            let root = files.ok_or(BuildError::Interrupted)?.clone();
            let (path, title) = (path.clone(), format!("writing {}", path.display()));
            written(work, title, move |_| {
                whole(&path, |file| Ok(Images::export(Path::new(&format!("/proc/self/fd/{}/.", root.as_raw_fd())), file)?))
            })
            .await
        }
        BuildOutput::Oci { tar: false, path, packing } => {
            let saved = Saved { digest: image.ok_or(BuildError::Interrupted)?, references: work.request.tags.clone() };
            let (path, packing, title) = (path.clone(), *packing, format!("writing the layout {}", path.display()));
            written(work, title, move |work| Ok(work.images.save_layout(&saved, &packing, &path).map(drop)?)).await
        }
        BuildOutput::Oci { path, tar: true, packing } => archive(work, path.clone(), ArchiveFormat::Oci, *packing, image).await,
        BuildOutput::Docker { path, packing } => archive(work, path.clone(), ArchiveFormat::Docker, *packing, image).await,
    }
}

async fn written(
    work: &Arc<Work>,
    title: String,
    make: impl FnOnce(&Work) -> Result<(), BuildError> + Send + 'static,
) -> Result<(), BuildError> {
    let running = work.events.begin(title);
    let work = work.clone();
    let made = tokio::task::spawn_blocking(move || make(&work)).await?;
    running.ended(made, false)
}

async fn archive(
    work: &Arc<Work>,
    path: PathBuf,
    format: ArchiveFormat,
    packing: Packing,
    image: Option<Digest>,
) -> Result<(), BuildError> {
    let digest = image.ok_or(BuildError::Interrupted)?;
    let saved = Saved { digest, references: work.request.tags.clone() };
    let title = format!("writing {}", path.display());
    written(work, title, move |work| whole(&path, |file| Ok(work.images.save_packed(&[saved], format, &packing, file)?))).await
}

/// All files of the stage, into a folder that is made if it is not there.
fn local(work: &Work, root: &OwnedFd, path: &Path) -> Result<(), BuildError> {
    let root = root.try_clone().map_err(BuildError::step("open the result"))?;
    let tree = Tree::of_root(root, "the result");
    let (none, all) = (Ignore::default(), ["/".to_owned()]);
    let selection = Selection::of(&tree, &Select { sources: &all, exclude: &none, parents: false })?;
    files::create_dirs(path, 0o755)?;
    let folder = File::open(path).map_err(|e| FileError::new("open folder", path, e))?;
    let epoch = work.request.epoch;
    let order = CopyOrder { destination: "/".to_owned(), to_folder: true, owner: None, mode: None, epoch };
    copy(&selection, folder.as_fd(), &order)?;
    Ok(())
}

/// A file that is whole or absent.
fn whole(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> Result<(), BuildError>) -> Result<(), BuildError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}.new", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    let fail = |action, e| BuildError::File(FileError::new(action, path, e));
    let made = (|| {
        let file = File::create(&unfinished).map_err(|e| fail("create", e))?;
        let mut output = BufWriter::with_capacity(256 << 10, &file);
        write(&mut output)?;
        output.flush().map_err(|e| BuildError::Images(ImagesError::Save(e)))?;
        drop(output);
        std::fs::rename(&unfinished, path).map_err(|e| fail("rename to", e))
    })();
    if made.is_err() {
        files::remove_all(&unfinished)?;
    }
    made
}
