//! Keeps the house in order: who may use whom, how files begin, how long they are, what they may not contain, and that
//! schemas and examples are as fresh as the code. What a rule is for is said in ARCHITECTURE.md.

#![expect(clippy::unwrap_used, reason = "what helps tests may panic as they do")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The floors, lowest first. A module may use those above it in this list and no other: those on lower floors, and earlier
/// ones on its own. A path belongs to the longest entry that it starts with.
const FLOORS: &[(u8, &str)] = &[
    (0, "model"),
    (0, "sys"),
    (0, "files"),
    (1, "observed"),
    (1, "manifest"),
    (1, "plan"),
    (1, "wire"),
    (2, "engine::state"),
    (2, "engine::runtime"),
    (2, "engine::rootless"),
    (2, "engine::images"),
    (2, "engine::networks"),
    (2, "engine::volumes"),
    (2, "engine::build::expand"),
    (2, "engine::build::glob"),
    (2, "engine::build::ignore"),
    (2, "engine::build::permissions"),
    (2, "engine::build::wildcard"),
    (2, "engine::build::dockerfile"),
    (2, "engine::build::stages"),
    (2, "engine::build::files"),
    (3, "engine::monitor"),
    (3, "engine::containers"),
    (3, "engine::build"),
    (3, "engine"),
    (4, "sources"),
    (4, "reconcile"),
    (5, "server"),
    (5, "client"),
    (5, "cli"),
    (6, "daemon"),
    (6, "main"),
];

const LONGEST: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, sorted.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    found
}

/// `src/engine/images/store.rs` is `engine::images::store`, and `src/lib.rs` is nothing.
fn module_of(path: &Path) -> Vec<String> {
    let inside = path.strip_prefix(root().join("src")).unwrap().with_extension("");
    let mut module: Vec<_> = inside.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

/// The place of a module's path in the table.
fn floor_of(module: &[String]) -> Option<usize> {
    let fits = |entry: &str| entry.split("::").count() <= module.len() && entry.split("::").zip(module).all(|(a, b)| a == b);
    let fitting = FLOORS.iter().enumerate().filter(|(_, (_, entry))| fits(entry));
    fitting.max_by_key(|(_, (_, entry))| entry.len()).map(|(index, _)| index)
}

/// Words and single signs of Rust, without comments, strings and character literals. `::` is one token.
fn tokens(source: &str) -> Vec<String> {
    let text: Vec<char> = source.chars().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut i = 0;
    while i < text.len() {
        let rest = &text[i..];
        match rest {
            ['/', '/', ..] => i += rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => i += rest.windows(2).position(|w| w == ['*', '/']).map_or(rest.len(), |end| end + 2),
            ['r' | 'b' | 'c', ..] if raw_string(rest).is_some() => i += raw_string(rest).unwrap(),
            ['"', ..] => i += string(rest),
            // What is escaped may itself be a quote.
            ['\'', '\\', ..] => i += 4 + rest[3..].iter().position(|c| *c == '\'').unwrap(),
            ['\'', _, '\'', ..] => i += 3,
            [':', ':', ..] => {
                tokens.push("::".to_owned());
                i += 2;
            }
            [c, ..] if is_word(*c) => {
                let end = rest.iter().position(|c| !is_word(*c)).unwrap_or(rest.len());
                tokens.push(rest[..end].iter().collect());
                i += end;
            }
            [c, ..] => {
                if !c.is_whitespace() {
                    tokens.push(c.to_string());
                }
                i += 1;
            }
            [] => unreachable!(),
        }
    }
    tokens
}

/// The length of a string literal that starts with its quote.
fn string(text: &[char]) -> usize {
    let mut i = 1;
    while text[i] != '"' {
        i += if text[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// The length of `r"…"`, `r#"…"#`, `b"…"` and their like.
fn raw_string(text: &[char]) -> Option<usize> {
    let prefix = text.iter().position(|c| !matches!(c, 'r' | 'b' | 'c'))?;
    let hashes = text[prefix..].iter().position(|c| *c != '#')?;
    if prefix > 2 || text.get(prefix + hashes) != Some(&'"') {
        return None;
    }
    let start = prefix + hashes;
    if !text[..prefix].contains(&'r') {
        return (hashes == 0).then(|| start + string(&text[start..]));
    }
    let end: Vec<char> = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
    text[start + 1..].windows(end.len()).position(|w| w == end).map(|at| start + 1 + at + end.len())
}

/// All modules of this crate that a file names by `crate::`, `super::` or (in the program) `setpoint::`, as full paths.
fn uses(module: &[String], source: &str) -> BTreeSet<Vec<String>> {
    let tokens = tokens(source);
    let mut found = BTreeSet::new();
    // Inline modules that we are in, with the depth of braces outside them.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate() {
        match token.as_str() {
            "{" => {
                if i >= 2 && tokens[i - 2] == "mod" {
                    inline.push((tokens[i - 1].clone(), depth));
                }
                depth += 1;
            }
            "}" => {
                depth -= 1;
                if inline.last().is_some_and(|(_, outside)| *outside == depth) {
                    inline.pop();
                }
            }
            // `pub(in …)` says who may use, and uses nothing.
            "crate" | "super" if i >= 2 && tokens[i - 1] == "in" && tokens[i - 2] == "(" => {}
            "crate" | "super" | "setpoint" if i == 0 || tokens[i - 1] != "::" => {
                if tokens.get(i + 1).is_none_or(|next| next != "::") || token == "setpoint" && module != ["main"] {
                    continue;
                }
                let mut base: Vec<String> = Vec::new();
                let mut next = i + 2;
                if token == "super" {
                    base = module.iter().cloned().chain(inline.iter().map(|(name, _)| name.clone())).collect();
                    base.pop();
                    while tokens[next] == "super" && tokens[next + 1] == "::" {
                        base.pop();
                        next += 2;
                    }
                }
                tree(&tokens, next, &base, &mut found);
            }
            _ => {}
        }
    }
    found
}

/// Reads `a::b::{c, d::e}` from `at` on, and returns where it ends.
fn tree(tokens: &[String], mut at: usize, base: &[String], found: &mut BTreeSet<Vec<String>>) -> usize {
    let mut path = base.to_vec();
    loop {
        match tokens.get(at).map(String::as_str) {
            Some("{") => {
                at += 1;
                while tokens[at] != "}" {
                    at = tree(tokens, at, &path, found);
                    if tokens[at] == "as" {
                        at += 2;
                    }
                    if tokens[at] == "," {
                        at += 1;
                    }
                }
                return at + 1;
            }
            Some("*") => {
                found.insert(path);
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                if word != "self" {
                    path.push(word.to_owned());
                }
                at += 1;
            }
            _ => return at,
        }
        if tokens.get(at).is_none_or(|token| token != "::") {
            found.insert(path);
            return at;
        }
        at += 1;
    }
}

/// Fails with all findings at once.
#[track_caller]
fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

#[test]
fn modules_use_only_what_is_below_them() {
    let mut found = Vec::new();
    for path in rust_files("src") {
        let module = module_of(&path);
        // The crate's root names its modules and uses none.
        if module.is_empty() {
            continue;
        }
        let Some(own) = floor_of(&module) else {
            found.push(format!("{}: give the module a place in FLOORS", shown(&path)));
            continue;
        };
        for used in uses(&module, &fs::read_to_string(&path).unwrap()) {
            if let Some(other) = floor_of(&used)
                && other > own
            {
                let (here, there) = (FLOORS[own], FLOORS[other]);
                found.push(format!(
                    "{}: `{}` (floor {}) uses `{}`, which is above it (floor {})",
                    shown(&path),
                    here.1,
                    here.0,
                    used.join("::"),
                    there.0
                ));
            }
        }
    }
    none("a module may use those on floors below it, and earlier ones on its own", &found);
}

#[test]
fn the_reader_of_paths_reads_them() {
    let source = r##"
        use crate::model::{self, Name, spec::{Mount, Volume as V}};
        use super::{state::Db, images};
        // use crate::commented::out;
        const TEXT: &str = "use crate::quoted::text"; const C: char = '"'; const D: char = '\''; const E: char = '\u{1}';
        const RAW: &str = r#"crate::raw " text"#;
        fn f<'a>(x: &'a str) { crate::engine::start(x); b"crate::bytes"; }
        mod tests { use super::inner; use super::super::outer; mod deep { use super::super::inner2; } }
        pub(crate) fn g() {} pub(super) use self::x;
        use super::after;
    "##;
    let module = ["engine", "networks"].map(str::to_owned);
    let found: Vec<_> = uses(&module, source).into_iter().map(|path| path.join("::")).collect();
    #[rustfmt::skip]
    assert_eq!(found, [
        "engine::after", "engine::images", "engine::networks::inner", "engine::networks::inner2", "engine::outer", "engine::start",
        "engine::state::Db", "model", "model::Name", "model::spec::Mount", "model::spec::Volume",
    ]);
    assert_eq!(floor_of(&["engine".into(), "state".into(), "Db".into()]).map(|i| FLOORS[i].1), Some("engine::state"));
    assert_eq!(floor_of(&["engine".into(), "Engine".into()]).map(|i| FLOORS[i].1), Some("engine"));
    assert_eq!(floor_of(&["model_like".into()]), None);
}

#[test]
fn files_begin_with_what_they_are_and_are_short() {
    let mut found = Vec::new();
    for path in ["src", "tests"].into_iter().flat_map(rust_files) {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            found.push(format!("{}: begins without `//!`", shown(&path)));
        }
        let lines = text.lines().count();
        if lines > LONGEST {
            found.push(format!("{}: {lines} lines, and {LONGEST} is the most", shown(&path)));
        }
    }
    none("a file is one idea, and says which in its first line", &found);
}

#[test]
fn nothing_is_left_for_later() {
    let mut found = Vec::new();
    for path in ["src", "tests"].into_iter().flat_map(rust_files) {
        let text = fs::read_to_string(&path).unwrap();
        // Spelled in two halves, or this file would find itself.
        for mark in [concat!("FIX", "ME"), concat!("TO", "DO"), concat!("XX", "X:"), concat!("HA", "CK")] {
            let lines = text.lines().enumerate().filter(|(_, line)| line.contains(mark));
            found.extend(lines.map(|(i, _)| format!("{}:{}: {mark}", shown(&path), i + 1)));
        }
        let tokens = tokens(&text);
        for pair in tokens.windows(2) {
            match [pair[0].as_str(), pair[1].as_str()] {
                ["todo" | "unimplemented", "!"] => found.push(format!("{}: {}!", shown(&path), pair[0])),
                ["[", "ignore"] => found.push(format!("{}: a test that does not run", shown(&path))),
                _ => {}
            }
        }
    }
    none("what is not done is not there", &found);
}

#[test]
fn unsafe_code_is_in_sys_only() {
    let mut found = Vec::new();
    for path in ["src", "tests"].into_iter().flat_map(rust_files) {
        let in_sys = path.starts_with(root().join("src/sys"));
        if !in_sys && tokens(&fs::read_to_string(&path).unwrap()).iter().any(|token| token == "unsafe") {
            found.push(shown(&path));
        }
    }
    none("unsafe code outside src/sys", &found);
}

fn setpoint(args: &[&str], root: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_setpoint"))
        .args(args)
        .env("SETPOINT_STATE_DIR", root.join("s"))
        .env("SETPOINT_RUN_DIR", root.join("r"))
        .output()
        .unwrap()
}

#[test]
fn schemas_are_what_the_types_say() {
    let fresh = tempfile::tempdir().unwrap();
    let folder = fresh.path().join("schemas");
    let ran = setpoint(&["schema", "--out", folder.to_str().unwrap()], fresh.path());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let read = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let named = files.iter().map(|file| (file.file_name().unwrap().to_owned(), fs::read_to_string(file).unwrap()));
        named.collect::<Vec<_>>()
    };
    let (committed, fresh) = (read(&root().join("schemas")), read(&folder));
    assert!(!fresh.is_empty());
    assert!(committed == fresh, "run `setpoint schema --out schemas` and commit what changes");
}

#[test]
fn every_example_parses() {
    let scratch = tempfile::tempdir().unwrap();
    let examples = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    let mut count = 0;
    for example in examples.filter(|path| path.is_dir()) {
        count += 1;
        // The images' sources are made when an example is applied, not kept in the repository.
        let copy = scratch.path().join(example.file_name().unwrap());
        assert!(Command::new("cp").args(["-r"]).arg(&example).arg(&copy).status().unwrap().success());
        fs::create_dir_all(copy.join("rootfs")).unwrap();
        let compose = copy.join("compose.yaml");
        let path = if compose.exists() { compose } else { copy };
        let ran = setpoint(&["validate", path.to_str().unwrap()], scratch.path());
        if !ran.status.success() {
            found.push(format!("{}: {}", shown(&example), String::from_utf8_lossy(&ran.stderr)));
        }
    }
    assert!(count > 0);
    none("examples that do not parse", &found);
}

#[test]
fn the_manifests_in_the_readme_parse() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let blocks = readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut count = 0;
    for block in blocks {
        count += 1;
        let path = scratch.path().join(format!("{count}.yaml"));
        fs::write(&path, block).unwrap();
        let ran = setpoint(&["validate", "--stack", "readme", path.to_str().unwrap()], scratch.path());
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
    assert!(count > 0);
}
