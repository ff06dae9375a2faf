//! The system calls of x32 programs (64-bit registers, 32-bit pointers), by name: the usual numbers with a bit set, but for
//! those whose arguments have another shape in memory.

/// `__X32_SYSCALL_BIT`; elsewhere no call has so high a number.
pub(super) const BIT: u32 = 0x4000_0000;

/// The number of the system call of this name, with the bit.
#[cfg(target_arch = "x86_64")]
pub(super) fn number(name: &str) -> Option<u32> {
    let own = OTHERS.binary_search_by_key(&name, |(known, _)| known).map(|at| OTHERS[at].1);
    own.ok().or_else(|| super::names::number(name)).map(|number| BIT | number)
}

/// Pairs of name and number, sorted by name. Source: the kernel's `unistd_x32.h`.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OTHERS: &[(&str, u32)] = &[
    ("execve", 520), ("execveat", 545), ("get_robust_list", 531), ("getsockopt", 542), ("io_setup", 543), ("io_submit", 544),
    ("ioctl", 514), ("kexec_load", 528), ("move_pages", 533), ("mq_notify", 527), ("preadv", 534), ("preadv2", 546),
    ("process_vm_readv", 539), ("process_vm_writev", 540), ("ptrace", 521), ("pwritev", 535), ("pwritev2", 547),
    ("readv", 515), ("recvfrom", 517), ("recvmmsg", 537), ("recvmsg", 519), ("rt_sigaction", 512), ("rt_sigpending", 522),
    ("rt_sigqueueinfo", 524), ("rt_sigreturn", 513), ("rt_sigtimedwait", 523), ("rt_tgsigqueueinfo", 536), ("sendmmsg", 538),
    ("sendmsg", 518), ("set_robust_list", 530), ("setsockopt", 541), ("sigaltstack", 525), ("timer_create", 526),
    ("vmsplice", 532), ("waitid", 529), ("writev", 516),
];

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_right() {
        assert!(OTHERS.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!((number("read"), number("execve"), number("socket")), (Some(BIT), Some(BIT | 520), Some(BIT | 41)));
        assert_eq!(number("no_such_call"), None);
    }
}
