//! Encodes and decodes rtnetlink messages: links, addresses and routes. Every length that comes in is checked.
//! Source: netlink(7), rtnetlink(7), linux/netlink.h.

mod objects;
#[cfg(test)]
mod tests;

use crate::error::Reason;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use linux_raw_sys::netlink::{
    NLM_F_ACK, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST,
    NLMSG_DONE, NLMSG_ERROR, nlmsgerr_attrs,
};
use rustix::io::Errno;

pub use objects::{Address, FAMILIES, Link, Route};

/// The size of a message's header (struct nlmsghdr) and of an attribute's (struct nlattr).
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// The flags in the type of an attribute (NLA_F_NESTED, NLA_F_NET_BYTEORDER).
const ATTRIBUTE_FLAGS: u16 = 0xc000;

/// A message to the kernel.
pub struct Request {
    bytes: Vec<u8>,
    /// An attribute was longer than its 16-bit length can say.
    too_long: bool,
}

impl Request {
    /// A change. `header` is the structure of the message's type, such as struct ifinfomsg.
    pub fn change(kind: u32, flags: u32, header: &[u8]) -> Self {
        Self::new(kind, flags | NLM_F_ACK, header)
    }

    /// A question with one answer.
    pub fn get(kind: u32, header: &[u8]) -> Self {
        Self::new(kind, NLM_F_ACK, header)
    }

    /// A question with a list as its answer.
    pub fn dump(kind: u32, header: &[u8]) -> Self {
        Self::new(kind, NLM_F_DUMP, header)
    }

    fn new(kind: u32, flags: u32, header: &[u8]) -> Self {
        let mut bytes = Vec::from([0; 4]);
        bytes.extend((kind as u16).to_ne_bytes());
        bytes.extend(((flags | NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(header);
        let mut request = Self {
            bytes,
            too_long: false,
        };
        request.align();
        request
    }

    fn align(&mut self) {
        self.bytes.resize(aligned(self.bytes.len()), 0);
    }

    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(length) = u16::try_from(value.len() + ATTRIBUTE) else {
            self.too_long = true;
            return self;
        };
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.align();
        self
    }

    pub fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// A string with a zero byte at its end.
    pub fn text(self, kind: u16, text: &str) -> Self {
        self.attribute(kind, &[text.as_bytes(), &[0]].concat())
    }

    /// The bytes of the message. `None` if it is too long for its format.
    pub fn encode(&self, sequence: u32) -> Option<Vec<u8>> {
        let mut bytes = self.bytes.clone();
        let length = u32::try_from(bytes.len()).ok()?;
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        (!self.too_long).then_some(bytes)
    }
}

/// The refusal of a request: the kernel's reason, and its explanation if it gives one (NLMSGERR_ATTR_MSG).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub errno: Errno,
    pub text: String,
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        let text = String::new();
        Self { errno, text }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Reason(self.errno).fmt(f)?;
        match self.text.is_empty() {
            true => Ok(()),
            false => write!(f, " ({})", self.text),
        }
    }
}

/// The answer to one request, as far as it has come in.
#[derive(Debug)]
pub struct Answer {
    sequence: u32,
    /// The payloads of the messages, one for each object.
    pub objects: Vec<Vec<u8>>,
    /// The list changed while it was read (NLM_F_DUMP_INTR).
    pub interrupted: bool,
}

/// The end of an answer.
pub type End = Result<(), Refusal>;

impl Answer {
    /// The answer to the request with this sequence number.
    pub fn new(sequence: u32) -> Self {
        Self {
            sequence,
            objects: Vec::new(),
            interrupted: false,
        }
    }

    /// Reads one datagram. Returns the end of the answer if the datagram has it. A malformed message is
    /// EBADMSG.
    pub fn read(&mut self, datagram: &[u8]) -> Result<Option<End>, Errno> {
        let messages = messages(datagram).ok_or(Errno::BADMSG)?;
        for message in messages.iter().filter(|m| m.sequence == self.sequence) {
            self.interrupted |= message.has(NLM_F_DUMP_INTR);
            match u32::from(message.kind) {
                NLMSG_ERROR | NLMSG_DONE => {
                    return message.end().map(Some).ok_or(Errno::BADMSG);
                }
                _ => self.objects.push(message.payload.to_owned()),
            }
        }
        Ok(None)
    }

    /// The objects, decoded. A malformed one is EBADMSG.
    pub fn decode<T>(&self, parse: fn(&[u8]) -> Option<T>) -> Result<Vec<T>, Errno> {
        let mut objects = Vec::new();
        for payload in &self.objects {
            objects.push(parse(payload).ok_or(Errno::BADMSG)?);
        }
        Ok(objects)
    }
}

/// A message from the kernel.
struct Message<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

impl Message<'_> {
    fn has(&self, flag: u32) -> bool {
        u32::from(self.flags) & flag != 0
    }

    /// The outcome that this last message of an answer tells. `None` if it is malformed.
    fn end(&self) -> Option<End> {
        let errno = i32::from_ne_bytes(array(self.payload, 0)?);
        if errno == 0 {
            return Some(Ok(()));
        }
        // The kernel's highest errno is 4095.
        let errno = errno.checked_neg().filter(|n| (1..4096).contains(n))?;
        // NLMSG_ERROR repeats the request: its header, and all of it unless the message is capped.
        let repeated = match u32::from(self.kind) {
            NLMSG_DONE => 0,
            _ if self.has(NLM_F_CAPPED) => HEADER,
            _ => aligned(usize::try_from(number(self.payload, 4)?).ok()?),
        };
        let mut text = "";
        if self.has(NLM_F_ACK_TLVS) {
            let kind = nlmsgerr_attrs::NLMSGERR_ATTR_MSG as u16;
            let rest = self.payload.get(repeated.checked_add(4)?..)?;
            let found = attributes(rest)?.into_iter().find(|a| a.0 == kind);
            text = found.map_or(Some(""), |(_, value)| string(value))?;
        }
        Some(Err(Refusal {
            errno: Errno::from_raw_os_error(errno),
            text: text.to_owned(),
        }))
    }
}

const fn aligned(length: usize) -> usize {
    length.saturating_add(3) & !3
}

/// The bytes at an offset. `None` if there are too few.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_ne_bytes)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_ne_bytes)
}

/// A string, with or without a zero byte at its end.
fn string(value: &[u8]) -> Option<&str> {
    let text = value.split(|byte| *byte == 0).next()?;
    core::str::from_utf8(text).ok()
}

/// The messages of a datagram. `None` if a length is wrong.
fn messages(mut datagram: &[u8]) -> Option<Vec<Message<'_>>> {
    let mut found = Vec::new();
    while !datagram.is_empty() {
        let length = usize::try_from(number(datagram, 0)?).ok()?;
        found.push(Message {
            kind: half(datagram, 4)?,
            flags: half(datagram, 6)?,
            sequence: number(datagram, 8)?,
            payload: datagram.get(HEADER..length)?,
        });
        datagram = datagram.get(aligned(length)..).unwrap_or_default();
    }
    Some(found)
}

/// The attributes in `bytes`: type and value. `None` if a length is wrong.
fn attributes(mut bytes: &[u8]) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = usize::from(half(bytes, 0)?);
        let kind = half(bytes, 2)? & !ATTRIBUTE_FLAGS;
        found.push((kind, bytes.get(ATTRIBUTE..length)?));
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    Some(found)
}
