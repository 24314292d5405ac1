//! Turns a plan into a container: opens the descriptors that the steps need, writes the state, makes the
//! cgroup, clones once, serves the meeting points of the child, and undoes everything on failure.

mod net_devices;
mod trees;
mod unfinished;
mod why;

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Manager;
use crate::container::{Container, Directory};
use crate::context::Context;
use crate::files::Replacement;
use crate::process;
use crate::sd_notify::{self, NotifySocket};
use crate::socket::PidfdSocket;
use crate::{cgroup, container, mappings, oom, seccomp_agent, signal, socket};
use alloc::format;
use alloc::string::ToString;
use core::cell::Cell;
use runtime::error::{During, Error, Result, fail};
use runtime::facts::Facts;
use runtime::plan::Plan;
use runtime::state::{self, State};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;
use rustix::thread::CpuSet;
use syscalls::calls;
use syscalls::report::{Fault, Kind, Report, Text};
use syscalls::slots::{Slot, Slots};
use syscalls::spawn::{Among, Spawn, Spawned, spawn};
use syscalls::step::{LastStep, Open, Point, Setting, Step};

use net_devices::NetDevices;
pub use unfinished::{Unfinished, enter};
use why::{died, no_tree};
pub use why::{failure, unborn};

/// The arguments of one start.
pub struct Request<'a> {
    /// The text of config.json. `exec` uses a copy of it, so later changes to the file have no effect.
    pub config: &'a [u8],
    pub root: &'a str,
    pub console_socket: Option<&'a str>,
    pub pidfd_socket: Option<PidfdSocket<'a>>,
    pub pid_file: Option<&'a str>,
    /// The service manager's socket.
    pub notify_socket: Option<&'a str>,
    /// The caller's PATH.
    pub path: Option<&'a str>,
}

/// A container whose process runs or waits for `start`.
pub struct Launched {
    pub container: Container,
    pub pidfd: OwnedFd,
    /// Our end of the socket that carries the terminal, if there is no console socket.
    pub console: Option<OwnedFd>,
    /// The socket for the readiness message, if the program runs and a service manager waits for it.
    pub ready: Option<NotifySocket>,
}

/// Starts the container of a plan. On failure nothing of it remains.
pub fn launch(
    plan: &Plan,
    facts: &Facts,
    manager: Option<&Manager>,
    request: &Request<'_>,
) -> Result<Launched> {
    let slots = Slots::new(usize::from(plan.slots) + 1);
    trees::open_first(plan, &slots)?;
    let net_devices = NetDevices::find(&plan.net_devices)?;
    let console = connect_console(plan, &slots, request.console_socket)?;
    let stop = signal::hold()?;
    let directory = Directory::make(request.root, &plan.state.id)?;
    let mut unfinished = Unfinished::new(directory, plan.state.clone(), facts, manager);
    unfinished.net_devices = net_devices;
    match first_process(plan, request, slots, stop.as_fd(), &mut unfinished) {
        Ok((pidfd, ready)) => Ok(Launched {
            container: unfinished.keep(),
            pidfd,
            console,
            ready,
        }),
        Err(error) => {
            unfinished.undo();
            Err(error)
        }
    }
}

/// Writes the state, makes the cgroup and starts the first process.
fn first_process<'a>(
    plan: &'a Plan,
    request: &Request<'a>,
    slots: Slots,
    stop: BorrowedFd<'_>,
    unfinished: &mut Unfinished<'a>,
) -> Result<(OwnedFd, Option<NotifySocket>)> {
    // The state comes first, so that `delete` finds everything that is made after it.
    unfinished.directory.write(&unfinished.state)?;
    let mut ready = None;
    if let (true, Some(manager)) = (plan.notify, request.notify_socket) {
        sd_notify::prepare(unfinished.directory.fd())?;
        if plan.close.listener.is_none() {
            ready = NotifySocket::listen(unfinished.directory.fd(), manager)?;
        }
    }
    let (mut cgroup, mut birthplace) = (None, None);
    if let Some(planned) = &plan.cgroup {
        cgroup = unfinished.make_cgroup(planned)?;
        if let (Some(cgroup), None) = (&cgroup, &planned.unit) {
            birthplace = cgroup.birthplace()?;
        }
    }
    if let Some(pair) = plan.close.listener {
        listen(&unfinished.directory, pair, &slots)?;
    }
    let start = Start {
        plan,
        facts: unfinished.facts,
        stop,
        in_cgroup: cgroup.is_some(),
        among: false,
        birthplace,
        pid_file: request.pid_file,
        pidfd_socket: request.pidfd_socket.as_ref(),
        oom_score_adj: "config.json: process.oomScoreAdj",
    };
    let mut first = First {
        plan,
        request,
        cgroup,
        unfinished,
    };
    let begun = bring_up(start, slots, &mut first);
    let cgroups = &unfinished.facts.cgroups;
    begun
        .map(|pidfd| (pidfd, ready))
        .map_err(|error| cgroup::reached::of_plan(cgroups, plan, error))
}

/// The first process of a container.
struct First<'m, 'a> {
    plan: &'a Plan,
    request: &'m Request<'a>,
    cgroup: Option<Cgroup<'a>>,
    unfinished: &'m mut Unfinished<'a>,
}

impl Role for First<'_, '_> {
    fn spawn(&mut self, birth: &Spawn<'_>, slots: &mut Slots) -> Result<Spawned> {
        spawn(birth, slots).map_err(|why| {
            let refusal = self.cgroup.as_ref().and_then(Cgroup::refusal);
            refusal.unwrap_or_else(|| unborn(why))
        })
    }

    /// Records the pid and the start time, and sets the device rules while the child sets itself up.
    fn born(&mut self, child: &Spawned) -> Result<()> {
        let unfinished = &mut *self.unfinished;
        unfinished.state.pid = child.pid;
        unfinished.state.start_time = process::stat(child.pid)?.map_or(0, |stat| stat.started);
        if let (Some(cgroup), Some(planned)) = (&self.cgroup, &self.plan.cgroup)
            && planned.unit.is_none()
        {
            cgroup.filter_devices(&planned.limits)?;
            let cgroups = &unfinished.facts.cgroups;
            unfinished.state.inode = cgroup::inode(cgroups, &planned.place())?;
        }
        unfinished.directory.prepare(&unfinished.state)?;
        unfinished.directory.keep_config(self.request.config)
    }

    fn meet(&mut self, point: Point, child: &Spawned) -> Result<()> {
        let (plan, unfinished) = (self.plan, &mut *self.unfinished);
        match point {
            Point::Mappings => match &plan.mappings {
                Some(mappings) => mappings::write(mappings, child.pid, self.request.path),
                None => Ok(()),
            },
            Point::Cgroup => {
                let (Some(cgroup), Some(planned)) = (&self.cgroup, &plan.cgroup) else {
                    return Ok(());
                };
                let scope = Cell::new(None);
                let entered = enter(cgroup, planned, unfinished.manager, child.pid, &scope);
                unfinished.unit = scope.get();
                unfinished.cgroup |= unfinished.unit.is_some();
                entered
            }
            Point::NetDevices => match &mut unfinished.net_devices {
                Some(devices) => devices.go(child.pid),
                None => Ok(()),
            },
            Point::Trees => {
                trees::hand_over(plan, child.pid, child.pidfd.as_fd(), child.channel.as_fd())
            }
            Point::Hooks => unfinished.run_hooks(&plan.hooks),
            Point::Commit => {
                unfinished.poststop_is_due = true;
                unfinished.commit()
            }
        }
    }

    fn state(&self) -> (&State, &'static str) {
        (&self.unfinished.state, state::CREATING)
    }

    fn thaw(&self) {
        let unfinished = &self.unfinished;
        if let Some(place) = unfinished.state.place().filter(|_| unfinished.cgroup) {
            cgroup::thaw(&unfinished.facts.cgroups, &place);
        }
    }
}

/// One start: of a container, or of one more process in it.
pub struct Start<'a> {
    pub plan: &'a Plan,
    pub facts: &'a Facts,
    /// The signalfd. A pending signal ends the start.
    pub stop: BorrowedFd<'a>,
    pub in_cgroup: bool,
    /// The process is born among the processes of a running container.
    pub among: bool,
    /// The cgroup v2 directory that the process is born in.
    pub birthplace: Option<OwnedFd>,
    pub pid_file: Option<&'a str>,
    pub pidfd_socket: Option<&'a PidfdSocket<'a>>,
    /// The name of process.oomScoreAdj in messages.
    pub oom_score_adj: &'static str,
}

/// The differences between the first process of a container and one more process.
pub trait Role {
    fn spawn(&mut self, birth: &Spawn<'_>, slots: &mut Slots) -> Result<Spawned>;

    /// Runs after the clone, while the process sets itself up.
    fn born(&mut self, _: &Spawned) -> Result<()> {
        Ok(())
    }

    /// Runs while the process waits at `point`.
    fn meet(&mut self, point: Point, child: &Spawned) -> Result<()>;

    /// The state for a seccomp agent, and the status in it.
    fn state(&self) -> (&State, &'static str);

    /// Thaws the cgroup of a killed process. A process that cgroup v1 has frozen does not end.
    fn thaw(&self) {}

    /// Whether to wait for the end of a killed process.
    fn reaps(&self) -> bool {
        true
    }
}

/// Starts the process of a plan and follows it until it waits for `start` or has executed the program. Kills it
/// if the start fails.
pub fn bring_up(mut start: Start<'_>, mut slots: Slots, role: &mut dyn Role) -> Result<OwnedFd> {
    let plan = start.plan;
    let (value, field) = (plan.oom_score_adj, start.oom_score_adj);
    raise_limits(plan)?;
    let lent = oom::lend(value, start.facts, field)?;
    let bound = bind_to(plan.affinity.initial.as_ref())?;
    let birth = Spawn {
        namespaces: plan.namespaces,
        joins: &plan.joins,
        time: plan.time,
        cgroup: start.birthplace.take().map(|directory| {
            slots.fill(plan.slots, directory);
            plan.slots
        }),
        steps: plan.walk(),
        among: start.among.then_some(Among {
            preserve: plan.close.preserve,
            stop: start.stop,
        }),
    };
    let child = role.spawn(&birth, &mut slots)?;
    // The child has its own copies. Open copies here would keep its mounts busy.
    drop((slots, lent));
    let begun = bind_to(bound.as_ref())
        .and_then(|_| oom::give(value, start.facts, child.pid, field))
        .and_then(|()| follow(&start, &child, role));
    match begun {
        Ok(()) => Ok(child.pidfd),
        Err(error) => {
            process::kill(child.pidfd.as_fd());
            role.thaw();
            if role.reaps() {
                process::reap(child.pidfd.as_fd());
            }
            Err(error)
        }
    }
}

/// Serves the meeting points of the plan, then sends the pidfd and puts the pid file in place.
fn follow(start: &Start<'_>, child: &Spawned, role: &mut dyn Role) -> Result<()> {
    let meets = |step: &Step<'_>| matches!(step, Step::Meet(Point::Cgroup));
    if !start.plan.steps.iter().any(meets) {
        settle(start.plan, child.pid, start.in_cgroup)?;
    }
    role.born(child)?;
    let pid_file = converse(start, child, role)?;
    if let Some(socket) = start.pidfd_socket {
        socket.tell(child.pidfd.as_fd())?;
    }
    pid_file.map_or(Ok(()), Replacement::put_in_place)
}

/// Binds this process to these CPUs and returns the previous set. A child inherits the binding.
fn bind_to(cpus: Option<&CpuSet>) -> Result<Option<CpuSet>> {
    let Some(cpus) = cpus else {
        return Ok(None);
    };
    rustix::thread::sched_getaffinity(None)
        .and_then(|before| rustix::thread::sched_setaffinity(None, cpus).map(|()| Some(before)))
        .during(|| "process.execCPUAffinity.initial: cannot run on these CPUs".into())
}

/// Sets the final CPU affinity of a process that is in its cgroup.
fn settle(plan: &Plan, pid: i32, in_cgroup: bool) -> Result<()> {
    match &plan.affinity.at_last {
        Some(cpus) => rustix::thread::sched_setaffinity(Pid::from_raw(pid), cpus)
            .during(|| "process.execCPUAffinity.final: cannot run on these CPUs".into()),
        None if in_cgroup => {
            spread(pid);
            Ok(())
        }
        None => Ok(()),
    }
}

/// Lets the process run on every CPU of its cgroup, whatever the affinity of its caller. Since Linux 6.2 an
/// affinity that was set explicitly survives a move to another cgroup. The kernel ignores CPUs that do not
/// exist.
pub fn spread(pid: i32) {
    let mut every = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| every.set(cpu));
    let _ = rustix::thread::sched_setaffinity(Pid::from_raw(pid), &every);
}

/// Raises the hard limits of this process to those of the plan. The child inherits them; in a user namespace it
/// cannot raise its own.
fn raise_limits(plan: &Plan) -> Result<()> {
    use rustix::process::{getrlimit, setrlimit};
    let limits = plan.last_steps.iter().find_map(|step| match step {
        LastStep::Set(Setting::Limits(limits)) => Some(*limits),
        _ => None,
    });
    for limit in limits.unwrap_or_default() {
        let mut now = getrlimit(limit.resource);
        // `None` means no limit.
        if now
            .maximum
            .is_some_and(|now| limit.hard.is_none_or(|hard| hard > now))
        {
            now.maximum = limit.hard;
            setrlimit(limit.resource, now).during(|| {
                let name = format!("{:?}", limit.resource).to_ascii_uppercase();
                let hard = limit.hard.map_or("unlimited".into(), |hard| hard.to_string());
                format!("config.json: process.rlimits: cannot raise the hard limit RLIMIT_{name} to {hard}")
            })?;
        }
    }
    Ok(())
}

/// Whether to grant the commit while the child still sets itself up, which saves the child a wait. This is safe
/// if the program starts at once and the commit is the only meeting point: nothing reports the container before
/// the program runs.
fn commits_early(plan: &Plan) -> bool {
    let meetings = plan
        .steps
        .iter()
        .filter(|step| matches!(step, Step::Meet(_)));
    plan.close.listener.is_none() && meetings.count() == 1
}

/// Acts at a meeting point. The pid file is written at the commit, because a pid file that cannot be written
/// must fail the start before the program runs. It is put in place later.
fn meet<'a>(
    start: &Start<'a>,
    child: &Spawned,
    role: &mut dyn Role,
    point: Point,
    pid_file: &mut Option<Replacement<'a>>,
) -> Result<()> {
    role.meet(point, child)?;
    if point == Point::Cgroup {
        settle(start.plan, child.pid, true)?;
    }
    if let (Point::Commit, Some(path)) = (point, start.pid_file) {
        let pid = child.pid.to_string();
        *pid_file = Some(Replacement::write(CWD, path, pid.as_bytes(), 0o644)?);
    }
    Ok(())
}

/// Serves the child until it waits for `start` or has executed the program. A signal ends the loop.
fn converse<'a>(
    start: &Start<'a>,
    child: &Spawned,
    role: &mut dyn Role,
) -> Result<Option<Replacement<'a>>> {
    let plan = start.plan;
    let (channel, pidfd) = (child.channel.as_fd(), child.pidfd.as_fd());
    let mut pid_file = None;
    let granted = commits_early(plan);
    if granted {
        meet(start, child, role, Point::Commit, &mut pid_file)?;
        go_on(channel)?;
    }
    let mut text = Text::new();
    let (mut committed, mut ready, mut failed) = (false, false, None);
    loop {
        let report = next_report(channel, start.stop, &mut text)?;
        let Some(report) = report else {
            if let Some(error) = failed {
                return Err(error);
            }
            let begun = match ready {
                true => process::has_executed(child.pid, None)?,
                false => plan.close.listener.is_some() && waits(child)?,
            };
            if committed && begun {
                return Ok(pid_file);
            }
            return Err(died(pidfd));
        };
        match report.kind {
            // A later report replaces an earlier one, because it has more detail.
            Kind::Failed => {
                failed = Some(match plan.steps.get(usize::from(report.step)) {
                    Some(Step::Open(_, Open::Tree { field, tree, .. })) => {
                        let errno = Errno::from_raw_os_error(report.errno);
                        let call = report.call;
                        no_tree(field, tree, Fault { call, errno })
                    }
                    _ => failure(&report, &text, Some(plan.walk().iter().count())),
                });
            }
            Kind::Ready => ready = true,
            Kind::Born => {}
            Kind::Listener => {
                let (state, status) = role.state();
                seccomp_agent::deliver(pidfd, report.errno, child.pid, state, status)?;
                go_on(channel)?;
            }
            Kind::Meet => {
                let Some(Step::Meet(point)) = plan.steps.get(usize::from(report.step)) else {
                    fail!("internal error: the child waits at step {}", report.step);
                };
                committed |= *point == Point::Commit;
                if !(granted && *point == Point::Commit) {
                    meet(start, child, role, *point, &mut pid_file)?;
                    go_on(channel)?;
                }
            }
        }
    }
}

/// Whether a child that has ended its reports waits for `start`. A waiting child has shut down only one
/// direction of its channel. A fully closed channel belongs to a child that dies, or that another process has
/// already started, and whose program may have ended.
fn waits(child: &Spawned) -> Result<bool> {
    let pidfd = child.pidfd.as_fd();
    let mut fds = [PollFd::new(&child.channel, PollFlags::empty())];
    rustix::event::poll(&mut fds, Some(&Timespec::default()))
        .during(|| "cannot hear from the container's process".into())?;
    const SECOND: Timespec = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let closed = fds[0].revents().contains(PollFlags::HUP);
    Ok(
        !closed
            || !process::ends_within(pidfd, &SECOND)?
            || process::has_executed(child.pid, None)?,
    )
}

/// Waits for a report or a signal. The child may spend a long time in a hook or in a frozen cgroup.
fn next_report(
    channel: BorrowedFd<'_>,
    stop: BorrowedFd<'_>,
    text: &mut Text<1016>,
) -> Result<Option<Report>> {
    let what = || "cannot hear from the container's process".into();
    let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds = [watch(channel), watch(stop)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)).during(what)?;
    if fds[0].revents().is_empty()
        && let Some(signal) = calls::next_signal(stop)
    {
        return Err(Error::interrupted("the set-up was", signal));
    }
    Report::recv(channel, text).during(what)
}

/// Sends the byte that the child waits for. It ignores a closed channel: the next report, or the end of the
/// channel, gives the cause. Any other failure would leave the child waiting for ever.
pub fn go_on(channel: BorrowedFd<'_>) -> Result<()> {
    let sent = rustix::io::retry_on_intr(|| rustix::net::send(channel, b"g", SendFlags::NOSIGNAL));
    match sent {
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
        Err(errno) => Err(Error::from_errno(
            "cannot tell the container's process to go on (sendto)",
            errno,
        )),
    }
}

/// Makes the socket that the child waits on, and takes the lock that marks the child as waiting.
fn listen(directory: &Directory, [listener, waiting]: [Slot; 2], slots: &Slots) -> Result<()> {
    let what = || "cannot make the socket for start".into();
    let socket = socket::of_start().during(what)?;
    // Set explicitly, whatever the umask: write permission on a socket allows connect(2), and the directory is
    // searchable by everyone.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).during(what)?;
    rustix::net::bind(&socket, &start_address(directory)?).during(what)?;
    rustix::net::listen(&socket, 8).during(what)?;
    slots.fill(listener, socket);
    slots.fill(waiting, directory.lock_waiting()?);
    Ok(())
}

/// The address of the socket for `start`.
pub fn start_address(directory: &Directory) -> Result<SocketAddrUnix> {
    socket::in_directory(directory.fd(), container::START)
        .during(|| "cannot name the socket for start".into())
}

/// Opens the socket that the terminal is sent to: the engine's console socket, or one end of a pair whose other
/// end is returned.
pub fn connect_console(
    plan: &Plan,
    slots: &Slots,
    socket: Option<&str>,
) -> Result<Option<OwnedFd>> {
    let Some(slot) = plan.console else {
        return Ok(None);
    };
    match socket {
        Some(path) => {
            slots.fill(slot, socket::connect(path, "--console-socket")?);
            Ok(None)
        }
        None => {
            let pair = rustix::net::socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            );
            let (ours, theirs) = pair.during(|| "cannot make a socket for the terminal".into())?;
            slots.fill(slot, theirs);
            Ok(Some(ours))
        }
    }
}

/// Logs warnings after a successful start. On failure the log must hold the error alone.
pub fn log_warnings(plan: &Plan, context: &Context<'_>) {
    let log = context.log();
    plan.warnings.iter().for_each(|text| log.warning(text));
    if context.globals.debug {
        let text = plan.describe();
        text.lines().for_each(|line| log.debug(line.trim()));
    }
}
