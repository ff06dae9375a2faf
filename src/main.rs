//! The program: chooses its role before anything else exists.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    setpoint::engine::roles::run(&arguments).unwrap_or(ExitCode::from(2))
}
