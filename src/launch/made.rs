//! What a start has made so far: its directory, its cgroup or unit, its process. Whatever fails, all of it goes again.

use super::reap;
use crate::cgroup::systemd::Unit;
use crate::cgroup::{self, Cgroup};
use crate::error::Result;
use crate::hooks;
use crate::host::Host;
use crate::plan::Plan;
use crate::spec::Resources;
use crate::state::{Directory, State};
use core::cell::Cell;
use rustix::fd::{AsFd, OwnedFd};
use syscalls::calls;

/// What has been made so far, so that it can be undone.
pub struct Made<'a> {
    pub directory: Directory,
    pub state: State,
    host: &'a Host,
    pub cgroup: bool,
    /// The scope that systemd has started.
    pub unit: Option<&'a Unit>,
    pub child: Option<OwnedFd>,
    pub hooks_ran: bool,
    pub pid_file: Option<&'a str>,
}

impl<'a> Made<'a> {
    pub fn new(directory: Directory, state: State, host: &'a Host) -> Self {
        Self {
            directory,
            state,
            host,
            cgroup: false,
            unit: None,
            child: None,
            hooks_ran: false,
            pid_file: None,
        }
    }

    /// Makes the cgroup that the plan wants at `path`, unless systemd does.
    pub fn make_cgroup(
        &mut self,
        plan: &Plan,
        path: &str,
        resources: &Resources<'_>,
    ) -> Result<Option<Cgroup<'a>>> {
        let cgroup = match &plan.unit {
            None => Cgroup::make(self.host, path, resources)?,
            Some(_) => Some(Cgroup::of_scope(self.host, path)?),
        };
        self.cgroup = cgroup.is_some() && (plan.unit.is_none() || self.host.cgroups.has_v1());
        if cgroup.is_none() {
            self.state.cgroup = None;
        }
        if let (Some(cgroup), Some(owner), None) = (&cgroup, plan.cgroup_owner, &plan.unit) {
            cgroup.delegate(owner)?;
        }
        Ok(cgroup)
    }

    pub fn undo(self) {
        if let Some(child) = &self.child {
            use syscalls::calls::SIGKILL;
            let _ = calls::pidfd_send_signal(child.as_fd(), SIGKILL);
            reap(child.as_fd());
        }
        if self.hooks_ran {
            hooks::run_poststop(&self.state);
        }
        if let Some(path) = self.state.cgroup.as_deref().filter(|_| self.cgroup) {
            cgroup::kill(&self.host.cgroups, path);
            let _ = self.unit.map(Unit::stop);
            let _ = cgroup::remove(&self.host.cgroups, path);
        }
        if let Some(path) = self.pid_file {
            let _ = rustix::fs::unlink(path);
        }
        let _ = self.directory.remove();
    }
}

/// Has the process enter the cgroup, where it was not born in it. `scope` gets the unit once it is ours to stop.
pub fn enter<'p>(
    cgroup: &Cgroup<'_>,
    plan: &'p Plan,
    host: &Host,
    resources: &Resources<'_>,
    pid: i32,
    scope: &Cell<Option<&'p Unit>>,
) -> Result<()> {
    let Some(unit) = &plan.unit else {
        return cgroup.join(pid);
    };
    cgroup.start_scope(unit, pid, resources)?;
    scope.set(Some(unit));
    cgroup.settle(host, pid, resources, plan.cgroup_owner)
}
