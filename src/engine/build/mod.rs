//! Images from Dockerfiles. What is pure of it is here: the syntax tree, the expansion of variables, the patterns of
//! `.dockerignore` and of `COPY`, and the graph of stages. No I/O and no async: texts are given, values come back.

pub mod dockerfile;
pub mod expand;
pub mod files;
mod glob;
pub mod ignore;
pub mod permissions;
pub mod stages;
pub mod wildcard;
