//! Compares the compiler with two others, where their answers are sound: seccompiler for one architecture and one
//! action, libseccomp for one rule per call whose conditions are EQ or MASKED_EQ.

#[path = "support/libseccomp.rs"]
mod libseccomp;
mod support;

use bpf::{Action, Arch, Condition, Data, Instruction, Operator};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};
use std::collections::BTreeMap;
use support::random::Random;
use support::{OwnedProfile, OwnedRule, profiles};

/// Up to `most` conditions, each on a different argument.
fn conditions(random: &mut Random, most: usize, operators: &[Operator]) -> Vec<Condition> {
    (0..most as u32)
        .map(|index| {
            let value = profiles::value(random);
            let op = *random.pick(operators);
            Condition {
                index,
                value,
                value_two: profiles::value(random) & value,
                op,
            }
        })
        .collect()
}

/// Two programs of one profile.
struct Pair<'a> {
    profile: &'a OwnedProfile,
    ours: Vec<Instruction>,
    theirs: Vec<Instruction>,
}

impl Pair<'_> {
    /// Compares them on every number with every list of arguments.
    fn compare(&self, arch: Arch, numbers: &[u32], arguments: &[[u64; 6]]) {
        for nr in numbers {
            for args in arguments {
                let data = Data {
                    nr: *nr,
                    arch: arch.token(),
                    instruction_pointer: 0,
                    args: *args,
                };
                let found = [&self.ours, &self.theirs].map(|program| bpf::run(program, &data));
                let what = self.profile;
                assert_eq!(found[0], found[1], "ours, theirs of {data:x?}\n{what:#?}");
            }
        }
    }
}

/// The program of seccompiler.
fn by_seccompiler(profile: &OwnedProfile) -> Vec<Instruction> {
    let condition = |c: &Condition| {
        let op = match c.op {
            Operator::Equal => SeccompCmpOp::Eq,
            Operator::NotEqual => SeccompCmpOp::Ne,
            Operator::Less => SeccompCmpOp::Lt,
            Operator::LessOrEqual => SeccompCmpOp::Le,
            Operator::Greater => SeccompCmpOp::Gt,
            Operator::GreaterOrEqual => SeccompCmpOp::Ge,
            Operator::MaskedEqual => SeccompCmpOp::MaskedEq(c.value),
        };
        let value = if c.op == Operator::MaskedEqual {
            c.value_two
        } else {
            c.value
        };
        SeccompCondition::new(c.index as u8, SeccompCmpArgLen::Qword, op, value)
            .expect("a condition")
    };
    let mut map: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let mut unconditional = Vec::new();
    for rule in &profile.rules {
        for name in &rule.names {
            let number = i64::from(bpf::number(Arch::X86_64, name).expect("a number"));
            let rules = map.entry(number).or_default();
            match rule.conditions.as_slice() {
                [] => unconditional.push(number),
                conditions => rules.push(
                    SeccompRule::new(conditions.iter().map(condition).collect()).expect("a rule"),
                ),
            }
        }
    }
    for number in unconditional {
        map.insert(number, vec![]);
    }
    let filter = SeccompFilter::new(
        map,
        SeccompAction::Allow,
        SeccompAction::Errno(13),
        TargetArch::x86_64,
    );
    let program: seccompiler::BpfProgram = filter.expect("a filter").try_into().expect("a program");
    let instruction = |i: &seccompiler::sock_filter| Instruction {
        code: i.code,
        jt: i.jt,
        jf: i.jf,
        k: i.k,
    };
    program.iter().map(instruction).collect()
}

#[test]
fn seccompiler_agrees_on_one_architecture_and_one_action() {
    let names = profiles::all_names();
    let all = [
        Operator::Equal,
        Operator::NotEqual,
        Operator::Less,
        Operator::LessOrEqual,
        Operator::Greater,
        Operator::GreaterOrEqual,
        Operator::MaskedEqual,
    ];
    for seed in 0..100 {
        let mut random = Random::new(seed);
        let names: Vec<&String> = names
            .iter()
            .filter(|name| bpf::number(Arch::X86_64, name).is_some())
            .collect();
        let rules = (0..random.below(12)).map(|_| {
            let most = random.below(4);
            OwnedRule {
                names: (0..=random.below(3))
                    .map(|_| (*random.pick(&names)).clone())
                    .collect(),
                action: Action::Errno(13),
                conditions: conditions(&mut random, most, &all),
            }
        });
        let profile = OwnedProfile {
            default: Action::Allow,
            architectures: vec![],
            rules: rules.collect(),
        };
        let numbers: Vec<u32> = (0..480).collect();
        let arguments = profiles::arguments(&profile, &mut random);
        let arguments: Vec<_> = (0..40).map(|_| *random.pick(&arguments)).collect();
        let pair = Pair {
            profile: &profile,
            ours: profile.compile(),
            theirs: by_seccompiler(&profile),
        };
        pair.compare(Arch::X86_64, &numbers, &arguments);
    }
}

/// Rules of which no two are about the same call.
fn one_rule_per_call(
    random: &mut Random,
    names: &[&String],
    multiplexed: impl Fn(&str) -> bool,
) -> Vec<OwnedRule> {
    let mut taken: Vec<&String> = Vec::new();
    (0..1 + random.below(20))
        .map(|_| {
            let most = if random.once_in(2) {
                0
            } else {
                random.below(4)
            };
            let mut fresh = Vec::new();
            for _ in 0..=random.below(4) {
                let name = *random.pick(names);
                if !taken.contains(&name) && (most == 0 || !multiplexed(name)) {
                    taken.push(name);
                    fresh.push(name.clone());
                }
            }
            let action = *random.pick(&[
                Action::Errno(13),
                Action::KillProcess,
                Action::Trap,
                Action::Log,
            ]);
            OwnedRule {
                names: fresh,
                action,
                conditions: conditions(random, most, &[Operator::Equal, Operator::MaskedEqual]),
            }
        })
        .collect()
}

/// The program of libseccomp.
fn by_libseccomp(library: &libseccomp::Libseccomp, profile: &OwnedProfile) -> Vec<Instruction> {
    let mut filter = library.filter(profile.default.value());
    for arch in &profile.architectures {
        filter
            .add_arch(libseccomp::token(*arch))
            .expect("an architecture");
    }
    for rule in &profile.rules {
        let comparison = |c: &Condition| libseccomp::Comparison {
            argument: c.index,
            operator: if c.op == Operator::Equal { 4 } else { 7 },
            a: c.value,
            b: c.value_two,
        };
        let comparisons: Vec<_> = rule.conditions.iter().map(comparison).collect();
        for name in &rule.names {
            let number = library.resolve(libseccomp::token(Arch::X86_64), name);
            let added = filter.add_rule(rule.action.value(), number, &comparisons);
            added.unwrap_or_else(|error| panic!("{name}: {error}\n{profile:#?}"));
        }
    }
    filter.program()
}

/// Compares them on the calls of every architecture that they may know.
fn compare_all(pair: &Pair<'_>, random: &mut Random) {
    let arguments = profiles::arguments(pair.profile, random);
    let arguments: Vec<_> = (0..40).map(|_| *random.pick(&arguments)).collect();
    let numbers: Vec<u32> = (0..600).collect();
    pair.compare(Arch::X86_64, &numbers, &arguments);
    pair.compare(Arch::X86_64, &[u32::MAX], &arguments);
    pair.compare(Arch::Aarch64, &numbers, &arguments[..1]);
    let narrow: Vec<_> = arguments
        .iter()
        .map(|args| args.map(|arg| u64::from(arg as u32)))
        .collect();
    // libseccomp compares all of ipc's first argument, though the kernel keeps a version in the upper half.
    let (ipc, others): (Vec<u32>, Vec<u32>) = numbers.iter().partition(|number| **number == 117);
    pair.compare(Arch::X86, &others, &narrow);
    let mut versionless = narrow.clone();
    versionless.iter_mut().for_each(|args| args[0] &= 0xffff);
    pair.compare(Arch::X86, &ipc, &versionless);
    let x32: Vec<u32> = numbers.iter().map(|number| number | 0x4000_0000).collect();
    pair.compare(Arch::X86_64, &x32, &narrow);
}

#[test]
fn libseccomp_agrees_on_one_rule_per_call_and_on_equality() {
    let Some(library) = libseccomp::Libseccomp::load() else {
        println!("SKIPPED: libseccomp.so.2 is missing");
        return;
    };
    let names = profiles::all_names();
    let native = libseccomp::token(Arch::X86_64);
    // Multiplexers with conditions are excluded because we differ there on purpose, and so are names newer than
    // libseccomp.
    let multiplexed = |name: &str| {
        let number = library.resolve(libseccomp::token(Arch::X86), name);
        (-300..0).contains(&number) || name == "socketcall" || name == "ipc"
    };
    let known = |name: &&String| library.resolve(native, name) != -1;
    let names: Vec<&String> = names.iter().filter(known).collect();
    for seed in 0..200 {
        let mut random = Random::new(seed);
        // x32 is excluded: libseccomp 2.5.4 forgets to load the number before it compares it with x86_64's.
        let architectures = [&[][..], &[Arch::X86]][random.below(2)];
        let rules = one_rule_per_call(&mut random, &names, multiplexed);
        // A permissive default: libseccomp has no answer of its own for calls newer than the profile.
        let default = if random.once_in(4) {
            Action::Trace(9)
        } else {
            Action::Allow
        };
        let profile = OwnedProfile {
            default,
            architectures: architectures.to_vec(),
            rules,
        };

        let pair = Pair {
            profile: &profile,
            ours: profile.compile(),
            theirs: by_libseccomp(&library, &profile),
        };
        compare_all(&pair, &mut random);
    }
}
