//! The container's root: attaches it, masks paths and makes them read-only, and enters it.

use super::mounts::{attach, copy, new_mount};
use super::paths::{self, find};
use super::{Child, Walked};
use crate::calls::{self, MountAttr};
use crate::report::{At, Call, Fault};
use crate::slots::Slot;
use crate::step::FsOption;
use core::ffi::CStr;
use linux_raw_sys::general::{MOUNT_ATTR_RDONLY, PROC_SUPER_MAGIC, SYSFS_MAGIC};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};

impl Child<'_> {
    pub fn open_root(&mut self, path: &CStr) -> Walked {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        self.root = Some(rustix::fs::open(path, flags, Mode::empty()).at(Call::openat2)?);
        Ok(())
    }

    /// Attaches the root over `/` or at its own path, and keeps its descriptor. Paths from `/` still lead to
    /// the old tree until the pivot.
    pub fn rootfs(&mut self, tree: Slot, path: &CStr, in_place: bool) -> Walked {
        let root = self.slot(tree)?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
        let attach = |path| rustix::mount::move_mount(root, c"", CWD, path, flags);
        match in_place {
            // The root of a user namespace may lack search permission on that path.
            true => match attach(path) {
                Err(Errno::ACCESS) => attach(c"/"),
                other => other,
            },
            false => attach(c"/"),
        }
        .at(Call::move_mount)?;
        self.take_for_root(tree)
    }

    /// Paths lead from the mount in the slot from here on.
    pub fn take_for_root(&mut self, mount: Slot) -> Walked {
        let root = self.slot(mount)?;
        self.root = Some(rustix::io::fcntl_dupfd_cloexec(root, 0).at(Call::openat2)?);
        Ok(())
    }

    /// Masks `path`: a directory with an empty directory, any other file with the null device. A missing path
    /// is ignored.
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

    /// Binds `path` onto itself, recursively read-only. The other flags of its mounts stay.
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

    pub fn pivot(&mut self) -> Walked {
        rustix::process::fchdir(self.root()?).at(Call::fchdir)?;
        rustix::process::pivot_root(c".", c".").at(Call::pivot_root)?;
        // The old root is now stacked on the new one, and umount2 takes the top mount. The detach does not
        // propagate to the host: the mounts have been slaves or private since the first step.
        rustix::mount::unmount(c".", UnmountFlags::DETACH).at(Call::umount2)?;
        rustix::process::chdir(c"/").at(Call::chdir)
    }

    /// `--no-pivot`: moves the root over `/`, where only chroot(2) enters it. Detaches the host's procfs and
    /// sysfs first, so that none remains behind the new root.
    pub fn move_root(&self, hidden: &[&CStr], in_place: bool) -> Walked {
        let mut cover = None;
        for hidden in hidden.iter().rev() {
            self.hide(hidden, &mut cover)?;
        }
        if in_place {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            match rustix::mount::move_mount(self.root()?, c"", CWD, c"/", flags) {
                // ELOOP: the root is already attached over `/`.
                Ok(()) | Err(Errno::LOOP) => {}
                other => other.at(Call::move_mount)?,
            }
        }
        Ok(())
    }

    /// Detaches every mount on this path. A mount that is locked in this user namespace is covered with an empty
    /// directory instead. The list has a path once for each of its mounts, and the cover must stay.
    fn hide(&self, path: &CStr, cover: &mut Option<OwnedFd>) -> Walked {
        loop {
            let fd = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                // Its parent mount is already detached.
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
                fd => fd.at(Call::openat2)?,
            };
            if let Some(cover) = cover
                && paths::stat(cover.as_fd())?.st_dev == paths::stat(fd.as_fd())?.st_dev
            {
                return Ok(());
            }
            if rustix::mount::unmount(path, UnmountFlags::DETACH).is_ok() {
                continue;
            }
            let magic = rustix::fs::fstatfs(&fd).at(Call::fstatfs)?.f_type;
            if ![PROC_SUPER_MAGIC, SYSFS_MAGIC]
                .iter()
                .any(|m| magic == (*m).into())
            {
                return Ok(());
            }
            let new = match cover {
                Some(first) => copy(first.as_fd(), false)?,
                None => new_mount(c"tmpfs", None, &[], None, u64::from(MOUNT_ATTR_RDONLY))?,
            };
            attach(new.as_fd(), fd.as_fd())?;
            cover.get_or_insert(new);
            return Ok(());
        }
    }

    pub fn chroot(&mut self) -> Walked {
        rustix::process::fchdir(self.root()?).at(Call::fchdir)?;
        rustix::process::chroot(c".").at(Call::chroot)?;
        rustix::process::chdir(c"/").at(Call::chdir)
    }
}
