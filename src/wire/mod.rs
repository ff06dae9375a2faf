//! What goes over the socket between a command line and an engine: paths, requests, answers, and the frames of streams.
//! Types only: who sends and who answers is known by `client` and `server`.

pub mod build;
pub mod frame;
pub mod native;
pub mod store;
pub mod verbs;
