//! Reads tar archives as a stream: v7, ustar, GNU (long names, sparse files) and PAX (long names, nanoseconds, extended
//! attributes, sparse files), with a bound on everything that is kept in memory. Knows nothing of what becomes of it.
//!
//! Own code around the `tar` crate's headers, because extended attributes are binary and may contain a newline, and
//! because a hostile "long name" must not fill the memory.
//! Sources: POSIX pax, "pax Interchange Format"; the GNU tar manual, "Basic Tar Format" and "Storing Sparse Files".

use std::io::{self, Read};

use tar::{GnuExtSparseHeader, Header};

use super::pax::{self, Records};

const BLOCK: u64 = 512;
/// Enough for the longest path and for the extended attributes that the kernel allows (64 KiB in all).
const MAX_EXTENSION: u64 = 1 << 20;
/// Records that hold for all entries that follow.
const MAX_GLOBALS: usize = 10_000;
/// Pieces of one sparse file.
const MAX_PIECES: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("read: {0}")]
    Read(#[from] io::Error),
    #[error("it ends in the middle of {0}")]
    Truncated(&'static str),
    #[error("the checksum of the header at byte {0} is wrong: this is not a tar, or it is damaged")]
    Checksum(u64),
    #[error("{name:?}: the field {field} is not a number in range")]
    Number { name: String, field: &'static str },
    #[error("the extension header at byte {at} has {size} bytes; at most {MAX_EXTENSION} are read")]
    ExtensionSize { at: u64, size: u64 },
    #[error("the extension header at byte {0} is malformed")]
    Extension(u64),
    #[error("{name:?}: entries of type {kind:?} are not supported")]
    Kind { name: String, kind: char },
    #[error("{name:?}: the map of the sparse file is malformed or of an old form; pack it again without --sparse")]
    Sparse { name: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Hardlink,
    Symlink,
    CharDevice,
    BlockDevice,
    Folder,
    Fifo,
}

/// Offsets and lengths of what is stored of a sparse file; the rest is holes.
pub type Pieces = Vec<(u64, u64)>;

/// One entry, as the archive says it; nothing of it is trusted yet.
#[derive(Debug)]
pub struct Entry {
    pub name: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// The file's size when it is unpacked.
    pub size: u64,
    pub device: (u32, u32),
    pub xattrs: Vec<pax::Attribute>,
    /// Of a sparse file only.
    pub pieces: Option<Pieces>,
}

/// An archive that is read from its start to its end, once.
pub struct Archive<R> {
    reader: R,
    /// Bytes read so far.
    position: u64,
    /// What is left of the current entry's content, and of the padding behind it.
    content: u64,
    padding: u64,
    globals: Records,
}

impl<R: Read> Archive<R> {
    pub fn new(reader: R) -> Self {
        Self { reader, position: 0, content: 0, padding: 0, globals: Records::default() }
    }

    /// The next entry; what was not read of the last one's content is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ArchiveError> {
        self.skip()?;
        let mut records = Records::default();
        let (mut long_name, mut long_link) = (None, None);
        loop {
            let at = self.position;
            let mut header = Header::new_old();
            // An archive without its end marker is what several writers make; Docker reads it too.
            if !self.block(header.as_mut_bytes(), "a header")? || header.as_bytes().iter().all(|b| *b == 0) {
                return Ok(None);
            }
            check_sum(&header, at)?;
            match header.as_bytes()[156] {
                b'x' => records.extend(pax::parse(&self.extension(&header, at)?).ok_or(ArchiveError::Extension(at))?),
                b'g' => {
                    let parsed = pax::parse(&self.extension(&header, at)?).ok_or(ArchiveError::Extension(at))?;
                    self.globals.extend(parsed);
                    if self.globals.len() > MAX_GLOBALS {
                        return Err(ArchiveError::Extension(at));
                    }
                }
                b'L' => long_name = Some(until_nul(self.extension(&header, at)?)),
                b'K' => long_link = Some(until_nul(self.extension(&header, at)?)),
                _ => return self.entry(&header, &records, long_name, long_link).map(Some),
            }
        }
    }

    pub fn into_reader(self) -> R {
        self.reader
    }

    /// What is read from.
    pub const fn reader_mut(&mut self) -> &mut R {
        &mut self.reader
    }

    /// Reads to the end of the stream, so that whoever hashes it has seen all.
    pub fn drain(&mut self) -> Result<(), ArchiveError> {
        self.content = 0;
        self.padding = 0;
        io::copy(&mut self.reader, &mut io::sink())?;
        Ok(())
    }

    fn entry(
        &mut self,
        header: &Header,
        own: &Records,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, ArchiveError> {
        let globals = std::mem::take(&mut self.globals);
        let record = |key: &str| own.get(key).or_else(|| globals.get(key));
        let raw = header.as_bytes();
        let mut name = record("path").map(<[u8]>::to_vec).or(long_name).unwrap_or_else(|| header.path_bytes().into_owned());
        let link = record("linkpath")
            .map(<[u8]>::to_vec)
            .or(long_link)
            .or_else(|| header.link_name_bytes().map(|l| l.into_owned()))
            .unwrap_or_default();
        let kind = match raw[156] {
            0 | b'0' if name.ends_with(b"/") => Kind::Folder,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'3' => Kind::CharDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Folder,
            b'6' => Kind::Fifo,
            other => return Err(ArchiveError::Kind { name: lossy(&name), kind: char::from(other) }),
        };
        let wrong = |field| ArchiveError::Number { name: lossy(&name), field };
        let field = |range: std::ops::Range<usize>, field| number(&raw[range]).ok_or_else(|| wrong(field));
        let owner = |key, range, label| -> Result<u32, ArchiveError> {
            let value = match record(key) {
                Some(text) => pax::integer(text).ok_or_else(|| wrong(label))?,
                None => field(range, label)?,
            };
            // The last id means "unchanged" to the kernel.
            u32::try_from(value).ok().filter(|id| *id != u32::MAX).ok_or_else(|| wrong(label))
        };
        let mode = (field(100..108, "mode")? & 0o7777) as u32;
        let uid = owner("uid", 108..116, "uid")?;
        let gid = owner("gid", 116..124, "gid")?;
        let mtime = match record("mtime") {
            Some(text) => pax::time(text).ok_or_else(|| wrong("mtime"))?,
            None => (field(136..148, "mtime")?, 0),
        };
        let device = match kind {
            Kind::CharDevice | Kind::BlockDevice => {
                let part = |range, label| u32::try_from(field(range, label)?).map_err(|_| wrong(label));
                (part(329..337, "devmajor")?, part(337..345, "devminor")?)
            }
            _ => (0, 0),
        };
        // Only files have content: writers put all sorts of sizes into other entries.
        let has_content = matches!(raw[156], 0 | b'0' | b'7' | b'S');
        let stored = match (has_content, record("size")) {
            (true, Some(text)) => pax::integer(text).ok_or_else(|| wrong("size"))?,
            (true, None) => field(124..136, "size")?,
            _ => 0,
        };
        let stored = u64::try_from(stored).map_err(|_| wrong("size"))?;
        let padded = stored.checked_next_multiple_of(BLOCK).ok_or_else(|| wrong("size"))?;
        (self.content, self.padding) = (stored, padded - stored);

        let mut size = if kind == Kind::File { stored } else { 0 };
        let mut pieces = None;
        if raw[156] == b'S' {
            let (real, map) = self.gnu_sparse(header)?;
            (size, pieces) = (real, Some(map));
        } else if kind == Kind::File && (record("GNU.sparse.major").is_some() || record("GNU.sparse.map").is_some()) {
            let malformed = || ArchiveError::Sparse { name: lossy(&name) };
            let real = record("GNU.sparse.realsize").or_else(|| record("GNU.sparse.size")).and_then(pax::integer);
            let map = match record("GNU.sparse.map") {
                Some(text) => pax::pairs(text.split(|b| *b == b',')),
                None => self.map_in_content()?,
            };
            size = real.and_then(|size| u64::try_from(size).ok()).ok_or_else(malformed)?;
            pieces = Some(map.ok_or_else(malformed)?);
            if let Some(real_name) = record("GNU.sparse.name") {
                name = real_name.to_vec();
            }
        }
        if pieces.as_ref().is_some_and(|map| !accounts_for(map, size, self.content)) {
            return Err(ArchiveError::Sparse { name: lossy(&name) });
        }
        let xattrs = globals.xattrs().chain(own.xattrs()).collect();
        self.globals = globals;
        Ok(Entry { name, link, kind, mode, uid, gid, mtime, size, device, xattrs, pieces })
    }

    /// The map in a GNU sparse header and the blocks behind it.
    fn gnu_sparse(&mut self, header: &Header) -> Result<(u64, Pieces), ArchiveError> {
        let malformed = || ArchiveError::Sparse { name: lossy(&header.path_bytes()) };
        let gnu = header.as_gnu().ok_or_else(malformed)?;
        let mut pieces = Vec::new();
        let mut add = |piece: &tar::GnuSparseHeader| -> Result<(), ArchiveError> {
            if !piece.is_empty() {
                let pair = (piece.offset().map_err(|_| malformed())?, piece.length().map_err(|_| malformed())?);
                if pieces.len() == MAX_PIECES {
                    return Err(malformed());
                }
                pieces.push(pair);
            }
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        while more {
            let mut extension = GnuExtSparseHeader::new();
            if !self.block(extension.as_mut_bytes(), "the map of a sparse file")? {
                return Err(ArchiveError::Truncated("the map of a sparse file"));
            }
            extension.sparse.iter().try_for_each(&mut add)?;
            more = extension.is_extended();
        }
        Ok((gnu.real_size().map_err(|_| malformed())?, pieces))
    }

    /// The map of PAX sparse format 1.0: decimal lines at the start of the content, padded to a block. `None`: malformed.
    fn map_in_content(&mut self) -> Result<Option<Pieces>, ArchiveError> {
        let mut text = Vec::new();
        let mut expected = None;
        loop {
            if self.content < BLOCK || text.len() as u64 > MAX_EXTENSION {
                return Ok(None);
            }
            let mut block = [0; BLOCK as usize];
            if !self.block(&mut block, "the map of a sparse file")? {
                return Err(ArchiveError::Truncated("the map of a sparse file"));
            }
            self.content -= BLOCK;
            text.extend_from_slice(&block);
            let lines = text.iter().filter(|b| **b == b'\n').count();
            if expected.is_none() && lines > 0 {
                let count = text.split(|b| *b == b'\n').next().and_then(pax::integer).and_then(|n| usize::try_from(n).ok());
                let Some(count) = count.filter(|n| *n <= MAX_PIECES) else { return Ok(None) };
                expected = Some(1 + 2 * count);
            }
            if let Some(wanted) = expected
                && lines >= wanted
            {
                return Ok(pax::pairs(text.split(|b| *b == b'\n').take(wanted).skip(1)));
            }
        }
    }

    fn extension(&mut self, header: &Header, at: u64) -> Result<Vec<u8>, ArchiveError> {
        let size = number(&header.as_bytes()[124..136]).and_then(|n| u64::try_from(n).ok()).ok_or(ArchiveError::Extension(at))?;
        if size > MAX_EXTENSION {
            return Err(ArchiveError::ExtensionSize { at, size });
        }
        let mut content = vec![0; size as usize];
        (self.content, self.padding) = (size, size.next_multiple_of(BLOCK) - size);
        self.read_exact(&mut content).map_err(|e| cut(e, "an extension header"))?;
        self.skip()?;
        Ok(content)
    }

    /// Fills `block`; false at the clean end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK as usize], what: &'static str) -> Result<bool, ArchiveError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.reader.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(ArchiveError::Truncated(what)),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        self.position += BLOCK;
        Ok(true)
    }

    fn skip(&mut self) -> Result<(), ArchiveError> {
        let wanted = self.content + self.padding;
        let skipped = io::copy(&mut (&mut self.reader).take(wanted), &mut io::sink())?;
        self.position += skipped;
        // A last entry without its padding is complete all the same.
        if skipped < self.content {
            return Err(ArchiveError::Truncated("a file"));
        }
        (self.content, self.padding) = (0, 0);
        Ok(())
    }
}

/// The current entry's content.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.content).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let n = self.reader.read(&mut buffer[..most])?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of a file"));
        }
        self.content -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}

/// A sparse file's map must be in order, within the file, and account for every stored byte.
fn accounts_for(pieces: &Pieces, size: u64, stored: u64) -> bool {
    let (mut end, mut sum) = (0u64, 0u64);
    for (offset, length) in pieces {
        match offset.checked_add(*length) {
            Some(next) if *offset >= end && next <= size => end = next,
            _ => return false,
        }
        sum += length;
    }
    sum == stored
}

pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

fn cut(error: io::Error, what: &'static str) -> ArchiveError {
    if error.kind() == io::ErrorKind::UnexpectedEof { ArchiveError::Truncated(what) } else { error.into() }
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// Whether a block can be the first of an archive; an empty archive begins with its end.
pub fn is_header(block: &[u8]) -> bool {
    let mut header = Header::new_old();
    let Some(block) = block.first_chunk::<{ BLOCK as usize }>() else { return false };
    header.as_mut_bytes().copy_from_slice(block);
    block.iter().all(|b| *b == 0) || check_sum(&header, 0).is_ok()
}

fn check_sum(header: &Header, at: u64) -> Result<(), ArchiveError> {
    let raw = header.as_bytes();
    let field = 148..156;
    let sum: i64 = raw.iter().enumerate().map(|(i, b)| if field.contains(&i) { 32 } else { i64::from(*b) }).sum();
    // Some old writers summed signed bytes.
    let signed: i64 = raw.iter().enumerate().map(|(i, b)| if field.contains(&i) { 32 } else { i64::from(b.cast_signed()) }).sum();
    match number(&raw[field]) {
        Some(said) if said == sum || said == signed => Ok(()),
        _ => Err(ArchiveError::Checksum(at)),
    }
}

/// A numeric field: octal text, or base 256 when the first bit is set (GNU). An empty field is 0.
fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let negative = first & 0x40 != 0;
        let mut value = if negative { -1i64 } else { 0 };
        for byte in std::iter::once(if negative { first | 0x80 } else { first & 0x7f }).chain(rest.iter().copied()) {
            if value.leading_zeros() < 9 && value.leading_ones() < 9 {
                return None;
            }
            value = value << 8 | i64::from(byte);
        }
        return Some(value);
    }
    let text = field.split(|b| *b == 0).next()?.trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    text.iter().try_fold(0i64, |sum, digit| match digit {
        b'0'..=b'7' => sum.checked_mul(8)?.checked_add(i64::from(digit - b'0')),
        _ => None,
    })
}
