//! Device rules: an interpreter runs the compiled program, and its answers are compared with the rules themselves.
//! Every list is tried with every access to devices that its rules name and to some that they do not.

use bpf::{DeviceKind, DeviceRule, MKNOD, READ, WRITE, compile_devices};

/// An access: the kind of the device, its numbers, and the requested bits.
#[derive(Clone, Copy, Debug)]
struct Access {
    kind: DeviceKind,
    major: u32,
    minor: u32,
    access: u8,
}

/// Runs the program. Panics where the kernel's verifier would refuse it.
fn run(program: &[u64], access: Access) -> bool {
    let context = [
        u32::from(access.access) << 16 | access.kind as u32,
        access.major,
        access.minor,
    ];
    let mut register = [None::<u64>; 11];
    register[1] = Some(0);
    let mut at = 0;
    loop {
        let word = program[at];
        let (code, to, from) = (
            word as u8,
            (word >> 8 & 15) as usize,
            (word >> 12 & 15) as usize,
        );
        let (offset, value) = ((word >> 16) as i16, (word >> 32) as u32);
        let known = |n: usize| register[n].expect("a register is read before it is written");
        at += 1;
        let jump = |taken: bool| {
            assert!(offset >= 0, "a jump backwards");
            at + if taken { offset as usize } else { 0 }
        };
        match code {
            0x61 => {
                assert_eq!(from, 1);
                register[to] = Some(context[offset as usize / 4].into());
            }
            0xb7 => register[to] = Some(value.into()),
            0xbf => register[to] = Some(known(from)),
            0x57 => register[to] = Some(known(to) & u64::from(value)),
            0x77 => register[to] = Some(known(to) >> value),
            0x05 => at = jump(true),
            0x16 => at = jump(known(to) as u32 == value),
            0x56 => at = jump(known(to) as u32 != value),
            0x46 => at = jump(known(to) as u32 & value != 0),
            0x95 => return known(0) == 1,
            other => panic!("unknown instruction {other:#x} at {at}"),
        }
    }
}

/// The expected answer: for each requested bit, the last matching rule decides.
fn expected(rules: &[DeviceRule], access: Access) -> bool {
    let matches = |r: &DeviceRule| {
        r.kind.is_none_or(|k| k == access.kind)
            && r.major.is_none_or(|n| n == access.major)
            && r.minor.is_none_or(|n| n == access.minor)
    };
    [MKNOD, READ, WRITE]
        .into_iter()
        .filter(|bit| access.access & bit != 0)
        .all(|bit| {
            let last = rules
                .iter()
                .rev()
                .find(|r| matches(r) && r.access & bit != 0);
            last.is_some_and(|r| r.allow)
        })
}

/// Whether every instruction is reachable. The verifier refuses a program with one that is not.
fn all_reached(program: &[u64]) -> bool {
    let mut reached = vec![false; program.len()];
    let mut todo = vec![0];
    while let Some(at) = todo.pop() {
        if std::mem::replace(&mut reached[at], true) {
            continue;
        }
        let (code, offset) = (program[at] as u8, (program[at] >> 16) as i16);
        let target = (at as i64 + 1 + i64::from(offset)) as usize;
        match code {
            0x95 => {}
            0x05 => todo.push(target),
            0x16 | 0x56 | 0x46 => todo.extend([at + 1, target]),
            _ => todo.push(at + 1),
        }
    }
    reached.iter().all(|r| *r)
}

fn check(rules: &[DeviceRule]) {
    let program = compile_devices(rules).unwrap();
    assert!(all_reached(&program), "{rules:?}");
    for kind in [DeviceKind::Block, DeviceKind::Char] {
        for (major, minor) in [
            (1, 3),
            (1, 5),
            (3, 1),
            (136, 7),
            (10, 200),
            (u32::MAX, u32::MAX),
        ] {
            for access in 1..8 {
                let access = Access {
                    kind,
                    major,
                    minor,
                    access,
                };
                assert_eq!(
                    run(&program, access),
                    expected(rules, access),
                    "{access:?} by {rules:#?}"
                );
            }
        }
    }
}

fn rule(
    allow: bool,
    kind: Option<DeviceKind>,
    major: Option<u32>,
    minor: Option<u32>,
    access: u8,
) -> DeviceRule {
    DeviceRule {
        allow,
        kind,
        major,
        minor,
        access,
    }
}

const ALL: u8 = MKNOD | READ | WRITE;
const CHAR: Option<DeviceKind> = Some(DeviceKind::Char);

#[test]
fn an_empty_list_refuses_everything() {
    check(&[]);
}

#[test]
fn rules_before_one_that_matches_everything_are_dropped() {
    for allow in [false, true] {
        let rules = [
            rule(!allow, CHAR, Some(1), Some(3), ALL),
            rule(allow, None, None, None, ALL),
        ];
        check(&rules);
        // The loads, one jump, and two instructions for the result.
        assert_eq!(compile_devices(&rules).unwrap().len(), 6 + 1 + 2);
    }
}

#[test]
fn rules_for_one_device_add_up() {
    check(&[
        rule(false, None, None, None, ALL),
        rule(true, CHAR, Some(1), Some(3), READ),
        rule(true, CHAR, Some(1), Some(3), WRITE),
    ]);
}

#[test]
fn denying_writes_also_denies_opening_to_read_and_write() {
    let rules = [
        rule(true, None, None, None, ALL),
        rule(false, CHAR, Some(1), Some(3), WRITE),
    ];
    check(&rules);
    let both = Access {
        kind: DeviceKind::Char,
        major: 1,
        minor: 3,
        access: READ | WRITE,
    };
    assert!(!run(&compile_devices(&rules).unwrap(), both));
}

#[test]
fn numbers_above_the_signed_range_are_compared_whole() {
    check(&[
        rule(false, None, None, None, ALL),
        rule(true, CHAR, Some(u32::MAX), Some(u32::MAX), ALL),
    ]);
}

#[test]
fn random_lists_match_the_reference() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..3000 {
        let rules: Vec<_> = (0..random(8))
            .map(|_| {
                let kind = [None, CHAR, Some(DeviceKind::Block)][random(3) as usize];
                let major = [None, Some(1), Some(136), Some(3)][random(4) as usize];
                let minor = [None, Some(3), Some(7), Some(1)][random(4) as usize];
                rule(random(2) == 0, kind, major, minor, random(8) as u8)
            })
            .collect();
        check(&rules);
    }
}

#[test]
fn more_rules_than_jumps_can_span_are_refused() {
    let many = vec![rule(true, CHAR, Some(1), Some(3), ALL); 10_000];
    assert!(compile_devices(&many).is_none());
    assert!(compile_devices(&many[..5_000]).is_some());
}
