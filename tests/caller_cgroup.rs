//! Containers whose cgroup starts at the caller's: below it, so that the caller's limits hold, or beside it.

use runtime_tests::{Bundle, host, json};
use std::fs;
use std::path::PathBuf;

runtime_tests::tests![
    the_callers_memory_limit_holds_for_the_container,
    every_command_finds_the_cgroup_from_elsewhere,
    a_relative_path_starts_at_the_callers_cgroup,
    on_v2_a_container_without_limits_is_below_its_caller,
    on_v2_a_container_with_limits_is_beside_its_caller,
    a_caller_out_of_sight_is_a_warning,
];

/// A cgroup of the caller's own in one hierarchy, which it removes at the end.
struct Caller(PathBuf);

impl Caller {
    /// Makes the runtime run in the cgroup `NAME-caller` and below, of the hierarchy.
    fn enter(b: &mut Bundle, controller: &str, below: &str) -> Self {
        let own = host::controller(controller).join(format!("{}-caller", b.id));
        let at = own.join(below);
        fs::create_dir_all(&at).unwrap();
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", at.display());
        let words = ["sh", "-c", &script, "sh"].map(String::from);
        b.launcher.splice(..0, words);
        b.remove("/linux/cgroupsPath");
        Self(own)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        host::remove_cgroup(&self.0);
    }
}

fn the_callers_memory_limit_holds_for_the_container() {
    let mut b = Bundle::new();
    let caller = Caller::enter(&mut b, "memory", "");
    fs::write(caller.0.join("memory.limit_in_bytes"), "50M").unwrap();
    b.sh("x=$(head -c 120000000 /dev/zero | tr '\\0' a); echo ${#x}");
    b.run().ends(137).prints("");
    assert_eq!(
        fs::read_dir(&caller.0)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().is_dir())
            .count(),
        0
    );
    b.left_nothing();
}

fn every_command_finds_the_cgroup_from_elsewhere() {
    let mut b = Bundle::new();
    let memory = Caller::enter(&mut b, "memory", "");
    let cpuset = Caller::enter(&mut b, "cpuset", "");
    for file in ["cpuset.cpus", "cpuset.mems"] {
        fs::write(cpuset.0.join(file), "0").unwrap();
    }
    let limit = json!({"limit": 32 << 20});
    b.set("/linux/resources/memory", limit).waits();
    b.launch("run", &["--detach"]).ok();
    b.launcher.clear();
    let own = memory.0.join(&b.id);
    let value = |at: &PathBuf, file: &str| fs::read_to_string(at.join(file)).unwrap();
    assert_eq!(value(&own, "memory.limit_in_bytes"), "33554432\n");
    let cpus = cpuset.0.join(&b.id);
    assert_eq!(
        value(&cpus, "cpuset.cpus") + &value(&cpus, "cpuset.mems"),
        "0\n0\n"
    );
    let pid = format!("{}\n", b.pid());
    assert_eq!(value(&own, "cgroup.procs"), pid);
    assert_eq!(value(&cpus, "cgroup.procs"), pid);
    b.call(&["ps", "--format", "json", &b.id])
        .ok()
        .prints(&format!("[{}]\n", b.pid()));
    b.call(&["update", "--memory", "64M", &b.id]).ok();
    assert_eq!(value(&own, "memory.limit_in_bytes"), "67108864\n");
    let events = b.call(&["events", "--stats", &b.id]).ok();
    assert!(events.out.contains("67108864"), "{events}");
    let line = b
        .call(&["exec", &b.id, "grep", ":memory:", "/proc/self/cgroup"])
        .ok();
    assert!(
        line.out.ends_with(&format!("/{0}-caller/{0}\n", b.id)),
        "{line}"
    );
    b.call(&["pause", &b.id]).ok();
    assert_eq!(b.status(), "paused");
    b.call(&["resume", &b.id]).ok();
    b.delete(&["--force"]).ok();
    assert!(!own.exists() && !cpus.exists());
    b.left_nothing();
}

fn a_relative_path_starts_at_the_callers_cgroup() {
    let mut b = Bundle::new();
    let caller = Caller::enter(&mut b, "memory", "a");
    let path = format!("pods/{}", b.id);
    b.set("/linux/cgroupsPath", json!(path))
        .args(&["cat", "/proc/self/cgroup"]);
    let run = b.run_ok();
    let expected = format!("{}-caller/a/{path}", b.id);
    assert!(
        run.lines().iter().any(|line| line.ends_with(&expected)),
        "{run}"
    );
    assert!(caller.0.join("a/pods").exists());
    for hierarchy in host::hierarchies() {
        let _ = fs::remove_dir(hierarchy.join("pods"));
    }
    b.left_nothing();
}

/// The container's v2 path, as far as it is below the caller's.
fn path_on_v2(b: &mut Bundle) -> (String, String) {
    b.in_pure_v2();
    let caller = Caller::enter(b, "unified", "session");
    let run = b.args(&["grep", "0::", "/proc/self/cgroup"]).run_ok();
    let path = run.out.trim_end().split_once("-caller").unwrap().1;
    assert!(caller.0.join("session").exists());
    assert!(!caller.0.join("session").join(&b.id).exists());
    assert!(!caller.0.join(&b.id).exists());
    b.left_nothing();
    (path.to_owned(), run.err)
}

fn on_v2_a_container_without_limits_is_below_its_caller() {
    let mut b = Bundle::new();
    let (path, err) = path_on_v2(&mut b);
    assert_eq!(path, format!("/session/{}", b.id));
    assert_eq!(err, "");
}

fn on_v2_a_container_with_limits_is_beside_its_caller() {
    let mut b = Bundle::new();
    let limit = json!([{"pageSize": "2MB", "limit": 0}]);
    b.set("/linux/resources/hugepageLimits", limit);
    let (path, err) = path_on_v2(&mut b);
    assert_eq!(path, format!("/{}", b.id));
    assert!(err.contains("beside the caller's cgroup"), "{err}");
}

fn a_caller_out_of_sight_is_a_warning() {
    let mut b = Bundle::new();
    let caller = Caller::enter(&mut b, "memory", "a");
    // The new namespace begins at the caller's cgroup, and the mounts show what is above it.
    let words = ["unshare", "--cgroup"].map(String::from);
    b.launcher.extend(words);
    let run = b.sh("true").run_ok();
    assert!(
        run.err.contains("is not visible in /sys/fs/cgroup/memory"),
        "{run}"
    );
    drop(caller);
    b.left_nothing();
}
