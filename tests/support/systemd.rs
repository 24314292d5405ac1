//! What the tests under systemd share: whether it runs this machine, whose scopes we may make, and what it says of them.
//! An ordinary user's are made by a systemd of the user's own, whose bus is found by `XDG_RUNTIME_DIR` alone.

use crate::harness::patience;
use crate::{Cmd, Output, host};
use std::path::{Path, PathBuf};

pub fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The test is skipped where systemd does not run the machine.
pub fn required() {
    if !Path::new("/run/systemd/system").exists() {
        crate::skip!("no systemd on this machine; the guest has one");
    }
}

/// Which systemd makes our scopes, as a flag of systemctl.
pub fn manager() -> &'static str {
    if root() { "--system" } else { "--user" }
}

/// Passes on how a user's bus is found.
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

/// Runs a script of shell and expects it to succeed; the answer is what it prints, stderr and all.
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

/// The image that the engines run.
pub fn image() -> String {
    let compiled = std::env::var("RUNTIME_COMPILED").expect("only the guest has systemd");
    format!("{compiled}/image.tar")
}

/// The runtimes that play a case: ours, and with `RUNTIME_PEERS` runc before it, which shows that what is expected is right.
pub fn players() -> Vec<PathBuf> {
    let peer = std::env::var_os("RUNTIME_PEERS").map(|_| host::program("runc"));
    peer.into_iter()
        .chain([host::runtime().to_owned()])
        .collect()
}

/// Plays a case with every player; what it prints must be what is expected.
#[track_caller]
pub fn both(expected: &str, play: impl Fn(&Path) -> String) {
    for runtime in players() {
        let said = play(&runtime);
        assert_eq!(said, expected, "with {}", runtime.display());
    }
}
