//! Commands that race on one id. Their answers and the status in the end are as if one had run after the other, and nothing is
//! left after `delete --force`. A run samples; with `LOAD=all` in the environment each pair races 300 times.

use crate::load::{at_once, full};
use runtime_tests::harness::attempt;
use runtime_tests::{Bundle, Cmd, Output, Value};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

runtime_tests::tests![
    every_pair_of_commands_may_race_on_one_id,
    every_pair_of_commands_may_race_without_a_pid_namespace,
    every_pair_of_commands_may_race_on_cgroup_v2,
    every_pair_of_commands_may_race_for_an_ordinary_user,
    a_signal_at_any_moment_leaves_nothing,
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verb {
    Create,
    Start,
    Exec,
    Kill,
    Pause,
    Resume,
    Update,
    Delete,
    DeleteForce,
}
use Verb::*;

const VERBS: [Verb; 9] = [
    Create,
    Start,
    Exec,
    Kill,
    Pause,
    Resume,
    Update,
    Delete,
    DeleteForce,
];

/// The status of the container: it does not exist, or as `state` names it. A paused one is either created or running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    Nothing,
    Created,
    Running,
    PausedCreated,
    PausedRunning,
    Stopped,
}
use Status::*;

impl Status {
    fn name(self) -> &'static str {
        match self {
            Nothing => "",
            Created => "created",
            Running => "running",
            PausedCreated | PausedRunning => "paused",
            Stopped => "stopped",
        }
    }
}

/// What the specification and runc say: whether the command succeeds, and the status that follows.
fn after(verb: Verb, status: Status) -> (bool, Status) {
    match (verb, status) {
        (Create, Nothing) => (true, Created),
        (Start, Created) => (true, Running),
        (Exec | Update, Created | Running) | (Update, PausedCreated | PausedRunning) => {
            (true, status)
        }
        (Kill, Created | Running | PausedCreated | PausedRunning) => (true, Stopped),
        (Pause, Created) => (true, PausedCreated),
        (Pause, Running) => (true, PausedRunning),
        (Resume, PausedCreated) => (true, Created),
        (Resume, PausedRunning) => (true, Running),
        (Delete, Stopped) | (DeleteForce, _) => (true, Nothing),
        _ => (false, status),
    }
}

/// The outcomes of two commands that may be observed: whether each has succeeded, and the status.
fn outcomes([a, b]: [Verb; 2], status: Status) -> Vec<(bool, bool, Status)> {
    let (ok_a, then) = after(a, status);
    let (ok_b, end) = after(b, then);
    let mut all = vec![(ok_a, ok_b, end)];
    let (ok_b, then) = after(b, status);
    let (ok_a, end) = after(a, then);
    all.push((ok_a, ok_b, end));
    match [a, b] {
        // Both may send their signal, or find nothing frozen any more.
        [Kill, Kill] => all.push((true, true, Stopped)),
        // One kills it, and either removes it.
        [Delete, DeleteForce] | [DeleteForce, Delete] => all.push((true, true, Nothing)),
        [Resume, Resume] => all.push((true, true, end)),
        // A killed process is not started: `create` removes what it has made and reports that.
        [Create, Kill | DeleteForce] => all.push((false, true, Nothing)),
        [Kill | DeleteForce, Create] => all.push((true, false, Nothing)),
        _ => {}
    }
    all
}

/// The status in which the command has something to do.
fn ground(verb: Verb) -> Status {
    match verb {
        Create => Nothing,
        Start => Created,
        Exec | Kill | Pause | Update | DeleteForce => Running,
        Resume => PausedRunning,
        Delete => Stopped,
    }
}

fn command(b: &Bundle, verb: Verb) -> Cmd {
    let id = b.id.as_str();
    let words: &[&str] = match verb {
        Create => {
            let words = ["create", "--bundle", &b.text("bundle"), id];
            return b.call(&words).deadline(20);
        }
        Start => &["start", id],
        Exec => &["exec", "--detach", id, "sleep", "1000"],
        Kill => &["kill", id, "KILL"],
        Pause => &["pause", id],
        Resume => &["resume", id],
        Update => &["update", "--pids-limit", "77", id],
        Delete => &["delete", id],
        DeleteForce => &["delete", "--force", id],
    };
    b.call(words).deadline(20)
}

/// Brings the container, which does not exist, into a status.
fn prepare(b: &Bundle, status: Status) {
    let verbs: &[Verb] = match status {
        Nothing => &[],
        Created => &[Create],
        Running => &[Create, Start],
        PausedCreated => &[Create, Pause],
        PausedRunning => &[Create, Start, Pause],
        Stopped => &[Create, Start, Kill],
    };
    for verb in verbs {
        command(b, *verb).ok();
    }
    if status == Stopped {
        b.wait_for_status("stopped");
    }
}

/// The status now: `""` if the container does not exist. The output is whole, or an error.
fn status(b: &Bundle) -> String {
    let output = b.call(&["state", &b.id]).deadline(20).output();
    if output.status != 0 {
        output.fails(&["does not exist"]);
        return String::new();
    }
    let state: Value =
        serde_json::from_str(&output.out).unwrap_or_else(|e| panic!("{e}: {output}"));
    state["status"].as_str().unwrap().to_owned()
}

/// What a command that was too late, or too early, may say.
const REASONS: [&str; 12] = [
    "does not exist",
    "with id exists",
    "not running",
    "has stopped",
    "that is not stopped",
    "is not paused",
    "is paused",
    "already paused",
    "already running",
    "it is creating",
    "in a paused container",
    "before its program began",
];
/// Of the kernel's errors none is the truth that a user needs.
const NONSENSE: [&str; 6] = [
    "bad file descriptor",
    "no such process",
    "no such file",
    "no such device",
    "internal error",
    "panic",
];

fn check(output: &Output) {
    let text = output.err.to_lowercase();
    let sensible = REASONS.iter().any(|reason| text.contains(reason))
        || text.contains("its init exited before the program was executed");
    let nonsense = NONSENSE.iter().any(|words| text.contains(words));
    let one = text.lines().count() == 1;
    match output.status {
        0 => assert!(text.is_empty(), "{output}"),
        _ => assert!(one && sensible && !nonsense, "{output}"),
    }
}

/// Runs the two at the same time, the second one `delay` later.
fn race(b: &Bundle, pair: [Verb; 2], from: Status, delay: Duration) {
    prepare(b, from);
    let first = command(b, pair[0]).spawn();
    let begun = Instant::now();
    while begun.elapsed() < delay {
        std::hint::spin_loop();
    }
    let second = command(b, pair[1]).spawn();
    let outputs = [first.wait(), second.wait()];
    outputs.iter().for_each(check);
    let ok = outputs.each_ref().map(|output| output.status == 0);
    let allowed: Vec<Status> = outcomes(pair, from)
        .into_iter()
        .filter(|(a, b, _)| [*a, *b] == ok)
        .map(|(.., status)| status)
        .collect();
    let told = || format!("{}\n{}", outputs[0], outputs[1]);
    assert!(!allowed.is_empty(), "contradiction: {}", told());
    // A killed process takes a moment to end.
    let begun = Instant::now();
    loop {
        let status = status(b);
        if allowed.iter().any(|allowed| allowed.name() == status) {
            break;
        }
        let text = format!("{status:?} instead of {allowed:?}: {}", told());
        assert!(begun.elapsed() < Duration::from_secs(3), "{text}");
    }
    let delete = command(b, DeleteForce).output();
    assert!(delete.status == 0, "{delete}\nafter {}", told());
    assert!(b.cgroups().is_empty(), "cgroups left behind: {}", told());
    let left = fs::read_dir(b.state_dir()).map_or(0, Iterator::count);
    assert!(left == 0, "state left behind: {}", told());
}

/// Lets each pair race `times` times from each status that suits one of the two, on several ids at a time.
fn race_all(make: fn() -> Bundle, verbs: &[Verb], times: usize) {
    let pairs: Vec<[Verb; 2]> = (0..verbs.len())
        .flat_map(|a| (a..verbs.len()).map(move |b| [verbs[a], verbs[b]]))
        .collect();
    let wrong = Mutex::new(Vec::new());
    let races = AtomicUsize::new(0);
    at_once(3, pairs.len(), |n| {
        let pair = pairs[n];
        let mut b = make();
        b.args(&["sleep", "1000"]).write();
        let mut bad = Vec::new();
        for round in 0..times {
            let from = ground(pair[round % 2]);
            // Up to three milliseconds, in steps that do not repeat soon.
            let delay = Duration::from_micros((round as u64 * 733 + n as u64 * 97) % 3000);
            let order = match (round / 2 + n) % 2 {
                0 => pair,
                _ => [pair[1], pair[0]],
            };
            let tried = attempt(|| race(&b, order, from, delay));
            races.fetch_add(1, Ordering::Relaxed);
            if let Err(text) = tried {
                bad.push(format!("{order:?} from {from:?} after {delay:?}: {text}"));
                let _ = attempt(|| command(&b, DeleteForce).output());
            }
        }
        if let Err(text) = attempt(|| b.left_nothing()) {
            bad.push(format!("{pair:?}: {text}"));
        }
        wrong.lock().unwrap().append(&mut bad);
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        races.into_inner(),
        wrong.join("\n\n")
    );
}

/// The number of races of each pair.
fn times(sample: usize) -> usize {
    full(300, sample)
}

fn every_pair_of_commands_may_race_on_one_id() {
    race_all(Bundle::new, &VERBS, times(2));
}

fn every_pair_of_commands_may_race_without_a_pid_namespace() {
    let make = || {
        let mut b = Bundle::new();
        b.without_namespace("pid");
        b
    };
    race_all(make, &VERBS, times(1));
}

fn every_pair_of_commands_may_race_on_cgroup_v2() {
    let make = || {
        let mut b = Bundle::new();
        b.in_pure_v2().without_namespace("pid");
        b
    };
    // Beside v1 hierarchies, v2 may have no controller that `update` could set.
    race_all(
        make,
        &[
            Create,
            Start,
            Exec,
            Kill,
            Pause,
            Resume,
            Delete,
            DeleteForce,
        ],
        times(1),
    );
}

fn every_pair_of_commands_may_race_for_an_ordinary_user() {
    let make = || {
        let mut b = Bundle::new();
        b.ordinary();
        b
    };
    // Without a cgroup there is neither `pause` nor `update`.
    race_all(make, &[Create, Start, Kill, Delete, DeleteForce], times(2));
}

/// SIGINT or SIGTERM reaches `run`, `create` or `exec` after some time. The status is that of the signal, or of a command that
/// was through already.
fn a_signal_at_any_moment_leaves_nothing() {
    at_once(4, full(300, 24), |n| {
        let mut b = Bundle::new();
        b.args(&["sleep", "0.2"]);
        let number = [2, 15][n % 2];
        let command = match n % 3 {
            0 => b.launch("run", &[]),
            1 => b.launch("create", &[]),
            _ => {
                b.args(&["sleep", "1000"]).create().ok();
                b.start().ok();
                b.call(&["exec", &b.id, "sleep", "0.2"])
            }
        };
        let running = command.deadline(20).spawn();
        std::thread::sleep(Duration::from_micros(n as u64 * 211 % 8000));
        let pid = rustix::process::Pid::from_raw(running.pid()).unwrap();
        let signal = rustix::process::Signal::from_named_raw(number).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        let output = running.wait();
        assert!([0, 128 + number].contains(&output.status), "{output}");
        if n % 3 != 2 && output.status != 0 {
            // What is interrupted undoes itself; a signal before it holds them ends it before it has made anything.
            b.left_nothing();
        }
        b.delete(&["--force"]).ok();
        b.left_nothing();
    });
}
