//! What is wrong with files, and how it is told.

use super::*;

#[test]
fn errors_have_file_line_column_cause_and_hint() {
    let errors = read_file("FROM a\nRUN b\nCOPPY c d\n  COPY --form=x \\\n   e f\nENV g\n").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "Dockerfile:3:1: `COPPY` is not an instruction\n   |\n 3 | COPPY c d\n   | ^^^^^\n   = did you mean `COPY`?\n\n\
         Dockerfile:4:8: COPY has no flag `--form`\n   |\n 4 |   COPY --form=x \\\n   |        ^^^^^^^^\n   = did you mean `from`?\n\n\
         Dockerfile:6:5: ENV: \"g\" has no `=`\n   |\n 6 | ENV g\n   |     ^\n   = write name=value, and quotes around a value with blanks"
    );
}

#[test]
fn files_that_build_nothing() {
    let cause = |text: &str| read_file(text).unwrap_err().faults.remove(0).cause;
    assert_eq!(cause(""), Cause::Empty);
    assert_eq!(cause("\n \n# only a comment\n"), Cause::Empty);
    assert_eq!(cause("ARG a=b\n"), Cause::NoStage);
    assert_eq!(cause("RUN a\nFROM b\n"), Cause::BeforeFrom { keyword: "RUN".into() });
    assert_eq!(cause("\\\n"), Cause::NothingContinued);
}

#[test]
fn what_is_not_utf8_is_named() {
    let errors = parse(Path::new("Dockerfile"), b"FROM a\nLABEL \xc3\xb6=\xe9\n").unwrap_err();
    assert_eq!(errors.faults[0].cause, Cause::NotUtf8);
    assert_eq!((errors.faults[0].problem.line, errors.faults[0].problem.column), (2, 9));
}

#[test]
fn instructions_that_are_not_well_formed() {
    let needs = |instruction, needs| Cause::Arguments { instruction, needs };
    for (text, cause, column) in [
        ("RUN", needs("RUN", "a command"), 1),
        ("RUN []", needs("RUN", "a command"), 1),
        ("CMD", needs("CMD", "a command; `[]` is none"), 1),
        ("CMD [\"a\", 1]", Cause::NotStrings, 5),
        ("COPY [\"a\", [\"b\"]]", Cause::NotStrings, 6),
        ("COPY a", needs("COPY", "at least one source, and after it a destination"), 1),
        ("ADD", needs("ADD", "at least one source, and after it a destination"), 1),
        ("ENV", needs("ENV", "at least one name=value"), 1),
        ("ENV a=b c", Cause::NoEquals { instruction: "ENV", word: "c".into() }, 9),
        ("ENV =b", Cause::EmptyName { instruction: "ENV" }, 5),
        ("LABEL a", Cause::NoEquals { instruction: "LABEL", word: "a".into() }, 7),
        ("ARG", needs("ARG", "at least one name"), 1),
        ("ARG =a", Cause::EmptyName { instruction: "ARG" }, 5),
        ("EXPOSE", needs("EXPOSE", "at least one port"), 1),
        ("VOLUME []", needs("VOLUME", "paths, none of them empty"), 1),
        ("VOLUME [\" \"]", needs("VOLUME", "paths, none of them empty"), 1),
        ("USER", needs("USER", "exactly one argument"), 1),
        ("WORKDIR", needs("WORKDIR", "exactly one argument"), 1),
        ("SHELL /bin/sh", needs("SHELL", "a JSON array with at least one string"), 1),
        ("SHELL []", needs("SHELL", "a JSON array with at least one string"), 1),
        ("HEALTHCHECK", needs("HEALTHCHECK", "`CMD` and a command, or `NONE`"), 1),
        ("HEALTHCHECK curl x", needs("HEALTHCHECK", "`CMD` and a command, or `NONE`"), 13),
        ("HEALTHCHECK NONE x", needs("HEALTHCHECK", "nothing after `NONE`"), 1),
        ("HEALTHCHECK CMD", needs("HEALTHCHECK", "a command after `CMD`"), 1),
        ("ONBUILD", needs("ONBUILD", "an instruction"), 1),
        ("ONBUILD ONBUILD RUN a", Cause::Trigger { keyword: "ONBUILD" }, 9),
        ("ONBUILD from a", Cause::Trigger { keyword: "FROM" }, 9),
        ("ONBUILD MAINTAINER a", Cause::Trigger { keyword: "MAINTAINER" }, 9),
        (
            "ONBUILD RUN --x y",
            Cause::Flag { instruction: "RUN", flag: "x".into(), known: vec!["mount", "network", "security", "device"] },
            13,
        ),
        ("FROM a b", needs("FROM", "an image or a stage, and after it nothing or `AS name`"), 1),
        ("FROM", needs("FROM", "an image or a stage, and after it nothing or `AS name`"), 1),
        ("FROM a AS 1b", Cause::StageName { name: "1b".into() }, 11),
        ("USER --x y", Cause::Flag { instruction: "USER", flag: "x".into(), known: vec![] }, 6),
        ("COPY --link --link a b", Cause::FlagTwice { flag: "link".into() }, 13),
        ("COPY --link=maybe a b", Cause::FlagSwitch { flag: "link".into(), value: "maybe".into() }, 6),
        ("COPY --link= a b", Cause::FlagValue { flag: "link".into() }, 6),
        ("COPY --from a b c", Cause::FlagValue { flag: "from".into() }, 6),
        ("COPY --from=$a b c", Cause::FlagVariable { flag: "from" }, 13),
    ] {
        assert_eq!(fault(text), (cause, column), "{text}");
    }
    for (text, message) in [
        ("RUN --network=hots a", "`--network=hots`: there are default, none, host"),
        ("RUN --security=x a", "`--security=x`: there are sandbox, insecure"),
        ("RUN --device=required a", "`--device=required`: it has no name"),
        (
            "HEALTHCHECK --interval=x CMD a",
            "`--interval=x`: \"x\" is not a duration: expected numbers with units us, ms, s, m, h or d (such as `1m30s`)",
        ),
        ("HEALTHCHECK --timeout=10us CMD a", "`--timeout=10us`: the least is 1ms"),
        ("HEALTHCHECK --retries=-1 CMD a", "`--retries=-1`: it is a number from 0 to 2147483647"),
        ("ADD --checksum=sha256:0 a b c", "`--checksum=sha256:0`: it is that of one source, and here is another number of them"),
        ("COPY --exclude=[ a b", "`--exclude`: line 1: \"[\": `[` is not closed by `]`, or nothing stands between them"),
        ("STOPSIGNAL SIGNOPE", "\"SIGNOPE\" is not a signal: expected a name such as `SIGTERM` or a number from 1 to 64"),
    ] {
        assert_eq!(fault(text).0.to_string(), message, "{text}");
    }
}
