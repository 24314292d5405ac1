//! The objects of a line of statistics, written piece by piece.

use core::fmt::{self, Write};

/// One kind of memory.
#[derive(Default)]
pub struct Entry {
    pub limit: Option<u64>,
    pub usage: Option<u64>,
    pub max: Option<u64>,
    pub failcnt: u64,
}

/// An object being written. Keys are ours or the kernel's, so that nothing needs escaping.
pub struct Json<'o> {
    out: &'o mut dyn Write,
    comma: bool,
}

impl<'o> Json<'o> {
    pub fn new(out: &'o mut dyn Write) -> Self {
        Self { out, comma: false }
    }

    fn key(&mut self, name: &str) -> fmt::Result {
        let comma = if self.comma { "," } else { "" };
        self.comma = true;
        write!(self.out, "{comma}\"{name}\":")
    }

    pub fn begin(&mut self) -> fmt::Result {
        self.comma = false;
        self.out.write_str("{")
    }

    pub fn open(&mut self, name: &str) -> fmt::Result {
        self.key(name)?;
        self.begin()
    }

    pub fn close(&mut self) -> fmt::Result {
        self.comma = true;
        self.out.write_str("}")
    }

    /// A value as it is written.
    pub fn raw(&mut self, name: &str, value: impl fmt::Display) -> fmt::Result {
        self.key(name)?;
        write!(self.out, "{value}")
    }

    /// What is not known is 0, as in runc.
    pub fn number(&mut self, name: &str, number: Option<u64>) -> fmt::Result {
        self.key(name)?;
        write!(self.out, "{}", number.unwrap_or(0))
    }

    /// The same, left out when it is 0.
    pub fn nonzero(&mut self, name: &str, number: Option<u64>) -> fmt::Result {
        match number {
            None | Some(0) => Ok(()),
            number => self.number(name, number),
        }
    }

    pub fn list<T: fmt::Display>(
        &mut self,
        name: &str,
        members: impl Iterator<Item = T>,
    ) -> fmt::Result {
        self.key(name)?;
        self.out.write_str("[")?;
        for (n, member) in members.enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(self.out, "{comma}{member}")?;
        }
        self.out.write_str("]")
    }

    pub fn entry(&mut self, name: &str, entry: &Entry) -> fmt::Result {
        self.open(name)?;
        self.number("limit", entry.limit)?;
        self.nonzero("usage", entry.usage)?;
        self.nonzero("max", entry.max)?;
        self.number("failcnt", Some(entry.failcnt))?;
        self.close()
    }

    /// Every line of `key number`.
    pub fn all_of(&mut self, text: &str) -> fmt::Result {
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            if let Ok(number) = value.trim().parse() {
                self.number(key, Some(number))?;
            }
        }
        Ok(())
    }

    /// What block devices did: their numbers, the operation and how much; nothing is left out.
    pub fn operations<'t>(
        &mut self,
        name: &str,
        entries: &mut dyn Iterator<Item = (&'t str, &'t str, &'t str)>,
    ) -> fmt::Result {
        let mut any = false;
        for (device, operation, value) in entries {
            let number = |text: &str| text.parse::<u64>().ok();
            let Some((major, minor)) = device.split_once(':') else {
                continue;
            };
            match core::mem::replace(&mut any, true) {
                false => {
                    self.key(name)?;
                    self.out.write_str("[")?;
                }
                true => self.out.write_str(",")?,
            }
            self.begin()?;
            self.nonzero("major", number(major))?;
            self.nonzero("minor", number(minor))?;
            self.key("op")?;
            write!(self.out, "\"{operation}\"")?;
            self.nonzero("value", number(value))?;
            self.close()?;
        }
        if any { self.out.write_str("]") } else { Ok(()) }
    }
}
