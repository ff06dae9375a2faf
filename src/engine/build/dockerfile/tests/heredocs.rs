//! Heredocs of RUN, COPY and ADD.

use super::*;

#[track_caller]
fn run(text: &str) -> Run {
    match command(text) {
        Command::Run(run) => run,
        other => panic!("{other:?}"),
    }
}

#[test]
fn they_are_read_up_to_their_names() {
    for (text, name, content, expand, strip_tabs) in [
        ("RUN <<E\nE", "E", "", true, false),
        ("RUN <<E\na\n b\n\n# c\nE\n", "E", "a\n b\n\n# c\n", true, false),
        ("RUN <<E\na\r\nE\r\n", "E", "a\r\n", true, false),
        ("RUN <<E\n E\nE x\nE", "E", " E\nE x\n", true, false),
        ("RUN <<-E\n\ta\n\t\tb\n\tE", "E", "\ta\n\t\tb\n", true, true),
        ("RUN <<'E'\n$a\nE", "E", "$a\n", false, false),
        ("RUN <<-\"E\"\nE", "E", "", false, true),
        ("RUN <<E\"F\"\nEF", "EF", "", false, false),
        ("RUN <<E\\'F\nE'F", "E'F", "", true, false),
        ("RUN <<'a b'\na b", "a b", "", false, false),
        ("RUN << E\nE", "E", "", true, false),
        ("RUN 3<<E cat\nE", "E", "", true, false),
        ("RUN <<$E\n$E", "$E", "", true, false),
        ("RUN cat \\\n  <<E\nx\nE", "E", "x\n", true, false),
        ("run --mount=type=tmpfs,target=/t <<E sh\nE", "E", "", true, false),
    ] {
        let found = run(text).heredocs;
        let (name, content) = (name.to_owned(), content.to_owned());
        assert_eq!(found, [Heredoc { name, content, expand, strip_tabs }], "{text}");
    }
}

#[test]
fn what_only_looks_like_one_is_text() {
    for text in [
        "RUN \"<<E\"",
        "RUN '<<E'",
        "RUN [\"<<E\"]",
        "RUN cat<<E",
        "RUN a <<<E",
        "RUN a <<",
        "RUN it's <<E",
        "CMD <<E",
        "USER <<E",
    ] {
        let found = instructions(&format!("FROM a\n{text}\nLABEL a=b"));
        assert_eq!(found.len(), 3, "{text}");
    }
}

#[test]
fn several_come_one_after_the_other() {
    let found = run("RUN <<A cat && <<-B sh\nB\nA\n\tA\n\tB\n");
    assert_eq!(found.heredocs.iter().map(Heredoc::body).collect::<Vec<_>>(), ["B\n", "A\n"]);
    let found = instructions("FROM a\nRUN <<A\nx\nA\nUSER b");
    assert_eq!((found[1].place.line, found[1].last_line, found[2].place.line), (2, 4, 5));
}

#[test]
fn what_is_executed() {
    let script = |text| run(text).script();
    assert_eq!(script("RUN a | b"), Script::Shell("a | b".into()));
    assert_eq!(script("RUN [\"a\", \"b c\"]"), Script::Exec(vec!["a".into(), "b c".into()]));
    assert_eq!(script("RUN ['a']"), Script::Shell("['a']".into()));
    assert_eq!(script("RUN <<-E\n\ta\n\t b\nE"), Script::Shell("a\n b\n".into()));
    let file = Script::File { name: "E".into(), content: "#!/bin/x\ny\n".into() };
    assert_eq!(script("RUN <<-'E'\n\t#!/bin/x\n\ty\nE"), file);
    assert_eq!(script("RUN <<-E cat\n\ta\nE"), Script::Shell("<<-E cat\n\ta\nE".into()));
    assert_eq!(script("RUN <<A <<B x\na\nA\nb\nB"), Script::Shell("<<A <<B x\na\nA\nb\nB".into()));
}

#[test]
fn as_sources() {
    let Command::Copy(copy) = command("COPY <<-A b <<'C' /d/\n\t$a\nA\n\tc\nC") else { panic!() };
    assert_eq!(texts(&copy.files.sources), ["b"]);
    let found: Vec<_> = copy.files.documents.iter().map(|doc| (doc.name.as_str(), doc.content.as_str(), doc.expand)).collect();
    assert_eq!(found, [("A", "$a\n", true), ("C", "\tc\n", false)]);
    let Command::Add(add) = command("ADD --chmod=755 <<E /x\nE") else { panic!() };
    assert_eq!((add.files.documents.len(), add.files.sources.len()), (1, 0));
}

#[test]
fn what_is_refused() {
    assert_eq!(fault("RUN a \\\n <<E\nE "), (Cause::HeredocUnclosed { name: "E".into() }, 2));
    assert_eq!(fault("COPY a <<E\nE").0, Cause::HeredocDestination);
    assert_eq!(fault("COPY << E /d\nE").0, Cause::HeredocAdrift { name: "E".into() });
}

#[test]
fn in_triggers() {
    let Command::Onbuild(onbuild) = command("ONBUILD  RUN <<E cat\nx\nE\n") else { panic!() };
    assert_eq!(onbuild.text, "RUN <<E cat\nx\nE");
    assert_eq!(parse_trigger(&onbuild.text).unwrap().command, *onbuild.command);
}
