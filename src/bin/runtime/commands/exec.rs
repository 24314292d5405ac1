//! The `exec` command: starts one more process in a created or running container. Flags or a file describe the
//! process.

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Manager;
use crate::commands::create::{listen_fds, protect};
use crate::container::{Container, Lock};
use crate::context::Context;
use crate::launch::{Role, Start, bring_up, connect_console, log_warnings, unborn};
use crate::socket::PidfdSocket;
use crate::{console, files, host, process, signal};
use alloc::borrow::Cow;
use alloc::format;
use runtime::cli::Exec;
use runtime::error::{During, Error, Result, Why, fail};
use runtime::facts::Facts;
use runtime::limits::Driver;
use runtime::plan::{Options, Plan, plan_exec};
use runtime::spec::{Capabilities, Process, Spec};
use runtime::state::{CREATED, PAUSED, RUNNING, State};
use rustix::event::Timespec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use syscalls::slots::Slots;
use syscalls::spawn::{Spawn, Spawned, Unborn, spawn};
use syscalls::step::Point;

pub fn run(context: &Context<'_>, args: &Exec<'_>) -> Result<i32> {
    let preserve_fds = protect(context, args.preserve_fds)?;
    let id = args.id;
    let container = Container::open(context.root, id)?;
    let init = match container.process()? {
        (CREATED | RUNNING, Some(init)) => init,
        (status, _) => {
            fail!("cannot exec in container {id:?}: container not running: it is {status}")
        }
    };
    container.lock(Lock::Shared)?;
    enter(context, args, preserve_fds, &container, &init).map_err(|error| {
        // If the container is going away, that is the cause of any failure. Its first process ends last.
        let patience = match error.why() {
            Why::Interrupted(_) => return error,
            // Killed, it has perhaps not ended yet.
            Why::Failed => i64::from(is_dying(container.state.pid)),
            Why::Killed => 1,
        };
        match ends_within(&init, patience) {
            true => Error::new(format!("container not running: {id:?} has just ended")),
            false => error,
        }
    })
}

fn is_dying(pid: i32) -> bool {
    matches!(process::stat(pid), Ok(Some(stat)) if stat.dying)
}

fn ends_within(process: &OwnedFd, seconds: i64) -> bool {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: 0,
    };
    process::ends_within(process.as_fd(), &time).unwrap_or(false)
}

fn enter(
    context: &Context<'_>,
    args: &Exec<'_>,
    preserve_fds: u32,
    container: &Container,
    init: &OwnedFd,
) -> Result<i32> {
    let id = args.id;
    let (directory, state) = (&container.directory, &container.state);
    let config = directory.config()?;
    let file = args
        .process
        .map(|path| files::read(CWD, path))
        .transpose()?;
    let spec = exec_spec(args, &config, file.as_deref())?;
    let facts = host::probe(context.start, spec.names_labels(), false)?;
    check_status(args, container, &facts)?;
    // An ordinary user may not move a process out of the session's cgroup, so the user's systemd moves it.
    let manager = match &state.unit {
        Some(_) if !facts.privileged => Some(Manager::find(context.start)?),
        _ => None,
    };
    let cgroups = match &manager {
        Some(manager) => Driver::Systemd(manager.root.clone()),
        None => Driver::Cgroupfs,
    };
    let options = Options {
        id,
        bundle: &state.bundle,
        wait: false,
        no_pivot: None,
        no_new_keyring: state.no_new_keyring,
        preserve_fds,
        listen_fds: listen_fds(context),
        relays: args.console_socket.is_none(),
        console_size: if args.detach { None } else { console::size() },
        cgroups: &cgroups,
        // Only the state of a new container has a time of creation.
        created: "",
        notify: None,
    };
    let below = &args.cgroup;
    let cgroup = match &state.place() {
        Some(place) => Some(Cgroup::existing(&facts.cgroups, place, below)?),
        None if below.is_empty() => None,
        None => fail!("--cgroup {}: container {id:?} has no cgroup", below[0]),
    };
    let plan = plan_exec(&spec, &facts, &options, cgroup.is_some())?;

    let mut one_more = OneMore {
        container,
        facts: &facts,
        manager: manager.as_ref(),
        cgroup,
        follows: below.is_empty(),
    };
    let (pidfd, console) = one_more.start(args, &plan, init)?;
    directory.unlock();
    log_warnings(&plan, context);
    if args.detach {
        return Ok(0);
    }
    console::supervise(pidfd.as_fd(), console, None, true)
}

/// The container's config.json with `process` replaced by the requested one.
fn exec_spec<'a>(args: &Exec<'a>, config: &'a [u8], file: Option<&'a [u8]>) -> Result<Spec<'a>> {
    let mut spec = Spec::read(config)?;
    let process = match file {
        Some(text) => Process::parse(args.process.unwrap_or_default(), text)?,
        None => described(args, spec.process.take())?,
    };
    if !process.terminal && args.console_socket.is_some() {
        fail!("--console-socket: the process has no terminal to send");
    }
    if process.terminal && args.detach && args.console_socket.is_none() {
        fail!("a terminal needs --console-socket, unless the process runs in the foreground");
    }
    spec.process = Some(process);
    Ok(spec)
}

fn check_status(args: &Exec<'_>, container: &Container, facts: &Facts) -> Result<()> {
    let id = args.id;
    if container.status(&facts.cgroups)? == PAUSED && !args.ignore_paused {
        fail!("cannot exec in a paused container ({id:?}; --ignore-paused waits for resume)");
    }
    if !facts.privileged && container.process()?.0 == CREATED {
        // The process still runs this program and is not dumpable, so only root may access its files in /proc.
        fail!("cannot exec in container {id:?}: an ordinary user can only once it is started");
    }
    Ok(())
}

/// An additional process in a container.
struct OneMore<'a> {
    container: &'a Container,
    facts: &'a Facts,
    manager: Option<&'a Manager>,
    cgroup: Option<Cgroup<'a>>,
    /// Without a cgroup on the command line, the process follows the first process into its cgroup.
    follows: bool,
}

impl OneMore<'_> {
    /// Returns the pidfd of the process, and our end of the socket that carries the terminal.
    fn start(
        &mut self,
        args: &Exec<'_>,
        plan: &Plan,
        init: &OwnedFd,
    ) -> Result<(OwnedFd, Option<OwnedFd>)> {
        let slots = Slots::new(usize::from(plan.slots) + 1);
        let init = init.try_clone();
        slots.fill(0, init.during(|| "cannot duplicate a descriptor".into())?);
        let pidfd_socket = args.pidfd_socket.map(PidfdSocket::connect).transpose()?;
        let console = connect_console(plan, &slots, args.console_socket)?;
        let stop = signal::hold()?;
        let start = Start {
            plan,
            facts: self.facts,
            stop: stop.as_fd(),
            in_cgroup: self.cgroup.is_some(),
            among: true,
            birthplace: match (self.manager, &self.cgroup) {
                (None, Some(cgroup)) => cgroup.birthplace()?,
                _ => None,
            },
            pid_file: args.pid_file,
            pidfd_socket: pidfd_socket.as_ref(),
            oom_score_adj: "process.oomScoreAdj",
        };
        Ok((bring_up(start, slots, self)?, console))
    }
}

impl Role for OneMore<'_> {
    fn spawn(&mut self, birth: &Spawn<'_>, slots: &mut Slots) -> Result<Spawned> {
        let spawned = spawn(birth, slots);
        if let (Err(Unborn::Call(fault)), Some(cgroup), Some(slot)) =
            (&spawned, &mut self.cgroup, birth.cgroup)
            && fault.errno == Errno::BUSY
            && self.follows
        {
            cgroup.follow(self.container.state.pid)?;
            if let Some(directory) = cgroup.birthplace()? {
                slots.take(slot);
                slots.fill(slot, directory);
            }
            return spawn(birth, slots).map_err(unborn);
        }
        spawned.map_err(unborn)
    }

    fn meet(&mut self, point: Point, child: &Spawned) -> Result<()> {
        let (Point::Cgroup, Some(cgroup)) = (point, &self.cgroup) else {
            return Ok(());
        };
        if let (Some(manager), Some(unit)) = (self.manager, &self.container.state.unit) {
            manager.attach(unit, child.pid)?;
        }
        cgroup.join(child.pid)
    }

    fn state(&self) -> (&State, &'static str) {
        (&self.container.state, RUNNING)
    }

    /// A process that cgroup v1 has frozen ends only when it is thawed.
    fn reaps(&self) -> bool {
        let status = self.container.status(&self.facts.cgroups);
        !(self.facts.cgroups.has_v1() && status.map_or(true, |status| status == PAUSED))
    }
}

/// The process that the flags describe. The container's own process gives the defaults.
fn described<'a>(args: &Exec<'a>, base: Option<Process<'a>>) -> Result<Process<'a>> {
    let mut process = base.unwrap_or_default();
    if args.command.is_empty() {
        fail!("exec needs a command, or --process");
    }
    process.args = args.command.iter().map(|arg| Cow::Borrowed(*arg)).collect();
    process.terminal = args.tty;
    process.console_size = None;
    if let Some(cwd) = args.cwd {
        process.cwd = Cow::Borrowed(cwd);
    }
    process
        .env
        .extend(args.env.iter().map(|text| Cow::Borrowed(*text)));
    if let Some((uid, gid)) = args.user {
        process.user.uid = uid;
        process.user.gid = gid.unwrap_or(process.user.gid);
    }
    process.user.additional_gids.extend(&args.additional_gids);
    if args.no_new_privs {
        process.no_new_privileges = Some(true);
    }
    if let Some(profile) = args.apparmor {
        process.apparmor_profile = Some(Cow::Borrowed(profile));
    }
    if let Some(label) = args.process_label {
        process.selinux_label = Some(Cow::Borrowed(label));
    }
    if !args.cap.is_empty() {
        // Never the inheritable set: an unprivileged program must not pass these capabilities on
        // (CVE-2022-29162).
        let sets = process
            .capabilities
            .get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(args.cap.iter().map(|name| Cow::Borrowed(*name)));
        }
        // As in runc. An ambient capability must be inheritable, and a container of today has none.
        if !sets.inheritable.is_empty() {
            let names = args.cap.iter().map(|name| Cow::Borrowed(*name));
            sets.ambient.extend(names);
        }
    }
    Ok(process)
}
