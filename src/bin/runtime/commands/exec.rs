//! `exec`: one more process in a container that is created or runs, described by flags or by a file.

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Manager;
use crate::commands::create::{listen_fds, protect};
use crate::container::Container;
use crate::context::Context;
use crate::files::Replacement;
use crate::launch::{
    Ends, connect_console, converse, pid_file_of, raise_limits, spread, told, unborn,
};
use crate::socket::PidfdSocket;
use crate::{console, files, host, oom, process, seccomp_agent, signal};
use alloc::borrow::Cow;
use alloc::format;
use alloc::vec;
use core::cell::Cell;
use runtime::cli::Exec;
use runtime::error::{During, Error, Result, Why, fail};
use runtime::limits::Driver;
use runtime::plan::{Options, plan_exec};
use runtime::spec::{Capabilities, Process, Spec};
use runtime::state::{CREATED, PAUSED, RUNNING};
use rustix::event::Timespec;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::CpuSet;
use syscalls::calls;
use syscalls::slots::{Slot, Slots};
use syscalls::spawn::{Among, Spawn, Spawned, Unborn, spawn};
use syscalls::step::{Point, Step};

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
    enter(context, args, preserve_fds, &container, &init).map_err(|error| {
        // What fails while the container goes away fails because of that. Its first process ends last of all.
        let patience = match error.why() {
            Why::Interrupted(_) => return error,
            Why::Failed => 0,
            Why::Killed => 1,
        };
        match ends_within(&init, patience) {
            true => Error::new(format!("container not running: {id:?} has just ended")),
            false => error,
        }
    })
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
    let mut spec = Spec::read(&config)?;
    spec.process = Some(match &file {
        Some(text) => Process::parse(args.process.unwrap_or_default(), text)?,
        None => described(args, spec.process.take())?,
    });
    let terminal = spec
        .process
        .as_ref()
        .is_some_and(|process| process.terminal);
    let detach = args.detach;
    let console_socket = args.console_socket;
    if !terminal && console_socket.is_some() {
        fail!("--console-socket: the process has no terminal to send");
    }
    if terminal && detach && console_socket.is_none() {
        fail!("a terminal needs --console-socket, unless the process runs in the foreground");
    }
    let facts = host::probe(context.start, spec.names_labels())?;
    let is_paused = || Ok::<_, Error>(container.status(&facts.cgroups)? == PAUSED);
    if is_paused()? && !args.ignore_paused {
        fail!("cannot exec in a paused container ({id:?}; --ignore-paused waits for resume)");
    }
    if !facts.privileged && container.process()?.0 == CREATED {
        // Its process is still ours, and nobody but root may look into it; not even we.
        fail!("cannot exec in container {id:?}: an ordinary user can only once it is started");
    }
    // An ordinary user may not move a process out of the session that he is in; his systemd has it done.
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
        console_size: if detach { None } else { console::size() },
        cgroups: &cgroups,
        // It is written into the state of a new container alone.
        created: "",
        notify: false,
    };
    let below = &args.cgroup;
    let mut cgroup = match &state.cgroup {
        Some(path) => Some(Cgroup::existing(&facts.cgroups, path, below)?),
        None if below.is_empty() => None,
        None => fail!("--cgroup {}: container {id:?} has no cgroup", below[0]),
    };
    let plan = plan_exec(&spec, &facts, &options, cgroup.is_some())?;

    let cells = vec![Slots::empty(); usize::from(plan.slots) + 1];
    let slots = Slots::new(&cells);
    slots.fill(
        0,
        init.try_clone()
            .during(|| "cannot duplicate a descriptor".into())?,
    );
    let pidfd_socket = args.pidfd_socket.map(PidfdSocket::connect).transpose()?;
    let console = connect_console(&plan, &slots, console_socket)?;
    raise_limits(&plan)?;
    let stop = signal::hold()?;
    let lent = oom::lend(plan.oom_score_adj, &facts, "process.oomScoreAdj")?;
    let bound = bind_to(plan.affinity.initial.as_ref())?;
    let mut birth = Spawn {
        namespaces: 0,
        joins: &plan.joins,
        time: None,
        cgroup: match cgroups {
            Driver::Systemd(_) => None,
            _ => birthplace(cgroup.as_ref(), plan.slots, &slots)?,
        },
        steps: &plan.steps,
        among: Some(Among {
            preserve: preserve_fds,
            stop: stop.as_fd(),
        }),
    };
    let spawned = match (spawn(&birth, &slots), &mut cgroup) {
        (Err(Unborn::Call(fault)), Some(cgroup))
            if fault.errno == Errno::BUSY && below.is_empty() =>
        {
            cgroup.follow(state.pid)?;
            birth.cgroup = birthplace(Some(cgroup), plan.slots, &slots)?;
            spawn(&birth, &slots)
        }
        (spawned, _) => spawned,
    };
    let Spawned {
        pid,
        pidfd,
        channel,
    } = spawned.map_err(unborn)?;
    drop((slots, lent));
    let begun = (|| {
        bind_to(bound.as_ref())?;
        oom::give(plan.oom_score_adj, &facts, pid, "process.oomScoreAdj")?;
        let settle = || match &plan.affinity.at_last {
            Some(cpus) => rustix::thread::sched_setaffinity(Pid::from_raw(pid), cpus)
                .during(|| "process.execCPUAffinity.final: cannot run on these CPUs".into()),
            None if cgroup.is_some() => {
                spread(pid);
                Ok(())
            }
            None => Ok(()),
        };
        let meets = |step: &Step<'_>| matches!(step, Step::Meet(Point::Cgroup));
        if !plan.steps.iter().any(meets) {
            settle()?;
        }
        let pid_file = Cell::new(None);
        let part = |point| match (point, &cgroup) {
            // Before the program runs: a pid file that cannot be written must not come to light afterwards.
            (Point::Commit, _) => {
                let path = args.pid_file;
                pid_file.set(path.map(|path| pid_file_of(pid, path)).transpose()?);
                Ok(())
            }
            (Point::Cgroup, Some(cgroup)) => {
                if let (Some(manager), Some(unit)) = (&manager, &state.unit) {
                    manager.attach(unit, pid)?;
                }
                cgroup.join(pid).and_then(|()| settle())
            }
            _ => Ok(()),
        };
        let listener = |number| seccomp_agent::deliver(pidfd.as_fd(), number, pid, state, RUNNING);
        let ends = Ends {
            channel: channel.as_fd(),
            pidfd: pidfd.as_fd(),
            stop: stop.as_fd(),
        };
        converse(&plan, ends, part, listener)?;
        if let Some(socket) = &pidfd_socket {
            socket.tell(pidfd.as_fd())?;
        }
        pid_file.take().map_or(Ok(()), Replacement::put_in_place)
    })();
    if let Err(error) = begun {
        use syscalls::calls::SIGKILL;
        let _ = calls::pidfd_send_signal(pidfd.as_fd(), SIGKILL);
        // One that v1 has frozen ends only when it is thawed.
        if !(facts.cgroups.has_v1() && is_paused().unwrap_or(true)) {
            process::reap(pidfd.as_fd());
        }
        return Err(error);
    }
    drop(stop);
    told(&plan, context);
    if detach {
        return Ok(0);
    }
    console::supervise(pidfd.as_fd(), console, None, true)
}

/// Binds us to these CPUs, which a child then inherits, and returns those that we were bound to.
fn bind_to(cpus: Option<&CpuSet>) -> Result<Option<CpuSet>> {
    let Some(cpus) = cpus else {
        return Ok(None);
    };
    rustix::thread::sched_getaffinity(None)
        .and_then(|before| rustix::thread::sched_setaffinity(None, cpus).map(|()| Some(before)))
        .during(|| "process.execCPUAffinity.initial: cannot run on these CPUs".into())
}

/// The slot of the cgroup v2 directory to be born in, filled.
fn birthplace(cgroup: Option<&Cgroup<'_>>, slot: Slot, slots: &Slots<'_>) -> Result<Option<Slot>> {
    let directory = cgroup.map(Cgroup::birthplace).transpose()?.flatten();
    Ok(directory.map(|directory| {
        slots.fill(slot, directory);
        slot
    }))
}

/// The process that the flags describe, on the ground of the container's own.
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
        // Never the inheritable ones: a program that is not privileged must not pass them on (CVE-2022-29162).
        let sets = process
            .capabilities
            .get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(args.cap.iter().map(|name| Cow::Borrowed(*name)));
        }
    }
    Ok(process)
}
