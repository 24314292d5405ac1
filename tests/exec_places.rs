//! The CPUs and cgroups of a process of exec, and the container statuses that exec accepts.
//! Also the CPUs of the container's init, which follow the same rule.

use runtime_tests::{Bundle, Cmd, Output, Running, Value, host, json, wait_for};
use std::fs;

runtime_tests::tests![
    a_container_gets_every_cpu_of_its_cgroup_whatever_its_caller_is_bound_to,
    exec_gets_every_cpu_of_the_cgroup_whatever_its_caller_is_bound_to,
    without_a_cgroup_the_cpus_are_the_callers,
    the_final_cpus_are_those_of_the_process,
    the_initial_cpus_hold_until_the_cgroup_is_entered,
    the_supervisor_of_exec_is_not_bound_to_cpus,
    cpu_lists_are_parsed_as_runc_does,
    invalid_cpu_lists_are_refused_at_create_and_exec,
    missing_cpus_are_an_error_that_names_them,
    sub_cgroups_are_given_for_all_controllers_or_for_some,
    invalid_sub_cgroups_are_refused,
    exec_follows_an_init_that_moved_to_a_child_cgroup,
    exec_refuses_a_paused_container_unless_asked,
    a_partly_created_or_removed_container_does_not_exist,
    exec_during_delete_reports_that_the_container_is_gone,
    a_zombie_init_is_not_running,
];

#[track_caller]
fn up_with(change: impl FnOnce(&mut Bundle)) -> (Bundle, Running) {
    let mut b = Bundle::new();
    b.waits();
    change(&mut b);
    let running = b.up();
    (b, running)
}

fn exec(b: &Bundle, flags: &[&str], args: &[&str]) -> Cmd {
    b.call(&["exec"]).args(flags).arg(&b.id).args(args)
}

#[track_caller]
fn refused(output: &Output, words: &[&str]) {
    output.ends(255).prints("").says(words);
    assert_eq!(output.err.lines().count(), 1, "{output}");
}

/// Runs `exec --process` with this execCPUAffinity.
fn with_affinity(b: &Bundle, affinity: Value) -> Cmd {
    let mut process = b.config["process"].clone();
    process["args"] = json!(["sh", "-c", CPUS]);
    process["execCPUAffinity"] = affinity;
    fs::write(b.file("process.json"), process.to_string()).unwrap();
    exec(b, &["--process", &b.text("process.json")], &[])
}

const CPUS: &str = "sed -n 's/^Cpus_allowed_list:.//p' /proc/self/status";

/// The CPUs that a process may use, in the kernel's format.
fn cpus_of(pid: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("Cpus_allowed_list:\t"));
    line.unwrap().to_owned()
}

/// All CPUs of the machine. The tests need the first two.
#[track_caller]
fn all() -> String {
    let all = cpus_of("self");
    if !all.starts_with("0-") {
        runtime_tests::skip!("this machine lacks CPU 0 or 1: {all}");
    }
    all
}

const BOUND: [&str; 3] = ["taskset", "--cpu-list", "0"];

fn a_container_gets_every_cpu_of_its_cgroup_whatever_its_caller_is_bound_to() {
    let all = all();
    for (set, expected) in [(None, all.as_str()), (Some("1"), "1"), (Some("0-1"), "0-1")] {
        let mut b = Bundle::new();
        if let Some(set) = set {
            host::controller("cpuset");
            b.set("/linux/resources/cpu/cpus", json!(set));
        }
        let run = b.sh(CPUS).launch("run", &[]).through(BOUND).ok();
        run.prints(&format!("{expected}\n"));
    }
    let mut b = Bundle::new();
    b.in_pure_v2();
    let run = b.sh(CPUS).launch("run", &[]).through(BOUND).ok();
    run.prints(&format!("{all}\n"));
}

fn exec_gets_every_cpu_of_the_cgroup_whatever_its_caller_is_bound_to() {
    let all = all();
    host::controller("cpuset");
    for (set, expected) in [(None, all.as_str()), (Some("1"), "1"), (Some("0-1"), "0-1")] {
        let (b, _running) = up_with(|b| {
            set.map(|set| b.set("/linux/resources/cpu/cpus", json!(set)));
        });
        let run = exec(&b, &[], &["sh", "-c", CPUS]).through(BOUND).ok();
        run.prints(&format!("{expected}\n"));
    }
}

/// A container without cgroups, and the flags that `exec` needs for it.
fn without_cgroup() -> Bundle {
    let mut b = Bundle::new();
    b.waits().write();
    let call = b.call(&[
        "--cgroup-manager",
        "disabled",
        "run",
        "--detach",
        "--bundle",
    ]);
    call.arg(b.path()).arg(&b.id).ok();
    b
}

fn without_a_cgroup_the_cpus_are_the_callers() {
    all();
    let b = without_cgroup();
    exec(&b, &[], &["sh", "-c", CPUS])
        .through(BOUND)
        .ok()
        .prints("0\n");
    let run = with_affinity(&b, json!({"final": "1"})).through(BOUND).ok();
    run.prints("1\n");
    refused(
        &exec(&b, &["--cgroup", "x"], &["true"]).output(),
        &["--cgroup x", "no cgroup"],
    );
}

fn the_final_cpus_are_those_of_the_process() {
    let all = all();
    for pure_v2 in [false, true] {
        let (b, _running) = up_with(|b| {
            if pure_v2 {
                b.in_pure_v2();
            }
            b.set(
                "/process/execCPUAffinity",
                json!({"initial": "0", "final": "1"}),
            );
        });
        // execCPUAffinity in config.json applies to exec with flags, not to init.
        assert_eq!(cpus_of(&b.pid().to_string()), all);
        exec(&b, &[], &["sh", "-c", CPUS]).ok().prints("1\n");
        // With --process the file's value applies. If the file has none, none applies.
        let run = with_affinity(&b, json!({"final": "0"})).ok();
        run.prints("0\n");
        let run = with_affinity(&b, Value::Null).ok();
        run.prints(&format!("{all}\n"));
    }
}

fn the_initial_cpus_hold_until_the_cgroup_is_entered() {
    let all = all();
    // Without a cgroup, no other CPU set replaces them.
    let b = without_cgroup();
    with_affinity(&b, json!({"initial": "1"}))
        .ok()
        .prints("1\n");
    let (b, _running) = up_with(|_| ());
    let run = with_affinity(&b, json!({"initial": "1"})).ok();
    run.prints(&format!("{all}\n"));
}

fn the_supervisor_of_exec_is_not_bound_to_cpus() {
    let all = all();
    let (b, _running) = up_with(|b| {
        b.set(
            "/process/execCPUAffinity",
            json!({"initial": "0", "final": "0"}),
        );
    });
    let running = exec(&b, &[], &["sh", "-c", "echo up; exec sleep 1000"]).spawn();
    wait_for("the process is up", || running.out().contains("up"));
    assert_eq!(cpus_of(&running.pid().to_string()), all);
}

fn cpu_lists_are_parsed_as_runc_does() {
    all();
    let (b, _running) = up_with(|_| ());
    for (list, expected) in [
        ("0", "0"),
        ("1", "1"),
        ("0-1", "0-1"),
        ("0,1", "0-1"),
        ("1,0", "0-1"),
        ("1-1", "1"),
        (" 0 , 1 ", "0-1"),
        (",1,", "1"),
        ("0-1,1", "0-1"),
        // The kernel omits CPUs that do not exist.
        ("1,1000-1023", "1"),
    ] {
        let run = with_affinity(&b, json!({"initial": list, "final": list})).ok();
        run.prints(&format!("{expected}\n"));
    }
    let all = all();
    let run = with_affinity(&b, json!({"initial": "", "final": ""})).ok();
    run.prints(&format!("{all}\n"));
}

fn invalid_cpu_lists_are_refused_at_create_and_exec() {
    let (b, _running) = up_with(|_| ());
    for field in ["initial", "final"] {
        for bad in [
            "x",
            "1-0",
            "-1",
            "0-",
            "-",
            "+1",
            "0--1",
            "0-1-2",
            "1024",
            "0-1024",
            "4294967296",
            ",",
            " ",
            "0;1",
            "0x1",
        ] {
            let name = format!("process.execCPUAffinity.{field}");
            let run = with_affinity(&b, json!({field: bad})).output();
            refused(&run, &[&name, &format!("{bad:?}")]);
            let mut other = Bundle::new();
            other.set("/process/execCPUAffinity", json!({field: bad}));
            other.create().fails(&[&name, &format!("{bad:?}")]);
            other.left_nothing();
        }
    }
    refused(
        &with_affinity(&b, json!({"final": 1})).output(),
        &["execCPUAffinity.final"],
    );
}

fn missing_cpus_are_an_error_that_names_them() {
    let (b, _running) = up_with(|_| ());
    for field in ["initial", "final"] {
        let run = with_affinity(&b, json!({field: "1023"})).output();
        refused(
            &run,
            &[
                &format!("process.execCPUAffinity.{field}"),
                "invalid argument",
            ],
        );
    }
    assert_eq!(b.status(), "running");
}

/// Creates a cgroup of this name below the container's in these hierarchies.
fn below(b: &Bundle, name: &str, hierarchies: &[&str]) {
    for hierarchy in hierarchies {
        let directory = host::controller(hierarchy).join(&b.id).join(name);
        fs::create_dir(&directory).unwrap();
        if *hierarchy == "cpuset" {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                let value = fs::read(directory.join("..").join(file)).unwrap();
                fs::write(directory.join(file), value.trim_ascii_end()).unwrap();
            }
        }
    }
}

/// The cgroup of this controller in /proc/self/cgroup.
#[track_caller]
fn place(run: &Output, controller: &str) -> String {
    let line = |l: &&str| {
        l.split(':')
            .nth(1)
            .unwrap()
            .split(',')
            .any(|c| c == controller)
    };
    let line = run
        .out
        .lines()
        .find(line)
        .unwrap_or_else(|| panic!("{run}"));
    line.rsplit(':').next().unwrap().to_owned()
}

fn sub_cgroups_are_given_for_all_controllers_or_for_some() {
    host::controller("memory");
    let (b, _running) = up_with(|_| ());
    let own = format!("/{}", b.id);
    below(&b, "x", &["memory", "pids"]);
    below(&b, "y", &["freezer"]);
    let look = ["cat", "/proc/self/cgroup"];
    for flags in [
        &["--cgroup", "memory,pids:x", "--cgroup", "freezer:y"][..],
        &[
            "--cgroup=memory:/x",
            "--cgroup=pids:x/",
            "--cgroup=freezer:./y",
        ],
        &["-cgroup", "memory:x", "-cgroup=pids,freezer:x"],
    ] {
        if flags[0] == "-cgroup" {
            below(&b, "x", &["freezer"]);
        }
        let run = exec(&b, flags, &look).ok();
        assert_eq!(place(&run, "memory"), format!("{own}/x"));
        assert_eq!(place(&run, "pids"), format!("{own}/x"));
        assert!(place(&run, "freezer").starts_with(&format!("{own}/")));
        assert_eq!(place(&run, "devices"), own);
        assert_eq!(place(&run, ""), own);
    }
    // Without a controller, the path applies to all of them.
    let every: Vec<_> = host::hierarchies();
    for hierarchy in &every {
        let name = hierarchy.file_name().unwrap().to_str().unwrap();
        below(&b, "all", &[name]);
    }
    for given in ["all", "/all"] {
        let run = exec(&b, &["--cgroup", given], &look).ok();
        let end = format!("{own}/all");
        assert!(run.out.lines().all(|l| l.ends_with(&end)), "{run}");
    }
    // The container's own cgroup.
    let run = exec(&b, &["--cgroup", "/"], &look).ok();
    assert!(run.out.lines().all(|l| l.ends_with(&own)), "{run}");
}

fn invalid_sub_cgroups_are_refused() {
    host::controller("memory");
    let (b, _running) = up_with(|_| ());
    for (flags, words) in [
        (&["--cgroup", "nothing"][..], "nothing"),
        (&["--cgroup", "memory:nothing"], "nothing"),
        (
            &["--cgroup", "memory:../x"],
            "../x is not a sub cgroup path",
        ),
        (&["--cgroup", "../x"], "../x is not a sub cgroup path"),
        (&["--cgroup", "nonsense:x"], "\"nonsense\""),
        (&["--cgroup", ":x"], "--cgroup :x"),
        (&["--cgroup", "memory:x", "--cgroup", "memory:y"], "twice"),
        (&["--cgroup", "x", "--cgroup", "memory:y"], "--cgroup x"),
    ] {
        refused(&exec(&b, flags, &["true"]).output(), &[words]);
    }
    let (b, _running) = up_with(|b| {
        b.in_pure_v2();
    });
    let run = exec(&b, &["--cgroup", "memory:x"], &["true"]).output();
    refused(&run, &["--cgroup memory:x", "v2"]);
}

fn exec_follows_an_init_that_moved_to_a_child_cgroup() {
    // As systemd does in a container: init moves to a child cgroup and delegates controllers, so its original cgroup
    // accepts no processes.
    let unified = host::controller("unified");
    let has = |file| fs::read_to_string(unified.join(file)).unwrap_or_default();
    if !has("cgroup.controllers").contains("hugetlb") {
        runtime_tests::skip!("no controller to delegate on this machine");
    }
    for pure_v2 in [true, false] {
        let (b, _running) = up_with(|b| {
            if pure_v2 {
                b.in_pure_v2();
            }
        });
        let own = unified.join(&b.id);
        fs::create_dir(own.join("init.scope")).unwrap();
        fs::write(own.join("init.scope/cgroup.procs"), b.pid().to_string()).unwrap();
        fs::write(unified.join("cgroup.subtree_control"), "+hugetlb").unwrap();
        fs::write(own.join("cgroup.subtree_control"), "+hugetlb").unwrap();
        let run = exec(&b, &[], &["cat", "/proc/self/cgroup"]).ok();
        assert_eq!(place(&run, ""), format!("/{}/init.scope", b.id), "{run}");
        // An explicit --cgroup is not replaced.
        let run = exec(&b, &["--cgroup", "/"], &["true"]).output();
        refused(&run, &["clone3"]);
    }
}

fn exec_refuses_a_paused_container_unless_asked() {
    for pure_v2 in [false, true] {
        let (b, _running) = up_with(|b| {
            if pure_v2 {
                b.in_pure_v2();
            }
        });
        b.call(&["pause", &b.id]).ok();
        let run = exec(&b, &[], &["true"]).output();
        refused(&run, &[&b.id, "paused", "--ignore-paused"]);
        let waiting = exec(&b, &["--ignore-paused"], &["echo", "ran"]).spawn();
        let hierarchy = host::controller(if pure_v2 { "unified" } else { "freezer" });
        let procs = hierarchy.join(&b.id).join("cgroup.procs");
        wait_for("the process is in the cgroup", || {
            fs::read_to_string(&procs).unwrap().lines().count() == 2
        });
        assert_eq!(waiting.out(), "");
        b.call(&["resume", &b.id]).ok();
        waiting.wait().ok().prints("ran\n");
    }
}

fn a_partly_created_or_removed_container_does_not_exist() {
    let (b, running) = up_with(|_| ());
    let directory = b.state_dir().join(&b.id);
    fs::rename(directory.join("state.json"), b.file("state.json")).unwrap();
    let words = [b.id.as_str(), "does not exist"];
    refused(&exec(&b, &[], &["true"]).output(), &words);
    for command in ["state", "start", "kill", "delete", "pause", "resume", "ps"] {
        b.call(&[command, &b.id]).output().fails(&words);
    }
    fs::rename(b.file("state.json"), directory.join("state.json")).unwrap();
    b.kill("KILL").ok();
    running.wait().ends(128 + 9);
}

fn exec_during_delete_reports_that_the_container_is_gone() {
    for _ in 0..10 {
        let mut b = Bundle::new();
        b.waits().launch("run", &["--detach"]).ok();
        let calls: Vec<Running> = (0..6)
            .map(|n| {
                let flags: &[&str] = if n % 2 == 0 { &[] } else { &["--tty"] };
                exec(&b, flags, &["true"]).spawn()
            })
            .collect();
        b.delete(&["--force"]).ok();
        for call in calls {
            let run = call.wait();
            // It ran, was killed with the container, or came too late.
            let gone = ["does not exist", "container not running"];
            let late = run.status == 255 && gone.iter().any(|words| run.err.contains(words));
            assert!([0, 128 + 9].contains(&run.status) || late, "{run}");
            assert!(run.err.lines().count() == usize::from(late), "{run}");
        }
        b.left_nothing();
    }
}

fn a_zombie_init_is_not_running() {
    let mut b = Bundle::new();
    b.waits();
    let helper = host::helper().to_str().unwrap();
    // The parent of init does not reap it.
    let script = "\"$@\"; echo done; read go";
    let (input, hold) = std::io::pipe().unwrap();
    let parent = b
        .launch("run", &["--detach"])
        .through([helper, "subreap", "sh", "-c", script, "sh"])
        .stdin(std::os::fd::OwnedFd::from(input))
        .spawn();
    wait_for("run --detach has returned", || {
        parent.out().contains("done")
    });
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    let run = exec(&b, &[], &["true"]).output();
    refused(&run, &[&b.id, "container not running"]);
    drop(hold);
}
