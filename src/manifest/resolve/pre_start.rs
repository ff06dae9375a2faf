//! What is to be done before a container starts becomes containers that run to their end: NAME-pre-start-1 and so on, each after the
//! one before it, and the container after the last. They have its networks and what it mounts. Nothing after this step knows why they
//! are there.
//! Source: Compose Specification, `pre_start`.

use crate::manifest::declared::{Container, Declared, PreStart, Resource};
use crate::manifest::problem::Problems;
use crate::manifest::updates::Given;
use crate::model::spec::{Condition, Dependency, NetworkMode, UsersMode};
use crate::model::{Name, RestartPolicy};

pub(super) fn expand(declared: &mut Declared, problems: &mut Problems) {
    let mut made = Vec::new();
    for container in &mut declared.containers {
        let steps = std::mem::take(&mut container.body.pre_start);
        if container.body.replicas.is_some_and(|replicas| replicas.count == 0) {
            continue;
        }
        // What comes first waits for what the container waits for.
        let mut before: Option<Name> = None;
        for (step, number) in steps.iter().zip(1u32..) {
            let count = container.body.replicas.map_or(1, |replicas| replicas.count);
            if step.per_replica && count > 1 {
                let hint = "write `per_replica: false`: it is run once, before any of them starts";
                problems.error_hint(step.at, format!("it cannot be run for each of {count} containers"), hint);
                continue;
            }
            let Ok(name) = format!("{}-pre-start-{number}", container.name).parse::<Name>() else {
                problems.error(step.at, format!("`{}-pre-start-{number}` is too long for a name", container.name));
                continue;
            };
            let body = body(&container.body, step, before.as_ref());
            made.push(Resource { name: name.clone(), at: step.at, engine_name: None, external: false, body });
            before = Some(name);
        }
        if let Some(last) = before {
            let at = container.body.image_at;
            container.body.depends_on.push((last.clone(), at));
            container.body.spec.depends_on.insert(last, Dependency::from(Condition::ServiceCompletedSuccessfully));
        }
    }
    declared.containers.extend(made);
}

fn body(container: &Container, step: &PreStart, before: Option<&Name>) -> Container {
    let mut body = container.clone();
    (body.replicas, body.build) = (None, None);
    (body.update, body.rollback) = (Given::default(), None);
    body.ranges.clear();
    body.links.clear();
    let spec = &mut body.spec;
    if let Some(image) = &step.image {
        spec.image = image.clone();
        (spec.entrypoint, spec.user, spec.working_dir) = (None, None, None);
        (body.pull_policy, body.platform) = (None, None);
    }
    spec.command = step.command.clone();
    spec.user = step.user.clone().or_else(|| spec.user.take());
    spec.working_dir = step.working_dir.clone().or_else(|| spec.working_dir.take());
    spec.environment.extend(step.environment.clone());
    if step.privileged {
        (spec.privileged, spec.userns) = (true, UsersMode::Host);
    }
    (spec.update_after, spec.rollback_after) = (None, None);
    // It is not reached, not looked after and not started again.
    spec.ports.clear();
    spec.expose.clear();
    spec.post_start.clear();
    spec.pre_stop.clear();
    (spec.publish_all, spec.healthcheck, spec.mac_address, spec.restart) = (false, None, None, RestartPolicy::No);
    if spec.network_mode == NetworkMode::Bridge {
        for (.., attachment) in body.networks.iter_mut().flatten() {
            attachment.aliases.clear();
            attachment.ipv4_address = None;
            attachment.ipv6_address = None;
        }
    }
    if let Some(before) = before {
        body.depends_on.push((before.clone(), step.at));
        spec.depends_on.insert(before.clone(), Dependency::from(Condition::ServiceCompletedSuccessfully));
    }
    body
}
