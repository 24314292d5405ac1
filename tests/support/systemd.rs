//! Shared by the tests under systemd: whether it is running, which instance creates our scopes, and their properties.
//! An ordinary user's scopes are created by the user's own instance, whose bus is found through `XDG_RUNTIME_DIR`
//! alone.

use crate::harness::patience;
use crate::{Cmd, Output, host};
use std::path::{Path, PathBuf};

pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Skips the test if systemd does not run this machine.
pub fn required() {
    if !Path::new("/run/systemd/system").exists() {
        crate::skip!("no systemd on this machine; the guest has one");
    }
}

/// The systemd instance that creates our scopes, as a flag of systemctl.
pub fn manager() -> &'static str {
    if root() { "--system" } else { "--user" }
}

/// Passes on the variables that locate a user's bus.
pub fn with_bus(command: Cmd) -> Cmd {
    match std::env::var("XDG_RUNTIME_DIR") {
        Ok(directory) if !root() => command.env("XDG_RUNTIME_DIR", &directory),
        _ => command,
    }
}

pub fn systemctl(scratch: &Path, arguments: &[&str]) -> Output {
    with_bus(
        Cmd::new(scratch, "systemctl")
            .arg(manager())
            .args(arguments),
    )
    .output()
}

/// Runs a shell script, which must succeed. Returns its stdout and stderr.
#[track_caller]
pub fn shell(script: &str, environment: &[(&str, &str)]) -> String {
    let mut command = Cmd::new(host::scratch(), "sh").args(["-c", &format!("exec 2>&1\n{script}")]);
    command = command.env("PATIENCE", &patience().as_secs().to_string());
    for (name, value) in environment {
        command = command.env(name, value);
    }
    if let Ok(home) = std::env::var("HOME") {
        command = command.env("HOME", &home);
    }
    with_bus(command).ok().out
}

/// The image for the engines.
pub fn image() -> String {
    let compiled = std::env::var("RUNTIME_COMPILED").expect("only the guest has systemd");
    format!("{compiled}/image.tar")
}

/// The runtimes under test: ours, and with `RUNTIME_PEERS` also runc, which shows that the expectations are right.
pub fn players() -> Vec<PathBuf> {
    let peer = std::env::var_os("RUNTIME_PEERS").map(|_| host::program("runc"));
    peer.into_iter()
        .chain([host::runtime().to_owned()])
        .collect()
}

/// Runs a case with every runtime. Its output must be as expected.
#[track_caller]
pub fn both(expected: &str, play: impl Fn(&Path) -> String) {
    for runtime in players() {
        let said = play(&runtime);
        assert_eq!(said, expected, "with {}", runtime.display());
    }
}
