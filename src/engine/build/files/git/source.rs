//! What a source of Git says: which repository, which commit, and which folder of it.
//! Source: Docker's documentation, "Build context", "Git repositories" (`URL#ref:subdir`); BuildKit's queries of URLs.

use reqwest::Url;

use crate::engine::build::files::FilesError;

/// A repository, and what of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitSource {
    /// As `git` takes it, without fragment and query.
    pub remote: String,
    pub reference: Reference,
    /// Relative to the repository's root; the root itself if empty.
    pub subdir: String,
    /// The beginning of the commit that it must be, or of the tag's own object.
    pub checksum: Option<String>,
    pub submodules: bool,
    /// `None`: the source says nothing of it.
    pub keep_git_dir: Option<bool>,
}

/// Which commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// What the repository itself begins with.
    Head,
    Branch(String),
    Tag(String),
    /// The digits of a commit.
    Commit(String),
    /// A tag, a branch, any other reference, or a commit, whichever there is.
    Any(String),
}

/// By which the command line and ADD tell it from a file.
const HOST_WITHOUT_SCHEME: &str = "github.com/";

impl GitSource {
    /// Whether ADD takes this source for a repository.
    pub fn is_one(text: &str) -> bool {
        let address = text.split(['#', '?']).next().unwrap_or(text);
        match address.split_once("://") {
            Some(("git" | "ssh", _)) => true,
            Some(("http" | "https", path)) => path.ends_with(".git") && path.contains('/'),
            Some(_) => false,
            None => address.starts_with(HOST_WITHOUT_SCHEME) || scp(address).is_some(),
        }
    }

    /// Reads a source. `https://` and `http://` need not end in `.git` here: whoever calls knows that it is a repository.
    pub fn parse(text: &str) -> Result<Self, FilesError> {
        let wrong = |why: &str| FilesError::GitSource { text: text.chars().take(200).collect(), why: why.to_owned() };
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(wrong("it has spaces or control characters in it"));
        }
        let text = if text.starts_with(HOST_WITHOUT_SCHEME) { format!("https://{text}") } else { text.to_owned() };
        let (address, fragment) = text.split_once('#').unwrap_or((&text, ""));
        let mut source = Self {
            remote: address.to_owned(),
            reference: Reference::Head,
            subdir: String::new(),
            checksum: None,
            submodules: true,
            keep_git_dir: None,
        };
        if address.contains("://") {
            let url = Url::parse(address).map_err(|_| wrong("its URL cannot be read"))?;
            if !matches!(url.scheme(), "http" | "https" | "ssh" | "git" | "file") {
                return Err(wrong("repositories are fetched by https, http, ssh and git"));
            }
            // Whatever begins so would be an option of ssh.
            let host_fits = url.host_str().map_or(url.scheme() == "file", |host| !host.starts_with('-'));
            if !host_fits || url.username().starts_with('-') || url.path().len() < 2 {
                return Err(wrong("its URL has no host and path that could be one"));
            }
            source.queries(&url).map_err(|why| wrong(&why))?;
            source.remote = address.split('?').next().unwrap_or(address).to_owned();
        } else if scp(address).is_none() {
            return Err(wrong("it is no URL, and not the like of git@host:path"));
        }
        let (reference, subdir) = fragment.split_once(':').unwrap_or((fragment, ""));
        if !reference.is_empty() {
            source.set(Reference::Any(reference.to_owned())).map_err(wrong)?;
        }
        if !subdir.is_empty() {
            source.subdir = subdir.to_owned();
        }
        match &source.reference {
            Reference::Head => {}
            Reference::Commit(digits) => {
                if !is_hex(digits) || digits.len() < 7 || digits.len() > 64 {
                    return Err(wrong("a commit is 7 to 64 hexadecimal digits"));
                }
            }
            Reference::Branch(name) | Reference::Tag(name) | Reference::Any(name) => {
                if !is_reference(name) {
                    return Err(wrong("there is no such name of a branch or tag"));
                }
            }
        }
        if source.checksum.as_ref().is_some_and(|checksum| !is_checksum(checksum)) {
            return Err(wrong("a checksum is 7 to 64 hexadecimal digits"));
        }
        Ok(source)
    }

    /// The same with a checksum that is said elsewhere, such as by `ADD --checksum`.
    pub fn with_checksum(self, checksum: &str) -> Result<Self, FilesError> {
        if is_checksum(checksum) {
            return Ok(Self { checksum: Some(checksum.to_ascii_lowercase()), ..self });
        }
        let why = format!("its checksum is {checksum:?}, and that of a commit is 7 to 64 hexadecimal digits");
        Err(FilesError::GitSource { text: self.shown(), why })
    }

    /// The repository for people to read: without what may be a password.
    pub fn shown(&self) -> String {
        match self.remote.split_once("://") {
            Some((scheme, rest)) => {
                let host = rest.find('/').unwrap_or(rest.len());
                let start = rest[..host].rfind('@').map_or(0, |at| at + 1);
                format!("{scheme}://{}", &rest[start..])
            }
            None => self.remote.clone(),
        }
    }

    fn set(&mut self, reference: Reference) -> Result<(), &'static str> {
        if self.reference != Reference::Head {
            return Err("it says more than once which commit is meant");
        }
        self.reference = reference;
        Ok(())
    }

    fn queries(&mut self, url: &Url) -> Result<(), String> {
        for (key, value) in url.query_pairs() {
            let value = value.into_owned();
            let flag = |value: &str| match value {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(format!("{key} is true or false, and not {value:?}")),
            };
            match &*key {
                "ref" => self.set(Reference::Any(value))?,
                "branch" => self.set(Reference::Branch(value))?,
                "tag" => self.set(Reference::Tag(value))?,
                "commit" => {
                    let digits = value.to_ascii_lowercase();
                    // Beside a branch or a tag it is what that must be.
                    match self.reference {
                        Reference::Head => self.reference = Reference::Commit(digits),
                        _ => self.checksum = Some(digits),
                    }
                }
                "checksum" => self.checksum = Some(value.to_ascii_lowercase()),
                "subdir" => self.subdir = value,
                "submodules" => self.submodules = flag(&value)?,
                "keep-git-dir" => self.keep_git_dir = Some(flag(&value)?),
                other => return Err(format!("it has no query {other:?}")),
            }
        }
        Ok(())
    }
}

/// `user@host:path`, as ssh has it.
fn scp(text: &str) -> Option<()> {
    let (user, rest) = text.split_once('@')?;
    let (host, path) = rest.split_once(':')?;
    let name = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        !text.is_empty() && !text.starts_with('-') && text.chars().all(fits)
    };
    (name(user) && name(host) && !path.is_empty() && !path.starts_with('-') && !path.starts_with("//")).then_some(())
}

/// Source: git-check-ref-format(1).
fn is_reference(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let fits = |c: char| !c.is_control() && !matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    name.len() <= 250
        && !name.starts_with('-')
        && !name.ends_with('.')
        && name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && name.split('/').all(part)
        && name.chars().all(fits)
}

fn is_checksum(text: &str) -> bool {
    (7..=64).contains(&text.len()) && is_hex(text)
}

pub(super) fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_repository() {
        for (text, expected) in [
            ("https://host/team/repo.git", true),
            ("https://host/team/repo.git#main:sub", true),
            ("https://host/team/repo.git?ref=main", true),
            ("http://host/repo.git", true),
            ("https://host/file.tar.gz", false),
            ("https://host/repo", false),
            ("git://host/repo", true),
            ("ssh://git@host/repo", true),
            ("git@host:team/repo.git", true),
            ("git@host:team/repo#v1:sub", true),
            ("github.com/team/repo", true),
            ("file:///repo.git", false),
            ("some/path.git", false),
            ("a@b", false),
            ("-oProxyCommand=x@host:path", false),
        ] {
            assert_eq!(GitSource::is_one(text), expected, "{text}");
        }
    }

    #[test]
    fn sources() {
        let parsed = |text: &str| GitSource::parse(text).unwrap();
        let any = |text: &str| Reference::Any(text.to_owned());
        let source = parsed("https://host/repo.git#v1.0:deep/sub");
        assert_eq!((source.remote.as_str(), source.subdir.as_str()), ("https://host/repo.git", "deep/sub"));
        assert_eq!((source.reference, source.submodules, source.keep_git_dir), (any("v1.0"), true, None));
        assert_eq!(parsed("github.com/a/b").remote, "https://github.com/a/b");
        assert_eq!(parsed("git@host:a/b.git#x").remote, "git@host:a/b.git");
        assert_eq!(parsed("https://host/repo.git#:sub").reference, Reference::Head);
        let source = parsed("https://host/r.git?tag=v1&commit=ABCDEF1&subdir=a%2Fb&submodules=false&keep-git-dir=1");
        assert_eq!(source.reference, Reference::Tag("v1".to_owned()));
        assert_eq!((source.checksum.as_deref(), source.subdir.as_str()), (Some("abcdef1"), "a/b"));
        assert_eq!((source.submodules, source.keep_git_dir), (false, Some(true)));
        assert_eq!(source.remote, "https://host/r.git");
        assert_eq!(parsed("https://host/r.git?commit=abcdef1").reference, Reference::Commit("abcdef1".to_owned()));
        assert_eq!(parsed("https://user:pass@host/r.git").shown(), "https://host/r.git");
        for bad in [
            "https://host/r.git#--upload-pack=x",
            "https://host/r.git?ref=-x",
            "https://host/r.git#a..b",
            "https://host/r.git#a b",
            "https://host/r.git#a\nb",
            "https://host/r.git#refs/heads/",
            "https://host/r.git#x@{1}",
            "https://host/r.git?branch=a&tag=b",
            "https://host/r.git?ref=a#b",
            "https://host/r.git?colour=red",
            "https://host/r.git?submodules=maybe",
            "https://host/r.git?checksum=xyz",
            "https://host/r.git?commit=12",
            "ext::sh -c touch% /tmp/x",
            "ext://sh",
            "ssh://-oProxyCommand=x/path",
            "-u:x",
            "-oX@host:path",
            "repo",
            "https://host",
        ] {
            assert!(matches!(GitSource::parse(bad), Err(FilesError::GitSource { .. })), "{bad}");
        }
    }
}
