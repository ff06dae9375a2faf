//! Rules by number become a program of classic BPF.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxSeccompArg, LinuxSeccompOperator};

use super::{ALLOW, ERRNO, KILL_PROCESS, Outcome, Program, Rule, SeccompError, names, second};
use crate::sys::seccomp::Instruction;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// Where the kernel puts what is asked about: number, architecture, instruction pointer, six arguments.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7;

/// 32-bit programs, on processors that run them beside their own.
#[cfg(target_arch = "x86_64")]
const NARROW: u32 = 0x4000_0003;
#[cfg(target_arch = "aarch64")]
const NARROW: u32 = 0x4000_0028;

/// What is to be done about the calls that have rules, by number.
pub(super) type Rules = BTreeMap<u32, Vec<Rule>>;

/// The kernel's own limit.
const MOST: usize = 4096;

/// The rules of each kind of program that a filter judges.
#[derive(Default)]
pub(super) struct Tables {
    pub(super) own: Rules,
    /// For 32-bit programs, whose calls end the program when there are none.
    pub(super) narrow: Option<Rules>,
    /// For the same calls by other numbers (x32), which are absent when there are none.
    pub(super) second: Option<Rules>,
}

pub(super) fn program(tables: &Tables, default: Outcome) -> Result<Program, SeccompError> {
    let own = judge(&tables.own, tables.second.as_ref(), default);
    let narrow = tables.narrow.as_ref().map(|rules| judge(rules, None, default));
    let mut program = vec![load(ARCHITECTURE), branch(IF_EQUAL, OURS, 0, 1), jump(if narrow.is_some() { 2 } else { 1 })];
    if narrow.is_some() {
        program.push(branch(IF_EQUAL, NARROW, 1, 0));
    }
    // The numbers of another architecture mean other calls, so they cannot be judged by these tables.
    program.push(give(KILL_PROCESS));
    if let Some(narrow) = narrow {
        // The own calls come first in time, and last in the program: the way there is longer than a branch can go.
        program[2] = jump(2 + narrow.len() as u32);
        program.extend(narrow);
    }
    program.extend(own);
    if program.len() > MOST { Err(SeccompError::TooLarge) } else { Ok(program) }
}

fn judge(rules: &Rules, second: Option<&Rules>, default: Outcome) -> Program {
    let mut ranges = Vec::new();
    fill(&mut ranges, 0, rules, default);
    match second {
        Some(rules) => fill(&mut ranges, second::BIT, rules, default),
        // A kernel without them answers the same.
        None => push(&mut ranges, second::BIT, vec![give(ABSENT)]),
    }
    let mut program = vec![load(NUMBER)];
    program.extend(search(&ranges));
    program
}

/// The ranges from `base` on. Each begins where the one before it ends.
fn fill(ranges: &mut Vec<(u32, Program)>, base: u32, rules: &Rules, default: Outcome) {
    // A program that tries something newer than this filter is to fall back to what is older, not to give up.
    let unknown = if default == ALLOW { ALLOW } else { ABSENT };
    let newer = base + names::newest() + 1;
    let gap = |ranges: &mut Vec<(u32, Program)>, from: u32, to: u32| {
        if from < to.min(newer) {
            push(ranges, from, vec![give(default)]);
        }
        if from.max(newer) < to {
            push(ranges, from.max(newer), vec![give(unknown)]);
        }
    };
    let mut next = base;
    for (&number, rules) in rules {
        gap(ranges, next, number);
        push(ranges, number, decide(rules, default));
        next = number + 1;
    }
    gap(ranges, next, u32::MAX);
}

/// What a kernel says that has no such call.
const ABSENT: Outcome = ERRNO | libc::ENOSYS as u32;

/// Adds a range, or makes the last one longer when it has the same answer.
fn push(ranges: &mut Vec<(u32, Program)>, from: u32, answer: Program) {
    match ranges.last_mut() {
        Some((_, last)) if *last == answer => {}
        Some((start, last)) if *start == from => *last = answer,
        _ => ranges.push((from, answer)),
    }
}

fn search(ranges: &[(u32, Program)]) -> Program {
    if let [(_, answer)] = ranges {
        return answer.clone();
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let low_code = search(low);
    // Only an unconditional jump can go as far as the upper half may be.
    let mut code = vec![branch(IF_AT_LEAST, high[0].0, 0, 1), jump(low_code.len() as u32)];
    code.extend(low_code);
    code.extend(search(high));
    code
}

/// A rule without arguments settles the call; otherwise the first rule whose arguments all fit does.
fn decide(rules: &[Rule], default: Outcome) -> Program {
    if let Some(rule) = rules.iter().find(|r| r.arguments.is_empty()) {
        return vec![give(rule.outcome)];
    }
    let mut code = Program::new();
    for rule in rules {
        // From the last argument to the first, so that the way to the next rule is known.
        let mut checked = vec![give(rule.outcome)];
        for argument in rule.arguments.iter().rev() {
            let mut check = compare(argument, checked.len() as u8);
            check.append(&mut checked);
            checked = check;
        }
        code.extend(checked);
    }
    code.push(give(default));
    code
}

/// Falls through when the argument fits, else jumps over `rest` further instructions. Arguments have 64 bits, the
/// machine 32: the upper half is looked at first.
fn compare(argument: &LinuxSeccompArg, rest: u8) -> Program {
    use LinuxSeccompOperator as Op;
    let low_at = ARGUMENTS + 8 * argument.index() as u32;
    let high_at = low_at + 4;
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high, low) = halves(argument.value());
    match argument.op() {
        Op::ScmpCmpEq => vec![load(high_at), branch(IF_EQUAL, high, 0, rest + 2), load(low_at), branch(IF_EQUAL, low, 0, rest)],
        Op::ScmpCmpNe => vec![load(high_at), branch(IF_EQUAL, high, 0, 2), load(low_at), branch(IF_EQUAL, low, rest, 0)],
        Op::ScmpCmpMaskedEq => {
            let (wanted_high, wanted_low) = halves(argument.value_two().unwrap_or(0));
            vec![
                load(high_at),
                and(high),
                branch(IF_EQUAL, wanted_high, 0, rest + 3),
                load(low_at),
                and(low),
                branch(IF_EQUAL, wanted_low, 0, rest),
            ]
        }
        // With a greater upper half it fits, with a smaller one it does not, with the same the lower half decides.
        Op::ScmpCmpGt => ordered(high_at, low_at, high, branch(IF_GREATER, low, 0, rest), rest, true),
        Op::ScmpCmpGe => ordered(high_at, low_at, high, branch(IF_AT_LEAST, low, 0, rest), rest, true),
        Op::ScmpCmpLe => ordered(high_at, low_at, high, branch(IF_GREATER, low, rest, 0), rest, false),
        Op::ScmpCmpLt => ordered(high_at, low_at, high, branch(IF_AT_LEAST, low, rest, 0), rest, false),
    }
}

fn ordered(high_at: u32, low_at: u32, high: u32, last: Instruction, rest: u8, greater_fits: bool) -> Program {
    let (if_greater, if_smaller) = if greater_fits { (3, rest + 2) } else { (rest + 3, 2) };
    vec![load(high_at), branch(IF_GREATER, high, if_greater, 0), branch(IF_EQUAL, high, 0, if_smaller), load(low_at), last]
}

const fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, jump_true: 0, jump_false: 0, value: offset }
}

const fn and(mask: u32) -> Instruction {
    Instruction { code: AND, jump_true: 0, jump_false: 0, value: mask }
}

const fn give(outcome: Outcome) -> Instruction {
    Instruction { code: RETURN, jump_true: 0, jump_false: 0, value: outcome }
}

const fn jump(over: u32) -> Instruction {
    Instruction { code: JUMP, jump_true: 0, jump_false: 0, value: over }
}

const fn branch(code: u16, value: u32, jump_true: u8, jump_false: u8) -> Instruction {
    Instruction { code, jump_true, jump_false, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &Program, number: u32, arguments: &[u64]) -> Outcome {
        run_on(program, OURS, number, arguments)
    }

    /// What the kernel would answer.
    fn run_on(program: &Program, architecture: u32, number: u32, arguments: &[u64]) -> Outcome {
        let word = |offset: u32| match offset {
            NUMBER => number,
            ARCHITECTURE => architecture,
            _ => {
                let index = ((offset - ARGUMENTS) / 8) as usize;
                let value = arguments.get(index).copied().unwrap_or(0);
                if (offset - ARGUMENTS) % 8 == 4 { (value >> 32) as u32 } else { value as u32 }
            }
        };
        let (mut at, mut register) = (0usize, 0u32);
        loop {
            let Instruction { code, jump_true, jump_false, value } = program[at];
            at += 1;
            let mut take = |yes: bool| at += usize::from(if yes { jump_true } else { jump_false });
            match code {
                LOAD => register = word(value),
                AND => register &= value,
                JUMP => at += value as usize,
                IF_EQUAL => take(register == value),
                IF_GREATER => take(register > value),
                IF_AT_LEAST => take(register >= value),
                RETURN => return value,
                _ => panic!("{code}"),
            }
        }
    }

    fn own(own: Rules) -> Tables {
        Tables { own, ..Tables::default() }
    }

    fn arg(index: usize, op: LinuxSeccompOperator, value: u64, two: Option<u64>) -> LinuxSeccompArg {
        let argument = oci_spec::runtime::LinuxSeccompArgBuilder::default().index(index).op(op).value(value);
        match two {
            Some(two) => argument.value_two(two).build().unwrap(),
            None => argument.build().unwrap(),
        }
    }

    #[test]
    fn numbers_are_found() {
        let rules: BTreeMap<u32, Vec<Rule>> = [0, 1, 2, 5, 7, 8, 300]
            .into_iter()
            .map(|n| (n, vec![Rule { arguments: vec![], outcome: if n == 7 { ERRNO | 9 } else { ALLOW } }]))
            .collect();
        let program = program(&own(rules), ERRNO | 1).unwrap();
        for number in 0..400 {
            let expected = match number {
                0 | 1 | 2 | 5 | 8 | 300 => ALLOW,
                7 => ERRNO | 9,
                _ => ERRNO | 1,
            };
            assert_eq!(run(&program, number, &[]), expected, "{number}");
        }
        assert_eq!(run(&program, names::newest() + 1, &[]), ERRNO | libc::ENOSYS as u32);
        assert_eq!(run(&program, 0x4000_0001, &[]), ERRNO | libc::ENOSYS as u32);
    }

    #[test]
    fn other_architectures_have_their_own_rules_or_none() {
        let rule = |number, outcome| BTreeMap::from([(number, vec![Rule { arguments: vec![], outcome }])]);
        let alone = program(&own(rule(5, ERRNO | 9)), ALLOW).unwrap();
        assert_eq!((run(&alone, 5, &[]), run(&alone, 6, &[])), (ERRNO | 9, ALLOW));
        assert_eq!(run_on(&alone, NARROW, 5, &[]), KILL_PROCESS);
        assert_eq!(run(&alone, second::BIT | 5, &[]), ABSENT);
        let both = Tables { narrow: Some(rule(7, ERRNO | 8)), ..own(rule(5, ERRNO | 9)) };
        let both = program(&both, ALLOW).unwrap();
        assert_eq!((run(&both, 5, &[]), run(&both, 7, &[])), (ERRNO | 9, ALLOW));
        assert_eq!((run_on(&both, NARROW, 5, &[]), run_on(&both, NARROW, 7, &[])), (ALLOW, ERRNO | 8));
        assert_eq!(run_on(&both, 0x1234, 7, &[]), KILL_PROCESS);
    }

    #[test]
    fn the_second_numbers_have_their_own_rules_or_none() {
        let rule = |number, outcome| BTreeMap::from([(number, vec![Rule { arguments: vec![], outcome }])]);
        let tables = Tables { second: Some(rule(second::BIT | 520, ALLOW)), ..own(rule(5, ALLOW)) };
        let program = program(&tables, ERRNO | 1).unwrap();
        assert_eq!((run(&program, 5, &[]), run(&program, second::BIT | 520, &[])), (ALLOW, ALLOW));
        assert_eq!((run(&program, 520, &[]), run(&program, second::BIT | 5, &[])), (ABSENT, ERRNO | 1));
        assert_eq!((run(&program, second::BIT | 519, &[]), run(&program, second::BIT | 521, &[])), (ABSENT, ABSENT));
    }

    #[test]
    fn comparisons_have_64_bits() {
        use LinuxSeccompOperator as Op;
        let interesting = [0, 1, 2, 0xffff_ffff, 1 << 32, (1 << 32) + 1, (2 << 32) + 1, u64::MAX];
        for op in [Op::ScmpCmpEq, Op::ScmpCmpNe, Op::ScmpCmpLt, Op::ScmpCmpLe, Op::ScmpCmpGe, Op::ScmpCmpGt, Op::ScmpCmpMaskedEq]
        {
            for constant in interesting {
                for value in interesting {
                    let second = arg(3, Op::ScmpCmpEq, 77, None);
                    let rule = Rule { arguments: vec![arg(1, op, constant, Some(1)), second], outcome: ALLOW };
                    let program = program(&own(BTreeMap::from([(3, vec![rule])])), ERRNO | 1).unwrap();
                    let fits = match op {
                        Op::ScmpCmpEq => value == constant,
                        Op::ScmpCmpNe => value != constant,
                        Op::ScmpCmpLt => value < constant,
                        Op::ScmpCmpLe => value <= constant,
                        Op::ScmpCmpGe => value >= constant,
                        Op::ScmpCmpGt => value > constant,
                        Op::ScmpCmpMaskedEq => value & constant == 1,
                    };
                    let expected = if fits { ALLOW } else { ERRNO | 1 };
                    assert_eq!(run(&program, 3, &[0, value, 0, 77]), expected, "{value:#x} {op} {constant:#x}");
                    assert_eq!(run(&program, 3, &[0, value, 0, 78]), ERRNO | 1);
                }
            }
        }
    }
}
