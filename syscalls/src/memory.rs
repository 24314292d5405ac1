//! The memory functions the compiler calls, and the two symbols of the unwinder that precompiled
//! core names but a program that aborts on panic never reaches. glibc's own are out of reach (IFUNCs).

use core::ffi::{c_char, c_int};

/// # Safety
/// As C's memcpy: both ranges valid and apart.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller vouches for the ranges; volatile keeps this loop from becoming a call to itself.
    unsafe {
        for i in 0..n {
            to.add(i).write_volatile(from.add(i).read());
        }
    }
    to
}

/// # Safety
/// As C's memmove: both ranges valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    if (to as usize).wrapping_sub(from as usize) >= n {
        // SAFETY: copying upwards never reads a byte it has written.
        return unsafe { memcpy(to, from, n) };
    }
    // SAFETY: the ranges overlap with `to` above `from`, so copying downwards is right.
    unsafe {
        for i in (0..n).rev() {
            to.add(i).write_volatile(from.add(i).read());
        }
    }
    to
}

/// # Safety
/// As C's memset: the range valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, n: usize) -> *mut u8 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the caller vouches for the range; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the caller vouches for the range; volatile keeps this loop from becoming a call to itself.
    unsafe {
        for i in 0..n {
            to.add(i).write_volatile(byte as u8);
        }
    }
    to
}

/// # Safety
/// As C's memcmp: both ranges valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, n: usize) -> c_int {
    for i in 0..n {
        // SAFETY: i < n, and the caller vouches for n bytes of both.
        let (x, y) = unsafe { (*a.add(i), *b.add(i)) };
        if x != y {
            return c_int::from(x) - c_int::from(y);
        }
    }
    0
}

/// # Safety
/// As C's bcmp: both ranges valid.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> c_int {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, n) }
}

/// # Safety
/// As C's strlen: a string that ends with a zero byte.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(s: *const c_char) -> usize {
    let mut n = 0;
    // SAFETY: the caller vouches for a zero byte at the end; volatile keeps this loop from becoming
    // a call to itself.
    while unsafe { s.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::calls::exit(134)
}

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    crate::calls::exit(134)
}
