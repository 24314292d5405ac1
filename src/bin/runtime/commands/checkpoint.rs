//! `checkpoint`: criu saves the processes of a container to disk. Unless the container is to keep running, this ends
//! it.

use crate::container::Container;
use crate::context::Context;
use crate::criu::{self, External, Places, Running};
use crate::files;
use crate::program::Setup;
use crate::{host, log};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::cli::Checkpoint;
use runtime::error::{During, Error, Result, fail};
use runtime::facts::{CGROUPS, Cgroups, join};
use runtime::limits::Driver;
use runtime::plan::{Options, Plan, plan};
use runtime::spec::Spec;
use runtime::state::{PAUSED, RUNNING, State};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use syscalls::step::Lossy;

pub fn run(context: &Context<'_>, args: &Checkpoint<'_>) -> Result<i32> {
    let id = args.id;
    let container = Container::open(context.root, id)?;
    let (directory, state) = (&container.directory, &container.state);
    let cgroups = host::cgroups()?;
    match container.status(&cgroups)? {
        RUNNING | PAUSED => {}
        status => fail!("cannot checkpoint container {id:?}: it is {status}"),
    }
    let config = directory.config()?;
    let spec = Spec::read(&config)?;
    let facts = host::probe(context.start, spec.names_labels(), false)?;
    if !facts.privileged {
        fail!("cannot checkpoint container {id:?}: criu needs root");
    }
    let options = Options {
        id,
        bundle: &state.bundle,
        wait: false,
        no_pivot: None,
        no_new_keyring: true,
        preserve_fds: 0,
        listen_fds: 0,
        relays: false,
        console_size: None,
        cgroups: match &state.cgroup {
            Some(_) => &Driver::Cgroupfs,
            None => &Driver::Disabled,
        },
        created: &log::now(),
        notify: None,
    };
    let plan = plan(&spec, &facts, &options)?;
    if plan.console.is_some() {
        fail!("cannot checkpoint container {id:?}: {}", criu::NO_TERMINAL);
    }
    let mounts = external_mounts(&plan, state)?;
    let namespaces = outer_namespaces(&plan, state)?;
    let places = Places::of(&args.images, "dump.log");
    Places::make(places.images)?;
    Places::make(places.work)?;
    let new_mounts = criu::NEW_MOUNTS & plan.namespaces != 0;
    let running = Running {
        pid: state.pid,
        rootfs: new_mounts.then_some(state.rootfs.as_str()),
        freezer: freezer(&facts.cgroups, state),
        mounts: &mounts,
        namespaces: &namespaces,
    };
    let arguments = criu::dump(args, &places, &state.annotations, &running)?;
    if !args.pre_dump {
        keep_descriptors(state, places.images)?;
    }
    let status_fd = args.status_fd.and_then(|fd| RawFd::try_from(fd).ok());
    let setup = Setup {
        descriptors: status_fd.as_slice(),
        ..Setup::default()
    };
    criu::run(context, &arguments, &places, &setup)
        .map_err(|error| Error::new(format!("cannot checkpoint container {id:?}: {error}")))?;
    if args.pre_dump || args.leave_running {
        return Ok(0);
    }
    // As in runc: from now on, the container is what is on disk.
    container.kill_and_wait()?;
    container.remove(context.start)?;
    Ok(0)
}

/// The mounts that are not in the image, each with the name that it has there.
fn external_mounts<'p>(plan: &'p Plan, state: &State) -> Result<Vec<(String, Cow<'p, str>)>> {
    let root = open(&format!("/proc/{}/root", state.pid))?;
    let mut mounts = Vec::new();
    for external in criu::externals(plan) {
        if let Some(point) = mount_point(root.as_fd(), &external)? {
            mounts.push((point, criu::image_name(&external)));
        }
    }
    Ok(mounts)
}

/// The namespaces that the container has joined, with their inodes.
fn outer_namespaces(plan: &Plan, state: &State) -> Result<Vec<(&'static str, u64)>> {
    let mut namespaces = Vec::new();
    for name in plan.joins.iter().map(|join| join.name) {
        if let Some((kind, _)) = criu::outer_namespace(name) {
            let path = format!("/proc/{}/ns/{kind}", state.pid);
            let stat =
                rustix::fs::stat(path.as_str()).during(|| format!("cannot look at {path}"))?;
            namespaces.push((name, stat.st_ino));
        }
    }
    Ok(namespaces)
}

fn open(path: &str) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).during(|| format!("cannot open {path}"))
}

/// The mount point in the container, after following links. `None` if the null device does not mask the path, because
/// it does not exist or is a directory.
fn mount_point(root: BorrowedFd<'_>, external: &External<'_>) -> Result<Option<String>> {
    let path = match external {
        External::Bind(target, _) => target,
        External::Mask(path) => path,
    };
    let what = || format!("cannot find the mount {} of the container", Lossy(path));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let point = rustix::fs::openat2(root, *path, flags, Mode::empty(), ResolveFlags::IN_ROOT);
    let point = match (point, external) {
        (Err(Errno::NOENT), External::Mask(_)) => return Ok(None),
        (point, _) => point.during(what)?,
    };
    if let External::Mask(_) = external
        && FileType::from_raw_mode(rustix::fs::fstat(&point).during(what)?.st_mode)
            != FileType::CharacterDevice
    {
        return Ok(None);
    }
    files::path_of(point.as_fd()).during(what).map(Some)
}

/// The cgroup to freeze while criu inspects the processes, so that forks cannot escape it.
fn freezer(cgroups: &Cgroups, state: &State) -> Option<String> {
    let place = state.place()?;
    match cgroups {
        Cgroups::V2 => Some(join(CGROUPS, &place.path)),
        Cgroups::V1(hierarchies) => {
            let freezer = hierarchies.iter().find(|h| h.has("freezer"))?;
            Some(freezer.directory(&place))
        }
    }
}

/// Records the targets of stdio, so that `restore` can replace pipes by its own descriptors.
fn keep_descriptors(state: &State, images: &str) -> Result<()> {
    let descriptors: Vec<String> = (0..3)
        .map(|n| format!("/proc/{}/fd/{n}", state.pid))
        .map(
            |link| match rustix::fs::readlinkat(CWD, link.as_str(), Vec::new()) {
                Ok(name) => name.to_string_lossy().into_owned(),
                Err(_) => String::new(),
            },
        )
        .collect();
    let json = serde_json::to_vec(&descriptors).map_err(|e| Error::new(format!("{e}")))?;
    files::replace(CWD, &join(images, criu::DESCRIPTORS), &json, 0o600)
}
