//! Runs the release binary on specs made with oci-spec's builders.
//! Run with `cargo test --manifest-path tests/oci-spec/Cargo.toml` after `cargo build --release`.

pub mod full;
pub mod random;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// The binary under test: `$RUNTIME`, or the output of `cargo build --release`.
pub fn runtime() -> Command {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    let built = ["x86_64-unknown-linux-gnu/release", "release"]
        .map(|place| target.join(place).join("runtime"))
        .into_iter()
        .find(|path| path.is_file());
    let path = std::env::var_os("RUNTIME").map(PathBuf::from).or(built);
    let path = path.unwrap_or(target);
    assert!(
        path.exists(),
        "{} is missing: run cargo build --release, or set RUNTIME",
        path.display()
    );
    Command::new(path)
}

/// A bundle with an empty rootfs, and a state directory.
pub struct Bundle(TempDir);

impl Bundle {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        fs::create_dir(dir.path().join("rootfs")).expect("rootfs");
        fs::create_dir(dir.path().join("state")).expect("state");
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, config: &Value) {
        let text = serde_json::to_vec_pretty(config).expect("JSON");
        fs::write(self.path().join("config.json"), text).expect("config.json");
    }

    /// `runtime --root STATE ARGS`
    pub fn call(&self, args: &[&str]) -> Output {
        let mut command = runtime();
        command.arg("--root").arg(self.path().join("state"));
        command.args(args).output().expect("runtime is executable")
    }

    /// Runs `runtime --root STATE create`. stderr is a file, because the container inherits it and would keep a pipe
    /// open for as long as it exists.
    pub fn create(&self, id: &str) -> Result<(), String> {
        let stderr = self.path().join("stderr");
        let mut command = runtime();
        command.arg("--root").arg(self.path().join("state"));
        command
            .arg("create")
            .arg("--bundle")
            .arg(self.path())
            .arg(id);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(&stderr).expect("a file for stderr"));
        if command.status().expect("runtime is executable").success() {
            return Ok(());
        }
        Err(fs::read_to_string(stderr).expect("stderr"))
    }

    /// Plans a container from this config. Returns the error, if there is one.
    pub fn plan(&self, config: &Value) -> Result<(), String> {
        self.write(config);
        let bundle = self.path().to_str().expect("a UTF-8 path");
        let output = self.call(&["create", "--dry-run", "--bundle", bundle, "box"]);
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

impl Default for Bundle {
    fn default() -> Self {
        Self::new()
    }
}
