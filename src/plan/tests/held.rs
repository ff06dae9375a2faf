//! Images that are to be what they were: the way back to an earlier generation.

use super::*;

/// A stack whose image `app` is built, pushed and run, and whose image `db` is pulled and run.
fn app(argument: &str) -> Desired {
    let mut desired = Desired::empty(stack());
    let context = ContextSource::Folder("/app".into());
    let mut build = Build::new(context, DockerfileSource::InContext(None));
    build.arguments.insert("VERSION".into(), argument.into());
    let mut image = ImageSpec::new("app:1".parse().unwrap(), ImageSource::Build(Box::new(build)));
    image.push.insert("registry.example/app:1".parse().unwrap());
    desired.images.insert(name("app"), image);
    let pull = Pull { policy: "always".parse().unwrap(), ..Pull::default() };
    desired.images.insert(name("db"), ImageSpec::new("db:1".parse().unwrap(), ImageSource::Pull(pull)));
    for image in ["app", "db"] {
        desired.containers.extend([placed(image, ContainerSpec::new(format!("{image}:1").parse().unwrap()))]);
    }
    desired
}

fn digest_of(host: &Host, reference: &str) -> Digest {
    host.image(&reference.parse().unwrap()).unwrap().digest
}

fn holding(host: &mut Host, images: &[(&str, Digest)]) {
    let held = |(reference, digest): &(&str, Digest)| (reference.parse().unwrap(), Answer::Held { digest: *digest });
    host.observed.known.answers = images.iter().map(held).collect();
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{:?} {}", step.action, step.resource)).collect()
}

#[test]
fn what_was_built_and_pulled_comes_back_and_stays() {
    let mut host = Host::default();
    let (one, two) = (app("1"), app("2"));
    host.apply(&one, &plan(&one, &host.observed).unwrap());
    let was = ["app:1", "db:1"].map(|reference| (reference, digest_of(&host, reference)));
    // Another one is built, and the other tag moves.
    let moved = Digest::of(b"moved");
    let pinned = "db:1".parse().unwrap();
    let answer = Answer::Is(Resolved { pinned, digest: moved, bytes: 1 });
    let answers = BTreeMap::from([("db:1".parse().unwrap(), answer)]);
    host.observed.known.answers = answers.clone();
    host.apply(&two, &plan(&two, &host.observed).unwrap());
    assert_eq!(digest_of(&host, "db:1"), moved);

    holding(&mut host, &was);
    let back = plan(&one, &host.observed).unwrap();
    let restores = back.steps.iter().filter(|step| step.action == Action::Restore).count();
    let rebuilt = digest_of(&host, "app:1") != was[0].1;
    assert_eq!(restores, 1 + usize::from(rebuilt), "{:?}", lines(&back));
    let kinds: BTreeSet<&str> = back.steps.iter().map(|step| step.action.verb()).collect();
    assert_eq!(kinds, ["create", "remove", "restore", "start", "stop"].into(), "nothing is pulled, built or pushed");
    host.apply(&one, &back);
    assert_eq!(["app:1", "db:1"].map(|reference| (reference, digest_of(&host, reference))), was);
    // As long as it is held, neither what it was built of nor a registry says otherwise.
    assert!(plan(&one, &host.observed).unwrap().is_empty());
    // Then it is as ever.
    host.observed.known.answers = answers;
    assert!(!plan(&two, &host.observed).unwrap().is_empty());
}

#[test]
fn one_that_is_gone_is_asked_for_by_its_digest_or_said_to_be_missing() {
    let mut host = Host::default();
    let one = app("1");
    host.apply(&one, &plan(&one, &host.observed).unwrap());
    let (app, db) = (Digest::of(b"app"), Digest::of(b"db"));
    holding(&mut host, &[("app:1", app), ("db:1", db)]);
    let plan = plan(&one, &host.observed).unwrap();
    let images: Vec<_> = lines(&plan).into_iter().filter(|line| line.contains(" image/")).collect();
    assert_eq!(images, ["Restore image/app", "Pull image/db"]);
    let short = |digest: Digest| format!("sha256:{}…", digest.short());
    let shown = render(&plan, false);
    let built = digest_of(&host, "app:1");
    assert!(shown.contains(&format!("image/app: restore app:1 ({} → {})", short(built), short(app))), "{shown}");
    assert!(matches!(plan.answers[&"db:1".parse().unwrap()], Answer::Held { digest } if digest == db));
}

#[test]
fn what_is_different_since_a_plan_was_made_is_told() {
    let mut host = Host::default();
    let one = app("1");
    let first = plan(&one, &host.observed).unwrap();
    assert!(moved(&first, &plan(&one, &host.observed).unwrap()).is_empty());
    host.apply(&one, &first);
    let mut more = one.clone();
    more.containers.extend([placed("more", ContainerSpec::new("db:1".parse().unwrap()))]);
    let saved = plan(&more, &host.observed).unwrap();
    host.observed.containers.retain(|container| container.name.as_str() != "s-app");
    host.observed.firewall = Some("it is empty".into());
    assert_eq!(
        moved(&saved, &plan(&more, &host.observed).unwrap()),
        [
            "container s-app is gone",
            "firewall is not as it was",
            "container/app: create: would be done as well",
            "container/app: start: would be done as well",
            "firewall/firewall: repair: would be done as well",
        ]
    );
    // A plan of a setpoint that did not note the parts.
    let old = Plan { parts: BTreeMap::new(), base: Digest::of(b"other"), ..saved.clone() };
    assert_eq!(moved(&old, &saved), ["the host is not as it was"]);
}
