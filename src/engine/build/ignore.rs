//! `.dockerignore`: which paths of a build context are not part of it, by rules of which the last one that fits decides. The
//! same rules are those of `COPY --exclude`. Which file the rules come from (`Dockerfile.dockerignore` or `.dockerignore`) is
//! the caller's choice.
//! Source: Dockerfile reference, ".dockerignore file"; moby's patternmatcher and BuildKit's context transfer for the details.

use super::glob::{Glob, GlobError, Stars, clean};

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IgnoreError {
    #[error("line {line}: {source}")]
    Pattern { line: usize, source: GlobError },
    #[error("line {line}: nothing stands after `!`")]
    Empty { line: usize },
    #[error("line {line}: it is not UTF-8")]
    NotUtf8 { line: usize },
}

/// The rules, in their order.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    /// `!`: what it fits is part of the context after all.
    keeps: bool,
    glob: Glob,
    /// The pattern's names, each by itself: what a folder must fit for something below it to fit the whole. Ends before the
    /// first `**`, which fits whatever follows.
    names: Vec<Glob>,
    any_depth: bool,
}

/// What the rules say of one path, and what must be known of it when the paths below it are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub ignored: bool,
    /// For each rule whether it fits; none at all for the context's root.
    fits: Vec<bool>,
}

impl Ignore {
    /// Reads a file of rules, one a line. Lines that begin with `#` are comments.
    ///
    /// # Errors
    /// The first line that is no pattern.
    pub fn parse(text: &[u8]) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let lines = text.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.starts_with(b"#"));
        let mut rules = Vec::new();
        for (index, line) in lines {
            let line_number = index + 1;
            let line = std::str::from_utf8(line).map_err(|_| IgnoreError::NotUtf8 { line: line_number })?;
            rules.extend(rule(line, line_number)?);
        }
        Ok(Self { rules })
    }

    /// The same from patterns that stand apart, as those of `--exclude`. Errors count them from 1.
    pub fn of_patterns<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, IgnoreError> {
        let rules = patterns.into_iter().enumerate().map(|(index, pattern)| rule(pattern, index + 1));
        Ok(Self { rules: rules.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect() })
    }

    /// Whether there is no rule at all.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// What is said of `path`, which is relative to the context and clean, when `folder` was said of the folder it is in. Of a
    /// context's root nothing is said: [`Verdict::default`].
    pub fn look(&self, path: &str, folder: &Verdict) -> Verdict {
        let mut ignored = false;
        let mut fits = Vec::with_capacity(self.rules.len());
        for (index, rule) in self.rules.iter().enumerate() {
            // A rule that would change nothing is not tried, and so is not handed down either.
            let fit = folder.fits.get(index).copied().unwrap_or(false) || (rule.keeps == ignored && rule.glob.matches(path));
            if fit {
                ignored = !rule.keeps;
            }
            fits.push(fit);
        }
        Verdict { ignored, fits }
    }

    /// Whether `path` is no part of the context. The context itself always is one.
    pub fn ignores(&self, path: &str) -> bool {
        let path = clean(path);
        let path = path.trim_start_matches('/');
        if path.is_empty() || path == "." {
            return false;
        }
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        ends.fold(Verdict::default(), |folder, end| self.look(&path[..end], &folder)).ignored
    }

    /// Whether an ignored folder must be entered nevertheless, because of something in it that may be kept.
    pub fn may_keep_below(&self, folder: &str) -> bool {
        self.rules.iter().filter(|rule| rule.keeps).any(|rule| {
            let names = folder.split('/').count();
            folder.split('/').zip(&rule.names).all(|(name, glob)| glob.matches(name))
                && (rule.any_depth || rule.names.len() >= names || rule.glob.matches(folder))
        })
    }
}

fn rule(text: &str, line: usize) -> Result<Option<Rule>, IgnoreError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (keeps, pattern) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    if pattern.is_empty() {
        return Err(IgnoreError::Empty { line });
    }
    let pattern = clean(pattern);
    let pattern = pattern.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&pattern);
    let parse = |text: &str| Glob::parse(text, Stars::Folders).map_err(|source| IgnoreError::Pattern { line, source });
    let names = pattern.split('/').take_while(|name| !name.contains("**")).map(parse);
    // A slash within `[…]` tears a name apart; such a rule is asked at every depth.
    let names: Option<Vec<_>> = names.collect::<Result<_, _>>().ok();
    let any_depth = pattern.contains("**") || names.is_none();
    Ok(Some(Rule { keeps, glob: parse(pattern)?, names: names.unwrap_or_default(), any_depth }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ignores(rules: &str, path: &str) -> bool {
        Ignore::parse(rules.as_bytes()).unwrap().ignores(path)
    }

    #[test]
    fn the_last_rule_that_fits_decides() {
        for (rules, path, expected) in [
            ("", "a", false),
            ("a", "a", true),
            ("a", "a/b/c", true),
            ("a", "b/a", false),
            ("/a/", "a/b", true),
            ("  a  \r\n", "a", true),
            ("#a\n #b", "a", false),
            ("#a\n #b", "#b", true),
            ("\u{feff}a", "a", true),
            ("*.md\n!README.md", "README.md", false),
            ("*.md\n!README.md", "docs/x.md", false),
            ("**/*.md", "docs/x.md", true),
            ("!README.md\n*.md", "README.md", true),
            ("docs\n!docs/keep", "docs/keep", false),
            ("docs\n!docs/keep", "docs/keep/x", false),
            ("docs\n!docs/keep\ndocs/keep/x", "docs/keep/x", true),
            ("docs\n! /docs/keep", "docs/keep", false),
            // The folder was not ignored when `!docs` was asked for it, so nothing below it is kept by that.
            ("docs/x\n!docs", "docs/x", true),
            ("*\n!src", "src/main.rs", false),
            ("**\n!src/*.rs", "src/main.rs", false),
            ("**\n!src/*.rs", "src/main.c", true),
            ("*/temp*", "a/temp1/x", true),
            ("*/*/temp*", "a/temp1", false),
            ("temp?", "tempa", true),
            ("*", ".", false),
            ("..", "a", false),
            ("../a", "a", false),
            ("./a/../b", "b", true),
        ] {
            assert_eq!(ignores(rules, path), expected, "{rules:?} {path}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        let error = |text: &[u8]| Ignore::parse(text).unwrap_err();
        assert_eq!(error(b"a\n!\n"), IgnoreError::Empty { line: 2 });
        assert_eq!(error(b"a\n\xff"), IgnoreError::NotUtf8 { line: 2 });
        assert_eq!(
            error(b"#\xff\na\n\n[").to_string(),
            "line 4: \"[\": `[` is not closed by `]`, or nothing stands between them"
        );
        assert!(Ignore::of_patterns(["*.md", "["]).is_err());
    }

    #[test]
    fn ignored_folders_are_entered_only_where_something_may_be_kept() {
        let enters = |rules: &str, folder: &str| Ignore::parse(rules.as_bytes()).unwrap().may_keep_below(folder);
        for (rules, folder, expected) in [
            ("*", "a", false),
            ("*\n!a", "a", true),
            ("*\n!a/b/c", "a", true),
            ("*\n!a/b/c", "a/b", true),
            ("*\n!a/b/c", "a/x", false),
            ("*\n!a/b/c", "x", false),
            ("*\n!*/b", "x", true),
            ("*\n!**/b", "x/y/z", true),
            ("*\n!a/**", "x", false),
            ("*\n!a/**", "a/b/c", true),
            ("*\n!a", "a/b", false),
        ] {
            assert_eq!(enters(rules, folder), expected, "{rules:?} {folder}");
        }
    }

    proptest::proptest! {
        /// A walk that does not enter what it need not enter finds all that is kept.
        #[test]
        fn nothing_kept_is_missed(rules in "(!?[ab*/]{1,5}\n){0,5}", path in "[ab](/[ab]{1,2}){0,3}") {
            let Ok(ignore) = Ignore::parse(rules.as_bytes()) else { return Ok(()) };
            if !ignore.ignores(&path) {
                let mut folder = Verdict::default();
                for (at, _) in path.match_indices('/') {
                    folder = ignore.look(&path[..at], &folder);
                    proptest::prop_assert!(!folder.ignored || ignore.may_keep_below(&path[..at]), "{:?}", &path[..at]);
                }
            }
        }

        #[test]
        fn nothing_panics(rules in proptest::collection::vec(proptest::num::u8::ANY, 0..40), path in ".{0,12}") {
            if let Ok(ignore) = Ignore::parse(&rules) {
                ignore.ignores(&path);
                ignore.may_keep_below(&path);
            }
        }
    }
}
