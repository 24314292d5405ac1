//! `delete`: removes what is left of a container, also of one that was never finished.

use crate::Context;
use crate::cgroup;
use crate::cgroup::systemd::Manager;
use crate::container::{Directory, stat};
use crate::hooks;
use crate::host;
use alloc::format;
use alloc::string::{String, ToString};
use runtime::cli::Delete;
use runtime::error::{Reason, Result, fail};
use runtime::state::{STOPPED, State, check_id};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd};
use syscalls::Start;

const SIGKILL: i32 = 9;
/// How long a process may take to end that was sent another signal than KILL, right before `delete`.
const MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How long a killed process may take to end.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

pub fn run(context: &Context<'_>, args: &Delete<'_>) -> Result<i32> {
    let id = args.id;
    if args.force {
        check_id(id)?;
        // Engines delete what may not be there and expect success.
        let Some(directory) = Directory::find(context.root, id)? else {
            return Ok(0);
        };
        // A state that was never written or cannot be read has nothing to say.
        match directory.read() {
            Ok(state) => {
                kill_and_wait(&directory, &state)?;
                remove(context.start, &directory, &state)?;
            }
            Err(_) => directory.remove()?,
        }
        return Ok(0);
    }
    let directory = Directory::open(context.root, id)?;
    let state = directory.read()?;
    match directory.status(&state) {
        (STOPPED, _) => {}
        (_, Some(pidfd)) if ends_within(pidfd.as_fd(), time_to_end(state.pid)) => {}
        (status, _) => fail!(
            "cannot delete container {id:?} that is not stopped: it is {status} (--force kills it first)"
        ),
    }
    remove(context.start, &directory, &state)?;
    Ok(0)
}

/// Kills the container's process and waits, with a bound, until it has ended.
pub fn kill_and_wait(directory: &Directory, state: &State) -> Result<()> {
    let (_, Some(pidfd)) = directory.status(state) else {
        return Ok(());
    };
    let sent = syscalls::calls::pidfd_send_signal(pidfd.as_fd(), SIGKILL);
    if let Some(path) = &state.cgroup {
        let cgroups = host::cgroups()?;
        // A security module may keep signals from a process; the kernel's own kill is not asked.
        if sent.is_err() {
            cgroup::kill(&cgroups, path);
        }
        cgroup::thaw(&cgroups, path);
    }
    let how = match &sent {
        Ok(()) => String::from("was killed and is still there"),
        Err(errno) => format!("cannot be killed: {}", Reason(*errno)),
    };
    if !ends_within(pidfd.as_fd(), &PATIENCE) {
        fail!(
            "container {:?} does not end: process {} {how}",
            state.id,
            state.pid
        )
    }
    Ok(())
}

/// What was killed is waited for; what lives on is told of without much delay.
fn time_to_end(pid: i32) -> &'static Timespec {
    match stat(pid) {
        Some(stat) if stat.dying => &PATIENCE,
        _ => &MOMENT,
    }
}

fn ends_within(pidfd: BorrowedFd<'_>, time: &Timespec) -> bool {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(time)) != Ok(0)
}

/// Removes a stopped container: whoever is left in its cgroup, the cgroup, the state; poststop hooks last.
pub fn remove(start: Start, directory: &Directory, state: &State) -> Result<()> {
    if let Some(path) = &state.cgroup {
        let cgroups = host::cgroups()?;
        cgroup::kill(&cgroups, path);
        if let Some(unit) = &state.unit
            && let Err(error) = Manager::find(start).and_then(|manager| manager.stop(unit))
        {
            // It goes away by itself with its last process.
            crate::log::warn(&error.to_string());
        }
        cgroup::remove(&cgroups, path)?;
    }
    directory.remove()?;
    hooks::run_poststop(state);
    Ok(())
}
