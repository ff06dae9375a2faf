//! Who is made anew only if its image turns out to be another one, and has to be mended where it is not.

use super::*;
use crate::observed::{Fault, Repair};

/// `web` and `log` are each made of an archive, and `log` follows `web`. The host makes the same image of those that begin alike.
fn desired(web: Digest, log: Digest, order: Order) -> Desired {
    let mut desired = Desired::empty(stack());
    for (one, fingerprint) in [("web", web), ("log", log)] {
        let reference: ImageRef = format!("local/{one}:1").parse().unwrap();
        let source = ImageSource::Import {
            path: "/x".into(),
            fingerprint,
            entrypoint: None,
            command: None,
            environment: BTreeMap::new(),
            working_dir: None,
            user: None,
        };
        desired.images.insert(name(one), ImageSpec::new(reference.clone(), source));
        let mut spec = ContainerSpec::new(reference);
        spec.restart = RestartPolicy::Always;
        spec.update_config.order = order;
        spec.update_config.monitor = Span::seconds(1);
        if one == "log" {
            spec.depends_on.insert(name("web"), Dependency { condition: Condition::ServiceStarted, restart: true });
        }
        desired.containers.extend([placed(one, spec)]);
    }
    desired
}

/// A fingerprint, another one of which the same image comes, and one of which another image comes.
fn fingerprints() -> [Digest; 3] {
    let all: Vec<Digest> = (0..100u8).map(|i| Digest::of(&[i])).collect();
    let alike = |other: &Digest| other.hex()[..1] == all[0].hex()[..1];
    let same = *all[1..].iter().find(|other| alike(other)).unwrap();
    [all[0], same, *all.iter().find(|other| !alike(other)).unwrap()]
}

fn applied(desired: &Desired) -> Host {
    let mut host = Host::default();
    host.apply(desired, &plan(desired, &host.observed).unwrap());
    assert!(plan(desired, &host.observed).unwrap().is_empty());
    host
}

fn called<'h>(host: &'h mut Host, name: &str) -> &'h mut Container {
    host.observed.containers.iter_mut().find(|one| one.name.as_str() == name).unwrap()
}

/// Applies `next`, says what of the plan people see, and whether `web` and `log` are still the ones that they were.
fn applied_next(host: &mut Host, next: &Desired) -> (String, [bool; 2]) {
    let ids = ["s-web", "s-log"].map(|name| called(host, name).id.clone());
    let made = plan(next, &host.observed).unwrap();
    host.apply(next, &made);
    let rest = plan(next, &host.observed).unwrap();
    assert!(rest.is_empty(), "{}\nafter\n{}", render(&rest, false), render(&made, false));
    let now = ["s-web", "s-log"].map(|name| called(host, name).id.clone());
    (render(&made, false), [ids[0] == now[0], ids[1] == now[1]])
}

#[test]
fn what_it_lacks_it_gets_back_where_it_stays() {
    let [first, same, another] = fingerprints();
    let fault = Fault { field: "mounts".into(), what: "a mount is gone".into(), repair: Repair::Restart };
    for order in [Order::StopFirst, Order::StartFirst] {
        for (next, stays) in [(same, true), (another, false)] {
            let next = desired(next, first, order);
            let mut host = applied(&desired(first, first, order));
            called(&mut host, "s-web").network_faults.push("its link is gone".into());
            let (shown, stay) = applied_next(&mut host, &next);
            assert_eq!(stay, [stays, true], "{order:?}");
            assert!(shown.contains("only if that is another image; otherwise: repair"), "{shown}");

            let mut host = applied(&desired(first, first, order));
            called(&mut host, "s-web").faults.push(fault.clone());
            // What the play of a start leaves alone, a start gives back.
            let ids = host.observed.containers.len();
            let made = plan(&next, &host.observed).unwrap();
            let certain = |action: Action| {
                made.steps
                    .iter()
                    .any(|step| step.resource.name.as_str() == "web" && step.action == action && step.spared_if.is_none())
            };
            assert!(certain(Action::Stop) && certain(Action::Start), "{}", render(&made, false));
            host.apply(&next, &made);
            assert_eq!(host.observed.containers.len(), ids);
        }
    }
}

#[test]
fn who_follows_another_one_does_so_where_it_stays() {
    let [first, same, another] = fingerprints();
    for order in [Order::StopFirst, Order::StartFirst] {
        // Both may stay, each for a reason of its own: the one that follows starts again.
        let mut host = applied(&desired(first, first, order));
        let (shown, stay) = applied_next(&mut host, &desired(another, same, order));
        assert_eq!(stay, [false, order == Order::StopFirst], "{shown}");
        // Somebody has started the other one again.
        let mut host = applied(&desired(first, first, order));
        let later = NOW + time::Duration::SECOND;
        called(&mut host, "s-web").state = ContainerState::Running { pid: 2, started: later, health: Health::None };
        let made = plan(&desired(first, same, order), &host.observed).unwrap();
        let stops = made.steps.iter().find(|step| step.action == Action::Stop && step.resource.name.as_str() == "log").unwrap();
        assert!(stops.spared_if.is_none(), "{}", render(&made, false));
        if order == Order::StopFirst {
            assert!(render(&made, false).contains("only if that is another image; otherwise: restart"));
        }
    }
}
