//! Unix sockets by path, however long the path is: the engine's console and pidfd sockets, a seccomp agent, a D-Bus
//! bus, a service manager, and the socket that `start` connects to.

use alloc::format;
use core::mem::MaybeUninit;
use core::time::Duration;
use runtime::error::{During, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, IoSlice};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};

/// Connects to the stream socket at `path`. `name` identifies it in errors.
pub fn connect(path: &str, name: &str) -> Result<OwnedFd> {
    let what = || format!("{name}: cannot connect to {path}");
    let (dir, name) = path.rsplit_once('/').unwrap_or((".", path));
    let dir = if dir.is_empty() { "/" } else { dir };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, dir, flags, Mode::empty()).during(what)?;
    let address = in_directory(dir.as_fd(), name).during(what)?;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .during(what)?;
    be_patient(&socket).during(what)?;
    rustix::net::connect(&socket, &address)
        .map_err(late)
        .during(what)?;
    Ok(socket)
}

/// Bounds how long a peer may keep us waiting, for a place in its queue or for room in its buffer: we may have every signal
/// blocked by then.
pub fn be_patient(socket: &OwnedFd) -> rustix::io::Result<()> {
    const PATIENCE: Duration = Duration::from_secs(10);
    set_socket_timeout(socket, Timeout::Send, Some(PATIENCE))
}

/// Names what the kernel reports of a peer that took longer than that (SO_SNDTIMEO, socket(7)).
pub fn late(errno: Errno) -> Errno {
    match errno {
        Errno::AGAIN => Errno::TIMEDOUT,
        errno => errno,
    }
}

/// A socket of the kind that `start` and the waiting process talk over.
pub fn of_start() -> rustix::io::Result<OwnedFd> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// Sends a descriptor with `data`, which must not be empty. Returns the number of bytes sent.
pub fn send(socket: &OwnedFd, fd: BorrowedFd<'_>, data: &[u8]) -> rustix::io::Result<usize> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(
        socket,
        &[IoSlice::new(data)],
        &mut control,
        SendFlags::NOSIGNAL,
    )
    .map_err(late)
}

/// The socket that receives the pidfd of a process: `--pidfd-socket`.
pub struct PidfdSocket<'a> {
    path: &'a str,
    socket: OwnedFd,
}

impl<'a> PidfdSocket<'a> {
    pub fn connect(path: &'a str) -> Result<Self> {
        let socket = connect(path, "--pidfd-socket")?;
        Ok(Self { path, socket })
    }

    pub fn tell(&self, pidfd: BorrowedFd<'_>) -> Result<()> {
        send(&self.socket, pidfd, b"pidfd")
            .map(drop)
            .during(|| format!("--pidfd-socket: cannot send to {}", self.path))
    }
}

/// The address of a socket in a directory. It is short, however long the directory's path is.
pub fn in_directory(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}
