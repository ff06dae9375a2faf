//! The host's `git`, run so that nothing on the host has a say in what it does but where it is: no configuration, no hooks, no
//! credentials, no questions.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::engine::build::files::FilesError;

/// What a fetch may use of the host.
#[derive(Clone, Debug, Default)]
pub struct GitAccess {
    /// The socket of an agent, for repositories by ssh.
    pub ssh_agent: Option<PathBuf>,
    /// Whether repositories on this host may be read, by `file://`.
    pub local: bool,
}

/// What is passed on: where programs are, and how the network is reached.
const PASSED: [&str; 12] = [
    "PATH",
    "TMPDIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

const CONFIG: [(&str, &str); 17] = [
    ("core.hooksPath", "/dev/null"),
    ("init.templateDir", ""),
    ("init.defaultBranch", "main"),
    ("core.fsmonitor", "false"),
    ("core.autocrlf", "false"),
    ("core.symlinks", "true"),
    ("core.protectHFS", "true"),
    ("core.protectNTFS", "true"),
    ("credential.helper", ""),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("advice.detachedHead", "false"),
    ("fetch.recurseSubmodules", "false"),
    // Whose a local repository is, is no reason to distrust what is fetched from it.
    ("safe.directory", "*"),
    ("http.followRedirects", "initial"),
    // A server that sends nothing for a minute.
    ("http.lowSpeedLimit", "100"),
    ("http.lowSpeedTime", "60"),
];

/// `git` in one repository.
pub(super) struct Git<'a> {
    pub(super) folder: &'a Path,
    pub(super) access: &'a GitAccess,
    /// For messages.
    pub(super) url: String,
    /// What must not be shown: what stands before the host in the URL.
    pub(super) secret: Option<String>,
}

impl Git<'_> {
    /// Runs it, and returns what it writes.
    pub(super) fn run<S: AsRef<OsStr>>(&self, action: &'static str, arguments: &[S]) -> Result<String, FilesError> {
        let mut command = Command::new("git");
        command.env_clear().envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_SYSTEM", "/dev/null").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_ATTR_NOSYSTEM", "1").env("LC_ALL", "C");
        // Not what is checked out: a repository could bring what is looked for in it.
        command.env("HOME", self.folder.join(".git"));
        if let Some(outside) = self.folder.parent() {
            command.env("GIT_CEILING_DIRECTORIES", outside);
        }
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "").env("SSH_ASKPASS", "");
        command.env("GIT_ALLOW_PROTOCOL", if self.access.local { "https:http:ssh:git:file" } else { "https:http:ssh:git" });
        command.env("GIT_SSH_COMMAND", "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30");
        if let Some(agent) = &self.access.ssh_agent {
            command.env("SSH_AUTH_SOCK", agent);
        }
        command.env("GIT_CONFIG_COUNT", CONFIG.len().to_string());
        for (index, (key, value)) in CONFIG.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key).env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.arg("-C").arg(self.folder).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = command.output().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => FilesError::NoGit { url: self.url.clone() },
            _ => FilesError::Git { action, url: self.url.clone(), said: e.to_string() },
        })?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(FilesError::Git { action, url: self.url.clone(), said: self.said(&output.stderr, &output.status.to_string()) })
    }

    /// The last lines of what it complains about.
    fn said(&self, stderr: &[u8], otherwise: &str) -> String {
        let text = String::from_utf8_lossy(stderr);
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines[lines.len().saturating_sub(3)..].join("; ");
        let plain: String = last.chars().filter(|c| !c.is_control()).take(500).collect();
        let plain = match &self.secret {
            Some(secret) => plain.replace(secret.as_str(), "…"),
            None => plain,
        };
        if plain.is_empty() { otherwise.to_owned() } else { plain }
    }
}
