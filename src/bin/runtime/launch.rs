//! From a plan to a container: opens what the steps need, writes the state, makes the cgroup, clones once,
//! meets the child at the agreed points, and undoes everything when anything fails.

mod made;
mod trees;
mod why;

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Manager;
use crate::container::{Container, Directory};
use crate::context::Context;
use crate::files::Replacement;
use crate::process;
use crate::sd_notify::{self, Ready};
use crate::socket::PidfdSocket;
use crate::{container, hooks, mappings, oom, seccomp_agent, signal, socket};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;
use runtime::error::{During, Error, Result, fail};
use runtime::facts::Facts;
use runtime::limits;
use runtime::plan::Plan;
use runtime::state::{self};
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
use syscalls::spawn::{Spawn, Spawned, spawn};
use syscalls::step::{Detailed, Lossy, Point, Step};

pub use made::{Made, enter};
use why::{died, no_tree};
pub use why::{failure, unborn};

const OOM: &str = "config.json: process.oomScoreAdj";

/// What the command line says about this start.
pub struct Request<'a> {
    /// The text of config.json: what `exec` goes by, whatever becomes of the file.
    pub config: &'a [u8],
    pub root: &'a str,
    pub console_socket: Option<&'a str>,
    pub pidfd_socket: Option<PidfdSocket<'a>>,
    pub pid_file: Option<&'a str>,
    /// The service manager's socket.
    pub notify_socket: Option<&'a str>,
    /// PATH of our caller.
    pub path: Option<&'a str>,
}

/// A container whose process waits for `start` or runs.
pub struct Launched {
    pub container: Container,
    pub pidfd: OwnedFd,
    /// Our end of the socket that the terminal comes over, without a console socket.
    pub console: Option<OwnedFd>,
    /// Where it says that it is ready, if it runs already.
    pub ready: Option<Ready>,
}

/// Starts what the plan says. On failure nothing is left of it.
pub fn launch(
    plan: &Plan,
    facts: &Facts,
    manager: Option<&Manager>,
    request: &Request<'_>,
) -> Result<Launched> {
    let cells = vec![Slots::empty(); usize::from(plan.slots) + 1];
    let slots = Slots::new(&cells);
    trees::open_first(plan, &slots)?;
    let console = connect_console(plan, &slots, request.console_socket)?;
    let stop = signal::hold()?;
    let directory = Directory::make(request.root, &plan.state.id)?;
    let mut made = Made::new(directory, plan.state.clone(), facts, manager);
    match bring_up(plan, request, slots, stop.as_fd(), &mut made) {
        Ok((pidfd, ready)) => Ok(Launched {
            container: made.keep(),
            pidfd,
            console,
            ready,
        }),
        Err(error) => {
            made.undo();
            Err(error)
        }
    }
}

fn bring_up<'a>(
    plan: &'a Plan,
    request: &Request<'a>,
    slots: Slots<'_>,
    stop: BorrowedFd<'_>,
    made: &mut Made<'a>,
) -> Result<(OwnedFd, Option<Ready>)> {
    // The state comes first: whatever happens from here on, `delete` finds what to remove.
    made.directory.write(&made.state)?;
    let mut ready = None;
    if let (Some(slot), Some(manager)) = (plan.notify, request.notify_socket) {
        slots.fill(slot, sd_notify::prepare(made.directory.fd())?);
        if plan.listener.is_none() {
            ready = Ready::listen(made.directory.fd(), manager)?;
        }
    }
    let mut cgroup = None;
    let birthplace: Slot = plan.slots;
    let mut born_in = None;
    if let Some(planned) = &plan.cgroup {
        cgroup = made.make_cgroup(planned)?;
        if let Some(directory) = cgroup
            .as_ref()
            .filter(|_| planned.unit.is_none())
            .map(Cgroup::birthplace)
            .transpose()?
            .flatten()
        {
            slots.fill(birthplace, directory);
            born_in = Some(birthplace);
        }
    }
    if let Some(pair) = plan.listener {
        listen(&made.directory, pair, &slots)?;
    }
    raise_limits(plan)?;
    let lent = oom::lend(plan.oom_score_adj, made.facts, OOM)?;
    let birth = Spawn {
        namespaces: plan.namespaces,
        joins: &plan.joins,
        time: plan.time,
        cgroup: born_in,
        steps: &plan.steps,
        among: None,
    };
    let Spawned {
        pid,
        pidfd,
        channel,
    } = spawn(&birth, &slots).map_err(|why| {
        let refusal = cgroup.as_ref().and_then(Cgroup::refusal);
        refusal.unwrap_or_else(|| unborn(why))
    })?;
    let pidfd: &OwnedFd = made.child.insert(pidfd);
    let pidfd = pidfd.as_fd();
    drop(lent);
    // The child has its own copies; ours would keep its mounts busy.
    drop(slots);
    made.state.pid = pid;
    made.state.start_time = process::stat(pid)?.map_or(0, |stat| stat.started);
    oom::give(plan.oom_score_adj, made.facts, pid, OOM)?;
    let meets = |step: &Step<'_>| matches!(step, Step::Meet(Point::Cgroup));
    if cgroup.is_some() && !plan.steps.iter().any(meets) {
        spread(pid);
    }
    if let (
        Some(cgroup),
        Some(limits::Cgroup {
            unit: None, limits, ..
        }),
    ) = (&cgroup, &plan.cgroup)
    {
        cgroup.filter_devices(limits)?;
    }
    made.directory.prepare(&made.state)?;
    made.directory.keep_config(request.config)?;
    let (state, manager, hooks_ran) = (&made.state, made.manager, Cell::new(false));
    let (scope, pid_file) = (Cell::new(None), Cell::new(None));
    let part = |point| match point {
        Point::Mappings => match &plan.mappings {
            Some(mappings) => mappings::write(mappings, pid, request.path),
            None => Ok(()),
        },
        Point::Cgroup => {
            if let (Some(cgroup), Some(planned)) = (&cgroup, &plan.cgroup) {
                enter(cgroup, planned, manager, pid, &scope)?;
            }
            spread(pid);
            Ok(())
        }
        Point::Trees => trees::hand_over(plan, pid, pidfd, channel.as_fd()),
        Point::Hooks => {
            hooks_ran.set(true);
            hooks::run("prestart", &plan.hooks.prestart, state, state::CREATED)?;
            hooks::run(
                "createRuntime",
                &plan.hooks.create_runtime,
                state,
                state::CREATED,
            )
        }
        Point::Commit => {
            made.directory.commit()?;
            // Before the program runs: a pid file that cannot be written must not come to light afterwards.
            pid_file.set(
                request
                    .pid_file
                    .map(|path| pid_file_of(pid, path))
                    .transpose()?,
            );
            Ok(())
        }
    };
    let listener = |number| seccomp_agent::deliver(pidfd, number, pid, state, state::CREATING);
    let result = converse(
        plan,
        Ends {
            channel: channel.as_fd(),
            pidfd,
            stop,
        },
        part,
        listener,
    );
    (made.hooks_ran, made.unit) = (hooks_ran.get(), scope.get());
    made.cgroup |= made.unit.is_some();
    result?;
    if let Some(socket) = &request.pidfd_socket {
        socket.tell(pidfd)?;
    }
    let pidfd = pidfd.try_clone_to_owned();
    let pidfd = pidfd.during(|| "cannot duplicate a descriptor".into())?;
    if let Some(file) = pid_file.take() {
        file.put_in_place()?;
    }
    Ok((pidfd, ready))
}

/// The pid file, written and not yet in its place.
pub fn pid_file_of(pid: i32, path: &str) -> Result<Replacement<'_>> {
    Replacement::write(CWD, path, pid.to_string().as_bytes(), 0o644)
}

/// Lets the process run on every CPU of the cgroup it is in, however few its caller is bound to: since Linux 6.2
/// what somebody was bound to is kept on the way into another cgroup. The kernel leaves out what is not there.
pub fn spread(pid: i32) {
    let mut every = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| every.set(cpu));
    let _ = rustix::thread::sched_setaffinity(Pid::from_raw(pid), &every);
}

/// Raises our own hard limits to those of the process, which is born with them: in a user namespace it could not raise
/// its own.
pub fn raise_limits(plan: &Plan) -> Result<()> {
    use rustix::process::{getrlimit, setrlimit};
    let limits = plan.steps.iter().find_map(|step| match step {
        Step::Limits(limits) => Some(*limits),
        _ => None,
    });
    for limit in limits.unwrap_or_default() {
        let mut now = getrlimit(limit.resource);
        // None is infinity.
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

/// What the parent holds of a child that sets itself up, and the descriptor on which it hears that it shall stop.
#[derive(Clone, Copy)]
pub struct Ends<'f> {
    pub channel: BorrowedFd<'f>,
    pub pidfd: BorrowedFd<'f>,
    pub stop: BorrowedFd<'f>,
}

/// Whether the commit can be granted while the child still sets itself up, which spares it a wait: nobody is
/// told of a container that runs at once before it runs, and there is nothing else to meet for.
fn commits_early(plan: &Plan) -> bool {
    let meetings = plan
        .steps
        .iter()
        .filter(|step| matches!(step, Step::Meet(_)));
    plan.listener.is_none() && meetings.count() == 1
}

/// The parent's side of the walk, until the child waits for `start` or has become the program. `part` is
/// what the parent does at each meeting point, `listener` what it does with the listener of a filter. A signal on
/// `stop` ends it.
pub fn converse(
    plan: &Plan,
    ends: Ends<'_>,
    mut part: impl FnMut(Point) -> Result<()>,
    listener: impl Fn(i32) -> Result<()>,
) -> Result<()> {
    let Ends {
        channel,
        pidfd,
        stop,
    } = ends;
    let granted = commits_early(plan);
    if granted {
        part(Point::Commit)?;
        go_on(channel)?;
    }
    let mut text = Text::new();
    let (mut committed, mut ready, mut failed) = (false, false, None);
    loop {
        let report = next_report(channel, stop, &mut text)?;
        let Some(report) = report else {
            if let Some(error) = failed {
                return Err(error);
            }
            if committed && (ready || plan.listener.is_some() && waits(channel, pidfd)?) {
                return Ok(());
            }
            return Err(died(pidfd));
        };
        match report.kind {
            // The last word counts: it says most.
            Kind::Failed => {
                failed = Some(match plan.steps.get(usize::from(report.step)) {
                    Some(Step::Open { field, tree, .. }) => {
                        let errno = Errno::from_raw_os_error(report.errno);
                        let call = report.call;
                        no_tree(field, tree, Fault { call, errno })
                    }
                    _ => failure(&report, &text, Some(plan.steps.len())),
                });
            }
            Kind::Ready => ready = true,
            Kind::Born => {}
            Kind::Listener => {
                listener(report.errno)?;
                go_on(channel)?;
            }
            Kind::Meet => {
                let Some(Step::Meet(point)) = plan.steps.get(usize::from(report.step)) else {
                    fail!("internal error: the child waits at step {}", report.step);
                };
                committed |= *point == Point::Commit;
                if !(granted && *point == Point::Commit) {
                    part(*point)?;
                    go_on(channel)?;
                }
            }
        }
    }
}

/// Whether the child that has ended its reports waits for `start`. It has shut down one direction then; one that is closed as a whole
/// is that of a child that dies, or has been started by somebody who was quick.
fn waits(channel: BorrowedFd<'_>, pidfd: BorrowedFd<'_>) -> Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(channel, PollFlags::empty())];
    rustix::event::poll(&mut fds, Some(&Timespec::default()))
        .during(|| "cannot hear from the container's process".into())?;
    const SECOND: Timespec = Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    };
    let closed = fds[0].revents().contains(PollFlags::HUP);
    Ok(!closed || !process::ends_within(pidfd, &SECOND)?)
}

/// The child may take its time, in a hook or in a frozen cgroup: whoever asks us to stop is heard meanwhile.
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

/// Sends the byte that the child waits for. A child that is gone does not need it: the next report, or the end of the channel,
/// says why. Any other failure would leave it waiting for ever.
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

/// The socket the child waits on, and the lock that says it does.
fn listen(directory: &Directory, [listener, waiting]: [Slot; 2], slots: &Slots<'_>) -> Result<()> {
    let what = || "cannot make the socket for start".into();
    let socket = socket::of_start().during(what)?;
    // Whatever the umask is: who may write to a socket may connect to it, and the directory lets everybody through.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(0o600)).during(what)?;
    rustix::net::bind(&socket, &start_address(directory)?).during(what)?;
    rustix::net::listen(&socket, 8).during(what)?;
    slots.fill(listener, socket);
    slots.fill(waiting, directory.lock_waiting()?);
    Ok(())
}

/// The address of that socket.
pub fn start_address(directory: &Directory) -> Result<SocketAddrUnix> {
    socket::in_directory(directory.fd(), container::START)
        .during(|| "cannot name the socket for start".into())
}

/// The socket the terminal goes to: the engine's, or one end of a pair whose other end is ours.
pub fn connect_console(
    plan: &Plan,
    slots: &Slots<'_>,
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

/// What there is to tell of a start that has succeeded: of one that fails there must be nothing in the log but the error.
pub fn told(plan: &Plan, context: &Context<'_>) {
    let log = context.log();
    plan.warnings.iter().for_each(|text| log.warning(text));
    if context.globals.debug {
        shown(plan).lines().for_each(|line| log.debug(line.trim()));
    }
}

/// Steps and what they open, one a line: `--dry-run`.
pub fn shown(plan: &Plan) -> String {
    let mut lines: Vec<String> = Vec::new();
    if let Some(limits::Cgroup { path, unit, .. }) = &plan.cgroup {
        lines.push(match unit {
            Some(unit) => format!(
                "have systemd start the unit {} in the cgroup {path}",
                unit.name
            ),
            None => format!("make the cgroup {path}"),
        });
    }
    for join in &plan.joins {
        lines.push(format!(
            "join the {} namespace {}",
            join.name,
            Lossy(join.path)
        ));
    }
    let names = runtime::plan::names_of(plan.namespaces);
    lines.push(format!("clone with new namespaces: {names}"));
    if let Some(mappings) = &plan.mappings {
        for (kind, map) in [("uids", &mappings.uid), ("gids", &mappings.gid)] {
            let helper = if map.helped {
                " (by newuidmap or newgidmap)"
            } else {
                ""
            };
            let map = map.text.trim_end().replace('\n', ", ");
            lines.push(format!("map {kind} {map}{helper}"));
        }
    }
    if let Some(value) = plan.oom_score_adj {
        lines.push(format!("set oom_score_adj {value}"));
    }
    lines.extend(plan.steps.iter().map(|step| Detailed(step).to_string()));
    lines
        .iter()
        .enumerate()
        .map(|(n, line)| format!("{:3} {line}\n", n + 1))
        .collect()
}
