//! The memory functions the compiler calls, and the two symbols of the unwinder that precompiled
//! core names but a program that aborts on panic never reaches. glibc's own are out of reach (IFUNCs).

use core::ffi::{c_char, c_int};

/// # Safety
/// As C's memcpy: both ranges valid and apart.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, n: usize) -> *mut u8 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller vouches for the ranges; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep movsb", inout("rcx") n => _, inout("rdi") to => _, inout("rsi") from => _, options(nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
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
#[cfg_attr(not(test), unsafe(no_mangle))]
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
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn memset(to: *mut u8, byte: c_int, n: usize) -> *mut u8 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the caller vouches for the range; the direction flag is clear by the ABI.
    unsafe {
        core::arch::asm!("rep stosb", inout("rcx") n => _, inout("rdi") to => _, in("al") byte as u8, options(nostack, preserves_flags));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
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
#[cfg_attr(not(test), unsafe(no_mangle))]
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
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, n: usize) -> c_int {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, n) }
}

/// # Safety
/// As C's strlen: a string that ends with a zero byte.
#[cfg_attr(not(test), unsafe(no_mangle))]
unsafe extern "C" fn strlen(s: *const c_char) -> usize {
    let mut n = 0;
    // SAFETY: the caller vouches for a zero byte at the end; volatile keeps this loop from becoming
    // a call to itself.
    while unsafe { s.add(n).read_volatile() } != 0 {
        n += 1;
    }
    n
}

#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::calls::exit(134)
}

#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    crate::calls::exit(134)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn bytes() -> Vec<u8> {
        (0..40).collect()
    }

    #[test]
    fn what_is_copied_is_the_same_and_its_neighbours_stay() {
        for n in [0, 1, 7, 8, 33] {
            let (from, mut to) = (bytes(), Vec::from([0xff; 40]));
            // SAFETY: both have 40 bytes.
            let end = unsafe { memcpy(to[3..].as_mut_ptr(), from.as_ptr(), n) };
            assert_eq!(end, to[3..].as_mut_ptr());
            assert_eq!(to[3..3 + n], from[..n]);
            assert!(to[..3].iter().chain(&to[3 + n..]).all(|b| *b == 0xff));
        }
    }

    #[test]
    fn a_move_within_a_buffer_reads_every_byte_before_it_is_written() {
        for (from, to, n) in [(0, 3, 20), (3, 0, 20), (5, 5, 9), (0, 20, 20), (1, 0, 0)] {
            let mut expected = bytes();
            expected.copy_within(from..from + n, to);
            let mut moved = bytes();
            let at = moved.as_mut_ptr();
            // SAFETY: both ranges lie in the buffer.
            unsafe { memmove(at.add(to), at.add(from), n) };
            assert_eq!(moved, expected, "{n} bytes from {from} to {to}");
        }
    }

    #[test]
    fn a_range_is_set_and_its_neighbours_stay() {
        let mut buffer = bytes();
        // SAFETY: the range lies in the buffer; only the low byte of the number counts.
        unsafe { memset(buffer[2..].as_mut_ptr(), 0x1aa, 30) };
        assert!(buffer[2..32].iter().all(|b| *b == 0xaa));
        assert_eq!((buffer[1], buffer[32]), (1, 32));
    }

    #[test]
    fn the_first_difference_decides_a_comparison() {
        let compare = |a: &[u8], b: &[u8]| {
            // SAFETY: both have as many bytes.
            let (order, equal) = unsafe {
                (
                    memcmp(a.as_ptr(), b.as_ptr(), a.len()),
                    bcmp(a.as_ptr(), b.as_ptr(), a.len()),
                )
            };
            assert_eq!(order == 0, equal == 0);
            order.signum()
        };
        assert_eq!(compare(b"", b""), 0);
        assert_eq!(compare(b"abc", b"abc"), 0);
        assert_eq!(compare(b"abz", b"aca"), -1);
        // Bytes have no sign.
        assert_eq!(compare(b"\xff", b"\x01"), 1);
    }

    #[test]
    fn a_string_is_as_long_as_it_is_before_its_first_zero() {
        for (text, len) in [(c"", 0), (c"a", 1), (c"a longer string", 15)] {
            // SAFETY: a C string.
            assert_eq!(unsafe { strlen(text.as_ptr()) }, len);
        }
    }
}
