//! One container: its directory with the stored state, its status, and the operations on it as a whole: signal, kill,
//! freeze, remove. Every command uses this module.

mod directory;
mod lock;
mod owner;

use crate::cgroup;
use crate::cgroup::systemd::Manager;
use crate::hooks;
use crate::host;
use crate::log;
use crate::process;
use crate::signal;
use alloc::format;
use alloc::string::{String, ToString};
use runtime::error::{During, Error, Reason, Result, fail};
use runtime::facts::{Cgroups, Location};
use runtime::state::{CREATED, CREATING, PAUSED, RUNNING, STOPPED, State, check_id};
use rustix::event::Timespec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use syscalls::Start;
use syscalls::calls::{self, SIGKILL};

pub use directory::{Directory, START};
pub use lock::Lock;

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
                && self.owns_cgroup(&cgroups, &place)?
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
        if self.process()?.1.is_none() && !self.owns_cgroup(&cgroups, &place)? {
            return Ok(());
        }
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
                // The container perhaps never created this cgroup, so what is below belongs to someone else.
                let born = self.directory.has_next()?;
                return cgroup::remove_unborn(&cgroups, place, born).and_then(|()| self.forget());
            }
            if !self.owns_cgroup(&cgroups, place)? {
                return self.forget();
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
