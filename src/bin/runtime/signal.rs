//! The signals that come to us while a container is set up or a hook runs.

use runtime::error::{During, Result};
use rustix::fd::OwnedFd;
use syscalls::calls;

/// From here on signals wait: none ends us half-way, and no end of a child is lost. The descriptor is readable once
/// one has come that asks us to stop; all others are left for the supervisor of a foreground process.
pub fn hold() -> Result<OwnedFd> {
    calls::block_signals();
    calls::signalfd(calls::stopping_signals()).during(|| "cannot watch for signals".into())
}
