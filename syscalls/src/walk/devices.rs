//! Makes device nodes and links in a directory that was looked up beneath the root. Opens and checks the host's
//! null device before the root is touched.

use super::paths::{self, Make, parent, reach};
use super::{Child, Walked};
use crate::report::{At, Call};
use crate::step::{Device, Node};
use core::ffi::CStr;
use core::fmt::Write;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

/// Character device 1:3 (Documentation/admin-guide/devices.txt).
const NULL: (u32, u32) = (1, 3);

/// Opens the host's null device, and checks that it is one.
pub fn null_device() -> Walked<OwnedFd> {
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
    Ok(null)
}

impl Child<'_> {
    /// Makes a missing node. An existing file of the image or of an earlier mount is kept, as in runc. An
    /// existing device must be the same device.
    pub fn make(&mut self, path: &CStr, node: &Node<'_>) -> Walked {
        let root = self.root()?;
        match node {
            Node::Directory => reach(root, path, Make::Directory).map(drop),
            Node::Link(target) => {
                let (dir, name) = parent(root, path)?;
                match rustix::fs::symlinkat(*target, &dir, name) {
                    Err(Errno::EXIST) => Ok(()),
                    other => other.at(Call::symlinkat),
                }
            }
            Node::Device(device) => {
                let (dir, name) = parent(root, path)?;
                if make_device(dir.as_fd(), name, device)? {
                    return Ok(());
                }
                let there = paths::stat(paths::find(root, path)?.as_fd())?;
                self.check_same(device, &there)
            }
        }
    }

    /// Fails with a description of the existing file, unless it is the wanted device.
    fn check_same(&mut self, device: &Device, there: &Stat) -> Walked {
        let wanted = FileType::from_raw_mode(device.mode);
        let kind = FileType::from_raw_mode(there.st_mode);
        if kind == wanted && (kind == FileType::Fifo || there.st_rdev == device.rdev) {
            return Ok(());
        }
        let (major, minor) = (
            rustix::fs::major(there.st_rdev),
            rustix::fs::minor(there.st_rdev),
        );
        let _ = match kind {
            FileType::RegularFile => write!(self.reports.output, "a regular file"),
            FileType::Directory => write!(self.reports.output, "a directory"),
            FileType::CharacterDevice => {
                write!(self.reports.output, "the character device {major}:{minor}")
            }
            FileType::BlockDevice => {
                write!(self.reports.output, "the block device {major}:{minor}")
            }
            _ => write!(self.reports.output, "another file"),
        };
        Err(Errno::EXIST).at(Call::not_the_device)
    }
}

/// Returns false if the name exists.
fn make_device(dir: BorrowedFd<'_>, name: &CStr, device: &Device) -> Walked<bool> {
    let kind = FileType::from_raw_mode(device.mode);
    let mode = Mode::from_raw_mode(device.mode & 0o7777);
    match rustix::fs::mknodat(dir, name, kind, mode, device.rdev) {
        Err(Errno::EXIST) => return Ok(false),
        other => other.at(Call::mknodat)?,
    }
    if (device.uid, device.gid) == (0, 0) {
        return Ok(true);
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .at(Call::fchownat)?;
    Ok(true)
}
