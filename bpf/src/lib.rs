//! OCI seccomp profiles (`linux.seccomp` of config.json) compiled to classic BPF, in-process and without libseccomp.
//! Beside them the device rules of `linux.resources`, compiled to eBPF by [`compile_devices`].
//! Pure functions over data: no system calls, no unsafe code, no dependency.
//!
//! [`compile`] makes the program, [`explain`] says what a profile does with one call and by which rule, [`disassemble`],
//! [`statistics`] and [`statistics_of`] show a program, [`verify`] and [`run`] check and execute one.
//!
//! # What a profile means
//!
//! The text is config-linux.md's; where it is silent, runc and libseccomp decide, and where those do something
//! surprising, this list says so. The tests in `tests/profile.rs` follow it.
//!
//! **Rules of one call.**
//! - A rule whose action (and errno) is the default's has no effect.
//! - An unconditional rule beats conditional ones, whichever comes first; of several unconditional ones the first wins.
//! - Otherwise the first conditional rule that matches wins; if none does, the default.
//! - All conditions of a rule must hold. But when two of them are about the same argument, every condition of that rule
//!   becomes a rule of its own, as in runc.
//!
//! **Conditions.** Arguments and values are unsigned 64-bit numbers. MASKED_EQ compares `argument & value` with
//! `valueTwo & value`. On 32-bit architectures only the low halves of argument and value are compared. x32 and mips' n32
//! count as 64-bit: there the kernel hands over whole registers and acts on whole registers, so comparing less than that
//! (as libseccomp does) would let a call through for an argument nobody checked.
//!
//! **Architectures.** The native one is covered whether listed or not. Any other one is killed (KILL_THREAD), even when
//! the default is ALLOW. On x86_64, numbers from 0x40000000 up belong to x32 and are killed unless SCMP_ARCH_X32 is
//! listed, except −1 (a call cancelled by a tracer), which is treated as any number without a name.
//!
//! **Newer calls.** A number greater than the largest number that the profile names on that architecture, by whatever
//! rule, gets ENOSYS instead of the default, so that programs fall back to older calls; unless the default is ALLOW, LOG
//! or TRACE. This is runc's rule. It compares with the largest *named* call rather than with the largest call in our
//! tables, so that a profile means the same under every version of this crate. A profile that names no call of an
//! architecture has no newer ones there. On arm the private calls (0xf0001 …) lie far above all others: a profile that
//! names one of them, as Docker's does, thereby knows all calls below.
//!
//! **Multiplexers.** On i386, s390, s390x, ppc and mips, `socketcall` and `ipc` stand for other calls, picked by their
//! first argument. A rule for `socket`, `shmat` and so on means both the direct call and the one through the multiplexer.
//! There, the call's own arguments are out of sight (they lie in memory), so conditions cannot be checked: the most
//! restrictive of the default and of all conditional rules for that call holds. A conditional permission therefore does
//! not reach through the multiplexer, and a conditional prohibition prohibits all of it. (libseccomp drops a condition on
//! the first argument there, so that a permission for one family of sockets becomes one for all.) Rules that
//! name `socketcall` or `ipc` themselves are rules like any other; an unconditional one decides alone.
//!
//! **Names** that no table of any architecture knows have no effect; the first 256 are listed in [`Program::unknown`]. A name that
//! only other architectures know has no effect and is not listed. Unknown actions, operators and architectures are for
//! the caller to report: their `from_name` finds none.
//!
//! **errnoRet** is EPERM where ERRNO and TRACE have none; above 4095, or beside another action, it is an error.
//!
//! **NOTIFY** is refused as the default and for `write`, as in runc.
//!
//! The kernel lets `uretprobe` and `uprobe` (335 and 336 on x86_64) pass every filter since 6.13.
//!
//! # What a program looks like
//!
//! The architecture's token picks a section; a section is a balanced search over the intervals of numbers with the same
//! verdict; the leaves are returns, or argument checks, which are searches over the intervals of an argument's halves.
//! Only operations that the kernel can follow when it works out which calls are always allowed are used, and no argument
//! is looked at before a call is known to need it: for most calls the kernel then never runs the filter.
#![no_std]
#![forbid(unsafe_code)]
extern crate alloc;

mod arch;
mod assembler;
mod checks;
mod compile;
mod devices;
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
pub use devices::{DeviceKind, DeviceRule, MKNOD, READ, WRITE, compile_devices};
pub use disassemble::disassemble;
pub use explain::{Reason, Verdict, explain};
pub use profile::{Action, ActionError, Condition, Error, Operator, Profile, Rule};
pub use program::{Data, Fault, Instruction, MAX_INSTRUCTIONS, run, trace, verify};
pub use statistics::{Statistics, statistics, statistics_of};
pub use tables::{is_known, name, number};
