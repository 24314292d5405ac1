//! Keeps the host's copy of this program out of a container's reach (CVE-2019-5736): before it has
//! anything to do with a container, the program executes itself again from a view that cannot be
//! written through. /proc/self/exe, a `#!` line or PT_INTERP then lead to that view.

use crate::files;
use runtime::error::{During, Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;
use syscalls::Start;
use syscalls::calls::{self, MountAttr};

const EXE: &core::ffi::CStr = c"/proc/self/exe";

/// Returns in a process whose own file is safe; the first time by executing it anew.
pub fn ensure(start: Start) -> Result<()> {
    if is_sealed(start) {
        return Ok(());
    }
    // The mount first: it costs least. Where we may not make one (no CAP_SYS_ADMIN, or a file of another
    // mount namespace), a sealed copy.
    let view = match read_only_view() {
        Ok(view) => view,
        Err(_) => sealed_copy()?,
    };
    let errno = start.exec_again(view.as_fd());
    Err(Error::from_errno(
        "cannot execute the protected copy of this program",
        errno,
    ))
}

/// Executed by descriptor, which an ordinary caller does not do, and from a view that is read-only or
/// a file that is sealed.
fn is_sealed(start: Start) -> bool {
    if !start
        .execfn()
        .is_some_and(|path| path.to_bytes().starts_with(b"/dev/fd/"))
    {
        return false;
    }
    let read_only =
        rustix::fs::statvfs(EXE).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY));
    read_only
        || rustix::fs::openat(CWD, EXE, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).is_ok_and(
            |file| {
                rustix::fs::fcntl_get_seals(&file)
                    .is_ok_and(|seals| seals.contains(SealFlags::WRITE | SealFlags::SEAL))
            },
        )
}

/// A mount of the file alone, detached and read-only: no other mount shares its flags, and once nobody
/// holds it but the running program, none can be made of it.
fn read_only_view() -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = rustix::mount::open_tree(CWD, EXE, flags)?;
    let attr = MountAttr {
        set: u64::from(linux_raw_sys::general::MOUNT_ATTR_RDONLY),
        ..MountAttr::NONE
    };
    calls::mount_setattr(view.as_fd(), false, attr, None)?;
    Ok(view)
}

fn sealed_copy() -> Result<OwnedFd> {
    let what = || "cannot make a protected copy of this program".into();
    let bytes = files::read(CWD, EXE)?;
    let copy =
        rustix::fs::memfd_create(c"runtime", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .during(what)?;
    files::write_all(&copy, &bytes).during(what)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).during(what)?;
    Ok(copy)
}
