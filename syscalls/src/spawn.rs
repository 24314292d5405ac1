//! One clone: the child is born in its namespaces and its cgroup and walks its steps. Where it joins
//! namespaces that exist, a middle process enters them first and leaves the child to us (CLONE_PARENT).

use crate::calls::{self, Clone, Cloned};
use crate::report::{At, Call, Fault, Kind, Report, Text};
use crate::slots::{Slot, Slots};
use crate::step::Step;
use crate::walk::{close_all_but, hide, stay_closed, walk};
use core::ffi::CStr;
use linux_raw_sys::general::{CLONE_NEWCGROUP, CLONE_PARENT, SIGCHLD};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open};
use rustix::thread::UnshareFlags;

/// A namespace to join: a descriptor of it and what it must be, as `CLONE_NEW*`; or a pidfd and all the kinds
/// that are joined at once (setns(2)).
#[derive(Clone, Copy)]
pub struct Join<'a> {
    pub slot: Slot,
    pub kind: u32,
    /// Its type in the spec and its path, for messages.
    pub name: &'static str,
    pub path: &'a CStr,
}

/// How the child is born.
pub struct Spawn<'a> {
    /// `CLONE_NEW*` of the namespaces that are made with the child.
    pub namespaces: u64,
    /// Those it joins, in this order.
    pub joins: &'a [Join<'a>],
    /// A new time namespace with these offsets (the text of /proc/PID/timens_offsets). It begins with
    /// the children of the process that makes it, so a middle process makes it.
    pub time: Option<&'a CStr>,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<Slot>,
    pub steps: &'a [Step<'a>],
    pub among: Option<Among<'a>>,
}

/// Of a child that is born among the processes of a container that runs, and joins its namespaces: they may look into it from
/// its first moment, so that it has no descriptor of ours from the start but those its steps use.
pub struct Among<'a> {
    /// How many descriptors from 3 on are meant for it.
    pub preserve: u32,
    /// The cgroup may be frozen. A signal on this ends the waiting.
    pub stop: BorrowedFd<'a>,
}

/// A child that walks, and the parent's end of its channel.
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub channel: OwnedFd,
}

/// Why there is no child.
pub enum Unborn<'a> {
    /// A call of ours failed.
    Call(Fault),
    /// A namespace could not be joined.
    Join(&'a Join<'a>, Errno),
    /// The time namespace could not be made.
    Time(Errno),
    /// This signal has asked us to stop.
    Stopped(i32),
}

impl From<Fault> for Unborn<'_> {
    fn from(fault: Fault) -> Self {
        Unborn::Call(fault)
    }
}

/// Starts the child. All signals should be blocked, so that none is lost and none reaches a half-made
/// child; it unblocks them before its exec.
pub fn spawn<'a>(plan: &Spawn<'a>, slots: &Slots<'_>) -> Result<Spawned, Unborn<'a>> {
    let (ours, theirs) = channel()?;
    let clone = Clone {
        flags: plan.namespaces,
        exit_signal: u64::from(SIGCHLD),
        cgroup: match plan.cgroup {
            Some(slot) => Some(slots.get(slot).at(Call::clone3)?.as_raw_fd()),
            None => None,
        },
    };
    if !plan.joins.is_empty() || plan.time.is_some() {
        return spawn_by_middle(plan, clone, slots, ours, theirs);
    }
    match calls::clone3(clone).at(Call::clone3)? {
        Cloned::Child => {
            drop(ours);
            walk(plan.steps, slots, theirs)
        }
        Cloned::Parent(pid, pidfd) => Ok(Spawned {
            pid,
            pidfd,
            channel: ours,
        }),
    }
}

fn channel() -> Result<(OwnedFd, OwnedFd), Fault> {
    rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .at(Call::socket)
}

/// Steps as the middle process reports them: the time namespace, then the joins, then the clone.
const TIME: u16 = u16::MAX;
const CLONE: u16 = u16::MAX - 1;

fn spawn_by_middle<'a>(
    plan: &Spawn<'a>,
    clone: Clone,
    slots: &Slots<'_>,
    ours: OwnedFd,
    theirs: OwnedFd,
) -> Result<Spawned, Unborn<'a>> {
    // It reports on a channel of its own: the child may be quicker on the other.
    let (told, tell) = channel()?;
    // Where it joins a cgroup namespace it is born in the cgroup, and the child after it: from inside one, a mount with
    // `nsdelegate` lets nobody in. Likewise where the child may not have a descriptor of the cgroup.
    let is_cgroup = |join: &Join<'_>| join.kind & CLONE_NEWCGROUP != 0;
    let (early, late) = match plan.among.is_some() || plan.joins.iter().any(is_cgroup) {
        true => (clone.cgroup, None),
        false => (None, clone.cgroup),
    };
    let clone = Clone {
        cgroup: late,
        ..clone
    };
    let middle = Clone {
        flags: 0,
        exit_signal: u64::from(SIGCHLD),
        cgroup: early,
    };
    let pidfd = match calls::clone3(middle).at(Call::clone3)? {
        Cloned::Child => {
            drop((ours, told));
            middle_process(plan, clone, slots, theirs, tell)
        }
        Cloned::Parent(_, pidfd) => pidfd,
    };
    wait_for_middle(plan, pidfd.as_fd());
    drop((theirs, tell));
    // It has said all it had to say; if it died instead, only the child holds the other end.
    rustix::io::ioctl_fionbio(&told, true).at(Call::recv)?;
    let mut text = Text::new();
    let report = Report::recv(told.as_fd(), &mut text).at(Call::recv)?;
    let Some(report) = report else {
        if let Some(signal) = (plan.among.as_ref()).and_then(|among| calls::next_signal(among.stop))
        {
            return Err(Unborn::Stopped(signal));
        }
        return Err(Fault {
            call: Call::clone3,
            errno: Errno::CHILD,
        }
        .into());
    };
    if report.kind == Kind::Born {
        // It is our child, so its number is nobody else's.
        let pidfd = Pid::from_raw(report.errno).ok_or(Errno::BADMSG);
        let pidfd = pidfd.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        return Ok(Spawned {
            pid: report.errno,
            pidfd: pidfd.at(Call::pidfd_open)?,
            channel: ours,
        });
    }
    let errno = Errno::from_raw_os_error(report.errno);
    match report.step {
        TIME => Err(Unborn::Time(errno)),
        CLONE => Err(Fault {
            call: Call::clone3,
            errno,
        }
        .into()),
        n => match plan.joins.get(usize::from(n)) {
            Some(join) => Err(Unborn::Join(join, errno)),
            None => Err(Fault {
                call: report.call,
                errno,
            }
            .into()),
        },
    }
}

/// Waits for the end of the middle process, or ends it when a signal asks us to stop: its cgroup may be frozen.
fn wait_for_middle(plan: &Spawn<'_>, pidfd: BorrowedFd<'_>) {
    if let Some(among) = &plan.among {
        let mut fds = [pidfd, among.stop].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let _ = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None));
        if fds[0].revents().is_empty() {
            let _ = calls::pidfd_send_signal(pidfd, calls::SIGKILL);
        }
    }
    let wait = || rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
    while let Err(Errno::INTR) = wait() {}
}

fn middle_process(
    plan: &Spawn<'_>,
    clone: Clone,
    slots: &Slots<'_>,
    theirs: OwnedFd,
    tell: OwnedFd,
) -> ! {
    hide();
    let fail = |step: u16, errno: Errno| -> ! {
        let report = Report {
            kind: Kind::Failed,
            call: Call::setns,
            step,
            errno: errno.raw_os_error(),
        };
        let _ = report.send(tell.as_fd(), b"");
        calls::exit(1)
    };
    if let Some(offsets) = plan.time
        && let Err(errno) = time_namespace(offsets)
    {
        fail(TIME, errno);
    }
    for (n, join) in plan.joins.iter().enumerate() {
        if let Err(errno) = slots.get(join.slot).and_then(|fd| setns(fd, join.kind)) {
            fail(n as u16, errno);
        }
    }
    let _ = stay_closed();
    if let Some(among) = &plan.among {
        let used = |slot| plan.cgroup != Some(slot) && plan.joins.iter().all(|j| j.slot != slot);
        let ours = [theirs.as_raw_fd(), tell.as_raw_fd()].into_iter();
        // SAFETY: neither this process nor the child returns to whoever owns the rest, and no step uses another slot.
        let closed = unsafe { close_all_but(ours.chain(slots.held(used)), among.preserve) };
        if let Err(fault) = closed {
            fail(CLONE, fault.errno);
        }
    }
    // The child is our parent's: it gets our parent's exit signal, and its end.
    let clone = Clone {
        flags: clone.flags | u64::from(CLONE_PARENT),
        exit_signal: 0,
        ..clone
    };
    match calls::clone3(clone) {
        Ok(Cloned::Child) => walk(plan.steps, slots, theirs),
        Ok(Cloned::Parent(pid, _)) => {
            let report = Report {
                kind: Kind::Born,
                call: Call::none,
                step: 0,
                errno: pid,
            };
            let _ = report.send(tell.as_fd(), b"");
            calls::exit(0)
        }
        Err(errno) => fail(CLONE, errno),
    }
}

fn time_namespace(offsets: &CStr) -> rustix::io::Result<()> {
    use rustix::fs::{Mode, OFlags};
    calls::unshare(UnshareFlags::NEWTIME)?;
    if offsets.is_empty() {
        return Ok(());
    }
    let file = rustix::fs::open(
        c"/proc/self/timens_offsets",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    rustix::io::write(&file, offsets.to_bytes()).map(drop)
}

fn setns(fd: BorrowedFd<'_>, kinds: u32) -> rustix::io::Result<()> {
    use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
    move_into_thread_name_spaces(fd, ThreadNameSpaceType::from_bits_retain(kinds))
}
