//! Filters with an agent (SCMP_ACT_NOTIFY): what the agent receives and when, and which calls the runtime makes under such
//! a filter.

use crate::seccomp::{X86_64, allowing, refused};
use runtime_tests::{Bundle, Cmd, Output, Running, Value, host, json, wait_for};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::PipeWriter;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use syscalls::CALLS_UNDER_A_FILTER;

runtime_tests::tests![
    an_agent_gets_the_listener_of_run_and_decides,
    an_agent_gets_the_listener_of_create_and_start_and_decides,
    an_agent_hears_of_create_where_a_profile_allows_the_wait_and_little_else,
    the_calls_under_a_filter_are_those_of_the_list,
    notify_without_a_listener_path_is_refused,
    notify_as_the_default_action_or_for_write_is_refused,
    a_listener_path_without_a_listener_is_an_error_that_leaves_nothing,
];

/// A filter that asks an agent about these calls.
fn notifying(b: &Bundle, names: &[&str]) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [X86_64],
        "listenerPath": b.text("agent"), "listenerMetadata": "what \"the\" agent knows",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]})
}

/// Starts an agent at the bundle's listenerPath. It exits when the writer is dropped.
fn agent(b: &Bundle) -> (Running, PipeWriter) {
    let _ = std::fs::remove_file(b.file("agent"));
    let (reader, hold) = std::io::pipe().unwrap();
    let agent = Cmd::new(&b.dir, host::helper())
        .args(["agent", &b.text("agent")])
        .stdin(File::from(OwnedFd::from(reader)))
        .spawn();
    wait_for("the agent listens", || agent.out().contains("up"));
    (agent, hold)
}

/// config-linux.md and runtime.md define what the agent receives: one message, one descriptor, the container process
/// state.
#[track_caller]
fn was_told(agent: &Output, b: &Bundle, pid: Option<i32>, status: &str) {
    let lines = agent.ok().lines();
    assert_eq!(lines[1], "descriptors 1", "{agent}");
    assert_eq!(lines[3], "more 0", "{agent}");
    let message: Value = serde_json::from_str(agent.field("message ")).unwrap();
    assert_eq!(message["ociVersion"], "1.3.0", "{agent}");
    assert_eq!(message["fds"], json!(["seccompFd"]), "{agent}");
    assert_eq!(message["metadata"], "what \"the\" agent knows", "{agent}");
    assert!(message["pid"].as_i64().unwrap() > 1, "{agent}");
    if let Some(pid) = pid {
        assert_eq!(message["pid"], pid, "{agent}");
    }
    let state = &message["state"];
    assert_eq!(state["id"], b.id.as_str(), "{agent}");
    assert_eq!(state["pid"], message["pid"], "{agent}");
    assert_eq!(state["bundle"], b.path().to_str().unwrap(), "{agent}");
    assert_eq!(state["ociVersion"], message["ociVersion"], "{agent}");
    assert_eq!(state["status"], status, "{agent}");
}

/// Calls that the runtime itself might make between the load and execve, and mkdir.
const ASKED: [&[&str]; 3] = [
    &["mkdir", "mkdirat"],
    &["mkdir", "mkdirat", "read", "sendto", "close"],
    &[
        "mkdir",
        "mkdirat",
        "read",
        "sendto",
        "sendmsg",
        "recvmsg",
        "close",
        "close_range",
        "execve",
        "prctl",
        "capset",
        "setresuid",
        "setgroups",
        "fchdir",
        "fcntl",
        "rt_sigprocmask",
        "rt_sigaction",
        "exit_group",
    ],
];

fn an_agent_gets_the_listener_of_run_and_decides() {
    for no_new_privileges in [true, false] {
        for names in ASKED {
            let mut b = Bundle::new();
            b.set("/linux/seccomp", notifying(&b, names))
                .set("/process/noNewPrivileges", json!(no_new_privileges))
                .sh("helper mkdir /tmp/x; test -e /tmp/x || echo none; read line < /etc/passwd; echo $line");
            let (agent, hold) = agent(&b);
            let run = b.run();
            run.ok()
                .prints("mkdir: ENOMEDIUM\nnone\nroot:x:0:0:root:/root:/bin/sh\n");
            // No process uses the filter any more, so the agent exits.
            let agent = agent.wait();
            drop(hold);
            was_told(&agent, &b, None, "creating");
            // 83 is mkdir, 0 is read.
            let asked = format!("{} ", agent.field("asked"));
            assert!(asked.contains("83 "), "{agent}");
            assert_eq!(asked.starts_with("0 "), names.contains(&"read"), "{agent}");
            b.left_nothing();
        }
    }
}

fn an_agent_gets_the_listener_of_create_and_start_and_decides() {
    for no_new_privileges in [true, false] {
        for names in ASKED {
            let mut b = Bundle::new();
            b.set("/linux/seccomp", notifying(&b, names))
                .set("/process/noNewPrivileges", json!(no_new_privileges))
                .sh("helper mkdir /tmp/x > /tmp/out; echo end >> /tmp/out");
            let (agent, hold) = agent(&b);
            b.create().ok();
            let pid = b.pid();
            assert_eq!(b.status(), "created");
            // If the profile does not cover the wait for `start`, the agent receives the listener at `create`, as
            // with runc.
            let status = if names == ASKED[0] {
                wait_for("the agent receives the message", || {
                    agent.out().contains("message ")
                });
                "creating"
            } else {
                "created"
            };
            b.start().ok();
            b.wait_for_status("stopped");
            let out = std::fs::read_to_string(b.rootfs().join("tmp/out")).unwrap();
            assert_eq!(out, "mkdir: ENOMEDIUM\nend\n");
            b.delete(&[]).ok();
            let agent = agent.wait();
            drop(hold);
            was_told(&agent, &b, Some(pid), status);
            b.left_nothing();
        }
    }
}

/// From the wait for `start` on, the child makes no call that it has not asked the profile for.
fn an_agent_hears_of_create_where_a_profile_allows_the_wait_and_little_else() {
    let program = "arch_prctl brk fstat getrandom mmap mprotect munmap readlink readlinkat rseq set_robust_list set_tid_address write";
    for no_new_privileges in [true, false] {
        let mut b = Bundle::new();
        let mut profile = notifying(&b, &["mkdir", "mkdirat"]);
        profile["defaultAction"] = json!("SCMP_ACT_ERRNO");
        let wait = CALLS_UNDER_A_FILTER.iter().copied();
        let names: Vec<&str> = wait.chain(program.split(' ')).collect();
        let allowed = json!({"names": names, "action": "SCMP_ACT_ALLOW"});
        profile["syscalls"].as_array_mut().unwrap().push(allowed);
        b.set("/linux/seccomp", profile)
            .set("/process/noNewPrivileges", json!(no_new_privileges))
            .set("/process/env", json!(["PATH=/bin"]))
            .set(
                "/process/user",
                json!({"uid": 0, "gid": 7, "additionalGids": [8, 9], "umask": 63}),
            )
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]),
            )
            .args(&["/bin/helper", "mkdir", "/tmp/x"]);
        let (agent, hold) = agent(&b);
        b.create().ok();
        wait_for("the agent receives the message", || {
            agent.out().contains("message ")
        });
        b.start().ok();
        b.wait_for_status("stopped");
        b.delete(&[]).ok();
        let agent = agent.wait();
        drop(hold);
        was_told(&agent, &b, None, "creating");
        assert_eq!(agent.field("asked"), "83", "{agent}");
        b.left_nothing();
    }
}

/// What the child calls once its filter is loaded, by the trace of `create`: until its execve succeeds, or until it ends.
fn calls_under_the_filter(trace: &str) -> BTreeSet<String> {
    let loads = |line: &&str| line.contains(" seccomp(SECCOMP_SET_MODE_FILTER");
    let child = trace.lines().find(loads).expect("a filter is loaded");
    let child = format!("{} ", child.split(' ').next().unwrap());
    let own = trace.lines().filter_map(|line| line.strip_prefix(&child));
    let mut calls = BTreeSet::new();
    for line in own
        .map(str::trim_start)
        .skip_while(|line| !line.starts_with("seccomp("))
        .skip(1)
    {
        // "<... NAME resumed>" is the end of a call, "---" a signal, "+++" the end of the process.
        if let Some((name, _)) = line.split_once('(')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        {
            calls.insert(name.to_owned());
        }
        if line.contains("execve") && line.ends_with("= 0") {
            break;
        }
    }
    calls
}

/// The filter that is loaded earliest is the one with an agent, before the wait for `start`.
fn the_calls_under_a_filter_are_those_of_the_list() {
    let strace = host::program("strace");
    let mut made = BTreeSet::new();
    let mut traced = |b: &mut Bundle, then: &dyn Fn(&Bundle)| {
        let (agent, hold) = agent(b);
        b.set("/linux/seccomp", notifying(b, &["mkdir"]));
        let trace = b.text("trace");
        let through = [strace.to_str().unwrap(), "-f", "-o", &trace];
        // The pid file comes last. The state may say "created" before, and strace ends with the container.
        let pid_file = b.text("pid");
        let create = b.launch("create", &["--pid-file", &pid_file]);
        let create = create.through(through).spawn();
        wait_for("it is created", || std::fs::exists(&pid_file).unwrap());
        then(b);
        b.wait_for_status("stopped");
        create.wait();
        made.append(&mut calls_under_the_filter(&b.read("trace")));
        b.delete(&[]).ok();
        std::fs::remove_file(&pid_file).unwrap();
        agent.wait();
        drop(hold);
    };
    let start = |b: &Bundle| drop(b.start());
    let mut b = Bundle::new();
    b.set(
        "/process/user",
        json!({"uid": 1, "gid": 7, "additionalGids": [8, 9], "umask": 63}),
    )
    .set("/process/env", json!(["PATH=/bin"]))
    .set(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100}]),
    )
    .set("/process/capabilities/inheritable", json!(["CAP_KILL"]))
    .set("/process/capabilities/ambient", json!(["CAP_KILL"]))
    .args(&["true"]);
    for no_new_privileges in [true, false] {
        b.set("/process/noNewPrivileges", json!(no_new_privileges));
        traced(&mut b, &start);
    }
    // One that is asked to end while it waits.
    traced(&mut b, &|b| drop(b.kill("TERM")));
    // Programs that the kernel refuses, for a reason that their file or its mount tells.
    let mut b = Bundle::new();
    let program = b.rootfs().join("bin/program");
    std::fs::write(&program, "no format").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    b.args(&["/bin/program"]);
    traced(&mut b, &start);
    b.bind(&b.rootfs().join("bin"), "/noexec", &["noexec"])
        .args(&["/noexec/helper"]);
    traced(&mut b, &start);
    let listed = CALLS_UNDER_A_FILTER.iter().map(|name| (*name).to_owned());
    assert_eq!(made, listed.collect());
}

fn notify_without_a_listener_path_is_refused() {
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    refused(allowing(rule), &["linux.seccomp.listenerPath"]);
}

fn notify_as_the_default_action_or_for_write_is_refused() {
    let b = Bundle::empty();
    let mut profile = notifying(&b, &["mkdir"]);
    profile["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    refused(profile, &["linux.seccomp.defaultAction", "SCMP_ACT_NOTIFY"]);
    let profile = notifying(&b, &["mkdir", "write"]);
    refused(
        profile,
        &["linux.seccomp.syscalls[0]", "SCMP_ACT_NOTIFY", "write"],
    );
}

fn a_listener_path_without_a_listener_is_an_error_that_leaves_nothing() {
    for no_new_privileges in [true, false] {
        let mut b = Bundle::new();
        let agent = b.text("agent");
        b.set("/linux/seccomp", notifying(&b, &["mkdir"]))
            .set("/process/noNewPrivileges", json!(no_new_privileges))
            .sh("echo ran");
        // No such file, a file that is not a socket, a socket without a listener.
        for made in 0..3 {
            match made {
                0 => {}
                1 => std::fs::write(&agent, "").unwrap(),
                _ => {
                    std::fs::remove_file(&agent).unwrap();
                    drop(std::os::unix::net::UnixListener::bind(&agent).unwrap());
                }
            }
            let words = ["linux.seccomp.listenerPath", &agent];
            b.run().fails(&words).prints("");
            b.left_nothing();
            // With create and start, the filter is loaded at start.
            let create = b.create();
            if create.status != 0 {
                create.fails(&words);
            } else {
                b.start().fails(&words);
                b.wait_for_status("stopped");
                b.delete(&[]).ok();
            }
            b.left_nothing();
        }
    }
}
