//! What of a layer's tar is not in the layer's folder: headers, padding, and contents that a later entry replaced. With
//! this skeleton and the folder, the very same tar comes out again, byte by byte. Knows nothing of the store.
//!
//! The file is one zstd stream: a line that names the format, then records, then the tar's length. A record is bytes as
//! they are, or a piece of a file of the folder.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::files::{Beneath, FileError};

const FORMAT: &[u8] = b"setpoint tar skeleton 1\n";
const LEVEL: i32 = 1;
/// Bytes that are gathered into one record.
const GATHERED: usize = 64 << 10;
/// The longest record and the longest path that a whole skeleton has; more is damage.
const LONGEST: u64 = 1 << 20;

const RAW: u8 = 0;
const PIECE: u8 = 1;
const END: u8 = 2;

#[derive(Debug, thiserror::Error)]
pub enum SkeletonError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the skeleton {} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{} has {found} bytes where the layer has {expected} at least", path.display())]
    Short { path: PathBuf, found: u64, expected: u64 },
}

/// A piece of a file of the folder, in the place where the tar has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Piece {
    /// From the folder's root, without symbolic links on the way.
    path: PathBuf,
    offset: u64,
    length: u64,
}

enum Part {
    Raw(Vec<u8>),
    Piece(Piece),
    End(u64),
}

/// Something that a later entry took away, and where it is kept until the skeleton is complete.
#[derive(Debug)]
struct Grave {
    path: PathBuf,
    kept: PathBuf,
    /// How many pieces had been written before: later ones mean what took its place.
    pieces: u64,
}

/// Writes a skeleton while the tar is read.
pub(in crate::engine::images) struct Recorder {
    path: PathBuf,
    output: Packed,
    raw: Vec<u8>,
    total: u64,
    pieces: u64,
    /// What entries of this layer replaced, and the folder for it, made when it is needed.
    graves: Vec<Grave>,
    graveyard: PathBuf,
}

impl Recorder {
    /// `graveyard` is a folder that may be made, on the same file system as the layer's.
    pub(in crate::engine::images) fn create(path: &Path, graveyard: &Path) -> Result<Self, FileError> {
        let output = encoder(path)?;
        Ok(Self {
            path: path.to_owned(),
            output,
            raw: Vec::with_capacity(GATHERED),
            total: 0,
            pieces: 0,
            graves: Vec::new(),
            graveyard: graveyard.to_owned(),
        })
    }

    /// Bytes of the tar that are in no file.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.total += bytes.len() as u64;
        self.raw.extend_from_slice(bytes);
        if self.raw.len() >= GATHERED { self.flush() } else { Ok(()) }
    }

    /// `length` bytes of the tar that are in the file at `path`.
    pub(super) fn piece(&mut self, path: &Path, offset: u64, length: u64) -> Result<(), FileError> {
        self.flush()?;
        self.total += length;
        self.pieces += 1;
        let piece = Piece { path: path.to_owned(), offset, length };
        write_piece(&mut self.output, &piece).map_err(|e| FileError::new("write", &self.path, e))
    }

    /// Where to put what is at `path`, instead of removing it.
    pub(super) fn bury(&mut self, path: &Path) -> Result<PathBuf, FileError> {
        if self.graves.is_empty() {
            crate::files::create_dirs(&self.graveyard, 0o700)?;
        }
        let kept = self.graveyard.join(self.graves.len().to_string());
        self.graves.push(Grave { path: path.to_owned(), kept: kept.clone(), pieces: self.pieces });
        Ok(kept)
    }

    fn flush(&mut self) -> Result<(), FileError> {
        let written = if self.raw.is_empty() { Ok(()) } else { write_raw(&mut self.output, &self.raw) };
        self.raw.clear();
        written.map_err(|e| FileError::new("write", &self.path, e))
    }

    /// Completes the skeleton. What was replaced is in it afterwards, and its files are gone.
    pub(super) fn finish(mut self) -> Result<(), SkeletonError> {
        self.flush()?;
        let Self { path, mut output, total, graves, graveyard, .. } = self;
        let fail = |e| FileError::new("write", &path, e);
        write_end(&mut output, total).and_then(|()| finished(output)).map_err(fail)?;
        if !graves.is_empty() {
            exhume(&path, &graves)?;
            crate::files::remove_all(&graveyard)?;
        }
        Ok(())
    }
}

/// Puts the contents of what was replaced into the skeleton itself.
fn exhume(path: &Path, graves: &[Grave]) -> Result<(), SkeletonError> {
    let mut records = Records::open(path)?;
    let whole = path.with_extension("whole");
    let mut output = encoder(&whole)?;
    let fail = |e| FileError::new("write", &whole, e);
    let mut pieces = 0;
    loop {
        match records.next()? {
            Part::Raw(bytes) => write_raw(&mut output, &bytes).map_err(fail)?,
            Part::Piece(piece) => {
                pieces += 1;
                // The first to take it away after it was written.
                let grave = graves.iter().find(|grave| grave.pieces >= pieces && piece.path.starts_with(&grave.path));
                let Some(grave) = grave else {
                    write_piece(&mut output, &piece).map_err(fail)?;
                    continue;
                };
                let below = piece.path.strip_prefix(&grave.path).unwrap_or(Path::new(""));
                let kept = if below.as_os_str().is_empty() { grave.kept.clone() } else { grave.kept.join(below) };
                let file = File::open(&kept).map_err(|e| FileError::new("open", &kept, e))?;
                let mut content = Content::new(file, kept, &piece)?;
                let mut buffer = vec![0; GATHERED];
                loop {
                    match content.read(&mut buffer)? {
                        0 => break,
                        n => write_raw(&mut output, &buffer[..n]).map_err(fail)?,
                    }
                }
            }
            Part::End(total) => {
                write_end(&mut output, total).and_then(|()| finished(output)).map_err(fail)?;
                return Ok(std::fs::rename(&whole, path).map_err(|e| FileError::new("rename to", path, e))?);
            }
        }
    }
}

/// Records are small, and are given to the compression many at a time.
type Packed = BufWriter<zstd::Encoder<'static, File>>;

fn finished(output: Packed) -> io::Result<()> {
    output.into_inner().map_err(io::IntoInnerError::into_error)?.finish().map(drop)
}

fn encoder(path: &Path) -> Result<Packed, FileError> {
    let fail = |e| FileError::new("create", path, e);
    let file = File::create(path).map_err(fail)?;
    let mut output = zstd::Encoder::new(file, LEVEL).map_err(fail)?;
    output.include_checksum(true).map_err(fail)?;
    output.write_all(FORMAT).map_err(fail)?;
    Ok(BufWriter::with_capacity(GATHERED, output))
}

fn write_raw(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    output.write_all(&[RAW])?;
    output.write_all(&(bytes.len() as u64).to_le_bytes())?;
    output.write_all(bytes)
}

fn write_piece(output: &mut impl Write, piece: &Piece) -> io::Result<()> {
    let path = piece.path.as_os_str().as_bytes();
    output.write_all(&[PIECE])?;
    output.write_all(&(path.len() as u64).to_le_bytes())?;
    output.write_all(path)?;
    output.write_all(&piece.offset.to_le_bytes())?;
    output.write_all(&piece.length.to_le_bytes())
}

fn write_end(output: &mut impl Write, total: u64) -> io::Result<()> {
    output.write_all(&[END])?;
    output.write_all(&total.to_le_bytes())
}

/// Reads a skeleton's records.
struct Records {
    path: PathBuf,
    input: zstd::Decoder<'static, BufReader<File>>,
}

impl Records {
    fn open(path: &Path) -> Result<Self, SkeletonError> {
        let file = File::open(path).map_err(|e| FileError::new("open", path, e))?;
        let input = zstd::Decoder::new(file).map_err(|e| FileError::new("read", path, e))?;
        let mut records = Self { path: path.to_owned(), input };
        let mut format = [0; FORMAT.len()];
        records.fill(&mut format)?;
        if format == FORMAT { Ok(records) } else { Err(records.damaged("it is of another format".to_owned())) }
    }

    fn next(&mut self) -> Result<Part, SkeletonError> {
        let mut kind = [0];
        self.fill(&mut kind)?;
        match kind[0] {
            RAW => Ok(Part::Raw(self.bytes()?)),
            PIECE => {
                let path = PathBuf::from(OsStr::from_bytes(&self.bytes()?));
                Ok(Part::Piece(Piece { path, offset: self.number()?, length: self.number()? }))
            }
            END => {
                let total = self.number()?;
                // The stream's own checksum comes behind it.
                match self.input.read(&mut [0]) {
                    Ok(0) => Ok(Part::End(total)),
                    Ok(_) => Err(self.damaged("it goes on after its end".to_owned())),
                    Err(e) => Err(self.damaged(e.to_string())),
                }
            }
            other => Err(self.damaged(format!("there is no record of kind {other}"))),
        }
    }

    fn number(&mut self) -> Result<u64, SkeletonError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, SkeletonError> {
        let length = self.number()?;
        if length > LONGEST {
            return Err(self.damaged(format!("a record claims {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), SkeletonError> {
        self.input.read_exact(bytes).map_err(|e| self.damaged(e.to_string()))
    }

    fn damaged(&self, what: String) -> SkeletonError {
        SkeletonError::Damaged { path: self.path.clone(), what }
    }
}

/// The bytes of one piece.
struct Content {
    file: File,
    path: PathBuf,
    left: u64,
}

impl Content {
    fn new(mut file: File, path: PathBuf, piece: &Piece) -> Result<Self, SkeletonError> {
        let fail = |e| FileError::new("read", &path, e);
        let found = file.metadata().map_err(fail)?.len();
        let expected = piece.offset.saturating_add(piece.length);
        if found < expected {
            return Err(SkeletonError::Short { path, found, expected });
        }
        file.seek(SeekFrom::Start(piece.offset)).map_err(fail)?;
        Ok(Self { file, path, left: piece.length })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SkeletonError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.file.read(&mut buffer[..most]).map_err(|e| FileError::new("read", &self.path, e))?;
        if n == 0 {
            return Err(SkeletonError::Short { path: self.path.clone(), found: 0, expected: self.left });
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// The tar of a layer, from its skeleton and its folder. Small in memory, whatever the layer's size.
pub(in crate::engine::images) struct Rebuilt {
    records: Records,
    folder: Beneath,
    raw: VecDeque<u8>,
    content: Option<Content>,
    done: u64,
    ended: bool,
}

impl Rebuilt {
    pub(in crate::engine::images) fn open(skeleton: &Path, folder: &Path) -> Result<Self, SkeletonError> {
        let records = Records::open(skeleton)?;
        Ok(Self { records, folder: Beneath::open(folder)?, raw: VecDeque::new(), content: None, done: 0, ended: false })
    }

    fn step(&mut self, buffer: &mut [u8]) -> Result<usize, SkeletonError> {
        loop {
            if !self.raw.is_empty() {
                return self.raw.read(buffer).map_err(|e| self.records.damaged(e.to_string()));
            }
            if let Some(content) = &mut self.content {
                match content.read(buffer)? {
                    0 => self.content = None,
                    n => return Ok(n),
                }
            }
            if self.ended {
                return Ok(0);
            }
            match self.records.next()? {
                Part::Raw(bytes) => self.raw = bytes.into(),
                Part::Piece(piece) => {
                    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
                    let fd = self.folder.resolve(&piece.path, flags).map_err(|e| self.folder.error("open", &piece.path, e))?;
                    self.content = Some(Content::new(fd.into(), self.folder.show(&piece.path), &piece)?);
                }
                Part::End(total) if total == self.done => self.ended = true,
                Part::End(total) => {
                    return Err(self.records.damaged(format!("it makes {} bytes, and promises {total}", self.done)));
                }
            }
        }
    }
}

impl Read for Rebuilt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let n = self.step(buffer).map_err(io::Error::other)?;
        self.done += n as u64;
        Ok(n)
    }
}
