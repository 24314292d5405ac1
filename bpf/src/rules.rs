//! The rules of a profile, checked and with their names resolved: everything that holds on all architectures.
//! Unknown names are dropped here, and so are rules that repeat the default.

use crate::arch::Arch;
use crate::first::first_of_each;
use crate::profile::{Action, Condition, Error, Profile};
use crate::tables::{self, Multiplexer};
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::ops::Range;

/// The action for a foreign architecture, and for x32 where it is not listed. libseccomp's choice.
pub(crate) const FOREIGN: Action = Action::KillThread;

/// The action for a call newer than the profile: ENOSYS.
pub(crate) const NEWER: Action = Action::Errno(38);

/// Conditions that must all hold, and the action that then applies. A rule has one clause, or one for each condition
/// if two of its conditions test the same argument.
pub(crate) struct Clause {
    /// The index of the rule in the profile.
    pub rule: usize,
    pub action: Action,
    /// Indices into [`Rules::conditions`].
    pub conditions: Range<usize>,
}

impl Clause {
    pub fn is_unconditional(&self) -> bool {
        self.conditions.is_empty()
    }
}

/// One rule. The ranges are indices into [`Rules`].
pub(crate) struct Rule {
    pub rows: Range<usize>,
    /// Empty if the rule repeats the default. Otherwise there is one unconditional clause, or all clauses are
    /// conditional.
    pub clauses: Range<usize>,
}

pub(crate) struct Rules {
    pub default: Action,
    pub rules: Vec<Rule>,
    pub clauses: Vec<Clause>,
    pub conditions: Vec<Condition>,
    /// Rows of the tables.
    pub rows: Vec<u16>,
    /// Names that a multiplexer can stand for: the multiplexer, the call's number inside it, and the rule. Sorted.
    pub multiplexed: Vec<(Multiplexer, u8, usize)>,
}

impl Rules {
    /// Returns the rules, and the names that no table knows.
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
        // The last rule to name each row, counted from one. A name repeated within a rule adds nothing.
        let mut named_by = alloc::vec![0; tables::ROWS];
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
                    Some(row) if named_by[usize::from(row)] == at + 1 => {}
                    Some(row) => {
                        named_by[usize::from(row)] = at + 1;
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
        let mut first = first_of_each(unknown.iter().copied()).into_iter();
        unknown.retain(|_| first.next() == Some(true));
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

/// Whether two conditions test the same argument, which makes all of them alternatives. The error is the condition
/// with an invalid index, and that index.
pub(crate) fn repeats(conditions: &[Condition]) -> Result<bool, (usize, u32)> {
    let mut seen = [false; 6];
    let mut repeats = false;
    for (at, Condition { index, .. }) in conditions.iter().enumerate() {
        let seen = seen.get_mut(*index as usize).ok_or((at, *index))?;
        repeats |= core::mem::replace(seen, true);
    }
    Ok(repeats)
}

/// The architectures that a filter covers: the native one and those listed, each once.
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

/// The clause that decides when the call comes through a multiplexer: the first unconditional clause. If there is
/// none, the most restrictive clause decides, provided it is more restrictive than the default, because the call's
/// own arguments cannot be read.
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
