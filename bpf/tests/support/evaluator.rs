//! The main oracle: computes the verdict on one call from the documented rules. It shares nothing with the compiler
//! but the tables, and is slow and plain on purpose.

use super::{OwnedProfile, OwnedRule};
use bpf::{Action, Arch, Condition, Data, Operator};

const MULTIPLEXED: &[(&str, &str, u32)] = &[
    (
        "socketcall",
        "socket bind connect listen accept getsockname getpeername socketpair send recv",
        1,
    ),
    (
        "socketcall",
        "sendto recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg",
        11,
    ),
    ("ipc", "semop semget semctl semtimedop", 1),
    ("ipc", "msgsnd msgrcv msgget msgctl", 11),
    ("ipc", "shmat shmdt shmget shmctl", 21),
];

fn holds(c: &Condition, arch: Arch, args: &[u64; 6]) -> bool {
    let width = if arch.token() & 0x8000_0000 != 0 {
        u64::MAX
    } else {
        0xffff_ffff
    };
    let (argument, value, two) = (
        args[c.index as usize] & width,
        c.value & width,
        c.value_two & width,
    );
    match c.op {
        Operator::NotEqual => argument != value,
        Operator::Less => argument < value,
        Operator::LessOrEqual => argument <= value,
        Operator::Equal => argument == value,
        Operator::GreaterOrEqual => argument >= value,
        Operator::Greater => argument > value,
        Operator::MaskedEqual => argument & value == two & value,
    }
}

/// Evaluates one profile. The tables are consulted once, so that ten million calls take seconds.
pub struct Evaluator<'a> {
    profile: &'a OwnedProfile,
    architectures: Vec<Sorted>,
}

/// The rules of one architecture, by the number and by the multiplexed call that they name.
struct Sorted {
    arch: Arch,
    rules: std::collections::BTreeMap<u32, Vec<usize>>,
    multiplexed: Vec<(u32, u32, u32, Vec<usize>)>,
    largest: Option<u32>,
}

impl<'a> Evaluator<'a> {
    pub fn new(profile: &'a OwnedProfile) -> Evaluator<'a> {
        let mut listed = profile.architectures.clone();
        listed.push(Arch::NATIVE);
        let architectures = listed
            .into_iter()
            .map(|arch| Sorted::new(profile, arch))
            .collect();
        Evaluator {
            profile,
            architectures,
        }
    }

    pub fn verdict(&self, data: &Data) -> Action {
        let sharing: Vec<&Sorted> = self
            .architectures
            .iter()
            .filter(|s| s.arch.token() == data.arch)
            .collect();
        let x32 =
            data.arch == Arch::X86_64.token() && data.nr >= 0x4000_0000 && data.nr != u32::MAX;
        let Some(sorted) = sharing.into_iter().find(|s| (s.arch == Arch::X32) == x32) else {
            return Action::KillThread;
        };
        let matches = |rule: &usize| {
            let c = &self.profile.rules[*rule].conditions;
            let holds = |c: &Condition| holds(c, sorted.arch, &data.args);
            let repeats = c
                .iter()
                .any(|a| c.iter().filter(|b| a.index == b.index).count() > 1);
            if repeats {
                c.iter().any(holds)
            } else {
                c.iter().all(holds)
            }
        };
        let action = |rule: &usize| self.profile.rules[*rule].action;
        let live = |rules: &[usize]| -> Vec<usize> {
            rules
                .iter()
                .copied()
                .filter(|rule| action(rule) != self.profile.default)
                .collect()
        };
        let unconditional = |rules: &[usize]| {
            rules
                .iter()
                .copied()
                .find(|r| self.profile.rules[*r].conditions.is_empty())
        };
        let own = live(sorted.rules.get(&data.nr).map_or(&[], Vec::as_slice));
        if let Some(rule) = unconditional(&own) {
            return action(&rule);
        }
        // The first match among the call's own rules and the rules for a call inside it.
        let mut candidates: Vec<usize> = own.into_iter().filter(matches).collect();
        for (number, mask, call, rules) in &sorted.multiplexed {
            if *number == data.nr && data.args[0] as u32 & mask == *call {
                let rules = live(rules);
                let strictest = rules
                    .iter()
                    .copied()
                    .min_by_key(|rule| action(rule).value() as i32);
                let strictest = strictest
                    .filter(|r| (action(r).value() as i32) < self.profile.default.value() as i32);
                candidates.extend(unconditional(&rules).or(strictest));
            }
        }
        if let Some(rule) = candidates.iter().min() {
            return action(rule);
        }
        let goes_ahead = matches!(
            self.profile.default,
            Action::Allow | Action::Log | Action::Trace(_)
        );
        let newer = sorted.largest.is_some_and(|largest| data.nr > largest);
        if newer && !goes_ahead {
            Action::Errno(38)
        } else {
            self.profile.default
        }
    }
}

impl Sorted {
    fn new(profile: &OwnedProfile, arch: Arch) -> Sorted {
        let mut sorted = Sorted {
            arch,
            rules: Default::default(),
            multiplexed: Vec::new(),
            largest: None,
        };
        for (at, rule) in profile.rules.iter().enumerate() {
            for name in &rule.names {
                if let Some(number) = bpf::number(arch, name) {
                    sorted.rules.entry(number).or_default().push(at);
                    sorted.largest = sorted.largest.max(Some(number));
                }
            }
        }
        for (multiplexer, calls, first) in MULTIPLEXED {
            let Some(number) = bpf::number(arch, multiplexer) else {
                continue;
            };
            let mask = if *multiplexer == "ipc" {
                0xffff
            } else {
                u32::MAX
            };
            for (call, name) in calls.split(' ').enumerate() {
                let listed = |rule: &OwnedRule| rule.names.iter().any(|listed| listed == name);
                let rules: Vec<usize> = (0..profile.rules.len())
                    .filter(|at| listed(&profile.rules[*at]))
                    .collect();
                if !rules.is_empty() {
                    sorted.largest = sorted.largest.max(Some(number));
                }
                sorted
                    .multiplexed
                    .push((number, mask, first + call as u32, rules));
            }
        }
        sorted
    }
}
