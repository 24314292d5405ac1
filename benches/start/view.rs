//! The cgroup view of everything timed here: the host's own, or a pure v2 hierarchy.
//! On a hybrid host the v2 view is set up in a separate mount namespace; the host's mounts do not change.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::options::Options;
use crate::stop::Stop;

pub const CGROUPS: &str = "/sys/fs/cgroup";
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    V2,
    Host,
}

impl View {
    pub fn name(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Host => "host",
        }
    }
}

/// The file systems on `/sys/fs/cgroup`, as seen by this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// The v2 hierarchy itself.
    V2,
    /// v1 hierarchies: their mount points, and that of v2 if it is mounted, too.
    V1 {
        hierarchies: Vec<PathBuf>,
        unified: Option<PathBuf>,
    },
}

impl Cgroups {
    pub fn seen() -> Result<Self, String> {
        let statfs = rustix::fs::statfs(CGROUPS).map_err(|error| format!("{CGROUPS}: {error}"))?;
        if statfs.f_type as u64 == CGROUP2_SUPER_MAGIC {
            return Ok(Self::V2);
        }
        let mounts = fs::read_to_string("/proc/self/mounts").map_err(|error| error.to_string())?;
        let (mut hierarchies, mut unified) = (Vec::new(), None);
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            match (fields.next(), fields.next()) {
                (Some(path), Some("cgroup2")) => unified = Some(path.into()),
                (Some(path), Some("cgroup")) if path.starts_with(CGROUPS) => {
                    hierarchies.push(path.into())
                }
                _ => {}
            }
        }
        Ok(Self::V1 {
            hierarchies,
            unified,
        })
    }

    /// The name of this host's own view in a heading.
    pub fn name(&self) -> &'static str {
        match self {
            Self::V2 => "cgroup v2",
            Self::V1 {
                unified: Some(_), ..
            } => "cgroup v1 and v2 (hybrid)",
            Self::V1 { unified: None, .. } => "cgroup v1",
        }
    }

    /// A limit for every available controller: its name and a member of `linux.resources`.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, String)> {
        let names = match self {
            Self::V2 => {
                fs::read_to_string(format!("{CGROUPS}/cgroup.controllers")).unwrap_or_default()
            }
            Self::V1 { hierarchies, .. } => {
                let names = hierarchies
                    .iter()
                    .filter_map(|path| path.file_name()?.to_str());
                names.collect::<Vec<_>>().join(",").replace("blkio", "io")
            }
        };
        // The first disk. The rate does not matter.
        let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
        let mut numbers = disks.filter_map(|disk| fs::read_to_string(disk.path().join("dev")).ok());
        let io = numbers.next().and_then(|text| {
            let (major, minor) = text.trim().split_once(':')?;
            let device = format!(r#"{{"major": {major}, "minor": {minor}, "rate": 104857600}}"#);
            Some(format!(
                r#""blockIO": {{"throttleReadBpsDevice": [{device}]}}"#
            ))
        });
        let pages = r#""hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]"#;
        let memory = r#""memory": {"limit": 268435456, "reservation": 134217728}"#;
        let cpu = r#""cpu": {"shares": 512, "quota": 50000, "period": 100000}"#;
        let all = [
            ("memory", Some(memory.to_owned())),
            ("cpu", Some(cpu.to_owned())),
            ("pids", Some(r#""pids": {"limit": 100}"#.to_owned())),
            ("io", io),
            ("hugetlb", Some(pages.to_owned())),
        ];
        all.into_iter().filter_map(move |(name, limit)| {
            let here = names.split([' ', ',', '\n']).any(|known| known == name);
            Some((name, limit.filter(|_| here)?))
        })
    }

    /// The paths of a container's cgroup called `name`: in every hierarchy, below the cgroup of this process.
    pub fn places(&self, name: &str) -> Vec<PathBuf> {
        let Self::V1 { hierarchies, .. } = self else {
            return vec![Path::new(CGROUPS).join(name)];
        };
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        hierarchies
            .iter()
            .map(|hierarchy| {
                let label = hierarchy.file_name().unwrap_or_default().to_string_lossy();
                let below = own.lines().find_map(|line| {
                    let (_, rest) = line.split_once(':')?;
                    let (controllers, path) = rest.split_once(':')?;
                    (controllers == label || controllers.strip_prefix("name=") == Some(&label))
                        .then_some(path)
                });
                let parent = hierarchy.join(below.unwrap_or("/").trim_start_matches('/'));
                if parent.is_dir() {
                    parent.join(name)
                } else {
                    hierarchy.join(name)
                }
            })
            .collect()
    }
}

/// Runs this program again for `view`, in a separate mount namespace. The copy's exit status reports success. The
/// copy cleans up after itself, so on a signal we only ask it to stop.
pub fn measure_inside(options: &Options, view: View, stop: &Stop) -> Result<bool, String> {
    let itself = std::env::current_exe().map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("unshare: {error}");
    let mut copy = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .arg(itself)
        .args(options.for_view(view))
        .spawn()
        .map_err(failed)?;
    let mut stop_sent = false;
    loop {
        if let Some(status) = copy.try_wait().map_err(failed)? {
            return Ok(status.success());
        }
        if stop.asked() && !stop_sent {
            stop_sent = true;
            if let Some(pid) = Pid::from_raw(copy.id() as i32) {
                let _ = kill_process(pid, Signal::TERM); // it may just have exited
            }
        }
        sleep(Duration::from_millis(50));
    }
}

/// Mounts the v2 hierarchy in place of the v1 ones. Requires a mount namespace of our own.
pub fn enter_v2() -> Result<(), String> {
    let unified = match Cgroups::seen()? {
        Cgroups::V2 => return Ok(()),
        Cgroups::V1 {
            unified: Some(path),
            ..
        } => path,
        Cgroups::V1 { unified: None, .. } => {
            return Err("no cgroup v2 hierarchy is mounted here".to_string());
        }
    };
    let step = |what: &'static str| {
        move |error| format!("cannot mount the v2 hierarchy on {CGROUPS}: {what}: {error}")
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, unified.as_os_str().as_bytes(), flags).map_err(step("open_tree"))?;
    unmount(CGROUPS, UnmountFlags::DETACH).map_err(step("umount"))?;
    move_mount(
        tree,
        "",
        CWD,
        CGROUPS,
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .map_err(step("move_mount"))
}
