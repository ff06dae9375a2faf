//! Who starts again with another one.

use super::*;

/// `web` follows `db`, `log` shares the network of `web`, and `alone` depends on `db` without following it.
fn desired() -> Desired {
    let mut desired = Desired::empty(stack());
    let image: ImageRef = "app:1".parse().unwrap();
    desired.images.insert(name("app"), ImageSpec::new(image.clone(), ImageSource::Pull(Pull::default())));
    let spec = || {
        let mut spec = ContainerSpec::new(image.clone());
        spec.restart = RestartPolicy::Always;
        spec
    };
    let (mut web, mut log, mut alone) = (spec(), spec(), spec());
    web.depends_on.insert(name("db"), Dependency { condition: Condition::ServiceStarted, restart: true });
    log.network_mode = NetworkMode::Container("s-web".into());
    log.depends_on.insert(name("web"), Dependency::default());
    alone.depends_on.insert(name("db"), Dependency::default());
    desired.containers.extend([placed("db", spec()), placed("web", web), placed("log", log), placed("alone", alone)]);
    desired
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {}", step.action.verb(), step.resource.name)).collect()
}

#[test]
fn whoever_follows_starts_again_after_it() {
    let desired = desired();
    let mut host = Host::default();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    assert!(plan(&desired, &host.observed).unwrap().is_empty());

    let mut changed = desired.clone();
    changed.containers.get_mut("db").unwrap().spec.command = Some(vec!["x".into()]);
    let next = plan(&changed, &host.observed).unwrap();
    let all = ["stop log", "stop web", "stop db", "remove db", "create db", "start db", "start web", "start log"];
    assert_eq!(shown(&next), all);
    host.apply(&changed, &next);
    assert!(plan(&changed, &host.observed).unwrap().is_empty());

    // Its monitor has started it again.
    for container in &mut host.observed.containers {
        if container.name.as_str() == "s-db" {
            container.state = ContainerState::Running { pid: 2, started: NOW + time::Duration::SECOND, health: Health::None };
        }
    }
    let next = plan(&changed, &host.observed).unwrap();
    assert_eq!(shown(&next), ["stop log", "stop web", "start web", "start log"]);
    assert!(render(&next, false).contains("container/db was started after this one"), "{}", render(&next, false));
}

#[test]
fn several_are_replaced_one_after_the_other() {
    let mut desired = Desired::empty(stack());
    let image: ImageRef = "app:1".parse().unwrap();
    desired.images.insert(name("app"), ImageSpec::new(image.clone(), ImageSource::Pull(Pull::default())));
    let mut one = ContainerSpec::new(image);
    one.restart = RestartPolicy::Always;
    one.healthcheck = Some(Healthcheck::new(Probe::Shell("x".into())));
    let after = |other: &str| ContainerSpec { update_after: Some(name(other)), ..one.clone() };
    desired.containers.extend([placed("a", one.clone()), placed("a-2", after("a")), placed("a-3", after("a-2"))]);
    let mut host = Host::default();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    desired.containers.values_mut().for_each(|placed| placed.spec.command = Some(vec!["x".into()]));
    let next = plan(&desired, &host.observed).unwrap();
    let one_by_one =
        |name: &str| ["stop", "remove", "create", "start", "wait until healthy"].map(|verb| format!("{verb} {name}"));
    let mut wanted: Vec<String> = ["a", "a-2", "a-3"].iter().flat_map(|name| one_by_one(name)).collect();
    wanted.pop();
    assert_eq!(shown(&next), wanted);
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
}

/// A container of the stack `far`.
fn far(state: ContainerState) -> Container {
    let mut spec = ContainerSpec::new("app:1".parse().unwrap());
    spec.healthcheck = Some(Healthcheck::new(Probe::Shell("x".into())));
    Container {
        id: format!("{:064x}", 77).parse().unwrap(),
        name: name("far-db"),
        owner: Some(Owner { stack: name("far"), resource: name("db") }),
        created: NOW,
        spec: Arc::new(spec),
        image_digest: Digest::of(b"x"),
        state,
        paused: false,
        networks: BTreeMap::new(),
        ports: BTreeSet::new(),
        network_faults: Vec::new(),
        faults: Vec::new(),
        restarts: 0,
        health: None,
    }
}

#[test]
fn containers_of_other_stacks_are_waited_for_and_followed() {
    let running = |seconds, health| ContainerState::Running { pid: 3, started: NOW + time::Duration::seconds(seconds), health };
    let mut desired = desired();
    let needs = |condition, restart, optional| Beyond { condition, restart, optional };
    let spec = &mut desired.containers.get_mut("web").unwrap().spec;
    spec.depends_beyond.insert("far/db".parse().unwrap(), needs(Condition::ServiceHealthy, true, false));
    spec.depends_beyond.insert("far/maybe".parse().unwrap(), needs(Condition::ServiceHealthy, false, true));

    let mut host = Host::default();
    let alone = plan(&desired, &host.observed).unwrap();
    assert!(shown(&alone).contains(&"wait until healthy web".to_owned()), "{:?}", shown(&alone));
    let text = render(&alone, false);
    assert!(text.contains("far/db healthy: wait") && !text.contains("far/maybe"), "{text}");
    assert!(text.contains("because container/web needs it healthy"), "{text}");
    let at = |plan: &Plan, action| plan.steps.iter().position(|step| step.action == action && step.resource.name == name("web"));
    let wait = at(&alone, Action::Wait(WaitFor::Healthy)).unwrap();
    assert!(alone.steps[at(&alone, Action::Start).unwrap()].needs.contains(&wait));

    host.observed.containers.push(far(running(0, Health::Starting)));
    assert!(shown(&plan(&desired, &host.observed).unwrap()).contains(&"wait until healthy web".to_owned()));
    host.observed.containers[0].state = running(0, Health::Healthy);
    let all = plan(&desired, &host.observed).unwrap();
    assert!(!shown(&all).iter().any(|step| step.starts_with("wait")), "{:?}", shown(&all));
    host.apply(&desired, &all);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());

    // It has been started again since, and is not well yet: nothing stops before it is.
    host.observed.containers[0].state = running(1, Health::Unhealthy);
    let next = plan(&desired, &host.observed).unwrap();
    assert_eq!(shown(&next), ["wait until healthy web", "stop log", "stop web", "start web", "start log"].map(str::to_owned));
    assert!(render(&next, false).contains("far/db was started after this one"), "{}", render(&next, false));

    // It needs this one in turn.
    let back = ("s/web".parse().unwrap(), needs(Condition::ServiceStarted, false, false));
    Arc::make_mut(&mut host.observed.containers[0].spec).depends_beyond.extend([back]);
    let refused = plan(&desired, &host.observed).unwrap_err().to_string();
    assert!(refused.contains("s/web → far/db → s/web"), "{refused}");
}
