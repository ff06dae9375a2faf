//! The role `@links`: deletes links of a container that is gone, which takes the kernel tens of milliseconds, for a program
//! that wants to end meanwhile. The end of a program waits for what its threads have asked of the kernel.

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use super::{Inner, Result};

/// The name of the role, as the first argument of this program.
pub const ROLE: &str = "@links";

/// Starts a process that deletes the links of these numbers, in the network namespace of the calling thread. Nobody waits
/// for it.
pub(super) fn start(program: &[OsString], links: &[u32]) -> Result<()> {
    let Some((program, before)) = program.split_first() else { return Inner::delete_links(links) };
    let mut command = Command::new(program);
    command.arg0("setpoint").args(before).arg(ROLE).args(links.iter().map(u32::to_string)).env_clear().current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Whoever adopts it when this program has ended takes its result.
    command.spawn().map(drop).or_else(|_| Inner::delete_links(links))
}

/// The role's entry: the numbers of the links.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let numbers = arguments.iter().map(|argument| argument.to_str().and_then(|text| text.parse().ok()));
    let Some(links) = numbers.collect::<Option<Vec<u32>>>() else {
        drop(writeln!(stderr(), "{ROLE}: the arguments are numbers of links"));
        return ExitCode::from(2);
    };
    match Inner::delete_links(&links) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            drop(writeln!(stderr(), "{error}"));
            ExitCode::FAILURE
        }
    }
}
