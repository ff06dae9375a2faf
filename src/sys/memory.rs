//! The allocator's memory, and what of it goes back to the kernel.
#![expect(unsafe_code, reason = "malloc_trim and mallopt have no safe wrapper")]

/// Gives back what is free, when it is dropped. The allocator keeps what threads have freed for later; after a pull, which
/// many threads worked on, that is most of what it took.
#[derive(Debug)]
pub struct TrimmedAfter;

impl Drop for TrimmedAfter {
    fn drop(&mut self) {
        trim_heap();
    }
}

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
