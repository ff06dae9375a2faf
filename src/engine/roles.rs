//! The roles of this program that are no commands: processes of the engine, spawned from its own file. They are chosen
//! before anything else exists, because they must be small and single-threaded.

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::process::ExitCode;

use super::{containers, monitor, networks, rootless, runtime, settle_role};
use crate::sys;

/// Plays the role that the first argument (after the program's name) names. `None` when it names none.
///
/// # Assumptions
/// The process has just begun: it has no threads and has opened nothing.
pub fn run(arguments: &[OsString]) -> Option<ExitCode> {
    let (role, rest) = arguments.split_first()?;
    let (play, enters): (fn(&[OsString]) -> ExitCode, bool) = match role.to_str()? {
        monitor::ROLE => (monitor::main, true),
        rootless::ROLE => (rootless::main, false),
        settle_role::ROLE => (settle_role::main, false),
        networks::dns::ROLE => (networks::dns::main, false),
        networks::links_role::ROLE => (networks::links_role::main, false),
        containers::EXEC_ROLE => (containers::exec_main, true),
        containers::WORK_ROLE => (containers::work_main, true),
        runtime::small_init::ROLE => (runtime::small_init::main, false),
        _ => return None,
    };
    // Roles live on for long. A lock or a pipe of a script that called us must not live as long as they do.
    if let Err(error) = sys::process::close_inherited() {
        drop(writeln!(stderr(), "close what the caller left open: {error}"));
        return Some(ExitCode::from(125));
    }
    // Their children become processes of containers. Whoever starts them does it from a sealed file; this is for those
    // who do not.
    if enters && let Err(error) = sys::own_program::protect() {
        drop(writeln!(stderr(), "seal the own program's file: {error}"));
        return Some(ExitCode::from(125));
    }
    // The kernel's name for it is that of the file that it was executed from, which is a number.
    rustix::thread::set_name(c"setpoint").ok();
    Some(play(rest))
}
