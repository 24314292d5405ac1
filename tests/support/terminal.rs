//! A pseudoterminal whose master the test holds, and the socket on which an engine receives a container's console.
//! Both wait with a time limit, so that a silent terminal is a failure and not a hang.

use crate::harness::patience;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

pub struct Terminal {
    pub master: File,
    pub text: String,
}

/// Whether `fd` becomes readable in time. Each byte that arrives starts the wait anew.
fn readable(fd: BorrowedFd<'_>) -> bool {
    let timeout = Timespec {
        tv_sec: patience().as_secs() as i64,
        tv_nsec: 0,
    };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).is_ok_and(|n| n > 0)
}

impl Terminal {
    /// Opens a new pty: the terminal and its slave end.
    pub fn open() -> (Terminal, File) {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(name)
            .unwrap();
        (
            Terminal {
                master: master.into(),
                text: String::new(),
            },
            slave,
        )
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        tcsetwinsize(
            &self.master,
            Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )
        .unwrap();
    }

    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Reads once. Returns false at the end, which the master of a pty reports as EIO.
    #[track_caller]
    fn more(&mut self) -> bool {
        assert!(
            readable(self.master.as_fd()),
            "the terminal stayed silent for {:?} after {:?}",
            patience(),
            self.text
        );
        let mut buffer = [0; 65536];
        match self.master.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.text.push_str(&String::from_utf8_lossy(&buffer[..n]));
                true
            }
        }
    }

    /// Reads until `text` has arrived.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        while !self.text.contains(text) {
            assert!(
                self.more(),
                "the terminal closed before printing {text:?}: {:?}",
                self.text
            );
        }
    }

    /// Reads until no process has the slave open.
    #[track_caller]
    pub fn read_all(&mut self) -> String {
        while self.more() {}
        self.text.clone()
    }
}

/// The socket that an engine binds before it calls `create --console-socket`.
pub struct ConsoleSocket {
    listener: UnixListener,
    pub path: PathBuf,
}

impl ConsoleSocket {
    pub fn bind(path: &Path) -> ConsoleSocket {
        let _ = std::fs::remove_file(path);
        ConsoleSocket {
            listener: UnixListener::bind(path).unwrap(),
            path: path.to_owned(),
        }
    }

    /// Returns the payload and every file descriptor of the one message, and whether the sender then closed.
    #[track_caller]
    pub fn receive(&self) -> (Vec<u8>, Vec<OwnedFd>, bool) {
        assert!(
            readable(self.listener.as_fd()),
            "no connection to the console socket"
        );
        let (mut stream, _) = self.listener.accept().unwrap();
        assert!(readable(stream.as_fd()), "no message on the console socket");
        let mut payload = [0; 8192];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(
            &stream,
            &mut [IoSliceMut::new(&mut payload)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .unwrap();
        let mut fds = Vec::new();
        for part in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(list) = part {
                fds.extend(list);
            }
        }
        let closed = readable(stream.as_fd()) && stream.read(&mut [0; 1]).is_ok_and(|n| n == 0);
        (payload[..message.bytes].to_vec(), fds, closed)
    }

    #[track_caller]
    pub fn terminal(&self) -> Terminal {
        let (_, mut fds, _) = self.receive();
        assert!(
            fds.len() == 1,
            "expected one file descriptor, found {}",
            fds.len()
        );
        Terminal {
            master: fds.remove(0).into(),
            text: String::new(),
        }
    }
}
