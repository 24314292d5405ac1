//! The root of the container: attached, masked and made read-only in parts, entered.

use super::mounts::{attach, copy, new_mount};
use super::paths::{self, find};
use super::{Child, Walked};
use crate::calls::{self, MountAttr};
use crate::report::{At, Call, Fault};
use crate::slots::Slot;
use crate::step::FsOption;
use core::ffi::CStr;
use linux_raw_sys::general::MOUNT_ATTR_RDONLY;
use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags};

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
