//! BPF: classic for seccomp filters, eBPF for the device programs of cgroups.

use super::{check, descriptor, number};
use crate::arch::syscall;
use linux_raw_sys::general::{__NR_bpf, __NR_seccomp};
use linux_raw_sys::ptrace::{SECCOMP_SET_MODE_FILTER, sock_filter, sock_fprog};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::io::{Errno, Result};

/// One instruction of classic BPF in the layout of `struct sock_filter` (include/uapi/linux/filter.h):
/// `code | jt << 16 | jf << 24` in the low half, `k` in the high half (little-endian).
pub type Instruction = u64;

/// The load returns the descriptor of a listener.
pub const NEW_LISTENER: u32 = linux_raw_sys::ptrace::SECCOMP_FILTER_FLAG_NEW_LISTENER;

/// seccomp(2), SECCOMP_SET_MODE_FILTER.
///
/// # Safety
/// `filter` is null, or both `filter` and its program live until the return.
unsafe fn set_mode_filter(flags: u32, filter: *const sock_fprog) -> isize {
    let (operation, flags) = (SECCOMP_SET_MODE_FILTER as usize, flags as usize);
    // SAFETY: the kernel copies the filter during the call, and the caller keeps it alive until then.
    unsafe { syscall(__NR_seccomp, [operation, flags, filter as usize, 0, 0, 0]) }
}

/// Loads a seccomp filter. With `NEW_LISTENER`, returns the listener's descriptor.
pub fn seccomp(program: &[Instruction], flags: u32) -> Result<Option<OwnedFd>> {
    let filter = sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        // The kernel only reads the program.
        filter: program.as_ptr().cast::<sock_filter>().cast_mut(),
    };
    // SAFETY: both live until the call returns.
    let result = unsafe { set_mode_filter(flags, &raw const filter) };
    match flags & NEW_LISTENER {
        0 => check(result).map(|_| None),
        // SAFETY: the result is a new descriptor.
        _ => unsafe { descriptor(result) }.map(Some),
    }
}

/// Whether this kernel supports all of these filter flags.
pub fn seccomp_knows(flags: u32) -> bool {
    // NEW_LISTENER is set because WAIT_KILLABLE_RECV requires it.
    // SAFETY: the kernel checks the flags first, then fails on the null pointer (EFAULT).
    let result = unsafe { set_mode_filter(flags | NEW_LISTENER, core::ptr::null()) };
    check(result) == Err(Errno::FAULT)
}

/// The part of `union bpf_attr` (include/uapi/linux/bpf.h) that the commands below use.
#[repr(C, align(8))]
struct BpfAttr([u32; 18]);

/// bpf(2).
///
/// # Safety
/// Each address in a field that the command reads is of memory that lives until the return and has the length
/// in its size field. If the command writes there, the memory has no other user.
unsafe fn bpf(command: usize, attr: &mut BpfAttr) -> isize {
    let (at, size) = (core::ptr::from_mut(attr) as usize, size_of::<BpfAttr>());
    // SAFETY: the kernel stays within the given size; the caller guarantees the addresses.
    unsafe { syscall(__NR_bpf, [command, at, size, 0, 0, 0]) }
}

fn halves(address: usize) -> [u32; 2] {
    // A 64-bit field as two words in memory order.
    let bytes = (address as u64).to_ne_bytes();
    [0, 4].map(|at| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

const BPF_CGROUP_DEVICE: u32 = 6;

/// Loads a program of type cgroup-device under this name (BPF_PROG_LOAD, bpf(2)).
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
    // SAFETY: the program has the stated number of instructions, and the licence is a C string. The result is a
    // new descriptor.
    unsafe { descriptor(bpf(BPF_PROG_LOAD, &mut attr)) }
}

/// Attaches a device program to a cgroup beside existing ones (BPF_PROG_ATTACH, BPF_F_ALLOW_MULTI), or
/// atomically replaces `replaced`.
pub fn bpf_attach_device_program(
    cgroup: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replaced: Option<BorrowedFd<'_>>,
) -> Result<()> {
    const BPF_PROG_ATTACH: usize = 8;
    const BPF_F_ALLOW_MULTI: u32 = 1 << 1;
    const BPF_F_REPLACE: u32 = 1 << 2;
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = number(cgroup)?;
    attr.0[1] = number(program)?;
    attr.0[2] = BPF_CGROUP_DEVICE;
    attr.0[3] = BPF_F_ALLOW_MULTI;
    if let Some(replaced) = replaced {
        attr.0[3] |= BPF_F_REPLACE;
        attr.0[4] = number(replaced)?;
    }
    // SAFETY: the command takes no address.
    check(unsafe { bpf(BPF_PROG_ATTACH, &mut attr) }).map(drop)
}

/// Reads the ids of the device programs of a cgroup (BPF_PROG_QUERY), up to the length of `ids`.
pub fn bpf_query_device_programs(cgroup: BorrowedFd<'_>, ids: &mut [u32]) -> Result<usize> {
    const BPF_PROG_QUERY: usize = 16;
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = number(cgroup)?;
    attr.0[1] = BPF_CGROUP_DEVICE;
    attr.0[4..6].copy_from_slice(&halves(ids.as_mut_ptr() as usize));
    attr.0[6] = u32::try_from(ids.len()).unwrap_or(u32::MAX);
    // SAFETY: the kernel writes at most the stated number of ids, and the other addresses are zero.
    match check(unsafe { bpf(BPF_PROG_QUERY, &mut attr) }) {
        // ENOSPC: there are more. The kernel has filled `ids` and returns the total.
        Ok(_) | Err(Errno::NOSPC) => Ok(ids.len().min(attr.0[6] as usize)),
        Err(errno) => Err(errno),
    }
}

/// Opens the program with this id (BPF_PROG_GET_FD_BY_ID).
pub fn bpf_program_by_id(id: u32) -> Result<OwnedFd> {
    const BPF_PROG_GET_FD_BY_ID: usize = 13;
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = id;
    // SAFETY: the command takes no address and returns a new descriptor.
    unsafe { descriptor(bpf(BPF_PROG_GET_FD_BY_ID, &mut attr)) }
}

/// The name of a loaded program (BPF_OBJ_GET_INFO_BY_FD).
pub fn bpf_program_name(program: BorrowedFd<'_>) -> Result<[u8; 16]> {
    const BPF_OBJ_GET_INFO_BY_FD: usize = 15;
    // `struct bpf_prog_info` up to its name.
    let mut info = [0u64; 10];
    let mut attr = BpfAttr([0; 18]);
    attr.0[0] = number(program)?;
    attr.0[1] = size_of_val(&info) as u32;
    attr.0[2..4].copy_from_slice(&halves(info.as_mut_ptr() as usize));
    // SAFETY: the kernel writes at most the stated number of bytes, and the addresses that it reads there are
    // zero.
    check(unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) })?;
    let mut name = [0; 16];
    name[..8].copy_from_slice(&info[8].to_ne_bytes());
    name[8..].copy_from_slice(&info[9].to_ne_bytes());
    Ok(name)
}
