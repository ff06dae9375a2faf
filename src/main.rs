//! The program: chooses its role before anything else exists.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context as _;

use setpoint::cli::args::Command;
use setpoint::cli::{self, Invocation};
use setpoint::daemon::{self, DaemonError};
use setpoint::engine;
use setpoint::sys;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = engine::roles::run(args.get(1..).unwrap_or_default()) {
        return code;
    }
    if let Some(code) = cli::oci::main(&args) {
        std::process::exit(code);
    }
    // Neither clap nor a runtime is worth its start for this.
    if let [_, flag] = args.as_slice()
        && (flag == "--version" || flag == "-V")
    {
        std::process::exit(cli::version());
    }
    // A pull is the work of many threads, and what they free is to serve all of them.
    sys::memory::limit_arenas(2);
    let code = match cli::parse(args) {
        Ok(Invocation { command: Command::Daemon(args), instance, output, .. }) => match serve(instance, args) {
            Ok(()) => 0,
            Err(error) => {
                let hint = match error.downcast_ref::<DaemonError>() {
                    Some(DaemonError::Engine(error)) => error.hint(),
                    _ => None,
                };
                output.error(&format!("{error:#}"), hint.as_deref());
                1
            }
        },
        Ok(invocation) => cli::run(invocation),
        Err(code) => code,
    };
    std::process::exit(code);
}

fn serve(instance: setpoint::model::Instance, args: cli::args::DaemonArgs) -> anyhow::Result<()> {
    if engine::rootless::is_needed() {
        let Err(failed) = engine::rootless::enter(&instance);
        return Err(failed.into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the asynchronous runtime")?;
    let result = runtime.block_on(daemon::run(instance, args.sources, args.stack));
    runtime.shutdown_background();
    Ok(result?)
}
