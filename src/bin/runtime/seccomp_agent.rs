//! The listener of a seccomp filter with SCMP_ACT_NOTIFY. The runtime takes it from the child that loads the filter
//! and sends it, with the container process state, to the agent at `listenerPath` (config-linux.md, Seccomp).

use crate::socket::connect;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use runtime::error::{During, Error, Result, fail};
use runtime::state::{OCI_VERSION, OciState, State};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
use serde::Serialize;

/// runtime.md, Container Process State.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'a str; 1],
    pid: i32,
    metadata: &'a str,
    state: OciState<'a>,
}

/// Takes the listener of process `pid` and sends it to the agent. The child has announced that it will be descriptor
/// `number`. After loading the filter, the child only waits for our byte, because the profile may forbid it any other
/// call.
pub fn deliver(
    pidfd: BorrowedFd<'_>,
    number: i32,
    pid: i32,
    state: &State,
    status: &str,
) -> Result<()> {
    let Some(agent) = &state.agent else {
        fail!("config.json: linux.seccomp.listenerPath: required for SCMP_ACT_NOTIFY");
    };
    let socket = connect(&agent.path, "config.json: linux.seccomp.listenerPath")?;
    let listener = take(pidfd, number)?;
    let process = ProcessState {
        oci_version: OCI_VERSION,
        fds: ["seccompFd"],
        pid,
        metadata: &agent.metadata,
        state: state.oci_state(status),
    };
    let json = serde_json::to_vec(&process).map_err(|e| Error::new(e.to_string()))?;
    let what = || format!("cannot send the seccomp listener to {}", agent.path);
    match crate::socket::send(&socket, listener.as_fd(), &json).during(what)? {
        n if n == json.len() => Ok(()),
        _ => fail!("{}: only a part of the state was sent", what()),
    }
}

/// The number of attempts to get the child's descriptor, one per millisecond.
const TRIES: u32 = 5000;

fn take(pidfd: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    for _ in 0..TRIES {
        match pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()) {
            Ok(fd) if is_listener(&fd) => return Ok(fd),
            Ok(_) | Err(Errno::BADF) => {}
            Err(errno) => return Err(Error::from_errno("cannot take the seccomp listener", errno)),
        }
        let millisecond = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 1_000_000,
        };
        let _ = rustix::thread::nanosleep(&millisecond);
    }
    fail!("cannot take the seccomp listener: the filter was not loaded in time")
}

fn is_listener(fd: &OwnedFd) -> bool {
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    rustix::fs::readlinkat(CWD, link.as_str(), Vec::new())
        .is_ok_and(|name| name.as_bytes() == b"anon_inode:seccomp notify")
}
