//! Compiles a profile to a program. On each architecture every system call number gets a verdict, which is a return
//! or a run of argument checks. The verdicts become a search over the numbers.

use crate::arch::{Arch, X32_BIT};
use crate::assembler::{Assembler, Label};
use crate::checks::{self, Check, Layout};
use crate::profile::{Condition, Error, Operator, Profile};
use crate::program::{Instruction, JEQ_K, MAX_INSTRUCTIONS, OFFSET_ARCH, OFFSET_NR, verify};
use crate::rules::{Clause, FOREIGN, NEWER, Rules, architectures, through};
use crate::search::Intervals;
use crate::tables::{self, Multiplexer, Table};
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;

/// A compiled profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program<'a> {
    /// The program, as seccomp(2) takes it.
    pub instructions: Vec<Instruction>,
    /// The names that no table of any architecture knows, each once, in the profile's order. They have no effect.
    pub unknown: Vec<&'a str>,
}

/// Compiles a profile. The documentation of the crate defines what a profile means.
pub fn compile<'a, S: AsRef<str>>(profile: &Profile<'a, S>) -> Result<Program<'a>, Error> {
    let (rules, unknown) = Rules::new(profile)?;
    let compiler = Compiler {
        rules,
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

/// Weights of the intervals in a search.
/// To find always-allowed calls, the kernel runs a new filter once for every number of the native and the
/// compatibility table. All these numbers therefore weigh the same, and the numbers beyond them weigh almost nothing.
/// Calls with argument checks weigh more, so they are found early, because more instructions follow.
mod weight {
    pub const NUMBER: u32 = 4;
    pub const CHECKED: u32 = 192;
    pub const X32_NUMBER: u32 = 1;
    pub const X32_CHECKED: u32 = 96;
    pub const BEYOND: u32 = 32;
}

struct Compiler {
    rules: Rules,
    assembler: Assembler,
    /// Argument checks already emitted. Calls and architectures with the same rules share them.
    emitted: Vec<(Layout, Vec<u32>, Label)>,
}

impl Compiler {
    /// Emits the whole filter. Emission starts at the end, so the first architecture ends up next to the dispatch.
    fn filter(mut self, architectures: &[Arch]) -> Vec<Instruction> {
        let mut sections: Vec<(u32, Label)> = Vec::with_capacity(architectures.len());
        for (at, arch) in architectures.iter().enumerate().rev() {
            let token = arch.token();
            if architectures[..at]
                .iter()
                .all(|before| before.token() != token)
            {
                let label = self.section(*arch, architectures);
                sections.push((token, label));
            }
        }
        let mut label = self.assembler.ret(FOREIGN.value());
        for (token, section) in sections {
            label = self.assembler.branch(JEQ_K, token, section, label);
        }
        let start = self.assembler.load(OFFSET_ARCH, label);
        self.assembler.finish(start)
    }

    /// Emits the code for one token: one architecture, or x86_64 together with x32.
    fn section(&mut self, arch: Arch, architectures: &[Arch]) -> Label {
        let mut numbers = Intervals::with_capacity(256);
        if arch.token() == Arch::X86_64.token() {
            let foreign = self.assembler.ret(FOREIGN.value());
            let mut beyond = None;
            for (arch, start) in [(Arch::X86_64, 0), (Arch::X32, X32_BIT)] {
                if architectures.contains(&arch) {
                    let its = self.numbers(&mut numbers, arch);
                    beyond = beyond.or(Some(its));
                } else {
                    numbers.push(start, foreign, weight::BEYOND);
                }
            }
            // −1 has x32's bit set, but it is the number a tracer writes to cancel a call.
            numbers.push(u32::MAX, beyond.unwrap_or(foreign), 1);
        } else {
            self.numbers(&mut numbers, arch);
        }
        let search = numbers.search(&mut self.assembler);
        self.assembler.load(OFFSET_NR, search)
    }

    /// Adds the numbers of an architecture. Returns the label that the numbers beyond them lead to.
    fn numbers(&mut self, numbers: &mut Intervals, arch: Arch) -> Label {
        let table = tables::table(arch);
        let default = self.assembler.ret(self.rules.default.value());
        let verdicts = self.verdicts(table, arch, default);
        let (number, checked) = match arch {
            Arch::X32 => (weight::X32_NUMBER, weight::X32_CHECKED),
            _ => (weight::NUMBER, weight::CHECKED),
        };
        // No calls exist below the base. On x32 the base lies in the middle of the numbers of its token.
        if arch != Arch::X32 {
            numbers.push(0, default, 0);
        }
        let ordinary = verdicts.len().min(usize::from(table.private_slots()));
        let (ordinary, private) = verdicts.split_at(ordinary);
        let mut slot = 0;
        let mut end = table.base;
        for part in [ordinary, private] {
            for run in part.chunk_by(|a, b| a == b) {
                let label = run[0].unwrap_or(default);
                let weight = if self.assembler.is_return(label) {
                    number
                } else {
                    checked
                };
                numbers.push(table.number(slot), label, weight * run.len() as u32);
                slot += run.len() as u16;
                end = table.number(slot - 1) + 1;
            }
            // The gap between ordinary and private numbers lies below the largest named call, so it gets the default.
            numbers.push(end, default, weight::BEYOND);
        }
        if verdicts.is_empty() || self.rules.default.is_permissive() {
            return default;
        }
        let newer = self.assembler.ret(NEWER.value());
        numbers.push(end, newer, weight::BEYOND);
        newer
    }

    /// The verdict of each slot, up to the last slot that a rule names. `None`: no rule applies.
    fn verdicts(&mut self, table: &Table, arch: Arch, default: Label) -> Vec<Option<Label>> {
        let mut verdicts = alloc::vec![None; usize::from(table.slots())];
        // The clauses of conditional rules, each with the slot it applies to.
        let mut conditional: Vec<(u16, u32)> = Vec::new();
        let mut named = 0;
        for rule in &self.rules.rules {
            let unconditional = match &self.rules.clauses[rule.clauses.clone()] {
                [clause] if clause.is_unconditional() => {
                    Some(self.assembler.ret(clause.action.value()))
                }
                _ => None,
            };
            for slot in self.rules.rows[rule.rows.clone()]
                .iter()
                .filter_map(|row| table.slot(*row))
            {
                named = named.max(slot + 1);
                let verdict = &mut verdicts[usize::from(slot)];
                if unconditional.is_none() {
                    conditional.extend(rule.clauses.clone().map(|clause| (slot, clause as u32)));
                } else if verdict.is_none() {
                    *verdict = unconditional;
                }
            }
        }
        for multiplexer in Multiplexer::ALL {
            let stands_for_any = self
                .rules
                .multiplexed
                .iter()
                .any(|(its, ..)| *its == multiplexer);
            if stands_for_any && let Some(slot) = table.slot(multiplexer.row()) {
                named = named.max(slot + 1);
                if verdicts[usize::from(slot)].is_none() {
                    self.multiplexed(multiplexer, slot, &mut conditional);
                }
            }
        }
        // Sorts by rule order. A heap is enough for so few entries; each standard sort adds 5 KB of code.
        let keyed =
            |(slot, clause): (u16, u32)| (slot, self.rules.clauses[clause as usize].rule, clause);
        let keyed: BinaryHeap<_> = conditional.into_iter().map(keyed).collect();
        let conditional = keyed.into_sorted_vec();
        let conditional: Vec<(u16, u32)> = conditional.iter().map(|(s, _, c)| (*s, *c)).collect();
        let layout = Layout {
            is_64_bit: arch.is_64_bit(),
            is_little_endian: arch.is_little_endian(),
        };
        for rules in conditional.chunk_by(|(a, _), (b, _)| a == b) {
            let verdict = &mut verdicts[usize::from(rules[0].0)];
            if verdict.is_none() {
                *verdict = Some(self.checks(layout, rules, default));
            }
        }
        verdicts.truncate(usize::from(named));
        verdicts
    }

    /// Adds the rules of the calls that the multiplexer in `slot` stands for, as conditions on its first argument.
    fn multiplexed(
        &mut self,
        multiplexer: Multiplexer,
        slot: u16,
        conditional: &mut Vec<(u16, u32)>,
    ) {
        let Rules {
            default,
            rules,
            clauses,
            conditions,
            multiplexed,
            ..
        } = &mut self.rules;
        for calls in multiplexed.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            let (its, call, _) = calls[0];
            if its != multiplexer {
                continue;
            }
            let of_call = calls
                .iter()
                .flat_map(|(_, _, rule)| &clauses[rules[*rule].clauses.clone()]);
            let Some(&Clause { rule, action, .. }) = through(*default, of_call) else {
                continue;
            };
            let at = conditions.len();
            conditions.push(Condition {
                index: 0,
                value: multiplexer.mask(),
                value_two: u64::from(call),
                op: Operator::MaskedEqual,
            });
            conditional.push((slot, clauses.len() as u32));
            clauses.push(Clause {
                rule,
                action,
                conditions: at..at + 1,
            });
        }
    }

    /// Emits the argument checks of one call.
    fn checks(&mut self, layout: Layout, rules: &[(u16, u32)], otherwise: Label) -> Label {
        let clauses = || rules.iter().map(|(_, clause)| *clause);
        let same = |(at, emitted, _): &&(Layout, Vec<u32>, Label)| {
            *at == layout && emitted.iter().copied().eq(clauses())
        };
        if let Some((_, _, label)) = self.emitted.iter().find(same) {
            return *label;
        }
        let mut checks = Vec::with_capacity(rules.len());
        for clause in clauses() {
            let clause = &self.rules.clauses[clause as usize];
            let then = self.assembler.ret(clause.action.value());
            checks.push(Check {
                conditions: &self.rules.conditions[clause.conditions.clone()],
                then,
            });
        }
        let label = checks::checks(&mut self.assembler, layout, &checks, otherwise);
        self.emitted.push((layout, clauses().collect(), label));
        label
    }
}
