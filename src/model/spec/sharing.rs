//! What a container shares with the host or with another container: where each of its namespaces comes from.

use std::fmt;
use std::str::FromStr;

/// Where one namespace of a container comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NamespaceMode {
    /// Its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of another container, by its name or id. Looked up at each start.
    Container(String),
}

/// Where a container's shared memory and message queues come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum IpcMode {
    /// Its own, which no other container can join.
    #[default]
    Private,
    /// Its own, which others may join.
    Shareable,
    /// Its own, and no `/dev/shm`.
    None,
    Host,
    Container(String),
}

/// Where a container's network comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NetworkMode {
    /// A network namespace of its own, attached to `networks`.
    #[default]
    Bridge,
    /// A network namespace of its own with nothing but loopback.
    None,
    /// The host's network namespace.
    Host,
    /// That of another container, with its addresses, host name and name servers.
    Container(String),
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not such a mode: expected {expected}")]
pub struct InvalidMode {
    text: String,
    expected: &'static str,
}

impl InvalidMode {
    fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(80).collect(), expected }
    }
}

/// The container of `container:NAME`.
fn other(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

impl NamespaceMode {
    /// The container whose namespace it is.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Container(name) => Some(name),
            Self::Private | Self::Host => None,
        }
    }
}

impl IpcMode {
    /// The container whose namespace it is.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Container(name) => Some(name),
            Self::Private | Self::Shareable | Self::None | Self::Host => None,
        }
    }
}

impl NetworkMode {
    /// The container whose namespace it is.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Container(name) => Some(name),
            Self::Bridge | Self::None | Self::Host => None,
        }
    }
}

impl FromStr for NamespaceMode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        match text {
            "private" | "" => Ok(Self::Private),
            "host" => Ok(Self::Host),
            text => {
                other(text).map(Self::Container).ok_or_else(|| InvalidMode::new(text, "`private`, `host` or `container:NAME`"))
            }
        }
    }
}

impl FromStr for IpcMode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        match text {
            "private" | "" => Ok(Self::Private),
            "shareable" => Ok(Self::Shareable),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            text => other(text)
                .map(Self::Container)
                .ok_or_else(|| InvalidMode::new(text, "`private`, `shareable`, `none`, `host` or `container:NAME`")),
        }
    }
}

impl FromStr for NetworkMode {
    type Err = InvalidMode;

    fn from_str(text: &str) -> Result<Self, InvalidMode> {
        match text {
            "bridge" => Ok(Self::Bridge),
            "none" => Ok(Self::None),
            "host" => Ok(Self::Host),
            text => other(text)
                .map(Self::Container)
                .ok_or_else(|| InvalidMode::new(text, "`bridge`, `none`, `host` or `container:NAME`")),
        }
    }
}

impl fmt::Display for NamespaceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Private => f.write_str("private"),
            Self::Shareable => f.write_str("shareable"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bridge => f.write_str("bridge"),
            Self::None => f.write_str("none"),
            Self::Host => f.write_str("host"),
            Self::Container(name) => write!(f, "container:{name}"),
        }
    }
}

crate::model::serde_as_text!(NamespaceMode, "^(private|host|container:.+)$", "private, host or container:NAME");
crate::model::serde_as_text!(
    IpcMode,
    "^(private|shareable|none|host|container:.+)$",
    "private, shareable, none, host or container:NAME"
);
crate::model::serde_as_text!(NetworkMode, "^(bridge|none|host|container:.+)$", "bridge, none, host or container:NAME");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_text() {
        for text in ["private", "host", "container:db"] {
            assert_eq!(text.parse::<NamespaceMode>().unwrap().to_string(), text);
        }
        for text in ["private", "shareable", "none", "host", "container:0a1b"] {
            assert_eq!(text.parse::<IpcMode>().unwrap().to_string(), text);
        }
        for text in ["bridge", "none", "host", "container:web"] {
            assert_eq!(text.parse::<NetworkMode>().unwrap().to_string(), text);
        }
        for bad in ["own", "container:", "Host"] {
            assert!(bad.parse::<NamespaceMode>().is_err() && bad.parse::<IpcMode>().is_err(), "{bad}");
            assert!(bad.parse::<NetworkMode>().is_err(), "{bad}");
        }
    }
}
