//! Protects the host's copy of this program from containers (CVE-2019-5736). Before it touches a container, the
//! program executes itself again from a view that cannot be written. /proc/self/exe, a `#!` line or PT_INTERP then
//! lead to that view.

use crate::files;
use runtime::error::{During, Error, Result};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;
use syscalls::Start;
use syscalls::calls::{self, MountAttr};

const EXE: &core::ffi::CStr = c"/proc/self/exe";

/// Returns in a process whose executable is protected. The first call re-executes the program.
pub fn ensure(start: Start) -> Result<()> {
    if is_sealed(start) {
        return Ok(());
    }
    // A mount is cheapest. It needs CAP_SYS_ADMIN and a file in our mount namespace; otherwise a sealed copy is used.
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

/// Whether the program was executed by descriptor, which an ordinary caller does not do, and from a read-only mount
/// or a sealed file.
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

/// A detached, read-only mount of the file alone. It shares its flags with no other mount. Once only the running
/// program holds it, it cannot be cloned.
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
