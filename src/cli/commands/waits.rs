//! `wait`: until containers exit, as Docker has it; and with `--for`, until what is named is as one wants it, as kubectl has it.

use std::time::{Duration, Instant};

use super::containers;
use crate::cli::args::{WaitArgs, WaitCondition};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::client::{Client, ClientError};
use crate::model::{Name, RestartPolicy};
use crate::observed::{ContainerState, Health};
use crate::plan::{Kind, Resource};
use crate::reconcile::report::{StackStatus, Sync};
use crate::reconcile::status::state_text;
use crate::server::native::story::OfResource;
use crate::wire::native::ErrorKind;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// What is looked at.
enum Target {
    /// A container, by its name in the engine; and whether it has to be there some day, because it is declared.
    Container {
        name: String,
        declared: bool,
    },
    Resource {
        stack: Name,
        resource: Resource,
    },
    Stack(Name),
}

/// What a look came to.
enum Seen {
    Holds,
    /// Not yet: how it is.
    NotYet(String),
    /// It never will.
    Never(String),
}

pub(super) async fn wait(client: &Client, args: WaitArgs, output: Output) -> Result<i32, CliError> {
    let Some(condition) = &args.condition else { return containers::wait(client, &args.names, output).await };
    let mut open = Vec::new();
    for name in &args.names {
        open.push((name.as_str(), target(client, name, args.stack.as_ref(), condition).await?));
    }
    let deadline = Instant::now() + args.timeout;
    let mut code = 0;
    loop {
        // Whoever was looked at last was looked at in time.
        let late = Instant::now() >= deadline;
        let mut next = Vec::new();
        for (name, target) in open {
            match look(client, &target, condition).await? {
                Seen::Holds => output.line(format!("{name} condition met"))?,
                Seen::NotYet(how) if late => {
                    output.error(&format!("timed out waiting for {} of {name}: {how}", words(condition)), None);
                    code = 1;
                }
                Seen::NotYet(_) => next.push((name, target)),
                Seen::Never(how) => {
                    output.error(&format!("{name} will not be {}: {how}", words(condition)), None);
                    code = 1;
                }
            }
        }
        open = next;
        if open.is_empty() {
            return Ok(code);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn words(condition: &WaitCondition) -> String {
    match condition {
        WaitCondition::Running => "running".into(),
        WaitCondition::Healthy => "healthy".into(),
        WaitCondition::Completed => "completed".into(),
        WaitCondition::Exited => "exited".into(),
        WaitCondition::Removed => "removed".into(),
        WaitCondition::Synced => "synced".into(),
        WaitCondition::Of { kind, status } => format!("{kind}={status}"),
    }
}

async fn target(client: &Client, name: &str, stack: Option<&Name>, condition: &WaitCondition) -> Result<Target, CliError> {
    if let WaitCondition::Of { .. } = condition {
        let name = name.strip_prefix("stack/").unwrap_or(name);
        let none = || CliError::NotFound { what: "stack", name: name.to_owned() };
        return Ok(Target::Stack(name.parse().map_err(|_| none())?));
    }
    let asked = OfResource { resource: name.to_owned(), stack: stack.cloned() };
    match client.find_resource(&asked).await {
        Ok(found) if *condition == WaitCondition::Synced || found.resource.kind != Kind::Container => {
            Ok(Target::Resource { stack: found.stack, resource: found.resource })
        }
        Ok(found) => {
            let declared = found.engine_name.is_some();
            let name = found.engine_name.map_or_else(|| name.to_owned(), |name| name.to_string());
            Ok(Target::Container { name, declared })
        }
        // No stack has it: then it is a container of none.
        Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound && !name.contains('/') && stack.is_none() => {
            Ok(Target::Container { name: name.to_owned(), declared: false })
        }
        Err(error) => Err(error.into()),
    }
}

async fn look(client: &Client, target: &Target, condition: &WaitCondition) -> Result<Seen, CliError> {
    match target {
        Target::Container { name, declared } => match client.container(name).await {
            Ok(found) => Ok(container(&found.state, found.spec.restart, condition)),
            Err(ClientError::Refused(body)) if body.kind == ErrorKind::NotFound => match condition {
                WaitCondition::Removed => Ok(Seen::Holds),
                _ if *declared => Ok(Seen::NotYet("it is missing".into())),
                _ => Err(ClientError::Refused(body).into()),
            },
            Err(error) => Err(error.into()),
        },
        Target::Resource { stack, resource } => {
            let all = client.stack(stack).await?.into_iter().flat_map(|stack| stack.resources);
            let found = all.into_iter().find(|one| one.resource == *resource);
            Ok(match (found, condition) {
                (None, WaitCondition::Removed) => Seen::Holds,
                (None, _) => Seen::NotYet("it is not declared".into()),
                (Some(one), WaitCondition::Removed) if one.state == "missing" => Seen::Holds,
                (Some(one), WaitCondition::Synced) if one.sync == Sync::Synced => Seen::Holds,
                (Some(one), WaitCondition::Synced) => Seen::NotYet(one.differences.join("; ")),
                (Some(one), WaitCondition::Removed) => Seen::NotYet(format!("it is {}", one.state)),
                (Some(one), _) => Seen::Never(format!("it is no container, but {}", one.resource)),
            })
        }
        Target::Stack(stack) => {
            let all = client.stack(stack).await?;
            Ok(all.first().map_or_else(|| Seen::NotYet("there is no such stack".into()), |found| of_stack(found, condition)))
        }
    }
}

fn of_stack(stack: &StackStatus, condition: &WaitCondition) -> Seen {
    let WaitCondition::Of { kind, status } = condition else { return Seen::Never("it is a stack".into()) };
    match stack.conditions.iter().find(|one| one.kind == *kind) {
        Some(one) if one.status == *status && stack.observed_generation == stack.generation => Seen::Holds,
        Some(one) => Seen::NotYet(format!("{}: {}", one.reason, one.message)),
        // One that has never been is not.
        None if !status => Seen::Holds,
        None => Seen::NotYet("there is no such condition".into()),
    }
}

fn container(state: &ContainerState, restart: RestartPolicy, condition: &WaitCondition) -> Seen {
    let holds = match (condition, state) {
        (WaitCondition::Running, ContainerState::Running { .. }) => true,
        (WaitCondition::Healthy, ContainerState::Running { health, .. }) => matches!(health, Health::None | Health::Healthy),
        (WaitCondition::Completed, ContainerState::Exited { code, stopped: false, error: None, .. }) => *code == 0,
        (WaitCondition::Exited, ContainerState::Exited { .. }) => true,
        _ => false,
    };
    let how = match state {
        ContainerState::Running { health: Health::Starting, .. } => "it is starting".to_owned(),
        ContainerState::Running { health: Health::Unhealthy, .. } => "it is unhealthy".to_owned(),
        state => format!("it is {}", state_text(state)),
    };
    match (holds, condition, state) {
        (true, ..) => Seen::Holds,
        // It has come to its end by itself, and nobody starts it again but a user.
        (false, WaitCondition::Completed, ContainerState::Exited { stopped: false, .. }) => Seen::Never(how),
        (false, WaitCondition::Running | WaitCondition::Healthy, ContainerState::Exited { stopped: false, error: None, .. })
            if !restart.keeps_running() =>
        {
            Seen::Never(how)
        }
        (false, ..) => Seen::NotYet(how),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::OffsetDateTime;

    #[test]
    fn states_and_what_is_waited_for() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let running = |health| ContainerState::Running { pid: 1, started: at, health };
        let exited = |code, stopped| ContainerState::Exited { code, at, stopped, error: None };
        let told =
            |state: &ContainerState, condition: &str| match container(state, RestartPolicy::No, &condition.parse().unwrap()) {
                Seen::Holds => "holds".to_owned(),
                Seen::NotYet(how) => format!("not yet: {how}"),
                Seen::Never(how) => format!("never: {how}"),
            };
        for (state, condition, expected) in [
            (running(Health::None), "healthy", "holds"),
            (running(Health::Starting), "healthy", "not yet: it is starting"),
            (running(Health::Unhealthy), "running", "holds"),
            (running(Health::Unhealthy), "healthy", "not yet: it is unhealthy"),
            (exited(0, false), "completed", "holds"),
            (exited(3, false), "completed", "never: it is exited (3)"),
            (exited(3, false), "exited", "holds"),
            (exited(0, true), "completed", "not yet: it is exited (0)"),
            (exited(3, false), "healthy", "never: it is exited (3)"),
            (exited(3, true), "healthy", "not yet: it is exited (3)"),
            (ContainerState::Created, "running", "not yet: it is created"),
            (running(Health::None), "removed", "not yet: it is running"),
        ] {
            assert_eq!(told(&state, condition), expected, "{state:?} {condition}");
        }
        let always = container(&exited(3, false), RestartPolicy::Always, &WaitCondition::Healthy);
        assert!(matches!(always, Seen::NotYet(_)), "the daemon starts it again");
    }
}
