//! The container's cgroup: made at its path in every hierarchy, limited, joined, frozen and removed. What
//! differs between the versions is in v1.rs and v2.rs.

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
use runtime::error::{During, Error, Reason, Result, fail};
use runtime::facts::{CGROUPS, Cgroups, Facts, join};
use runtime::limits::devices::Filter;
use runtime::limits::{self, Current, Limit, Limits, of_config};
use runtime::spec::Resources;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// A cgroup that was made, and is removed again unless the container comes to be.
pub struct Cgroup<'h> {
    cgroups: &'h Cgroups,
    pub path: String,
    /// Paths that exec goes by in the v1 hierarchies of these controllers instead.
    apart: Vec<(String, String)>,
    /// Where there is cgroup v2, the directory to be born in.
    directory: Option<OwnedFd>,
}

impl<'h> Cgroup<'h> {
    /// One that is there already. `below` leads to cgroups below it, in all hierarchies or in those of some
    /// controllers: `[CONTROLLER[,CONTROLLER]:]PATH`.
    pub fn existing(cgroups: &'h Cgroups, path: &str, below: &[&str]) -> Result<Self> {
        let mut cgroup = Self {
            cgroups,
            path: path.to_owned(),
            apart: Vec::new(),
            directory: None,
        };
        for given in below {
            let Some((controllers, name)) = given.split_once(':') else {
                if below.len() > 1 {
                    fail!(
                        "--cgroup {given}: of several, each needs its controllers before a colon"
                    );
                }
                cgroup.path = format!("{path}{}", limits::clean(given, "--cgroup")?);
                continue;
            };
            let Cgroups::V1(hierarchies) = cgroups else {
                fail!(
                    "--cgroup {given}: on cgroup v2 all controllers are in one place: leave them out"
                );
            };
            for controller in controllers.split(',') {
                if !hierarchies.iter().any(|h| h.has(controller)) {
                    fail!(
                        "--cgroup {given}: there is no hierarchy of the controller {controller:?}"
                    );
                }
                if cgroup.apart.iter().any(|(known, _)| known == controller) {
                    fail!("--cgroup {given}: the controller {controller:?} is given twice");
                }
                let below = format!("{path}{}", limits::clean(name, "--cgroup")?);
                cgroup.apart.push((controller.to_owned(), below));
            }
        }
        cgroup.directory = birthplace(cgroups, &cgroup.path)?;
        Ok(cgroup)
    }

    /// Makes the cgroup that the plan wants and sets its limits. On failure nothing of it is left, and a cgroup of others
    /// that was in the way is as it was.
    ///
    /// `None`: whoever is not the host's root may not make one, and has not asked for a limit either.
    pub fn make(facts: &'h Facts, planned: &limits::Cgroup) -> Result<Option<Self>> {
        let values = &planned.limits.values;
        let mut made = Vec::new();
        match Self::build(&facts.cgroups, &planned.path, values, &mut made) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if made.is_empty() && error.is_denied() && !facts.is_root() => {
                match values.first() {
                    None => Ok(None),
                    Some(limit) => Err(of_config(Error::new(format!(
                        "{}: needs a cgroup: {error}",
                        limit.field
                    )))),
                }
            }
            Err(error) => {
                for directory in made {
                    let _ = remove_directory(&directory);
                }
                Err(error)
            }
        }
    }

    /// One that systemd is going to make. Directories of v1 are made all the same: it does not make those of every
    /// hierarchy, and some are opened before there is a process to make the scope with.
    pub fn of_scope(cgroups: &'h Cgroups, path: &str) -> Result<Self> {
        let mut made = Vec::new();
        match cgroups {
            Cgroups::V2 => {
                let directory = join(CGROUPS, path);
                if rustix::fs::access(directory.as_str(), Access::EXISTS).is_ok() {
                    check_usable(&directory)?;
                }
                Ok(Self {
                    cgroups,
                    path: path.to_owned(),
                    apart: Vec::new(),
                    directory: None,
                })
            }
            Cgroups::V1(_) => Self::build(cgroups, path, &[], &mut made).inspect_err(|_| {
                for directory in &made {
                    let _ = remove_directory(directory);
                }
            }),
        }
    }

    /// What systemd leaves to us once the scope is there: limits that it has no word for, the other hierarchies of v1,
    /// the device rules.
    pub fn settle(&self, pid: i32, planned: &limits::Cgroup) -> Result<()> {
        let values = &planned.limits.values;
        match self.cgroups {
            Cgroups::V2 => v2::limit(&self.path, values)?,
            Cgroups::V1(hierarchies) => {
                self.join(pid)?;
                v1::limit(hierarchies, &self.path, values)?;
            }
        }
        let there = Self::existing(self.cgroups, &self.path, &[])?;
        if let Some(owner) = planned.owner {
            there.delegate(owner)?;
        }
        there.filter_devices(&planned.limits)
    }

    /// `made` gets the directories that are ours.
    fn build(
        cgroups: &'h Cgroups,
        path: &str,
        limits: &[Limit],
        made: &mut Vec<String>,
    ) -> Result<Self> {
        match cgroups {
            Cgroups::V2 => v2::make(path, limits, made)?,
            Cgroups::V1(hierarchies) => v1::make(hierarchies, path, limits, made)?,
        }
        let directory = birthplace(cgroups, path)?;
        Ok(Self {
            cgroups,
            path: path.to_owned(),
            apart: Vec::new(),
            directory,
        })
    }

    /// The directory to be born in.
    pub fn birthplace(&self) -> Result<Option<OwnedFd>> {
        let directory = self.directory.as_ref().map(OwnedFd::try_clone);
        directory
            .transpose()
            .map_err(|e| Error::from_errno("cannot duplicate a descriptor", e))
    }

    /// Sets the device rules. Apart from `make`, because loading them takes its time and only has to be
    /// done before the program begins: the child sets itself up meanwhile.
    pub fn filter_devices(&self, limits: &Limits) -> Result<()> {
        match (self.cgroups, &limits.devices, &self.directory) {
            (Cgroups::V1(hierarchies), Some(Filter::Lines(lines)), _) => {
                v1::directory(hierarchies, "devices", &self.path)
                    .and_then(|directory| v1::write_devices(&directory, lines))
            }
            (Cgroups::V2, Some(Filter::Program(program)), Some(directory)) => {
                v2::attach_devices(directory.as_fd(), program, None)
            }
            _ => Ok(()),
        }
        .map_err(of_config)
    }

    /// Why no process can be born in it, if that is so: a v2 cgroup below one of threads takes none.
    pub fn refusal(&self) -> Option<Error> {
        match self.cgroups {
            Cgroups::V2 => v2::refusal(&self.path),
            Cgroups::V1(_) => None,
        }
    }

    /// Gives a v2 cgroup to this uid; on v1 that would not be safe.
    pub fn delegate(&self, owner: u32) -> Result<()> {
        match self.cgroups {
            Cgroups::V2 => v2::delegate(&self.path, owner),
            Cgroups::V1(_) => Ok(()),
        }
    }

    /// Moves a process into the v1 hierarchies.
    pub fn join(&self, pid: i32) -> Result<()> {
        match self.cgroups {
            Cgroups::V2 => Ok(()),
            Cgroups::V1(hierarchies) => v1::join(hierarchies, pid, |hierarchy| {
                let apart = self.apart.iter().find(|(name, _)| hierarchy.has(name));
                apart.map_or(&self.path, |(_, path)| path)
            }),
        }
    }

    /// Goes by the cgroup that this process is in now, if it is one below. A container's own manager may have moved
    /// everybody further down, and a v2 cgroup that shares out controllers takes no process itself (EBUSY).
    pub fn follow(&mut self, pid: i32) -> Result<()> {
        let text = crate::files::read(CWD, format!("/proc/{pid}/cgroup").as_str())?;
        let text = String::from_utf8_lossy(&text);
        let path = text.lines().find_map(|line| line.strip_prefix("0::"));
        if let Some(path) = path.filter(|path| below(path, &self.path)) {
            self.directory = birthplace(self.cgroups, path)?;
        }
        Ok(())
    }
}

fn below(path: &str, above: &str) -> bool {
    path.strip_prefix(above)
        .is_some_and(|rest| rest.starts_with('/'))
        && !path.split('/').any(|name| name == "..")
}

/// Where there is cgroup v2, the directory to be born in.
fn birthplace(cgroups: &Cgroups, path: &str) -> Result<Option<OwnedFd>> {
    let mountpoint = match cgroups {
        Cgroups::V2 => Some(CGROUPS),
        Cgroups::V1(hierarchies) => hierarchies
            .iter()
            .find(|h| h.is_v2())
            .map(|h| h.mountpoint.as_str()),
    };
    mountpoint
        .map(|mountpoint| open(&join(mountpoint, path)))
        .transpose()
}

fn open(directory: &str) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, directory, flags, Mode::empty())
        .map_err(|e| Error::from_errno(format!("cannot open the cgroup {directory}"), e))
}

/// Sets new limits on a container that lives. What `resources` does not speak of stays as it is, and so does
/// all of it when a part fails.
///
/// `unit`: the scope that it is, so that systemd knows of them, too.
pub fn update(
    cgroups: &Cgroups,
    path: &str,
    resources: &Resources<'_>,
    unit: Option<(&systemd::Manager, &str)>,
) -> Result<()> {
    let directory = |controller: &str| match cgroups {
        Cgroups::V2 => Ok(join(CGROUPS, path)),
        Cgroups::V1(hierarchies) => v1::directory(hierarchies, controller, path),
    };
    let read = |file: &str| {
        let directory = directory(file.split('.').next().unwrap_or_default()).ok()?;
        let text = crate::files::read(CWD, join(&directory, file).as_str()).ok()?;
        String::from_utf8(text).ok()
    };
    let root = rustix::process::geteuid().is_root() && !host::in_user_namespace()?;
    let limits = Limits::fitted(cgroups, root, resources, &Current(Some(&read)))?;
    if *cgroups == Cgroups::V2 {
        v2::enable(path, &limits.values)?;
    }
    let undo = write::replace(&limits.values, directory)?;
    // systemd rounds what it sets: ours is written again behind it.
    if let Some((manager, name)) = unit {
        manager
            .update(name, &limits, &Current(Some(&read)))
            .and_then(|()| write::write(&limits.values, directory))
            .inspect_err(|_| undo.undo())?;
    }
    match (cgroups, &limits.devices) {
        (Cgroups::V2, Some(Filter::Program(program))) => v2::replace_devices(path, program),
        (Cgroups::V1(_), Some(Filter::Lines(lines))) => {
            directory("devices").and_then(|directory| v1::replace_devices(&directory, lines))
        }
        _ => Ok(()),
    }
    .inspect_err(|_| undo.undo())
}

type Check<'a> = &'a dyn Fn() -> Result<()>;

/// How many seconds a cgroup may take to freeze or thaw.
const PATIENCE: u32 = 10;

/// Stops every process of the cgroup where it is, or lets them go on; back when that is so. `check` is asked again and again
/// meanwhile, and may end the waiting.
pub fn freeze(cgroups: &Cgroups, path: &str, frozen: bool, check: Check<'_>) -> Result<()> {
    match cgroups {
        Cgroups::V2 => v2::freeze(path, frozen, check),
        Cgroups::V1(hierarchies) => v1::freeze(hierarchies, path, frozen, check),
    }
}

/// A cgroup that is gone is not frozen.
pub fn is_frozen(cgroups: &Cgroups, path: &str) -> Result<bool> {
    let frozen = match cgroups {
        Cgroups::V2 => v2::is_frozen(path),
        Cgroups::V1(hierarchies) => v1::is_frozen(hierarchies, path),
    };
    match frozen {
        Err(error) if matches!(error.errno(), Some(Errno::NOENT | Errno::NODEV)) => Ok(false),
        frozen => frozen,
    }
}

/// Lets what is frozen on v1 run again: there a frozen process does not even die of SIGKILL. On v2 it does.
pub fn thaw(cgroups: &Cgroups, path: &str) {
    if let Cgroups::V1(hierarchies) = cgroups {
        v1::thaw(hierarchies, path);
    }
}

/// Makes a directory and those above it that are missing, below `mountpoint`; `made` gets it once it is ours.
fn make_directories(mountpoint: &str, path: &str, made: &mut Vec<String>) -> Result<()> {
    let directory = join(mountpoint, path);
    let make = |at: &str| rustix::fs::mkdirat(CWD, at, Mode::from_raw_mode(0o755));
    let failed = |at: &str, errno| {
        Err(Error::from_errno(
            format!("cannot make the cgroup {at}"),
            errno,
        ))
    };
    match make(&directory) {
        Ok(()) => {
            made.push(directory);
            return Ok(());
        }
        Err(Errno::EXIST) => {
            check_usable(&directory)?;
            made.push(directory);
            return Ok(());
        }
        Err(Errno::NOENT) => {}
        Err(errno) => return failed(&directory, errno),
    }
    let mut at = mountpoint.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        at = join(&at, name);
        match make(&at) {
            Ok(()) if at == directory => made.push(directory.clone()),
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return failed(&at, errno),
        }
    }
    Ok(())
}

fn parent(directory: &str) -> &str {
    directory.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A cgroup that exists already is taken only when it is empty, so that nobody else's work is limited, killed or removed with
/// the container: no process in it or anywhere below, no cgroup below, not frozen.
fn check_usable(directory: &str) -> Result<()> {
    let opened = open(directory)?;
    let below = subdirectories(opened.as_fd())?;
    if !below.is_empty() || !members(opened.as_fd())?.is_empty() {
        let what = match below.first() {
            Some(name) => format!("holds the cgroup {name:?}"),
            None => "has processes".to_owned(),
        };
        fail!(
            "the container's cgroup is not empty: {directory} {what}; another one may use the same linux.cgroupsPath"
        );
    }
    // Whoever is born there would wait for somebody to thaw it.
    for (file, frozen) in [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")] {
        let path = join(directory, file);
        if crate::files::read(CWD, &path).is_ok_and(|text| text.trim_ascii() == frozen.as_bytes()) {
            fail!("the container's cgroup unexpectedly frozen: {path} says so");
        }
    }
    Ok(())
}

/// Removes the cgroup at `path` from every hierarchy. The kernel may still be reaping its last
/// processes: tries for a while, then says who is left.
pub fn remove(cgroups: &Cgroups, path: &str) -> Result<()> {
    cgroups
        .directories(path)
        .iter()
        .try_for_each(|directory| remove_directory(directory))
}

/// The same for a container that was left before it had a process: hooks may have stayed in the cgroup itself, but it has no
/// cgroup below. One that is there was made by somebody else, and is left alone with all that is in it.
pub fn remove_unborn(cgroups: &Cgroups, path: &str) -> Result<()> {
    for directory in cgroups.directories(path) {
        let opened = match open(&directory) {
            Err(error) if error.errno() == Some(Errno::NOENT) => continue,
            opened => opened?,
        };
        if !subdirectories(opened.as_fd())?.is_empty() {
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
                // Cgroups that the container made below its own go first.
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
        pause(100_000 << (attempt / 20).min(8));
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

/// Removes the cgroups below one, deepest first, as far as they let themselves be removed now. By descriptors, since a path may be
/// longer than the kernel takes.
fn remove_below(directory: BorrowedFd<'_>) -> Result<()> {
    for name in subdirectories(directory)? {
        if rustix::fs::unlinkat(directory, name.as_str(), AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        if let Some(below) = open_below(directory, &name)? {
            remove_below(below.as_fd())?;
            // What is still busy is tried again from the top.
            let _ = rustix::fs::unlinkat(directory, name.as_str(), AtFlags::REMOVEDIR);
        }
    }
    Ok(())
}

/// A cgroup below another; `None` when it is gone.
fn open_below(directory: BorrowedFd<'_>, name: &str) -> Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(None),
        opened => opened
            .map(Some)
            .map_err(|errno| Error::from_errno(format!("cannot open the cgroup {name}"), errno)),
    }
}

fn pause(nanoseconds: i64) {
    let _ = rustix::thread::nanosleep(&rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    });
}

/// The names of the directories in one. A cgroup that is removed meanwhile has none.
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

/// The processes in a cgroup itself. A cgroup that is removed meanwhile, and one of threads, has none.
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

/// The processes in the cgroup and in those below it, once each; none when the cgroup is gone.
pub fn processes(cgroups: &Cgroups, path: &str) -> Result<Vec<i32>> {
    let mut pids = Vec::new();
    let Some(directory) = cgroups.directories(path).into_iter().next() else {
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

/// Sends SIGKILL to everything in the cgroup: at once where the kernel can (cgroup.kill, 5.14).
/// Nobody there, or no cgroup, is success.
pub fn kill(cgroups: &Cgroups, path: &str) -> Result<()> {
    use syscalls::calls::SIGKILL;
    let hierarchies = match cgroups {
        Cgroups::V2 => {
            let file = join(&join(CGROUPS, path), "cgroup.kill");
            return match crate::files::write(CWD, file.as_str(), b"1") {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => Ok(()),
                Err(errno) => Err(Error::from_errno(format!("cannot write {file}"), errno)),
            };
        }
        Cgroups::V1(hierarchies) => hierarchies,
    };
    let mut pids = processes(cgroups, path)?;
    if pids.len() > 1 {
        // Frozen, none of them can fork away from us meanwhile.
        let _ = v1::freeze(hierarchies, path, true, &|| Ok(()));
        pids = processes(cgroups, path)?;
    }
    let mut failed = None;
    for pid in &pids {
        match syscalls::calls::kill(*pid, SIGKILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => failed = failed.or(Some((pid, errno))),
        }
    }
    if !pids.is_empty() {
        v1::thaw(hierarchies, path);
    }
    match failed {
        None => Ok(()),
        Some((pid, errno)) => Err(Error::from_errno(
            format!("cannot kill process {pid} of the cgroup {path}"),
            errno,
        )),
    }
}
