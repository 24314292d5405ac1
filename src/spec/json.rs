//! How a file of the spec is read: serde visitors which treat null as absence, know their own place in the file, and
//! name what they expected in human words. `object!` declares a struct together with the JSON name of each field.
//!
//! The visitors are our own and not derived because a derived one cannot say `mounts[0].options`, takes `null` for an
//! error, needs a wrapper around every borrowed string in a list, and is larger as code.

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

/// What a field can hold. Null is dealt with before, so an implementation never meets it except inside a list.
pub trait Read<'a>: Sized {
    /// What a list of these is called: "expected a list of strings".
    const PLURAL: &'static str;

    fn read<D: Deserializer<'a>>(json: D, trail: &Trail) -> Result<Self, D::Error>;

    /// Go leaves empty strings out when it writes and reads them as unset, so an optional one is absent.
    fn is_absent(&self) -> bool {
        false
    }
}

/// Reads one JSON document; `file` is what errors call it.
///
/// Errors: `FILE: line L, column C: …` where it is not JSON, `FILE: PATH: expected …, found …` where it is not the spec.
pub fn read<'a, T: Read<'a>>(file: &str, json: &'a [u8]) -> Result<T, Error> {
    let trail = Trail(RefCell::new(String::new()));
    let mut source = serde_json::Deserializer::from_slice(json);
    let document = T::read(&mut source, &trail);
    document
        .and_then(|value| source.end().map(|()| value))
        .map_err(|error| describe(file, json, &trail, &error))
}

/// The path to the value that failed. It is empty while all goes well: each level puts its own name in front as the
/// error passes it, so a good file pays nothing.
pub struct Trail(RefCell<String>);

impl Trail {
    fn prepend(&self, step: &str) {
        self.0.borrow_mut().insert_str(0, step);
    }

    /// Reads the value of the field `name`; `None` is null.
    pub fn field<'a, T: Read<'a>, A: MapAccess<'a>>(
        &self,
        map: &mut A,
        name: &str,
    ) -> Result<Option<T>, A::Error> {
        map.next_value_seed(Nullable(self, PhantomData))
            .inspect_err(|_| self.prepend(&format!(".{name}")))
    }

    pub fn missing<E: serde::de::Error>(&self, name: &str) -> E {
        self.prepend(&format!(".{name}"));
        E::custom("required field is missing")
    }
}

/// Field names are matched as Go matches them, without regard to ASCII case.
pub fn is(key: &str, name: &str) -> bool {
    key.eq_ignore_ascii_case(name)
}

/// Declares a struct of the spec and its reader. `field: Type = "name"` may be absent or null and is then the type's
/// default; `= required "name"` may not.
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

            fn read<D: serde::Deserializer<'a>>(json: D, trail: &$crate::spec::json::Trail) -> core::result::Result<Self, D::Error> {
                struct Fields<'t>(&'t $crate::spec::json::Trail);

                impl<'a> serde::de::Visitor<'a> for Fields<'_> {
                    type Value = $name $(<$lt>)?;

                    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'a>>(self, mut map: A) -> core::result::Result<Self::Value, A::Error> {
                        $(let mut $field: Option<$type> = None;)*
                        while let Some(key) = map.next_key_seed($crate::spec::json::Key)? {
                            $(if $crate::spec::json::is(&key, $json) {
                                $field = self.0.field(&mut map, $json)?;
                                continue;
                            })*
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        Ok($name { $($field: object!(@take self.0, $field, $json $(, $required)?),)* })
                    }
                }

                json.deserialize_map(Fields(trail))
            }
        }
    };
    (@take $trail:expr, $field:ident, $json:literal, required) => {
        $field.ok_or_else(|| $trail.missing($json))?
    };
    (@take $trail:expr, $field:ident, $json:literal) => {
        $field.unwrap_or_default()
    };
}
pub(super) use object;

/// A value or null.
struct Nullable<'t, T>(&'t Trail, PhantomData<T>);

impl<'a, T: Read<'a>> DeserializeSeed<'a> for Nullable<'_, T> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_option(self)
    }
}

impl<'a, T: Read<'a>> Visitor<'a> for Nullable<'_, T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'a>>(self, json: D) -> Result<Self::Value, D::Error> {
        T::read(json, self.0).map(Some)
    }
}

impl<'a, T: Read<'a>> Read<'a> for Option<T> {
    const PLURAL: &'static str = T::PLURAL;

    fn read<D: Deserializer<'a>>(json: D, trail: &Trail) -> Result<Self, D::Error> {
        Ok(Some(T::read(json, trail)?).filter(|value| !value.is_absent()))
    }
}

/// A value that may not be null: the member of a list.
struct Member<'t, T>(&'t Trail, PhantomData<T>);

impl<'a, T: Read<'a>> DeserializeSeed<'a> for Member<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'a>>(self, json: D) -> Result<T, D::Error> {
        T::read(json, self.0)
    }
}

impl<'a, T: Read<'a>> Read<'a> for Vec<T> {
    const PLURAL: &'static str = "lists";

    fn read<D: Deserializer<'a>>(json: D, trail: &Trail) -> Result<Self, D::Error> {
        json.deserialize_seq(List(trail, PhantomData))
    }
}

struct List<'t, T>(&'t Trail, PhantomData<T>);

impl<'a, T: Read<'a>> Visitor<'a> for List<'_, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}", T::PLURAL)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        loop {
            match seq.next_element_seed(Member(self.0, PhantomData)) {
                Ok(Some(value)) => list.push(value),
                Ok(None) => return Ok(list),
                Err(error) => {
                    self.0.prepend(&format!("[{}]", list.len()));
                    return Err(error);
                }
            }
        }
    }
}

/// An object whose keys are free, in the order of the file.
impl<'a, T: Read<'a>> Read<'a> for Vec<(Cow<'a, str>, T)> {
    const PLURAL: &'static str = "objects";

    fn read<D: Deserializer<'a>>(json: D, trail: &Trail) -> Result<Self, D::Error> {
        json.deserialize_map(Map(trail, PhantomData))
    }
}

struct Map<'t, T>(&'t Trail, PhantomData<T>);

impl<'a, T: Read<'a>> Visitor<'a> for Map<'_, T> {
    type Value = Vec<(Cow<'a, str>, T)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object whose values are {}", T::PLURAL)
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key_seed(Key)? {
            match map.next_value_seed(Member(self.0, PhantomData)) {
                Ok(value) => entries.push((key, value)),
                Err(error) => {
                    self.0.prepend(&format!("[{key:?}]"));
                    return Err(error);
                }
            }
        }
        Ok(entries)
    }
}

impl<'a> Read<'a> for Cow<'a, str> {
    const PLURAL: &'static str = "strings";

    fn read<D: Deserializer<'a>>(json: D, _: &Trail) -> Result<Self, D::Error> {
        json.deserialize_str(Text)
    }

    fn is_absent(&self) -> bool {
        self.is_empty()
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

/// A string, borrowed from the file unless it has escapes.
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

    fn read<D: Deserializer<'a>>(json: D, _: &Trail) -> Result<Self, D::Error> {
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

        json.deserialize_bool(Boolean)
    }
}

/// An integer in a range; one visitor for all widths.
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

            fn read<D: Deserializer<'a>>(json: D, _: &Trail) -> Result<Self, D::Error> {
                let range = Integer { min: <$type>::MIN.into(), max: <$type>::MAX.into() };
                let value = json.deserialize_i64(range)?;
                <$type>::try_from(value).map_err(D::Error::custom)
            }
        }
    )*};
}
integers!(u16 u32 u64 i32 i64);

/// Turns serde's account of a failure into ours.
fn describe(file: &str, json: &[u8], trail: &Trail, error: &serde_json::Error) -> Error {
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
        // serde_json has rounded the number; the file has what was written.
        float if float.starts_with("floating point ") => number_before(json, line, column),
        string if string.starts_with("string ") => string.trim_start_matches("string "),
        other => other.split('`').nth(1).unwrap_or(other),
    };
    Error::new(format!(
        "{file}: {place}expected {expected}, found {}",
        shortened(found)
    ))
}

/// The number that ends at this place of the file.
fn number_before(json: &[u8], line: usize, column: usize) -> &str {
    let line = json
        .split(|&byte| byte == b'\n')
        .nth(line - 1)
        .unwrap_or_default();
    let line = &line[..column.min(line.len())];
    let start = line
        .iter()
        .rposition(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let digits = &line[start.map_or(0, |at| at + 1)..];
    core::str::from_utf8(digits).unwrap_or_default()
}

/// An error is one line of reasonable length, whatever the file holds.
fn shortened(found: &str) -> Cow<'_, str> {
    match found.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &found[..end]).into(),
        None => found.into(),
    }
}
