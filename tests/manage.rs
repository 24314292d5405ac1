//! Containers that run, as engines manage them: update, pause, resume, ps, events, kill --all. The same tests run on v1
//! and, in a guest of their own, on v2 with every controller.

use crate::resources::{command, needs, on_pure_v2, stats, value};
use runtime_tests::{Bundle, Running, Value, host, json, wait_for};
use std::fs;
use std::path::Path;
use std::time::Duration;

runtime_tests::tests![
    the_realtime_period_may_become_shorter_than_the_runtime_was,
    update_changes_what_is_given_and_nothing_else,
    update_reads_a_file_and_stdin,
    update_takes_sizes_with_units,
    a_failed_update_changes_nothing,
    memory_and_swap_can_go_up_and_down_together,
    update_refuses_what_is_not_running,
    a_paused_container_does_nothing_until_it_is_resumed,
    a_paused_container_is_killed_and_deleted,
    pause_and_resume_refuse_what_makes_no_sense,
    ps_prints_numbers_or_what_ps_prints,
    events_tell_what_is_used,
    events_tell_of_a_process_killed_for_its_memory,
    events_tell_each_kill_once,
    kill_all_reaches_every_process,
    two_hundred_containers_leave_nothing
];

// --- commands ------------------------------------------------------------------------------------------------------------

fn update_changes_what_is_given_and_nothing_else() {
    needs("memory", "memory");
    needs("cpu", "cpu");
    let mut b = Bundle::new();
    b.set("/linux/resources/memory", json!({"limit": 64 << 20}))
        .set("/linux/resources/pids", json!({"limit": 9}))
        .set(
            "/linux/resources/cpu",
            json!({"quota": 30_000, "period": 60_000}),
        );
    b.create().ok();
    let all = || {
        let cpu = match host::v2() {
            true => value(&b, "", "cpu.max"),
            false => format!(
                "{} {}",
                value(&b, "cpu.cfs_quota_us", ""),
                value(&b, "cpu.cfs_period_us", "")
            ),
        };
        let memory = value(&b, "memory.limit_in_bytes", "memory.max");
        [memory, cpu, value(&b, "pids.max", "pids.max")]
    };
    let megabytes = |n: u64| (n << 20).to_string();
    assert_eq!(all(), [&megabytes(64), "30000 60000", "9"]);
    command(&b, &["update", "--pids-limit", "11"]).ok();
    assert_eq!(all(), [&megabytes(64), "30000 60000", "11"]);
    command(&b, &["update", "--cpu-quota", "20000"]).ok();
    assert_eq!(all(), [&megabytes(64), "20000 60000", "11"]);
    command(&b, &["update", "--cpu-period", "50000"]).ok();
    assert_eq!(all(), [&megabytes(64), "20000 50000", "11"]);
    command(&b, &["update", "--memory", "32m", "--kernel-memory", "1m"]).ok();
    assert_eq!(all(), [&megabytes(32), "20000 50000", "11"]);
    command(&b, &["update", "--pids-limit", "-1"]).ok();
    assert_eq!(all(), [&megabytes(32), "20000 50000", "max"]);
    command(&b, &["update"]).ok();
    assert_eq!(all(), [&megabytes(32), "20000 50000", "max"]);
}

fn update_reads_a_file_and_stdin() {
    needs("pids", "pids");
    let b = Bundle::new();
    b.create().ok();
    let pids = || value(&b, "pids.max", "pids.max");
    fs::write(b.file("resources"), r#"{"pids": {"limit": 21}}"#).unwrap();
    command(&b, &["update", "--resources", &b.text("resources")]).ok();
    assert_eq!(pids(), "21");
    let stdin = |text: &str| {
        let call = b.call(&["update", "-r", "-", &b.id]);
        call.stdin_text(text).output()
    };
    stdin(r#"{"pids": {"limit": 22}}"#).ok();
    assert_eq!(pids(), "22");
    stdin(r#"{"pids": {"limit": "many"}}"#).fails(&["stdin", "pids.limit", "many"]);
    stdin("").fails(&["stdin"]);
    assert_eq!(pids(), "22");
}

fn update_takes_sizes_with_units() {
    needs("memory", "memory");
    let b = Bundle::new();
    b.create().ok();
    for (text, bytes) in [
        ("33554432", 32 << 20),
        ("40m", 40 << 20),
        ("48MB", 48 << 20),
        ("0.0625g", 64 << 20),
        ("98304KiB", 96 << 20),
    ] {
        command(&b, &["update", "--memory", text]).ok();
        let now = value(&b, "memory.limit_in_bytes", "memory.max");
        assert_eq!(now, bytes.to_string(), "{text}");
    }
    for text in ["many", "1x", "-2", "1.5.5m", "ib", "+5m"] {
        command(&b, &["update", "--memory", text]).fails(&["--memory", text]);
    }
    command(&b, &["update", "--cpu-share", "x"]).fails(&["--cpu-share", "x"]);
}

fn a_failed_update_changes_nothing() {
    needs("memory", "memory");
    needs("cpu", "cpu");
    let mut b = Bundle::new();
    b.set(
        "/linux/resources/memory",
        json!({"limit": 64 << 20, "swap": 64 << 20}),
    )
    .set("/linux/resources/cpu", json!({"quota": 30_000}))
    .set("/linux/resources/pids", json!({"limit": 9}));
    b.create().ok();
    let all = || {
        [
            value(&b, "memory.limit_in_bytes", "memory.max"),
            value(&b, "cpu.cfs_quota_us", "cpu.max"),
            value(&b, "pids.max", "pids.max"),
            value(&b, "cpuset.cpus", "cpuset.cpus"),
        ]
    };
    let before = all();
    // All but the last are fine, and are taken back: there is no such CPU.
    let bad = json!({
        "memory": {"limit": 96 << 20, "swap": 128 << 20}, "pids": {"limit": 33},
        "cpu": {"quota": 50_000, "cpus": "4000"},
    });
    let update = b.call(&["update", "-r", "-", &b.id]);
    update
        .stdin_text(&bad.to_string())
        .output()
        .fails(&["cpu.cpus", "4000"]);
    assert_eq!(all(), before);
}

fn memory_and_swap_can_go_up_and_down_together() {
    needs("memory", "memory");
    let mut b = Bundle::new();
    b.set(
        "/linux/resources/memory",
        json!({"limit": 64 << 20, "swap": 96 << 20}),
    );
    b.create().ok();
    let swap = || value(&b, "memory.memsw.limit_in_bytes", "memory.swap.max");
    let swap_is = |total: u64, memory: u64| {
        let expected = if host::v2() { total - memory } else { total };
        assert_eq!(swap(), (expected << 20).to_string());
    };
    swap_is(96, 64);
    for (memory, total) in [(200, 300), (50, 60), (100, 100)] {
        let (m, t) = (format!("{memory}m"), format!("{total}m"));
        command(&b, &["update", "--memory", &m, "--memory-swap", &t]).ok();
        swap_is(total, memory);
    }
    // The sum stays when a part of it is changed.
    command(&b, &["update", "--memory", "30m"]).ok();
    swap_is(100, 30);
    command(&b, &["update", "--memory", "101m"]).fails(&["memory.limit", "memory.swap"]);
    command(&b, &["update", "--memory-swap", "20m"]).fails(&["memory.swap"]);
    swap_is(100, 30);
    command(&b, &["update", "--memory", "-1"]).ok();
    let unlimited = value(&b, "memory.limit_in_bytes", "memory.max");
    assert!(unlimited == "max" || unlimited.len() > 15, "{unlimited}");
}

fn update_refuses_what_is_not_running() {
    let b = Bundle::new();
    command(&b, &["update", "--pids-limit", "5"]).fails(&["does not exist"]);
    b.create().ok();
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    command(&b, &["update", "--pids-limit", "5"]).fails(&["container not running"]);
    command(&b, &["events", "--stats"]).fails(&["container not running"]);
}

fn a_paused_container_does_nothing_until_it_is_resumed() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        let running = b.sh("echo up; while :; do echo more; done").up();
        command(&b, &["pause"]).ok();
        assert_eq!(b.status(), "paused");
        let list = b.call(&["list"]).ok();
        assert!(list.out.contains("paused"), "{list}");
        let length = running.out().len();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(running.out().len(), length);
        b.call(&["exec", &b.id, "true"])
            .output()
            .says(&["paused container"]);
        command(&b, &["resume"]).ok();
        assert_eq!(b.status(), "running");
        wait_for("it goes on", || running.out().len() > length);
        b.delete(&["--force"]).ok();
    }
}

fn a_paused_container_is_killed_and_deleted() {
    for (mut b, forced) in [
        (Bundle::new(), false),
        (Bundle::new(), true),
        (on_pure_v2(), false),
        (on_pure_v2(), true),
    ] {
        let _running = b.sh("sleep 1000 & echo up; exec sleep 1000").up();
        command(&b, &["pause"]).ok();
        if forced {
            b.delete(&["--force"]).ok();
        } else {
            b.call(&["kill", &b.id, "KILL"]).ok();
        }
        // `run` deletes what has ended.
        wait_for("nothing is left", || b.cgroups().is_empty());
        wait_for("the state is gone", || !b.state_dir().join(&b.id).exists());
        b.left_nothing();
    }
}

fn pause_and_resume_refuse_what_makes_no_sense() {
    let b = Bundle::new();
    command(&b, &["pause"]).fails(&["does not exist"]);
    b.create().ok();
    command(&b, &["resume"]).fails(&["not paused"]);
    command(&b, &["pause"]).ok();
    command(&b, &["pause"]).fails(&["already paused"]);
    command(&b, &["resume"]).ok();
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    command(&b, &["pause"]).fails(&["container not running"]);
    command(&b, &["resume"]).fails(&["not paused"]);
}

fn ps_prints_numbers_or_what_ps_prints() {
    let mut b = Bundle::new();
    let _running = b.sh("sleep 1001 & echo up; exec sleep 1000").up();
    wait_for("both sleep", || {
        let json = command(&b, &["ps", "--format", "json"]).ok().out.clone();
        let pids: Vec<i32> = serde_json::from_str(&json).unwrap();
        pids.contains(&b.pid()) && pids.len() == 2
    });
    if fs::canonicalize(host::program("ps"))
        .unwrap()
        .ends_with("busybox")
    {
        runtime_tests::skip!("no ps but busybox's on this machine");
    }
    let table = b.call(&["ps", &b.id]).ok();
    assert!(table.out.starts_with("UID"), "{table}");
    assert_eq!(table.lines().len(), 3, "{table}");
    let custom = b.call(&["ps", &b.id, "-o", "args,pid"]).output();
    // -o alone shows the terminal's processes, which these are not.
    assert!(custom.out.starts_with("COMMAND"), "{custom}");
    let custom = b.call(&["ps", &b.id, "-eo", "pid,args"]).ok();
    assert!(
        custom.out.contains("sleep 1000") && custom.out.contains("sleep 1001"),
        "{custom}"
    );
    b.call(&["ps", &b.id, "-eo", "args"])
        .output()
        .fails(&["PID"]);
}

fn events_tell_what_is_used() {
    needs("memory", "memory");
    let mut b = Bundle::new();
    b.set("/linux/resources/memory", json!({"limit": 64 << 20}))
        .set("/linux/resources/pids", json!({"limit": 9}));
    let _running = b.sh("sleep 1000 & echo up; exec sleep 1000").up();
    let s = stats(&b);
    assert_eq!(s["memory"]["usage"]["limit"], 64 << 20);
    assert!(s["memory"]["usage"]["usage"].as_u64() > Some(0));
    assert!(s["memory"]["raw"].as_object().unwrap().len() > 10);
    // Whoever waits for a kill looks for this word alone.
    assert!(!s.to_string().contains("oom"), "{s}");
    assert_eq!(s["pids"], json!({"current": 2, "limit": 9}));
    assert!(s["cpu"]["usage"]["total"].as_u64() > Some(0));
    assert!(s["cpuset"]["cpus"].is_array());
    for key in ["blkio", "hugetlb", "intel_rdt"] {
        assert!(s[key].is_object(), "{key}");
    }
    assert!(s["network_interfaces"].is_null());
    if host::v2() && Path::new("/proc/pressure/cpu").exists() {
        for key in ["cpu", "memory", "blkio"] {
            assert!(s[key]["psi"]["some"]["avg10"].is_number(), "{key}: {s}");
        }
    }
    // One line each interval, until the container ends.
    let events = b.call(&["events", "--interval", "50ms", &b.id]).spawn();
    wait_for("three lines", || events.out().lines().count() >= 3);
    b.kill("KILL").ok();
    let output = events.wait();
    output.ok();
    for line in output.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["type"], "stats");
    }
    for interval in ["0s", "5", "x", "-1s"] {
        b.call(&["events", "--interval", interval, &b.id])
            .output()
            .fails(&["--interval", interval]);
    }
}

/// Waits until `events` sleeps in poll, which is when it watches.
fn is_watching(events: &Running) {
    let call = format!("/proc/{}/syscall", events.pid());
    let ppoll = "271 "; // x86_64
    wait_for("it watches", || {
        fs::read_to_string(&call).is_ok_and(|text| text.starts_with(ppoll))
    });
}

fn events_tell_of_a_process_killed_for_its_memory() {
    needs("memory", "memory");
    let mut b = Bundle::new();
    b.set(
        "/linux/resources/memory",
        json!({"limit": 32 << 20, "swap": 32 << 20}),
    );
    let go = b.text("go");
    fs::write(&go, "").unwrap();
    b.bind(Path::new(&go), "/go", &["rw"]);
    let running = b
        .sh("echo up; until grep -q go /go; do sleep 0.05; done; helper eat 128; echo survived; exec sleep 1000")
        .up();
    let events = b.call(&["events", "--interval", "1h", &b.id]).spawn();
    is_watching(&events);
    fs::write(&go, "go").unwrap();
    wait_for("the hog dies", || running.out().contains("survived"));
    let expected = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", b.id);
    wait_for("it is told", || events.out() == expected);
    // And is not told again when the cgroup goes away.
    b.delete(&["--force"]).ok();
    events.wait().ok().prints(&expected);
}

fn events_tell_each_kill_once() {
    needs("memory", "memory");
    let mut b = Bundle::new();
    b.set(
        "/linux/resources/memory",
        json!({"limit": 32 << 20, "swap": 32 << 20}),
    );
    // Every one of them asks for memory while another is being killed.
    let hogs = "for i in 1 2 3; do (helper eat 128; helper eat 128) & done; wait";
    let running = b
        .sh(&format!(
            "echo up; read line; {hogs}; echo over; exec sleep 1000"
        ))
        .launch("run", &[]);
    let (stdin, mut go) = std::io::pipe().unwrap();
    let running = running.stdin(std::os::fd::OwnedFd::from(stdin)).spawn();
    wait_for("the container is up", || running.out().contains("up"));
    let events = b.call(&["events", "--interval", "1h", &b.id]).spawn();
    is_watching(&events);
    std::io::Write::write_all(&mut go, b"go\n").unwrap();
    wait_for("the hogs are dead", || running.out().contains("over"));
    let kills = value(&b, "memory.oom_control", "memory.events");
    let kills: usize = kills
        .lines()
        .find_map(|l| l.strip_prefix("oom_kill ")?.parse().ok())
        .unwrap();
    assert!(kills >= 6, "{kills}");
    wait_for("each is told", || events.out().lines().count() >= kills);
    b.delete(&["--force"]).ok();
    let told = events.wait();
    assert_eq!(told.ok().lines().len(), kills, "{told}");
}

fn kill_all_reaches_every_process() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        // Without a pid namespace nothing else ends the others.
        b.without_namespace("pid");
        let _running = b
            .sh("sleep 1001 & sleep 1002 & echo up; exec sleep 1000")
            .up();
        let pids = command(&b, &["ps", "--format", "json"]).ok().out.clone();
        let pids: Vec<i32> = serde_json::from_str(&pids).unwrap();
        assert_eq!(pids.len(), 3);
        b.call(&["kill", "--all", &b.id, "KILL"]).ok();
        let ended = |pid: &i32| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .map_or(true, |stat| stat.contains(") Z "))
        };
        wait_for("all have ended", || pids.iter().all(ended));
        wait_for("the state is gone", || !b.state_dir().join(&b.id).exists());
        b.left_nothing();
    }
}

fn two_hundred_containers_leave_nothing() {
    let bundle = |n: usize| {
        let mut b = if n.is_multiple_of(2) {
            Bundle::new()
        } else {
            on_pure_v2()
        };
        b.waits();
        b
    };
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if n >= 200 {
                        return;
                    }
                    let b = bundle(n);
                    b.create().ok();
                    if n.is_multiple_of(2) {
                        command(&b, &["update", "--pids-limit", "50"]).ok();
                    }
                    if n.is_multiple_of(3) {
                        b.start().ok();
                    }
                    command(&b, &["pause"]).ok();
                    if n.is_multiple_of(4) {
                        b.kill("KILL").ok();
                        b.wait_for_status("stopped");
                        b.delete(&[]).ok();
                    } else {
                        b.delete(&["--force"]).ok();
                    }
                    b.left_nothing();
                }
            });
        }
    });
}

fn the_realtime_period_may_become_shorter_than_the_runtime_was() {
    let mut b = Bundle::new();
    let directory = host::controller("cpu").join(&b.id);
    if !host::controller("cpu").join("cpu.rt_period_us").exists() {
        runtime_tests::skip!("no realtime group scheduling on this machine");
    }
    b.set(
        "/linux/resources/cpu",
        json!({"realtimePeriod": 1_000_000, "realtimeRuntime": 500_000}),
    );
    let _running = b.waits().up();
    for (period, runtime) in [("900000", "600000"), ("10000", "3000"), ("100000", "20000")] {
        let flags = ["--cpu-rt-period", period, "--cpu-rt-runtime", runtime];
        b.call(&["update"]).args(flags).arg(&b.id).ok();
        let now = |file: &str| fs::read_to_string(directory.join(file)).unwrap();
        assert_eq!(now("cpu.rt_period_us").trim(), period);
        assert_eq!(now("cpu.rt_runtime_us").trim(), runtime);
    }
}
