//! Everything that is decided: how config.json is read, what a container's plan is, which values its limits have, what the
//! command line means. The program in bin/runtime/ acts.
//!
//! The library makes no system call and reads no clock, environment or file: facts come in as values.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(test)]
mod bounds;
pub mod cli;
pub mod dbus;
pub mod error;
pub mod facts;
pub mod limits;
pub mod netlink;
pub mod plan;
#[cfg(all(test, not(miri)))]
mod rooms;
pub mod signal;
pub mod spec;
pub mod state;
pub mod stats;
