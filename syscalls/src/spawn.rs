//! Starts the child with one clone, in its namespaces and its cgroup; the child then walks its steps. To join
//! existing namespaces, a middle process enters them first and clones the child with CLONE_PARENT.

use crate::calls::{self, Birth};
use crate::report::{At, Call, Fault, Kind, Report, Text};
use crate::slots::{Slot, Slots};
use crate::step::Steps;
use crate::walk::{close_all_but, hide, stay_closed, walk};
use core::ffi::CStr;
use linux_raw_sys::general::{CLONE_NEWCGROUP, CLONE_PARENT};
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open};
use rustix::thread::UnshareFlags;

/// A namespace to join: its descriptor and its type (`CLONE_NEW*`). With a pidfd, `kind` holds all the types to
/// join at once (setns(2)).
#[derive(Clone, Copy)]
pub struct Join<'a> {
    pub slot: Slot,
    pub kind: u32,
    /// The type in the spec and the path, for messages.
    pub name: &'static str,
    pub path: &'a CStr,
}

/// The parameters of one clone.
pub struct Spawn<'a> {
    /// The new namespaces (`CLONE_NEW*`).
    pub namespaces: u64,
    /// The namespaces to join, in this order.
    pub joins: &'a [Join<'a>],
    /// The offsets of a new time namespace (the text of /proc/PID/timens_offsets). Only children of the process
    /// that creates a time namespace enter it, so a middle process creates it.
    pub time: Option<&'a CStr>,
    /// The cgroup v2 directory that the child is born in.
    pub cgroup: Option<Slot>,
    pub steps: Steps<'a>,
    pub among: Option<Among<'a>>,
}

/// Set for a child that joins the namespaces of a running container. The container's processes can inspect the
/// child from its first moment, so from the start it holds only the descriptors that its steps use.
pub struct Among<'a> {
    /// The number of descriptors, counted from 3, that the child keeps.
    pub preserve: u32,
    /// A signalfd. A signal ends the wait for a child whose cgroup is frozen.
    pub stop: BorrowedFd<'a>,
}

/// A running child, and the parent's end of its channel.
pub struct Spawned {
    pub pid: i32,
    pub pidfd: OwnedFd,
    pub channel: OwnedFd,
}

/// The cause of a failed spawn.
pub enum Unborn<'a> {
    /// A system call failed.
    Call(Fault),
    Join(&'a Join<'a>, Errno),
    Time(Errno),
    /// A signal asked this process to stop.
    Stopped(i32),
}

impl From<Fault> for Unborn<'_> {
    fn from(fault: Fault) -> Self {
        Unborn::Call(fault)
    }
}

/// Starts the child. The caller should block all signals, so that none is lost and none reaches a half-made
/// child. The child unblocks them before its exec.
pub fn spawn<'a>(plan: &Spawn<'a>, slots: &Slots) -> Result<Spawned, Unborn<'a>> {
    let cgroup = plan.cgroup.map(|slot| slots.get(slot)).transpose();
    let birth = Birth {
        flags: plan.namespaces,
        cgroup: cgroup.at(Call::clone3)?,
    };
    if !plan.joins.is_empty() || plan.time.is_some() {
        return spawn_by_middle(plan, birth, slots);
    }
    let child = |channel| child(plan, slots, channel);
    let (pid, pidfd, channel) = calls::fork(birth, channel()?, child).at(Call::clone3)?;
    Ok(Spawned {
        pid,
        pidfd,
        channel: channel.ours,
    })
}

fn child(plan: &Spawn<'_>, slots: &Slots, channel: Channel) -> ! {
    drop(channel.ours);
    walk(&plan.steps, slots, channel.theirs)
}

/// The two ends of a channel.
struct Channel {
    ours: OwnedFd,
    theirs: OwnedFd,
}

fn channel() -> Result<Channel, Fault> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .at(Call::socket)?;
    Ok(Channel { ours, theirs })
}

/// Step numbers in the reports of the middle process. A join has its index.
const TIME: u16 = u16::MAX;
const CLONE: u16 = u16::MAX - 1;

fn spawn_by_middle<'a>(
    plan: &Spawn<'a>,
    birth: Birth<'_>,
    slots: &Slots,
) -> Result<Spawned, Unborn<'a>> {
    // The middle process reports on its own channel, because the child may send a report first on the other.
    let channels = (channel()?, channel()?);
    // To join a cgroup namespace, the middle process is born in the cgroup and the child inherits it: inside a
    // cgroup namespace, a mount with `nsdelegate` refuses the migration. The same order is used if the child
    // must hold no descriptor of the cgroup.
    let is_cgroup = |join: &Join<'_>| join.kind & CLONE_NEWCGROUP != 0;
    let (early, late) = match plan.among.is_some() || plan.joins.iter().any(is_cgroup) {
        true => (birth.cgroup, None),
        false => (None, birth.cgroup),
    };
    // CLONE_PARENT makes the child ours, so this process can wait for it.
    let birth = Birth {
        flags: birth.flags | u64::from(CLONE_PARENT),
        cgroup: late,
    };
    let middle = Birth {
        flags: 0,
        cgroup: early,
    };
    let middle_process = |(channel, report): (Channel, Channel)| {
        drop((channel.ours, report.ours));
        middle_process(plan, birth, slots, channel.theirs, report.theirs)
    };
    let forked = calls::fork(middle, channels, middle_process);
    let (_, pidfd, (channel, report)) = forked.at(Call::clone3)?;
    wait_for_middle(plan, pidfd.as_fd());
    drop((channel.theirs, report.theirs));
    let told = report.ours;
    // The middle process has ended. If it sent no report, the child may still hold the other end, so the read
    // must not block.
    rustix::io::ioctl_fionbio(&told, true).at(Call::recv)?;
    let mut text = Text::new();
    let report = match Report::recv(told.as_fd(), &mut text) {
        Err(Errno::AGAIN) => None,
        report => report.at(Call::recv)?,
    };
    let Some(report) = report else {
        let stop = plan.among.as_ref().map(|among| among.stop);
        if let Some(signal) = stop.and_then(calls::next_signal) {
            return Err(Unborn::Stopped(signal));
        }
        return Err(Fault {
            call: Call::clone3,
            errno: Errno::CHILD,
        }
        .into());
    };
    if report.kind != Kind::Born {
        return Err(unborn(plan, &report));
    }
    // The pid cannot be reused before this process waits for the child.
    let pidfd = Pid::from_raw(report.errno).ok_or(Errno::BADMSG);
    let pidfd = pidfd.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    Ok(Spawned {
        pid: report.errno,
        pidfd: pidfd.at(Call::pidfd_open)?,
        channel: channel.ours,
    })
}

/// The error for a report of the middle process.
fn unborn<'a>(plan: &Spawn<'a>, report: &Report) -> Unborn<'a> {
    let errno = Errno::from_raw_os_error(report.errno);
    let join = plan.joins.get(usize::from(report.step));
    match (report.step, join) {
        (TIME, _) => Unborn::Time(errno),
        (CLONE, _) => Unborn::Call(Fault {
            call: Call::clone3,
            errno,
        }),
        (_, Some(join)) => Unborn::Join(join, errno),
        (_, None) => Unborn::Call(Fault {
            call: report.call,
            errno,
        }),
    }
}

/// Waits for the middle process. On a signal, kills it, since its cgroup may be frozen.
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
    birth: Birth<'_>,
    slots: &Slots,
    channel: OwnedFd,
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
            fail(u16::try_from(n).unwrap_or(CLONE), errno);
        }
    }
    let _ = stay_closed();
    if let Some(among) = &plan.among {
        let used = |slot| plan.cgroup != Some(slot) && plan.joins.iter().all(|j| j.slot != slot);
        let ours = [channel.as_raw_fd(), tell.as_raw_fd()].into_iter();
        // SAFETY: neither this process nor the child returns to the owner of any other descriptor, and no step
        // uses another slot.
        let closed = unsafe { close_all_but(ours.chain(slots.held(used)), among.preserve) };
        if let Err(fault) = closed {
            fail(CLONE, fault.errno);
        }
    }
    let child = |channel| walk(&plan.steps, slots, channel);
    match calls::fork(birth, channel, child) {
        Ok((pid, ..)) => {
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
