//! Device nodes and links, made in a directory that was looked up beneath the root, and the true null
//! device, which is opened and checked before the root is touched.

use super::paths::{self, parent};
use super::{Child, Walked};
use crate::report::{At, Call};
use crate::slots::Slot;
use crate::step::Device;
use core::ffi::CStr;
use core::fmt::Write;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

/// Character device 1:3 (Documentation/admin-guide/devices.txt).
const NULL: (u32, u32) = (1, 3);

impl Child<'_> {
    pub fn null_device(&self, slot: Slot) -> Walked {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let null = rustix::fs::open(c"/dev/null", flags, Mode::empty()).at(Call::openat2)?;
        let stat = paths::stat(null.as_fd())?;
        let device = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice || device != NULL {
            return Err(Errno::NODEV).at(Call::not_a_null_device);
        }
        self.slots.fill(slot, null);
        Ok(())
    }

    pub fn device(&mut self, device: &Device<'_>) -> Walked {
        let (dir, name) = parent(self.root()?, device.path)?;
        let kind = FileType::from_raw_mode(device.mode);
        let mode = Mode::from_raw_mode(device.mode & 0o7777);
        match rustix::fs::mknodat(&dir, name, kind, mode, device.rdev) {
            // What the image or an earlier mount brought stays, if it is that device.
            Err(Errno::EXIST) => {
                let there = paths::stat(paths::find(self.root()?, device.path)?.as_fd())?;
                return self.check_same(device, &there);
            }
            other => other.at(Call::mknodat)?,
        }
        if (device.uid, device.gid) == (0, 0) {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(&dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .at(Call::fchownat)
    }

    /// An error that says what is there in the place of a device.
    fn check_same(&mut self, device: &Device<'_>, there: &Stat) -> Walked {
        let wanted = FileType::from_raw_mode(device.mode);
        let kind = FileType::from_raw_mode(there.st_mode);
        let number = (
            rustix::fs::major(there.st_rdev),
            rustix::fs::minor(there.st_rdev),
        );
        if kind == wanted && (kind == FileType::Fifo || there.st_rdev == device.rdev) {
            return Ok(());
        }
        let name = match kind {
            FileType::RegularFile => "a regular file",
            FileType::Directory => "a directory",
            FileType::CharacterDevice => "the character device",
            FileType::BlockDevice => "the block device",
            _ => "another file",
        };
        self.output.push(name.as_bytes());
        if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) {
            let _ = write!(self.output, " {}:{}", number.0, number.1);
        }
        Err(Errno::EXIST).at(Call::not_the_device)
    }

    pub fn link(&self, path: &CStr, target: &CStr) -> Walked {
        let (dir, name) = parent(self.root()?, path)?;
        match rustix::fs::symlinkat(target, &dir, name) {
            Err(Errno::EXIST) => Ok(()),
            other => other.at(Call::symlinkat),
        }
    }
}
