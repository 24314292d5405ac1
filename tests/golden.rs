//! Plans as golden files: `run --dry-run` prints one step per line, and each change of a plan shows in a diff.
//! `UPDATE_GOLDEN=1` writes them anew.

use runtime_tests::{Bundle, host, json};

runtime_tests::tests![
    the_plan_of_a_small_bundle_is_the_golden_one,
    the_plan_of_the_default_bundle_is_the_golden_one,
    the_plan_of_a_rich_bundle_is_the_golden_one,
    the_plan_of_a_user_namespace_is_the_golden_one,
    the_plan_of_an_ordinary_user_is_the_golden_one,
    the_plan_of_joined_namespaces_is_the_golden_one,
    a_dry_run_changes_nothing,
    a_dry_run_reports_the_same_errors,
];

#[track_caller]
fn plan_is_golden(b: &Bundle, name: &str) {
    // What depends on the cgroup mode of the machine would differ between them.
    if host::hierarchies().len() < 2 {
        runtime_tests::skip!("the golden plans are those of a hybrid cgroup host");
    }
    let output = b.launch("run", &["--dry-run"]).ok();
    assert_eq!(output.err, "", "{output}");
    let path = format!("{}/golden/plan-{name}.txt", env!("CARGO_MANIFEST_DIR"));
    // Without the numbers a new step is one line of the diff; /dev/core is there only where the kernel has a kcore.
    let step = |line: &str| {
        format!(
            "{}\n",
            line.trim_start()
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .trim_start()
        )
    };
    let steps = output
        .out
        .lines()
        .filter(|l| !l.contains(" /dev/core "))
        .map(step);
    runtime_tests::golden::compare(&path, &b.without_own_names(&steps.collect::<String>()));
}

fn the_plan_of_a_small_bundle_is_the_golden_one() {
    plan_is_golden(&Bundle::new(), "small");
}

fn the_plan_of_the_default_bundle_is_the_golden_one() {
    let mut b = Bundle::new();
    b.call(&["spec", "--bundle"]).arg(b.path()).ok();
    let text = std::fs::read_to_string(b.path().join("config.json")).unwrap();
    b.config = serde_json::from_str(&text).unwrap();
    plan_is_golden(&b, "default");
}

fn the_plan_of_a_rich_bundle_is_the_golden_one() {
    let mut b = Bundle::new();
    b.set("/hostname", json!("box"))
        .set("/domainname", json!("example.org"))
        .set("/root/readonly", json!(true));
    b.set(
        "/process/user",
        json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 18}),
    );
    b.set(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]),
    );
    b.set("/process/oomScoreAdj", json!(100))
        .set("/process/cwd", json!("/work"));
    b.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    b.set(
        "/linux/devices",
        json!([{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229, "fileMode": 438}]),
    );
    b.set(
        "/linux/maskedPaths",
        json!(["/proc/kcore", "/sys/firmware"]),
    );
    b.set("/linux/readonlyPaths", json!(["/proc/sys"]))
        .set("/linux/rootfsPropagation", json!("rslave"));
    b.set("/linux/resources", json!({"memory": {"limit": 67_108_864}, "cpu": {"shares": 512, "quota": 1000, "period": 2000}, "pids": {"limit": 9}}));
    b.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}]}),
    );
    b.mount(
        "/data",
        "bind",
        "/usr",
        &["rbind", "rro", "nosuid", "rprivate"],
    );
    b.mount(
        "/cache",
        "tmpfs",
        "tmpfs",
        &["size=1m", "noexec", "noatime"],
    );
    for kind in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        b.hook(kind, "true");
    }
    plan_is_golden(&b, "rich");
}

fn the_plan_of_a_user_namespace_is_the_golden_one() {
    let mut b = Bundle::new();
    b.user_namespace();
    plan_is_golden(&b, "user-namespace");
}

fn the_plan_of_an_ordinary_user_is_the_golden_one() {
    let mut b = Bundle::new();
    b.subordinate()
        .bind(std::path::Path::new("/usr"), "/usr", &["ro"])
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
    plan_is_golden(&b, "ordinary-user");
}

fn the_plan_of_joined_namespaces_is_the_golden_one() {
    let mut b = Bundle::new();
    b.namespace("network", Some("/proc/self/ns/net"))
        .namespace("uts", Some("/proc/self/ns/uts"));
    plan_is_golden(&b, "joined");
}

fn a_dry_run_changes_nothing() {
    let mut b = Bundle::new();
    b.mount("/made", "tmpfs", "tmpfs", &[])
        .sh("echo ran")
        .launch("run", &["--dry-run"])
        .ok();
    assert!(!b.rootfs().join("made").exists());
    b.left_nothing();
    assert!(!b.state_dir().exists() || b.state_dir().read_dir().unwrap().next().is_none());
}

fn a_dry_run_reports_the_same_errors() {
    let mut b = Bundle::new();
    b.set("/process/cwd", json!("relative"));
    let (dry, real) = (b.launch("run", &["--dry-run"]).output(), b.run());
    dry.fails(&["process.cwd"]);
    assert_eq!(dry.err, real.err);
}
