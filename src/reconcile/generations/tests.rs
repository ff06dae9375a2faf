//! What is kept of generations, and what is not.

use super::*;
use crate::engine::Engine;
use crate::engine::images::ImportSource;
use crate::model::Instance;
use crate::model::spec::{ConfigSpec, SecretSpec, VolumeSpec};
use crate::reconcile::record::{forget, stack};

fn of<'a>(desired: &'a Desired, images: &'a Images) -> Beginning<'a> {
    Beginning { desired, images, source: None, brings_back: None, hold: HoldChange::Stays }
}

fn shop() -> Desired {
    Desired::empty("shop".parse().unwrap())
}

#[test]
fn a_generation_is_new_only_when_something_changed() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path()).unwrap();
    let mut desired = shop();
    let name = desired.stack.clone();
    let none = Images::new();
    assert_eq!(begin(&db, of(&desired, &none)).unwrap(), 1);
    assert_eq!(begin(&db, of(&desired, &none)).unwrap(), 1);
    let volume =
        crate::manifest::Placed { engine_name: "shop-data".parse().unwrap(), external: false, spec: VolumeSpec::default() };
    desired.volumes.insert("data".parse().unwrap(), volume);
    assert_eq!(begin(&db, of(&desired, &none)).unwrap(), 2);
    let found = newest(&db, &name).unwrap().unwrap();
    assert_eq!((found.number, &*found.desired), (2, &desired));
    assert_eq!(stack(&db, &name).unwrap().unwrap().generation, 2);
    forget(&db, &name).unwrap();
    assert!(newest(&db, &name).unwrap().is_none());
}

#[test]
fn what_was_broken_off_is_on_the_way_until_something_is_applied() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path()).unwrap();
    let mut desired = shop();
    let (stack, none) = (desired.stack.clone(), Images::new());
    for (number, outcome) in [(1, APPLIED), (2, APPLYING), (3, APPLYING), (4, "failed"), (5, APPLYING)] {
        desired.configs.insert("conf".parse().unwrap(), ConfigSpec { content: vec![number], external: None });
        begin(&db, of(&desired, &none)).unwrap();
        finish(&db, &stack, number.into(), outcome, &none).unwrap();
        // Times that can be told apart.
        let at = format!("2026-01-0{number}T00:00:00Z");
        db.write(|t| t.execute("UPDATE generations SET applied = ?1 WHERE number = ?2", params![at, number])).unwrap();
    }
    let since = |number: u64| {
        let kept = all(&db, &stack).unwrap();
        let one = kept.iter().find(|one| one.number == number).unwrap();
        on_the_way_since(&db, one).unwrap().day()
    };
    assert_eq!([since(2), since(3), since(4), since(5)], [2, 2, 2, 5]);
}

#[test]
fn contents_are_kept_once_and_as_long_as_a_generation_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path()).unwrap();
    let mut desired = shop();
    let images = Images::new();
    let contents = |number: u64| (format!("content {number}").into_bytes(), format!("secret {number}").into_bytes());
    for number in 1..=KEPT + 2 {
        let (config, secret) = contents(number);
        desired.configs.insert("conf".parse().unwrap(), ConfigSpec { content: config, external: None });
        desired.secrets.insert("key".parse().unwrap(), SecretSpec { content: secret, external: None });
        assert_eq!(begin(&db, of(&desired, &images)).unwrap(), number);
        assert_eq!(begin(&db, of(&desired, &images)).unwrap(), number);
    }
    let kept = all(&db, &desired.stack).unwrap();
    assert_eq!(kept.iter().map(|one| one.number).collect::<Vec<_>>(), (3..=KEPT + 2).rev().collect::<Vec<_>>());
    for one in &kept {
        let (config, secret) = contents(one.number);
        assert_eq!((&one.desired.configs["conf"].content, &one.desired.secrets["key"].content), (&config, &secret));
        assert_eq!(one.info().configs["conf"], Digest::of(&config));
    }
    let needed = db.read(contents_of_generations).unwrap();
    assert_eq!(needed.len() as u64, 2 * KEPT);
    assert!(!needed.contains(&Digest::of(&contents(2).0)) && needed.contains(&Digest::of(&contents(3).1)));
    let texts = db.read(|t| t.query_row("SELECT group_concat(desired) FROM generations", [], |r| r.get::<_, String>(0)));
    // Base64 of `secret`.
    assert!(!texts.unwrap().contains("c2VjcmV0"), "no secret is in what is recorded of manifests");
}

#[test]
fn what_an_older_setpoint_recorded_is_the_same_generation() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path()).unwrap();
    let mut desired = shop();
    desired.configs.insert("conf".parse().unwrap(), ConfigSpec { content: b"1".to_vec(), external: None });
    let images = Images::new();
    begin(&db, of(&desired, &images)).unwrap();
    let text = serde_json::to_string(&desired).unwrap();
    db.write(|t| t.execute("UPDATE generations SET desired = ?1, contents = NULL", [text])).unwrap();
    db.write(|t| t.execute("DELETE FROM configs", [])).unwrap();
    assert_eq!(begin(&db, of(&desired, &images)).unwrap(), 1);
    assert_eq!(newest(&db, &desired.stack).unwrap().unwrap().desired, desired.into());
}

#[test]
fn a_hold_lasts_until_it_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path()).unwrap();
    let (desired, images) = (shop(), Images::new());
    let held = Hold { of: 1, since: OffsetDateTime::UNIX_EPOCH, source: Some(Outline::of(&desired)), files: None, setback: None };
    for (change, expected) in [
        (HoldChange::Stays, None),
        (HoldChange::Begins(&held), Some(&held)),
        (HoldChange::Stays, Some(&held)),
        (HoldChange::Ends, None),
    ] {
        begin(&db, Beginning { hold: change, ..of(&desired, &images) }).unwrap();
        assert_eq!(hold(&db, &desired.stack).unwrap().as_ref(), expected);
    }
}

#[test]
fn a_moved_tag_is_a_new_generation_and_the_images_of_all_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path()).unwrap();
    let desired = shop();
    let images = |digest: &[u8]| Images::from([("nginx:1".parse().unwrap(), Digest::of(digest))]);
    assert_eq!(begin(&db, of(&desired, &Images::new())).unwrap(), 1);
    finish(&db, &desired.stack, 1, APPLIED, &images(b"one")).unwrap();
    assert_eq!(begin(&db, of(&desired, &images(b"one"))).unwrap(), 1, "it is known now what was not before");
    assert_eq!(begin(&db, of(&desired, &Images::new())).unwrap(), 1, "nothing says otherwise");
    assert_eq!(begin(&db, of(&desired, &images(b"two"))).unwrap(), 2);
    finish(&db, &desired.stack, 2, APPLIED, &images(b"two")).unwrap();
    assert_eq!(db.read(images_of_generations).unwrap(), BTreeSet::from([Digest::of(b"one"), Digest::of(b"two")]));
    forget(&db, &desired.stack).unwrap();
    assert!(db.read(images_of_generations).unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kept_generation_is_made_of_is_not_collected() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let instance = Instance::new(folder.path().join("s"), folder.path().join("r"), None);
    let engine = Engine::open(instance).await.unwrap();
    let reference: ImageRef = "localhost/app:1".parse().unwrap();
    let import = async |content: &str| {
        let source = folder.path().join("root");
        std::fs::create_dir_all(&source).unwrap();
        std::fs::write(source.join("edition"), content).unwrap();
        let source = ImportSource::Path(source);
        engine.import(source, &reference, Default::default(), None, std::sync::Arc::new(|_| {})).await.unwrap()
    };
    let mut desired = shop();
    let mut every = BTreeSet::new();
    for (number, content) in [(1, "first"), (2, "second")] {
        let images = Images::from([(reference.clone(), import(content).await)]);
        every.extend(images.values().copied());
        desired.configs.insert("conf".parse().unwrap(), ConfigSpec { content: content.into(), external: None });
        assert_eq!(begin(engine.db(), of(&desired, &images)).unwrap(), number);
        finish(engine.db(), &desired.stack, number, APPLIED, &images).unwrap();
    }
    let here = || engine.images().unwrap().into_iter().map(|image| image.digest).collect::<BTreeSet<_>>();
    engine.collect(images_of_generations).await.unwrap();
    assert_eq!(engine.collect_configs(contents_of_generations).unwrap(), 0);
    assert_eq!(here(), every, "the first has no name any more, and is kept");
    // Also where somebody takes the name of the second away.
    let said = engine.remove_image(&reference.to_string(), false, images_of_generations).await.unwrap();
    assert_eq!((said.len(), here()), (2, every));
    forget(engine.db(), &desired.stack).unwrap();
    engine.collect(images_of_generations).await.unwrap();
    assert_eq!(engine.collect_configs(contents_of_generations).unwrap(), 2);
    assert!(here().is_empty());
}
