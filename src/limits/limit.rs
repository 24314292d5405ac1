//! One limit: a value for one file of the cgroup. Both cgroup versions use it.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// A value for one file of the cgroup. The controller is the part of the file's name before the first dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub file: Cow<'static, str>,
    pub value: String,
    /// The field below `linux.resources`.
    pub field: Cow<'static, str>,
    /// The file has one line per key, and the value begins with the key.
    pub keyed: bool,
    pub absent: Absent,
}

/// What to do if the cgroup has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    Fail,
    /// Nothing: the kernel lacks the feature that the value would disable.
    Ignore,
    /// Write another file instead.
    Instead(&'static str, String),
}

impl Limit {
    pub fn new(file: &'static str, value: String, field: &'static str) -> Self {
        Self::of(Cow::Borrowed(file), value, Cow::Borrowed(field))
    }

    /// The same, for names that are computed from the spec.
    pub fn of(file: Cow<'static, str>, value: String, field: Cow<'static, str>) -> Self {
        Self {
            file,
            value,
            field,
            keyed: false,
            absent: Absent::Fail,
        }
    }

    pub fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    pub fn or_ignored(mut self) -> Self {
        self.absent = Absent::Ignore;
        self
    }

    pub fn or(mut self, file: &'static str, value: String) -> Self {
        self.absent = Absent::Instead(file, value);
        self
    }

    pub fn controller(&self) -> &str {
        self.file.split('.').next().unwrap_or_default()
    }

    /// The value that restores `before` after `value` was written.
    pub fn undoing(&self, value: &str, before: &str) -> String {
        if !self.keyed {
            // An empty cpuset is written as an empty line. Some files put `default` before the number.
            let line = before.lines().next().unwrap_or("\n");
            return line.strip_prefix("default ").unwrap_or(line).to_string();
        }
        let (key, set) = value.split_once(' ').unwrap_or((value, ""));
        let is_it = |line: &&str| line.split(' ').next() == Some(key);
        if let Some(line) = before.lines().find(is_it) {
            return line.to_string();
        }
        // No line for this key before: io.max and rdma.max reset each named limit, other files take 0.
        match set.split_once('=') {
            Some((name, _)) => format!("{key} {name}=max"),
            None => format!("{key} 0"),
        }
    }
}

/// Adds a limit for each number that is set: file, value, field.
pub fn numbers(limits: &mut Vec<Limit>, given: &[(&'static str, Option<i128>, &'static str)]) {
    for (file, value, field) in given {
        if let Some(value) = value {
            limits.push(Limit::new(file, value.to_string(), field));
        }
    }
}

/// Adds a limit for each text that is set, likewise.
pub fn texts(limits: &mut Vec<Limit>, given: &[(&'static str, Option<&str>, &'static str)]) {
    for (file, value, field) in given {
        if let Some(value) = value {
            limits.push(Limit::new(file, (*value).to_string(), field));
        }
    }
}

/// The number, unless it is 0, which counts as unset.
pub fn set<N: Into<i128> + Copy>(number: Option<N>) -> Option<i128> {
    number.map(Into::into).filter(|n| *n != 0)
}

/// The present values of the cgroup's files, to which new limits are fitted. `None` while the cgroup is being
/// created, when all values are the kernel's defaults.
pub struct Current<'a>(pub Option<&'a Read<'a>>);

/// Reads a file of the cgroup.
pub type Read<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl Current<'_> {
    pub fn text(&self, file: &str) -> Option<String> {
        self.0.and_then(|read| read(file))
    }

    /// The number in a file. `None` for `max` or a missing file.
    pub fn number(&self, file: &str) -> Option<i64> {
        self.text(file)?.trim().parse().ok()
    }
}
