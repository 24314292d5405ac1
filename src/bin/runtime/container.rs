//! A container's directory below the root, with the state that is kept there, and what the kernel says of its process.

use crate::files;
use crate::sd_notify;
use alloc::borrow::ToOwned;
use alloc::collections::BinaryHeap;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{During, Error, Reason, Result, fail};
use runtime::state::{CREATED, CREATING, RUNNING, STOPPED, Stat, State, check_id};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const NEXT: &str = "state.json.next";
/// The socket on which the child waits for `start`, and the file it keeps locked as long as it waits.
pub const START: &str = "start";
const WAITING: &str = "waiting";

/// A container's directory.
pub struct Directory {
    pub id: String,
    fd: OwnedFd,
    /// The root directory it lies in.
    parent: OwnedFd,
}

fn open_directory(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens the root directory of all containers, making it when it is missing.
fn open_root(root: &str, make: bool) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(CWD, root, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) if make => {
            // The sticky bit keeps those away who clean up $XDG_RUNTIME_DIR.
            if let Err((at, errno)) = files::make_directories(root, 0o1700) {
                return Err(no_root(format!("cannot make the directory {at}"), errno));
            }
            open()
        }
        other => other,
    }
    .map_err(|errno| no_root(format!("cannot open the root directory {root}"), errno))
}

fn no_root(what: String, errno: Errno) -> Error {
    match errno {
        Errno::ACCESS => Error::new(format!(
            "{what}: {} (an ordinary user needs XDG_RUNTIME_DIR in the environment, or --root)",
            Reason(errno)
        )),
        _ => Error::from_errno(what, errno),
    }
}

impl Directory {
    /// Makes the directory of a new container.
    pub fn make(root: &str, id: &str) -> Result<Self> {
        let parent = open_root(root, true)?;
        match rustix::fs::mkdirat(&parent, id, Mode::from_raw_mode(0o711)) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                fail!("container with id exists: {id} (see runtime list, or choose another id)")
            }
            Err(errno) => {
                return Err(Error::from_errno(
                    format!("cannot make the directory {root}/{id}"),
                    errno,
                ));
            }
        }
        let fd =
            open_directory(parent.as_fd(), id).during(|| format!("cannot open {root}/{id}"))?;
        Ok(Self {
            id: id.to_owned(),
            fd,
            parent,
        })
    }

    /// Opens the directory of a container there is; the words of the error are what engines look for.
    pub fn open(root: &str, id: &str) -> Result<Self> {
        check_id(id)?;
        match Self::find(root, id)? {
            Some(directory) => Ok(directory),
            None => fail!("container {id:?} does not exist"),
        }
    }

    /// The same, `None` when there is no such container.
    pub fn find(root: &str, id: &str) -> Result<Option<Self>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = match rustix::fs::openat(CWD, root, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(|errno| {
                no_root(format!("cannot open the root directory {root}"), errno)
            })?,
        };
        match open_directory(parent.as_fd(), id) {
            Ok(fd) => Ok(Some(Self {
                id: id.to_owned(),
                fd,
                parent,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::from_errno(format!("cannot open {root}/{id}"), errno)),
        }
    }

    /// The ids of all containers, sorted.
    pub fn list(root: &str) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = match rustix::fs::openat(CWD, root, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(ids),
            other => other.map_err(|errno| {
                no_root(format!("cannot open the root directory {root}"), errno)
            })?,
        };
        let mut buffer = Vec::with_capacity(8192);
        let mut entries = rustix::fs::RawDir::new(dir, buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.during(|| format!("cannot read the directory {root}"))?;
            if let Ok(name) = entry.file_name().to_str()
                && check_id(name).is_ok()
            {
                ids.push(name.to_owned());
            }
        }
        // The standard sorts are made for speed, and 5 KB each.
        Ok(BinaryHeap::from(ids).into_sorted_vec())
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Its path, absolute and without links.
    pub fn path(&self) -> Result<String> {
        files::path_of(self.fd()).during(|| format!("cannot find the path of {}", self.id))
    }

    /// Writes the state, all or nothing.
    pub fn write(&self, state: &State) -> Result<()> {
        self.prepare(state)?;
        self.commit()
    }

    /// Writes the state beside the one there is; `commit` puts it in its place.
    pub fn prepare(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state)
            .map_err(|e| Error::new(format!("cannot write {STATE}: {e}")))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, NEXT, flags, Mode::from_raw_mode(0o600))
            .and_then(|file| files::write_all(&file, &bytes))
            .during(|| format!("cannot write {NEXT} of container {:?}", self.id))
    }

    pub fn commit(&self) -> Result<()> {
        rustix::fs::renameat(&self.fd, NEXT, &self.fd, STATE)
            .during(|| format!("cannot write {STATE} of container {:?}", self.id))
    }

    pub fn read(&self) -> Result<State> {
        let what = || format!("cannot read the state of container {:?}", self.id);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, STATE, flags, Mode::empty()) {
            Err(Errno::NOENT) => fail!(
                "container {:?} does not exist: it is being made or removed, or was left half-made",
                self.id
            ),
            file => file.during(what)?,
        };
        let bytes = files::read_open(&file).during(what)?;
        State::parse(STATE, &bytes).map_err(|error| Error::new(format!("{}: {error}", what())))
    }

    /// Keeps config.json as it was when the container was created (runtime.md, Create).
    pub fn keep_config(&self, text: &[u8]) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, CONFIG, flags, Mode::from_raw_mode(0o600))
            .and_then(|file| files::write_all(&file, text))
            .during(|| format!("cannot write {CONFIG} of container {:?}", self.id))
    }

    /// The text of config.json that was kept.
    pub fn config(&self) -> Result<Vec<u8>> {
        files::read(&self.fd, CONFIG)
    }

    /// Makes the file that the waiting child keeps locked; the lock goes with the descriptor.
    pub fn lock_waiting(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let what = || format!("cannot lock the file {WAITING} of container {:?}", self.id);
        let file = rustix::fs::openat(&self.fd, WAITING, flags, Mode::from_raw_mode(0o600))
            .during(what)?;
        syscalls::calls::lock_file(file.as_fd()).during(what)?;
        Ok(file)
    }

    fn is_waiting(&self) -> bool {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, WAITING, flags, Mode::empty())
            .and_then(|file| syscalls::calls::file_is_locked(file.as_fd()))
            .unwrap_or(false)
    }

    /// The status, and the process if it lives.
    pub fn status(&self, state: &State) -> (&'static str, Option<OwnedFd>) {
        if state.pid == 0 {
            return (CREATING, None);
        }
        match alive(state.pid, state.start_time) {
            None => (STOPPED, None),
            Some(pidfd) if self.is_waiting() => (CREATED, Some(pidfd)),
            Some(pidfd) => (RUNNING, Some(pidfd)),
        }
    }

    /// Removes the directory with all it holds; done when it is gone already.
    pub fn remove(&self) -> Result<()> {
        let what = || format!("cannot remove the state of container {:?}", self.id);
        let mut buffer = Vec::with_capacity(4096);
        // The descriptor may have been read before: start over.
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0)).during(what)?;
        let mut entries = rustix::fs::RawDir::new(&self.fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            // Somebody else may be removing it, too, and be quicker.
            let Ok(entry) = entry else { break };
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        // The state goes last: as long as it is there, `delete` finds what to remove.
        let is_state = |name: &CString| name.to_bytes() == STATE.as_bytes();
        if let Some(at) = names.iter().position(is_state) {
            let state = names.remove(at);
            names.push(state);
        }
        for name in names {
            match rustix::fs::unlinkat(&self.fd, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // The one directory there may be, with its one socket.
                Err(Errno::ISDIR) => {
                    let _ = rustix::fs::unlinkat(&self.fd, sd_notify::SOCKET, AtFlags::empty());
                    rustix::fs::unlinkat(&self.fd, &*name, AtFlags::REMOVEDIR).during(what)?;
                }
                Err(errno) => return Err(Error::from_errno(what(), errno)),
            }
        }
        match rustix::fs::unlinkat(&self.parent, self.id.as_str(), AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(Error::from_errno(what(), errno)),
        }
    }
}

/// A pidfd of the process, if it still is the one that started then and has not ended.
pub fn alive(pid: i32, start_time: u64) -> Option<OwnedFd> {
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // Read after the pidfd is held: what it says is of the process behind it, or of none.
    let stat = stat(pid)?;
    (stat.started == start_time && !matches!(stat.status, 'Z' | 'X')).then_some(pidfd)
}

/// What the kernel says of a process; `None` when there is no such process.
pub fn stat(pid: i32) -> Option<Stat> {
    let text = files::read(CWD, format!("/proc/{pid}/stat").as_str()).ok()?;
    Stat::parse(core::str::from_utf8(&text).ok()?)
}
