//! One container: its directory with the stored state, its status, and the operations on it as a whole: signal, kill,
//! freeze, remove. Every command uses this module.

mod lock;

use crate::cgroup;
use crate::cgroup::systemd::Manager;
use crate::files;
use crate::hooks;
use crate::host;
use crate::log;
use crate::process;
use crate::sd_notify;
use crate::signal;
use alloc::borrow::ToOwned;
use alloc::collections::BinaryHeap;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use runtime::error::{During, Error, Reason, Result, fail};
use runtime::facts::{Cgroups, Location};
use runtime::state::{CREATED, CREATING, PAUSED, RUNNING, STOPPED, State, check_id};
use rustix::event::Timespec;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use syscalls::Start;
use syscalls::calls::{self, SIGKILL};

pub use lock::Lock;

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
const NEXT: &str = "state.json.next";
/// The socket on which the child waits for `start`, and the file that it keeps locked while it waits.
pub const START: &str = "start";
const WAITING: &str = "waiting";

/// A container's directory.
pub struct Directory {
    pub id: String,
    fd: OwnedFd,
    /// The root directory that contains it.
    parent: OwnedFd,
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

    pub fn commit(&self) -> Result<()> {
        rustix::fs::renameat(&self.fd, NEXT, &self.fd, STATE)
            .during(|| format!("cannot write {}", self.place(STATE)))
    }

    /// The state. `None` if it was never written, in which case nothing else was created either.
    fn read(&self) -> Result<Option<State>> {
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

    fn is_waiting(&self) -> Result<bool> {
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

/// A container with its stored state.
pub struct Container {
    pub directory: Directory,
    pub state: State,
}

/// How long a process may take to end that was sent another signal than KILL, right before `delete`. A tenth of a second.
const MOMENT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// How long to wait for a killed process to exit.
const PATIENCE: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};

/// Engines match on the wording.
fn no_container(id: &str) -> Error {
    Error::new(format!("container {id:?} does not exist"))
}

impl Container {
    /// Opens a container that must exist. Engines match on the wording of the error.
    pub fn open(root: &str, id: &str) -> Result<Self> {
        check_id(id)?;
        let Some(directory) = Directory::find(root, id)? else {
            return Err(no_container(id));
        };
        match directory.read()? {
            Some(state) => Ok(Self { directory, state }),
            None => fail!(
                "container {id:?} does not exist: it is being created or removed, or its creation did not finish"
            ),
        }
    }

    /// Opens a container that `list` has found. Returns `None` if it is gone, or has no state yet.
    pub fn listed(root: &str, id: &str) -> Result<Option<Self>> {
        let Some(directory) = Directory::find(root, id)? else {
            return Ok(None);
        };
        Ok(directory.read()?.map(|state| Self { directory, state }))
    }

    /// Opens a container for `delete --force`, after a creation that is under way. Returns `None` if it does not exist. A
    /// container without a state has nothing else, so its directory is removed here.
    pub fn find(root: &str, id: &str) -> Result<Option<Self>> {
        check_id(id)?;
        let Some(directory) = Directory::find(root, id)? else {
            return Ok(None);
        };
        let read = || {
            directory.read().map_err(|error| {
                Error::new(format!(
                    "{error}; nothing was changed, since only this file says which processes and cgroups are the container's"
                ))
            })
        };
        let mut state = read()?;
        let unborn = state
            .as_ref()
            .is_none_or(|state| state.pid == 0 || state.creating);
        if let Some(state) = state.as_ref().filter(|state| state.creating)
            && let Some(pidfd) = process::alive(state.pid, state.start_time)?
        {
            // A hook in the container may hang; then `create` ends with it.
            process::kill(pidfd.as_fd());
        }
        let how = if unborn {
            Lock::Exclusive
        } else {
            Lock::Shared
        };
        if !directory.lock(how)? {
            return Ok(None);
        }
        if unborn {
            state = read()?;
        }
        match state {
            Some(state) => Ok(Some(Self { directory, state })),
            None => directory.remove().map(|()| None),
        }
    }

    /// Locks the container, which must still exist.
    pub fn lock(&self, how: Lock) -> Result<()> {
        match self.directory.lock(how)? {
            true => Ok(()),
            false => Err(no_container(self.id())),
        }
    }

    pub fn id(&self) -> &str {
        &self.state.id
    }

    /// The status, from the kernel's facts, and a pidfd of the init if it is alive. A paused container counts as
    /// running.
    pub fn process(&self) -> Result<(&'static str, Option<OwnedFd>)> {
        if self.state.pid == 0 {
            return Ok((CREATING, None));
        }
        Ok(
            match process::alive(self.state.pid, self.state.start_time)? {
                None => (STOPPED, None),
                Some(pidfd) if self.state.creating => (CREATING, Some(pidfd)),
                Some(pidfd) if self.directory.is_waiting()? => (CREATED, Some(pidfd)),
                Some(pidfd) => (RUNNING, Some(pidfd)),
            },
        )
    }

    /// The status including `paused`, which only the cgroup knows.
    pub fn status(&self, cgroups: &Cgroups) -> Result<&'static str> {
        Ok(match (self.process()?.0, self.state.place()) {
            (RUNNING | CREATED, Some(place)) if cgroup::is_frozen(cgroups, &place)? => PAUSED,
            (status, _) => status,
        })
    }

    /// The cgroup, for commands that require one.
    pub fn cgroup(&self) -> Result<Location> {
        match self.state.place() {
            Some(place) => Ok(place),
            None => fail!("container {:?} has no cgroup", self.id()),
        }
    }

    /// Pauses or resumes every process; a pause that fails leaves them running. It ends when the container does, which frozen
    /// on v1 could not end, and when a signal asks us to stop.
    pub fn freeze(&self, cgroups: &Cgroups, frozen: bool) -> Result<()> {
        let stop = signal::hold()?;
        let ends = || match process::stat(self.state.pid)? {
            Some(stat) => Ok(stat.started != self.state.start_time || stat.dying),
            None => Ok::<_, Error>(true),
        };
        let check = || match calls::next_signal(stop.as_fd()) {
            Some(signal) => Err(Error::interrupted("it was", signal)),
            None if frozen && ends()? => fail!("container not running: it has just ended"),
            None => Ok(()),
        };
        let place = self.cgroup()?;
        cgroup::freeze(cgroups, &place, frozen, &check).map_err(|error| {
            if frozen {
                let _ = cgroup::freeze(cgroups, &place, false, &|| Ok(()));
            }
            let verb = if frozen { "pause" } else { "resume" };
            let text = format!("cannot {verb} container {:?}: {error}", self.id());
            Error::new(text).because(error.why())
        })
    }

    /// Sends a signal to the init. SIGKILL goes to every process of the cgroup.
    pub fn signal(&self, number: i32) -> Result<()> {
        let (status, pidfd) = self.process()?;
        // As in runc: without a pid namespace, the other processes survive the exit of the init.
        let kills = self
            .state
            .place()
            .filter(|_| number == SIGKILL)
            .map(|place| Ok::<_, Error>((host::cgroups()?, place)))
            .transpose()?;
        let Some(pidfd) = pidfd else {
            if status == STOPPED
                && let Some((cgroups, place)) = kills
                && self.directory.lock(Lock::Shared)?
                && !cgroup::processes(&cgroups, &place)?.is_empty()
            {
                return cgroup::kill(&cgroups, &place);
            }
            fail!("container not running: {:?} is {status}", self.id());
        };
        let sent = calls::pidfd_send_signal(pidfd.as_fd(), number)
            .during(|| format!("cannot send signal {number} to container {:?}", self.id()));
        // While `create` runs, it has the lock, and there is no other process.
        let kills = kills.filter(|_| status != CREATING);
        let killed = kills.map_or(Ok(()), |(cgroups, place)| {
            match self.directory.lock(Lock::Shared)? {
                true => cgroup::kill(&cgroups, &place),
                false => Ok(()),
            }
        });
        sent.and(killed)
    }

    /// Sends a signal to every process of the cgroup, even if the container has stopped (as in runc).
    pub fn signal_all(&self, number: i32) -> Result<()> {
        if self.state.pid == 0 || self.state.creating {
            return self.signal(number);
        }
        let Some(place) = self.state.place() else {
            // Without a cgroup, the other processes are unknown. In a pid namespace they die with the init.
            return match self.process()? {
                (_, None) => Ok(()),
                (_, Some(_)) => self.signal(number),
            };
        };
        let cgroups = host::cgroups()?;
        self.lock(Lock::Shared)?;
        if number == SIGKILL {
            return cgroup::kill(&cgroups, &place);
        }
        let what = || format!("cannot send signal {number} to container {:?}", self.id());
        for pid in cgroup::processes(&cgroups, &place)? {
            match calls::kill(pid, number) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => return Err(Error::from_errno(what(), errno)),
            }
        }
        Ok(())
    }

    /// Kills the init and waits, for a limited time, until it has exited.
    pub fn kill_and_wait(&self) -> Result<()> {
        let (_, Some(pidfd)) = self.process()? else {
            return Ok(());
        };
        let sent = calls::pidfd_send_signal(pidfd.as_fd(), SIGKILL);
        let place = self.state.place();
        let cgroup = place.map(|place| Ok::<_, Error>((host::cgroups()?, place)));
        let cgroup = cgroup.transpose()?;
        if let Some((cgroups, place)) = &cgroup
            && sent.is_err()
        {
            // A security module may keep signals from a process; the kernel's own kill is not asked.
            cgroup::kill(cgroups, place)?;
        }
        let how = match &sent {
            Ok(()) => String::from("is still alive after SIGKILL"),
            Err(errno) => format!("cannot be killed: {}", Reason(*errno)),
        };
        for _ in 0..PATIENCE.tv_sec * 10 {
            // Each time, as somebody may freeze it again meanwhile.
            if let Some((cgroups, place)) = &cgroup {
                cgroup::thaw(cgroups, place);
            }
            if process::ends_within(pidfd.as_fd(), &MOMENT)? {
                return Ok(());
            }
        }
        fail!(
            "container {:?} does not end: process {} {how}",
            self.id(),
            self.state.pid
        )
    }

    /// Whether the init has exited, or does so soon: waits for a killed one, and briefly after any other signal. Also
    /// returns its status if it has not.
    pub fn has_ended(&self) -> Result<(bool, &'static str)> {
        let (status, pidfd) = self.process()?;
        let Some(pidfd) = pidfd else {
            return Ok((status == STOPPED, status));
        };
        let dying = process::stat(self.state.pid)?.is_some_and(|stat| stat.dying);
        let time = if dying { &PATIENCE } else { &MOMENT };
        Ok((process::ends_within(pidfd.as_fd(), time)?, status))
    }

    /// Removes a stopped container: the remaining processes in its cgroup, the cgroup, the state. Then runs the
    /// poststop hooks. Returns false if another command has removed it.
    pub fn remove(&self, start: Start) -> Result<bool> {
        if !self.directory.lock(Lock::Exclusive)? {
            return Ok(false);
        }
        if let Some(place) = &self.state.place() {
            let cgroups = host::cgroups()?;
            if self.state.pid == 0 {
                // The container never had a process, and perhaps never created this cgroup, so what is below belongs
                // to someone else.
                return cgroup::remove_unborn(&cgroups, place).and_then(|()| self.forget());
            }
            cgroup::kill(&cgroups, place)?;
            if let Some(unit) = &self.state.unit
                && let Err(error) = Manager::find(start).and_then(|manager| manager.stop(unit))
            {
                // systemd removes the scope with its last process anyway.
                log::warn(&error.to_string());
            }
            cgroup::remove(&cgroups, place)?;
        }
        self.forget()
    }

    /// Removes the state, then runs the poststop hooks.
    fn forget(&self) -> Result<bool> {
        self.directory.remove()?;
        hooks::run_poststop(&self.state);
        Ok(true)
    }
}
