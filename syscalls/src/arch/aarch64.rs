//! aarch64: entry point and system call instruction.
//! Registers as in syscall(2); not yet run on such a machine.

/// `e_machine` of this machine's ELF files (elf.h).
pub const ELF_MACHINE: u16 = linux_raw_sys::ptrace::EM_AARCH64 as u16;

#[cfg(feature = "program")]
core::arch::global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x30, #0",
    "mov x0, sp",
    "and sp, x0, #-16",
    "bl {first}",
    "brk #1",
    first = sym crate::entry::first,
);

/// Enters the kernel; a result in -4095..0 is a negated errno.
///
/// # Safety
/// The arguments must be what system call `n` takes: pointers valid for what it reads and writes.
#[inline(always)]
pub unsafe fn syscall(n: u32, a: [usize; 6]) -> isize {
    let result: isize;
    // SAFETY: the caller vouches for the arguments; the instruction changes x0 only.
    unsafe {
        core::arch::asm!(
            "svc #0",
            in("x8") n as usize,
            inlateout("x0") a[0] => result,
            in("x1") a[1], in("x2") a[2], in("x3") a[3], in("x4") a[4], in("x5") a[5],
            options(nostack),
        );
    }
    result
}
