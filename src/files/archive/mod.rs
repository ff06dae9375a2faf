//! Archives as they come: tars in any of the usual compressions, read as streams and within bounds. Knows nothing of what is in
//! them, nor of where it goes.

mod compressed;
pub mod pax;
mod reader;

pub use compressed::{Bounded, Limits, TooMuch, decompress, looks_like_a_tar, plain};
pub use reader::{Archive, ArchiveError, Entry, Kind, Pieces, is_header, lossy};
