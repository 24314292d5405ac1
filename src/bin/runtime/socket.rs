//! Unix sockets by path, however long the path is: the engine's console and pidfd sockets, a seccomp agent, a D-Bus
//! bus, a service manager, and the socket that `start` connects to.

use alloc::format;
use core::mem::MaybeUninit;
use runtime::error::{During, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::IoSlice;
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
    rustix::net::connect(&socket, &address).during(what)?;
    Ok(socket)
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
