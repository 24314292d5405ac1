//! Makes the terminal in the container's own devpts. The slave is opened through the master, never by name. The
//! master is sent over a socket.

use super::mounts::copy;
use super::paths::{self, Make, openat2, parent};
use super::{Child, Walked};
use crate::report::{At, Call, Fault};
use crate::step::Console;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use linux_raw_sys::general::DEVPTS_SUPER_MAGIC;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::{Errno, IoSlice};
use rustix::mount::MoveMountFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::pty::OpenptFlags;
use rustix::termios::{OptionalActions, OutputModes, Winsize};

impl Child<'_> {
    pub fn console(&self, console: &Console<'_>) -> Walked {
        let master = self.open_master()?;
        rustix::pty::unlockpt(&master).at(Call::ioctl_tty)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).at(Call::ioctl_tty)?;
        if let Some((height, width)) = console.size {
            let size = Winsize {
                ws_row: height,
                ws_col: width,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            rustix::termios::tcsetwinsize(&slave, size).at(Call::ioctl_tty)?;
        }
        if console.relayed {
            let mut modes = rustix::termios::tcgetattr(&slave).at(Call::ioctl_tty)?;
            modes.output_modes.remove(OutputModes::ONLCR);
            rustix::termios::tcsetattr(&slave, OptionalActions::Now, &modes).at(Call::ioctl_tty)?;
        }
        // The user namespace may not map the user. The terminal works without the chown.
        let _ = rustix::fs::fchown(&slave, Some(Uid::from_raw(console.uid)), None);
        if console.bind {
            self.bind_console(slave.as_fd())?;
        }
        send_master(self.slot(console.socket)?, master.as_fd(), console.name)?;
        rustix::stdio::dup2_stdin(&slave).at(Call::dup3)?;
        rustix::stdio::dup2_stdout(&slave).at(Call::dup3)?;
        rustix::stdio::dup2_stderr(&slave).at(Call::dup3)?;
        rustix::process::ioctl_tiocsctty(&slave).at(Call::ioctl_tty)
    }

    /// Opens the ptmx of the container's devpts, and checks that it is one.
    fn open_master(&self) -> Walked<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let master =
            openat2(self.root()?, c"/dev/pts/ptmx", flags, resolve).map_err(|fault| Fault {
                call: Call::ptmx,
                ..fault
            })?;
        let magic = rustix::fs::fstatfs(&master).at(Call::fstatfs)?.f_type;
        if magic != DEVPTS_SUPER_MAGIC.into() {
            return Err(Errno::NOTTY).at(Call::not_a_terminal);
        }
        Ok(master)
    }

    fn bind_console(&self, slave: BorrowedFd<'_>) -> Walked {
        let (dir, name) = parent(self.root()?, c"/dev/console")?;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let target = match openat2(dir.as_fd(), name, OFlags::PATH, resolve) {
            Err(fault) if fault.errno == Errno::NOENT => {
                paths::reach(dir.as_fd(), name, Make::File)?;
                openat2(dir.as_fd(), name, OFlags::PATH, resolve)?
            }
            other => other?,
        };
        let bind = copy(slave, false)?;
        let flags =
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        rustix::mount::move_mount(&bind, c"", &target, c"", flags).at(Call::move_mount)
    }
}

/// Sends one message with the terminal's name and exactly one descriptor, as engines expect.
fn send_master(socket: BorrowedFd<'_>, master: BorrowedFd<'_>, name: &CStr) -> Walked {
    let fds = [master];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let payload = [IoSlice::new(name.to_bytes())];
    rustix::net::sendmsg(socket, &payload, &mut control, SendFlags::NOSIGNAL).at(Call::sendmsg)?;
    // The receiver sees the end of the stream now, not at our exec.
    rustix::net::shutdown(socket, rustix::net::Shutdown::Both).at(Call::sendmsg)
}

/// Gives stdio to the user of the process, as runc does. A failing chown is ignored. The null device keeps its
/// owner. The host's null device is replaced by the container's, if there is one: the host's lies on a mount
/// outside the container, and a process that holds it open cannot be checkpointed.
pub fn own_stdio(root: Option<BorrowedFd<'_>>, uid: u32) -> Walked {
    let mut own = None;
    for (n, fd) in [
        crate::calls::stdin(),
        crate::calls::stdout(),
        crate::calls::stderr(),
    ]
    .into_iter()
    .enumerate()
    {
        let stat = paths::stat(fd)?;
        if !is_null(&stat) {
            if stat.st_uid != uid {
                let _ = rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), None);
            }
            continue;
        }
        if own.is_none() {
            own = root.and_then(null_of);
        }
        let Some(own) = &own else { continue };
        match n {
            0 => rustix::stdio::dup2_stdin(own),
            1 => rustix::stdio::dup2_stdout(own),
            _ => rustix::stdio::dup2_stderr(own),
        }
        .at(Call::dup3)?;
    }
    Ok(())
}

fn is_null(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        ) == (1, 3)
}

/// The container's null device. The O_PATH descriptor is checked first, so that no other file in its place is
/// opened.
fn null_of(root: BorrowedFd<'_>) -> Option<OwnedFd> {
    let plain = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let path = c"dev/null";
    let seen = openat2(root, path, OFlags::PATH, plain).ok()?;
    if !is_null(&paths::stat(seen.as_fd()).ok()?) {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
    let own = openat2(root, path, flags, plain).ok()?;
    rustix::fs::fcntl_setfl(&own, OFlags::empty()).ok()?;
    is_null(&paths::stat(own.as_fd()).ok()?).then_some(own)
}
