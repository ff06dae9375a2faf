//! Who a process runs as: `user[:group]` looked up in the container's own files. Never asks the host.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::failure::{At, Failure, Stage};

/// Docker's and containerd's. What is above it is negative to some programs, and one of these numbers means to the kernel:
/// stay who you are, which is root.
const LARGEST_ID: u32 = i32::MAX.cast_unsigned();

/// A process's ids, all by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    /// The home folder, `/` when nobody says.
    pub(super) home: String,
}

/// Looks `user[:group]` up under the current root.
pub(super) fn look_up(user: &str) -> Result<Identity, Failure> {
    let passwd = read_table("/etc/passwd")?;
    let group = read_table("/etc/group")?;
    resolve(user, &passwd, &group).map_err(|refused| match refused {
        Refused::Unknown(name) => Failure::new(Stage::FindUser, name, Errno::NOENT),
        Refused::OutOfRange(number) => {
            Failure::new(Stage::FindUser, format!("{number}, for numbers go from 0 to {LARGEST_ID}"), Errno::RANGE)
        }
    })
}

/// The same with the tables of a root that is not the current one: user, group and home folder.
///
/// # Errors
/// `NotFound` for a name that no table has, `InvalidInput` for a number that is too large, and what the tables cannot be read by.
pub fn look_up_at(root: &OwnedFd, user: &str) -> io::Result<(u32, u32)> {
    let within = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let table = |path| read_table_at(root, path, within).map_err(|failure| io::Error::from_raw_os_error(failure.errno));
    let identity = resolve(user, &table("/etc/passwd")?, &table("/etc/group")?);
    let identity = identity.map_err(|refused| match refused {
        Refused::Unknown(name) => io::Error::new(io::ErrorKind::NotFound, format!("{name:?} is not there")),
        Refused::OutOfRange(number) => {
            io::Error::new(io::ErrorKind::InvalidInput, format!("{number} is larger than {LARGEST_ID}"))
        }
    })?;
    Ok((identity.uid, identity.gid))
}

/// What is no user and no group.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Unknown(String),
    OutOfRange(String),
}

/// Makes the user a member of further groups, by name or number.
pub(super) fn add_groups(identity: &mut Identity, groups: &[String]) -> Result<(), Failure> {
    if groups.is_empty() {
        return Ok(());
    }
    let table = read_table("/etc/group")?;
    for wanted in groups {
        let gid = group_number(wanted, &table).ok_or_else(|| Failure {
            stage: Stage::FindUser,
            subject: wanted.clone(),
            errno: libc::ENOENT,
        })?;
        if !identity.groups.contains(&gid) {
            identity.groups.push(gid);
        }
    }
    Ok(())
}

/// Docker's and containerd's largest, as for users: what is above it is negative to some programs.
fn group_number(wanted: &str, table: &str) -> Option<u32> {
    const LARGEST: u32 = i32::MAX.cast_unsigned();
    let number = wanted.parse::<u32>().ok();
    let named = groups(table).find(|line| line.name == wanted).map(|line| line.gid);
    number.or(named).filter(|gid| *gid <= LARGEST)
}

/// What the specification says by number; the home folder is that of the number.
pub(super) fn of_spec(user: &oci_spec::runtime::User) -> Identity {
    let home = read_table("/etc/passwd")
        .ok()
        .and_then(|passwd| users(&passwd).find(|u| u.uid == user.uid()).map(|u| u.home.to_owned()))
        .filter(|home| !home.is_empty());
    Identity {
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        home: home.unwrap_or_else(|| "/".to_owned()),
    }
}

/// A file of the image, which may be anything: what is no regular file counts as empty, of what is absurdly large the
/// first lines count. A running container may change it at any moment.
fn read_table(path: &str) -> Result<String, Failure> {
    // No link of the kernel's own is followed: it could lead to what this process still has open of the host.
    read_table_at(CWD, path, ResolveFlags::NO_MAGICLINKS)
}

fn read_table_at(folder: impl AsFd, path: &str, within: ResolveFlags) -> Result<String, Failure> {
    const LARGEST: usize = 8 << 20;
    let open = |flags: OFlags| match crate::sys::resolve::open_by(&folder, path, flags, within) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        other => other.map(Some).at(Stage::FindUser, path),
    };
    let is_file = |fd: &_| -> Result<bool, Failure> {
        let stat = rustix::fs::fstat(fd).at(Stage::FindUser, path)?;
        Ok(FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    // A device is not even opened, since that alone may do something.
    match open(OFlags::PATH)? {
        Some(there) if is_file(&there)? => {}
        _ => return Ok(String::new()),
    }
    // Non-blocking, or a pipe that was put there meanwhile would stop the start for ever.
    let file = match open(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)? {
        Some(file) if is_file(&file)? => File::from(file),
        _ => return Ok(String::new()),
    };
    let mut bytes = Vec::new();
    file.take(LARGEST as u64).read_to_end(&mut bytes).at(Stage::FindUser, path)?;
    if bytes.len() == LARGEST {
        // A number that is cut is another number.
        bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn id(field: &str) -> Option<u32> {
    field.parse().ok().filter(|id| *id <= LARGEST_ID)
}

/// What is written as a number is one, whoever is called so. `None` when it is a name.
fn number(text: &str) -> Option<Result<u32, Refused>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| id(text).ok_or_else(|| Refused::OutOfRange(text.to_owned())))
}

struct UserLine<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

fn users(passwd: &str) -> impl Iterator<Item = UserLine<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = id(fields.nth(1)?)?;
        let gid = id(fields.next()?)?;
        Some(UserLine { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

struct GroupLine<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn groups(group: &str) -> impl Iterator<Item = GroupLine<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = id(fields.nth(1)?)?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// Docker's rules: a name must be known, a number need not be; a known user without an explicit group gets the group of
/// the entry and all groups that list it; an unknown number gets group 0. A number is never taken for a name: an image
/// that calls its root 1000 does not run as root where user 1000 was asked for.
fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, Refused> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((u, g)) => (u, Some(g).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user_part = if user_part.is_empty() { "0" } else { user_part };
    let (entry, uid) = match number(user_part) {
        Some(uid) => {
            let uid = uid?;
            (users(passwd).find(|u| u.uid == uid), uid)
        }
        None => {
            let named = users(passwd).find(|u| u.name == user_part);
            let uid = named.as_ref().map(|u| u.uid).ok_or_else(|| Refused::Unknown(user_part.to_owned()))?;
            (named, uid)
        }
    };
    let (own_gid, home) = entry.as_ref().map_or((0, ""), |entry| (entry.gid, entry.home));
    let gid = match group_part.map(|wanted| (wanted, number(wanted))) {
        None => own_gid,
        Some((_, Some(gid))) => gid?,
        Some((wanted, None)) => {
            let named = groups(group).find(|g| g.name == wanted);
            named.ok_or_else(|| Refused::Unknown(wanted.to_owned()))?.gid
        }
    };
    // The main group is among the additional ones too, or a program could get around what is denied to the group by
    // changing its main group.
    let mut additional = vec![gid];
    if let (Some(entry), None) = (&entry, group_part) {
        let member_of = groups(group).filter(|g| g.members.split(',').any(|m| m.trim() == entry.name)).map(|g| g.gid);
        additional.extend(member_of.filter(|g| *g != gid));
    }
    Ok(Identity { uid, gid, groups: additional, home: if home.is_empty() { "/" } else { home }.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# note\nweb:x:33:44:Web:/srv/web:/bin/false\nhomeless:x:9:9::\n12:x:77:78:digits:/d:\nevil:x:4294967295:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:\nlog:x:4:root,web\nssl:x:5: web ,other\nbroken\n7:x:0:\nevil:x:4294967295:\n";

    #[test]
    fn by_name_and_number() {
        let identity = |uid, gid, groups: &[u32], home: &str| Identity { uid, gid, groups: groups.to_vec(), home: home.into() };
        let unknown = |name: &str| Err(Refused::Unknown(name.into()));
        let out_of_range = |number: &str| Err(Refused::OutOfRange(number.into()));
        for (asked, expected) in [
            ("web", identity(33, 44, &[44, 4, 5], "/srv/web")),
            ("33", identity(33, 44, &[44, 4, 5], "/srv/web")),
            ("web:log", identity(33, 4, &[4], "/srv/web")),
            ("web:1000", identity(33, 1000, &[1000], "/srv/web")),
            ("4711", identity(4711, 0, &[0], "/")),
            ("4711:ssl", identity(4711, 5, &[5], "/")),
            ("", identity(0, 0, &[0, 4], "/root")),
            (":ssl", identity(0, 5, &[5], "/root")),
            ("homeless", identity(9, 9, &[9], "/")),
            // A user and a group may be called by digits, and nobody gets to be them by that.
            ("12", identity(12, 0, &[0], "/")),
            ("77", identity(77, 78, &[78], "/d")),
            ("web:7", identity(33, 7, &[7], "/srv/web")),
            ("2147483647", identity(2147483647, 0, &[0], "/")),
        ] {
            assert_eq!(resolve(asked, PASSWD, GROUP), Ok(expected), "{asked}");
        }
        assert_eq!(resolve("nobody", PASSWD, GROUP), unknown("nobody"));
        assert_eq!(resolve("web:nope", PASSWD, GROUP), unknown("nope"));
        for number in ["-1", "2147483648", "4294967295", "4294967296", "99999999999999999999"] {
            assert_eq!(resolve(number, PASSWD, GROUP), out_of_range(number));
            assert_eq!(resolve(&format!("web:{number}"), PASSWD, GROUP), out_of_range(number));
        }
        // Entries with such numbers are none.
        assert_eq!(resolve("evil", PASSWD, GROUP), unknown("evil"));
        assert_eq!(resolve("web:evil", PASSWD, GROUP), unknown("evil"));
    }

    #[test]
    fn further_groups() {
        assert_eq!(group_number("log", GROUP), Some(4));
        assert_eq!(group_number("4711", GROUP), Some(4711));
        assert_eq!(group_number("nope", GROUP), None);
        assert_eq!(group_number("4294967295", GROUP), None);
    }

    #[test]
    fn files_may_be_missing() {
        assert_eq!(resolve("0", "", "").unwrap().home, "/");
        assert!(resolve("root", "", "").is_err());
    }
}
