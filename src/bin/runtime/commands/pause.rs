//! `pause` and `resume`: every process of the container stops where it is, and goes on. Also the status of a
//! container that may be paused, which only its cgroup knows.

use crate::Context;
use crate::cgroup;
use crate::container::Directory;
use crate::host;
use alloc::format;
use runtime::error::{Error, Result, fail};
use runtime::facts::Cgroups;
use runtime::state::{CREATED, PAUSED, RUNNING, State};

pub fn pause(context: &Context<'_>, id: &str) -> Result<i32> {
    let (state, status, cgroups) = look(context, id)?;
    match status {
        RUNNING | CREATED => {}
        PAUSED => fail!("cannot pause container {id:?}: it is already paused"),
        _ => fail!("container not running: {id:?} is {status}"),
    }
    freeze(&cgroups, &state, true)
}

pub fn resume(context: &Context<'_>, id: &str) -> Result<i32> {
    let (state, status, cgroups) = look(context, id)?;
    if status != PAUSED {
        fail!("cannot resume container {id:?}: it is not paused, but {status}");
    }
    freeze(&cgroups, &state, false)
}

fn look(context: &Context<'_>, id: &str) -> Result<(State, &'static str, Cgroups)> {
    let directory = Directory::open(context.root, id)?;
    let state = directory.read()?;
    let cgroups = host::cgroups()?;
    let status = status(&directory, &state, &cgroups);
    Ok((state, status, cgroups))
}

fn freeze(cgroups: &Cgroups, state: &State, frozen: bool) -> Result<i32> {
    cgroup::freeze(cgroups, own_cgroup(state)?, frozen).map_err(|error| {
        let verb = if frozen { "pause" } else { "resume" };
        Error::new(format!("cannot {verb} container {:?}: {}", state.id, error))
    })?;
    Ok(0)
}

/// The cgroup, which some commands cannot do without.
pub fn own_cgroup(state: &State) -> Result<&str> {
    match &state.cgroup {
        Some(path) => Ok(path),
        None => fail!("container {:?} has no cgroup", state.id),
    }
}

/// The status, `paused` included.
pub fn status(directory: &Directory, state: &State, cgroups: &Cgroups) -> &'static str {
    match (directory.status(state).0, &state.cgroup) {
        (RUNNING | CREATED, Some(path)) if cgroup::is_frozen(cgroups, path) => PAUSED,
        (status, _) => status,
    }
}
