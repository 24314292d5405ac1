//! Limits by what they do and not only by what the files say, and the commands around them: update, pause, resume, ps,
//! events. The same tests run on v1 and, in a guest of their own, on v2 with every controller.

use runtime_tests::{Bundle, Output, Value, host, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

runtime_tests::tests![
    a_memory_hog_dies_inside_its_limit,
    a_fork_bomb_stops_at_the_pids_limit,
    a_busy_loop_gets_its_share_of_the_cpu,
    cpu_shares_divide_one_cpu,
    cpu_shares_become_the_weights_of_runc,
    a_cpu_set_is_kept,
    a_throttled_write_is_slower,
    every_limit_is_written_where_it_belongs,
    huge_pages_are_limited_on_pure_v2,
    a_limit_that_cannot_be_is_an_error_before_anything_is_made,
    unified_needs_v2_and_the_names_of_limits,
    every_controller_is_handed_down_limits_or_none,
    a_parent_with_processes_hands_nothing_down_unasked,
    limits_hold_while_others_hand_controllers_down,
    a_parent_with_processes_is_an_error,
    a_threaded_parent_is_an_error,
    a_writable_cgroup_belongs_to_the_containers_user,
    a_read_only_cgroup_stays_ours
];

/// Where the cgroup of this test is for a controller; the test is skipped when there is none.
pub fn cgroup(b: &Bundle, controller: &str) -> PathBuf {
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
pub fn value(b: &Bundle, on_v1: &str, on_v2: &str) -> String {
    let file = if host::v2() { on_v2 } else { on_v1 };
    let controller = file.split('.').next().unwrap();
    let path = cgroup(b, controller).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

/// Skips the test where neither version has the controller.
pub fn needs(on_v1: &str, on_v2: &str) {
    cgroup(&Bundle::empty(), if host::v2() { on_v2 } else { on_v1 });
}

/// A bundle whose calls see v2 alone, whether that is the machine's own or the view.
pub fn on_pure_v2() -> Bundle {
    let mut b = Bundle::new();
    b.in_pure_v2();
    b
}

/// The directory of the container's cgroup there.
fn v2_directory(b: &Bundle) -> PathBuf {
    host::controller("unified").join(&b.id)
}

#[track_caller]
pub fn command(b: &Bundle, words: &[&str]) -> Output {
    let (command, flags) = words.split_first().unwrap();
    b.call(&[command]).args(flags).arg(&b.id).output()
}

#[track_caller]
pub fn stats(b: &Bundle) -> Value {
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

/// Limits that no version of cgroups has, and their fields.
fn wrong_limits() -> Vec<(Value, &'static str)> {
    let device =
        |field: &str| json!({field: [{"major": -8, "minor": 0, "rate": 1, "weight": 100}]});
    vec![
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
    ]
}

/// Limits that cgroup v2 does not have.
fn limits_of_v1() -> Vec<(Value, &'static str)> {
    vec![
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
    ]
}

fn a_limit_that_cannot_be_is_an_error_before_anything_is_made() {
    for (mut b, cases) in [
        (Bundle::new(), wrong_limits()),
        (on_pure_v2(), wrong_limits()),
        (on_pure_v2(), limits_of_v1()),
    ] {
        for (resources, field) in cases {
            b.set("/linux/resources", resources);
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
