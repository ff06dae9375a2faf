//! Devices of the host that a container has beside the harmless ones.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A device node, or a folder of them: `PATH[:PATH[:ACCESS]]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Device {
    /// On the host. Absolute.
    pub source: String,
    /// In the container. Absolute.
    pub target: String,
    pub access: DeviceAccess,
}

/// What a container may do with a device: read it, write it, make nodes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceAccess {
    pub read: bool,
    pub write: bool,
    pub make: bool,
}

/// A rule beside those of `devices`: `TYPE MAJOR:MINOR ACCESS`, such as `c 116:* rwm`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceCgroupRule {
    /// `a` (all), `b` (block) or `c` (character).
    pub kind: char,
    /// `None` is any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: DeviceAccess,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not a {what}: {why}")]
pub struct InvalidDevice {
    text: String,
    what: &'static str,
    why: &'static str,
}

fn invalid(what: &'static str, text: &str, why: &'static str) -> InvalidDevice {
    InvalidDevice { text: text.chars().take(120).collect(), what, why }
}

impl DeviceAccess {
    pub const ALL: Self = Self { read: true, write: true, make: true };

    fn parse(text: &str) -> Option<Self> {
        let once = |letter: char| text.chars().filter(|c| *c == letter).count() <= 1;
        let fine =
            !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm')) && ['r', 'w', 'm'].into_iter().all(once);
        fine.then(|| Self { read: text.contains('r'), write: text.contains('w'), make: text.contains('m') })
    }
}

impl fmt::Display for DeviceAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(self.read, "r"), (self.write, "w"), (self.make, "m")];
        letters.into_iter().filter(|(has, _)| *has).try_for_each(|(_, letter)| f.write_str(letter))
    }
}

impl FromStr for Device {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let invalid = |why| invalid("device", text, why);
        let parts: Vec<&str> = text.split(':').collect();
        let access = |text| DeviceAccess::parse(text).ok_or_else(|| invalid("the access is of the letters r, w and m"));
        let (source, target, access) = match parts.as_slice() {
            [source] => (*source, *source, DeviceAccess::ALL),
            // The second part is a path, unless it can only be an access.
            [source, second] if !second.starts_with('/') => (*source, *source, access(second)?),
            [source, target] => (*source, *target, DeviceAccess::ALL),
            [source, target, third] => (*source, *target, access(third)?),
            _ => return Err(invalid("expected PATH[:PATH[:ACCESS]], such as /dev/fuse or /dev/sdb:/dev/xvdb:r")),
        };
        if text.contains('=') && !source.starts_with('/') {
            return Err(invalid("devices by the name of a vendor (CDI) are not supported; name the device's path"));
        }
        for path in [source, target] {
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.ends_with('/') {
                return Err(invalid("both paths are absolute, without `..`"));
            }
        }
        Ok(Self { source: source.to_owned(), target: target.to_owned(), access })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.target, self.access)
    }
}

impl FromStr for DeviceCgroupRule {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let invalid = |why| invalid("device rule", text, why);
        let form = "expected TYPE MAJOR:MINOR ACCESS, such as `c 116:* rwm`";
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [kind, numbers, access] = parts.as_slice() else { return Err(invalid(form)) };
        let kind = match *kind {
            "a" => 'a',
            "b" => 'b',
            "c" => 'c',
            _ => return Err(invalid("the type is a (all), b (block) or c (character)")),
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            text => text.parse().map(Some).map_err(|_| invalid("a number of a device is decimal, or * for any")),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(|| invalid(form))?;
        let access = DeviceAccess::parse(access).ok_or_else(|| invalid("the access is of the letters r, w and m"))?;
        Ok(Self { kind, major: number(major)?, minor: number(minor)?, access })
    }
}

impl fmt::Display for DeviceCgroupRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{} {}:{} {}", self.kind, number(self.major), number(self.minor), self.access)
    }
}

crate::model::serde_as_text!(Device, "^/[^:]*(:[^:]+){0,2}$", "A device: PATH[:PATH[:ACCESS]], such as /dev/fuse");
crate::model::serde_as_text!(
    DeviceCgroupRule,
    "^[abc] +([0-9]+|\\*):([0-9]+|\\*) +[rwm]+$",
    "A rule for devices, such as c 116:* rwm"
);

/// Another container whose volumes a container has too: `NAME[:ro|:rw]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumesFrom {
    /// By name or id.
    pub container: String,
    /// They cannot be written, whatever they are there.
    pub read_only: bool,
}

impl VolumesFrom {
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (container, read_only) = match text.rsplit_once(':') {
            Some((container, "ro")) => (container, true),
            Some((container, "rw" | "z" | "Z")) => (container, false),
            Some((_, _)) if !text.starts_with("container:") || text.matches(':').count() > 1 => {
                return Err("expected NAME, NAME:ro or NAME:rw");
            }
            _ => (text, false),
        };
        let container = container.strip_prefix("container:").unwrap_or(container);
        if container.is_empty() { Err("it names no container") } else { Ok(Self { container: container.to_owned(), read_only }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, expected) in [
            ("/dev/fuse", "/dev/fuse:/dev/fuse:rwm"),
            ("/dev/sdb:r", "/dev/sdb:/dev/sdb:r"),
            ("/dev/sdb:/dev/xvdb", "/dev/sdb:/dev/xvdb:rwm"),
            ("/dev/sdb:/dev/xvdb:rw", "/dev/sdb:/dev/xvdb:rw"),
        ] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), expected, "{text}");
        }
        for bad in ["fuse", "/dev/a:b", "/dev/a:/dev/b:x", "/dev/a:/dev/b:rr", "/dev/../etc:/x", "vendor.com/gpu=0", "/a:/b:r:w"]
        {
            assert!(bad.parse::<Device>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rules() {
        for text in ["c 116:* rwm", "b *:* r", "a *:* rwm", "c 1:3 w"] {
            assert_eq!(text.parse::<DeviceCgroupRule>().unwrap().to_string(), text);
        }
        for bad in ["c 1:3", "x 1:3 r", "c 1 r", "c 0x1:3 r", "c 1:3 q", ""] {
            assert!(bad.parse::<DeviceCgroupRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn volumes_from() {
        let parse = |text| VolumesFrom::parse(text).map(|v| (v.container, v.read_only));
        assert_eq!(parse("db"), Ok(("db".into(), false)));
        assert_eq!(parse("db:ro"), Ok(("db".into(), true)));
        assert_eq!(parse("container:db:rw"), Ok(("db".into(), false)));
        assert_eq!(parse("container:db"), Ok(("db".into(), false)));
        assert!(parse("db:x").is_err() && parse(":ro").is_err() && parse("").is_err());
    }
}
