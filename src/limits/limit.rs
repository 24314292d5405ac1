//! One limit: the value for one file of the cgroup, the same for both versions of cgroups.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// One value for one file of the cgroup. The controller is what stands before the file's first dot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    pub file: Cow<'static, str>,
    pub value: String,
    /// Below `linux.resources`.
    pub field: Cow<'static, str>,
    /// The file holds a line for each key, which the value begins with.
    pub keyed: bool,
    pub absent: Absent,
}

/// What it means when the cgroup has no such file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    Fail,
    /// The kernel lacks nothing that the value would change.
    Ignore,
    /// Another file takes its place.
    Instead(&'static str, String),
}

impl Limit {
    pub fn new(file: &'static str, value: String, field: &'static str) -> Self {
        Self::of(Cow::Borrowed(file), value, Cow::Borrowed(field))
    }

    /// The same where the names are made from the spec.
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

    /// The value to write in order to have `before` again.
    pub fn undoing(&self, value: &str, before: &str) -> String {
        if !self.keyed {
            // An empty set of CPUs is written as an empty line. Some files say `default` before their number.
            let line = before.lines().next().unwrap_or("\n");
            return line.strip_prefix("default ").unwrap_or(line).to_string();
        }
        let (key, set) = value.split_once(' ').unwrap_or((value, ""));
        let is_it = |line: &&str| line.split(' ').next() == Some(key);
        if let Some(line) = before.lines().find(is_it) {
            return line.to_string();
        }
        // There was none: io.max and rdma.max name what they limit, the others take 0 for nothing.
        match set.split_once('=') {
            Some((name, _)) => format!("{key} {name}=max"),
            None => format!("{key} 0"),
        }
    }
}

/// Adds the numbers that are given: file, value, field.
pub fn numbers(limits: &mut Vec<Limit>, given: &[(&'static str, Option<i128>, &'static str)]) {
    for (file, value, field) in given {
        if let Some(value) = value {
            limits.push(Limit::new(file, value.to_string(), field));
        }
    }
}

/// Adds the texts that are given, likewise.
pub fn texts(limits: &mut Vec<Limit>, given: &[(&'static str, Option<&str>, &'static str)]) {
    for (file, value, field) in given {
        if let Some(value) = value {
            limits.push(Limit::new(file, (*value).to_string(), field));
        }
    }
}

/// A number that is set; 0 is not.
pub fn set<N: Into<i128> + Copy>(number: Option<N>) -> Option<i128> {
    number.map(Into::into).filter(|n| *n != 0)
}

/// What a file of the cgroup holds now, so that a new limit can be fitted to the others; `None` while the
/// cgroup is being made, when everything is the kernel's default.
pub struct Current<'a>(pub Option<&'a Read<'a>>);

/// The text of a file of the cgroup.
pub type Read<'a> = dyn Fn(&str) -> Option<String> + 'a;

impl Current<'_> {
    pub fn text(&self, file: &str) -> Option<String> {
        self.0.and_then(|read| read(file))
    }

    /// A number; `None` for `max` and for nothing.
    pub fn number(&self, file: &str) -> Option<i64> {
        self.text(file)?.trim().parse().ok()
    }
}
