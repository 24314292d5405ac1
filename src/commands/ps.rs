//! `ps`: the processes of a container, as numbers in JSON or as the lines that the host's ps has for them.

use super::pause::own_cgroup;
use super::print;
use crate::Context;
use crate::cgroup;
use crate::cli::Flag;
use crate::error::{During, Error, Result, fail};
use crate::files;
use crate::host::Cgroups;
use crate::state::Directory;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use syscalls::calls::{self, Arg, Clone, Cloned};

pub fn run(context: &Context<'_>) -> Result<i32> {
    let directory = Directory::open(context.root, context.operands[0])?;
    let state = directory.read()?;
    let pids = cgroup::processes(&Cgroups::probe()?, own_cgroup(&state)?);
    if context.flags.text(Flag::ListFormat) == Some("json") {
        let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
        return print(&format!("[{}]\n", list.join(",")));
    }
    let args = match &context.operands[1..] {
        [] => &["-ef"],
        args => args,
    };
    let output = output_of_ps(context, args)?;
    let Some((title, lines)) = output.split_once('\n') else {
        fail!("ps printed nothing");
    };
    let Some(column) = title.split_whitespace().position(|name| name == "PID") else {
        fail!("ps printed no column PID, which tells whose lines are the container's");
    };
    let is_ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column);
        pid.and_then(|pid| pid.parse().ok())
            .is_some_and(|pid: i32| pids.contains(&pid))
    };
    let lines: String = lines
        .lines()
        .filter(is_ours)
        .map(|line| format!("{line}\n"))
        .collect();
    print(&format!("{title}\n{lines}"))
}

/// Runs the host's ps and reads what it prints; its errors go to our stderr.
fn output_of_ps(context: &Context<'_>, args: &[&str]) -> Result<String> {
    let c_string = |text: &str| {
        CString::new(text).map_err(|_| Error::new("an argument of ps holds a zero byte"))
    };
    let path = context.start.var("PATH").unwrap_or("/usr/bin:/bin");
    let candidates = path
        .split(':')
        .map(|directory| c_string(&format!("{directory}/ps")))
        .collect::<Result<Vec<_>>>()?;
    let args = args
        .iter()
        .map(|arg| c_string(arg))
        .collect::<Result<Vec<_>>>()?;
    let argv: Vec<Arg<'_>> = [Arg::new(c"ps")]
        .into_iter()
        .chain(args.iter().map(|arg| Arg::new(arg)))
        .chain([Arg::END])
        .collect();
    let path = c_string(&format!("PATH={path}"))?;
    let envp = [Arg::new(&path), Arg::END];

    let what = || "cannot run ps".to_string();
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).during(what)?;
    let clone = Clone {
        exit_signal: u64::from(linux_raw_sys::general::SIGCHLD),
        ..Clone::default()
    };
    const NO_PS: i32 = 127;
    let pidfd = match calls::clone3(clone).during(what)? {
        Cloned::Child => {
            if rustix::stdio::dup2_stdout(&writer).is_ok() {
                for candidate in &candidates {
                    let _: Errno = calls::execve(candidate, &argv, &envp);
                }
            }
            calls::exit(NO_PS)
        }
        Cloned::Parent(_, pidfd) => pidfd,
    };
    drop(writer);
    let output = files::read_open(&reader).during(what)?;
    let status = crate::launch::reap(pidfd.as_fd());
    match status.and_then(|status| status.exit_status()) {
        Some(0) => Ok(String::from_utf8_lossy(&output).into_owned()),
        Some(NO_PS) => fail!("cannot run ps: there is none in PATH"),
        Some(status) => fail!("ps failed: exit status {status}"),
        None => fail!("ps was killed"),
    }
}
