//! Facts of the host that a plan depends on, probed once before it is made. Whatever differs between
//! kernels or machines is decided from here, never in the middle of a walk.

use crate::error::{During, Result};
use crate::files;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use syscalls::{Start, calls};

/// Where cgroups are mounted.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// include/uapi/linux/magic.h
const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
/// The inode of the first user namespace (PROC_USER_INIT_INO, include/linux/proc_ns.h).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;

/// What the plan needs to know.
pub struct Host {
    pub euid: u32,
    pub egid: u32,
    /// We have CAP_SYS_ADMIN in our user namespace. Without it we are an ordinary user: every namespace takes a
    /// new user namespace first.
    pub privileged: bool,
    /// Our user namespace owns our mount namespace, so we may copy its trees.
    pub may_mount: bool,
    /// setgroups(2) is forbidden here and in every user namespace below (user_namespaces(7)).
    pub setgroups_denied: bool,
    /// Not the first user namespace: device nodes cannot be made, only bound.
    pub in_user_namespace: bool,
    /// The highest capability the kernel knows.
    pub last_capability: u32,
    /// The kernel shows its memory at /proc/kcore.
    pub has_kcore: bool,
    pub cgroups: Cgroups,
}

/// How cgroups are mounted on this host.
#[derive(Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// cgroup2 alone, on `CGROUPS`.
    V2,
    /// v1 hierarchies, and perhaps cgroup2 beside them.
    V1(Vec<Hierarchy>),
}

/// One mounted hierarchy.
#[derive(Debug, PartialEq, Eq, Clone)]
pub struct Hierarchy {
    pub mountpoint: String,
    /// v1: its controllers, or `name=NAME`; empty for cgroup2.
    pub controllers: Vec<String>,
}

impl Hierarchy {
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|c| c == controller)
    }
}

impl Host {
    /// The host's root, who may make any cgroup; no container's, nor an ordinary user's.
    pub fn is_root(&self) -> bool {
        self.euid == 0 && !self.in_user_namespace
    }

    pub fn probe(start: Start) -> Result<Self> {
        // Capabilities without a gap: 40 was the last one for years.
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
        // Root of the first user namespace is asked nothing: what it lacks shows where it needs it.
        let ordinary = euid != 0 || in_user_namespace;
        let privileged = !ordinary || has_sys_admin();
        Ok(Self {
            euid,
            egid: start.egid(),
            privileged,
            may_mount: privileged && (!in_user_namespace || owns_mounts().unwrap_or(false)),
            setgroups_denied: in_user_namespace
                && files::read(CWD, "/proc/self/setgroups")?.starts_with(b"deny"),
            in_user_namespace,
            last_capability,
            has_kcore: rustix::fs::access(c"/proc/kcore", rustix::fs::Access::EXISTS).is_ok(),
            cgroups: Cgroups::probe()?,
        })
    }
}

/// Whether we are in another user namespace than the first.
pub fn in_user_namespace() -> Result<bool> {
    let path = c"/proc/self/ns/user";
    let namespace = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::INO)
        .during(|| "cannot look at /proc/self/ns/user (is /proc mounted?)".to_owned())?;
    Ok(namespace.stx_ino != FIRST_USER_NAMESPACE)
}

fn has_sys_admin() -> bool {
    use rustix::thread::CapabilitySet;
    rustix::thread::capabilities(None)
        .is_ok_and(|caps| caps.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// Whether our mount namespace belongs to our user namespace. Where it does not, it is of one above.
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

impl Cgroups {
    /// Whether there is a hierarchy that processes join by writing their pid.
    pub fn has_v1(&self) -> bool {
        matches!(self, Cgroups::V1(hierarchies) if hierarchies.iter().any(|h| !h.is_v2()))
    }

    pub fn probe() -> Result<Self> {
        let unified =
            rustix::fs::statfs(CGROUPS).is_ok_and(|fs| fs.f_type as u64 == CGROUP2_SUPER_MAGIC);
        if unified {
            return Ok(Cgroups::V2);
        }
        let mounts = files::read(CWD, "/proc/self/mountinfo")?;
        Ok(Cgroups::V1(hierarchies(&String::from_utf8_lossy(&mounts))))
    }
}

/// Where procfs and sysfs are mounted, lowest first.
pub fn pseudo_mounts() -> Result<Vec<String>> {
    let mounts = files::read(CWD, "/proc/self/mountinfo")?;
    Ok(String::from_utf8_lossy(&mounts)
        .lines()
        .filter_map(|line| line.split_once(" - "))
        .filter(|(_, fs)| fs.starts_with("proc ") || fs.starts_with("sysfs "))
        .filter_map(|(mount, _)| mount.split(' ').nth(4).map(unescaped))
        .collect())
}

/// A path of mountinfo, in which a space, a tab, a line feed and a backslash are octal.
fn unescaped(path: &str) -> String {
    [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", r"\"),
    ]
    .into_iter()
    .fold(path.to_owned(), |path, (from, to)| path.replace(from, to))
}

/// The hierarchies in a mountinfo (proc(5)), each once.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, fs)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(mountpoint), mut fs) = (mount.split(' ').nth(4), fs.split(' ')) else {
            continue;
        };
        if !mountpoint
            .strip_prefix(CGROUPS)
            .is_some_and(|rest| rest.starts_with('/'))
        {
            continue;
        }
        let controllers = match fs.next() {
            Some("cgroup2") => Vec::new(),
            Some("cgroup") => {
                let options = fs.nth(1).unwrap_or("");
                let ordinary = [
                    "rw",
                    "ro",
                    "xattr",
                    "noprefix",
                    "clone_children",
                    "cpuset_v2_mode",
                    "favordynmods",
                ];
                options
                    .split(',')
                    .filter(|o| !ordinary.contains(o) && !o.starts_with("release_agent="))
                    .map(str::to_owned)
                    .collect()
            }
            _ => continue,
        };
        // A hierarchy that is mounted twice is one.
        if !found.iter().any(|h| h.controllers == controllers) {
            found.push(Hierarchy {
                mountpoint: mountpoint.to_owned(),
                controllers,
            });
        }
    }
    found
}

/// Whether the kernel has this security module (`apparmor`, `selinux`).
pub fn has_lsm(name: &str) -> bool {
    let probe = match name {
        "apparmor" => "/sys/module/apparmor/parameters/enabled",
        _ => "/sys/fs/selinux/enforce",
    };
    files::read(CWD, probe).is_ok_and(|text| name != "apparmor" || text.starts_with(b"Y"))
}

/// `PATH/name`, without a doubled slash.
pub fn join(path: &str, name: &str) -> String {
    format!(
        "{}/{}",
        path.trim_end_matches('/'),
        name.trim_start_matches('/')
    )
}
