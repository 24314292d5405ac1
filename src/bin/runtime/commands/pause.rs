//! `pause` and `resume`: freeze and thaw every process of the container.

use crate::container::Container;
use crate::context::Context;
use crate::host;
use runtime::error::{Result, fail};
use runtime::state::{CREATED, PAUSED, RUNNING};

pub fn pause(context: &Context<'_>, id: &str) -> Result<i32> {
    let container = Container::open(context.root, id)?;
    let cgroups = host::cgroups()?;
    match container.status(&cgroups)? {
        RUNNING | CREATED => {}
        PAUSED => fail!("cannot pause container {id:?}: it is already paused"),
        status => fail!("container not running: {id:?} is {status}"),
    }
    container.freeze(&cgroups, true)?;
    Ok(0)
}

pub fn resume(context: &Context<'_>, id: &str) -> Result<i32> {
    let container = Container::open(context.root, id)?;
    let cgroups = host::cgroups()?;
    let status = container.status(&cgroups)?;
    if status != PAUSED {
        fail!("cannot resume container {id:?}: it is not paused, but {status}");
    }
    container.freeze(&cgroups, false)?;
    Ok(0)
}
