//! The system calls of 32-bit programs on this architecture, by name: their numbers are others. Those that are newer than
//! these tables have the same number everywhere.

// Both are looked at by the tests, whatever they run on.
#[cfg(any(target_arch = "aarch64", test))]
mod arm;
#[cfg(any(target_arch = "x86_64", test))]
mod i386;

#[cfg(target_arch = "aarch64")]
use arm::TABLE;
#[cfg(target_arch = "x86_64")]
use i386::TABLE;

/// The number of the system call of this name.
pub(super) fn number(name: &str) -> Option<u32> {
    find(TABLE, name)
}

fn find(table: &[(&str, u32)], name: &str) -> Option<u32> {
    match table.binary_search_by_key(&name, |(known, _)| known) {
        Ok(at) => Some(table[at].1),
        Err(_) => super::names::number(name).filter(|number| *number >= SHARED),
    }
}

/// From here on all architectures have the same numbers.
const SHARED: u32 = 424;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_sorted_and_right() {
        for table in [arm::TABLE, i386::TABLE] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!(
                (find(table, "execve"), find(table, "mkdir"), find(table, "futex_time64")),
                (Some(11), Some(39), Some(422))
            );
            assert_eq!(find(table, "listmount"), super::super::names::number("listmount"));
            assert_eq!(find(table, "no_such_call"), None);
        }
        assert_eq!((find(i386::TABLE, "socketcall"), find(i386::TABLE, "socket")), (Some(102), Some(359)));
        assert_eq!((find(arm::TABLE, "socketcall"), find(arm::TABLE, "socket")), (None, Some(281)));
        assert_eq!(find(arm::TABLE, "set_tls"), Some(0x0f_0005));
    }
}
