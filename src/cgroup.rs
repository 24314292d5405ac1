//! The container's cgroup: made at its path in every hierarchy, limited, joined, frozen and removed. What
//! differs between the versions is in v1.rs and v2.rs.

mod devices;
mod limit;
pub mod stats;
pub mod systemd;
mod v1;
mod v2;

use crate::error::{Error, Result, fail};
use crate::host::{self, CGROUPS, Cgroups, Host, join};
use crate::spec::{Cpu, Resources};
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use limit::{Current, Limit};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// Who makes the cgroup (`--cgroup-manager`).
pub enum Driver {
    /// Nobody: the container stays in ours.
    Disabled,
    Cgroupfs,
    Systemd(systemd::Manager),
}

/// The path below each hierarchy's mount point: absolute, without `.` or `..`.
pub fn path(cgroups_path: Option<&str>, id: &str) -> Result<String> {
    let Some(path) = cgroups_path else {
        return Ok(format!("/{id}"));
    };
    let clean = clean(path, "config.json: linux.cgroupsPath")?;
    if clean.is_empty() {
        fail!(
            "config.json: linux.cgroupsPath: the root cgroup cannot be a container's, found {path:?}"
        );
    }
    Ok(clean)
}

fn clean(path: &str, place: &str) -> Result<String> {
    let mut clean = String::new();
    for name in path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
    {
        if name == ".." {
            fail!("{place}: {path} is not a sub cgroup path: \"..\" leads out of it");
        }
        clean.push('/');
        clean.push_str(name);
    }
    Ok(clean)
}

/// Directories of the cgroup at `path`: one on v2, one per hierarchy on v1.
pub fn directories(cgroups: &Cgroups, path: &str) -> Vec<String> {
    match cgroups {
        Cgroups::V2 => [join(CGROUPS, path)].into(),
        Cgroups::V1(hierarchies) => hierarchies
            .iter()
            .map(|h| join(&h.mountpoint, path))
            .collect(),
    }
}

/// A cgroup that was made, and is removed again unless the container comes to be.
pub struct Cgroup<'h> {
    cgroups: &'h Cgroups,
    pub path: String,
    /// Paths that exec goes by in the v1 hierarchies of these controllers instead.
    apart: Vec<(String, String)>,
    /// Where there is cgroup v2, the directory to be born in.
    directory: Option<OwnedFd>,
}

/// What is wrong with `linux.resources`, without touching anything.
pub fn check(cgroups: &Cgroups, resources: &Resources<'_>) -> Result<()> {
    limits(cgroups, resources, &Current(None))
        .and_then(|_| match cgroups {
            Cgroups::V2 => devices::rules(&resources.devices).map(drop),
            Cgroups::V1(_) => devices::lines(&resources.devices).map(drop),
        })
        .map_err(of_config)
}

fn limits(
    cgroups: &Cgroups,
    resources: &Resources<'_>,
    current: &Current<'_>,
) -> Result<Vec<Limit>> {
    match cgroups {
        Cgroups::V2 => v2::limits(resources, current),
        Cgroups::V1(_) => v1::limits(resources, current),
    }
}

/// Errors below this room name fields below `linux.resources`.
fn of_config(error: Error) -> Error {
    Error::new(format!("config.json: linux.resources.{error}"))
}

/// Only the host's root can say which devices a cgroup may use.
fn can_filter_devices(in_user_namespace: bool) -> bool {
    !in_user_namespace && rustix::process::geteuid().is_root()
}

/// The device rules as systemd is told of them, if the spec has any.
fn device_rules(resources: &Resources<'_>) -> Result<Option<Vec<bpf::DeviceRule>>> {
    match resources.devices.is_empty() {
        true => Ok(None),
        false => devices::rules(&resources.devices).map(Some),
    }
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
                cgroup.path = format!("{path}{}", clean(given, "--cgroup")?);
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
                let below = format!("{path}{}", clean(name, "--cgroup")?);
                cgroup.apart.push((controller.to_owned(), below));
            }
        }
        cgroup.directory = birthplace(cgroups, &cgroup.path)?;
        Ok(cgroup)
    }

    /// Makes the cgroup and sets its limits. On failure nothing of it is left, and a cgroup of others that was
    /// in the way is as it was.
    ///
    /// `None`: whoever is not the host's root may not make one, and has not asked for a limit either.
    pub fn make(host: &'h Host, path: &str, resources: &Resources<'_>) -> Result<Option<Self>> {
        let limits = limits(&host.cgroups, resources, &Current(None)).map_err(of_config)?;
        let mut made = Vec::new();
        match Self::build(host, path, &limits, &mut made) {
            Ok(cgroup) => Ok(Some(cgroup)),
            Err(error) if made.is_empty() && error.is_denied() && !host.is_root() => {
                match limits.first() {
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
    pub fn of_scope(host: &'h Host, path: &str) -> Result<Self> {
        let mut made = Vec::new();
        match &host.cgroups {
            Cgroups::V2 => {
                let directory = join(CGROUPS, path);
                if rustix::fs::access(directory.as_str(), Access::EXISTS).is_ok() {
                    check_usable(&directory)?;
                }
                Ok(Self {
                    cgroups: &host.cgroups,
                    path: path.to_owned(),
                    apart: Vec::new(),
                    directory: None,
                })
            }
            Cgroups::V1(_) => Self::build(host, path, &[], &mut made).inspect_err(|_| {
                for directory in &made {
                    let _ = remove_directory(directory);
                }
            }),
        }
    }

    /// Has systemd make the scope with this process in it.
    pub fn start_scope(
        &self,
        unit: &systemd::Unit,
        pid: i32,
        resources: &Resources<'_>,
    ) -> Result<()> {
        let limits = limits(self.cgroups, resources, &Current(None)).map_err(of_config)?;
        let devices = device_rules(resources).map_err(of_config)?;
        unit.start(pid, &limits, devices.as_deref())
    }

    /// What systemd leaves to us once the scope is there: limits that it has no word for, the other hierarchies of v1,
    /// the device rules.
    pub fn settle(
        &self,
        host: &Host,
        pid: i32,
        resources: &Resources<'_>,
        owner: Option<u32>,
    ) -> Result<()> {
        let limits = limits(self.cgroups, resources, &Current(None)).map_err(of_config)?;
        match self.cgroups {
            Cgroups::V2 => v2::limit(&self.path, &limits)?,
            Cgroups::V1(hierarchies) => {
                self.join(pid)?;
                v1::limit(hierarchies, &self.path, &limits)?;
            }
        }
        let there = Self::existing(self.cgroups, &self.path, &[])?;
        if let Some(owner) = owner {
            there.delegate(owner)?;
        }
        there.filter_devices(host, resources)
    }

    /// `made` gets the directories that are ours.
    fn build(host: &'h Host, path: &str, limits: &[Limit], made: &mut Vec<String>) -> Result<Self> {
        match &host.cgroups {
            Cgroups::V2 => v2::make(path, limits, made)?,
            Cgroups::V1(hierarchies) => v1::make(hierarchies, path, limits, made)?,
        }
        let directory = birthplace(&host.cgroups, path)?;
        Ok(Self {
            cgroups: &host.cgroups,
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
    pub fn filter_devices(&self, host: &Host, resources: &Resources<'_>) -> Result<()> {
        if resources.devices.is_empty() || !can_filter_devices(host.in_user_namespace) {
            return Ok(());
        }
        match (self.cgroups, &self.directory) {
            (Cgroups::V1(hierarchies), _) => v1::filter_devices(hierarchies, &self.path, resources),
            (_, Some(directory)) => v2::filter_devices(directory.as_fd(), resources),
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
    let limits = limits(cgroups, resources, &Current(Some(&read)))?;
    if *cgroups == Cgroups::V2 {
        v2::enable(path, &limits)?;
    }
    let undo = limit::replace(&limits, directory)?;
    // systemd rounds what it sets: ours is written again behind it.
    if let Some((manager, name)) = unit {
        let devices = device_rules(resources)?;
        manager
            .update(name, &limits, &Current(Some(&read)), devices.as_deref())
            .and_then(|()| limit::write(&limits, directory))
            .inspect_err(|_| undo.undo())?;
    }
    if resources.devices.is_empty() || !can_filter_devices(host::in_user_namespace()?) {
        return Ok(());
    }
    let devices = match cgroups {
        Cgroups::V2 => v2::replace_devices(path, resources),
        Cgroups::V1(hierarchies) => v1::replace_devices(hierarchies, path, resources),
    };
    devices.inspect_err(|_| undo.undo())
}

/// How many seconds a cgroup may take to freeze or thaw.
const PATIENCE: u32 = 10;

/// Stops every process of the cgroup where it is, or lets them go on; back when that is so.
pub fn freeze(cgroups: &Cgroups, path: &str, frozen: bool) -> Result<()> {
    match cgroups {
        Cgroups::V2 => v2::freeze(path, frozen),
        Cgroups::V1(hierarchies) => v1::freeze(hierarchies, path, frozen),
    }
}

pub fn is_frozen(cgroups: &Cgroups, path: &str) -> bool {
    match cgroups {
        Cgroups::V2 => v2::is_frozen(path),
        Cgroups::V1(hierarchies) => v1::is_frozen(hierarchies, path),
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

/// A cgroup that exists is taken when nobody is in it and it is not frozen, as runc does.
fn check_usable(directory: &str) -> Result<()> {
    let procs = crate::files::read(CWD, join(directory, "cgroup.procs").as_str())?;
    if !procs.is_empty() {
        fail!(
            "the container's cgroup is not empty: another one may use the same linux.cgroupsPath ({directory})"
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
    directories(cgroups, path)
        .iter()
        .try_for_each(|directory| remove_directory(directory))
}

const TRIES: u32 = 200;

fn remove_directory(directory: &str) -> Result<()> {
    for attempt in 0..TRIES {
        match rustix::fs::unlinkat(CWD, directory, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::BUSY | Errno::NOTEMPTY) => {
                // Cgroups that the container made below its own go first.
                for below in subdirectories(directory) {
                    remove_directory(&below)?;
                }
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
    fail!(
        "cannot remove the cgroup {directory}: processes {} are still in it",
        members(directory).join(", ")
    )
}

fn pause(nanoseconds: i64) {
    let _ = rustix::thread::nanosleep(&rustix::time::Timespec {
        tv_sec: 0,
        tv_nsec: nanoseconds,
    });
}

fn subdirectories(directory: &str) -> Vec<String> {
    let mut found = Vec::new();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = rustix::fs::openat(CWD, directory, flags, Mode::empty()) else {
        return found;
    };
    let mut buffer = Vec::with_capacity(4096);
    let mut entries = rustix::fs::RawDir::new(dir, buffer.spare_capacity_mut());
    while let Some(Ok(entry)) = entries.next() {
        if entry.file_type() == rustix::fs::FileType::Directory
            && let Ok(name) = entry.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            found.push(join(directory, name));
        }
    }
    found
}

fn members(directory: &str) -> Vec<String> {
    let procs =
        crate::files::read(CWD, join(directory, "cgroup.procs").as_str()).unwrap_or_default();
    String::from_utf8_lossy(&procs)
        .lines()
        .map(str::to_owned)
        .collect()
}

/// The processes in the cgroup and in those below it, once each.
pub fn processes(cgroups: &Cgroups, path: &str) -> Vec<i32> {
    let Some(directory) = directories(cgroups, path).into_iter().next() else {
        return Vec::new();
    };
    let (mut pids, mut todo) = (Vec::new(), Vec::from([directory]));
    while let Some(directory) = todo.pop() {
        pids.extend(
            members(&directory)
                .iter()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
        todo.extend(subdirectories(&directory));
    }
    pids
}

/// Sends SIGKILL to everything in the cgroup: at once where the kernel can (cgroup.kill, 5.14).
pub fn kill(cgroups: &Cgroups, path: &str) {
    use syscalls::calls::SIGKILL;
    let hierarchies = match cgroups {
        Cgroups::V2 => {
            let file = join(&join(CGROUPS, path), "cgroup.kill");
            let _ = crate::files::write(CWD, file.as_str(), b"1");
            return;
        }
        Cgroups::V1(hierarchies) => hierarchies,
    };
    let mut pids = processes(cgroups, path);
    if pids.len() > 1 {
        // Frozen, none of them can fork away from us meanwhile.
        let _ = v1::freeze(hierarchies, path, true);
        pids = processes(cgroups, path);
    }
    for pid in &pids {
        let _ = syscalls::calls::kill(*pid, SIGKILL);
    }
    if !pids.is_empty() {
        v1::thaw(hierarchies, path);
    }
}

/// The `pids` limit of the spec: negative is no limit, and 0 allows no fork.
fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        // A cgroup of no process at all could not be born into; one of one process cannot fork.
        0 => "1".to_owned(),
        n => format!("{n}"),
    }
}

fn cpuset(cpu: &Cpu<'_>, limits: &mut Vec<Limit>) {
    limit::texts(
        limits,
        &[
            ("cpuset.cpus", cpu.cpus.as_deref(), "cpu.cpus"),
            ("cpuset.mems", cpu.mems.as_deref(), "cpu.mems"),
        ],
    );
}

/// Huge pages by their size; the files that count reservations came later and may be missing.
fn hugepages(resources: &Resources<'_>, files: [&str; 2], limits: &mut Vec<Limit>) -> Result<()> {
    for (n, page) in resources.hugepage_limits.iter().enumerate() {
        let field = format!("hugepageLimits[{n}]");
        let size = &page.page_size;
        let digits = size.trim_end_matches("KB").trim_end_matches("MB");
        let digits = digits.trim_end_matches("GB");
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number || digits.len() + 2 != size.len() || digits.starts_with('0') {
            fail!("{field}.pageSize: expected a size such as 2MB, found {size:?}");
        }
        let [now, reserved] = files.map(|file| format!("hugetlb.{size}.{file}"));
        let (field, value) = (Cow::from(field), page.limit.to_string());
        limits.push(Limit::of(now.into(), value.clone(), field.clone()));
        limits.push(Limit::of(reserved.into(), value, field).or_ignored());
    }
    Ok(())
}

fn rdma(resources: &Resources<'_>, limits: &mut Vec<Limit>) -> Result<()> {
    for (device, limit) in &resources.rdma {
        let field = format!("rdma[{device:?}]");
        if device.is_empty() || device.contains(char::is_whitespace) {
            fail!("{field}: expected the name of a device");
        }
        let mut value = device.as_ref().to_owned();
        for (name, n) in [
            ("hca_handle", limit.hca_handles),
            ("hca_object", limit.hca_objects),
        ] {
            if let Some(n) = n {
                value += &format!(" {name}={n}");
            }
        }
        if value.len() == device.len() {
            fail!("{field}: needs hcaHandles or hcaObjects");
        }
        limits.push(Limit::of("rdma.max".into(), value, field.into()).keyed());
    }
    Ok(())
}

/// A weight of blockIO; 0 is none.
fn io_weight(weight: Option<u16>, field: &str) -> Result<Option<u16>> {
    match weight {
        None | Some(0) => Ok(None),
        Some(weight @ 10..=1000) => Ok(Some(weight)),
        Some(weight) => fail!("{field}: expected a number from 10 to 1000, found {weight}"),
    }
}

/// `MAJOR:MINOR` of a block device.
fn device_number(major: i64, minor: i64, field: &str) -> Result<String> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
        _ => fail!("{field}: expected the numbers of a device, found {major}:{minor}"),
    }
}
