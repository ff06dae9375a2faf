//! Whose users a container's are: the host's, or its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ContainerSpec, IpcMode, NamespaceMode, NetworkMode};

/// Where a container's user namespace comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsersMode {
    /// The host's: root in the container is root.
    #[default]
    Host,
    /// Its own. Its ids from 0 on are ids of the host that nobody else has.
    Own {
        /// How many ids.
        size: u32,
    },
}

impl UsersMode {
    /// As many as have 16 bits: with the last but one, `nobody`, among them.
    pub const SIZE: u32 = 65_536;
}

/// The ids of the host that are a container's, from its 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRange {
    pub uid: u32,
    pub gid: u32,
    pub size: u32,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a mode of users: {why}")]
pub struct InvalidUsers {
    text: String,
    why: &'static str,
}

impl FromStr for UsersMode {
    type Err = InvalidUsers;

    fn from_str(text: &str) -> Result<Self, InvalidUsers> {
        let invalid = |why| InvalidUsers { text: text.chars().take(80).collect(), why };
        let (mode, options) = text.split_once(':').map_or((text, None), |(mode, options)| (mode, Some(options)));
        match (mode, options) {
            ("" | "host", None) => Ok(Self::Host),
            ("auto" | "private", None) => Ok(Self::Own { size: Self::SIZE }),
            ("auto", Some(options)) => {
                let mut size = Self::SIZE;
                for option in options.split(',') {
                    match option.split_once('=') {
                        Some(("size", number)) => {
                            let number = number.parse().ok().filter(|n| (1..=i32::MAX.cast_unsigned()).contains(n));
                            size = number.ok_or_else(|| invalid("the size is a number of ids, from 1 to 2147483647"))?;
                        }
                        Some(("uidmapping" | "gidmapping", _)) => {
                            return Err(invalid("ids are picked from /etc/subuid and /etc/subgid, and cannot be named here"));
                        }
                        _ => return Err(invalid("the option of auto is size=N")),
                    }
                }
                Ok(Self::Own { size })
            }
            ("keep-id", _) => Err(invalid("keep-id is for engines that an ordinary user runs; there are host and auto")),
            ("container" | "ns", Some(_)) => {
                Err(invalid("the users of somebody else cannot be joined: each container has the host's or its own (auto)"))
            }
            ("nomap", _) => Err(invalid("there are host and auto")),
            _ => Err(invalid("expected `host`, `auto` or `auto:size=N`")),
        }
    }
}

impl fmt::Display for UsersMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Own { size } if *size == Self::SIZE => f.write_str("auto"),
            Self::Own { size } => write!(f, "auto:size={size}"),
        }
    }
}

crate::model::serde_as_text!(UsersMode, "^(host|auto(:size=[0-9]+)?)$", "host, auto or auto:size=N");

impl ContainerSpec {
    /// What of the host's or of another container's it is to have, as a flag says it, though its users are its own: that is
    /// open to the host's root, whom it does not have.
    pub fn users_exclude(&self) -> Option<String> {
        if self.userns == UsersMode::Host {
            return None;
        }
        if self.privileged {
            return Some("privileged".to_owned());
        }
        match (&self.network_mode, &self.pid, &self.ipc) {
            (NetworkMode::Host, _, _) => Some("network host".to_owned()),
            (_, pid @ (NamespaceMode::Host | NamespaceMode::Container(_)), _) => Some(format!("pid {pid}")),
            (_, _, ipc @ (IpcMode::Host | IpcMode::Container(_))) => Some(format!("ipc {ipc}")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text() {
        for text in ["host", "auto", "auto:size=1000"] {
            assert_eq!(text.parse::<UsersMode>().unwrap().to_string(), text);
        }
        assert_eq!("private".parse(), Ok(UsersMode::Own { size: 65_536 }));
        assert_eq!("auto:size=65536".parse::<UsersMode>().unwrap().to_string(), "auto");
        for bad in ["keep-id", "container:a", "ns:/proc/1/ns/user", "nomap", "auto:", "auto:size=0", "auto:uidmapping=0:1:1", "x"]
        {
            assert!(bad.parse::<UsersMode>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_the_hosts_is_excluded() {
        let mut spec = ContainerSpec::new("x".parse().unwrap());
        (spec.privileged, spec.network_mode) = (true, NetworkMode::Host);
        assert_eq!(spec.users_exclude(), None);
        spec.userns = UsersMode::Own { size: 10 };
        assert_eq!(spec.users_exclude().as_deref(), Some("privileged"));
        spec.privileged = false;
        assert_eq!(spec.users_exclude().as_deref(), Some("network host"));
        spec.network_mode = NetworkMode::Container("a".into());
        assert_eq!(spec.users_exclude(), None);
        spec.pid = NamespaceMode::Container("a".into());
        assert_eq!(spec.users_exclude().as_deref(), Some("pid container:a"));
        (spec.pid, spec.ipc) = (NamespaceMode::Private, IpcMode::Host);
        assert_eq!(spec.users_exclude().as_deref(), Some("ipc host"));
    }
}
