//! Runs criu(8), which saves processes to disk and restores them. Its arguments are derived from the plan and the
//! command line.

use crate::context::Context;
use crate::files;
use crate::program::{self, Setup, Stream};
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use runtime::cli::{Checkpoint, Images, Restore};
use runtime::error::{Error, Result, fail};
use runtime::facts::Location;
use runtime::plan::Plan;
use rustix::fd::RawFd;
use rustix::fs::CWD;
use syscalls::step::{Bind, Step};

/// The file in the image directory that records the targets of the process's stdin, stdout and stderr.
pub const DESCRIPTORS: &str = "descriptors.json";
/// The name of a masked file in the image, as in runc.
const NULL: &str = "/dev/null";

/// A new mount namespace (clone(2), CLONE_NEWNS). Only then are there a root and mounts to handle.
pub const NEW_MOUNTS: u64 = linux_raw_sys::general::CLONE_NEWNS as u64;
/// The criu program keeps the master of a terminal to itself, so the restored container would have a dead terminal.
pub const NO_TERMINAL: &str =
    "it has a terminal (process.terminal of config.json), which the criu program cannot hand over";

/// The directories that criu reads and writes.
pub struct Places<'a> {
    pub images: &'a str,
    pub work: &'a str,
    /// In `work`.
    pub log: &'static str,
}

impl<'a> Places<'a> {
    pub fn of(args: &Images<'a>, log: &'static str) -> Self {
        let images = args.image_path.unwrap_or("checkpoint");
        Self {
            images,
            work: args.work_path.unwrap_or(images),
            log,
        }
    }

    /// Creates a directory that only root can access, because it holds the memory of processes.
    pub fn make(path: &str) -> Result<()> {
        files::make_directories(path, 0o700).map_err(|(at, errno)| {
            Error::from_errno(format!("cannot make the directory {at}"), errno)
        })
    }
}

/// A mount whose source is outside the container.
pub enum External<'p> {
    /// Target and source.
    Bind(&'p CStr, &'p CStr),
    /// A path that may be masked by the null device.
    Mask(&'p CStr),
}

/// The mounts of the plan that criu cannot recreate from its image.
pub fn externals(plan: &Plan) -> impl Iterator<Item = External<'_>> {
    plan.steps.iter().filter_map(|step| match step {
        Step::Bind(Bind { target, source, .. }) => Some(External::Bind(target, source)),
        Step::Mask { path, .. } => Some(External::Mask(path)),
        _ => None,
    })
}

/// For `net` and `pid`, the external namespaces that criu accepts: the name in the image.
pub fn outer_namespace(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "network" => Some(("net", "extRootNetNS")),
        "pid" => Some(("pid", "extRootPidNS")),
        _ => None,
    }
}

fn common(
    images: &Images<'_>,
    places: &Places<'_>,
    annotations: &[(String, String)],
) -> Vec<String> {
    let mut args: Vec<String> = [
        "-v4",
        "--log-file",
        places.log,
        "--images-dir",
        places.images,
        "--work-dir",
        places.work,
        // The engine configures the network namespace.
        "--empty-ns",
        "net",
    ]
    .map(str::to_owned)
    .into();
    let same = [
        (images.tcp_established, "--tcp-established"),
        (images.ext_unix_sk, "--ext-unix-sk"),
        (images.shell_job, "--shell-job"),
        (images.file_locks, "--file-locks"),
        (images.auto_dedup, "--auto-dedup"),
        (images.lazy_pages, "--lazy-pages"),
        (images.link_remap, "--link-remap"),
    ];
    let given = same.iter().filter(|(given, _)| *given);
    args.extend(given.map(|(_, name)| (*name).to_owned()));
    // A file with criu's own options, for those that engines have no flag for.
    let config = annotations.iter().find(|(key, _)| key == "org.criu.config");
    if let Some((_, path)) = config {
        args.extend(["--config".to_owned(), path.clone()]);
    }
    args
}

/// The properties of the running container that `dump` needs.
pub struct Running<'a> {
    pub pid: i32,
    /// `None` if it has the host's mounts.
    pub rootfs: Option<&'a str>,
    /// The cgroup directory to freeze during the dump.
    pub freezer: Option<String>,
    /// The mount points and their names in the image.
    pub mounts: &'a [(String, Cow<'a, str>)],
    /// External namespaces, by their name in the spec, with their inodes.
    pub namespaces: &'a [(&'a str, u64)],
}

/// The arguments of `checkpoint`.
pub fn dump(
    checkpoint: &Checkpoint<'_>,
    places: &Places<'_>,
    annotations: &[(String, String)],
    running: &Running<'_>,
) -> Result<Vec<String>> {
    let pre = checkpoint.pre_dump;
    let mut args = common(&checkpoint.images, places, annotations);
    args.insert(0, if pre { "pre-dump" } else { "dump" }.to_owned());
    if checkpoint.leave_running {
        args.push("--leave-running".to_owned());
    }
    args.extend(["--tree".to_owned(), format!("{}", running.pid)]);
    if let Some(rootfs) = running.rootfs {
        args.extend(["--root".to_owned(), rootfs.to_owned()]);
    }
    let mode = checkpoint.images.manage_cgroups_mode.unwrap_or("soft");
    args.push(format!("--manage-cgroups={mode}"));
    if let Some(freezer) = &running.freezer {
        args.extend(["--freeze-cgroup".to_owned(), freezer.clone()]);
    }
    let parent = checkpoint.parent_path;
    if pre || parent.is_some() {
        args.push("--track-mem".to_owned());
    }
    if let Some(parent) = parent {
        if parent.starts_with('/') {
            fail!("--parent-path: expected a path relative to --image-path, found {parent:?}");
        }
        args.extend(["--prev-images-dir".to_owned(), parent.to_owned()]);
    }
    if let Some(server) = checkpoint.page_server {
        let Some((address, port)) = server.rsplit_once(':') else {
            fail!("--page-server: expected ADDRESS:PORT, found {server:?}");
        };
        args.extend(["--page-server", "--address", address, "--port", port].map(str::to_owned));
    }
    if let Some(fd) = checkpoint.status_fd {
        args.extend(["--status-fd".to_owned(), format!("{fd}")]);
    }
    for (point, name) in running.mounts {
        args.extend(["--external".to_owned(), format!("mnt[{point}]:{name}")]);
    }
    for (name, inode) in running.namespaces {
        if let Some((kind, key)) = outer_namespace(name) {
            args.extend(["--external".to_owned(), format!("{kind}[{inode}]:{key}")]);
        }
    }
    Ok(args)
}

/// The input of `restore` besides the plan.
pub struct Restored<'a> {
    /// The path where the root is bound for criu. `None` if the container has the host's mounts.
    pub root: Option<&'a str>,
    pub pid_file: &'a str,
    pub cgroup: Option<Location>,
    /// Our descriptors that replace external ones, with their names in the image.
    pub descriptors: &'a [(RawFd, String)],
}

/// The arguments of `restore`.
pub fn restore(
    arguments: &Restore<'_>,
    places: &Places<'_>,
    annotations: &[(String, String)],
    plan: &Plan,
    restored: &Restored<'_>,
) -> Vec<String> {
    let mut args = common(&arguments.images, places, annotations);
    args.insert(0, "restore".to_owned());
    // The restored process becomes our child instead of criu's, as if we had started it.
    args.extend(["--restore-detached", "--restore-sibling"].map(str::to_owned));
    args.extend(["--pidfile", restored.pid_file, "--evasive-devices"].map(str::to_owned));
    if let Some(root) = restored.root {
        args.extend(["--root".to_owned(), root.to_owned()]);
    }
    // criu runs in the cgroup already. It recreates the cgroups below it, wherever they were.
    let mode = match &restored.cgroup {
        Some(_) => arguments.images.manage_cgroups_mode.unwrap_or("soft"),
        None => "ignore",
    };
    args.push(format!("--manage-cgroups={mode}"));
    if let Some(place) = restored.cgroup.as_ref().filter(|_| mode != "ignore") {
        args.extend(["--cgroup-root".to_owned(), place.path.clone()]);
        for (name, path) in &place.apart {
            args.extend(["--cgroup-root".to_owned(), format!("{name}:{path}")]);
        }
    }
    for (value, name) in [
        (arguments.lsm_profile, "--lsm-profile"),
        (arguments.lsm_mount_context, "--lsm-mount-context"),
    ] {
        if let Some(value) = value {
            args.extend([name.to_owned(), value.to_owned()]);
        }
    }
    let mut masked = false;
    for external in externals(plan) {
        let (name, source) = match external {
            External::Bind(target, source) => (target.to_string_lossy(), source.to_string_lossy()),
            // All masked files share one name.
            External::Mask(_) if masked => continue,
            External::Mask(_) => {
                masked = true;
                (NULL.into(), NULL.into())
            }
        };
        args.extend(["--external".to_owned(), format!("mnt[{name}]:{source}")]);
    }
    for join in &plan.joins {
        if outer_namespace(join.name).is_none() {
            let kind = match join.name {
                "mount" => "mnt",
                name => name,
            };
            let path = join.path.to_string_lossy();
            args.extend(["--join-ns".to_owned(), format!("{kind}:{path}")]);
        }
    }
    for (fd, key) in restored.descriptors {
        args.extend(["--inherit-fd".to_owned(), format!("fd[{fd}]:{key}")]);
    }
    args
}

/// The name of an external mount in the image.
pub fn image_name<'p>(external: &External<'p>) -> Cow<'p, str> {
    match external {
        External::Bind(target, _) => target.to_string_lossy(),
        External::Mask(_) => NULL.into(),
    }
}

/// Runs criu: `--criu` or the one in PATH. An error contains the last errors in its log and the log's path.
pub fn run(
    context: &Context<'_>,
    args: &[String],
    places: &Places<'_>,
    setup: &Setup<'_>,
) -> Result<()> {
    let log = runtime::facts::join(places.work, places.log);
    // The log of an earlier run would contain other errors.
    let _ = rustix::fs::unlink(log.as_str());
    let name = context.globals.criu.unwrap_or("criu");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let path = context.start.var("PATH");
    program::run_with(name, &args, path, Stream::Stderr, setup)
        .map(drop)
        .map_err(|error| match files::read(CWD, log.as_str()) {
            Ok(text) => Error::new(format!(
                "{error}{} (see {log})",
                last_errors(&String::from_utf8_lossy(&text))
            )),
            Err(_) => error,
        })
}

/// The last errors in criu's log. The first of them is usually the cause.
fn last_errors(log: &str) -> String {
    const MOST: usize = 3;
    let errors: Vec<&str> = log
        .lines()
        .filter_map(|line| line.split_once("Error ").map(|(_, error)| error.trim()))
        .collect();
    let last = &errors[errors.len().saturating_sub(MOST)..];
    last.iter().map(|error| format!(": {error}")).collect()
}
