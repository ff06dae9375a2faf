//! What to do so that the host becomes what is desired. Pure: no clock, no input or output, no randomness.

pub mod step;

pub use step::{Action, Cause, Kind, Plan, Resource, Step, StepId, WaitFor};
