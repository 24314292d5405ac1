//! Mounts are built detached, get their attributes, and are then moved onto a target descriptor. Each path is
//! looked up once, so that no file can be swapped between two lookups.

use super::copy_up::copy_up;
use super::paths::{self, Make, find, find_plain, reach};
use super::{Child, Walked};
use crate::calls::{self, MountAttr};
use crate::report::{At, Call, Fault, Text};
use crate::slots::Slot;
use crate::step::{Attributes, Bind, FsOption, Mount, Place, Tree};
use core::ffi::CStr;
use core::fmt::Write;
use core::mem::MaybeUninit;
use linux_raw_sys::general::{MOUNT_ATTR__ATIME, MOUNT_ATTR_RDONLY};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, IoSliceMut};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

impl Child<'_> {
    pub fn mount(&self, mount: &Mount<'_>) -> Walked {
        let root = self.root()?;
        let mut inherit_mode = mount.inherit_mode;
        let target = if mount.plain {
            match find_plain(root, mount.target) {
                Err(Fault {
                    errno: Errno::NOENT,
                    ..
                }) => {
                    reach(root, mount.target, Make::Directory)?;
                    find_plain(root, mount.target)
                }
                Err(Fault {
                    errno: Errno::LOOP | Errno::NOTDIR,
                    ..
                }) => Err(Errno::LOOP).at(Call::not_a_directory),
                other => other,
            }?
        } else {
            match find(root, mount.target) {
                Err(Fault {
                    errno: Errno::NOENT,
                    ..
                }) => {
                    inherit_mode = false;
                    reach(root, mount.target, Make::Directory)?
                }
                other => other?,
            }
        };
        let mode = match inherit_mode {
            true => Some(paths::stat(target.as_fd())?.st_mode & 0o7777),
            false => None,
        };
        let new = match mount.data {
            None => new_mount(mount.fstype, mount.source, mount.options, mode, mount.attr)?,
            Some(data) => self.new_mount_by_data(mount, data, target.as_fd())?,
        };
        if mount.copy_up {
            copy_up(target.as_fd(), new.as_fd())?;
        }
        attach(new.as_fd(), target.as_fd())?;
        apply(new.as_fd(), mount.after)?;
        if let Some(slot) = mount.keep {
            self.slots.fill(slot, new);
        }
        Ok(())
    }

    /// Like `new_mount`, through mount(2), for options that are too long for fsconfig(2). mount(2) attaches the
    /// file system at once, and its root can only be opened by name. A private tmpfs, which covers the target
    /// meanwhile, keeps that name away from other processes. The result is a detached copy of the mount.
    fn new_mount_by_data(
        &self,
        mount: &Mount<'_>,
        data: &CStr,
        target: BorrowedFd<'_>,
    ) -> Walked<OwnedFd> {
        let own = new_mount(c"tmpfs", None, &[], None, 0)?;
        rustix::fs::mkdirat(&own, c"m", Mode::RWXU).at(Call::mkdirat)?;
        attach(own.as_fd(), target)?;
        let beneath = ResolveFlags::BENEATH;
        let point = paths::openat2(own.as_fd(), c"m", OFlags::PATH, beneath)?;
        rustix::process::fchdir(&point).at(Call::fchdir)?;
        let flags = match mount.attr & u64::from(MOUNT_ATTR_RDONLY) {
            0 => MountFlags::empty(),
            _ => MountFlags::RDONLY,
        };
        let source = mount.source.unwrap_or(mount.fstype);
        rustix::mount::mount(source, c".", mount.fstype, flags, Some(data)).at(Call::mount)?;
        let mounted = paths::openat2(own.as_fd(), c"m", OFlags::PATH, beneath)?;
        let new = copy(mounted.as_fd(), false)?;
        let attr = MountAttr {
            set: mount.attr,
            clear: u64::from(MOUNT_ATTR__ATIME),
            ..MountAttr::NONE
        };
        calls::mount_setattr(new.as_fd(), false, attr, None).at(Call::mount_setattr)?;
        rustix::process::fchdir(&own).at(Call::fchdir)?;
        rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Call::umount2)?;
        rustix::process::fchdir(self.root()?).at(Call::fchdir)?;
        Ok(new)
    }
}

/// Makes a new detached file system.
pub fn new_mount(
    fstype: &CStr,
    source: Option<&CStr>,
    options: &[FsOption<'_>],
    mode: Option<u32>,
    attr: u64,
) -> Walked<OwnedFd> {
    let fs = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC).at(Call::fsopen)?;
    if let Some(source) = source {
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"source", source).at(Call::fsconfig)?;
    }
    for option in options {
        match option {
            FsOption::Flag(key) => rustix::mount::fsconfig_set_flag(fs.as_fd(), *key),
            FsOption::Value(key, value) => {
                rustix::mount::fsconfig_set_string(fs.as_fd(), *key, *value)
            }
        }
        .at(Call::fsconfig)?;
    }
    if let Some(mode) = mode {
        let mut octal = Text::<8>::new();
        let _ = write!(octal, "{mode:o}\0");
        let octal = CStr::from_bytes_until_nul(octal.bytes()).unwrap_or(c"755");
        rustix::mount::fsconfig_set_string(fs.as_fd(), c"mode", octal).at(Call::fsconfig)?;
    }
    rustix::mount::fsconfig_create(fs.as_fd()).at(Call::fsconfig)?;
    let attr = MountAttrFlags::from_bits_retain(attr as u32);
    rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attr).at(Call::fsmount)
}

impl Child<'_> {
    pub fn bind(&self, bind: &Bind<'_>) -> Walked {
        let tree = self.slot(bind.tree)?;
        let directory = paths::is_directory(tree)?;
        let make = if directory {
            Make::Directory
        } else {
            Make::File
        };
        let target = reach(self.root()?, bind.target, make)?;
        if paths::is_directory(target.as_fd())? != directory {
            return Err(Errno::NOTDIR).at(Call::not_the_same_kind);
        }
        attach(tree, target.as_fd())?;
        apply(tree, bind.after)
    }

    /// Receives the trees that the parent has copied. Each message holds a slot number and one descriptor. A
    /// single byte ends the list.
    pub fn take_trees(&self) -> Walked {
        loop {
            let mut slot = [0u8; 2];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::io::retry_on_intr(|| {
                let mut parts = [IoSliceMut::new(&mut slot)];
                rustix::net::recvmsg(
                    &self.reports.channel,
                    &mut parts,
                    &mut control,
                    RecvFlags::CMSG_CLOEXEC,
                )
            })
            .at(Call::recv)?;
            if received.bytes == 0 {
                calls::exit(1);
            }
            let trees = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                _ => None,
            });
            match trees.flatten().next() {
                Some(tree) => self.slots.fill(Slot::from_ne_bytes(slot), tree),
                None => return Ok(()),
            }
        }
    }
}

/// Copies a tree and sets its attributes. The plan decides whether launch or the child calls this. With `root`,
/// the path is looked up in the container's root.
pub fn open_tree(tree: &Tree<'_>, root: Option<BorrowedFd<'_>>) -> Walked<OwnedFd> {
    let copy = match root {
        Some(root) => copy(find(root, tree.path)?.as_fd(), tree.recursive)?,
        None => {
            let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            if tree.recursive {
                flags |= OpenTreeFlags::AT_RECURSIVE;
            }
            rustix::mount::open_tree(CWD, tree.path, flags).at(Call::open_tree)?
        }
    };
    apply(copy.as_fd(), tree.attributes)?;
    Ok(copy)
}

/// Makes a detached copy of the mount at `fd`.
pub fn copy(fd: BorrowedFd<'_>, recursive: bool) -> Walked<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, c"", flags).at(Call::open_tree)
}

/// Attaches a detached mount to `target`.
pub fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Walked {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags).at(Call::move_mount)
}

impl Child<'_> {
    pub fn attributes(&self, place: &Place<'_>, attributes: Attributes) -> Walked {
        match place {
            Place::Host => {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                let host = rustix::fs::open(c"/", flags, Mode::empty()).at(Call::openat2)?;
                apply(host.as_fd(), attributes)
            }
            Place::Root => apply(self.root()?, attributes),
            Place::Kept(slot, _) => apply(self.slot(*slot)?, attributes),
            Place::Path(path) => apply(find(self.root()?, path)?.as_fd(), attributes),
        }
    }
}

/// Applies attributes to the mount behind `fd`.
pub fn apply(fd: BorrowedFd<'_>, attributes: Attributes) -> Walked {
    for (recursive, attr) in [(false, attributes.own), (true, attributes.tree)] {
        if attr != MountAttr::NONE {
            calls::mount_setattr(fd, recursive, attr, None).at(Call::mount_setattr)?;
        }
    }
    Ok(())
}
