//! The container's cgroup: made at its path in every hierarchy, limited, joined and removed. What differs
//! between the versions is in v1.rs and v2.rs.

mod v1;
mod v2;

use crate::error::{Error, Result, fail};
use crate::host::{CGROUPS, Cgroups, join};
use crate::spec::Resources;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// The path below each hierarchy's mount point: absolute, without `.` or `..`.
pub fn path(cgroups_path: Option<&str>, id: &str) -> Result<String> {
    let Some(path) = cgroups_path else {
        return Ok(format!("/{id}"));
    };
    let mut clean = String::new();
    for name in path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
    {
        if name == ".." {
            fail!("config.json: linux.cgroupsPath: \"..\" is not allowed, found {path:?}");
        }
        clean.push('/');
        clean.push_str(name);
    }
    if clean.is_empty() {
        fail!(
            "config.json: linux.cgroupsPath: the root cgroup cannot be a container's, found {path:?}"
        );
    }
    Ok(clean)
}

/// Directories of the cgroup at `path`: one on v2, one per hierarchy on v1.
pub fn directories(cgroups: &Cgroups, path: &str) -> Vec<String> {
    match cgroups {
        Cgroups::V2 => [join(CGROUPS, path)].into(),
        Cgroups::V1(hierarchies) => hierarchies
            .iter()
            .map(|h| join(&h.mountpoint, path))
            .collect(),
    }
}

/// A cgroup that was made, and is removed again unless the container comes to be.
pub struct Cgroup<'h> {
    cgroups: &'h Cgroups,
    pub path: String,
}

impl<'h> Cgroup<'h> {
    /// One that is there already.
    pub fn existing(cgroups: &'h Cgroups, path: String) -> Self {
        Self { cgroups, path }
    }

    /// Makes the cgroup and sets its limits. On failure nothing of it is left.
    pub fn make(cgroups: &'h Cgroups, path: &str, resources: &Resources<'_>) -> Result<Self> {
        let made = Self {
            cgroups,
            path: path.to_owned(),
        };
        let result = match cgroups {
            Cgroups::V2 => v2::make(path, resources),
            Cgroups::V1(hierarchies) => v1::make(hierarchies, path, resources),
        };
        match result {
            Ok(()) => Ok(made),
            Err(error) => {
                let _ = remove(cgroups, path);
                Err(error)
            }
        }
    }

    /// The directory to be born in, where there is cgroup v2.
    pub fn birthplace(&self) -> Result<Option<OwnedFd>> {
        let directory = match self.cgroups {
            Cgroups::V2 => join(CGROUPS, &self.path),
            Cgroups::V1(hierarchies) => match hierarchies.iter().find(|h| h.is_v2()) {
                Some(h) => join(&h.mountpoint, &self.path),
                None => return Ok(None),
            },
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, directory.as_str(), flags, Mode::empty());
        opened
            .map(Some)
            .map_err(|e| Error::from_errno(format!("cannot open the cgroup {directory}"), e))
    }

    /// Moves a process into the v1 hierarchies.
    pub fn join(&self, pid: i32) -> Result<()> {
        match self.cgroups {
            Cgroups::V2 => Ok(()),
            Cgroups::V1(hierarchies) => v1::join(hierarchies, &self.path, pid),
        }
    }
}

/// Makes a directory and those above it that are missing, below `mountpoint`; `each` sees every new one.
fn make_directories(
    mountpoint: &str,
    path: &str,
    each: impl Fn(&str, &str) -> Result<()>,
) -> Result<()> {
    let directory = join(mountpoint, path);
    let make = |at: &str| rustix::fs::mkdirat(CWD, at, Mode::from_raw_mode(0o755));
    let failed = |at: &str, errno| {
        Err(Error::from_errno(
            format!("cannot make the cgroup {at}"),
            errno,
        ))
    };
    match make(&directory) {
        Ok(()) => return each(parent(&directory), &directory),
        Err(Errno::EXIST) => return check_empty(&directory),
        Err(Errno::NOENT) => {}
        Err(errno) => return failed(&directory, errno),
    }
    let mut at = mountpoint.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = join(&at, name);
        match make(&at) {
            Ok(()) => each(parent(&at), &at)?,
            Err(Errno::EXIST) => {}
            Err(errno) => return failed(&at, errno),
        }
    }
    Ok(())
}

fn parent(directory: &str) -> &str {
    directory.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A cgroup that exists is taken when nobody is in it, as runc does.
fn check_empty(directory: &str) -> Result<()> {
    let procs = crate::files::read(CWD, join(directory, "cgroup.procs").as_str())?;
    if !procs.is_empty() {
        fail!(
            "the cgroup {directory} is not empty: another container may use the same linux.cgroupsPath"
        );
    }
    Ok(())
}

/// Removes the cgroup at `path` from every hierarchy. The kernel may still be reaping its last
/// processes: tries for a while, then says who is left.
pub fn remove(cgroups: &Cgroups, path: &str) -> Result<()> {
    directories(cgroups, path)
        .iter()
        .try_for_each(|directory| remove_directory(directory))
}

const TRIES: u32 = 200;

fn remove_directory(directory: &str) -> Result<()> {
    for attempt in 0..TRIES {
        match rustix::fs::unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {
                // Cgroups that the container made below its own go first.
                for below in subdirectories(directory) {
                    remove_directory(&below)?;
                }
            }
            Err(errno) => {
                return Err(Error::from_errno(
                    format!("cannot remove the cgroup {directory}"),
                    errno,
                ));
            }
        }
        let pause = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 100_000 << (attempt / 20).min(8),
        };
        let _ = rustix::thread::nanosleep(&pause);
    }
    fail!(
        "cannot remove the cgroup {directory}: processes {} are still in it",
        members(directory).join(", ")
    )
}

fn subdirectories(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::openat(CWD, directory, flags, Mode::empty()) else {
        return found;
    };
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = rustix::fs::RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(Ok(entry)) = entries.next() {
        if entry.file_type() == rustix::fs::FileType::Directory
            && let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            found.push(join(directory, name));
        }
    }
    found
}

fn members(directory: &str) -> Vec<String> {
    let procs =
        crate::files::read(CWD, join(directory, "cgroup.procs").as_str()).unwrap_or_default();
    String::from_utf8_lossy(&procs)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The processes in the cgroup and in those below it, once each.
pub fn processes(cgroups: &Cgroups, path: &str) -> Vec<i32> {
    let Some(directory) = directories(cgroups, path).into_iter().next() else {
        return Vec::new();
    };
    let (mut pids, mut todo) = (Vec::new(), Vec::from([directory]));
    while let Some(directory) = todo.pop() {
        pids.extend(
            members(&directory)
                .iter()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
        todo.extend(subdirectories(&directory));
    }
    pids
}

/// Sends SIGKILL to everything in the cgroup: at once where the kernel can (cgroup.kill, 5.14).
pub fn kill(cgroups: &Cgroups, path: &str) {
    if *cgroups == Cgroups::V2 {
        let file = join(&join(CGROUPS, path), "cgroup.kill");
        if crate::files::write(CWD, file.as_str(), b"1").is_ok() {
            return;
        }
    }
    const SIGKILL: i32 = 9;
    for pid in processes(cgroups, path) {
        let _ = syscalls::calls::kill(pid, SIGKILL);
    }
}

/// Lets a frozen cgroup run again: on v1 a frozen process is not ended even by SIGKILL.
pub fn thaw(cgroups: &Cgroups, path: &str) {
    let (directory, file, value) = match cgroups {
        Cgroups::V2 => (join(CGROUPS, path), "cgroup.freeze", "0"),
        Cgroups::V1(hierarchies) => match hierarchies.iter().find(|h| h.has("freezer")) {
            Some(freezer) => (join(&freezer.mountpoint, path), "freezer.state", "THAWED"),
            None => return,
        },
    };
    // One that was never frozen, or is gone, needs nothing.
    let _ = crate::files::write(CWD, join(&directory, file).as_str(), value.as_bytes());
}

/// Writes one limit, named by its field when that fails.
fn set(directory: &str, file: &str, value: &str, field: &str) -> Result<()> {
    let path = join(directory, file);
    crate::files::write(CWD, path.as_str(), value.as_bytes()).map_err(|errno| {
        let what =
            format!("config.json: linux.resources.{field}: cannot write {value:?} to {path}");
        if errno == Errno::NOENT {
            return Error::new(format!("{what}: this host's cgroups have no such limit"));
        }
        Error::from_errno(what, errno)
    })
}

/// pids.max for a limit of the spec: negative is no limit, and 0 allows no fork.
fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        // A cgroup of no process at all could not be born into; one of one process cannot fork.
        0 => "1".to_owned(),
        n => format!("{n}"),
    }
}
