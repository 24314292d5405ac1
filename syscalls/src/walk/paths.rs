//! Lookups of paths beneath the container's root. Every lookup is one openat2(2) that cannot leave the root.
//! Missing components are made one at a time, and links are followed as the kernel follows them.

use super::Walked;
use crate::report::{At, Call, Fault};
use core::ffi::CStr;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// The kind of a missing last component to make.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Directory,
    File,
}

const PATH_MAX: usize = 4096;
/// The kernel's limit (MAXSYMLINKS).
const LINKS_MAX: usize = 40;

/// openat2(2), retried on EAGAIN: a concurrent rename or mount may have disturbed the lookup.
pub fn openat2(
    dir: BorrowedFd<'_>,
    path: &CStr,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Walked<OwnedFd> {
    let mut tries = 0;
    loop {
        match rustix::fs::openat2(dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) if tries < 128 => tries += 1,
            other => return other.at(Call::openat2),
        }
    }
}

/// Opens `path` with O_PATH. Symbolic links are resolved inside the root.
pub fn find(root: BorrowedFd<'_>, path: &CStr) -> Walked<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::PATH,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Like `find`, for a directory, without symbolic links: proc and sysfs are mounted on ordinary directories
/// only.
pub fn find_plain(root: BorrowedFd<'_>, path: &CStr) -> Walked<OwnedFd> {
    openat2(
        root,
        path,
        OFlags::PATH | OFlags::DIRECTORY,
        ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS,
    )
}

/// Like `find`, but makes missing components: directories of mode 0755, and a last file of mode 0644.
pub fn reach(root: BorrowedFd<'_>, path: &CStr, make: Make) -> Walked<OwnedFd> {
    match find(root, path) {
        Err(Fault {
            errno: Errno::NOENT,
            ..
        }) => {}
        other => return other,
    }
    // Usually only the last component is missing. If it exists after all, as a dangling link, `make_path` walks
    // the whole path.
    let (dir, name) = split(path);
    let mut parent = Path::new();
    parent.push(dir)?;
    if !matches!(name.to_bytes(), b"" | b"." | b"..")
        && let Ok(dir) = find(root, parent.c_str())
        && make_node(dir.as_fd(), name, make) == Ok(())
    {
        return open_made(dir.as_fd(), name, make);
    }
    make_path(root, path, make)
}

/// Splits a path after its last slash.
fn split(path: &CStr) -> (&[u8], &CStr) {
    let bytes = path.to_bytes_with_nul();
    let at = bytes.iter().rposition(|b| *b == b'/').map_or(0, |n| n + 1);
    (
        &bytes[..at],
        CStr::from_bytes_with_nul(&bytes[at..]).unwrap_or(c""),
    )
}

pub fn stat(fd: BorrowedFd<'_>) -> Walked<Stat> {
    rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH).at(Call::statx)
}

pub fn file_type(fd: BorrowedFd<'_>) -> Walked<FileType> {
    Ok(FileType::from_raw_mode(stat(fd)?.st_mode))
}

/// A path in a fixed buffer that always ends with a zero byte.
struct Path {
    bytes: [u8; PATH_MAX],
    len: usize,
}

impl Path {
    fn new() -> Self {
        Self {
            bytes: [0; PATH_MAX],
            len: 0,
        }
    }

    fn push(&mut self, piece: &[u8]) -> Walked {
        if self.len + piece.len() + 2 > PATH_MAX {
            return Err(Errno::NAMETOOLONG).at(Call::too_long);
        }
        self.bytes[self.len..self.len + piece.len()].copy_from_slice(piece);
        self.len += piece.len();
        self.bytes[self.len] = 0;
        Ok(())
    }

    fn component(&mut self, name: &[u8]) -> Walked {
        if self.len > 0 {
            self.push(b"/")?;
        }
        self.push(name)
    }

    /// Drops the last component. The root has none.
    fn pop(&mut self) {
        self.len = self.bytes[..self.len]
            .iter()
            .rposition(|b| *b == b'/')
            .unwrap_or(0);
        self.bytes[self.len] = 0;
    }

    fn c_str(&self) -> &CStr {
        if self.len == 0 {
            return c".";
        }
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or(c".")
    }

    /// The start and end of the next component at or after `from`.
    fn next(&self, from: usize) -> (usize, usize) {
        let until = |from: usize, is_end: fn(&u8) -> bool| {
            let found = self.bytes[from..self.len].iter().position(is_end);
            found.map_or(self.len, |n| from + n)
        };
        let start = until(from, |byte| *byte != b'/');
        (start, until(start, |byte| *byte == b'/'))
    }
}

/// Walks `path` one component at a time. `done` holds no link and no `..`; `rest` is still to be walked.
fn make_path(root: BorrowedFd<'_>, path: &CStr, make: Make) -> Walked<OwnedFd> {
    let mut done = Path::new();
    let mut rest = Path::new();
    let mut links = 0;
    rest.push(path.to_bytes())?;
    let in_root = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let mut from = 0;
    let directory = |path: &CStr| openat2(root, path, OFlags::PATH | OFlags::DIRECTORY, in_root);
    let mut here = directory(c".")?;
    loop {
        let (start, end) = rest.next(from);
        let mut name_buffer = [0u8; 256];
        let name = &rest.bytes[start..end];
        if name.is_empty() {
            return Ok(here);
        }
        if name.len() > 255 {
            return Err(Errno::NAMETOOLONG).at(Call::too_long);
        }
        name_buffer[..name.len()].copy_from_slice(name);
        let name = &name_buffer[..name.len()];
        from = end;
        if name == b"." {
            continue;
        }
        if name == b".." {
            done.pop();
            here = directory(done.c_str())?;
            continue;
        }
        let last = rest.bytes[from..rest.len].iter().all(|b| *b == b'/');
        let c_name = CStr::from_bytes_until_nul(&name_buffer).unwrap_or(c".");
        done.component(name)?;
        let found = match openat2(root, done.c_str(), OFlags::PATH | OFlags::NOFOLLOW, in_root) {
            Err(Fault {
                errno: Errno::NOENT,
                ..
            }) => {
                let make = if last { make } else { Make::Directory };
                make_one(here.as_fd(), c_name, make)?
            }
            other => other?,
        };
        if file_type(found.as_fd())? != FileType::Symlink {
            here = found;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP).at(Call::openat2);
        }
        let mut target = [0u8; PATH_MAX];
        let n = calls_readlink(found.as_fd(), &mut target)?;
        let mut next = Path::new();
        next.push(&target[..n])?;
        next.push(b"/")?;
        next.push(&rest.bytes[from..rest.len])?;
        rest = next;
        from = 0;
        if target[0] == b'/' {
            done = Path::new();
        } else {
            done.pop();
        }
        here = directory(done.c_str())?;
    }
}

fn calls_readlink(link: BorrowedFd<'_>, target: &mut [u8; PATH_MAX]) -> Walked<usize> {
    rustix::fs::readlinkat_raw(link, c"", &mut target[..]).at(Call::readlinkat)
}

/// Makes one missing directory or file and opens it.
fn make_one(dir: BorrowedFd<'_>, name: &CStr, make: Make) -> Walked<OwnedFd> {
    match make_node(dir, name, make) {
        // EEXIST: another process has made it. `open_made` checks its kind.
        Ok(()) | Err(Errno::EXIST) => open_made(dir, name, make),
        Err(errno) => Err(errno).at(if make == Make::File {
            Call::openat2
        } else {
            Call::mkdirat
        }),
    }
}

fn make_node(dir: BorrowedFd<'_>, name: &CStr, make: Make) -> rustix::io::Result<()> {
    match make {
        Make::Directory => rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)),
        Make::File => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
    }
}

fn open_made(dir: BorrowedFd<'_>, name: &CStr, make: Make) -> Walked<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let kind = if make == Make::Directory {
        OFlags::DIRECTORY
    } else {
        OFlags::empty()
    };
    openat2(dir, name, OFlags::PATH | OFlags::NOFOLLOW | kind, resolve)
}

/// The parent directory of `path`, made if it is missing, and the last component.
pub fn parent<'p>(root: BorrowedFd<'_>, path: &'p CStr) -> Walked<(OwnedFd, &'p CStr)> {
    let (dir, name) = split(path);
    if matches!(name.to_bytes(), b"" | b"." | b"..") {
        return Err(Errno::INVAL).at(Call::openat2);
    }
    let mut parent = Path::new();
    parent.push(dir)?;
    Ok((reach(root, parent.c_str(), Make::Directory)?, name))
}

pub fn is_directory(fd: impl AsFd) -> Walked<bool> {
    Ok(file_type(fd.as_fd())? == FileType::Directory)
}
