//! `seccomp`: prints the program that a profile compiles to, with its statistics, or the verdict on one call and the
//! rule behind it.

use super::print;
use crate::files;
use alloc::format;
use alloc::vec::Vec;
use bpf::{Arch, Data};
use core::fmt::Write;
use runtime::cli::Seccomp as SeccompArgs;
use runtime::error::{Error, Result, fail};
use runtime::plan::{compiled, with_profile};
use runtime::spec::{ProfileHead, Seccomp, Spec};
use rustix::fs::CWD;

pub fn run(args: &SeccompArgs<'_>) -> Result<i32> {
    let file = args.file;
    let text = files::read(CWD, file)?;
    let place = format!("{file}: seccomp");
    // The file is a profile, or a config.json that contains one.
    let head = ProfileHead::parse(file, &text)?;
    let seccomp = if head.default_action.is_some() {
        Seccomp::parse(file, &text)?
    } else {
        match Spec::parse(file, &text)?.linux.seccomp {
            Some(seccomp) => seccomp,
            None => {
                fail!("{file}: no seccomp profile: neither defaultAction nor linux.seccomp is set")
            }
        }
    };
    let call = &args.call;
    with_profile(&seccomp, &place, |profile| {
        if args.explain {
            let verdict = bpf::explain(profile, &data(call)?)
                .map_err(|e| Error::new(format!("{place}: {e}")))?;
            return print(&format!("{verdict}\n"));
        }
        if !call.is_empty() {
            fail!(
                "unexpected argument {:?} (use --explain to ask about a call)",
                call[0]
            );
        }
        let program = compiled(profile, &place)?;
        let mut archs = Vec::from([Arch::NATIVE]);
        archs.extend(
            profile
                .architectures
                .iter()
                .copied()
                .filter(|arch| *arch != Arch::NATIVE),
        );
        let mut out = bpf::disassemble(&program.instructions, &archs);
        let _ = writeln!(out, "{}", bpf::statistics(&program.instructions, &archs));
        for arch in archs {
            let _ = writeln!(
                out,
                "{}: {}",
                arch.name(),
                bpf::statistics_of(&program.instructions, arch)
            );
        }
        if !program.unknown.is_empty() {
            let _ = writeln!(out, "unknown system calls: {}", program.unknown.join(", "));
        }
        print(&out)
    })
}

/// The call as seen by the filter: its name or number on this architecture, and its arguments.
fn data(words: &[&str]) -> Result<Data> {
    let Some((name, arguments)) = words.split_first() else {
        fail!("--explain needs a system call and its arguments, such as openat 0 2");
    };
    let number = match bpf::number(Arch::NATIVE, name) {
        Some(number) => number,
        None => match integer(name).map(u32::try_from) {
            Some(Ok(number)) => number,
            _ => fail!("{name:?} is not a system call of {}", Arch::NATIVE.name()),
        },
    };
    let mut args = [0; 6];
    if arguments.len() > args.len() {
        fail!(
            "a system call has at most {} arguments, found {}",
            args.len(),
            arguments.len()
        );
    }
    for (to, text) in args.iter_mut().zip(arguments) {
        match integer(text) {
            Some(value) => *to = value,
            None => fail!("expected a number, found {text:?}"),
        }
    }
    Ok(Data {
        nr: number,
        arch: Arch::NATIVE.token(),
        instruction_pointer: 0,
        args,
    })
}

/// A decimal number, a hexadecimal one after 0x, or a negative one as in C.
fn integer(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    text.parse()
        .ok()
        .or_else(|| text.parse::<i64>().ok().map(|n| n as u64))
}
