//! Who the users and groups of the namespace are outside: root is the user itself, and all others are the subordinate ids
//! that the host's administrator has given to the user.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use super::error::RootlessError;
use crate::files;

/// One range: numbers from `first` on, outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    first: u32,
    count: u32,
}

/// Of one kind: users or groups.
#[derive(Clone, Copy, Debug)]
struct Kind {
    file: &'static str,
    program: &'static str,
}

const USERS: Kind = Kind { file: "/etc/subuid", program: "newuidmap" };
const GROUPS: Kind = Kind { file: "/etc/subgid", program: "newgidmap" };

/// What a namespace is given.
#[derive(Debug)]
pub(super) struct Ids {
    user: u32,
    group: u32,
    users: Vec<Range>,
    groups: Vec<Range>,
}

impl Ids {
    /// Those of the user that this process belongs to.
    pub(super) fn of_caller() -> Result<Self, RootlessError> {
        let user = rustix::process::getuid().as_raw();
        let group = rustix::process::getgid().as_raw();
        let name = name_of(user);
        Ok(Self { user, group, users: USERS.ranges(user, name.as_deref())?, groups: GROUPS.ranges(user, name.as_deref())? })
    }

    /// Gives them to the namespace of a process, by the programs that may do so.
    pub(super) fn give_to(&self, pid: i32) -> Result<(), RootlessError> {
        USERS.map(pid, self.user, &self.users)?;
        GROUPS.map(pid, self.group, &self.groups)
    }
}

impl Kind {
    fn ranges(self, user: u32, name: Option<&str>) -> Result<Vec<Range>, RootlessError> {
        let text = files::read_if_there(Path::new(self.file))?.unwrap_or_default();
        let found = ranges(&String::from_utf8_lossy(&text), user, name);
        if found.is_empty() {
            let user = name.map_or_else(|| user.to_string(), str::to_owned);
            return Err(RootlessError::NoIds { user, file: self.file });
        }
        Ok(found)
    }

    fn map(self, pid: i32, own: u32, ranges: &[Range]) -> Result<(), RootlessError> {
        let mut command = Command::new(self.program);
        command.arg(pid.to_string()).args(["0", &own.to_string(), "1"]);
        let mut inside = 1u32;
        for range in ranges {
            let count = range.count.min(u32::MAX - inside);
            command.args([inside.to_string(), range.first.to_string(), count.to_string()]);
            inside += count;
        }
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(RootlessError::Mapping { program: self.program, said })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(RootlessError::ProgramMissing { program: self.program, package: "uidmap" })
            }
            Err(source) => Err(RootlessError::Run { program: self.program, source }),
        }
    }
}

/// The ranges of one user, by name or number. Source: subuid(5).
fn ranges(text: &str, user: u32, name: Option<&str>) -> Vec<Range> {
    let own = |who: &str| Some(who) == name || who.parse() == Ok(user);
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let ours = fields.next().is_some_and(own);
        let range = Range { first: fields.next()?.parse().ok()?, count: fields.next()?.parse().ok()? };
        (ours && range.count > 0).then_some(range)
    };
    text.lines().filter_map(range).collect()
}

/// What the host calls a user; what the session says where only a directory service knows.
pub(super) fn name_of(user: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    });
    named.or_else(|| std::env::var("USER").ok().filter(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_user() {
        let text = "ann:100000:65536\n# a note\nbob:165536:65536\n1000:300000:10\nann:1:0\nann:x:1\n";
        let range = |first, count| Range { first, count };
        assert_eq!(ranges(text, 1000, Some("ann")), [range(100_000, 65536), range(300_000, 10)]);
        assert_eq!(ranges(text, 1001, Some("bob")), [range(165_536, 65536)]);
        assert_eq!(ranges(text, 7, None), []);
    }
}
