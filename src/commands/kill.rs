//! `kill`: a signal to the container's process, or to all its processes.

use crate::Context;
use crate::cgroup;
use crate::cli::Flag;
use crate::error::{During, Result, fail};
use crate::host::Cgroups;
use crate::signal;
use crate::state::Directory;
use rustix::fd::AsFd;

pub fn run(context: &Context<'_>) -> Result<i32> {
    let id = context.operands[0];
    let signal = signal::parse(context.operands.get(1).unwrap_or(&"TERM"))? as i32;
    let directory = Directory::open(context.root, id)?;
    let state = directory.read()?;
    let (status, pidfd) = directory.status(&state);
    use syscalls::calls::SIGKILL;
    if context.flags.has(Flag::All) {
        // As runc: whoever is left in the cgroup, also when the container has stopped.
        if let Some(path) = &state.cgroup {
            let cgroups = Cgroups::probe()?;
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
                cgroup::kill(&Cgroups::probe()?, path);
            }
            sent?;
            Ok(0)
        }
        (None, Some(path)) => {
            let cgroups = Cgroups::probe()?;
            if cgroup::processes(&cgroups, path).is_empty() {
                fail!("container not running: {id:?} is {status}");
            }
            cgroup::kill(&cgroups, path);
            Ok(0)
        }
        (None, None) => fail!("container not running: {id:?} is {status}"),
    }
}
