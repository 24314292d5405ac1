//! Plans and their errors, from JSON and facts: for cgroup v1, hybrid and v2, for root and for ordinary users.

use super::*;
use crate::facts::{Cgroups, Hierarchy};
use serde_json::{Value, json};

fn hierarchy(name: &str, controllers: &[&str]) -> Hierarchy {
    Hierarchy {
        mountpoint: format!("/sys/fs/cgroup/{name}"),
        controllers: controllers.iter().map(|c| (*c).into()).collect(),
    }
}

fn v1() -> Cgroups {
    Cgroups::V1(Vec::from([
        hierarchy("memory", &["memory"]),
        hierarchy("devices", &["devices"]),
    ]))
}

fn hybrid() -> Cgroups {
    Cgroups::V1(Vec::from([
        hierarchy("memory", &["memory"]),
        hierarchy("devices", &["devices"]),
        hierarchy("unified", &[]),
    ]))
}

fn facts(cgroups: Cgroups) -> Facts {
    Facts {
        euid: 0,
        egid: 0,
        privileged: true,
        may_mount: true,
        setgroups_denied: false,
        in_user_namespace: false,
        last_capability: 40,
        has_kcore: true,
        apparmor: false,
        selinux: false,
        cgroups,
    }
}

fn ordinary() -> Facts {
    Facts {
        euid: 1000,
        egid: 1000,
        privileged: false,
        may_mount: false,
        ..facts(Cgroups::V2)
    }
}

fn small() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "process": { "cwd": "/", "args": ["/bin/true"], "user": { "uid": 0, "gid": 0 }, "env": ["HOME=/"] },
        "linux": { "namespaces": [{ "type": "mount" }, { "type": "pid" }] },
    })
}

/// The small spec with one value changed; null removes nothing, it is written.
fn with(pointer: &str, value: Value) -> Value {
    let mut spec = small();
    let mut at = &mut spec;
    let (above, name) = pointer.rsplit_once('/').unwrap();
    for key in above.split('/').skip(1) {
        at = &mut at[key];
    }
    at[name] = value;
    spec
}

fn planned(spec: &Value, facts: &Facts) -> Result<Plan> {
    let text = spec.to_string().into_bytes().leak();
    let spec = Spec::read(text)?;
    let options = Options {
        id: "box",
        bundle: "/srv/box",
        wait: true,
        no_pivot: None,
        no_new_keyring: false,
        preserve_fds: 0,
        listen_fds: 0,
        relays: false,
        console_size: None,
        cgroups: &Driver::Cgroupfs,
        created: "2026-11-28T00:00:00.000000000Z",
        notify: false,
    };
    plan(&spec, facts, &options)
}

#[track_caller]
fn steps(spec: &Value, facts: &Facts) -> Vec<String> {
    let plan = planned(spec, facts).unwrap();
    let words = plan.walk();
    words.iter().map(|step| format!("{step:#}")).collect()
}

#[track_caller]
fn error_of(spec: &Value, facts: &Facts) -> String {
    match planned(spec, facts) {
        Ok(_) => panic!("it was planned: {spec}"),
        Err(error) => error.to_string(),
    }
}

#[track_caller]
fn error(pointer: &str, value: Value) -> String {
    error_of(&with(pointer, value), &facts(Cgroups::V2))
}

#[test]
fn a_small_spec_has_these_steps_on_v2() {
    assert_eq!(
        steps(&small(), &facts(Cgroups::V2)).join("\n"),
        "create a session
create the session keyring _ses.box
set the attributes of all mounts recursively (slave)
open the null device
attach the root file system /srv/box/rootfs
make the device /dev/null 20666 1:3 of 0:0
make the device /dev/zero 20666 1:5 of 0:0
make the device /dev/full 20666 1:7 of 0:0
make the device /dev/random 20666 1:8 of 0:0
make the device /dev/urandom 20666 1:9 of 0:0
make the device /dev/tty 20666 5:0 of 0:0
link /dev/fd to /proc/self/fd
link /dev/stdin to /proc/self/fd/0
link /dev/stdout to /proc/self/fd/1
link /dev/stderr to /proc/self/fd/2
link /dev/core to /proc/kcore
link /dev/ptmx to pts/ptmx
give stdio to user 0
change into the root (pivot_root)
change to the working directory /
set the umask 022
execute /bin/true
wait for the state to be written
close the descriptors from 3
wait for start
become user 0 and group 0, groups; capabilities none (bounding, permitted, effective, inheritable, ambient)
report that the exec is next
reset the signals
execute /bin/true"
    );
}

#[test]
fn a_process_meets_the_parent_for_its_cgroup_where_there_is_v1() {
    let meets = |cgroups| {
        let steps = steps(&small(), &facts(cgroups));
        steps.iter().any(|step| step == "wait for the cgroup")
    };
    assert_eq!(
        (meets(v1()), meets(hybrid()), meets(Cgroups::V2)),
        (true, true, false)
    );
}

#[test]
fn the_cgroup_is_in_the_plan_with_its_values() {
    let spec = with(
        "/linux/resources",
        json!({ "memory": { "limit": 100 }, "pids": { "limit": 7 } }),
    );
    for (cgroups, files) in [
        (v1(), ["memory.limit_in_bytes=100", "pids.max=7"]),
        (hybrid(), ["memory.limit_in_bytes=100", "pids.max=7"]),
        (Cgroups::V2, ["memory.max=100", "pids.max=7"]),
    ] {
        let cgroup = planned(&spec, &facts(cgroups)).unwrap().cgroup.unwrap();
        let values = cgroup.limits.values.iter();
        let values: Vec<String> = values.map(|l| format!("{}={}", l.file, l.value)).collect();
        assert_eq!(
            (cgroup.path.as_str(), values),
            ("/box", files.map(String::from).into())
        );
    }
}

#[test]
fn the_state_is_in_the_plan_without_a_process() {
    let mut spec = small();
    spec["annotations"] = json!({ "a": "b" });
    spec["hooks"] = json!({ "poststop": [{ "path": "/bin/gone" }] });
    let state = planned(&spec, &facts(Cgroups::V2)).unwrap().state;
    assert_eq!(
        serde_json::to_string(&state).unwrap(),
        r#"{"version":1,"ociVersion":"1.3.0","id":"box","pid":0,"startTime":0,"bundle":"/srv/box","rootfs":"/srv/box/rootfs","created":"2026-11-28T00:00:00.000000000Z","annotations":[["a","b"]],"cgroup":"/box","unit":null,"poststart":[],"poststop":[{"path":"/bin/gone","args":["/bin/gone"],"env":[],"timeout":null}],"noNewKeyring":false,"agent":null}"#
    );
}

#[test]
fn mounts_are_steps_in_the_order_of_the_list() {
    let spec = with(
        "/mounts",
        json!([
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "mode=1777"] },
            { "destination": "/data", "source": "/srv/data", "options": ["rbind", "ro", "rnosuid"] },
        ]),
    );
    let steps = steps(&spec, &facts(Cgroups::V2));
    let mounts = steps.iter().filter(|step| {
        ["mount ", "bind ", "open /"]
            .iter()
            .any(|word| step.starts_with(word))
    });
    assert_eq!(
        mounts.cloned().collect::<Vec<_>>(),
        [
            "mount proc on /proc",
            "mount tmpfs on /tmp (nosuid, noexec, mode=1777)",
            "open /srv/data (ro) recursively (nosuid, slave)",
            "bind /srv/data on /data",
        ]
    );
}

#[test]
fn a_user_namespace_gets_its_trees_from_its_own_mount_namespace() {
    let mut spec = with(
        "/mounts",
        json!([{ "destination": "/data", "source": "/srv/data", "options": ["bind"] }]),
    );
    spec["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "user" }]);
    spec["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    spec["linux"]["gidMappings"] = spec["linux"]["uidMappings"].clone();
    let plan = planned(&spec, &facts(Cgroups::V2)).unwrap();
    assert!(plan.opens.iter().all(|open| open.when == When::Child));
    let words: Vec<String> = plan.steps.iter().map(ToString::to_string).collect();
    let at = |word: &str| words.iter().position(|step| step == word);
    let trees = at("wait for the trees that are bound").unwrap();
    assert!(trees < at("bind /srv/data on /data").unwrap());
    assert!(at("wait for the id mappings").unwrap() < trees);
}

#[test]
fn an_ordinary_user_needs_a_user_namespace() {
    assert_eq!(
        error_of(&small(), &ordinary()),
        "config.json: linux.namespaces: an ordinary user needs a namespace of type \"user\" (runtime spec --rootless writes one)"
    );
}

#[test]
fn options_of_a_bind_that_nobody_honours_are_errors() {
    for word in ["read-only", "RO", "no-exec", "size=1m", "src-nofollow"] {
        let text = error(
            "/mounts",
            json!([{ "destination": "/data", "source": "/srv", "options": ["bind", word] }]),
        );
        assert!(
            text.starts_with("config.json: mounts[0].options[1]: ") && text.contains(word),
            "{text}"
        );
    }
}

#[test]
fn wrong_values_are_errors_that_name_the_field() {
    for (pointer, value, text) in [
        (
            "/ociVersion",
            json!("2.0.0"),
            "ociVersion: expected a version 1.x, found \"2.0.0\"",
        ),
        ("/root", json!(null), "root: required field is missing"),
        (
            "/process/cwd",
            json!("a"),
            "process.cwd: expected an absolute path, found \"a\"",
        ),
        (
            "/process/args",
            json!([]),
            "process.args: expected at least one argument",
        ),
        (
            "/process/args",
            json!([""]),
            "process.args[0]: expected the name of a program, found \"\"",
        ),
        (
            "/process/args",
            json!(["a\u{0}"]),
            "process.args[0]: a string with a zero byte",
        ),
        (
            "/process/env",
            json!(["A"]),
            "process.env[0]: expected NAME=VALUE, found \"A\"",
        ),
        (
            "/process/env",
            json!(["=A"]),
            "process.env[0]: expected NAME=VALUE, found \"=A\"",
        ),
        (
            "/process/user/uid",
            json!(4294967295u32),
            "process.user.uid: 4294967295 is not an id",
        ),
        (
            "/process/user/umask",
            json!(512),
            "process.user.umask: expected at most 511 (0777), found 512",
        ),
        (
            "/process/oomScoreAdj",
            json!(1001),
            "process.oomScoreAdj: expected a number from -1000 to 1000, found 1001",
        ),
        (
            "/process/scheduler",
            json!({ "policy": "SCHED_NONE" }),
            "process.scheduler.policy: expected SCHED_OTHER, SCHED_FIFO, …, found \"SCHED_NONE\"",
        ),
        (
            "/process/ioPriority",
            json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 }),
            "process.ioPriority.priority: expected a number from 0 to 7, found 8",
        ),
        (
            "/process/apparmorProfile",
            json!("docker-default"),
            "process.apparmorProfile: this kernel has no AppArmor, found \"docker-default\"",
        ),
        (
            "/process/selinuxLabel",
            json!("a:b:c:s0"),
            "process.selinuxLabel: this kernel has no SELinux, found \"a:b:c:s0\"",
        ),
        (
            "/hostname",
            json!("x"),
            "hostname: needs a namespace of type \"uts\" in linux.namespaces",
        ),
        (
            "/linux/intelRdt",
            json!({}),
            "linux.intelRdt: not supported yet",
        ),
        (
            "/linux/personality",
            json!({ "domain": "BSD" }),
            "linux.personality.domain: expected LINUX or LINUX32, found \"BSD\"",
        ),
        (
            "/linux/cgroupsPath",
            json!("../x"),
            "linux.cgroupsPath: ../x is not a sub cgroup path: \"..\" leads out of it",
        ),
        (
            "/linux/resources",
            json!({ "memory": { "limit": 5, "swap": 4 } }),
            "linux.resources.memory.swap: 4 is less than memory.limit, which is 5",
        ),
        (
            "/hooks",
            json!({ "prestart": [{ "path": "bin/x" }] }),
            "hooks.prestart[0].path: expected an absolute path, found \"bin/x\"",
        ),
        (
            "/hooks",
            json!({ "poststop": [{ "path": "/x", "timeout": 0 }] }),
            "hooks.poststop[0].timeout: expected a number above 0, found 0",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"] }),
            "linux.seccomp.flags[0]: unknown flag \"X\"",
        ),
        (
            "/linux/seccomp",
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"] }),
            "linux.seccomp.architectures[0]: unknown architecture \"SCMP_ARCH_PDP11\"",
        ),
        (
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND", "nodes": "x" }),
            "linux.memoryPolicy.nodes: expected a list of nodes such as \"0-3,7\", found \"x\"",
        ),
        (
            "/process/execCPUAffinity",
            json!({ "initial": "3-1" }),
            "process.execCPUAffinity.initial: expected a list of CPUs below 1024 such as \"0-3,7\", found \"3-1\"",
        ),
    ] {
        assert_eq!(
            error(pointer, value),
            format!("config.json: {text}"),
            "{pointer}"
        );
    }
}

#[test]
fn a_label_is_written_where_its_module_is_there() {
    let mut facts = facts(Cgroups::V2);
    (facts.apparmor, facts.selinux) = (true, true);
    let mut spec = with("/process/apparmorProfile", json!("p"));
    spec["process"]["selinuxLabel"] = json!("a:b:c:s0");
    let all = steps(&spec, &facts);
    let labels = ["exec p", "a:b:c:s0"].map(|label| all.iter().find(|step| step.ends_with(label)));
    assert_eq!(
        labels.map(|step| step.unwrap().as_str()),
        [
            "set process.apparmorProfile to exec p",
            "set process.selinuxLabel to a:b:c:s0"
        ]
    );
}

#[test]
fn capabilities_that_nobody_knows_are_a_warning() {
    let spec = with(
        "/process/capabilities",
        json!({ "bounding": ["CAP_KILL", "CAP_FLY"] }),
    );
    let plan = planned(&spec, &facts(Cgroups::V2)).unwrap();
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].contains("CAP_FLY"), "{:?}", plan.warnings);
}

#[test]
fn an_affinity_is_a_set_of_cpus() {
    let list = |text| {
        affinity::set(text).map(|set| (0..10).filter(|n| set.is_set(*n)).collect::<Vec<_>>())
    };
    assert_eq!(list("0-2,7"), Some(Vec::from([0, 1, 2, 7])));
    assert_eq!(list(" 3 , ,4"), Some(Vec::from([3, 4])));
    assert_eq!(list("2-1"), None);
    assert_eq!(list("+1"), None);
    assert_eq!(list(""), None);
    assert_eq!(list("1024"), None);
}

#[test]
fn namespaces_are_named_in_the_order_of_the_table() {
    let plan = planned(&small(), &facts(Cgroups::V2)).unwrap();
    assert_eq!(names_of(plan.namespaces), "pid mount");
    assert_eq!(names_of(0), "none");
}
