//! RUN: a command in a container of this engine, whose changes become a layer.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::image::ImageConfiguration;
use serde_json::{Value, json};

use super::dockerfile::{Network, Run, SandboxMode, Script};
use super::error::BuildError;
use super::events::Running;
use super::mounts::{self, Prepared};
use super::sandbox::Sandbox;
use super::stage::Builder;
use super::stages::{Step, proxies};
use super::stubs;
use super::told::{Last, follow};
use crate::engine::images::Draft;
use crate::engine::runtime::spec::{self, HostMount, SpecInput};
use crate::engine::runtime::{self, Launch, RootFs};
use crate::files;
use crate::model::build::{BuildNetwork, BuildStream, Entitlement};
use crate::model::spec::{ContainerSpec, NetworkMode};

/// What a command calls its host.
const HOSTNAME: &str = "setpoint-build";
/// Where a script that is a heredoc with `#!` is while it runs.
const SCRIPTS: &str = "/dev/pipes";

/// What one RUN is, with its variables replaced.
struct Order {
    argv: Vec<String>,
    /// Of the image, and the ARGs.
    environment: Vec<(String, String)>,
    /// A file that is mounted there and executed.
    script: Option<(String, String)>,
    network: Network,
    privileged: bool,
    created_by: String,
}

pub(super) async fn run(builder: &mut Builder, step: &Step, run: &Run) -> Result<(), BuildError> {
    let running = builder.begin(&step.instruction.text);
    let done = prepare(builder, step, run).await;
    let (order, prepared) = match done {
        Ok(done) => done,
        Err(error) => return running.ended(Err(error), false),
    };
    let key = key(builder, &order, &prepared);
    match builder.known(&key) {
        Ok(Some(layer)) => {
            builder.take(key, &order.created_by, layer, running, true);
            return Ok(());
        }
        Ok(None) => {}
        Err(error) => return running.ended(Err(error), false),
    }
    match execute(builder, step, &order, prepared, &running).await {
        Ok((draft, changed)) => match builder.seal(draft).await {
            Ok(layer) => {
                // What it was shown is not what the key says; so it is known by its own content only.
                let key = if changed { builder.key_of_content(&layer, &order.created_by) } else { key };
                builder.take(key, &order.created_by, layer, running, false);
                Ok(())
            }
            Err(error) => running.ended(Err(error), false),
        },
        Err(error) => running.ended(Err(error), false),
    }
}

/// Works out what is to be run, and refuses what may not be.
async fn prepare(builder: &mut Builder, step: &Step, run: &Run) -> Result<(Order, Vec<Prepared>), BuildError> {
    let place = step.instruction.place;
    let allowed = &builder.work.request.allow;
    let network = match (run.network, builder.work.request.network) {
        (Network::Default, BuildNetwork::Default) => Network::Default,
        (Network::Default, BuildNetwork::None) | (Network::None, _) => Network::None,
        // The command line allows what it asks for itself.
        (Network::Default, BuildNetwork::Host) => Network::Host,
        (Network::Host, asked) if asked == BuildNetwork::Host || allowed.contains(&Entitlement::NetworkHost) => Network::Host,
        (Network::Host, _) => {
            let hint = "allow it with `--allow network.host`".to_owned();
            return Err(builder.wrong_with(place, "the host's network is not allowed to this build".to_owned(), Some(hint)));
        }
    };
    let privileged = run.security == SandboxMode::Insecure;
    if privileged && !allowed.contains(&Entitlement::Insecure) {
        let hint = "allow it with `--allow security.insecure`".to_owned();
        return Err(builder.wrong_with(place, "`--security=insecure` is not allowed to this build".to_owned(), Some(hint)));
    }
    if let Some(device) = run.devices.iter().find(|device| device.required) {
        let message = format!("the device {} is required, and builds have no devices", device.name);
        return Err(builder.wrong_with(
            place,
            message,
            Some("remove `,required`, or use a container with `--device`".to_owned()),
        ));
    }
    let (argv, script) = match run.script() {
        Script::Exec(words) => (words, None),
        Script::Shell(text) => (builder.image.shell().into_iter().chain([text]).collect(), None),
        Script::File { name, content } => {
            let path = format!("{SCRIPTS}/{name}");
            (vec![path.clone()], Some((path, content)))
        }
    };
    let environment = builder.image.scope.environment().to_vec();
    let told: Vec<String> = match &script {
        Some((path, content)) => vec![format!("{path} {content}")],
        None => argv.clone(),
    };
    let arguments: Vec<String> =
        builder.image.scope.arguments().filter_map(|(name, value)| Some(format!("{name}={}", value?))).collect();
    let arguments = match arguments.len() {
        0 => String::new(),
        count => format!("|{count} {} ", arguments.join(" ")),
    };
    let created_by = format!("RUN {arguments}{}", told.join(" "));
    let prepared = mounts::prepare(builder, step, run).await?;
    Ok((Order { argv, environment, script, network, privileged, created_by }, prepared))
}

fn key(builder: &Builder, order: &Order, prepared: &[Prepared]) -> crate::model::Digest {
    let request = &builder.work.request;
    let network = match order.network {
        Network::Default => "default",
        Network::None => "none",
        Network::Host => "host",
    };
    let mounts: Vec<Value> = prepared.iter().map(Prepared::facts).collect();
    let hosts: BTreeMap<&str, String> =
        request.extra_hosts.iter().map(|(name, address)| (name.as_str(), address.to_string())).collect();
    builder.key(
        "run",
        json!({
            "argv": order.argv, "env": order.environment, "script": order.script, "cwd": builder.image.working_dir(),
            "user": builder.image.user(), "network": network, "privileged": order.privileged, "mounts": mounts, "hosts": hosts,
            "platform": builder.image.platform(), "shm": request.shm_size, "ulimits": request.ulimits,
        }),
    )
}

/// Runs the command, and gives the draft with what it changed; and whether what it was shown has changed meanwhile.
async fn execute(
    builder: &mut Builder,
    step: &Step,
    order: &Order,
    prepared: Vec<Prepared>,
    running: &Running,
) -> Result<(Draft, bool), BuildError> {
    let work = builder.work.clone();
    work.bring(&builder.layers).await?;
    let mut sandbox = match builder.sandbox.take() {
        Some(sandbox) => sandbox,
        None => Sandbox::open(&work).await?,
    };
    if order.network == Network::Default {
        sandbox.connect().await?;
    }
    let draft = builder.layers.draft(&work.images)?;
    // Until the command has ended: locks of caches, secrets in memory.
    let placed = mounts::place(builder, &sandbox, &draft, prepared).await?;
    let launch = launch(builder, &sandbox, order, &draft, &placed).await?;
    let netns = sandbox.network().filter(|_| order.network == Network::Default);
    let mut child = work.containers.work(sandbox.workshop()?, launch, netns)?;
    let lifeline = child.stdin.take();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut last = Last::default();
    let code = {
        let hidden = &placed.secrets;
        let out = follow(stdout, BuildStream::Stdout, running, hidden);
        let err = follow(stderr, BuildStream::Stderr, running, hidden);
        let (out, err) = tokio::join!(out, err);
        last.take(out?);
        last.take(err?);
        let status = child.wait().await.map_err(BuildError::step("wait for the command"))?;
        status.code().unwrap_or(255)
    };
    drop(lifeline);
    builder.sandbox = Some(sandbox);
    if code == 0 {
        let changed = tokio::task::spawn_blocking(move || placed.has_changed()).await?;
        return Ok((draft, changed));
    }
    drop(placed);
    let what: String = step.instruction.text.chars().take(200).collect();
    let hint = match last.is_empty() {
        true => "it printed nothing".to_owned(),
        false => {
            format!("the last it printed:\n{}", last.lines().map(|line| format!("     {line}")).collect::<Vec<_>>().join("\n"))
        }
    };
    let source = builder.work.stages.source();
    let problem = source.problem(step.instruction.place, format!("`{what}` ended with code {code}"), Some(hint));
    Err(BuildError::Command { problem: Box::new(problem), code })
}

async fn launch(
    builder: &Builder,
    sandbox: &Sandbox,
    order: &Order,
    draft: &Draft,
    placed: &mounts::Placed,
) -> Result<Launch, BuildError> {
    let work = builder.work.clone();
    let request = &work.request;
    let workshop = sandbox.workshop()?;
    let folder = sandbox.name_files(order.network == Network::Host, HOSTNAME)?;
    let mut all: Vec<HostMount> = placed.mounts.clone();
    for name in ["hosts", "hostname", "resolv.conf"] {
        let target = format!("/etc/{name}");
        if !all.iter().any(|mount| mount.target() == target) {
            all.push(HostMount::of_engine(folder.join(name), target));
        }
    }
    if let Some((path, content)) = &order.script {
        let file = folder.join("script");
        files::publish(&file, content.as_bytes(), 0o755)?;
        all.push(HostMount::Bind { source: file, target: path.clone(), read_only: true });
    }
    // The reference is for people only; a stage has none.
    let reference = "scratch".parse().map_err(|_| BuildError::Interrupted)?;
    let mut container = ContainerSpec::new(reference);
    container.entrypoint = Some(order.argv.clone());
    container.environment = proxies(&request.arguments).into_iter().collect();
    container.environment.extend(order.environment.iter().filter(|(name, _)| !name.is_empty()).cloned());
    container.environment.extend(placed.environment.iter().cloned());
    container.working_dir = Some(builder.image.working_dir().to_owned());
    container.network_mode = match order.network {
        Network::Default | Network::None => NetworkMode::None,
        Network::Host => NetworkMode::Host,
    };
    container.privileged = order.privileged;
    // Whoever writes the instructions can be root in the next one, so there is nobody to be kept from it: and `sudo` works.
    container.security_opt.no_new_privileges = Some(false);
    container.shm_size = request.shm_size;
    container.ulimits.clone_from(&request.ulimits);
    let input = SpecInput {
        id: workshop.id(),
        hostname: HOSTNAME,
        container: &container,
        image: &ImageConfiguration::default(),
        mounts: all,
        devices: Vec::new(),
        terminal: false,
        users: None,
    };
    let (oci, filter) = spec::build(&input)?;
    let (layers, floor) = (builder.layers.clone(), work.floor.upper());
    let (targets, scratch) = (stubs::targets(&oci), draft.folder().to_owned());
    let lower = layers.lower(&floor).map_err(BuildError::step("put the layers together"))?;
    let stub = {
        let lower = lower.clone();
        tokio::task::spawn_blocking(move || stubs::make(&lower, &targets, &scratch))
            .await?
            .map_err(BuildError::step("make the places of mounts"))?
    };
    let lower: Vec<PathBuf> = stub.into_iter().chain(lower).collect();
    Ok(Launch {
        id: workshop.id().clone(),
        spec: oci,
        filter,
        root: RootFs::Overlay { lower, upper: draft.upper(), work: draft.work(), volatile: true },
        user: builder.image.user().map(str::to_owned),
        groups: Vec::new(),
        cgroup: workshop.cgroup().clone(),
        limits: work.containers.workshop_limits(workshop, request.limits.clone())?,
        network: match order.network {
            Network::Default => runtime::Network::Given,
            Network::None => runtime::Network::New,
            Network::Host => runtime::Network::Host,
        },
        init: false,
        shm_of: None,
    })
}
