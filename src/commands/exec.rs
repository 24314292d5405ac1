//! `exec`: one more process in a container that is created or runs, described by flags or by a file.

use crate::cgroup::Cgroup;
use crate::cli::{Flag, integer};
use crate::commands::create::{listen_fds, protect};
use crate::commands::pause::status;
use crate::error::{During, Result, fail};
use crate::host::Host;
use crate::launch::{commits_early, connect_console, converse, go_on, raise_limits, reap, unborn};
use crate::plan::{Options, plan_exec};
use crate::spec::{self, Capabilities, Process, Spec};
use crate::state::{CREATED, Directory, PAUSED, RUNNING};
use crate::{Context, console, files, log, notify};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use rustix::fd::AsFd;
use rustix::fs::CWD;
use syscalls::calls;
use syscalls::slots::Slots;
use syscalls::spawn::{Spawn, Spawned, spawn};
use syscalls::step::Point;

pub fn run(context: &Context<'_>) -> Result<i32> {
    let flags = context.flags;
    let preserve_fds = protect(context)?;
    let id = context.operands[0];
    let directory = Directory::open(context.root, id)?;
    let state = directory.read()?;
    let init = match directory.status(&state) {
        (CREATED | RUNNING, Some(init)) => init,
        (status, _) => {
            fail!("cannot exec in container {id:?}: container not running: it is {status}")
        }
    };
    let config = directory.config()?;
    let file = flags
        .text(Flag::Process)
        .map(|path| files::read(CWD, path))
        .transpose()?;
    let mut spec = Spec::read(&config)?;
    spec.process = Some(match &file {
        Some(text) => {
            spec::read::<Process<'_>>(flags.text(Flag::Process).unwrap_or_default(), text)?
        }
        None => described(context, spec.process.take())?,
    });
    let terminal = spec
        .process
        .as_ref()
        .is_some_and(|process| process.terminal);
    let detach = flags.has(Flag::Detach);
    let console_socket = flags.text(Flag::ConsoleSocket);
    if !terminal && console_socket.is_some() {
        fail!("--console-socket: the process has no terminal to send");
    }
    if terminal && detach && console_socket.is_none() {
        fail!("a terminal needs --console-socket, unless the process runs in the foreground");
    }
    let host = Host::probe()?;
    let paused = status(&directory, &state, &host.cgroups) == PAUSED;
    if paused && !flags.has(Flag::IgnorePaused) {
        fail!("cannot exec in container {id:?}: it is paused (--ignore-paused waits for resume)");
    }
    let options = Options {
        id,
        bundle: &state.bundle,
        wait: false,
        no_pivot: false,
        no_new_keyring: state.no_new_keyring,
        preserve_fds,
        listen_fds: listen_fds(context),
        relays: flags.text(Flag::ConsoleSocket).is_none(),
        console_size: if detach { None } else { console::size() },
        no_cgroup: state.cgroup.is_none(),
    };
    let cgroup = match (&state.cgroup, flags.text(Flag::SubCgroup)) {
        (Some(path), Some(below)) => Some(crate::cgroup::path(
            Some(&crate::host::join(path, below)),
            id,
        )?),
        (path, _) => path.clone(),
    };
    let plan = plan_exec(&spec, &host, &options, cgroup.as_deref())?;
    plan.warnings.iter().for_each(|warning| log::warn(warning));

    let cells = vec![Slots::empty(); usize::from(plan.slots) + 1];
    let slots = Slots::new(&cells);
    slots.fill(
        0,
        init.try_clone()
            .during(|| "cannot duplicate a descriptor".into())?,
    );
    let console = connect_console(&plan, &slots, console_socket)?;
    let cgroup = cgroup
        .map(|path| Cgroup::existing(&host.cgroups, path))
        .transpose()?;
    let birthplace = cgroup
        .as_ref()
        .map(Cgroup::birthplace)
        .transpose()?
        .flatten();
    let born_in = birthplace.is_some().then_some(plan.slots);
    birthplace
        .into_iter()
        .for_each(|directory| slots.fill(plan.slots, directory));
    raise_limits(&plan)?;
    calls::block_signals();
    let birth = Spawn {
        namespaces: 0,
        joins: &plan.joins,
        time: None,
        cgroup: born_in,
        steps: &plan.steps,
    };
    let Spawned {
        pid,
        pidfd,
        channel,
    } = spawn(&birth, &slots).map_err(unborn)?;
    drop(slots);
    let begun = (|| {
        if let Some(value) = plan.oom_score_adj {
            let path = format!("/proc/{pid}/oom_score_adj");
            files::write(CWD, path.as_str(), value.to_string().as_bytes())
                .during(|| format!("process.oomScoreAdj: cannot write {value} to {path}"))?;
        }
        let part = |point| match point {
            Point::Cgroup => cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.join(pid)),
            _ => Ok(()),
        };
        let listener = |number| notify::deliver(pidfd.as_fd(), number, pid, &state, RUNNING);
        let granted = commits_early(&plan);
        if granted {
            go_on(channel.as_fd());
        }
        converse(
            &plan,
            channel.as_fd(),
            pidfd.as_fd(),
            granted,
            part,
            listener,
        )?;
        match flags.text(Flag::PidFile) {
            Some(path) => files::replace(CWD, path, pid.to_string().as_bytes(), 0o644),
            None => Ok(()),
        }
    })();
    if let Err(error) = begun {
        const SIGKILL: i32 = 9;
        let _ = calls::pidfd_send_signal(pidfd.as_fd(), SIGKILL);
        reap(pidfd.as_fd());
        return Err(error);
    }
    if detach {
        return Ok(0);
    }
    console::supervise(pidfd.as_fd(), console, true)
}

/// The process that the flags describe, on the ground of the container's own.
fn described<'a>(context: &Context<'a>, base: Option<Process<'a>>) -> Result<Process<'a>> {
    let flags = context.flags;
    let mut process = base.unwrap_or_default();
    let args = &context.operands[1..];
    if args.is_empty() {
        fail!("exec needs a command, or --process");
    }
    process.args = args.iter().map(|arg| Cow::Borrowed(*arg)).collect();
    process.terminal = flags.has(Flag::Tty);
    process.console_size = None;
    if let Some(cwd) = flags.text(Flag::Cwd) {
        process.cwd = Cow::Borrowed(cwd);
    }
    process
        .env
        .extend(flags.texts(Flag::Env).map(Cow::Borrowed));
    if let Some(user) = flags.text(Flag::User) {
        let (uid, gid) = user
            .split_once(':')
            .map_or((user, None), |(uid, gid)| (uid, Some(gid)));
        process.user.uid = id(uid, "--user")?;
        if let Some(gid) = gid {
            process.user.gid = id(gid, "--user")?;
        }
    }
    for gid in flags.texts(Flag::AdditionalGids) {
        process
            .user
            .additional_gids
            .push(id(gid, "--additional-gids")?);
    }
    if flags.has(Flag::NoNewPrivs) {
        process.no_new_privileges = Some(true);
    }
    if let Some(profile) = flags.text(Flag::Apparmor) {
        process.apparmor_profile = Some(Cow::Borrowed(profile));
    }
    if let Some(label) = flags.text(Flag::ProcessLabel) {
        process.selinux_label = Some(Cow::Borrowed(label));
    }
    let added: Vec<Cow<'_, str>> = flags.texts(Flag::Cap).map(Cow::Borrowed).collect();
    if !added.is_empty() {
        // Never the inheritable ones: a program that is not privileged must not pass them on (CVE-2022-29162).
        let sets = process
            .capabilities
            .get_or_insert_with(Capabilities::default);
        for set in [&mut sets.bounding, &mut sets.effective, &mut sets.permitted] {
            set.extend(added.iter().cloned());
        }
    }
    Ok(process)
}

fn id(text: &str, flag: &str) -> Result<u32> {
    match integer(text, u32::MAX - 1) {
        Some(id) => Ok(id),
        None => fail!(
            "{flag}: expected a number from 0 to {}, found {text:?}",
            u32::MAX - 1
        ),
    }
}
