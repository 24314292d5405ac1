//! `start`: releases the waiting child, and reports whether its exec succeeded.

use crate::container::{Container, Lock};
use crate::context::Context;
use crate::launch::{failure, go_on, start_address};
use crate::sd_notify::NotifySocket;
use crate::{cgroup, hooks, host, process, seccomp_agent, socket};
use runtime::error::{During, Error, Result, fail};
use runtime::state::{CREATED, PAUSED, RUNNING, STOPPED, State};
use rustix::event::Timespec;
use rustix::fd::{AsFd, BorrowedFd};
use syscalls::report::{Call, Kind, Report, Text};

pub fn run(context: &Context<'_>, id: &str) -> Result<i32> {
    let container = Container::open(context.root, id)?;
    let (directory, state) = (&container.directory, &container.state);
    let pidfd = match container.process()? {
        (CREATED, Some(pidfd)) => pidfd,
        (STOPPED, _) => fail!("cannot start container {id:?}: it has stopped"),
        (RUNNING, _) => fail!("cannot start container {id:?}: it is already running"),
        (status, _) => fail!("cannot start container {id:?}: it is {status}"),
    };
    container.lock(Lock::Shared)?;
    // It would start once it is resumed, long after we have given up waiting.
    if container.status(&host::cgroups()?)? == PAUSED {
        fail!("cannot start container {id:?}: it is paused (runtime resume {id})");
    }
    let service = match context.notify_socket() {
        Some(manager) => NotifySocket::listen(directory.fd(), manager)?,
        None => None,
    };
    let what = || alloc::format!("cannot start container {id:?}");
    let socket = socket::of_start().during(what)?;
    // A concurrent `start` may connect first. The child then no longer listens, or hangs up.
    let still_created = || match container.process()? {
        (RUNNING, _) => fail!("cannot start container {id:?}: it is already running"),
        _ => Ok(()),
    };
    if let Err(errno) = rustix::net::connect(&socket, &start_address(directory)?) {
        // A process that is being killed closes its socket first.
        if container.has_ended()?.0 {
            fail!("cannot start container {id:?}: it has stopped");
        }
        still_created()?;
        return Err(Error::from_errno(what(), errno));
    }
    let (ready, failed) = release(socket.as_fd(), pidfd.as_fd(), state)?;
    if let Some((error, call)) = failed {
        // The child is about to exit.
        container.kill_and_wait()?;
        wait_until_reaped(state.pid);
        // A failing hook destroys the container (runtime.md, Lifecycle). Without a hook engines expect to be able to
        // delete a container whose start has failed.
        if call.is_of_a_hook() {
            container.remove(context.start)?;
        }
        return Err(error);
    }
    if !ready || !process::has_executed(state.pid, Some(state.start_time))? {
        still_created()?;
        return Err(ended_early(id, state));
    }
    // Hooks may call this program.
    directory.unlock();
    if let Err(error) = hooks::run("poststart", &state.poststart, state, RUNNING) {
        // Destroyed as well (runtime.md, Lifecycle).
        container.kill_and_wait()?;
        wait_until_reaped(state.pid);
        container.remove(context.start)?;
        return Err(error);
    }
    if let Some(service) = service {
        service.wait(pidfd.as_fd(), state.pid)?;
    }
    Ok(0)
}

/// Lets the child go on and takes its reports until its end closes: whether it was about to execute the program, and
/// what failed.
fn release(
    socket: BorrowedFd<'_>,
    pidfd: BorrowedFd<'_>,
    state: &State,
) -> Result<(bool, Option<(Error, Call)>)> {
    go_on(socket)?;
    let (mut text, mut ready, mut failed) = (Text::new(), false, None);
    let what = || alloc::format!("cannot start container {:?}", state.id);
    while let Some(report) = Report::recv(socket, &mut text).during(what)? {
        match report.kind {
            Kind::Ready => ready = true,
            Kind::Listener => {
                seccomp_agent::deliver(pidfd, report.errno, state.pid, state, CREATED)?;
                go_on(socket)?;
            }
            _ => failed = Some((failure(&report, &text, None), report.call)),
        }
    }
    Ok((ready, failed))
}

/// The error for a process that has ended before its program, with the memory limit that it may have reached.
fn ended_early(id: &str, state: &State) -> Error {
    let error = Error::new(alloc::format!(
        "cannot start container {id:?}: its init exited before the program was executed"
    ));
    match (&state.place(), host::cgroups()) {
        (Some(place), Ok(cgroups)) => cgroup::reached::with_memory_limit(&cgroups, place, error),
        _ => error,
    }
}

/// Waits briefly until an engine has reaped the process. Engines should know of its exit before this command reports
/// the failure, but nothing guarantees that they reap it.
fn wait_until_reaped(pid: i32) {
    for _ in 0..100 {
        if matches!(process::stat(pid), Ok(None)) {
            return;
        }
        let _ = rustix::thread::nanosleep(&Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        });
    }
}
