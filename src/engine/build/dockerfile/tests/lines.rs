//! Directives, comments, continuations, places.

use super::*;

/// The texts of the instructions and the lines that they are on.
#[track_caller]
fn joined(text: &str) -> Vec<(String, u32, u32)> {
    instructions(text).into_iter().map(|found| (found.text, found.place.line, found.last_line)).collect()
}

fn expected(found: &[(&str, u32, u32)]) -> Vec<(String, u32, u32)> {
    found.iter().map(|(text, first, last)| ((*text).to_owned(), *first, *last)).collect()
}

#[test]
fn lines_are_joined() {
    for (text, found) in [
        ("FROM a", &[("FROM a", 1, 1)][..]),
        ("\n\n  from a  \n\n", &[("from a", 3, 3)]),
        ("FROM a\nRUN b \\\n  c\n", &[("FROM a", 1, 1), ("RUN b   c", 2, 3)]),
        ("FROM a\r\nRUN b \\\r\n  c\r\nUSER d\r\n", &[("FROM a", 1, 1), ("RUN b   c", 2, 3), ("USER d", 4, 4)]),
        ("FROM a\nRUN b \\ \t\n# not this\n   # nor this\n  && c", &[("FROM a", 1, 1), ("RUN b   && c", 2, 5)]),
        ("FROM a\nRUN b \\\n\n\n  c\nUSER d", &[("FROM a", 1, 1), ("RUN b   c", 2, 5), ("USER d", 6, 6)]),
        ("FROM a\nRUN b \\\n# until the end", &[("FROM a", 1, 1), ("RUN b", 2, 3)]),
        // An escape character that is escaped joins nothing.
        ("FROM a\nRUN b \\\\\nUSER c", &[("FROM a", 1, 1), ("RUN b \\\\", 2, 2), ("USER c", 3, 3)]),
        ("FROM \\\n\\\na", &[("FROM a", 1, 3)]),
        ("\\\nFROM a", &[("FROM a", 2, 2)]),
        ("\u{feff}FROM a", &[("FROM a", 1, 1)]),
        ("FROM a\nRUN b # no comment", &[("FROM a", 1, 1), ("RUN b # no comment", 2, 2)]),
    ] {
        assert_eq!(joined(text), expected(found), "{text:?}");
    }
    let latin = [b"# Ren\xe9\nFROM a\nRUN b \\\n# \xe9\n c".as_slice(), b"\n"].concat();
    assert_eq!(parse(Path::new("Dockerfile"), &latin).unwrap().instructions.len(), 2);
}

#[test]
fn directives_stand_before_everything_else() {
    let directives = |text: &str| read_file(text).unwrap().directives;
    let found = directives("# Syntax = docker/dockerfile:1 \n#escape=`\n# check=skip=all;error=true\nFROM a\nRUN b `\n c\\\n");
    assert_eq!(found.syntax.as_deref(), Some("docker/dockerfile:1"));
    assert_eq!((found.escape, found.check.as_deref()), ('`', Some("skip=all;error=true")));
    for text in
        ["\n# escape=`\nFROM a", "# a comment\n# escape=`\nFROM a", "# unknown=x\n# escape=`\nFROM a", "FROM a\n# escape=`\n"]
    {
        assert_eq!(directives(text), Directives::default(), "{text}");
    }
    let cause = |text: &str| read_file(text).unwrap_err().faults.remove(0).cause;
    assert_eq!(cause("# escape=x\nFROM a"), Cause::EscapeDirective { value: "x".into() });
    assert_eq!(cause("# escape=\\\n# ESCAPE=`\nFROM a"), Cause::DirectiveTwice { name: "escape".into() });
}

#[test]
fn the_backtick_escapes_instead_of_the_backslash() {
    let found = instructions("# escape=`\nFROM a\nCOPY x c:\\\nRUN a `\n  b\nENV a=b` c d=`$x\n");
    let Command::Copy(copy) = &found[1].command else { panic!() };
    assert_eq!(copy.files.destination.text, "c:\\");
    assert_eq!(found[2].text, "RUN a   b");
    let Command::Env(pairs) = &found[3].command else { panic!() };
    assert_eq!(pairs.iter().map(|pair| pair.value.text.as_str()).collect::<Vec<_>>(), ["b` c", "`$x"]);
}

#[test]
fn words_know_where_they_stand() {
    let found = instructions("FROM a\n  COPY  --from=ö \\\n# c\n    ä b \\\n c\nENV \\\n  x=1 \\\n  y=2\n");
    let place = |line, column| Place { line, column };
    assert_eq!(found[1].place, place(2, 3));
    let Command::Copy(copy) = &found[1].command else { panic!() };
    assert_eq!(copy.from.as_ref().unwrap().place, place(2, 16));
    assert_eq!(copy.files.sources.iter().map(|word| word.place).collect::<Vec<_>>(), [place(4, 5), place(4, 7)]);
    assert_eq!(copy.files.destination.place, place(5, 2));
    let Command::Env(pairs) = &found[2].command else { panic!() };
    assert_eq!((pairs[0].name.place, pairs[1].value.place), (place(7, 3), place(8, 5)));
}

#[test]
fn doubts_are_told() {
    let warnings = read_file("FROM a\nMAINTAINER b\nENV c d\nRUN e \\\n\n f\n").unwrap().warnings;
    let found: Vec<_> = warnings.iter().map(|warning| (warning.doubt, warning.problem.line)).collect();
    assert_eq!(found, [(Doubt::Maintainer, 2), (Doubt::LegacyPair, 3), (Doubt::BlankContinuation, 5)]);
}
