//! `kill`: sends a signal to the container's init, or to all its processes.

use crate::container::Container;
use crate::context::Context;
use runtime::cli::Kill;
use runtime::error::Result;
use runtime::signal;

pub fn run(context: &Context<'_>, args: &Kill<'_>) -> Result<i32> {
    let number = signal::parse(args.signal.unwrap_or("TERM"))? as i32;
    let container = Container::open(context.root, args.id)?;
    match args.all {
        true => container.signal_all(number)?,
        false => container.signal(number)?,
    }
    Ok(0)
}
