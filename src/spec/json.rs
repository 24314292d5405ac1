//! Reads JSON files. The serde visitors here treat null as absence, track their position in the file, and describe
//! the expected value in plain words. `object!` declares a struct together with the JSON names of its fields.
//!
//! Derived visitors would not do: they cannot name `mounts[0].options`, treat `null` as an error, and borrow the
//! strings of a list only through a wrapper around each.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::RefCell;
use core::fmt;
use core::marker::PhantomData;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde_json::error::Category;

use crate::error::Error;

/// The type of a field. Null is handled by the caller, so an implementation meets it only inside a list.
///
/// Values are read in place, into a default: moving them up through every level costs 30 KB of code.
pub trait Read<'a>: Default {
    /// The plural in errors: "expected a list of strings".
    const PLURAL: &'static str;

    fn read<D: Deserializer<'a>>(&mut self, json: D, trail: &Trail) -> Result<(), D::Error>;

    /// Go omits empty strings when it writes and reads them as unset, so an optional empty string is absent.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Reads one JSON document. Errors refer to it as `file`.
///
/// Errors: `FILE: line L, column C: …` for invalid JSON, `FILE: PATH: expected …, found …` for a value that does not
/// fit the spec.
pub fn read<'a, T: Read<'a>>(file: &str, json: &'a [u8]) -> Result<T, Error> {
    // One check for the whole document: checking each string makes parsing 50 % slower.
    let json = core::str::from_utf8(json).map_err(|error| {
        let before = &json[..error.valid_up_to()];
        let line = before.split(|&byte| byte == b'\n');
        let column = line.clone().next_back().map_or(0, <[u8]>::len) + 1;
        Error::new(format!(
            "{file}: line {}, column {column}: not UTF-8",
            line.count()
        ))
    })?;
    let trail = Trail(RefCell::new(String::new()));
    let mut source = serde_json::Deserializer::from_str(json);
    let mut document = T::default();
    match document
        .read(&mut source, &trail)
        .and_then(|()| source.end())
    {
        Ok(()) => Ok(document),
        Err(error) => Err(describe(file, json, &trail, &error)),
    }
}

/// The path to the value that failed. It stays empty unless there is an error: each level then adds its own name in
/// front as the error passes, so a valid file costs nothing.
pub struct Trail(RefCell<String>);

impl Trail {
    #[cold]
    fn prepend(&self, step: fmt::Arguments<'_>) {
        self.0.borrow_mut().insert_str(0, &step.to_string());
    }

    /// Reads the value of the field `name`. Returns false for null.
    pub fn field<'a, T: Read<'a>, A: MapAccess<'a>>(
        &self,
        map: &mut A,
        name: &str,
        value: &mut T,
    ) -> Result<bool, A::Error> {
        map.next_value_seed(Nullable(value, self))
            .inspect_err(|_| self.prepend(format_args!(".{name}")))
    }

    #[cold]
    pub fn missing<E: serde::de::Error>(&self, name: &str) -> E {
        self.prepend(format_args!(".{name}"));
        E::custom("required field is missing")
    }
}

/// Field names are matched as in Go: ASCII case is ignored.
pub fn is(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// Declares a struct of the spec and its reader. A field `field: Type = "name"` may be absent or null, which gives
/// the type's default; a field `= required "name"` may not.
macro_rules! object {
    ($(#[$about:meta])* pub struct $name:ident $(<$lt:lifetime>)? {
        $($(#[$field_about:meta])* $field:ident: $type:ty = $($required:ident)? $json:literal,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default)]
        #[allow(dead_code, reason = "every field is checked when read, also those that nothing acts on yet")]
        pub struct $name $(<$lt>)? {
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl<'a> $crate::spec::json::Read<'a> for $name $(<$lt>)? {
            const PLURAL: &'static str = "objects";

            fn read<D: serde::Deserializer<'a>>(
                &mut self,
                json: D,
                trail: &$crate::spec::json::Trail,
            ) -> core::result::Result<(), D::Error> {
                json.deserialize_map($crate::spec::json::Object(self, trail))
            }
        }

        impl<'a> serde::de::Visitor<'a> for $crate::spec::json::Object<'_, $name $(<$lt>)?> {
            type Value = ();

            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'a>>(self, mut map: A) -> core::result::Result<(), A::Error> {
                let $crate::spec::json::Object(object, trail) = self;
                $($(let mut $field = object!(@not_yet $required);)?)*
                while let Some(key) = map.next_key_seed($crate::spec::json::Key)? {
                    $(if $crate::spec::json::is(&key, $json) {
                        let _present = trail.field(&mut map, $json, &mut object.$field)?;
                        $($field = object!(@now $required _present);)?
                        continue;
                    })*
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
                $($(if !object!(@was $required $field) {
                    return Err(trail.missing($json));
                })?)*
                Ok(())
            }
        }
    };
    (@not_yet required) => { false };
    (@now required $present:ident) => { $present };
    (@was required $field:ident) => { $field };
}
pub(crate) use object;

/// An object of the spec being read.
pub struct Object<'s, T>(pub &'s mut T, pub &'s Trail);

/// A value or null. Returns false for null.
struct Nullable<'s, T>(&'s mut T, &'s Trail);

impl<'a, T: Read<'a>> DeserializeSeed<'a> for Nullable<'_, T> {
    type Value = bool;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_option(self)
    }
}

impl<'a, T: Read<'a>> Visitor<'a> for Nullable<'_, T> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_some<D: Deserializer<'a>>(self, json: D) -> Result<bool, D::Error> {
        self.0.read(json, self.1).map(|()| true)
    }
}

impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    const PLURAL: &'static str = T::PLURAL;

    fn read<D: Deserializer<'a>>(&mut self, json: D, trail: &Trail) -> Result<(), D::Error> {
        self.insert(T::default()).read(json, trail)?;
        self.take_if(|value| value.is_absent());
        Ok(())
    }
}

/// A value that may not be null: a member of a list or a map.
struct Member<'s, T>(&'s Trail, PhantomData<T>);

impl<'a, T: Read<'a>> DeserializeSeed<'a> for Member<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<T, D::Error> {
        let mut value = T::default();
        value.read(json, self.0)?;
        Ok(value)
    }
}

impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    const PLURAL: &'static str = "lists";

    fn read<D: Deserializer<'a>>(&mut self, json: D, trail: &Trail) -> Result<(), D::Error> {
        self.clear();
        json.deserialize_seq(List(self, trail))
    }
}

struct List<'s, T>(&'s mut Vec<T>, &'s Trail);

impl<'a, T: Read<'a>> Visitor<'a> for List<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", T::PLURAL)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let List(list, trail) = self;
        while let Some(value) = seq
            .next_element_seed(Member(trail, PhantomData))
            .inspect_err(|_| trail.prepend(format_args!("[{}]", list.len())))?
        {
            list.push(value);
        }
        Ok(())
    }
}

/// An object with arbitrary keys, in the order of the file.
impl<'a, T: Read<'a>> Read<'a> for Vec<(Cow<'a, str>, T)> {
    const PLURAL: &'static str = "objects";

    fn read<D: Deserializer<'a>>(&mut self, json: D, trail: &Trail) -> Result<(), D::Error> {
        self.clear();
        json.deserialize_map(Map(self, trail))
    }
}

struct Map<'s, 'a, T>(&'s mut Vec<(Cow<'a, str>, T)>, &'s Trail);

impl<'a, T: Read<'a>> Visitor<'a> for Map<'_, 'a, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object whose values are {}", T::PLURAL)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let Map(entries, trail) = self;
        while let Some(key) = map.next_key_seed(Key)? {
            let value = map
                .next_value_seed(Member(trail, PhantomData))
                .inspect_err(|_| trail.prepend(format_args!("[{key:?}]")))?;
            entries.push((key, value));
        }
        Ok(())
    }
}

impl<'a> Read<'a> for Cow<'a, str> {
    const PLURAL: &'static str = "strings";

    fn read<D: Deserializer<'a>>(&mut self, json: D, _: &Trail) -> Result<(), D::Error> {
        *self = json.deserialize_str(Text)?;
        Ok(())
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
    }
}

/// Owned strings, for our own files, whose text is not kept.
impl<'a> Read<'a> for String {
    const PLURAL: &'static str = "strings";

    fn read<D: Deserializer<'a>>(&mut self, json: D, _: &Trail) -> Result<(), D::Error> {
        *self = json.deserialize_str(Text)?.into_owned();
        Ok(())
    }
}

/// A pair of owned strings, as a list of two.
impl<'a> Read<'a> for (String, String) {
    const PLURAL: &'static str = "pairs";

    fn read<D: Deserializer<'a>>(&mut self, json: D, trail: &Trail) -> Result<(), D::Error> {
        let mut pair: Vec<String> = Vec::new();
        pair.read(json, trail)?;
        (self.1, self.0) = match (pair.pop(), pair.pop()) {
            (Some(second), Some(first)) => (second, first),
            _ => return Err(D::Error::custom("expected two strings")),
        };
        Ok(())
    }
}

/// The key of an object.
pub struct Key;

impl<'a> DeserializeSeed<'a> for Key {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(Text)
    }
}

/// A string, borrowed from the file unless it contains escapes.
struct Text;

impl<'a> Visitor<'a> for Text {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_string()))
    }
}

impl<'a> Read<'a> for bool {
    const PLURAL: &'static str = "booleans";

    fn read<D: Deserializer<'a>>(&mut self, json: D, _: &Trail) -> Result<(), D::Error> {
        struct Boolean;

        impl Visitor<'_> for Boolean {
            type Value = bool;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false")
            }

            fn visit_bool<E>(self, value: bool) -> Result<bool, E> {
                Ok(value)
            }
        }

        *self = json.deserialize_bool(Boolean)?;
        Ok(())
    }
}

/// An integer in a range. One visitor serves all widths.
struct Integer {
    min: i128,
    max: i128,
}

impl Integer {
    fn within<E: serde::de::Error>(&self, value: i128, found: Unexpected<'_>) -> Result<i128, E> {
        if (self.min..=self.max).contains(&value) {
            Ok(value)
        } else {
            Err(E::invalid_value(found, self))
        }
    }
}

impl Visitor<'_> for Integer {
    type Value = i128;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an integer from {} to {}", self.min, self.max)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<i128, E> {
        self.within(value.into(), Unexpected::Unsigned(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<i128, E> {
        self.within(value.into(), Unexpected::Signed(value))
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl<'a> Read<'a> for $type {
            const PLURAL: &'static str = "integers";

            fn read<D: Deserializer<'a>>(&mut self, json: D, _: &Trail) -> Result<(), D::Error> {
                let range = Integer { min: <$type>::MIN.into(), max: <$type>::MAX.into() };
                let value = json.deserialize_i64(range)?;
                *self = <$type>::try_from(value).map_err(D::Error::custom)?;
                Ok(())
            }
        }
    )*};
}
integers!(u16 u32 u64 i32 i64);

/// Converts an error of serde_json to ours.
fn describe(file: &str, json: &str, trail: &Trail, error: &serde_json::Error) -> Error {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(message, _)| message);
    if error.classify() != Category::Data {
        return Error::new(format!("{file}: line {line}, column {column}: {text}"));
    }

    let path = trail.0.borrow();
    let place = if path.is_empty() {
        String::new()
    } else {
        format!("{}: ", path.trim_start_matches('.'))
    };
    let mismatch = text
        .strip_prefix("invalid type: ")
        .or_else(|| text.strip_prefix("invalid value: "));
    let Some((found, expected)) = mismatch.and_then(|text| text.rsplit_once(", expected ")) else {
        return Error::new(format!("{file}: {place}{text}"));
    };
    let found = match found {
        "map" => "an object",
        "sequence" => "a list",
        // serde_json has rounded the number, so it is taken from the file.
        float if float.starts_with("floating point ") => number_before(json, line, column),
        string if string.starts_with("string ") => string.trim_start_matches("string "),
        other => other.split('`').nth(1).unwrap_or(other),
    };
    Error::new(format!(
        "{file}: {place}expected {expected}, found {}",
        shortened(found)
    ))
}

/// The number that ends at this position in the file.
fn number_before(json: &str, line: usize, column: usize) -> &str {
    let line = json.split('\n').nth(line - 1).unwrap_or_default();
    let before = line.get(..column).unwrap_or_default();
    let other = |c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
    before.rsplit(other).next().unwrap_or_default()
}

/// Keeps the error to one line of reasonable length.
fn shortened(found: &str) -> Cow<'_, str> {
    match found.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &found[..end]).into(),
        None => found.into(),
    }
}
