//! Classic BPF as used by seccomp: the instruction, a verifier with the kernel's rules, and an interpreter.
//! Only the operations that the compiler emits are supported. Anything else is a fault.

use linux_raw_sys::ptrace::*;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Instruction {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

// linux/bpf_common.h. The kernel's bitmap of always-allowed calls works with these operations only
// (seccomp_is_const_allow). With shifts or scratch memory every call would run the filter.
/// The kernel's limit (BPF_MAXINSNS).
pub(crate) const LD_W_ABS: u16 = (BPF_LD | BPF_W | BPF_ABS) as u16;
pub(crate) const AND_K: u16 = (BPF_ALU | BPF_AND | BPF_K) as u16;
pub(crate) const JA: u16 = (BPF_JMP | BPF_JA) as u16;
pub(crate) const JEQ_K: u16 = (BPF_JMP | BPF_JEQ | BPF_K) as u16;
pub(crate) const JGT_K: u16 = (BPF_JMP | BPF_JGT | BPF_K) as u16;
pub(crate) const JGE_K: u16 = (BPF_JMP | BPF_JGE | BPF_K) as u16;
pub(crate) const JSET_K: u16 = (BPF_JMP | BPF_JSET | BPF_K) as u16;
pub(crate) const RET_K: u16 = (BPF_RET | BPF_K) as u16;

pub const MAX_INSTRUCTIONS: usize = BPF_MAXINSNS as usize;

// Offsets in struct seccomp_data.
pub(crate) const OFFSET_NR: u32 = 0;
pub(crate) const OFFSET_ARCH: u32 = 4;
pub(crate) const OFFSET_ARGS: u32 = 16;
const DATA_SIZE: u32 = 64;

/// The input of a filter: `struct seccomp_data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Data {
    pub nr: u32,
    /// The audit token; see [`crate::Arch::token`].
    pub arch: u32,
    pub instruction_pointer: u64,
    pub args: [u64; 6],
}

impl Data {
    /// The word at an offset, in the byte order of the architecture in `arch`.
    pub(crate) fn word(&self, offset: u32) -> Option<u32> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        let long = match offset {
            OFFSET_NR => return Some(self.nr),
            OFFSET_ARCH => return Some(self.arch),
            8..16 => self.instruction_pointer,
            OFFSET_ARGS..DATA_SIZE => self.args[((offset - OFFSET_ARGS) / 8) as usize],
            _ => return None,
        };
        let low = offset.is_multiple_of(8) == (self.arch & __AUDIT_ARCH_LE != 0);
        Some(if low {
            long as u32
        } else {
            (long >> 32) as u32
        })
    }
}

/// What is wrong with a program, and at which instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    Empty,
    TooLong,
    /// An operation that the compiler does not use.
    Operation {
        at: usize,
    },
    /// A load from outside `seccomp_data`, or not at a word boundary.
    Load {
        at: usize,
    },
    /// A jump, or the step to the next instruction, leads out of the program.
    Leaves {
        at: usize,
    },
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter) -> core::fmt::Result {
        match self {
            Fault::Empty => f.write_str("no instructions"),
            Fault::TooLong => write!(f, "more than {MAX_INSTRUCTIONS} instructions"),
            Fault::Operation { at } => write!(f, "unknown operation at instruction {at}"),
            Fault::Load { at } => write!(f, "load outside the call's data at instruction {at}"),
            Fault::Leaves { at } => write!(f, "control leaves the program at instruction {at}"),
        }
    }
}

/// The possible successors of the instruction `at`: none after a return, else one or two.
pub(crate) fn successors(at: usize, instruction: &Instruction) -> [Option<usize>; 2] {
    let next = at + 1;
    match instruction.code {
        RET_K => [None, None],
        JA => [next.checked_add(instruction.k as usize), None],
        JEQ_K | JGT_K | JGE_K | JSET_K => [
            Some(next + usize::from(instruction.jt)),
            Some(next + usize::from(instruction.jf)),
        ],
        _ => [Some(next), None],
    }
}

/// Checks whether the kernel would accept the program: known operations, loads inside `seccomp_data`, jumps inside
/// the program. Jumps only go forward, so every path ends, and it can only end in a return.
pub fn verify(program: &[Instruction]) -> Result<(), Fault> {
    if program.is_empty() {
        return Err(Fault::Empty);
    }
    if program.len() > MAX_INSTRUCTIONS {
        return Err(Fault::TooLong);
    }
    for (at, instruction) in program.iter().enumerate() {
        match instruction.code {
            RET_K | AND_K | JA | JEQ_K | JGT_K | JGE_K | JSET_K => {}
            LD_W_ABS if instruction.k.is_multiple_of(4) && instruction.k < DATA_SIZE => {}
            LD_W_ABS => return Err(Fault::Load { at }),
            _ => return Err(Fault::Operation { at }),
        }
        if successors(at, instruction)
            .into_iter()
            .flatten()
            .any(|target| target >= program.len())
        {
            return Err(Fault::Leaves { at });
        }
    }
    Ok(())
}

/// Runs a program as the kernel does and returns its result. A program that [`verify`] refuses returns KILL_PROCESS,
/// so that no fault allows a call.
pub fn run(program: &[Instruction], data: &Data) -> u32 {
    trace(program, data).0
}

/// Like [`run`], and also returns the number of instructions executed.
pub fn trace(program: &[Instruction], data: &Data) -> (u32, usize) {
    let (mut at, mut accumulator, mut executed) = (0, 0, 0);
    while let Some(instruction) = program.get(at) {
        executed += 1;
        match step(at, instruction, data, &mut accumulator) {
            Some(next) => at = next,
            None if instruction.code == RET_K => return (instruction.k, executed),
            None => break,
        }
    }
    (SECCOMP_RET_KILL_PROCESS, executed)
}

/// Executes one instruction and returns the next. Returns `None` after a return or a fault.
pub(crate) fn step(
    at: usize,
    instruction: &Instruction,
    data: &Data,
    accumulator: &mut u32,
) -> Option<usize> {
    let k = instruction.k;
    let [yes, no] = successors(at, instruction);
    let taken = match instruction.code {
        RET_K => return None,
        LD_W_ABS => {
            *accumulator = data.word(k)?;
            true
        }
        AND_K => {
            *accumulator &= k;
            true
        }
        JA => true,
        JEQ_K => *accumulator == k,
        JGT_K => *accumulator > k,
        JGE_K => *accumulator >= k,
        JSET_K => *accumulator & k != 0,
        _ => return None,
    };
    if taken { yes } else { no }
}
