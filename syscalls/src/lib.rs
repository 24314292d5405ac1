//! The only room with unsafe code: the program's entry, the system calls that rustix lacks, and
//! the frozen child that walks the steps of a plan. Everything it offers to the other rooms is safe.
#![no_std]

extern crate alloc;

mod arch;
pub mod calls;
mod entry;
#[cfg(feature = "program")]
mod heap;
pub mod hook;
#[cfg(feature = "program")]
mod memory;
pub mod report;
pub mod slots;
pub mod spawn;
pub mod step;
mod walk;
pub mod words;

pub use entry::Start;
pub use walk::{CALLS_UNDER_A_FILTER, Make, open_tree, reach};
