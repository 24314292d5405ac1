//! Probes the facts of the host that a plan depends on, once, before planning.

use crate::files;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use linux_raw_sys::general::CGROUP2_SUPER_MAGIC;
use runtime::error::{During, Error, Result};
use runtime::facts::{self, CGROUPS, Caller, Cgroups, Facts};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use syscalls::{Start, calls};

/// The inode of the initial user namespace (PROC_USER_INIT_INO, include/linux/proc_ns.h).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// Probes what is needed: security modules only if the spec sets a label (`labels`), the caller's cgroup only if the
/// container's starts there (`caller`).
pub fn probe(start: Start, labels: bool, caller: bool) -> Result<Facts> {
    // Starts at 40, which was the last capability for years, because capabilities are numbered without gaps.
    let known = |n: u32| rustix::thread::capability_is_in_bounding_set(bit(n)).is_ok();
    let mut last_capability = 40;
    while last_capability > 0 && !known(last_capability) {
        last_capability -= 1;
    }
    while last_capability < 63 && known(last_capability + 1) {
        last_capability += 1;
    }
    let euid = start.euid();
    let in_user_namespace = in_user_namespace()?;
    // Root in the initial user namespace is not probed: a missing permission shows where it is needed.
    let ordinary = euid != 0 || in_user_namespace;
    let permitted = rustix::thread::capabilities(None).map_or(u64::MAX, |c| c.permitted.bits());
    let privileged = !ordinary || has_sys_admin();
    let mut bounding = u64::MAX;
    // A privileged process can have all that is in its bounding set, so nearly all of these bits are in the other set.
    for n in (0..=last_capability).filter(|n| privileged && permitted >> n & 1 == 0) {
        if rustix::thread::capability_is_in_bounding_set(bit(n)) == Ok(false) {
            bounding &= !(1 << n);
        }
    }
    let (cgroups, mounts) = cgroups_and_mounts()?;
    let caller = caller.then(|| find_caller(&cgroups, mounts)).transpose()?;
    Ok(Facts {
        euid,
        egid: start.egid(),
        privileged,
        may_mount: privileged && (!in_user_namespace || owns_mounts().unwrap_or(false)),
        setgroups_denied: in_user_namespace
            && files::read(CWD, "/proc/self/setgroups")?.starts_with(b"deny"),
        in_user_namespace,
        last_capability,
        permitted,
        bounding,
        has_kcore: rustix::fs::access(c"/proc/kcore", rustix::fs::Access::EXISTS).is_ok(),
        apparmor: labels && has_apparmor(),
        selinux: labels && has_selinux(),
        cgroups,
        caller,
    })
}

/// Whether our user namespace is not the initial one.
pub fn in_user_namespace() -> Result<bool> {
    let path = c"/proc/self/ns/user";
    let namespace = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::INO)
        .during(|| "cannot inspect /proc/self/ns/user (statx; is /proc mounted?)".to_owned())?;
    Ok(namespace.stx_ino != FIRST_USER_NAMESPACE)
}

fn has_sys_admin() -> bool {
    use rustix::thread::CapabilitySet;
    rustix::thread::capabilities(None)
        .is_ok_and(|caps| caps.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Whether our user namespace owns our mount namespace. Otherwise an ancestor owns it.
fn owns_mounts() -> rustix::io::Result<bool> {
    let open =
        |path| rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let owner = match calls::owner_of_namespace(open(c"/proc/self/ns/mnt")?.as_fd()) {
        Err(Errno::PERM) => return Ok(false),
        owner => owner?,
    };
    let own = open(c"/proc/self/ns/user")?;
    Ok(rustix::fs::fstat(owner)?.st_ino == rustix::fs::fstat(own)?.st_ino)
}

fn bit(n: u32) -> rustix::thread::CapabilitySet {
    rustix::thread::CapabilitySet::from_bits_retain(1 << n)
}

/// The cgroup hierarchies mounted here.
pub fn cgroups() -> Result<Cgroups> {
    cgroups_and_mounts().map(|(cgroups, _)| cgroups)
}

/// The hierarchies, and the mountinfo if it was read for them.
fn cgroups_and_mounts() -> Result<(Cgroups, Option<String>)> {
    // A host without this directory may still have hierarchies elsewhere. Any other failure says nothing about the
    // version, and the wrong one would look for the container's processes in the wrong place.
    match rustix::io::retry_on_intr(|| rustix::fs::statfs(CGROUPS)) {
        Ok(fs) if fs.f_type == i64::from(CGROUP2_SUPER_MAGIC) => return Ok((Cgroups::V2, None)),
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => {
            return Err(Error::from_errno(
                format!("cannot look at {CGROUPS} (statfs)"),
                errno,
            ));
        }
    }
    let mounts = mountinfo()?;
    Ok((Cgroups::of_mountinfo(&mounts), Some(mounts)))
}

fn find_caller(cgroups: &Cgroups, mounts: Option<String>) -> Result<Caller> {
    let mounts = mounts.map_or_else(mountinfo, Ok)?;
    let own = files::read(CWD, "/proc/self/cgroup")?;
    Ok(Caller::find(
        cgroups,
        &String::from_utf8_lossy(&own),
        &mounts,
    ))
}

/// The mount points of procfs and sysfs, lowest first.
pub fn pseudo_mounts() -> Result<Vec<String>> {
    Ok(facts::pseudo_mounts(&mountinfo()?))
}

fn mountinfo() -> Result<String> {
    let mounts = files::read(CWD, "/proc/self/mountinfo")?;
    Ok(String::from_utf8_lossy(&mounts).into_owned())
}

fn has_apparmor() -> bool {
    files::read(CWD, "/sys/module/apparmor/parameters/enabled")
        .is_ok_and(|text| text.starts_with(b"Y"))
}

fn has_selinux() -> bool {
    files::read(CWD, "/sys/fs/selinux/enforce").is_ok()
}
