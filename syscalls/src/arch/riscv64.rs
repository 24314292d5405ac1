//! riscv64: entry point and system call instruction.
//! Registers as in syscall(2); not yet run on such a machine.

/// `e_machine` of this machine's ELF files (elf.h).
pub const ELF_MACHINE: u16 = linux_raw_sys::ptrace::EM_RISCV as u16;

#[cfg(feature = "program")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mv s0, zero",
    "mv a0, sp",
    "andi sp, sp, -16",
    "call {first}",
    "ebreak",
    first = sym crate::entry::first,
);

/// Enters the kernel; a result in -4095..0 is a negated errno.
///
/// # Safety
/// The arguments must be what system call `n` takes: pointers valid for what it reads and writes.
#[inline(always)]
pub unsafe fn syscall(n: u32, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the instruction changes a0 only.
    unsafe {
        core::arch::asm!(
            "ecall",
            in("a7") n as usize,
            inlateout("a0") a[0] => result,
            in("a1") a[1], in("a2") a[2], in("a3") a[3], in("a4") a[4], in("a5") a[5],
            options(nostack),
        );
    }
    result
}
