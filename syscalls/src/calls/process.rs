//! Process calls: clone3, execve, and the attributes that a process inherits.

use super::{check, descriptor, exit, number};
use crate::arch::syscall;
use alloc::ffi::CString;
use core::cell::Cell;
use core::ffi::{CStr, c_char, c_int};
use core::marker::PhantomData;
use linux_raw_sys::general::*;
use linux_raw_sys::ioctl::NS_GET_USERNS;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::thread::UnshareFlags;

/// The parameters of clone3(2). The new process gets copies of memory and descriptors, and its parent gets
/// SIGCHLD when it ends.
#[derive(Clone, Copy, Default)]
pub struct Birth<'a> {
    /// The new namespaces (`CLONE_NEW*`), and `CLONE_PARENT` to make our parent its parent.
    pub flags: u64,
    /// The cgroup v2 directory that the process is born in (CLONE_INTO_CGROUP).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// clone3(2) without shared memory or descriptors. Both processes own a copy of `both`. The new process passes
/// it to `child` and exits with the returned status. The caller gets it back, after the child's pid in our pid
/// namespace and a pidfd.
pub fn fork<T>(
    birth: Birth<'_>,
    both: T,
    child: impl FnOnce(T) -> i32,
) -> Result<(i32, OwnedFd, T)> {
    if birth.flags & u64::from(CLONE_FILES) != 0 {
        return Err(Errno::INVAL);
    }
    match clone3(birth)? {
        None => exit(child(both)),
        Some((pid, pidfd)) => Ok((pid, pidfd, both)),
    }
}

/// Returns twice: `None` in the child.
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
        // With CLONE_PARENT the child inherits our own exit signal, and clone3 requires 0 (clone(2)).
        exit_signal: if orphan { 0 } else { u64::from(SIGCHLD) },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: birth.cgroup.map_or(Ok(0), number)?,
    };
    // SAFETY: without CLONE_VM the child has its own copy of this stack, and no other thread exists whose state
    // it could see half-changed.
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
    match i32::try_from(check(result)?).map_err(|_| Errno::OVERFLOW)? {
        0 => Ok(None),
        // SAFETY: the kernel has just stored a new descriptor there, which has no other owner.
        pid => Ok(Some((pid, unsafe { OwnedFd::from_raw_fd(pidfd) }))),
    }
}

/// One entry of argv or envp: a C string that outlives the array, or the null pointer at its end.
///
/// The text of an entry may change (`from_cells`), so no function returns a reference to it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Arg<'a>(*const c_char, PhantomData<&'a [Cell<u8>]>);

impl<'a> Arg<'a> {
    /// The end of an array.
    pub const END: Self = Self(core::ptr::null(), PhantomData);

    pub const fn new(s: &'a CStr) -> Self {
        Self(s.as_ptr(), PhantomData)
    }

    /// An entry whose text may change.
    ///
    /// # Safety
    /// At least one cell is zero while the entry is in use.
    pub(crate) unsafe fn from_cells(cells: &'a [Cell<u8>]) -> Self {
        Self(cells.as_ptr().cast(), PhantomData)
    }

    /// The current text, or `None` for the end.
    pub fn text(self) -> Option<CString> {
        // SAFETY: the pointer is to a string that lives for 'a and has a zero byte, and nothing changes it
        // during the copy.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) }.into())
    }
}

/// execve(2). Returns only on failure. An array without `Arg::END` at its end is EFAULT.
pub fn execve(path: &CStr, argv: &[Arg<'_>], envp: &[Arg<'_>]) -> Errno {
    if !argv.last().is_some_and(|a| a.0.is_null()) || !envp.last().is_some_and(|a| a.0.is_null()) {
        return Errno::FAULT;
    }
    // SAFETY: both arrays hold pointers to live strings and end with a null pointer.
    let result = unsafe {
        syscall(
            __NR_execve,
            [
                path.as_ptr() as usize,
                argv.as_ptr() as usize,
                envp.as_ptr() as usize,
                0,
                0,
                0,
            ],
        )
    };
    Errno::from_raw_os_error(-result as i32)
}

/// unshare(2) of namespaces (`CLONE_NEW*`).
pub fn unshare(flags: UnshareFlags) -> Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(Errno::INVAL);
    }
    // SAFETY: without CLONE_FILES the call leaves the descriptor table alone, so every owned descriptor stays
    // valid.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// The user namespace that owns another namespace (NS_GET_USERNS, ioctl_nsfs(2)). EPERM means that it is
/// outside our own user namespace and its descendants.
pub fn owner_of_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    let (namespace, call) = (namespace.as_raw_fd() as usize, NS_GET_USERNS as usize);
    // SAFETY: the call takes no argument and returns a new descriptor.
    unsafe { descriptor(syscall(__NR_ioctl, [namespace, call, 0, 0, 0, 0])) }
}

/// personality(2): sets the execution domain.
pub fn personality(persona: u32) -> Result<()> {
    // SAFETY: the call takes a number.
    check(unsafe { syscall(__NR_personality, [persona as usize, 0, 0, 0, 0, 0]) })?;
    Ok(())
}

/// ioprio_set(2) for the calling process; `priority` is class << 13 | level.
pub fn ioprio_set(priority: u32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: usize = 1; // include/uapi/linux/ioprio.h
    // SAFETY: the call takes numbers.
    check(unsafe {
        syscall(
            __NR_ioprio_set,
            [IOPRIO_WHO_PROCESS, 0, priority as usize, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// set_mempolicy(2). `mode` includes the flags. An empty `nodes` is passed as a null pointer.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<()> {
    let (pointer, bits) = match nodes {
        [] => (core::ptr::null(), 0),
        // The kernel reads `maxnode` - 1 bits.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the mask lives until the call returns, and the kernel reads at most `bits` - 1 bits of it.
    check(unsafe {
        syscall(
            __NR_set_mempolicy,
            [mode as usize, pointer as usize, bits, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// `struct sched_attr` (include/uapi/linux/sched/types.h). Times are in nanoseconds.
#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// sched_setattr(2) for the calling thread.
pub fn sched_setattr(attr: &SchedAttr) -> Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..*attr
    };
    // SAFETY: the kernel reads as many bytes as `size` says.
    check(unsafe {
        syscall(
            __NR_sched_setattr,
            [0, &raw const attr as usize, 0, 0, 0, 0],
        )
    })?;
    Ok(())
}
