//! Plans as people see them, and single cases that the laws do not name.

use super::*;

fn shop() -> Desired {
    let mut desired = Desired::empty(stack());
    let pull = ImageSource::Pull { policy: PullPolicy::Missing, platform: None };
    for (resource, reference) in [("nginx", "nginx:1.26"), ("db", "db:1")] {
        let reference = reference.parse().unwrap();
        desired.images.insert(name(resource), ImageSpec { reference, source: pull.clone() });
    }
    desired.networks.extend([placed("front", NetworkSpec::default())]);
    desired.volumes.extend([placed("data", VolumeSpec::default())]);
    let mut web = ContainerSpec::new("nginx:1.26".parse().unwrap());
    web.networks.insert(name("s-front"), Attachment::default());
    web.ports.insert("8080:80".parse().unwrap());
    web.restart = RestartPolicy::Always;
    web.depends_on.insert(name("db"), Dependency { condition: Condition::ServiceHealthy });
    let mut db = ContainerSpec::new("db:1".parse().unwrap());
    db.networks.insert(name("s-front"), Attachment::default());
    db.mounts.push(Mount::Volume { source: name("s-data"), target: "/data".into(), read_only: false });
    db.restart = RestartPolicy::Always;
    db.healthcheck = Some(Healthcheck {
        test: Probe::Shell("x".into()),
        interval: Span::seconds(1),
        timeout: Span::seconds(1),
        retries: 1,
        start_period: Span::seconds(0),
        start_interval: Span::seconds(1),
    });
    desired.containers.extend([placed("web", web), placed("db", db)]);
    desired
}

fn shop_host() -> Host {
    let mut host = Host::default();
    let desired = shop();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    host
}

/// The steps, one a line, with what they need; and the plan as people see it.
fn both(plan: &Plan) -> String {
    let mut text = String::new();
    for (at, step) in plan.steps.iter().enumerate() {
        text.push_str(&format!("{at}. {:?} {} needs {:?}\n", step.action, step.resource, step.needs));
    }
    text + "\n" + &render(plan, false)
}

#[test]
fn golden_from_nothing() {
    insta::assert_snapshot!(both(&plan(&shop(), &Observed::default()).unwrap()));
}

#[test]
fn golden_nothing_to_do() {
    insta::assert_snapshot!(both(&plan(&shop(), &shop_host().observed).unwrap()));
}

#[test]
fn golden_changes() {
    let mut desired = shop();
    let web = desired.containers.get_mut("web").unwrap();
    web.spec.image = "nginx:1.27".parse().unwrap();
    web.spec.environment.insert("DEBUG".into(), "1".into());
    web.spec.ports = ["9090:80".parse().unwrap()].into();
    let image = ImageSpec { reference: "nginx:1.27".parse().unwrap(), source: desired.images["nginx"].source.clone() };
    desired.images.insert(name("nginx"), image);
    desired.containers.get_mut("db").unwrap().spec.limits.memory = Some(ByteSize(64 << 20));
    insta::assert_snapshot!(both(&plan(&desired, &shop_host().observed).unwrap()));
}

#[test]
fn golden_network_made_anew() {
    let mut desired = shop();
    desired.networks.get_mut("front").unwrap().spec.internal = true;
    insta::assert_snapshot!(both(&plan(&desired, &shop_host().observed).unwrap()));
}

#[test]
fn golden_drift() {
    let mut host = shop_host();
    host.observed.firewall = Some("the table is gone".into());
    host.observed.networks[0].faults.push("its bridge is gone".into());
    for container in &mut host.observed.containers {
        if container.name.as_str() == "s-db" {
            container.state = ContainerState::Lost;
        } else {
            container.network_faults.push("its link is gone".into());
        }
    }
    insta::assert_snapshot!(both(&plan(&shop(), &host.observed).unwrap()));
}

#[test]
fn golden_removal() {
    let mut desired = shop();
    desired.containers.remove("web");
    insta::assert_snapshot!("removal_of_one", both(&plan(&desired, &shop_host().observed).unwrap()));
    insta::assert_snapshot!("removal_of_all", both(&plan_destroy(&stack(), &shop_host().observed, false).unwrap()));
    insta::assert_snapshot!("removal_with_volumes", both(&plan_destroy(&stack(), &shop_host().observed, true).unwrap()));
}

#[test]
fn names_move_between_containers() {
    let mut host = shop_host();
    let mut desired = shop();
    desired.containers.get_mut("web").unwrap().engine_name = name("s-db");
    desired.containers.get_mut("db").unwrap().engine_name = name("s-web");
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
}

#[test]
fn ports_move_between_containers() {
    let mut host = shop_host();
    let mut desired = shop();
    let ports = std::mem::take(&mut desired.containers.get_mut("web").unwrap().spec.ports);
    desired.containers.get_mut("db").unwrap().spec.ports = ports;
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
}

#[test]
fn what_is_taken_or_missing_is_an_obstacle() {
    let mut observed = shop_host().observed;
    observed.containers.iter_mut().for_each(|c| c.owner = None);
    observed.networks.iter_mut().for_each(|n| n.owner = Some(Owner { stack: name("other"), resource: name("x") }));
    let mut desired = shop();
    desired
        .volumes
        .extend([(name("theirs"), Placed { engine_name: name("theirs"), external: true, spec: VolumeSpec::default() })]);
    let error = plan(&desired, &observed).unwrap_err();
    let shown: Vec<String> = error.obstacles.iter().map(|o| format!("{o} ({})", o.hint())).collect();
    insta::assert_snapshot!(shown.join("\n"));
}

#[test]
fn exits_are_left_alone_as_their_policies_say() {
    let exited =
        |code, stopped, error: Option<&str>| ContainerState::Exited { code, at: NOW, stopped, error: error.map(str::to_owned) };
    let starts = |policy: &str, state: ContainerState| {
        let mut desired = shop();
        desired.containers.get_mut("web").unwrap().spec.restart = policy.parse().unwrap();
        let mut host = Host::default();
        host.apply(&desired, &plan(&desired, &host.observed).unwrap());
        host.observed.containers.iter_mut().find(|c| c.name.as_str() == "s-web").unwrap().state = state;
        !plan(&desired, &host.observed).unwrap().is_empty()
    };
    for (policy, state, wanted) in [
        ("no", exited(0, false, None), false),
        ("no", exited(1, false, None), false),
        ("no", exited(1, true, None), true),
        ("no", exited(1, false, Some("x")), true),
        ("no", ContainerState::Created, true),
        ("no", ContainerState::Lost, true),
        ("on-failure:1", exited(1, false, None), false),
        ("always", exited(0, false, None), true),
        ("always", exited(0, true, None), true),
        ("unless-stopped", exited(0, true, None), true),
        ("always", ContainerState::Restarting { code: 1, since: NOW, delay: Span::seconds(1) }, false),
    ] {
        assert_eq!(starts(policy, state.clone()), wanted, "{policy} {state:?}");
    }
}

#[test]
fn a_container_that_must_complete_runs_once_more_for_whoever_needs_it() {
    let mut desired = shop();
    desired.containers.get_mut("db").unwrap().spec.restart = RestartPolicy::No;
    let completed = Dependency { condition: Condition::ServiceCompletedSuccessfully };
    desired.containers.get_mut("web").unwrap().spec.depends_on.insert(name("db"), completed);
    let mut host = Host::default();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    for container in &mut host.observed.containers {
        container.state = match container.name.as_str() {
            "s-db" => ContainerState::Exited { code: 3, at: NOW, stopped: false, error: None },
            _ => ContainerState::Lost,
        };
        container.ports.clear();
    }
    let next = plan(&desired, &host.observed).unwrap();
    assert_eq!(next.steps.len(), 3, "{next:?}");
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
}

#[test]
fn a_thousand_containers_are_planned_quickly() {
    let mut desired = Desired::empty(stack());
    for i in 0..1000 {
        let mut spec = ContainerSpec::new("nginx:1.26".parse().unwrap());
        spec.environment.insert("I".into(), i.to_string());
        desired.containers.extend([placed(&format!("c{i}"), spec)]);
    }
    let source = ImageSource::Pull { policy: PullPolicy::Missing, platform: None };
    desired.images.insert(name("nginx"), ImageSpec { reference: "nginx:1.26".parse().unwrap(), source });
    let mut host = Host::default();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    let started = std::time::Instant::now();
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
    // Without optimisation; the binary that is shipped takes a fraction of it.
    assert!(started.elapsed().as_millis() < 1000, "{:?}", started.elapsed());
}
