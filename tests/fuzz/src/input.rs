//! Random input from what is right: JSON with some of its values changed, or one of them made very large; text with some of its
//! bytes changed, or one of its lines repeated.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// The most bytes of an input.
const LARGE: usize = 1 << 20;
/// One of so many inputs is large.
const LARGE_OF: usize = 30;

/// Words that mean something somewhere.
const WORDS: [&str; 44] = [
    "",
    "/",
    "..",
    ".",
    "a",
    "=",
    "A=1",
    "HOME=",
    ":",
    ",",
    "0-3,7",
    "3-1",
    "0-65535",
    "\0",
    "a\nb",
    "é",
    "max",
    "-1",
    "ro",
    "rbind",
    "bind",
    "idmap",
    "size=1m",
    "remount",
    "tmpcopyup",
    "rprivate",
    "CAP_KILL",
    "CAP_FLY",
    "RLIMIT_CORE",
    "pid",
    "mount",
    "user",
    "network",
    "cgroup",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_ARCH_X32",
    "read",
    "socket",
    "net.ipv4.x",
    "a-b.slice:p:n",
    "['a', \"b\"]",
    "uint64 5",
];

pub fn word(random: &mut Rng) -> &'static str {
    random.choice(WORDS).unwrap_or_default()
}

/// JSON made from one of `documents`.
pub fn json(random: &mut Rng, documents: &[Value]) -> Vec<u8> {
    let mut document = random.choice(documents).cloned().unwrap_or_default();
    for _ in 0..random.usize(..4) {
        let other = random.choice(documents).cloned().unwrap_or_default();
        change(random, &mut document, &other);
    }
    if random.usize(..LARGE_OF) == 0 {
        enlarge(random, &mut document);
    }
    let mut text = serde_json::to_vec(&document).unwrap_or_default();
    if random.u8(..4) == 0 {
        scramble(random, &mut text);
    }
    text.truncate(LARGE);
    text
}

/// A random node of the tree, each with the same chance.
fn node<'v>(random: &mut Rng, value: &'v mut Value) -> &'v mut Value {
    let mut left = random.usize(..count(value));
    nth(value, &mut left).expect("fewer than there are")
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn nth<'v>(value: &'v mut Value, left: &mut usize) -> Option<&'v mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|value| nth(value, left)),
        Value::Object(map) => map.values_mut().find_map(|value| nth(value, left)),
        _ => None,
    }
}

fn scalar(random: &mut Rng) -> Value {
    match random.u8(..8) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.i64(..).into(),
        3 => random.u64(..).into(),
        4 => random.i64(-2..1100).into(),
        5 => json!(1.5),
        _ => word(random).into(),
    }
}

fn change(random: &mut Rng, document: &mut Value, other: &Value) {
    let mut other = other.clone();
    let at = node(random, document);
    match (at, random.u8(..4)) {
        (Value::Array(list), 0..3) if !list.is_empty() => {
            let n = random.usize(..list.len());
            match random.u8(..3) {
                0 => drop(list.remove(n)),
                1 => list.push(list[n].clone()),
                _ => list.swap(0, n),
            }
        }
        (Value::Object(map), 0..2) if !map.is_empty() => {
            let key = map
                .keys()
                .nth(random.usize(..map.len()))
                .cloned()
                .unwrap_or_default();
            map.remove(&key);
        }
        (Value::Object(map), 2) => drop(map.insert(word(random).into(), scalar(random))),
        (at, 3) => *at = node(random, &mut other).take(),
        (at, _) => *at = scalar(random),
    }
}

/// Makes one value as large as an input may be: a string or a list is repeated, an object gets many fields.
fn enlarge(random: &mut Rng, document: &mut Value) {
    let spare = LARGE - document.to_string().len().min(LARGE);
    let numbered = random.bool();
    let at = node(random, document);
    match at {
        Value::Array(list) => {
            let mut one = random
                .choice(&*list)
                .cloned()
                .unwrap_or_else(|| word(random).into());
            // The shortest that is taken costs most.
            if let (Value::Object(map), true) = (&mut one, random.bool()) {
                map.retain(|_, _| random.u8(..3) != 0);
            }
            for n in 0..spare / (one.to_string().len() + 8) {
                list.push(if numbered {
                    with_number(&one, n)
                } else {
                    one.clone()
                });
            }
        }
        Value::Object(map) => {
            let one = random
                .choice(map.values())
                .cloned()
                .unwrap_or_else(|| word(random).into());
            for n in 0..spare / (one.to_string().len() + 12) {
                map.insert(format!("{n}"), one.clone());
            }
        }
        other => {
            let text = word(random).to_owned()
                + random
                    .choice([":", ",", "/", "a", "=", "-", ".", "\n", " "])
                    .unwrap_or("");
            *other = text.repeat(spare / (text.len() * 2)).into();
        }
    }
}

/// The same value with a number in its first string or number, so that no two are equal.
fn with_number(value: &Value, n: usize) -> Value {
    match value {
        Value::String(text) => match text.split_once('=') {
            Some((name, rest)) => format!("{name}{n}={rest}").into(),
            None => format!("{text}{n}").into(),
        },
        Value::Number(_) => n.into(),
        Value::Array(list) => list.iter().map(|value| with_number(value, n)).collect(),
        Value::Object(map) => {
            let mut new = Map::new();
            let numbered = map
                .keys()
                .find(|key| matches!(key.as_str(), "major" | "minor" | "names" | "destination"));
            for (key, value) in map {
                let this = numbered == Some(key) || numbered.is_none();
                new.insert(
                    key.clone(),
                    if this {
                        with_number(value, n)
                    } else {
                        value.clone()
                    },
                );
            }
            new.into()
        }
        other => other.clone(),
    }
}

/// Text made from one of `texts`.
pub fn text(random: &mut Rng, texts: &[&[u8]]) -> Vec<u8> {
    let mut text = random.choice(texts).copied().unwrap_or_default().to_vec();
    for _ in 0..random.usize(..4) {
        scramble(random, &mut text);
    }
    if random.usize(..LARGE_OF) == 0 {
        let lines: Vec<Vec<u8>> = text
            .split_inclusive(|byte| *byte == b'\n')
            .map(<[u8]>::to_vec)
            .collect();
        let line = random.choice(lines).unwrap_or_else(|| b"x".to_vec());
        for n in 0..LARGE / (line.len() + 6) {
            text.extend(line.iter().take(line.len().saturating_sub(1)));
            text.extend(format!("{n}\n").into_bytes());
        }
    }
    text.truncate(LARGE);
    text
}

/// Changes some bytes.
pub fn scramble(random: &mut Rng, bytes: &mut Vec<u8>) {
    let at = random.usize(..=bytes.len());
    match random.u8(..6) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] = random.u8(..),
        2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
        3 if at < bytes.len() => drop(bytes.remove(at)),
        4 => {
            let part = bytes[at..(at + 32).min(bytes.len())].to_vec();
            bytes.splice(at..at, part);
        }
        _ => drop(bytes.splice(at..at, word(random).bytes())),
    }
}
