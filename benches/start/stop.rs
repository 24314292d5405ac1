//! Turns Ctrl-C and SIGTERM into a flag that the bench checks between two commands.
//! An interrupted run therefore still deletes its containers, its cgroups and its directory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn listen() -> Result<Self, String> {
        let stop = Self(Arc::new(AtomicBool::new(false)));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, stop.0.clone())
                .map_err(|error| error.to_string())?;
        }
        Ok(stop)
    }

    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Returns an error after a request to stop.
    pub fn check(&self) -> Result<(), String> {
        if self.asked() {
            Err("interrupted".to_string())
        } else {
            Ok(())
        }
    }
}
