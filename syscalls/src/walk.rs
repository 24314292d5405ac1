//! Runs in the child: walks the prepared steps in order, then executes the program. The child does not
//! allocate, choose or read the spec. A failing step sends one report; the end of the channel means success.

mod console;
mod copy_up;
mod devices;
mod identity;
mod last;
mod mounts;
mod paths;
mod procfs;
mod program;
mod root;
mod settings;

use crate::calls;
use crate::report::{At, Call, Fault, Kind, Report, Text};
use crate::slots::{Slot, Slots};
use crate::step::{Close, Hooks, Lossy, Open, Point, Program, Step, Steps};
use core::fmt::{self, Write};
use last::Last;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::UnshareFlags;

pub use last::CALLS_UNDER_A_FILTER;
pub use mounts::open_tree;
pub use paths::{Make, reach};

pub(crate) type Walked<T = ()> = Result<T, Fault>;

/// The state of the child while it sets up the container.
struct Child<'a> {
    slots: &'a Slots,
    /// The container's root, set by the step that attaches it.
    root: Option<OwnedFd>,
    reports: Reports,
}

/// The child's reports.
struct Reports {
    /// The channel to the parent. It becomes the connection to `start` once that arrives.
    channel: OwnedFd,
    /// The step being walked.
    step: u16,
    /// The path of a failed hook, a zero byte, and the beginning of its output.
    output: Text<512>,
}

/// Overwrites the command line of this process, which walks the steps or leads to the process that does.
pub(crate) fn hide() {
    // SAFETY: the plan holds copies of the strings it needs, and neither process returns to code that reads the
    // command line again.
    #[cfg(feature = "program")]
    unsafe {
        crate::entry::hide_command_line()
    }
}

/// Walks all steps in the child. The last step is the exec. A failure is reported and ends the process.
pub(crate) fn walk(steps: &Steps<'_>, slots: &Slots, channel: OwnedFd) -> ! {
    hide();
    #[cfg(feature = "program")]
    crate::heap::freeze();
    let reports = Reports {
        channel,
        step: 0,
        output: Text::new(),
    };
    let mut child = Child {
        slots,
        root: None,
        reports,
    };
    // Until the commit the child dies with its parent. If the parent has died already, the child sees the end
    // of the channel.
    let _ = die_with_parent();
    // Joining a user namespace may have made the process dumpable (fs.suid_dumpable).
    let _ = stay_closed();
    // The modes in the plan are final.
    rustix::process::umask(Mode::empty());
    for step in steps.first {
        if let Err(fault) = child.obey(step) {
            child.reports.fail(step, fault, None)
        }
        child.reports.step += 1;
    }
    child.close(&steps.close).walk(steps.last)
}

impl Reports {
    fn send(&self, kind: Kind, number: i32) -> Walked {
        let report = Report {
            kind,
            call: Call::none,
            step: self.step,
            errno: number,
        };
        report.send(self.channel.as_fd(), b"").at(Call::send)
    }

    /// Reports the failed step and ends the process.
    fn fail(&self, step: &dyn fmt::Display, fault: Fault, program: Option<&Program<'_>>) -> ! {
        let mut text = Text::<1016>::new();
        let _ = write!(text, "{step}");
        if !self.output.bytes().is_empty() {
            text.push(b"\0");
            text.push(self.output.bytes());
        }
        let report = Report {
            kind: Kind::Failed,
            call: fault.call,
            step: self.step,
            errno: fault.errno.raw_os_error(),
        };
        let _ = report.send(self.channel.as_fd(), text.bytes());
        // The failure is reported first. Finding the cause reads the file, which the filter may forbid.
        if let Some((call, detail)) = program.and_then(|program| program::refusal(program, fault)) {
            text.push(b"\0");
            text.push(detail.bytes());
            let _ = Report { call, ..report }.send(self.channel.as_fd(), text.bytes());
        }
        calls::exit(1)
    }

    /// The hooks start in `cwd`, if there is one.
    fn run_hooks(&mut self, hooks: &Hooks<'_>, cwd: Option<BorrowedFd<'_>>) -> Walked {
        // The pid in the container's pid namespace (runtime.md, State).
        let mut pid = Text::<16>::new();
        let _ = write!(pid, "{}", rustix::process::getpid().as_raw_nonzero());
        let [before, after] = hooks.state;
        for (n, hook) in hooks.hooks.iter().enumerate() {
            let mut output = Text::<400>::new();
            let state = [before, pid.bytes(), after];
            if let Err(fault) = crate::hook::run(hook, &state, cwd, None, &mut output) {
                let (kind, path) = (Lossy(hooks.kind), Lossy(hook.path));
                let _ = write!(self.output, "{kind} hook #{n}: {path}\0");
                self.output.push(output.bytes());
                return Err(fault);
            }
        }
        Ok(())
    }
}

impl<'a> Child<'a> {
    fn root(&self) -> Walked<BorrowedFd<'_>> {
        self.root
            .as_ref()
            .map(AsFd::as_fd)
            .ok_or(Errno::BADF)
            .at(Call::none)
    }

    fn slot(&self, slot: Slot) -> Walked<BorrowedFd<'_>> {
        self.slots.get(slot).at(Call::none)
    }

    fn obey(&mut self, step: &Step<'a>) -> Walked {
        match step {
            Step::Meet(point) => self.meet(*point),
            Step::Dumpable => dumpable(),
            Step::ContainerRoot => self.container_root(),
            Step::Set(setting) => settings::set(setting),
            Step::CgroupNamespace => unshare(UnshareFlags::NEWCGROUP),
            Step::Loopback => loopback(),
            Step::Open(slot, open) => self.open(*slot, open),
            Step::Root(path) => self.open_root(path),
            Step::Rootfs {
                tree,
                path,
                in_place,
            } => self.rootfs(*tree, path, *in_place),
            Step::RootIs(slot) => self.take_for_root(*slot),
            Step::Mount(mount) => self.mount(mount),
            Step::Bind(bind) => self.bind(bind),
            Step::Attributes(place, attributes) => self.attributes(place, *attributes),
            Step::Make(path, node) => self.make(path, node),
            Step::Write {
                procfs,
                path,
                value,
                ..
            } => self.write_procfs(*procfs, path, value),
            Step::Hooks(hooks) => {
                let root = self.root.as_ref().map(AsFd::as_fd);
                self.reports.run_hooks(hooks, root)
            }
            Step::Mask { path, null, empty } => self.mask(path, *null, *empty),
            Step::Readonly(path) => self.readonly(path),
            Step::Console(console) => self.console(console),
            Step::Stdio { uid } => console::own_stdio(self.root().ok(), *uid),
            Step::Pivot => self.pivot(),
            Step::MoveRoot { hidden, in_place } => self.move_root(hidden, *in_place),
            Step::Chroot => self.chroot(),
            Step::Home { entry, uid } => self.find_home(*uid, entry),
            Step::ListenPid(entry) => {
                let pid = rustix::process::getpid().as_raw_nonzero().get();
                let mut text = Text::<16>::new();
                let _ = write!(text, "{pid}");
                entry.set(text.as_str());
                Ok(())
            }
            Step::LookUp(program) => self.look_up(program),
            Step::WorkingDirectory(path) => self.working_directory(path),
        }
    }

    fn open(&self, slot: Slot, open: &Open<'_>) -> Walked {
        let opened = match open {
            Open::NullDevice => devices::null_device()?,
            Open::Procfs => procfs::private_procfs()?,
            Open::Tree { tree, in_root, .. } => {
                let root = in_root.then(|| self.root()).transpose()?;
                open_tree(tree, root)?
            }
        };
        self.slots.fill(slot, opened);
        Ok(())
    }

    /// Reports the meeting point and waits for the parent's byte. End-of-file means that the parent is gone,
    /// and ends the child.
    fn meet(&self, point: Point) -> Walked {
        self.reports.send(Kind::Meet, 0)?;
        if point == Point::Trees {
            return self.take_trees();
        }
        let mut byte = [0u8; 1];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.reports.channel, &mut byte[..]))
            .at(Call::recv)?
        {
            0 => calls::exit(1),
            _ if point == Point::Commit => {
                rustix::process::set_parent_process_death_signal(None).at(Call::prctl)
            }
            _ => Ok(()),
        }
    }

    /// Closes every slot. From here on the root is `/`.
    fn close(self, close: &Close) -> Last {
        let listener = self.close_all(close);
        match listener {
            Ok(listener) => {
                core::mem::forget(self.root);
                Last {
                    listener,
                    reports: self.reports,
                }
            }
            Err(fault) => self.reports.fail(close, fault, None),
        }
    }

    fn close_all(&self, close: &Close) -> Walked<Option<[OwnedFd; 2]>> {
        let number = |slot| self.slot(slot).map(|fd| fd.as_raw_fd());
        let listener = match close.listener {
            Some([socket, waiting]) => Some([number(socket)?, number(waiting)?]),
            None => None,
        };
        let [socket, waiting] = listener.unwrap_or([-1; 2]);
        let kept = [self.reports.channel.as_raw_fd(), socket, waiting];
        // SAFETY: the walk never returns to the owners of the slots and other descriptors, `Last` holds only
        // descriptors that are kept, and the root is forgotten.
        unsafe { close_all_but(kept.into_iter(), close.preserve) }?;
        // SAFETY: the slots are given up, so these two descriptors have no other owner.
        Ok(listener.map(|pair| pair.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })))
    }
}

/// Closes every descriptor from 3 + `preserve` on that is not in `kept`.
///
/// # Safety
/// The owners and borrowers of the closed descriptors must neither use nor drop them afterwards.
pub(crate) unsafe fn close_all_but(
    kept: impl Iterator<Item = RawFd> + Clone,
    preserve: u32,
) -> Walked {
    let mut from = 3 + preserve;
    let next = |from| {
        let kept = kept.clone().filter_map(|fd| u32::try_from(fd).ok());
        kept.filter(|fd| *fd >= from).min()
    };
    while let Some(fd) = next(from) {
        if from < fd {
            // SAFETY: the caller vouches for every descriptor that is not kept.
            unsafe { calls::close_range(from, fd - 1, 0) }.at(Call::close_range)?;
        }
        from = fd + 1;
    }
    // SAFETY: as above.
    unsafe { calls::close_range(from, u32::MAX, 0) }.at(Call::close_range)
}

/// Makes the process non-dumpable, so that only the host's root can inspect it. A change of user or of user
/// namespace can make it dumpable again (fs.suid_dumpable).
pub(crate) fn stay_closed() -> Walked {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Call::prctl)
}

/// Makes the process dumpable while the id mappings are written: procfs gives the files of a non-dumpable
/// process to root alone. Outside the container, only processes of the same user gain access, and they own this
/// process.
fn dumpable() -> Walked {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).at(Call::prctl)
}

/// A change of user clears the parent-death signal, so a step that changes the user before the commit sets it
/// again.
fn die_with_parent() -> Walked {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Call::prctl)
}

fn unshare(flags: UnshareFlags) -> Walked {
    calls::unshare(flags).at(Call::unshare)
}

fn loopback() -> Walked {
    use rustix::net::{AddressFamily, SocketType, socket_with};
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .at(Call::socket)?;
    calls::loopback_up(socket.as_fd()).at(Call::ioctl)
}
