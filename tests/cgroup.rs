//! The container's cgroup: its path, its members, its limits and its removal, on v1, hybrid and v2.
//! The pure-v2 view is a mount namespace in which /sys/fs/cgroup is the unified hierarchy.

use runtime_tests::{Bundle, Output, host, json};
use std::fs;
use std::path::Path;

runtime_tests::tests![
    an_empty_cpuset_is_initialized,
    the_process_is_in_its_cgroup_in_every_hierarchy,
    the_process_is_in_its_cgroup_on_pure_v2,
    without_a_path_the_cgroup_has_the_name_of_the_container,
    a_nested_cgroups_path_is_made,
    the_cgroup_is_gone_after_delete,
    the_cgroup_is_gone_after_delete_on_pure_v2,
    a_cgroup_with_children_is_removed,
    the_process_is_never_outside_its_cgroup,
    no_process_is_moved_on_pure_v2,
    a_memory_limit_is_set_and_kills,
    cpu_quota_period_and_shares_are_set,
    a_pids_limit_is_set_and_holds,
    a_pids_limit_of_minus_one_is_no_limit,
    a_memory_limit_of_minus_one_is_no_limit,
    limits_hold_on_pure_v2,
    a_failed_limit_removes_the_cgroup_again,
    a_limit_out_of_range_is_an_error,
    a_new_cgroup_namespace_begins_at_the_containers_cgroup,
    a_cgroup_mount_shows_the_containers_cgroup_read_only,
    a_cgroup_mount_on_pure_v2_is_cgroup2,
    a_cgroup_mount_is_not_writable_without_a_cgroup_namespace,
    a_cgroup_mount_keeps_the_options_of_the_hosts_mount,
    a_cgroup_mount_without_a_cgroup_namespace_works_in_a_user_namespace,
    a_cgroups_path_with_dots_is_refused,
    an_existing_cgroup_with_other_processes_survives,
    a_resource_of_zero_is_not_an_unset_one,
];

/// The paths in /proc/self/cgroup by controller. The v2 line has the name `unified`.
fn membership(output: &Output) -> Vec<(String, String)> {
    let line = |l: &str| {
        let mut parts = l.splitn(3, ':').skip(1);
        let name = parts.next()?.trim_start_matches("name=").to_owned();
        Some((
            if name.is_empty() {
                "unified".to_owned()
            } else {
                name
            },
            parts.next()?.to_owned(),
        ))
    };
    output.out.lines().filter_map(line).collect()
}

#[track_caller]
fn is_everywhere(output: &Output, path: &str) {
    let membership = membership(output);
    assert!(!membership.is_empty(), "{output}");
    for (controller, got) in membership {
        assert_eq!(got, path, "{controller}\n{output}");
    }
}

fn the_process_is_in_its_cgroup_in_every_hierarchy() {
    let mut b = Bundle::new();
    let path = format!("/{}", b.id);
    is_everywhere(&b.args(&["cat", "/proc/self/cgroup"]).run_ok(), &path);
}

fn the_process_is_in_its_cgroup_on_pure_v2() {
    let mut b = Bundle::new();
    b.in_pure_v2().args(&["cat", "/proc/self/cgroup"]);
    let run = b.run_ok();
    let own = membership(&run)
        .into_iter()
        .find(|m| m.0 == "unified")
        .unwrap();
    assert_eq!(own.1, format!("/{}", b.id), "{run}");
    b.left_nothing();
}

fn without_a_path_the_cgroup_has_the_name_of_the_container() {
    let mut b = Bundle::new();
    b.remove("/linux/cgroupsPath");
    let run = b.args(&["cat", "/proc/self/cgroup"]).run_ok();
    for (controller, path) in membership(&run) {
        assert!(path.ends_with(&format!("/{}", b.id)), "{controller}\n{run}");
    }
    b.left_nothing();
}

fn a_nested_cgroups_path_is_made() {
    let mut b = Bundle::new();
    let path = format!("/{}/one/two", b.id);
    b.set("/linux/cgroupsPath", json!(path))
        .args(&["cat", "/proc/self/cgroup"]);
    is_everywhere(&b.run_ok(), &path);
    for cgroup in b.cgroups() {
        assert!(
            !cgroup.join("one/two").exists(),
            "{} is left",
            cgroup.display()
        );
    }
}

fn the_cgroup_is_gone_after_delete() {
    let b = Bundle::new();
    b.create().ok();
    // One directory in each hierarchy.
    assert_eq!(b.cgroups().len(), host::hierarchies().len());
    b.kill("KILL").ok();
    b.wait_for_status("stopped");
    b.delete(&[]).ok();
    b.left_nothing();
}

fn the_cgroup_is_gone_after_delete_on_pure_v2() {
    let mut b = Bundle::new();
    b.in_pure_v2().create().ok();
    assert_eq!(b.cgroups(), [host::controller("unified").join(&b.id)]);
    let init = b.pid().to_string();
    assert_eq!(
        fs::read_to_string(b.cgroups()[0].join("cgroup.procs"))
            .unwrap()
            .trim(),
        init
    );
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn a_cgroup_with_children_is_removed() {
    let mut b = Bundle::new();
    let _running = b.waits().up();
    for cgroup in b.cgroups() {
        fs::create_dir_all(cgroup.join("child/grandchild")).unwrap();
    }
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn the_process_is_never_outside_its_cgroup() {
    let mut b = Bundle::new();
    // A hook is the first program that runs in the container, and it is already inside the cgroup.
    let out = b.text("hook");
    b.hook("createContainer", &format!("cat /proc/self/cgroup > {out}"))
        .run_ok();
    let own = b
        .read("hook")
        .lines()
        .filter(|l| l.ends_with(&format!("/{}", b.id)))
        .count();
    assert!(
        own == b.read("hook").lines().count() || own == 0,
        "{}",
        b.read("hook")
    );
    b.create().ok();
    for cgroup in b.cgroups() {
        let procs = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap();
        assert_eq!(procs.trim(), b.pid().to_string(), "{}", cgroup.display());
    }
}

/// Every file that create, start, run and exec open for writing, and every clone3, in the output of strace.
fn opened_for_writing(b: &mut Bundle) -> String {
    let strace = host::program("strace");
    let traced = |b: &Bundle, command: runtime_tests::Cmd, name: &str| {
        let calls = "trace=open,openat,openat2,creat,clone3";
        let to = b.text(name);
        command.through([strace.to_str().unwrap(), "-f", "-o", &to, "-e", calls])
    };
    // strace exits together with the container.
    let create = traced(b, b.launch("create", &[]), "create").spawn();
    runtime_tests::wait_for("the container is created", || {
        let state = b.call(&["state", &b.id]).output();
        state.out.contains("\"status\": \"created\"")
    });
    traced(b, b.call(&["start", &b.id]), "start").ok();
    traced(b, b.call(&["exec", &b.id, "true"]), "exec").ok();
    b.delete(&["--force"]).ok();
    create.wait();
    b.args(&["true"]);
    traced(b, b.launch("run", &[]), "run").ok();
    let all = ["create", "start", "exec", "run"]
        .map(|name| b.read(name))
        .concat();
    let writes = |line: &&str| {
        let modes = ["O_WRONLY", "O_RDWR", "clone3("];
        modes.iter().any(|mode| line.contains(mode))
    };
    all.lines()
        .filter(writes)
        .map(|line| format!("{line}\n"))
        .collect()
}

fn no_process_is_moved_on_pure_v2() {
    for namespace in [false, true] {
        let mut b = Bundle::new();
        b.in_pure_v2().waits();
        if namespace {
            b.namespace("cgroup", None);
        }
        let trace = opened_for_writing(&mut b);
        let born = trace.matches("CLONE_INTO_CGROUP").count();
        // One clone3 each for create, run and exec.
        assert!(born >= 3, "{trace}");
        for file in ["cgroup.procs", "cgroup.threads", "\"tasks\""] {
            assert!(!trace.contains(file), "{file}\n{trace}");
        }
    }
    if !host::v2() {
        // v1 requires such writes, so this shows that the trace would contain them.
        let mut b = Bundle::new();
        let trace = opened_for_writing(b.waits());
        assert!(trace.contains("cgroup.procs"), "{trace}");
    }
}

/// A file in the container's cgroup in a v1 hierarchy.
#[track_caller]
fn value(b: &Bundle, controller: &str, file: &str) -> String {
    let path = host::controller(controller).join(&b.id).join(file);
    fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        .trim()
        .to_owned()
}

fn a_memory_limit_is_set_and_kills() {
    host::controller("memory");
    let mut b = Bundle::new();
    b.set(
        "/linux/resources/memory",
        json!({"limit": 32 << 20, "swap": 32 << 20}),
    )
    .create()
    .ok();
    assert_eq!(
        value(&b, "memory", "memory.limit_in_bytes"),
        (32 << 20).to_string()
    );
    b.delete(&["--force"]).ok();
    b.args(&["helper", "eat", "8"]).run_ok().prints("ate 8\n");
    b.args(&["helper", "eat", "128"]).run().ends(137).prints("");
    b.left_nothing();
}

fn cpu_quota_period_and_shares_are_set() {
    host::controller("cpu");
    let mut b = Bundle::new();
    b.set(
        "/linux/resources/cpu",
        json!({"shares": 512, "quota": 30_000, "period": 60_000}),
    )
    .create()
    .ok();
    assert_eq!(value(&b, "cpu", "cpu.shares"), "512");
    assert_eq!(value(&b, "cpu", "cpu.cfs_quota_us"), "30000");
    assert_eq!(value(&b, "cpu", "cpu.cfs_period_us"), "60000");
}

fn a_pids_limit_is_set_and_holds() {
    host::controller("pids");
    let mut b = Bundle::new();
    b.set("/linux/resources/pids", json!({"limit": 7}))
        .create()
        .ok();
    assert_eq!(value(&b, "pids", "pids.max"), "7");
    b.delete(&["--force"]).ok();
    b.args(&["helper", "fork"])
        .run()
        .ok()
        .prints("forked 6 EAGAIN\n");
    b.left_nothing();
}

fn a_pids_limit_of_minus_one_is_no_limit() {
    host::controller("pids");
    let mut b = Bundle::new();
    b.set("/linux/resources/pids", json!({"limit": -1}))
        .create()
        .ok();
    assert_eq!(value(&b, "pids", "pids.max"), "max");
}

fn a_memory_limit_of_minus_one_is_no_limit() {
    host::controller("memory");
    let mut b = Bundle::new();
    b.create().ok();
    let unset = value(&b, "memory", "memory.limit_in_bytes");
    b.delete(&["--force"]).ok();
    b.set("/linux/resources/memory", json!({"limit": -1}))
        .create()
        .ok();
    assert_eq!(value(&b, "memory", "memory.limit_in_bytes"), unset);
}

fn limits_hold_on_pure_v2() {
    let unified = host::controller("unified");
    let controllers = fs::read_to_string(unified.join("cgroup.controllers")).unwrap();
    let missing: Vec<_> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|c| !controllers.split_whitespace().any(|h| h == *c))
        .collect();
    if !missing.is_empty() {
        runtime_tests::skip!(
            "the unified hierarchy of this machine lacks the controllers {}",
            missing.join(", ")
        );
    }
    let mut b = Bundle::new();
    b.in_pure_v2();
    b.set("/linux/resources/memory", json!({"limit": 32 << 20}))
        .set("/linux/resources/pids", json!({"limit": 7}));
    b.set(
        "/linux/resources/cpu",
        json!({"quota": 30_000, "period": 60_000}),
    )
    .create()
    .ok();
    let value = |file: &str| fs::read_to_string(b.cgroups()[0].join(file)).unwrap();
    assert_eq!(value("memory.max"), format!("{}\n", 32 << 20));
    assert_eq!(value("cpu.max"), "30000 60000\n");
    assert_eq!(value("pids.max"), "7\n");
    b.delete(&["--force"]).ok();
    b.left_nothing();
}

fn a_failed_limit_removes_the_cgroup_again() {
    host::controller("cpu");
    let mut b = Bundle::new();
    // The kernel refuses periods below a millisecond.
    b.set(
        "/linux/resources/cpu",
        json!({"quota": 30_000, "period": 10}),
    );
    b.run().fails(&["cpu.cfs_period_us", "invalid argument"]);
    b.left_nothing();
    b.create().fails(&["cpu.cfs_period_us", "invalid argument"]);
    b.left_nothing();
}

fn a_limit_out_of_range_is_an_error() {
    for (pointer, name) in [
        ("/linux/resources/pids/limit", "pids.limit"),
        ("/linux/resources/memory/limit", "memory.limit"),
    ] {
        let mut b = Bundle::new();
        b.set(pointer, json!("many"))
            .run()
            .fails(&[&format!("linux.resources.{name}"), "many"]);
        b.left_nothing();
    }
}

fn a_new_cgroup_namespace_begins_at_the_containers_cgroup() {
    for pure_v2 in [false, true] {
        let mut b = Bundle::new();
        if pure_v2 {
            b.in_pure_v2();
        }
        let run = b
            .namespace("cgroup", None)
            .args(&["cat", "/proc/self/cgroup"])
            .run_ok();
        let joined = membership(&run)
            .into_iter()
            .filter(|m| !pure_v2 || m.0 == "unified");
        for (controller, path) in joined {
            assert_eq!(path, "/", "{controller}, pure v2: {pure_v2}\n{run}");
        }
    }
}

const CGROUP: &[&str] = &["nosuid", "noexec", "nodev", "relatime", "ro"];

fn a_cgroup_mount_shows_the_containers_cgroup_read_only() {
    host::controller("pids");
    for namespace in [false, true] {
        let mut b = Bundle::new();
        if namespace {
            b.namespace("cgroup", None);
        }
        b.mount("/sys/fs/cgroup", "cgroup", "cgroup", CGROUP);
        b.capabilities(&["CAP_DAC_OVERRIDE"]);
        b.sh("cd /sys/fs/cgroup; for c in pids cpu; do read p < $c/cgroup.procs; echo $p; done; mkdir pids/x 2>&1");
        let refused = "mkdir: can't create directory 'pids/x': Read-only file system\n";
        b.run().ends(1).prints(&format!("1\n1\n{refused}"));
    }
}

fn a_cgroup_mount_on_pure_v2_is_cgroup2() {
    let mut b = Bundle::new();
    b.in_pure_v2().namespace("cgroup", None);
    b.mount("/sys/fs/cgroup", "cgroup", "cgroup", CGROUP);
    b.sh("cd /sys/fs/cgroup; grep ' - cgroup2 ' /proc/self/mountinfo | cut -d' ' -f4,5; read p < cgroup.procs; echo $p; mkdir x 2>&1");
    let refused = "mkdir: can't create directory 'x': Read-only file system\n";
    b.run()
        .ends(1)
        .prints(&format!("/ /sys/fs/cgroup\n1\n{refused}"));
}

fn a_cgroup_mount_is_not_writable_without_a_cgroup_namespace() {
    for pure_v2 in [false, true] {
        let mut b = Bundle::new();
        if pure_v2 {
            b.in_pure_v2();
        }
        // The options do not contain "ro".
        let options = ["nosuid", "noexec", "nodev", "relatime"];
        b.mount("/sys/fs/cgroup", "cgroup", "cgroup", &options);
        b.capabilities(&["CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN"]);
        b.sh("find /sys/fs/cgroup -name cgroup.procs | while read p; do mkdir ${p%/*}/escape 2>&1 && echo made $p; done; true");
        let run = b.run_ok();
        // The view shows the whole v2 hierarchy, in which other tests' cgroups disappear meanwhile.
        let (gone, tried): (Vec<_>, Vec<_>) = run
            .lines()
            .into_iter()
            .partition(|l| l.ends_with("No such file or directory"));
        let refused = tried.iter().all(|l| l.ends_with("Read-only file system"));
        assert!(!tried.is_empty() && refused, "{gone:?}\n{run}");
    }
}

/// The source and options of the host's cgroup2 mount in mountinfo.
fn options_of_cgroup2() -> String {
    let info = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let line = info.lines().find(|l| l.contains(" - cgroup2 "));
    line.and_then(|l| l.split(" - ").nth(1))
        .unwrap_or_default()
        .to_owned()
}

fn a_cgroup_mount_keeps_the_options_of_the_hosts_mount() {
    host::controller("unified");
    let before = options_of_cgroup2();
    if !before.contains("nsdelegate") {
        runtime_tests::skip!("cgroup2 has no options on this machine that could be lost: {before}");
    }
    for namespace in [false, true] {
        let mut b = Bundle::new();
        b.in_pure_v2();
        if namespace {
            b.namespace("cgroup", None);
        }
        b.mount("/sys/fs/cgroup", "cgroup", "cgroup", CGROUP)
            .args(&["cat", "/sys/fs/cgroup/cgroup.procs"]);
        b.run_ok();
        assert_eq!(
            options_of_cgroup2(),
            before,
            "cgroup namespace: {namespace}"
        );
    }
}

fn a_cgroup_mount_without_a_cgroup_namespace_works_in_a_user_namespace() {
    let mut b = Bundle::new();
    b.in_pure_v2().user_namespace();
    b.mount("/sys/fs/cgroup", "cgroup", "cgroup", CGROUP);
    let own = format!("/sys/fs/cgroup/{}", b.id);
    b.sh(&format!("cat {own}/cgroup.procs; mkdir {own}/x 2>&1"));
    let refused = format!("mkdir: can't create directory '{own}/x': Read-only file system\n");
    b.run().ends(1).prints(&format!("1\n2\n{refused}"));
}

fn a_cgroups_path_with_dots_is_refused() {
    for path in ["/../escape", "/x/../../escape", "..", "../escape"] {
        let mut b = Bundle::new();
        let name = format!("{}-escape", b.id);
        let path = path.replace("escape", &name);
        b.set("/linux/cgroupsPath", json!(path));
        let run = b.run();
        run.fails(&["cgroupsPath"]);
        for hierarchy in host::hierarchies() {
            assert!(
                !hierarchy.join(&name).exists()
                    && !Path::new("/sys/fs/cgroup").join(&name).exists(),
                "{run}"
            );
        }
        b.left_nothing();
    }
}

fn an_existing_cgroup_with_other_processes_survives() {
    let b = Bundle::new();
    let cgroup = host::controller("pids").join(&b.id);
    fs::create_dir(&cgroup).unwrap();
    let other = runtime_tests::Cmd::new(&b.dir, "sleep").arg("1000").spawn();
    fs::write(cgroup.join("cgroup.procs"), other.pid().to_string()).unwrap();
    // runc refuses or shares such a cgroup. The other process must survive in any case.
    b.run();
    assert_eq!(
        fs::read_to_string(cgroup.join("cgroup.procs"))
            .unwrap()
            .trim(),
        other.pid().to_string()
    );
}

fn a_resource_of_zero_is_not_an_unset_one() {
    host::controller("cpu");
    let mut b = Bundle::new();
    // Engines use zero for "no limit given" with cpu and memory, so the kernel's default stays.
    b.set(
        "/linux/resources",
        json!({"cpu": {"shares": 0, "quota": 0, "period": 0}, "memory": {"limit": 0}}),
    );
    b.create().ok();
    assert_eq!(value(&b, "cpu", "cpu.shares"), "1024");
    assert_eq!(value(&b, "cpu", "cpu.cfs_quota_us"), "-1");
}

fn an_empty_cpuset_is_initialized() {
    let mut b = Bundle::new();
    let above = host::controller("cpuset").join(format!("{}-pod", b.id));
    fs::create_dir_all(above.join("pod")).unwrap();
    b.set(
        "/linux/cgroupsPath",
        json!(format!("/{0}-pod/pod/{0}", b.id)),
    );
    b.sh("echo up").run_ok().prints("up\n");
    // The directory of the container itself may already exist.
    fs::create_dir(above.join("pod").join(&b.id)).unwrap();
    b.run_ok().prints("up\n");
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let left = hierarchy.path().join(format!("{}-pod", b.id));
        if left.exists() {
            host::remove_cgroup(&left);
        }
    }
    b.left_nothing();
}
