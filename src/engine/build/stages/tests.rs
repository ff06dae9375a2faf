//! Tables of Dockerfiles and the graphs that they make.

use std::path::Path;

use super::*;
use crate::engine::build::dockerfile::{Command, parse};

fn platform(text: &str) -> Platform {
    text.parse().unwrap()
}

fn settings() -> BuildSettings {
    BuildSettings {
        target: None,
        arguments: BTreeMap::new(),
        build_platform: platform("linux/amd64"),
        target_platform: platform("linux/arm64/v8"),
        contexts: BTreeSet::new(),
    }
}

fn with(target: Option<&str>, arguments: &[(&str, &str)], contexts: &[&str]) -> BuildSettings {
    BuildSettings {
        target: target.map(str::to_owned),
        arguments: arguments.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        contexts: contexts.iter().map(|name| (*name).to_owned()).collect(),
        ..settings()
    }
}

#[track_caller]
fn planned(text: &str, settings: &BuildSettings) -> Result<Stages, StageErrors> {
    plan(&parse(Path::new("Dockerfile"), text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}")), settings)
}

#[track_caller]
fn good(text: &str, settings: &BuildSettings) -> Stages {
    planned(text, settings).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is wrong: line, column and message of each.
#[track_caller]
fn wrong(text: &str, settings: &BuildSettings) -> Vec<(usize, usize, String)> {
    let faults = planned(text, settings).map(|found| panic!("{found:#?}")).unwrap_err().faults;
    faults.into_iter().map(|fault| (fault.problem.line, fault.problem.column, fault.problem.message)).collect()
}

fn image(text: &str) -> Source {
    Source::Image(text.parse().unwrap())
}

#[test]
fn stages_refer_to_each_other() {
    let text = "FROM a AS base\nFROM base AS Left\nFROM b:1 AS right\nRUN --mount=from=left,target=/l --mount=type=tmpfs,target=/t x\n\
                FROM scratch\nCOPY --from=RIGHT /a /a\nCOPY --from=1 /b /b\nCOPY --from=nginx:2 /c /c\nCOPY d d\n";
    let found = good(text, &settings());
    let bases: Vec<_> = found.stages.iter().map(|stage| stage.base.clone()).collect();
    assert_eq!(bases, [image("a"), Source::Stage(0), image("b:1"), Source::Scratch]);
    assert_eq!(found.stages[2].steps[0].from, [Some(Source::Stage(1)), None]);
    let from: Vec<_> = found.stages[3].steps.iter().map(|step| step.from.clone()).collect();
    assert_eq!(from, [vec![Some(Source::Stage(2))], vec![Some(Source::Stage(1))], vec![Some(image("nginx:2"))], vec![]]);
    assert_eq!((found.target, found.needed()), (3, vec![0, 1, 2, 3]));
    let images: Vec<_> = found.images().iter().map(|image| (image.reference.to_string(), image.place.line)).collect();
    assert_eq!(images, [("a:latest".to_owned(), 1), ("b:1".to_owned(), 3), ("nginx:2".to_owned(), 8)]);
}

#[test]
fn a_target_needs_only_what_it_takes_from() {
    let text = "FROM a AS a\nFROM b AS b\nRUN x\nFROM b AS c\nCOPY --from=nothing:1 / /\nFROM a\nCOPY --from=b / /\n";
    let needed = |target| {
        let found = good(text, &with(target, &[], &[]));
        (found.needed(), found.images().iter().map(|image| image.reference.to_string()).collect::<Vec<_>>())
    };
    assert_eq!(needed(None), (vec![0, 1, 3], vec!["a:latest".to_owned(), "b:latest".to_owned()]));
    assert_eq!(needed(Some("B")), (vec![1], vec!["b:latest".to_owned()]));
    assert_eq!(needed(Some("c")), (vec![1, 2], vec!["b:latest".to_owned(), "nothing:1".to_owned()]));
    assert_eq!(needed(Some("3")).0, [0, 1, 3]);
    assert_eq!(wrong(text, &with(Some("d"), &[], &[]))[0], (0, 0, "there is no stage `d` to build".to_owned()));
    assert_eq!(wrong(text, &with(Some("4"), &[], &[])).len(), 1);
}

#[test]
fn a_name_that_is_given_again_means_the_latest_before() {
    let text = "FROM a AS x\nFROM x AS x\nFROM b\nCOPY --from=x / /\nFROM c AS x\n";
    let found = good(text, &with(Some("2"), &[], &[]));
    assert_eq!(found.stages[1].base, Source::Stage(0));
    assert_eq!(found.stages[2].steps[0].from, [Some(Source::Stage(1))]);
    // Before there is a stage of that name, it is an image's.
    assert_eq!(good("FROM x AS x\n", &settings()).stages[0].base, image("x"));
}

#[test]
fn stages_that_cannot_be_built_are_refused_where_they_are_needed() {
    let text = "FROM a AS one\nCOPY --from=three / /\nFROM a AS two\nCOPY --from=one / /\nFROM two AS three\n";
    let message = "the stages need each other: one → three → two → one".to_owned();
    assert_eq!(wrong(text, &settings()), [(2, 1, message)]);
    let text = "FROM a AS one\nRUN --mount=from=two,target=/t x\nFROM a AS two\n";
    assert_eq!(good(text, &settings()).needed(), [1]);
    let message = "the stage `two` comes later, and a stage can take from earlier ones only".to_owned();
    assert_eq!(wrong(text, &with(Some("one"), &[], &[])), [(2, 1, message)]);
    let itself = "a stage cannot take anything from itself".to_owned();
    assert_eq!(wrong("FROM a AS b\nCOPY --from=b / /\n", &settings()), [(2, 1, itself.clone())]);
    assert_eq!(wrong("FROM a\nCOPY --from=0 / /\n", &settings()), [(2, 1, itself)]);
    assert_eq!(wrong("FROM a\nCOPY --from=1 / /\n", &settings()), [(2, 13, "there is no stage number 1".to_owned())]);
    assert_eq!(wrong("FROM a\nCOPY --from=Bad / /\nCOPY --from=/x / /", &settings()).len(), 2);
}

#[test]
fn global_arguments_fill_what_stages_begin_with() {
    let text = "ARG tag=1\nARG image=app:$tag none\nFROM --platform=$BUILDPLATFORM $image AS ${tag:+b}$none\n";
    // The name of a stage has no variables.
    assert!(parse(Path::new("Dockerfile"), text.as_bytes()).is_err());
    let text = "ARG tag=1\nARG image=app:$tag none\nFROM --platform=$BUILDPLATFORM $image$none\nFROM other:${TARGETARCH}\n";
    let found = good(text, &with(Some("0"), &[], &[]));
    assert_eq!((&found.stages[0].base, &found.stages[0].platform), (&image("app:1"), &platform("linux/amd64")));
    assert_eq!((&found.stages[1].base, &found.stages[1].platform), (&image("other:arm64"), &platform("linux/arm64/v8")));
    let found = good(text, &with(None, &[("image", "x"), ("unused", "1"), ("http_proxy", "p"), ("TARGETARCH", "mips")], &[]));
    assert_eq!((&found.stages[0].base, &found.stages[1].base), (&image("x"), &image("other:mips")));
    assert_eq!(found.unused_arguments, ["unused"]);
    assert_eq!(found.globals.get("TARGETPLATFORM"), Some("linux/arm64"));
    assert_eq!(found.globals.get("TARGETSTAGE"), Some("default"));
    assert_eq!(found.globals.get("none"), None);
}

#[test]
fn what_from_cannot_be() {
    let errors = planned("ARG IMAGE\nFROM $IMAG\n", &with(None, &[("IMAGE", "a")], &[])).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "Dockerfile:2:6: `$IMAG` is nothing once its variables are replaced\n   |\n 2 | FROM $IMAG\n   |      ^^^^^\n   = did you mean `IMAGE`?"
    );
    assert_eq!(wrong("FROM ${a:?say}\n", &settings())[0].2, "the variable `a` is required: say");
    assert_eq!(wrong("FROM a AS base\nFROM bas:x:y\n", &settings())[0].0, 2);
    assert_eq!(wrong("FROM --platform=linux/x/y/z a\n", &settings()), [(1, 17, "\"linux/x/y/z\" is not a platform".to_owned())]);
    assert_eq!(wrong("ARG a=${b\nFROM c\n", &settings())[0].0, 1);
}

#[test]
fn named_contexts_stand_before_stages_and_images() {
    let text = "FROM a AS base\nRUN x\nFROM nginx\nCOPY --from=base / /\nCOPY --from=docs / /\nCOPY --from=nginx:latest / /\n";
    let found = good(text, &with(None, &[], &["base", "docs", "nginx"]));
    let context = |name: &str| Source::Context(name.to_owned());
    assert_eq!((&found.stages[0].base, found.stages[0].steps.len()), (&context("base"), 0));
    assert_eq!(found.stages[1].base, context("nginx"));
    let from: Vec<_> = found.stages[1].steps.iter().map(|step| step.from[0].clone().unwrap()).collect();
    assert_eq!(from, [Source::Stage(0), context("docs"), context("nginx")]);
    assert!(found.images().is_empty());
}

#[test]
fn triggers_of_bases_come_first() {
    let text = "FROM a AS base\nONBUILD COPY --from=tool /t /t\nONBUILD RUN <<E\ny\nE\nFROM b AS tool\nFROM base\nRUN x\n";
    let mut found = good(text, &settings());
    let keywords = |found: &Stages, stage: usize| {
        let steps = found.stages[stage].steps.iter();
        steps.map(|step| (step.instruction.command.keyword(), step.is_trigger, step.instruction.place.line)).collect::<Vec<_>>()
    };
    assert_eq!(keywords(&found, 2), [("COPY", true, 7), ("RUN", true, 7), ("RUN", false, 8)]);
    assert_eq!(found.needed(), [0, 1, 2]);
    assert!(matches!(&found.stages[2].steps[1].instruction.command, Command::Run(run) if run.heredocs[0].content == "y\n"));
    found.add_triggers(1, &["USER u".to_owned(), "COPY --from=c:1 / /".to_owned()]).unwrap();
    assert_eq!(keywords(&found, 1), [("USER", true, 6), ("COPY", true, 6)]);
    assert!(found.images().iter().any(|image| image.reference.to_string() == "c:1"));
    assert!(found.add_triggers(1, &["FROM x".to_owned()]).is_err());
    let errors = good("FROM a AS b\n", &settings()).add_triggers(0, &["COPY --from=b / /".to_owned()]).unwrap_err();
    assert_eq!((errors.faults.len(), errors.faults[0].problem.line), (1, 1));
}

/// The variables after the instructions of a stage, and what `text` becomes there.
fn scoped(text: &str, given: &[(&str, &str)], word: &str) -> (Scope, String) {
    let found = good(text, &with(None, given, &[]));
    let mut scope = Scope::new([("PATH".to_owned(), "/bin".to_owned())], found.escape);
    for step in &found.stages[found.target].steps {
        match &step.instruction.command {
            Command::Arg(arguments) => {
                arguments.iter().for_each(|argument| drop(scope.declare(argument, &found.globals, found.arguments()).unwrap()));
            }
            Command::Env(pairs) => {
                let before = scope.clone();
                for pair in pairs {
                    scope.set(&before.word(&pair.name.text).unwrap().value, before.word(&pair.value.text).unwrap().value);
                }
            }
            _ => {}
        }
    }
    let value = scope.word(word).unwrap().value;
    (scope, value)
}

#[test]
fn variables_come_from_where_they_are_declared() {
    for (text, given, word, expected) in [
        ("FROM a\n", &[("x", "1")][..], "$x", ""),
        ("FROM a\nARG x\n", &[("x", "1")], "$x", "1"),
        ("FROM a\nARG x=2\n", &[("x", "1")], "$x", "1"),
        ("FROM a\nARG x=2\n", &[], "$x", "2"),
        ("ARG x=3\nFROM a\n", &[], "$x", ""),
        ("ARG x=3\nFROM a\nARG x\n", &[], "$x", "3"),
        ("ARG x=3\nFROM a\nARG x=4\n", &[], "$x", "4"),
        ("ARG x=3\nFROM a\nARG x\n", &[("x", "")], "[$x]", "[]"),
        ("FROM a\nARG TARGETARCH\n", &[], "$TARGETARCH$BUILDARCH", "arm64"),
        ("FROM a\nARG x=1 y=$x$PATH\n", &[], "$y", "1/bin"),
        ("FROM a\nENV x=1\nENV x=2 y=$x\n", &[], "$x$y", "21"),
        ("FROM a\nARG x=1\nENV x=2\n", &[], "$x", "2"),
    ] {
        assert_eq!(scoped(text, given, word).1, expected, "{text}");
    }
    let (scope, _) = scoped("FROM a\nARG x=1 y\nENV x=2 z=3\n", &[], "");
    assert_eq!(scope.arguments().collect::<Vec<_>>(), [("x", Some("2")), ("y", None)]);
    let environment: Vec<_> = scope.environment().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(environment, [("PATH", "/bin"), ("x", "2"), ("z", "3")]);
    assert_eq!(scope.word("$y$w").unwrap().unset.into_iter().collect::<Vec<_>>(), ["w"]);
    assert_eq!(scope.words("$x 80").unwrap().value, ["2", "80"]);
    assert_eq!(scope.document("it's $x\n").unwrap().value, "it's 2\n");
}

#[test]
fn proxies_are_there_in_both_spellings() {
    let given = with(None, &[("HTTPS_PROXY", "a"), ("no_proxy", "b")], &[]).arguments;
    let found = proxies(&given);
    let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(found, [("HTTPS_PROXY", "a"), ("https_proxy", "a"), ("NO_PROXY", "b"), ("no_proxy", "b")]);
}

proptest::proptest! {
    /// However stages refer to each other: what can be planned has an order in which each comes after all that it needs.
    #[test]
    fn stages_come_after_what_they_need(lines in proptest::collection::vec(
        "(FROM (a|b|c|scratch|img)( AS (a|b|c))?|COPY --from=[abc012] x x|RUN --mount=from=[abc],target=/t x|ONBUILD COPY --from=[abc] x x)\n",
        0..12,
    ), target in "[abc01]") {
        let Ok(file) = parse(Path::new("Dockerfile"), lines.concat().as_bytes()) else { return Ok(()) };
        for target in [None, Some(target.as_str())] {
            let Ok(found) = plan(&file, &with(target, &[], &[])) else { continue };
            let needed = found.needed();
            proptest::prop_assert_eq!(needed.last(), Some(&found.target));
            for index in &needed {
                for other in found.stages[*index].needs() {
                    proptest::prop_assert!(other < *index && needed.contains(&other));
                }
            }
        }
    }
}
