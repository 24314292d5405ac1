//! `kill`: sends a signal to the container's init, or to all its processes.

use crate::container::Container;
use crate::context::Context;
use alloc::format;
use runtime::cli::Kill;
use runtime::error::{Error, Result};
use runtime::signal;
use runtime::state::State;

pub fn run(context: &Context<'_>, args: &Kill<'_>) -> Result<i32> {
    let given = args.signal.map(signal::parse).transpose()?;
    let container = Container::open(context.root, args.id)?;
    let number = match given {
        Some(number) => number,
        None => stop_signal(&container.state)?,
    } as i32;
    match args.all {
        true => container.signal_all(number)?,
        false => container.signal(number)?,
    }
    Ok(0)
}

/// The signal that the image asks for (image-spec, annotations), or SIGTERM.
fn stop_signal(state: &State) -> Result<u32> {
    const STOP_SIGNAL: &str = "org.opencontainers.image.stopSignal";
    let mut annotations = state.annotations.iter();
    match annotations.find(|(key, value)| key == STOP_SIGNAL && !value.is_empty()) {
        Some((_, text)) => signal::parse(text)
            .map_err(|error| Error::new(format!("annotation {STOP_SIGNAL}: {error}"))),
        None => signal::parse("TERM"),
    }
}
