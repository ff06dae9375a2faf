//! `validate`, `plan`, `apply`, `destroy`, `schema`. Manifests are read here, with the paths and variables of the
//! person who types; what goes to the engine is what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Prepared;
use crate::cli::args::{ApplyArgs, DestroyArgs, PlanArgs, SchemaArgs, StackFiles, ValidateArgs};
use crate::cli::build::logins::reached;
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::progress::{Story, TICK};
use crate::cli::spec::Surroundings;
use crate::client::{Client, ClientError, Events};
use crate::files;
use crate::manifest::{self, Desired, Loaded};
use crate::model::Name;
use crate::model::spec::ImageSource;
use crate::plan::{self, Plan};
use crate::reconcile::report::Event;
use crate::server::native::generations::RollbackRequest;
use crate::server::native::stacks::{ApplyRequest, PlanRequest};
use crate::sources::Folder;
use crate::wire::native::{Credentials, Destroy};

/// What `plan --out` writes: the plan, and all that carrying it out needs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedPlan {
    format: Format,
    plan: Plan,
    /// What the manifests said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    desired: Option<Desired>,
    /// In their place: the generation that is brought back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    /// Where the manifests were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

impl SavedPlan {
    pub(super) const fn of_generation(plan: Plan, generation: u64) -> Self {
        Self { format: Format::V1, plan, desired: None, generation: Some(generation), source: None }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), CliError> {
        Ok(files::publish(path, &serde_json::to_vec(self).map_err(CliError::Encode)?, PLAN_MODE)?)
    }
}

#[derive(Debug, Serialize, Deserialize)]
enum Format {
    #[serde(rename = "setpoint-plan/v1")]
    V1,
}

/// Content of configs may be secret.
const PLAN_MODE: u32 = 0o600;

fn load(files: &StackFiles, output: Output) -> Result<Desired, CliError> {
    Ok(load_whole(files, output)?.desired)
}

/// With what the files say beside what is desired.
pub(super) fn load_whole(files: &StackFiles, output: Output) -> Result<Loaded, CliError> {
    let mut environment = Surroundings::of_this_process().map_err(CliError::Surroundings)?.environment;
    if !files.profile.is_empty() {
        environment.insert(manifest::PROFILES.to_owned(), files.profile.join(","));
    }
    let (path, over) = files.split();
    let loaded = Folder::new(path.to_owned(), files.stack.clone())
        .with_over(over.to_vec())
        .with_scale(files.scale.iter().cloned().collect())
        .load(environment)
        .map_err(|errors| CliError::Manifests { rendered: errors.render(output.error_colour) })?;
    for warning in &loaded.warnings {
        output.warning(warning.render(output.error_colour));
    }
    Ok(loaded)
}

pub(super) fn validate(args: &ValidateArgs, output: Output) -> Result<i32, CliError> {
    let desired = load(&args.files, output)?;
    if args.json {
        output.json(&desired.without_secrets())?;
        return Ok(0);
    }
    let counts = [
        (desired.containers.len(), "container"),
        (desired.images.len(), "image"),
        (desired.networks.len(), "network"),
        (desired.volumes.len(), "volume"),
        (desired.configs.len(), "config"),
        (desired.secrets.len(), "secret"),
    ];
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts: Vec<String> =
        counts.map(|(count, word)| format!("{count} {word}{}", if *count == 1 { "" } else { "s" })).collect();
    let what = if counts.is_empty() { "nothing in it".into() } else { counts.join(", ") };
    output.line(format!("{}: valid: {what}", desired.stack))?;
    Ok(0)
}

pub(super) fn schema(args: &SchemaArgs, output: Output) -> Result<i32, CliError> {
    let schemas: BTreeMap<&'static str, Value> = manifest::schemas();
    let Some(folder) = &args.out else {
        output.json(&schemas)?;
        return Ok(0);
    };
    files::create_dirs(folder, 0o755)?;
    for (name, schema) in &schemas {
        let mut text = serde_json::to_string_pretty(schema).map_err(CliError::Encode)?;
        text.push('\n');
        let path = folder.join(name);
        files::publish(&path, text.as_bytes(), 0o644)?;
        output.line(path.display().to_string())?;
    }
    Ok(0)
}

pub(super) fn prepare_plan(args: PlanArgs, output: Output) -> Result<Prepared, CliError> {
    if let Some(generation) = args.to {
        let request = RollbackRequest { stack: args.files.stack, generation: Some(generation), ..RollbackRequest::default() };
        return Ok(Prepared::PlanRollback { request, json: args.json, out: args.out });
    }
    let (desired, source) = (load(&args.files, output)?, source(&args.files));
    Ok(Prepared::Plan { desired: Box::new(desired), source, json: args.json, out: args.out })
}

/// Where manifests are, to be remembered.
fn source(files: &StackFiles) -> Option<String> {
    std::path::absolute(files.split().0).ok().map(|path| path.display().to_string())
}

/// Exit code 2 says that there is something to do.
pub(super) async fn plan(
    client: &Client,
    desired: Desired,
    source: Option<String>,
    json: bool,
    out: Option<PathBuf>,
    output: Output,
) -> Result<i32, CliError> {
    let request = PlanRequest { credentials: credentials(client, &desired).await?, desired };
    let plan = client.plan(&request).await?;
    let code = show_plan(&plan, json, output)?;
    if let Some(path) = out {
        SavedPlan { format: Format::V1, plan, desired: Some(request.desired), generation: None, source }.write(&path)?;
    }
    Ok(code)
}

/// Prints a plan, and gives its exit code.
pub(super) fn show_plan(plan: &Plan, json: bool, output: Output) -> Result<i32, CliError> {
    if json {
        output.json(plan)?;
    } else {
        output.line(plan::render(plan, output.colour).trim_end())?;
    }
    Ok(if plan.is_empty() { 0 } else { 2 })
}

pub(super) fn prepare_apply(args: &ApplyArgs, output: Output) -> Result<Prepared, CliError> {
    let request = match saved(args.files.split().0)? {
        Some(SavedPlan { plan, desired, generation, source, .. }) => {
            if let Some(asked) = args.files.stack.as_ref().filter(|asked| **asked != plan.stack) {
                return Err(CliError::OtherStack { saved: plan.stack, asked: asked.clone() });
            }
            let Some(desired) = desired else {
                let stack = Some(plan.stack.clone());
                let request = RollbackRequest { stack, generation, expected: Some(plan), credentials: Vec::new() };
                return Ok(Prepared::Rollback { request: Box::new(request), json: args.json });
            };
            ApplyRequest { desired, source, expected: Some(plan), credentials: Vec::new() }
        }
        None => {
            let desired = load(&args.files, output)?;
            ApplyRequest { desired, source: source(&args.files), expected: None, credentials: Vec::new() }
        }
    };
    Ok(Prepared::Apply { request: Box::new(request), json: args.json })
}

/// A saved plan, where the file is one.
fn saved(path: &Path) -> Result<Option<SavedPlan>, CliError> {
    // Manifests may be JSON too; a saved plan begins with what no manifest has.
    const BEGINNING: &[u8] = br#"{"format":"setpoint-plan/"#;
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = files::read(path)?;
    if !bytes.starts_with(BEGINNING) {
        return Ok(None);
    }
    serde_json::from_slice(&bytes).map(Some).map_err(|source| CliError::SavedPlan { path: path.to_owned(), source })
}

pub(super) async fn apply(client: &Client, mut request: ApplyRequest, json: bool, output: Output) -> Result<i32, CliError> {
    request.credentials = credentials(client, &request.desired).await?;
    follow(client.apply(&request).await?, json, output).await
}

/// What this user has stored for the registries that images are pulled from, built with and pushed to.
async fn credentials(client: &Client, desired: &Desired) -> Result<Vec<Credentials>, CliError> {
    let mut registries: BTreeSet<String> = BTreeSet::new();
    for image in desired.images.values() {
        match &image.source {
            ImageSource::Pull(_) => drop(registries.insert(image.reference.registry().to_owned())),
            ImageSource::Build(build) => registries.extend(reached(&build.request(&image.reference)).registries),
            ImageSource::Import { .. } | ImageSource::Load { .. } | ImageSource::Commit(_) => {}
        }
        registries.extend(image.push.iter().map(|target| target.registry().to_owned()));
    }
    let mut all = Vec::new();
    for registry in &registries {
        all.extend(super::registries::credentials(client, registry).await?);
    }
    Ok(all)
}

pub(super) fn prepare_destroy(args: DestroyArgs, output: Output) -> Result<Prepared, CliError> {
    let stack = match (args.stack, args.path) {
        (Some(stack), _) => stack,
        (None, Some(path)) => {
            let files =
                StackFiles { path: Some(path), file: Vec::new(), profile: vec!["*".to_owned()], stack: None, scale: Vec::new() };
            load(&files, output)?.stack
        }
        // The grammar asks for one of the two.
        (None, None) => return Ok(Prepared::Done(1)),
    };
    Ok(Prepared::Destroy { stack, volumes: args.volumes, json: args.json })
}

pub(super) async fn destroy(client: &Client, stack: &Name, volumes: bool, json: bool, output: Output) -> Result<i32, CliError> {
    follow(client.destroy(stack, &Destroy { volumes }).await?, json, output).await
}

/// Tells the events, and gives 1 when not every step was done.
pub(super) async fn follow(mut events: impl Events<Event>, json: bool, output: Output) -> Result<i32, CliError> {
    let mut story = Story::new(output);
    let mut outcome = None;
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = ticks.tick(), if !json && story.ticks() => {
                story.tick()?;
                continue;
            }
        };
        let Some(event) = event.transpose()? else { break };
        if json {
            output.json_line(&event)?;
            if let Event::Finished { outcome: last } = event {
                outcome = Some(last);
            }
        } else if let Some(last) = story.tell(event)? {
            outcome = Some(last);
        }
    }
    match outcome {
        Some(outcome) => Ok(i32::from(outcome.failed + outcome.skipped > 0)),
        None => Err(ClientError::Ended.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Digest;

    #[test]
    fn saved_plans_are_told_from_manifests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plan");
        let stack: Name = "demo".parse().unwrap();
        let plan = Plan {
            stack: stack.clone(),
            base: Digest::of(b""),
            parts: Default::default(),
            steps: vec![],
            unchanged: vec![],
            answers: Default::default(),
        };
        let desired = Some(Desired::empty(stack));
        SavedPlan { format: Format::V1, plan: plan.clone(), desired, generation: None, source: None }.write(&path).unwrap();
        assert_eq!(saved(&path).unwrap().unwrap().plan, plan);
        files::publish(&path, br#"{"format":"setpoint-plan/v9"}"#, PLAN_MODE).unwrap();
        assert!(matches!(saved(&path), Err(CliError::SavedPlan { .. })));
        files::publish(&path, br#"{"services": {}}"#, PLAN_MODE).unwrap();
        assert!(saved(&path).unwrap().is_none());
        assert!(saved(folder.path()).unwrap().is_none());
    }
}
