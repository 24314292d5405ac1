//! The frozen child: it walks the prepared steps in order and execs. It does not allocate, choose or
//! read the spec; a failing step becomes one report, and the end of the channel is the success.

mod console;
mod devices;
mod identity;
mod mounts;
mod paths;
mod program;

use crate::calls;
use crate::report::{At, Call, Fault, Kind, Report, Text};
use crate::slots::{Slot, Slots};
use crate::step::{Lossy, Point, Step};
use core::ffi::CStr;
use core::fmt::Write;
use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::UnshareFlags;

pub use mounts::open_tree;
pub use paths::{Make, reach};
pub(crate) use program::close_all_but;

pub(crate) type Walked<T = ()> = Result<T, Fault>;

/// What the child holds while it walks.
struct Child<'a> {
    slots: &'a Slots<'a>,
    /// The root of the container, from the step that attached it on.
    root: Option<OwnedFd>,
    /// Where reports go: to the parent, and from `Await` on to `start`.
    channel: OwnedFd,
    /// The step being walked.
    at: u16,
    /// The path of a hook that failed, a zero byte, and the beginning of its output.
    output: Text<512>,
}

/// Hides what our command line holds, in a process of its own that walks or leads to one that does.
pub(crate) fn hide() {
    // SAFETY: a plan holds copies of what it needs of the command line, and neither process returns to who reads more of it.
    #[cfg(feature = "program")]
    unsafe {
        crate::entry::hide_command_line()
    }
}

/// Walks all steps in the child; the last one is the exec. A failure is reported and ends the process.
pub(crate) fn walk(steps: &[Step<'_>], slots: &Slots<'_>, channel: OwnedFd) -> ! {
    hide();
    #[cfg(feature = "program")]
    crate::alloc::freeze();
    let mut child = Child {
        slots,
        root: None,
        channel,
        at: 0,
        output: Text::new(),
    };
    // Until the commit we die with our parent; the end of the channel tells of a parent that died earlier.
    let _ = die_with_parent();
    // Joining a user namespace may have undone it (fs.suid_dumpable).
    let _ = stay_closed();
    // Modes in the plan are meant as they stand.
    rustix::process::umask(Mode::empty());
    for (i, step) in steps.iter().enumerate() {
        child.at = i as u16;
        if let Err(fault) = child.obey(step) {
            let mut text = Text::<1016>::new();
            let _ = write!(text, "{step}");
            if !child.output.bytes().is_empty() {
                text.push(b"\0");
                text.push(child.output.bytes());
            }
            let report = Report {
                kind: Kind::Failed,
                call: fault.call,
                step: child.at,
                errno: fault.errno.raw_os_error(),
            };
            let _ = report.send(child.channel.as_fd(), text.bytes());
            // It has been said that it failed. Why takes a look at the file, which the filter may forbid.
            if let Step::Execute(program) = step
                && let Some((call, detail)) = program::refusal(&program.program, fault)
            {
                text.push(b"\0");
                text.push(detail.bytes());
                let _ = Report { call, ..report }.send(child.channel.as_fd(), text.bytes());
            }
            calls::exit(1)
        }
    }
    calls::exit(1)
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
            Step::Reachable => reachable(),
            Step::ContainerRoot => self.container_root(),
            Step::Session => rustix::process::setsid().map(drop).at(Call::setsid),
            Step::CgroupNamespace => unshare(UnshareFlags::NEWCGROUP),
            Step::Keyring(name) => match calls::keyctl_join_session_keyring(name) {
                // A kernel without keyrings, or a filter around us, which then keeps the process from them, too.
                Err(Errno::NOSYS | Errno::PERM) => Ok(()),
                joined => joined.at(Call::keyctl),
            },
            Step::Loopback => loopback(),
            Step::Hostname(name) => {
                rustix::system::sethostname(name.to_bytes()).at(Call::sethostname)
            }
            Step::Domainname(name) => {
                rustix::system::setdomainname(name.to_bytes()).at(Call::setdomainname)
            }
            Step::Propagation(flags) => mounts::propagation(*flags),
            Step::NullDevice(slot) => self.null_device(*slot),
            Step::Open {
                slot,
                tree,
                in_root,
                ..
            } => {
                let root = in_root.then(|| self.root()).transpose()?;
                open_tree(tree, root).map(|tree| self.slots.fill(*slot, tree))
            }
            Step::Root(path) => self.open_root(path),
            Step::Rootfs {
                tree,
                path,
                in_place,
            } => self.rootfs(*tree, path, *in_place),
            Step::Mount(mount) => self.mount(mount),
            Step::Bind(bind) => self.bind(bind),
            Step::Remount { target, attributes } => self.remount(target, *attributes),
            Step::Directory(path) => reach(self.root()?, path, Make::Directory).map(drop),
            Step::Device(device) => self.device(device),
            Step::Link { path, target } => self.link(path, target),
            Step::Procfs(slot) => self.procfs(*slot),
            Step::Sysctl {
                procfs,
                path,
                value,
            } => self.sysctl(*procfs, path, value),
            Step::Hooks { kind, hooks, state } => self.hooks(kind, hooks, *state),
            Step::Mask { path, null, empty } => self.mask(path, *null, *empty),
            Step::Readonly(path) => self.readonly(path),
            Step::ReadonlyMount { mount, .. } => mounts::readonly_mount(self.slot(*mount)?),
            Step::RootAttributes(attributes) => mounts::apply(self.root()?, *attributes),
            Step::Console {
                socket,
                name,
                size,
                uid,
                bind,
                relayed,
            } => self.console(*socket, name, *size, *uid, *bind, *relayed),
            Step::Stdio { uid } => console::own_stdio(self.root().ok(), *uid),
            Step::Pivot => self.pivot(),
            Step::MoveRoot { hidden, in_place } => self.move_root(hidden, *in_place),
            Step::Chroot => self.chroot(),
            Step::LookUp(program) => self.look_up(program),
            Step::Await {
                listener,
                waiting,
                preserve,
            } => self.wait_for_start(*listener, *waiting, *preserve),
            Step::Close { preserve, home } => self.close(*preserve, *home),
            Step::Limits(limits) => identity::limits(limits),
            Step::Personality(persona) => calls::personality(*persona).at(Call::personality),
            Step::Scheduler(attr) => calls::sched_setattr(attr).at(Call::sched_setattr),
            Step::IoPriority(priority) => calls::ioprio_set(*priority).at(Call::ioprio_set),
            Step::MemoryPolicy { mode, nodes } => {
                calls::set_mempolicy(*mode, nodes).at(Call::set_mempolicy)
            }
            Step::Label {
                procfs,
                path,
                value,
            } => self.label(*procfs, path, value),
            Step::NoNewPrivileges => rustix::thread::set_no_new_privs(true).at(Call::prctl),
            Step::Seccomp(filter) => self.load(filter),
            Step::Umask(mask) => {
                rustix::process::umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            Step::WorkingDirectory(path) => self.working_directory(path),
            Step::Become(identity) => identity::become_user(identity),
            Step::Execute(program) => self.execute(program),
        }
    }

    /// Says that it is here and waits for the parent's byte. A parent that is gone ends us.
    fn meet(&self, point: Point) -> Walked {
        self.report(Kind::Meet)?;
        if point == Point::Trees {
            return self.take_trees();
        }
        let mut byte = [0u8; 1];
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.channel, &mut byte[..]))
            .at(Call::recv)?
        {
            0 => calls::exit(1),
            _ if point == Point::Commit => {
                rustix::process::set_parent_process_death_signal(None).at(Call::prctl)
            }
            _ => Ok(()),
        }
    }

    fn report(&self, kind: Kind) -> Walked {
        let report = Report {
            kind,
            call: Call::none,
            step: self.at,
            errno: 0,
        };
        report.send(self.channel.as_fd(), b"").at(Call::send)
    }

    /// Waits on the container's socket until somebody connects and says a byte; reports go there then.
    fn wait_for_start(&mut self, listener: Slot, waiting: Slot, preserve: u32) -> Walked {
        let listener = self.slot(listener)?;
        let number = |fd: BorrowedFd<'_>| fd.as_raw_fd();
        let kept = [
            self.channel.as_raw_fd(),
            number(listener),
            number(self.slot(waiting)?),
            self.root().map_or(-1, number),
        ];
        // Whoever looks into us sees nothing of the host, and nobody waits for the end of what is not ours to hold.
        // SAFETY: the walk never returns to whoever owns the rest, and no step from here on uses another slot.
        unsafe { close_all_but(kept.into_iter(), preserve) }?;
        // The parent of `create` waits for the end of this channel, and is done then.
        rustix::net::shutdown(&self.channel, rustix::net::Shutdown::Write).at(Call::shutdown)?;
        let signals = calls::signalfd(calls::stopping_signals()).at(Call::signalfd4)?;
        // Who has connected and not yet said anything; the one that has waited longest makes room for another.
        let mut peers = [const { None::<OwnedFd> }; 4];
        let mut place = (0..peers.len()).cycle();
        loop {
            // The first process of a pid namespace hears only what it listens to, and whoever asks it to end means it.
            let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
            let [a, b, c, d] = peers
                .each_ref()
                .map(|peer| watch(peer.as_ref().map_or(listener, AsFd::as_fd)));
            let mut fds = [watch(listener), watch(signals.as_fd()), a, b, c, d];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)).at(Call::poll)?;
            let [connected, _, ready @ ..] = fds.map(|fd| !fd.revents().is_empty());
            if let Some(signal) = calls::next_signal(signals.as_fd()) {
                calls::exit(128 + signal);
            }
            for (peer, _) in peers.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                let Some(peer) = peer.take() else { continue };
                // One that leaves without a word was only looking.
                if rustix::io::read(&peer, &mut [0u8; 1][..]) == Ok(1) {
                    self.channel = peer;
                    return Ok(());
                }
            }
            if connected && let Some(n) = place.next() {
                let peer = rustix::net::accept_with(listener, SocketFlags::CLOEXEC);
                peers[n] = Some(peer.at(Call::accept4)?);
            }
        }
    }

    fn hooks(&mut self, kind: &CStr, hooks: &[crate::hook::Hook<'_>], state: [&[u8]; 2]) -> Walked {
        // The pid as the container sees it (runtime.md, State).
        let mut pid = Text::<16>::new();
        let _ = write!(pid, "{}", rustix::process::getpid().as_raw_nonzero());
        for (n, hook) in hooks.iter().enumerate() {
            let mut output = Text::<400>::new();
            if let Err(fault) = crate::hook::run(
                hook,
                &[state[0], pid.bytes(), state[1]],
                None,
                None,
                &mut output,
            ) {
                let (kind, path) = (Lossy(kind), Lossy(hook.path));
                let _ = write!(self.output, "{kind} hook #{n}: {path}\0");
                self.output.push(output.bytes());
                return Err(fault);
            }
        }
        Ok(())
    }
}

/// Keeps everybody but the host's root from looking into us: a change of user or of user namespace makes a
/// process dumpable again where fs.suid_dumpable says so.
pub(crate) fn stay_closed() -> Walked {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Call::prctl)
}

/// For the one moment in which the id mappings are written: procfs gives the files of a process that is not
/// dumpable to root alone. Nobody but our user's own processes outside can use it, and they own us.
fn reachable() -> Walked {
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).at(Call::prctl)
}

/// Changing the user clears this, so whoever does that before the commit asks again.
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
