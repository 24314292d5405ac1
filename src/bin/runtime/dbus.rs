//! A connection to D-Bus: method calls, replies, and the signal that a job has finished. Source: the D-Bus
//! specification, Authentication Protocol.

use crate::files;
use crate::socket;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::dbus::{
    Body, ERROR, Head, METHOD_RETURN, Message, Object, Reader, SIGNAL, method_call,
};
use runtime::error::{During, Error, Result, fail};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

/// The timeout for a reply, in seconds.
const PATIENCE: i64 = 30;
/// How long a line of the authentication may be, and how many signals are kept.
const LINE_MAX: usize = 1000;
const SIGNALS_MAX: usize = 10_000;

const BUS: Object = Object {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// An error reply: its name and its text.
pub struct Refused {
    pub name: String,
    pub text: String,
}

/// A connection to a bus, or directly to systemd.
pub struct Bus {
    socket: OwnedFd,
    last_serial: u32,
    /// Signals that arrived while waiting for something else: member and body.
    signals: Vec<(String, Vec<u8>)>,
    deadline: i64,
}

fn now() -> i64 {
    clock_gettime(ClockId::Monotonic).tv_sec
}

impl Bus {
    /// Connects to the socket at this path. We authenticate by the socket's credentials, which also work in a user
    /// namespace. `direct`: systemd itself is the peer, so there is no bus to say Hello to.
    pub fn connect(path: &str, direct: bool) -> Result<Self> {
        let mut bus = Self {
            socket: socket::connect(path, "D-Bus")?,
            last_serial: 0,
            signals: Vec::new(),
            deadline: now() + PATIENCE,
        };
        bus.send(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")?;
        let (mut line, mut lines) = (Vec::new(), 0);
        while lines < 2 {
            let mut byte = [0];
            bus.receive_exactly(&mut byte)?;
            if byte != *b"\n" && line.len() < LINE_MAX {
                line.extend(byte);
                continue;
            }
            let expected: &[u8] = if lines == 0 { b"DATA" } else { b"OK " };
            if !line.starts_with(expected) {
                fail!(
                    "D-Bus: {path} rejects the authentication: {:?}",
                    String::from_utf8_lossy(&line)
                );
            }
            line.clear();
            lines += 1;
        }
        if !direct {
            let hello = bus.call(&BUS, "Hello", "", Body::default())?;
            hello.map_err(|refused| Error::new(format!("D-Bus: {}", refused.text)))?;
        }
        Ok(bus)
    }

    /// Subscribes to signals of this interface.
    pub fn listen(&mut self, to: &Object) -> Result<()> {
        let mut rule = Body::default();
        rule.text(&format!(
            "type='signal',sender='{}',interface='{}',path='{}'",
            to.destination, to.interface, to.path
        ));
        let added = self.call(&BUS, "AddMatch", "s", rule)?;
        added.map_err(|refused| Error::new(format!("D-Bus: {}", refused.text)))?;
        Ok(())
    }

    /// Calls a method and waits for its reply.
    pub fn call(
        &mut self,
        object: &Object,
        member: &str,
        signature: &str,
        body: Body,
    ) -> Result<core::result::Result<Vec<u8>, Refused>> {
        self.last_serial += 1;
        let serial = self.last_serial;
        self.send(&method_call(serial, object, member, signature, body))?;
        loop {
            let answer = self.receive()?;
            match answer.kind {
                METHOD_RETURN if answer.reply_to == serial => return Ok(Ok(answer.body)),
                ERROR if answer.reply_to == serial => {
                    let text = Reader::new(&answer.body).text().unwrap_or_default();
                    return Ok(Err(Refused {
                        text: text.to_owned(),
                        name: answer.error,
                    }));
                }
                SIGNAL => self.keep(answer)?,
                _ => {}
            }
        }
    }

    /// Waits for a signal that `wanted` recognises, including signals that arrived earlier.
    pub fn wait<T>(&mut self, mut wanted: impl FnMut(&str, Reader<'_>) -> Option<T>) -> Result<T> {
        loop {
            for (member, body) in core::mem::take(&mut self.signals) {
                if let Some(found) = wanted(&member, Reader::new(&body)) {
                    return Ok(found);
                }
            }
            let message = self.receive()?;
            if message.kind == SIGNAL {
                self.keep(message)?;
            }
        }
    }

    fn keep(&mut self, signal: Message) -> Result<()> {
        if self.signals.len() == SIGNALS_MAX {
            fail!("D-Bus: more than {SIGNALS_MAX} signals came and no answer");
        }
        self.signals.push((signal.member, signal.body));
        Ok(())
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        files::write_all(&self.socket, bytes)
            .map_err(socket::late)
            .during(|| "D-Bus: cannot send".into())
    }

    fn receive_exactly(&self, mut bytes: &mut [u8]) -> Result<()> {
        while !bytes.is_empty() {
            let left = Timespec {
                tv_sec: (self.deadline - now()).max(0),
                tv_nsec: 0,
            };
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&left)) {
                Ok(0) => fail!("D-Bus: systemd did not answer within {PATIENCE} s"),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::from_errno("D-Bus: cannot wait", errno)),
            }
            let n = rustix::io::retry_on_intr(|| rustix::io::read(&self.socket, &mut *bytes));
            match n.during(|| "D-Bus: cannot receive".into())? {
                0 => fail!("D-Bus: the peer closed the connection"),
                n => bytes = &mut bytes[n..],
            }
        }
        Ok(())
    }

    fn receive(&self) -> Result<Message> {
        let mut head = [0; 16];
        self.receive_exactly(&mut head)?;
        let message = Head::parse(&head).map(|head| {
            let mut rest = alloc::vec![0; head.rest()];
            self.receive_exactly(&mut rest)?;
            Ok(head.message(rest))
        });
        match message.transpose()?.flatten() {
            Some(message) => Ok(message),
            None => fail!("D-Bus: malformed message"),
        }
    }
}
