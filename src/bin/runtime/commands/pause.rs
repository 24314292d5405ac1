//! `pause` and `resume`: freeze and thaw every process of the container.

use crate::container::{Container, Lock};
use crate::context::Context;
use crate::host;
use runtime::error::{Result, fail};
use runtime::state::{CREATED, PAUSED, RUNNING};

pub fn pause(context: &Context<'_>, id: &str) -> Result<i32> {
    let container = Container::open(context.root, id)?;
    let cgroups = host::cgroups()?;
    let check = || match container.status(&cgroups)? {
        RUNNING | CREATED => Ok(()),
        PAUSED => fail!("cannot pause container {id:?}: it is already paused"),
        status => fail!("container not running: {id:?} is {status}"),
    };
    check()?;
    // A `start` or `exec` that is under way would hang half-way, so it ends first.
    container.lock(Lock::Exclusive)?;
    check()?;
    container.freeze(&cgroups, true)?;
    Ok(0)
}

pub fn resume(context: &Context<'_>, id: &str) -> Result<i32> {
    let container = Container::open(context.root, id)?;
    let cgroups = host::cgroups()?;
    let check = || match container.status(&cgroups)? {
        PAUSED => Ok(()),
        status => fail!("cannot resume container {id:?}: it is not paused, but {status}"),
    };
    check()?;
    container.lock(Lock::Shared)?;
    check()?;
    container.freeze(&cgroups, false)?;
    Ok(0)
}
