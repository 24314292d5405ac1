//! A netlink socket, which reads and changes the interfaces, addresses and routes of one network namespace.
//! Source: netlink(7).

use alloc::vec::Vec;
use runtime::error::{During, Result};
use runtime::netlink::{Answer, Refusal, Request};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use syscalls::calls;

/// More than the kernel puts into one datagram of a list.
const DATAGRAM_MAX: usize = 1 << 16;
/// How often a list is read again that changed meanwhile.
const ATTEMPTS: u32 = 20;

pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// A socket of this process's network namespace.
    pub fn open() -> Result<Self> {
        use linux_raw_sys::netlink::{NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK};
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        // No protocol is NETLINK_ROUTE.
        let open = || {
            let fd = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
            calls::set_netlink_option(fd.as_fd(), NETLINK_EXT_ACK)?;
            // The kernel returns only the addresses and routes of the given interface.
            calls::set_netlink_option(fd.as_fd(), NETLINK_GET_STRICT_CHK)?;
            Ok(fd)
        };
        Ok(Self {
            fd: open().during(|| "cannot open a netlink socket".into())?,
            sequence: 0,
        })
    }

    /// A socket of another network namespace. `home` is the namespace of this process.
    pub fn open_in(namespace: &OwnedFd, home: &OwnedFd) -> Result<Self> {
        let enter = |namespace: &OwnedFd| {
            move_into_thread_name_spaces(namespace.as_fd(), ThreadNameSpaceType::NETWORK)
        };
        enter(namespace)
            .during(|| "cannot enter the network namespace of the container (setns)".into())?;
        let socket = Self::open();
        enter(home)
            .during(|| "cannot leave the network namespace of the container (setns)".into())?;
        socket
    }

    /// Makes a change.
    pub fn change(&mut self, request: &Request) -> Result<(), Refusal> {
        self.ask(request).map(drop)
    }

    /// Asks for objects, again if a list changes meanwhile.
    pub fn list<T>(
        &mut self,
        request: &Request,
        parse: fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, Refusal> {
        for _ in 0..ATTEMPTS {
            let answer = self.ask(request)?;
            if !answer.interrupted {
                return Ok(answer.decode(parse)?);
            }
        }
        Err(Errno::AGAIN.into())
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, Refusal> {
        self.sequence += 1;
        let bytes = request.encode(self.sequence).ok_or(Errno::MSGSIZE)?;
        retry_on_intr(|| rustix::net::send(&self.fd, &bytes, SendFlags::empty()))?;
        let mut answer = Answer::new(self.sequence);
        let mut buffer = alloc::vec![0; DATAGRAM_MAX];
        loop {
            // The kernel answers while it takes the request, so there is nothing to wait for.
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let (_, length) =
                retry_on_intr(|| rustix::net::recv(&self.fd, &mut buffer[..], flags))?;
            let datagram = buffer.get(..length).ok_or(Errno::MSGSIZE)?;
            if let Some(end) = answer.read(datagram)? {
                return end.map(|()| answer);
            }
        }
    }
}
