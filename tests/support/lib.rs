//! What every test stands on: a bundle with its own scratch directory, a command with a deadline, and the host's facts.
//! Whatever a test makes is undone when its [`Bundle`] drops, panic or not.

pub mod bundle;
pub mod command;
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
