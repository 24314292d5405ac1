//! `create` and `run`: from a bundle to a container that waits, or runs in the foreground or detached.

use crate::cgroup::systemd::Manager;
use crate::context::Context;
use crate::launch::{Launched, Request, launch, log_warnings};
use crate::socket::PidfdSocket;
use crate::{commands, console, files, hooks, host, log, process, seal};
use alloc::format;
use alloc::string::String;
use runtime::cli::{Create, Launch, Run};
use runtime::error::{During, Error, Result, fail};
use runtime::facts::{Facts, join};
use runtime::limits::{self, Driver};
use runtime::plan::notify_socket;
use runtime::plan::{Options, Plan, plan};
use runtime::spec::Spec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode as FsMode, OFlags};
use rustix::process::DumpableBehavior;

/// How to start the container.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The container waits for `start`.
    Create,
    /// The container runs, and the command returns.
    Detach,
    /// The container runs, and the command waits for it.
    Foreground,
}

pub fn create(context: &Context<'_>, args: &Create<'_>) -> Result<i32> {
    begin(context, args.id, &args.launch, Mode::Create).map(|_| 0)
}

pub fn run(context: &Context<'_>, args: &Run<'_>) -> Result<i32> {
    let mode = if args.detach {
        Mode::Detach
    } else {
        Mode::Foreground
    };
    let Some(launched) = begin(context, args.id, &args.launch, mode)? else {
        return Ok(0);
    };
    let Launched {
        container,
        pidfd,
        console,
        ready,
    } = launched;
    let state = &container.state;
    if let Err(error) = hooks::run(
        "poststart",
        &state.poststart,
        state,
        runtime::state::RUNNING,
    ) {
        // A failing poststart hook stops the container (runtime.md, Lifecycle).
        process::kill(pidfd.as_fd());
        process::reap(pidfd.as_fd());
        container.remove(context.start)?;
        return Err(error);
    }
    if mode == Mode::Detach {
        if let Some(ready) = ready {
            ready.wait(pidfd.as_fd(), state.pid)?;
        }
        return Ok(0);
    }
    // Not with poststop hooks, which need more calls and would inherit the filter, nor with systemd, which needs a
    // socket.
    let jail = state.poststop.is_empty() && state.unit.is_none();
    let status = console::supervise(pidfd.as_fd(), console, ready.map(|r| (r, state.pid)), jail);
    if !args.keep {
        container.remove(context.start)?;
    }
    status
}

/// A bundle and its plan.
pub struct Planned {
    /// The text of config.json.
    pub text: &'static [u8],
    pub facts: Facts,
    /// The systemd instance that creates the container's cgroup.
    pub manager: Option<Manager>,
    pub plan: Plan,
}

/// Reads the bundle given on the command line, and makes its plan.
pub fn planned(
    context: &Context<'_>,
    id: &str,
    args: &Launch<'_>,
    mode: Mode,
    preserve_fds: u32,
) -> Result<Planned> {
    let (bundle, directory) = open_bundle(args.bundle.unwrap_or("."))?;
    let text = match args.config {
        Some(path) => files::read(CWD, path)?,
        None => files::read(&directory, "config.json").map_err(|e| no_config(&bundle, e))?,
    };
    // Like the plan itself, the text is needed until the runtime exits.
    let text: &'static [u8] = text.leak();
    let spec = Spec::read(text)?;
    let by_systemd = match context.globals.cgroup_manager {
        None => context.globals.systemd_cgroup,
        Some(name) => name == "systemd",
    };
    let manager = by_systemd
        .then(|| Manager::find(context.start))
        .transpose()?;
    let cgroups = match &manager {
        Some(manager) => Driver::Systemd(manager.root.clone()),
        None if context.globals.cgroup_manager == Some("disabled") => Driver::Disabled,
        None => Driver::Cgroupfs,
    };
    let from_caller =
        cgroups == Driver::Cgroupfs && limits::starts_at_caller(spec.linux.cgroups_path.as_deref());
    let facts = host::probe(context.start, spec.names_labels(), from_caller)?;
    let notify = context.notify_socket();
    let notify = notify.map(|_| notify_directory(context.root, id));
    let notify = notify.transpose()?;
    let options = Options {
        id,
        bundle: &bundle,
        wait: mode == Mode::Create,
        no_pivot: args.no_pivot.then(host::pseudo_mounts).transpose()?,
        no_new_keyring: args.no_new_keyring,
        preserve_fds,
        listen_fds: listen_fds(context),
        relays: args.console_socket.is_none(),
        console_size: (mode == Mode::Foreground).then(console::size).flatten(),
        cgroups: &cgroups,
        created: &log::now(),
        notify: notify.as_deref(),
    };
    let plan = plan(&spec, &facts, &options)?;
    let console_socket = args.console_socket;
    if plan.console.is_some() && console_socket.is_none() && mode != Mode::Foreground {
        fail!(
            "config.json: process.terminal: needs --console-socket, unless the container runs in the foreground"
        );
    }
    if plan.console.is_none() && console_socket.is_some() {
        fail!(
            "--console-socket: process.terminal of config.json is not true, so there is no terminal to send"
        );
    }
    Ok(Planned {
        text,
        facts,
        manager,
        plan,
    })
}

/// Reads the bundle, plans and launches. Returns `None` after a dry run.
fn begin(
    context: &Context<'_>,
    id: &str,
    args: &Launch<'_>,
    mode: Mode,
) -> Result<Option<Launched>> {
    let dry = args.dry_run;
    let preserve_fds = if dry {
        0
    } else {
        protect(context, args.preserve_fds)?
    };
    let Planned {
        text,
        facts,
        manager,
        plan,
    } = planned(context, id, args, mode, preserve_fds)?;
    if dry {
        plan.warnings.iter().for_each(|warning| log::warn(warning));
        return commands::print(&plan.describe()).map(|_| None);
    }
    let request = Request {
        config: text,
        root: context.root,
        console_socket: args.console_socket,
        pidfd_socket: args.pidfd_socket.map(PidfdSocket::connect).transpose()?,
        pid_file: args.pid_file,
        notify_socket: context.notify_socket(),
        path: context.start.var("PATH"),
    };
    let launched = launch(&plan, &facts, manager.as_ref(), &request)?;
    log_warnings(&plan, context);
    Ok(Some(launched))
}

/// Hardens this process before it touches a container: protects the binary, becomes non-dumpable, marks inherited
/// descriptors close-on-exec. Returns the number of descriptors, from 3 on, that the container gets.
pub fn protect(context: &Context<'_>, preserve_fds: Option<i64>) -> Result<u32> {
    seal::ensure(context.start)?;
    let _ = rustix::thread::set_name(c"runtime");
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .during(|| "cannot become non-dumpable".into())?;
    let preserve_fds = u32::try_from(preserve_fds.unwrap_or(0)).unwrap_or(0) + listen_fds(context);
    // Nothing of ours is open yet.
    if let Some(fd) = (3..3 + preserve_fds).find(|fd| !syscalls::calls::is_open(*fd)) {
        fail!("--preserve-fds: descriptor {fd} of {preserve_fds} from 3 on is not open");
    }
    syscalls::calls::mark_close_on_exec(3 + preserve_fds, u32::MAX)
        .during(|| "cannot close inherited descriptors (close_range)".into())?;
    Ok(preserve_fds)
}

/// Opens the bundle. Returns its path, absolute and without links, and the directory.
fn open_bundle(bundle: &str) -> Result<(String, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(CWD, bundle, flags, FsMode::empty())
        .during(|| format!("cannot open the bundle {bundle}"))?;
    let path = files::path_of(directory.as_fd())
        .during(|| format!("cannot find the path of the bundle {bundle}"))?;
    Ok((path, directory))
}

/// The path of the directory with the notify socket, in the state directory that launch will make.
fn notify_directory(root: &str, id: &str) -> Result<String> {
    let name = notify_socket::DIRECTORY.to_str().unwrap_or_default();
    let path = join(&join(root, id), name);
    if root.starts_with('/') {
        return Ok(path);
    }
    let (here, _) = open_bundle(".")?;
    Ok(join(&here, &path))
}

fn no_config(bundle: &str, error: Error) -> Error {
    Error::new(format!(
        "{error} (in the bundle {bundle}; runtime spec writes one)"
    ))
}

/// The number of sockets that a service manager has passed for the container (sd_listen_fds(3)).
pub fn listen_fds(context: &Context<'_>) -> u32 {
    let own = context
        .start
        .var("LISTEN_PID")
        .and_then(|pid| pid.parse().ok())
        == Some(rustix::process::getpid().as_raw_nonzero().get());
    let count = context
        .start
        .var("LISTEN_FDS")
        .and_then(|n| n.parse::<u16>().ok());
    count.filter(|_| own).map_or(0, u32::from)
}
