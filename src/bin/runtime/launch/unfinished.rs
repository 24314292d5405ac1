//! What a start has made so far: its directory, its cgroup or unit. Whatever fails, all of it goes again.

use crate::cgroup::systemd::Manager;
use crate::cgroup::{self, Cgroup};
use crate::container::{Container, Directory};
use crate::hooks;
use core::cell::Cell;
use runtime::error::{Result, fail};
use runtime::facts::Facts;
use runtime::limits;
use runtime::limits::systemd::Unit;
use runtime::state::State;

/// What has been made so far, so that it can be undone.
pub struct Unfinished<'a> {
    pub directory: Directory,
    pub state: State,
    pub facts: &'a Facts,
    pub manager: Option<&'a Manager>,
    pub cgroup: bool,
    /// The scope that systemd has started.
    pub unit: Option<&'a Unit>,
    pub hooks_ran: bool,
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
            hooks_ran: false,
        }
    }

    /// Makes the cgroup that the plan wants, unless systemd does.
    pub fn make_cgroup(&mut self, planned: &limits::Cgroup) -> Result<Option<Cgroup<'a>>> {
        let cgroup = match &planned.unit {
            None => Cgroup::make(self.facts, planned)?,
            Some(_) => Some(Cgroup::of_scope(&self.facts.cgroups, &planned.path)?),
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

    /// The container came to be.
    pub fn keep(self) -> Container {
        Container {
            directory: self.directory,
            state: self.state,
        }
    }

    /// Removes all of it. Its process must have ended.
    pub fn undo(self) {
        if self.hooks_ran {
            hooks::run_poststop(&self.state);
        }
        if let Some(path) = self.state.cgroup.as_deref().filter(|_| self.cgroup) {
            let _ = cgroup::kill(&self.facts.cgroups, path);
            if let (Some(manager), Some(unit)) = (self.manager, self.unit) {
                let _ = manager.stop(&unit.name);
            }
            let _ = cgroup::remove(&self.facts.cgroups, path);
        }
        let _ = self.directory.remove();
    }
}

/// Has the process enter the cgroup, where it was not born in it. `scope` gets the unit once it is ours to stop.
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
