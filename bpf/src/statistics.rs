//! How long a program is and how long it runs, for every number of an architecture's table and the worst arguments.
//! The kernel runs a new filter once per number, so these figures are what installing costs.

use crate::arch::Arch;
use crate::program::{Data, Instruction, LD_W_ABS, OFFSET_ARCH, OFFSET_NR, step, successors};
use crate::tables;
use alloc::vec;
use alloc::vec::Vec;

/// Figures of a program. Displayed as `N instructions, A executed on average, M at most`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statistics {
    pub instructions: usize,
    /// How many system call numbers were looked at.
    pub numbers: usize,
    /// For all numbers together, how many instructions were executed with the arguments that take longest.
    pub executed: usize,
    /// The most executed for one number.
    pub most: usize,
}

impl core::fmt::Display for Statistics {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        // In tenths: formatting a float would add more to the program than this crate's compiler.
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

/// The figures for several architectures together; `instructions` is the program's length.
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

/// The figures for one architecture; `instructions` counts those that its calls can reach.
pub fn statistics_of(program: &[Instruction], arch: Arch) -> Statistics {
    let reached = reached(program, arch.token());
    let instructions = reached.iter().filter(|reached| **reached).count();
    Statistics {
        instructions,
        ..statistics(program, &[arch])
    }
}

/// By instruction, the most that are executed from there on, whatever the accumulator holds.
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

/// The most that is executed for a number: up to the first look at an argument the way is known.
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

/// By instruction, whether a call with the token can get there.
pub(crate) fn reached(program: &[Instruction], token: u32) -> Vec<bool> {
    let data = Data {
        nr: 0,
        arch: token,
        instruction_pointer: 0,
        args: [0; 6],
    };
    let mut reached = vec![false; program.len()];
    let (mut at, mut accumulator) = (0, 0);
    // As long as only the architecture was looked at, the way is known.
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
