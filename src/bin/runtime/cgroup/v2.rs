//! cgroup v2: one directory, with every controller enabled, into which processes are cloned. Source:
//! Documentation/admin-guide/cgroup-v2.rst of the kernel.

use crate::files;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{Error, Result, fail};
use runtime::facts::{CGROUPS, join};
use runtime::limits::{Limit, of_config};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Access, CWD, Mode, OFlags};
use rustix::io::Errno;
use syscalls::calls;

/// Sets the limits of a new cgroup.
pub fn limit(path: &str, limits: &[Limit]) -> Result<()> {
    let directory = join(CGROUPS, path);
    enable(path, limits)
        .and_then(|()| super::write::write(limits, |_| Ok(directory.clone())))
        .map_err(of_config)
}

/// Enables every available controller from the root down to the parent of the cgroup. Tools that read a container's
/// usage, and cgroup managers inside of it, need the files of controllers without limits, too. Only the controllers
/// that the limits need are required.
pub fn enable(path: &str, limits: &[Limit]) -> Result<()> {
    let words = |file: &str| -> Result<Vec<String>> {
        let text = files::read(CWD, file)?;
        let text = String::from_utf8_lossy(&text);
        Ok(text.split_whitespace().map(ToOwned::to_owned).collect())
    };
    let needed = |controller: &str| limits.iter().find(|l| l.controller() == controller);
    let mut wanted = words(&join(CGROUPS, "cgroup.controllers"))?;
    for controller in limits.iter().map(Limit::controller) {
        if controller != "cgroup" && !wanted.iter().any(|w| w == controller) {
            wanted.push(controller.to_owned());
        }
    }
    let lacks = |file: &str| -> Result<Vec<&String>> {
        let there = words(file)?;
        Ok(wanted.iter().filter(|c| !there.contains(c)).collect())
    };
    let directory = join(CGROUPS, path);
    let is_there = |limit: &Limit| {
        rustix::fs::access(join(&directory, &limit.file).as_str(), Access::EXISTS).is_ok()
    };
    // On most hosts the controllers are enabled already, so every start checks this first. The files are checked
    // last, because while another process enables controllers, the kernel lists some whose files do not exist yet.
    if lacks(&join(&directory, "cgroup.controllers"))?.is_empty() && limits.iter().all(is_there) {
        return Ok(());
    }
    let mut at = CGROUPS.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let file = join(&at, "cgroup.subtree_control");
        let lacking = lacks(&file)?;
        let may = may_hand_down(&at);
        // A required controller is written even if it is listed: the write waits for a process that is enabling it.
        let asked = |c: &&String| needed(c).is_some() || may && lacking.contains(c);
        let asked: Vec<&String> = wanted.iter().filter(asked).collect();
        let enable = |controllers: &[&String]| {
            let line: String = controllers.iter().map(|c| format!("+{c} ")).collect();
            files::write(CWD, file.as_str(), line.as_bytes())
        };
        // One write enables all, because the kernel visits the whole subtree for each write.
        if !asked.is_empty() && enable(&asked).is_err() {
            for controller in asked {
                if let (Err(errno), Some(limit)) = (enable(&[controller]), needed(controller))
                    && lacking.contains(&controller)
                {
                    return Err(cannot_enable(controller, &limit.field, &at, errno));
                }
            }
        }
        at = join(&at, name);
    }
    Ok(())
}

/// Whether a cgroup may enable controllers that no limit needs. If it contains processes, enabling turns its children
/// into threaded cgroups, which accept no processes. The root cgroup, which has no type, may.
fn may_hand_down(directory: &str) -> bool {
    let read = |file| files::read(CWD, join(directory, file).as_str());
    read("cgroup.procs").is_ok_and(|processes| processes.is_empty()) || read("cgroup.type").is_err()
}

fn cannot_enable(controller: &str, field: &str, at: &str, errno: Errno) -> Error {
    let what = format!("{field}: cannot enable the cgroup controller {controller} in {at}");
    match errno {
        // This host lacks the controller, or every kernel does.
        Errno::NOENT | Errno::INVAL => {
            Error::new(format!("{what}: this host has no such controller"))
        }
        Errno::BUSY => Error::new(format!(
            "{what}: it has processes of its own, so it cannot enable controllers for its children"
        )),
        Errno::OPNOTSUPP => Error::new(format!("{what}: it is {}", kind(at))),
        _ => Error::from_errno(what, errno),
    }
}

pub fn refusal(path: &str) -> Option<Error> {
    let directory = join(CGROUPS, path);
    let what = format!("no process can be in the cgroup {directory}");
    let kind = kind(&directory);
    (!kind.contains("\"domain\"")).then(|| Error::new(format!("{what}: it is {kind}")))
}

/// The content of cgroup.type, for errors.
fn kind(directory: &str) -> String {
    let kind = files::read(CWD, join(directory, "cgroup.type").as_str()).unwrap_or_default();
    let kind = String::from_utf8_lossy(&kind).trim().to_owned();
    format!("of type {kind:?}, where only threads may be limited")
}

/// The name that distinguishes our program from those that others attach.
const PROGRAM: [u8; 16] = *b"runtime_devices\0";

/// Attaches a device program (`BPF_CGROUP_DEVICE`), replacing `old` if given.
pub fn attach_devices(
    directory: BorrowedFd<'_>,
    program: &[u64],
    old: Option<BorrowedFd<'_>>,
) -> Result<()> {
    calls::bpf_load_device_program(program, &PROGRAM)
        .and_then(|program| calls::bpf_attach_device_program(directory, program.as_fd(), old))
        .map_err(|errno| Error::from_errno("devices: cannot attach the rules (bpf)", errno))
}

/// Replaces our device rules atomically. If all programs of the cgroup belong to others, they have taken over its
/// devices (as device vendors do), and nothing is changed.
pub fn replace_devices(path: &str, rules: &[u64]) -> Result<()> {
    let directory = open(path)?;
    let mut ids = [0; 64];
    let found = calls::bpf_query_device_programs(directory.as_fd(), &mut ids)
        .map_err(|errno| Error::from_errno("devices: cannot query the rules (bpf)", errno))?;
    for id in &ids[..found] {
        if let Ok(program) = calls::bpf_program_by_id(*id)
            && calls::bpf_program_name(program.as_fd()) == Ok(PROGRAM)
        {
            return attach_devices(directory.as_fd(), rules, Some(program.as_fd()));
        }
    }
    match found {
        0 => attach_devices(directory.as_fd(), rules, None),
        _ => Ok(()),
    }
}

pub fn open(path: &str) -> Result<OwnedFd> {
    super::open(&join(CGROUPS, path))
}

/// Makes the user who runs the container the owner of the cgroup (config-linux.md, Cgroup ownership).
pub fn delegate(path: &str, owner: u32) -> Result<()> {
    let directory = join(CGROUPS, path);
    let chown = |at: &str| rustix::fs::chown(at, Some(rustix::process::Uid::from_raw(owner)), None);
    let failed = |at: &str, errno| {
        Error::from_errno(format!("cannot give the cgroup {at} to uid {owner}"), errno)
    };
    chown(&directory).map_err(|errno| failed(&directory, errno))?;
    let list = files::read(CWD, "/sys/kernel/cgroup/delegate")
        .unwrap_or_else(|_| b"cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n".into());
    for file in String::from_utf8_lossy(&list).lines() {
        match chown(&join(&directory, file)) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(failed(file, errno)),
        }
    }
    Ok(())
}

pub fn is_frozen(path: &str) -> Result<bool> {
    let text = files::read(CWD, join(&join(CGROUPS, path), "cgroup.freeze").as_str())?;
    Ok(text.starts_with(b"1"))
}

/// Asks the kernel to freeze or thaw, and does not wait.
fn set_frozen(path: &str, frozen: bool) -> Result<()> {
    let file = join(&join(CGROUPS, path), "cgroup.freeze");
    let value: &[u8] = if frozen { b"1" } else { b"0" };
    files::write(CWD, file.as_str(), value)
        .map_err(|errno| Error::from_errno(format!("cannot write {file}"), errno))
}

/// Freezes or thaws, and waits until the kernel reports that it is done.
pub fn freeze(path: &str, frozen: bool, check: super::Check<'_>) -> Result<()> {
    let events = join(&join(CGROUPS, path), "cgroup.events");
    set_frozen(path, frozen)?;
    let wanted = if frozen { "frozen 1" } else { "frozen 0" };
    let what = |errno| Error::from_errno(format!("cannot watch {events}"), errno);
    let watched = rustix::fs::openat(
        CWD,
        events.as_str(),
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(what)?;
    let mut left = super::PATIENCE;
    loop {
        let mut text = [0; 256];
        let n = rustix::io::pread(&watched, &mut text[..], 0).map_err(what)?;
        if String::from_utf8_lossy(&text[..n]).contains(wanted) {
            return Ok(());
        }
        if left == 0 {
            fail!(
                "timed out after {} s waiting for {events} to report {wanted:?}",
                super::PATIENCE
            );
        }
        check()?;
        // The kernel wakes poll at each change of the file. The second is only an upper bound.
        left -= 1;
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let mut fds = [PollFd::new(&watched, PollFlags::PRI)];
        let _ = rustix::event::poll(&mut fds, Some(&second));
    }
}
