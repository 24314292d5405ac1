//! `delete`: removes a container, including one whose creation did not finish.

use crate::container::Container;
use crate::context::Context;
use runtime::cli::Delete;
use runtime::error::{Result, fail};

pub fn run(context: &Context<'_>, args: &Delete<'_>) -> Result<i32> {
    let id = args.id;
    if args.force {
        // Engines delete containers that may not exist, and expect success.
        if let Some(container) = Container::find(context.root, id)? {
            container.kill_and_wait()?;
            container.remove(context.start)?;
        }
        return Ok(0);
    }
    let container = Container::open(context.root, id)?;
    let (ended, status) = container.has_ended()?;
    if !ended {
        fail!(
            "cannot delete container {id:?} that is not stopped: it is {status} (--force kills it first)"
        );
    }
    match container.remove(context.start)? {
        true => Ok(0),
        false => fail!("container {id:?} does not exist: another command has just removed it"),
    }
}
