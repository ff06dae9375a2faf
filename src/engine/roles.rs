//! The roles of this program that are no commands: processes of the engine, spawned from its own file. They are chosen
//! before anything else exists, because they must be small and single-threaded.

use std::ffi::OsString;
use std::process::ExitCode;

use super::{containers, monitor, networks, settle_role};

/// Plays the role that the first argument (after the program's name) names. `None` when it names none.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let (role, rest) = arguments.split_first()?;
    match role.to_str()? {
        monitor::ROLE => Some(monitor::main(rest)),
        settle_role::ROLE => Some(settle_role::main(rest)),
        networks::dns::ROLE => Some(networks::dns::main(rest.iter().cloned())),
        containers::EXEC_ROLE => Some(containers::exec_main(rest)),
        _ => None,
    }
}
