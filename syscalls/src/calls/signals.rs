//! Signals: masks, dispositions, descriptors of signals, and how they are sent.

use super::{check, descriptor};
use crate::arch::syscall;
use linux_raw_sys::general::*;
use rustix::fd::{AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Result;

/// SIGKILL as kill(2) takes it.
pub const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

const SIGSET_BYTES: usize = 8;

/// Blocks every signal (rt_sigprocmask(2)), and takes SIGCHLD back from a caller that ignored it: the
/// kernel would then reap our children before we hear how they ended.
pub fn block_signals() {
    set_signal_mask(!0);
    default_signal(SIGCHLD as usize);
}

/// Sets the signal mask: bit N-1 blocks signal N. Returns the mask there was.
pub fn set_signal_mask(mask: u64) -> u64 {
    let mut old = 0u64;
    // SAFETY: both sets have the size given; the call cannot fail with these arguments.
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

/// Sets every signal that is ignored back to its default, so that a program we start does not inherit
/// our caller's choices (Go's and Python's callers ignore SIGPIPE).
pub fn default_signals() {
    for signal in 1..=64 {
        default_signal(signal);
    }
}

fn default_signal(signal: usize) {
    #[repr(C)]
    struct Sigaction([usize; 4]); // handler, flags, restorer, mask: all zero is SIG_DFL
    let action = Sigaction([0; 4]);
    // SAFETY: SIG_DFL needs no restorer; SIGKILL and SIGSTOP are refused, which is harmless.
    unsafe {
        syscall(
            __NR_rt_sigaction,
            [signal, &raw const action as usize, 0, SIGSET_BYTES, 0, 0],
        )
    };
}

/// The signals that ask a program to stop (SIGHUP, SIGINT, SIGQUIT, SIGTERM), as a mask, without those that our
/// caller has made us ignore (nohup(1), and shells in the background).
pub fn stopping_signals() -> u64 {
    let stopping = [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter();
    stopping
        .filter(|signal| !is_ignored(*signal as usize))
        .fold(0, |mask, signal| mask | 1 << (signal - 1))
}

fn is_ignored(signal: usize) -> bool {
    const SIG_IGN: usize = 1;
    let mut action = [0usize; 4]; // as in default_signal: the handler comes first
    // SAFETY: the kernel writes one structure of the size it has with this set.
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
    // SFD_CLOEXEC and SFD_NONBLOCK are these.
    let flags = O_CLOEXEC | O_NONBLOCK;
    // SAFETY: the kernel reads a set of the size given, and returns a new descriptor.
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

/// The number of the next signal waiting on a signalfd, if any.
pub fn next_signal(fd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = [0u8; 128]; // struct signalfd_siginfo: ssi_signo comes first
    let n = rustix::io::read(fd, &mut info[..]).ok()?;
    (n == info.len()).then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}

/// pidfd_send_signal(2) with any number, real-time signals included; 0 asks whether it lives.
pub fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: takes numbers and a null pointer.
    check(unsafe {
        syscall(
            __NR_pidfd_send_signal,
            [pidfd.as_raw_fd() as usize, signal as usize, 0, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// kill(2) with any number and any target.
pub fn kill(pid: i32, signal: i32) -> Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { syscall(__NR_kill, [pid as usize, signal as usize, 0, 0, 0, 0]) })?;
    Ok(())
}
