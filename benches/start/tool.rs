//! One runtime and its command line. All runtimes take the same arguments, which makes them comparable.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Pid;

use crate::scene::{Bundle, Failure, Instrument, Outcome, Resources, Scene};

pub struct Tool {
    pub name: &'static str,
    pub path: PathBuf,
    /// The first line of the output of `--version`.
    pub version: String,
    root: PathBuf,
    pid_file: PathBuf,
    /// Off if the tool cannot install the default device rules. It then does less work than the others.
    pub device_rules: bool,
    /// Whether it supports `exec`.
    pub execs: bool,
    /// The container used for `state` and `exec`.
    sleeper: Option<(String, Pid)>,
    count: u32,
}

impl Tool {
    /// Finds a tool, by path or in `PATH`. It gets a state directory of its own.
    pub fn find(scene: &Scene, name: &'static str, path: &Path) -> Result<Self, String> {
        let path = if path.components().count() > 1 {
            path.to_path_buf()
        } else {
            let search = std::env::var_os("PATH").unwrap_or_default();
            let found = std::env::split_paths(&search)
                .map(|directory| directory.join(path))
                .find(|p| p.is_file());
            found.ok_or_else(|| "is not installed".to_string())?
        };
        let ask = |argument: &[&str]| {
            Command::new(&path)
                .args(argument)
                .stdin(Stdio::null())
                .output()
        };
        let answer = ask(&["--version"]).map_err(|error| format!("{}: {error}", path.display()))?;
        let version = String::from_utf8_lossy(&answer.stdout)
            .lines()
            .next()
            .unwrap_or("")
            .to_string();
        let execs = ask(&["exec", "--help"]).is_ok_and(|output| output.status.success());
        Ok(Self {
            name,
            version,
            root: scene.state.join(format!("{name}-root")),
            pid_file: scene.state.join(format!("{name}-pid")),
            path,
            device_rules: true,
            execs,
            sleeper: None,
            count: 0,
        })
    }

    fn command(&self, words: &[&str]) -> Vec<OsString> {
        let mut command = vec![
            self.path.clone().into(),
            "--root".into(),
            self.root.clone().into(),
        ];
        command.extend(words.iter().map(OsString::from));
        command
    }

    fn bundle(&self, scene: &Scene, payload: &'static str) -> String {
        let resources = match self.device_rules {
            true => Resources::Devices,
            false => Resources::Nothing,
        };
        path_of(scene, Bundle { payload, resources })
    }

    fn next_id(&mut self, scene: &Scene) -> String {
        self.count += 1;
        format!("{}-{}-{}", scene.tag, self.name, self.count)
    }

    pub fn run(&mut self, scene: &Scene, instrument: Instrument) -> Outcome<u64> {
        let bundle = self.bundle(scene, "true");
        self.run_bundle(scene, instrument, &bundle)
    }

    /// Runs the bundle with these resources.
    pub fn run_with(
        &mut self,
        scene: &Scene,
        instrument: Instrument,
        resources: Resources,
    ) -> Outcome<u64> {
        let payload = "true";
        let bundle = path_of(scene, Bundle { payload, resources });
        self.run_bundle(scene, instrument, &bundle)
    }

    fn run_bundle(&mut self, scene: &Scene, instrument: Instrument, bundle: &str) -> Outcome<u64> {
        let id = self.next_id(scene);
        let command = self.command(&["run", "--bundle", bundle, &id]);
        let figure = scene.measure(instrument, &command);
        if figure.is_err() {
            self.clear(scene, &id);
        }
        figure
    }

    /// Runs `create`, `start` and `delete` of one container, and waits for the payload to exit before `delete`.
    /// Returns the three figures, and the peak resident memory of the waiting process in KiB.
    pub fn life(&mut self, scene: &Scene, instrument: Instrument) -> Outcome<([u64; 3], u64)> {
        let id = self.next_id(scene);
        let result = self.life_of(scene, &id, instrument);
        if result.is_err() {
            self.clear(scene, &id);
        }
        result
    }

    fn life_of(&self, scene: &Scene, id: &str, instrument: Instrument) -> Outcome<([u64; 3], u64)> {
        let (create, pid) = self.create(scene, id, "true", instrument)?;
        let waiting = peak_memory(pid);
        let start = scene.measure(instrument, &self.command(&["start", id]))?;
        scene.wait_for(pid)?;
        let delete = scene.measure(instrument, &self.command(&["delete", id]))?;
        Ok(([create, start, delete], waiting))
    }

    fn create(
        &self,
        scene: &Scene,
        id: &str,
        payload: &'static str,
        instrument: Instrument,
    ) -> Outcome<(u64, Pid)> {
        let _ = fs::remove_file(&self.pid_file); // must not be taken for the pid file of this container
        let pid_file = self.pid_file.to_string_lossy();
        let words = [
            "create",
            "--bundle",
            &self.bundle(scene, payload),
            "--pid-file",
            &pid_file,
            id,
        ];
        let figure = scene.measure(instrument, &self.command(&words))?;
        let text = fs::read_to_string(&self.pid_file)?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        Ok((
            figure,
            pid.ok_or_else(|| Failure(format!("{pid_file}: no process id in {text:?}")))?,
        ))
    }

    pub fn state(&self, scene: &Scene, instrument: Instrument) -> Outcome<u64> {
        scene.measure(instrument, &self.command(&["state", self.sleeper_id()?]))
    }

    pub fn exec(&self, scene: &Scene, instrument: Instrument) -> Outcome<u64> {
        scene.measure(
            instrument,
            &self.command(&["exec", self.sleeper_id()?, "/true"]),
        )
    }

    pub fn version(&self, scene: &Scene, instrument: Instrument) -> Outcome<u64> {
        scene.measure(instrument, &[self.path.clone().into(), "--version".into()])
    }

    fn sleeper_id(&self) -> Outcome<&str> {
        let id = self.sleeper.as_ref().map(|(id, _)| id.as_str());
        id.ok_or_else(|| Failure("no container is running".to_string()))
    }

    /// Starts the container used for `state` and `exec`.
    pub fn start_sleeper(&mut self, scene: &Scene) -> Outcome<()> {
        let id = self.next_id(scene);
        let begun = self
            .create(scene, &id, "pause", Instrument::Stopwatch)
            .and_then(|(_, pid)| {
                self.sleeper = Some((id.clone(), pid)); // from here on `stop_sleeper` removes it
                scene.measure(Instrument::Stopwatch, &self.command(&["start", &id]))
            });
        if begun.is_err() {
            self.sleeper = None;
            self.clear(scene, &id);
        }
        begun.map(drop)
    }

    pub fn stop_sleeper(&mut self, scene: &Scene) {
        if let Some((id, pid)) = self.sleeper.take() {
            self.clear(scene, &id);
            let _ = scene.wait_for(pid); // it was killed, or clear() has reported the error
        }
    }

    /// Removes a container that may not exist.
    fn clear(&self, scene: &Scene, id: &str) {
        let _ = scene.measure(
            Instrument::Stopwatch,
            &self.command(&["delete", "--force", id]),
        ); // there may be nothing to delete
        scene.reap();
    }
}

fn path_of(scene: &Scene, bundle: Bundle) -> String {
    scene.bundle(bundle).to_string_lossy().into_owned()
}

fn peak_memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
