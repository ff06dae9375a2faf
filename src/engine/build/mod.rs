//! Images from Dockerfiles. What is pure of it is here: the syntax tree, the expansion of variables, the patterns of
//! `.dockerignore` and of `COPY`, and the graph of stages. No I/O and no async: texts are given, values come back.

pub mod dockerfile;
pub mod expand;
mod glob;
pub mod ignore;
pub mod permissions;
pub mod stages;
pub mod wildcard;

use crate::model::Digest;

/// What a build has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// Of the image's manifest, where there is an image.
    pub digest: Option<Digest>,
}
