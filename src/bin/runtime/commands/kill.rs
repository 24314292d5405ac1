//! `kill`: a signal to the container's process, or to all its processes.

use crate::Context;
use crate::container::Container;
use runtime::cli::Flag;
use runtime::error::Result;
use runtime::signal;

pub fn run(context: &Context<'_>) -> Result<i32> {
    let number = signal::parse(context.operands.get(1).unwrap_or(&"TERM"))? as i32;
    let container = Container::open(context.root, context.operands[0])?;
    match context.flags.has(Flag::All) {
        true => container.signal_all(number)?,
        false => container.signal(number)?,
    }
    Ok(0)
}
