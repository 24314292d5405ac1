//! The only room with unsafe code: the program's entry, the system calls that rustix lacks, and
//! the frozen child that walks the steps of a plan. Everything it offers to the other rooms is safe.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod arch;
pub mod calls;
mod entry;
#[cfg(any(feature = "program", test))]
#[cfg_attr(test, allow(dead_code))]
mod heap;
pub mod hook;
#[cfg(any(feature = "program", test))]
mod memory;
pub mod report;
pub mod slots;
pub mod spawn;
pub mod step;
#[cfg(test)]
mod tests;
mod walk;
pub mod words;

pub use entry::Start;
pub use walk::{CALLS_UNDER_A_FILTER, Make, open_tree, reach};
