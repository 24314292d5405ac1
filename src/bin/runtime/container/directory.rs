//! The directory of a container below the root of all: its state, its config.json, its socket.

use super::Lock;
use crate::files;
use crate::sd_notify;
use alloc::borrow::ToOwned;
use alloc::collections::BinaryHeap;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{During, Error, Reason, Result, fail};
use runtime::state::{State, check_id};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use syscalls::calls;

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const NEXT: &str = "state.json.next";
/// The socket on which the child waits for `start`, and the file that it keeps locked while it waits.
pub const START: &str = "start";
const WAITING: &str = "waiting";

/// A container's directory.
pub struct Directory {
    pub id: String,
    pub(super) fd: OwnedFd,
    /// The root directory that contains it.
    pub(super) parent: OwnedFd,
}

fn open_directory(dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir, name, flags, Mode::empty())
}

/// Opens the root directory of all containers. Creates it if it is missing and `make` is set.
fn open_root(root: &str, make: bool) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(CWD, root, flags, Mode::empty());
    match open() {
        Err(Errno::NOENT) if make => {
            // The sticky bit keeps programs that clean up $XDG_RUNTIME_DIR from removing it.
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
        Errno::ROFS | Errno::NOSPC => Error::new(format!(
            "{what}: {} (--root names another one)",
            Reason(errno)
        )),
        _ => Error::from_errno(what, errno),
    }
}

impl Directory {
    /// Creates the directory of a new container, locked until its creation is committed or undone.
    pub fn make(root: &str, id: &str) -> Result<Self> {
        let mut parent = open_root(root, true)?;
        // A concurrent `delete --force` may remove the directory before it is locked.
        loop {
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
            let fd = match open_directory(parent.as_fd(), id) {
                Err(Errno::NOENT) => continue,
                fd => fd.inspect_err(|_| {
                    let _ = rustix::fs::unlinkat(&parent, id, AtFlags::REMOVEDIR);
                }),
            };
            let directory = Self {
                id: id.to_owned(),
                fd: fd.during(|| format!("cannot open {root}/{id}"))?,
                parent,
            };
            match directory.lock(Lock::Exclusive) {
                Ok(true) => return Ok(directory),
                Ok(false) => parent = directory.parent,
                Err(error) => {
                    let _ = directory.remove();
                    return Err(error);
                }
            }
        }
    }

    /// Opens the directory of a container. Returns `None` if there is no such container.
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
        // A heap, because each standard sort adds 5 KB of code.
        Ok(BinaryHeap::from(ids).into_sorted_vec())
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The path, absolute and without links.
    pub fn path(&self) -> Result<String> {
        files::path_of(self.fd()).during(|| format!("cannot find the path of {}", self.id))
    }

    /// The path of a file in it, for errors.
    fn place(&self, name: &str) -> String {
        match self.path() {
            Ok(path) => format!("{path}/{name}"),
            Err(_) => format!("{name} of container {:?}", self.id),
        }
    }

    /// Replaces the state file atomically.
    pub fn write(&self, state: &State) -> Result<()> {
        self.prepare(state)?;
        self.commit()
    }

    /// Writes the new state to a temporary file. `commit` renames it into place.
    pub fn prepare(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state)
            .map_err(|e| Error::new(format!("cannot write {STATE}: {e}")))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, NEXT, flags, Mode::from_raw_mode(0o600))
            .and_then(|file| files::write_all(&file, &bytes))
            .during(|| format!("cannot write {}", self.place(NEXT)))
    }

    /// Whether a new state was written that never came into its place. Only a process that was born has one.
    pub(super) fn has_next(&self) -> Result<bool> {
        match rustix::fs::statat(&self.fd, NEXT, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(false),
            other => other
                .map(|_| true)
                .during(|| format!("cannot look at {NEXT} of container {:?}", self.id)),
        }
    }

    pub fn commit(&self) -> Result<()> {
        rustix::fs::renameat(&self.fd, NEXT, &self.fd, STATE)
            .during(|| format!("cannot write {}", self.place(STATE)))
    }

    /// The state. `None` if it was never written, in which case nothing else was created either.
    pub(super) fn read(&self) -> Result<Option<State>> {
        let what = || format!("cannot read the state of container {:?}", self.id);
        // A FIFO would block.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(&self.fd, STATE, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            file => file.during(what)?,
        };
        let bytes = files::read_open(&file).during(what)?;
        let state = State::parse(STATE, &bytes)
            .map_err(|error| Error::new(format!("{}: {error}", what())))?;
        if state.id != self.id {
            fail!("{}: {STATE}: id: it is of container {:?}", what(), state.id);
        }
        Ok(Some(state))
    }

    /// Keeps a copy of config.json as of the creation of the container (runtime.md, Create).
    pub fn keep_config(&self, text: &[u8]) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, CONFIG, flags, Mode::from_raw_mode(0o600))
            .and_then(|file| files::write_all(&file, text))
            .during(|| format!("cannot write {}", self.place(CONFIG)))
    }

    /// The text of the kept config.json.
    pub fn config(&self) -> Result<Vec<u8>> {
        files::read(&self.fd, CONFIG)
    }

    /// Creates the file that the waiting child keeps locked. Closing the descriptor releases the lock.
    pub fn lock_waiting(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let what = || format!("cannot lock {}", self.place(WAITING));
        let file = rustix::fs::openat(&self.fd, WAITING, flags, Mode::from_raw_mode(0o600))
            .during(what)?;
        calls::lock_file(file.as_fd()).during(what)?;
        Ok(file)
    }

    pub(super) fn is_waiting(&self) -> Result<bool> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, WAITING, flags, Mode::empty())
            .and_then(|file| calls::file_is_locked(file.as_fd()))
        {
            Err(Errno::NOENT) => Ok(false),
            locked => {
                locked.during(|| format!("cannot look at {WAITING} of container {:?}", self.id))
            }
        }
    }

    /// Removes the directory with its contents. Succeeds if it no longer exists.
    pub fn remove(&self) -> Result<()> {
        let what = || format!("cannot remove the state of container {:?}", self.id);
        let mut buffer = Vec::with_capacity(4096);
        // The directory may have been read before, so start again at its beginning.
        rustix::fs::seek(&self.fd, rustix::fs::SeekFrom::Start(0)).during(what)?;
        let mut entries = rustix::fs::RawDir::new(&self.fd, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            // A concurrent command may be removing it as well.
            let Ok(entry) = entry else { break };
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        // The state goes last: while it exists, `delete` knows what to remove.
        let is_state = |name: &CString| name.to_bytes() == STATE.as_bytes();
        if let Some(at) = names.iter().position(is_state) {
            let state = names.remove(at);
            names.push(state);
        }
        for name in names {
            match rustix::fs::unlinkat(&self.fd, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // The directory of the notify socket is the only one there may be.
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
