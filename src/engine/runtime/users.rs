//! Who a process runs as: `user[:group]` looked up in the container's own files. Never asks the host.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;

use super::failure::{Failure, Stage};

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
    resolve(user, &passwd, &group).map_err(|unknown| Failure { stage: Stage::FindUser, subject: unknown, errno: libc::ENOENT })
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

/// A file of the image, which may be anything: what is no regular file, or absurdly large, counts as empty or is cut.
fn read_table(path: &str) -> Result<String, Failure> {
    const LARGEST: u64 = 8 << 20;
    // Non-blocking, or a pipe in this place would stop the start for ever.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path) {
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        other => other.map_err(|e| Failure::new(Stage::FindUser, path, e))?,
    };
    let meta = file.metadata().map_err(|e| Failure::new(Stage::FindUser, path, e))?;
    if !meta.is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).map_err(|e| Failure::new(Stage::FindUser, path, e))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
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
        let gid = fields.nth(1)?.parse().ok()?;
        Some(GroupLine { name, gid, members: fields.next().unwrap_or_default() })
    })
}

/// Docker's rules: a name must be known, a number need not be; a known user without an explicit group gets the group of
/// the entry and all groups that list it; an unknown number gets group 0.
fn resolve(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user_part, group_part) = match user.split_once(':') {
        Some((u, g)) => (u, Some(g).filter(|g| !g.is_empty())),
        None => (user, None),
    };
    let user_part = if user_part.is_empty() { "0" } else { user_part };
    let number = user_part.parse::<u32>().ok();
    let entry = users(passwd).find(|u| u.name == user_part).or_else(|| users(passwd).find(|u| Some(u.uid) == number));
    let (uid, own_gid, home) = match (&entry, number) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home),
        (None, Some(uid)) => (uid, 0, ""),
        (None, None) => return Err(user_part.to_owned()),
    };
    let gid = match group_part {
        None => own_gid,
        Some(wanted) => match (groups(group).find(|g| g.name == wanted), wanted.parse::<u32>()) {
            (Some(line), _) => line.gid,
            (None, Ok(number)) => number,
            (None, Err(_)) => return Err(wanted.to_owned()),
        },
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

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n# note\nweb:x:33:44:Web:/srv/web:/bin/false\nhomeless:x:9:9::\n12:x:77:78:digits:/d:\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:\nlog:x:4:root,web\nssl:x:5: web ,other\nbroken\n";

    #[test]
    fn by_name_and_number() {
        let identity = |uid, gid, groups: &[u32], home: &str| Identity { uid, gid, groups: groups.to_vec(), home: home.into() };
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
            // A user may be called by digits, and the name wins.
            ("12", identity(77, 78, &[78], "/d")),
        ] {
            assert_eq!(resolve(asked, PASSWD, GROUP), Ok(expected), "{asked}");
        }
        assert_eq!(resolve("nobody", PASSWD, GROUP), Err("nobody".into()));
        assert_eq!(resolve("web:nope", PASSWD, GROUP), Err("nope".into()));
        assert_eq!(resolve("-1", PASSWD, GROUP), Err("-1".into()));
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
