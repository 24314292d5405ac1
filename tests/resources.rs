//! Limits by what they do and not only by what the files say, and the commands around them: update, pause, resume, ps,
//! events. The same tests run on v1 and, in a guest of their own, on v2 with every controller.

use runtime_tests::{Bundle, Output, Running, Value, host, json, wait_for};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

runtime_tests::tests![
    the_realtime_period_may_become_shorter_than_the_runtime_was,
    a_memory_hog_dies_inside_its_limit,
    a_fork_bomb_stops_at_the_pids_limit,
    a_busy_loop_gets_its_share_of_the_cpu,
    cpu_shares_divide_one_cpu,
    cpu_shares_become_the_weights_of_runc,
    a_cpu_set_is_kept,
    a_throttled_write_is_slower,
    every_limit_is_written_where_it_belongs,
    forbidden_devices_are_refused_and_allowed_ones_open,
    device_rules_are_an_ebpf_program_on_pure_v2,
    an_update_replaces_the_device_rules,
    an_update_without_devices_leaves_them,
    a_refusal_that_v1_would_forget_is_an_error,
    huge_pages_are_limited_on_pure_v2,
    a_limit_that_cannot_be_is_an_error_before_anything_is_made,
    unified_needs_v2_and_the_names_of_limits,
    every_controller_is_handed_down_limits_or_none,
    a_parent_with_processes_hands_nothing_down_unasked,
    limits_hold_while_others_hand_controllers_down,
    a_parent_with_processes_is_an_error,
    a_threaded_parent_is_an_error,
    a_writable_cgroup_belongs_to_the_containers_user,
    a_read_only_cgroup_stays_ours,
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
    two_hundred_containers_leave_nothing,
];

/// Where the cgroup of this test is for a controller; the test is skipped when there is none.
fn cgroup(b: &Bundle, controller: &str) -> PathBuf {
    if !host::v2() {
        return host::controller(controller).join(&b.id);
    }
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
    if !controllers.split_whitespace().any(|c| c == controller) {
        runtime_tests::skip!("no cgroup controller {controller} on this machine");
    }
    Path::new("/sys/fs/cgroup").join(&b.id)
}

/// What a file of the container's cgroup says, by its name on v1 or v2.
#[track_caller]
fn value(b: &Bundle, on_v1: &str, on_v2: &str) -> String {
    let file = if host::v2() { on_v2 } else { on_v1 };
    let controller = file.split('.').next().unwrap();
    let path = cgroup(b, controller).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// Skips the test where neither version has the controller.
fn needs(on_v1: &str, on_v2: &str) {
    cgroup(&Bundle::empty(), if host::v2() { on_v2 } else { on_v1 });
}

/// A bundle whose calls see v2 alone, whether that is the machine's own or the view.
fn on_pure_v2() -> Bundle {
    let mut b = Bundle::new();
    b.in_pure_v2();
    b
}

/// The directory of the container's cgroup there.
fn v2_directory(b: &Bundle) -> PathBuf {
    host::controller("unified").join(&b.id)
}

#[track_caller]
fn command(b: &Bundle, words: &[&str]) -> Output {
    let (command, flags) = words.split_first().unwrap();
    b.call(&[command]).args(flags).arg(&b.id).output()
}

#[track_caller]
fn stats(b: &Bundle) -> Value {
    let output = command(b, &["events", "--stats"]);
    let line: Value = serde_json::from_str(&output.ok().out).unwrap();
    assert_eq!(line["type"], "stats");
    assert_eq!(line["id"], b.id.as_str());
    line["data"].clone()
}

// --- limits ------------------------------------------------------------------------------------------------------------

fn a_memory_hog_dies_inside_its_limit() {
    needs("memory", "memory");
    let mut b = Bundle::new();
    let limit = json!({"limit": 32 << 20, "swap": 32 << 20, "reservation": 16 << 20});
    b.set("/linux/resources/memory", limit).create().ok();
    let limit = (32 << 20).to_string();
    assert_eq!(value(&b, "memory.limit_in_bytes", "memory.max"), limit);
    let reservation = (16 << 20).to_string();
    assert_eq!(
        value(&b, "memory.soft_limit_in_bytes", "memory.low"),
        reservation
    );
    b.delete(&["--force"]).ok();
    b.args(&["helper", "eat", "8"]).run_ok().prints("ate 8\n");
    b.args(&["helper", "eat", "128"]).run().ends(137).prints("");
    b.left_nothing();
}

fn a_fork_bomb_stops_at_the_pids_limit() {
    needs("pids", "pids");
    let mut b = Bundle::new();
    b.set("/linux/resources/pids", json!({"limit": 7}))
        .args(&["helper", "fork"]);
    b.run_ok().prints("forked 6 EAGAIN\n");
}

/// How much CPU time containers get that run a busy loop at the same time, in nanoseconds a second.
fn busy(cpus: &[Value]) -> Vec<f64> {
    let mut bundles = Vec::new();
    for cpu in cpus {
        let mut b = Bundle::new();
        b.set("/linux/resources/cpu", cpu.clone())
            .sh("echo up; while :; do :; done");
        bundles.push(b);
    }
    let running: Vec<_> = bundles.iter().map(|b| b.up()).collect();
    let total = |b: &Bundle| stats(b)["cpu"]["usage"]["total"].as_f64().unwrap();
    let begin = Instant::now();
    let before: Vec<_> = bundles.iter().map(total).collect();
    std::thread::sleep(Duration::from_millis(1500));
    let after: Vec<_> = bundles.iter().map(total).collect();
    let seconds = begin.elapsed().as_secs_f64();
    for b in &bundles {
        b.delete(&["--force"]).ok();
    }
    drop(running);
    let used = before.iter().zip(&after);
    used.map(|(before, after)| (after - before) / seconds)
        .collect()
}

fn a_busy_loop_gets_its_share_of_the_cpu() {
    needs("cpu", "cpu");
    needs("cpuacct", "cpu");
    // Where something else takes the machine from us, as of an emulated one, its time is charged to whoever ran then. That
    // passes; a limit that does not hold does not.
    let cpus = [json!({"quota": 10_000, "period": 100_000}), json!({})];
    let mut all = Vec::new();
    let holds = (0..5).any(|_| {
        let used = busy(&cpus);
        all.push(format!("{used:?}"));
        used[0] < 0.16e9 && used[0] * 2.0 < used[1]
    });
    assert!(
        holds,
        "a tenth of a CPU beside a twin without limit: {all:?}"
    );
}

fn cpu_shares_divide_one_cpu() {
    needs("cpuset", "cpuset");
    needs("cpuacct", "cpu");
    let used = busy(&[
        json!({"shares": 4096, "cpus": "0"}),
        json!({"shares": 256, "cpus": "0"}),
    ]);
    assert!(used[1] * 3.0 < used[0], "{used:?}");
}

fn cpu_shares_become_the_weights_of_runc() {
    needs("cpu", "cpu");
    let mut b = Bundle::new();
    b.set("/linux/resources/cpu", json!({"shares": 2}));
    b.create().ok();
    for (shares, weight) in [
        (2, 1),
        (3, 2),
        (10, 4),
        (100, 17),
        (256, 35),
        (512, 59),
        (1024, 100),
        (1025, 101),
        (2048, 174),
        (4096, 303),
        (10_000, 627),
        (100_000, 4340),
        (262_143, 10_000),
        (262_144, 10_000),
    ] {
        command(&b, &["update", "--cpu-share", &shares.to_string()]).ok();
        let expected = if host::v2() { weight } else { shares };
        assert_eq!(
            value(&b, "cpu.shares", "cpu.weight"),
            expected.to_string(),
            "{shares} shares"
        );
    }
}

fn a_cpu_set_is_kept() {
    needs("cpuset", "cpuset");
    let mut b = Bundle::new();
    b.set("/linux/resources/cpu", json!({"cpus": "0", "mems": "0"}))
        .args(&["grep", "_allowed_list", "/proc/self/status"]);
    b.run_ok()
        .prints("Cpus_allowed_list:\t0\nMems_allowed_list:\t0\n");
}

fn a_throttled_write_is_slower() {
    // A disk that may be written to: a file on the host's would not tell which disk it is on.
    let Some(disk) = std::env::var_os("SCRATCH_DISK").map(PathBuf::from) else {
        runtime_tests::skip!("no SCRATCH_DISK to write to; the guest has one");
    };
    needs("blkio", "io");
    let number = {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(&disk).unwrap().rdev()
    };
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    let seconds = |rate: Option<u64>| {
        let mut b = Bundle::new();
        let device = json!([{"type": "b", "path": "/dev/disk", "major": major, "minor": minor}]);
        b.set("/linux/devices", device);
        if let Some(rate) = rate {
            let limit = json!([{"major": major, "minor": minor, "rate": rate}]);
            b.set("/linux/resources/blockIO/throttleWriteBpsDevice", limit);
        }
        b.args(&["helper", "direct", "/dev/disk", "8"]);
        let begin = Instant::now();
        b.run_ok().prints("wrote 8\n");
        begin.elapsed().as_secs_f64()
    };
    let (free, throttled) = (seconds(None), seconds(Some(4 << 20)));
    assert!(
        throttled > 1.4 && throttled > free * 1.5,
        "8 MiB at 4 MiB/s took {throttled:.1} s, unthrottled {free:.1} s"
    );
}

fn every_limit_is_written_where_it_belongs() {
    needs("cpu", "cpu");
    let mut b = Bundle::new();
    b.set(
        "/linux/resources/cpu",
        json!({"quota": 30_000, "period": 60_000, "burst": 5_000, "idle": 1}),
    );
    b.set("/linux/resources/pids", json!({"limit": 0}));
    b.create().ok();
    if host::v2() {
        assert_eq!(value(&b, "", "cpu.max"), "30000 60000");
    } else {
        assert_eq!(value(&b, "cpu.cfs_quota_us", ""), "30000");
        assert_eq!(value(&b, "cpu.cfs_period_us", ""), "60000");
    }
    assert_eq!(value(&b, "cpu.cfs_burst_us", "cpu.max.burst"), "5000");
    assert_eq!(value(&b, "cpu.idle", "cpu.idle"), "1");
    // A cgroup of no process at all could not be entered.
    assert_eq!(value(&b, "pids.max", "pids.max"), "1");
}

fn kmsg(b: &mut Bundle, rules: Value) {
    b.set(
        "/linux/devices",
        json!([
            {"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11, "fileMode": 0o666},
            {"type": "c", "path": "/dev/mem2", "major": 1, "minor": 1, "fileMode": 0o666},
        ]),
    );
    b.set("/linux/resources/devices", rules);
    b.capabilities(&["CAP_MKNOD", "CAP_SYS_RAWIO", "CAP_SYSLOG"]);
}

/// What can be opened for reading (`r`) or writing (`w`); a subshell, because a failed redirection ends the shell.
const TRY: &str = "r() { (: < $1) 2>/dev/null && echo ok || echo no; }; w() { (: > $1) 2>/dev/null && echo ok || echo no; };";

fn open(what: &str) -> String {
    format!("{TRY} {what}")
}

const ALL: &str = "r /dev/kmsg; r /dev/mem2; w /dev/kmsg; w /dev/null; mknod /tmp/x$$ c 1 11 && r /tmp/x$$; w /tmp/x$$";

fn allow_reading_kmsg() -> Value {
    json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ])
}

fn forbidden_devices_are_refused_and_allowed_ones_open() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        kmsg(&mut b, allow_reading_kmsg());
        // Making nodes is allowed by default, and what they open is refused all the same.
        b.sh(&open(ALL)).run_ok().prints("ok\nno\nno\nok\nok\nno\n");
        b.left_nothing();
    }
}

fn device_rules_are_an_ebpf_program_on_pure_v2() {
    let mut b = on_pure_v2();
    // Bit by bit: who asks for reading and writing at once is refused for the writing.
    kmsg(
        &mut b,
        json!([
            {"allow": true},
            {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]),
    );
    let both = "(: <> /dev/kmsg) 2>/dev/null || echo refused";
    b.sh(&open(&format!("r /dev/kmsg; w /dev/kmsg; {both}")));
    b.run_ok().prints("ok\nno\nrefused\n");
}

#[track_caller]
fn exec(b: &Bundle, script: &str) -> Output {
    b.call(&["exec", &b.id, "sh", "-c", &open(script)]).output()
}

fn an_update_replaces_the_device_rules() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        kmsg(&mut b, allow_reading_kmsg());
        let _running = b.waits().up();
        exec(&b, ALL).prints("ok\nno\nno\nok\nok\nno\n");
        let rules = json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"},
        ]});
        let update = b
            .call(&["update", "--resources", "-", &b.id])
            .stdin_text(&rules.to_string());
        update.ok();
        exec(
            &b,
            "helper open /dev/kmsg r; helper open /dev/kmsg w; helper open /dev/null w",
        )
        .prints("open: EPERM\nopen: ok\nopen: ok\n");
        b.delete(&["--force"]).ok();
        b.left_nothing();
    }
}

fn an_update_without_devices_leaves_them() {
    for mut b in [Bundle::new(), on_pure_v2()] {
        kmsg(&mut b, allow_reading_kmsg());
        let _running = b.waits().up();
        let update = b
            .call(&["update", "--resources", "-", &b.id])
            .stdin_text("{}");
        update.ok();
        exec(&b, ALL).prints("ok\nno\nno\nok\nok\nno\n");
    }
}

fn a_refusal_that_v1_would_forget_is_an_error() {
    host::controller("devices");
    let mut b = Bundle::new();
    kmsg(
        &mut b,
        json!([
            {"allow": false},
            {"allow": true, "type": "c", "major": 1},
            {"allow": false, "type": "c", "major": 1, "minor": 11},
        ]),
    );
    b.run().fails(&["linux.resources.devices[2]", "c 1:* rwm"]);
}

fn huge_pages_are_limited_on_pure_v2() {
    let mut b = on_pure_v2();
    if !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        runtime_tests::skip!("this machine has no huge pages of 2 MiB");
    }
    b.set(
        "/linux/resources/hugepageLimits",
        json!([{"pageSize": "2MB", "limit": 4 << 20}]),
    );
    b.create().ok();
    for file in ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"] {
        let text = fs::read_to_string(v2_directory(&b).join(file)).unwrap();
        assert_eq!(text.trim(), (4 << 20).to_string());
    }
    b.delete(&["--force"]).ok();
    b.set("/linux/resources/hugepageLimits/0/pageSize", json!("3MB"));
    b.create()
        .fails(&["linux.resources.hugepageLimits[0]", "no such limit"]);
    b.left_nothing();
}

fn a_limit_that_cannot_be_is_an_error_before_anything_is_made() {
    let device =
        |field: &str| json!({field: [{"major": -8, "minor": 0, "rate": 1, "weight": 100}]});
    let both = [
        (
            json!({"hugepageLimits": [{"pageSize": "2 MB", "limit": 1}]}),
            "hugepageLimits[0].pageSize",
        ),
        (json!({"blockIO": {"weight": 5}}), "blockIO.weight"),
        (json!({"blockIO": {"weight": 1001}}), "blockIO.weight"),
        (
            json!({"blockIO": device("weightDevice")}),
            "blockIO.weightDevice[0]",
        ),
        (
            json!({"blockIO": device("throttleReadBpsDevice")}),
            "blockIO.throttleReadBpsDevice[0]",
        ),
        (
            json!({"blockIO": device("throttleWriteIOPSDevice")}),
            "blockIO.throttleWriteIOPSDevice[0]",
        ),
        (json!({"rdma": {"mlx5_0": {}}}), "rdma[\"mlx5_0\"]"),
        (
            json!({"memory": {"limit": 2 << 20, "swap": 1 << 20}}),
            "memory.swap",
        ),
        (json!({"memory": {"swappiness": 101}}), "memory.swappiness"),
        (
            json!({"devices": [{"allow": true, "access": "x"}]}),
            "devices[0].access",
        ),
        (
            json!({"devices": [{"allow": true, "type": "d"}]}),
            "devices[0].type",
        ),
        (
            json!({"devices": [{"allow": true, "type": "c", "major": -2}]}),
            "devices[0].major",
        ),
    ];
    let alone = [
        (json!({"memory": {"swap": 1 << 20}}), "memory.swap"),
        (json!({"memory": {"swappiness": 10}}), "memory.swappiness"),
        (
            json!({"memory": {"disableOOMKiller": true}}),
            "memory.disableOOMKiller",
        ),
        (
            json!({"cpu": {"realtimeRuntime": 1000}}),
            "cpu.realtimeRuntime",
        ),
        (
            json!({"cpu": {"realtimePeriod": 1000}}),
            "cpu.realtimePeriod",
        ),
        (
            json!({"blockIO": {"leafWeight": 100}}),
            "blockIO.leafWeight",
        ),
        (json!({"network": {"classID": 1}}), "network"),
        (
            json!({"unified": {"memory/high": "1"}}),
            "unified[\"memory/high\"]",
        ),
        (json!({"unified": {"..": "1"}}), "unified[\"..\"]"),
        (
            json!({"unified": {"cgroup.procs": "1"}}),
            "unified[\"cgroup.procs\"]",
        ),
    ];
    for (mut b, cases) in [
        (Bundle::new(), &both[..]),
        (on_pure_v2(), &both[..]),
        (on_pure_v2(), &alone[..]),
    ] {
        for (resources, field) in cases {
            b.set("/linux/resources", resources.clone());
            let field = format!("config.json: linux.resources.{field}");
            b.launch("run", &["--dry-run"]).output().fails(&[&field]);
            b.run().fails(&[&field]);
            b.left_nothing();
        }
    }
}

fn unified_needs_v2_and_the_names_of_limits() {
    let mut b = Bundle::new();
    if !host::v2() {
        b.set("/linux/resources/unified", json!({"memory.high": "max"}));
        b.run()
            .fails(&["linux.resources.unified[\"memory.high\"]", "cgroup v2"]);
        return;
    }
    needs("memory", "memory");
    b.set(
        "/linux/resources/unified",
        json!({"memory.high": "50331648", "cgroup.max.depth": "3"}),
    );
    b.create().ok();
    assert_eq!(value(&b, "", "memory.high"), "50331648");
    b.delete(&["--force"]).ok();
    b.set("/linux/resources/unified", json!({"memory.hihg": "1"}));
    b.create()
        .fails(&["unified[\"memory.hihg\"]", "no such limit"]);
    b.set("/linux/resources/unified", json!({"nonsense.max": "1"}));
    b.create()
        .fails(&["unified[\"nonsense.max\"]", "no such controller"]);
    b.left_nothing();
}

// --- the cgroup itself ---------------------------------------------------------------------------------------------------

fn nested_with_a_limit(b: &mut Bundle) -> PathBuf {
    let path = format!("/{}/one/two", b.id);
    b.set("/linux/cgroupsPath", json!(path)).set(
        "/linux/resources/hugepageLimits",
        json!([{"pageSize": "2MB", "limit": 4 << 20}]),
    );
    if !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists() {
        runtime_tests::skip!("this machine has no huge pages of 2 MiB");
    }
    v2_directory(b)
}

fn every_controller_is_handed_down_limits_or_none() {
    let mut b = on_pure_v2();
    let path = format!("/{}/one/two", b.id);
    b.set("/linux/cgroupsPath", json!(path));
    b.create().ok();
    let top = v2_directory(&b);
    let all = fs::read_to_string(top.parent().unwrap().join("cgroup.controllers")).unwrap();
    for (directory, enabled) in [("", all.trim()), ("one", all.trim()), ("one/two", "")] {
        let file = top.join(directory).join("cgroup.subtree_control");
        assert_eq!(fs::read_to_string(file).unwrap().trim(), enabled);
    }
}

/// It could: some controllers, and then its children would be of threads.
fn a_parent_with_processes_hands_nothing_down_unasked() {
    let mut b = on_pure_v2();
    let path = format!("/{}/one", b.id);
    b.set("/linux/cgroupsPath", json!(path));
    let top = v2_directory(&b);
    fs::create_dir(&top).unwrap();
    let other = runtime_tests::Cmd::new(&b.dir, "sleep").arg("1000").spawn();
    fs::write(top.join("cgroup.procs"), other.pid().to_string()).unwrap();
    b.create().ok();
    let enabled = fs::read_to_string(top.join("cgroup.subtree_control")).unwrap();
    assert_eq!(enabled.trim(), "");
}

/// The kernel tells of controllers that are being handed down before their files are there.
fn limits_hold_while_others_hand_controllers_down() {
    let top = on_pure_v2();
    fs::create_dir(v2_directory(&top)).unwrap();
    for round in 0..5 {
        let parent = v2_directory(&top).join(round.to_string());
        // It takes the kernel longer where there are many.
        let others: Vec<_> = (0..300).map(|n| parent.join(n.to_string())).collect();
        fs::create_dir(&parent).unwrap();
        others.iter().for_each(|d| fs::create_dir(d).unwrap());
        std::thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(|| {
                    let mut b = on_pure_v2();
                    let path = format!("/{}/{round}/{}", top.id, b.id);
                    b.set("/linux/cgroupsPath", json!(path)).set(
                        "/linux/resources/hugepageLimits",
                        json!([{"pageSize": "2MB", "limit": 4 << 20}]),
                    );
                    b.create().ok();
                    b.delete(&["--force"]).ok();
                });
            }
        });
        others.iter().for_each(|d| fs::remove_dir(d).unwrap());
        fs::remove_dir(&parent).unwrap();
    }
    fs::remove_dir(v2_directory(&top)).unwrap();
}

fn a_parent_with_processes_is_an_error() {
    let mut b = on_pure_v2();
    let top = nested_with_a_limit(&mut b);
    fs::create_dir(&top).unwrap();
    let other = runtime_tests::Cmd::new(&b.dir, "sleep").arg("1000").spawn();
    fs::write(top.join("cgroup.procs"), other.pid().to_string()).unwrap();
    b.create().fails(&[
        "linux.resources.hugepageLimits[0]",
        "hugetlb",
        "processes of its own",
    ]);
    assert!(!top.join("one/two").exists());
}

fn a_threaded_parent_is_an_error() {
    let mut b = on_pure_v2();
    let top = nested_with_a_limit(&mut b);
    b.remove("/linux/resources");
    fs::create_dir_all(top.join("one")).unwrap();
    fs::write(top.join("one/cgroup.type"), "threaded").unwrap();
    b.create().fails(&["cgroup", "domain invalid"]);
    assert!(!top.join("one/two").exists());
}

fn delegated(options: &[&str]) -> (u32, u32, u32) {
    let mut b = on_pure_v2();
    b.user_namespace().namespace("cgroup", None);
    b.mount("/sys/fs/cgroup", "cgroup", "cgroup", options)
        .set("/process/user/uid", json!(7));
    b.create().ok();
    use std::os::unix::fs::MetadataExt;
    let owner = |file: &str| fs::metadata(v2_directory(&b).join(file)).unwrap().uid();
    (owner(""), owner("cgroup.procs"), owner("cgroup.freeze"))
}

fn a_writable_cgroup_belongs_to_the_containers_user() {
    assert_eq!(delegated(&["rw"]), (100_007, 100_007, 0));
}

fn a_read_only_cgroup_stays_ours() {
    assert_eq!(delegated(&["ro"]), (0, 0, 0));
}

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
