//! Images as one archive, in the form of `docker save` or as an OCI layout. Layers that images share are in it once. The
//! same images give the same bytes.
//!
//! Sources: OCI Image Specification, image-layout.md and annotations.md; the docker-archive form as the moby and containers
//! projects describe it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read, Write};

use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::documents::{self, Blob, Document, OCI_INDEX, OCI_MANIFEST, OCI_TAR};
use super::load::{CONTAINERD_NAME, OCI_NAME};
use super::members::{self, Member, attest};
use super::packed::{Packed, fits};
use super::push::shown;
use super::rows::LayerBlob;
use super::{Images, ImagesError, manifests, rows};
use crate::files::FileError;
use crate::model::{Compression, Digest, ImageRef, Packing};

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

/// All that a layout has of what its names mean.
pub(super) struct Gathered {
    /// Of what the names mean there.
    pub(super) digest: Digest,
    pub(super) images: Vec<Outward>,
    /// An index, and what is attested.
    pub(super) documents: Vec<Vec<u8>>,
    /// The entries of the layout's own index.
    pub(super) described: Vec<Value>,
}

/// An image as it goes out: its manifest, and where what that names is.
pub(super) struct Outward {
    pub(super) manifest: Vec<u8>,
    pub(super) media_type: String,
    pub(super) config: Digest,
    pub(super) layers: Vec<OutwardLayer>,
}

pub(super) struct OutwardLayer {
    pub(super) diff_id: Digest,
    pub(super) blob: Blob,
    pub(super) content: LayerContent,
}

pub(super) enum LayerContent {
    /// The layer's own tar.
    Tar,
    /// A blob of the store.
    Kept,
    Packed(Packed),
}

impl Images {
    /// Writes an archive of images. Blocks the thread.
    pub fn save(&self, images: &[Saved], format: ArchiveFormat, output: &mut impl Write) -> Result<(), ImagesError> {
        self.save_packed(images, format, &Packing::default(), output)
    }

    /// The same with layers that are packed as it is wanted. Blocks the thread.
    pub fn save_packed(
        &self,
        images: &[Saved],
        format: ArchiveFormat,
        packing: &Packing,
        output: &mut impl Write,
    ) -> Result<(), ImagesError> {
        let mut archive = Writer { output, written: BTreeSet::new() };
        match format {
            ArchiveFormat::Docker => self.save_docker(images, packing, &mut archive)?,
            ArchiveFormat::Oci => self.save_oci(images, packing, &mut archive)?,
        }
        // The end of an archive is two empty blocks.
        archive.output.write_all(&[0; 1024]).and_then(|()| archive.output.flush()).map_err(ImagesError::Save)
    }

    fn save_docker(&self, images: &[Saved], packing: &Packing, archive: &mut Writer<'_, impl Write>) -> Result<(), ImagesError> {
        let mut list = Vec::new();
        let mut all = Vec::new();
        for image in images {
            let (config, diff_ids) = self.content_of(&image.digest)?;
            let tags: Vec<_> = image.references.iter().filter(|r| r.tag().is_some()).map(ToString::to_string).collect();
            // Whoever reads this form may know of tars only, so they are packed only where that is asked for.
            let packed = match packing.compression {
                None | Some(Compression::Uncompressed) => None,
                Some(_) => Some(self.outward(&image.digest, packing)?),
            };
            let layers: Vec<_> = match &packed {
                Some(outward) => outward.layers.iter().map(|layer| blob_name(&layer.blob.digest)).collect(),
                None => diff_ids.iter().map(blob_name).collect(),
            };
            list.push(json!({"Config": blob_name(&config), "RepoTags": tags, "Layers": layers}));
            all.push((config, diff_ids, packed));
        }
        archive.document("manifest.json", &Value::from(list).to_string().into_bytes())?;
        for (config, diff_ids, packed) in all {
            archive.document(&blob_name(&config), &self.inner.store.blob(&config)?)?;
            match packed {
                Some(outward) => outward.layers.iter().try_for_each(|layer| self.save_layer(layer, archive))?,
                None => diff_ids.iter().try_for_each(|diff_id| self.save_tar(diff_id, archive))?,
            }
        }
        Ok(())
    }

    fn save_oci(&self, images: &[Saved], packing: &Packing, archive: &mut Writer<'_, impl Write>) -> Result<(), ImagesError> {
        let (mut described, mut documents, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for image in images {
            let gathered = self.gather(image, packing)?;
            described.extend(gathered.described);
            documents.extend(gathered.documents);
            all.extend(gathered.images);
        }
        archive.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": described});
        archive.document("index.json", &index.to_string().into_bytes())?;
        for document in documents {
            archive.document(&blob_name(&Digest::of(&document)), &document)?;
        }
        for outward in all {
            archive.document(&blob_name(&Digest::of(&outward.manifest)), &outward.manifest)?;
            archive.document(&blob_name(&outward.config), &self.inner.store.blob(&outward.config)?)?;
            outward.layers.iter().try_for_each(|layer| self.save_layer(layer, archive))?;
        }
        Ok(())
    }

    /// All that the names of an image mean: the image, or an index of several and of what is attested of each.
    pub(super) fn gather(&self, image: &Saved, packing: &Packing) -> Result<Gathered, ImagesError> {
        if !members::need_index(&image.members) {
            let outward = self.outward(&image.digest, packing)?;
            let (digest, described) = (Digest::of(&outward.manifest), named(&described_as(&outward), &image.references));
            return Ok(Gathered { digest, images: vec![outward], documents: Vec::new(), described });
        }
        let (mut entries, mut attested) = (Vec::new(), Vec::new());
        let (mut images, mut documents) = (Vec::new(), Vec::new());
        for member in &image.members {
            let outward = self.outward(&member.digest, packing)?;
            let platform = self.platform_of(&outward.config)?;
            if !member.attestations.is_empty() {
                let address = |reference| members::package_url(reference, &shown(&platform));
                let names: Vec<String> = image.references.iter().map(address).collect();
                let made = attest(&member.attestations, &Digest::of(&outward.manifest), &names);
                attested.push(made.entry);
                documents.extend(made.blobs);
                documents.push(made.manifest);
            }
            let mut entry = described_as(&outward);
            entry["platform"] = platform;
            entries.push(entry);
            images.push(outward);
        }
        entries.append(&mut attested);
        let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries});
        let index = index.to_string().into_bytes();
        let digest = Digest::of(&index);
        let described = named(&manifests::descriptor(OCI_INDEX, &digest, index.len() as u64), &image.references);
        documents.push(index);
        Ok(Gathered { digest, images, documents, described })
    }

    /// What an image is outside: with its own manifest where the store can bring all that it names and it is packed as it is wanted,
    /// else with another one.
    pub(super) fn outward(&self, digest: &Digest, packing: &Packing) -> Result<Outward, ImagesError> {
        let own = self.inner.store.blob(digest)?;
        let (config, diff_ids) = self.content_of(digest)?;
        let blobs = layers_of(digest, &own)?;
        let mut layers: Vec<OutwardLayer> = Vec::with_capacity(blobs.len());
        let mut changed = Vec::new();
        for (place, (blob, diff_id)) in blobs.into_iter().zip(diff_ids).enumerate() {
            let layer = self.outward_layer(blob, diff_id, packing, &layers)?;
            if let Some(fresh) = &layer.1 {
                changed.push((place, fresh.clone()));
            }
            layers.push(layer.0);
        }
        let said: Value = serde_json::from_slice(&own).map_err(|_| ImagesError::Damaged { digest: *digest })?;
        let media_type = said["mediaType"].as_str().unwrap_or(OCI_MANIFEST).to_owned();
        let manifest = match changed.is_empty() {
            true => own,
            false => manifests::with_blobs(&said, changed.iter().map(|(place, blob)| (*place, blob))),
        };
        Ok(Outward { manifest, media_type, config, layers })
    }

    /// One layer, and its blob where that is another one than the manifest names.
    fn outward_layer(
        &self,
        named: Blob,
        diff_id: Digest,
        packing: &Packing,
        before: &[OutwardLayer],
    ) -> Result<(OutwardLayer, Option<Blob>), ImagesError> {
        let told = LayerBlob {
            diff_id,
            digest: named.digest,
            size: named.size,
            media_type: named.media_type.clone(),
            kept: self.keeps(&named.digest)?,
        };
        let is_tar = named.digest == diff_id;
        let wanted = packing.compression;
        // Without a wish, what is made here goes as the tar that it is.
        let as_it_is = match wanted {
            None => is_tar || told.kept,
            Some(Compression::Uncompressed) => is_tar || told.kept && !packing.force,
            Some(_) => told.kept && fits(&told, packing),
        };
        if as_it_is {
            let content = if is_tar { LayerContent::Tar } else { LayerContent::Kept };
            return Ok((OutwardLayer { diff_id, blob: named, content }, None));
        }
        if matches!(wanted, None | Some(Compression::Uncompressed)) {
            let blob = Blob { digest: diff_id, size: self.layer_tar(&diff_id)?.size(), media_type: OCI_TAR.to_owned() };
            return Ok((OutwardLayer { diff_id, blob: blob.clone(), content: LayerContent::Tar }, Some(blob)));
        }
        // The same layer once more is the same blob, which is written once.
        if let Some(same) = before.iter().find(|layer| layer.diff_id == diff_id) {
            let blob = same.blob.clone();
            return Ok((OutwardLayer { diff_id, blob: blob.clone(), content: LayerContent::Kept }, Some(blob)));
        }
        let packed = self.pack(&diff_id, packing)?;
        let blob = Blob { digest: packed.digest, size: packed.size, media_type: packed.media_type.to_owned() };
        Ok((OutwardLayer { diff_id, blob: blob.clone(), content: LayerContent::Packed(packed) }, Some(blob)))
    }

    fn save_layer(&self, layer: &OutwardLayer, archive: &mut Writer<'_, impl Write>) -> Result<(), ImagesError> {
        let name = blob_name(&layer.blob.digest);
        if archive.has(&name) {
            return Ok(());
        }
        match &layer.content {
            LayerContent::Tar => self.save_tar(&layer.diff_id, archive),
            LayerContent::Kept => archive.file(&name, layer.blob.size, &mut self.open_blob(&layer.blob.digest)?),
            LayerContent::Packed(packed) => {
                let open = |e| FileError::new("open", &packed.path, e);
                archive.file(&name, packed.size, &mut File::open(&packed.path).map_err(open)?)
            }
        }
    }

    fn save_tar(&self, diff_id: &Digest, archive: &mut Writer<'_, impl Write>) -> Result<(), ImagesError> {
        let mut tar = self.layer_tar(diff_id)?;
        archive.file(&blob_name(diff_id), tar.size(), &mut tar)
    }

    pub(super) fn content_of(&self, digest: &Digest) -> Result<(Digest, Vec<Digest>), ImagesError> {
        self.inner.db.read(|t| rows::content(t, digest))?.ok_or(ImagesError::Missing(*digest))
    }
}

fn described_as(outward: &Outward) -> Value {
    manifests::descriptor(&outward.media_type, &Digest::of(&outward.manifest), outward.manifest.len() as u64)
}

/// The entries of an index for an image: one for each of its names, or one without a name.
fn named(descriptor: &Value, references: &[ImageRef]) -> Vec<Value> {
    if references.is_empty() {
        return vec![descriptor.clone()];
    }
    let named = references.iter().map(|reference| {
        let mut named = descriptor.clone();
        let name = full_name(reference);
        named["annotations"] = json!({CONTAINERD_NAME: name, OCI_NAME: name});
        named
    });
    named.collect()
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
    fn has(&self, name: &str) -> bool {
        self.written.contains(name)
    }

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
