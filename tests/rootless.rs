//! Containers of an ordinary user: no capability at all, a user namespace of his own, and no cgroup as a rule.
//! Which ids they have is in rootless_ids.rs.

use runtime_tests::ordinary::UID;
use runtime_tests::terminal::{ConsoleSocket, Terminal};
use runtime_tests::{Bundle, Output, json, wait_for};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

runtime_tests::tests![
    what_spec_rootless_writes_runs_below_xdg_runtime_dir,
    the_exit_status_of_the_process_is_that_of_run,
    create_start_state_list_kill_and_delete_work,
    exec_joins_the_container,
    exec_before_start_is_refused_and_leaves_the_container_alone,
    a_terminal_works_for_run_exec_and_create,
    root_and_paths_are_read_only_and_masked,
    binds_come_from_the_hosts_tree,
    a_bind_without_the_mounts_below_its_source_is_refused_with_a_hint,
    what_the_hosts_mount_forbids_stays_forbidden,
    devices_are_the_hosts,
    without_a_network_namespace_sysfs_is_the_hosts,
    names_and_kernel_parameters_are_set,
    the_root_can_be_entered_without_pivot,
    every_hook_runs,
    the_seccomp_filter_is_active_with_and_without_no_new_privileges,
    limits_can_be_lowered_and_raising_them_is_refused_by_name,
    the_oom_score_can_be_raised_and_ours_stays,
    namespaces_of_ones_own_container_can_be_joined,
    what_an_ordinary_user_cannot_have_is_refused,
    a_failed_start_leaves_nothing_behind,
    without_a_directory_for_the_state_the_error_says_what_to_set,
    while_it_waits_nobody_may_look_into_the_process
];

pub fn ordinary() -> Bundle {
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

fn what_spec_rootless_writes_runs_below_xdg_runtime_dir() {
    let b = ordinary();
    b.at_home(&["spec", "--rootless", "--bundle"])
        .arg(b.path())
        .ok();
    let config = b.path().join("config.json");
    assert_eq!(fs::metadata(&config).unwrap().uid(), UID);
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("\"terminal\": true", "\"terminal\": false");
    let text = text.replace("\"sh\"", "\"sh\", \"-c\", \"id -u; echo up; read line\"");
    fs::write(&config, text).unwrap();
    let (input, hold) = std::io::pipe().unwrap();
    let run = b
        .at_home(&["run", &b.id, "--bundle"])
        .arg(b.path())
        .stdin(std::os::fd::OwnedFd::from(input))
        .spawn();
    wait_for("the container is up", || {
        run.out().contains("up") || !run.err().is_empty()
    });
    assert_eq!(run.out(), "0\nup\n", "{}", run.err());
    // Whoever cleans up there leaves alone what has the sticky bit.
    let root = fs::metadata(b.file("run/runtime")).unwrap();
    assert_eq!((root.uid(), root.mode() & 0o7777), (UID, 0o1700));
    assert!(b.file("run/runtime").join(&b.id).exists());
    drop(hold);
    run.wait().ends(1);
    assert_eq!(fs::read_dir(b.file("run/runtime")).unwrap().count(), 0);
    b.left_nothing();
}

fn the_exit_status_of_the_process_is_that_of_run() {
    let mut b = ordinary();
    b.sh("exit 7").run().ends(7);
    let running = b.waits().up();
    b.kill("KILL").ok();
    running.wait().ends(137);
    b.args(&["nothing"]).run().fails(&["No such file"]);
    b.left_nothing();
}

fn create_start_state_list_kill_and_delete_work() {
    let mut b = ordinary();
    b.waits().create().ok();
    assert_eq!(b.status(), "created");
    b.start().ok();
    assert_eq!(b.status(), "running");
    let list = b.call(&["list", "--format", "json"]).ok();
    let rows: runtime_tests::Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(rows[0]["id"], b.id.as_str(), "{list}");
    assert_eq!(rows[0]["owner"], format!("#{UID}"), "{list}");
    b.delete(&[]).fails(&["not stopped"]);
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.create().ok();
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn exec_joins_the_container() {
    let mut b = ordinary();
    b.set("/hostname", json!("inside")).waits();
    let _running = b.up();
    let exec = |words: &[&str]| b.call(&["exec"]).args(words).output();
    let id = b.id.as_str();
    exec(&[id, "sh", "-c", "id -u; hostname; exit 3"])
        .ends(3)
        .prints("0\ninside\n");
    exec(&[
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        id,
        "sh",
        "-c",
        "echo $A $PWD",
    ])
    .ok()
    .prints("b /tmp\n");
    let user = exec(&["--user", "1", id, "true"]);
    user.ends(255).says(&["1 is not mapped"]);
    let groups = exec(&["--additional-gids", "0", id, "true"]);
    groups.ends(255).says(&["cannot set any additional groups"]);
    let pid_file = b.text("run/pid");
    let detached = exec(&["--detach", "--pid-file", &pid_file, id, "sleep", "1000"]);
    detached.ok();
    let pid = b.read("run/pid");
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    assert_eq!(columns(&map), [[0, UID, 1]]);
}

fn exec_before_start_is_refused_and_leaves_the_container_alone() {
    let mut b = ordinary();
    b.waits().create().ok();
    let exec = b.call(&["exec", &b.id, "true"]).output();
    exec.ends(255).says(&["only once it is started"]);
    b.start().ok();
    b.call(&["exec", &b.id, "true"]).ok();
}

fn a_terminal_works_for_run_exec_and_create() {
    let mut b = ordinary();
    b.set("/process/terminal", json!(true))
        .sh("tty; helper ctty; read line; echo got $line");
    let (mut terminal, slave) = Terminal::open();
    let run = b
        .launch("run", &[])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    drop(slave);
    terminal.expect("ctty: ok");
    let (mut second, slave) = Terminal::open();
    let exec = b
        .call(&["exec", "--tty", &b.id, "tty"])
        .through(["setsid", "--ctty", "--wait"])
        .stdio(&slave)
        .spawn();
    drop(slave);
    assert!(second.read_all().contains("/dev/pts/1"));
    exec.wait().ok();
    terminal.send("that\n");
    terminal.expect("got that");
    run.wait().ok();

    let socket = ConsoleSocket::bind(&b.file("run/console"));
    chown(b.file("run/console"), Some(UID), Some(UID)).unwrap();
    let path = socket.path.to_str().unwrap().to_owned();
    b.launch("create", &["--console-socket", &path]).ok();
    let mut terminal = socket.terminal();
    b.start().ok();
    terminal.expect("ctty: ok");
    terminal.send("this\n");
    terminal.expect("got this");
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.left_nothing();
}

fn root_and_paths_are_read_only_and_masked() {
    let mut b = ordinary();
    fs::create_dir(b.rootfs().join("secret")).unwrap();
    fs::write(b.rootfs().join("secret/file"), "x").unwrap();
    b.set("/root/readonly", json!(true))
        .set("/linux/maskedPaths", json!(["/proc/keys", "/secret"]))
        .set("/linux/readonlyPaths", json!(["/proc/sys", "/etc"]))
        .sh(
            "touch /x; touch /etc/x; echo 1 > /proc/sys/kernel/shm_rmid_forced; cat /proc/keys; ls /secret; touch /dev/shm-like; echo end",
        );
    let run = b.run();
    run.ok().prints("end\n");
    assert_eq!(run.err.matches("Read-only file system").count(), 3, "{run}");
}

fn binds_come_from_the_hosts_tree() {
    let mut b = ordinary();
    let source = b.file("run/source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "of the host\n").unwrap();
    chown(&source, Some(UID), Some(UID)).unwrap();
    // An earlier mount on the path of a later source does not lie in its way.
    let over = b.dir.to_str().unwrap().to_owned();
    b.bind(&source, "/first", &[])
        .mount(&over, "tmpfs", "tmpfs", &[])
        .bind(&source, "/second", &["ro"])
        .bind(&source.join("file"), "/tmp/file", &[]);
    b.sh("cat /first/file /second/file /tmp/file; echo new > /first/new; touch /second/x");
    let run = b.run();
    run.ends(1)
        .prints(&"of the host\n".repeat(3))
        .says(&["/second/x: Read-only"]);
    assert_eq!(fs::read_to_string(source.join("new")).unwrap(), "new\n");
    assert_eq!(fs::metadata(source.join("new")).unwrap().uid(), UID);
    b.bind(&b.file("nothing"), "/x", &[]);
    let path = b.text("nothing");
    b.run().fails(&[
        "config.json: mounts[8].source: cannot open ",
        &path,
        "No such file or directory",
    ]);
    b.left_nothing();
}

/// Runs the bundle where `script` has prepared the host's mounts, in a mount namespace of its own.
fn run_after(b: &Bundle, script: &str) -> Output {
    let script = format!("{script}; exec \"$@\"");
    b.launch("run", &[])
        .through(["unshare", "--mount", "sh", "-c", &script, "sh"])
        .output()
}

fn a_bind_without_the_mounts_below_its_source_is_refused_with_a_hint() {
    let mut b = ordinary();
    let source = b.file("run");
    let script = format!(
        "mkdir {0}/below; mount -t tmpfs none {0}/below; touch {0}/below/mounted",
        source.display()
    );
    b.bind(&source, "/tmp", &[]).args(&["ls", "/tmp/below"]);
    run_after(&b, &script).fails(&["mounts[4].source", "Invalid argument", "rbind"]);
    b.set("/mounts/4/options", json!(["rbind"]));
    run_after(&b, &script.replace("mkdir", "mkdir -p"))
        .ok()
        .prints("mounted\n");
}

fn what_the_hosts_mount_forbids_stays_forbidden() {
    let mut b = ordinary();
    let source = b.file("run");
    let options = "ro,nosuid,nodev,noexec,noatime";
    let script = format!("mount -t tmpfs -o {options} none {}", source.display());
    let asked = ["rbind", "rw", "suid", "dev", "exec", "relatime"];
    b.mount("/tmp", "bind", source.to_str().unwrap(), &asked)
        .args(&["grep", " /tmp ", "/proc/self/mounts"]);
    run_after(&b, &script).fails(&["mounts[4].options", "Operation not permitted", "stays"]);
    b.set("/mounts/4/options", json!(["rbind"]));
    let run = run_after(&b, &script);
    assert!(run.ok().out.contains(&format!("tmpfs {options}")), "{run}");
    b.mount("/root", "bind", "/bin", &["rbind", "ro", "nosuid", "nodev"])
        .args(&["grep", " /root ", "/proc/self/mounts"]);
    let run = run_after(&b, &script);
    assert!(run.ok().out.contains(" ro,nosuid,nodev,"), "{run}");
}

fn devices_are_the_hosts() {
    let mut b = ordinary();
    b.sh("cd /dev; stat -c '%n %t:%T %u' null zero tty; echo x > null; head -c 3 zero | wc -c");
    b.run()
        .ok()
        .prints("null 1:3 65534\nzero 1:5 65534\ntty 5:0 65534\n3\n");
    let device = json!({"path": "/dev/made", "type": "c", "major": 1, "minor": 3});
    b.set("/linux/devices/-", device);
    b.run()
        .fails(&["linux.devices: \"/dev/made\": cannot open /dev/made"]);
}

fn without_a_network_namespace_sysfs_is_the_hosts() {
    let mut b = ordinary();
    b.without_namespace("network")
        .sh("ls /sys/kernel /sys/fs/cgroup > /dev/null && touch /sys/x");
    b.run().ends(1).says(&["/sys/x: Read-only file system"]);
}

fn names_and_kernel_parameters_are_set() {
    let mut b = ordinary();
    b.set("/hostname", json!("inside"))
        .set("/domainname", json!("example.org"))
        .set(
            "/linux/sysctl",
            json!({"net.ipv4.ip_unprivileged_port_start": "7", "kernel.shmmni": "99"}),
        )
        .mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])
        .sh("helper uname; cd /proc/sys; cat net/ipv4/ip_unprivileged_port_start kernel/shmmni; touch /dev/mqueue/q");
    b.run_ok().prints("inside example.org\n7\n99\n");
}

fn the_root_can_be_entered_without_pivot() {
    let mut b = ordinary();
    b.args(&["ls", "/"]);
    let plain = b.run_ok().out;
    b.launch("run", &["--no-pivot"]).ok().prints(&plain);
}

fn every_hook_runs() {
    let mut b = ordinary();
    let log = b.text("run/log");
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "poststart",
        "poststop",
    ] {
        b.hook(kind, &format!("echo {kind} $(id -u) >> {log}"));
    }
    b.hook("startContainer", "echo startContainer $(id -u) >> /tmp/log");
    chown(b.rootfs().join("tmp"), Some(UID), Some(UID)).unwrap();
    b.run_ok();
    let lines = format!(
        "prestart {UID}\ncreateRuntime {UID}\ncreateContainer 0\npoststart {UID}\npoststop {UID}\n"
    );
    assert_eq!(b.read("run/log"), lines);
    assert_eq!(b.read("bundle/rootfs/tmp/log"), "startContainer 0\n");
    b.hook("createRuntime", "echo why >&2; exit 3");
    b.run().fails(&[
        "error running createRuntime hook #1: ",
        "exit status 3",
        "why",
    ]);
    b.left_nothing();
}

fn the_seccomp_filter_is_active_with_and_without_no_new_privileges() {
    let mut b = ordinary();
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5}]});
    b.set("/linux/seccomp", profile)
        .sh("grep Seccomp: /proc/self/status; mkdir /tmp/x");
    for no_new_privileges in [true, false] {
        b.set("/process/noNewPrivileges", json!(no_new_privileges));
        let run = b.run();
        run.ends(1)
            .prints("Seccomp:\t2\n")
            .says(&["Input/output error"]);
    }
}

fn limits_can_be_lowered_and_raising_them_is_refused_by_name() {
    let mut b = ordinary();
    let limit =
        |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
    b.set("/process/rlimits", json!([limit("RLIMIT_NOFILE", 40, 50)]))
        .sh("ulimit -Sn; ulimit -Hn");
    b.run_ok().prints("40\n50\n");
    b.set(
        "/process/rlimits",
        json!([limit("RLIMIT_NOFILE", 40, 1 << 40)]),
    );
    b.run().fails(&[
        "process.rlimits",
        "RLIMIT_NOFILE to 1099511627776",
        "operation not permitted",
    ]);
    b.left_nothing();
}

fn the_oom_score_can_be_raised_and_ours_stays() {
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let own: i32 = own.trim().parse().unwrap();
    let mut b = ordinary();
    b.set("/process/oomScoreAdj", json!(own + 7))
        .sh("cat /proc/self/oom_score_adj; echo up; exec sleep 1000");
    let running = b.up();
    assert_eq!(running.out(), format!("{}\nup\n", own + 7));
    let ours = fs::read_to_string(format!("/proc/{}/oom_score_adj", running.pid())).unwrap();
    assert_eq!(ours, format!("{own}\n"));
    let process = json!({"args": ["cat", "/proc/self/oom_score_adj"], "cwd": "/", "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}, "oomScoreAdj": own + 9});
    fs::write(b.file("process.json"), process.to_string()).unwrap();
    let file = b.text("process.json");
    b.call(&["exec", "--process", &file, &b.id])
        .ok()
        .prints(&format!("{}\n", own + 9));
    let mut b = ordinary();
    b.set("/process/oomScoreAdj", json!(-999));
    b.run()
        .fails(&["process.oomScoreAdj", "-999", "Permission denied"]);
    b.left_nothing();
}

fn namespaces_of_ones_own_container_can_be_joined() {
    let mut first = ordinary();
    first.waits();
    let _running = first.up();
    let path = |name: &str| format!("/proc/{}/ns/{name}", first.pid());
    let mut b = ordinary();
    for (kind, name) in [
        ("user", "user"),
        ("network", "net"),
        ("ipc", "ipc"),
        ("uts", "uts"),
        ("pid", "pid"),
    ] {
        b.namespace(kind, Some(&path(name)));
    }
    b.waits();
    let _second = b.up();
    for name in ["user", "net", "ipc", "uts", "pid"] {
        let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
        assert_eq!(of(b.pid()), of(first.pid()));
    }
    b.call(&["exec", &b.id, "true"]).ok();
    // The host's own are not his.
    let mut b = ordinary();
    b.namespace("uts", Some("/proc/1/ns/uts"))
        .run()
        .fails(&["uts", "/proc/1/ns/uts"]);
    b.left_nothing();
}

fn what_an_ordinary_user_cannot_have_is_refused() {
    let mut b = ordinary();
    b.without_namespace("user")
        .remove("/linux/uidMappings")
        .remove("/linux/gidMappings");
    b.run().fails(&[
        "linux.namespaces",
        "needs a namespace of type \"user\"",
        "spec --rootless",
    ]);
    let mut b = ordinary();
    b.namespace("time", None);
    b.run().fails(&["linux.namespaces", "\"time\""]);
    let mut b = ordinary();
    let source = b.file("run");
    b.bind(&source, "/tmp", &["idmap"]);
    b.run().fails(&["mounts[4]", "id-mapped", "CAP_SYS_ADMIN"]);
    b.left_nothing();
}

fn a_failed_start_leaves_nothing_behind() {
    let mut b = ordinary();
    let pid_file = b.text("run/pid");
    for (pointer, value) in [
        ("/root/path", json!("nowhere")),
        ("/process/args", json!(["nothing"])),
        ("/process/cwd", json!("/bin/busybox")),
        ("/mounts/0/type", json!("nonsense")),
    ] {
        let before = b.config.clone();
        b.set(pointer, value);
        for verb in ["run", "create"] {
            // What execve says, create leaves to start.
            let output = b.launch(verb, &["--pid-file", &pid_file]).output();
            if verb == "create" && output.status == 0 {
                b.start().ends(1);
                b.delete(&["--force"]).ok();
                continue;
            }
            output.ends(1);
            assert!(!b.file("run/pid").exists(), "{output}");
        }
        b.left_nothing();
        b.config = before;
        let _ = fs::remove_file(b.file("run/pid"));
    }
}

fn without_a_directory_for_the_state_the_error_says_what_to_set() {
    let b = ordinary();
    b.write();
    let call = |words: &[&str]| {
        runtime_tests::Cmd::new(&b.dir, &b.runtime)
            .args(words)
            .dir(b.path())
            .through(&b.launcher)
            .output()
    };
    call(&["run", &b.id]).fails(&["/run/runtime", "Permission denied", "XDG_RUNTIME_DIR"]);
    // Where root keeps containers of its own, an ordinary user may not even look.
    let outcome = call(&["state", &b.id]);
    assert!(
        outcome.status == 1
            && (outcome.err.contains("does not exist") || outcome.err.contains("XDG_RUNTIME_DIR")),
        "{outcome}"
    );
    b.left_nothing();
}

fn while_it_waits_nobody_may_look_into_the_process() {
    for mut b in [ordinary(), subordinate()] {
        b.waits().create().ok();
        let pid = b.pid();
        // procfs gives what is not dumpable to root.
        assert_eq!(fs::metadata(format!("/proc/{pid}/maps")).unwrap().uid(), 0);
        let look = runtime_tests::Cmd::new(&b.dir, "ls")
            .arg(format!("/proc/{pid}/fd/"))
            .through(&b.launcher)
            .output();
        assert!(
            look.status != 0 && look.err.contains("Permission denied"),
            "{look}"
        );
        b.delete(&["--force"]).ok();
    }
}
