//! Which ids of the host are a container's own users: picked from what `/etc/subuid` and `/etc/subgid` give to setpoint, kept
//! from start to start, and never those of two containers at once. Knows nothing of how they are mapped.

use std::path::Path;

use rusqlite::{Transaction, params};

use super::{Containers, ContainersError, Held, Record};
use crate::files;
use crate::model::ContainerId;
use crate::model::spec::{UserRange, UsersMode};
use crate::sys;

/// To whom ids are given, in this order: setpoint alone, or all that run containers.
const NAMES: [&str; 2] = ["setpoint", "containers"];

/// First and count.
type Range = (u32, u32);

impl Containers {
    /// The ids of a container that is about to start; `None` when its users are the host's. What it had the last time it has
    /// again, unless somebody else has it by now.
    pub fn assign_users(&self, held: &Held, record: &Record) -> Result<Option<UserRange>, ContainersError> {
        let UsersMode::Own { size } = record.spec.userns else { return Ok(None) };
        if sys::userns::is_inside() {
            return Err(ContainersError::UsersWithin { name: record.name.to_string() });
        }
        let given = Given::read()?;
        // Whoever else runs containers on this host, and processes that outlive their container's end for a moment.
        let foreign = mapped_by_processes();
        if let Some(range) = self.pick_users(&held.id, size, &given, &foreign)? {
            return Ok(Some(range));
        }
        self.release_users(&held.id)?;
        let range = self.pick_users(&held.id, size, &given, &foreign)?;
        range.map(Some).ok_or_else(|| ContainersError::NoUsersLeft { name: record.name.to_string(), size })
    }

    fn pick_users(
        &self,
        id: &ContainerId,
        size: u32,
        given: &Given,
        foreign: &Foreign,
    ) -> Result<Option<UserRange>, ContainersError> {
        Ok(self.db.write(|t| {
            let rows = rows(t)?;
            let before =
                rows.iter().find(|(of, _)| of == id.as_str()).map(|(_, range)| *range).filter(|range| range.size == size);
            let others = || rows.iter().filter(|(of, _)| of != id.as_str()).map(|(_, range)| *range);
            let taken = |own: fn(UserRange) -> Range, foreign: &[Range]| -> Vec<Range> {
                others().map(own).chain(foreign.iter().copied()).collect()
            };
            let uid = pick(&given.uids, &taken(|r| (r.uid, r.size), &foreign.uids), size, before.map(|range| range.uid));
            let gid = pick(&given.gids, &taken(|r| (r.gid, r.size), &foreign.gids), size, before.map(|range| range.gid));
            let Some((uid, gid)) = uid.zip(gid) else { return Ok(None) };
            t.prepare_cached("INSERT OR REPLACE INTO user_ranges (container, uid, gid, size) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![id.as_str(), uid, gid, size])?;
            Ok(Some(UserRange { uid, gid, size }))
        })?)
    }

    /// Takes the ids of containers that do not run, but of this one, which is being started.
    fn release_users(&self, starting: &ContainerId) -> Result<(), ContainersError> {
        for (of, _) in self.db.read(rows)? {
            let Ok(id) = of.parse::<ContainerId>() else { continue };
            // Under its lock, or it may be about to start with them.
            let Some(_held) = (id != *starting).then(|| self.try_hold(&id)).transpose()?.flatten() else { continue };
            if !self.has_monitor(&id)? {
                self.db.write(|t| t.execute("DELETE FROM user_ranges WHERE container = ?1", [&of]))?;
            }
        }
        Ok(())
    }

    /// The ids that a container has, or had when it last ran.
    pub fn users_of(&self, id: &ContainerId) -> Result<Option<UserRange>, ContainersError> {
        let rows = self.db.read(rows)?;
        Ok(rows.into_iter().find(|(of, _)| of == id.as_str()).map(|(_, range)| range))
    }
}

fn rows(t: &Transaction<'_>) -> rusqlite::Result<Vec<(String, UserRange)>> {
    t.prepare_cached("SELECT container, uid, gid, size FROM user_ranges")?
        .query_map([], |row| Ok((row.get(0)?, UserRange { uid: row.get(1)?, gid: row.get(2)?, size: row.get(3)? })))?
        .collect()
}

/// The first id of a range of `size` that lies in one that is given and meets none that is taken; `before` if it still does.
fn pick(given: &[Range], taken: &[Range], size: u32, before: Option<u32>) -> Option<u32> {
    let end = |(first, count): Range| u64::from(first) + u64::from(count);
    let fits = |first: u64| {
        let last = first + u64::from(size);
        given.iter().any(|range| u64::from(range.0) <= first && last <= end(*range))
            && !taken.iter().any(|range| first < end(*range) && u64::from(range.0) < last)
    };
    // A free range begins where a given one does, or where a taken one ends.
    let mut starts: Vec<u64> =
        given.iter().map(|range| u64::from(range.0)).chain(taken.iter().map(|range| end(*range))).collect();
    starts.sort_unstable();
    let found = before.map(u64::from).into_iter().chain(starts).find(|first| fits(*first))?;
    u32::try_from(found).ok()
}

/// What is given to setpoint.
struct Given {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

impl Given {
    fn read() -> Result<Self, ContainersError> {
        let read = |path: &'static str| -> Result<Vec<Range>, ContainersError> {
            let text = files::read_if_there(Path::new(path))?.unwrap_or_default();
            let given = given_to(&NAMES, &String::from_utf8_lossy(&text));
            if given.is_empty() { Err(ContainersError::NoUsersGiven { path }) } else { Ok(given) }
        };
        Ok(Self { uids: read("/etc/subuid")?, gids: read("/etc/subgid")? })
    }
}

/// The ranges of the first of these names that has any, as subuid(5) has them: `name:first:count`.
fn given_to(names: &[&str], text: &str) -> Vec<Range> {
    let of = |name: &str| -> Vec<Range> {
        let ranges = text.lines().filter_map(|line| {
            let mut parts = line.trim().split(':');
            let (of, first, count) = (parts.next()?, parts.next()?, parts.next()?);
            (of == name && parts.next().is_none()).then_some((first.parse().ok()?, count.parse().ok()?))
        });
        // Users below that are the host's own, and the last number is nobody's.
        ranges.filter(|(first, count): &Range| *first > 0 && *count > 0 && first.checked_add(*count).is_some()).collect()
    };
    names.iter().map(|name| of(name)).find(|ranges| !ranges.is_empty()).unwrap_or_default()
}

/// What processes of this host are mapped to.
#[derive(Default)]
struct Foreign {
    uids: Vec<Range>,
    gids: Vec<Range>,
}

fn mapped_by_processes() -> Foreign {
    let mut all = Foreign::default();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        for (name, ranges) in [("uid_map", &mut all.uids), ("gid_map", &mut all.gids)] {
            // One that has ended maps nothing.
            let text = std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
            for line in text.lines() {
                let numbers: Vec<u32> = line.split_ascii_whitespace().filter_map(|number| number.parse().ok()).collect();
                // All ids, each to itself, is the host's own way.
                if let [inside, first, count] = numbers[..]
                    && !(inside == first && count == u32::MAX)
                    && !ranges.contains(&(first, count))
                {
                    ranges.push((first, count));
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_given_by_name() {
        let text =
            "# a comment\nroot:5:5\ncontainers:100000:65536\nsetpoint:200000:10\nsetpoint:300000:20\nsetpoint:0:9\nbad:x:y\n";
        assert_eq!(given_to(&NAMES, text), [(200_000, 10), (300_000, 20)]);
        assert_eq!(given_to(&["nobody", "containers"], text), [(100_000, 65_536)]);
        assert_eq!(given_to(&["nobody"], text), []);
        assert_eq!(given_to(&["a"], "a:4294967295:1\na:1:4294967295\na:7\na:7:8:9\n"), []);
    }

    #[test]
    fn ranges_never_meet() {
        let given = [(1000, 100), (5000, 50)];
        let mut taken = Vec::new();
        for expected in [1000, 1030, 1060, 5000] {
            let first = pick(&given, &taken, 30, None).unwrap();
            assert_eq!(first, expected);
            taken.push((first, 30));
        }
        assert_eq!(pick(&given, &taken, 30, None), None);
        assert_eq!(pick(&given, &taken, 10, None), Some(1090));
        // What one had before it has again, as long as nobody else has it.
        assert_eq!(pick(&given, &[(1000, 30)], 30, Some(1070)), Some(1070));
        assert_eq!(pick(&given, &[(1090, 1)], 30, Some(1070)), Some(1000));
        assert_eq!(pick(&given, &[], 30, Some(1)), Some(1000));
        assert_eq!(pick(&[(u32::MAX - 10, 10)], &[], 10, None), Some(u32::MAX - 10));
        assert_eq!(pick(&[(10, 10)], &[(0, u32::MAX)], 1, None), None);
    }
}
