//! Locates the sources of the two crates that the tables are generated from, in cargo's registry.
//! They are read as text, because a program that links a crate cannot list its constants.

use std::path::PathBuf;
use std::process::Command;

/// The source directories of `linux-raw-sys` and `syscall-numbers`, in the versions that Cargo.lock names.
pub fn crates() -> (PathBuf, PathBuf) {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("cargo metadata");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo's own JSON");
    let find = |name: &str| -> PathBuf {
        let packages = metadata["packages"].as_array().expect("packages");
        let package = packages
            .iter()
            .find(|package| package["name"] == name)
            .expect("a dev-dependency");
        let manifest = PathBuf::from(package["manifest_path"].as_str().expect("a path"));
        manifest.parent().expect("a directory").into()
    };
    (find("linux-raw-sys"), find("syscall-numbers"))
}
