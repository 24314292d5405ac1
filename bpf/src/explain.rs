//! Explains the verdict on a call and names the rule behind it. Reads the profile alone, without compiling it.
//! The tests compare these answers with the compiled programs.

use crate::arch::{Arch, X32_BIT};
use crate::profile::{Action, Condition, Error, Operator, Profile};
use crate::program::Data;
use crate::rules::{Clause, FOREIGN, NEWER, Rules, architectures, through};
use crate::tables::{self, Multiplexer};

/// An action and the reason for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    pub action: Action,
    pub reason: Reason,
}

/// Why an action applies. The numbers are indices into the profile's list of rules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The profile does not list the architecture (or x32), which is not the native one either.
    Foreign,
    /// The first unconditional rule for the call.
    Unconditional(usize),
    /// The first rule whose conditions hold; no rule for the call is unconditional.
    Conditions(usize),
    /// The call is a multiplexer, and the rule applies to the call behind it.
    Multiplexed(usize),
    /// No rule applies, and the number is above every call the profile names.
    Newer,
    /// No rule applies.
    Default,
}

impl core::fmt::Display for Verdict {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        write!(f, "{}: ", self.action)?;
        match self.reason {
            Reason::Foreign => f.write_str("the architecture is not listed"),
            Reason::Unconditional(rule) => write!(f, "syscalls[{rule}]"),
            Reason::Conditions(rule) => write!(f, "syscalls[{rule}], whose conditions hold"),
            Reason::Multiplexed(rule) => {
                write!(f, "syscalls[{rule}], for the call inside the multiplexer")
            }
            Reason::Newer => f.write_str("newer than every call the profile names"),
            Reason::Default => f.write_str("the default"),
        }
    }
}

/// Returns the verdict of a profile on one call.
pub fn explain<S: AsRef<str>>(profile: &Profile<S>, call: &Data) -> Result<Verdict, Error> {
    let (rules, _) = Rules::new(profile)?;
    let has_x32_bit = call.nr >= X32_BIT && call.nr != u32::MAX;
    let arch = architectures(profile.architectures)
        .into_iter()
        .find(|arch| {
            arch.token() == call.arch
                && match arch {
                    Arch::X86_64 => !has_x32_bit,
                    Arch::X32 => has_x32_bit,
                    _ => true,
                }
        });
    let foreign = Verdict {
        action: FOREIGN,
        reason: Reason::Foreign,
    };
    Ok(arch.map_or(foreign, |arch| verdict(&rules, arch, call)))
}

fn verdict(rules: &Rules, arch: Arch, call: &Data) -> Verdict {
    let table = tables::table(arch);
    let number = |row: u16| table.slot(row).map(|slot| table.number(slot));
    let mut largest = None;
    let mut first: Option<(usize, Verdict)> = None;
    for (at, rule) in rules.rules.iter().enumerate() {
        let numbers = rules.rows[rule.rows.clone()].iter().map(|row| number(*row));
        largest = largest.max(numbers.clone().max().flatten());
        if !numbers.into_iter().any(|number| number == Some(call.nr)) {
            continue;
        }
        for clause in &rules.clauses[rule.clauses.clone()] {
            if clause.is_unconditional() {
                return Verdict {
                    action: clause.action,
                    reason: Reason::Unconditional(at),
                };
            }
            let conditions = &rules.conditions[clause.conditions.clone()];
            if first.is_none()
                && conditions
                    .iter()
                    .all(|condition| holds(condition, arch, call))
            {
                let reason = Reason::Conditions(at);
                first = Some((
                    at,
                    Verdict {
                        action: clause.action,
                        reason,
                    },
                ));
            }
        }
    }
    for multiplexer in Multiplexer::ALL {
        let used = rules
            .multiplexed
            .iter()
            .any(|(its, ..)| *its == multiplexer);
        let Some(number) = number(multiplexer.row()).filter(|_| used) else {
            continue;
        };
        largest = largest.max(Some(number));
        if number != call.nr {
            continue;
        }
        if let Some(clause) = multiplexed(rules, multiplexer, call)
            && first.is_none_or(|(rule, _)| clause.rule < rule)
        {
            let reason = Reason::Multiplexed(clause.rule);
            let action = clause.action;
            first = Some((clause.rule, Verdict { action, reason }));
        }
    }
    if let Some((_, verdict)) = first {
        return verdict;
    }
    match largest {
        Some(largest) if call.nr > largest && !rules.default.is_permissive() => Verdict {
            action: NEWER,
            reason: Reason::Newer,
        },
        _ => Verdict {
            action: rules.default,
            reason: Reason::Default,
        },
    }
}

/// The clause about the call that a multiplexer is asked for.
fn multiplexed<'r>(rules: &'r Rules, multiplexer: Multiplexer, call: &Data) -> Option<&'r Clause> {
    let inside = call.args[0] & multiplexer.mask();
    let of_this = rules
        .multiplexed
        .iter()
        .filter(|(its, call, _)| *its == multiplexer && u64::from(*call) == inside);
    let clauses = of_this.flat_map(|(.., rule)| &rules.clauses[rules.rules[*rule].clauses.clone()]);
    through(rules.default, clauses)
}

fn holds(condition: &Condition, arch: Arch, call: &Data) -> bool {
    let width = if arch.is_64_bit() {
        u64::MAX
    } else {
        u64::from(u32::MAX)
    };
    let argument = call
        .args
        .get(condition.index as usize)
        .map_or(0, |argument| argument & width);
    let (value, two) = (condition.value & width, condition.value_two & width);
    match condition.op {
        Operator::NotEqual => argument != value,
        Operator::Less => argument < value,
        Operator::LessOrEqual => argument <= value,
        Operator::Equal => argument == value,
        Operator::GreaterOrEqual => argument >= value,
        Operator::Greater => argument > value,
        Operator::MaskedEqual => argument & value == two & value,
    }
}
