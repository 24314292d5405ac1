//! Writes limits to the files of a cgroup, in order. An update that fails half-way is undone.

use crate::files;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{Error, Result};
use runtime::facts::join;
use runtime::limits::{Absent, Limit};
use rustix::fs::CWD;
use rustix::io::Errno;

/// The directory of the limit's file. The error names the field that needs it.
fn directory_of(limit: &Limit, directory: &impl Fn(&str) -> Result<String>) -> Result<String> {
    directory(limit.controller()).map_err(|e| Error::new(format!("{}: {e}", limit.field)))
}

/// Writes the limit to this directory. `old` receives the value that undoes it.
fn write_one(
    limit: &Limit,
    directory: &str,
    old: Option<&mut Vec<(String, String)>>,
) -> Result<()> {
    let mut path = join(directory, &limit.file);
    let mut value = &limit.value;
    if let Absent::Instead(file, other) = &limit.absent
        && rustix::fs::access(path.as_str(), rustix::fs::Access::EXISTS).is_err()
    {
        (path, value) = (join(directory, file), other);
    }
    if let Some(old) = old
        && let Ok(before) = files::read(CWD, path.as_str())
    {
        let before = String::from_utf8_lossy(&before).into_owned();
        old.push((path.clone(), limit.undoing(value, &before)));
    }
    let Err(errno) = files::write(CWD, path.as_str(), value.as_bytes()) else {
        return Ok(());
    };
    let what = format!("{}: cannot write {value:?} to {path}", limit.field);
    match (errno, &limit.absent) {
        (Errno::NOENT, Absent::Ignore) => Ok(()),
        (Errno::NOENT, _) => Err(Error::new(format!(
            "{what}: this host's cgroups have no such limit"
        ))),
        (Errno::BUSY, _) if limit.controller() == "memory" => Err(Error::new(format!(
            "{what}: the container uses more than that"
        ))),
        _ => Err(Error::from_errno(what, errno)),
    }
}

/// Writes the limits in order. `directory` maps a controller to the directory of its files.
pub fn write(limits: &[Limit], directory: impl Fn(&str) -> Result<String>) -> Result<()> {
    limits
        .iter()
        .try_for_each(|limit| write_one(limit, &directory_of(limit, &directory)?, None))
}

/// The previous values, by file.
pub struct Undo(Vec<(String, String)>);

impl Undo {
    pub fn undo(&self) {
        for (path, value) in self.0.iter().rev() {
            let _ = files::write(CWD, path.as_str(), value.as_bytes());
        }
    }
}

/// Like `write`, for a cgroup in use. If one limit fails, those before it are restored.
pub fn replace(limits: &[Limit], directory: impl Fn(&str) -> Result<String>) -> Result<Undo> {
    let mut old = Vec::new();
    let mut all = limits.iter();
    let result = all
        .try_for_each(|limit| write_one(limit, &directory_of(limit, &directory)?, Some(&mut old)));
    let undo = Undo(old);
    result.inspect_err(|_| undo.undo()).map(|()| undo)
}
