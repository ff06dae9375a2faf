//! The laws of planning, over generated stacks and hosts that change while nobody looks.

use proptest::prelude::*;

use super::*;

/// What the numbers of a generated container stand for.
fn generated(seeds: &[[u8; 8]], networks: u8, volumes: u8, subnets: u8) -> Desired {
    let mut desired = Desired::empty(stack());
    for i in 0..networks {
        let subnet = (subnets & (1 << i) != 0).then(|| format!("192.168.{i}.0/24").parse().unwrap());
        desired.networks.extend([placed(&format!("n{i}"), NetworkSpec { subnet, ..NetworkSpec::default() })]);
    }
    desired.volumes.extend((0..volumes).map(|i| placed(&format!("v{i}"), VolumeSpec::default())));
    for (i, [image, network, volume, depends, condition, limits, restart, misc]) in seeds.iter().copied().enumerate() {
        let image: ImageRef = format!("image{}:1", image % 3).parse().unwrap();
        let mut spec = ContainerSpec::new(image.clone());
        if networks > 0 {
            spec.networks.insert(name(format!("s-n{}", network % networks)), Attachment::default());
        }
        if volumes > 0 && volume % 3 != 0 {
            let source = name(format!("s-v{}", volume % volumes));
            spec.mounts.push(Mount::Volume {
                source,
                target: "/v".into(),
                read_only: false,
                nocopy: false,
                options: vec![],
                subpath: None,
            });
        }
        spec.restart = match restart % 4 {
            0 => RestartPolicy::No,
            1 => RestartPolicy::Always,
            2 => RestartPolicy::UnlessStopped,
            _ => RestartPolicy::OnFailure(Some(2)),
        };
        spec.limits.memory = (limits % 2 == 1).then_some(ByteSize(u64::from(limits) << 20));
        if misc % 4 == 1 {
            spec.ports.insert(format!("{}:80", 8000 + i).parse().unwrap());
        }
        if misc % 5 == 1 {
            spec.environment.insert("X".into(), misc.to_string());
        }
        if misc % 7 == 2 && i > 0 {
            spec.update_after = Some(name(format!("c{}", i - 1)));
        }
        if misc % 5 == 2 && i > 0 {
            spec.rollback_after = Some(name(format!("c{}", i - 1)));
        }
        spec.update_config = Update {
            order: if misc % 2 == 1 { Order::StartFirst } else { Order::StopFirst },
            delay: Span::seconds(u64::from(misc % 6 / 4)),
            monitor: Span::seconds(u64::from(limits % 3)),
            failure_action: if restart % 8 > 4 { FailureAction::Rollback } else { FailureAction::Pause },
            ..Update::default()
        };
        for before in 0..i {
            if depends & (1 << before) != 0 {
                let target = desired.containers.get_mut(&name(format!("c{before}"))).unwrap();
                let mut condition = match condition.wrapping_add(before as u8) % 3 {
                    0 => Condition::ServiceStarted,
                    1 => Condition::ServiceHealthy,
                    _ => Condition::ServiceCompletedSuccessfully,
                };
                if condition == Condition::ServiceCompletedSuccessfully && target.spec.restart.keeps_running() {
                    condition = Condition::ServiceStarted;
                }
                // One cannot wait for the same container to be healthy and completed.
                let completes = |spec: &ContainerSpec| spec.labels.contains_key("completes");
                match condition {
                    Condition::ServiceHealthy if !completes(&target.spec) => {
                        target.spec.healthcheck = Some(Healthcheck {
                            interval: Span::seconds(1),
                            timeout: Span::seconds(1),
                            retries: 1,
                            start_interval: Span::seconds(1),
                            ..Healthcheck::new(Probe::Shell("x".into()))
                        });
                    }
                    Condition::ServiceCompletedSuccessfully if target.spec.healthcheck.is_none() => {
                        target.spec.labels.insert("completes".into(), String::new());
                    }
                    _ => condition = Condition::ServiceStarted,
                }
                spec.depends_on.insert(name(format!("c{before}")), Dependency { condition, restart: misc % 3 == 0 });
            }
        }
        desired.containers.extend([placed(&format!("c{i}"), spec)]);
        let source = if image.to_string().starts_with("image2") && misc % 2 == 0 {
            let mut build = Build::new(ContextSource::Folder("/x".into()), DockerfileSource::InContext(None));
            build.fingerprint = Some(Digest::of(&[subnets]));
            ImageSource::Build(Box::new(build))
        } else if image.to_string().starts_with("image2") {
            ImageSource::Import {
                path: "/x".into(),
                fingerprint: Digest::of(&[subnets]),
                entrypoint: None,
                command: None,
                environment: BTreeMap::new(),
                working_dir: None,
                user: None,
            }
        } else {
            ImageSource::Pull(Pull::default())
        };
        let mut spec = ImageSpec::new(image.clone(), source);
        if misc % 3 == 1 {
            spec.push.insert(format!("mirror.local/{image}").parse().unwrap());
        }
        if misc % 7 == 1 && matches!(spec.source, ImageSource::Pull(_)) {
            spec.verify = Some(Verify { keys: [misc.to_string()].into() });
        }
        desired.images.insert(name(image.to_string().replace(':', "-")), spec);
    }
    commits(&mut desired, seeds);
    desired
}

/// Some containers that complete are committed, and later ones are made of what comes of it.
fn commits(desired: &mut Desired, seeds: &[[u8; 8]]) {
    for (i, seed) in seeds.iter().enumerate() {
        let provision = name(format!("c{i}"));
        let spec = &desired.containers[&provision].spec;
        let completes = spec.healthcheck.is_none() && !spec.restart.keeps_running();
        if seed[0] % 4 != 1 || !completes {
            continue;
        }
        let reference: ImageRef = format!("made{i}:1").parse().unwrap();
        let commit = Commit { container: provision, changes: vec![], author: None, message: None };
        let mut image = ImageSpec::new(reference.clone(), ImageSource::Commit(commit));
        if seed[7] % 2 == 1 {
            image.push.insert(format!("mirror.local/{reference}").parse().unwrap());
        }
        desired.images.insert(name(format!("made{i}")), image);
        for (later, seed) in seeds.iter().enumerate().skip(i + 1) {
            let user = desired.containers.get_mut(&name(format!("c{later}"))).unwrap();
            // One that the container waits for would wait for itself.
            if seed[7] % 3 == 0 {
                user.spec.image = reference.clone();
            }
        }
    }
    // A load in the place of a pull.
    for image in desired.images.values_mut().filter(|image| image.reference.to_string() == "image1:1" && image.verify.is_none()) {
        let fingerprint = Some(Digest::of(&[seeds.len() as u8]));
        image.source = ImageSource::Load { archive: "/x.tar".into(), fingerprint, reference: None };
    }
}

/// What registries answer for some of the images that are pulled.
fn answers(desired: &Desired, seed: u8) -> BTreeMap<ImageRef, Answer> {
    let pulled = desired.images.values().filter(|image| matches!(image.source, ImageSource::Pull(_)));
    let answer = |image: &ImageSpec| {
        let digest = Digest::of(format!("{} {seed}", image.reference).as_bytes());
        (image.reference.clone(), Answer::Is(Resolved { pinned: image.reference.clone(), digest, bytes: 1 }))
    };
    pulled.filter(|image| image.reference.to_string().len() % 2 == usize::from(seed % 2)).map(answer).collect()
}

fn any_desired() -> impl Strategy<Value = Desired> {
    (proptest::collection::vec(any::<[u8; 8]>(), 0..6), 0u8..3, 0u8..3, any::<u8>())
        .prop_map(|(seeds, networks, volumes, subnets)| generated(&seeds, networks, volumes, subnets))
}

/// A container, the images that are committed from it, the containers of these, and so on.
fn made_of(desired: &Desired, container: &Name) -> BTreeSet<Name> {
    let mut all = BTreeSet::from([container.clone()]);
    loop {
        let before = all.len();
        for (name, image) in &desired.images {
            if matches!(&image.source, ImageSource::Commit(commit) if all.contains(&commit.container)) {
                all.insert(name.clone());
                let users = desired.containers.iter().filter(|(_, user)| user.spec.image == image.reference);
                all.extend(users.map(|(user, _)| user.clone()));
            }
        }
        if all.len() == before {
            return all;
        }
    }
}

/// What happens to a host while nobody looks.
fn disturb(observed: &mut Observed, seeds: &[u8]) {
    let mine = |owner: &Option<Owner>| owner.as_ref().is_some_and(|o| o.stack == stack());
    for (container, seed) in observed.containers.iter_mut().filter(|c| mine(&c.owner)).zip(seeds) {
        let exited = |code, stopped, error| ContainerState::Exited { code, at: NOW, stopped, error };
        match seed % 9 {
            0 => container.state = ContainerState::Lost,
            1 => container.state = exited(137, true, None),
            2 => container.state = exited(1, false, None),
            3 => container.state = exited(0, false, None),
            4 => container.state = exited(127, false, Some("no such program".into())),
            5 if container.state.is_alive() => container.network_faults.push("its link is gone".into()),
            6 => container.state = ContainerState::Created,
            _ => {}
        }
        if !container.state.is_alive() {
            container.ports.clear();
        }
    }
    let seed = |at: usize| seeds.get(at).copied().unwrap_or_default();
    if seed(6) % 3 == 1 {
        observed.networks.iter_mut().filter(|n| mine(&n.owner)).for_each(|n| n.faults.push("its bridge is gone".into()));
    }
    if seed(7) % 3 == 1 {
        observed.firewall = Some("the table is gone".into());
    }
    if seed(8) % 5 == 1 {
        observed.volumes.iter_mut().filter(|v| mine(&v.owner)).for_each(|v| v.present = false);
    }
    if seed(8) % 5 == 2 {
        observed.images.clear();
    }
}

/// What belongs to others, under names that this stack does not use.
fn strangers() -> Observed {
    let mut host = Host::default();
    let theirs = generated(&[[0; 8], [1, 1, 1, 1, 1, 1, 1, 1]], 1, 1, 0);
    host.apply(&theirs, &plan(&theirs, &Observed::default()).unwrap());
    let mut observed = host.observed;
    let other = |owner: &mut Option<Owner>| *owner = Some(Owner { stack: name("other"), ..owner.clone().unwrap() });
    let rename = |n: &mut Name| *n = name(format!("other{n}"));
    for container in &mut observed.containers {
        other(&mut container.owner);
        rename(&mut container.name);
        container.ports.clear();
        let spec = Arc::make_mut(&mut container.spec);
        spec.ports.clear();
        spec.networks.clear();
        spec.mounts.clear();
    }
    for network in &mut observed.networks {
        other(&mut network.owner);
        rename(&mut network.name);
        network.subnet = "10.255.0.0/16".parse().ok();
    }
    for volume in &mut observed.volumes {
        volume.owner = None;
        rename(&mut volume.name);
    }
    observed.images.clear();
    observed
}

fn not_mine(observed: &Observed) -> (Vec<Container>, Vec<Network>, Vec<Volume>) {
    let mine = |owner: &Option<Owner>| owner.as_ref().is_some_and(|o| o.stack == stack());
    (
        observed.containers.iter().filter(|c| !mine(&c.owner)).cloned().collect(),
        observed.networks.iter().filter(|n| !mine(&n.owner)).cloned().collect(),
        observed.volumes.iter().filter(|v| !mine(&v.owner)).cloned().collect(),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn applying_twice_plans_nothing_the_second_time(
        first in any_desired(),
        second in any_desired(),
        noise in proptest::collection::vec(any::<u8>(), 9),
    ) {
        let mut host = Host { observed: strangers(), ids: 100 };
        let others = not_mine(&host.observed);
        host.observed.known.answers = answers(&first, noise[3]);
        let from_nothing = plan(&first, &host.observed).unwrap();
        prop_assert!(from_nothing.unchanged.is_empty());
        host.apply(&first, &from_nothing);
        prop_assert!(plan(&first, &host.observed).unwrap().is_empty());
        let volumes: Vec<Name> = host.observed.volumes.iter().map(|v| v.name.clone()).collect();
        disturb(&mut host.observed, &noise);
        host.observed.known.answers = answers(&second, noise[4]);
        let next = plan(&second, &host.observed).unwrap();
        host.apply(&second, &next);
        let again = plan(&second, &host.observed).unwrap();
        prop_assert!(again.is_empty(), "{}\nafter\n{}", render(&again, false), render(&next, false));
        prop_assert_eq!(not_mine(&host.observed), others);
        for volume in &volumes {
            prop_assert!(host.observed.volumes.iter().any(|v| v.name == *volume), "{} was removed", volume);
        }
        let destroy = plan_destroy(&stack(), &host.observed, true).unwrap();
        let strangers = not_mine(&host.observed);
        host.apply(&Desired::empty(stack()), &destroy);
        prop_assert_eq!(not_mine(&host.observed), strangers);
        let mine = |owner: &Option<Owner>| owner.as_ref().is_some_and(|o| o.stack == stack());
        prop_assert!(!host.observed.containers.iter().any(|c| mine(&c.owner)));
        prop_assert!(!host.observed.networks.iter().any(|n| mine(&n.owner)));
        prop_assert!(!host.observed.volumes.iter().any(|v| mine(&v.owner)));
    }

    #[test]
    fn a_change_of_one_container_plans_that_one_only(desired in any_desired(), which in any::<u8>()) {
        if desired.containers.is_empty() {
            return Ok(());
        }
        let mut host = Host::default();
        host.apply(&desired, &plan(&desired, &host.observed).unwrap());
        let mut changed = desired.clone();
        let at = usize::from(which) % desired.containers.len();
        let (victim, container) = changed.containers.iter_mut().nth(at).unwrap();
        let victim = victim.clone();
        container.spec.user = Some("1000".into());
        let steps = plan(&changed, &host.observed).unwrap();
        let touched = made_of(&changed, &victim);
        for step in &steps.steps {
            let waits = step.action.only_waits();
            // Whoever is waited for may have to run once more, and who follows starts again; nothing else is touched.
            let again = matches!(step.action, Action::Start | Action::Stop) && step.causes.iter().all(|c| matches!(c, Cause::Follows { .. }));
            prop_assert!(touched.contains(&step.resource.name) || waits || again, "{:?}", step);
        }
        prop_assert!(!steps.is_empty());
        host.apply(&changed, &steps);
        prop_assert!(plan(&changed, &host.observed).unwrap().is_empty());
    }

    #[test]
    fn the_same_look_gives_the_same_plan(desired in any_desired(), noise in proptest::collection::vec(any::<u8>(), 9)) {
        let mut host = Host::default();
        host.apply(&desired, &plan(&desired, &host.observed).unwrap());
        disturb(&mut host.observed, &noise);
        let one = plan(&desired, &host.observed).unwrap();
        host.observed.containers.reverse();
        host.observed.networks.reverse();
        host.observed.images.reverse();
        host.observed.volumes.reverse();
        for container in &mut host.observed.containers {
            container.restarts += 1;
        }
        prop_assert_eq!(one, plan(&desired, &host.observed).unwrap());
    }
}
