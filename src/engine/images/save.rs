//! Images as one archive, in the form of `docker save` or as an OCI layout. Layers that images share are in it once. The
//! same images give the same bytes.
//!
//! Sources: OCI Image Specification, image-layout.md and annotations.md; the docker-archive form as the moby and containers
//! projects describe it.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};

use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::documents::{self, Document, OCI_INDEX, OCI_MANIFEST};
use super::load::{CONTAINERD_NAME, OCI_NAME};
use super::members::{self, Member, attest};
use super::push::shown;
use super::{Images, ImagesError, manifests, rows};
use crate::model::{Digest, ImageRef};

/// How an archive of images is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArchiveFormat {
    /// What `docker load` and everybody else reads.
    #[default]
    Docker,
    /// An OCI layout.
    Oci,
}

/// An image to be saved, and by which names.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub digest: Digest,
    pub references: Vec<ImageRef>,
    /// What these mean besides: images for other platforms, and what is attested. Only layouts have that.
    pub members: Vec<Member>,
}

impl Images {
    /// Writes an archive of images. Blocks the thread.
    pub fn save(&self, images: &[Saved], format: ArchiveFormat, output: &mut impl Write) -> Result<(), ImagesError> {
        let mut archive = Writer { output, written: BTreeSet::new() };
        match format {
            ArchiveFormat::Docker => self.save_docker(images, &mut archive)?,
            ArchiveFormat::Oci => self.save_oci(images, &mut archive)?,
        }
        // The end of an archive is two empty blocks.
        archive.output.write_all(&[0; 1024]).and_then(|()| archive.output.flush()).map_err(ImagesError::Save)
    }

    fn save_docker(&self, images: &[Saved], archive: &mut Writer<'_, impl Write>) -> Result<(), ImagesError> {
        let mut list = Vec::new();
        for image in images {
            let (config, diff_ids) = self.content_of(&image.digest)?;
            let tags: Vec<_> = image.references.iter().filter(|r| r.tag().is_some()).map(ToString::to_string).collect();
            let layers: Vec<_> = diff_ids.iter().map(blob_name).collect();
            list.push(json!({"Config": blob_name(&config), "RepoTags": tags, "Layers": layers}));
        }
        archive.document("manifest.json", &Value::from(list).to_string().into_bytes())?;
        for image in images {
            let (config, diff_ids) = self.content_of(&image.digest)?;
            archive.document(&blob_name(&config), &self.inner.store.blob(&config)?)?;
            diff_ids.iter().try_for_each(|diff_id| self.save_tar(diff_id, archive))?;
        }
        Ok(())
    }

    fn save_oci(&self, images: &[Saved], archive: &mut Writer<'_, impl Write>) -> Result<(), ImagesError> {
        let mut described = Vec::new();
        let mut manifests = Vec::new();
        let mut documents = Vec::new();
        for image in images {
            let descriptor = if members::need_index(&image.members) {
                self.index_to_save(image, &mut manifests, &mut documents)?
            } else {
                let manifest = self.manifest_to_save(&image.digest)?;
                let descriptor = described_as(&manifest);
                manifests.push((image.digest, manifest));
                descriptor
            };
            if image.references.is_empty() {
                described.push(descriptor.clone());
            }
            for reference in &image.references {
                let mut named = descriptor.clone();
                let name = full_name(reference);
                named["annotations"] = json!({CONTAINERD_NAME: name, OCI_NAME: name});
                described.push(named);
            }
        }
        archive.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described});
        archive.document("index.json", &index.to_string().into_bytes())?;
        for document in documents {
            archive.document(&blob_name(&Digest::of(&document)), &document)?;
        }
        for (image, manifest) in manifests {
            archive.document(&blob_name(&Digest::of(&manifest)), &manifest)?;
            let (config, diff_ids) = self.content_of(&image)?;
            archive.document(&blob_name(&config), &self.inner.store.blob(&config)?)?;
            for (diff_id, blob) in diff_ids.iter().zip(layers_of(&image, &manifest)?) {
                if blob.digest == *diff_id {
                    self.save_tar(diff_id, archive)?;
                } else {
                    let mut content = self.open_blob(&blob.digest)?;
                    archive.file(&blob_name(&blob.digest), blob.size, &mut content)?;
                }
            }
        }
        Ok(())
    }

    /// The index of all that a name means. The images' manifests go to `manifests`, and all other documents to `documents`.
    fn index_to_save(
        &self,
        image: &Saved,
        manifests: &mut Vec<(Digest, Vec<u8>)>,
        documents: &mut Vec<Vec<u8>>,
    ) -> Result<Value, ImagesError> {
        let (mut entries, mut attested) = (Vec::new(), Vec::new());
        for member in &image.members {
            let manifest = self.manifest_to_save(&member.digest)?;
            let platform = self.platform_of(&self.content_of(&member.digest)?.0)?;
            let mut entry = described_as(&manifest);
            if !member.attestations.is_empty() {
                let names: Vec<String> =
                    image.references.iter().map(|reference| members::package_url(reference, &shown(&platform))).collect();
                let made = attest(&member.attestations, &Digest::of(&manifest), &names);
                attested.push(made.entry);
                documents.extend(made.blobs);
                documents.push(made.manifest);
            }
            entry["platform"] = platform;
            entries.push(entry);
            manifests.push((member.digest, manifest));
        }
        entries.append(&mut attested);
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        let index = index.to_string().into_bytes();
        let descriptor = manifests::descriptor(OCI_INDEX, &Digest::of(&index), index.len() as u64);
        documents.push(index);
        Ok(descriptor)
    }

    /// The image's own manifest where the store can bring all that it names, else one of plain tars.
    fn manifest_to_save(&self, digest: &Digest) -> Result<Vec<u8>, ImagesError> {
        let own = self.inner.store.blob(digest)?;
        let (config, diff_ids) = self.content_of(digest)?;
        let kept = |digest: &Digest| -> Result<bool, ImagesError> {
            let known = self.inner.db.read(|t| rows::blob(t, digest))?;
            Ok(known.is_some_and(|blob| blob.kept) && self.inner.store.blob_path(digest).is_file())
        };
        let mut whole = true;
        for (blob, diff_id) in layers_of(digest, &own)?.iter().zip(&diff_ids) {
            whole &= blob.digest == *diff_id || kept(&blob.digest)?;
        }
        if whole {
            return Ok(own);
        }
        let mut layers = Vec::new();
        for diff_id in diff_ids {
            layers.push((diff_id, self.layer_tar(&diff_id)?.size()));
        }
        Ok(manifests::of_tars(&self.inner.store.blob(&config)?, &layers))
    }

    fn save_tar(&self, diff_id: &Digest, archive: &mut Writer<'_, impl Write>) -> Result<(), ImagesError> {
        let mut tar = self.layer_tar(diff_id)?;
        archive.file(&blob_name(diff_id), tar.size(), &mut tar)
    }

    pub(super) fn content_of(&self, digest: &Digest) -> Result<(Digest, Vec<Digest>), ImagesError> {
        self.inner.db.read(|t| rows::content(t, digest))?.ok_or(ImagesError::Missing(*digest))
    }
}

/// The descriptor of a manifest, of the type that it says itself.
fn described_as(manifest: &[u8]) -> Value {
    let mut descriptor = manifests::descriptor(OCI_MANIFEST, &Digest::of(manifest), manifest.len() as u64);
    if let Ok(Document::Manifest(_)) = documents::parse(manifest, None)
        && let Ok(said) = serde_json::from_slice::<Value>(manifest)
        && let Some(media_type) = said.get("mediaType")
    {
        descriptor["mediaType"] = media_type.clone();
    }
    descriptor
}

fn layers_of(digest: &Digest, manifest: &[u8]) -> Result<Vec<documents::Blob>, ImagesError> {
    match documents::parse(manifest, None) {
        Ok(Document::Manifest(manifest)) => Ok(manifest.layers),
        Ok(Document::Index(_)) | Err(_) => Err(ImagesError::Damaged { digest: *digest }),
    }
}

fn blob_name(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// With the registry and the tag that go without saying.
fn full_name(reference: &ImageRef) -> String {
    let tag = reference.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
    let digest = reference.digest().map(|digest| format!("@{digest}")).unwrap_or_default();
    format!("{}/{}{tag}{digest}", reference.registry(), reference.repository())
}

struct Writer<'a, W> {
    output: &'a mut W,
    written: BTreeSet<String>,
}

impl<W: Write> Writer<'_, W> {
    fn document(&mut self, name: &str, content: &[u8]) -> Result<(), ImagesError> {
        self.file(name, content.len() as u64, &mut io::Cursor::new(content))
    }

    /// Writes a file, once for each name.
    fn file(&mut self, name: &str, size: u64, content: &mut impl Read) -> Result<(), ImagesError> {
        if !self.written.insert(name.to_owned()) {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        // Names of the store are a hundred bytes at most.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        self.output.write_all(header.as_bytes()).map_err(ImagesError::Save)?;
        let mut buffer = vec![0; 128 << 10];
        let mut done = 0;
        loop {
            let n = content.read(&mut buffer).map_err(reading)?;
            if n == 0 {
                break;
            }
            done += n as u64;
            self.output.write_all(&buffer[..n]).map_err(ImagesError::Save)?;
        }
        if done != size {
            return Err(ImagesError::Save(io::Error::other(format!("{name} has {done} bytes and not {size}"))));
        }
        let padding = (size.next_multiple_of(512) - size) as usize;
        self.output.write_all(&[0; 512][..padding]).map_err(ImagesError::Save)
    }
}

/// A layer's tar says by itself what is wrong with it.
fn reading(error: io::Error) -> ImagesError {
    match error.downcast::<ImagesError>() {
        Ok(error) => error,
        Err(error) => ImagesError::Save(error),
    }
}
