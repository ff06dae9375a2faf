//! Which of two goes first, who is watched, and what is gone on with where it was broken off.

use super::*;
use crate::observed::{Course, Fault, Repair};

/// `web` has a port of the host and is replaced start-first, `front` depends on it, and `web-2` comes after it.
fn desired(update: Update) -> Desired {
    let mut desired = Desired::empty(stack());
    let image: ImageRef = "app:1".parse().unwrap();
    desired.images.insert(name("app"), ImageSpec::new(image.clone(), ImageSource::Pull(Pull::default())));
    let mut web = ContainerSpec::new(image);
    web.restart = RestartPolicy::Always;
    let mut front = web.clone();
    front.depends_on.insert(name("web"), Dependency { condition: Condition::ServiceHealthy, restart: false });
    web.healthcheck = Some(Healthcheck::new(Probe::Shell("x".into())));
    web.update_config = update;
    let second = ContainerSpec { update_after: Some(name("web")), ..web.clone() };
    web.ports.insert("8080:80".parse().unwrap());
    desired.containers.extend([placed("web", web), placed("web-2", second), placed("front", front)]);
    desired
}

fn start_first() -> Update {
    Update { order: Order::StartFirst, delay: Span::seconds(9), monitor: Span::seconds(5), ..Update::default() }
}

fn applied(desired: &Desired) -> Host {
    let mut host = Host::default();
    host.apply(desired, &plan(desired, &host.observed).unwrap());
    assert!(plan(desired, &host.observed).unwrap().is_empty());
    host
}

fn changed(desired: &Desired, names: &[&str]) -> Desired {
    let mut changed = desired.clone();
    for one in names {
        changed.containers.get_mut(*one).unwrap().spec.command = Some(vec!["x".into()]);
    }
    changed
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(|step| format!("{} {}", step.action.verb(), step.resource.name)).collect()
}

#[test]
fn the_new_one_is_well_before_the_old_one_goes() {
    let first = desired(start_first());
    let mut host = applied(&first);
    let next = changed(&first, &["web", "web-2", "front"]);
    let made = plan(&next, &host.observed).unwrap();
    insta::assert_snapshot!(render(&made, false));
    host.apply(&next, &made);
    assert!(plan(&next, &host.observed).unwrap().is_empty());
    let names: Vec<_> = host.observed.containers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(names.iter().all(|one| !one.ends_with(Name::ASIDE)), "{names:?}");
    // The second one waits for what the update of the first one comes to, and not for each of its steps to succeed.
    let begins = made.steps.iter().find(|step| step.action == Action::Create && step.resource.name.as_str() == "web-2").unwrap();
    let after: Vec<_> = begins.after.iter().map(|at| made.steps[*at].action).collect();
    assert!(after.contains(&Action::Watch(Span::seconds(5))) && after.contains(&Action::Delay(Span::seconds(9))), "{after:?}");
}

#[test]
fn what_was_broken_off_is_finished_or_undone() {
    let first = desired(start_first());
    let next = changed(&first, &["web"]);
    let whole = plan(&next, &applied(&first).observed).unwrap();
    for ended in 0..=whole.steps.len() {
        let mut host = applied(&first);
        whole.steps[..ended].iter().for_each(|step| host.step(&next, step));
        let ids: Vec<_> = host.observed.containers.iter().map(|one| one.id.clone()).collect();
        for wanted in [&next, &first, &changed(&next, &["web-2"])] {
            let mut host = host.clone();
            let rest = plan(wanted, &host.observed).unwrap();
            host.apply(wanted, &rest);
            assert!(plan(wanted, &host.observed).unwrap().is_empty(), "after {ended}");
            assert_eq!(host.observed.containers.len(), 3, "after {ended}: {}", render(&rest, false));
        }
        let on = plan(&next, &host.observed).unwrap();
        let made = on.steps.iter().any(|step| step.action == Action::Create);
        assert_eq!(made, ids.len() == 3 && ended == 0, "what has been made is gone on with, after {ended}: {:?}", shown(&on));
    }
    // One that has ended on its way is no help.
    let mut host = applied(&first);
    whole.steps[..2].iter().for_each(|step| host.step(&next, step));
    let beside = host.observed.containers.iter_mut().find(|one| one.name.is_aside()).unwrap();
    beside.state = ContainerState::Exited { code: 1, at: NOW, stopped: false, error: None };
    let again = plan(&next, &host.observed).unwrap();
    assert!(shown(&again).starts_with(&["remove web".into(), "create web".into()]), "{:?}", shown(&again));
    host.apply(&next, &again);
    assert!(plan(&next, &host.observed).unwrap().is_empty());
}

#[test]
fn two_that_cannot_be_there_at_once_are_replaced_one_by_one() {
    let first = desired(start_first());
    let mut host = applied(&first);
    let mut next = changed(&first, &["web"]);
    // Another one of the stack has the port until now.
    let port = || "8081:80".parse().unwrap();
    let front = host.observed.containers.iter_mut().find(|one| one.name.as_str() == "s-front").unwrap();
    Arc::make_mut(&mut front.spec).ports.insert(port());
    next.containers.get_mut("web").unwrap().spec.ports.insert(port());
    let made = plan(&next, &host.observed).unwrap();
    assert!(!shown(&made).contains(&"switch web".to_owned()), "{:?}", shown(&made));
    // One that does not run has nobody to wait for.
    let mut host = applied(&first);
    host.observed.containers.iter_mut().for_each(|one| one.state = ContainerState::Lost);
    let made = plan(&changed(&first, &["web"]), &host.observed).unwrap();
    assert!(!shown(&made).contains(&"switch web".to_owned()), "{:?}", shown(&made));
}

#[test]
fn what_has_failed_stays_until_something_else_is_wanted() {
    let update = Update { monitor: Span::seconds(5), failure_action: FailureAction::Rollback, ..Update::default() };
    let first = desired(update);
    let mut host = applied(&first);
    let next = changed(&first, &["web", "web-2"]);
    let made = plan(&next, &host.observed).unwrap();
    let staked = made.steps.iter().filter(|step| step.stake.is_some()).map(|step| step.action.verb());
    assert_eq!(staked.collect::<BTreeSet<_>>(), BTreeSet::from(["create", "start", "watch"]));
    host.observed.known.course.paused = true;
    assert!(plan(&next, &host.observed).unwrap().is_empty());
    // Who is missing altogether is none of its business.
    let mut without = host.clone();
    without.observed.containers.retain(|one| one.name.as_str() != "s-front");
    let made = shown(&plan(&next, &without.observed).unwrap());
    assert_eq!(made, ["create front", "start front"]);
    // What was broken off is watched again, and what has ended meanwhile is tried once more.
    host.observed.known.course = Course { since: Some(NOW), ..Course::default() };
    assert_eq!(shown(&plan(&first, &host.observed).unwrap()), ["watch web", "watch web-2"]);
    let web = host.observed.containers.iter_mut().find(|one| one.name.as_str() == "s-web-2").unwrap();
    web.state = ContainerState::Exited { code: 1, at: NOW, stopped: false, error: None };
    assert_eq!(shown(&plan(&first, &host.observed).unwrap()), ["start web-2", "watch web", "watch web-2"]);
    host.observed.known.course.since = Some(NOW + time::Duration::SECOND);
    assert_eq!(shown(&plan(&first, &host.observed).unwrap()), ["start web-2"]);
}

#[test]
fn hooks_that_have_failed_are_run_again_by_another_start() {
    let first = desired(start_first());
    let failed = |host: &mut Host, name: &str| {
        let fault = Fault { field: "post_start".into(), what: "a post_start hook failed".into(), repair: Repair::Restart };
        host.observed.containers.iter_mut().find(|one| one.name.as_str() == name).unwrap().faults = vec![fault];
    };
    let mut host = applied(&first);
    failed(&mut host, "s-front");
    assert_eq!(shown(&plan(&first, &host.observed).unwrap()), ["stop front", "start front"]);
    // What an update has failed at is not tried again by itself.
    host.observed.known.course.paused = true;
    assert!(plan(&first, &host.observed).unwrap().is_empty());
    // One that was to take the place of another one does not take it.
    let mut host = applied(&first);
    let next = changed(&first, &["web"]);
    let whole = plan(&next, &host.observed).unwrap();
    whole.steps[..2].iter().for_each(|step| host.step(&next, step));
    let aside = host.observed.containers.iter().find(|one| one.name.is_aside()).unwrap().name.clone();
    failed(&mut host, aside.as_str());
    let again = shown(&plan(&next, &host.observed).unwrap());
    assert!(again.starts_with(&["stop web".into(), "remove web".into(), "create web".into()]), "{again:?}");
}

#[test]
fn the_way_back_is_its_own() {
    let mut first = desired(start_first());
    for placed in first.containers.values_mut() {
        placed.spec.rollback_config = Some(Update { monitor: Span::seconds(1), ..Update::default() });
    }
    let mut host = applied(&first);
    host.observed.known.course.back = true;
    let made = plan(&changed(&first, &["web", "web-2"]), &host.observed).unwrap();
    let actions: Vec<_> = made.steps.iter().map(|step| step.action).collect();
    assert!(actions.contains(&Action::Watch(Span::seconds(1))) && !actions.contains(&Action::Switch), "{actions:?}");
    assert!(made.steps.iter().all(|step| step.after.is_empty()), "all at once");
}
