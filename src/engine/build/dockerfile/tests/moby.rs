//! The parser's test files of moby, in all their versions until the parser moved to BuildKit: the folder `moby` of the suite, as
//! `tests/dockerfiles/moby` makes it of a clone. Without the suite nothing is compared.

use std::fs;

use super::suite::{Form, dumped, folders, read, suite};
use super::*;

/// What an old version of a test wants and no builder does any more, with the reason.
const OTHERWISE: &[(&str, &str)] = &[
    ("brimstone-docker-consul~5", NO_WORDS),
    ("brimstone-docker-consul~6", NO_WORDS),
    ("continueIndent~3", EMPTY_LINES),
    ("continueIndent~4", EMPTY_LINES),
    ("continueIndent~5", EMPTY_LINES),
    ("docker~11", VERSION),
    ("docker~12", VERSION),
    ("docker~13", VERSION),
    ("docker~14", VERSION),
    ("empty-line-after-escape", EMPTY_LINES),
    ("env~2", "the parser took quotes away, which the replacement of variables does since"),
    ("escape-nonewline", ESCAPE),
    ("escape-nonewline~2", ESCAPE),
    ("env_equals_env", "ENV had no form with `=`"),
];
const NO_WORDS: &str = "`CMD []` had one word, which was empty";
const EMPTY_LINES: &str = "an empty line, and white space behind the escape character, ended an instruction";
const VERSION: &str = "there was an instruction DOCKER-VERSION";
const ESCAPE: &str = "of what the directive `escape` says, the first character counted";

/// Old versions wrote trees down without escapes, and put one space where a file has several.
fn plain(dump: &str) -> String {
    let spaced = dump.replace("\\t", " ").replace("\\\"", "\"").replace("\\\\", "\\");
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn files_are_parsed_as_by_moby() {
    let Some(suite) = suite() else { return };
    let (mut same, mut roughly, mut typed, mut otherwise, mut wrong) = (0, 0, 0, 0, Vec::new());
    for folder in folders(suite.join("moby/testfiles")) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        let (file, result) = (fs::read(folder.join("Dockerfile")).unwrap(), read(folder.join("result")));
        let dump = dumped(&file, Form::Moby).map_or_else(|cause| cause.to_string(), |(dump, _)| dump);
        let known = OTHERWISE.iter().any(|(known, _)| *known == name);
        match (plain(&dump) == plain(&result), known) {
            (true, false) if dump.trim_end() == result.trim_end() => same += 1,
            (true, false) => roughly += 1,
            (false, true) => otherwise += 1,
            (true, true) => wrong.push(format!("{name} is no longer otherwise")),
            (false, false) => wrong.push(format!("{name}:\n--- ours\n{dump}--- theirs\n{result}")),
        }
        typed += usize::from(parse(Path::new("Dockerfile"), &file).is_ok());
    }
    let mut refused = 0;
    for folder in folders(suite.join("moby/testfiles-negative")) {
        let file = fs::read(folder.join("Dockerfile")).unwrap();
        let name = folder.file_name().unwrap().to_str().unwrap();
        match (parse(Path::new("Dockerfile"), &file), OTHERWISE.iter().any(|(known, _)| *known == name)) {
            (Err(_), false) => refused += 1,
            (Ok(_), true) => otherwise += 1,
            (_, _) => wrong.push(format!("{name} is not as is told")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("{same} files have the same tree, {roughly} but for how it was written down, {otherwise} another for a reason");
    eprintln!("{typed} of all are good; {refused} are refused");
}
