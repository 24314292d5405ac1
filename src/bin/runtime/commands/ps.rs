//! `ps`: the processes of a container, as pids in JSON or as lines from the host's ps.

use super::print;
use crate::cgroup;
use crate::container::Container;
use crate::context::Context;
use crate::host;
use crate::program::{self, Stream};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use runtime::cli::Ps;
use runtime::error::{Result, fail};

pub fn run(context: &Context<'_>, args: &Ps<'_>) -> Result<i32> {
    let container = Container::open(context.root, args.id)?;
    let pids = cgroup::processes(&host::cgroups()?, &container.cgroup()?)?;
    if args.format == Some("json") {
        let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
        return print(&format!("[{}]\n", list.join(",")));
    }
    let arguments = match &args.arguments[..] {
        [] => &["-ef"],
        arguments => arguments,
    };
    // Its stderr is ours.
    let path = context.start.var("PATH");
    let output = program::run("ps", arguments, path, Stream::Stdout)?;
    let Some((title, lines)) = output.split_once('\n') else {
        fail!("ps printed nothing");
    };
    let Some(column) = title.split_whitespace().position(|name| name == "PID") else {
        fail!("ps printed no PID column, which is needed to select the container's processes");
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
