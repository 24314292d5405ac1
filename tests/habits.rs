//! Behaviour of runc that callers rely on, although no specification requires it: hooks that enter the mount
//! namespace, the order of mounts, the behaviour of a created container.

use runtime_tests::terminal::ConsoleSocket;
use runtime_tests::{Bundle, Value, host, json, wait_for};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

runtime_tests::tests![
    hooks_that_enter_the_mount_namespace_find_the_root_where_it_is_on_the_host,
    hooks_work_with_a_root_that_cannot_be_reached,
    start_container_hooks_run_under_the_filter,
    a_filter_that_lacks_the_runtimes_own_calls_does_not_break_the_start,
    a_read_only_dev_has_its_devices_and_mounts,
    a_read_only_tmpfs_can_contain_mounts,
    mounts_in_the_root_can_be_bound_elsewhere,
    a_link_in_the_image_cannot_bind_files_of_the_host,
    a_destination_may_be_a_path_on_the_host,
    a_bind_is_mapped_by_the_user_namespace_that_is_joined,
    an_empty_home_counts_as_unset,
    the_waiting_process_holds_no_descriptors_of_the_host,
    a_created_container_exits_on_a_terminating_signal,
    sigkill_ends_every_process_of_a_shared_pid_namespace,
    a_frozen_cgroup_is_refused,
    the_pidfd_is_sent_to_the_pidfd_socket,
    debug_logs_each_step,
    the_config_file_may_have_another_path,
    create_reports_a_working_directory_that_cannot_be_entered,
];

/// nvidia-container-cli enters it this way.
fn hooks_that_enter_the_mount_namespace_find_the_root_where_it_is_on_the_host() {
    for kind in ["prestart", "createRuntime"] {
        for flags in [&[][..], &["--no-pivot"]] {
            let mut b = Bundle::new();
            fs::write(b.file("library"), "of the host\n").unwrap();
            fs::write(b.rootfs().join("library"), "").unwrap();
            let (from, to) = (b.text("library"), b.rootfs().join("library"));
            b.hook(
                kind,
                &format!(
                    "pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*'); exec nsenter -t $pid -m mount --bind {from} {}",
                    to.display()
                ),
            )
            .sh("cat /library; cat /proc/self/mountinfo | wc -l");
            let run = b.launch("run", flags).ok();
            assert_eq!(run.lines()[0], "of the host", "{run}");
            // The host sees none of it, and none of it remains.
            assert_eq!(fs::read_to_string(&to).unwrap(), "");
            b.left_nothing();
        }
    }
    // A createContainer hook, which has not pivoted yet, finds the root in its working directory.
    let mut b = Bundle::new();
    fs::write(b.file("library"), "of the host\n").unwrap();
    fs::write(b.rootfs().join("library"), "").unwrap();
    let (from, to) = (b.text("library"), b.rootfs().join("library"));
    b.hook(
        "createContainer",
        &format!("mount --bind {from} {}", to.display()),
    )
    .sh("cat /library");
    b.run_ok().prints("of the host\n");
}

/// The user namespace's root may not be able to reach the path of the root on the host. That must not matter.
fn hooks_work_with_a_root_that_cannot_be_reached() {
    for flags in [&[][..], &["--no-pivot"]] {
        let mut b = Bundle::new();
        b.user_namespace().sh("echo up");
        b.hook("createRuntime", "true");
        fs::set_permissions(b.path(), fs::Permissions::from_mode(0o700)).unwrap();
        b.launch("run", flags).ok().prints("up\n");
        b.left_nothing();
    }
}

fn start_container_hooks_run_under_the_filter() {
    for no_new_privileges in [true, false] {
        let mut b = Bundle::new();
        b.set("/process/noNewPrivileges", json!(no_new_privileges))
            .set(
                "/process/rlimits",
                json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]),
            )
            .set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}]}),
            )
            .set(
                "/hooks/startContainer/-",
                json!({"path": "/bin/mkdir", "args": ["mkdir", "/tmp/x"]}),
            );
        b.sh("echo never").run().fails(&[
            "error running startContainer hook #0: /bin/mkdir",
            "bad system call",
        ]);
        b.left_nothing();
    }
}

fn a_filter_that_lacks_the_runtimes_own_calls_does_not_break_the_start() {
    for no_new_privileges in [true, false] {
        let mut b = Bundle::new();
        let calls = [
            "close_range",
            "close",
            "fsopen",
            "fsconfig",
            "openat2",
            "open_tree",
            "move_mount",
            "mount_setattr",
            "clone3",
            "fchdir",
            "umask",
            "statx",
            "fcntl",
        ];
        b.set("/process/noNewPrivileges", json!(no_new_privileges))
            .set(
                "/linux/seccomp",
                json!({"defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}),
            );
        b.sh("echo up").run_ok().prints("up\n");
        let (create, start) = (b.create(), b.start());
        create.ok();
        start.ok();
        b.wait_for_status("stopped");
        b.delete(&[]).ok();
    }
}

fn options_of<'a>(b: &'a mut Bundle, destination: &str) -> &'a mut Vec<Value> {
    let mounts = b.config["mounts"].as_array_mut().unwrap();
    let mount = mounts
        .iter_mut()
        .find(|mount| mount["destination"] == destination)
        .unwrap();
    mount["options"].as_array_mut().unwrap()
}

fn a_read_only_dev_has_its_devices_and_mounts() {
    let mut b = Bundle::new();
    options_of(&mut b, "/dev").push(json!("ro"));
    b.sh("echo x > /dev/null && ls /dev/pts/ptmx && echo fine; touch /dev/x");
    b.run()
        .ends(1)
        .prints("/dev/pts/ptmx\nfine\n")
        .says(&["Read-only file system"]);
}

fn a_read_only_tmpfs_can_contain_mounts() {
    let mut b = Bundle::new();
    fs::create_dir(b.file("source")).unwrap();
    b.mount("/run", "tmpfs", "tmpfs", &["ro", "nosuid"]);
    let source = b.file("source");
    b.bind(&source, "/run/deep/in/it", &[]);
    b.sh("touch /run/deep/in/it/x && echo fine; touch /run/x");
    b.run()
        .ends(1)
        .prints("fine\n")
        .says(&["Read-only file system"]);
}

fn mounts_in_the_root_can_be_bound_elsewhere() {
    for own in [true, false] {
        let mut b = Bundle::new();
        if own {
            b.user_namespace();
        }
        let inside = b.rootfs().join("tmp");
        b.mount("/tmp", "tmpfs", "tmpfs", &[]);
        b.mount("/tmp/below", "tmpfs", "tmpfs", &["size=12k"]);
        b.bind(&inside, "/root/copy", &["rbind"]);
        b.sh("df -k /root/copy/below | tail -n 1 | awk '{print $2}'");
        b.run_ok().prints("12\n");
    }
}

fn a_link_in_the_image_cannot_bind_files_of_the_host() {
    let mut b = Bundle::new();
    fs::create_dir(b.file("secret")).unwrap();
    fs::write(b.file("secret/file"), "of the host").unwrap();
    std::os::unix::fs::symlink(b.file("secret"), b.rootfs().join("link")).unwrap();
    let link = b.rootfs().join("link");
    b.bind(&link, "/tmp/here", &[]).sh("cat /tmp/here/file");
    let refused = |b: &Bundle| {
        let words = ["mounts[", "].source", "/link", "no such file or directory"];
        b.run().fails(&words);
        b.left_nothing();
    };
    refused(&b);
    // Nor where the bind is id-mapped, which launch opens.
    let n = b.config["mounts"].as_array().unwrap().len() - 1;
    let map = json!([{"containerID": 0, "hostID": 0, "size": 1000}]);
    for field in ["uidMappings", "gidMappings"] {
        b.set(&format!("/mounts/{n}/{field}"), map.clone());
    }
    refused(&b);
    b.user_namespace();
    refused(&b);
    // However the two paths are spelled.
    for root in ["rootfs/", "./rootfs", ".//rootfs/."] {
        b.set("/root/path", json!(root));
        refused(&b);
    }
    fs::remove_file(&link).unwrap();
    fs::create_dir(&link).unwrap();
    fs::write(link.join("file"), "of the image").unwrap();
    b.run_ok().prints("of the image");
}

fn a_destination_may_be_a_path_on_the_host() {
    let mut b = Bundle::new();
    let to = b.rootfs().join("root/here");
    b.mount(to.to_str().unwrap(), "tmpfs", "tmpfs", &[]);
    b.sh("grep -c ' /root/here ' /proc/self/mountinfo");
    b.run_ok().prints("1\n");
}

fn a_bind_is_mapped_by_the_user_namespace_that_is_joined() {
    let mut holder = Bundle::new();
    holder.user_namespace().waits();
    let _running = holder.up();
    let mut b = Bundle::new();
    fs::create_dir(b.file("source")).unwrap();
    fs::write(b.file("source/file"), "").unwrap();
    let path = format!("/proc/{}/ns/user", holder.pid());
    b.namespace("user", Some(&path));
    b.give_root_to(100_000);
    let source = b.file("source");
    b.bind(&source, "/tmp/to", &["idmap"]);
    // Files of root on the host belong to root in the container.
    b.args(&["stat", "-c", "%u %g", "/tmp/to/file"]);
    b.run_ok().prints("0 0\n");
}

fn an_empty_home_counts_as_unset() {
    let mut b = Bundle::new();
    b.set(
        "/process/env",
        json!(["PATH=/bin", "HOME=/elsewhere", "HOME="]),
    )
    .args(&["env"]);
    b.run_ok().prints("PATH=/bin\nHOME=/root\n");
}

/// The targets of a process's descriptors from 3 on.
fn descriptors(pid: i32) -> Vec<PathBuf> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().unwrap() > 2)
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .collect()
}

fn the_waiting_process_holds_no_descriptors_of_the_host() {
    for procfs in [false, true] {
        let mut b = Bundle::new();
        if procfs {
            // A sysctl makes the runtime open a private procfs.
            b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
        }
        let script = "exec 7< /etc/passwd 9> /dev/null; exec \"$@\"";
        b.write();
        let create = b.launch("create", &[]);
        create.through(["sh", "-c", script, "sh"]).ok();
        let waiting = b.state_dir().join(&b.id).join("waiting");
        let inside = |path: &PathBuf| {
            let text = path.to_string_lossy();
            *path == Path::new("/")
                || *path == waiting
                || text.starts_with("socket:")
                || text.starts_with("anon_inode:")
        };
        let open = descriptors(b.pid());
        assert!(open.iter().all(inside), "{open:?}");
        b.start().ok();
        b.delete(&["--force"]).ok();
    }
}

fn a_created_container_exits_on_a_terminating_signal() {
    // The kernel ignores a signal to the init of a pid namespace unless init has a handler for it.
    for name in ["TERM", "HUP", "INT", "QUIT"] {
        for own in [true, false] {
            let mut b = Bundle::new();
            if !own {
                b.without_namespace("pid");
            }
            b.create().ok();
            b.kill(name).ok();
            b.wait_for_status("stopped");
            b.delete(&[]).ok();
            b.left_nothing();
        }
    }
}

fn sigkill_ends_every_process_of_a_shared_pid_namespace() {
    for first_is_gone in [false, true] {
        let mut b = Bundle::new();
        b.without_namespace("pid")
            .sh("sleep 1001 & sleep 1002 & echo up; exec sleep 1003");
        let running = b.up();
        let left = || {
            let cgroup = b.cgroups().first().cloned();
            let procs = cgroup.and_then(|c| fs::read_to_string(c.join("cgroup.procs")).ok());
            procs.unwrap_or_default().lines().count()
        };
        wait_for("three processes", || left() == 3);
        if first_is_gone {
            let pid = rustix::process::Pid::from_raw(b.pid()).unwrap();
            // Otherwise the supervisor would clean up.
            let own = rustix::process::Pid::from_raw(running.pid()).unwrap();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            b.wait_for_status("stopped");
            assert_eq!(left(), 2);
        }
        b.kill("KILL").ok();
        wait_for("no process is left", || left() == 0);
        if first_is_gone {
            b.kill("KILL").fails(&["container not running"]);
            b.delete(&[]).ok();
        } else {
            running.wait().ends(137);
        }
        b.left_nothing();
    }
}

fn a_frozen_cgroup_is_refused() {
    let on_v2 = host::v2();
    let mut b = Bundle::new();
    let (directory, file, frozen) = match on_v2 {
        true => (host::controller("unified"), "cgroup.freeze", "1"),
        false => (host::controller("freezer"), "freezer.state", "FROZEN"),
    };
    let directory = directory.join(&b.id);
    b.set("/linux/cgroupsPath", json!(format!("/{}", b.id)));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join(file), frozen).unwrap();
    for verb in ["run", "create"] {
        b.launch(verb, &[])
            .output()
            .fails(&["container's cgroup unexpectedly frozen", file]);
        // The cgroup is not ours, so it stays.
        assert!(directory.exists());
    }
    fs::remove_dir(&directory).unwrap();
    b.left_nothing();
}

fn the_pidfd_is_sent_to_the_pidfd_socket() {
    let mut b = Bundle::new();
    b.waits().write();
    let socket = ConsoleSocket::bind(&b.file("pidfd"));
    let path = b.text("pidfd");
    let pid_of = |fd: &std::os::fd::OwnedFd| -> i32 {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        line.unwrap().trim().parse().unwrap()
    };
    let received = || {
        let (data, fds, _) = socket.receive();
        assert!(!data.is_empty() && fds.len() == 1);
        pid_of(&fds[0])
    };
    let create = b.launch("create", &["--pidfd-socket", &path]).spawn();
    let pid = received();
    create.wait().ok();
    assert_eq!(pid, b.pid());
    b.start().ok();
    let file = b.text("exec.pid");
    let exec = b
        .call(&[
            "exec",
            "--detach",
            "--pidfd-socket",
            &path,
            "--pid-file",
            &file,
            &b.id,
            "sleep",
            "1000",
        ])
        .spawn();
    let pid = received();
    exec.wait().ok();
    assert_eq!(b.read("exec.pid"), pid.to_string());
    b.delete(&["--force"]).ok();
    let run = b
        .launch("run", &["--detach", "--pidfd-socket", &path])
        .spawn();
    let pid = received();
    run.wait().ok();
    assert_eq!(pid, b.pid());
    b.delete(&["--force"]).ok();
    // With no listener on the socket, nothing is created.
    let nowhere = b.text("nowhere");
    b.launch("create", &["--pidfd-socket", &nowhere])
        .output()
        .fails(&["--pidfd-socket", "nowhere", "no such file or directory"]);
    b.left_nothing();
}

fn debug_logs_each_step() {
    let mut b = Bundle::new();
    b.sh("echo up").write();
    let (path, log) = (b.path(), b.text("log"));
    let run = |globals: &[&str]| {
        let call = b.call(globals).args(["run", "--bundle"]);
        call.arg(&path).arg(&b.id).ok()
    };
    let output = run(&["--debug"]);
    output
        .prints("up\n")
        .says(&["level=debug", "mount proc on /proc"]);
    let output = run(&["--debug", "--log", &log, "--log-format", "json"]);
    assert_eq!(output.err, "");
    let lines: Vec<Value> = b
        .read("log")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(lines.len() > 10 && lines.iter().all(|line| line["level"] == "debug"));
}

/// The option --config of crun.
fn the_config_file_may_have_another_path() {
    let mut b = Bundle::new();
    b.sh("echo up").write();
    let other = b.text("other.json");
    fs::rename(b.path().join("config.json"), &other).unwrap();
    for flag in ["--config", "-f"] {
        b.call(&["run", flag, &other, "--bundle"])
            .arg(b.path())
            .arg(&b.id)
            .ok()
            .prints("up\n");
    }
    b.call(&["create", "--config", "nowhere.json", "--bundle"])
        .arg(b.path())
        .arg(&b.id)
        .output()
        .fails(&["nowhere.json", "no such file or directory"]);
    b.left_nothing();
}

fn create_reports_a_working_directory_that_cannot_be_entered() {
    let mut b = Bundle::new();
    b.set("/process/cwd", "/etc/passwd".into());
    b.create().fails(&["/etc/passwd", "not a directory"]);
    b.left_nothing();
}
