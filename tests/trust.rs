//! Safety under failures: other workloads stay untouched, a check that cannot be made is an error, a state that
//! cannot be read is kept, and a lost message ends the command instead of blocking it.

use runtime_tests::{Bundle, Cmd, host, wait_for};
use std::fs;
use std::time::Instant;

runtime_tests::tests![
    delete_without_descriptors_fails_and_leaves_the_container_running,
    state_without_descriptors_fails_instead_of_saying_stopped,
    delete_with_force_keeps_a_container_whose_state_it_cannot_read,
    delete_with_force_keeps_a_container_whose_state_is_truncated_or_garbage,
    every_command_fails_for_a_state_it_cannot_read,
    a_state_of_another_version_is_still_read,
    a_state_that_no_runtime_wrote_is_refused_and_kept,
    list_says_which_container_it_could_not_read,
    a_cgroup_with_somebody_elses_processes_below_is_refused_and_untouched,
    a_cgroup_with_an_empty_cgroup_below_is_refused_and_stays,
    delete_of_a_container_left_half_made_touches_nothing_below_its_cgroup,
    a_failure_to_release_the_child_ends_create_run_and_start,
    run_with_a_pid_file_that_cannot_be_written_runs_no_program,
    delete_removes_cgroups_nested_deeper_than_a_path_can_name,
    a_pause_that_fails_leaves_the_container_running,
    start_of_a_paused_container_is_refused_at_once,
    a_pause_that_races_with_delete_ends_with_the_container,
    a_create_without_descriptors_leaves_no_state_directory,
    create_reports_the_death_of_its_process,
    descriptors_to_be_preserved_must_be_open,
    calls_that_only_harden_may_be_refused_around_us,
    a_call_that_is_essential_and_refused_is_named,
];

/// A running container.
fn running() -> Bundle {
    let mut b = Bundle::new();
    b.waits();
    b.launch("run", &["--detach"]).ok();
    b.wait_for_status("running");
    b
}

/// Runs the runtime with so few descriptors that it cannot inspect processes.
fn starved(b: &Bundle, descriptors: u32, words: &[&str]) -> runtime_tests::Output {
    let limit = format!("--nofile={descriptors}:{descriptors}");
    b.call(words)
        .through([host::program("prlimit").to_str().unwrap(), &limit])
        .deadline(20)
        .output()
}

fn delete_without_descriptors_fails_and_leaves_the_container_running() {
    let b = running();
    let mut refused = 0;
    for descriptors in 3..12 {
        // With few descriptors it fails because it cannot check, with more because the container runs. It never
        // deletes the container.
        let output = starved(&b, descriptors, &["delete", &b.id]);
        assert_ne!(output.status, 0, "{descriptors} descriptors: {output}");
        refused += u32::from(output.err.contains("too many open files"));
        assert_eq!(b.status(), "running", "{descriptors} descriptors");
    }
    assert!(refused >= 2, "no call failed for lack of descriptors");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn state_without_descriptors_fails_instead_of_saying_stopped() {
    let b = running();
    let mut refused = 0;
    for descriptors in 3..12 {
        let output = starved(&b, descriptors, &["state", &b.id]);
        match output.status {
            0 => assert!(
                output.out.contains("\"running\""),
                "{descriptors}: {output}"
            ),
            _ => refused += 1,
        }
    }
    assert!(refused >= 2, "no call failed for lack of descriptors");
    b.delete(&["--force"]).ok();
}

fn delete_with_force_keeps_a_container_whose_state_it_cannot_read() {
    let b = running();
    for descriptors in 3..7 {
        let output = starved(&b, descriptors, &["delete", "--force", &b.id]);
        if output.status == 0 {
            // With this many descriptors, deletion must be complete.
            b.left_nothing();
            return;
        }
        assert_eq!(b.status(), "running", "{descriptors} descriptors: {output}");
    }
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn delete_with_force_keeps_a_container_whose_state_is_truncated_or_garbage() {
    let b = running();
    let path = b.state_dir().join(&b.id).join("state.json");
    let good = fs::read_to_string(&path).unwrap();
    for spoiled in [&good[..good.len() / 2], "", "[]", "\u{0}nonsense{{{"] {
        fs::write(&path, spoiled).unwrap();
        b.delete(&["--force"])
            .fails(&["cannot read the state", "nothing was changed"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), spoiled);
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(b.status(), "running");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn a_state_that_no_runtime_wrote_is_refused_and_kept() {
    let b = running();
    let path = b.state_dir().join(&b.id).join("state.json");
    let good = fs::read_to_string(&path).unwrap();
    let pid = format!("\"pid\":{}", b.pid());
    for (from, to) in [
        (pid.as_str(), "\"pid\":-1"),
        (&pid, "\"pid\":2147483647"),
        ("\"cgroup\":\"/", "\"cgroup\":\""),
        ("\"bundle\":\"/", "\"bundle\":\""),
        (&b.id, "another"),
    ] {
        let spoiled = good.replace(from, to);
        assert_ne!(spoiled, good, "{from}");
        fs::write(&path, &spoiled).unwrap();
        for flags in [&[][..], &["--force"]] {
            b.delete(flags).fails(&["cannot read the state"]);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), spoiled);
    }
    // A FIFO is not waited for.
    fs::remove_file(&path).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
    for words in [
        &["state", &b.id][..],
        &["delete", "--force", &b.id],
        &["list"],
    ] {
        b.call(words)
            .deadline(20)
            .output()
            .fails(&["cannot read the state"]);
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, &good).unwrap();
    assert_eq!(b.status(), "running");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn list_says_which_container_it_could_not_read() {
    let b = running();
    for descriptors in 3..12 {
        let output = starved(&b, descriptors, &["list"]);
        let listed = output.out.contains(&b.id);
        assert_eq!(
            output.status == 0,
            listed,
            "{descriptors} descriptors: {output}"
        );
    }
    let bad = b.state_dir().join("bad");
    fs::create_dir(&bad).unwrap();
    fs::write(bad.join("state.json"), "{").unwrap();
    let output = b.call(&["list", "-q"]).output();
    output.ends(1).says(&["\"bad\"", "state.json"]);
    assert_eq!(output.out, format!("{}\n", b.id));
    fs::remove_dir_all(&bad).unwrap();
    b.delete(&["--force"]).ok();
}

/// Every command that takes an id, except `create` and `run`.
fn commands(id: &str) -> Vec<Vec<&str>> {
    let before = [
        "state",
        "start",
        "pause",
        "resume",
        "ps",
        "delete",
        "delete --force",
    ];
    let before = before.map(|words| words.split(' ').chain([id]).collect());
    let after = [
        vec!["kill", id, "KILL"],
        vec!["kill", "--all", id, "KILL"],
        vec!["exec", id, "true"],
        vec!["exec", "--detach", id, "true"],
        vec!["update", "--pids-limit", "77", id],
        vec!["events", "--stats", id],
        vec!["checkpoint", id],
    ];
    before.into_iter().chain(after).collect()
}

fn every_command_fails_for_a_state_it_cannot_read() {
    let mut user = Bundle::new();
    user.ordinary().waits();
    user.launch("run", &["--detach"]).ok();
    for b in [running(), user] {
        let path = b.state_dir().join(&b.id).join("state.json");
        let good = fs::read_to_string(&path).unwrap();
        let status = || b.state()["status"].clone();
        for spoiled in [&good[..good.len() / 2], "[]", "{\"pid\": -1}"] {
            for words in commands(&b.id) {
                fs::write(&path, spoiled).unwrap();
                let output = b.call(&words).deadline(20).output();
                assert_ne!(output.status, 0, "{spoiled}: {output}");
                output.says(&["state"]);
                assert_eq!(fs::read_to_string(&path).unwrap(), spoiled, "{output}");
                fs::write(&path, &good).unwrap();
                assert_eq!(status(), "running", "{output}");
            }
        }
        // Nor may a file that it may not open be taken for one that is not there.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("state.json", &path).unwrap();
        for words in commands(&b.id) {
            let output = b.call(&words).deadline(20).output();
            assert_ne!(output.status, 0, "{output}");
        }
        fs::remove_file(&path).unwrap();
        fs::write(&path, &good).unwrap();
        assert_eq!(status(), "running");
        b.delete(&["--force"]).ok();
        b.left_nothing();
    }
}

fn a_state_of_another_version_is_still_read() {
    let b = running();
    let path = b.state_dir().join(&b.id).join("state.json");
    let good = fs::read_to_string(&path).unwrap();
    assert!(good.contains("\"version\":1,"), "{good}");
    let older = good.replace("\"version\":1,", "");
    let newer = good.replace(
        "\"version\":1,",
        "\"version\":7,\"notKnownYet\":{\"a\":[1]},",
    );
    for other in [older, newer] {
        fs::write(&path, other).unwrap();
        assert_eq!(b.status(), "running");
    }
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn a_cgroup_with_somebody_elses_processes_below_is_refused_and_untouched() {
    let mut inner = Bundle::new();
    let parent = format!("{}-pods", inner.id);
    let path = format!("/{parent}/pod1/a");
    inner
        .waits()
        .set("/linux/cgroupsPath", path.as_str().into());
    inner.launch("run", &["--detach"]).ok();
    for by in ["the path", "the id"] {
        let mut other = Bundle::new();
        other.waits();
        let id = match by {
            "the id" => {
                other.remove("/linux/cgroupsPath");
                parent.clone()
            }
            _ => {
                other.set("/linux/cgroupsPath", format!("/{parent}").into());
                other.id.clone()
            }
        };
        other.set(
            "/linux/resources",
            runtime_tests::json!({ "pids": { "limit": 7 } }),
        );
        let limit =
            |h: &std::path::PathBuf| fs::read_to_string(h.join(&parent).join("pids.max")).ok();
        let before: Vec<_> = host::hierarchies().iter().map(limit).collect();
        other
            .launch_as(&id, "create", &[])
            .output()
            .fails(&["cgroup is not empty"]);
        let after: Vec<_> = host::hierarchies().iter().map(limit).collect();
        assert_eq!(before, after, "by {by}");
        other
            .call(&["kill", &id, "KILL"])
            .output()
            .fails(&["does not exist"]);
        other.call(&["delete", "--force", &id]).ok();
        assert_eq!(inner.status(), "running", "by {by}");
    }
    inner.delete(&["--force"]).ok();
    for hierarchy in host::hierarchies() {
        host::remove_cgroup(&hierarchy.join(&parent));
    }
}

fn a_cgroup_with_an_empty_cgroup_below_is_refused_and_stays() {
    let b = Bundle::new();
    let hierarchy = host::hierarchies().remove(0);
    let below = hierarchy.join(&b.id).join("below");
    fs::create_dir_all(&below).unwrap();
    b.create()
        .fails(&["cgroup is not empty", "holds the cgroup \"below\""]);
    b.delete(&["--force"]).ok();
    assert!(below.exists(), "someone else's cgroup was removed");
}

fn delete_of_a_container_left_half_made_touches_nothing_below_its_cgroup() {
    let mut inner = Bundle::new();
    let parent = format!("{}-pods", inner.id);
    let path = format!("/{parent}/a");
    inner
        .waits()
        .set("/linux/cgroupsPath", path.as_str().into());
    inner.launch("run", &["--detach"]).ok();
    // The remains of a `create` that was killed between writing the state and creating the cgroup.
    let half = Bundle::new();
    half.create().ok();
    let state = half.state_dir().join(&half.id).join("state.json");
    let mut left: runtime_tests::Value =
        serde_json::from_str(&fs::read_to_string(&state).unwrap()).unwrap();
    half.delete(&["--force"]).ok();
    left["pid"] = 0.into();
    left["cgroup"] = format!("/{parent}").into();
    fs::create_dir(state.parent().unwrap()).unwrap();
    fs::write(&state, left.to_string()).unwrap();
    half.delete(&["--force"]).ok();
    half.left_nothing();
    assert_eq!(inner.status(), "running");
    inner.delete(&["--force"]).ok();
    for hierarchy in host::hierarchies() {
        host::remove_cgroup(&hierarchy.join(&parent));
    }
}

/// The first message of a command is lost. The command must report the error, exit, and leave nothing behind.
fn a_failure_to_release_the_child_ends_create_run_and_start() {
    let strace = host::program("strace");
    let lost = |b: &Bundle, command: Cmd| {
        let begun = Instant::now();
        let log = b.text("strace");
        let inject = "inject=sendto:error=ENOBUFS:when=1";
        let words = [
            strace.to_str().unwrap(),
            "-qq",
            "-o",
            &log,
            "-e",
            "trace=sendto",
            "-e",
            inject,
        ];
        let output = command.through(words).deadline(20).output();
        assert!(
            b.read("strace").contains("INJECTED"),
            "strace injected no fault"
        );
        assert_ne!(output.status, 0, "{output}");
        output.says(&["no buffer space available"]);
        assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    };
    for verb in ["create", "run"] {
        let b = Bundle::new();
        lost(&b, b.launch(verb, &[]));
        b.delete(&["--force"]).ok();
        b.left_nothing();
    }
    let mut b = Bundle::new();
    b.waits().create().ok();
    lost(&b, b.call(&["start", &b.id]));
    b.delete(&["--force"]).ok();
    b.left_nothing();
    let b = running();
    lost(&b, b.call(&["exec", &b.id, "/bin/true"]));
    assert_eq!(b.status(), "running");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn run_with_a_pid_file_that_cannot_be_written_runs_no_program() {
    let mut b = Bundle::new();
    b.sh("touch /ran; echo ran");
    let nowhere = b.text("nowhere/pid");
    for flags in [
        &["--pid-file", &nowhere][..],
        &["--detach", "--pid-file", &nowhere],
    ] {
        let output = b.launch("run", flags).output();
        output.fails(&["cannot write", "nowhere/pid: no such file or directory"]);
        assert_eq!(output.out, "");
        b.left_nothing();
    }
    assert!(!b.rootfs().join("ran").exists());
}

fn delete_removes_cgroups_nested_deeper_than_a_path_can_name() {
    let mut b = Bundle::new();
    b.waits();
    b.create().ok();
    let top = host::hierarchies().remove(0).join(&b.id);
    // 30 names of 240 letters exceed PATH_MAX, so a shell descends one directory at a time.
    let script = format!(
        "cd {} && name=$(printf %0240d 0) && for n in $(seq 30); do mkdir $name && cd -P $name || exit 1; done",
        top.display()
    );
    Cmd::new(&b.dir, host::busybox())
        .args(["sh", "-c", &script])
        .ok();
    wait_for("the deepest cgroup exists", || {
        top.join("0".repeat(240)).exists()
    });
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn a_pause_that_fails_leaves_the_container_running() {
    let strace = host::program("strace");
    for pure_v2 in [false, true] {
        let mut b = Bundle::new();
        if pure_v2 {
            b.in_pure_v2();
        }
        b.waits();
        b.launch("run", &["--detach"]).ok();
        let (call, file) = match pure_v2 {
            true => ("pread64", "cgroup.events"),
            false => ("read", "freezer.state"),
        };
        let v1 = || host::controller("freezer").join(&b.id).join(file);
        let path = match pure_v2 {
            true => format!("/sys/fs/cgroup/{}/{file}", b.id),
            false => v1().display().to_string(),
        };
        let mut failed = 0;
        for n in 1..6 {
            let inject = format!("inject={call}:error=EIO:when={n}");
            let words = ["-qq", "-o", "/dev/null", "-P", &path, "-e", &inject];
            let pause = b.call(&["pause", &b.id]);
            // Between the launcher and the runtime.
            let output = pause.through(words).through([&strace]).output();
            match output.status {
                0 => drop(b.call(&["resume", &b.id]).ok()),
                _ => failed += 1,
            }
            assert_eq!(b.status(), "running", "{n}: {output}");
        }
        assert!(failed > 0, "nothing was injected");
        b.delete(&["--force"]).ok();
        b.left_nothing();
    }
}

fn start_of_a_paused_container_is_refused_at_once() {
    for pure_v2 in [false, true] {
        let mut b = Bundle::new();
        if pure_v2 {
            b.in_pure_v2();
        }
        b.create().ok();
        b.call(&["pause", &b.id]).ok();
        let start = b.call(&["start", &b.id]).deadline(20).output();
        start.fails(&["cannot start", "it is paused"]);
        b.call(&["resume", &b.id]).ok();
        assert_eq!(b.status(), "created");
        b.start().ok();
        b.wait_for_status("stopped");
        b.delete(&[]).ok();
        b.left_nothing();
    }
}

fn a_pause_that_races_with_delete_ends_with_the_container() {
    for _ in 0..20 {
        let b = running();
        let pause = b.call(&["pause", &b.id]).deadline(8).spawn();
        let delete = b.call(&["delete", "--force", &b.id]).deadline(8).spawn();
        let output = pause.wait();
        assert!(output.status <= 1, "{output}");
        delete.wait().ok();
        b.left_nothing();
    }
}

fn a_create_without_descriptors_leaves_no_state_directory() {
    let b = Bundle::new();
    b.write();
    let bundle = b.path();
    let mut refused = 0;
    for descriptors in 3..20 {
        let words = ["create", "--bundle", bundle.to_str().unwrap(), &b.id];
        match starved(&b, descriptors, &words).status {
            0 => drop(b.delete(&["--force"])),
            _ => refused += 1,
        }
        b.left_nothing();
    }
    assert!(refused >= 4, "no lack of descriptors was met");
}

fn create_reports_the_death_of_its_process() {
    const SHUTDOWN: &str = "48";
    let b = Bundle::new();
    // The last call before it waits for `start`.
    let words = ["inject", "1", SHUTDOWN, "1", "0", &b.text("log")];
    let create = b.launch("create", &[]).through(words);
    let output = create.through([host::helper()]).deadline(20).output();
    output.fails(&["was killed by signal 9 before its program began"]);
    b.left_nothing();
}

fn descriptors_to_be_preserved_must_be_open() {
    let b = Bundle::new();
    for verb in ["create", "run"] {
        let output = b.launch(verb, &["--preserve-fds", "20"]).output();
        output.fails(&["--preserve-fds", "descriptor 3", "is not open"]);
        b.left_nothing();
    }
    let b = running();
    let exec = b.call(&["exec", "--preserve-fds", "20", &b.id, "true"]);
    exec.output().ends(255).says(&["descriptor 3"]);
}

/// `run`, in which every process is refused a call, as by the filter of a container around us.
fn run_refused(b: &Bundle, call: &str, errno: &str) -> runtime_tests::Output {
    let inject = format!("inject={call}:error={errno}");
    let words = ["-f", "-qq", "-o", &b.text("strace"), "-e", &inject];
    let run = b.launch("run", &[]).through(words);
    let output = run.through([host::program("strace")]).deadline(30).output();
    assert!(
        b.read("strace").contains("INJECTED"),
        "{call} was not refused"
    );
    output
}

fn calls_that_only_harden_may_be_refused_around_us() {
    let mut b = Bundle::new();
    b.sh("sleep 0.3; echo done; exit 7");
    for (call, errno) in [
        ("seccomp", "EPERM"),
        ("seccomp", "ENOSYS"),
        ("keyctl", "EPERM"),
        ("keyctl", "ENOSYS"),
    ] {
        let output = run_refused(&b, call, errno);
        output.ends(7).prints("done\n");
        assert_eq!(output.err, "", "{call} {errno}");
        b.left_nothing();
    }
}

fn a_call_that_is_essential_and_refused_is_named() {
    let mut b = Bundle::new();
    b.set(
        "/linux/seccomp",
        runtime_tests::json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
            {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
        ]}),
    );
    for call in [
        "openat2",
        "seccomp",
        "clone3",
        "pivot_root",
        "move_mount",
        "fsopen",
        "close_range",
        "statx",
        "open_tree",
    ] {
        for errno in ["EPERM", "ENOSYS"] {
            let output = run_refused(&b, call, errno);
            assert_eq!(output.status, 1, "{call} {errno}: {output}");
            output.says(&[call]);
            b.left_nothing();
        }
    }
}
