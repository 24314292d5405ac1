//! Readiness of a service in a container (sd_notify(3)). The container gets our socket at /run/notify. Of all
//! messages on it only READY=1 is passed on to the service manager, with the pid to watch.

use crate::socket::{be_patient, in_directory, late};
use crate::{log, signal};
use alloc::format;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use runtime::error::{During, Error, Reason, Result};
use runtime::plan::notify_socket::DIRECTORY;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode};
use rustix::io::{Errno, IoSlice};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::pipe::PipeFlags;
use syscalls::calls;

/// The socket in the container's state directory.
pub const SOCKET: &CStr = c"notify/notify.sock";

/// Creates the directory for the socket.
pub fn prepare(directory: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot prepare the directory of the notify socket".into();
    let mode = Mode::from_raw_mode(0o755);
    rustix::fs::mkdirat(directory, DIRECTORY, mode).during(what)?;
    // Set explicitly, because of the umask.
    rustix::fs::chmodat(directory, DIRECTORY, mode, AtFlags::empty()).during(what)
}

/// The socket for the container, and the connection to the service manager.
pub struct NotifySocket {
    container: OwnedFd,
    manager: OwnedFd,
}

impl NotifySocket {
    /// Binds the socket in the directory that `create` has prepared. Returns `None` without that directory, or if the
    /// manager does not listen, which is not the container's fault.
    pub fn listen(directory: BorrowedFd<'_>, manager: &str) -> Result<Option<Self>> {
        let Some(manager) = connect(manager) else {
            return Ok(None);
        };
        let what = || "cannot make the notify socket".into();
        let container = datagrams(SocketFlags::NONBLOCK).during(what)?;
        let name = SOCKET.to_str().unwrap_or_default();
        match rustix::net::bind(&container, &in_directory(directory, name).during(what)?) {
            Err(Errno::NOENT) => return Ok(None),
            bound => bound.during(what)?,
        }
        let everybody = Mode::from_raw_mode(0o777);
        rustix::fs::chmodat(directory, SOCKET, everybody, AtFlags::empty()).during(what)?;
        Ok(Some(Self { container, manager }))
    }

    /// The descriptor to poll.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }

    /// Reads pending messages. Returns true if one said that the service is ready, after passing this on.
    pub fn pass_on(&self, pid: i32) -> bool {
        // Drains the socket, since the process may already have exited, but caps the number of messages.
        const MESSAGES: u32 = 1000;
        for _ in 0..MESSAGES {
            let mut message = [0u8; 4096];
            let Ok(n) = rustix::io::read(&self.container, &mut message[..]) else {
                return false;
            };
            let mut lines = message[..n].split(|byte| *byte == b'\n');
            if lines.any(|line| line == b"READY=1") {
                let news = format!("READY=1\nMAINPID={pid}\n");
                if let Err(errno) = rustix::io::write(&self.manager, news.as_bytes()) {
                    let reason = Reason(late(errno));
                    log::warn(&format!(
                        "cannot tell the service manager READY=1: {reason}"
                    ));
                }
                return true;
            }
        }
        false
    }

    /// Waits until the service is ready or the process exits. The manager has then been told which process to watch,
    /// so the runtime may exit. A signal that asks us to stop ends the wait and leaves the container running.
    pub fn wait(self, pidfd: BorrowedFd<'_>, pid: i32) -> Result<()> {
        let stop = signal::hold()?;
        let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        loop {
            let mut fds = [watch(self.fd()), watch(stop.as_fd()), watch(pidfd)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
                .during(|| "cannot wait for the service to be ready".into())?;
            if self.pass_on(pid) {
                let _ = self.barrier(stop.as_fd());
                return Ok(());
            }
            if let Some(number) = calls::next_signal(stop.as_fd()) {
                let what = "waiting for the service to be ready was";
                return Err(Error::interrupted(what, number));
            }
            if !fds[2].revents().is_empty() {
                return Ok(());
            }
        }
    }

    /// The manager closes what it gets with BARRIER=1 when it has dealt with all that came before (sd_notify_barrier(3)).
    fn barrier(&self, stop: BorrowedFd<'_>) -> rustix::io::Result<()> {
        const PATIENCE: Timespec = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let fds = [writer.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let message = [IoSlice::new(b"BARRIER=1")];
        rustix::net::sendmsg(&self.manager, &message, &mut control, SendFlags::NOSIGNAL)?;
        drop(writer);
        let mut fds = [reader.as_fd(), stop].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        rustix::event::poll(&mut fds, Some(&PATIENCE)).map(drop)
    }
}

fn datagrams(flags: SocketFlags) -> rustix::io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::DGRAM);
    rustix::net::socket_with(family, kind, flags | SocketFlags::CLOEXEC, None)
}

/// Connects to a path, or to an abstract name that begins with `@`.
fn connect(manager: &str) -> Option<OwnedFd> {
    let address = match manager.strip_prefix('@') {
        Some(name) => SocketAddrUnix::new_abstract_name(name.as_bytes()),
        None => SocketAddrUnix::new(manager),
    };
    let socket = datagrams(SocketFlags::empty()).ok()?;
    be_patient(&socket).ok()?;
    rustix::net::connect(&socket, &address.ok()?).ok()?;
    Some(socket)
}
