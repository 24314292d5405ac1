//! Processes: the one call that returns twice.

use super::{check, exit};
use crate::arch::syscall;
use core::ffi::c_int;
use linux_raw_sys::general::*;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};

/// How a process is born: on a copy of everything, its parent gets SIGCHLD when it ends.
#[derive(Clone, Copy, Default)]
pub struct Birth<'a> {
    /// `CLONE_NEW*` of the namespaces that are made with it, and `CLONE_PARENT` where our parent is to be its parent.
    pub flags: u64,
    /// The cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// clone3(2) without shared memory or descriptors. `both` is what each process owns a copy of: `child` gets it in the new
/// process, which exits with the status it returns, and the caller gets it back after the child's pid in our pid
/// namespace and a pidfd.
pub fn fork<T>(
    birth: Birth<'_>,
    both: T,
    child: impl FnOnce(T) -> i32,
) -> Result<(i32, OwnedFd, T)> {
    if birth.flags & u64::from(CLONE_FILES) != 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: the child closes descriptors of its own table alone.
    unsafe { fork_with_files(birth, both, child) }
}

/// The same, and allows `CLONE_FILES`.
///
/// # Safety
/// With `CLONE_FILES` the child closes no descriptor that the parent owns.
pub(crate) unsafe fn fork_with_files<T>(
    birth: Birth<'_>,
    both: T,
    child: impl FnOnce(T) -> i32,
) -> Result<(i32, OwnedFd, T)> {
    match clone3(birth)? {
        None => exit(child(both)),
        Some((pid, pidfd)) => Ok((pid, pidfd, both)),
    }
}

/// Returns twice: nothing in the child.
fn clone3(birth: Birth<'_>) -> Result<Option<(i32, OwnedFd)>> {
    if birth.flags & u64::from(CLONE_VM | CLONE_SETTLS) != 0 {
        return Err(Errno::INVAL);
    }
    let mut pidfd: c_int = -1;
    let orphan = birth.flags & u64::from(CLONE_PARENT) != 0;
    let args = clone_args {
        flags: birth.flags | u64::from(CLONE_PIDFD) | birth.cgroup.map_or(0, |_| CLONE_INTO_CGROUP),
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        // That of our own parent goes for its new child as well.
        exit_signal: if orphan { 0 } else { u64::from(SIGCHLD) },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: birth.cgroup.map_or(0, |cgroup| cgroup.as_raw_fd() as u64),
    };
    // SAFETY: without CLONE_VM the child has its own copy of this stack, and there are no other
    // threads whose state it could see half-changed.
    let result = unsafe {
        syscall(
            __NR_clone3,
            [
                &raw const args as usize,
                size_of::<clone_args>(),
                0,
                0,
                0,
                0,
            ],
        )
    };
    match check(result)? {
        0 => Ok(None),
        // SAFETY: the kernel has just stored a new descriptor there, which nobody else owns.
        pid => Ok(Some((pid as i32, unsafe { OwnedFd::from_raw_fd(pidfd) }))),
    }
}
