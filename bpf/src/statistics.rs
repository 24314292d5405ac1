//! Reports the length of a program and the instructions it executes for every number of an architecture, with the
//! worst arguments. The kernel runs a new filter once per number, so these figures are the cost of installing it.

use crate::arch::Arch;
use crate::program::{Data, Instruction, LD_W_ABS, OFFSET_ARCH, OFFSET_NR, step, successors};
use crate::tables;
use alloc::vec;
use alloc::vec::Vec;

/// The figures. Displayed as `N instructions, A executed on average, M at most`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statistics {
    pub instructions: usize,
    /// The number of system call numbers examined.
    pub numbers: usize,
    /// The instructions executed for all numbers together, each with its worst arguments.
    pub executed: usize,
    /// The most instructions executed for one number.
    pub most: usize,
}

impl core::fmt::Display for Statistics {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        // Computed in tenths: formatting a float would add more code to the program than this compiler has.
        let tenths = (self.executed * 10 + self.numbers / 2)
            .checked_div(self.numbers)
            .unwrap_or(0);
        let Statistics {
            instructions, most, ..
        } = self;
        let (whole, tenth) = (tenths / 10, tenths % 10);
        write!(
            f,
            "{instructions} instructions, {whole}.{tenth} executed on average, {most} at most"
        )
    }
}

/// The figures for several architectures together. `instructions` is the length of the program.
pub fn statistics(program: &[Instruction], architectures: &[Arch]) -> Statistics {
    let mut whole = Statistics {
        instructions: program.len(),
        numbers: 0,
        executed: 0,
        most: 0,
    };
    let longest = longest(program);
    for arch in architectures {
        for number in tables::numbers(*arch) {
            let executed = worst(program, &longest, arch.token(), number);
            whole.numbers += 1;
            whole.executed += executed;
            whole.most = whole.most.max(executed);
        }
    }
    whole
}

/// The figures for one architecture. `instructions` counts those that its calls can reach.
pub fn statistics_of(program: &[Instruction], arch: Arch) -> Statistics {
    let reached = reached(program, arch.token());
    let instructions = reached.iter().filter(|reached| **reached).count();
    Statistics {
        instructions,
        ..statistics(program, &[arch])
    }
}

/// For each instruction, the most that are executed from there on, for any content of the accumulator.
fn longest(program: &[Instruction]) -> Vec<usize> {
    let mut longest = vec![0; program.len()];
    for (at, instruction) in program.iter().enumerate().rev() {
        let after = successors(at, instruction).into_iter().flatten();
        longest[at] = 1 + after
            .filter_map(|next| longest.get(next))
            .max()
            .copied()
            .unwrap_or(0);
    }
    longest
}

/// The most instructions executed for a number. The path is exact up to the first load of an argument.
fn worst(program: &[Instruction], longest: &[usize], token: u32, number: u32) -> usize {
    let data = Data {
        nr: number,
        arch: token,
        instruction_pointer: 0,
        args: [0; 6],
    };
    let (mut at, mut accumulator, mut executed) = (0, 0, 0);
    while let Some(instruction) = program.get(at) {
        if instruction.code == LD_W_ABS
            && instruction.k != OFFSET_NR
            && instruction.k != OFFSET_ARCH
        {
            return executed + longest[at];
        }
        executed += 1;
        match step(at, instruction, &data, &mut accumulator) {
            Some(next) => at = next,
            None => break,
        }
    }
    executed
}

/// For each instruction, whether a call with this token can reach it.
pub(crate) fn reached(program: &[Instruction], token: u32) -> Vec<bool> {
    let data = Data {
        nr: 0,
        arch: token,
        instruction_pointer: 0,
        args: [0; 6],
    };
    let mut reached = vec![false; program.len()];
    let (mut at, mut accumulator) = (0, 0);
    // The path is exact while only the architecture has been tested.
    while let Some(instruction) = program.get(at) {
        reached[at] = true;
        if instruction.code == LD_W_ABS && instruction.k != OFFSET_ARCH {
            break;
        }
        match step(at, instruction, &data, &mut accumulator) {
            Some(next) => at = next,
            None => return reached,
        }
    }
    for at in at..program.len() {
        if reached[at] {
            for next in successors(at, &program[at]).into_iter().flatten() {
                if let Some(next) = reached.get_mut(next) {
                    *next = true;
                }
            }
        }
    }
    reached
}
