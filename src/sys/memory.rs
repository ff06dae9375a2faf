//! Memory that a process has no use for while it waits, given back to the kernel. For processes that live long, do little
//! and are many.
#![expect(unsafe_code, reason = "madvise, malloc_trim and mallopt have no safe wrapper")]

use std::io;
use std::ops::Range;

/// What stays of the stack below a variable of this frame: the rest of the frame, calls from here, and frames for signals.
const STACK_KEPT: usize = 16 << 10;
const PAGE: usize = 4096;

/// Gives back what is free in the heap, when it is dropped. The allocator keeps what threads have freed for later; after a
/// pull, which many threads worked on, that is most of what it took.
#[derive(Debug)]
pub struct TrimmedAfter;

impl Drop for TrimmedAfter {
    fn drop(&mut self) {
        trim_heap();
    }
}

/// Gives back what is free in the heap.
pub fn trim_heap() {
    // SAFETY: takes no pointers; the allocator locks its arenas one by one while it looks at them.
    unsafe { libc::malloc_trim(0) };
}

/// Lets all threads share so many arenas at most. By default each has one of its own, up to eight for each core, and what
/// is free in one does not serve another. To be called before there are threads.
pub fn limit_arenas(count: i32) {
    // SAFETY: takes no pointers, and changes nothing but a number that the allocator reads when it would make an arena.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, count) };
}

/// Gives back the heap's free pages, the stack that deeper calls have used, and the program's own pages, which come back from
/// its file when they are needed.
///
/// # Assumptions
/// The process has one thread, the one that calls.
pub fn give_back() -> io::Result<()> {
    trim_heap();
    let here = std::hint::black_box(0u8);
    let here = (&raw const here).addr();
    for line in std::fs::read_to_string("/proc/self/maps")?.lines() {
        let Some(mapping) = Mapping::parse(line) else { continue };
        let idle = match mapping.kind {
            Kind::Stack if mapping.range.contains(&here) => {
                mapping.range.start..(here - STACK_KEPT.min(here - mapping.range.start)) / PAGE * PAGE
            }
            Kind::Program => mapping.range,
            Kind::Stack | Kind::Other => continue,
        };
        if idle.is_empty() {
            continue;
        }
        // SAFETY: below the frames in use a stack holds nothing that anyone will read; and pages of a file that were never
        // written to are read from the file again.
        let result = unsafe { libc::madvise(std::ptr::with_exposed_provenance_mut(idle.start), idle.len(), libc::MADV_DONTNEED) };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Mapping {
    range: Range<usize>,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Stack,
    /// Code, or constants that nothing has ever written to.
    Program,
    Other,
}

impl Mapping {
    /// `START-END rwxp OFFSET DEVICE INODE PATH`.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let (access, offset) = (fields.next()?, fields.next()?);
        let path = fields.nth(2).unwrap_or_default();
        let address = |text| usize::from_str_radix(text, 16).ok();
        let kind = match access {
            _ if path == "[stack]" => Kind::Stack,
            "r-xp" if path.starts_with('/') => Kind::Program,
            // The beginning of a file is never the part that the linker or the loader writes to before it is made read-only.
            "r--p" if path.starts_with('/') && offset.bytes().all(|b| b == b'0') => Kind::Program,
            _ => Kind::Other,
        };
        Some(Self { range: address(start)?..address(end)?, kind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_told_apart() {
        let kind = |line| Mapping::parse(line).unwrap().kind;
        assert_eq!(kind("00200000-00c9c000 r--p 00000000 fe:00 12 /usr/bin/setpoint"), Kind::Program);
        assert_eq!(kind("00c9c000-02add000 r-xp 00a9b000 fe:00 12 /usr/bin/setpoint (deleted)"), Kind::Program);
        // Relocated, and made read-only afterwards.
        assert_eq!(kind("02add000-02ae9000 r--p 028db000 fe:00 12 /usr/bin/setpoint"), Kind::Other);
        assert_eq!(kind("02ae9000-02af4000 rw-p 028e6000 fe:00 12 /usr/bin/setpoint"), Kind::Other);
        assert_eq!(kind("7ffdff8fd000-7ffdff952000 rw-p 00000000 00:00 0 [stack]"), Kind::Stack);
        assert_eq!(kind("7ffdff9d8000-7ffdff9da000 r-xp 00000000 00:00 0 [vdso]"), Kind::Other);
        assert_eq!(
            Mapping::parse("1000-2000 rw-p 00000000 00:00 0").unwrap(),
            Mapping { range: 0x1000..0x2000, kind: Kind::Other }
        );
        assert_eq!(Mapping::parse("nonsense"), None);
    }
}
