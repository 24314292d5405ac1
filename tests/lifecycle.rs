//! The life cycle of a container on runc's command line: create, start, run, state, kill, delete, list.
//! The tests check the output and status of each command, and that no process of ours outlives its use.

use runtime_tests::{Bundle, Running, Value, host, json, wait_for};
use std::fs;
use std::os::fd::OwnedFd;

runtime_tests::tests![
    a_container_can_be_deleted_right_after_it_was_killed,
    run_returns_the_status_of_the_process,
    run_returns_128_and_the_signal_that_killed_the_process,
    run_passes_stdin_and_stdout_through,
    run_removes_the_container_when_the_process_ends,
    run_with_keep_leaves_a_stopped_container,
    run_with_detach_returns_while_the_process_runs,
    run_forwards_signals_to_the_process,
    run_never_misses_the_exit_of_a_child_that_ends_at_once,
    start_never_misses_the_exit_of_a_child_that_ends_at_once,
    create_does_not_run_the_process_and_start_does,
    create_leaves_no_process_but_init,
    create_takes_the_current_directory_as_its_bundle,
    the_stdio_of_create_is_the_stdio_of_the_process,
    state_has_every_field_of_the_specification,
    state_says_stopped_for_a_zombie,
    state_of_an_unknown_container_does_not_exist,
    start_of_a_running_container_fails,
    start_of_a_stopped_container_fails,
    start_of_an_unknown_container_fails,
    create_with_a_null_process_succeeds_and_start_then_fails,
    kill_takes_names_and_numbers,
    kill_sends_sigterm_by_default,
    kill_of_an_unknown_signal_fails,
    kill_works_before_start,
    kill_of_a_stopped_container_says_not_running,
    kill_all_of_a_stopped_container_succeeds,
    kill_all_reaches_every_process_of_a_shared_pid_namespace,
    delete_of_a_running_container_fails_and_leaves_it_running,
    delete_with_force_ends_a_running_container,
    delete_with_force_ends_a_created_container,
    delete_of_an_unknown_container_does_not_exist,
    delete_with_force_of_an_unknown_container_succeeds,
    delete_kills_the_remaining_processes_without_a_pid_namespace,
    list_shows_every_container_as_a_table,
    list_as_json_has_every_container,
    list_quiet_prints_ids,
    list_of_no_containers_is_empty,
    many_containers_at_once_do_not_disturb_each_other,
    of_two_concurrent_starts_one_reports_that_the_container_runs,
];

fn a_container_can_be_deleted_right_after_it_was_killed() {
    // A process with much memory takes time to exit.
    let mut b = Bundle::new();
    b.sh("dd if=/dev/zero bs=200M count=1 2> /dev/null | { head -c 1 > /dev/null; touch /up; exec sleep 1000; }");
    b.create().ok();
    b.start().ok();
    wait_for("the process holds the memory", || {
        b.rootfs().join("up").exists()
    });
    b.kill("KILL").ok();
    b.delete(&[]).ok();
    b.left_nothing();
}

fn run_returns_the_status_of_the_process() {
    let mut b = Bundle::new();
    for status in [0, 1, 7, 255] {
        b.sh(&format!("exit {status}")).run().ends(status);
    }
    b.left_nothing();
}

fn run_returns_128_and_the_signal_that_killed_the_process() {
    let mut b = Bundle::new();
    for (name, number) in [("KILL", 9), ("SEGV", 11)] {
        // Without a pid namespace, because pid 1 ignores signals that it has no handler for.
        b.without_namespace("pid")
            .sh(&format!("kill -{name} $$; sleep 100"))
            .run()
            .ends(128 + number);
    }
    b.left_nothing();
}

fn run_passes_stdin_and_stdout_through() {
    let mut b = Bundle::new();
    b.sh("cat; echo error >&2");
    let output = b.launch("run", &[]).stdin_text("through\n").ok();
    output.prints("through\n");
    assert_eq!(output.err, "error\n");
}

fn run_removes_the_container_when_the_process_ends() {
    let b = Bundle::new();
    b.run_ok();
    b.left_nothing();
    b.call(&["state", &b.id])
        .output()
        .fails(&[&b.id, "does not exist"]);
}

fn run_with_keep_leaves_a_stopped_container() {
    let mut b = Bundle::new();
    b.sh("exit 3").launch("run", &["--keep"]).output().ends(3);
    assert_eq!(b.status(), "stopped");
    b.delete(&[]).ok();
    b.left_nothing();
}

fn run_with_detach_returns_while_the_process_runs() {
    let mut b = Bundle::new();
    b.waits();
    b.launch("run", &["--detach", "--pid-file", &b.text("pid")])
        .ok();
    assert_eq!(b.status(), "running");
    assert_eq!(b.read("pid"), b.pid().to_string());
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn run_forwards_signals_to_the_process() {
    let mut b = Bundle::new();
    b.args(&["helper", "signals"]);
    for signal in [1, 2, 3, 10, 12, 15] {
        let running = b.up();
        let kill = runtime_tests::Cmd::new(&b.dir, "kill")
            .args([format!("-{signal}"), running.pid().to_string()]);
        kill.ok();
        running
            .wait()
            .ends(40 + signal)
            .prints(&format!("up\nsignal {signal}\n"));
    }
    b.left_nothing();
}

fn run_never_misses_the_exit_of_a_child_that_ends_at_once() {
    let mut b = Bundle::new();
    b.args(&["false"]);
    for _ in 0..60 {
        b.launch("run", &[]).output().ends(1);
    }
    b.left_nothing();
}

fn start_never_misses_the_exit_of_a_child_that_ends_at_once() {
    let mut b = Bundle::new();
    b.args(&["false"]);
    for _ in 0..20 {
        b.create().ok();
        b.start().ok();
        b.wait_for_status("stopped");
        b.delete(&[]).ok();
    }
    b.left_nothing();
}

fn create_does_not_run_the_process_and_start_does() {
    let mut b = Bundle::new();
    b.sh("echo ran > /tmp/ran; exec sleep 1000")
        .create()
        .ok()
        .prints("");
    assert_eq!(b.status(), "created");
    assert!(
        !b.rootfs().join("tmp/ran").exists(),
        "create ran the process"
    );
    b.start().ok().prints("");
    wait_for("the process ran", || b.rootfs().join("tmp/ran").exists());
    assert_eq!(b.status(), "running");
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.left_nothing();
}

fn create_leaves_no_process_but_init() {
    let mut b = Bundle::new();
    b.waits();
    // An engine's monitor is the subreaper: it would become the parent of any process that create leaves behind.
    let script = "\"$@\"; echo status $?; read line";
    let (input, hold) = std::io::pipe().unwrap();
    let create = b.launch("create", &["--pid-file", &b.text("pid")]);
    let helper = host::helper().to_str().unwrap();
    let monitor = create.through([helper, "subreap", "sh", "-c", script, "sh"]);
    let monitor = monitor.stdin(fs::File::from(OwnedFd::from(input))).spawn();
    wait_for("create exits", || monitor.out().contains("status"));
    assert_eq!(monitor.out(), "status 0\n", "{}", monitor.err());
    let init: i32 = b.read("pid").parse().unwrap();
    let children = host::children_of(monitor.pid());
    assert_eq!(
        children.iter().map(|c| c.0).collect::<Vec<_>>(),
        [init],
        "children of the monitor: {children:?}"
    );
    drop(hold);
}

fn create_takes_the_current_directory_as_its_bundle() {
    let mut b = Bundle::new();
    b.waits().write();
    b.call(&["create", &b.id]).dir(b.path()).ok();
    assert_eq!(b.state()["bundle"], json!(b.path()));
    b.delete(&["--force"]).ok();
}

fn the_stdio_of_create_is_the_stdio_of_the_process() {
    let mut b = Bundle::new();
    b.sh("cat; echo error >&2; echo done > /tmp/done");
    let create = b.launch("create", &[]).stdin_text("from the caller\n").ok();
    assert_eq!((create.out.as_str(), create.err.as_str()), ("", ""));
    b.start().ok().prints("");
    wait_for("the process is done", || {
        b.rootfs().join("tmp/done").exists()
    });
    let written: Vec<String> = fs::read_dir(&b.dir)
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_file())
        .map(|p| fs::read_to_string(p).unwrap())
        .collect();
    // The scratch directory holds the files that create got as stdout and stderr.
    assert!(written.iter().any(|t| t == "error\n"), "{written:?}");
    assert_eq!(
        written.iter().filter(|t| *t == "from the caller\n").count(),
        2,
        "{written:?}"
    );
}

fn state_has_every_field_of_the_specification() {
    let mut b = Bundle::new();
    b.waits().set(
        "/annotations",
        json!({"org.example.key": "value", "empty": ""}),
    );
    b.create().ok();
    let state = b.state();
    let text = |key: &str| state[key].as_str().unwrap_or_default().to_owned();
    assert_eq!(text("id"), b.id);
    assert_eq!(text("status"), "created");
    assert_eq!(text("bundle"), b.path().to_str().unwrap());
    assert_eq!(text("rootfs"), b.rootfs().to_str().unwrap());
    assert_eq!(
        state["annotations"],
        json!({"org.example.key": "value", "empty": ""})
    );
    assert!(text("ociVersion").starts_with("1."), "{state}");
    let pid = state["pid"].as_i64().unwrap();
    assert!(
        fs::exists(format!("/proc/{pid}/ns/pid")).unwrap(),
        "process {pid} is not alive"
    );
    is_rfc3339_in_utc(&text("created"));
    let created = text("created");
    b.start().ok();
    b.wait_for_status("running");
    assert_eq!(b.state()["created"], created);
    assert_eq!(b.state()["pid"], pid);
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    assert_eq!(b.state()["pid"], 0);
}

#[track_caller]
fn is_rfc3339_in_utc(text: &str) {
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    let (seconds, fraction) = shape.split_at(shape.len().min(19));
    let fraction_ok = fraction == "Z"
        || fraction
            .strip_prefix('.')
            .and_then(|f| f.strip_suffix('Z'))
            .is_some_and(|f| !f.is_empty() && f.bytes().all(|b| b == b'0'));
    assert!(
        seconds == "0000-00-00T00:00:00" && fraction_ok,
        "not RFC 3339 in UTC: {text:?}"
    );
}

fn state_says_stopped_for_a_zombie() {
    let mut b = Bundle::new();
    b.sh("read line < /tmp/go").write();
    let go = b.rootfs().join("tmp/go");
    runtime_tests::Cmd::new(&b.dir, "mkfifo").arg(&go).ok();
    // A subreaper that does not wait: `read` is a shell builtin, and during it init remains a zombie.
    let runtime = format!("{} --root {}", b.runtime.display(), b.text("state"));
    let (id, path) = (&b.id, b.text("bundle"));
    let script = format!(
        "{runtime} create --bundle {path} {id} && {runtime} start {id}; echo status $?; read line"
    );
    let (input, hold) = std::io::pipe().unwrap();
    let monitor = runtime_tests::Cmd::new(&b.dir, host::helper())
        .args(["subreap", "sh", "-c", &script])
        .stdin(fs::File::from(OwnedFd::from(input)))
        .spawn();
    wait_for("start exits", || monitor.out().contains("status"));
    assert_eq!(monitor.out(), "status 0\n", "{}", monitor.err());
    fs::write(go, "\n").unwrap();
    wait_for("init is a zombie", || {
        host::children_of(monitor.pid()).iter().any(|c| c.1 == 'Z')
    });
    assert_eq!(b.status(), "stopped");
    b.delete(&[]).ok();
    drop((hold, monitor));
    b.left_nothing();
}

fn state_of_an_unknown_container_does_not_exist() {
    let b = Bundle::empty();
    b.call(&["state", "nobody"])
        .output()
        .fails(&["nobody", "does not exist"])
        .prints("");
}

fn start_of_a_running_container_fails() {
    let mut b = Bundle::new();
    b.waits().launch("run", &["--detach"]).ok();
    b.start().fails(&["running"]);
    assert_eq!(b.status(), "running");
}

fn start_of_a_stopped_container_fails() {
    let b = Bundle::new();
    b.create().ok();
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    b.start().fails(&["stopped"]);
}

fn start_of_an_unknown_container_fails() {
    let b = Bundle::empty();
    b.start().fails(&[&b.id, "does not exist"]);
}

fn create_with_a_null_process_succeeds_and_start_then_fails() {
    let mut b = Bundle::new();
    b.set("/process", Value::Null).create().ok();
    assert_eq!(b.status(), "created");
    b.start().fails(&["process"]);
    b.delete(&["--force"]).ok();
    b.left_nothing();
    b.run()
        .fails(&["config.json: process: required field is missing"]);
    b.left_nothing();
}

fn kill_takes_names_and_numbers() {
    let mut b = Bundle::new();
    b.args(&["helper", "signals"]);
    for (name, number) in [
        ("SIGUSR1", 10),
        ("USR2", 12),
        ("15", 15),
        ("hup", 1),
        ("sigint", 2),
    ] {
        let running = b.up();
        b.kill(name).ok();
        running
            .wait()
            .ends(40 + number)
            .prints(&format!("up\nsignal {number}\n"));
    }
}

fn kill_sends_sigterm_by_default() {
    let mut b = Bundle::new();
    let running = b.args(&["helper", "signals"]).up();
    b.call(&["kill", &b.id]).ok();
    running.wait().ends(40 + 15);
}

fn kill_of_an_unknown_signal_fails() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    for signal in ["NONSENSE", "99", "-1", "0x9"] {
        b.call(&["kill", &b.id, "--", signal])
            .output()
            .fails(&["signal"]);
    }
    assert_eq!(b.status(), "running");
}

fn kill_works_before_start() {
    let b = Bundle::new();
    b.create().ok();
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.left_nothing();
}

fn kill_of_a_stopped_container_says_not_running() {
    let b = Bundle::new();
    b.launch("run", &["--keep"]).ok();
    b.kill("TERM").fails(&["container not running"]);
}

fn kill_all_of_a_stopped_container_succeeds() {
    let b = Bundle::new();
    b.launch("run", &["--keep"]).ok();
    b.call(&["kill", "--all", &b.id, "KILL"]).ok();
}

fn kill_all_reaches_every_process_of_a_shared_pid_namespace() {
    let mut b = Bundle::new();
    b.without_namespace("pid")
        .sh("sleep 1001 & sleep 1002 & echo up; wait");
    let running = b.up();
    let pids = || {
        b.cgroups()
            .first()
            .and_then(|c| fs::read_to_string(c.join("cgroup.procs")).ok())
            .unwrap_or_default()
    };
    wait_for("three processes run", || pids().lines().count() == 3);
    b.call(&["kill", "--all", &b.id, "KILL"]).ok();
    running.wait().ends(137);
    b.left_nothing();
}

fn delete_of_a_running_container_fails_and_leaves_it_running() {
    let mut b = Bundle::new();
    b.waits().launch("run", &["--detach"]).ok();
    b.delete(&[]).fails(&[&b.id, "running"]);
    assert_eq!(b.status(), "running");
}

fn delete_with_force_ends_a_running_container() {
    let mut b = Bundle::new();
    let running = b.waits().up();
    b.delete(&["--force"]).ok().prints("");
    running.wait().ends(137);
    b.left_nothing();
}

fn delete_with_force_ends_a_created_container() {
    let b = Bundle::new();
    b.create().ok();
    b.call(&["delete", "-f", &b.id]).ok();
    b.left_nothing();
}

fn delete_of_an_unknown_container_does_not_exist() {
    let b = Bundle::empty();
    b.delete(&[]).fails(&[&b.id, "does not exist"]);
}

fn delete_with_force_of_an_unknown_container_succeeds() {
    let b = Bundle::empty();
    b.delete(&["--force"]).ok();
}

fn delete_kills_the_remaining_processes_without_a_pid_namespace() {
    let mut b = Bundle::new();
    b.without_namespace("pid").sh("sleep 1003 & exit 0");
    b.launch("run", &["--detach"]).ok();
    b.wait_for_status("stopped");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn list_shows_every_container_as_a_table() {
    let b = two_containers();
    let output = b.call(&["list"]).ok();
    let rows: Vec<Vec<&str>> = output
        .out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(
        rows[0],
        ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"],
        "{output}"
    );
    assert_eq!(rows.len(), 3, "{output}");
    let other = format!("{}-b", b.id);
    assert_eq!(
        (rows[1][0], rows[1][2], rows[1][3]),
        (b.id.as_str(), "created", b.path().to_str().unwrap())
    );
    assert_eq!(rows[1][1], b.pid().to_string());
    assert_eq!(
        (rows[2][0], rows[2][1], rows[2][2], rows[2][5]),
        (other.as_str(), "0", "stopped", "root")
    );
    is_rfc3339_in_utc(rows[2][4]);
}

fn list_as_json_has_every_container() {
    let b = two_containers();
    for words in [
        &["list", "--format", "json"][..],
        &["list", "-f", "json"],
        &["list", "--format=json"],
    ] {
        let output = b.call(words).ok();
        let list: Value = serde_json::from_str(&output.out).unwrap();
        let list = list.as_array().unwrap();
        let ids: Vec<&str> = list.iter().filter_map(|c| c["id"].as_str()).collect();
        assert_eq!(ids, [b.id.clone(), format!("{}-b", b.id)], "{output}");
        assert_eq!(
            (&list[0]["status"], &list[1]["status"]),
            (&json!("created"), &json!("stopped"))
        );
        for key in [
            "ociVersion",
            "id",
            "pid",
            "status",
            "bundle",
            "rootfs",
            "created",
        ] {
            assert!(!list[0][key].is_null(), "no {key}\n{output}");
        }
    }
}

fn list_quiet_prints_ids() {
    let b = two_containers();
    b.call(&["list", "--quiet"])
        .ok()
        .prints(&format!("{0}\n{0}-b\n", b.id));
    b.call(&["list", "-q"])
        .ok()
        .prints(&format!("{0}\n{0}-b\n", b.id));
}

/// A created container, and a stopped one whose id ends in `-b`.
fn two_containers() -> Bundle {
    let b = Bundle::new();
    b.create().ok();
    let mut other = Bundle::new();
    other.set("/root/path", json!(b.rootfs()));
    other.write();
    b.call(&["run", "--keep", "--bundle"])
        .arg(other.path())
        .arg(format!("{}-b", b.id))
        .ok();
    b
}

fn list_of_no_containers_is_empty() {
    let b = Bundle::empty();
    b.call(&["list", "-q"]).ok().prints("");
    let json = b.call(&["list", "--format", "json"]).ok();
    assert!(["null\n", "[]\n"].contains(&json.out.as_str()), "{json}");
    assert_eq!(b.call(&["list"]).ok().out.lines().count(), 1);
}

fn many_containers_at_once_do_not_disturb_each_other() {
    let bundles: Vec<Bundle> = (0..8).map(|_| Bundle::new()).collect();
    std::thread::scope(|scope| {
        let runs: Vec<_> = bundles
            .iter()
            .enumerate()
            .map(|(n, b)| {
                scope.spawn(move || {
                    (0..5).all(|_| {
                        let id = format!("{}-c", b.id);
                        let run = b.launch_as(&id, "run", &[]).output();
                        b.call(&["list", "-q"]).output().status == 0 && run.status == 0 && n < 8
                    })
                })
            })
            .collect();
        assert!(runs.into_iter().all(|r| r.join().unwrap()));
    });
    bundles.iter().for_each(Bundle::left_nothing);
}

fn of_two_concurrent_starts_one_reports_that_the_container_runs() {
    let mut b = Bundle::new();
    b.waits();
    // It is random which of them looks first. The answers must be right either way.
    for _ in 0..30 {
        b.create().ok();
        let starts = [(); 2].map(|()| b.call(&["start", &b.id]).spawn());
        let mut outputs = starts.map(Running::wait);
        outputs.sort_by_key(|output| output.status);
        outputs[0].ok();
        outputs[1].fails(&["it is already running"]);
        b.delete(&["--force"]).ok();
    }
}
