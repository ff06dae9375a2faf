//! From desired to real: look, plan, execute, record, again.

pub mod report;
