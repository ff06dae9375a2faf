//! Which system calls a container may make: Docker's and Podman's idea of a default. What can harm the host, and what no
//! program needs, is refused; what a capability is for is allowed to who has it. Beyond theirs, sockets are those of four
//! families, because most of the others are rarely looked at code of the kernel that any user can reach.

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capabilities, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompOperator,
    LinuxSyscall,
};

/// Harmless to the host whatever the arguments are.
const ALWAYS: &str = "
    accept accept4 access adjtimex alarm arch_prctl bind brk cachestat capget capset chdir chmod chown clock_adjtime
    clock_getres clock_gettime clock_nanosleep close close_range connect copy_file_range creat dup dup2 dup3
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fanotify_mark fchdir fchmod
    fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat
    fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list
    get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid
    getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt
    gettid gettimeofday getuid getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl ioprio_get ioprio_set kill
    landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat listen listmount
    listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack membarrier
    memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap modify_ldt mprotect
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl msgget msgrcv msgsnd
    msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause pidfd_open
    pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64
    process_mrelease process_vm_readv process_vm_writev pselect6 ptrace pwrite64 pwritev pwritev2 read readahead
    readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat
    renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr
    sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg
    sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer
    setpgid setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat
    shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 splice stat statfs statmount statx
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink
    unlinkat uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write writev";

/// The same for 32-bit programs, where their calls have other names: times, sizes, and user ids as they once were.
const NARROW: &str = "
    _llseek _newselect arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush chown32 clock_adjtime64
    clock_getres_time64 clock_gettime64 clock_nanosleep_time64 fadvise64_64 fchown32 fcntl64 fstat64 fstatat64 fstatfs64
    ftruncate64 futex_time64 getegid32 geteuid32 getgid32 getgroups32 getresgid32 getresuid32 getuid32
    io_pgetevents_time64 ipc lchown32 lstat64 mmap2 mq_timedreceive_time64 mq_timedsend_time64 nice ppoll_time64
    pselect6_time64 recv recvmmsg_time64 rt_sigtimedwait_time64 sched_rr_get_interval_time64 semtimedop_time64 send
    sendfile64 set_tls setfsgid32 setfsuid32 setgid32 setgroups32 setregid32 setresgid32 setresuid32 setreuid32 setuid32
    sigaction signal sigpending sigprocmask sigreturn sigsuspend stat64 statfs64 sync_file_range2 timer_gettime64
    timer_settime64 timerfd_gettime64 timerfd_settime64 truncate64 ugetrlimit utimensat_time64 waitpid";

/// What a capability is for.
const WITH: [(Capability, &str); 12] = [
    (Capability::DacReadSearch, "open_by_handle_at"),
    (
        Capability::SysAdmin,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules
         lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open pivot_root quotactl
         quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    (Capability::SysBoot, "reboot"),
    (Capability::SysChroot, "chroot"),
    (Capability::SysModule, "delete_module finit_module init_module"),
    (Capability::SysPacct, "acct"),
    (Capability::SysPtrace, "kcmp pidfd_getfd process_madvise"),
    (Capability::SysRawio, "ioperm iopl"),
    (Capability::SysTime, "clock_settime clock_settime64 settimeofday stime"),
    (Capability::SysTtyConfig, "vhangup"),
    (Capability::SysNice, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (Capability::Syslog, "syslog"),
];

/// Those of the flags of `clone` that make a namespace.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;
/// The families of sockets that programs need: UNIX, INET, INET6 and NETLINK. A list of what is allowed, compared in all 64
/// bits, because the kernel looks at 32 of them only: what is refused by number alone can be had by another number.
const FAMILIES: [u64; 4] = [1, 2, 10, 16];
/// For whoever may speak to a link directly: PACKET and XDP.
const RAW_FAMILIES: [u64; 2] = [17, 44];
/// The execution domains that programs ask for: Linux, the 32-bit look, without address randomization, and the question.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Those of what `socketcall` can do that make sockets: `SYS_SOCKET` and `SYS_SOCKETPAIR`.
const MAKING_SOCKETS: [u64; 2] = [1, 8];

/// Which sockets a container may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::runtime) enum Sockets {
    /// Those of [`FAMILIES`].
    FourFamilies,
    /// All that the kernel has.
    All,
}

/// The filter for a container with these capabilities. It judges 32-bit programs too, by the same rules.
///
/// The numbers of x32 stay absent: kernels that have them are rare, programs rarer, and each call would have one more way in.
pub(in crate::engine::runtime) fn default_for(
    capabilities: &Capabilities,
    sockets: Sockets,
) -> Result<LinuxSeccomp, OciSpecError> {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpMaskedEq};
    let mut rules = vec![allow(ALWAYS, None), allow(NARROW, None)];
    match sockets {
        Sockets::FourFamilies => rules.extend(four_families(capabilities)?),
        Sockets::All => rules.push(allow("socket socketpair socketcall", None)),
    }
    for domain in PERSONALITIES {
        rules.push(allow("personality", Some(arg(0, domain, None, ScmpCmpEq)?)));
    }
    rules.extend(WITH.iter().filter(|(c, _)| capabilities.contains(c)).map(|(_, names)| allow(names, None)));
    if capabilities.contains(&Capability::Bpf) {
        rules.push(allow("bpf", None));
    }
    if capabilities.contains(&Capability::Perfmon) {
        rules.push(allow("perf_event_open", None));
    }
    if !capabilities.contains(&Capability::SysAdmin) {
        rules.push(allow("clone", Some(arg(0, NAMESPACE_FLAGS, Some(0), ScmpCmpMaskedEq)?)));
        // Its flags are in memory, where a filter cannot look. Told that it does not exist, the C library uses `clone`.
        let mut absent = allow("clone3", None);
        absent.set_action(LinuxSeccompAction::ScmpActErrno).set_errno_ret(Some(libc::ENOSYS as u32));
        rules.push(absent);
    }
    let mut seccomp = LinuxSeccomp::default();
    seccomp
        .set_default_action(LinuxSeccompAction::ScmpActErrno)
        .set_default_errno_ret(Some(libc::EPERM as u32))
        .set_architectures(Some(super::OWN.to_vec()))
        .set_syscalls(Some(rules));
    Ok(seccomp)
}

fn four_families(capabilities: &Capabilities) -> Result<Vec<LinuxSyscall>, OciSpecError> {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpNe};
    let raw = RAW_FAMILIES.iter().filter(|_| capabilities.contains(&Capability::NetRaw));
    let families: Vec<u64> = FAMILIES.iter().chain(raw).copied().collect();
    let mut rules = Vec::new();
    for family in &families {
        rules.push(allow("socket socketpair", Some(arg(0, *family, None, ScmpCmpEq)?)));
    }
    // What a kernel says that was built without the family: programs that try several go on with the next.
    let others: Vec<LinuxSeccompArg> = families.iter().map(|f| arg(0, *f, None, ScmpCmpNe)).collect::<Result<_, _>>()?;
    let mut other = allow("socket socketpair", None);
    other.set_args(Some(others)).set_action(LinuxSeccompAction::ScmpActErrno).set_errno_ret(Some(libc::EAFNOSUPPORT as u32));
    rules.push(other);
    // The one call for all that 32-bit programs once did with sockets. It takes the family from memory, where a filter cannot
    // look (and if it could, another thread would change it afterwards), so no socket is made by it. All that may be done with
    // a socket that is there may be done by it too. musl tries the calls of their own first and never comes here. glibc for
    // i386, as distributions build it for kernels before 4.3, knows no other way, and neither does Go: such programs have
    // all but sockets, or `sockets=unconfined`. To make the socket for them would take a process of the host's that acts with
    // the container's credentials and namespaces.
    for making in MAKING_SOCKETS {
        let mut absent = allow("socketcall", Some(arg(0, making, None, ScmpCmpEq)?));
        absent.set_action(LinuxSeccompAction::ScmpActErrno).set_errno_ret(Some(libc::ENOSYS as u32));
        rules.push(absent);
    }
    let mut rest = allow("socketcall", None);
    rest.set_args(Some(MAKING_SOCKETS.iter().map(|making| arg(0, *making, None, ScmpCmpNe)).collect::<Result<_, _>>()?));
    rules.push(rest);
    Ok(rules)
}

fn allow(names: &str, argument: Option<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.split_ascii_whitespace().map(str::to_owned).collect())
        .set_action(LinuxSeccompAction::ScmpActAllow)
        .set_args(argument.map(|a| vec![a]));
    rule
}

fn arg(index: usize, value: u64, masked: Option<u64>, op: LinuxSeccompOperator) -> Result<LinuxSeccompArg, OciSpecError> {
    let argument = LinuxSeccompArgBuilder::default().index(index).value(value).op(op);
    match masked {
        Some(masked) => argument.value_two(masked).build(),
        None => argument.build(),
    }
}
