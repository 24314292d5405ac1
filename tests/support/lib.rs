//! The basis of every test: a bundle with a scratch directory, a command with a deadline, and facts about the host.
//! Dropping the [`Bundle`] removes everything a test created, even after a panic.

pub mod bundle;
pub mod command;
pub mod faults;
pub mod golden;
pub mod harness;
pub mod host;
pub mod machine;
pub mod ordinary;
pub mod systemd;
pub mod terminal;

pub use bundle::Bundle;
pub use command::{Cmd, Output, Running};
pub use harness::{Trial, wait_for};
pub use serde_json::{Value, json};
