//! The reports of the child to its parent: eight bytes, followed after a failure by the step in words. The
//! channel is a SOCK_SEQPACKET socket, so that one report is one message and end-of-file is the exec.

use core::fmt;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// The kind of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The step failed and the child exits. A second report with more detail may follow.
    Failed = 1,
    /// The child waits at a meeting point for one byte.
    Meet = 2,
    /// Only the last calls before execve remain. An end-of-file from here on is the exec.
    Ready = 3,
    /// From the middle process. `errno` holds the pid of the child.
    Born = 4,
    /// The seccomp listener will be descriptor number `errno`. The child waits after the load.
    Listener = 5,
}

/// One report. `step` counts from 0.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub kind: Kind,
    pub call: Call,
    pub step: u16,
    pub errno: i32,
}

macro_rules! calls {
    ($($name:ident)*) => {
        /// The system call, or the check, that failed.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        #[allow(non_camel_case_types, missing_docs)]
        pub enum Call { none, $($name),* }

        impl Call {
            const ALL: &[Call] = &[Call::none, $(Call::$name),*];

            /// The name in the manual.
            pub fn name(self) -> &'static str {
                match self { Call::none => "", $(Call::$name => stringify!($name)),* }
            }
        }
    };
}

calls! {
    accept4 capset carriage_return chdir chroot clone3 close_range dup3 execve fchdir fchownat fchown fsconfig fsmount
    fsopen fstatfs getdents64 interpreter ioctl ioctl_tty is_a_directory keyctl linkat mkdirat mknodat mount mount_setattr move_mount
    no_format no_permission noexec_mount not_a_directory not_a_null_device not_a_terminal not_in_path not_the_device not_the_same_kind open_tree other_machine openat2 personality pidfd_open pivot_root poll prctl prlimit ptmx read
    readlinkat recv sched_setattr seccomp send sendmsg setdomainname setgroups sethostname setns setresgid setresuid
    setsid shutdown signalfd4 ioprio_set set_mempolicy socket statx symlinkat too_long umount2 unshare write hook hook_timeout hook_status hook_signal hook_stopped
}

impl Call {
    /// Whether a hook failed, not a step.
    pub fn is_of_a_hook(self) -> bool {
        matches!(
            self,
            Call::hook | Call::hook_status | Call::hook_signal | Call::hook_timeout
        )
    }
}

/// A failed call and its errno.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub call: Call,
    pub errno: Errno,
}

/// Adds the call to an errno.
pub trait At<T> {
    fn at(self, call: Call) -> Result<T, Fault>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, call: Call) -> Result<T, Fault> {
        self.map_err(|errno| Fault { call, errno })
    }
}

impl Report {
    /// The longest message: a report and its text.
    pub const MAX: usize = 8 + 1016;

    /// Sends the report, followed by `text`.
    pub fn send(self, channel: BorrowedFd<'_>, text: &[u8]) -> rustix::io::Result<()> {
        let mut message = [0u8; Self::MAX];
        let len = self.encode(text, &mut message);
        rustix::net::send(channel, &message[..len], SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Encodes the report and `text`, truncated to fit, and returns the length.
    pub(crate) fn encode(self, text: &[u8], message: &mut [u8; Self::MAX]) -> usize {
        message[0] = self.kind as u8;
        message[1] = self.call as u8;
        message[2..4].copy_from_slice(&self.step.to_ne_bytes());
        message[4..8].copy_from_slice(&self.errno.to_ne_bytes());
        let n = text.len().min(Self::MAX - 8);
        message[8..8 + n].copy_from_slice(&text[..n]);
        8 + n
    }

    /// Receives the next report and its text. `None` means that the other end is closed.
    pub fn recv(channel: impl AsFd, text: &mut Text<1016>) -> rustix::io::Result<Option<Report>> {
        let mut message = [0u8; Self::MAX];
        let n = loop {
            match rustix::net::recv(channel.as_fd(), &mut message[..], RecvFlags::empty()) {
                Ok((n, _)) => break n,
                // If the peer closed with unread data of ours, recv(2) returns ECONNRESET once. The messages of
                // the peer come with the next calls.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(e) => return Err(e),
            }
        };
        Self::decode(&message[..n], text)
    }

    /// Decodes a message. `None` means that there is none.
    pub(crate) fn decode(
        message: &[u8],
        text: &mut Text<1016>,
    ) -> rustix::io::Result<Option<Report>> {
        if message.len() < 8 {
            return Ok(None);
        }
        let kind = match message[0] {
            1 => Kind::Failed,
            2 => Kind::Meet,
            3 => Kind::Ready,
            4 => Kind::Born,
            5 => Kind::Listener,
            _ => return Err(Errno::BADMSG),
        };
        text.clear();
        text.push(&message[8..]);
        Ok(Some(Report {
            kind,
            call: Call::ALL
                .get(usize::from(message[1]))
                .copied()
                .unwrap_or(Call::none),
            step: u16::from_ne_bytes([message[2], message[3]]),
            errno: i32::from_ne_bytes([message[4], message[5], message[6], message[7]]),
        }))
    }
}

/// Text in a buffer of fixed size. Longer text is truncated.
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn push(&mut self, more: &[u8]) {
        let n = more.len().min(N - self.len);
        self.bytes[self.len..self.len + n].copy_from_slice(&more[..n]);
        self.len += n;
    }

    /// The text up to the first byte that is not UTF-8.
    pub fn as_str(&self) -> &str {
        match core::str::from_utf8(self.bytes()) {
            Ok(s) => s,
            Err(e) => core::str::from_utf8(&self.bytes()[..e.valid_up_to()]).unwrap_or(""),
        }
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Write for Text<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.push(s.as_bytes());
        Ok(())
    }
}
