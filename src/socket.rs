//! Unix sockets of others by their paths, however long those are: the engine's console socket, a seccomp agent, a bus, a
//! service manager, and the socket that `start` connects to.

use crate::error::{During, Result};
use alloc::format;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connects to the stream socket at `path`; `name` says which, in errors.
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

/// The address of a socket in a directory, short however long the directory's path is.
pub fn in_directory(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<SocketAddrUnix> {
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}
