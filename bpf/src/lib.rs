//! OCI seccomp profiles compiled to classic BPF.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod arch;
mod assembler;
mod checks;
mod compile;
mod profile;
mod program;
mod search;
mod tables;

pub use arch::Arch;
pub use compile::{Program, compile};
pub use profile::{Action, ActionError, Condition, Error, Operator, Profile, Rule};
pub use program::{Data, Fault, Instruction, MAX_INSTRUCTIONS, run, trace, verify};
pub use tables::{is_known, name, number};
