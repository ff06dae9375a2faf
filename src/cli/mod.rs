//! The command line: arguments, commands and rendering. It speaks to an engine through `client` only, and loads manifests
//! itself, because their paths and variables are those of the person who types.

pub mod args;
pub mod build;
pub mod commands;
pub mod detach;
pub mod docker;
pub mod error;
pub mod format;
mod health;
pub mod mounts;
pub mod oci;
pub mod output;
pub mod pattern;
pub mod progress;
mod quick;
pub mod render;
pub mod select;
pub mod spec;
pub mod template;
pub mod terminal;
pub mod time;

use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{CommandFactory, FromArgMatches};

use args::{Cli, Command, Global};
use commands::Prepared;
use error::CliError;
use output::Output;

use crate::client::{self, Client};
use crate::engine::{Engine, rootless};
use crate::model::Instance;
use crate::reconcile::Reconciler;
use crate::server;

/// What a command line asks for.
#[derive(Debug)]
pub struct Invocation {
    pub global: Global,
    pub instance: Instance,
    pub output: Output,
    pub command: Command,
    /// Whether only the socket says which instance is meant, so that nothing but its daemon will do.
    daemon_only: bool,
}

/// Reads the arguments. What clap answers itself (help, versions, mistakes) is printed, and its exit code is the error.
pub fn parse(args: Vec<OsString>) -> Result<Invocation, i32> {
    let passes_codes_on = args.iter().any(|arg| arg == "run" || arg == "exec");
    let matches = match quick::matches(&args) {
        Some(matches) => Ok(matches),
        None => Cli::command().try_get_matches_from(args),
    };
    let parsed = matches.and_then(|matches| {
        let default = |id| matches!(matches.value_source(id), None | Some(ValueSource::DefaultValue));
        let said = Said { state_dir: !default("state_dir"), run_dir: !default("run_dir"), socket: !default("socket") };
        Cli::from_arg_matches(&matches).map(|cli| (cli, said))
    });
    let (mut cli, said) = parsed.map_err(|error| {
        // A reader of the help that has gone is no reason to fail.
        drop(error.print());
        match error.use_stderr() {
            false => 0,
            // 2 would mean changes to `plan`, and a container's own code to `run`.
            true if passes_codes_on => 125,
            true => 1,
        }
    })?;
    let output = Output::new(cli.global.color);
    let daemon_only = said.socket && !said.state_dir && !said.run_dir;
    let started = at_home(&mut cli.global, &said).and_then(|()| instance(&cli.global)).and_then(|instance| {
        log(&cli.global, matches!(cli.command, Command::Daemon(_)), output)?;
        Ok(instance)
    });
    match started {
        Ok(instance) => {
            let command = commands::alone(cli.command);
            Ok(Invocation { global: cli.global, instance, output, command, daemon_only })
        }
        Err(error) => Err(report(&error, output, if passes_codes_on { 125 } else { 1 })),
    }
}

/// Which of the options that say where an instance is were given.
struct Said {
    state_dir: bool,
    run_dir: bool,
    socket: bool,
}

/// Where nothing else is said, an ordinary user's roots are the user's own.
fn at_home(global: &mut Global, said: &Said) -> Result<(), CliError> {
    if !rootless::is_needed() || (said.state_dir && said.run_dir) {
        return Ok(());
    }
    let (state_dir, run_dir) = rootless::default_roots()?;
    if !said.state_dir {
        global.state_dir = state_dir;
    }
    if !said.run_dir {
        global.run_dir = run_dir;
    }
    Ok(())
}

/// Prints what `--version` asks for.
pub fn version() -> i32 {
    match Output::new(args::When::Never).line(concat!("setpoint ", env!("CARGO_PKG_VERSION"))) {
        Ok(()) => 0,
        Err(error) => i32::from(!error.is_broken_pipe()),
    }
}

/// Runs a command that is not the daemon, and gives the exit code.
pub fn run(invocation: Invocation) -> i32 {
    let (output, otherwise) = (invocation.output, commands::failure_code(&invocation.command));
    match attempt(invocation) {
        Ok(code) => code,
        Err(error) => report(&error, output, otherwise),
    }
}

/// Prints an error, and gives its exit code.
pub fn report(error: &CliError, output: Output, otherwise: i32) -> i32 {
    if error.is_broken_pipe() {
        return 0;
    }
    match error {
        CliError::Exit(_) | CliError::Interrupted(_) => {}
        CliError::Manifests { rendered } => output.note(rendered.trim_end()),
        error => output.error(&error.to_string(), error.hint().as_deref()),
    }
    error.exit_code(otherwise)
}

fn attempt(invocation: Invocation) -> Result<i32, CliError> {
    let Invocation { instance, output, command, daemon_only, .. } = invocation;
    let prepared = commands::prepare(command, output)?;
    if let Prepared::Done(code) = prepared {
        return Ok(code);
    }
    let daemon = client::knock(instance.socket())?;
    if daemon.is_none() && daemon_only {
        return Err(CliError::NoDaemon { path: instance.socket().to_owned() });
    }
    if daemon.is_none() && rootless::is_needed() {
        // The same once more, where this user is root.
        let Err(failed) = rootless::enter(&instance);
        return Err(failed.into());
    }
    let mut builder = if daemon.is_none() && prepared.is_heavy() {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2);
        builder
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build().map_err(CliError::Runtime)?;
    // A daemon would still need what holds an ordinary user's namespaces.
    let leaves = (daemon.is_none() && prepared.is_reset()).then(|| instance.run_dir().to_owned());
    let result = runtime.block_on(async {
        let client = match daemon {
            Some(stream) => Client::daemon(instance.socket(), stream).await?,
            None => embed(instance).await?,
        };
        commands::carry_out(&client, prepared, output).await
    });
    // A read of standard input that is still under way must not hold the program up.
    runtime.shutdown_background();
    if let (Some(run_dir), Ok(_)) = (leaves, &result)
        && rootless::is_inside(&run_dir)
    {
        rootless::leave(&run_dir)?;
    }
    result
}

async fn embed(instance: Instance) -> Result<Client, CliError> {
    let engine = Engine::open(instance).await?;
    let reconciler = Reconciler::new(engine.clone());
    Ok(Client::embedded(server::router(engine, reconciler)))
}

fn instance(global: &Global) -> Result<Instance, CliError> {
    let absolute = |option, path: &Path| {
        // A root that moved with the current folder would be another instance in every folder.
        let path = std::path::absolute(path).map_err(CliError::Surroundings)?;
        if path.parent().is_some() { Ok(path) } else { Err(CliError::RelativeRoot { option, path }) }
    };
    let socket = global.socket.as_deref().map(|path| absolute("socket", path)).transpose()?;
    Ok(Instance::new(absolute("state-dir", &global.state_dir)?, absolute("run-dir", &global.run_dir)?, socket))
}

/// Begins to log to stderr. A command says what matters itself, so that it logs warnings only; a daemon says what it does.
fn log(global: &Global, daemon: bool, output: Output) -> Result<(), CliError> {
    let level = global.log_level.as_deref().unwrap_or(if daemon { "warn,setpoint=info" } else { "warn" });
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(output.error_colour);
    let fail = |why: String| CliError::LogLevel { why };
    let plain = level.parse::<tracing_subscriber::filter::LevelFilter>();
    let started = match plain {
        Ok(level) => log.with_max_level(level).try_init(),
        Err(_) => {
            let filter = tracing_subscriber::EnvFilter::builder().parse(level).map_err(|e| fail(e.to_string()))?;
            log.with_env_filter(filter).try_init()
        }
    };
    started.map_err(|e| fail(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_go_anywhere() {
        for line in
            ["--state-dir /s --run-dir /r ps -a", "ps -a --state-dir /s --run-dir /r", "--state-dir /s ps --run-dir /r -a"]
        {
            let cli = Cli::try_parse_from(["setpoint"].into_iter().chain(line.split(' '))).unwrap();
            assert_eq!(cli.global.state_dir, Path::new("/s"), "{line}");
            assert_eq!(cli.global.run_dir, Path::new("/r"), "{line}");
            assert!(matches!(cli.command, Command::Ps(args) if args.all));
        }
        let cli = Cli::try_parse_from(["setpoint", "exec", "-e", "A=1", "web", "ls", "--state-dir", "x"]).unwrap();
        assert!(matches!(cli.command, Command::Exec(args) if args.rest == ["web", "ls", "--state-dir", "x"]));
    }

    #[test]
    fn roots_are_absolute() {
        let cli = Cli::try_parse_from(["setpoint", "--state-dir", "s", "--run-dir", "/r", "ps"]).unwrap();
        let instance = instance(&cli.global).unwrap();
        assert!(instance.state_dir().is_absolute() && instance.state_dir().ends_with("s"));
        assert_eq!(instance.socket(), Path::new("/r/setpoint.sock"));
    }
}
