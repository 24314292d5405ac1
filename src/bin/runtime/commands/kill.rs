//! `kill`: a signal to the container's process, or to all its processes.

use crate::Context;
use crate::cgroup;
use crate::container::Directory;
use crate::host;
use runtime::cli::Kill;
use runtime::error::{During, Result, fail};
use rustix::fd::AsFd;

pub fn run(context: &Context<'_>, args: &Kill<'_>) -> Result<i32> {
    let id = args.id;
    let signal = runtime::signal::parse(args.signal.unwrap_or("TERM"))? as i32;
    let directory = Directory::open(context.root, id)?;
    let state = directory.read()?;
    let (status, pidfd) = directory.status(&state);
    const SIGKILL: i32 = 9;
    if args.all {
        // As runc: whoever is left in the cgroup, also when the container has stopped.
        if let Some(path) = &state.cgroup {
            let cgroups = host::cgroups()?;
            if signal == SIGKILL {
                cgroup::kill(&cgroups, path);
                return Ok(0);
            }
            for pid in cgroup::processes(&cgroups, path) {
                let _ = syscalls::calls::kill(pid, signal);
            }
            return Ok(0);
        }
        // Nobody knows the others without a cgroup; those of its pid namespace die with the first process.
        if pidfd.is_none() {
            return Ok(0);
        }
    }
    // As runc: without a pid namespace of its own, the end of the first process ends nobody else.
    let kills = state.cgroup.as_deref().filter(|_| signal == SIGKILL);
    match (pidfd, kills) {
        (Some(pidfd), _) => {
            let sent = syscalls::calls::pidfd_send_signal(pidfd.as_fd(), signal)
                .during(|| alloc::format!("cannot send signal {signal} to container {id:?}"));
            if let Some(path) = kills {
                cgroup::kill(&host::cgroups()?, path);
            }
            sent?;
            Ok(0)
        }
        (None, Some(path)) => {
            let cgroups = host::cgroups()?;
            if cgroup::processes(&cgroups, path).is_empty() {
                fail!("container not running: {id:?} is {status}");
            }
            cgroup::kill(&cgroups, path);
            Ok(0)
        }
        (None, None) => fail!("container not running: {id:?} is {status}"),
    }
}
