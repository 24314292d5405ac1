//! The terminal on our side: the engine's console socket, and for a foreground `run` the relay between the
//! caller's terminal and the container's, with the supervision of the process.

use crate::error::{During, Result, fail};
use crate::launch::reap;
use crate::{files, jail};
use alloc::format;
use alloc::vec::Vec;
use core::mem::MaybeUninit;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, IoSliceMut};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::termios::{OptionalActions, OutputModes, Termios};
use syscalls::calls;

/// Connects to a socket of an engine, however long its path is; `name` says which, in errors.
pub fn connect(path: &str, name: &str) -> Result<OwnedFd> {
    use rustix::fd::AsRawFd;
    let what = || format!("{name}: cannot connect to {path}");
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let dir = if dir.is_empty() { "/" } else { dir };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, dir, flags, Mode::empty()).during(what)?;
    let address =
        SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd())).during(what)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .during(what)?;
    rustix::net::connect(&socket, &address).during(what)?;
    Ok(socket)
}

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

/// Rows and columns of the caller's terminal, if it has one.
pub fn size() -> Option<(u16, u16)> {
    rustix::termios::tcgetwinsize(calls::stdin())
        .ok()
        .map(|size| (size.ws_row, size.ws_col))
}

/// The window takes the size of the caller's.
fn copy_size(master: BorrowedFd<'_>) {
    if let Ok(size) = rustix::termios::tcgetwinsize(calls::stdin()) {
        let _ = rustix::termios::tcsetwinsize(master, size);
    }
}

const SIGCHLD: i32 = 17;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;

/// A process that ends within this time is not worth a jail, which costs a tenth of its start.
const BRIEF: rustix::event::Timespec = rustix::event::Timespec {
    tv_sec: 0,
    tv_nsec: 5_000_000,
};

/// Waits for the process in the foreground: relays its terminal, when `console` brings one, and every
/// signal we get. Returns its exit status as a shell has it. Signals must be blocked. With `jail` the
/// process gives up what it will not need, for good.
pub fn supervise(pidfd: BorrowedFd<'_>, console: Option<OwnedFd>, mut jail: bool) -> Result<i32> {
    let master = console.map(|socket| receive(socket.as_fd())).transpose()?;
    let raw = master.as_ref().map(|_| Raw::set());
    let signals = calls::signalfd().during(|| "cannot watch for signals".into())?;
    let mut relay = master.map(Relay::new).transpose()?;
    loop {
        // Arrays, not vectors: this loop may turn for years and nothing is ever freed.
        let watch = |fd, flags| PollFd::from_borrowed_fd(fd, flags);
        let [master, stdin] = relay.as_ref().map_or([None, None], Relay::wants);
        let unused = || watch(pidfd, PollFlags::empty());
        let mut fds = [
            watch(pidfd, PollFlags::IN),
            watch(signals.as_fd(), PollFlags::IN),
            master.map_or_else(unused, |(fd, flags)| watch(fd, flags)),
            stdin.map_or_else(unused, |(fd, flags)| watch(fd, flags)),
        ];
        match rustix::event::poll(&mut fds, jail.then_some(&BRIEF)) {
            Ok(0) => {
                jail::enter()?;
                jail = false;
                continue;
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => fail!(
                "cannot wait for the container: {}",
                crate::error::Reason(errno)
            ),
        }
        let ended = !fds[0].revents().is_empty();
        let happened = [
            master.is_some() && !fds[2].revents().is_empty(),
            stdin.is_some() && !fds[3].revents().is_empty(),
        ];
        while let Some(signal) = calls::next_signal(signals.as_fd()) {
            match (signal, &relay) {
                (SIGCHLD | SIGURG, _) => {}
                (SIGWINCH, Some(relay)) => copy_size(relay.master.as_fd()),
                _ => drop(calls::pidfd_send_signal(pidfd, signal)),
            }
        }
        if let Some(relay) = &mut relay {
            relay.move_bytes(happened);
        }
        if ended {
            break;
        }
    }
    if let Some(relay) = &mut relay {
        relay.drain();
    }
    drop(raw);
    let status = reap(pidfd);
    Ok(status.map_or(1, |status| {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => code,
            (_, Some(signal)) => 128 + signal,
            _ => 1,
        }
    }))
}

/// The two directions between the caller's terminal and the container's.
struct Relay {
    master: OwnedFd,
    /// Read from stdin and not yet taken by the container.
    input: Vec<u8>,
    input_open: bool,
    output_open: bool,
}

const CHUNK: usize = 16 * 1024;

impl Relay {
    fn new(master: OwnedFd) -> Result<Self> {
        copy_size(master.as_fd());
        // A container that does not read must not stop us from taking what it writes.
        rustix::io::ioctl_fionbio(&master, true).during(|| "cannot prepare the terminal".into())?;
        Ok(Self {
            master,
            input: Vec::with_capacity(CHUNK),
            input_open: true,
            output_open: true,
        })
    }

    /// What to wait for, on the master and on stdin. One that is closed is not looked at again: it would
    /// be ready for ever.
    fn wants(&self) -> [Option<(BorrowedFd<'_>, PollFlags)>; 2] {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, self.output_open);
        flags.set(PollFlags::OUT, self.output_open && !self.input.is_empty());
        let stdin = self.input_open && self.output_open && self.input.is_empty();
        [
            (!flags.is_empty()).then(|| (self.master.as_fd(), flags)),
            stdin.then(|| (calls::stdin(), PollFlags::IN)),
        ]
    }

    fn move_bytes(&mut self, happened: [bool; 2]) {
        if happened[0] {
            self.give_input();
            self.output_open &= self.take_output();
        }
        if happened[1] {
            let mut chunk = [0u8; CHUNK];
            match rustix::io::read(calls::stdin(), &mut chunk[..]) {
                Ok(0) => self.input_open = false,
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.input_open = false,
            }
            self.give_input();
        }
    }

    fn give_input(&mut self) {
        if let Ok(n) = rustix::io::write(&self.master, &self.input) {
            self.input.drain(..n);
        }
    }

    /// Moves one chunk to stdout; false when there will be no more.
    fn take_output(&self) -> bool {
        let mut chunk = [0u8; CHUNK];
        match rustix::io::read(&self.master, &mut chunk[..]) {
            Ok(0) => false,
            // A caller who has closed stdout still gets the exit status.
            Ok(n) => {
                let _ = files::write_all(calls::stdout(), &chunk[..n]);
                true
            }
            Err(Errno::INTR | Errno::AGAIN) => true,
            // EIO: nobody has the other side open.
            Err(_) => false,
        }
    }

    /// What was written before the end.
    fn drain(&mut self) {
        let _ = rustix::io::ioctl_fionbio(&self.master, true);
        loop {
            let mut chunk = [0u8; CHUNK];
            match rustix::io::read(&self.master, &mut chunk[..]) {
                Ok(n) if n > 0 => drop(files::write_all(calls::stdout(), &chunk[..n])),
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}
