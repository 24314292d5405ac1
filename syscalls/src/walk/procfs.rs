//! A private procfs, for writes that no path in the container can redirect.

use super::mounts::new_mount;
use super::{Child, Walked, paths};
use crate::report::{At, Call};
use crate::slots::Slot;
use core::ffi::CStr;
use linux_raw_sys::general::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID};
use rustix::fd::OwnedFd;
use rustix::fs::{OFlags, ResolveFlags};

/// A new procfs of this pid namespace. It is mounted nowhere, so no path in the container leads to it.
pub fn private_procfs() -> Walked<OwnedFd> {
    let attr = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    new_mount(c"proc", None, &[], None, u64::from(attr))
}

impl Child<'_> {
    /// Writes a file of the private procfs with one write(2).
    pub fn write_procfs(&self, procfs: Slot, path: &CStr, value: &CStr) -> Walked {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        let file = paths::openat2(self.slot(procfs)?, path, OFlags::WRONLY, resolve)?;
        rustix::io::write(&file, value.to_bytes())
            .map(drop)
            .at(Call::write)
    }
}
