//! The files that COPY and ADD read and write: where they come from, which of them are meant, what they are worth for the cache,
//! and how they get into a stage. Synchronous but for what comes over the network. Knows nothing of instructions, stages and layers.
//!
//! Guarantees: nothing outside the root that is read from is read, and nothing outside the root that is written to is changed,
//! whatever links there are and whoever exchanges folders for links meanwhile.

mod add;
mod content;
mod copy;
mod digest;
mod document;
mod error;
pub mod git;
mod known;
mod receive;
mod select;
mod shown;
mod straight;
mod target;
#[cfg(test)]
mod tests;
mod tree;
mod web;
mod xattrs;

pub use self::add::{Download, add};
pub use self::copy::{Copied, copy};
pub use self::document::write_document;
pub use self::error::{Doubt, FilesError};
pub use self::known::FileDigests;
pub use self::receive::{Received, receive, receive_now, receive_url};
pub use self::select::{Select, Selected, Selection};
pub use self::shown::{Shown, look_like};
pub use self::straight::{Rest, copy_leaving};
pub use self::target::CopyOrder;
pub use self::tree::{Meta, Opened, Tree};
pub use self::web::{Visits, Web, visits};
