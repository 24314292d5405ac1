//! Measures the cost of a filter: compiling Docker's profile compared with parsing it with serde_json, and installing
//! it compared with the programs of libseccomp (default and optimised) and seccompiler for the same rules.
//! Run it with `cargo bench -p bpf --bench filter`.

#[path = "../tests/support/libseccomp.rs"]
mod libseccomp;
#[path = "../tests/support/mod.rs"]
mod support;

use bpf::{Arch, Instruction, Operator, statistics};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::hint::black_box;
use std::time::Instant;
use support::OwnedProfile;

/// The shape in which a reader of config.json holds the profile: borrowed strings, one pass.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, not used")]
struct Seccomp<'a> {
    default_action: &'a str,
    default_errno_ret: Option<u32>,
    #[serde(borrow)]
    architectures: Vec<&'a str>,
    syscalls: Vec<Syscall<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, not used")]
struct Syscall<'a> {
    #[serde(borrow)]
    names: Vec<&'a str>,
    action: &'a str,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Argument<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code, reason = "read, not used")]
struct Argument<'a> {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: &'a str,
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

/// The median time of a function, in µs.
fn time(mut f: impl FnMut()) -> f64 {
    let once = |f: &mut dyn FnMut()| {
        let start = Instant::now();
        f();
        start.elapsed().as_nanos() as f64 / 1000.0
    };
    median((0..4001).map(|_| once(&mut f)).collect())
}

/// Installs the program in a new process and returns the time this takes, in µs.
fn install(program: &[Instruction]) -> f64 {
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    let mut pipe = [0; 2];
    // SAFETY: the kernel writes two descriptors, and the array holds two.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the process has a single thread, so the child inherits no locked lock.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the kernel copies the filter; an instruction is laid out as sock_filter.
        unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            let start = Instant::now();
            let result = libc::syscall(libc::SYS_seccomp, 1, 0, &raw const filter);
            let nanoseconds = if result == 0 {
                start.elapsed().as_nanos() as u64
            } else {
                u64::MAX
            };
            libc::write(pipe[1], (&raw const nanoseconds).cast(), 8);
            libc::_exit(0);
        }
    }
    let mut nanoseconds = 0_u64;
    // SAFETY: the child and the descriptors are ours, and the buffer holds eight bytes.
    unsafe {
        assert_eq!(libc::read(pipe[0], (&raw mut nanoseconds).cast(), 8), 8);
        libc::waitpid(child, std::ptr::null_mut(), 0);
        libc::close(pipe[0]);
        libc::close(pipe[1]);
    }
    assert_ne!(nanoseconds, u64::MAX, "the kernel refused the filter");
    nanoseconds as f64 / 1000.0
}

fn by_libseccomp(
    library: &libseccomp::Libseccomp,
    profile: &OwnedProfile,
    optimize: bool,
) -> Vec<Instruction> {
    let mut filter = library.filter(profile.default.value());
    for arch in profile
        .architectures
        .iter()
        .filter(|arch| **arch != Arch::X86_64)
    {
        filter
            .add_arch(libseccomp::token(*arch))
            .expect("an architecture");
    }
    if optimize {
        filter.optimize().expect("libseccomp 2.5");
    }
    for rule in profile
        .rules
        .iter()
        .filter(|rule| rule.action != profile.default)
    {
        let comparison = |c: &bpf::Condition| libseccomp::Comparison {
            argument: c.index,
            operator: 1 + c.op as u32,
            a: c.value,
            b: c.value_two,
        };
        let comparisons: Vec<_> = rule.conditions.iter().map(comparison).collect();
        for name in &rule.names {
            let number = library.resolve(libseccomp::token(Arch::X86_64), name);
            if number != -1 {
                filter
                    .add_rule(rule.action.value(), number, &comparisons)
                    .expect("a rule");
            }
        }
    }
    filter.program()
}

/// seccompiler's program for one architecture, from the rules that allow.
fn by_seccompiler(profile: &OwnedProfile) -> Vec<Instruction> {
    let mut rules = std::collections::BTreeMap::<i64, Vec<SeccompRule>>::new();
    for rule in profile
        .rules
        .iter()
        .filter(|rule| rule.action == bpf::Action::Allow)
    {
        for number in rule
            .names
            .iter()
            .filter_map(|name| bpf::number(Arch::X86_64, name))
        {
            let condition = |c: &bpf::Condition| {
                let (op, value) = match c.op {
                    Operator::Equal => (SeccompCmpOp::Eq, c.value),
                    Operator::NotEqual => (SeccompCmpOp::Ne, c.value),
                    Operator::Less => (SeccompCmpOp::Lt, c.value),
                    Operator::LessOrEqual => (SeccompCmpOp::Le, c.value),
                    Operator::Greater => (SeccompCmpOp::Gt, c.value),
                    Operator::GreaterOrEqual => (SeccompCmpOp::Ge, c.value),
                    Operator::MaskedEqual => (SeccompCmpOp::MaskedEq(c.value), c.value_two),
                };
                SeccompCondition::new(c.index as u8, SeccompCmpArgLen::Qword, op, value)
                    .expect("a condition")
            };
            let rules = rules.entry(i64::from(number)).or_default();
            if !rule.conditions.is_empty() {
                rules.push(
                    SeccompRule::new(rule.conditions.iter().map(condition).collect())
                        .expect("a rule"),
                );
            }
        }
    }
    let arch = seccompiler::TargetArch::x86_64;
    let filter = SeccompFilter::new(rules, SeccompAction::Errno(1), SeccompAction::Allow, arch)
        .expect("a filter");
    let program: seccompiler::BpfProgram = filter.try_into().expect("a program");
    program
        .iter()
        .map(|i| Instruction {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        })
        .collect()
}

fn main() {
    let text = include_str!("../tests/data/docker.json");
    let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
    // Without white space, as engines write it.
    let json = value.to_string();
    let three = support::docker();
    let one = three.on(&[]);
    let read = time(|| {
        drop(black_box(
            serde_json::from_str::<Seccomp>(&json).expect("JSON"),
        ))
    });
    println!(
        "reading the profile with serde_json  {read:6.1} µs, {} bytes",
        json.len()
    );
    for (name, profile) in [("x86_64", &one), ("x86_64, x86, x32", &three)] {
        let compile = profile.with(|profile| time(|| drop(black_box(bpf::compile(profile)))));
        println!(
            "compiling for {name:<22} {compile:6.1} µs, {:.2} of reading",
            compile / read
        );
    }
    let library = libseccomp::Libseccomp::load();
    if library.is_none() {
        println!("SKIPPED: libseccomp.so.2 is missing, so its two programs are not measured");
    }
    for (name, profile, architectures) in [
        ("x86_64", &one, &[Arch::X86_64][..]),
        ("x86_64, x86, x32", &three, &three.architectures),
    ] {
        println!("installing for {name}, beside a filter of one instruction:");
        let allow = Instruction {
            code: 6,
            jt: 0,
            jf: 0,
            k: 0x7fff_0000,
        };
        let mut contenders = vec![
            ("one instruction", vec![allow]),
            ("this crate", profile.compile()),
        ];
        if let Some(library) = &library {
            contenders.push((
                "libseccomp, optimised",
                by_libseccomp(library, profile, true),
            ));
            contenders.push(("libseccomp", by_libseccomp(library, profile, false)));
        }
        if architectures.len() == 1 {
            contenders.push(("seccompiler", by_seccompiler(profile)));
        }
        // The programs take turns, so a slow moment of the machine affects all of them.
        let mut samples: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
        for _ in 0..301 {
            for ((_, program), samples) in contenders.iter().zip(&mut samples) {
                samples.push(install(program));
            }
        }
        for ((name, program), samples) in contenders.iter().zip(samples) {
            println!(
                "  {name:<22} {:6.1} µs, {}",
                median(samples),
                statistics(program, architectures)
            );
        }
    }
}
