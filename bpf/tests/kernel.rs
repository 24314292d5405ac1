//! Installs 200 compiled profiles in the kernel and probes them with real calls: `syscall`, x32 numbers, and i386's
//! `int 0x80`.
//!
//! A second filter, installed first, makes every call that the profile allows fail with an errno reserved for this
//! test, so no call is executed. Of the two answers the kernel takes the more restrictive one; of two errnos it takes
//! that of the filter installed last, which is the profile's.
#![cfg(target_arch = "x86_64")]

mod support;

use bpf::{Action, Arch, Data, Instruction};
use std::arch::asm;
use std::sync::atomic::{AtomicI64, Ordering};
use support::OwnedProfile;
use support::evaluator::Evaluator;
use support::random::Random;

/// The errno with which the first filter answers calls that the profile allows. No profile here uses it.
const PASSED: i64 = -4000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Door {
    Syscall,
    Int80,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    door: Door,
    nr: u32,
    args: [u64; 6],
}

impl Probe {
    fn data(&self) -> Data {
        let (arch, args) = match self.door {
            Door::Syscall => (Arch::X86_64, self.args),
            Door::Int80 => (Arch::X86, self.args.map(|arg| u64::from(arg as u32))),
        };
        Data {
            nr: self.nr,
            arch: arch.token(),
            instruction_pointer: 0,
            args,
        }
    }

    /// Makes the call.
    ///
    /// # Safety
    /// A filter must be installed that keeps the kernel from executing the call.
    unsafe fn call(&self) -> i64 {
        let mut result = i64::from(self.nr as i32);
        let args = self.args.as_ptr();
        match self.door {
            // SAFETY: the call returns an errno without being executed, or the process dies.
            Door::Syscall => unsafe {
                asm!(
                    "syscall",
                    inlateout("rax") result,
                    in("rdi") *args, in("rsi") *args.add(1), in("rdx") *args.add(2),
                    in("r10") *args.add(3), in("r8") *args.add(4), in("r9") *args.add(5),
                    lateout("rcx") _, lateout("r11") _,
                );
            },
            // SAFETY: as above. rbx and rbp belong to the compiler, so they are saved and restored.
            Door::Int80 => unsafe {
                asm!(
                    "push rbx",
                    "push rbp",
                    "mov ebx, [rdi]",
                    "mov ecx, [rdi + 8]",
                    "mov edx, [rdi + 16]",
                    "mov esi, [rdi + 24]",
                    "mov ebp, [rdi + 40]",
                    "mov edi, [rdi + 32]",
                    "int 0x80",
                    "pop rbp",
                    "pop rbx",
                    inlateout("rax") result,
                    inlateout("rdi") args => _,
                    lateout("rcx") _, lateout("rdx") _, lateout("rsi") _,
                    lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
                );
                result = i64::from(result as i32);
            },
        }
        result
    }
}

/// A page shared by parent and child. It holds the results and their number.
struct Shared(*mut AtomicI64);

impl Shared {
    const LENGTH: usize = 1 << 14;

    fn new() -> Shared {
        let bytes = Shared::LENGTH * size_of::<AtomicI64>();
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at an address of the kernel's choice, which is never unmapped.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        Shared(at.cast())
    }

    fn at(&self, index: usize) -> &AtomicI64 {
        assert!(index < Shared::LENGTH);
        // SAFETY: inside the mapping, which is never unmapped; zeroed pages are valid atomics.
        unsafe { &*self.0.add(index) }
    }
}

/// Installs a filter in this process. False when the kernel refuses it.
///
/// # Safety
/// The process can never again make the calls that the filter forbids.
unsafe fn install(program: &[Instruction]) -> bool {
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    const SECCOMP_SET_MODE_FILTER: libc::c_int = 1;
    // SAFETY: an instruction is laid out as sock_filter, and the kernel copies them.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(
                libc::SYS_seccomp,
                SECCOMP_SET_MODE_FILTER,
                0,
                &raw const filter,
            ) == 0
    }
}

/// A filter that answers every call with the errno, except those that install the second filter.
fn barrier() -> Vec<Instruction> {
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };
    vec![
        instruction(0x20, 0, 0, 4),
        instruction(0x15, 0, 4, Arch::X86_64.token()),
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 1, 0, libc::SYS_seccomp as u32),
        instruction(0x15, 0, 1, libc::SYS_prctl as u32),
        instruction(0x06, 0, 0, 0x7fff_0000),
        instruction(0x06, 0, 0, 0x0005_0000 | -PASSED as u32),
    ]
}

enum End {
    /// Every probe returned.
    Finished,
    /// The process was killed by this signal, after this many probes had returned.
    Killed(i32, usize),
}

/// Forks a child that installs the program and makes the calls. The results are stored in `shared`.
fn probe(program: &[Instruction], probes: &[Probe], shared: &Shared) -> End {
    let barrier = barrier();
    shared.at(0).store(0, Ordering::SeqCst);
    // SAFETY: the child makes raw calls only, touches mapped memory only, and ends in a trap.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: the child exists for this filter alone; it only makes probes, and none of them is executed.
        unsafe {
            if !install(&barrier) || !install(program) {
                libc::abort();
            }
            for (at, probe) in probes.iter().enumerate() {
                shared.at(at + 1).store(probe.call(), Ordering::SeqCst);
                shared.at(0).store(at as i64 + 1, Ordering::SeqCst);
            }
            // A trap, because no filter can forbid it.
            asm!("ud2", options(noreturn));
        }
    }
    let mut status = 0;
    // SAFETY: our child, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert!(libc::WIFSIGNALED(status), "status {status:#x}");
    let returned = shared.at(0).load(Ordering::SeqCst) as usize;
    match libc::WTERMSIG(status) {
        libc::SIGILL if returned == probes.len() => End::Finished,
        signal => End::Killed(signal, returned),
    }
}

/// The calls that matter to the profile, made in every way.
fn probes(profile: &OwnedProfile, random: &mut Random, int80: bool) -> Vec<Probe> {
    let arguments = support::profiles::arguments(profile, random);
    let mut probes = Vec::new();
    let mut add = |door, nr, args| {
        // Excluded: calls that the first filter allows, which would be executed, and uretprobe and uprobe, which pass
        // every filter since Linux 6.13.
        let exempt = [libc::SYS_seccomp as u32, libc::SYS_prctl as u32, 335, 336];
        if (door == Door::Int80 && int80) || (door == Door::Syscall && !exempt.contains(&nr)) {
            probes.push(Probe { door, nr, args });
        }
    };
    for nr in (0..480).chain([511, 512, 545, 600, 1023, 0x3fff_ffff, 0x8000_0000, u32::MAX]) {
        add(Door::Syscall, nr, *random.pick(&arguments));
        add(Door::Syscall, nr | 0x4000_0000, *random.pick(&arguments));
        add(Door::Int80, nr, *random.pick(&arguments));
    }
    for rule in profile
        .rules
        .iter()
        .filter(|rule| !rule.conditions.is_empty())
    {
        for name in rule.names.iter().take(3) {
            for _ in 0..40 {
                let args = *random.pick(&arguments);
                for arch in [Arch::X86_64, Arch::X32] {
                    bpf::number(arch, name)
                        .into_iter()
                        .for_each(|nr| add(Door::Syscall, nr, args));
                }
                bpf::number(Arch::X86, name)
                    .into_iter()
                    .for_each(|nr| add(Door::Int80, nr, args));
            }
        }
    }
    probes.truncate(Shared::LENGTH - 1);
    probes
}

fn dies(evaluator: &Evaluator, probe: &Probe) -> bool {
    matches!(
        evaluator.verdict(&probe.data()),
        Action::KillThread | Action::KillProcess | Action::Trap
    )
}

/// How many of the probes passed the filter. Each returned what the rules say.
fn passed(evaluator: &Evaluator, probes: &[Probe], shared: &Shared, what: &str) -> usize {
    let mut passed = 0;
    for (at, probe) in probes.iter().enumerate() {
        let expected = match evaluator.verdict(&probe.data()) {
            Action::Errno(errno) => -i64::from(errno),
            _ => PASSED,
        };
        let found = shared.at(at + 1).load(Ordering::SeqCst);
        assert_eq!(found, expected, "{probe:x?}, {what}");
        passed += usize::from(found == PASSED);
    }
    passed
}

#[test]
fn the_kernel_agrees_with_the_evaluator() {
    let shared = Shared::new();
    // Without IA32 emulation, `int 0x80` faults.
    let getpid = Probe {
        door: Door::Int80,
        nr: 20,
        args: [0; 6],
    };
    let allow = OwnedProfile {
        default: Action::Allow,
        architectures: vec![Arch::X86],
        rules: vec![],
    };
    let int80 = matches!(probe(&allow.compile(), &[getpid], &shared), End::Finished);
    if !int80 {
        println!("SKIPPED: the kernel has no int 0x80");
    }
    let names = support::profiles::all_names();
    let random_profiles = (0..).map(|seed| {
        let mut random = Random::new(seed);
        let mut profile = support::profiles::random(&mut random, &names);
        if seed % 2 == 0 {
            profile.architectures = vec![Arch::X86, Arch::X32];
        }
        (format!("profile {seed}"), profile)
    });
    // Listing more architectures can make a profile too long.
    let random_profiles = random_profiles
        .filter(|(_, profile)| profile.with(|profile| bpf::compile(profile).is_ok()));
    let engines = support::engines().map(|(name, profile)| (name.into(), profile));
    let (mut calls, mut deaths, mut executed) = (0, 0, 0);
    for (name, profile) in engines.into_iter().chain(random_profiles).take(200) {
        let mut random = Random::new(77);
        let program = profile.compile();
        let evaluator = Evaluator::new(&profile);
        let probes = probes(&profile, &mut random, int80);
        let (deadly, harmless): (Vec<&Probe>, Vec<&Probe>) =
            probes.iter().partition(|probe| dies(&evaluator, probe));
        let harmless: Vec<Probe> = harmless.into_iter().copied().collect();
        match probe(&program, &harmless, &shared) {
            End::Finished => {}
            End::Killed(signal, at) => panic!(
                "{name}: signal {signal} by {:x?}\n{profile:#?}",
                harmless.get(at)
            ),
        }
        executed += passed(
            &evaluator,
            &harmless,
            &shared,
            &format!("{name}: {profile:#?}"),
        );
        // Each death takes a process, so a few of them will do.
        for _ in 0..deadly.len().min(12) {
            let deadly = **random.pick(&deadly);
            match probe(&program, &[deadly], &shared) {
                End::Killed(libc::SIGSYS, 0) => deaths += 1,
                End::Killed(signal, _) => {
                    panic!("{name}: signal {signal} by {deadly:x?}\n{profile:#?}")
                }
                End::Finished => panic!("{name}: {deadly:x?} survived\n{profile:#?}"),
            }
        }
        calls += harmless.len();
    }
    println!("{calls} calls returned, {executed} of them let through; {deaths} deaths");
    assert!(calls > 50_000 && executed > 10_000 && deaths > 500);
}
