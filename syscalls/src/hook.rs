//! Runs one hook: with the state on stdin, only the environment of the spec, and a deadline. The beginning of
//! its output is kept. Parent and child share this code, so it does not allocate.

use crate::calls::{self, Arg, Birth};
use crate::report::{At, Call, Fault, Text};
use core::ffi::CStr;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};
use rustix::time::{ClockId, clock_gettime};

/// A hook of config.json (config.md, POSIX-platform Hooks), ready to run.
#[derive(Clone, Copy)]
pub struct Hook<'a> {
    pub path: &'a CStr,
    /// Ends with `Arg::END`.
    pub argv: &'a [Arg<'a>],
    /// The whole environment. Ends with `Arg::END`.
    pub envp: &'a [Arg<'a>],
    /// The timeout in seconds, after which the hook is killed.
    pub timeout: Option<u32>,
}

/// Runs the hook in its own process group and waits for it. The hook reads the pieces of `state` on stdin and
/// starts in `cwd`. `output` receives the beginning of its output. A signal on the signalfd `stop` kills the
/// hook.
///
/// # Errors
/// `Call::hook` if the hook cannot be started, `hook_timeout` if it was killed at its deadline, `hook_stopped`
/// (errno: the signal to this process) if it was killed because of that signal, `hook_status` (errno: the exit
/// status) and `hook_signal` (errno: the signal) if it failed.
pub fn run<const N: usize>(
    hook: &Hook<'_>,
    state: &[&[u8]],
    cwd: Option<BorrowedFd<'_>>,
    stop: Option<BorrowedFd<'_>>,
    output: &mut Text<N>,
) -> Result<(), Fault> {
    let stdin = file_of(state)?;
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(Call::hook)?;
    let (exec_reader, exec_writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).at(Call::hook)?;

    let child = |()| {
        let errno = become_hook(hook, stdin.as_fd(), writer.as_fd(), cwd);
        let _ = rustix::io::write(&exec_writer, &errno.raw_os_error().to_ne_bytes());
        127
    };
    let (pid, pidfd, ()) = calls::fork(Birth::default(), (), child).at(Call::clone3)?;
    drop((writer, exec_writer));

    let deadline = hook.timeout.map(|s| now() + i64::from(s) * 1000);
    let cut_short = watch(reader.as_fd(), pidfd.as_fd(), stop, deadline, output);
    if cut_short.is_some() {
        // Kill the whole group: the children of a shell would go on.
        let _ = calls::kill(-pid, calls::SIGKILL);
        let _ = calls::pidfd_send_signal(pidfd.as_fd(), calls::SIGKILL);
    }
    let status = loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            other => break other.at(Call::hook)?,
        }
    };
    if let Some(fault) = cut_short {
        return Err(fault);
    }
    let mut errno = [0u8; 4];
    if let Ok(4) = rustix::io::read(&exec_reader, &mut errno[..]) {
        return Err(Fault {
            call: Call::hook,
            errno: Errno::from_raw_os_error(i32::from_ne_bytes(errno)),
        });
    }
    let Some(status) = status else {
        return Err(Fault {
            call: Call::hook,
            errno: Errno::CHILD,
        });
    };
    let failed = |call, number: i32| {
        // The number is a status or a signal, which the caller interprets by `call`. An errno cannot be 0.
        Err(Fault {
            call,
            errno: Errno::from_raw_os_error(number.clamp(1, 4095)),
        })
    };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(0), _) => Ok(()),
        (Some(n), _) => failed(Call::hook_status, n),
        (_, Some(n)) => failed(Call::hook_signal, n),
        _ => failed(Call::hook_status, 1),
    }
}

/// Puts the state into a file, not a pipe. A hook that does not read it cannot block the writer or cause
/// SIGPIPE.
fn file_of(state: &[&[u8]]) -> Result<OwnedFd, Fault> {
    let file = rustix::fs::memfd_create(c"state", MemfdFlags::CLOEXEC).at(Call::hook)?;
    for piece in state {
        let mut rest = *piece;
        while !rest.is_empty() {
            let n = rustix::io::write(&file, rest).at(Call::hook)?;
            rest = &rest[n..];
        }
    }
    rustix::fs::seek(&file, SeekFrom::Start(0)).at(Call::hook)?;
    Ok(file)
}

/// Runs in the hook's process: makes a process group, sets stdio and default signals, then executes the hook.
fn become_hook(
    hook: &Hook<'_>,
    stdin: BorrowedFd<'_>,
    out: BorrowedFd<'_>,
    cwd: Option<BorrowedFd<'_>>,
) -> Errno {
    let prepare = || -> rustix::io::Result<()> {
        rustix::process::setpgid(None, None)?;
        rustix::stdio::dup2_stdin(stdin)?;
        rustix::stdio::dup2_stdout(out)?;
        rustix::stdio::dup2_stderr(out)?;
        if let Some(cwd) = cwd {
            rustix::process::fchdir(cwd)?;
        }
        calls::mark_close_on_exec(3, u32::MAX)
    };
    if let Err(errno) = prepare() {
        return errno;
    }
    calls::default_signals();
    calls::set_signal_mask(0);
    calls::execve(hook.path, hook.argv, hook.envp)
}

fn now() -> i64 {
    let t = clock_gettime(ClockId::Monotonic);
    t.tv_sec * 1000 + t.tv_nsec / 1_000_000
}

/// Collects output until the process ends, or returns the reason to kill it.
fn watch<const N: usize>(
    reader: BorrowedFd<'_>,
    pidfd: BorrowedFd<'_>,
    stop: Option<BorrowedFd<'_>>,
    deadline: Option<i64>,
    output: &mut Text<N>,
) -> Option<Fault> {
    let mut open = true;
    loop {
        let watch = |fd, wanted| {
            let flags = if wanted {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            PollFd::from_borrowed_fd(fd, flags)
        };
        // poll(2) needs a descriptor in each place: an unwatched one is replaced by the pidfd.
        let mut fds = [
            watch(pidfd, true),
            watch(if open { reader } else { pidfd }, open),
            watch(stop.unwrap_or(pidfd), stop.is_some()),
        ];
        let timeout = deadline.map(|d| {
            let left = (d - now()).max(0);
            Timespec {
                tv_sec: left / 1000,
                tv_nsec: left % 1000 * 1_000_000,
            }
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            Err(_) => return None, // waitid will tell
            Ok(0) => {
                return Some(Fault {
                    call: Call::hook_timeout,
                    errno: Errno::TIMEDOUT,
                });
            }
            Ok(_) => {}
        }
        let (ended, readable) = (
            !fds[0].revents().is_empty(),
            open && !fds[1].revents().is_empty(),
        );
        if let Some(signal) = stop.and_then(calls::next_signal) {
            return Some(Fault {
                call: Call::hook_stopped,
                errno: Errno::from_raw_os_error(signal),
            });
        }
        if readable {
            let mut chunk = [0u8; 1024];
            match rustix::io::read(reader, &mut chunk[..]) {
                Ok(n) if n > 0 => {
                    output.push(&chunk[..n]);
                    continue; // everything it wrote, before its end is looked at
                }
                _ => open = false,
            }
        }
        if ended {
            return None;
        }
    }
}
