//! Puts instructions together from the last to the first: a jump's target is then always known, its distance too.
//! A conditional jump reaches 255 instructions; what lies farther is reached by a copy of a return or by a long jump.

use crate::program::{Instruction, JA, LD_W_ABS, RET_K};
use alloc::vec::Vec;
use core::num::NonZeroU32;

/// A place in the program, counted from its end, where the last instruction is 1. Places never move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Label(NonZeroU32);

/// What a conditional jump reaches, less one instruction that the other branch may need in between.
const REACH: u32 = 254;

pub(crate) struct Assembler {
    /// Last instruction first.
    code: Vec<Instruction>,
    /// One return of each value, by the value.
    returns: Vec<(u32, Label)>,
    /// For labels that were out of reach, their stand-ins (a copy of the return, or a long jump), oldest first.
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

    /// How many instructions a jump emitted next would skip to get to the label.
    fn distance(&self, label: Label) -> u32 {
        self.code.len() as u32 - label.0.get()
    }

    /// A return, shared with an equal one.
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

    /// The label itself, or a stand-in for it, within a conditional jump's reach.
    #[inline]
    fn within_reach(&mut self, label: Label) -> Label {
        if self.distance(label) <= REACH {
            label
        } else {
            self.stand_in(label)
        }
    }

    fn stand_in(&mut self, label: Label) -> Label {
        // The newest come last, so the first that is out of reach ends the search.
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

    /// A conditional jump.
    pub fn branch(&mut self, code: u16, k: u32, yes: Label, no: Label) -> Label {
        if yes == no {
            return yes;
        }
        let yes = self.within_reach(yes);
        let no = self.within_reach(no);
        self.push(code, self.distance(yes) as u8, self.distance(no) as u8, k)
    }

    /// An instruction that goes on at `next`: a load or an arithmetic one.
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

    /// The program, which begins at `start`.
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
