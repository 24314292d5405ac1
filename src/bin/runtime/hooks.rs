//! The hooks that the runtime itself runs: prestart and createRuntime before pivot_root, poststart after the start,
//! poststop after the deletion. They get the state on stdin.

use alloc::borrow::ToOwned;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use runtime::error::{Error, Reason, Result, fail};
use runtime::state::{Hook, State};
use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::process::Signal;
use syscalls::calls::Arg;
use syscalls::report::{Call, Fault, Text};

/// Runs the hooks of one kind in order, and stops at the first that fails.
pub fn run(kind: &str, hooks: &[Hook], state: &State, status: &str) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let json =
        serde_json::to_vec(&state.oci_state(status)).map_err(|e| Error::new(e.to_string()))?;
    hooks
        .iter()
        .enumerate()
        .try_for_each(|(n, hook)| run_one(kind, n, hook, &json, state))
}

/// Runs all poststop hooks. A failure is logged, and the remaining hooks still run (runtime.md, Lifecycle).
pub fn run_poststop(state: &State) {
    let Ok(json) = serde_json::to_vec(&state.oci_state(runtime::state::STOPPED)) else {
        return;
    };
    for (n, hook) in state.poststop.iter().enumerate() {
        if let Err(error) = run_one("poststop", n, hook, &json, state) {
            crate::log::warn(&error.to_string());
        }
    }
}

fn run_one(kind: &str, n: usize, hook: &Hook, json: &[u8], state: &State) -> Result<()> {
    // runc's wording, which users search for.
    let place = format!("error running {kind} hook #{n}: {}", hook.path);
    let c_string = |s: &str| {
        CString::new(s).map_err(|_| Error::new(format!("{place}: a string with a zero byte")))
    };
    let path = c_string(&hook.path)?;
    let args = hook
        .args
        .iter()
        .map(|s| c_string(s))
        .collect::<Result<Vec<_>>>()?;
    let env = hook
        .env
        .iter()
        .map(|s| c_string(s))
        .collect::<Result<Vec<_>>>()?;
    let argv: Vec<Arg<'_>> = args.iter().map(|s| Arg::new(s)).chain([Arg::END]).collect();
    let envp: Vec<Arg<'_>> = env.iter().map(|s| Arg::new(s)).chain([Arg::END]).collect();
    let ready = syscalls::hook::Hook {
        path: &path,
        argv: &argv,
        envp: &envp,
        timeout: hook.timeout,
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let cwd = rustix::fs::openat(CWD, state.bundle.as_str(), flags, Mode::empty()).ok();
    let stop = crate::signal::hold()?;
    let mut output = Text::<1024>::new();
    match syscalls::hook::run(
        &ready,
        &[json],
        cwd.as_ref().map(AsFd::as_fd),
        Some(stop.as_fd()),
        &mut output,
    ) {
        Ok(()) => Ok(()),
        Err(fault) if fault.call == Call::hook_stopped => Err(Error::interrupted(
            format!("{place}:"),
            fault.errno.raw_os_error(),
        )),
        Err(fault) => fail!("{place}: {}", failure(fault, hook.timeout, output.as_str())),
    }
}

/// Describes the failure of a hook, including its output.
pub fn failure(fault: Fault, timeout: Option<u32>, output: &str) -> String {
    let number = fault.errno.raw_os_error();
    let mut text = match fault.call {
        Call::hook_status => format!("exit status {number}"),
        // The seccomp filter forbids a call of the hook.
        Call::hook_signal if number == Signal::SYS.as_raw() => "bad system call".to_owned(),
        Call::hook_signal => format!("killed by signal {number}"),
        Call::hook_timeout => match timeout {
            Some(seconds) => {
                format!("killed after its timeout of {seconds} s")
            }
            None => "killed after its timeout".to_owned(),
        },
        call => format!("cannot be run ({}): {}", call.name(), Reason(fault.errno)),
    };
    if !output.trim().is_empty() {
        text.push_str(": ");
        text.push_str(output.trim());
    }
    text
}
