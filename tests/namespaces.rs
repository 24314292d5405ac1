//! All eight namespaces, new, shared and joined; id mappings and time offsets.
//! The tests compare /proc/PID/ns inside and outside.

use runtime_tests::{Bundle, Cmd, Running, json, wait_for};
use std::fs;

runtime_tests::tests![
    listed_namespaces_are_new_and_others_are_the_callers,
    each_namespace_can_be_joined_by_its_path,
    a_joined_mount_namespace_holds_the_root_and_gets_no_mounts,
    without_a_mount_namespace_nothing_is_mounted_on_the_host,
    an_empty_namespace_path_means_a_new_one,
    a_namespace_path_of_another_type_is_refused,
    a_missing_namespace_path_is_refused,
    user_and_pid_namespace_can_be_joined_together,
    the_user_namespace_has_exactly_the_given_mappings,
    several_mappings_are_written_at_once,
    root_of_a_user_namespace_owns_the_files_it_creates,
    a_user_namespace_keeps_the_capabilities_of_the_specification,
    time_offsets_are_applied,
    the_loopback_of_a_new_network_namespace_is_up,
    a_joined_network_namespace_is_not_changed,
    the_process_is_pid_1_of_its_namespace,
    without_a_pid_namespace_the_pid_is_the_hosts,
];

const KINDS: [(&str, &str); 8] = [
    ("pid", "pid"),
    ("network", "net"),
    ("ipc", "ipc"),
    ("uts", "uts"),
    ("mount", "mnt"),
    ("user", "user"),
    ("cgroup", "cgroup"),
    ("time", "time"),
];

fn own(name: &str) -> String {
    fs::read_link(format!("/proc/self/ns/{name}"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

fn of(pid: i32, name: &str) -> String {
    fs::read_link(format!("/proc/{pid}/ns/{name}"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

/// A bundle with every namespace except those in `without`.
fn every_namespace(without: &[&str]) -> Bundle {
    let mut b = Bundle::new();
    b.namespace("cgroup", None).namespace("time", None);
    if !without.contains(&"user") {
        b.user_namespace();
    }
    for kind in without {
        b.without_namespace(kind);
    }
    b
}

/// Starts the container in the foreground. Returns the handle and the pid of its init.
#[track_caller]
fn up(b: &mut Bundle) -> (Running, i32) {
    let running = b.waits().up();
    (running, b.pid())
}

fn listed_namespaces_are_new_and_others_are_the_callers() {
    for without in [
        &[][..],
        &["network", "ipc"],
        &["uts", "pid", "user"],
        &["cgroup", "time"],
    ] {
        let mut b = every_namespace(without);
        let (_running, pid) = up(&mut b);
        for (kind, file) in KINDS {
            assert_eq!(
                of(pid, file) == own(file),
                without.contains(&kind),
                "{kind} without {without:?}"
            );
        }
    }
}

fn each_namespace_can_be_joined_by_its_path() {
    let mut first = every_namespace(&["user"]);
    let (_running, pid) = up(&mut first);
    for (kind, file) in KINDS
        .into_iter()
        .filter(|k| !["user", "mount"].contains(&k.0))
    {
        let mut second = every_namespace(&["user"]);
        second.namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
        let (_running, other) = up(&mut second);
        for (_, each) in KINDS.into_iter().filter(|k| k.1 != "user") {
            assert_eq!(
                of(pid, each) == of(other, each),
                each == file,
                "{each} when joining {kind}"
            );
        }
    }
}

fn a_joined_mount_namespace_holds_the_root_and_gets_no_mounts() {
    let mut b = Bundle::new();
    let holder = Cmd::new(&b.dir, "unshare")
        .args(["--mount", "sh", "-c", "echo up; exec sleep 1000"])
        .spawn();
    wait_for("the namespace exists", || holder.out() == "up\n");
    let (namespace, table) = (
        format!("/proc/{}/ns/mnt", holder.pid()),
        format!("/proc/{}/mountinfo", holder.pid()),
    );
    let before = fs::read_to_string(&table).unwrap();
    fs::write(b.rootfs().join("mark"), "of the container\n").unwrap();
    b.namespace("mount", Some(&namespace))
        .sh("cat /mark; echo up; exec sleep 1000");
    let running = b.launch("run", &[]).spawn();
    wait_for("the process runs", || {
        running.out() == "of the container\nup\n"
    });
    assert_eq!(of(b.pid(), "mnt"), of(holder.pid(), "mnt"));
    b.call(&["exec", &b.id, "cat", "/mark"])
        .ok()
        .prints("of the container\n");
    assert_eq!(fs::read_to_string(&table).unwrap(), before);
}

fn without_a_mount_namespace_nothing_is_mounted_on_the_host() {
    let mut b = Bundle::new();
    fs::write(b.rootfs().join("mark"), "of the container\n").unwrap();
    b.without_namespace("mount")
        .set("/root/readonly", json!(true))
        .sh("cat /mark; ls /proc; echo up; exec sleep 1000");
    let running = b.launch("run", &[]).spawn();
    wait_for("the process runs", || {
        running.out() == "of the container\nup\n"
    });
    // The warnings are logged once the program runs, possibly after its first output.
    wait_for("both warnings are logged", || {
        running.err().lines().count() == 2
    });
    assert_eq!(
        running.err().replace("runtime: warning: ", ""),
        "mounts has no effect without a new mount namespace\nroot.readonly has no effect without a new mount namespace\n"
    );
    assert_eq!(of(b.pid(), "mnt"), own("mnt"));
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&b.id), "{table}");
}

fn an_empty_namespace_path_means_a_new_one() {
    let mut b = Bundle::new();
    b.namespace("uts", Some("")).namespace("network", Some(""));
    let (_running, pid) = up(&mut b);
    assert!(of(pid, "uts") != own("uts") && of(pid, "net") != own("net"));
}

fn a_namespace_path_of_another_type_is_refused() {
    let mut b = Bundle::new();
    b.namespace("ipc", Some("/proc/self/ns/uts"))
        .run()
        .fails(&["/proc/self/ns/uts", "ipc"]);
    b.namespace("ipc", Some("/etc/passwd"))
        .run()
        .fails(&["/etc/passwd"]);
    b.left_nothing();
}

fn a_missing_namespace_path_is_refused() {
    let mut b = Bundle::new();
    let path = b.text("nothing");
    b.namespace("network", Some(&path))
        .run()
        .fails(&[&path, "no such file or directory"]);
    b.left_nothing();
}

fn user_and_pid_namespace_can_be_joined_together() {
    let mut first = every_namespace(&[]);
    let (_running, pid) = up(&mut first);
    let mut second = every_namespace(&[]);
    second
        .namespace("user", Some(&format!("/proc/{pid}/ns/user")))
        .namespace("pid", Some(&format!("/proc/{pid}/ns/pid")));
    second
        .remove("/linux/uidMappings")
        .remove("/linux/gidMappings");
    let (_running, other) = up(&mut second);
    for (_, file) in KINDS {
        assert_eq!(
            of(pid, file) == of(other, file),
            ["user", "pid"].contains(&file),
            "{file}"
        );
    }
}

/// The numbers of a uid_map, line by line.
fn map(text: &str) -> Vec<Vec<u32>> {
    text.lines()
        .map(|l| l.split_whitespace().map(|n| n.parse().unwrap()).collect())
        .collect()
}

fn the_user_namespace_has_exactly_the_given_mappings() {
    let mut b = Bundle::new();
    b.user_namespace()
        .set("/linux/gidMappings/0/hostID", json!(200_000));
    b.give_root_to(100_000).sh(
        "cat /proc/self/uid_map; cat /proc/self/gid_map; cat /proc/self/setgroups; id -u; id -g",
    );
    let run = b.run_ok();
    let lines = run.lines();
    assert_eq!(map(lines[0]), [[0, 100_000, 65536]], "{run}");
    assert_eq!(map(lines[1]), [[0, 200_000, 65536]], "{run}");
    assert_eq!(lines[2..], ["allow", "0", "0"]);
}

fn several_mappings_are_written_at_once() {
    let mut b = Bundle::new();
    b.user_namespace();
    let list: Vec<_> = (0..300)
        .map(|n| json!({"containerID": n * 2, "hostID": 100_000 + n, "size": 1}))
        .collect();
    b.set("/linux/uidMappings", json!(list))
        .args(&["cat", "/proc/self/uid_map"]);
    let run = b.run_ok();
    let expected: Vec<Vec<u32>> = (0..300).map(|n| vec![n * 2, 100_000 + n, 1]).collect();
    // The kernel sorts a long map for its search, so the order is not compared.
    let mut got = map(&run.out);
    got.sort();
    assert_eq!(got, expected);
}

fn root_of_a_user_namespace_owns_the_files_it_creates() {
    use std::os::unix::fs::MetadataExt;
    let mut b = Bundle::new();
    b.user_namespace()
        .sh("echo x > /tmp/made; mkdir /tmp/dir")
        .run_ok();
    let made = fs::metadata(b.rootfs().join("tmp/made")).unwrap();
    assert_eq!((made.uid(), made.gid()), (100_000, 100_000));
}

fn a_user_namespace_keeps_the_capabilities_of_the_specification() {
    let mut b = Bundle::new();
    b.user_namespace()
        .capabilities(&["CAP_KILL", "CAP_SYS_ADMIN"])
        .args(&["cat", "/proc/self/status"]);
    let run = b.run_ok();
    let expected = format!("{:016x}", 1u64 << 5 | 1 << 21);
    assert_eq!(
        [
            run.field("CapPrm:"),
            run.field("CapEff:"),
            run.field("CapBnd:")
        ],
        [expected.as_str(); 3]
    );
    assert_eq!(run.field("CapInh:"), "0000000000000000");
}

fn time_offsets_are_applied() {
    let mut b = Bundle::new();
    b.namespace("time", None).set(
        "/linux/timeOffsets",
        json!({"monotonic": {"secs": 172_800, "nanosecs": 5}, "boottime": {"secs": 604_800}}),
    );
    b.sh("cat /proc/self/timens_offsets; helper clock boot");
    let before = uptime();
    let run = b.run_ok();
    let lines: Vec<Vec<&str>> = run
        .out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0], ["monotonic", "172800", "5"], "{run}");
    assert_eq!(lines[1], ["boottime", "604800", "0"], "{run}");
    let seen: u64 = lines[2][0].parse().unwrap();
    assert!(
        (before + 604_800..=uptime() + 604_800).contains(&seen),
        "{run}"
    );
}

fn uptime() -> u64 {
    let text = fs::read_to_string("/proc/uptime").unwrap();
    text.split('.').next().unwrap().parse().unwrap()
}

fn the_loopback_of_a_new_network_namespace_is_up() {
    let mut b = Bundle::new();
    let run = b.sh("ip addr show lo; ping -c1 -w2 127.0.0.1 >/dev/null 2>&1; ls /sys/class/net; nc -z 127.0.0.1 1; cat /sys/class/net/lo/flags").run_ok();
    assert!(
        run.out.contains("LOOPBACK,UP") && run.out.contains("127.0.0.1/8"),
        "{run}"
    );
    assert_eq!(run.lines().last(), Some(&"0x9"), "{run}");
}

fn a_joined_network_namespace_is_not_changed() {
    let b = Bundle::new();
    // A network namespace whose loopback interface is down.
    let holder = Cmd::new(&b.dir, "unshare")
        .args(["--net", "sh", "-c", "echo up; exec sleep 1000"])
        .spawn();
    wait_for("the namespace exists", || holder.out() == "up\n");
    let mut b = Bundle::new();
    b.namespace("network", Some(&format!("/proc/{}/ns/net", holder.pid())))
        .args(&["cat", "/sys/class/net/lo/flags"]);
    b.run_ok().prints("0x8\n");
}

fn the_process_is_pid_1_of_its_namespace() {
    let mut b = Bundle::new();
    b.sh("echo $$").run_ok().prints("1\n");
}

fn without_a_pid_namespace_the_pid_is_the_hosts() {
    let mut b = Bundle::new();
    b.without_namespace("pid")
        .sh("echo $$ > /tmp/pid; echo up; exec sleep 1000");
    let _running = b.up();
    assert_eq!(
        fs::read_to_string(b.rootfs().join("tmp/pid"))
            .unwrap()
            .trim(),
        b.pid().to_string()
    );
}
