//! The roles of this program that are no commands: processes of the engine, spawned from its own file. They are chosen
//! before anything else exists, because they must be small and single-threaded.

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::process::ExitCode;

use super::{containers, monitor, networks, runtime, settle_role};
use crate::sys;

/// Plays the role that the first argument (after the program's name) names. `None` when it names none.
///
/// # Assumptions
/// The process has just begun: it has no threads and has opened nothing.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let (role, rest) = arguments.split_first()?;
    let play: fn(&[OsString]) -> ExitCode = match role.to_str()? {
        monitor::ROLE => monitor::main,
        settle_role::ROLE => settle_role::main,
        networks::dns::ROLE => networks::dns::main,
        containers::EXEC_ROLE => containers::exec_main,
        runtime::small_init::ROLE => runtime::small_init::main,
        _ => return None,
    };
    // Roles live on for long. A lock or a pipe of a script that called us must not live as long as they do.
    if let Err(error) = sys::process::close_inherited() {
        drop(writeln!(stderr(), "close what the caller left open: {error}"));
        return Some(ExitCode::from(125));
    }
    Some(play(rest))
}
