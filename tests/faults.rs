//! Faults: `create` fails or is killed at each of its system calls, in parent and child, and then `delete --force` runs.
//! Whatever happened, it comes back in time and nothing is left behind: no state, cgroup, mount or process.

use runtime_tests::{Bundle, Output, host};
use std::collections::BTreeMap;
use std::fs;

runtime_tests::tests![
    create_killed_at_any_system_call_leaves_nothing_after_delete,
    create_failing_with_eperm_at_any_system_call_leaves_nothing_after_delete,
    create_failing_with_enomem_at_any_system_call_leaves_nothing_after_delete,
    delete_force_works_from_an_empty_state_directory,
    the_child_dies_with_a_killed_create,
    delete_waits_for_a_frozen_container,
];

/// `create` under strace with these options. The tracer is a process of its own beside it, because init goes on after it.
fn traced(b: &Bundle, options: &[&str]) -> Output {
    let mut words = vec!["strace", "-D", "-f", "-qq", "-o"];
    let log = b.text("strace");
    words.push(&log);
    words.extend(options);
    b.launch("create", &[]).through(words).output()
}

/// How often the busiest process of `create` makes each call, from a run without faults.
fn calls() -> BTreeMap<String, usize> {
    host::program("strace");
    let b = Bundle::new();
    traced(&b, &[]).ok();
    let mut by_process: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in b.read("strace").lines() {
        let (pid, rest) = line.split_once(' ').unwrap();
        if let Some((name, _)) = rest.trim_start().split_once('(')
            && !name.is_empty()
            && name
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
        {
            *by_process
                .entry((name.to_owned(), pid.to_owned()))
                .or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((name, _), count) in by_process {
        let entry = most.entry(name).or_insert(0);
        *entry = count.max(*entry);
    }
    b.delete(&["--force"]).ok();
    most
}

/// Injects `fault` at every occurrence of every call and reports what was left or hung.
fn at_every_call(fault: &str, spared: &[&str]) {
    let calls = calls();
    assert!(calls.len() > 20, "strace saw only {calls:?}");
    let all: Vec<(String, usize)> = calls
        .into_iter()
        .filter(|c| !spared.contains(&c.0.as_str()))
        .flat_map(|(name, count)| (1..=count).map(move |n| (name.clone(), n)))
        .collect();
    let mut wrong = Vec::new();
    for (name, n) in &all {
        let tried = std::panic::catch_unwind(|| {
            let b = Bundle::new();
            let inject = format!("inject={name}:{fault}:when={n}");
            traced(&b, &["-e", &format!("trace={name}"), "-e", &inject]);
            b.delete(&["--force"]).ok();
            b.left_nothing();
        });
        if let Err(payload) = tried {
            let text = payload
                .downcast_ref::<String>()
                .cloned()
                .unwrap_or_default();
            wrong.push(format!("{name} {n}: {}", text.replace('\n', " | ")));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        all.len(),
        wrong.join("\n")
    );
}

fn create_killed_at_any_system_call_leaves_nothing_after_delete() {
    at_every_call("signal=KILL", &[]);
}

fn create_failing_with_eperm_at_any_system_call_leaves_nothing_after_delete() {
    at_every_call("error=EPERM", &["exit_group", "exit"]);
}

fn create_failing_with_enomem_at_any_system_call_leaves_nothing_after_delete() {
    at_every_call("error=ENOMEM", &["exit_group", "exit"]);
}

fn delete_force_works_from_an_empty_state_directory() {
    let b = Bundle::new();
    fs::create_dir_all(b.state_dir().join(&b.id)).unwrap();
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn the_child_dies_with_a_killed_create() {
    // A hook holds create in the middle, where it is killed: once the parent's own, once one that the child waits for.
    for kind in ["createRuntime", "createContainer"] {
        let mut b = Bundle::new();
        let up = b.text("up");
        b.hook(kind, &format!("echo $$ > {up}; exec sleep 1000"));
        let create = b.launch("create", &[]).spawn();
        runtime_tests::wait_for("the hook runs", || b.read("up").ends_with('\n'));
        let pid = rustix::process::Pid::from_raw(create.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        create.wait().ends(137);
        // The hook itself is the caller's process, which nobody promised to end; of ours none is left even before delete.
        runtime_tests::wait_for("the child is dead", || {
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
