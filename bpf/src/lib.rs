//! OCI seccomp profiles compiled to classic BPF.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod arch;
mod assembler;
mod checks;
mod compile;
mod disassemble;
mod explain;
mod profile;
mod program;
mod rules;
mod search;
mod statistics;
mod tables;

pub use arch::Arch;
pub use compile::{Program, compile};
pub use disassemble::disassemble;
pub use explain::{Reason, Verdict, explain};
pub use profile::{Action, ActionError, Condition, Error, Operator, Profile, Rule};
pub use program::{Data, Fault, Instruction, MAX_INSTRUCTIONS, run, trace, verify};
pub use statistics::{Statistics, statistics, statistics_of};
pub use tables::{is_known, name, number};
