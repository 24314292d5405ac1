//! A profile with its names looked up and its rules checked: what holds on every architecture alike.
//! Dropped here: names no table knows, and the effect of rules that say what the default says.

use crate::arch::Arch;
use crate::profile::{Action, Condition, Error, Profile};
use crate::tables::{self, Multiplexer};
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::ops::Range;

/// What a foreign architecture gets, and x32 where it is not listed: libseccomp's choice.
pub(crate) const FOREIGN: Action = Action::KillThread;

/// What a call newer than the profile gets: ENOSYS.
pub(crate) const NEWER: Action = Action::Errno(38);

/// As many unknown names as are listed: each is looked for among those before it.
const UNKNOWN_MAX: usize = 256;

/// Conditions that must all hold, and what then happens to the call. A rule is one clause, or one for each of its
/// conditions where an argument's index repeats.
pub(crate) struct Clause {
    /// The rule's place in the profile.
    pub rule: usize,
    pub action: Action,
    /// Into [`Rules::conditions`].
    pub conditions: Range<usize>,
}

impl Clause {
    pub fn is_unconditional(&self) -> bool {
        self.conditions.is_empty()
    }
}

/// One rule. The ranges point into [`Rules`].
pub(crate) struct Rule {
    pub rows: Range<usize>,
    /// None where the rule says what the default says. Otherwise all are conditional, or the only one is not.
    pub clauses: Range<usize>,
}

pub(crate) struct Rules {
    pub default: Action,
    pub rules: Vec<Rule>,
    pub clauses: Vec<Clause>,
    pub conditions: Vec<Condition>,
    /// Of the tables.
    pub rows: Vec<u16>,
    /// Names for which a multiplexer can stand: which, the call's number in there, and the rule; sorted.
    pub multiplexed: Vec<(Multiplexer, u8, usize)>,
}

impl Rules {
    /// The rules, and the names that no table knows.
    pub fn new<'a, S: AsRef<str>>(
        profile: &Profile<'a, S>,
    ) -> Result<(Rules, Vec<&'a str>), Error> {
        if profile.default == Action::Notify {
            return Err(Error::NotifyByDefault);
        }
        let names = profile.rules.iter().map(|rule| rule.names.len()).sum();
        let mut rules = Rules {
            default: profile.default,
            rules: Vec::with_capacity(profile.rules.len()),
            clauses: Vec::with_capacity(profile.rules.len()),
            conditions: Vec::new(),
            rows: Vec::with_capacity(names),
            multiplexed: Vec::new(),
        };
        let mut unknown = Vec::new();
        for (at, rule) in profile.rules.iter().enumerate() {
            let rows = rules.rows.len();
            for (place, name) in rule.names.iter().enumerate() {
                let name = name.as_ref();
                match tables::row(name) {
                    Some(_) if rule.action == Action::Notify && name == "write" => {
                        return Err(Error::NotifyWrite {
                            rule: at,
                            name: place,
                        });
                    }
                    Some(row) => {
                        rules.rows.push(row);
                        if let Some((multiplexer, call)) = tables::multiplexed(row) {
                            rules.multiplexed.push((multiplexer, call, at));
                        }
                    }
                    None if name.is_empty() => {
                        return Err(Error::EmptyName {
                            rule: at,
                            name: place,
                        });
                    }
                    None if unknown.len() == UNKNOWN_MAX || unknown.contains(&name) => {}
                    None => unknown.push(name),
                }
            }
            let clauses = rules.clauses.len();
            rules.add_clauses(at, rule.action, rule.conditions)?;
            rules.rules.push(Rule {
                rows: rows..rules.rows.len(),
                clauses: clauses..rules.clauses.len(),
            });
        }
        rules.multiplexed = BinaryHeap::from(rules.multiplexed).into_sorted_vec();
        Ok((rules, unknown))
    }

    fn add_clauses(
        &mut self,
        rule: usize,
        action: Action,
        conditions: &[Condition],
    ) -> Result<(), Error> {
        let repeats = repeats(conditions).map_err(|(condition, index)| Error::Index {
            rule,
            condition,
            index,
        })?;
        if action == self.default {
            return Ok(());
        }
        let start = self.conditions.len();
        self.conditions.extend_from_slice(conditions);
        let end = self.conditions.len();
        if repeats {
            self.clauses.extend((start..end).map(|at| Clause {
                rule,
                action,
                conditions: at..at + 1,
            }));
        } else {
            self.clauses.push(Clause {
                rule,
                action,
                conditions: start..end,
            });
        }
        Ok(())
    }
}

/// Whether two conditions are about the same argument, which makes them alternatives; or the condition whose index is
/// no argument's, and that index.
pub(crate) fn repeats(conditions: &[Condition]) -> Result<bool, (usize, u32)> {
    let mut seen = [false; 6];
    let mut repeats = false;
    for (at, Condition { index, .. }) in conditions.iter().enumerate() {
        let seen = seen.get_mut(*index as usize).ok_or((at, *index))?;
        repeats |= core::mem::replace(seen, true);
    }
    Ok(repeats)
}

/// The architectures a filter covers: the native one and those listed, each once.
pub(crate) fn architectures(listed: &[Arch]) -> Vec<Arch> {
    let mut architectures = Vec::with_capacity(listed.len() + 1);
    architectures.push(Arch::NATIVE);
    for arch in listed {
        if !architectures.contains(arch) {
            architectures.push(*arch);
        }
    }
    architectures
}

/// Which clause of a call decides when the call comes through a multiplexer: the first unconditional one; without one,
/// as the call's own arguments are out of sight, the most restrictive, if it is more so than the default.
pub(crate) fn through<'a>(
    default: Action,
    clauses: impl Iterator<Item = &'a Clause> + Clone,
) -> Option<&'a Clause> {
    clauses
        .clone()
        .find(|clause| clause.is_unconditional())
        .or_else(|| {
            let strictest = clauses.min_by_key(|clause| clause.action.rank());
            strictest.filter(|clause| clause.action.rank() < default.rank())
        })
}
