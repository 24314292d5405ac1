//! `update`: sets new limits on a container, from a file or from flags. Other limits do not change.

use crate::cgroup;
use crate::cgroup::systemd::Manager;
use crate::container::{Container, Lock};
use crate::context::Context;
use crate::files;
use crate::host;
use alloc::format;
use runtime::cli::Update;
use runtime::error::{During, Error, Result, fail};
use runtime::spec::Resources;
use runtime::state::{CREATING, STOPPED};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};

pub fn run(context: &Context<'_>, args: &Update<'_>) -> Result<i32> {
    let id = args.id;
    let container = Container::open(context.root, id)?;
    let file = args.resources;
    let text = file.map(read).transpose()?;
    let resources = match (&file, &text) {
        (Some("-"), Some(text)) => Resources::parse("stdin", text)?,
        (Some(file), Some(text)) => Resources::parse(file, text)?,
        _ => Resources::from_flags(args),
    };
    for schema in [args.l3_cache_schema, args.mem_bw_schema] {
        if schema.is_some_and(|text| !text.is_empty()) {
            fail!("update: Intel RDT is not supported");
        }
    }
    let cgroups = host::cgroups()?;
    match container.process()? {
        (STOPPED, _) => fail!("container not running: {id:?} is {STOPPED}"),
        // Its cgroup may not exist yet.
        (CREATING, None) => fail!("container not running: {id:?} is {CREATING}"),
        // `create` has the lock, and may be waiting for a hook that calls us.
        (CREATING, _) => {}
        _ => container.lock(Lock::Shared)?,
    }
    let manager = match &container.state.unit {
        Some(name) => Some((Manager::find(context.start)?, name.as_str())),
        None => None,
    };
    let unit = manager.as_ref().map(|(manager, name)| (manager, *name));
    cgroup::update(&cgroups, &container.cgroup()?, &resources, unit)
        .map_err(|error| Error::new(format!("cannot update container {id:?}: {error}")))?;
    Ok(0)
}

/// Reads the file, or stdin for `-`.
fn read(file: &str) -> Result<alloc::vec::Vec<u8>> {
    if file != "-" {
        return files::read(CWD, file);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stdin: rustix::io::Result<OwnedFd> =
        rustix::fs::openat(CWD, "/proc/self/fd/0", flags, Mode::empty())
            .or_else(|_| rustix::io::fcntl_dupfd_cloexec(syscalls::calls::stdin(), 3));
    stdin
        .and_then(|stdin| files::read_open(&stdin))
        .during(|| "cannot read the resources from stdin".into())
}
