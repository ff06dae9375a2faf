//! The sources of COPY and ADD: which paths of a context or a stage they mean. `*`, `?` and `[…]` stay within a name; with
//! `--parents`, `**` is any folders, and `/./` says from where on folders are kept.
//! Source: Dockerfile reference, "COPY", "COPY --parents"; Go's `path/filepath.Match`.

use super::glob::{Glob, GlobError, Stars, clean};

/// One source of COPY or ADD, once its variables are replaced.
#[derive(Clone, Debug)]
pub struct Wildcard {
    /// The folder that is looked through, without a leading slash; empty for the root. For a source without wildcards the
    /// path itself.
    folder: String,
    /// What paths below the folder must fit; none when the source has no wildcards.
    rest: Option<Glob>,
    /// With `--parents`: the beginning of the path that is not kept, without a leading slash.
    dropped: String,
}

impl Wildcard {
    /// # Errors
    /// When `[` is not closed and the like.
    pub fn parse(source: &str, parents: bool) -> Result<Self, GlobError> {
        let pivot = if parents { source.split_once("/./") } else { None };
        let dropped = pivot.map_or(String::new(), |(before, _)| relative(before));
        let source = relative(source);
        let names: Vec<&str> = if source.is_empty() { Vec::new() } else { source.split('/').collect() };
        let plain = names.iter().take_while(|name| !has_wildcards(name)).count();
        let folder = names[..plain].iter().map(|name| unescaped(name)).collect::<Vec<_>>().join("/");
        let stars = if parents { Stars::Folders } else { Stars::One };
        let rest = (plain < names.len()).then(|| Glob::parse(&names[plain..].join("/"), stars)).transpose()?;
        Ok(Self { folder, rest, dropped })
    }

    /// Where to look: a path relative to the root, empty for the root itself. Without wildcards it is what is meant.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    pub fn has_wildcards(&self) -> bool {
        self.rest.is_some()
    }

    /// Whether a path that is relative to [`Self::folder`] is meant. What is below one that is meant is meant with it.
    pub fn matches(&self, path: &str) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.matches(path))
    }

    /// With `--parents`: which part of a path relative to the root is kept at the destination.
    pub fn kept<'p>(&self, path: &'p str) -> &'p str {
        match path.strip_prefix(self.dropped.as_str()) {
            Some(rest) if self.dropped.is_empty() || rest.is_empty() || rest.starts_with('/') => rest.trim_start_matches('/'),
            _ => path,
        }
    }
}

/// Clean, and relative to the root that it cannot leave.
fn relative(path: &str) -> String {
    clean(&format!("/{path}")).trim_start_matches('/').to_owned()
}

fn has_wildcards(name: &str) -> bool {
    let mut escaped = false;
    name.chars().any(|c| {
        let special = !escaped && matches!(c, '*' | '?' | '[');
        escaped = !escaped && c == '\\';
        special
    })
}

fn unescaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or(c) } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_a_folder_and_what_fits_below_it() {
        for (source, folder, fits, fits_not) in [
            (".", "", None, Some("a")),
            ("/", "", None, Some("a")),
            ("a/b", "a/b", None, Some("a/b")),
            ("../../a/./b//", "a/b", None, None),
            (r"a\*b", "a*b", None, None),
            ("*", "", Some("a"), Some("a/b")),
            ("/src/*.c", "src", Some("x.c"), Some("y/x.c")),
            ("src/*/x?", "src", Some("y/xz"), Some("xz")),
            ("[a-c]*", "", Some("bz"), Some("dz")),
            ("a/**/x", "a", Some("b/x"), Some("b/c/x")),
        ] {
            let wildcard = Wildcard::parse(source, false).unwrap();
            assert_eq!(wildcard.folder(), folder, "{source}");
            assert_eq!(wildcard.has_wildcards(), fits.is_some(), "{source}");
            assert!(fits.is_none_or(|path| wildcard.matches(path)), "{source}");
            assert!(fits_not.is_none_or(|path| !wildcard.matches(path)), "{source}");
        }
        assert!(Wildcard::parse("a/[", false).is_err());
    }

    #[test]
    fn with_parents() {
        let wildcard = Wildcard::parse("./x/./y/**/*.txt", true).unwrap();
        assert_eq!(wildcard.folder(), "x/y");
        assert!(wildcard.matches("a.txt") && wildcard.matches("b/c/a.txt") && !wildcard.matches("a.md"));
        assert_eq!(wildcard.kept("x/y/b/a.txt"), "y/b/a.txt");
        let wildcard = Wildcard::parse("/x/*.txt", true).unwrap();
        assert_eq!(wildcard.kept("x/a.txt"), "x/a.txt");
    }
}
