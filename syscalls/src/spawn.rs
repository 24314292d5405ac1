//! One clone: the child is born in its namespaces and its cgroup and walks its steps. Where it joins
//! namespaces that exist, a middle process enters them first and leaves the child to us (CLONE_PARENT).

use crate::calls::{self, Birth};
use crate::report::{At, Call, Fault, Kind, Report, Text};
use crate::slots::{Slot, Slots};
use crate::step::Steps;
use crate::walk::{stay_closed, walk};
use core::ffi::CStr;
use core::mem::ManuallyDrop;
use linux_raw_sys::general::{CLONE_FILES, CLONE_NEWCGROUP, CLONE_PARENT};
use rustix::fd::{AsFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{WaitId, WaitIdOptions};
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
    pub steps: Steps<'a>,
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
}

impl From<Fault> for Unborn<'_> {
    fn from(fault: Fault) -> Self {
        Unborn::Call(fault)
    }
}

/// Starts the child. All signals should be blocked, so that none is lost and none reaches a half-made
/// child; it unblocks them before its exec.
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

/// Steps as the middle process reports them: the time namespace, then the joins, then the clone.
const TIME: u16 = u16::MAX;
const CLONE: u16 = u16::MAX - 1;

fn spawn_by_middle<'a>(
    plan: &Spawn<'a>,
    birth: Birth<'_>,
    slots: &Slots,
) -> Result<Spawned, Unborn<'a>> {
    // It reports on a channel of its own: the child may be quicker on the other.
    let channels = (channel()?, channel()?);
    // It shares our descriptors, so that the pidfd it gets is ours; it opens nothing else that stays. Where it joins a
    // cgroup namespace it is born in the cgroup, and the child after it: from inside one, a mount with `nsdelegate`
    // lets nobody in.
    let is_cgroup = |join: &Join<'_>| join.kind & CLONE_NEWCGROUP != 0;
    let (early, late) = match plan.joins.iter().any(is_cgroup) {
        true => (birth.cgroup, None),
        false => (None, birth.cgroup),
    };
    // The child is our child: it gets our exit signal, and its end.
    let birth = Birth {
        flags: birth.flags | u64::from(CLONE_PARENT),
        cgroup: late,
    };
    let middle = Birth {
        flags: u64::from(CLONE_FILES),
        cgroup: early,
    };
    let middle_process = |(channel, report)| {
        let (channel, report) = (ManuallyDrop::new(channel), ManuallyDrop::new(report));
        middle_process(plan, birth, slots, channel, report)
    };
    // SAFETY: it drops nothing that it shares with us.
    let forked = unsafe { calls::fork_with_files(middle, channels, middle_process) };
    let (_, pidfd, (channel, report)) = forked.at(Call::clone3)?;
    while let Err(Errno::INTR) =
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    {}
    drop((channel.theirs, report.theirs));
    let told = report.ours;
    // It has said all it had to say; if it died instead, only the child holds the other end.
    rustix::io::ioctl_fionbio(&told, true).at(Call::recv)?;
    let mut text = Text::new();
    let report = Report::recv(told.as_fd(), &mut text).at(Call::recv)?;
    let Some(report) = report else {
        return Err(Fault {
            call: Call::clone3,
            errno: Errno::CHILD,
        }
        .into());
    };
    if report.kind == Kind::Born {
        let number = <[u8; 4]>::try_from(text.bytes()).map_err(|_| Fault {
            call: Call::recv,
            errno: Errno::BADMSG,
        })?;
        return Ok(Spawned {
            pid: report.errno,
            // SAFETY: the middle process made it in the table we share and gave it up.
            pidfd: unsafe { OwnedFd::from_raw_fd(i32::from_ne_bytes(number)) },
            channel: channel.ours,
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

fn middle_process(
    plan: &Spawn<'_>,
    birth: Birth<'_>,
    slots: &Slots,
    channel: ManuallyDrop<Channel>,
    report: ManuallyDrop<Channel>,
) -> ! {
    let tell = report.theirs.as_fd();
    let fail = |step: u16, errno: Errno| -> ! {
        let report = Report {
            kind: Kind::Failed,
            call: Call::setns,
            step,
            errno: errno.raw_os_error(),
        };
        let _ = report.send(tell, b"");
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
    let child = |channel| child(plan, slots, ManuallyDrop::into_inner(channel));
    match calls::fork(birth, channel, child) {
        Ok((pid, pidfd, _)) => {
            let report = Report {
                kind: Kind::Born,
                call: Call::none,
                step: 0,
                errno: pid,
            };
            let _ = report.send(tell, &pidfd.into_raw_fd().to_ne_bytes());
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
