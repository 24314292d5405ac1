//! The program: parses the arguments, runs one command, and returns its exit status. Errors are printed only here.
#![no_std]
#![no_main]

extern crate alloc;

mod cgroup;
mod commands;
mod console;
mod container;
mod context;
mod criu;
mod dbus;
mod files;
mod hooks;
mod host;
mod jail;
mod launch;
mod log;
mod mappings;
mod netlink;
mod oom;
mod process;
mod program;
mod sd_notify;
mod seal;
mod seccomp_agent;
mod signal;
mod socket;

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use context::{Context, log as log_of};
use runtime::cli::{self, Globals, Request};
use runtime::error::{Error, Reason, Result, Why};
use rustix::io::Errno;
use syscalls::Start;

syscalls::entry!(main);

fn main(start: Start) -> i32 {
    let mut globals = Globals::default();
    match run(start, &mut globals) {
        Ok(status) => status,
        Err(error) => {
            log_of(&globals).error(&with_limit(error.to_string()));
            match error.why() {
                // As in a shell.
                Why::Interrupted(signal) => 128 + signal,
                // A status that programs rarely use.
                _ if globals.command == "exec" => 255,
                _ => 1,
            }
        }
    }
}

/// Adds to an error the limit of this process that was reached.
fn with_limit(error: String) -> String {
    use rustix::process::{Resource, getrlimit};
    let limit = |resource| match getrlimit(resource).current {
        Some(limit) => limit.to_string(),
        None => "unlimited".to_string(),
    };
    // The child reports its errors in words, and most errors of ours are put into others.
    let says = |reason: Errno| error.contains(&Reason(reason).to_string());
    if says(Errno::MFILE) && !says(Errno::NFILE) {
        return format!("{error} (RLIMIT_NOFILE is {})", limit(Resource::Nofile));
    }
    if says(Errno::AGAIN) && error.contains("clone3") {
        let limit = limit(Resource::Nproc);
        return format!(
            "{error} (RLIMIT_NPROC is {limit}; pids.max of a cgroup limits processes, too)"
        );
    }
    error
}

fn run(start: Start, globals: &mut Globals<'static>) -> Result<i32> {
    // The most frequent call of engines needs neither the table nor the heap.
    if start.args().nth(1) == Some(c"--version") {
        return commands::print(commands::VERSION);
    }
    let mut args = Vec::with_capacity(16);
    for arg in start.args().skip(1) {
        let text = arg.to_str();
        args.push(text.map_err(|_| {
            Error::new(format!(
                "an argument is not UTF-8: {:?}",
                arg.to_string_lossy()
            ))
        })?);
    }
    match cli::parse(&args, globals)? {
        Request::Help(text) => commands::print(&text),
        Request::Version => commands::print(commands::VERSION),
        Request::Run(command) => {
            let root = root_directory(start, globals);
            let context = Context {
                start,
                globals,
                root: &root,
            };
            commands::run(&command, &context)
        }
    }
}

/// `--root`, or runc's default: below /run for root, below $XDG_RUNTIME_DIR for others. Root of a user namespace
/// counts as one of the others unless $USER is root.
fn root_directory(start: Start, globals: &Globals<'_>) -> String {
    if let Some(root) = globals.root {
        return root.into();
    }
    let Some(directory) = start.var("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) else {
        return "/run/runtime".into();
    };
    let ordinary = start.euid() != 0
        || start.var("USER") != Some("root") && host::in_user_namespace().unwrap_or(false);
    match ordinary {
        true => format!("{directory}/runtime"),
        false => "/run/runtime".into(),
    }
}
