//! The seccomp filter of the supervisor, which exists as long as its foreground container and reads the container's
//! output. It leaves only the system calls that relaying, waiting and cleaning up need.

use alloc::format;
use alloc::vec::Vec;
use bpf::{Action, Profile, Rule};
use linux_raw_sys::errno::EPERM;
use runtime::error::{Error, Result};
use syscalls::calls;

/// The system calls of `console::supervise`, `delete::remove` and the allocator.
const NEEDED: [&str; 37] = [
    "brk",
    "clock_gettime",
    "clock_nanosleep",
    "close",
    "exit_group",
    "fcntl",
    "flock",
    "fstat",
    "fstatfs",
    "getdents64",
    "getpid",
    "ioctl",
    "kill",
    "lseek",
    "mmap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "openat",
    "pidfd_open",
    "pidfd_send_signal",
    "poll",
    "ppoll",
    "read",
    "readlinkat",
    "restart_syscall",
    "rt_sigprocmask",
    "rt_sigreturn",
    "signalfd4",
    "statfs",
    "statx",
    "tgkill",
    "unlink",
    "unlinkat",
    "waitid",
    "write",
    "writev",
];

/// Installs the filter in this process, permanently.
pub fn enter() -> Result<()> {
    let rules = [Rule {
        names: &NEEDED,
        action: Action::Allow,
        conditions: &[],
    }];
    let profile = Profile {
        default: Action::Errno(EPERM as u16),
        architectures: &[],
        rules: &rules,
    };
    let program = bpf::compile(&profile)
        .map_err(|e| Error::new(format!("cannot compile the supervisor's filter: {e}")))?;
    let words: Vec<u64> = program
        .instructions
        .iter()
        .map(runtime::plan::word)
        .collect();
    rustix::thread::set_no_new_privs(true)
        .and_then(|()| calls::seccomp(&words, 0))
        .map_err(|errno| Error::from_errno("cannot confine the supervisor", errno))?;
    Ok(())
}
