//! Cgroups of an ordinary user: none as a rule, and one where its parent is delegated to him.

use crate::rootless::ordinary;
use runtime_tests::ordinary::UID;
use runtime_tests::{Bundle, host, json};
use std::fs;
use std::os::unix::fs::chown;

runtime_tests::tests![
    without_resources_no_cgroup_is_needed,
    resources_without_a_cgroup_are_refused,
    commands_that_need_a_cgroup_say_so,
    kill_all_without_a_cgroup_reaches_the_container,
    a_cgroups_path_that_may_not_be_made_is_an_error,
    a_cgroup_of_others_with_the_same_name_is_passed_over,
    a_delegated_cgroup_is_used,
    no_visible_cgroup_can_be_written
];

fn without_resources_no_cgroup_is_needed() {
    let mut b = ordinary();
    // Device rules are no resource that an ordinary user could be refused.
    let rules = json!([{"allow": false, "access": "rwm"}]);
    b.set("/linux/resources/devices", rules)
        .sh("echo up; exec sleep 1000");
    let _running = b.up();
    assert!(b.cgroups().is_empty());
    assert_eq!(b.status(), "running");
}

fn resources_without_a_cgroup_are_refused() {
    let mut b = ordinary();
    b.set("/linux/resources", json!({"pids": {"limit": 10}}));
    b.run().fails(&[
        "config.json: linux.resources.pids.limit: needs a cgroup",
        "Permission denied",
    ]);
    b.left_nothing();
}

fn a_cgroups_path_that_may_not_be_made_is_an_error() {
    for path in ["/one", "one", "/one/two"] {
        let mut b = ordinary();
        let path = format!("{path}-{}", b.id);
        b.set("/linux/cgroupsPath", json!(path));
        let expected = [
            "config.json: linux.cgroupsPath: cannot make the cgroup",
            "Permission denied",
        ];
        b.run().fails(&expected);
        b.left_nothing();
    }
}

fn a_cgroup_of_others_with_the_same_name_is_passed_over() {
    let mut b = ordinary();
    b.sh("echo up; exec sleep 1000");
    for populated in [false, true] {
        let cgroup = host::controller("cpu").join(&b.id);
        fs::create_dir(&cgroup).unwrap();
        let other = runtime_tests::Cmd::new(&b.dir, "sleep").arg("1000").spawn();
        if populated {
            fs::write(cgroup.join("cgroup.procs"), other.pid().to_string()).unwrap();
        }
        let running = b.up();
        b.call(&["kill", "--all", &b.id, "KILL"]).ok();
        running.wait().ends(137);
        assert!(cgroup.exists());
        assert!(fs::exists(format!("/proc/{}/root", other.pid())).unwrap());
        drop(other);
        host::remove_cgroup(&cgroup);
        b.left_nothing();
    }
}

fn commands_that_need_a_cgroup_say_so() {
    let mut b = ordinary();
    b.waits();
    let _running = b.up();
    for words in [
        &["ps"][..],
        &["pause"],
        &["update", "--pids-limit", "5"],
        &["events", "--stats"],
    ] {
        let output = b.call(words).arg(&b.id).output();
        output.fails(&["has no cgroup"]);
    }
    assert_eq!(b.status(), "running");
}

fn kill_all_without_a_cgroup_reaches_the_container() {
    let mut b = ordinary();
    b.waits();
    let running = b.up();
    b.call(&["kill", "--all", &b.id, "KILL"]).ok();
    running.wait().ends(137);
    b.create().ok();
    b.start().ok();
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    // Engines do this to be sure.
    b.call(&["kill", "--all", &b.id, "KILL"]).ok();
    b.delete(&[]).ok();
    b.left_nothing();
}

/// With cgroup v2 alone, in a part of it that belongs to the user, as systemd gives one to a session.
fn delegated(b: &mut Bundle) {
    let unified = host::controller("unified");
    let own = unified.join(&b.id);
    fs::create_dir_all(own.join("session")).unwrap();
    for path in [
        "",
        "cgroup.procs",
        "cgroup.subtree_control",
        "session",
        "session/cgroup.procs",
    ] {
        chown(own.join(path), Some(UID), Some(UID)).unwrap();
    }
    let script = format!(
        "{} && echo $$ > /sys/fs/cgroup/{}/session/cgroup.procs && exec \"$@\"",
        host::pure_v2(),
        b.id
    );
    let mut words: Vec<String> = ["unshare", "--mount", "sh", "-c", &script, "sh"]
        .map(String::from)
        .to_vec();
    words.append(&mut b.launcher);
    b.launcher = words;
    let path = format!("/{}/c", b.id);
    b.namespace("cgroup", None)
        .set("/linux/cgroupsPath", json!(path))
        .mount(
            "/sys/fs/cgroup",
            "cgroup",
            "cgroup",
            &["nosuid", "noexec", "nodev", "rw"],
        );
}

fn a_delegated_cgroup_is_used() {
    let mut b = ordinary();
    delegated(&mut b);
    b.set(
        "/linux/resources",
        json!({"unified": {"cgroup.max.depth": "3"}}),
    )
    .sh("cat /sys/fs/cgroup/cgroup.max.depth; mkdir /sys/fs/cgroup/x && echo up; exec sleep 1000");
    let running = b.up();
    assert_eq!(running.out(), "3\nup\n");
    let ps = b.call(&["ps", "--format", "json", &b.id]).ok();
    assert_eq!(ps.out, format!("[{}]\n", b.pid()));
    b.call(&["pause", &b.id]).ok();
    assert_eq!(b.status(), "paused");
    b.call(&["resume", &b.id]).ok();
    b.call(&["exec", &b.id, "true"]).ok();
    b.call(&["kill", "--all", &b.id, "KILL"]).ok();
    running.wait().ends(137);
    let session = host::controller("unified").join(&b.id);
    assert!(!session.join("c").exists());
    host::remove_cgroup(&session);
    b.left_nothing();
}

fn no_visible_cgroup_can_be_written() {
    // CVE-2023-25809: the part of the tree that belongs to the user is the one that he could leave his own by.
    // Mount points and the user's own: the cgroups of other tests come and go.
    let script = |own: &str| {
        format!(
            "grep cgroup /proc/self/mounts > /dev/null || echo none; \
            while read -r _ dir type _; do case $type in cgroup*) helper mkdir $dir/x;; esac; done < /proc/self/mounts; \
            for dir in /sys/fs/cgroup {own}; do helper mkdir $dir/x; done; true"
        )
    };
    let mut b = ordinary();
    delegated(&mut b);
    let own = format!("/sys/fs/cgroup/{0} /sys/fs/cgroup/{0}/session", b.id);
    b.without_namespace("cgroup").sh(&script(&own));
    let run = b.run_ok();
    assert!(run.lines().len() >= 3, "{run}");
    assert!(run.lines().iter().all(|l| *l == "mkdir: EROFS"), "{run}");
    host::remove_cgroup(&host::controller("unified").join(&b.id));
    let mut b = ordinary();
    b.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["rw"])
        .sh(&script(""));
    let run = b.run_ok();
    // The host's hierarchies, and on v2 the one.
    assert!(run.lines().len() >= 2, "{run}");
    assert!(run.lines().iter().all(|l| *l == "mkdir: EROFS"), "{run}");
}
