//! Makes the directories of a new cgroup, and decides whether one that exists may be used.

use super::{members, open, remove_directory, subdirectories};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{Error, Result, fail};
use runtime::facts::join;
use rustix::fd::AsFd;
use rustix::fs::{Access, CWD, Mode};
use rustix::io::Errno;

/// Creates a directory and its missing parents below `base`, which exists. `made` receives its path, and `base` is
/// never created: a cgroup that was removed meanwhile would come back as nobody's.
pub fn make_directories(base: &str, path: &str, root: bool, made: &mut Vec<String>) -> Result<()> {
    let directory = join(base, path);
    let make = |at: &str| rustix::fs::mkdirat(CWD, at, Mode::from_raw_mode(0o755));
    let failed = |at: &str, errno| {
        Err(Error::from_errno(
            format!("cannot make the cgroup {at}"),
            errno,
        ))
    };
    let mut result = make(&directory);
    if result == Err(Errno::NOENT) {
        let mut at = base.to_owned();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            at = join(&at, name);
            result = make(&at);
            if let Err(errno) = result
                && errno != Errno::EXIST
            {
                return failed(&at, errno);
            }
        }
    }
    match result {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            // An ordinary user cannot use a cgroup of others, whatever is in it.
            let access = Access::WRITE_OK | Access::EXEC_OK;
            if !root && let Err(errno) = rustix::fs::access(directory.as_str(), access) {
                return failed(&directory, errno);
            }
            check_usable(&directory)?;
        }
        Err(errno) => return failed(&directory, errno),
    }
    made.push(directory);
    Ok(())
}

pub fn remove_made(made: &[String]) {
    for directory in made {
        let _ = remove_directory(directory);
    }
}

/// Checks that an existing cgroup is empty, so that no one else's processes are limited, killed or removed with the
/// container: no process in it or below, no cgroup below, not frozen.
pub fn check_usable(directory: &str) -> Result<()> {
    let opened = open(directory)?;
    let below = subdirectories(opened.as_fd())?;
    if !below.is_empty() || !members(opened.as_fd())?.is_empty() {
        let what = match below.first() {
            Some(name) => format!("holds the cgroup {name:?}"),
            None => "has processes".to_owned(),
        };
        fail!(
            "the container's cgroup is not empty: {directory} {what}; another one may use the same linux.cgroupsPath"
        );
    }
    // A process in a frozen cgroup would wait for someone to thaw it.
    for (file, frozen) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
        let path = join(directory, file);
        if crate::files::read(CWD, &path).is_ok_and(|text| text.trim_ascii() == frozen.as_bytes()) {
            fail!("the container's cgroup unexpectedly frozen (see {path})");
        }
    }
    Ok(())
}
