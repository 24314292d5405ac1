//! The tmpcopyup option: copies the files under a tmpfs into it before it is attached.

use super::{Walked, paths};
use crate::report::{At, Call};
use core::ffi::CStr;
use core::mem::MaybeUninit;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// The greatest depth of a tree that tmpcopyup copies.
const DEPTH_MAX: u32 = 64;

/// Copies the directories, files and symbolic links in `from` into `to`, with owner and mode. Links are copied,
/// never followed. Times are not copied. `to` keeps its mode, which comes from the mount options or from the
/// directory under the mount.
pub fn copy_up(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Walked {
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
        // Devices, sockets and pipes are not copied.
        _ => Ok(()),
    }
}
