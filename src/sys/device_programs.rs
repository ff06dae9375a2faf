//! Which programs a cgroup of the v2 hierarchy has for accesses to devices. Each of them has to allow an access, so that ours
//! stands beside one of systemd; of ours there is one.
#![expect(unsafe_code, reason = "bpf has no safe wrapper")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What our programs are called.
pub(super) const NAME: &[u8] = b"setpoint";

const ATTACH: libc::c_int = 8;
const DETACH: libc::c_int = 9;
const FD_BY_ID: libc::c_int = 13;
const INFO_BY_FD: libc::c_int = 15;
const QUERY: libc::c_int = 16;

const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

/// As many as the kernel takes.
const MOST: usize = 64;

/// The front of the kernel's `union bpf_attr` for attaching and detaching.
#[repr(C)]
struct AttachArgs {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// The same for asking which are attached.
#[repr(C)]
struct QueryArgs {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    /// The kernel writes no further than this.
    rest: [u32; 9],
}

#[repr(C)]
struct IdArgs {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct InfoArgs {
    program: u32,
    length: u32,
    info: u64,
}

/// The front of the kernel's `struct bpf_prog_info`.
#[repr(C)]
#[derive(Default)]
struct Info {
    kind: u32,
    id: u32,
    tag: [u8; 8],
    lengths: [u32; 2],
    instructions: [u64; 2],
    load_time: u64,
    user: u32,
    maps: u32,
    map_ids: u64,
    name: [u8; 16],
}

/// Attaches a program in the place of the one that this function has attached before, if any. There is no moment in between
/// without one. Further programs of the cgroups above, of this one and of those below it go on.
pub(super) fn replace(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let before = attached(cgroup)?;
    match attach(cgroup, program, ALLOW_MULTI) {
        // One that allows no others beside it, as earlier versions attached theirs, can only be replaced by its like.
        Err(e) if e.raw_os_error() == Some(libc::EPERM) && !before.is_empty() => attach(cgroup, program, 0),
        Err(e) => Err(e),
        Ok(()) => {
            for id in before {
                // One that has gone meanwhile needs no detaching.
                let Some(old) = by_id(id)? else { continue };
                if is_ours(&old)? {
                    let args = AttachArgs { program: old.as_raw_fd() as u32, flags: 0, ..args(cgroup, program) };
                    call(DETACH, &args)?;
                }
            }
            Ok(())
        }
    }
}

fn args(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> AttachArgs {
    AttachArgs { target: cgroup.as_raw_fd() as u32, program: program.as_raw_fd() as u32, kind: CGROUP_DEVICE, flags: 0 }
}

fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, flags: u32) -> io::Result<()> {
    call(ATTACH, &AttachArgs { flags, ..args(cgroup, program) }).map(drop)
}

/// The numbers of the programs that are attached to this very cgroup.
fn attached(cgroup: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut ids = [0u32; MOST];
    let mut args = QueryArgs {
        target: cgroup.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        rest: [0; 9],
    };
    // SAFETY: `args` is laid out as the kernel wants it; it and the numbers that it points to outlive the call, and there is
    // room for as many as it says.
    let result = unsafe { libc::syscall(libc::SYS_bpf, QUERY, &raw mut args, size_of::<QueryArgs>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ids[..MOST.min(args.count as usize)].to_vec())
}

/// `None` when it has gone.
fn by_id(id: u32) -> io::Result<Option<OwnedFd>> {
    match call(FD_BY_ID, &IdArgs { id, next: 0, flags: 0 }) {
        // SAFETY: the kernel returned a new descriptor that nobody else knows of.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) })),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn is_ours(program: &OwnedFd) -> io::Result<bool> {
    let mut info = Info::default();
    let args = InfoArgs { program: program.as_raw_fd() as u32, length: size_of::<Info>() as u32, info: (&raw mut info) as u64 };
    call(INFO_BY_FD, &args)?;
    Ok(info.name.starts_with(NAME) && info.name[NAME.len()] == 0)
}

fn call<T>(command: libc::c_int, args: &T) -> io::Result<i32> {
    // SAFETY: `args` is one of the structures above, laid out as the kernel wants it for this command, and outlives the call,
    // as does what it points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(args), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}
