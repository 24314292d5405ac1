//! The container's cgroup: creates it at its path in every hierarchy, limits it, moves processes into it, freezes and
//! removes it. The differences between the cgroup versions are in v1.rs and v2.rs.

mod make;
pub mod reached;
pub mod stats;
pub mod systemd;
mod v1;
mod v2;
mod write;

use crate::host;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use make::{check_usable, make_directories, remove_made};
use runtime::error::{During, Error, Reason, Result, fail};
use runtime::facts::{CGROUPS, Cgroups, Facts, Location, join};
use runtime::limits::devices::Filter;
use runtime::limits::{self, Current, Limit, Limits, of_config};
use runtime::spec::Resources;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// A cgroup that was created. Dropping it removes the cgroup, unless the container has been started.
pub struct Cgroup<'h> {
    cgroups: &'h Cgroups,
    place: Location,
    /// The v2 directory into which processes are cloned, if there is cgroup v2.
    directory: Option<OwnedFd>,
}

impl<'h> Cgroup<'h> {
    /// An existing cgroup. `below` selects cgroups below it, in all hierarchies or in those of some controllers:
    /// `[CONTROLLER[,CONTROLLER]:]PATH`.
    pub fn existing(cgroups: &'h Cgroups, place: &Location, below: &[&str]) -> Result<Self> {
        let mut found = place.clone();
        let mut apart = Vec::new();
        for given in below {
            let Some((controllers, name)) = given.split_once(':') else {
                if below.len() > 1 {
                    fail!(
                        "--cgroup {given}: if repeated, each needs its controllers before a colon"
                    );
                }
                found = place.below(&limits::clean(given, "--cgroup")?);
                continue;
            };
            let Cgroups::V1(hierarchies) = cgroups else {
                fail!("--cgroup {given}: cgroup v2 has a single hierarchy: omit the controllers");
            };
            for controller in controllers.split(',') {
                let Some(hierarchy) = hierarchies.iter().find(|h| h.has(controller)) else {
                    fail!("--cgroup {given}: no hierarchy has the controller {controller:?}");
                };
                if apart.iter().any(|(known, _)| *known == controller) {
                    fail!("--cgroup {given}: the controller {controller:?} is given twice");
                }
                let below = limits::clean(name, "--cgroup")?;
                let path = format!("{}{below}", place.path_in(hierarchy));
                apart.push((controller, (hierarchy.name(), path)));
            }
        }
        // The first that is found counts.
        found
            .apart
            .splice(..0, apart.into_iter().map(|(_, path)| path));
        Ok(Self {
            cgroups,
            directory: birthplace(cgroups, &found)?,
            place: found,
        })
    }

    /// Creates the planned cgroup and sets its limits. After a failure nothing of it is left, and an existing cgroup
    /// of others is unchanged.
    ///
    /// Returns `None` if the caller is not the host's root, may not create the cgroup, and needs none: config.json
    /// has neither a path nor a limit.
    pub fn make(facts: &'h Facts, planned: &limits::Cgroup) -> Result<Option<Self>> {
        let values = &planned.limits.values;
        let mut made = Vec::new();
        let error = match Self::build(facts, planned, values, &mut made) {
            Ok(cgroup) => return Ok(Some(cgroup)),
            Err(error) => error,
        };
        let denied = error.is_denied() && !facts.is_root();
        let needs = made.is_empty().then(|| values.first()).flatten();
        remove_made(&made);
        match needs {
            _ if !denied => Err(error),
            Some(limit) => Err(of_config(Error::new(format!(
                "{}: needs a cgroup: {error}",
                limit.field
            )))),
            None if !values.is_empty() => Err(error),
            None if planned.named => Err(Error::new(format!(
                "config.json: linux.cgroupsPath: {error}"
            ))),
            None => Ok(None),
        }
    }

    /// A cgroup that systemd will create. The v1 directories are created here, because systemd does not create them
    /// in every hierarchy, and some are opened before there is a process to create the scope with.
    pub fn of_scope(facts: &'h Facts, planned: &limits::Cgroup) -> Result<Self> {
        let mut made = Vec::new();
        match &facts.cgroups {
            Cgroups::V2 => {
                let place = planned.place();
                let directory = join(CGROUPS, &place.path);
                if rustix::fs::access(directory.as_str(), Access::EXISTS).is_ok() {
                    check_usable(&directory)?;
                }
                Ok(Self {
                    cgroups: &facts.cgroups,
                    place,
                    directory: None,
                })
            }
            Cgroups::V1(_) => {
                Self::build(facts, planned, &[], &mut made).inspect_err(|_| remove_made(&made))
            }
        }
    }

    /// Sets what systemd does not handle, once the scope exists: limits that it has no property for, the other v1
    /// hierarchies, the device rules.
    pub fn settle(&self, pid: i32, planned: &limits::Cgroup) -> Result<()> {
        let values = &planned.limits.values;
        match self.cgroups {
            Cgroups::V2 => v2::limit(&self.place.path, values)?,
            Cgroups::V1(hierarchies) => {
                self.join(pid)?;
                v1::limit(hierarchies, &self.place, values)?;
            }
        }
        let there = Self::existing(self.cgroups, &self.place, &[])?;
        if let Some(owner) = planned.owner {
            there.delegate(owner)?;
        }
        there.filter_devices(&planned.limits)
    }

    /// `made` receives the directories that were created.
    fn build(
        facts: &'h Facts,
        planned: &limits::Cgroup,
        limits: &[Limit],
        made: &mut Vec<String>,
    ) -> Result<Self> {
        let (cgroups, place) = (&facts.cgroups, planned.place());
        let mut make = |base: String| make_directories(&base, &planned.path, facts.is_root(), made);
        match cgroups {
            Cgroups::V2 => {
                make(join(CGROUPS, &planned.base.path))?;
                v2::limit(&place.path, limits)?;
            }
            Cgroups::V1(hierarchies) => {
                for hierarchy in hierarchies {
                    make(hierarchy.directory(&planned.base))?;
                    v1::fill(hierarchy, &place)?;
                }
                v1::limit(hierarchies, &place, limits)?;
            }
        }
        Ok(Self {
            cgroups,
            directory: birthplace(cgroups, &place)?,
            place,
        })
    }

    /// The directory into which to clone the child.
    pub fn birthplace(&self) -> Result<Option<OwnedFd>> {
        let directory = self.directory.as_ref().map(OwnedFd::try_clone);
        directory
            .transpose()
            .map_err(|e| Error::from_errno("cannot duplicate a descriptor", e))
    }

    /// Sets the device rules. This is not part of `make`, because loading them takes time and only has to be done
    /// before the program runs: the child sets itself up meanwhile.
    pub fn filter_devices(&self, limits: &Limits) -> Result<()> {
        match (self.cgroups, &limits.devices, &self.directory) {
            (Cgroups::V1(hierarchies), Some(Filter::Lines(lines)), _) => {
                v1::directory(hierarchies, "devices", &self.place)
                    .and_then(|directory| v1::write_devices(&directory, lines))
            }
            (Cgroups::V2, Some(Filter::Program(program)), Some(directory)) => {
                v2::attach_devices(directory.as_fd(), program, None)
            }
            _ => Ok(()),
        }
        .map_err(of_config)
    }

    /// The reason why no process can be cloned into it, if there is one: a v2 cgroup below a threaded one accepts
    /// none.
    pub fn refusal(&self) -> Option<Error> {
        match self.cgroups {
            Cgroups::V2 => v2::refusal(&self.place.path),
            Cgroups::V1(_) => None,
        }
    }

    /// Makes this uid the owner of a v2 cgroup. On v1 that would not be safe.
    pub fn delegate(&self, owner: u32) -> Result<()> {
        match self.cgroups {
            Cgroups::V2 => v2::delegate(&self.place.path, owner),
            Cgroups::V1(_) => Ok(()),
        }
    }

    /// Moves a process into the v1 hierarchies.
    pub fn join(&self, pid: i32) -> Result<()> {
        match self.cgroups {
            Cgroups::V2 => Ok(()),
            Cgroups::V1(hierarchies) => v1::join(hierarchies, pid, &self.place),
        }
    }

    /// Switches to the cgroup that this process is in, if that is a descendant. A cgroup manager in the container may
    /// have moved all processes down, and a v2 cgroup that enables controllers for its children accepts no processes
    /// (EBUSY).
    pub fn follow(&mut self, pid: i32) -> Result<()> {
        let text = crate::files::read(CWD, format!("/proc/{pid}/cgroup").as_str())?;
        let text = String::from_utf8_lossy(&text);
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        if let Some(v2) = self.cgroups.v2()
            && let Some(path) = path.filter(|path| below(path, self.place.path_in(&v2)))
        {
            self.directory = Some(open(&join(&v2.mountpoint, path))?);
        }
        Ok(())
    }
}

fn below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with('/'))
        && !path.split('/').any(|name| name == "..")
}

/// The v2 directory into which processes are cloned, if there is cgroup v2.
fn birthplace(cgroups: &Cgroups, place: &Location) -> Result<Option<OwnedFd>> {
    let v2 = cgroups.v2();
    v2.map(|v2| open(&v2.directory(place))).transpose()
}

fn open(directory: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, directory, flags, Mode::empty())
        .map_err(|e| Error::from_errno(format!("cannot open the cgroup {directory}"), e))
}

/// Sets new limits on a running container. Values that `resources` does not set stay as they are, and so do all
/// values if one fails.
///
/// `unit` is the scope, so that systemd learns the new limits.
pub fn update(
    cgroups: &Cgroups,
    place: &Location,
    resources: &Resources<'_>,
    unit: Option<(&systemd::Manager, &str)>,
) -> Result<()> {
    let directory = |controller: &str| match cgroups {
        Cgroups::V2 => Ok(join(CGROUPS, &place.path)),
        Cgroups::V1(hierarchies) => v1::directory(hierarchies, controller, place),
    };
    let read = |file: &str| {
        let directory = directory(file.split('.').next().unwrap_or_default()).ok()?;
        let text = crate::files::read(CWD, join(&directory, file).as_str()).ok()?;
        String::from_utf8(text).ok()
    };
    let root = rustix::process::geteuid().is_root() && !host::in_user_namespace()?;
    let limits = Limits::fitted(cgroups, root, resources, &Current(Some(&read)))?;
    if *cgroups == Cgroups::V2 {
        v2::enable(&place.path, &limits.values)?;
    }
    let undo = write::replace(&limits.values, directory)?;
    // systemd rounds the values it sets, so ours are written again afterwards.
    if let Some((manager, name)) = unit {
        manager
            .update(name, &limits, &Current(Some(&read)))
            .and_then(|()| write::write(&limits.values, directory))
            .inspect_err(|_| undo.undo())?;
    }
    match (cgroups, &limits.devices) {
        (Cgroups::V2, Some(Filter::Program(program))) => v2::replace_devices(&place.path, program),
        (Cgroups::V1(_), Some(Filter::Lines(lines))) => {
            directory("devices").and_then(|directory| v1::replace_devices(&directory, lines))
        }
        _ => Ok(()),
    }
    .inspect_err(|_| undo.undo())
}

type Check<'a> = &'a dyn Fn() -> Result<()>;

/// The time limit for a cgroup to freeze or thaw, in seconds.
const PATIENCE: u32 = 10;

/// Stops every process of the cgroup where it is, or lets them go on; back when that is so. `check` is asked again and again
/// meanwhile, and may end the waiting.
pub fn freeze(cgroups: &Cgroups, place: &Location, frozen: bool, check: Check<'_>) -> Result<()> {
    match cgroups {
        Cgroups::V2 => v2::freeze(&place.path, frozen, check),
        Cgroups::V1(hierarchies) => v1::freeze(hierarchies, place, frozen, check),
    }
}

/// Whether the cgroup is frozen. A cgroup that no longer exists is not.
pub fn is_frozen(cgroups: &Cgroups, place: &Location) -> Result<bool> {
    let frozen = match cgroups {
        Cgroups::V2 => v2::is_frozen(&place.path),
        Cgroups::V1(hierarchies) => v1::is_frozen(hierarchies, place),
    };
    match frozen {
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => Ok(false),
        frozen => frozen,
    }
}

/// Thaws on v1, where a frozen process does not die of SIGKILL. On v2 it does.
pub fn thaw(cgroups: &Cgroups, place: &Location) {
    if let Cgroups::V1(hierarchies) = cgroups {
        v1::thaw(hierarchies, place);
    }
}

fn parent(directory: &str) -> &str {
    directory.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// Removes the cgroup at `path` from every hierarchy. The kernel may still be reaping its last processes, so this
/// retries for a while, then reports the remaining ones.
pub fn remove(cgroups: &Cgroups, place: &Location) -> Result<()> {
    cgroups
        .directories(place)
        .iter()
        .try_for_each(|directory| remove_directory(directory))
}

/// The inode number of the cgroup's directory in the last hierarchy, which `remove` removes last. No other cgroup ever
/// gets the same. 0 if there is none.
pub fn inode(cgroups: &Cgroups, place: &Location) -> Result<u64> {
    let directory = cgroups.directories(place).pop().unwrap_or_default();
    match rustix::fs::statat(CWD, &directory, AtFlags::empty()) {
        Ok(stat) => Ok(stat.st_ino),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(Error::from_errno(
            format!("cannot look at {directory}"),
            errno,
        )),
    }
}

/// Whether there is a cgroup in any hierarchy.
pub fn exists(cgroups: &Cgroups, place: &Location) -> bool {
    let there = |directory: &String| rustix::fs::access(directory, Access::EXISTS).is_ok();
    cgroups.directories(place).iter().any(there)
}

/// Like `remove`, for a container whose creation was cut off. Any cgroup below its own belongs to someone else and is
/// not touched. Unless its process may have been `born` in it, neither are processes in it.
pub fn remove_unborn(cgroups: &Cgroups, place: &Location, born: bool) -> Result<()> {
    for directory in cgroups.directories(place) {
        let opened = match open(&directory) {
            Err(error) if error.errno() == Some(Errno::NOENT) => continue,
            opened => opened?,
        };
        if !subdirectories(opened.as_fd())?.is_empty() {
            continue;
        }
        // A process of ours dies with the command that made it.
        let empties = || -> Result<bool> {
            for _ in 0..TRIES {
                if members(opened.as_fd())?.is_empty() {
                    return Ok(true);
                }
                sleep(1_000_000);
            }
            Ok(false)
        };
        if !born && !empties()? {
            continue;
        }
        for pid in members(opened.as_fd())? {
            match syscalls::calls::kill(pid, syscalls::calls::SIGKILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(errno) => {
                    return Err(Error::from_errno(
                        format!("cannot kill process {pid}"),
                        errno,
                    ));
                }
            }
        }
        remove_directory(&directory)?;
    }
    Ok(())
}

const TRIES: u32 = 200;

fn remove_directory(directory: &str) -> Result<()> {
    let mut last = Errno::BUSY;
    for attempt in 0..TRIES {
        match rustix::fs::unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(errno @ (Errno::BUSY | Errno::NOTEMPTY)) => {
                // Cgroups that the container created below its own go first.
                if let Ok(opened) = open(directory) {
                    remove_below(opened.as_fd())?;
                }
                last = errno;
            }
            Err(errno) => {
                return Err(Error::from_errno(
                    format!("cannot remove the cgroup {directory}"),
                    errno,
                ));
            }
        }
        sleep(100_000 << (attempt / 20).min(8));
    }
    let left = match open(directory).and_then(|opened| members(opened.as_fd())) {
        Ok(pids) if !pids.is_empty() => {
            let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
            format!("processes {} are still in it", pids.join(", "))
        }
        _ => Reason(last).to_string(),
    };
    fail!("cannot remove the cgroup {directory}: {left}")
}

/// Removes the cgroups below one, deepest first, as far as possible at the moment. Uses descriptors, because a path
/// may exceed PATH_MAX.
fn remove_below(directory: BorrowedFd<'_>) -> Result<()> {
    for name in subdirectories(directory)? {
        if rustix::fs::unlinkat(directory, name.as_str(), AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        if let Some(below) = open_below(directory, &name)? {
            remove_below(below.as_fd())?;
            // If it is still busy, the caller retries from the top.
            let _ = rustix::fs::unlinkat(directory, name.as_str(), AtFlags::REMOVEDIR);
        }
    }
    Ok(())
}

/// Opens a child cgroup. Returns `None` if it no longer exists.
fn open_below(directory: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        opened => opened
            .map(Some)
            .map_err(|errno| Error::from_errno(format!("cannot open the cgroup {name}"), errno)),
    }
}

pub fn sleep(nanoseconds: i64) {
    let _ = rustix::thread::nanosleep(&rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    });
}

/// The names of the child cgroups. None if the cgroup is removed meanwhile.
fn subdirectories(directory: BorrowedFd<'_>) -> Result<Vec<String>> {
    let what = || "cannot read the directory of a cgroup".into();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match rustix::fs::openat(directory, c".", flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NODEV) => return Ok(Vec::new()),
        opened => opened.during(what)?,
    };
    let mut found = Vec::new();
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = rustix::fs::RawDir::new(opened, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Err(Errno::NOENT | Errno::NODEV) => break,
            entry => entry.during(what)?,
        };
        if entry.file_type() == rustix::fs::FileType::Directory
            && let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            found.push(name.to_owned());
        }
    }
    Ok(found)
}

/// The processes in the cgroup itself. None if it is removed meanwhile, or threaded.
fn members(directory: BorrowedFd<'_>) -> Result<Vec<i32>> {
    let text = match crate::files::read(directory, "cgroup.procs") {
        Err(error)
            if matches!(
                error.errno(),
                Some(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP)
            ) =>
        {
            return Ok(Vec::new());
        }
        text => text?,
    };
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|pid| pid.parse().ok())
        .collect())
}

/// The processes in the cgroup and below it, each once. None if the cgroup no longer exists.
pub fn processes(cgroups: &Cgroups, place: &Location) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let Some(directory) = cgroups.directories(place).into_iter().next() else {
        return Ok(pids);
    };
    let mut todo = Vec::new();
    match open(&directory) {
        Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(pids),
        opened => todo.push(opened?),
    }
    while let Some(directory) = todo.pop() {
        pids.extend(members(directory.as_fd())?);
        for name in subdirectories(directory.as_fd())? {
            todo.extend(open_below(directory.as_fd(), &name)?);
        }
    }
    Ok(pids)
}

/// Sends SIGKILL to all processes in the cgroup, atomically if the kernel supports it (cgroup.kill, 5.14). An empty
/// or missing cgroup is not an error.
pub fn kill(cgroups: &Cgroups, place: &Location) -> Result<()> {
    use syscalls::calls::SIGKILL;
    let hierarchies = match cgroups {
        Cgroups::V2 => {
            let file = join(&join(CGROUPS, &place.path), "cgroup.kill");
            return match crate::files::write(CWD, file.as_str(), b"1") {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
                Err(errno) => Err(Error::from_errno(format!("cannot write {file}"), errno)),
            };
        }
        Cgroups::V1(hierarchies) => hierarchies,
    };
    let mut pids = processes(cgroups, place)?;
    if pids.len() > 1 {
        // Frozen, none of them can fork away from us meanwhile.
        let _ = v1::freeze(hierarchies, place, true, &|| Ok(()));
        pids = processes(cgroups, place)?;
    }
    let mut failed = None;
    for pid in &pids {
        match syscalls::calls::kill(*pid, SIGKILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => failed = failed.or(Some((pid, errno))),
        }
    }
    if !pids.is_empty() {
        v1::thaw(hierarchies, place);
    }
    match failed {
        None => Ok(()),
        Some((pid, errno)) => Err(Error::from_errno(
            format!("cannot kill process {pid} of the cgroup {}", place.path),
            errno,
        )),
    }
}
