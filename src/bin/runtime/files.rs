//! Reads and writes whole files in few calls, with errors that name the file. procfs and cgroup files require one
//! write per value, which is what `write` does.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{During, Result};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// Reads a whole file.
pub fn read<P: Arg + Copy + core::fmt::Debug>(dir: impl AsFd, path: P) -> Result<Vec<u8>> {
    let what = || format!("cannot read {}", path_text(path));
    let file = rustix::fs::openat(dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .during(what)?;
    read_open(&file).during(what)
}

/// No file that is read whole is longer, unless somebody made it so.
const LONGEST: usize = 64 << 20;

/// Reads what is left of an open file, which has an end (EFBIG otherwise).
pub fn read_open(file: &OwnedFd) -> rustix::io::Result<Vec<u8>> {
    let size = rustix::fs::fstat(file)?.st_size as usize;
    let mut bytes = Vec::with_capacity(size.clamp(1000, LONGEST) + 1);
    loop {
        if bytes.len() > LONGEST {
            return Err(Errno::FBIG);
        }
        bytes.reserve(512);
        let n = rustix::io::retry_on_intr(|| {
            rustix::io::read(file, rustix::buffer::spare_capacity(&mut bytes))
        })?;
        if n == 0 {
            return Ok(bytes);
        }
    }
}

/// Reads the beginning of a file, with one read and without allocating.
pub fn read_into(path: &str, bytes: &mut [u8]) -> Result<usize> {
    let what = || format!("cannot read {path}");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty()).during(what)?;
    rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *bytes)).during(what)
}

/// Writes a value to an existing file, with one write.
pub fn write<P: Arg + Copy>(dir: impl AsFd, path: P, value: &[u8]) -> rustix::io::Result<()> {
    let file = rustix::fs::openat(dir, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    match rustix::io::retry_on_intr(|| rustix::io::write(&file, value))? {
        n if n == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Writes a temporary file and renames it into place, so that readers see the old or the new content.
pub fn replace(dir: impl AsFd, name: &str, bytes: &[u8], mode: u32) -> Result<()> {
    Replacement::write(dir.as_fd(), name, bytes, mode)?.put_in_place()
}

/// A complete file without a name, or under a temporary one where the file system has no such files. It is gone unless
/// it is put in place, even if this process is killed.
pub struct Replacement<'f> {
    dir: BorrowedFd<'f>,
    name: &'f str,
    waiting: Waiting,
}

enum Waiting {
    Nameless(OwnedFd),
    Named(String),
    InPlace,
}

impl<'f> Replacement<'f> {
    pub fn write(dir: BorrowedFd<'f>, name: &'f str, bytes: &[u8], mode: u32) -> Result<Self> {
        let what = || format!("cannot write {name}");
        let parent = match name.rsplit_once('/') {
            None => ".",
            Some(("", _)) => "/",
            Some((parent, _)) => parent,
        };
        let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let (file, named) = match rustix::fs::openat(dir, parent, flags, mode) {
            // The file system has none.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let (file, new) = named(dir, name, mode).during(what)?;
                (file, Some(new))
            }
            file => (file.during(what)?, None),
        };
        let written = write_all(&file, bytes);
        let waiting = named.map_or(Waiting::Nameless(file), Waiting::Named);
        let replacement = Self { dir, name, waiting };
        written.during(what).map(|()| replacement)
    }

    pub fn put_in_place(mut self) -> Result<()> {
        match &self.waiting {
            Waiting::Named(new) => {
                rustix::fs::renameat(self.dir, new.as_str(), self.dir, self.name)
            }
            Waiting::Nameless(file) => link(file, self.dir, self.name),
            Waiting::InPlace => Ok(()),
        }
        .during(|| format!("cannot write {}", self.name))?;
        self.waiting = Waiting::InPlace;
        Ok(())
    }
}

/// Opens a new file under a temporary name.
fn named(dir: BorrowedFd<'_>, name: &str, mode: Mode) -> rustix::io::Result<(OwnedFd, String)> {
    let new = format!("{name}.new{}", rustix::process::getpid().as_raw_nonzero());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Remove whatever has that name, so that no one else's file becomes the new one.
    let _ = rustix::fs::unlinkat(dir, new.as_str(), AtFlags::empty());
    rustix::fs::openat(dir, new.as_str(), flags, mode).map(|file| (file, new))
}

/// Gives a nameless file its name, in place of an older file.
fn link(file: &OwnedFd, dir: BorrowedFd<'_>, name: &str) -> rustix::io::Result<()> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = || rustix::fs::linkat(CWD, path.as_str(), dir, name, AtFlags::SYMLINK_FOLLOW);
    match link() {
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            link()
        }
        linked => linked,
    }
}

impl Drop for Replacement<'_> {
    fn drop(&mut self) {
        if let Waiting::Named(new) = &self.waiting {
            let _ = rustix::fs::unlinkat(self.dir, new.as_str(), AtFlags::empty());
        }
    }
}

/// The path of an open file, absolute and without symbolic links. A path that is not UTF-8 is an error.
pub fn path_of(file: BorrowedFd<'_>) -> rustix::io::Result<String> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let path = rustix::fs::readlinkat(CWD, link.as_str(), Vec::new())?;
    path.into_string().map_err(|_| Errno::ILSEQ)
}

/// Creates a directory and its missing parents. An error names the one that failed.
pub fn make_directories(path: &str, mode: u32) -> core::result::Result<(), (&str, Errno)> {
    let above = path.match_indices('/').filter(|(at, _)| *at > 0);
    for (at, _) in above.chain([(path.len(), "")]) {
        match rustix::fs::mkdirat(CWD, &path[..at], Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err((&path[..at], errno)),
        }
    }
    Ok(())
}

/// Writes all bytes, with as many calls as necessary.
pub fn write_all(file: impl AsFd, mut bytes: &[u8]) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let n = rustix::io::retry_on_intr(|| rustix::io::write(file.as_fd(), bytes))?;
        bytes = &bytes[n..];
    }
    Ok(())
}

fn path_text<P: Arg + core::fmt::Debug>(path: P) -> String {
    path.to_string_lossy().into_owned()
}
