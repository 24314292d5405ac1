//! Whose rights a process of exec has: ids, groups, capabilities, no_new_privs.

use crate::exec::{exec, refused, sh, up, up_with};
use runtime_tests::json;
use std::fs;

runtime_tests::tests![
    cwd_env_and_user_change_what_the_container_says,
    home_is_that_of_the_user,
    ids_that_are_none_are_refused,
    additional_gids_are_added_and_the_callers_are_not,
    capabilities_are_the_containers_exactly,
    cap_adds_to_bounding_effective_and_permitted_alone,
    an_ordinary_user_has_no_capability_in_effect,
    no_new_privs_is_set_on_request
];

fn cwd_env_and_user_change_what_the_container_says() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env/-", json!("OF=the container"))
            .set("/process/cwd", json!("/etc"))
            .set("/process/user", json!({"uid": 5, "gid": 6}));
    });
    let script = "pwd; id -u; id -g; echo $OF $MORE";
    sh(&b, &[], script)
        .ok()
        .prints("/etc\n5\n6\nthe container\n");
    let flags = ["--cwd", "/tmp", "--env", "MORE=more", "--user", "7"];
    sh(&b, &flags, script)
        .ok()
        .prints("/tmp\n7\n6\nthe container more\n");
    sh(&b, &["--user", "0:4294967294"], script)
        .ok()
        .prints("/etc\n0\n4294967294\nthe container\n");
}

fn home_is_that_of_the_user() {
    let (b, _running) = up_with(|b| {
        b.set("/process/env", json!(["PATH=/bin"]));
        let passwd = "root:x:0:0::/root:/bin/sh\nseven:x:7:7::/home/seven:/bin/sh\n";
        fs::write(b.rootfs().join("etc/passwd"), passwd).unwrap();
    });
    for (user, home) in [("0", "/root"), ("7", "/home/seven"), ("1000", "/")] {
        sh(&b, &["--user", user], "echo $HOME")
            .ok()
            .prints(&format!("{home}\n"));
    }
}

fn ids_that_are_none_are_refused() {
    let (b, _running) = up();
    for bad in [
        "-1",
        "+5",
        " 5",
        "5 ",
        "",
        "root",
        "0x5",
        "4294967295",
        "4294967296",
        "99999999999",
    ] {
        let word = format!("{bad:?}");
        for user in [bad.to_owned(), format!("{bad}:0"), format!("0:{bad}")] {
            let run = exec(&b, &[&format!("--user={user}")], &["true"]).output();
            refused(&run, &["--user", &word]);
        }
        let run = exec(&b, &[&format!("--additional-gids={bad}")], &["true"]).output();
        refused(&run, &["--additional-gids", &word]);
    }
    let run = exec(&b, &["--user", "1:2:3"], &["true"]).output();
    refused(&run, &["--user"]);
}

fn additional_gids_are_added_and_the_callers_are_not() {
    let (b, _running) = up();
    let groups = ["setpriv", "--groups", "4,27,999"];
    let script = "grep ^Groups /proc/self/status";
    sh(&b, &[], script)
        .through(groups)
        .ok()
        .prints("Groups:\t \n");
    let flags = ["--additional-gids", "8", "-g", "9"];
    sh(&b, &flags, script)
        .through(groups)
        .ok()
        .prints("Groups:\t8 9 \n");
    let (b, _running) = up_with(|b| {
        b.set(
            "/process/user",
            json!({"uid": 0, "gid": 0, "additionalGids": [5, 6]}),
        );
    });
    sh(&b, &[], script)
        .through(groups)
        .ok()
        .prints("Groups:\t5 6 \n");
    sh(&b, &flags, script).ok().prints("Groups:\t5 6 8 9 \n");
}

pub const CAPABILITIES: &str = "grep ^Cap /proc/self/status";

/// The five sets as /proc/self/status shows them.
pub fn sets(
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
) -> String {
    format!(
        "CapInh:\t{inheritable:016x}\nCapPrm:\t{permitted:016x}\nCapEff:\t{effective:016x}\nCapBnd:\t{bounding:016x}\nCapAmb:\t{ambient:016x}\n"
    )
}

/// CAP_KILL, CAP_NET_BIND_SERVICE and CAP_AUDIT_WRITE, which every bundle here starts with.
pub const THREE: u64 = 1 << 5 | 1 << 10 | 1 << 29;

const NET_RAW: u64 = 1 << 13;

fn capabilities_are_the_containers_exactly() {
    let (b, _running) = up();
    sh(&b, &[], CAPABILITIES)
        .ok()
        .prints(&sets(0, THREE, THREE, THREE, 0));
    let (b, _running) = up_with(|b| {
        b.remove("/process/capabilities");
    });
    sh(&b, &[], CAPABILITIES).ok().prints(&sets(0, 0, 0, 0, 0));
    let (b, _running) = up_with(|b| {
        b.user_namespace();
    });
    sh(&b, &[], CAPABILITIES)
        .ok()
        .prints(&sets(0, THREE, THREE, THREE, 0));
}

fn cap_adds_to_bounding_effective_and_permitted_alone() {
    let (b, _running) = up();
    let more = THREE | NET_RAW;
    for flags in [&["--cap", "CAP_NET_RAW"][..], &["-c", "CAP_NET_RAW"]] {
        sh(&b, flags, CAPABILITIES)
            .ok()
            .prints(&sets(0, more, more, more, 0));
    }
    sh(
        &b,
        &["--cap", "CAP_NET_RAW", "--cap", "CAP_CHOWN"],
        CAPABILITIES,
    )
    .ok()
    .prints(&sets(0, more | 1, more | 1, more | 1, 0));
    // What the container has there stays as it is.
    let (b, _running) = up_with(|b| {
        for set in ["inheritable", "ambient"] {
            b.set(&format!("/process/capabilities/{set}"), json!(["CAP_KILL"]));
        }
    });
    sh(&b, &["--cap", "CAP_NET_RAW"], CAPABILITIES)
        .ok()
        .prints(&sets(1 << 5, more, more, more, 1 << 5));
    // Where the container has inheritable ones, a capability becomes ambient as well if it is one of them (as in runc).
    let (b, _running) = up_with(|b| {
        b.set("/process/capabilities/inheritable", json!(["CAP_KILL"]));
    });
    for (name, ambient) in [("CAP_KILL", 1 << 5), ("CAP_AUDIT_WRITE", 0)] {
        sh(&b, &["--cap", name], CAPABILITIES).ok().prints(&sets(
            1 << 5,
            THREE,
            THREE,
            THREE,
            ambient,
        ));
    }
    let (b, _running) = up_with(|b| {
        b.remove("/process/capabilities");
    });
    sh(&b, &["--cap", "CAP_NET_RAW"], CAPABILITIES)
        .ok()
        .prints(&sets(0, NET_RAW, NET_RAW, NET_RAW, 0));
}

fn an_ordinary_user_has_no_capability_in_effect() {
    let (b, _running) = up();
    sh(&b, &["--user", "1000"], CAPABILITIES)
        .ok()
        .prints(&sets(0, 0, 0, THREE, 0));
    sh(
        &b,
        &["--user", "1000", "--cap", "CAP_NET_RAW"],
        CAPABILITIES,
    )
    .ok()
    .prints(&sets(0, 0, 0, THREE | NET_RAW, 0));
}

fn no_new_privs_is_set_on_request() {
    let script = "grep NoNewPrivs /proc/self/status";
    let (b, _running) = up_with(|b| {
        b.set("/process/noNewPrivileges", json!(false));
    });
    sh(&b, &[], script).ok().prints("NoNewPrivs:\t0\n");
    sh(&b, &["--no-new-privs"], script)
        .ok()
        .prints("NoNewPrivs:\t1\n");
    let (b, _running) = up();
    sh(&b, &[], script).ok().prints("NoNewPrivs:\t1\n");
}
