//! cgroup v1: one directory per hierarchy, which processes join by writing their pid. Devices are lists of rules.
//! Source: Documentation/admin-guide/cgroup-v1 of the kernel.

use crate::files;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use runtime::error::{Error, Result, fail};
use runtime::facts::{Hierarchy, Location, join as path_in};
use runtime::limits::devices::{Line, difference};
use runtime::limits::{Limit, of_config};
use rustix::fs::CWD;

/// Initializes the cpuset of a new cgroup.
pub fn fill(hierarchy: &Hierarchy, place: &Location) -> Result<()> {
    if hierarchy.has("cpuset") {
        let directory = hierarchy.directory(place);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            fill_cpuset(&hierarchy.mountpoint, &directory, file)?;
        }
    }
    Ok(())
}

/// Sets the limits of a new cgroup.
pub fn limit(hierarchies: &[Hierarchy], place: &Location, limits: &[Limit]) -> Result<()> {
    super::write::write(limits, |controller| {
        directory(hierarchies, controller, place)
    })
    .map_err(of_config)
}

/// The cgroup's directory in the hierarchy of this controller.
pub fn directory(hierarchies: &[Hierarchy], controller: &str, place: &Location) -> Result<String> {
    match hierarchies.iter().find(|h| h.has(controller)) {
        Some(hierarchy) => Ok(hierarchy.directory(place)),
        None => fail!("the cgroup controller {controller} is needed and not mounted on this host"),
    }
}

/// Initializes an empty cpuset, which accepts no process, with the CPUs or memory nodes of its parent. Parents that
/// are empty, too, are initialized first. Returns the content of `file`.
fn fill_cpuset(mountpoint: &str, directory: &str, file: &str) -> Result<Vec<u8>> {
    let path = path_in(directory, file);
    let own = files::read(CWD, path.as_str())?;
    if directory == mountpoint || !own.trim_ascii().is_empty() {
        return Ok(own);
    }
    let value = fill_cpuset(mountpoint, super::parent(directory), file)?;
    files::write(CWD, path.as_str(), value.trim_ascii())
        .map_err(|errno| Error::from_errno(format!("cannot write {path}"), errno))?;
    Ok(value)
}

/// Writes the device rules, in order, to the lists of a cgroup.
pub fn write_devices(directory: &str, lines: &[Line]) -> Result<()> {
    for line in lines {
        let file = match line.allow {
            true => "devices.allow",
            false => "devices.deny",
        };
        let path = path_in(directory, file);
        files::write(CWD, path.as_str(), line.text.as_bytes()).map_err(|errno| {
            let what = format!("devices: cannot write {:?} to {path}", line.text);
            Error::from_errno(what, errno)
        })?;
    }
    Ok(())
}

/// Changes the lists to match new rules, without ever removing access that remains allowed.
pub fn replace_devices(directory: &str, lines: &[Line]) -> Result<()> {
    let now = files::read(CWD, path_in(directory, "devices.list").as_str())?;
    write_devices(
        directory,
        &difference(&String::from_utf8_lossy(&now), lines),
    )
}

/// Moves a process into the cgroup in each hierarchy.
pub fn join(hierarchies: &[Hierarchy], pid: i32, place: &Location) -> Result<()> {
    let pid = pid.to_string();
    for hierarchy in hierarchies.iter().filter(|h| !h.is_v2()) {
        let procs = path_in(&hierarchy.directory(place), "cgroup.procs");
        files::write(CWD, procs.as_str(), pid.as_bytes()).map_err(|errno| {
            Error::from_errno(format!("cannot join the cgroup: {procs}"), errno)
        })?;
    }
    Ok(())
}

/// Without a freezer nothing is frozen.
pub fn is_frozen(hierarchies: &[Hierarchy], place: &Location) -> Result<bool> {
    let Ok(directory) = directory(hierarchies, "freezer", place) else {
        return Ok(false);
    };
    let state = files::read(CWD, path_in(&directory, "freezer.state").as_str())?;
    Ok(!state.starts_with(b"THAWED"))
}

/// Thaws unconditionally, and does not wait.
pub fn thaw(hierarchies: &[Hierarchy], place: &Location) {
    if let Ok(directory) = directory(hierarchies, "freezer", place) {
        let _ = files::write(
            CWD,
            path_in(&directory, "freezer.state").as_str(),
            b"THAWED",
        );
    }
}

/// Freezes or thaws. If a process forks meanwhile, freezing takes several attempts: the kernel has to be asked again,
/// and does not notify anyone when it is done.
pub fn freeze(
    hierarchies: &[Hierarchy],
    place: &Location,
    frozen: bool,
    check: super::Check<'_>,
) -> Result<()> {
    let file = path_in(&directory(hierarchies, "freezer", place)?, "freezer.state");
    let wanted = if frozen { "FROZEN" } else { "THAWED" };
    let set = |state: &str| {
        files::write(CWD, file.as_str(), state.as_bytes())
            .map_err(|errno| Error::from_errno(format!("cannot write {file}"), errno))
    };
    for attempt in 0..1000 * super::PATIENCE {
        set(wanted)?;
        let mut state = [0; 16];
        let n = files::read_into(file.as_str(), &mut state)?;
        if state[..n].trim_ascii_end() == wanted.as_bytes() {
            return Ok(());
        }
        // Some tasks can be frozen only after the others have run for a moment.
        if frozen && attempt % 50 == 49 {
            set("THAWED")?;
        }
        check()?;
        super::sleep(1_000_000);
    }
    fail!(
        "timed out after {} s waiting for {file} to become {wanted}",
        super::PATIENCE
    )
}
