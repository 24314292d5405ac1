//! Configurations that must be refused: single wrong values, and combinations that cannot be.
//! Each comes with the words its error must hold; errors.rs runs them.

use runtime_tests::{Bundle, Value, json};

/// Pointer, wrong value (null removes the field), and words of the error, the JSON path first.
pub fn cases() -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let path_and = |path, word| vec![path, word];
    vec![
        ("/ociVersion", Value::Null, vec!["ociVersion"]),
        ("/ociVersion", json!(1), path_and("ociVersion", "1")),
        ("/process", json!([]), vec!["process"]),
        ("/process/args", Value::Null, vec!["process.args"]),
        ("/process/args", json!([]), vec!["process.args"]),
        (
            "/process/args",
            json!("sh"),
            path_and("process.args", "\"sh\""),
        ),
        (
            "/process/args",
            json!(["sh", 1]),
            path_and("process.args[1]", "1"),
        ),
        (
            "/process/args",
            json!(["sh", "a\0b"]),
            vec!["process.args[1]"],
        ),
        ("/process/env", json!({}), vec!["process.env"]),
        ("/process/env", json!(["A=\0"]), vec!["process.env[0]"]),
        ("/process/cwd", Value::Null, vec!["process.cwd"]),
        (
            "/process/cwd",
            json!("relative"),
            path_and("process.cwd", "relative"),
        ),
        ("/process/cwd", json!(true), path_and("process.cwd", "true")),
        (
            "/process/user/uid",
            json!(-1),
            path_and("process.user.uid", "-1"),
        ),
        (
            "/process/user/uid",
            json!(4294967295u64),
            path_and("process.user.uid", "4294967295"),
        ),
        (
            "/process/user/uid",
            json!(4294967296u64),
            path_and("process.user.uid", "4294967296"),
        ),
        (
            "/process/user/uid",
            json!(99999999999u64),
            path_and("process.user.uid", "99999999999"),
        ),
        ("/process/user/uid", json!("0"), vec!["process.user.uid"]),
        (
            "/process/user/uid",
            json!("+5"),
            path_and("process.user.uid", "+5"),
        ),
        (
            "/process/user/uid",
            json!(1.5),
            path_and("process.user.uid", "1.5"),
        ),
        (
            "/process/user/gid",
            json!(-1),
            path_and("process.user.gid", "-1"),
        ),
        (
            "/process/user/gid",
            json!(4294967295u64),
            path_and("process.user.gid", "4294967295"),
        ),
        (
            "/process/user/additionalGids",
            json!([1, 4294967295u64]),
            path_and("process.user.additionalGids[1]", "4294967295"),
        ),
        (
            "/process/user/additionalGids",
            json!([1, " 5"]),
            vec!["process.user.additionalGids[1]"],
        ),
        ("/process/user/umask", json!(-1), vec!["process.user.umask"]),
        (
            "/process/terminal",
            json!("yes"),
            path_and("process.terminal", "yes"),
        ),
        (
            "/process/noNewPrivileges",
            json!(1),
            vec!["process.noNewPrivileges"],
        ),
        (
            "/process/oomScoreAdj",
            json!(5000),
            path_and("process.oomScoreAdj", "5000"),
        ),
        (
            "/process/capabilities",
            json!(["CAP_KILL"]),
            vec!["process.capabilities"],
        ),
        (
            "/process/capabilities/bounding",
            json!("CAP_KILL"),
            vec!["process.capabilities.bounding"],
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]),
            path_and("process.rlimits[0].type", "RLIMIT_NONSENSE"),
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
            vec!["process.rlimits[0]"],
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 2, "hard": 2}]),
            path_and("process.rlimits[1]", "RLIMIT_CORE"),
        ),
        ("/root", Value::Null, vec!["root"]),
        ("/root/path", Value::Null, vec!["root.path"]),
        ("/root/path", json!(7), path_and("root.path", "7")),
        (
            "/root/readonly",
            json!("yes"),
            path_and("root.readonly", "yes"),
        ),
        ("/hostname", json!(["x"]), vec!["hostname"]),
        ("/mounts", json!({}), vec!["mounts"]),
        ("/mounts/0", json!("proc"), vec!["mounts[0]"]),
        (
            "/mounts/0/destination",
            Value::Null,
            vec!["mounts[0].destination"],
        ),
        (
            "/mounts/1/options",
            json!("ro"),
            path_and("mounts[1].options", "\"ro\""),
        ),
        (
            "/mounts/1/options",
            json!(["ro", 5]),
            path_and("mounts[1].options[1]", "5"),
        ),
        ("/mounts/1/source", json!("a\0b"), vec!["mounts[1].source"]),
        ("/hooks", json!([]), vec!["hooks"]),
        ("/hooks/prestart", json!({}), vec!["hooks.prestart"]),
        (
            "/hooks/poststop",
            json!([{"args": ["x"]}]),
            vec!["hooks.poststop[0].path"],
        ),
        (
            "/hooks/poststop",
            json!([{"path": "/bin/true", "timeout": 0}]),
            vec!["hooks.poststop[0].timeout"],
        ),
        (
            "/hooks/poststop",
            json!([{"path": "/bin/true", "timeout": -3}]),
            path_and("hooks.poststop[0].timeout", "-3"),
        ),
        ("/annotations", json!({"key": 1}), vec!["annotations"]),
        (
            "/linux/namespaces",
            json!([{"type": "nonsense"}]),
            path_and("linux.namespaces[0].type", "nonsense"),
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "pid"}, {"type": "pid"}]),
            path_and("linux.namespaces[2]", "pid"),
        ),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "uts", "path": "relative"}]),
            vec!["linux.namespaces[1].path"],
        ),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 1, "size": 1}]),
            path_and("linux.uidMappings", "user"),
        ),
        (
            "/linux/timeOffsets",
            json!({"monotonic": {"secs": 1}}),
            path_and("linux.timeOffsets", "time"),
        ),
        (
            "/linux/timeOffsets",
            json!({"nonsense": {"secs": 1}}),
            vec!["linux.timeOffsets"],
        ),
        (
            "/linux/devices",
            json!([{"type": "x", "path": "/dev/x", "major": 1, "minor": 1}]),
            path_and("linux.devices[0].type", "x"),
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "/dev/x"}]),
            vec!["linux.devices[0]"],
        ),
        (
            "/linux/devices",
            json!([{"type": "c", "path": "dev/x", "major": 1, "minor": 1}]),
            path_and("linux.devices[0].path", "dev/x"),
        ),
        (
            "/linux/sysctl",
            json!({"net.ipv4.ip_forward": 1}),
            vec!["linux.sysctl"],
        ),
        (
            "/linux/rootfsPropagation",
            json!("nonsense"),
            path_and("linux.rootfsPropagation", "nonsense"),
        ),
        (
            "/linux/maskedPaths",
            json!(["relative"]),
            path_and("linux.maskedPaths[0]", "relative"),
        ),
        (
            "/linux/readonlyPaths",
            json!("/proc"),
            vec!["linux.readonlyPaths"],
        ),
        (
            "/linux/cgroupsPath",
            json!(5),
            path_and("linux.cgroupsPath", "5"),
        ),
        ("/linux/resources", json!([]), vec!["linux.resources"]),
        (
            "/linux/resources/memory",
            json!({"limit": "1g"}),
            path_and("linux.resources.memory.limit", "1g"),
        ),
        (
            "/linux/resources/pids",
            json!({"limit": 1.5}),
            vec!["linux.resources.pids.limit"],
        ),
        (
            "/linux/resources/cpu",
            json!({"shares": -1}),
            path_and("linux.resources.cpu.shares", "-1"),
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": "no"}]),
            vec!["linux.resources.devices[0].allow"],
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": false, "access": "z"}]),
            path_and("linux.resources.devices[0].access", "z"),
        ),
        (
            "/linux/seccomp",
            json!({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO"}]}),
            vec!["linux.seccomp.defaultAction"],
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"]}]}),
            vec!["linux.seccomp.syscalls[0].action"],
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}),
            path_and("linux.seccomp.syscalls[0].args[0].index", "6"),
        ),
    ]
}

/// Impossible combinations: what to change, and the words of the error.
pub fn combinations() -> Vec<(&'static str, Bundle, Vec<&'static str>)> {
    let mut list = Vec::new();
    let mut add = |name, change: fn(&mut Bundle), words| {
        let mut b = Bundle::empty();
        change(&mut b);
        list.push((name, b, words));
    };
    add(
        "hostname without uts",
        |b| {
            b.without_namespace("uts").set("/hostname", json!("x"));
        },
        vec!["hostname", "uts"],
    );
    add(
        "domainname without uts",
        |b| {
            b.without_namespace("uts").set("/domainname", json!("x"));
        },
        vec!["domainname", "uts"],
    );
    add(
        "user without mappings",
        |b| {
            b.namespace("user", None);
        },
        vec!["linux.uidMappings"],
    );
    add(
        "mappings that overlap",
        |b| {
            let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}, {"containerID": 5, "hostID": 3000, "size": 10}]);
            b.namespace("user", None)
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map);
        },
        vec!["linux.uidMappings"],
    );
    add(
        "a mapping of size 0",
        |b| {
            let map = json!([{"containerID": 0, "hostID": 1000, "size": 0}]);
            b.namespace("user", None)
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map);
        },
        vec!["linux.uidMappings[0]"],
    );
    add(
        "a mapping past the last id",
        |b| {
            let map = json!([{"containerID": 0, "hostID": 4294967295u64, "size": 2}]);
            b.namespace("user", None)
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map);
        },
        vec!["linux.uidMappings[0]"],
    );
    add(
        "a user that is not mapped",
        |b| {
            let map = json!([{"containerID": 0, "hostID": 100_000, "size": 10}]);
            b.namespace("user", None)
                .set("/linux/uidMappings", map.clone())
                .set("/linux/gidMappings", map);
            b.set("/process/user/uid", json!(77));
        },
        vec!["process.user.uid", "77"],
    );
    add(
        "masked paths without a mount namespace",
        |b| {
            b.without_namespace("mount")
                .set("/linux/maskedPaths", json!(["/proc/kcore"]));
        },
        vec!["mount"],
    );
    add(
        "a null root",
        |b| {
            b.set("/root", Value::Null);
        },
        vec!["root"],
    );
    list
}
