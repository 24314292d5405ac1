//! Thin wrappers of the system calls that rustix lacks: one function for each call, under the kernel's name.
//! Structures and numbers come from linux-raw-sys; those that it lacks are defined here with their source.

mod bpf;
mod process;
mod signals;

use crate::arch::syscall;
use core::ffi::CStr;
use linux_raw_sys::general::{
    __NR_clock_gettime, __NR_close_range, __NR_exit_group, __NR_fcntl, __NR_ioctl, __NR_keyctl,
    __NR_mount_setattr, __NR_setsockopt, AT_EMPTY_PATH, AT_RECURSIVE, CLOCK_REALTIME, F_OFD_GETLK,
    F_OFD_SETLK, F_UNLCK, F_WRLCK, mount_attr,
};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};

pub use bpf::*;
pub use process::*;
pub use signals::*;

fn check(result: isize) -> Result<usize> {
    if result < 0 {
        Err(Errno::from_raw_os_error(-result as i32))
    } else {
        Ok(result as usize)
    }
}

/// Takes ownership of the descriptor that a call has returned.
///
/// # Safety
/// The call created the descriptor, and it has no other owner.
unsafe fn descriptor(result: isize) -> Result<OwnedFd> {
    let fd = RawFd::try_from(check(result)?).map_err(|_| Errno::BADF)?;
    // SAFETY: the caller guarantees ownership.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor number for a structure that the kernel reads.
fn number<T: TryFrom<RawFd>>(fd: BorrowedFd<'_>) -> Result<T> {
    T::try_from(fd.as_raw_fd()).map_err(|_| Errno::BADF)
}

/// Ends the process (exit_group(2)).
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: the call takes a number and does not return.
        unsafe { syscall(__NR_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Writes the reason to stderr and exits with the status of abort(3) in a shell.
pub fn abort(why: &CStr) -> ! {
    let _ = rustix::io::write(stderr(), why.to_bytes());
    exit(134)
}

/// Standard input. The entry point ensures that descriptors 0 to 2 are open.
#[allow(unused_unsafe)] // With its feature `std`, which the tests turn on, rustix calls it safe.
pub fn stdin() -> BorrowedFd<'static> {
    // SAFETY: the entry point opens it if the caller has closed it, and the program never closes it.
    unsafe { rustix::stdio::stdin() }
}

/// Standard output.
#[allow(unused_unsafe)] // With its feature `std`, which the tests turn on, rustix calls it safe.
pub fn stdout() -> BorrowedFd<'static> {
    // SAFETY: as for stdin.
    unsafe { rustix::stdio::stdout() }
}

/// Standard error.
#[allow(unused_unsafe)] // With its feature `std`, which the tests turn on, rustix calls it safe.
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: as for stdin.
    unsafe { rustix::stdio::stderr() }
}

/// A change of mount attributes: `MOUNT_ATTR_*` to set and to clear, and a propagation type (`MS_*`).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
}

impl MountAttr {
    pub const NONE: Self = Self {
        set: 0,
        clear: 0,
        propagation: 0,
    };
}

/// mount_setattr(2) on the mount behind `fd`, and on all mounts below it if `recursive`.
pub fn mount_setattr(
    fd: BorrowedFd<'_>,
    recursive: bool,
    attr: MountAttr,
    userns: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let attr = mount_attr {
        attr_set: attr.set,
        attr_clr: attr.clear,
        propagation: attr.propagation,
        userns_fd: userns.map_or(Ok(0), number)?,
    };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads an empty string and a structure of the given size.
    check(unsafe {
        syscall(
            __NR_mount_setattr,
            [
                fd.as_raw_fd() as usize,
                c"".as_ptr() as usize,
                flags as usize,
                &raw const attr as usize,
                size_of::<mount_attr>(),
                0,
            ],
        )
    })?;
    Ok(())
}

/// Whether this number is an open descriptor (F_GETFD, fcntl(2)).
pub fn is_open(number: u32) -> bool {
    // SAFETY: the call takes numbers.
    let flags = unsafe {
        syscall(
            __NR_fcntl,
            [
                number as usize,
                linux_raw_sys::general::F_GETFD as usize,
                0,
                0,
                0,
                0,
            ],
        )
    };
    flags >= 0
}

/// Marks every descriptor from `first` to `last` close-on-exec (close_range(2), CLOSE_RANGE_CLOEXEC).
pub fn mark_close_on_exec(first: u32, last: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: usize = 1 << 2; // include/uapi/linux/close_range.h
    // SAFETY: the call closes no descriptor, and execve ends every owner together with its descriptor.
    unsafe { close_range(first, last, CLOSE_RANGE_CLOEXEC) }
}

/// Closes a range of descriptors, or marks them close-on-exec (close_range(2)).
///
/// # Safety
/// Without `CLOSE_RANGE_CLOEXEC`, no owner or borrower of a descriptor in the range is used or dropped
/// afterwards.
pub(crate) unsafe fn close_range(first: u32, last: u32, flags: usize) -> Result<()> {
    // SAFETY: the call takes numbers; the caller answers for the owners.
    check(unsafe {
        syscall(
            __NR_close_range,
            [first as usize, last as usize, flags, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// keyctl(2), KEYCTL_JOIN_SESSION_KEYRING: joins a session keyring of this name.
pub fn keyctl_join_session_keyring(name: &CStr) -> Result<()> {
    const JOIN_SESSION_KEYRING: usize = 1; // include/uapi/linux/keyctl.h
    // SAFETY: the kernel reads the string.
    check(unsafe {
        syscall(
            __NR_keyctl,
            [JOIN_SESSION_KEYRING, name.as_ptr() as usize, 0, 0, 0, 0],
        )
    })?;
    Ok(())
}

#[repr(C)]
struct Flock {
    kind: i16,
    whence: i16,
    start: i64,
    len: i64,
    pid: i32,
}

fn ofd_lock(fd: BorrowedFd<'_>, command: usize) -> Result<Flock> {
    let mut lock = Flock {
        kind: F_WRLCK as i16,
        whence: 0,
        start: 0,
        len: 0,
        pid: 0,
    };
    // SAFETY: the kernel reads and writes one struct flock.
    check(unsafe {
        syscall(
            __NR_fcntl,
            [
                fd.as_raw_fd() as usize,
                command,
                &raw mut lock as usize,
                0,
                0,
                0,
            ],
        )
    })?;
    Ok(lock)
}

/// Takes an exclusive lock on the open file description, so that a child inherits it (F_OFD_SETLK, fcntl(2)).
pub fn lock_file(fd: BorrowedFd<'_>) -> Result<()> {
    ofd_lock(fd, F_OFD_SETLK as usize).map(drop)
}

/// Whether another open file description holds such a lock. Takes no lock (F_OFD_GETLK).
pub fn file_is_locked(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(ofd_lock(fd, F_OFD_GETLK as usize)?.kind != F_UNLCK as i16)
}

/// Brings the loopback interface of this network namespace up (SIOCSIFFLAGS, netdevice(7)).
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<()> {
    use linux_raw_sys::net::net_device_flags::IFF_UP;
    #[repr(C)]
    struct Ifreq {
        name: [u8; 16],
        flags: i16,
        pad: [u8; 22],
    }
    let mut name = [0; 16];
    name[..2].copy_from_slice(b"lo");
    let request = Ifreq {
        name,
        flags: IFF_UP as i16,
        pad: [0; 22],
    };
    // SAFETY: the kernel reads one struct ifreq.
    check(unsafe {
        syscall(
            __NR_ioctl,
            [
                socket.as_raw_fd() as usize,
                linux_raw_sys::ioctl::SIOCSIFFLAGS as usize,
                &raw const request as usize,
                0,
                0,
                0,
            ],
        )
    })?;
    Ok(())
}

/// Turns on an option of a netlink socket (SOL_NETLINK, setsockopt(2)).
pub fn set_netlink_option(socket: BorrowedFd<'_>, option: u32) -> Result<()> {
    let on = 1i32;
    // SAFETY: the kernel reads a number of the given size.
    check(unsafe {
        syscall(
            __NR_setsockopt,
            [
                socket.as_raw_fd() as usize,
                linux_raw_sys::net::SOL_NETLINK as usize,
                option as usize,
                &raw const on as usize,
                size_of::<i32>(),
                0,
            ],
        )
    })?;
    Ok(())
}

/// clock_gettime(2): seconds and nanoseconds since the epoch.
pub fn realtime() -> (i64, i64) {
    // rustix would first parse the vDSO, for a single call.
    let mut now = [0i64; 2];
    // SAFETY: the kernel writes one struct timespec.
    unsafe {
        syscall(
            __NR_clock_gettime,
            [CLOCK_REALTIME as usize, &raw mut now as usize, 0, 0, 0, 0],
        )
    };
    (now[0], now[1])
}
