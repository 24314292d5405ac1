//! Assembles a program from its last instruction to its first, so the target of every jump is already placed.
//! A conditional jump reaches 255 instructions. A farther target is reached through a copy of a return or a long
//! jump.

use crate::program::{Instruction, JA, LD_W_ABS, RET_K};
use alloc::vec::Vec;
use core::num::NonZeroU32;

/// A position in the program, counted from its end: the last instruction is 1. Positions never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Label(NonZeroU32);

/// The reach of a conditional jump, less the one instruction that the other branch may have to insert.
const REACH: u32 = 254;

pub(crate) struct Assembler {
    /// Instructions, last one first.
    code: Vec<Instruction>,
    /// One return for each value, with the value.
    returns: Vec<(u32, Label)>,
    /// Labels that were out of reach, each with its stand-in: a copy of the return, or a long jump. Oldest first.
    near: Vec<(Label, Label)>,
}

impl Assembler {
    pub fn new() -> Assembler {
        Assembler {
            code: Vec::with_capacity(512),
            returns: Vec::new(),
            near: Vec::new(),
        }
    }

    fn push(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Label {
        self.code.push(Instruction { code, jt, jf, k });
        self.last()
    }

    /// The instruction emitted last.
    fn last(&self) -> Label {
        let length = u32::try_from(self.code.len())
            .ok()
            .and_then(NonZeroU32::new);
        Label(length.expect("between one instruction and four thousand million"))
    }

    fn at(&self, label: Label) -> Instruction {
        self.code[label.0.get() as usize - 1]
    }

    /// The number of instructions that the next jump emitted would skip to reach the label.
    fn distance(&self, label: Label) -> u32 {
        self.code.len() as u32 - label.0.get()
    }

    /// Emits a return, or reuses one with the same value.
    pub fn ret(&mut self, value: u32) -> Label {
        match self
            .returns
            .binary_search_by_key(&value, |(known, _)| *known)
        {
            Ok(at) => self.returns[at].1,
            Err(at) => {
                let ret = self.push(RET_K, 0, 0, value);
                self.returns.insert(at, (value, ret));
                ret
            }
        }
    }

    pub fn is_return(&self, label: Label) -> bool {
        self.at(label).code == RET_K
    }

    /// The label itself if a conditional jump reaches it, otherwise a stand-in that it reaches.
    #[inline]
    fn within_reach(&mut self, label: Label) -> Label {
        if self.distance(label) <= REACH {
            label
        } else {
            self.stand_in(label)
        }
    }

    fn stand_in(&mut self, label: Label) -> Label {
        // The newest stand-ins come last, so the search ends at the first one out of reach.
        let in_reach = |near: &&(Label, Label)| self.distance(near.1) <= REACH;
        let mut newest = self.near.iter().rev().take_while(in_reach);
        if let Some((_, near)) = newest.find(|(far, _)| *far == label) {
            return *near;
        }
        let target = self.at(label);
        let near = match target.code {
            RET_K => self.push(RET_K, 0, 0, target.k),
            _ => self.push(JA, 0, 0, self.distance(label)),
        };
        self.near.push((label, near));
        near
    }

    /// Emits a conditional jump.
    pub fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        self.push(code, self.distance(yes) as u8, self.distance(no) as u8, k)
    }

    /// Emits a load or an arithmetic instruction that continues at `next`.
    pub fn then(&mut self, code: u16, k: u32, next: Label) -> Label {
        let distance = self.distance(next);
        if distance > 0 {
            let target = self.at(next);
            match target.code {
                RET_K => return next,
                _ => self.push(JA, 0, 0, distance),
            };
        }
        self.push(code, 0, 0, k)
    }

    pub fn load(&mut self, offset: u32, next: Label) -> Label {
        self.then(LD_W_ABS, offset, next)
    }

    /// Returns the program, which begins at `start`.
    pub fn finish(mut self, start: Label) -> Vec<Instruction> {
        if self.distance(start) > 0 {
            let first = self.at(start);
            match first.code {
                RET_K => self.push(RET_K, 0, 0, first.k),
                _ => self.push(JA, 0, 0, self.distance(start)),
            };
        }
        self.code.reverse();
        self.code
    }
}
