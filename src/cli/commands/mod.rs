//! The commands. Each is prepared without an engine as far as that goes (arguments, manifests), so that mistakes are told
//! before anything is opened, and is then carried out through a client.

mod adopt;
mod attach;
mod build;
mod build_cache;
mod containers;
mod convert;
mod copy;
mod generations;
mod image_select;
mod images;
mod inspect;
mod look;
mod ps;
mod registries;
mod resources;
mod run;
mod session;
mod stacks;
mod stats;
mod store;
mod story;
mod waits;

pub use copy::CopyError;

use super::args::{
    BuilderCommand, Command, ContainerCommand, ImageCommand, NetworkCommand, StackCommand, SystemCommand, VolumeCommand,
};
use super::error::CliError;
use super::output::Output;
use crate::client::Client;
use crate::manifest::Desired;
use crate::model::Name;
use crate::server::native::generations::RollbackRequest;
use crate::server::native::stacks::ApplyRequest;
use crate::wire::native::CreateContainer;

/// A command that is ready for an engine.
#[derive(Debug)]
pub enum Prepared {
    /// It needed none.
    Done(i32),
    Plan {
        desired: Box<Desired>,
        /// Where the manifests are.
        source: Option<String>,
        json: bool,
        out: Option<std::path::PathBuf>,
    },
    PlanRollback {
        request: RollbackRequest,
        json: bool,
        out: Option<std::path::PathBuf>,
    },
    Apply {
        request: Box<ApplyRequest>,
        json: bool,
    },
    Rollback {
        request: Box<RollbackRequest>,
        json: bool,
    },
    Destroy {
        stack: Name,
        volumes: bool,
        json: bool,
    },
    Run(Box<run::Run>),
    Build(Box<super::args::BuildArgs>),
    Other(Command),
}

/// How a container is to be made, and what first becomes of its image.
#[derive(Debug)]
pub struct NewContainer {
    pub create: CreateContainer,
    /// What stands where the image is named, if it may be an image's id or the beginning of one.
    pub id: Option<String>,
    pub pull: super::args::PullWhen,
    /// How the pull goes is not shown.
    pub quiet: bool,
}

/// The exit code of a failure that has none of its own.
pub const fn failure_code(command: &Command) -> i32 {
    match command {
        // Codes below are the container's. Docker keeps 125 to `run`.
        Command::Run(_) => 125,
        _ => 1,
    }
}

pub fn prepare(command: Command, output: Output) -> Result<Prepared, CliError> {
    match command {
        Command::Validate(args) => stacks::validate(&args, output).map(Prepared::Done),
        Command::Convert(args) => convert::convert(args, output).map(Prepared::Done),
        Command::Schema(args) => stacks::schema(&args, output).map(Prepared::Done),
        Command::Plan(args) => stacks::prepare_plan(args, output),
        Command::Apply(args) => stacks::prepare_apply(&args, output),
        Command::Rollback(args) => Ok(generations::prepare_rollback(args)),
        Command::Destroy(args) => stacks::prepare_destroy(args, output),
        Command::Run(args) => run::prepare(*args),
        Command::Create(args) => run::prepare_create(*args),
        Command::Build(args) => build::prepare(args, output),
        Command::Login(args) => registries::login(&args, output).map(Prepared::Done),
        Command::Logout(args) => registries::logout(&args, output).map(Prepared::Done),
        Command::System(SystemCommand::Reset(args)) if !args.force => Err(CliError::NotForced),
        other => Ok(Prepared::Other(other)),
    }
}

/// A command of a group as it is called alone. Prunes and inspections are of their group only.
pub fn alone(command: Command) -> Command {
    match command {
        Command::Image(command) => image_alone(command),
        Command::Builder(BuilderCommand::Build(args)) => Command::Build(args),
        Command::Container(command) => container_alone(command),
        Command::Stack(StackCommand::Rollback(args)) => Command::Rollback(args),
        other => other,
    }
}

fn container_alone(command: ContainerCommand) -> Command {
    match command {
        ContainerCommand::Attach(args) => Command::Attach(args),
        ContainerCommand::Commit(args) => Command::Commit(args),
        ContainerCommand::Create(args) => Command::Create(args),
        ContainerCommand::Exec(args) => Command::Exec(args),
        ContainerCommand::Export(args) => Command::Export(args),
        ContainerCommand::Kill(args) => Command::Kill(args),
        ContainerCommand::Logs(args) => Command::Logs(args),
        ContainerCommand::Ls(args) => Command::Ps(args),
        ContainerCommand::Pause(args) => Command::Pause(args),
        ContainerCommand::Restart(args) => Command::Restart(args),
        ContainerCommand::Rm(args) => Command::Rm(args),
        ContainerCommand::Run(args) => Command::Run(args),
        ContainerCommand::Start(args) => Command::Start(args),
        ContainerCommand::Stop(args) => Command::Stop(args),
        ContainerCommand::Unpause(args) => Command::Unpause(args),
        ContainerCommand::Wait(args) => Command::Wait(args),
        ContainerCommand::Cp(args) => Command::Cp(args),
        ContainerCommand::Diff(args) => Command::Diff(args),
        ContainerCommand::Port(args) => Command::Port(args),
        ContainerCommand::Rename(args) => Command::Rename(args),
        ContainerCommand::Stats(args) => Command::Stats(args),
        ContainerCommand::Top(args) => Command::Top(args),
        ContainerCommand::Update(args) => Command::Update(args),
        ContainerCommand::Inspect(_) | ContainerCommand::Prune(_) => Command::Container(command),
    }
}

fn image_alone(command: ImageCommand) -> Command {
    match command {
        ImageCommand::Build(args) => Command::Build(args),
        ImageCommand::History(args) => Command::History(args),
        ImageCommand::Import(args) => Command::Import(args),
        ImageCommand::Load(args) => Command::Load(args),
        ImageCommand::Ls(args) => Command::Images(args),
        ImageCommand::Pull(args) => Command::Pull(args),
        ImageCommand::Push(args) => Command::Push(args),
        ImageCommand::Rm(args) => Command::Rmi(args),
        ImageCommand::Save(args) => Command::Save(args),
        ImageCommand::Tag(args) => Command::Tag(args),
        ImageCommand::Inspect(_) | ImageCommand::Prune(_) => Command::Image(command),
    }
}

impl Prepared {
    /// Whether nothing is left of the instance afterwards.
    pub const fn is_reset(&self) -> bool {
        matches!(self, Self::Other(Command::System(SystemCommand::Reset(_))))
    }

    /// Whether an engine in this process has work for more than one thread.
    pub const fn is_heavy(&self) -> bool {
        matches!(
            self,
            Self::Apply { .. }
                | Self::Rollback { .. }
                | Self::Build(_)
                | Self::Other(
                    Command::Pull(_)
                        | Command::Push(_)
                        | Command::Import(_)
                        | Command::Load(_)
                        | Command::Commit(_)
                        | Command::Check(_)
                )
        )
    }
}

/// Carries a command out, and gives the exit code.
pub async fn carry_out(client: &Client, prepared: Prepared, output: Output) -> Result<i32, CliError> {
    let command = match prepared {
        Prepared::Done(code) => return Ok(code),
        Prepared::Plan { desired, source, json, out } => return stacks::plan(client, *desired, source, json, out, output).await,
        Prepared::PlanRollback { request, json, out } => return generations::plan(client, request, json, out, output).await,
        Prepared::Rollback { request, json } => return generations::rollback(client, *request, json, output).await,
        Prepared::Apply { request, json } => return stacks::apply(client, *request, json, output).await,
        Prepared::Destroy { stack, volumes, json } => return stacks::destroy(client, &stack, volumes, json, output).await,
        Prepared::Run(run) => return run::run(client, *run, output).await,
        Prepared::Build(build) => return build::build(client, *build, output).await,
        Prepared::Other(command) => command,
    };
    match command {
        Command::Stack(StackCommand::History(args)) => generations::history(client, args, output).await,
        Command::Stack(StackCommand::Diff(args)) => generations::diff(client, args, output).await,
        Command::Status(args) => story::status(client, &args, output).await,
        Command::Why(args) => story::why(client, args, output).await,
        Command::Events(args) => story::events(client, args, output).await,
        Command::Adopt(args) => adopt::adopt(client, &args, output).await,
        Command::Ps(args) => ps::ps(client, &args, output).await,
        Command::Logs(args) => containers::logs(client, &args, output).await,
        Command::Exec(args) => run::exec(client, args, output).await,
        Command::Inspect(args) => inspect::any(client, &args, output).await,
        Command::Attach(args) => attach::attach(client, args, output).await,
        Command::Start(args) => attach::start(client, args, output).await,
        Command::Stop(args) => containers::stop(client, &args, output).await,
        Command::Restart(args) => containers::restart(client, &args.stop, output).await,
        Command::Pause(args) => containers::pause(client, &args.names, output).await,
        Command::Unpause(args) => containers::unpause(client, &args.names, output).await,
        Command::Container(ContainerCommand::Inspect(args)) => inspect::containers(client, &args, output).await,
        Command::Container(ContainerCommand::Prune(args)) => look::prune(client, &args, output).await,
        Command::Cp(args) => copy::copy(client, &args, output).await,
        Command::Diff(args) => look::diff(client, &args, output).await,
        Command::Port(args) => look::port(client, &args, output).await,
        Command::Rename(args) => look::rename(client, args).await,
        Command::Stats(args) => stats::stats(client, &args, output).await,
        Command::Top(args) => look::top(client, args, output).await,
        Command::Update(args) => look::update(client, &args, output).await,
        Command::Kill(args) => containers::kill(client, &args, output).await,
        Command::Rm(args) => containers::remove(client, &args, output).await,
        Command::Wait(args) => waits::wait(client, args, output).await,
        Command::Images(args) => images::list(client, &args, output).await,
        Command::Pull(args) => images::pull(client, args, output).await,
        Command::Push(args) => images::push(client, args, output).await,
        Command::Search(args) => registries::search(client, &args, output).await,
        Command::Import(args) => images::import(client, args, output).await,
        Command::Rmi(args) => images::remove(client, &args, output).await,
        Command::Save(args) => store::save(client, args).await,
        Command::Load(args) => store::load(client, args, output).await,
        Command::Commit(args) => store::commit(client, args, output).await,
        Command::Export(args) => store::export(client, args).await,
        Command::History(args) => store::history(client, &args, output).await,
        Command::Tag(args) => store::tag(client, args).await,
        Command::Check(args) => store::check(client, &args, output).await,
        Command::Builder(BuilderCommand::Du(args)) => build_cache::usage(client, &args, output).await,
        Command::Builder(BuilderCommand::Prune(args)) => build_cache::prune(client, &args, output).await,
        Command::Image(ImageCommand::Prune(args)) => store::prune(client, &args, output).await,
        Command::Image(ImageCommand::Inspect(args)) => inspect::images(client, &args, output).await,
        Command::System(SystemCommand::Df(args)) => store::usage(client, &args, output).await,
        Command::Network(NetworkCommand::Ls(args)) => resources::networks(client, &args, output).await,
        Command::Network(NetworkCommand::Inspect(args)) => inspect::networks(client, &args.names, output).await,
        Command::Network(NetworkCommand::Rm(args)) => resources::remove_networks(client, &args.names, output).await,
        Command::Volume(VolumeCommand::Ls(args)) => resources::volumes(client, &args, output).await,
        Command::Volume(VolumeCommand::Inspect(args)) => inspect::volumes(client, &args.names, output).await,
        Command::Volume(VolumeCommand::Create { names, label }) => resources::create_volumes(client, names, &label, output).await,
        Command::Volume(VolumeCommand::Rm(args)) => resources::remove_volumes(client, &args.names, output).await,
        Command::System(SystemCommand::Reset(args)) => resources::reset(client, &args).await,
        Command::Info(args) => resources::info(client, &args, output).await,
        Command::Version(args) => resources::version(client, &args, output).await,
        // These are prepared into something else, or are not for a client.
        Command::Apply(_)
        | Command::Plan(_)
        | Command::Validate(_)
        | Command::Convert(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Destroy(_)
        | Command::Rollback(_)
        | Command::Stack(StackCommand::Rollback(_))
        | Command::Schema(_)
        | Command::Image(_)
        | Command::Container(_)
        | Command::Run(_)
        | Command::Create(_)
        | Command::Build(_)
        | Command::Builder(BuilderCommand::Build(_))
        | Command::Daemon(_) => Ok(0),
    }
}

/// Does the same to each of several things: prints what each gives, tells each failure, and goes on.
async fn each<'a, F, Fut>(names: &'a [String], output: Output, act: F) -> Result<i32, CliError>
where
    F: Fn(&'a str) -> Fut,
    Fut: Future<Output = Result<String, CliError>>,
{
    let mut code = 0;
    // At once: the grace periods of those that are stopped must not add up.
    let results = futures_util::future::join_all(names.iter().map(|name| act(name))).await;
    for result in results {
        match result {
            Ok(line) if line.is_empty() => {}
            Ok(line) => output.line(line)?,
            Err(error) => {
                output.error(&error.to_string(), error.hint().as_deref());
                code = error.exit_code(1);
            }
        }
    }
    Ok(code)
}
