//! Limits, device rules and annotations as properties of the scope that systemd keeps.

use crate::systemd::{Scope, scope};
use runtime_tests::json;
use runtime_tests::systemd::{root, systemctl, with_bus};

runtime_tests::tests![
    limits_are_properties_of_the_scope,
    device_rules_are_properties_of_the_scope,
    device_rules_outlast_a_reload_of_systemd,
    annotations_are_properties_of_the_scope,
    an_annotation_that_cannot_be_is_an_error,
    limits_outlast_a_reload_of_systemd,
    an_update_outlasts_a_reload_of_systemd,
    a_quota_that_is_taken_away_leaves_the_period,
    an_idle_scope_that_gets_a_weight_is_not_idle
];

// --- properties ------------------------------------------------------------------------------------------------------------

fn with_limits() -> Scope {
    let mut s = scope();
    s.b.set(
        "/linux/resources",
        json!({
            "memory": {"limit": 64 << 20, "swap": 96 << 20, "reservation": 32 << 20},
            "cpu": {"shares": 512, "quota": 30_000, "period": 60_000, "cpus": "0", "mems": "0"},
            "pids": {"limit": 50},
            "unified": {"memory.high": "50331648"},
        }),
    );
    s
}

const LIMITS: [(&str, &str); 10] = [
    ("MemoryMax", "67108864"),
    ("MemorySwapMax", "33554432"),
    ("MemoryLow", "33554432"),
    ("MemoryHigh", "50331648"),
    ("CPUWeight", "59"),
    ("CPUQuotaPerSecUSec", "500ms"),
    ("CPUQuotaPeriodUSec", "60ms"),
    ("AllowedCPUs", "0"),
    ("AllowedMemoryNodes", "0"),
    ("TasksMax", "50"),
];

#[track_caller]
fn limits_hold(s: &Scope) {
    for (file, value) in [
        ("memory.max", "67108864"),
        ("memory.swap.max", "33554432"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "59"),
        ("cpu.max", "30000 60000"),
        ("cpuset.cpus", "0"),
        ("cpuset.mems", "0"),
        ("pids.max", "50"),
    ] {
        assert_eq!(s.value(file), value, "{file}");
    }
}

fn limits_are_properties_of_the_scope() {
    let s = with_limits();
    s.create().ok();
    s.has(&LIMITS);
    limits_hold(&s);
    s.command(&["delete", "--force"]).ok();
    s.left_nothing();
}

fn limits_outlast_a_reload_of_systemd() {
    let s = with_limits();
    s.create().ok();
    s.reload();
    s.has(&LIMITS);
    limits_hold(&s);
}

/// The test is skipped for a user, who may not filter devices.
fn with_device_rules() -> Scope {
    let mut s = scope();
    if !root() {
        runtime_tests::skip!("device rules are root's");
    }
    let kmsg =
        json!([{"type": "c", "path": "/dev/kmsg", "major": 1, "minor": 11, "fileMode": 0o666}]);
    s.b.set("/linux/devices", kmsg).set(
        "/linux/resources/devices",
        json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
        ]),
    );
    s.b.capabilities(&["CAP_SYSLOG"]);
    s
}

fn device_rules_are_properties_of_the_scope() {
    let s = with_device_rules();
    s.create().ok();
    s.has(&[("DevicePolicy", "strict")]);
    let allowed = s.property("DeviceAllow");
    for rule in [
        "/dev/char/1:11 r",
        "/dev/char/1:3 rwm",
        "char-* m",
        "char-pts rwm",
    ] {
        assert!(
            allowed.lines().any(|line| line == rule),
            "{rule}: {allowed}"
        );
    }
}

fn device_rules_outlast_a_reload_of_systemd() {
    let s = with_device_rules();
    let _running = s.up();
    let holds = |when: &str| {
        let script =
            "(: < /dev/kmsg) && echo read; (: > /dev/kmsg) 2>&1; : > /dev/null && echo written";
        let output = s.call(&["exec", &s.b.id, "sh", "-c", script]).ok();
        let refused = "sh: can't create /dev/kmsg: Operation not permitted";
        assert_eq!(output.lines(), ["read", refused, "written"], "{when}");
    };
    holds("at once");
    s.reload();
    holds("after a reload");
    systemctl(
        &s.b.dir,
        &["set-property", "--runtime", &s.name, "TasksMax=99"],
    )
    .ok();
    holds("after a property is set");
}

fn annotations_are_properties_of_the_scope() {
    let mut s = scope();
    s.b.set(
        "/annotations",
        json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 5000000",
            "org.systemd.property.RuntimeMaxSec": "uint64 3600",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.SendSIGHUP": "true",
            "org.systemd.property.SendSIGKILL": "false",
            "org.systemd.property.After": "['one.service', 'two.service']",
            "org.systemd.property.KillSignal": "int32 10",
            "org.example": "not systemd's",
        }),
    );
    s.create().ok();
    s.has(&[
        ("TimeoutStopUSec", "5s"),
        ("RuntimeMaxUSec", "1h"),
        ("CollectMode", "inactive-or-failed"),
        ("SendSIGHUP", "yes"),
        ("SendSIGKILL", "no"),
        ("KillSignal", "10"),
    ]);
    let after = s.property("After");
    for unit in ["one.service", "two.service"] {
        assert!(after.split(' ').any(|name| name == unit), "{after}");
    }
    s.command(&["delete", "--force"]).ok();
    s.left_nothing();
}

fn an_annotation_that_cannot_be_is_an_error() {
    for (property, value) in [
        ("TimeoutStopUSec", "nonsense 5"),
        ("TimeoutStopUSec", "uint64 many"),
        ("NoSuchProperty", "true"),
        // The type is another, which systemd tells without the name of the property.
        ("SendSIGHUP", "uint64 1"),
    ] {
        let mut s = scope();
        let key = format!("org.systemd.property.{property}");
        s.b.set("/annotations", json!({key: value}));
        let word = match property {
            "SendSIGHUP" => s.name.as_str(),
            name => name,
        };
        s.create().ends(1).says(&[word]);
        s.left_nothing();
    }
}

fn an_update_outlasts_a_reload_of_systemd() {
    let s = with_limits();
    s.create().ok();
    s.command(&[
        "update",
        "--memory",
        "100663296",
        "--memory-swap",
        "134217728",
    ])
    .ok();
    s.command(&["update", "--pids-limit", "77"]).ok();
    s.command(&["update", "--cpu-quota", "24000"]).ok();
    s.command(&["update", "--cpu-share", "1024"]).ok();
    let all = |when: &str| {
        for (file, value) in [
            ("memory.max", "100663296"),
            ("memory.swap.max", "33554432"),
            ("pids.max", "77"),
            ("cpu.max", "24000 60000"),
            ("cpu.weight", "100"),
            // Untouched.
            ("memory.low", "33554432"),
            ("cpuset.cpus", "0"),
        ] {
            assert_eq!(s.value(file), value, "{file} {when}");
        }
        s.has(&[
            ("MemoryMax", "100663296"),
            ("TasksMax", "77"),
            ("CPUQuotaPerSecUSec", "400ms"),
            ("CPUWeight", "100"),
        ]);
    };
    all("at once");
    s.reload();
    all("after a reload");
    // Without the flag as well: the state knows whose the cgroup is.
    let update = ["update", "--pids-limit", "78", &s.b.id];
    with_bus(s.b.call(&update)).ok();
    s.reload();
    assert_eq!(s.value("pids.max"), "78");
    s.has(&[("TasksMax", "78")]);
}

// --- life ------------------------------------------------------------------------------------------------------------------

/// systemd would go back to its own.
fn a_quota_that_is_taken_away_leaves_the_period() {
    let mut s = scope();
    s.b.set(
        "/linux/resources/cpu",
        json!({"quota": 30_000, "period": 60_000}),
    );
    s.create().ok();
    s.command(&["update", "--cpu-quota", "-1"]).ok();
    assert_eq!(s.value("cpu.max"), "max 60000");
}

fn an_idle_scope_that_gets_a_weight_is_not_idle() {
    let mut s = scope();
    s.b.set("/linux/resources/cpu", json!({"idle": 1}));
    s.create().ok();
    s.command(&["update", "--cpu-period", "60000"]).ok();
    assert_eq!(s.value("cpu.idle"), "1");
    s.command(&["update", "--cpu-share", "200"]).ok();
    assert_eq!(s.value("cpu.idle"), "0");
    s.has(&[("CPUWeight", &s.value("cpu.weight"))]);
}
