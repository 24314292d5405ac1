//! Limits as a flat list of files to write, the same for both versions of cgroups: made from the spec without
//! touching anything, then written in order; an update that fails half-way is taken back.

use crate::error::{Error, Result};
use crate::files;
use crate::host::join;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rustix::fs::CWD;
use rustix::io::Errno;

/// One value for one file of the cgroup. The controller is what stands before the file's first dot.
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
pub enum Absent {
    Fail,
    /// The kernel lacks nothing that the value would change.
    Ignore,
    /// Another file takes its place.
    Instead(&'static str, String),
}

impl Limit {
    /// Where it is set; without such a place the error says who asked for it.
    fn directory(&self, directory: &impl Fn(&str) -> Result<String>) -> Result<String> {
        directory(self.controller()).map_err(|e| Error::new(format!("{}: {e}", self.field)))
    }

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

    /// Writes it into this directory; `old` gets what undoes that.
    fn write(&self, directory: &str, old: Option<&mut Vec<(String, String)>>) -> Result<()> {
        let mut path = join(directory, &self.file);
        let mut value = &self.value;
        if let Absent::Instead(file, other) = &self.absent
            && rustix::fs::access(path.as_str(), rustix::fs::Access::EXISTS).is_err()
        {
            (path, value) = (join(directory, file), other);
        }
        if let Some(old) = old
            && let Ok(before) = files::read(CWD, path.as_str())
        {
            let before = String::from_utf8_lossy(&before).into_owned();
            old.push((path.clone(), self.undoing(value, &before)));
        }
        let Err(errno) = files::write(CWD, path.as_str(), value.as_bytes()) else {
            return Ok(());
        };
        let what = format!("{}: cannot write {value:?} to {path}", self.field);
        match (errno, &self.absent) {
            (Errno::NOENT, Absent::Ignore) => Ok(()),
            (Errno::NOENT, _) => Err(Error::new(format!(
                "{what}: this host's cgroups have no such limit"
            ))),
            (Errno::BUSY, _) if self.controller() == "memory" => Err(Error::new(format!(
                "{what}: the container uses more than that"
            ))),
            _ => Err(Error::from_errno(what, errno)),
        }
    }

    /// The value to write in order to have `before` again.
    fn undoing(&self, value: &str, before: &str) -> String {
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

/// Writes the limits in order; `directory` tells where a controller's files are.
pub fn write(limits: &[Limit], directory: impl Fn(&str) -> Result<String>) -> Result<()> {
    limits
        .iter()
        .try_for_each(|limit| limit.write(&limit.directory(&directory)?, None))
}

/// The values that were there before.
pub struct Undo(Vec<(String, String)>);

impl Undo {
    pub fn undo(&self) {
        for (path, value) in self.0.iter().rev() {
            let _ = files::write(CWD, path.as_str(), value.as_bytes());
        }
    }
}

/// The same for limits that replace others: when one fails, those before it are as they were.
pub fn replace(limits: &[Limit], directory: impl Fn(&str) -> Result<String>) -> Result<Undo> {
    let mut old = Vec::new();
    let mut all = limits.iter();
    let result =
        all.try_for_each(|limit| limit.write(&limit.directory(&directory)?, Some(&mut old)));
    let undo = Undo(old);
    result.inspect_err(|_| undo.undo()).map(|()| undo)
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
