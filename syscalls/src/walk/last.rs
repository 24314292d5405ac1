//! The end of the walk, after every descriptor but the channel is closed: the wait for `start`, the filter, the
//! identity, the exec. Every system call here may run under the container's filter.

use super::program::exec_first;
use super::{Reports, Walked, identity, settings};
use crate::calls;
use crate::report::{At, Call, Kind};
use crate::step::{Filter, LastStep};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags};

/// The system calls between the load of a filter and the exec, if the filter is loaded before the wait for
/// `start`, and after a failed exec. The calls of startContainer hooks are not included. A test compares this
/// list with the observed calls of the child.
pub const CALLS_UNDER_A_FILTER: &[&str] = &[
    "accept4",
    "capset",
    "close",
    "execve",
    "exit_group",
    "fstatfs",
    "newfstatat",
    "openat2",
    "ppoll",
    "prctl",
    "pread64",
    "prlimit64",
    "read",
    "rt_sigaction",
    "rt_sigprocmask",
    "sendto",
    "setgroups",
    "setresgid",
    "setresuid",
    "shutdown",
    "signalfd4",
];

/// The state of the child after every other descriptor is closed.
pub struct Last {
    /// The socket that `start` connects to, and the locked file that marks the process as waiting.
    pub listener: Option<[OwnedFd; 2]>,
    pub reports: Reports,
}

impl Last {
    pub fn walk(mut self, steps: &[LastStep<'_>]) -> ! {
        for step in steps {
            if let Err(fault) = self.obey(step) {
                let program = match step {
                    LastStep::Execute(execute) => Some(&execute.program),
                    _ => None,
                };
                self.reports.fail(step, fault, program)
            }
            self.reports.step += 1;
        }
        calls::exit(1)
    }

    fn obey(&mut self, step: &LastStep<'_>) -> Walked {
        match step {
            LastStep::Wait => self.wait_for_start(),
            LastStep::Seccomp(filter) => self.load(filter),
            LastStep::Become(identity) => identity::become_user(identity),
            LastStep::Set(setting) => settings::set(setting),
            LastStep::Hooks(hooks) => self.reports.run_hooks(hooks, None),
            LastStep::Ready => self.reports.send(Kind::Ready, 0),
            LastStep::Execute(program) => Err(exec_first(program)),
        }
    }

    /// Waits on the container's socket until a peer connects and sends a byte. That connection becomes the
    /// report channel.
    fn wait_for_start(&mut self) -> Walked {
        let [listener, _waiting] = self.listener.take().ok_or(Errno::BADF).at(Call::none)?;
        // The parent, `create`, waits for the end of this channel.
        rustix::net::shutdown(&self.reports.channel, Shutdown::Write).at(Call::shutdown)?;
        let signals = calls::signalfd(calls::stopping_signals()).at(Call::signalfd4)?;
        // The peers that have connected and sent nothing yet. When the table is full, a new peer replaces the
        // oldest.
        let mut peers = [const { None::<OwnedFd> }; 4];
        let mut place = (0..peers.len()).cycle();
        loop {
            // The first process of a pid namespace receives only the signals it handles (pid_namespaces(7)), so
            // stopping signals come through a signalfd.
            let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let [a, b, c, d] = peers
                .each_ref()
                .map(|peer| watch(peer.as_ref().unwrap_or(&listener).as_fd()));
            let mut fds = [watch(listener.as_fd()), watch(signals.as_fd()), a, b, c, d];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)).at(Call::poll)?;
            let [connected, _, ready @ ..] = fds.map(|fd| !fd.revents().is_empty());
            if let Some(signal) = calls::next_signal(signals.as_fd()) {
                calls::exit(128 + signal);
            }
            for (peer, _) in peers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                let Some(peer) = peer.take() else { continue };
                // A peer that closes without a byte only tested the socket.
                if rustix::io::read(&peer, &mut [0u8; 1][..]) == Ok(1) {
                    self.reports.channel = peer;
                    return Ok(());
                }
            }
            if connected && let Some(n) = place.next() {
                let peer = rustix::net::accept_with(&listener, SocketFlags::CLOEXEC);
                peers[n] = Some(peer.at(Call::accept4)?);
            }
        }
    }

    /// Loads a filter. A filter with a listener may forbid any later call. So the child first reports the
    /// number of the lowest free descriptor, which the listener will get, and the parent fetches the listener
    /// by this number.
    fn load(&self, filter: &Filter<'_>) -> Walked {
        if filter.flags & calls::NEW_LISTENER == 0 {
            let loaded = calls::seccomp(filter.program, filter.flags);
            return loaded.map(drop).at(Call::seccomp);
        }
        let channel = &self.reports.channel;
        let probe = rustix::io::fcntl_dupfd_cloexec(channel, 0).at(Call::seccomp)?;
        let number = probe.as_raw_fd();
        drop(probe);
        self.reports.send(Kind::Listener, number)?;
        let listener = calls::seccomp(filter.program, filter.flags).at(Call::seccomp)?;
        let mut byte = [0u8; 1];
        let heard = rustix::io::retry_on_intr(|| rustix::io::read(channel, &mut byte[..]));
        // The listener is close-on-exec, so no close(2) has to pass the filter.
        core::mem::forget(listener);
        match heard.at(Call::recv)? {
            0 => calls::exit(1),
            _ => Ok(()),
        }
    }
}
