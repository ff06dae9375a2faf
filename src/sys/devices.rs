//! The device filter of a cgroup of the v2 hierarchy: a BPF program that the kernel asks at each opening or making of a
//! device node. Knows nothing of which devices are good.
#![expect(unsafe_code, reason = "bpf has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use super::device_programs;

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

/// One rule of a [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub allow: bool,
    /// `None` is both.
    pub kind: Option<DeviceKind>,
    /// `None` is any.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    /// A union of [`Rule::MAKE`], [`Rule::READ`] and [`Rule::WRITE`].
    pub access: u32,
}

impl Rule {
    pub const MAKE: u32 = 1;
    pub const READ: u32 = 2;
    pub const WRITE: u32 = 4;
    pub const ALL: u32 = Self::MAKE | Self::READ | Self::WRITE;
}

/// Rules of which a later one stands above an earlier one.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    pub rules: &'a [Rule],
    /// Whether that is allowed which no rule names.
    pub otherwise: bool,
}

impl Policy<'_> {
    /// Like [`restrict`].
    pub fn enforce(&self, cgroup: BorrowedFd<'_>) -> io::Result<()> {
        device_programs::replace(cgroup, load(&self.compile())?.as_fd())
    }

    /// The last rule that has a say decides: one that allows must allow all that is asked for, one that refuses need only
    /// refuse a part of it.
    fn compile(&self) -> Vec<Instruction> {
        let mut program = prologue();
        for rule in self.rules.iter().rev() {
            let mut checks = Vec::new();
            if let Some(kind) = rule.kind {
                checks.push(vec![op(JUMP_NOT_EQUAL, 2, 0, if kind == DeviceKind::Block { 1 } else { 2 })]);
            }
            if rule.access != Rule::ALL {
                let interesting = if rule.allow { !rule.access & 7 } else { rule.access };
                let jump = if rule.allow { JUMP_NOT_EQUAL } else { JUMP_EQUAL };
                let copy = Instruction { registers: 6 | 3 << 4, ..op(MOVE_REGISTER, 6, 0, 0) };
                checks.push(vec![copy, op(AND, 6, 0, interesting as i32), op(jump, 6, 0, 0)]);
            }
            checks.extend(rule.major.map(|major| vec![op(JUMP_NOT_EQUAL, 4, 0, major as i32)]));
            checks.extend(rule.minor.map(|minor| vec![op(JUMP_NOT_EQUAL, 5, 0, minor as i32)]));
            let decides_all = checks.is_empty();
            // Each check jumps over the rest of its rule: the checks that follow, and the two instructions that decide.
            let mut rest = 2 + checks.iter().map(Vec::len).sum::<usize>();
            for mut check in checks {
                rest -= check.len();
                if let Some(last) = check.last_mut() {
                    last.offset = rest as i16;
                }
                program.append(&mut check);
            }
            program.push(op(MOVE, 0, 0, i32::from(rule.allow)));
            program.push(op(EXIT, 0, 0, 0));
            // The kernel refuses a program with instructions that nothing reaches.
            if decides_all {
                return program;
            }
        }
        program.push(op(MOVE, 0, 0, i32::from(self.otherwise)));
        program.push(op(EXIT, 0, 0, 0));
        program
    }
}

fn op(code: u8, destination: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: destination, offset, immediate }
}

/// The kernel passes `{access << 16 | kind, major, minor}` in register 1 and wants 1 (allowed) or 0 in register 0. After
/// these, register 2 is the kind, 3 the access, 4 the major and 5 the minor number.
fn prologue() -> Vec<Instruction> {
    let load = |destination: u8, offset| Instruction { registers: destination | 1 << 4, ..op(LOAD_WORD, 0, offset, 0) };
    vec![
        load(2, 0),
        Instruction { registers: 3 | 2 << 4, ..op(MOVE_REGISTER, 0, 0, 0) },
        op(AND, 2, 0, 0xffff),
        op(SHIFT_RIGHT, 3, 0, 16),
        load(4, 4),
        load(5, 8),
    ]
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
const JUMP_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

const PROG_LOAD: libc::c_int = 5;
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

/// From now on the processes of `cgroup` (a folder of the v2 hierarchy) may access only what `rules` allow. The program
/// lives as long as the cgroup does, or until it is restricted anew.
pub fn restrict(cgroup: BorrowedFd<'_>, rules: &[DeviceRule]) -> io::Result<()> {
    let allowed: Vec<Rule> = rules.iter().map(|rule| (*rule).into()).collect();
    Policy { rules: &allowed, otherwise: false }.enforce(cgroup)
}

impl From<DeviceRule> for Rule {
    fn from(rule: DeviceRule) -> Self {
        let access = match rule.access {
            Access::Make => Self::MAKE,
            Access::All => Self::ALL,
        };
        Self { allow: true, kind: Some(rule.kind), major: rule.major, minor: rule.minor, access }
    }
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..device_programs::NAME.len()].copy_from_slice(device_programs::NAME);
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

    fn rules() -> Vec<Rule> {
        let character = |allow, major, minor, access| Rule { allow, kind: Some(DeviceKind::Character), major, minor, access };
        vec![
            Rule { allow: false, kind: None, major: None, minor: None, access: Rule::ALL },
            Rule { allow: true, kind: Some(DeviceKind::Block), major: None, minor: None, access: Rule::MAKE },
            character(true, Some(1), None, Rule::READ | Rule::WRITE),
            character(false, Some(1), Some(5), Rule::WRITE),
        ]
    }

    /// What the kernel's machine would answer.
    fn run(program: &[Instruction], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u32; 8];
        let mut at = 0;
        loop {
            let one = program[at];
            at += 1;
            let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
            let value = one.immediate as u32;
            match one.code {
                LOAD_WORD => registers[to] = context[one.offset as usize / 4],
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                MOVE_REGISTER => registers[to] = registers[from],
                MOVE => registers[to] = value,
                JUMP_NOT_EQUAL => at += if registers[to] != value { one.offset as usize } else { 0 },
                JUMP_EQUAL => at += if registers[to] == value { one.offset as usize } else { 0 },
                EXIT => return registers[0] == 1,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn the_last_rule_that_has_a_say_decides() {
        let rules = rules();
        let program = Policy { rules: &rules, otherwise: true }.compile();
        for (kind, access, major, minor, expected) in [
            (2, Rule::READ, 1, 3, true),
            (2, Rule::READ | Rule::WRITE, 1, 3, true),
            (2, Rule::MAKE, 1, 3, false),
            (2, Rule::READ, 1, 5, true),
            (2, Rule::READ | Rule::WRITE, 1, 5, false),
            (1, Rule::MAKE, 8, 0, true),
            (1, Rule::MAKE | Rule::READ, 8, 0, false),
            (1, Rule::READ, 8, 0, false),
        ] {
            assert_eq!(run(&program, kind, access, major, minor), expected, "{kind} {access} {major}:{minor}");
        }
        assert!(run(&Policy { rules: &[], otherwise: true }.compile(), 1, Rule::ALL, 8, 0));
    }

    #[test]
    fn the_kernel_accepts_the_program() {
        load(&Policy { rules: &rules(), otherwise: true }.compile()).unwrap();
    }
}
