//! Compiles OCI seccomp profiles (`linux.seccomp` of config.json) to classic BPF, in-process and without libseccomp.
//! [`compile_devices`] compiles the device rules of `linux.resources` to eBPF.
//! The functions are pure: no system calls, no unsafe code, no dependencies.
//!
//! [`compile`] makes the program. [`explain`] returns the verdict on one call and the rule behind it.
//! [`disassemble`], [`statistics`] and [`statistics_of`] describe a program. [`verify`] checks one and [`run`]
//! executes one.
//!
//! # What a profile means
//!
//! The reference is config-linux.md. Where it is silent, runc and libseccomp decide. Where those are surprising, this
//! list says so. The tests in `tests/profile.rs` follow this list.
//!
//! **Rules of one call.**
//! - A rule with the same action and errno as the default has no effect.
//! - An unconditional rule takes precedence over conditional ones, in any order. Of several unconditional rules the first
//!   applies.
//! - Otherwise the first conditional rule that matches applies. If none matches, the default applies.
//! - All conditions of a rule must hold. But if two of them test the same argument, every condition of that rule becomes
//!   a rule of its own, as in runc.
//!
//! **Conditions.** Arguments and values are unsigned 64-bit numbers. MASKED_EQ compares `argument & value` with
//! `valueTwo & value`. On 32-bit architectures only the low halves of the argument and the value are compared. x32
//! and mips n32 count as 64-bit: the kernel passes whole registers to the filter and acts on whole registers.
//! libseccomp compares less than that, and so allows a call with an argument that was not checked.
//!
//! **Architectures.** The native architecture is covered whether listed or not. A call from any other unlisted
//! architecture is killed (KILL_THREAD), even if the default is ALLOW. On x86_64, numbers from 0x40000000 up belong
//! to x32 and are killed unless SCMP_ARCH_X32 is listed. The exception is −1, a call cancelled by a tracer, which is
//! treated as any number without a name.
//!
//! **Newer calls.** A number above the largest one that the profile names on that architecture, in any rule, returns
//! ENOSYS instead of the default, so that programs fall back to older calls. If the default is ALLOW, LOG or TRACE,
//! the default applies. This is runc's rule. The limit is the largest *named* call, not the largest call in our
//! tables, so the meaning of a profile does not depend on the version of this crate. If a profile names no call of an
//! architecture, no call is newer there. On arm the private calls (0xf0001 …) lie far above all others: a profile
//! that names one of them, as Docker's does, has no newer calls below it.
//!
//! **Multiplexers.** On i386, s390, s390x, ppc and mips, `socketcall` and `ipc` stand for other calls, selected by
//! their first argument. A rule for `socket`, `shmat` and so on covers both the direct call and the call through the
//! multiplexer. Through the multiplexer the arguments lie in memory, so the filter cannot check conditions: the most
//! restrictive action applies, out of the default and all conditional rules for that call. A conditional permission
//! therefore does not apply through the multiplexer, and a conditional prohibition applies in full. (libseccomp drops
//! a condition on the first argument there, so a permission for one socket family becomes a permission for all.)
//! Rules that name `socketcall` or `ipc` themselves are ordinary rules; an unconditional one decides alone.
//!
//! **Names.** A name that no table of any architecture knows has no effect and is listed in [`Program::unknown`]. A
//! name that only other architectures know has no effect and is not listed. Unknown actions, operators and
//! architectures are for the caller to report: `from_name` does not find them.
//!
//! **errnoRet** defaults to EPERM for ERRNO and TRACE. A value above 4095, or one beside another action, is an error.
//!
//! **NOTIFY** is refused as the default action and for `write`, as in runc.
//!
//! Since Linux 6.13, `uretprobe` and `uprobe` (335 and 336 on x86_64) pass every filter.
//!
//! # What a program looks like
//!
//! The audit token selects a section. A section is a balanced search over the intervals of numbers with the same
//! verdict. The leaves are returns, or argument checks, which are searches over the halves of an argument.
//! The program uses only operations that the kernel can evaluate when it determines which calls are always allowed,
//! and loads no argument before a call needs it. For most calls the kernel then never runs the filter.
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
mod first;
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
pub use first::first_of_each;
pub use profile::{Action, ActionError, Condition, Error, Operator, Profile, Rule};
pub use program::{Data, Fault, Instruction, MAX_INSTRUCTIONS, run, trace, verify};
pub use statistics::{Statistics, statistics, statistics_of};
pub use tables::{is_known, name, number};
