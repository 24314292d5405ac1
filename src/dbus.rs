//! Encodes and decodes D-Bus messages, as far as talking to systemd requires. This is our own code because no D-Bus
//! library works without std. Source: the D-Bus specification, Message Protocol.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

/// More than systemd ever sends.
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

/// A part of a message being written. Every value is aligned to its size.
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

    /// An array of elements aligned to `align`.
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

    /// An entry in the header's array of fields.
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

/// A received message, or a part of one, being read.
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
pub const METHOD_RETURN: u8 = 2;
pub const ERROR: u8 = 3;
pub const SIGNAL: u8 = 4;

/// A message that was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub reply_to: u32,
    pub member: String,
    pub error: String,
    pub body: Vec<u8>,
}

/// The destination of a call.
pub struct Object {
    pub destination: &'static str,
    pub path: &'static str,
    pub interface: &'static str,
}

/// Encodes a method call.
pub fn method_call(
    serial: u32,
    object: &Object,
    member: &str,
    signature: &str,
    body: Body,
) -> Vec<u8> {
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
    message.0
}

/// The first 16 bytes of a message: the header's fixed part, and the length of the array of fields that follows.
pub struct Head {
    kind: u8,
    /// The size of the array of fields in bytes, without and with its padding.
    fields: usize,
    padded: usize,
    body: usize,
}

impl Head {
    /// Returns `None` if the message is not little-endian, or larger than anything systemd sends.
    pub fn parse(head: &[u8; 16]) -> Option<Self> {
        let number = |at: usize| {
            u32::from_le_bytes(head[at..at + 4].try_into().unwrap_or_default()) as usize
        };
        let (body, fields) = (number(4), number(12));
        let padded = fields.checked_next_multiple_of(8)?;
        let size = body.checked_add(padded)?;
        (head[0] == b'l' && size <= MESSAGE_MAX).then_some(Self {
            kind: head[1],
            fields,
            padded,
            body,
        })
    }

    /// The number of bytes that follow.
    pub fn rest(&self) -> usize {
        self.padded + self.body
    }

    /// Decodes the message from the bytes that follow. Returns `None` if they are malformed.
    pub fn message(&self, mut rest: Vec<u8>) -> Option<Message> {
        if rest.len() != self.rest() {
            return None;
        }
        let body = rest.split_off(self.padded);
        let mut message = Message {
            kind: self.kind,
            reply_to: 0,
            member: String::new(),
            error: String::new(),
            body,
        };
        let mut reader = Reader::new(&rest[..self.fields]);
        while reader.at < reader.bytes.len() {
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
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const OBJECT: Object = Object {
        destination: "org.x",
        path: "/x",
        interface: "org.x.I",
    };

    /// A reply as sent by systemd: the head, and the bytes that follow.
    fn reply() -> ([u8; 16], Vec<u8>) {
        let mut body = Body::default();
        body.text("/job/7");
        let mut message = Body(Vec::from([b'l', METHOD_RETURN, 1, 1]));
        message.number((body.0.len() as u32).to_le_bytes());
        message.number(9u32.to_le_bytes());
        message.array(8, |fields| {
            fields.align(8);
            fields.0.push(5);
            fields.signature("u");
            fields.number(3u32.to_le_bytes());
            fields.field(6, "s", ":1.7");
            fields.field(8, "g", "o");
        });
        message.align(8);
        message.0.extend(body.0);
        let rest = message.0.split_off(16);
        (message.0.try_into().unwrap(), rest)
    }

    #[test]
    fn a_reply_is_parsed() {
        let (head, rest) = reply();
        let head = Head::parse(&head).unwrap();
        assert_eq!(head.rest(), rest.len());
        let message = head.message(rest).unwrap();
        assert_eq!((message.kind, message.reply_to), (METHOD_RETURN, 3));
        assert_eq!(Reader::new(&message.body).text(), Some("/job/7"));
    }

    #[test]
    fn a_truncated_reply_is_refused_and_a_damaged_one_does_not_panic() {
        let (head, rest) = reply();
        for n in 0..rest.len() {
            let cut = Head::parse(&head).unwrap();
            assert_eq!(cut.message(rest[..n].to_vec()), None, "{n}");
        }
        for at in 0..rest.len() {
            for value in [0, 1, 127, 255] {
                let mut wrong = rest.clone();
                wrong[at] = value;
                let _ = Head::parse(&head).unwrap().message(wrong);
            }
        }
    }

    #[test]
    fn a_head_with_another_byte_order_or_excessive_length_is_refused() {
        let (mut head, _) = reply();
        head[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Head::parse(&head).is_none());
        let (mut head, _) = reply();
        head[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Head::parse(&head).is_none());
        let (mut head, _) = reply();
        head[0] = b'B';
        assert!(Head::parse(&head).is_none());
    }

    #[test]
    fn a_call_is_encoded_as_specified() {
        let mut body = Body::default();
        body.text("hi");
        let bytes = method_call(1, &OBJECT, "Go", "s", body);
        assert_eq!(
            &bytes[..16],
            [b'l', 1, 0, 1, 7, 0, 0, 0, 1, 0, 0, 0, 71, 0, 0, 0]
        );
        assert_eq!(&bytes[16..26], [1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'x']);
        assert_eq!(&bytes[bytes.len() - 7..], [2, 0, 0, 0, b'h', b'i', 0]);
        assert_eq!(bytes.len(), 16 + 72 + 7);
    }

    #[test]
    fn values_are_aligned_to_their_size() {
        let mut body = Body::default();
        body.properties(&[("A".into(), Value::U64(5)), ("B".into(), Value::Bool(true))]);
        assert_eq!(
            body.0,
            [
                40, 0, 0, 0, 0, 0, 0,
                0, // the array's length, and padding to its first struct
                1, 0, 0, 0, b'A', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0,
                0, //
                1, 0, 0, 0, b'B', 0, 1, b'b', 0, 0, 0, 0, 1, 0, 0, 0
            ][..body.0.len()]
        );
    }

    #[test]
    fn lists_are_written_with_their_length_in_bytes() {
        let mut body = Body::default();
        body.numbers(&[7, 8]);
        assert_eq!(body.0, [8, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0]);
        let mut body = Body::default();
        body.value(&Value::Texts(vec!["a".into()]));
        assert_eq!(body.0, [6, 0, 0, 0, 1, 0, 0, 0, b'a', 0]);
        let mut body = Body::default();
        body.value(&Value::Bytes(vec![1, 2, 3]));
        assert_eq!(body.0, [3, 0, 0, 0, 1, 2, 3]);
    }
}
