//! A layer's tar as a blob for others: as it is, or compressed. The same tar gives the same blob.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};

use super::documents::OCI_TAR;
use super::rows::LayerBlob;
use super::store::Scratch;
use super::{Images, ImagesError};
use crate::files::FileError;
use crate::model::{Compression, Digest, Packing};

const PART: usize = 256 << 10;
/// Half the time of gzip's own choice, for a twentieth more bytes.
const GZIP_LEVEL: u32 = 3;
/// What zstd itself takes.
const ZSTD_LEVEL: i32 = 3;

/// A blob in a file that goes away with it.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) path: PathBuf,
    pub(super) media_type: &'static str,
    _scratch: Scratch,
}

/// What OCI calls a layer that is packed so.
pub(super) const fn media_type(compression: Compression) -> &'static str {
    match compression {
        Compression::Uncompressed => OCI_TAR,
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

/// A layer's media type in OCI's words.
pub(super) fn of_oci(given: &str) -> String {
    let packed = [Compression::Gzip, Compression::Zstd].into_iter().find(|compression| given.ends_with(compression.word()));
    media_type(packed.unwrap_or(Compression::Uncompressed)).to_owned()
}

/// Whether a blob that is there already is packed as it is wanted.
pub(super) fn fits(blob: &LayerBlob, packing: &Packing) -> bool {
    let suffix = packing.compression.unwrap_or(Compression::Gzip).word();
    let is_packed = ["gzip", "zstd"].iter().any(|suffix| blob.media_type.ends_with(suffix));
    let is_so = if is_packed { blob.media_type.ends_with(suffix) } else { suffix == Compression::Uncompressed.word() };
    // Nobody can tell what level a blob was packed at.
    !packing.force || is_so && packing.level.is_none()
}

impl Images {
    /// A layer as a blob: in a file, because its digest must be known before it is sent, and because what breaks off is sent
    /// again from where it broke. Blocks the thread.
    pub(super) fn pack(&self, diff_id: &Digest, packing: &Packing) -> Result<Packed, ImagesError> {
        let tar = self.layer_tar(diff_id)?;
        let scratch = self.inner.store.scratch()?;
        let path = scratch.path().join("packed");
        let compression = packing.compression.unwrap_or(Compression::Gzip);
        let (digest, size) =
            write(tar, &path, compression, packing.level).map_err(|source| FileError::new("pack a layer into", &path, source))?;
        Ok(Packed { digest, size, path, media_type: media_type(compression), _scratch: scratch })
    }
}

/// Neither a time nor a name is written down.
fn write(mut source: impl Read, path: &Path, compression: Compression, level: Option<u32>) -> io::Result<(Digest, u64)> {
    let file = BufWriter::with_capacity(PART, File::create(path)?);
    let hashed = Hashed { inner: file, hash: Sha256::new(), size: 0 };
    let mut hashed = match compression {
        Compression::Uncompressed => {
            let mut hashed = hashed;
            through(&mut source, &mut hashed)?;
            hashed
        }
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(hashed, flate2::Compression::new(level.unwrap_or(GZIP_LEVEL)));
            through(&mut source, &mut encoder)?;
            encoder.finish()?
        }
        Compression::Zstd => {
            let level = level.map_or(ZSTD_LEVEL, |level| i32::try_from(level).unwrap_or(ZSTD_LEVEL));
            let mut encoder = zstd::Encoder::new(hashed, level)?;
            through(&mut source, &mut encoder)?;
            encoder.finish()?
        }
    };
    hashed.flush()?;
    Ok((Digest::from_bytes(hashed.hash.finalize().into()), hashed.size))
}

fn through(source: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut part = vec![0; PART];
    loop {
        match source.read(&mut part)? {
            0 => return Ok(()),
            n => to.write_all(&part[..n])?,
        }
    }
}

/// Counts and hashes what is written.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    size: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(media_type: &str) -> LayerBlob {
        let digest = Digest::of(b"");
        LayerBlob { diff_id: digest, digest, size: 0, media_type: media_type.to_owned(), kept: false }
    }

    #[test]
    fn the_same_tar_gives_the_same_blob() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        let tar = vec![7; 1 << 20];
        for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
            let first = write(tar.as_slice(), &path, compression, None).unwrap();
            let content = std::fs::read(&path).unwrap();
            assert_eq!(first, (Digest::of(&content), content.len() as u64));
            let mut back = Vec::new();
            match compression {
                Compression::Uncompressed => back.clone_from(&content),
                Compression::Gzip => drop(flate2::read::GzDecoder::new(&*content).read_to_end(&mut back).unwrap()),
                Compression::Zstd => back = zstd::decode_all(&*content).unwrap(),
            }
            assert!(back == tar);
            assert_eq!(write(tar.as_slice(), &path, compression, None).unwrap(), first);
        }
    }

    #[test]
    fn what_is_there_is_taken_unless_it_is_forced() {
        let gzip = blob("application/vnd.docker.image.rootfs.diff.tar.gzip");
        let (zstd, plain) = (blob(media_type(Compression::Zstd)), blob(OCI_TAR));
        let wanted = |compression, force| Packing { compression, level: None, force };
        for blob in [&gzip, &zstd, &plain] {
            assert!(fits(blob, &wanted(Some(Compression::Zstd), false)));
        }
        let forced = wanted(Some(Compression::Zstd), true);
        assert!(fits(&zstd, &forced) && !fits(&gzip, &forced) && !fits(&plain, &forced));
        assert!(fits(&gzip, &wanted(None, true)) && fits(&plain, &wanted(Some(Compression::Uncompressed), true)));
        assert!(!fits(&zstd, &Packing { level: Some(9), ..forced }));
    }
}
