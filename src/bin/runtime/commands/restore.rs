//! `restore`: criu restores the processes of a checkpoint, in a new cgroup and with the mounts of the bundle. The
//! result is a container like any other.

use crate::commands::create::{Mode, Planned, planned};
use crate::container::Directory;
use crate::context::Context;
use crate::criu::{self, Places, Restored};
use crate::launch::{Unfinished, enter, log_warnings, spread};
use crate::program::Setup;
use crate::{console, files, process, signal};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::cell::Cell;
use core::ffi::CStr;
use runtime::cli::{Launch, Restore};
use runtime::error::{During, Error, Result, fail};
use runtime::facts::join;
use runtime::plan::Plan;
use runtime::spec;
use rustix::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode as FsMode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};
use syscalls::step::{Lossy, Step};
use syscalls::{Make, calls};

/// In the state directory while criu runs: the file for the pid, and the directory on which the root is bound for
/// criu.
const PID: &str = "criu.pid";
const ROOT: &str = "criu.root";

pub fn run(context: &Context<'_>, args: &Restore<'_>) -> Result<i32> {
    let id = args.id;
    let mode = match args.detach {
        true => Mode::Detach,
        false => Mode::Foreground,
    };
    let launch = Launch {
        bundle: args.bundle,
        console_socket: args.console_socket,
        no_pivot: args.no_pivot,
        ..Launch::default()
    };
    let Planned {
        text,
        facts,
        manager,
        plan,
    } = planned(context, id, &launch, mode, 0)?;
    let cannot = |why: &str| {
        Err(Error::new(format!(
            "cannot restore container {id:?}: {why}"
        )))
    };
    if !facts.privileged {
        return cannot("criu needs root");
    }
    if plan.console.is_some() {
        return cannot(criu::NO_TERMINAL);
    }
    if !plan.hooks.prestart.is_empty() || !plan.hooks.create_runtime.is_empty() {
        return cannot("hooks.prestart and hooks.createRuntime cannot be run at the right time");
    }
    if !plan.net_devices.is_empty() {
        return cannot("linux.netDevices cannot be moved at the right time");
    }
    if plan.joins.iter().any(|join| join.name == "cgroup") {
        return cannot("criu cannot join a cgroup namespace");
    }
    // No signal interrupts this half-way. criu receives signals as well.
    let stop = signal::hold()?;
    let directory = Directory::make(context.root, &plan.state.id)?;
    let mut unfinished = Unfinished::new(directory, plan.state.clone(), &facts, manager.as_ref());
    let process = match bring_back(context, args, text, &plan, &mut unfinished) {
        Ok(process) => process,
        Err(error) => {
            unfinished.undo();
            return cannot(&error.to_string());
        }
    };
    drop(stop);
    log_warnings(&plan, context);
    if mode == Mode::Detach {
        return Ok(0);
    }
    let container = unfinished.keep();
    let state = &container.state;
    let jail = state.poststop.is_empty() && state.unit.is_none();
    let status = console::supervise(process.as_fd(), None, None, jail);
    container.remove(context.start)?;
    status
}

fn bring_back<'a>(
    context: &Context<'_>,
    arguments: &Restore<'a>,
    config: &[u8],
    plan: &'a Plan,
    unfinished: &mut Unfinished<'a>,
) -> Result<OwnedFd> {
    // The state is written first: whatever happens from here on, `delete` knows what to remove.
    unfinished.directory.write(&unfinished.state)?;
    unfinished.directory.keep_config(config)?;
    let places = Places::of(&arguments.images, "restore.log");
    let inherited = inherited(plan, &places)?;
    Places::make(places.work)?;

    let (mut cgroup, mut birthplace) = (None, None);
    if let Some(planned) = &plan.cgroup {
        cgroup = unfinished.make_cgroup(planned)?;
        if let (Some(cgroup), None) = (&cgroup, &planned.unit) {
            cgroup.filter_devices(&planned.limits)?;
            birthplace = cgroup.birthplace()?;
        }
    }
    let (manager, scope) = (unfinished.manager, Cell::new(None));
    let before = |pid| {
        if let (Some(cgroup), Some(planned)) = (&cgroup, &plan.cgroup) {
            enter(cgroup, planned, manager, pid, &scope)?;
        }
        spread(pid);
        Ok(())
    };

    let own = unfinished.directory.path()?;
    let (pid_file, root) = (join(&own, PID), join(&own, ROOT));
    let bound = criu::NEW_MOUNTS & plan.namespaces != 0;
    if bound {
        make_mount_points(plan, &root)?;
    }
    let descriptors: Vec<(RawFd, String)> = inherited
        .iter()
        .map(|(fd, key)| (fd.as_raw_fd(), key.clone()))
        .collect();
    let restored = Restored {
        root: bound.then_some(root.as_str()),
        pid_file: &pid_file,
        cgroup: unfinished.state.place(),
        descriptors: &descriptors,
    };
    let annotations = &unfinished.state.annotations;
    let args = criu::restore(arguments, &places, annotations, plan, &restored);
    // Sorted, because they were opened one after the other.
    let kept: Vec<RawFd> = descriptors.iter().map(|(fd, _)| *fd).collect();
    let setup = Setup {
        descriptors: &kept,
        cgroup: birthplace.as_ref().map(AsFd::as_fd),
        before: Some(&before),
        bound: bound.then_some((plan.state.rootfs.as_str(), root.as_str())),
    };
    let result = criu::run(context, &args, &places, &setup);
    unfinished.unit = scope.get();
    unfinished.cgroup |= unfinished.unit.is_some();
    result?;
    let (pid, process) = restored_process(&pid_file)?;
    let _ = rustix::fs::unlink(pid_file.as_str());
    let _ = rustix::fs::unlinkat(CWD, root.as_str(), AtFlags::REMOVEDIR);
    write_down(unfinished, pid, arguments.pid_file).inspect_err(|_| {
        process::kill(process.as_fd());
        process::reap(process.as_fd());
    })?;
    Ok(process)
}

/// The process that criu has restored and written the pid of.
fn restored_process(pid_file: &str) -> Result<(i32, OwnedFd)> {
    let text = files::read(CWD, pid_file)?;
    let pid = core::str::from_utf8(&text)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .and_then(Pid::from_raw);
    let Some(pid) = pid else {
        fail!("criu wrote no pid to {pid_file}");
    };
    // Our child, so the pid cannot have been reused.
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .during(|| format!("cannot open the process {pid}"))?;
    Ok((pid.as_raw_nonzero().get(), process))
}

/// Writes the state and the pid file.
fn write_down(unfinished: &mut Unfinished<'_>, pid: i32, pid_file: Option<&str>) -> Result<()> {
    unfinished.state.pid = pid;
    unfinished.state.start_time = process::stat(pid)?.map_or(0, |stat| stat.started);
    unfinished.directory.prepare(&unfinished.state)?;
    unfinished.commit()?;
    match pid_file {
        Some(path) => files::replace(CWD, path, pid.to_string().as_bytes(), 0o644),
        None => Ok(()),
    }
}

/// Creates missing mount points. The root may be a new one, which is not part of the checkpoint, and criu requires
/// them. Mount points inside another mount come with that mount.
fn make_mount_points(plan: &Plan, bound: &str) -> Result<()> {
    rustix::fs::mkdirat(CWD, bound, FsMode::RWXU).during(|| format!("cannot make {bound}"))?;
    let what = |path| {
        format!(
            "cannot make the mount point {path} in {}",
            plan.state.rootfs
        )
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, plan.state.rootfs.as_str(), flags, FsMode::empty())
        .during(|| format!("cannot open {}", plan.state.rootfs))?;
    let points: Vec<(&CStr, Make)> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Mount(mount) => Some((mount.target, Make::Directory)),
            Step::Bind(bind) => Some((bind.target, kind_of(bind.source))),
            _ => None,
        })
        .collect();
    for (point, make) in &points {
        let below = points.iter().any(|(other, _)| {
            let rest = point.to_bytes().strip_prefix(other.to_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"/"))
        });
        if !below {
            let made = syscalls::reach(root.as_fd(), point, *make);
            made.map_err(|fault| Error::from_errno(what(Lossy(point)), fault.errno))?;
        }
    }
    Ok(())
}

fn kind_of(source: &CStr) -> Make {
    match rustix::fs::stat(source) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => Make::Directory,
        _ => Make::File,
    }
}

/// The descriptors for criu, with their names in the image: our stdio in place of the container's pipes, and external
/// namespaces.
fn inherited(plan: &Plan, places: &Places<'_>) -> Result<Vec<(OwnedFd, String)>> {
    let mut inherited: Vec<(OwnedFd, String)> = Vec::new();
    let path = join(places.images, criu::DESCRIPTORS);
    // Whoever wrote the checkpoint may have put a FIFO there, which nobody writes to.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = rustix::fs::openat(CWD, path.as_str(), flags, FsMode::empty());
    let names: Vec<String> = match open {
        Err(Errno::NOENT) => Vec::new(),
        file => {
            let what = || format!("cannot read {path}");
            spec::strings(&path, &files::read_open(&file.during(what)?).during(what)?)?
        }
    };
    let stdio = [calls::stdin(), calls::stdout(), calls::stderr()];
    for (name, ours) in names.iter().zip(stdio) {
        let known = inherited.iter().any(|(_, known)| known == name);
        if name.starts_with("pipe:") && !known {
            let copy = rustix::io::dup(ours).during(|| "cannot duplicate stdio".into())?;
            inherited.push((copy, name.clone()));
        }
    }
    for join in &plan.joins {
        if let Some((_, key)) = criu::outer_namespace(join.name) {
            let namespace = rustix::fs::openat(CWD, join.path, OFlags::RDONLY, FsMode::empty())
                .during(|| {
                    let path = join.path.to_string_lossy();
                    format!("config.json: linux.namespaces: cannot open {path}")
                })?;
            inherited.push((namespace, key.into()));
        }
    }
    Ok(inherited)
}
