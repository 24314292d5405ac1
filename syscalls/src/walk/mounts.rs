//! Mounts: built detached, given their attributes, then moved onto a descriptor that was looked up
//! once. Nothing is looked up twice, so nothing can be swapped in between.

use super::paths::{self, Make, find, find_plain, reach};
use super::{Child, Walked};
use crate::calls::{self, MountAttr};
use crate::report::{At, Call, Fault, Text};
use crate::slots::Slot;
use crate::step::{Attributes, Bind, FsOption, Mount, Place, Tree};
use core::ffi::CStr;
use core::fmt::Write;
use core::mem::MaybeUninit;
use linux_raw_sys::general::{
    MOUNT_ATTR__ATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, IoSliceMut};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

/// Applies attributes to the mount behind `fd`.
pub fn apply(fd: BorrowedFd<'_>, attributes: Attributes) -> Walked {
    for (recursive, attr) in [(false, attributes.own), (true, attributes.tree)] {
        if attr != MountAttr::NONE {
            calls::mount_setattr(fd, recursive, attr, None).at(Call::mount_setattr)?;
        }
    }
    Ok(())
}

/// Attaches a detached mount to what `target` is.
fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Walked {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags).at(Call::move_mount)
}

/// A detached copy of the mount at `fd`.
pub fn copy(fd: BorrowedFd<'_>, recursive: bool) -> Walked<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(fd, c"", flags).at(Call::open_tree)
}

/// Copies a tree and sets its attributes. The plan says who calls this, launch or the child; `root` is that of the
/// container, for a tree that lies in it.
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

/// A new file system, mounted nowhere yet.
fn new_mount(
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

/// A procfs of this pid namespace that is mounted nowhere: no path in the container leads to it.
pub fn private_procfs() -> Walked<OwnedFd> {
    let attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    new_mount(c"proc", None, &[], None, u64::from(attr))
}

impl Child<'_> {
    pub fn open_root(&mut self, path: &CStr) -> Walked {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.root = Some(rustix::fs::open(path, flags, Mode::empty()).at(Call::openat2)?);
        Ok(())
    }

    /// Mounts the root over the old one, or where it came from, and keeps its descriptor; the old tree stays in sight
    /// of paths from `/` until the pivot.
    pub fn rootfs(&mut self, tree: Slot, path: &CStr, in_place: bool) -> Walked {
        let root = self.slot(tree)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        let attach = |path| rustix::mount::move_mount(root, c"", CWD, path, flags);
        match in_place {
            // The root of a user namespace may not be allowed to go there.
            true => match attach(path) {
                Err(Errno::ACCESS) => attach(c"/"),
                other => other,
            },
            false => attach(c"/"),
        }
        .at(Call::move_mount)?;
        self.root = Some(rustix::io::fcntl_dupfd_cloexec(root, 0).at(Call::openat2)?);
        Ok(())
    }

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

    /// The same by mount(2), for options longer than fsconfig(2) takes. What it mounts is attached at once, and its root can
    /// only be opened by a name. So that nobody else can have to do with that name, it lies in a tmpfs of our own, which
    /// covers the target meanwhile; a detached copy of it is what stays.
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

    /// Takes the trees that the parent has copied: each comes with the number of its slot, and one byte alone ends them.
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

    /// Hides `path`: a directory behind an empty one, anything else behind the null device. What does
    /// not exist needs no hiding.
    pub fn mask(&self, path: &CStr, null: Slot, empty: Slot) -> Walked {
        let target = match find(self.root()?, path) {
            Err(Fault {
                errno: Errno::NOENT | Errno::NOTDIR,
                ..
            }) => return Ok(()),
            other => other?,
        };
        if !paths::is_directory(target.as_fd())? {
            let null = copy(self.slot(null)?, false)?;
            return attach(null.as_fd(), target.as_fd());
        }
        if let Ok(first) = self.slots.get(empty) {
            let again = copy(first, false)?;
            return attach(again.as_fd(), target.as_fd());
        }
        let options = [
            FsOption::Value(c"nr_blocks", c"1"),
            FsOption::Value(c"nr_inodes", c"1"),
        ];
        let attr = MOUNT_ATTR_RDONLY;
        let first = new_mount(c"tmpfs", Some(c"tmpfs"), &options, None, u64::from(attr))?;
        attach(first.as_fd(), target.as_fd())?;
        self.slots.fill(empty, first);
        Ok(())
    }

    /// Binds `path` onto itself, read-only with all below; the other flags of its mount stay.
    pub fn readonly(&self, path: &CStr) -> Walked {
        let target = match find(self.root()?, path) {
            Err(Fault {
                errno: Errno::NOENT | Errno::NOTDIR,
                ..
            }) => return Ok(()),
            other => other?,
        };
        let tree = copy(target.as_fd(), true)?;
        let attr = MountAttr {
            set: u64::from(MOUNT_ATTR_RDONLY),
            ..MountAttr::NONE
        };
        calls::mount_setattr(tree.as_fd(), true, attr, None).at(Call::mount_setattr)?;
        attach(tree.as_fd(), target.as_fd())
    }

    /// Writes a file of the private procfs in one write.
    pub fn write_procfs(&self, procfs: Slot, path: &CStr, value: &CStr) -> Walked {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let file = paths::openat2(self.slot(procfs)?, path, OFlags::WRONLY, resolve)?;
        rustix::io::write(&file, value.to_bytes())
            .map(drop)
            .at(Call::write)
    }

    pub fn pivot(&mut self) -> Walked {
        rustix::process::fchdir(self.root()?).at(Call::fchdir)?;
        rustix::process::pivot_root(c".", c".").at(Call::pivot_root)?;
        // The old root lies over the new one now, and umount2 takes what lies on top. Nothing of it goes
        // back to the host: its mounts have been slaves or private from the first step on.
        rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Call::umount2)?;
        rustix::process::chdir(c"/").at(Call::chdir)
    }

    /// `--no-pivot`: the root is moved over `/`, which only chroot(2) enters. The host's procfs and sysfs are
    /// let go of first, so that nothing of them stays behind the new root.
    pub fn move_root(&self, hidden: &[&CStr], in_place: bool) -> Walked {
        for hidden in hidden.iter().rev() {
            let fd = match rustix::fs::open(*hidden, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            {
                // It lay on one that is gone by now.
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                fd => fd.at(Call::openat2)?,
            };
            if rustix::mount::unmount(*hidden, UnmountFlags::DETACH).is_err() {
                // Locked into this user namespace: an empty directory over it does as well.
                let cover = new_mount(c"tmpfs", None, &[], None, u64::from(MOUNT_ATTR_RDONLY))?;
                attach(cover.as_fd(), fd.as_fd())?;
            }
        }
        if in_place {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            match rustix::mount::move_mount(self.root()?, c"", CWD, c"/", flags) {
                // It had to go there at once.
                Ok(()) | Err(Errno::LOOP) => {}
                other => other.at(Call::move_mount)?,
            }
        }
        Ok(())
    }

    pub fn chroot(&mut self) -> Walked {
        rustix::process::fchdir(self.root()?).at(Call::fchdir)?;
        rustix::process::chroot(c".").at(Call::chroot)?;
        rustix::process::chdir(c"/").at(Call::chdir)
    }
}

/// How deep a tree tmpcopyup copies; a deeper one is not a template for a tmpfs.
const DEPTH_MAX: u32 = 64;

/// Copies what the directory `from` holds into `to`: directories, files and links, with owner, mode
/// and times left to the kernel. Links are copied, never followed. The mode of `to` itself is the mount's:
/// that of its options, or of a directory that was there before.
fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Walked {
    let stat = paths::stat(from)?;
    let to = paths::openat2(
        to,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY,
        ResolveFlags::BENEATH,
    )?;
    rustix::fs::fchown(&to, Some(owner(stat.st_uid)), Some(group(stat.st_gid))).at(Call::fchown)?;
    copy_directory(from, to.as_fd(), DEPTH_MAX)
}

fn owner(uid: u32) -> rustix::fs::Uid {
    rustix::fs::Uid::from_raw(uid)
}

fn group(gid: u32) -> rustix::fs::Gid {
    rustix::fs::Gid::from_raw(gid)
}

fn copy_directory(from: BorrowedFd<'_>, to: BorrowedFd<'_>, depth: u32) -> Walked {
    if depth == 0 {
        return Err(Errno::LOOP).at(Call::getdents64);
    }
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let dir = paths::openat2(from, c".", OFlags::RDONLY | OFlags::DIRECTORY, beneath)?;
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = rustix::fs::RawDir::new(dir.as_fd(), &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry.at(Call::getdents64)?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        copy_entry(dir.as_fd(), to, name, depth)?;
    }
    Ok(())
}

fn copy_entry(from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, depth: u32) -> Walked {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW).at(Call::statx)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let own = |file: BorrowedFd<'_>| {
        rustix::fs::fchown(file, Some(owner(stat.st_uid)), Some(group(stat.st_gid)))
            .at(Call::fchown)?;
        rustix::fs::fchmod(file, mode).at(Call::fchown)
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700)).at(Call::mkdirat)?;
            let below = paths::openat2(from, name, OFlags::RDONLY | OFlags::DIRECTORY, beneath)?;
            let copied = paths::openat2(to, name, OFlags::RDONLY | OFlags::DIRECTORY, beneath)?;
            copy_directory(below.as_fd(), copied.as_fd(), depth - 1)?;
            own(copied.as_fd())
        }
        FileType::RegularFile => {
            let source = paths::openat2(from, name, OFlags::RDONLY | OFlags::NONBLOCK, beneath)?;
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let copied = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))
                .at(Call::openat2)?;
            let mut chunk = [0u8; 4096];
            loop {
                let n = rustix::io::read(&source, &mut chunk[..]).at(Call::read)?;
                if n == 0 {
                    break;
                }
                let mut rest = &chunk[..n];
                while !rest.is_empty() {
                    let written = rustix::io::write(&copied, rest).at(Call::write)?;
                    rest = &rest[written..];
                }
            }
            own(copied.as_fd())
        }
        FileType::Symlink => {
            let mut target = [0u8; 4096];
            let n =
                rustix::fs::readlinkat_raw(from, name, &mut target[..4095]).at(Call::readlinkat)?;
            let target = CStr::from_bytes_until_nul(&target[..=n]).unwrap_or(c"");
            rustix::fs::symlinkat(target, to, name).at(Call::symlinkat)?;
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(
                to,
                name,
                Some(owner(stat.st_uid)),
                Some(group(stat.st_gid)),
                flags,
            )
            .at(Call::fchownat)
        }
        // Devices, sockets and pipes are no template either.
        _ => Ok(()),
    }
}
