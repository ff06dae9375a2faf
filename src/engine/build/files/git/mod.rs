//! Files of a Git repository: what a source says, and how it is fetched by the host's `git`.

mod fetch;
mod program;
mod source;

pub use self::fetch::{Checkout, fetch};
pub use self::program::GitAccess;
pub use self::source::{GitSource, Reference};
