//! Opens the parts of the host that the container uses: namespaces to join, and copies of trees, with their ids
//! mapped. For a user namespace, the copies are made in the container's mount namespace, as runc does: there
//! the kernel has locked the flags of the host's mounts and hides covered files (mount_namespaces(7)). The
//! container's root may lack permission to look up the sources, so this process enters that mount namespace
//! itself.

use super::why::{no_tree, unborn};
use crate::mappings;
use crate::process::reap;
use alloc::ffi::CString;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::mem::MaybeUninit;
use runtime::error::{During, Error, Result};
use runtime::plan::{Idmap, IdmapBy, Open, Plan, What, When};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::IoSlice;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use syscalls::calls::{self, MountAttr};
use syscalls::slots::Slots;
use syscalls::spawn::{Spawn, spawn};
use syscalls::step::{Close, Lossy, Point, Step, Steps};

/// Opens everything that may be missing on the host, before anything is made.
pub fn open_first(plan: &Plan, slots: &Slots) -> Result<()> {
    for open in plan.opens.iter().filter(|open| open.when == When::First) {
        let fd = opened(open)?;
        map_ids(open, fd.as_fd())?;
        slots.fill(open.slot, fd);
    }
    Ok(())
}

/// Copies trees in the mount namespace of the waiting process `pid`, and sends them over its channel.
pub fn hand_over(
    plan: &Plan,
    pid: i32,
    pidfd: BorrowedFd<'_>,
    channel: BorrowedFd<'_>,
) -> Result<()> {
    let opens = || plan.opens.iter().filter(|open| open.when == When::Child);
    let trees: Result<Vec<OwnedFd>> = in_mounts_of(pid, pidfd, || opens().map(opened).collect())?;
    for (open, tree) in opens().zip(trees?) {
        map_ids(open, tree.as_fd())?;
        let fds = [tree.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let slot = open.slot.to_ne_bytes();
        rustix::net::sendmsg(
            channel,
            &[IoSlice::new(&slot)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
        .during(|| "cannot hand over the trees that are bound".into())?;
    }
    Ok(())
}

/// Runs `act` in the mount namespace and the root of another process, then returns to our own.
fn in_mounts_of<T>(pid: i32, pidfd: BorrowedFd<'_>, act: impl FnOnce() -> T) -> Result<T> {
    let what = || "cannot enter the mount namespace of the container (setns)".into();
    let open =
        |path: &CStr, flags| rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty());
    let directory = OFlags::PATH | OFlags::DIRECTORY;
    let enter = |namespace: BorrowedFd<'_>, root: &OwnedFd| {
        move_into_thread_name_spaces(namespace, ThreadNameSpaceType::MOUNT)?;
        rustix::process::fchdir(root)?;
        rustix::process::chroot(c".")
    };
    let theirs = CString::new(format!("/proc/{pid}/root")).unwrap_or_default();
    let theirs = open(&theirs, directory).during(what)?;
    let home = open(c"/proc/self/ns/mnt", OFlags::RDONLY).during(what)?;
    let (root, here) = (
        open(c"/", directory).during(what)?,
        open(c".", directory).during(what)?,
    );
    let entered = enter(pidfd, &theirs);
    let result = entered.map(|()| act());
    enter(home.as_fd(), &root)
        .and_then(|()| rustix::process::fchdir(here))
        .during(|| "cannot leave the mount namespace of the container (setns)".into())?;
    result.during(what)
}

fn opened(open: &Open) -> Result<OwnedFd> {
    match &open.what {
        What::Namespace { path } => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, *path, flags, Mode::empty())
                .during(|| format!("config.json: {}: cannot open {}", open.field, Lossy(path)))
        }
        What::Tree { tree, root, .. } => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = root.map(|path| rustix::fs::openat(CWD, path, flags, Mode::empty()));
            let root = root
                .transpose()
                .during(|| "config.json: root.path".into())?;
            syscalls::open_tree(tree, root.as_ref().map(AsFd::as_fd))
                .map_err(|fault| no_tree(&open.field, tree, fault))
        }
    }
}

/// Maps the ids of a detached tree, if the plan asks for it. The parent does this, because it requires privileges
/// over the file system.
fn map_ids(open: &Open, tree: BorrowedFd<'_>) -> Result<()> {
    match &open.what {
        What::Tree {
            idmap: Some(idmap), ..
        } => map(tree, idmap).map_err(|e| Error::new(format!("config.json: {}: {e}", open.field))),
        _ => Ok(()),
    }
}

/// Maps the ids of a detached tree through a user namespace: an existing one, or a new one that is held by a
/// process that only waits.
fn map(tree: BorrowedFd<'_>, idmap: &Idmap) -> Result<()> {
    let by = |path: &CStr| {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let userns = rustix::fs::openat(CWD, path, flags, Mode::empty())
            .during(|| format!("cannot open {}", Lossy(path)))?;
        let attr = MountAttr {
            set: u64::from(linux_raw_sys::general::MOUNT_ATTR_IDMAP),
            ..MountAttr::NONE
        };
        calls::mount_setattr(tree, idmap.recursive, attr, Some(userns.as_fd()))
            .during(|| "cannot map the ids of the mount".into())
    };
    let wanted = match &idmap.by {
        IdmapBy::Namespace(path) => return by(path),
        IdmapBy::Mappings(mappings) => mappings,
    };
    const NEWUSER: u64 = linux_raw_sys::general::CLONE_NEWUSER as u64;
    let birth = Spawn {
        namespaces: NEWUSER,
        joins: &[],
        time: None,
        cgroup: None,
        steps: Steps {
            first: &[Step::Meet(Point::Mappings)],
            close: Close::default(),
            last: &[],
        },
        among: None,
    };
    let none = Slots::new(0);
    let holder = spawn(&birth, &none).map_err(unborn)?;
    let result = (|| {
        mappings::write(wanted, holder.pid, None)?;
        let path = CString::new(format!("/proc/{}/ns/user", holder.pid));
        by(&path.unwrap_or_default())
    })();
    drop(holder.channel);
    reap(holder.pidfd.as_fd());
    result
}
