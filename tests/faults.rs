//! Fault injection: `create` fails or is killed at each system call of its processes, then `delete --force` runs.
//! Each time the command returns in time, and nothing is left: no state, cgroup, mount or process.

use runtime_tests::harness::attempt;
use runtime_tests::{Bundle, Output, host, wait_for};
use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

runtime_tests::tests![
    create_killed_at_any_system_call_leaves_nothing_after_delete,
    create_failing_with_eperm_at_any_system_call_leaves_nothing_after_delete,
    create_failing_with_enomem_at_any_system_call_leaves_nothing_after_delete,
    delete_force_works_from_an_empty_state_directory,
    the_child_dies_with_a_killed_create,
    delete_waits_for_a_frozen_container,
];

/// Runs `create` and makes the `n`-th call of a number by one of its processes fail with `error` (with 0, kills the
/// process there). The tracer is a separate process, because init outlives `create`.
fn traced(b: &Bundle, process: usize, call: usize, n: usize, error: i32) -> Output {
    let mut words = vec![host::helper().display().to_string(), "inject".into()];
    words.extend([process, call, n].map(|number| number.to_string()));
    words.extend([error.to_string(), b.text("calls")]);
    b.launch("create", &[]).deadline(20).through(words).output()
}

/// The calls of each process of `create` in a run without faults: process, call number and count.
fn calls() -> Vec<[usize; 3]> {
    let b = Bundle::new();
    traced(&b, 0, 0, 0, 0).ok();
    b.delete(&["--force"]).ok();
    wait_for("the tracer exits", || b.read("calls").ends_with("end\n"));
    let text = b.read("calls");
    let lines = text.lines().filter(|line| *line != "end");
    lines
        .map(|line| {
            let mut numbers = line.split(' ').map(|n| n.parse().unwrap());
            [(); 3].map(|()| numbers.next().unwrap())
        })
        .collect()
}

/// Injects `error` at every occurrence of every call of every process, a few at a time. Reports what was left and
/// what hung.
fn at_every_call(error: i32, spared: &[usize]) {
    let calls = calls();
    assert!(calls.len() > 40, "only {calls:?}");
    let all: Vec<[usize; 3]> = calls
        .into_iter()
        .filter(|[_, call, _]| !spared.contains(call))
        .flat_map(|[process, call, count]| (1..=count).map(move |n| [process, call, n]))
        .collect();
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    let work = || {
        while let Some(&[process, call, n]) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            let tried = attempt(|| {
                let b = Bundle::new();
                traced(&b, process, call, n, error);
                b.delete(&["--force"]).ok();
                b.left_nothing();
            });
            if let Err(text) = tried {
                let text = text.replace('\n', " | ");
                let line = format!("process {process}, call {call}, time {n}: {text}");
                wrong.lock().unwrap().push(line);
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    let wrong = wrong.into_inner().unwrap();
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

/// `exit` and `exit_group`, which cannot fail.
const EXITS: [usize; 2] = [60, 231];

fn create_killed_at_any_system_call_leaves_nothing_after_delete() {
    at_every_call(0, &[]);
}

fn create_failing_with_eperm_at_any_system_call_leaves_nothing_after_delete() {
    at_every_call(1, &EXITS);
}

fn create_failing_with_enomem_at_any_system_call_leaves_nothing_after_delete() {
    at_every_call(12, &EXITS);
}

fn delete_force_works_from_an_empty_state_directory() {
    let b = Bundle::new();
    fs::create_dir_all(b.state_dir().join(&b.id)).unwrap();
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn the_child_dies_with_a_killed_create() {
    // A hook holds create while it is killed: first a hook that the parent waits for, then one that the child waits
    // for.
    for kind in ["createRuntime", "createContainer"] {
        let mut b = Bundle::new();
        let up = b.text("up");
        b.hook(kind, &format!("echo $$ > {up}; exec sleep 1000"));
        let create = b.launch("create", &[]).spawn();
        wait_for("the hook runs", || b.read("up").ends_with('\n'));
        let pid = rustix::process::Pid::from_raw(create.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        create.wait().ends(137);
        // The hook is the caller's process and may survive. Our child must be dead even before `delete`.
        wait_for("the child is dead", || {
            host::processes_of(&b.dir).is_empty()
        });
        if kind == "createRuntime" {
            let hook = b.read("up").trim().parse().ok();
            let hook = hook.and_then(rustix::process::Pid::from_raw).unwrap();
            rustix::process::kill_process(hook, rustix::process::Signal::KILL).unwrap();
        }
        b.delete(&["--force"]).ok();
        assert!(b.cgroups().is_empty(), "left behind: {:?}", b.cgroups());
        assert_eq!(fs::read_dir(b.state_dir()).unwrap().count(), 0);
    }
}

fn delete_waits_for_a_frozen_container() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    let freezer = host::controller("freezer").join(&b.id);
    fs::write(freezer.join("freezer.state"), "FROZEN").unwrap();
    // A v1-frozen task survives SIGKILL until it is thawed.
    b.call(&["delete", "--force", &b.id]).ok();
    b.left_nothing();
}
