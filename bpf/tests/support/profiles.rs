//! Random profiles, and calls that test them: those that match a condition narrowly or miss it narrowly.

use super::random::Random;
use super::{OwnedProfile, OwnedRule};
use bpf::{Action, Arch, Condition, Error, Operator};

const OPERATORS: [Operator; 7] = [
    Operator::NotEqual,
    Operator::Less,
    Operator::LessOrEqual,
    Operator::Equal,
    Operator::GreaterOrEqual,
    Operator::Greater,
    Operator::MaskedEqual,
];

const ACTIONS: [Action; 9] = [
    Action::Allow,
    Action::Errno(1),
    Action::Errno(0),
    Action::Errno(4095),
    Action::KillThread,
    Action::KillProcess,
    Action::Trap,
    Action::Trace(7),
    Action::Log,
];

/// Names with a special case: multiplexers, the calls inside them, private calls, the last calls.
const SPECIAL: [&str; 16] = [
    "socket",
    "socketcall",
    "bind",
    "accept4",
    "ipc",
    "semop",
    "shmat",
    "msgctl",
    "set_tls",
    "cacheflush",
    "breakpoint",
    "read",
    "restart_syscall",
    "listns",
    "arm_sync_file_range",
    "no_such_call",
];

/// Every name of the common tables.
pub fn all_names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for arch in [
        Arch::X86_64,
        Arch::X86,
        Arch::X32,
        Arch::Aarch64,
        Arch::Arm,
        Arch::Mips,
        Arch::S390x,
    ] {
        let base = bpf::number(arch, "read").expect("every table has read") / 1000 * 1000;
        for offset in 0..600 {
            names.extend(bpf::name(arch, base + offset).map(String::from));
            names.extend(bpf::name(arch, 0x4000_0000 + offset).map(String::from));
        }
    }
    names.sort();
    names.dedup();
    names
}

/// A random profile that is not too long for the kernel.
pub fn random(random: &mut Random, names: &[String]) -> OwnedProfile {
    loop {
        let profile = any(random, names);
        match profile.with(|profile| bpf::compile(profile).map(drop)) {
            Err(Error::TooLong { .. }) => {}
            _ => return profile,
        }
    }
}

/// A random profile. Most are small, so that rules often name the same call. Some are large, so that jumps get long.
fn any(random: &mut Random, names: &[String]) -> OwnedProfile {
    let architectures = match random.below(4) {
        0 => vec![],
        1 => vec![Arch::X86_64, Arch::X86, Arch::X32],
        _ => (0..random.below(4))
            .map(|_| *random.pick(&Arch::ALL))
            .collect(),
    };
    let few: Vec<String> = (0..1 + random.below(6))
        .map(|_| name(random, names))
        .collect();
    let large = random.once_in(8);
    let rules = if large {
        20 + random.below(60)
    } else {
        random.below(10)
    };
    let rules = (0..rules)
        .map(|_| {
            let count = if large {
                random.below(40)
            } else {
                1 + random.below(3)
            };
            let names = (0..count).map(|_| {
                if large || random.once_in(3) {
                    name(random, names)
                } else {
                    random.pick(&few).clone()
                }
            });
            let names: Vec<String> = names.collect();
            let action = match random.below(ACTIONS.len() + 1) {
                // The compiler refuses NOTIFY for write.
                0 if names.iter().all(|name| name != "write") => Action::Notify,
                n => ACTIONS[n.saturating_sub(1)],
            };
            OwnedRule {
                names,
                action,
                conditions: conditions(random),
            }
        })
        .collect();
    OwnedProfile {
        default: *random.pick(&ACTIONS),
        architectures,
        rules,
    }
}

fn name(random: &mut Random, names: &[String]) -> String {
    if random.once_in(3) {
        (*random.pick(&SPECIAL)).into()
    } else {
        random.pick(names).clone()
    }
}

fn conditions(random: &mut Random) -> Vec<Condition> {
    let count = [0, 0, 1, 1, 1, 2, 3, 6][random.below(8)];
    // Few arguments, so that an index sometimes repeats.
    let arguments = 1 + random.below(6);
    (0..count)
        .map(|_| Condition {
            index: random.below(arguments) as u32,
            value: value(random),
            value_two: value(random),
            op: *random.pick(&OPERATORS),
        })
        .collect()
}

/// A value or a mask, most of them close to an edge.
pub fn value(random: &mut Random) -> u64 {
    let small = random.below(4) as u64;
    match random.below(10) {
        0..3 => small,
        3 => u64::MAX - small,
        4 => 0xffff_ffff_u64.wrapping_add(small),
        5 => 1 << random.below(64),
        6 => small << 32 | random.below(4) as u64,
        7 => u64::from(random.next() as u32),
        8 => random.next() & random.next(),
        _ => random.next(),
    }
}

/// Arguments that test a profile. For the conditions of every rule: arguments that match, then variants of them with
/// the datum ± 1, the halves swapped, and each bit of the word flipped.
pub fn arguments(profile: &OwnedProfile, random: &mut Random) -> Vec<[u64; 6]> {
    let mut arguments = vec![[0; 6], [u64::MAX; 6]];
    for rule in &profile.rules {
        if rule.conditions.is_empty() {
            continue;
        }
        let mut matching = [0; 6].map(|_: u64| value(random));
        for condition in &rule.conditions {
            matching[condition.index as usize] = satisfying(condition, random);
        }
        arguments.push(matching);
        for condition in &rule.conditions {
            let datum = match condition.op {
                Operator::MaskedEqual => condition.value_two & condition.value,
                _ => condition.value,
            };
            let swapped = datum.rotate_left(32);
            let near = [
                datum,
                datum.wrapping_add(1),
                datum.wrapping_sub(1),
                swapped,
                !datum,
                datum as u32 as u64,
            ];
            let bits = (0..64).map(|bit| matching[condition.index as usize] ^ 1 << bit);
            for value in near.into_iter().chain(bits) {
                let mut args = matching;
                args[condition.index as usize] = value;
                arguments.push(args);
            }
        }
    }
    arguments
}

fn satisfying(condition: &Condition, random: &mut Random) -> u64 {
    let Condition {
        value, value_two, ..
    } = *condition;
    match condition.op {
        Operator::NotEqual => value.wrapping_add(1 + random.below(3) as u64),
        Operator::Less | Operator::LessOrEqual => value.saturating_sub(1 + random.below(3) as u64),
        Operator::Equal => value,
        Operator::Greater | Operator::GreaterOrEqual => {
            value.saturating_add(1 + random.below(3) as u64)
        }
        Operator::MaskedEqual => value_two & value | random.next() & !value,
    }
}
