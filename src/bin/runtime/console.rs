//! The terminal on the runtime's side: the engine's console socket, and for a foreground `run` the relay between the
//! caller's terminal and the container's, with the supervision of the process.

use crate::jail;
use crate::process::{kill, reap};
use crate::sd_notify::NotifySocket;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use runtime::error::{During, Result, fail};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};
use syscalls::calls;

/// Receives the container's terminal from the child.
fn receive(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let what = || "cannot receive the container's terminal".into();
    let mut name = [0u8; 256];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut name)];
    rustix::net::recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).during(what)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut fds) = message
            && let Some(fd) = fds.next()
        {
            return Ok(fd);
        }
    }
    fail!("cannot receive the container's terminal: no descriptor came")
}

/// The caller's terminal in raw mode. Dropping it restores the previous settings on every exit path.
struct Raw(Option<Termios>);

impl Raw {
    fn set() -> Self {
        let Ok(before) = rustix::termios::tcgetattr(calls::stdin()) else {
            return Self(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        // As in runc: the caller's terminal translates line ends, not the container's.
        raw.output_modes.insert(OutputModes::OPOST);
        let _ = rustix::termios::tcsetattr(calls::stdin(), OptionalActions::Now, &raw);
        Self(Some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = rustix::termios::tcsetattr(calls::stdin(), OptionalActions::Now, before);
        }
    }
}

/// The size of the caller's terminal, if there is one. It may be on stdout while stdin is something else.
fn window() -> Option<Winsize> {
    [calls::stdin(), calls::stdout(), calls::stderr()]
        .into_iter()
        .find_map(|fd| rustix::termios::tcgetwinsize(fd).ok())
}

/// The rows and columns of the caller's terminal.
pub fn size() -> Option<(u16, u16)> {
    window().map(|size| (size.ws_row, size.ws_col))
}

/// Sets the container's window size to that of the caller's terminal.
fn copy_size(master: BorrowedFd<'_>) {
    if let Some(size) = window() {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

/// A process that exits within this time is not worth a jail, which costs a tenth of its start.
const BRIEF: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// Supervises a foreground process until it exits: relays its terminal (if `console` delivers one), every signal that
/// arrives, and its readiness (`ready`). Returns its exit status as a shell does. Signals must be blocked. With
/// `jail`, this process permanently gives up the system calls that it no longer needs.
pub fn supervise(
    pidfd: BorrowedFd<'_>,
    console: Option<OwnedFd>,
    ready: Option<(NotifySocket, i32)>,
    jail: bool,
) -> Result<i32> {
    let watched = watch(pidfd, console, ready, jail);
    if watched.is_err() {
        // With an error here nothing would supervise the process any more, so it is killed.
        kill(pidfd);
    }
    let status = reap(pidfd);
    watched?;
    let Some(status) = status else {
        fail!("cannot learn how the process has ended (waitid)");
    };
    Ok(match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (_, Some(signal)) => 128 + signal,
        _ => 1,
    })
}

/// Returns once the process has exited and its last output has been relayed.
fn watch(
    pidfd: BorrowedFd<'_>,
    console: Option<OwnedFd>,
    mut ready: Option<(NotifySocket, i32)>,
    mut jail: bool,
) -> Result<()> {
    let master = console.map(|socket| receive(socket.as_fd())).transpose()?;
    let _raw = master.as_ref().map(|_| Raw::set());
    let signals = calls::signalfd(!0).during(|| "cannot watch for signals".into())?;
    let mut relay = master.map(Relay::new).transpose()?;
    let mut ended = false;
    loop {
        // Arrays, not vectors: this loop may run for years, and memory is never freed.
        let [master, stdin, stdout] = relay.as_ref().map_or([None; 3], Relay::wants);
        let process = (!ended).then_some((pidfd, PollFlags::IN));
        let signal = Some((signals.as_fd(), PollFlags::IN));
        let news = ready.as_ref().map(|(r, _)| (r.fd(), PollFlags::IN));
        let mut fds = [process, signal, news, master, stdin, stdout].map(|wanted| {
            let (fd, flags) = wanted.unwrap_or((signals.as_fd(), PollFlags::empty()));
            PollFd::from_borrowed_fd(fd, flags)
        });
        match rustix::event::poll(&mut fds, jail.then_some(&BRIEF)) {
            Ok(0) => {
                // For our own sake: where a filter around us refuses it, the container still runs.
                let _ = jail::enter();
                jail = false;
                continue;
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => fail!(
                "cannot wait for the container: {}",
                runtime::error::Reason(errno)
            ),
        }
        let [process, _, news, master, stdin, stdout] = fds.map(|fd| !fd.revents().is_empty());
        while let Some(signal) = calls::next_signal(signals.as_fd()) {
            match (Signal::from_named_raw(signal), &relay) {
                (Some(Signal::CHILD | Signal::URG), _) => {}
                (Some(Signal::WINCH), Some(relay)) => copy_size(relay.master.as_fd()),
                // The process has exited and only a reader that does not read keeps us. A signal ends that wait.
                (Some(Signal::HUP | Signal::INT | Signal::QUIT | Signal::TERM), _) if ended => {
                    return Ok(());
                }
                _ => drop(calls::pidfd_send_signal(pidfd, signal)),
            }
        }
        if news {
            ready = ready.filter(|(ready, pid)| !ready.pass_on(*pid));
        }
        ended |= process;
        let Some(relay) = &mut relay else {
            if ended {
                return Ok(());
            }
            continue;
        };
        relay.move_bytes(master, stdin, stdout);
        if ended && !relay.has_output() {
            return Ok(());
        }
    }
}

/// The two directions between the caller's terminal and the container's. A side that does not read blocks only its
/// own direction.
struct Relay {
    master: OwnedFd,
    /// Read from stdin and not written to the container yet.
    input: Vec<u8>,
    /// Read from the container and not written to stdout yet.
    output: Vec<u8>,
    input_open: bool,
    output_open: bool,
}

const CHUNK: usize = 16 * 1024;
/// A writable pipe accepts this many bytes at once (PIPE_BUF), so the write does not block.
const PIECE: usize = 4096;

impl Relay {
    fn new(master: OwnedFd) -> Result<Self> {
        copy_size(master.as_fd());
        // A container that does not read must not keep us from reading its output.
        rustix::io::ioctl_fionbio(&master, true).during(|| "cannot prepare the terminal".into())?;
        Ok(Self {
            master,
            input: Vec::with_capacity(CHUNK),
            output: Vec::with_capacity(CHUNK),
            input_open: true,
            output_open: true,
        })
    }

    /// The events to wait for on the master, stdin and stdout. A closed one is left out, because poll would always
    /// report it.
    fn wants(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 3] {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.output_open && self.output.is_empty());
        flags.set(PollFlags::OUT, self.output_open && !self.input.is_empty());
        let stdin = self.input_open && self.output_open && self.input.is_empty();
        [
            (!flags.is_empty()).then(|| (self.master.as_fd(), flags)),
            stdin.then(|| (calls::stdin(), PollFlags::IN)),
            (!self.output.is_empty()).then(|| (calls::stdout(), PollFlags::OUT)),
        ]
    }

    /// Moves as much as possible. The arguments tell which of the three is ready.
    fn move_bytes(&mut self, master: bool, stdin: bool, stdout: bool) {
        if stdout {
            self.give_output();
        }
        if master {
            self.give_input();
            self.has_output();
        }
        if stdin {
            match rustix::io::read(calls::stdin(), spare_capacity(&mut self.input)) {
                Ok(n) if n > 0 => self.give_input(),
                Err(Errno::INTR | Errno::AGAIN) => {}
                _ => self.input_open = false,
            }
        }
    }

    fn give_input(&mut self) {
        match rustix::io::write(&self.master, &self.input) {
            Ok(n) => drop(self.input.drain(..n)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // The other side is closed.
            Err(_) => self.input.clear(),
        }
    }

    fn give_output(&mut self) {
        let piece = self.output.len().min(PIECE);
        match rustix::io::write(calls::stdout(), &self.output[..piece]) {
            Ok(n) => drop(self.output.drain(..n)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A caller who has closed stdout still gets the exit status.
            Err(_) => self.output.clear(),
        }
    }

    /// Whether there is output for stdout. Tries to read some if there is none.
    fn has_output(&mut self) -> bool {
        if self.output.is_empty() && self.output_open {
            match rustix::io::read(&self.master, spare_capacity(&mut self.output)) {
                Ok(n) if n > 0 => {}
                Err(Errno::INTR | Errno::AGAIN) => {}
                // EIO: the other side is closed.
                _ => self.output_open = false,
            }
        }
        !self.output.is_empty()
    }
}
