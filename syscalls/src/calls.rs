//! The system calls that rustix has not, thin and safe: one function each, under the kernel's name.
//! The structures and numbers come from linux-raw-sys; the few it lacks stand here with their source.

use crate::arch::syscall;
use core::ffi::{CStr, c_int};
use core::marker::PhantomData;
use linux_raw_sys::general::*;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::io::{Errno, Result};

/// SIGKILL as kill(2) takes it.
pub const SIGKILL: i32 = rustix::process::Signal::KILL.as_raw();

fn check(result: isize) -> Result<usize> {
    if result < 0 {
        Err(Errno::from_raw_os_error(-result as i32))
    } else {
        Ok(result as usize)
    }
}

/// Ends the process (exit_group(2)).
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: takes a number and does not return.
        unsafe { syscall(__NR_exit_group, [status as usize, 0, 0, 0, 0, 0]) };
    }
}

/// Says why on stderr and ends the process as abort(3) would.
pub fn abort(why: &CStr) -> ! {
    let _ = rustix::io::write(stderr(), why.to_bytes());
    exit(134)
}

/// Standard input. The entry point makes sure that descriptors 0 to 2 are open.
pub fn stdin() -> BorrowedFd<'static> {
    // SAFETY: the entry point opened it if the caller had not, and the program never closes it.
    unsafe { rustix::stdio::stdin() }
}

/// Standard output.
pub fn stdout() -> BorrowedFd<'static> {
    // SAFETY: as for stdin.
    unsafe { rustix::stdio::stdout() }
}

/// Standard error.
pub fn stderr() -> BorrowedFd<'static> {
    // SAFETY: as for stdin.
    unsafe { rustix::stdio::stderr() }
}

/// What a clone3 of ours asks for.
#[derive(Clone, Copy, Default)]
pub struct Clone {
    /// `CLONE_*`; neither `CLONE_VM` nor `CLONE_SETTLS`, so the child runs on a copy of everything.
    pub flags: u64,
    /// The signal the parent gets when the child ends; 0 with `CLONE_PARENT`.
    pub exit_signal: u64,
    /// The cgroup to be born in, with `CLONE_INTO_CGROUP`.
    pub cgroup: Option<RawFd>,
}

/// Where a clone3 returned.
pub enum Cloned {
    Child,
    /// The child's pid in our pid namespace, and a pidfd of it.
    Parent(i32, OwnedFd),
}

/// clone3(2) without shared memory: returns twice, as fork does.
pub fn clone3(clone: Clone) -> Result<Cloned> {
    assert!(clone.flags & u64::from(CLONE_VM | CLONE_SETTLS) == 0);
    let mut pidfd: c_int = -1;
    // SAFETY: an all-zero clone_args is valid; the fields are plain numbers.
    let mut args: clone_args = unsafe { core::mem::zeroed() };
    args.flags = clone.flags | u64::from(CLONE_PIDFD);
    args.exit_signal = clone.exit_signal;
    args.pidfd = &raw mut pidfd as u64;
    if let Some(cgroup) = clone.cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup as u64;
    }
    // SAFETY: without CLONE_VM the child has its own copy of this stack, and there are no other
    // threads whose state it could see half-changed.
    let result = unsafe {
        syscall(
            __NR_clone3,
            [&raw mut args as usize, size_of::<clone_args>(), 0, 0, 0, 0],
        )
    };
    match check(result)? {
        0 => Ok(Cloned::Child),
        // SAFETY: the kernel has just stored a new descriptor there, which nobody else owns.
        pid => Ok(Cloned::Parent(pid as i32, unsafe {
            OwnedFd::from_raw_fd(pidfd)
        })),
    }
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

/// mount_setattr(2) on the mount behind `fd`, and on all below it when `recursive`.
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
        userns_fd: userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    // SAFETY: the kernel reads an empty string and a structure of the size given.
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

/// Whether a number is that of an open descriptor (F_GETFD, fcntl(2)).
pub fn is_open(number: u32) -> bool {
    // SAFETY: takes numbers.
    let flags = unsafe { syscall(__NR_fcntl, [number as usize, F_GETFD as usize, 0, 0, 0, 0]) };
    flags >= 0
}

/// Marks every descriptor from `first` to `last` close-on-exec (close_range(2), CLOSE_RANGE_CLOEXEC).
pub fn mark_close_on_exec(first: u32, last: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: usize = 1 << 2; // include/uapi/linux/close_range.h
    // SAFETY: no descriptor is closed now, and execve ends every owner together with its descriptor.
    unsafe { close_range(first, last, CLOSE_RANGE_CLOEXEC) }
}

/// close_range(2).
///
/// # Safety
/// Without `CLOSE_RANGE_CLOEXEC`, nothing that owns or borrows a descriptor in the range is used or dropped afterwards.
pub(crate) unsafe fn close_range(first: u32, last: u32, flags: usize) -> Result<()> {
    // SAFETY: takes numbers; the caller vouches for the owners.
    check(unsafe {
        syscall(
            __NR_close_range,
            [first as usize, last as usize, flags, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// One entry of argv or envp: a C string that outlives the array, or the null pointer that ends it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Arg<'a>(*const core::ffi::c_char, PhantomData<&'a CStr>);

impl<'a> Arg<'a> {
    /// The end of an array.
    pub const END: Self = Self(core::ptr::null(), PhantomData);

    pub const fn new(s: &'a CStr) -> Self {
        Self(s.as_ptr(), PhantomData)
    }

    /// An entry whose text may still change; its last byte must be zero and stay so.
    pub(crate) fn from_cells(cells: &'a [core::cell::Cell<u8>]) -> Self {
        assert!(cells.last().is_some_and(|last| last.get() == 0));
        Self(cells.as_ptr().cast(), PhantomData)
    }

    /// The string, or `None` for the end.
    pub fn get(self) -> Option<&'a CStr> {
        // SAFETY: `new` stored a pointer to a C string that lives for 'a.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) })
    }
}

/// execve(2). Returns only when it fails; an array that does not end with `Arg::END` is EFAULT.
pub fn execve(path: &CStr, argv: &[Arg<'_>], envp: &[Arg<'_>]) -> Errno {
    if !argv.last().is_some_and(|a| a.0.is_null()) || !envp.last().is_some_and(|a| a.0.is_null()) {
        return Errno::FAULT;
    }
    // SAFETY: both arrays hold valid strings and end with a null pointer.
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

/// One instruction of classic BPF, laid out as `struct sock_filter`: `code | jt << 16 | jf << 24`
/// in the low half, `k` in the high half (little-endian), see include/uapi/linux/filter.h.
pub type Instruction = u64;

/// SECCOMP_FILTER_FLAG_NEW_LISTENER, include/uapi/linux/seccomp.h
pub const NEW_LISTENER: u32 = 1 << 3;

/// Loads a seccomp filter (seccomp(2), SECCOMP_SET_MODE_FILTER); with SECCOMP_FILTER_FLAG_NEW_LISTENER
/// the result is the listener's descriptor.
pub fn seccomp(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    #[repr(C)]
    struct Fprog {
        len: u16,
        filter: *const Instruction,
    }
    const SET_MODE_FILTER: usize = 1; // include/uapi/linux/seccomp.h
    let len = u16::try_from(program.len()).map_err(|_| Errno::INVAL)?;
    let prog = Fprog {
        len,
        filter: program.as_ptr(),
    };
    // SAFETY: the kernel copies the filter, so its lifetime ends with the call.
    let result = check(unsafe {
        syscall(
            __NR_seccomp,
            [
                SET_MODE_FILTER,
                flags as usize,
                &raw const prog as usize,
                0,
                0,
                0,
            ],
        )
    })?;
    // SAFETY: with NEW_LISTENER the result is a new descriptor that nobody else owns.
    Ok((flags & NEW_LISTENER != 0).then(|| unsafe { OwnedFd::from_raw_fd(result as RawFd) }))
}

/// Whether this kernel knows all of these flags of a filter.
pub fn seccomp_knows(flags: u32) -> bool {
    const SET_MODE_FILTER: usize = 1; // include/uapi/linux/seccomp.h
    // WAIT_KILLABLE_RECV is for filters with a listener.
    let flags = flags | NEW_LISTENER;
    // SAFETY: the kernel looks at the flags first, and then finds no filter at the null pointer (EFAULT).
    let result = unsafe { syscall(__NR_seccomp, [SET_MODE_FILTER, flags as usize, 0, 0, 0, 0]) };
    check(result) == Err(Errno::FAULT)
}

/// `union bpf_attr` (include/uapi/linux/bpf.h), as far as the commands below fill it.
#[repr(C, align(8))]
struct BpfAttr([u32; 18]);

fn bpf(command: usize, attr: &mut BpfAttr) -> Result<usize> {
    // SAFETY: the kernel reads and writes within the size given; the addresses some fields hold are of
    // memory that the one caller of each command borrows until this returns.
    check(unsafe {
        syscall(
            __NR_bpf,
            [
                command,
                core::ptr::from_mut(attr) as usize,
                size_of::<BpfAttr>(),
                0,
                0,
                0,
            ],
        )
    })
}

fn halves(address: usize) -> [u32; 2] {
    // A 64-bit field in memory order.
    let bytes = (address as u64).to_ne_bytes();
    [0, 4].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

const BPF_CGROUP_DEVICE: u32 = 6;

/// Loads a program of type cgroup-device (bpf(2), BPF_PROG_LOAD) under this name.
pub fn bpf_load_device_program(program: &[u64], name: &[u8; 16]) -> Result<OwnedFd> {
    const BPF_PROG_LOAD: usize = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = BPF_PROG_TYPE_CGROUP_DEVICE;
    attr.0[1] = u32::try_from(program.len()).map_err(|_| Errno::TOOBIG)?;
    attr.0[2..4].copy_from_slice(&halves(program.as_ptr() as usize));
    attr.0[4..6].copy_from_slice(&halves(c"Apache-2.0".as_ptr() as usize));
    for (word, bytes) in attr.0[12..16].iter_mut().zip(name.chunks_exact(4)) {
        *word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    }
    attr.0[17] = BPF_CGROUP_DEVICE;
    let fd = bpf(BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a device program to a cgroup beside those of others (BPF_PROG_ATTACH, BPF_F_ALLOW_MULTI), or in
/// one moment in the place of `replaced`.
pub fn bpf_attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<()> {
    const BPF_PROG_ATTACH: usize = 8;
    const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
    const BPF_F_REPLACE: u32 = 1 << 2;
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = cgroup.as_raw_fd() as u32;
    attr.0[1] = program.as_raw_fd() as u32;
    attr.0[2] = BPF_CGROUP_DEVICE;
    attr.0[3] = BPF_F_ALLOW_MULTI;
    if let Some(replaced) = replaced {
        attr.0[3] |= BPF_F_REPLACE;
        attr.0[4] = replaced.as_raw_fd() as u32;
    }
    bpf(BPF_PROG_ATTACH, &mut attr).map(drop)
}

/// The ids of the device programs of a cgroup (BPF_PROG_QUERY), at most as many as fit.
pub fn bpf_query_device_programs(cgroup: BorrowedFd<'_>, ids: &mut [u32]) -> Result<usize> {
    const BPF_PROG_QUERY: usize = 16;
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = cgroup.as_raw_fd() as u32;
    attr.0[1] = BPF_CGROUP_DEVICE;
    attr.0[4..6].copy_from_slice(&halves(ids.as_mut_ptr() as usize));
    attr.0[6] = ids.len() as u32;
    match bpf(BPF_PROG_QUERY, &mut attr) {
        // There are more: the kernel has filled what fits and tells their whole number.
        Ok(_) | Err(Errno::NOSPC) => Ok(ids.len().min(attr.0[6] as usize)),
        Err(errno) => Err(errno),
    }
}

/// A descriptor of the program with this id (BPF_PROG_GET_FD_BY_ID).
pub fn bpf_program_by_id(id: u32) -> Result<OwnedFd> {
    const BPF_PROG_GET_FD_BY_ID: usize = 13;
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = id;
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut attr)?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// The name a program was loaded under (BPF_OBJ_GET_INFO_BY_FD).
pub fn bpf_program_name(program: BorrowedFd<'_>) -> Result<[u8; 16]> {
    const BPF_OBJ_GET_INFO_BY_FD: usize = 15;
    // struct bpf_prog_info up to its name.
    let mut info = [0u64; 10];
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = program.as_raw_fd() as u32;
    attr.0[1] = size_of_val(&info) as u32;
    attr.0[2..4].copy_from_slice(&halves(info.as_mut_ptr() as usize));
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    let mut name = [0; 16];
    name[..8].copy_from_slice(&info[8].to_ne_bytes());
    name[8..].copy_from_slice(&info[9].to_ne_bytes());
    Ok(name)
}

/// keyctl(2), KEYCTL_JOIN_SESSION_KEYRING: a new session keyring of that name.
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

/// personality(2): sets the execution domain.
pub fn personality(persona: u32) -> Result<()> {
    // SAFETY: takes a number.
    check(unsafe { syscall(__NR_personality, [persona as usize, 0, 0, 0, 0, 0]) })?;
    Ok(())
}

/// ioprio_set(2) for the calling process; `priority` is class << 13 | level.
pub fn ioprio_set(priority: u32) -> Result<()> {
    const IOPRIO_WHO_PROCESS: usize = 1; // include/uapi/linux/ioprio.h
    // SAFETY: takes numbers.
    check(unsafe {
        syscall(
            __NR_ioprio_set,
            [IOPRIO_WHO_PROCESS, 0, priority as usize, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// set_mempolicy(2); `mode` holds the flags as well, `nodes` is a mask of which nothing is a null pointer.
pub fn set_mempolicy(mode: u32, nodes: &[u64]) -> Result<()> {
    let (pointer, bits) = match nodes {
        [] => (core::ptr::null(), 0),
        // The kernel counts one bit less than it is told.
        nodes => (nodes.as_ptr(), nodes.len() * 64 + 1),
    };
    // SAFETY: the mask lives until the call returns, and the kernel reads no more than `bits` says.
    check(unsafe {
        syscall(
            __NR_set_mempolicy,
            [mode as usize, pointer as usize, bits, 0, 0, 0],
        )
    })?;
    Ok(())
}

/// `struct sched_attr` (include/uapi/linux/sched/types.h): policy, nice, priorities and deadlines in ns.
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

/// unshare(2) of namespaces alone (`CLONE_NEW*`).
pub fn unshare(flags: rustix::thread::UnshareFlags) -> Result<()> {
    // SAFETY: only flags of namespaces exist in this type besides FILES, FS and SYSVSEM, which harm no
    // one in a process with one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// The user namespace that owns another namespace (NS_GET_USERNS, ioctl_nsfs(2)); EPERM where it lies outside
/// our own and what is below it.
pub fn owner_of_namespace(namespace: BorrowedFd<'_>) -> Result<OwnedFd> {
    const NS_GET_USERNS: usize = 0xb701; // include/uapi/linux/nsfs.h
    // SAFETY: takes no argument.
    let fd = check(unsafe {
        syscall(
            __NR_ioctl,
            [namespace.as_raw_fd() as usize, NS_GET_USERNS, 0, 0, 0, 0],
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
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
    // SAFETY: the kernel reads a set of the size given.
    let fd = check(unsafe {
        syscall(
            __NR_signalfd4,
            [
                usize::MAX,
                &raw const mask as usize,
                SIGSET_BYTES,
                flags as usize,
                0,
                0,
            ],
        )
    })?;
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
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

/// Takes an exclusive lock that belongs to the open file, so that a child keeps it (F_OFD_SETLK, fcntl(2)).
pub fn lock_file(fd: BorrowedFd<'_>) -> Result<()> {
    ofd_lock(fd, F_OFD_SETLK as usize).map(drop)
}

/// Whether another open file holds such a lock; takes none itself (F_OFD_GETLK).
pub fn file_is_locked(fd: BorrowedFd<'_>) -> Result<bool> {
    Ok(ofd_lock(fd, F_OFD_GETLK as usize)?.kind != F_UNLCK as i16)
}

/// Brings the loopback interface of this network namespace up (SIOCSIFFLAGS, netdevice(7)).
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<()> {
    #[repr(C)]
    struct Ifreq {
        name: [u8; 16],
        flags: i16,
        pad: [u8; 22],
    }
    const IFF_UP: i16 = 1;
    let mut name = [0; 16];
    name[..2].copy_from_slice(b"lo");
    let request = Ifreq {
        name,
        flags: IFF_UP,
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

/// clock_gettime(2): seconds and nanoseconds since the epoch.
pub fn realtime() -> (i64, i64) {
    // Not through rustix, which would look for the vDSO first, for one call.
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
