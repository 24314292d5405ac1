//! Prints a program as text, one instruction per line, with the names of architectures, calls and actions.
//! The meaning of a comparison follows from the word loaded before it, if all paths to it loaded the same word.

use crate::arch::{Arch, X32_BIT};
use crate::profile::Action;
use crate::program::{
    AND_K, Instruction, JA, JEQ_K, JGE_K, JGT_K, JSET_K, LD_W_ABS, OFFSET_ARCH, OFFSET_ARGS,
    OFFSET_NR, RET_K, successors,
};
use crate::statistics::reached;
use crate::tables;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

/// The content of the accumulator before an instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// No path to the instruction is known.
    Nothing,
    /// The word at this offset of `seccomp_data`.
    Word(u32),
    /// The paths disagree.
    Unknown,
}

/// Returns the listing. The architectures are those the program was compiled for; others appear as bare numbers.
pub fn disassemble(program: &[Instruction], architectures: &[Arch]) -> String {
    let holds = holds(program);
    let reached: Vec<(Arch, Vec<bool>)> = architectures
        .iter()
        .map(|arch| (*arch, reached(program, arch.token())))
        .collect();
    let mut text = String::with_capacity(program.len() * 48);
    for (at, instruction) in program.iter().enumerate() {
        let only = |number: u32| {
            // x32 shares its code with x86_64; the number distinguishes them.
            let mut here = reached.iter().filter(|(arch, reached)| {
                reached[at] && (*arch != Arch::X86_64 || number < X32_BIT)
            });
            let arch = here
                .find(|(arch, _)| *arch != Arch::X32 || number >= X32_BIT)?
                .0;
            here.all(|(other, _)| *other == Arch::X32 && number < X32_BIT)
                .then_some(arch)
        };
        // Writing to a string cannot fail.
        let _ = line(&mut text, at, instruction, holds[at], only);
        text.push('\n');
    }
    text
}

fn line(
    text: &mut String,
    at: usize,
    instruction: &Instruction,
    holds: Holds,
    arch: impl Fn(u32) -> Option<Arch>,
) -> core::fmt::Result {
    let k = instruction.k;
    write!(text, "{at:4}  ")?;
    let operation = match instruction.code {
        LD_W_ABS => {
            write!(text, "load  ")?;
            return word(text, k, arch(0));
        }
        RET_K => {
            return match Action::from_value(k) {
                Some(action) => write!(text, "ret   {action}"),
                None => write!(text, "ret   {k:#x}"),
            };
        }
        AND_K => return write!(text, "and   {k:#x}"),
        JA => return write!(text, "goto  {}", at + 1 + k as usize),
        JEQ_K => "jeq",
        JGT_K => "jgt",
        JGE_K => "jge",
        JSET_K => "jset",
        code => {
            return write!(
                text,
                "code {code:#x}, {}, {}, {k:#x}",
                instruction.jt, instruction.jf
            );
        }
    };
    let [yes, no] = successors(at, instruction).map(|target| target.unwrap_or(at));
    let name = match holds {
        Holds::Word(OFFSET_ARCH) => Arch::ALL
            .into_iter()
            .find(|arch| arch.token() == k)
            .map(Arch::name),
        Holds::Word(OFFSET_NR) => arch(k).and_then(|arch| tables::name(arch, k)),
        _ => None,
    };
    match holds {
        Holds::Word(OFFSET_NR) if k < X32_BIT => write!(text, "{operation:<5} {k}")?,
        _ => write!(text, "{operation:<5} {k:#x}")?,
    }
    write!(text, " ? {yes} : {no}")?;
    name.map_or(Ok(()), |name| write!(text, "  ; {name}"))
}

/// The name of a word of `seccomp_data`.
fn word(text: &mut String, offset: u32, arch: Option<Arch>) -> core::fmt::Result {
    match offset {
        OFFSET_NR => text.write_str("nr"),
        OFFSET_ARCH => text.write_str("arch"),
        OFFSET_ARGS.. => {
            let argument = (offset - OFFSET_ARGS) / 8;
            let low_first = arch.unwrap_or(Arch::NATIVE).is_little_endian();
            let half = if offset.is_multiple_of(8) == low_first {
                "low"
            } else {
                "high"
            };
            write!(text, "args[{argument}].{half}")
        }
        _ => write!(text, "[{offset}]"),
    }
}

/// The content of the accumulator before each instruction. One pass suffices, because jumps only go forward.
fn holds(program: &[Instruction]) -> Vec<Holds> {
    let mut holds = vec![Holds::Nothing; program.len()];
    for (at, instruction) in program.iter().enumerate() {
        let after = match instruction.code {
            LD_W_ABS => Holds::Word(instruction.k),
            AND_K => Holds::Unknown,
            _ => holds[at],
        };
        for next in successors(at, instruction).into_iter().flatten() {
            if let Some(next) = holds.get_mut(next) {
                *next = if *next == Holds::Nothing || *next == after {
                    after
                } else {
                    Holds::Unknown
                };
            }
        }
    }
    holds
}
