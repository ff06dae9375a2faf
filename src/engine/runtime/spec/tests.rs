//! Tables over the merge of image and container.

use super::*;
use crate::model::Digest;

fn image(config: serde_json::Value) -> ImageConfiguration {
    serde_json::from_value(serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"x").to_string()]},
    }))
    .unwrap()
}

fn container() -> ContainerSpec {
    ContainerSpec::new("app".parse().unwrap())
}

fn build_with(container: &ContainerSpec, image: &ImageConfiguration, mounts: Vec<HostMount>) -> Result<Spec, SpecError> {
    let id = ContainerId::from_random([1; 32]);
    let built =
        build(&SpecInput { id: &id, hostname: "box", container, image, mounts, devices: vec![], terminal: false, users: None });
    built.map(|(spec, _)| spec)
}

fn strings(list: &[&str]) -> Option<Vec<String>> {
    Some(list.iter().map(|s| (*s).to_owned()).collect())
}

#[test]
fn commands_merge_as_docker_does() {
    let both = image(serde_json::json!({"Entrypoint": ["/e", "a"], "Cmd": ["c"]}));
    let none = image(serde_json::json!({}));
    for (entrypoint, command, image, expected) in [
        (None, None, &both, Some("/e a c")),
        (None, strings(&["x", "y"]), &both, Some("/e a x y")),
        (strings(&["/n"]), None, &both, Some("/n")),
        (strings(&["/n"]), strings(&["x"]), &both, Some("/n x")),
        (strings(&[""]), strings(&["x"]), &both, Some("x")),
        (strings(&[]), strings(&["x"]), &both, Some("x")),
        (None, strings(&[]), &both, Some("/e a")),
        (None, strings(&["x"]), &none, Some("x")),
        (None, None, &none, None),
        (strings(&[]), None, &both, None),
    ] {
        let spec = ContainerSpec { entrypoint, command, ..container() };
        let built = build_with(&spec, image, vec![]);
        match expected {
            Some(line) => {
                assert_eq!(built.unwrap().process().as_ref().unwrap().args().as_ref().unwrap().join(" "), line);
            }
            None => assert_eq!(built.unwrap_err(), SpecError::NoCommand),
        }
    }
}

#[test]
fn environment_and_folder() {
    let image = image(serde_json::json!({"Cmd": ["c"], "Env": ["PATH=/p", "A=1", "B=x=y", "junk"], "WorkingDir": "/w"}));
    let mut spec = container();
    spec.environment.insert("A".into(), "2".into());
    spec.environment.insert("C".into(), String::new());
    let built = build_with(&spec, &image, vec![]).unwrap();
    let process = built.process().as_ref().unwrap();
    assert_eq!(process.env().as_ref().unwrap().join(" "), "PATH=/p HOSTNAME=box A=2 B=x=y C=");
    assert_eq!(process.cwd(), Path::new("/w"));
    spec.working_dir = Some("rel".into());
    assert_eq!(build_with(&spec, &image, vec![]).unwrap_err(), SpecError::WorkingDir { path: "rel".into() });
}

#[test]
fn mounts_nearer_to_the_root_come_first() {
    let bind = |target: &str| HostMount::Bind { source: "/src".into(), target: target.into(), read_only: true };
    let image = image(serde_json::json!({"Cmd": ["c"]}));
    let own =
        vec![bind("/data/sub"), bind("/data"), HostMount::Tmpfs { target: "/dev/shm".into(), size: Some(5), mode: Some(0o700) }];
    let built = build_with(&container(), &image, own).unwrap();
    let all: Vec<String> = built.mounts().iter().flatten().map(|m| m.destination().display().to_string()).collect();
    assert_eq!(&all[all.len() - 3..], ["/data", "/data/sub", "/dev/shm"]);
    assert_eq!(all.iter().filter(|t| *t == "/dev/shm").count(), 1);
    for bad in ["rel", "/", "/a/../b", ""] {
        assert!(matches!(build_with(&container(), &image, vec![bind(bad)]), Err(SpecError::MountTarget { .. })), "{bad}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let image = image(serde_json::json!({"Cmd": ["c"]}));
    let mut spec = container();
    spec.sysctls.insert("vm.swappiness".into(), "1".into());
    assert!(matches!(build_with(&spec, &image, vec![]), Err(SpecError::Sysctl { .. })));
    let mut spec = container();
    spec.cap_add.insert("MAGIC".into());
    assert!(matches!(build_with(&spec, &image, vec![]), Err(SpecError::Capability { .. })));
    let mut spec = container();
    spec.ulimits.insert("nofile".into(), Ulimit { soft: 2, hard: 1 });
    assert!(matches!(build_with(&spec, &image, vec![]), Err(SpecError::UlimitOrder { .. })));
    spec.ulimits = [("nope".to_owned(), Ulimit { soft: 1, hard: 1 })].into();
    assert!(matches!(build_with(&spec, &image, vec![]), Err(SpecError::Ulimit { .. })));
}

#[test]
fn user_of_container_wins() {
    let image = image(serde_json::json!({"Cmd": ["c"], "User": "web"}));
    assert_eq!(user(&container(), &image).as_deref(), Some("web"));
    let own = ContainerSpec { user: Some("0".into()), ..container() };
    assert_eq!(user(&own, &image).as_deref(), Some("0"));
}
