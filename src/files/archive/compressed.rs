//! Compressed streams: gzip, bzip2, xz and zstd, told apart by their first bytes, and bounded in what they may become.

use std::io::{self, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bzip2::read::MultiBzDecoder;
use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};

use super::reader::is_header;

/// What an archive may cost, so that a few kilobytes cannot fill the host.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of all files, holes included.
    pub bytes: u64,
    pub entries: u64,
    /// Unpacked bytes for each compressed one. Gzip cannot exceed 1032.
    pub ratio: u64,
    /// Below this many bytes the ratio does not matter.
    pub small: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 256 << 30, entries: 10_000_000, ratio: 1500, small: 1 << 30 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("refused: more than {limit} {what}")]
pub struct TooMuch {
    pub what: &'static str,
    pub limit: u64,
}

/// What the dictionary and the rest of an xz stream may take in memory: the strongest preset (`xz -9`) needs half of it.
const XZ_MEMORY: u64 = 128 << 20;

/// Whether what begins so is a tar, perhaps a compressed one.
pub fn looks_like_a_tar(head: &[u8]) -> bool {
    compression(head) != Compression::None || is_header(head)
}

/// Takes the compression from the first bytes, because media types and names are often wrong about it.
pub fn decompress<'a>(mut source: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut head = Vec::with_capacity(6);
    (&mut source).take(6).read_to_end(&mut head)?;
    let kind = compression(&head);
    let whole = Read::chain(io::Cursor::new(head), source);
    let buffered = |whole| BufReader::with_capacity(64 << 10, whole);
    Ok(match kind {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(buffered(whole))),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(buffered(whole))),
        Compression::Xz => {
            let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED).map_err(io::Error::from)?;
            Box::new(XzDecoder::new_stream(buffered(whole), stream))
        }
        Compression::Zstd => Box::new(zstd::Decoder::new(whole)?),
    })
}

const fn compression(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
        _ => Compression::None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// Decompresses a stream, and ends one that grows beyond the limits.
pub fn plain<'a>(source: impl Read + Send + 'a, limits: &Limits) -> io::Result<Bounded<'a>> {
    let compressed = Arc::new(AtomicU64::new(0));
    let counted = Counted { inner: source, count: compressed.clone() };
    Ok(Bounded { inner: decompress(counted)?, count: 0, compressed, limits: limits.clone() })
}

/// A decompressed stream within its limits.
pub struct Bounded<'a> {
    inner: Box<dyn Read + Send + 'a>,
    count: u64,
    compressed: Arc<AtomicU64>,
    limits: Limits,
}

impl Bounded<'_> {
    /// Bytes that have come out so far.
    pub const fn count(&self) -> u64 {
        self.count
    }
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count += n as u64;
        let Limits { small, ratio, bytes, .. } = self.limits;
        // Headers and padding come on top of what the files may have.
        if self.count > bytes.saturating_mul(2).max(small) {
            return Err(io::Error::other(TooMuch { what: "bytes", limit: bytes }));
        }
        if self.count > small && self.count / ratio > self.compressed.load(Ordering::Relaxed) {
            return Err(io::Error::other(TooMuch { what: "bytes for each compressed byte", limit: ratio }));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn forms(content: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(content).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bzip2.write_all(content).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
        xz.write_all(content).unwrap();
        vec![
            ("plain", content.to_vec()),
            ("gzip", gzip.finish().unwrap()),
            ("bzip2", bzip2.finish().unwrap()),
            ("xz", xz.finish().unwrap()),
            ("zstd", zstd::encode_all(content, 3).unwrap()),
        ]
    }

    #[test]
    fn every_form_comes_back_and_so_do_two_of_them_in_a_row() {
        let content: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        for (form, compressed) in forms(&content) {
            let mut whole = Vec::new();
            decompress(compressed.as_slice()).unwrap().read_to_end(&mut whole).unwrap();
            assert!(whole == content, "{form}");
            let twice = [compressed.as_slice(), &compressed].concat();
            whole.clear();
            decompress(twice.as_slice()).unwrap().read_to_end(&mut whole).unwrap();
            assert!(whole == [content.as_slice(), &content].concat(), "{form}");
            if form != "plain" {
                assert!(looks_like_a_tar(&compressed), "{form}");
                let cut = &compressed[..compressed.len() / 2];
                assert!(decompress(cut).unwrap().read_to_end(&mut whole).is_err(), "{form}");
            }
        }
        assert!(!looks_like_a_tar(b"FROM scratch\n"));
    }

    #[test]
    fn what_grows_too_much_ends() {
        let limits = Limits { bytes: 10 << 20, entries: 1, ratio: 50, small: 1 << 20 };
        for (form, compressed) in forms(&vec![0; 4 << 20]) {
            let read = plain(compressed.as_slice(), &limits).unwrap().read_to_end(&mut Vec::new());
            match form {
                "plain" => assert_eq!(read.unwrap(), 4 << 20),
                _ => assert_eq!(read.unwrap_err().to_string(), "refused: more than 50 bytes for each compressed byte", "{form}"),
            }
        }
    }

    #[test]
    fn a_dictionary_beyond_the_memory_is_refused() {
        use liblzma::stream::{Check, Filters, LzmaOptions};
        let mut options = LzmaOptions::new_preset(0).unwrap();
        options.dict_size(512 << 20);
        let stream = Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc32).unwrap();
        let mut xz = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        xz.write_all(b"small").unwrap();
        let compressed = xz.finish().unwrap();
        let error = decompress(compressed.as_slice()).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("memory"), "{error}");
    }
}
