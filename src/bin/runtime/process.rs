//! One process: whether it is the one that was started, its state in /proc, and the wait for its exit. Only ESRCH or
//! a missing /proc/PID means that it has exited. Any other failure is an error.

use crate::files;
use alloc::format;
use runtime::error::{During, Error, Result};
use runtime::state::Stat;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, WaitIdStatus};

/// A pidfd of the process, if it is the one started at that time and has not exited.
pub fn alive(pid: i32, start_time: u64) -> Result<Option<OwnedFd>> {
    let Some(number) = Pid::from_raw(pid) else {
        return Ok(None);
    };
    let pidfd = match rustix::process::pidfd_open(number, PidfdFlags::empty()) {
        // The pid belongs to no process, to one being reaped (EINVAL before Linux 6.9), or meanwhile to a thread.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => return Ok(None),
        pidfd => pidfd.during(|| format!("cannot inspect process {pid} (pidfd_open)"))?,
    };
    // Read after the pidfd is open, so the text describes the process behind it, or none.
    Ok(stat(pid)?
        .filter(|stat| stat.started == start_time && !matches!(stat.status, 'Z' | 'X'))
        .map(|_| pidfd))
}

/// Reads /proc/PID/stat. Returns `None` if there is no such process.
pub fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    let text = match files::read(CWD, path.as_str()) {
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::SRCH)) => return Ok(None),
        text => text?,
    };
    match core::str::from_utf8(&text).ok().and_then(Stat::parse) {
        Some(stat) => Ok(Some(stat)),
        None => Err(Error::new(format!("cannot parse {path}"))),
    }
}

/// Whether a process whose channel has closed did so by executing its program, and not by dying just before. Of a process
/// that has been waited for, nothing is known: it counts as one that has ended after its start.
pub fn has_executed(pid: i32, start_time: Option<u64>) -> Result<bool> {
    let path = format!("/proc/{pid}/stat");
    let mut text = [0; 1024];
    let n = match files::read_into(&path, &mut text) {
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::SRCH)) => return Ok(true),
        n => n?,
    };
    match core::str::from_utf8(&text[..n]).ok().and_then(Stat::parse) {
        Some(stat) => Ok(stat.executed || start_time.is_some_and(|time| time != stat.started)),
        None => Err(Error::new(format!("cannot parse {path}"))),
    }
}

/// Sends SIGKILL. This fails only if the process has exited or is not ours.
pub fn kill(pidfd: BorrowedFd<'_>) {
    let _ = syscalls::calls::pidfd_send_signal(pidfd, syscalls::calls::SIGKILL);
}

/// Waits for a child to exit.
pub fn reap(pidfd: BorrowedFd<'_>) -> Option<WaitIdStatus> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            other => return other.ok().flatten(),
        }
    }
}

/// Whether the process exits within this time. Signals are blocked or irrelevant here: one that interrupts the wait
/// restarts it.
pub fn ends_within(pidfd: BorrowedFd<'_>, time: &Timespec) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(time)));
    Ok(ready.during(|| "cannot wait for the process to end (poll)".into())? > 0)
}
