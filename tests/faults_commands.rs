//! Fault injection into every command: each system call of its processes fails once, and the process is killed there.
//! Each time the command returns in time, success means that the work is done, `delete --force` succeeds, and nothing is
//! left. A run samples the calls; with `FAULTS=all` in the environment it takes every one.

use runtime_tests::harness::attempt;
use runtime_tests::{Bundle, Cmd, Output, Value, host, wait_for};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

runtime_tests::tests![
    run_detached_survives_any_fault,
    start_survives_any_fault,
    exec_detached_survives_any_fault,
    kill_survives_any_fault,
    kill_all_survives_any_fault,
    pause_survives_any_fault,
    resume_survives_any_fault,
    update_survives_any_fault,
    delete_survives_any_fault,
    delete_force_survives_any_fault,
    state_survives_any_fault,
    ps_survives_any_fault,
    events_survives_any_fault,
];

/// A process killed instead of an errno.
const KILLED: i32 = 0;
const EIO: i32 = 5;
const ENOMEM: i32 = 12;

/// `exit` and `exit_group`, which cannot fail.
const EXITS: [usize; 2] = [60, 231];

/// How many calls of a command are tried in a run that samples.
const SAMPLE: usize = 40;

/// One command and the ground it needs.
struct Case {
    /// Brings the container into the state that the command needs.
    before: fn(&Bundle),
    command: fn(&Bundle) -> Cmd,
    /// Whether the work is done.
    done: fn(&Bundle, &Output) -> bool,
}

fn bundle() -> Bundle {
    let mut b = Bundle::new();
    b.args(&["sleep", "1000"]);
    b
}

fn created(b: &Bundle) {
    b.launch("create", &[]).ok();
}

fn running(b: &Bundle) {
    created(b);
    b.start().ok();
}

fn paused(b: &Bundle) {
    running(b);
    b.call(&["pause", &b.id]).ok();
}

fn stopped(b: &Bundle) {
    running(b);
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
}

/// The command through the injector: the `n`-th `call` of a process fails with `error`.
fn traced(b: &Bundle, case: &Case, [process, call, n]: [usize; 3], error: i32) -> Output {
    let mut words = vec![host::helper().display().to_string(), "inject".into()];
    words.extend([process, call, n].map(|number| number.to_string()));
    words.extend([error.to_string(), b.text("calls")]);
    (case.command)(b).deadline(20).through(words).output()
}

/// The calls of each process of the command in a run without faults: process, call and the how-manieth.
fn calls(case: &Case) -> Vec<[usize; 3]> {
    let b = bundle();
    (case.before)(&b);
    let output = traced(&b, case, [0; 3], 0);
    assert!(output.status == 0 && (case.done)(&b, &output), "{output}");
    b.delete(&["--force"]).ok();
    wait_for("the tracer exits", || b.read("calls").ends_with("end\n"));
    let text = b.read("calls");
    let lines = text.lines().filter(|line| *line != "end");
    let number = |word: &str| word.parse::<usize>().unwrap();
    lines
        .map(|line| line.split(' ').map(number).collect::<Vec<_>>())
        .filter(|line| !EXITS.contains(&line[1]))
        .flat_map(|line| (1..=line[2]).map(move |n| [line[0], line[1], n]))
        .collect()
}

fn inject(case: &Case, at: [usize; 3], error: i32) {
    let b = bundle();
    (case.before)(&b);
    let output = traced(&b, case, at, error);
    assert!(
        output.status != 0 || (case.done)(&b, &output),
        "untrue: {output}"
    );
    // What was killed has said nothing.
    assert!(
        output.status == 0 || error == KILLED || !output.err.is_empty(),
        "silent: {output}"
    );
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn survives(case: &Case) {
    let calls = calls(case);
    let all = std::env::var("FAULTS").is_ok_and(|faults| faults == "all");
    let step = if all { 1 } else { calls.len().div_ceil(SAMPLE) };
    let errors = [KILLED, EIO, ENOMEM];
    // A sample takes the errors in turn.
    let tries: Vec<_> = calls.iter().step_by(step).enumerate().collect();
    let tries: Vec<_> = tries
        .into_iter()
        .flat_map(|(i, at)| {
            let own = if all {
                &errors[..]
            } else {
                &errors[i % 3..][..1]
            };
            own.iter().map(|error| (*at, *error)).collect::<Vec<_>>()
        })
        .collect();
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(&(at, error)) = tries.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(text) = attempt(|| inject(case, at, error)) {
                let [process, call, n] = at;
                let text = text.replace('\n', " | ");
                let line =
                    format!("process {process}, call {call}, time {n}, error {error}: {text}");
                wrong.lock().unwrap().push(line);
            }
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    let (bad, of) = (wrong.len(), tries.len());
    assert!(wrong.is_empty(), "{bad} of {of}:\n{}", wrong.join("\n"));
}

fn is(b: &Bundle, status: &str) -> bool {
    b.status() == status
}

fn run_detached_survives_any_fault() {
    survives(&Case {
        before: |_| (),
        command: |b| b.launch("run", &["--detach"]),
        done: |b, _| is(b, "running"),
    });
}

fn start_survives_any_fault() {
    survives(&Case {
        before: created,
        command: |b| b.call(&["start", &b.id]),
        done: |b, _| is(b, "running"),
    });
}

fn exec_detached_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["exec", "--detach", &b.id, "touch", "/tmp/done"]),
        done: |b, _| {
            wait_for("the process has run", || {
                b.rootfs().join("tmp/done").exists()
            });
            true
        },
    });
}

fn kill_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["kill", &b.id, "KILL"]),
        done: |b, _| {
            b.wait_for_status("stopped");
            true
        },
    });
}

fn kill_all_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["kill", "--all", &b.id, "KILL"]),
        done: |b, _| {
            b.wait_for_status("stopped");
            true
        },
    });
}

fn pause_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["pause", &b.id]),
        done: |b, _| is(b, "paused"),
    });
}

fn resume_survives_any_fault() {
    survives(&Case {
        before: paused,
        command: |b| b.call(&["resume", &b.id]),
        done: |b, _| is(b, "running"),
    });
}

fn update_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["update", "--pids-limit", "77", &b.id]),
        done: |b, _| {
            let file = host::controller("pids").join(&b.id).join("pids.max");
            fs::read_to_string(file).unwrap() == "77\n"
        },
    });
}

fn delete_survives_any_fault() {
    survives(&Case {
        before: stopped,
        command: |b| b.call(&["delete", &b.id]),
        done: |b, _| {
            b.left_nothing();
            true
        },
    });
}

fn delete_force_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["delete", "--force", &b.id]),
        done: |b, _| {
            b.left_nothing();
            true
        },
    });
}

fn state_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["state", &b.id]),
        done: |_, output| {
            let state: Value = serde_json::from_str(&output.out).unwrap_or_default();
            state["status"] == "running"
        },
    });
}

fn ps_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["ps", "--format", "json", &b.id]),
        done: |b, output| {
            let pids: Vec<i32> = serde_json::from_str(&output.out).unwrap_or_default();
            pids == [b.pid()]
        },
    });
}

fn events_survives_any_fault() {
    survives(&Case {
        before: running,
        command: |b| b.call(&["events", "--stats", &b.id]),
        done: |_, output| {
            let event: Value = serde_json::from_str(&output.out).unwrap_or_default();
            event["type"] == "stats"
        },
    });
}
