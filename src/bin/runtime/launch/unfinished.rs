//! Tracks what a start has made: the container's directory, and its cgroup or systemd unit. On failure, all of
//! it is removed.

use super::net_devices::NetDevices;
use crate::cgroup::systemd::Manager;
use crate::cgroup::{self, Cgroup};
use crate::container::{Container, Directory, Lock};
use crate::hooks;
use core::cell::Cell;
use runtime::error::{Result, fail};
use runtime::facts::Facts;
use runtime::limits;
use runtime::limits::systemd::Unit;
use runtime::plan::Hooks;
use runtime::state::{CREATING, State};

/// The parts of a container that exist so far, to be undone on failure.
pub struct Unfinished<'a> {
    pub directory: Directory,
    pub state: State,
    pub facts: &'a Facts,
    pub manager: Option<&'a Manager>,
    pub cgroup: bool,
    pub unit: Option<&'a Unit>,
    /// A hook of `create` may have run, or `create` has finished.
    pub poststop_is_due: bool,
    pub net_devices: Option<NetDevices<'a>>,
}

impl<'a> Unfinished<'a> {
    pub fn new(
        directory: Directory,
        state: State,
        facts: &'a Facts,
        manager: Option<&'a Manager>,
    ) -> Self {
        Self {
            directory,
            state,
            facts,
            manager,
            cgroup: false,
            unit: None,
            poststop_is_due: false,
            net_devices: None,
        }
    }

    /// Makes the cgroup of the plan, unless systemd makes it.
    pub fn make_cgroup(&mut self, planned: &limits::Cgroup) -> Result<Option<Cgroup<'a>>> {
        let cgroup = match &planned.unit {
            None => Cgroup::make(self.facts, planned)?,
            Some(_) => Some(Cgroup::of_scope(self.facts, planned)?),
        };
        self.cgroup = cgroup.is_some() && (planned.unit.is_none() || self.facts.cgroups.has_v1());
        if cgroup.is_none() {
            self.state.cgroup = None;
        }
        if let (Some(cgroup), Some(owner), None) = (&cgroup, planned.owner, &planned.unit) {
            cgroup.delegate(owner)?;
        }
        Ok(cgroup)
    }

    /// Runs the prestart and createRuntime hooks.
    pub fn run_hooks(&mut self, hooks: &Hooks) -> Result<()> {
        // A hook may ask for the state, which has the pid from here on.
        let creating = State {
            creating: true,
            ..self.state.clone()
        };
        self.directory.write(&creating)?;
        self.directory.prepare(&self.state)?;
        self.poststop_is_due = true;
        hooks::run("prestart", &hooks.prestart, &self.state, CREATING)?;
        hooks::run(
            "createRuntime",
            &hooks.create_runtime,
            &self.state,
            CREATING,
        )
    }

    /// Makes the container known to other commands.
    pub fn commit(&self) -> Result<()> {
        self.directory.commit()?;
        self.directory.unlock();
        Ok(())
    }

    /// The start succeeded: keeps everything.
    pub fn keep(self) -> Container {
        Container {
            directory: self.directory,
            state: self.state,
        }
    }

    /// Removes everything, unless a concurrent `delete --force` has, then runs the poststop hooks. The container's
    /// process must have ended.
    pub fn undo(mut self) {
        if let Some(devices) = self.net_devices.take() {
            devices.undo();
        }
        if !matches!(self.directory.lock(Lock::Exclusive), Ok(true)) {
            return;
        }
        if let Some(place) = self.state.place().filter(|_| self.cgroup) {
            let _ = cgroup::kill(&self.facts.cgroups, &place);
            if let (Some(manager), Some(unit)) = (self.manager, self.unit) {
                let _ = manager.stop(&unit.name);
            }
            let _ = cgroup::remove(&self.facts.cgroups, &place);
        }
        let _ = self.directory.remove();
        if self.poststop_is_due {
            hooks::run_poststop(&self.state);
        }
    }
}

/// Moves the process into its cgroup, unless it was born there. `scope` is set to the systemd unit once this
/// start must stop it on failure.
pub fn enter<'p>(
    cgroup: &Cgroup<'_>,
    planned: &'p limits::Cgroup,
    manager: Option<&Manager>,
    pid: i32,
    scope: &Cell<Option<&'p Unit>>,
) -> Result<()> {
    let Some(unit) = &planned.unit else {
        return cgroup.join(pid);
    };
    let Some(manager) = manager else {
        fail!("internal error: a scope without a systemd to make it");
    };
    manager.start(unit, pid, &planned.limits)?;
    scope.set(Some(unit));
    cgroup.settle(pid, planned)
}
