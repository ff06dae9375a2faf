//! Plans as people see them, and single cases that the laws do not name.

use super::*;

fn shop() -> Desired {
    let mut desired = Desired::empty(stack());
    let pull = ImageSource::Pull(Pull::default());
    for (resource, reference) in [("nginx", "nginx:1.26"), ("db", "db:1")] {
        let reference = reference.parse().unwrap();
        desired.images.insert(name(resource), ImageSpec::new(reference, pull.clone()));
    }
    desired.networks.extend([placed("front", NetworkSpec::default())]);
    desired.volumes.extend([placed("data", VolumeSpec::default())]);
    let mut web = ContainerSpec::new("nginx:1.26".parse().unwrap());
    web.networks.insert(name("s-front"), Attachment::default());
    web.ports.insert("8080:80".parse().unwrap());
    web.restart = RestartPolicy::Always;
    web.depends_on.insert(name("db"), Dependency::from(Condition::ServiceHealthy));
    let mut db = ContainerSpec::new("db:1".parse().unwrap());
    db.networks.insert(name("s-front"), Attachment::default());
    db.mounts.push(Mount::Volume {
        source: name("s-data"),
        target: "/data".into(),
        read_only: false,
        nocopy: false,
        options: vec![],
        subpath: None,
    });
    db.restart = RestartPolicy::Always;
    db.healthcheck = Some(Healthcheck {
        interval: Span::seconds(1),
        timeout: Span::seconds(1),
        retries: 1,
        start_interval: Span::seconds(1),
        ..Healthcheck::new(Probe::Shell("x".into()))
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
    let image = ImageSpec::new("nginx:1.27".parse().unwrap(), desired.images["nginx"].source.clone());
    desired.images.insert(name("nginx"), image);
    desired.containers.get_mut("db").unwrap().spec.limits.memory = Some(ByteSize(64 << 20));
    insta::assert_snapshot!(both(&plan(&desired, &shop_host().observed).unwrap()));
}

fn answer(pinned: &str, digest: &[u8], bytes: u64) -> Answer {
    Answer::Is(Resolved { pinned: pinned.parse().unwrap(), digest: Digest::of(digest), bytes })
}

#[test]
fn golden_a_tag_moved() {
    let mut host = shop_host();
    let desired = shop();
    let pinned = format!("nginx:1.26@{}", Digest::of(b"index"));
    host.observed.known.answers.insert("nginx:1.26".parse().unwrap(), answer(&pinned, b"newer", 34_200_000));
    // The same image under a tag that was asked for is no change.
    host.observed.known.answers.insert("db:1".parse().unwrap(), answer("db:1", b"db:1", 0));
    let next = plan(&desired, &host.observed).unwrap();
    insta::assert_snapshot!(both(&next));
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
    assert_eq!(host.observed.containers.iter().find(|c| c.name.as_str() == "s-web").unwrap().image_digest, Digest::of(b"newer"));
}

#[test]
fn an_image_that_is_gone_comes_back_without_a_restart() {
    let mut host = shop_host();
    host.observed.images.clear();
    host.observed.known.answers.insert("nginx:1.26".parse().unwrap(), answer("nginx:1.26", b"nginx:1.26", 5));
    let next = plan(&shop(), &host.observed).unwrap();
    let of_web: Vec<_> = next.steps.iter().filter(|step| step.resource.name.as_str() == "web").collect();
    assert!(of_web.is_empty(), "{of_web:?}");
}

#[test]
fn a_registry_that_does_not_answer_stops_what_needs_its_answer_only() {
    let mut host = shop_host();
    let why = "it is away".to_owned();
    host.observed.known.answers.insert("nginx:1.26".parse().unwrap(), Answer::Unknown { why });
    let next = plan(&shop(), &host.observed).unwrap();
    let shown: Vec<String> = next.steps.iter().map(|step| format!("{:?} {}", step.action, step.resource)).collect();
    assert_eq!(shown, ["Pull image/nginx"]);
    assert!(render(&next, false).contains("drift: it is away"), "{}", render(&next, false));
    // The same when the image is not even here: what runs of it goes on.
    host.observed.images.retain(|image| !image.references.contains(&"nginx:1.26".parse().unwrap()));
    let next = plan(&shop(), &host.observed).unwrap();
    assert_eq!(next.steps.len(), 1, "{next:?}");
}

/// `provision` fills an image that `app` runs of.
fn provisioned() -> Desired {
    let mut desired = Desired::empty(stack());
    let base: ImageRef = "base:1".parse().unwrap();
    let app: ImageRef = "registry.local/app:1".parse().unwrap();
    desired.images.insert(name("base"), ImageSpec::new(base.clone(), ImageSource::Pull(Pull::default())));
    let commit = Commit { container: name("provision"), changes: vec![], author: None, message: None };
    let mut image = ImageSpec::new(app.clone(), ImageSource::Commit(commit));
    image.push.insert("mirror.local/app:1".parse().unwrap());
    desired.images.insert(name("app"), image);
    let mut provision = ContainerSpec::new(base);
    provision.command = Some(vec!["install".into()]);
    desired.containers.extend([placed("provision", provision), placed("app", ContainerSpec::new(app))]);
    desired
}

#[test]
fn golden_provision_commit_run() {
    let mut desired = provisioned();
    let mut host = Host::default();
    let first = plan(&desired, &host.observed).unwrap();
    insta::assert_snapshot!("provision_commit_run", both(&first));
    host.apply(&desired, &first);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
    // What does not touch the container's files makes no image.
    desired.containers.get_mut("provision").unwrap().spec.limits.memory = Some(ByteSize(1 << 26));
    let next = plan(&desired, &host.observed).unwrap();
    assert_eq!(next.steps.len(), 1, "{next:?}");
    desired.containers.get_mut("provision").unwrap().spec.command = Some(vec!["install-more".into()]);
    let next = plan(&desired, &host.observed).unwrap();
    insta::assert_snapshot!("provision_commit_run_again", both(&next));
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
}

#[test]
fn an_import_that_gives_the_same_image_again_leaves_its_containers_alone() {
    let imported = |fingerprint: Digest| {
        let mut desired = Desired::empty(stack());
        let reference: ImageRef = "local/app:1".parse().unwrap();
        let (path, environment) = ("/x".into(), BTreeMap::new());
        let source = ImageSource::Import {
            path,
            fingerprint,
            entrypoint: None,
            command: None,
            environment,
            working_dir: None,
            user: None,
        };
        desired.images.insert(name("app"), ImageSpec::new(reference.clone(), source));
        desired.containers.extend([placed("app", ContainerSpec::new(reference))]);
        desired
    };
    // The host makes the same image of those that begin alike.
    let fingerprints: Vec<Digest> = (0..100u8).map(|i| Digest::of(&[i])).collect();
    let first = fingerprints[0];
    let alike = |other: &&Digest| (**other != first).then(|| other.hex()[..1] == first.hex()[..1]);
    let same = *fingerprints.iter().find(|other| alike(other) == Some(true)).unwrap();
    let another = *fingerprints.iter().find(|other| alike(other) == Some(false)).unwrap();
    let mut host = Host::default();
    host.apply(&imported(first), &plan(&imported(first), &host.observed).unwrap());
    let before = host.observed.containers.clone();
    let next = plan(&imported(same), &host.observed).unwrap();
    assert!(render(&next, false).contains("recreate\n      because image/app is imported\n      only if that is another image"));
    host.apply(&imported(same), &next);
    assert_eq!(host.observed.containers, before);
    assert!(plan(&imported(same), &host.observed).unwrap().is_empty());
    // One that was stopped is started, as it would be without an import.
    host.observed.containers[0].state = ContainerState::Exited { code: 0, at: NOW, stopped: true, error: None };
    host.apply(&imported(first), &plan(&imported(first), &host.observed).unwrap());
    assert!(host.observed.containers[0].state.is_alive() && host.observed.containers[0].id == before[0].id);
    // A change of its own makes it anew whatever the image turns out to be.
    let mut changed = imported(same);
    changed.containers.get_mut("app").unwrap().spec.user = Some("1".into());
    let next = plan(&changed, &host.observed).unwrap();
    assert!(next.steps.iter().all(|step| step.spared_if.is_none()));
    host.apply(&imported(another), &plan(&imported(another), &host.observed).unwrap());
    assert_ne!(host.observed.containers[0].id, before[0].id);
}

#[test]
fn a_commit_and_a_network_made_anew_go_together() {
    let mut desired = provisioned();
    desired.networks.extend([placed("front", NetworkSpec::default())]);
    for container in desired.containers.values_mut() {
        container.spec.networks.insert(name("s-front"), Attachment::default());
    }
    let mut host = Host::default();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    desired.networks.get_mut("front").unwrap().spec.internal = true;
    desired.containers.get_mut("provision").unwrap().spec.user = Some("1".into());
    let next = plan(&desired, &host.observed).unwrap();
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
}

#[test]
fn a_failed_provision_runs_again_and_a_lost_image_does_not_run_it() {
    let desired = provisioned();
    let mut host = Host::default();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    let verbs = |host: &Host| -> Vec<String> {
        let next = plan(&desired, &host.observed).unwrap();
        next.steps.iter().map(|step| format!("{:?} {}", step.action, step.resource)).collect()
    };
    host.observed.images.retain(|image| image.references.iter().any(|r| r.to_string() == "base:1"));
    let again = verbs(&host);
    assert!(
        again.contains(&"Commit image/app".to_owned()) && !again.iter().any(|v| v == "Start container/provision"),
        "{again:?}"
    );
    let provision = host.observed.containers.iter_mut().find(|c| c.name.as_str() == "s-provision").unwrap();
    provision.state = ContainerState::Exited { code: 1, at: NOW, stopped: false, error: None };
    let again = verbs(&host);
    assert!(again.iter().any(|v| v == "Start container/provision"), "{again:?}");
    assert!(again.iter().any(|v| v == "Wait(Completed) container/provision"), "{again:?}");
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
}

#[test]
fn a_circle_of_commits_is_an_obstacle_and_no_endless_loop() {
    let mut desired = provisioned();
    desired.containers.get_mut("provision").unwrap().spec.image = "registry.local/app:1".parse().unwrap();
    let error = plan(&desired, &Observed::default()).unwrap_err().to_string();
    assert!(error.contains("circle"), "{error}");
}

#[test]
fn other_keys_check_an_image_again_and_an_archive_that_is_away_does_not_matter() {
    let mut desired = shop();
    let mut host = shop_host();
    let keys = |key: &str| Some(Verify { keys: [key.to_owned()].into() });
    desired.images.get_mut("nginx").unwrap().verify = keys("one");
    let next = plan(&desired, &host.observed).unwrap();
    assert_eq!(next.steps.len(), 1, "the same image, checked now: {next:?}");
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
    desired.images.get_mut("nginx").unwrap().verify = keys("two");
    assert_eq!(plan(&desired, &host.observed).unwrap().steps.len(), 1);

    let mut desired = shop();
    let kept = Pull { keep_blobs: Some(true), ..Pull::default() };
    desired.images.get_mut("nginx").unwrap().source = ImageSource::Pull(kept);
    let next = plan(&desired, &host.observed).unwrap();
    assert_eq!(next.steps.len(), 1, "its blobs are fetched once: {next:?}");
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());

    let mut desired = shop();
    let load = |fingerprint| ImageSource::Load { archive: "/media/db.tar".into(), fingerprint, reference: None };
    desired.images.get_mut("db").unwrap().source = load(Some(Digest::of(b"archive")));
    let next = plan(&desired, &host.observed).unwrap();
    assert_eq!(next.steps[0].action, Action::Load);
    host.apply(&desired, &next);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
    desired.images.get_mut("db").unwrap().source = load(None);
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
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
    let completed = Dependency::from(Condition::ServiceCompletedSuccessfully);
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
    let source = ImageSource::Pull(Pull::default());
    desired.images.insert(name("nginx"), ImageSpec::new("nginx:1.26".parse().unwrap(), source));
    let mut host = Host::default();
    host.apply(&desired, &plan(&desired, &host.observed).unwrap());
    let started = std::time::Instant::now();
    assert!(plan(&desired, &host.observed).unwrap().is_empty());
    // Without optimisation; the binary that is shipped takes a fraction of it.
    assert!(started.elapsed().as_millis() < 1000, "{:?}", started.elapsed());
}

#[test]
fn an_image_is_built_again_when_it_is_to_be_another_one() {
    let built = |files: u8, target: Option<&str>| {
        let mut desired = Desired::empty(stack());
        let reference: ImageRef = "s-web".parse().unwrap();
        let mut build = Build::new(ContextSource::Folder("/app".into()), DockerfileSource::InContext(None));
        build.fingerprint = Some(Digest::of(&[files]));
        build.target = target.map(str::to_owned);
        desired.images.insert(name("web"), ImageSpec::new(reference.clone(), ImageSource::Build(Box::new(build))));
        desired.containers.extend([placed("web", ContainerSpec::new(reference))]);
        desired
    };
    let mut host = Host::default();
    let first = plan(&built(0, None), &host.observed).unwrap();
    assert!(render(&first, false).contains("build"), "{}", render(&first, false));
    host.apply(&built(0, None), &first);
    assert!(plan(&built(0, None), &host.observed).unwrap().is_empty());
    for (desired, cause) in [(built(1, None), "spec.build.context: "), (built(1, Some("web")), "spec.build: ")] {
        let next = plan(&desired, &host.observed).unwrap();
        let shown = render(&next, false);
        assert!(shown.contains(cause), "{shown}");
        assert!(shown.contains("because image/web is built"), "{shown}");
        host.apply(&desired, &next);
        assert!(plan(&desired, &host.observed).unwrap().is_empty());
    }
    // Somebody has given the name to another image.
    let named = |image: &&mut Image| !image.references.is_empty();
    host.observed.images.iter_mut().find(named).unwrap().digest = Digest::of(b"another");
    let shown = render(&plan(&built(1, Some("web")), &host.observed).unwrap(), false);
    assert!(shown.contains("is another image than the one that was made"), "{shown}");
}

#[test]
fn what_is_built_on_another_image_of_the_stack_comes_after_it() {
    let built = |files: u8| {
        let mut desired = Desired::empty(stack());
        let source = |files: Option<u8>, bases: &[&str]| {
            let mut build = Build::new(ContextSource::Folder("/x".into()), DockerfileSource::InContext(None));
            build.fingerprint = files.map(|files| Digest::of(&[files]));
            build.bases = bases.iter().map(|base| base.parse().unwrap()).collect();
            ImageSource::Build(Box::new(build))
        };
        for (image, source) in [
            ("a-app", source(Some(0), &["z-base", "debian"])),
            ("b-tool", source(Some(0), &["a-app"])),
            ("z-base", source(Some(files), &["debian"])),
        ] {
            desired.images.insert(name(image), ImageSpec::new(image.parse().unwrap(), source));
        }
        desired
    };
    let order = |plan: &Plan| plan.steps.iter().map(|step| step.resource.name.to_string()).collect::<Vec<_>>();
    let mut host = Host::default();
    let first = plan(&built(0), &host.observed).unwrap();
    assert_eq!(order(&first), ["z-base", "a-app", "b-tool"]);
    assert!(first.steps[1].needs.contains(&0) && first.steps[2].needs.contains(&1));
    host.apply(&built(0), &first);
    assert!(plan(&built(0), &host.observed).unwrap().is_empty());
    let next = plan(&built(7), &host.observed).unwrap();
    assert_eq!(order(&next), ["z-base", "a-app", "b-tool"], "what is built on it follows");
    assert!(render(&next, false).contains("because image/z-base is built"));
    // Broken off after the first: the next plan goes on.
    host.step(&built(7), &next.steps[0]);
    host.apply(&built(7), &plan(&built(7), &host.observed).unwrap());
    assert!(plan(&built(7), &host.observed).unwrap().is_empty());
}
