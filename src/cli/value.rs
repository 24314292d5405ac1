//! The values of flags: parsing and storing them.

use super::table::Takes;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// A parsed value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An empty text, which some kinds treat as an absent flag.
    Unset,
    Switch(bool),
    Text(&'a str),
    Number(i64),
    User(u32, Option<u32>),
}

/// A field that stores values. If a flag is repeated, the last value applies; a list keeps all of them.
pub trait Store<'a> {
    fn store(&mut self, value: Value<'a>);
}

macro_rules! store {
    ($($type:ty: $pattern:pat => |$field:ident| $store:expr;)*) => {
        $(impl<'a> Store<'a> for $type {
            fn store(&mut self, value: Value<'a>) {
                let $field = self;
                if let $pattern = value {
                    $store;
                }
            }
        })*
    };
}

store! {
    bool: Value::Switch(on) => |field| *field = on;
    &'a str: Value::Text(text) => |field| *field = text;
    Vec<&'a str>: Value::Text(text) => |field| field.push(text);
    Vec<u32>: Value::Number(number) => |field| field.extend(u32::try_from(number));
}

/// A flag that is accepted and ignored.
impl Store<'_> for () {
    fn store(&mut self, _: Value<'_>) {}
}

macro_rules! store_option {
    ($($type:ty: $pattern:pat => $value:expr;)*) => {
        $(impl<'a> Store<'a> for Option<$type> {
            fn store(&mut self, value: Value<'a>) {
                *self = match value {
                    $pattern => Some($value),
                    _ => None,
                };
            }
        })*
    };
}

store_option! {
    &'a str: Value::Text(text) => text;
    i64: Value::Number(number) => number;
    (u32, Option<u32>): Value::User(uid, gid) => (uid, gid);
}

impl Takes {
    /// The name of the value in the help. A switch has none.
    pub fn name(&self) -> Option<&'static str> {
        match *self {
            Self::Switch => None,
            Self::Text(name) | Self::File(name) | Self::Dir(name) | Self::Number(name) => {
                Some(name)
            }
            Self::Integer(name, ..) | Self::Bytes(name) | Self::Time(name) | Self::Id(name) => {
                Some(name)
            }
            Self::User(name) | Self::OneOf(name, _) => Some(name),
        }
    }

    /// Parses a text. The error is the end of a sentence about the flag.
    pub fn value<'a>(&self, text: &'a str) -> Result<Value<'a>, String> {
        let value = match *self {
            Self::Switch => match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(Value::Switch(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Text(_) | Self::File(_) | Self::Dir(_) => Some(Value::Text(text)),
            Self::Integer(..) | Self::Bytes(_) if text.is_empty() => Some(Value::Unset),
            Self::Number(_) => number(text, i32::MAX as u32),
            Self::Id(_) => number(text, u32::MAX - 1),
            Self::Integer(_, min, max) => text
                .parse()
                .ok()
                .filter(|n| !text.starts_with('+') && (min..=max).contains(n))
                .map(Value::Number),
            Self::Bytes(_) => size(text).map(Value::Number),
            Self::Time(_) => milliseconds(text).filter(|n| *n > 0).map(Value::Number),
            Self::User(_) => user(text),
            Self::OneOf(_, words) => words.contains(&text).then_some(Value::Text(text)),
        };
        value.ok_or_else(|| self.expected(text))
    }

    /// The end of the sentence about an invalid value.
    fn expected(&self, text: &str) -> String {
        match self {
            Self::Switch => format!("is true or false, not {text:?}"),
            Self::OneOf(_, words) => format!("is one of {}, not {text:?}", words.join(", ")),
            Self::Number(_) => format!("is an integer from 0 to {}, not {text:?}", i32::MAX),
            Self::Bytes(_) => {
                format!("expected a number of bytes such as 512m or -1, found {text:?}")
            }
            Self::Time(_) => format!("expected a time such as 5s or 1m30s, found {text:?}"),
            Self::Id(_) | Self::User(_) => {
                // The invalid part of UID:GID.
                let part = text
                    .split(':')
                    .find(|part| integer(part, u32::MAX - 1).is_none());
                format!(
                    "expected a number from 0 to {}, found {:?}",
                    u32::MAX - 1,
                    part.unwrap_or(text)
                )
            }
            _ => format!("expected an integer, found {text:?}"),
        }
    }
}

fn number<'a>(text: &str, max: u32) -> Option<Value<'a>> {
    integer(text, max).map(|number| Value::Number(i64::from(number)))
}

/// Parses a decimal integer up to `max`. Accepts digits only; Rust's own parser would accept a plus sign.
pub fn integer(text: &str, max: u32) -> Option<u32> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|number| *number <= max)
}

fn user<'a>(text: &str) -> Option<Value<'a>> {
    let id = |text| integer(text, u32::MAX - 1);
    Some(match text.split_once(':') {
        Some((uid, gid)) => Value::User(id(uid)?, Some(id(gid)?)),
        None => Value::User(id(text)?, None),
    })
}

/// Parses a size with an optional unit, a power of 1024, as users of engines write it: `1000`, `512m`, `1.5GiB`. -1
/// means no limit.
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start().to_ascii_lowercase();
    let letter = unit.trim_end_matches('b').trim_end_matches('i');
    let known = [letter.into(), format!("{letter}b"), format!("{letter}ib")];
    let power = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|u| *u == letter)?;
    if !known.contains(&unit) || unit == "ib" {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = 1u64 << (10 * power);
    let bytes = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    // Only four digits of the fraction are used, so that the product does not overflow.
    let digits = fraction.get(..fraction.len().min(4))?;
    let parts: u64 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    let part = unit * parts / 10u64.pow(digits.len() as u32);
    i64::try_from(bytes.checked_add(part)?).ok()
}

/// Parses a duration in Go's format: numbers with units, one after the other.
fn milliseconds(text: &str) -> Option<i64> {
    let (mut rest, mut sum) = (text, 0i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = after;
    }
    Some(sum)
}
