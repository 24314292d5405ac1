//! Plans and their errors, from JSON and facts: for cgroup v1, hybrid and v2, for root and for ordinary users.

mod accepted;
mod cgroup;
mod golden;
mod options;
mod process;
mod refusals;

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
        permitted: u64::MAX,
        bounding: u64::MAX,
        has_kcore: true,
        apparmor: false,
        selinux: false,
        cgroups,
        caller: None,
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

/// The spec in a new user namespace that maps its ids from 100000 on.
fn user_namespace(mut spec: Value) -> Value {
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({ "type": "user" }));
    let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65536 }]);
    spec["linux"]["uidMappings"] = map.clone();
    spec["linux"]["gidMappings"] = map;
    spec
}

fn options() -> Options<'static> {
    Options {
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
        notify: None,
    }
}

fn planned(spec: &Value, facts: &Facts) -> Result<Plan> {
    plan_of(&spec.to_string(), facts)
}

fn plan_of(config: &str, facts: &Facts) -> Result<Plan> {
    plan_with(config, facts, &Driver::Cgroupfs)
}

fn plan_with(config: &str, facts: &Facts, cgroups: &Driver) -> Result<Plan> {
    let spec = Spec::read(config.as_bytes())?;
    let options = Options {
        cgroups,
        ..options()
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
reset the signals
report that the exec is next
execute /bin/true"
    );
}

#[test]
fn the_null_device_is_opened_before_the_root_where_paths_are_masked() {
    let opened = |masked: &[&str]| {
        let spec = with("/linux/maskedPaths", json!(masked));
        let steps = steps(&spec, &facts(Cgroups::V2));
        let at = |word: &str| steps.iter().position(|step| step.starts_with(word));
        at("open the null device").map(|null| Some(null) < at("attach the root"))
    };
    assert_eq!((opened(&["/proc/kcore"]), opened(&[])), (Some(true), None));
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
        r#"{"version":1,"ociVersion":"1.3.0","id":"box","pid":0,"startTime":0,"bundle":"/srv/box","rootfs":"/srv/box/rootfs","created":"2026-11-28T00:00:00.000000000Z","annotations":[["a","b"]],"cgroup":"/box","apart":[],"inode":0,"unit":null,"poststart":[],"poststop":[{"path":"/bin/gone","args":["/bin/gone"],"env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"timeout":null}],"noNewKeyring":false,"creating":false,"agent":null}"#
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
#[cfg_attr(miri, ignore = "65,535 of them")]
fn what_takes_more_steps_than_can_be_numbered_is_refused() {
    let masked = |count: usize| with("/linux/maskedPaths", Vec::from(["/a"]).repeat(count).into());
    let facts = facts(Cgroups::V2);
    assert!(planned(&masked(65_000), &facts).is_ok());
    assert_eq!(
        error_of(&masked(65_535), &facts),
        "config.json: it takes more than 65534 steps, or as many descriptors"
    );
}

#[test]
#[cfg_attr(miri, ignore = "65,535 of them")]
fn what_takes_more_descriptors_than_can_be_numbered_is_refused() {
    let bind = json!({ "destination": "/mnt", "source": "/srv", "options": ["bind"] });
    let binds = with("/mounts", vec![bind; 65_535].into());
    assert_eq!(
        error_of(&binds, &facts(Cgroups::V2)),
        "config.json: it takes more than 65534 steps, or as many descriptors"
    );
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
