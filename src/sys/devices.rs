//! The device filter of a cgroup of the v2 hierarchy: a BPF program that the kernel asks at each opening or making of a
//! device node. Knows nothing of which devices are good.
#![expect(unsafe_code, reason = "bpf has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// One class of allowed accesses. What no rule allows is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceRule {
    pub kind: DeviceKind,
    /// `None` is any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    Block,
    Character,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Making a node, without being able to open it.
    Make,
    /// Making, reading and writing.
    All,
}

/// One instruction of extended BPF.
#[repr(C)]
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    /// The destination in the low half, the source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE: u8 = 0xb7;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;

/// The front of the kernel's `union bpf_attr` for loading a program.
#[repr(C)]
struct LoadArgs {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach: u32,
}

/// The same for attaching one.
#[repr(C)]
struct AttachArgs {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// From now on the processes of `cgroup` (a folder of the v2 hierarchy) may access only what `rules` allow. The program
/// lives as long as the cgroup does, or until it is restricted anew.
pub fn restrict(cgroup: BorrowedFd<'_>, rules: &[DeviceRule]) -> io::Result<()> {
    let program = load(&compile(rules))?;
    let args = AttachArgs {
        target: cgroup.as_raw_fd() as u32,
        program: program.as_fd().as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        // Without flags another call replaces this program instead of adding one. Those of the cgroups above go on.
        flags: 0,
    };
    // SAFETY: `args` is laid out as the kernel wants it and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const args, size_of::<AttachArgs>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The kernel passes `{access << 16 | kind, major, minor}` in register 1 and wants 1 (allowed) or 0 in register 0.
fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let op = |code, destination: u8, source: u8, offset, immediate| Instruction {
        code,
        registers: destination | source << 4,
        offset,
        immediate,
    };
    let mut program = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(MOVE_REGISTER, 3, 2, 0, 0),
        op(AND, 2, 0, 0, 0xffff),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        // Each check jumps over the rest of its rule: the checks that follow, and the two instructions that allow.
        let mut checks: Vec<(u8, i32)> = vec![(2, if rule.kind == DeviceKind::Block { 1 } else { 2 })];
        if rule.access == Access::Make {
            checks.push((3, 1));
        }
        checks.extend(rule.major.map(|major| (4, major as i32)));
        checks.extend(rule.minor.map(|minor| (5, minor as i32)));
        let count = checks.len();
        for (index, (register, value)) in checks.into_iter().enumerate() {
            program.push(op(JUMP_NOT_EQUAL, register, 0, (count - index + 1) as i16, value));
        }
        program.push(op(MOVE, 0, 0, 0, 1));
        program.push(op(EXIT, 0, 0, 0, 0));
    }
    program.push(op(MOVE, 0, 0, 0, 0));
    program.push(op(EXIT, 0, 0, 0, 0));
    program
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..8].copy_from_slice(b"setpoint");
    let args = LoadArgs {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name,
        interface: 0,
        expected_attach: CGROUP_DEVICE,
    };
    // SAFETY: `args` is laid out as the kernel wants it; the program and the license it points to outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const args, size_of::<LoadArgs>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned a new descriptor that nobody else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_accepts_the_program() {
        let rules = [
            DeviceRule { kind: DeviceKind::Block, major: None, minor: None, access: Access::Make },
            DeviceRule { kind: DeviceKind::Character, major: Some(1), minor: Some(3), access: Access::All },
        ];
        load(&compile(&rules)).unwrap();
    }
}
