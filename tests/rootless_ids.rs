//! Ids in containers of ordinary users: mapped by the user or by newuidmap and newgidmap, and their groups. Also the
//! runtime as root of a user namespace, which is how rootless engines call it.

use runtime_tests::ordinary::{SUBGID, SUBUID, UID};
use runtime_tests::{Bundle, host, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

runtime_tests::tests![
    subordinate_ids_are_mapped_by_the_helpers,
    with_subordinate_ids_the_callers_groups_are_dropped,
    one_map_alone_may_need_its_helper,
    the_helpers_inherit_only_stdio,
    a_helpers_refusal_is_reported_in_its_own_words,
    a_missing_helper_is_named,
    additional_groups_are_refused_if_setgroups_is_denied,
    root_of_a_user_namespace_runs_containers,
    root_of_a_user_namespace_of_many_ids_nests_another,
    where_no_user_namespace_can_be_made_the_error_says_where_to_look,
];

fn ordinary() -> Bundle {
    let mut b = Bundle::new();
    b.ordinary();
    b
}

fn subordinate() -> Bundle {
    let mut b = Bundle::new();
    b.subordinate();
    b
}

fn columns(text: &str) -> Vec<Vec<u32>> {
    let line = |l: &str| l.split_whitespace().map(|n| n.parse().unwrap()).collect();
    text.lines().map(line).collect()
}

fn subordinate_ids_are_mapped_by_the_helpers() {
    let mut b = subordinate();
    b.sh("cat /proc/self/uid_map /proc/self/gid_map; touch /tmp/root; echo up; exec sleep 1000");
    chown(b.rootfs().join("tmp"), Some(UID), Some(UID)).unwrap();
    let running = b.up();
    let out = running.out().replace("up\n", "");
    let expected = [
        [0, UID, 1],
        [1, SUBUID, 65536],
        [0, UID, 1],
        [1, SUBGID, 65536],
    ];
    assert_eq!(columns(&out), expected);
    let exec = |words: &[&str]| {
        b.call(&["exec", "--user", "33:44"])
            .arg(&b.id)
            .args(words)
            .output()
    };
    exec(&["sh", "-c", "id; touch /tmp/user"])
        .ok()
        .prints("uid=33 gid=44\n");
    let owner = |name: &str| {
        let file = fs::metadata(b.rootfs().join("tmp").join(name)).unwrap();
        (file.uid(), file.gid())
    };
    assert_eq!(owner("root"), (UID, UID));
    assert_eq!(owner("user"), (SUBUID + 32, SUBGID + 43));
    b.kill("KILL").ok();
    running.wait().ends(137);
    b.left_nothing();
}

fn with_subordinate_ids_the_callers_groups_are_dropped() {
    let mut b = subordinate();
    b.sh("grep Groups: /proc/self/status; echo up; exec sleep 1000");
    let running = b.up();
    assert_eq!(running.out(), "Groups:\t \nup\n");
    let exec = b.call(&["exec", &b.id, "grep", "Groups:", "/proc/self/status"]);
    exec.ok().prints("Groups:\t \n");
    drop(running);
    let mut b = subordinate();
    b.set(
        "/process/user",
        json!({"uid": 5, "gid": 6, "additionalGids": [7, 8]}),
    )
    .args(&["id"]);
    b.run_ok().prints("uid=5 gid=6 groups=7,8\n");
}

fn one_map_alone_may_need_its_helper() {
    let mut b = subordinate();
    b.remove("/linux/gidMappings/1")
        .set("/process/user", json!({"uid": 9, "gid": 0}))
        .sh("cat /proc/self/setgroups; id -u");
    b.run_ok().prints("deny\n9\n");
    b.set("/process/user/additionalGids", json!([0]));
    b.run().fails(&["cannot set any additional groups"]);
    let mut b = subordinate();
    b.remove("/linux/uidMappings/1")
        .set(
            "/process/user",
            json!({"uid": 0, "gid": 9, "additionalGids": [3]}),
        )
        .sh("cat /proc/self/setgroups; id -G");
    b.run_ok().prints("allow\n9 3\n");
}

/// A directory for PATH with a newuidmap that runs `script`.
fn with_helper(b: &Bundle, script: &str) -> String {
    let dir = b.file("path");
    fs::create_dir(&dir).unwrap();
    let helper = dir.join("newuidmap");
    fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(helper, fs::Permissions::from_mode(0o755)).unwrap();
    format!("PATH={}:/usr/bin:/bin", dir.display())
}

fn the_helpers_inherit_only_stdio() {
    let b = subordinate();
    let log = b.text("run/log");
    let path = with_helper(
        &b,
        &format!(
            "ls -l /proc/self/fd | grep -c socket: >> {log}; ls /proc/self/fd | xargs >> {log}; env | sort >> {log}; exec /usr/bin/newuidmap \"$@\""
        ),
    );
    // Descriptors preserved for the container must not reach the helper either.
    let leak = host::helper().to_str().unwrap();
    let caller = ["env", &path, "SECRET=x", leak, "leak", "2", "/tmp"];
    let call = b.run_through(&caller, &["--preserve-fds", "2"]);
    call.ok();
    let text = b.read("run/log");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("0"), "{text}");
    // The last one is the directory that ls itself reads.
    assert_eq!(lines.next(), Some("0 1 2 3"), "{text}");
    assert!(text.contains("PATH=") && !text.contains("SECRET"), "{text}");
}

fn a_helpers_refusal_is_reported_in_its_own_words() {
    let mut b = subordinate();
    b.set("/linux/uidMappings/1/size", json!(65537));
    b.run().fails(&[
        "config.json: linux.uidMappings: newuidmap failed: exit status 1: newuidmap: uid range",
        "not allowed",
    ]);
    b.left_nothing();
    let mut b = ordinary();
    b.set("/linux/gidMappings/0/hostID", json!(5));
    b.run()
        .fails(&["config.json: linux.gidMappings: newgidmap failed"]);
    b.left_nothing();
}

fn a_missing_helper_is_named() {
    let b = subordinate();
    let path = format!("PATH={}", b.text("nowhere"));
    b.run_through(&["/usr/bin/env", &path], &[])
        .output()
        .fails(&["linux.uidMappings", "cannot run newuidmap", "none in PATH"]);
    b.left_nothing();
    // Without a PATH it is looked up in the standard directories.
    b.run_through(&["/usr/bin/env", "--unset=PATH"], &[]).ok();
}

fn additional_groups_are_refused_if_setgroups_is_denied() {
    let mut b = ordinary();
    for gids in [json!([0]), json!([5])] {
        b.set("/process/user/additionalGids", gids);
        b.run().fails(&[
            "process.user.additionalGids",
            "cannot set any additional groups",
        ]);
    }
    b.left_nothing();
}

/// Makes every call of the runtime in a new user namespace of the user, with these flags of unshare.
fn in_user_namespace(b: &mut Bundle, flags: &[&str]) {
    b.launcher
        .extend(["unshare"].iter().chain(flags).map(|w| w.to_string()));
}

fn root_of_a_user_namespace_runs_containers() {
    // In a mount namespace of its own, as engines use, and in the host's.
    for flags in [
        &["--user", "--map-root-user", "--mount"][..],
        &["--user", "--map-root-user"],
    ] {
        for nested in [false, true] {
            let mut b = ordinary();
            in_user_namespace(&mut b, flags);
            let source = b.file("run");
            b.bind(&source, "/root", &["rw"]);
            b.sh("id -u; cat /proc/self/uid_map; echo x > /dev/null; touch /root/made; exit 5");
            let inner = if nested { 0 } else { UID };
            match nested {
                true => {
                    b.set("/linux/uidMappings/0/hostID", json!(0))
                        .set("/linux/gidMappings/0/hostID", json!(0));
                }
                false => {
                    b.without_namespace("user")
                        .remove("/linux/uidMappings")
                        .remove("/linux/gidMappings");
                }
            }
            let run = b.run();
            run.ends(5);
            assert_eq!(run.lines()[0], "0", "{run}");
            assert_eq!(columns(run.lines()[1]), [[0, inner, 1]], "{run}");
            assert_eq!(fs::metadata(source.join("made")).unwrap().uid(), UID);
            b.set("/process/user/additionalGids", json!([0]));
            b.run().fails(&["cannot set any additional groups"]);
            b.left_nothing();
        }
    }
    // The state is below XDG_RUNTIME_DIR for this root, too.
    let mut b = ordinary();
    in_user_namespace(&mut b, &["--user", "--map-root-user", "--mount"]);
    b.without_namespace("user")
        .remove("/linux/uidMappings")
        .remove("/linux/gidMappings")
        .write();
    b.at_home(&["run", &b.id, "--bundle"]).arg(b.path()).ok();
    assert!(b.file("run/runtime").exists());
}

fn root_of_a_user_namespace_of_many_ids_nests_another() {
    let mut b = subordinate();
    in_user_namespace(&mut b, &["--map-root-user", "--mount", "--map-auto"]);
    // As podman's --userns=keep-id: the user's own uid is the same inside.
    let map = json!([{"containerID": 0, "hostID": 1, "size": 1000},
        {"containerID": 1000, "hostID": 0, "size": 1}]);
    b.set("/linux/uidMappings", map.clone())
        .set("/linux/gidMappings", map)
        .set(
            "/process/user",
            json!({"uid": 1000, "gid": 1000, "additionalGids": [7]}),
        )
        .set("/process/oomScoreAdj", json!(900))
        .sh("id; cat /proc/self/oom_score_adj");
    b.run_ok().prints("uid=1000 gid=1000 groups=7\n900\n");
    b.left_nothing();
}

fn where_no_user_namespace_can_be_made_the_error_says_where_to_look() {
    let mut b = ordinary();
    in_user_namespace(&mut b, &["--user", "--map-root-user", "--mount"]);
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"";
    b.launcher
        .extend(["sh", "-c", script, "sh"].map(String::from));
    b.run()
        .fails(&["clone3", "/proc/sys/user/max_user_namespaces"]);
    b.left_nothing();
}
