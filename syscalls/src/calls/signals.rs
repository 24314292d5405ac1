//! Signals: masks, dispositions, signalfd, and sending.

use super::{check, descriptor};
use crate::arch::syscall;
use linux_raw_sys::general::*;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Result;

/// SIGKILL for kill(2).
pub const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

const SIGSET_BYTES: usize = 8;

/// Blocks every signal (rt_sigprocmask(2)) and sets SIGCHLD to its default. An inherited
/// SIG_IGN would make the kernel reap our children before we read their status.
pub fn block_signals() {
    set_signal_mask(!0);
    default_signal(SIGCHLD as usize);
}

/// Sets the signal mask and returns the previous one. Bit N-1 blocks signal N.
pub fn set_signal_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: both sets have the given size, and the call cannot fail with these arguments.
    unsafe {
        syscall(
            __NR_rt_sigprocmask,
            [
                SIG_SETMASK as usize,
                &raw const mask as usize,
                &raw mut old as usize,
                SIGSET_BYTES,
                0,
                0,
            ],
        )
    };
    old
}

/// Sets every ignored signal to its default, so that a program does not inherit the choices of our caller
/// (callers in Go and Python ignore SIGPIPE).
pub fn default_signals() {
    for signal in 1..=64 {
        default_signal(signal);
    }
}

fn default_signal(signal: usize) {
    #[repr(C)]
    struct Sigaction([usize; 4]); // handler, flags, restorer, mask: all zero is SIG_DFL
    let action = Sigaction([0; 4]);
    // SAFETY: SIG_DFL needs no restorer. SIGKILL and SIGSTOP are refused, which is harmless.
    unsafe {
        syscall(
            __NR_rt_sigaction,
            [signal, &raw const action as usize, 0, SIGSET_BYTES, 0, 0],
        )
    };
}

/// The mask of the signals that ask a program to stop (SIGHUP, SIGINT, SIGQUIT, SIGTERM), without those that
/// this process inherited as ignored (nohup(1), background jobs of a shell).
pub fn stopping_signals() -> u64 {
    let stopping = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter();
    stopping
        .filter(|signal| !is_ignored(*signal as usize))
        .fold(0, |mask, signal| mask | 1 << (signal - 1))
}

fn is_ignored(signal: usize) -> bool {
    const SIG_IGN: usize = 1;
    let mut action = [0usize; 4]; // as in default_signal: the handler comes first
    // SAFETY: the kernel writes one struct sigaction, which is as large as `action`.
    unsafe {
        syscall(
            __NR_rt_sigaction,
            [signal, 0, &raw mut action as usize, SIGSET_BYTES, 0, 0],
        )
    };
    action[0] == SIG_IGN
}

/// signalfd4(2) for the signals of a mask, non-blocking and close-on-exec.
pub fn signalfd(mask: u64) -> Result<OwnedFd> {
    // SFD_CLOEXEC and SFD_NONBLOCK have these values.
    let flags = O_CLOEXEC | O_NONBLOCK;
    // SAFETY: the kernel reads a set of the given size and returns a new descriptor.
    unsafe {
        descriptor(syscall(
            __NR_signalfd4,
            [
                usize::MAX,
                &raw const mask as usize,
                SIGSET_BYTES,
                flags as usize,
                0,
                0,
            ],
        ))
    }
}

/// The number of the next pending signal of a signalfd, if any.
pub fn next_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = [0u8; 128]; // struct signalfd_siginfo: ssi_signo comes first
    let n = rustix::io::read(fd, &mut info[..]).ok()?;
    (n == info.len()).then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}

/// pidfd_send_signal(2) for any signal, real-time signals included. Signal 0 tests whether the process exists.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: the call takes numbers and a null pointer.
    check(unsafe {
        syscall(
            __NR_pidfd_send_signal,
            [pidfd.as_raw_fd() as usize, signal as usize, 0, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// kill(2) for any signal and any target.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: the call takes numbers.
    check(unsafe { syscall(__NR_kill, [pid as usize, signal as usize, 0, 0, 0, 0]) })?;
    Ok(())
}
