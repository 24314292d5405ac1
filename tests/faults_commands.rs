//! Fault injection into every command, on the host's cgroups and in a view with cgroup v2 alone: each system call of each
//! of its processes fails, in five ways, and the process is killed there. Each time the command answers in time, success
//! means that the work is done, a failure is told in one line, `delete --force` succeeds, nothing is left, and the id can be
//! used again. A run takes a sample with each (process, call) at least once. With `FAULTS=all` it takes all, and with
//! `FAULTS=PROCESS:CALL:N:ERROR` that one (in numbers; several are separated by spaces).

use runtime_tests::faults::{Answer, EINTR, EIO, ENOMEM, KILLED, Place, World, log};
use runtime_tests::harness::attempt;
use runtime_tests::{Value, host, json, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

runtime_tests::tests![
    create_survives_any_fault,
    create_in_a_user_namespace_survives_any_fault,
    start_survives_any_fault,
    run_survives_any_fault,
    run_detached_survives_any_fault,
    exec_survives_any_fault,
    exec_detached_survives_any_fault,
    kill_survives_any_fault,
    kill_all_survives_any_fault,
    delete_survives_any_fault,
    delete_force_survives_any_fault,
    update_survives_any_fault,
    pause_survives_any_fault,
    resume_survives_any_fault,
    ps_survives_any_fault,
    state_survives_any_fault,
    events_survives_any_fault,
    checkpoint_survives_any_fault,
];

/// `exit` and `exit_group`, which cannot fail.
const EXITS: [usize; 2] = [60, 231];

/// How many faults of a command are tried in a run that samples, unless more are needed to meet each call.
const SAMPLE: usize = 64;

/// The errno that a call fails with most plausibly, as numbers of errno(3).
fn own(call: usize) -> i32 {
    const EPERM: i32 = 1;
    const EAGAIN: i32 = 11;
    const EACCES: i32 = 13;
    const EBUSY: i32 = 16;
    const EINVAL: i32 = 22;
    const EMFILE: i32 = 24;
    const ENOSPC: i32 = 28;
    const EROFS: i32 = 30;
    const ENOSYS: i32 = 38;
    const ENOBUFS: i32 = 105;
    const ECONNREFUSED: i32 = 111;
    match bpf::name(bpf::Arch::X86_64, call as u32).unwrap_or_default() {
        "openat" | "openat2" | "open" | "dup" | "fcntl" | "socket" | "socketpair"
        | "pidfd_open" | "signalfd4" | "pipe2" | "accept4" | "epoll_create1" => EMFILE,
        "clone3" | "clone" | "fork" | "vfork" => EAGAIN,
        "write" | "mkdirat" | "mkdir" | "symlinkat" | "mknodat" | "unshare" | "ftruncate" => ENOSPC,
        "unlinkat" | "rmdir" | "umount2" => EBUSY,
        "renameat" | "fchmod" | "fchmodat" | "fchownat" | "fchown" => EROFS,
        "sendto" | "sendmsg" => ENOBUFS,
        "connect" => ECONNREFUSED,
        "statx" | "newfstatat" | "faccessat" | "faccessat2" | "execve" => EACCES,
        "poll" | "ppoll" | "lseek" | "waitid" | "fstat" => EINVAL,
        "close_range" | "pidfd_send_signal" | "seccomp" => ENOSYS,
        _ => EPERM,
    }
}

/// One command and the ground it needs.
struct Case {
    /// What the container runs.
    program: &'static [&'static str],
    /// Edits the bundle and its directory, once.
    prepare: fn(&mut World),
    /// Brings the container into the state that the command needs.
    before: fn(&mut World),
    command: fn(&World) -> Vec<String>,
    /// Whether to trace the container's process as well, as process 1.
    with_init: bool,
    /// Whether a failure leaves nothing.
    undoes: bool,
    /// Whether the work is done.
    done: fn(&mut World, &Answer) -> bool,
}

const CASE: Case = Case {
    program: &["sleep", "1000"],
    prepare: |_| (),
    before: running,
    command: |_| Vec::new(),
    with_init: false,
    undoes: false,
    done: |_, _| true,
};

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).into()).collect()
}

fn launch(w: &World, verb: &[&str]) -> Vec<String> {
    let mut all = words(verb);
    let bundle = w.b.path().display().to_string();
    all.extend(words(&[
        "--bundle",
        &bundle,
        "--pid-file",
        &w.b.text("pid"),
        &w.b.id,
    ]));
    all
}

fn say(w: &mut World, words: &[String]) -> Answer {
    w.ok(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn created(w: &mut World) {
    let words = launch(w, &["create"]);
    say(w, &words);
}

fn running(w: &mut World) {
    created(w);
    let id = w.id();
    w.ok(&["start", &id]);
}

fn paused(w: &mut World) {
    running(w);
    let id = w.id();
    w.ok(&["pause", &id]);
}

fn stopped(w: &mut World) {
    running(w);
    let id = w.id();
    w.ok(&["kill", &id, "KILL"]);
    wait_for("it is stopped", || w.status() == "stopped");
}

/// Whether something is so within ten seconds.
fn soon(mut is: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !is() {
        if begin.elapsed() > Duration::from_secs(10) {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(2));
    }
    true
}

/// A process that is killed while it waits for `start` was created.
fn is_created(w: &mut World, answer: &Answer) -> bool {
    const PPOLL: usize = 271;
    w.status() == "created" || answer.fault == Some((1, PPOLL, KILLED))
}

fn has_run(w: &mut World) -> bool {
    let done = w.b.file("host/done");
    soon(|| done.exists())
}

/// Puts the scratch directory back in order, and expects nothing else of the container there.
fn tidy(w: &mut World) -> Vec<String> {
    for name in ["pid", "host/done"] {
        let _ = fs::remove_file(w.b.file(name));
    }
    w.left()
}

fn inject(w: &mut World, case: &Case, at: Place, error: i32) -> Result<bool, String> {
    (case.before)(w);
    let extra = if case.with_init { w.pid() } else { 0 };
    let _ = fs::remove_file(w.b.file("pid"));
    let command = (case.command)(w);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let answer = w.fail(&command, at, error, extra);
    let mut wrong = Vec::new();
    let ours = error == KILLED && at[0] == 0 && answer.hit;
    if answer.status == -1 {
        wrong.push("no answer".into());
    } else if answer.status == 0 && !(case.done)(w, &answer) {
        wrong.push(format!("untrue (it is {})", w.status().trim()));
    } else if answer.status != 0 && !ours {
        let lines = answer.err.lines().count();
        if lines != 1
            || answer.err.contains("internal error")
            || !answer.err.starts_with("runtime: ")
        {
            wrong.push("not told in one line".into());
        }
        if case.undoes {
            let made = w.b.file("pid").exists().then(|| "pid file".to_owned());
            wrong.extend(
                tidy(w)
                    .into_iter()
                    .chain(made)
                    .map(|text| format!("failed and left {text}")),
            );
        }
    }
    let id = w.id();
    let delete = w.command(&["delete", "--force", &id]);
    if delete.status != 0 {
        wrong.push(format!("delete --force: {}", delete.say()));
    }
    wrong.extend(tidy(w).into_iter().map(|text| format!("left {text}")));
    match wrong.is_empty() {
        true => Ok(answer.hit),
        false => Err(format!("{}: {}", wrong.join("; "), answer.say())),
    }
}

/// The faults to try: each (process, call) with one error, and then others, evenly spread.
fn faults(calls: &[Place]) -> Vec<(Place, i32)> {
    let errors = |call| [KILLED, EIO, ENOMEM, EINTR, own(call)];
    let places = calls.iter().filter(|[_, call, _]| !EXITS.contains(call));
    let wanted = std::env::var("FAULTS").unwrap_or_default();
    if wanted == "all" {
        let all =
            places.flat_map(|[process, call, count]| (1..=*count).map(|n| [*process, *call, n]));
        return all
            .flat_map(|at| errors(at[1]).map(|error| (at, error)))
            .collect();
    }
    if wanted.contains(':') {
        let number = |word: &str| word.parse::<usize>().unwrap();
        let fault = |words: &str| match words.split(':').map(number).collect::<Vec<_>>()[..] {
            [process, call, n, error] => ([process, call, n], error as i32),
            _ => panic!("FAULTS={wanted}: PROCESS:CALL:N:ERROR is expected"),
        };
        return wanted.split(' ').map(fault).collect();
    }
    let places: Vec<_> = places.collect();
    // The rounds take other occurrences of a call and other errors in turn.
    (0..)
        .flat_map(|round| {
            places
                .iter()
                .enumerate()
                .map(move |(i, place)| (round, i, place))
        })
        .map(|(round, i, [process, call, count])| {
            let n = 1 + (i + round * 7) % count;
            (([*process, *call, n]), errors(*call)[(i + round) % 5])
        })
        .take(places.len().max(SAMPLE))
        .collect()
}

fn world(case: &Case, pure_v2: bool) -> World {
    let mut w = World::new(pure_v2);
    w.b.args(case.program);
    (case.prepare)(&mut w);
    w.b.write();
    w
}

fn survives_in(case: &Case, pure_v2: bool, wrong: &mut Vec<String>) -> usize {
    let mut w = world(case, pure_v2);
    (case.before)(&mut w);
    let extra = if case.with_init { w.pid() } else { 0 };
    let command = (case.command)(&w);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (answer, calls) = w.calls(&command, extra);
    assert!(
        answer.status == 0 && (case.done)(&mut w, &answer),
        "{}",
        answer.say()
    );
    let id = w.id();
    w.ok(&["delete", "--force", &id]);
    let left = tidy(&mut w);
    assert!(left.is_empty(), "left without a fault: {left:?}");
    let (mut tried, mut hits, begin) = (0, 0, Instant::now());
    for (at, error) in faults(&calls) {
        tried += 1;
        let result = attempt(|| inject(&mut w, case, at, error)).unwrap_or_else(Err);
        match result {
            Ok(hit) => hits += usize::from(hit),
            Err(text) => {
                let [process, call, n] = at;
                let name = bpf::name(bpf::Arch::X86_64, call as u32).unwrap_or_default();
                let view = if pure_v2 { "v2" } else { "host" };
                let what = command[..command.len().min(3)].join(" ");
                let text = format!(
                    "{what} ({view}), process {process}, {name} ({call}) {n}, error {error}: {text}"
                );
                log(&text);
                wrong.push(text);
                w = world(case, pure_v2);
            }
        }
    }
    // The last one as well has left the id free.
    created(&mut w);
    let id = w.id();
    w.ok(&["delete", "--force", &id]);
    let left = tidy(&mut w);
    assert!(left.is_empty(), "left without a fault: {left:?}");
    let keys = || fs::read_to_string("/proc/keys").unwrap().contains(&id);
    assert!(soon(|| !keys()), "a key is left");
    let view = if pure_v2 { "v2" } else { "host" };
    log(&format!(
        "DONE {} {view}: {tried} tried, {hits} met, {} s, {} wrong so far",
        command[..2].join(" "),
        begin.elapsed().as_secs(),
        wrong.len()
    ));
    tried
}

fn survives(case: &Case) {
    // Skips where there is no cgroup v2.
    host::pure_v2();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for pure_v2 in [false, true] {
        // In a guest, both views are the same.
        if pure_v2 || !host::v2() {
            tried += survives_in(case, pure_v2, &mut wrong);
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

fn create_survives_any_fault() {
    survives(&Case {
        before: |_| (),
        command: |w| launch(w, &["create"]),
        undoes: true,
        done: is_created,
        ..CASE
    });
}

fn create_in_a_user_namespace_survives_any_fault() {
    survives(&Case {
        prepare: |w| {
            w.b.user_namespace();
            // What a user namespace cannot have.
            w.b.remove("/linux/resources")
                .remove("/process/oomScoreAdj");
            w.b.set("/hooks/createRuntime", json!([{"path": "/bin/true"}]));
        },
        before: |_| (),
        command: |w| launch(w, &["create"]),
        undoes: true,
        done: is_created,
        ..CASE
    });
}

fn start_survives_any_fault() {
    survives(&Case {
        before: created,
        command: |w| words(&["start", &w.b.id]),
        with_init: true,
        done: |w, _| w.status() == "running",
        ..CASE
    });
}

fn run_survives_any_fault() {
    survives(&Case {
        program: &["touch", "/tmp/done"],
        before: |_| (),
        command: |w| launch(w, &["run"]),
        done: |w, _| w.b.file("host/done").exists() && w.status().contains("does not exist"),
        ..CASE
    });
}

fn run_detached_survives_any_fault() {
    survives(&Case {
        before: |_| (),
        command: |w| launch(w, &["run", "--detach"]),
        undoes: true,
        done: |w, _| w.status() == "running",
        ..CASE
    });
}

fn exec_survives_any_fault() {
    survives(&Case {
        command: |w| {
            words(&[
                "exec",
                "--pid-file",
                &w.b.text("pid"),
                &w.b.id,
                "touch",
                "/tmp/done",
            ])
        },
        done: |w, _| w.b.file("host/done").exists(),
        ..CASE
    });
}

fn exec_detached_survives_any_fault() {
    survives(&Case {
        command: |w| {
            words(&[
                "exec",
                "--detach",
                "--pid-file",
                &w.b.text("pid"),
                &w.b.id,
                "touch",
                "/tmp/done",
            ])
        },
        done: |w, _| has_run(w),
        ..CASE
    });
}

fn kill_survives_any_fault() {
    survives(&Case {
        command: |w| words(&["kill", &w.b.id, "KILL"]),
        done: |w, _| soon(|| w.status() == "stopped"),
        ..CASE
    });
}

fn kill_all_survives_any_fault() {
    survives(&Case {
        command: |w| words(&["kill", "--all", &w.b.id, "KILL"]),
        done: |w, _| soon(|| w.status() == "stopped"),
        ..CASE
    });
}

fn delete_survives_any_fault() {
    survives(&Case {
        before: stopped,
        command: |w| words(&["delete", &w.b.id]),
        done: |w, _| tidy(w).is_empty(),
        ..CASE
    });
}

fn delete_force_survives_any_fault() {
    survives(&Case {
        command: |w| words(&["delete", "--force", &w.b.id]),
        done: |w, _| tidy(w).is_empty(),
        ..CASE
    });
}

/// The file of a limit that both views have.
const LIMITS: [(&str, &str); 2] = [
    ("pids/{}/pids.max", "77\n"),
    ("unified/{}/cgroup.max.depth", "7\n"),
];

fn update_survives_any_fault() {
    survives(&Case {
        prepare: |w| {
            let limit = match w.b.launcher.is_empty() {
                true => {
                    json!({"pids": {"limit": 77}, "devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]})
                }
                false => {
                    json!({"unified": {"cgroup.max.depth": "7"}, "devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]})
                }
            };
            fs::write(w.b.path().join("limits"), limit.to_string()).unwrap();
            w.expect_files();
        },
        command: |w| {
            let limits = w.b.path().join("limits").display().to_string();
            words(&["update", "--resources", &limits, &w.b.id])
        },
        done: |w, _| {
            let (file, value) = LIMITS[usize::from(!w.b.launcher.is_empty())];
            let file = format!("/sys/fs/cgroup/{}", file.replace("{}", &w.b.id));
            fs::read_to_string(file).unwrap() == value
        },
        ..CASE
    });
}

fn pause_survives_any_fault() {
    survives(&Case {
        command: |w| words(&["pause", &w.b.id]),
        done: |w, _| w.status() == "paused",
        ..CASE
    });
}

fn resume_survives_any_fault() {
    survives(&Case {
        before: paused,
        command: |w| words(&["resume", &w.b.id]),
        done: |w, _| w.status() == "running",
        ..CASE
    });
}

fn ps_survives_any_fault() {
    survives(&Case {
        command: |w| words(&["ps", &w.b.id]),
        done: |w, answer| {
            let lines: Vec<_> = answer.out.lines().collect();
            let pid = format!(" {} ", w.pid());
            lines.len() == 2 && lines[0].contains("PID") && lines[1].contains(&pid)
        },
        ..CASE
    });
}

fn state_survives_any_fault() {
    survives(&Case {
        command: |w| words(&["state", &w.b.id]),
        done: |_, answer| {
            let state: Value = serde_json::from_str(&answer.out).unwrap_or_default();
            state["status"] == "running" && state["pid"].as_i64() > Some(0)
        },
        ..CASE
    });
}

fn events_survives_any_fault() {
    survives(&Case {
        command: |w| words(&["events", "--stats", &w.b.id]),
        done: |w, answer| {
            let event: Value = serde_json::from_str(&answer.out).unwrap_or_default();
            let current = match w.b.launcher.is_empty() {
                true => {
                    event["data"]["pids"]["current"] == 1
                        && event["data"]["memory"]["usage"]["usage"].as_u64() > Some(0)
                }
                false => event["data"].is_object(),
            };
            event["type"] == "stats" && current
        },
        ..CASE
    });
}

fn checkpoint_survives_any_fault() {
    survives(&Case {
        prepare: |w| {
            // In place of criu.
            let script = "#!/bin/sh\nexit 0\n";
            let criu = w.b.file("criu");
            fs::write(&criu, script).unwrap();
            fs::set_permissions(&criu, fs::Permissions::from_mode(0o755)).unwrap();
            fs::create_dir(w.b.file("images")).unwrap();
            w.expect_files();
        },
        command: |w| {
            let (criu, images) = (w.b.text("criu"), w.b.text("images"));
            words(&[
                "--criu",
                &criu,
                "checkpoint",
                "--image-path",
                &images,
                &w.b.id,
            ])
        },
        done: |w, _| tidy(w).is_empty(),
        ..CASE
    });
}
