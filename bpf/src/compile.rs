//! From a profile to a program: the rules are sorted out per call and architecture, then each architecture becomes a
//! search over its numbers whose leaves are returns and argument checks.

use crate::arch::{Arch, X32_BIT};
use crate::assembler::{Assembler, Label};
use crate::checks::{self, Check, Layout};
use crate::profile::{Action, Condition, Error, Operator, Profile};
use crate::program::{Instruction, JEQ_K, MAX_INSTRUCTIONS, OFFSET_ARCH, OFFSET_NR, verify};
use crate::search::{Interval, search};
use crate::tables::{self, Multiplexer, Table};
use alloc::vec::Vec;
use core::ops::Range;

/// A compiled profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program<'a> {
    /// What seccomp(2) takes.
    pub instructions: Vec<Instruction>,
    /// Names that no table of any architecture knows, each once, in the profile's order. They have no effect.
    pub unknown: Vec<&'a str>,
}

/// What a foreign architecture gets, and x32 where it is not listed: libseccomp's choice.
pub(crate) const FOREIGN: Action = Action::KillThread;

/// What a call newer than the profile gets.
pub(crate) const NEWER: Action = Action::Errno(38);

/// Compiles a profile. The crate's documentation says what it means.
pub fn compile<'a, S: AsRef<str>>(profile: &Profile<'a, S>) -> Result<Program<'a>, Error> {
    let (rules, unknown) = Rules::new(profile)?;
    let mut compiler = Compiler {
        rules,
        default: profile.default,
        assembler: Assembler::new(),
        emitted: Vec::new(),
    };
    let instructions = compiler.filter(&architectures(profile.architectures));
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(Error::TooLong {
            instructions: instructions.len(),
        });
    }
    verify(&instructions).map_err(Error::Internal)?;
    Ok(Program {
        instructions,
        unknown,
    })
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

/// All conditions of one rule, or one of them where an index repeats; none for an unconditional rule.
struct Clause {
    /// The rule's place in the profile.
    rule: usize,
    action: Action,
    conditions: Range<usize>,
}

/// The profile with its names looked up. Ranges point into the vectors here.
struct Rules {
    conditions: Vec<Condition>,
    clauses: Vec<Clause>,
    /// Rows of the tables.
    rows: Vec<u16>,
    /// Of each rule, its rows and its clauses: none where the rule says what the default says.
    rules: Vec<(Range<usize>, Range<usize>)>,
}

impl Rules {
    fn new<'a, S: AsRef<str>>(profile: &Profile<'a, S>) -> Result<(Rules, Vec<&'a str>), Error> {
        if profile.default == Action::Notify {
            return Err(Error::NotifyByDefault);
        }
        let names = profile.rules.iter().map(|rule| rule.names.len()).sum();
        let mut rules = Rules {
            conditions: Vec::new(),
            clauses: Vec::with_capacity(profile.rules.len()),
            rows: Vec::with_capacity(names),
            rules: Vec::with_capacity(profile.rules.len()),
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
                    Some(row) => rules.rows.push(row),
                    None if name.is_empty() => {
                        return Err(Error::EmptyName {
                            rule: at,
                            name: place,
                        });
                    }
                    None if unknown.contains(&name) => {}
                    None => unknown.push(name),
                }
            }
            let clauses = rules.clauses.len();
            rules.add_clauses(
                at,
                rule.action,
                rule.conditions,
                rule.action == profile.default,
            )?;
            rules
                .rules
                .push((rows..rules.rows.len(), clauses..rules.clauses.len()));
        }
        Ok((rules, unknown))
    }

    fn add_clauses(
        &mut self,
        rule: usize,
        action: Action,
        conditions: &[Condition],
        void: bool,
    ) -> Result<(), Error> {
        let mut seen = [false; 6];
        let mut repeats = false;
        for (condition, Condition { index, .. }) in conditions.iter().enumerate() {
            let Some(seen) = seen.get_mut(*index as usize) else {
                return Err(Error::Index {
                    rule,
                    condition,
                    index: *index,
                });
            };
            repeats |= core::mem::replace(seen, true);
        }
        if void {
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

/// What the rules say on one architecture.
struct Verdicts {
    /// By slot, the clause of the first unconditional rule.
    unconditional: Vec<Option<u32>>,
    /// Slot and clause of conditional rules, in the order of the slots and then of the rules.
    conditional: Vec<(u16, u32)>,
    /// The largest slot that any rule names.
    largest: Option<u16>,
}

struct Compiler {
    rules: Rules,
    default: Action,
    assembler: Assembler,
    /// Argument checks that are part of the program already: calls and architectures with the same rules share them.
    emitted: Vec<(Layout, Vec<u32>, Label)>,
}

/// How much the parts of a search count. The kernel runs a new filter once for every number of the native and the
/// compatibility table, so there each number counts the same, and the numbers beyond hardly at all. Calls whose
/// arguments are checked stand nearer to the root, because their path goes on.
mod weight {
    pub const NUMBER: u32 = 4;
    pub const CHECKED: u32 = 64;
    pub const X32: u32 = 1;
    pub const BEYOND: u32 = 32;
}

impl Compiler {
    /// The whole filter. Emitted from the end, so that the first architecture stands first, next to the dispatch.
    fn filter(&mut self, architectures: &[Arch]) -> Vec<Instruction> {
        let mut entries: Vec<(u32, Label)> = Vec::with_capacity(architectures.len());
        let mut tokens: Vec<u32> = Vec::with_capacity(architectures.len());
        for arch in architectures {
            if !tokens.contains(&arch.token()) {
                tokens.push(arch.token());
            }
        }
        for token in tokens.iter().rev() {
            let sharing: Vec<Arch> = architectures
                .iter()
                .copied()
                .filter(|arch| arch.token() == *token)
                .collect();
            let label = self.section(&sharing);
            entries.push((*token, label));
        }
        let mut label = self.assembler.ret(FOREIGN.value());
        for (token, section) in entries {
            label = self.assembler.branch(JEQ_K, token, section, label);
        }
        self.assembler.load(OFFSET_ARCH, label);
        core::mem::replace(&mut self.assembler, Assembler::new()).finish()
    }

    /// The code for one token: one architecture, or x86_64 and x32.
    fn section(&mut self, sharing: &[Arch]) -> Label {
        let mut numbers = Numbers {
            intervals: Vec::new(),
        };
        let foreign = self.assembler.ret(FOREIGN.value());
        if sharing[0].token() != Arch::X86_64.token() {
            self.numbers(&mut numbers, sharing[0]);
        } else {
            let mut beyond = foreign;
            for (arch, start) in [(Arch::X86_64, 0), (Arch::X32, X32_BIT)] {
                if sharing.contains(&arch) {
                    let its = self.numbers(&mut numbers, arch);
                    if arch == Arch::X86_64 || !sharing.contains(&Arch::X86_64) {
                        beyond = its;
                    }
                } else {
                    numbers.push(start, foreign, weight::BEYOND);
                }
            }
            // −1 has x32's bit, but is what a tracer puts in the place of a call it cancels.
            numbers.push(u32::MAX, beyond, 1);
        }
        let search = search(&mut self.assembler, &numbers.intervals);
        self.assembler.load(OFFSET_NR, search)
    }

    /// Adds an architecture's numbers, and gives back where the numbers beyond them lead.
    fn numbers(&mut self, numbers: &mut Numbers, arch: Arch) -> Label {
        let table = tables::table(arch);
        let verdicts = self.verdicts(table);
        let default = self.assembler.ret(self.default.value());
        let newer = if self.default.is_permissive() {
            default
        } else {
            self.assembler.ret(NEWER.value())
        };
        let unnamed = |slot| {
            if verdicts.largest.is_some_and(|largest| slot > largest) {
                newer
            } else {
                default
            }
        };
        let number_weight = if arch == Arch::X32 {
            weight::X32
        } else {
            weight::NUMBER
        };
        let layout = Layout {
            is_64_bit: arch.is_64_bit(),
            is_little_endian: arch.is_little_endian(),
        };
        if arch != Arch::X32 {
            numbers.push(0, default, 0);
        }
        let mut conditional = verdicts.conditional.as_slice();
        for slot in 0..table.slots() {
            if slot == table.private_slots() {
                numbers.push(table.base + u32::from(slot), unnamed(slot), weight::BEYOND);
            }
            let checked = conditional.iter().take_while(|(at, _)| *at == slot).count();
            let (here, rest) = conditional.split_at(checked);
            conditional = rest;
            let (label, weight) = match verdicts.unconditional[usize::from(slot)] {
                Some(clause) => {
                    let value = self.rules.clauses[clause as usize].action.value();
                    (self.assembler.ret(value), number_weight)
                }
                None if here.is_empty() => (unnamed(slot), number_weight),
                None => (
                    self.checks(layout, here, default),
                    number_weight * weight::CHECKED / weight::NUMBER,
                ),
            };
            numbers.push(table.number(slot), label, weight);
        }
        let beyond = unnamed(table.slots());
        numbers.push(table.number(table.slots() - 1) + 1, beyond, weight::BEYOND);
        beyond
    }

    /// Sorts the rules out for one architecture.
    fn verdicts(&mut self, table: &Table) -> Verdicts {
        let mut verdicts = Verdicts {
            unconditional: alloc::vec![None; usize::from(table.slots())],
            conditional: Vec::new(),
            largest: None,
        };
        let multiplexers = Multiplexer::ALL
            .map(|multiplexer| tables::row(multiplexer.name()).and_then(|row| table.slot(row)));
        let has_multiplexers = multiplexers != [None; 2];
        // Rules for calls that can also be reached through a multiplexer: by multiplexer and call.
        let mut multiplexed: Vec<(Multiplexer, u8, u32)> = Vec::new();
        for (rows, clauses) in &self.rules.rules {
            for row in &self.rules.rows[rows.clone()] {
                if let Some(slot) = table.slot(*row) {
                    verdicts.largest = verdicts.largest.max(Some(slot));
                    for clause in clauses.clone() {
                        if !self.rules.clauses[clause].conditions.is_empty() {
                            verdicts.conditional.push((slot, clause as u32));
                        } else if verdicts.unconditional[usize::from(slot)].is_none() {
                            verdicts.unconditional[usize::from(slot)] = Some(clause as u32);
                        }
                    }
                }
                if has_multiplexers && let Some((multiplexer, call)) = tables::multiplexed(*row) {
                    multiplexed.extend(
                        clauses
                            .clone()
                            .map(|clause| (multiplexer, call, clause as u32)),
                    );
                }
            }
        }
        multiplexed.sort_by_key(|(multiplexer, call, _)| (*multiplexer, *call));
        for rules in multiplexed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (multiplexer, call, _) = rules[0];
            let clauses = rules.iter().map(|(_, _, clause)| *clause);
            if let Some(slot) = multiplexers[multiplexer as usize]
                && let Some(clause) = self.through(multiplexer, call, clauses)
            {
                verdicts.conditional.push((slot, clause));
            }
        }
        let clauses = &self.rules.clauses;
        verdicts
            .conditional
            .sort_by_key(|(slot, clause)| (*slot, clauses[*clause as usize].rule));
        verdicts
    }

    /// What a multiplexer must do for one of its calls, as a new clause about the multiplexer: what the first
    /// unconditional rule says; without one, as the call's own arguments are out of sight, the most restrictive of
    /// what its conditional rules and the default say.
    fn through(
        &mut self,
        multiplexer: Multiplexer,
        call: u8,
        clauses: impl Iterator<Item = u32> + Clone,
    ) -> Option<u32> {
        let clause = |clause: u32| &self.rules.clauses[clause as usize];
        let unconditional = clauses
            .clone()
            .map(clause)
            .find(|clause| clause.conditions.is_empty());
        let strictest = || {
            clauses
                .clone()
                .map(clause)
                .min_by_key(|clause| clause.action.rank())
        };
        let chosen = unconditional
            .or_else(|| strictest().filter(|clause| clause.action.rank() < self.default.rank()))?;
        let (rule, action) = (chosen.rule, chosen.action);
        let at = self.rules.conditions.len();
        self.rules.conditions.push(Condition {
            index: 0,
            value: multiplexer.mask(),
            value_two: u64::from(call),
            op: Operator::MaskedEqual,
        });
        self.rules.clauses.push(Clause {
            rule,
            action,
            conditions: at..at + 1,
        });
        Some(self.rules.clauses.len() as u32 - 1)
    }

    /// The checks of one call.
    fn checks(&mut self, layout: Layout, rules: &[(u16, u32)], otherwise: Label) -> Label {
        let clauses = rules.iter().map(|(_, clause)| *clause);
        let found = self
            .emitted
            .iter()
            .find(|(at, emitted, _)| *at == layout && emitted.iter().copied().eq(clauses.clone()));
        if let Some((_, _, label)) = found {
            return *label;
        }
        let mut checks = Vec::with_capacity(rules.len());
        for clause in clauses.clone() {
            let clause = &self.rules.clauses[clause as usize];
            let then = self.assembler.ret(clause.action.value());
            checks.push(Check {
                conditions: &self.rules.conditions[clause.conditions.clone()],
                then,
            });
        }
        let label = checks::checks(&mut self.assembler, layout, &checks, otherwise);
        self.emitted.push((layout, clauses.collect(), label));
        label
    }
}

/// Intervals in the making.
struct Numbers {
    intervals: Vec<Interval>,
}

impl Numbers {
    /// From `start` on, numbers lead to the label.
    fn push(&mut self, start: u32, label: Label, weight: u32) {
        match self.intervals.last_mut() {
            Some(last) if last.start == start => {
                *last = Interval {
                    start,
                    label,
                    weight,
                }
            }
            Some(last) if last.label == label => last.weight += weight,
            _ => self.intervals.push(Interval {
                start,
                label,
                weight,
            }),
        }
    }
}
