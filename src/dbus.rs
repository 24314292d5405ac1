//! D-Bus, as much of it as asking systemd takes: calls, their replies, and the signal that a job is done. A client of our own,
//! because no library for it works without std. Source: the D-Bus specification, Message Protocol and Authentication Protocol.

use crate::error::{During, Error, Result, fail};
use crate::files;
use crate::socket;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

/// How many seconds an answer may take.
const PATIENCE: i64 = 30;
/// More than systemd ever answers.
const MESSAGE_MAX: usize = 1 << 20;

/// A value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Byte(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Text(String),
    Texts(Vec<String>),
    Bytes(Vec<u8>),
    Numbers(Vec<u32>),
    /// `a(ss)`
    Pairs(Vec<(String, String)>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Byte(_) => "y",
            Value::I16(_) => "n",
            Value::U16(_) => "q",
            Value::I32(_) => "i",
            Value::U32(_) => "u",
            Value::I64(_) => "x",
            Value::U64(_) => "t",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Bytes(_) => "ay",
            Value::Numbers(_) => "au",
            Value::Pairs(_) => "a(ss)",
        }
    }
}

/// A part of a message being written: every value stands at a multiple of its size.
#[derive(Default)]
pub struct Body(Vec<u8>);

impl Body {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number<const N: usize>(&mut self, bytes: [u8; N]) {
        self.align(N);
        self.0.extend(bytes);
    }

    pub fn bool(&mut self, value: bool) {
        self.number(u32::from(value).to_le_bytes());
    }

    /// A string or an object path.
    pub fn text(&mut self, text: &str) {
        self.number((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array of elements that stand at multiples of `align`.
    pub fn array(&mut self, align: usize, elements: impl FnOnce(&mut Self)) {
        self.number([0; 4]);
        let length = self.0.len() - 4;
        self.align(align);
        let begin = self.0.len();
        elements(self);
        let size = (self.0.len() - begin) as u32;
        self.0[length..length + 4].copy_from_slice(&size.to_le_bytes());
    }

    /// `au`
    pub fn numbers(&mut self, numbers: &[u32]) {
        self.array(4, |body| {
            numbers.iter().for_each(|n| body.number(n.to_le_bytes()))
        });
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.bool(*value),
            Value::Byte(n) => self.0.push(*n),
            Value::I16(n) => self.number(n.to_le_bytes()),
            Value::U16(n) => self.number(n.to_le_bytes()),
            Value::I32(n) => self.number(n.to_le_bytes()),
            Value::U32(n) => self.number(n.to_le_bytes()),
            Value::I64(n) => self.number(n.to_le_bytes()),
            Value::U64(n) => self.number(n.to_le_bytes()),
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, |body| texts.iter().for_each(|t| body.text(t))),
            Value::Bytes(bytes) => self.array(1, |body| body.0.extend(bytes)),
            Value::Numbers(numbers) => self.numbers(numbers),
            Value::Pairs(pairs) => self.array(8, |body| {
                for (first, second) in pairs {
                    body.align(8);
                    body.text(first);
                    body.text(second);
                }
            }),
        }
    }

    /// `a(sv)`
    pub fn properties(&mut self, properties: &[(String, Value)]) {
        self.array(8, |body| {
            for (name, value) in properties {
                body.align(8);
                body.text(name);
                body.signature(value.signature());
                body.value(value);
            }
        });
    }

    /// An entry of the header's array.
    fn field(&mut self, code: u8, signature: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        self.align(8);
        self.0.push(code);
        self.signature(signature);
        match signature {
            "g" => self.signature(text),
            _ => self.text(text),
        }
    }
}

/// A message that came, or a part of one being read.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..self.at.checked_add(n)?)?;
        self.at += n;
        Some(part)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|part| part[0])
    }

    pub fn number(&mut self) -> Option<u32> {
        self.at = self.at.next_multiple_of(4);
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A string or an object path.
    pub fn text(&mut self) -> Option<&'a str> {
        let n = self.number()? as usize;
        let text = self.take(n)?;
        self.take(1)?;
        core::str::from_utf8(text).ok()
    }

    pub fn signature(&mut self) -> Option<&'a str> {
        let n = usize::from(self.byte()?);
        let text = self.take(n)?;
        self.take(1)?;
        core::str::from_utf8(text).ok()
    }
}

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// What came.
struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Vec<u8>,
}

/// Who is called.
pub struct Object {
    pub destination: &'static str,
    pub path: &'static str,
    pub interface: &'static str,
}

const BUS: Object = Object {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};

/// The error that a call was answered with: its name and what it says.
pub struct Refused {
    pub name: String,
    pub text: String,
}

/// A connection to a bus, or to systemd alone.
pub struct Bus {
    socket: OwnedFd,
    last_serial: u32,
    /// Signals that came while something else was waited for: member and body.
    signals: Vec<(String, Vec<u8>)>,
    deadline: i64,
}

fn now() -> i64 {
    clock_gettime(ClockId::Monotonic).tv_sec
}

impl Bus {
    /// Connects to the socket at this path and says who we are by the credentials of the socket, which hold in a user
    /// namespace too. `direct`: systemd is at the other end, and there is no bus to greet.
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
            if byte != *b"\n" {
                line.extend(byte);
                continue;
            }
            let expected: &[u8] = if lines == 0 { b"DATA" } else { b"OK " };
            if !line.starts_with(expected) {
                fail!(
                    "D-Bus: {path} refuses us: {:?}",
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

    /// Has signals of this interface sent to us.
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

    /// Calls a method and waits for what it answers.
    pub fn call(
        &mut self,
        object: &Object,
        member: &str,
        signature: &str,
        body: Body,
    ) -> Result<core::result::Result<Vec<u8>, Refused>> {
        self.last_serial += 1;
        let serial = self.last_serial;
        let mut message = Body(Vec::from([b'l', METHOD_CALL, 0, 1]));
        message.number((body.0.len() as u32).to_le_bytes());
        message.number(serial.to_le_bytes());
        message.array(8, |fields| {
            fields.field(1, "o", object.path);
            fields.field(2, "s", object.interface);
            fields.field(3, "s", member);
            fields.field(6, "s", object.destination);
            fields.field(8, "g", signature);
        });
        message.align(8);
        message.0.extend(body.0);
        self.send(&message.0)?;
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
                SIGNAL => self.signals.push((answer.member, answer.body)),
                _ => {}
            }
        }
    }

    /// Waits for the signal that `wanted` knows, also among those that came before.
    pub fn wait<T>(&mut self, mut wanted: impl FnMut(&str, Reader<'_>) -> Option<T>) -> Result<T> {
        loop {
            for (member, body) in core::mem::take(&mut self.signals) {
                if let Some(found) = wanted(&member, Reader::new(&body)) {
                    return Ok(found);
                }
            }
            let message = self.receive()?;
            if message.kind == SIGNAL {
                self.signals.push((message.member, message.body));
            }
        }
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        files::write_all(&self.socket, bytes).during(|| "D-Bus: cannot send".into())
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
                0 => fail!("D-Bus: the other end has closed the connection"),
                n => bytes = &mut bytes[n..],
            }
        }
        Ok(())
    }

    fn receive(&self) -> Result<Message> {
        // The header of fixed size, and the length of the array behind it.
        let mut head = [0; 16];
        self.receive_exactly(&mut head)?;
        let number =
            |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap_or_default());
        let fields = (number(12) as usize).next_multiple_of(8);
        let size = (number(4) as usize).saturating_add(fields);
        if head[0] != b'l' || size > MESSAGE_MAX {
            fail!("D-Bus: a message that cannot be read");
        }
        let mut rest = alloc::vec![0; size];
        self.receive_exactly(&mut rest)?;
        let body = rest.split_off(fields);
        let mut message = Message {
            kind: head[1],
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            body,
        };
        let mut reader = Reader {
            bytes: &rest[..number(12) as usize],
            at: 0,
        };
        while reader.at < reader.bytes.len() {
            let field = (|| {
                reader.at = reader.at.next_multiple_of(8);
                let code = reader.byte()?;
                let signature = reader.signature()?;
                match (code, signature) {
                    (3, "s") => message.member = reader.text()?.to_owned(),
                    (4, "s") => message.error = reader.text()?.to_owned(),
                    (5, "u") => message.reply_to = reader.number()?,
                    (_, "s" | "o") => drop(reader.text()?),
                    (_, "g") => drop(reader.signature()?),
                    (_, "u") => drop(reader.number()?),
                    _ => return None,
                }
                Some(())
            })();
            if field.is_none() {
                fail!("D-Bus: a message that cannot be read");
            }
        }
        Ok(message)
    }
}
