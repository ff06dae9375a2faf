//! The options of a mount, sorted by who understands them: the mount itself, its propagation, or its file system.

use oci_spec::runtime::Mount;

/// A mount's attribute bits as `mount_setattr` takes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) set: u64,
    pub(super) clear: u64,
}

impl Attributes {
    pub(super) const fn is_empty(self) -> bool {
        self.set == 0 && self.clear == 0
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) bind: bool,
    /// Binds bring along what is mounted below their source.
    pub(super) recursive: bool,
    pub(super) remount: bool,
    /// Of the mount alone.
    pub(super) attributes: Attributes,
    /// Of the mount and all below it.
    pub(super) deep: Attributes,
    /// In their order: `MS_*` bits, and whether all mounts below are meant too.
    pub(super) propagation: Vec<(u64, bool)>,
    /// What the mount point had is copied into the new tmpfs.
    pub(super) copy_up: bool,
    /// Owners are seen through the container's own mappings; and whether below too.
    pub(super) mapped: Option<bool>,
    /// The file system's own.
    pub(super) data: Vec<(String, Option<String>)>,
}

const READ_ONLY: u64 = 0x01;
const NO_SUID: u64 = 0x02;
const NO_DEV: u64 = 0x04;
const NO_EXEC: u64 = 0x08;
const ACCESS_TIMES: u64 = 0x70;
const NO_ACCESS_TIME: u64 = 0x10;
const STRICT_ACCESS_TIME: u64 = 0x20;
const NO_FOLDER_ACCESS_TIME: u64 = 0x80;
const NO_SYMLINKS: u64 = 0x0020_0000;

impl Options {
    pub(super) fn parse(mount: &Mount) -> Self {
        let mut parsed = Self { bind: mount.typ().as_deref() == Some("bind"), ..Self::default() };
        for option in mount.options().iter().flatten() {
            parsed.add(option);
        }
        parsed
    }

    fn add(&mut self, option: &str) {
        match option {
            "bind" => self.bind = true,
            "rbind" => (self.bind, self.recursive) = (true, true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.mapped = Some(false),
            "ridmap" => self.mapped = Some(true),
            "defaults" | "nofail" => {}
            // Of the superblock, and not a mount's: the file system is asked.
            "sync" | "dirsync" | "lazytime" | "mand" | "iversion" => self.data.push((option.to_owned(), None)),
            "async" | "nolazytime" | "nomand" | "loud" | "noiversion" | "silent" => {}
            _ => {
                if let Some(propagation) = propagation(option) {
                    self.propagation.push(propagation);
                } else if let Some(change) = attribute(option) {
                    merge(&mut self.attributes, change);
                } else if let Some(change) = option.strip_prefix('r').and_then(attribute) {
                    merge(&mut self.deep, change);
                } else {
                    self.data.push(match option.split_once('=') {
                        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                        None => (option.to_owned(), None),
                    });
                }
            }
        }
    }
}

/// The later of two options that contradict each other holds.
fn merge(all: &mut Attributes, change: Attributes) {
    all.set = all.set & !change.clear | change.set;
    all.clear = all.clear & !change.set | change.clear;
}

fn attribute(option: &str) -> Option<Attributes> {
    let set = |bit| Attributes { set: bit, clear: 0 };
    let clear = |bit| Attributes { set: 0, clear: bit };
    // Of the ways to keep access times there is one at a time, which replaces all others.
    let times = |bit| Attributes { set: bit, clear: ACCESS_TIMES };
    Some(match option {
        "ro" => set(READ_ONLY),
        "rw" => clear(READ_ONLY),
        "nosuid" => set(NO_SUID),
        "suid" => clear(NO_SUID),
        "nodev" => set(NO_DEV),
        "dev" => clear(NO_DEV),
        "noexec" => set(NO_EXEC),
        "exec" => clear(NO_EXEC),
        "nodiratime" => set(NO_FOLDER_ACCESS_TIME),
        "diratime" => clear(NO_FOLDER_ACCESS_TIME),
        "nosymfollow" => set(NO_SYMLINKS),
        "symfollow" => clear(NO_SYMLINKS),
        "noatime" => times(NO_ACCESS_TIME),
        "strictatime" => times(STRICT_ACCESS_TIME),
        "relatime" | "atime" | "norelatime" | "nostrictatime" => times(0),
        _ => return None,
    })
}

/// The bits of `shared`, `slave`, `private` or `unbindable`, with `r` before it for all mounts below.
pub(super) fn propagation(word: &str) -> Option<(u64, bool)> {
    let bits = |word: &str| match word {
        "shared" => Some(libc::MS_SHARED),
        "slave" => Some(libc::MS_SLAVE),
        "private" => Some(libc::MS_PRIVATE),
        "unbindable" => Some(libc::MS_UNBINDABLE),
        _ => None,
    };
    bits(word).map(|b| (b, false)).or_else(|| Some((bits(word.strip_prefix('r')?)?, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &str) -> Options {
        let json = serde_json::json!({"destination": "/x", "options": options.split(',').collect::<Vec<_>>()});
        Options::parse(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn options_go_where_they_belong() {
        let parsed = parse("rbind,ro,nosuid,rw,rro,rnoexec,rslave,noatime,size=5k,noswap,relatime");
        assert!(parsed.bind && parsed.recursive);
        assert_eq!(parsed.attributes, Attributes { set: NO_SUID, clear: READ_ONLY | ACCESS_TIMES });
        assert_eq!(parsed.deep, Attributes { set: READ_ONLY | NO_EXEC, clear: 0 });
        assert_eq!(parsed.propagation, [(libc::MS_SLAVE, true)]);
        assert_eq!(parsed.data, [("size".to_owned(), Some("5k".to_owned())), ("noswap".to_owned(), None)]);
        assert_eq!(parse("strictatime").attributes, Attributes { set: STRICT_ACCESS_TIME, clear: ACCESS_TIMES });
        assert_eq!(propagation("runbindable"), Some((libc::MS_UNBINDABLE, true)));
        assert_eq!(propagation("other"), None);
    }
}
