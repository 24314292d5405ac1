//! Prepares everything before the first command is timed: a directory with the programs, a root file system and the
//! bundles.
//! Dropping it removes everything again, including what the tools left behind.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::view::{CGROUPS, Cgroups};

/// The output of `spec` with the payload of the benches, no terminal, and the cgroup namespace that v2 adds.
const CONFIG: &str = include_str!("config.json");
const CGROUP_NAMESPACE: &str = ",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}";
const DEVICE_RULES: &str =
    "{\n\t\t\t\t\t\"allow\": false,\n\t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}";

macro_rules! program {
    ($name:literal) => {
        (
            $name,
            include_bytes!(concat!(env!("OUT_DIR"), "/", $name)).as_slice(),
        )
    };
}

/// How a command is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Instrument {
    /// Measures the time from before the fork to after the exit, in nanoseconds.
    Stopwatch,
    /// Measures the highest peak of resident memory of the command and its descendants, in KiB.
    Scales,
}

impl Instrument {
    fn name(self) -> &'static str {
        match self {
            Self::Stopwatch => "stopwatch",
            Self::Scales => "weigh",
        }
    }
}

/// One variant of the bundle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bundle {
    /// The program in the container: `true` or `pause`.
    pub payload: &'static str,
    pub resources: Resources,
}

/// The content of `linux.resources`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Resources {
    Nothing,
    /// The device rules of the default config.
    Devices,
    /// A limit of every available controller, and the device rules.
    All,
}

pub struct Scene {
    pub directory: PathBuf,
    /// The tools' state directory. It is on a tmpfs, as `/run` is on a host, because a disk's file system would add
    /// its own time to every container.
    pub state: PathBuf,
    pub cgroups: Cgroups,
    /// The prefix of the name of every container and cgroup created here.
    pub tag: String,
}

/// A command that failed.
#[derive(Debug)]
pub struct Failure(pub String);

pub type Outcome<T> = Result<T, Failure>;

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl Scene {
    pub fn set() -> Outcome<Self> {
        let tag = format!("bench-{}", std::process::id());
        let name = format!("runtime-{tag}");
        let directory = std::env::temp_dir().join(&name);
        let on_tmpfs = ["/run", "/dev/shm"].into_iter().find(|path| is_tmpfs(path));
        let state = match on_tmpfs {
            Some(path) => Path::new(path).join(name),
            None => directory.join("state"),
        };
        let scene = Self {
            cgroups: Cgroups::seen().map_err(Failure)?,
            directory,
            state,
            tag,
        };
        for directory in [&scene.directory, &scene.state] {
            fs::create_dir(directory)
                .map_err(|error| Failure(format!("{}: {error}", directory.display())))?;
        }

        let bin = scene.directory.join("bin");
        fs::create_dir(&bin)?;
        for program in [
            program!("floor"),
            program!("stopwatch"),
            program!("version"),
            program!("weigh"),
        ] {
            install(&bin, program)?;
        }
        for directory in ["dev", "proc", "sys"] {
            fs::create_dir_all(scene.rootfs().join(directory))?;
        }
        for program in [program!("pause"), program!("true")] {
            install(&scene.rootfs(), program)?;
        }
        for payload in ["pause", "true"] {
            for resources in [Resources::Nothing, Resources::Devices, Resources::All] {
                scene.write_bundle(Bundle { payload, resources })?;
            }
        }
        Ok(scene)
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join("bin").join(name)
    }

    pub fn bundle(&self, bundle: Bundle) -> PathBuf {
        let rules = match bundle.resources {
            Resources::Nothing => "-without-device-rules",
            Resources::Devices => "",
            Resources::All => "-with-every-limit",
        };
        self.directory.join(format!("{}{rules}", bundle.payload))
    }

    fn write_bundle(&self, bundle: Bundle) -> Outcome<()> {
        let change = |config: String, from: &str, to: &str| {
            assert!(config.contains(from), "config.json has changed: no {from}");
            config.replace(from, to)
        };
        let mut config = change(
            CONFIG.to_string(),
            "\"/true\"",
            &format!("\"/{}\"", bundle.payload),
        );
        config = change(config, "\"rootfs\"", &format!("{:?}", self.rootfs()));
        if self.cgroups != Cgroups::V2 {
            config = change(config, CGROUP_NAMESPACE, "");
        }
        match bundle.resources {
            Resources::Nothing => config = change(config, DEVICE_RULES, ""),
            Resources::Devices => {}
            Resources::All => {
                let limits: Vec<_> = self.cgroups.limits().map(|(_, limit)| limit).collect();
                let all = format!("\"resources\": {{{},", limits.join(","));
                config = change(config, "\"resources\": {", &all).replace("{,", "{");
            }
        }
        let directory = self.bundle(bundle);
        fs::create_dir(&directory)?;
        fs::write(directory.join("config.json"), config)?;
        Ok(())
    }

    /// Runs a command under an instrument and returns its figure.
    pub fn measure(&self, instrument: Instrument, command: &[OsString]) -> Outcome<u64> {
        let instrument = instrument.name();
        // Shortens paths in the error: our directory no longer exists when the error is read.
        let prefixes = [&self.directory, &self.state].map(|path| format!("{}/", path.display()));
        let shown = || {
            command
                .iter()
                .map(|word| word.to_string_lossy())
                .collect::<Vec<_>>()
                .join(" ")
                .replace(&prefixes[0], "")
                .replace(&prefixes[1], "")
        };
        // A file instead of a pipe, because a surviving container would keep a pipe open.
        let errors = self.directory.join("stderr");
        let report = self.directory.join("report");
        let status = Command::new(self.program(instrument))
            .args(command)
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(File::create(&report)?)
            .stderr(File::create(&errors)?)
            .status()?;
        let report = fs::read_to_string(&report)?;
        let mut numbers = report.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(figure)), Some(Ok(code)), true) =
            (numbers.next(), numbers.next(), status.success())
        else {
            return Err(Failure(format!("{instrument} {}: {status}", shown())));
        };
        if code == 0 {
            return Ok(figure);
        }
        let errors = fs::read_to_string(&errors)?;
        let reason = errors
            .lines()
            .rfind(|line| !line.trim().is_empty())
            .unwrap_or("no message");
        Err(Failure(format!("{} exited with {code}: {reason}", shown())))
    }

    /// Waits for the container's init, which is our child because we are the subreaper.
    pub fn wait_for(&self, pid: Pid) -> Outcome<()> {
        let patience = Instant::now() + Duration::from_secs(10);
        while Instant::now() < patience {
            match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some(_)) => return Ok(()),
                // Not our child: its parent decides how long it remains visible.
                Err(_) if !Path::new(&format!("/proc/{pid}")).exists() => return Ok(()),
                Ok(None) | Err(_) => sleep(Duration::from_micros(200)),
            }
        }
        Err(Failure(format!("process {pid} has not exited")))
    }

    /// Reaps the orphans that were reparented to us.
    pub fn reap(&self) {
        while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
    }

    fn mounts_below(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let targets = mounts
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .map(PathBuf::from);
        let mut below: Vec<_> = targets
            .filter(|target| target.starts_with(&self.directory) || target.starts_with(&self.state))
            .collect();
        below.reverse(); // unmount in reverse order
        below
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        remove_cgroups(Path::new(CGROUPS), &self.tag, 6);
        self.reap();
        for mount in self.mounts_below() {
            if let Err(error) = unmount(mount.as_os_str().as_bytes(), UnmountFlags::DETACH) {
                eprintln!("start: {} cannot be unmounted: {error}", mount.display());
                return; // the files below the mount are not ours to remove
            }
        }
        for directory in [&self.state, &self.directory] {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    eprintln!("start: {}: {error}", directory.display());
                }
                _ => {}
            }
        }
    }
}

fn is_tmpfs(path: &str) -> bool {
    const TMPFS_MAGIC: u64 = 0x0102_1994;
    rustix::fs::statfs(path).is_ok_and(|statfs| statfs.f_type as u64 == TMPFS_MAGIC)
}

fn install(directory: &Path, (name, text): (&str, &[u8])) -> io::Result<()> {
    let path = directory.join(name);
    fs::write(&path, text)?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))
}

/// Removes every cgroup below `parent` whose name begins with `tag`, such as one that a failed tool left behind.
fn remove_cgroups(parent: &Path, tag: &str, depth: u32) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let path = entry.path();
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(tag) {
            remove_cgroup(&path);
        } else if depth > 0 {
            remove_cgroups(&path, tag, depth - 1);
        }
    }
}

fn remove_cgroup(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // Processes that remain belong to a container that its runtime could not delete.
    let left = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in left
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
    {
        let _ = kill_process(pid, Signal::KILL); // it may just have exited
    }
    let patience = Instant::now() + Duration::from_secs(2);
    while let Err(error) = fs::remove_dir(path) {
        if Instant::now() > patience {
            return eprintln!("start: {}: {error}", path.display());
        }
        while let Ok(Some(_)) = waitpid(None, WaitOptions::NOHANG) {}
        sleep(Duration::from_millis(1));
    }
}
