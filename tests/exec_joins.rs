//! What a process of exec shares with its container: every namespace, the cgroup, the seccomp filter. Also which
//! containers it can join.

use crate::exec::{exec, refused, sh, up, up_with, with_file};
use runtime_tests::terminal::ConsoleSocket;
use runtime_tests::{Bundle, Cmd, host, json, wait_for};
use std::fs;
use std::os::unix::fs::PermissionsExt;

runtime_tests::tests![
    exec_joins_every_namespace_of_the_container,
    exec_joins_namespaces_that_the_container_joined,
    exec_joins_a_user_and_a_pid_namespace_that_the_container_joined,
    without_a_mount_namespace_the_root_is_the_containers,
    exec_joins_the_cgroup_in_every_hierarchy,
    exec_joins_the_cgroup_on_a_pure_v2_host,
    a_cgroup_below_the_containers_is_entered,
    the_seccomp_filter_applies_with_and_without_no_new_privs,
    a_missing_program_and_a_missing_interpreter_are_named,
    a_failed_exec_leaves_the_container_as_it_was,
    exec_in_a_stopped_or_unknown_container_fails,
    exec_in_a_created_container_runs_before_its_first_process
];

const NAMESPACES: [&str; 8] = ["pid", "net", "ipc", "uts", "mnt", "user", "cgroup", "time"];

/// The namespaces of a process of exec are those of the container's first one, all eight.
#[track_caller]
pub fn shares_every_namespace(b: &Bundle) {
    let init = b.pid();
    let of_init = NAMESPACES.map(|n| fs::read_link(format!("/proc/{init}/ns/{n}")).unwrap());
    let script = NAMESPACES.map(|n| format!("readlink /proc/self/ns/{n}"));
    let run = sh(b, &[], &script.join("; ")).ok();
    for (line, init) in run.lines().iter().zip(&of_init) {
        assert_eq!(line, &init.to_str().unwrap(), "{run}");
    }
    assert_eq!(run.lines().len(), NAMESPACES.len(), "{run}");
    // Its children would be in the same pid namespace, and all in the namespace that the container was made with.
    let run = sh(b, &[], "readlink /proc/self/ns/pid_for_children").ok();
    assert_eq!(run.out.trim_end(), of_init[0].to_str().unwrap());
}

fn exec_joins_every_namespace_of_the_container() {
    let (b, _running) = up();
    shares_every_namespace(&b);
    let (b, _running) = up_with(|b| {
        b.namespace("cgroup", None).namespace("time", None);
    });
    shares_every_namespace(&b);
    let (b, _running) = up_with(|b| {
        b.namespace("cgroup", None).namespace("time", None);
        b.user_namespace();
    });
    shares_every_namespace(&b);
    sh(&b, &[], "tr -s ' ' < /proc/self/uid_map; id -u; id -g")
        .ok()
        .prints(" 0 100000 65536\n0\n0\n");
    sh(&b, &["--user", "7:8"], "id -u; id -g")
        .ok()
        .prints("7\n8\n");
    let unmapped = exec(&b, &["--user", "65536"], &["true"]).output();
    refused(&unmapped, &["65536", "not mapped"]);
    // None at all but the mount namespace.
    let (b, _running) = up_with(|b| {
        for kind in ["pid", "network", "ipc", "uts"] {
            b.without_namespace(kind);
        }
        b.remove("/mounts/3");
    });
    shares_every_namespace(&b);
}

fn exec_joins_namespaces_that_the_container_joined() {
    let (first, _running) = up();
    let init = first.pid();
    let (second, _second) = up_with(|b| {
        for (kind, file) in [
            ("network", "net"),
            ("ipc", "ipc"),
            ("uts", "uts"),
            ("pid", "pid"),
        ] {
            b.namespace(kind, Some(&format!("/proc/{init}/ns/{file}")));
        }
    });
    shares_every_namespace(&second);
    let same = |n| fs::read_link(format!("/proc/{init}/ns/{n}")).unwrap();
    let run = sh(&second, &[], "readlink /proc/self/ns/net").ok();
    assert_eq!(run.out.trim_end(), same("net").to_str().unwrap());
    // The file that it was joined by may be gone, and its first process too: the namespaces of the container count.
    let (third, _third) = up_with(|b| {
        let kept = b.file("net");
        fs::write(&kept, "").unwrap();
        let net = format!("/proc/{}/ns/net", second.pid());
        Cmd::new(&b.dir, "mount")
            .args(["--bind", &net])
            .arg(&kept)
            .ok();
        b.namespace("network", kept.to_str());
    });
    Cmd::new(&third.dir, "umount").arg(third.file("net")).ok();
    shares_every_namespace(&third);
}

fn exec_joins_a_user_and_a_pid_namespace_that_the_container_joined() {
    let (first, _running) = up_with(|b| {
        b.user_namespace();
    });
    let init = first.pid();
    let (second, _second) = up_with(|b| {
        b.give_root_to(100_000);
        for (kind, file) in [("user", "user"), ("pid", "pid")] {
            b.namespace(kind, Some(&format!("/proc/{init}/ns/{file}")));
        }
    });
    shares_every_namespace(&second);
}

fn without_a_mount_namespace_the_root_is_the_containers() {
    let (b, _running) = up_with(|b| {
        b.without_namespace("mount").set("/mounts", json!([]));
        fs::write(b.rootfs().join("etc/mark"), "here\n").unwrap();
    });
    exec(&b, &["--cwd", "/etc"], &["cat", "mark", "/etc/mark"])
        .ok()
        .prints("here\nhere\n");
}

fn exec_joins_the_cgroup_in_every_hierarchy() {
    let (b, _running) = up();
    let of_init = fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).unwrap();
    assert!(of_init.lines().any(|l| l.ends_with(&b.id)), "{of_init}");
    exec(&b, &[], &["cat", "/proc/self/cgroup"])
        .ok()
        .prints(&of_init);
    // The same while the process is in a cgroup namespace, seen from outside.
    let (b, _running) = up_with(|b| {
        b.namespace("cgroup", None);
    });
    exec(
        &b,
        &["--detach", "--pid-file", &b.text("pid")],
        &["sleep", "1000"],
    )
    .ok();
    let of = |pid: &str| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert_eq!(of(&b.read("pid")), of(&b.pid().to_string()));
}

fn exec_joins_the_cgroup_on_a_pure_v2_host() {
    let (b, _running) = up_with(|b| {
        b.in_pure_v2();
    });
    let of_init = fs::read_to_string(format!("/proc/{}/cgroup", b.pid())).unwrap();
    assert!(of_init.contains(&format!("0::/{}\n", b.id)), "{of_init}");
    exec(&b, &[], &["cat", "/proc/self/cgroup"])
        .ok()
        .prints(&of_init);
}

fn a_cgroup_below_the_containers_is_entered() {
    let (b, _running) = up_with(|b| {
        b.in_pure_v2();
    });
    let below = host::controller("unified").join(&b.id).join("below");
    fs::create_dir(&below).unwrap();
    let run = exec(&b, &["--cgroup", "below"], &["cat", "/proc/self/cgroup"]).ok();
    assert!(run.out.contains(&format!("0::/{}/below\n", b.id)), "{run}");
    for bad in ["nothing", "../../escape", "..", "below/../.."] {
        let run = exec(&b, &["--cgroup", bad], &["true"]).output();
        refused(&run, &[]);
    }
}

fn the_seccomp_filter_applies_with_and_without_no_new_privs() {
    let script = "helper nr 110; grep Seccomp: /proc/self/status";
    for no_new_privileges in [false, true] {
        for capabilities in [&[][..], &["CAP_SYS_ADMIN", "CAP_KILL"]] {
            let (b, _running) = up_with(|b| {
                let rule =
                    json!({"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38});
                b.set("/process/noNewPrivileges", json!(no_new_privileges))
                    .capabilities(capabilities)
                    .set(
                        "/linux/seccomp",
                        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}),
                    );
            });
            for flags in [
                &[][..],
                &["--no-new-privs"],
                &["--user", "1000"],
                &["--cap", "CAP_CHOWN"],
            ] {
                sh(&b, flags, script).ok().prints("ENOSYS\nSeccomp:\t2\n");
            }
            let other =
                json!({"args": ["sh", "-c", script], "noNewPrivileges": !no_new_privileges});
            with_file(&b, other).ok().prints("ENOSYS\nSeccomp:\t2\n");
        }
    }
}

fn a_missing_program_and_a_missing_interpreter_are_named() {
    let (b, _running) = up();
    let run = exec(&b, &[], &["/bin/nothing"]).output();
    refused(&run, &["/bin/nothing", "no such file or directory"]);
    let run = exec(&b, &[], &["nothing"]).output();
    refused(&run, &["nothing"]);
    let err = run.err.to_lowercase();
    assert!(
        err.contains("executable file not found") || err.contains("no such file or directory"),
        "{run}"
    );
    let script = b.rootfs().join("bin/script");
    fs::write(&script, "#!/bin/nothing\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let run = exec(&b, &[], &["/bin/script"]).output();
    refused(&run, &["/bin/script", "no such file or directory"]);
    fs::set_permissions(&script, fs::Permissions::from_mode(0o644)).unwrap();
    let run = exec(&b, &[], &["/bin/script"]).output();
    refused(&run, &["/bin/script", "permission denied"]);
    let run = exec(&b, &["--cwd", "/nowhere/at/all"], &["true"]).output();
    refused(&run, &["/nowhere/at/all", "no such file or directory"]);
}

fn a_failed_exec_leaves_the_container_as_it_was() {
    let (b, _running) = up();
    let socket = ConsoleSocket::bind(&b.file("console"));
    let console = socket.path.to_str().unwrap();
    for flags in [
        &["--pid-file", &b.text("pid")][..],
        &["--detach", "--pid-file", &b.text("pid")],
        &["--tty", "--detach", "--console-socket", console],
    ] {
        refused(
            &exec(&b, flags, &["/bin/nothing"]).output(),
            &["/bin/nothing"],
        );
    }
    assert!(!b.file("pid").exists());
    assert_eq!(b.status(), "running");
    for cgroup in b.cgroups() {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(procs, format!("{}\n", b.pid()), "{}", cgroup.display());
    }
    exec(&b, &[], &["echo", "still"]).ok().prints("still\n");
}

fn exec_in_a_stopped_or_unknown_container_fails() {
    let (b, running) = up();
    b.call(&["kill", &b.id, "KILL"]).ok();
    running.wait().ends(128 + 9);
    refused(
        &exec(&b, &[], &["true"]).output(),
        &[&b.id, "does not exist"],
    );
    let mut b = Bundle::new();
    b.args(&["true"]).launch("run", &["--keep"]).ok();
    assert_eq!(b.status(), "stopped");
    refused(
        &exec(&b, &[], &["true"]).output(),
        &[&b.id, "container not running"],
    );
}

fn exec_in_a_created_container_runs_before_its_first_process() {
    let mut b = Bundle::new();
    b.sh("echo ran > /tmp/ran; exec sleep 1000").create().ok();
    sh(&b, &[], "ls /tmp; echo in").ok().prints("in\n");
    shares_every_namespace(&b);
    assert_eq!(b.status(), "created");
    b.start().ok();
    wait_for("the process ran", || b.rootfs().join("tmp/ran").exists());
    sh(&b, &[], "ls /tmp").ok().prints("ran\n");
}
