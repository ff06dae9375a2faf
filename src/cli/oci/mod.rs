//! `setpoint oci` and `setpoint-oci`: the OCI runtime's command line, with the arguments and answers of runc. It speaks to no
//! daemon and knows no instance: containers of the OCI runtime are those of whoever calls it.

mod args;
mod events;
mod foreground;
mod journal;
mod process;
mod resources;
mod tables;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use clap::Parser;

use args::{CreateArgs, ExecArgs, ListFormat, Oci, OciCommand, RunArgs};
use journal::Journal;

use super::args::When;
use super::error::CliError;
use super::output::Output;
use crate::engine::runtime::oci::{self, CreateOptions, ExecOptions, OciError};
use crate::files::FileError;
use crate::model::Signal;
use crate::sys;

/// The name that makes this program an OCI runtime, whatever its first argument is.
const NAME: &str = "setpoint-oci";

/// What ends a command of the OCI runtime.
#[derive(Debug, thiserror::Error)]
enum OciCliError {
    #[error(transparent)]
    Oci(#[from] OciError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Output(#[from] CliError),
    #[error("{what}: {reason}")]
    Argument { what: &'static str, reason: String },
    #[error("{}: {source}", path.display())]
    Document { path: std::path::PathBuf, source: serde_json::Error },
    #[error("could not {action}: {source}")]
    Step { action: &'static str, source: io::Error },
}

impl OciCliError {
    fn step(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Step { action, source }
    }

    fn exit_code(&self) -> i32 {
        match self {
            Self::Oci(error) => error.exit_code(),
            _ => 1,
        }
    }
}

/// Plays the OCI runtime if the arguments ask for it, and gives the exit code.
///
/// # Assumptions
/// The process has just begun, and has one thread.
pub fn main(arguments: &[OsString]) -> Option<i32> {
    let name = arguments.first().map(|name| Path::new(name).file_name().unwrap_or_default());
    let rest = if name == Some(OsStr::new(NAME)) {
        arguments.get(1..)?
    } else if arguments.get(1).is_some_and(|first| first == "oci") {
        arguments.get(2..)?
    } else {
        return None;
    };
    let parsed = Oci::try_parse_from(std::iter::once(OsString::from("setpoint oci")).chain(rest.iter().cloned()));
    Some(match parsed {
        Ok(oci) => play(oci),
        Err(error) => {
            // A reader of the help that has gone is no reason to fail.
            drop(error.print());
            i32::from(error.use_stderr())
        }
    })
}

fn play(oci: Oci) -> i32 {
    let output = Output::new(When::Never);
    let journal = Journal { path: oci.log.clone(), json: oci.log_format == args::LogFormat::Json, debug: oci.debug, output };
    match carry_out(oci, output, &journal) {
        Ok(code) => code,
        Err(OciCliError::Output(error)) if error.is_broken_pipe() => 0,
        Err(error) => {
            journal.error(&error.to_string());
            error.exit_code()
        }
    }
}

fn carry_out(oci: Oci, output: Output, journal: &Journal) -> Result<i32, OciCliError> {
    check_global(&oci)?;
    let root = std::path::absolute(&oci.root).map_err(OciCliError::step("find the current folder"))?;
    let root = root.as_path();
    match oci.command {
        OciCommand::Create(args) => create(root, args, oci.systemd_cgroup, journal),
        OciCommand::Run(args) => run(root, args, oci.systemd_cgroup, journal),
        OciCommand::Exec(args) => exec(root, *args, journal),
        OciCommand::Start(args) => Ok(oci::start(root, &args.id).map(|()| 0)?),
        OciCommand::State(args) => Ok(output.json(&oci::state(root, &args.id)?).map(|()| 0)?),
        OciCommand::Kill(args) => {
            let signal: Signal =
                args.signal.parse().map_err(|e| OciCliError::Argument { what: "signal", reason: format!("{e}") })?;
            Ok(oci::kill(root, &args.id, signal.number(), args.all).map(|()| 0)?)
        }
        OciCommand::Delete(args) => {
            for warning in oci::delete(root, &args.id, args.force)? {
                journal.warning(&warning);
            }
            Ok(0)
        }
        OciCommand::Pause(args) => Ok(oci::pause(root, &args.id).map(|()| 0)?),
        OciCommand::Resume(args) => Ok(oci::resume(root, &args.id).map(|()| 0)?),
        OciCommand::Update(args) => {
            let wanted = resources::of(&args)?;
            Ok(oci::update(root, &args.id, &wanted).map(|()| 0)?)
        }
        OciCommand::Ps(args) => {
            let pids = oci::processes(root, &args.id)?;
            match args.format {
                ListFormat::Json => output.json_line(&pids)?,
                ListFormat::Table => output.text(tables::processes(&pids, &args.ps)?)?,
            }
            Ok(0)
        }
        OciCommand::Events(args) => events::events(root, &args, output).map(|()| 0),
        OciCommand::List(args) => {
            let states = oci::list(root)?;
            match (args.quiet, args.format) {
                (true, _) => states.iter().try_for_each(|state| output.line(&state.id))?,
                (false, ListFormat::Json) => output.json_line(&states)?,
                (false, ListFormat::Table) => output.text(tables::containers(&states))?,
            }
            Ok(0)
        }
        OciCommand::Features => Ok(output.json(&oci::features()).map(|()| 0)?),
        OciCommand::Spec(args) => {
            let path = args.bundle.join("config.json");
            if path.exists() {
                let reason = format!("{} exists already; remove it first", path.display());
                return Err(OciCliError::Argument { what: "spec", reason });
            }
            let document = if args.rootless { oci::rootless() } else { oci::template() };
            let text =
                serde_json::to_vec_pretty(&document).map_err(|source| OciCliError::Document { path: path.clone(), source })?;
            Ok(crate::files::publish(&path, &text, 0o644).map(|()| 0)?)
        }
        OciCommand::Checkpoint(args) => Err(no_checkpoint("checkpoint", &args.rest)),
        OciCommand::Restore(args) => Err(no_checkpoint("restore", &args.rest)),
    }
}

/// Options that other runtimes have, and that change nothing here.
fn check_global(oci: &Oci) -> Result<(), OciCliError> {
    let refused = |what, reason: &str| Err(OciCliError::Argument { what, reason: reason.to_owned() });
    if oci.criu.is_some() {
        return refused("--criu", "checkpoints are not supported; leave it out");
    }
    match oci.rootless.as_str() {
        "auto" | "false" => Ok(()),
        "true" => refused("--rootless", "a cgroup that cannot be made is an error always; leave it out"),
        other => refused("--rootless", &format!("{other:?} is none of auto, false and true")),
    }
}

fn no_checkpoint(what: &'static str, rest: &[String]) -> OciCliError {
    let about = rest.last().map_or(String::new(), |id| format!(" of {id}"));
    OciCliError::Argument { what, reason: format!("checkpoints{about} are not supported; stop the container and start it again") }
}

/// What a command that makes a process does first: its program file is out of a container's reach, and it has only those
/// descriptors that the process is to have. Returns how many of them systemd has passed.
fn begin(preserve: u32) -> Result<u32, OciCliError> {
    sys::own_program::protect().map_err(OciCliError::step("execute the own program from where nobody can write"))?;
    let activated = std::env::var("LISTEN_FDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    sys::process::close_range(3 + preserve + activated, u32::MAX)
        .map_err(OciCliError::step("close what the caller left open"))?;
    Ok(activated)
}

fn options(args: &CreateArgs, systemd_cgroup: bool, activated: u32) -> CreateOptions {
    CreateOptions {
        bundle: args.bundle.clone(),
        console_socket: args.console_socket.clone(),
        pid_file: args.pid_file.clone(),
        no_pivot: args.no_pivot,
        systemd_cgroup,
        activated,
        pidfd_socket: args.pidfd_socket.clone(),
        inherit_keyring: args.no_new_keyring,
    }
}

fn create(root: &Path, args: CreateArgs, systemd_cgroup: bool, journal: &Journal) -> Result<i32, OciCliError> {
    let activated = begin(args.preserve_fds)?;
    let created = oci::create(root, &args.id, &options(&args, systemd_cgroup, activated), None)?;
    journal.warnings(&created.warnings);
    Ok(0)
}

fn run(root: &Path, args: RunArgs, systemd_cgroup: bool, journal: &Journal) -> Result<i32, OciCliError> {
    let activated = begin(args.create.preserve_fds)?;
    let id = args.create.id.clone();
    let mut caller = foreground::Caller::new(!args.detach)?;
    let created = oci::create(root, &id, &options(&args.create, systemd_cgroup, activated), caller.terminal_end())?;
    journal.warnings(&created.warnings);
    let ran = oci::start(root, &id).map_err(OciCliError::from).and_then(|()| match args.detach {
        true => Ok(0),
        false => caller.attend(&created.pidfd),
    });
    let finished = args.detach && ran.is_ok() || args.keep && ran.is_ok();
    if !finished {
        for warning in oci::delete(root, &id, true)? {
            journal.warning(&warning);
        }
    }
    ran
}

fn exec(root: &Path, args: ExecArgs, journal: &Journal) -> Result<i32, OciCliError> {
    let activated = begin(args.preserve_fds)?;
    let process = process::of(&args, || Ok(oci::process_of(root, &args.id)?))?;
    let options = ExecOptions {
        console_socket: args.console_socket.clone(),
        pid_file: args.pid_file.clone(),
        ignore_paused: args.ignore_paused,
        pidfd_socket: args.pidfd_socket.clone(),
        cgroups: args.cgroup.clone(),
        activated,
    };
    let mut caller = foreground::Caller::new(!args.detach)?;
    let executed = oci::exec(root, &args.id, &process, &options, caller.terminal_end())?;
    journal.warnings(&executed.warnings);
    journal.notes(&executed.notes);
    if args.detach { Ok(0) } else { caller.attend(&executed.pidfd) }
}
