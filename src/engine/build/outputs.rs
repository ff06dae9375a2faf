//! Where the result of a build goes: registries, archives and folders.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Finished;
use super::attest;
use super::error::BuildError;
use super::files::{CopyOrder, Select, Selection, Tree, copy};
use super::ignore::Ignore;
use super::publish::Published;
use super::work::Work;
use crate::engine::images::{ArchiveFormat, Attestation, Given, Images, ImagesError, PushOptions, Saved};
use crate::files::{self, FileError};
use crate::model::build::{BuildOutput, BuildRequest};
use crate::model::{Digest, ImageRef, Packing};

/// Whether an output is made of an image in the store.
pub(super) const fn needs_image(output: &BuildOutput) -> bool {
    matches!(output, BuildOutput::Image { .. } | BuildOutput::Oci { .. } | BuildOutput::Docker { .. })
}

/// Whether an output is made of the files of the result.
pub(super) const fn needs_files(output: &BuildOutput) -> bool {
    matches!(output, BuildOutput::Local { .. } | BuildOutput::Tar { .. })
}

/// Makes one output of all that the build has come to. What is pushed, and the digest that it has where it went, is put into
/// `gone`.
pub(super) async fn make(
    results: &[Finished],
    output: &BuildOutput,
    published: &Published,
    gone: &mut BTreeMap<ImageRef, Digest>,
) -> Result<(), BuildError> {
    let Some(Finished { work, .. }) = results.first() else { return Err(BuildError::Interrupted) };
    match output {
        BuildOutput::Image { push: false, .. } => Ok(()),
        BuildOutput::Image { push: true, by_digest, packing } => {
            let digest = published.image.ok_or(BuildError::Interrupted)?;
            for tag in &work.request.tags {
                let running = work.events.begin(format!("pushing {tag}"));
                let options = PushOptions {
                    with: Vec::new(),
                    members: published.members.clone(),
                    credentials: Given::of(&work.given, tag).cloned(),
                    packing: *packing,
                    by_digest: *by_digest,
                };
                let pushed = work.images.push(digest, tag, &options, running.progress()).await;
                gone.insert(tag.clone(), running.ended(pushed, false)?.digest);
            }
            Ok(())
        }
        BuildOutput::Local { path } => {
            let all = roots(results, published)?;
            let (path, title) = (path.clone(), format!("copying the files to {}", path.display()));
            written(work, title, move |work| locals(work, &all, &path)).await
        }
        BuildOutput::Tar { path } => {
            let all = roots(results, published)?;
            let (path, title) = (path.clone(), format!("writing {}", path.display()));
            written(work, title, move |work| tar(work, &all, &path)).await
        }
        BuildOutput::Oci { tar: false, path, packing } => {
            let saved = saved(work, published)?;
            let (path, packing, title) = (path.clone(), *packing, format!("writing the layout {}", path.display()));
            written(work, title, move |work| Ok(work.images.save_layout(&saved, &packing, &path).map(drop)?)).await
        }
        BuildOutput::Oci { path, tar: true, packing } => {
            archive(work, path.clone(), ArchiveFormat::Oci, *packing, published).await
        }
        BuildOutput::Docker { path, packing } => archive(work, path.clone(), ArchiveFormat::Docker, *packing, published).await,
    }
}

fn saved(work: &Work, published: &Published) -> Result<Saved, BuildError> {
    let digest = published.image.ok_or(BuildError::Interrupted)?;
    Ok(Saved { digest, references: work.request.tags.clone(), members: published.members.clone() })
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
    published: &Published,
) -> Result<(), BuildError> {
    let saved = saved(work, published)?;
    let title = format!("writing {}", path.display());
    written(work, title, move |work| whole(&path, |file| Ok(work.images.save_packed(&[saved], format, &packing, file)?))).await
}

/// The files of one platform.
struct Root {
    /// What its folder is called beside those of others; `None` where there are none.
    folder: Option<String>,
    files: Arc<OwnedFd>,
    /// What is attested of it, by the names of files.
    attested: Vec<(&'static str, Vec<u8>)>,
}

fn roots(results: &[Finished], published: &Published) -> Result<Vec<Root>, BuildError> {
    let inline_only = |request: &BuildRequest| request.provenance.as_ref().is_some_and(|provenance| provenance.inline_only);
    let root = |(result, attestations): (&Finished, &Vec<Attestation>)| {
        let folder = result.work.is_one_of_several.then(|| result.work.platform.to_string().replace('/', "_"));
        let attested = attestations.iter().map(|one| (attest::file_name(one), one.predicate.to_string().into_bytes()));
        let wanted = |name: &str| name != attest::PROVENANCE_FILE || !inline_only(&result.work.request);
        let attested = attested.filter(|(name, _)| wanted(name)).collect();
        Ok(Root { folder, files: result.files.clone().ok_or(BuildError::Interrupted)?, attested })
    };
    results.iter().zip(&published.attested).map(root).collect()
}

/// The files of all platforms, each in a folder of its own where there are several.
fn locals(work: &Work, all: &[Root], path: &Path) -> Result<(), BuildError> {
    for Root { folder, files, attested } in all {
        let path = folder.as_ref().map_or_else(|| path.to_owned(), |folder| path.join(folder));
        local(work, files, &path)?;
        for (name, content) in attested {
            files::publish(&path.join(name), content, 0o644)?;
        }
    }
    Ok(())
}

fn tar(work: &Work, all: &[Root], path: &Path) -> Result<(), BuildError> {
    if let [Root { folder: None, files, attested }] = all
        && attested.is_empty()
    {
        let root = format!("/proc/self/fd/{}/.", files.as_raw_fd());
        return whole(path, |file| Ok(Images::export(Path::new(&root), file)?));
    }
    // What is not one tree is made one first.
    let draft = work.images.draft(None)?;
    let together = draft.folder().join("together");
    locals(work, all, &together)?;
    whole(path, |file| Ok(Images::export(&together, file)?))
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
