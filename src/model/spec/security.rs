//! What of a container's confinement is not as usual: Docker's `--security-opt`.

use serde::{Deserialize, Serialize};

/// How a container is confined. The default is: as much as can be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Security {
    /// Whether programs can gain privileges that their starter lacks. `None` is the engine's default: they cannot.
    pub no_new_privileges: Option<bool>,
    pub seccomp: Seccomp,
    /// A profile of AppArmor that the host has loaded, or `unconfined`.
    pub apparmor: Option<String>,
    /// Options of an SELinux label, such as `disable` or `type:container_t`.
    pub label: Vec<String>,
    /// Paths of the kernel's file systems are neither masked nor read-only.
    pub unconfined_paths: bool,
    /// Sockets of all families, and those that are asked for by `socketcall`, where the default profile holds.
    pub unconfined_sockets: bool,
}

/// Which system calls a container may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    #[default]
    Default,
    Unconfined,
    /// A profile in Docker's form, as JSON.
    Profile(String),
}

/// One `--security-opt`, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecurityOption {
    NoNewPrivileges(bool),
    SeccompUnconfined,
    SeccompDefault,
    /// The file of a profile, whose content is to be read.
    SeccompFile(String),
    Apparmor(String),
    Label(String),
    UnconfinedPaths,
    UnconfinedSockets,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a security option: {why}")]
pub struct InvalidOption {
    text: String,
    why: &'static str,
}

impl std::str::FromStr for SecurityOption {
    type Err = InvalidOption;

    /// `KEY=VALUE`, or `KEY:VALUE` as Docker once had it.
    fn from_str(text: &str) -> Result<Self, InvalidOption> {
        let invalid = |why| InvalidOption { text: text.chars().take(80).collect(), why };
        let (key, value) = match text.split_once(['=', ':']) {
            Some((key, value)) => (key, Some(value).filter(|value| !value.is_empty())),
            None => (text, None),
        };
        match (key, value) {
            ("no-new-privileges", None | Some("true" | "1")) => Ok(Self::NoNewPrivileges(true)),
            ("no-new-privileges", Some("false" | "0")) => Ok(Self::NoNewPrivileges(false)),
            ("no-new-privileges", Some(_)) => Err(invalid("its value is true or false")),
            ("seccomp", Some("unconfined")) => Ok(Self::SeccompUnconfined),
            ("seccomp", Some("default" | "builtin")) => Ok(Self::SeccompDefault),
            ("seccomp", Some(file)) => Ok(Self::SeccompFile(file.to_owned())),
            ("apparmor", Some(profile)) => Ok(Self::Apparmor(profile.to_owned())),
            ("label", Some(label)) => Ok(Self::Label(label.to_owned())),
            ("systempaths", Some("unconfined")) => Ok(Self::UnconfinedPaths),
            ("systempaths", _) => Err(invalid("there is `systempaths=unconfined` only")),
            ("sockets", Some("unconfined")) => Ok(Self::UnconfinedSockets),
            ("sockets", _) => Err(invalid("there is `sockets=unconfined` only")),
            ("seccomp" | "apparmor" | "label", None) => Err(invalid("it needs a value")),
            ("proc-opts" | "mask" | "unmask", _) => Err(invalid("it is not supported; there is `systempaths=unconfined`")),
            _ => Err(invalid(
                "the options are no-new-privileges, seccomp=, apparmor=, label=, systempaths=unconfined and sockets=unconfined",
            )),
        }
    }
}

impl Security {
    /// Applies an option; `read` gives the content of a profile's file.
    ///
    /// # Errors
    /// That of `read`.
    pub fn apply<E>(&mut self, option: SecurityOption, read: impl FnOnce(&str) -> Result<String, E>) -> Result<(), E> {
        match option {
            SecurityOption::NoNewPrivileges(value) => self.no_new_privileges = Some(value),
            SecurityOption::SeccompUnconfined => self.seccomp = Seccomp::Unconfined,
            SecurityOption::SeccompDefault => self.seccomp = Seccomp::Default,
            SecurityOption::SeccompFile(file) => self.seccomp = Seccomp::Profile(read(&file)?),
            SecurityOption::Apparmor(profile) => self.apparmor = Some(profile),
            SecurityOption::Label(label) => self.label.push(label),
            SecurityOption::UnconfinedPaths => self.unconfined_paths = true,
            SecurityOption::UnconfinedSockets => self.unconfined_sockets = true,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        use SecurityOption as O;
        for (text, expected) in [
            ("no-new-privileges", O::NoNewPrivileges(true)),
            ("no-new-privileges:false", O::NoNewPrivileges(false)),
            ("no-new-privileges=true", O::NoNewPrivileges(true)),
            ("seccomp=unconfined", O::SeccompUnconfined),
            ("seccomp=./p.json", O::SeccompFile("./p.json".into())),
            ("apparmor=unconfined", O::Apparmor("unconfined".into())),
            ("label=type:svirt", O::Label("type:svirt".into())),
            ("label:disable", O::Label("disable".into())),
            ("systempaths=unconfined", O::UnconfinedPaths),
            ("sockets=unconfined", O::UnconfinedSockets),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for bad in ["", "nope", "seccomp", "no-new-privileges=perhaps", "systempaths=all", "sockets", "apparmor=", "mask=/proc/x"]
        {
            assert!(bad.parse::<SecurityOption>().is_err(), "{bad}");
        }
    }
}
