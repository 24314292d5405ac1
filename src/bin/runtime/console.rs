//! The terminal on our side: the engine's console socket, and for a foreground `run` the relay between the
//! caller's terminal and the container's, with the supervision of the process.

use crate::jail;
use crate::process::reap;
use crate::sd_notify::Ready;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use runtime::error::{During, Result, fail};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::termios::{OptionalActions, OutputModes, Termios, Winsize};
use syscalls::calls;

/// The terminal that the child sends over the pair.
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

/// Puts the caller's terminal back as it was, whichever way we leave.
struct Raw(Option<Termios>);

impl Raw {
    fn set() -> Self {
        let Ok(before) = rustix::termios::tcgetattr(calls::stdin()) else {
            return Self(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        // As runc: the container's terminal leaves line ends to ours.
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

/// The size of the caller's terminal, if it has one: the output may go to one where the input does not come
/// from it.
fn window() -> Option<Winsize> {
    [calls::stdin(), calls::stdout(), calls::stderr()]
        .into_iter()
        .find_map(|fd| rustix::termios::tcgetwinsize(fd).ok())
}

/// Its rows and columns.
pub fn size() -> Option<(u16, u16)> {
    window().map(|size| (size.ws_row, size.ws_col))
}

/// The container's window takes the size of the caller's.
fn copy_size(master: BorrowedFd<'_>) {
    if let Some(size) = window() {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGTERM: i32 = 15;
const SIGCHLD: i32 = 17;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;

/// A process that ends within this time is not worth a jail, which costs a tenth of its start.
const BRIEF: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// Waits for the process in the foreground: relays its terminal, when `console` brings one, every signal
/// we get, and that it is `ready`. Returns its exit status as a shell has it. Signals must be blocked. With `jail`
/// this process gives up what it will not need, for good.
pub fn supervise(
    pidfd: BorrowedFd<'_>,
    console: Option<OwnedFd>,
    ready: Option<(Ready, i32)>,
    jail: bool,
) -> Result<i32> {
    let watched = watch(pidfd, console, ready, jail);
    if watched.is_err() {
        // Nobody would wait for it any more.
        use syscalls::calls::SIGKILL;
        let _ = calls::pidfd_send_signal(pidfd, SIGKILL);
    }
    let status = reap(pidfd);
    watched?;
    Ok(status.map_or(1, |status| {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (_, Some(signal)) => 128 + signal,
            _ => 1,
        }
    }))
}

/// Until the process has ended and what it wrote to its terminal is passed on.
fn watch(
    pidfd: BorrowedFd<'_>,
    console: Option<OwnedFd>,
    mut ready: Option<(Ready, i32)>,
    mut jail: bool,
) -> Result<()> {
    let master = console.map(|socket| receive(socket.as_fd())).transpose()?;
    let _raw = master.as_ref().map(|_| Raw::set());
    let signals = calls::signalfd(!0).during(|| "cannot watch for signals".into())?;
    let mut relay = master.map(Relay::new).transpose()?;
    let mut ended = false;
    loop {
        // Arrays, not vectors: this loop may turn for years and nothing is ever freed.
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
            match (signal, &relay) {
                (SIGCHLD | SIGURG, _) => {}
                (SIGWINCH, Some(relay)) => copy_size(relay.master.as_fd()),
                // Only a reader who does not read keeps us, and somebody has lost patience.
                (SIGHUP | SIGINT | SIGQUIT | SIGTERM, _) if ended => return Ok(()),
                _ => drop(calls::pidfd_send_signal(pidfd, signal)),
            }
        }
        if news {
            ready = ready.filter(|(ready, pid)| !ready.hear(*pid));
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

/// The two directions between the caller's terminal and the container's. A side that does not take what is
/// there for it holds up nothing but that direction.
struct Relay {
    master: OwnedFd,
    /// Read from stdin and not yet taken by the container.
    input: Vec<u8>,
    /// Read from the container and not yet taken by stdout.
    output: Vec<u8>,
    input_open: bool,
    output_open: bool,
}

const CHUNK: usize = 16 * 1024;
/// A pipe that can be written to takes as much at once (PIPE_BUF), so that a write of it does not block.
const PIECE: usize = 4096;

impl Relay {
    fn new(master: OwnedFd) -> Result<Self> {
        copy_size(master.as_fd());
        // A container that does not read must not stop us from taking what it writes.
        rustix::io::ioctl_fionbio(&master, true).during(|| "cannot prepare the terminal".into())?;
        Ok(Self {
            master,
            input: Vec::with_capacity(CHUNK),
            output: Vec::with_capacity(CHUNK),
            input_open: true,
            output_open: true,
        })
    }

    /// What to wait for, on the master, stdin and stdout. One that is closed is not looked at again: it would
    /// be ready for ever.
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

    /// Moves what can be moved, where each of the three is ready.
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
            // Nobody has the other side open.
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

    /// Whether there is something for stdout, looking for more of it when there is not.
    fn has_output(&mut self) -> bool {
        if self.output.is_empty() && self.output_open {
            match rustix::io::read(&self.master, spare_capacity(&mut self.output)) {
                Ok(n) if n > 0 => {}
                Err(Errno::INTR | Errno::AGAIN) => {}
                // EIO: nobody has the other side open.
                _ => self.output_open = false,
            }
        }
        !self.output.is_empty()
    }
}
