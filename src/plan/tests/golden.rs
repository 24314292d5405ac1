//! Golden plans: the text of a whole plan for each way that cgroups can be mounted, kept in src/plan/golden.
//! `UPDATE_GOLDEN=1 cargo test -p runtime --lib --no-default-features golden` writes them anew; read the diff.

use super::*;
use crate::spec::template::default_spec;
use std::fs;

/// The plan as `--dry-run` prints it, without numbers so that a new step is one line of the diff; then the limits and the
/// warnings.
fn text_of(spec: &Value, facts: &Facts) -> String {
    let plan = planned(spec, facts).unwrap();
    let mut lines = plan.lines();
    if let Some(cgroup) = &plan.cgroup {
        let values = cgroup.limits.values.iter();
        lines.extend(values.map(|limit| format!("limit {} to {:?}", limit.file, limit.value)));
    }
    lines.extend(plan.warnings.iter().map(|text| format!("warn: {text}")));
    lines.join("\n") + "\n"
}

#[track_caller]
fn is_golden(name: &str, spec: &Value, facts: &Facts) {
    let cgroups = match &facts.cgroups {
        Cgroups::V2 => "v2",
        other if *other == hybrid() => "hybrid",
        _ => "v1",
    };
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/src/plan/golden/{name}.{cgroups}.txt");
    let got = text_of(spec, facts);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(&path, got).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    for (n, (got, expected)) in got.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "{path}:{}", n + 1);
    }
    assert_eq!(got, expected, "{path}");
}

/// A configuration, planned for each way that cgroups can be mounted.
macro_rules! golden {
    ($($name:ident: $spec:expr, $facts:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn on_v1() {
                is_golden(stringify!($name), &$spec, &Facts { cgroups: v1(), ..$facts });
            }

            #[test]
            fn on_a_hybrid_host() {
                is_golden(stringify!($name), &$spec, &Facts { cgroups: hybrid(), ..$facts });
            }

            #[test]
            fn on_v2() {
                is_golden(stringify!($name), &$spec, &Facts { cgroups: Cgroups::V2, ..$facts });
            }
        }
    )*};
}

golden! {
    small: small(), root();
    default: template(None), root();
    default_rootless: template(Some((1000, 1000))), ordinary();
    rich: rich(), root();
    user_namespace: user_namespace(small()), root();
    nested: user_namespace(small()), Facts { in_user_namespace: true, ..root() };
    joined: joined(), root();
    containerd: engine("containerd"), root();
    docker: engine("docker"), root();
    podman: engine("podman"), root();
    podman_userns: engine("podman-userns"), root();
}

fn root() -> Facts {
    facts(Cgroups::V2)
}

/// What `runtime spec` writes.
fn template(rootless: Option<(u32, u32)>) -> Value {
    serde_json::from_str(&default_spec(true, rootless)).unwrap()
}

/// What an engine wrote.
fn engine(name: &str) -> Value {
    let root = env!("CARGO_MANIFEST_DIR");
    let text = fs::read_to_string(format!("{root}/tests/data/engines/{name}.json")).unwrap();
    let named = [
        ("@BUNDLE@", "/srv/box"),
        ("@CGROUP@", "/engine/box"),
        ("@ROOTFS@", "/srv/rootfs"),
        ("@SHORTID@", "b0b"),
        ("@ID@", "box"),
    ];
    let text = named
        .iter()
        .fold(text, |text, (mark, name)| text.replace(mark, name));
    serde_json::from_str(&text).unwrap()
}

fn joined() -> Value {
    with(
        "/linux/namespaces",
        json!([
            { "type": "mount" },
            { "type": "pid" },
            { "type": "network", "path": "/proc/self/ns/net" },
            { "type": "uts", "path": "/proc/self/ns/uts" },
        ]),
    )
}

/// A bit of everything.
fn rich() -> Value {
    let mut spec = small();
    spec["hostname"] = json!("box");
    spec["domainname"] = json!("example.org");
    spec["root"]["readonly"] = json!(true);
    spec["process"] = json!({
        "args": ["true"], "env": ["PATH=/bin"], "cwd": "/work", "oomScoreAdj": 100,
        "user": { "uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 18 },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }],
        "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_FLY"] },
        "scheduler": { "policy": "SCHED_BATCH", "nice": 5 },
        "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 4 },
        "noNewPrivileges": true,
    });
    spec["mounts"] = json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/data", "source": "/usr", "options": ["rbind", "rro", "nosuid", "rprivate"] },
        { "destination": "/cache", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m", "noexec", "noatime"] },
        { "destination": "/copied", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] },
    ]);
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "true"], "timeout": 3 }]);
    spec["hooks"] = json!({
        "prestart": hook, "createRuntime": hook, "createContainer": hook,
        "startContainer": hook, "poststart": hook, "poststop": hook,
    });
    spec["linux"] = json!({
        "namespaces": [
            { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" },
            { "type": "mount" }, { "type": "cgroup" }, { "type": "time" },
        ],
        "timeOffsets": { "monotonic": { "secs": 7, "nanosecs": 8 } },
        "sysctl": { "net.ipv4.ip_forward": "1" },
        "devices": [{ "type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438 }],
        "maskedPaths": ["/proc/kcore", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys"],
        "rootfsPropagation": "rslave",
        "personality": { "domain": "LINUX32" },
        "resources": {
            "memory": { "limit": 67_108_864 },
            "cpu": { "shares": 512, "quota": 1000, "period": 2000 },
            "pids": { "limit": 9 },
        },
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }],
        },
    });
    spec
}
