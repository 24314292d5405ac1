//! `spec`: the config.json that it writes, and that a busybox root runs with it.

use runtime_tests::{Bundle, Value, host, json};
use std::fs;

runtime_tests::tests![
    the_spec_command_writes_the_default_config,
    the_default_config_hides_and_protects_paths_of_the_kernel,
    the_spec_command_does_not_overwrite,
    the_default_bundle_runs_on_a_busybox_root
];

fn the_spec_command_writes_the_default_config() {
    let b = Bundle::empty();
    b.call(&["spec"]).dir(b.path()).ok().prints("");
    let text = fs::read_to_string(b.path().join("config.json")).unwrap();
    let spec: Value = serde_json::from_str(&text).unwrap();
    assert!(spec["ociVersion"].as_str().unwrap().starts_with("1."));
    assert_eq!(spec["process"]["terminal"], true);
    assert_eq!(spec["process"]["user"], json!({"uid": 0, "gid": 0}));
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    assert_eq!(
        spec["process"]["env"],
        json!([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "TERM=xterm"
        ])
    );
    assert_eq!(spec["process"]["cwd"], "/");
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    assert_eq!(
        spec["process"]["capabilities"],
        json!({"bounding": capabilities, "effective": capabilities, "permitted": capabilities})
    );
    assert_eq!(
        spec["process"]["rlimits"],
        json!([{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}])
    );
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(spec["root"], json!({"path": "rootfs", "readonly": true}));
    let list = |list: &Value, field: &str| -> Vec<String> {
        let items = list.as_array().unwrap().iter();
        items
            .map(|item| item[field].as_str().unwrap().to_owned())
            .collect()
    };
    let destinations = "/proc /dev /dev/pts /dev/shm /dev/mqueue /sys /sys/fs/cgroup";
    assert_eq!(list(&spec["mounts"], "destination").join(" "), destinations);
    assert_eq!(
        spec["linux"]["resources"],
        json!({"devices": [{"allow": false, "access": "rwm"}]})
    );
    // A cgroup namespace is written on a pure-v2 host only.
    let mut kinds = list(&spec["linux"]["namespaces"], "type");
    let count = kinds.len();
    kinds.retain(|kind| kind != "cgroup");
    assert_eq!(kinds, ["pid", "network", "ipc", "uts", "mount"]);
    assert_eq!(kinds.len() < count, host::hierarchies().len() == 1);
}

fn the_default_config_hides_and_protects_paths_of_the_kernel() {
    let b = Bundle::empty();
    b.call(&["spec"]).dir(b.path()).ok();
    let text = fs::read_to_string(b.path().join("config.json")).unwrap();
    let spec: Value = serde_json::from_str(&text).unwrap();
    let has = |field: &str, paths: &[&str]| {
        let list = spec["linux"][field].as_array().unwrap();
        for path in paths {
            assert!(list.contains(&json!(path)), "{field}: {path}");
        }
    };
    has(
        "maskedPaths",
        &[
            "/proc/acpi",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/timer_list",
            "/proc/sched_debug",
            "/proc/scsi",
            "/sys/firmware",
        ],
    );
    has(
        "readonlyPaths",
        &[
            "/proc/bus",
            "/proc/fs",
            "/proc/irq",
            "/proc/sys",
            "/proc/sysrq-trigger",
        ],
    );
}

fn the_spec_command_does_not_overwrite() {
    let b = Bundle::empty();
    fs::write(b.path().join("config.json"), "mine").unwrap();
    b.call(&["spec", "--bundle"])
        .arg(b.path())
        .output()
        .fails(&["config.json", "exist"]);
    assert_eq!(
        fs::read_to_string(b.path().join("config.json")).unwrap(),
        "mine"
    );
}

fn the_default_bundle_runs_on_a_busybox_root() {
    use runtime_tests::terminal::Terminal;
    for pure_v2 in [false, true] {
        let mut b = Bundle::new();
        if pure_v2 {
            b.in_pure_v2();
        }
        b.call(&["spec", "--bundle"]).arg(b.path()).ok();
        let (mut terminal, slave) = Terminal::open();
        let run = b.call(&["run", "--bundle"]).arg(b.path()).arg(&b.id);
        let running = run
            .through(["setsid", "--ctty", "--wait"])
            .stdio(&slave)
            .spawn();
        drop(slave);
        terminal.expect("# ");
        terminal.send("echo $((6 * 7)) $(id -u) $(hostname); exit 9\n");
        let text = terminal.read_all();
        assert!(text.contains("42 0 "), "{text:?}");
        running.wait().ends(9);
        b.left_nothing();
    }
}
