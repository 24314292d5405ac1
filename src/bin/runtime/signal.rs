//! Signals that arrive while a container is set up or a hook runs.

use runtime::error::{During, Result};
use rustix::fd::OwnedFd;
use syscalls::calls;

/// Blocks all signals, so that none kills us during the set-up and no SIGCHLD is lost. The returned descriptor
/// becomes readable on a signal that asks us to stop. All others stay pending for the supervisor of a foreground
/// process.
pub fn hold() -> Result<OwnedFd> {
    calls::block_signals();
    calls::signalfd(calls::stopping_signals()).during(|| "cannot watch for signals".into())
}
