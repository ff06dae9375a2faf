//! The cases of BuildKit's own tests, read from its sources. They are not part of this repository: the folder in
//! `SETPOINT_DOCKERFILE_SUITE` has what is in BuildKit's `frontend/dockerfile`, and beside it, in `patternmatcher`, what is in
//! the repository of moby's patternmatcher. Without that variable nothing is compared.

use std::fs;
use std::path::PathBuf;

use super::super::heredoc;
use super::super::lines::Reader;
use super::super::split::{self, Arguments, Raw};
use super::*;
use crate::engine::build::expand::Expander;
use crate::engine::build::ignore::Ignore;
use regex::Regex;

const FOLDER: &str = "SETPOINT_DOCKERFILE_SUITE";

/// The folder of the suite, which must be one if it is named.
pub(super) fn suite() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        eprintln!("nothing is compared: {FOLDER} names no folder with the tests of BuildKit");
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(folder.is_dir(), "{FOLDER}: {} is not a folder", folder.display());
    Some(folder)
}

pub(super) fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The folders in a folder, sorted; at least one.
pub(super) fn folders(path: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no cases", path.display());
    found
}

/// How a tree is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    BuildKit,
    /// As before moby's parser moved there: pairs are without the sign that is between them.
    Moby,
}

/// All lines of a file, each with what announces heredocs in it taken away with their bodies.
pub(super) fn dumped(bytes: &[u8], form: Form) -> Result<(String, Vec<Heredoc>), Cause> {
    let mut reader = Reader::new(bytes);
    let mut dump = String::new();
    let mut heredocs = Vec::new();
    while let Some(line) = reader.next().map_err(|at| at.cause)? {
        let escape = reader.directives.escape;
        let raw = match split::instruction(&line, line.whole(), escape) {
            Ok(raw) => raw,
            // The peer's parser knows no instructions; they are checked later.
            Err(at) if matches!(at.cause, Cause::Instruction { .. }) => continue,
            Err(at) => return Err(at.cause),
        };
        dump.push_str(&format!("({})\n", shown(&raw, form)));
        if raw.may_have_heredocs() && line.text.contains("<<") {
            for header in heredoc::announced(&line.text)? {
                heredocs.push(reader.heredoc(header, &line).map_err(|at| at.cause)?);
            }
        }
    }
    Ok((dump, heredocs))
}

/// The form of BuildKit's `Node.Dump`.
fn shown(raw: &Raw<'_>, form: Form) -> String {
    let mut text = raw.written.text.to_lowercase();
    if !raw.flags.is_empty() {
        let flags: Vec<_> = raw.flags.iter().map(|flag| quoted(&flag.text)).collect();
        text.push_str(&format!(" [{}]", flags.join(" ")));
    }
    text.push_str(&arguments(&raw.arguments, form));
    text
}

fn arguments(arguments_: &Arguments<'_>, form: Form) -> String {
    match arguments_ {
        Arguments::None => String::new(),
        Arguments::Json(words, _) => words.iter().map(|word| format!(" {}", quoted(word))).collect(),
        Arguments::Words(words) => words.iter().map(|word| format!(" {}", quoted(word.text))).collect(),
        Arguments::Text(text) => format!(" {}", quoted(text.text)),
        Arguments::Pairs { pairs, legacy } => {
            let sign = if *legacy { "" } else { "=" };
            let pair = |(name, value): &(split::Slice<'_>, split::Slice<'_>)| match form {
                Form::BuildKit => format!(" {} {} {}", quoted(name.text), quoted(value.text), quoted(sign)),
                Form::Moby => format!(" {} {}", quoted(name.text), quoted(value.text)),
            };
            pairs.iter().map(pair).collect()
        }
        Arguments::Health(kind, command) => format!(" {}{}", quoted(kind.text), arguments(command, form)),
        Arguments::Trigger(raw) => format!(" ({})", shown(raw, form)),
    }
}

/// As Go's `strconv.Quote`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The value of a string literal of Go, `"…"` or `` `…` ``.
fn unquoted(literal: &str) -> String {
    match literal.strip_prefix('`') {
        Some(raw) => raw.trim_end_matches('`').to_owned(),
        None => serde_json::from_str(literal).unwrap_or_else(|error| panic!("{literal}: {error}")),
    }
}

const LITERAL: &str = r#"("(?:[^"\\]|\\.)*"|`[^`]*`)"#;

/// Part of a source file of Go, from one function to where the next begins.
fn function(source: &str, name: &str) -> String {
    let start = source.find(&format!("func {name}(")).unwrap_or_else(|| panic!("there is no function {name}"));
    let rest = &source[start..];
    rest[..rest[1..].find("\nfunc ").map_or(rest.len(), |end| end + 1)].to_owned()
}

#[test]
fn files_are_parsed_as_by_buildkit() {
    let Some(suite) = suite() else { return };
    let (mut same, mut typed) = (0, 0);
    for folder in folders(suite.join("parser/testfiles")) {
        let (file, result) = (fs::read(folder.join("Dockerfile")).unwrap(), read(folder.join("result")));
        let (dump, _) = dumped(&file, Form::BuildKit).unwrap_or_else(|cause| panic!("{}: {cause}", folder.display()));
        assert_eq!(dump, result, "{}", folder.display());
        same += 1;
        match parse(Path::new("Dockerfile"), &file) {
            Ok(_) => typed += 1,
            Err(errors) => eprintln!("{}: refused\n{errors}", folder.display()),
        }
    }
    let mut refused = 0;
    for folder in folders(suite.join("parser/testfiles-negative")) {
        let file = fs::read(folder.join("Dockerfile")).unwrap();
        assert!(parse(Path::new("Dockerfile"), &file).is_err(), "{}", folder.display());
        refused += 1;
    }
    let lines = instructions(&read(suite.join("parser/testfile-line/Dockerfile")));
    let lines: Vec<_> = lines.iter().map(|found| (found.place.line, found.last_line)).collect();
    assert_eq!(lines, [(5, 5), (11, 12), (17, 31)]);
    eprintln!("{same} files have the same tree, {typed} of them are good; {refused} are refused; 1 has the same lines");
}

#[test]
fn heredocs_are_read_as_by_buildkit() {
    let Some(suite) = suite() else { return };
    let source = function(&read(suite.join("parser/parser_heredoc_test.go")), "TestParseExtractsHeredoc");
    let file = Regex::new("NewBufferString\\(`([^`]*)`\\)").unwrap().captures(&source).unwrap()[1].to_owned();
    let (_, found) = dumped(file.as_bytes(), Form::BuildKit).unwrap();
    let pattern = format!(r"Name:\s+{LITERAL},\s+Content:\s+{LITERAL},\s+Expand:\s+(true|false),(?:\s+Chomp:\s+(true|false),)?");
    let expected = Regex::new(&pattern).unwrap();
    let expected: Vec<_> = expected
        .captures_iter(&source)
        .map(|case| Heredoc {
            name: unquoted(&case[1]),
            content: unquoted(&case[2]),
            expand: &case[3] == "true",
            strip_tabs: case.get(4).is_some_and(|chomp| chomp.as_str() == "true"),
        })
        .collect();
    assert!(expected.len() > 20);
    assert_eq!(found, expected);
    eprintln!("{} heredocs are the same", found.len());
}

#[test]
fn words_are_expanded_as_by_buildkit() {
    let Some(suite) = suite() else { return };
    let variables = |name: &str| {
        let value = match name {
            "PWD" => "/home",
            "SHELL" => "bash",
            "KOREAN" => "한국어",
            "NULL" => "",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let mut count = 0;
    for line in
        read(suite.join("shell/envVarTest")).lines().map(str::trim).filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        let [platform, text, expected] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else { panic!("{line}") };
        if platform == "W" {
            continue;
        }
        let found = Expander::new('\\', &variables).word(text).ok().map(|expanded| expanded.value);
        assert_eq!(found.as_deref(), (expected != "error").then_some(expected), "{line}");
        count += 1;
    }
    eprintln!("{count} words of envVarTest are the same");
}

#[test]
fn words_are_split_as_by_buildkit() {
    let Some(suite) = suite() else { return };
    let mut known: Vec<(String, String)> = Vec::new();
    let mut count = 0;
    for line in read(suite.join("shell/wordsTest")).lines().filter(|line| !line.starts_with('#')) {
        if let Some(variable) = line.strip_prefix("ENV ") {
            let (name, value) = variable.trim_start().split_once('=').unwrap();
            known.push((name.to_owned(), value.to_owned()));
            continue;
        }
        let [text, expected] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let variables = |name: &str| known.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let found = Expander::new('\\', &variables).words(text.trim());
        let found = found.map_or_else(|_| vec!["error".to_owned()], |expanded| expanded.value);
        assert_eq!(found, expected.trim_start_matches(' ').split(',').collect::<Vec<_>>(), "{line}");
        count += 1;
    }
    eprintln!("{count} lines of wordsTest are the same");
}

#[test]
fn modifiers_do_as_in_buildkit() {
    let Some(suite) = suite() else { return };
    let source = function(&read(suite.join("shell/lex_test.go")), "TestProcessWithMatches");
    let variables = Regex::new(&format!(r#"envs:\s*map\[string\]string\{{((?:\s*{LITERAL}:\s*{LITERAL},?)*)\s*\}}"#)).unwrap();
    let variable = Regex::new(&format!(r"{LITERAL}:\s*{LITERAL}")).unwrap();
    let expected = Regex::new(&format!(r"expected:\s*{LITERAL}")).unwrap();
    let input = Regex::new(&format!(r"^\s*{LITERAL}")).unwrap();
    let mut count = 0;
    for case in source.split("input:").skip(1) {
        let text = unquoted(&input.captures(case).unwrap()[1]);
        let known = variables.captures(case).map(|found| found[1].to_owned()).unwrap_or_default();
        let known: Vec<_> = variable.captures_iter(&known).map(|pair| (unquoted(&pair[1]), unquoted(&pair[2]))).collect();
        let lookup = |name: &str| known.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        let found = Expander::new('\\', &lookup).word(&text).ok().map(|expanded| expanded.value);
        let wanted = expected.captures(case).map(|found| unquoted(&found[1])).unwrap_or_default();
        let wanted = (!case.contains("expectedErr:")).then_some(wanted);
        assert_eq!(found, wanted, "{text} with {known:?}");
        count += 1;
    }
    assert!(count > 40);
    eprintln!("{count} cases of TestProcessWithMatches are the same");
}

#[test]
fn paths_are_ignored_as_by_patternmatcher() {
    let Some(suite) = suite() else { return };
    let source = read(suite.join("patternmatcher/patternmatcher_test.go"));
    let ignores = |patterns: &[String], path: &str| {
        let ignore = Ignore::of_patterns(patterns.iter().map(String::as_str));
        ignore.map(|ignore| ignore.ignores(path)).ok()
    };
    let mut count = 0;
    let plain = Regex::new(&format!(r"\{{{LITERAL}, {LITERAL}, (true|false)\}}")).unwrap();
    for case in plain.captures_iter(&source) {
        let (pattern, path) = (unquoted(&case[1]), unquoted(&case[2]));
        // That the root is never ignored is decided before its matcher is asked.
        if path != "/" {
            assert_eq!(ignores(std::slice::from_ref(&pattern), &path), Some(&case[3] == "true"), "{pattern} {path}");
            count += 1;
        }
    }
    let go = Regex::new(&format!(r"\{{{LITERAL}, {LITERAL}, (true|false), (nil|filepath.ErrBadPattern)\}}")).unwrap();
    for case in go.captures_iter(&source) {
        let (pattern, path) = (unquoted(&case[1]), unquoted(&case[2]));
        let expected = (&case[4] == "nil").then_some(&case[3] == "true");
        assert_eq!(ignores(std::slice::from_ref(&pattern), &path), expected, "{pattern} {path}");
        count += 1;
    }
    let several = Regex::new(&format!(r"\{{\[\]string\{{((?:{LITERAL}(?:, )?)+)\}}, {LITERAL}, (true|false)\}}")).unwrap();
    let call = Regex::new(&format!(r"match, _ := Matches\({LITERAL}, \[\]string\{{((?:{LITERAL}(?:, )?)+)\}}\)\s+if (!?)match"))
        .unwrap();
    let literal = Regex::new(LITERAL).unwrap();
    let patterns = |text: &str| literal.find_iter(text).map(|found| unquoted(found.as_str())).collect::<Vec<_>>();
    for case in several.captures_iter(&source) {
        assert_eq!(ignores(&patterns(&case[1]), &unquoted(&case[3])), Some(&case[4] == "true"), "{}", &case[0]);
        count += 1;
    }
    for case in call.captures_iter(&source) {
        assert_eq!(ignores(&patterns(&case[2]), &unquoted(&case[1])), Some(&case[4] == "!"), "{}", &case[0]);
        count += 1;
    }
    assert!(count > 100);
    eprintln!("{count} cases of patternmatcher are the same");
}

/// The Dockerfiles in the tests that build; a few of them are meant to fail.
#[test]
fn files_of_builds_are_read() {
    let Some(suite) = suite() else { return };
    let literal = Regex::new("`([^`]*)`").unwrap();
    let stage = Regex::new(r"(?mi)^\s*FROM\s+[a-z$]").unwrap();
    let (mut good, mut refused) = (0, 0);
    let mut files: Vec<_> = fs::read_dir(&suite).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|path| path.to_str().unwrap().ends_with("_test.go")) {
        let source = read(file.clone());
        for text in literal.captures_iter(&source).map(|found| found[1].to_owned()).filter(|text| stage.is_match(text)) {
            match read_file(&text) {
                Ok(_) => good += 1,
                Err(errors) => {
                    refused += 1;
                    eprintln!("{}: refused\n{errors}", file.display());
                }
            }
        }
    }
    eprintln!("of the files that are built, {good} are good and {refused} are refused");
    assert!(good > 10 * refused);
}
