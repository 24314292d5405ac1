//! x86_64: entry point and system call instruction.
//! Registers as in the System V ABI's appendix A.2.1 and syscall(2).

/// `e_machine` of this machine's ELF files (elf.h).
pub const ELF_MACHINE: u16 = linux_raw_sys::ptrace::EM_X86_64 as u16;

// The kernel enters with argc at the stack pointer and rdx undefined; rbp = 0 ends backtraces.
#[cfg(feature = "program")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {first}",
    "ud2",
    first = sym crate::entry::first,
);

/// Enters the kernel; a result in -4095..0 is a negated errno.
///
/// # Safety
/// The arguments must be what system call `n` takes: pointers valid for what it reads and writes.
#[inline(always)]
pub unsafe fn syscall(n: u32, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the instruction itself clobbers rcx and r11 only.
    unsafe {
        core::arch::asm!(
            "syscall",
            inlateout("rax") n as usize => result,
            in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
            in("r10") a[3], in("r8") a[4], in("r9") a[5],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}
