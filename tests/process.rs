//! The attributes of the process: arguments, environment, directory, identity, capabilities, limits, descriptors and
//! names.
//! Each is read from inside the container, mostly from /proc/self.

use runtime_tests::{Bundle, Cmd, host, json, wait_for};
use std::fs;
use std::os::unix::fs::MetadataExt;

runtime_tests::tests![
    arguments_arrive_byte_for_byte,
    the_first_argument_is_looked_up_in_the_path_of_the_specification,
    a_relative_executable_is_looked_up_from_the_working_directory,
    the_environment_is_exactly_the_given_one,
    the_working_directory_is_entered,
    a_missing_working_directory_is_created,
    the_working_directory_is_entered_as_the_user_who_may_see_it,
    user_and_groups_are_set,
    supplementary_groups_of_the_caller_are_dropped,
    supplementary_groups_of_the_caller_are_kept_if_the_annotation_says_so,
    the_umask_is_set,
    the_umask_is_0022_by_default,
    the_five_capability_sets_are_exactly_the_given_ones,
    no_capabilities_object_means_no_capabilities,
    another_user_keeps_ambient_capabilities_only,
    an_unknown_capability_is_a_warning,
    resource_limits_are_set,
    hard_limits_are_raised_in_a_user_namespace_too,
    a_limit_of_five_open_files_does_not_break_the_start,
    a_tiny_address_space_limit_does_not_break_the_start,
    no_new_privileges_is_set_or_not_as_given,
    the_oom_score_adjustment_is_set,
    the_oom_score_adjustment_is_inherited_when_absent,
    hostname_and_domainname_are_set,
    signals_blocked_by_the_runtime_are_not_blocked_in_the_process,
    blocked_and_ignored_signals_of_the_caller_do_not_reach_the_process,
    descriptors_are_exactly_the_standard_three,
    preserved_descriptors_are_passed_and_no_more,
    listen_fds_are_passed_with_their_environment,
    each_container_has_a_session_keyring_of_its_own,
    no_new_keyring_keeps_the_keyring_of_the_caller,
    the_process_leads_a_session_of_its_own,
    a_notify_socket_of_the_caller_is_not_in_the_environment,
    the_memory_policy_is_set,
    an_invalid_memory_policy_is_an_error,
];

fn arguments_arrive_byte_for_byte() {
    let mut b = Bundle::new();
    b.args(&[
        "helper",
        "args",
        "",
        " two  words ",
        "--flag=x",
        "-",
        "ünïcode",
        "new\nline",
        "'\"$x\\",
    ]);
    b.run_ok()
        .prints("[helper][args][][ two  words ][--flag=x][-][ünïcode][new\nline]['\"$x\\]\n");
}

fn the_first_argument_is_looked_up_in_the_path_of_the_specification() {
    let mut b = Bundle::new();
    let dir = b.rootfs().join("own");
    fs::create_dir(&dir).unwrap();
    host::copy(host::helper(), dir.join("mine"));
    b.set("/process/env", json!(["PATH=/nowhere:/own:/bin"]))
        .args(&["mine", "args"]);
    b.run_ok().prints("[mine][args]\n");
}

fn a_relative_executable_is_looked_up_from_the_working_directory() {
    let mut b = Bundle::new();
    b.set("/process/cwd", json!("/bin"))
        .args(&["./helper", "args"])
        .run_ok()
        .prints("[./helper][args]\n");
}

fn the_environment_is_exactly_the_given_one() {
    let mut b = Bundle::new();
    b.args(&["/bin/helper", "env"]);
    let given = ["PATH=/bin", "HOME=/x", "EMPTY=", "A=1=2", "ünï=ö"];
    b.set("/process/env", json!(given));
    let run = b
        .launch("run", &[])
        .env("LEAK", "of the caller")
        .env("LC_ALL", "C")
        .ok();
    assert_eq!(run.lines(), given, "{run}");
}

fn the_working_directory_is_entered() {
    let mut b = Bundle::new();
    b.set("/process/cwd", json!("/tmp"))
        .args(&["pwd"])
        .run_ok()
        .prints("/tmp\n");
}

fn a_missing_working_directory_is_created() {
    let mut b = Bundle::new();
    b.set("/process/cwd", json!("/made/for/this"))
        .args(&["pwd"])
        .run_ok()
        .prints("/made/for/this\n");
    assert_eq!(
        fs::metadata(b.rootfs().join("made/for/this"))
            .unwrap()
            .mode()
            & 0o7777,
        0o755
    );
}

fn the_working_directory_is_entered_as_the_user_who_may_see_it() {
    let mut b = Bundle::new();
    let private = b.rootfs().join("private");
    fs::create_dir(&private).unwrap();
    std::os::unix::fs::chown(&private, Some(1000), Some(1000)).unwrap();
    fs::set_permissions(
        &private,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    b.set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/cwd", json!("/private"));
    b.capabilities(&[])
        .args(&["pwd"])
        .run_ok()
        .prints("/private\n");
}

/// The contents of /proc/self/status of the process.
#[track_caller]
fn status(b: &mut Bundle) -> runtime_tests::Output {
    b.args(&["cat", "/proc/self/status"]).run_ok()
}

fn user_and_groups_are_set() {
    let mut b = Bundle::new();
    b.set(
        "/process/user",
        json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 7, 4000000]}),
    );
    let status = status(&mut b);
    assert_eq!(status.field("Uid:"), "1000\t1000\t1000\t1000");
    assert_eq!(status.field("Gid:"), "1001\t1001\t1001\t1001");
    assert_eq!(status.field("Groups:"), "5 7 4000000");
}

fn supplementary_groups_of_the_caller_are_dropped() {
    let mut b = Bundle::new();
    b.args(&["cat", "/proc/self/status"]);
    let run = b
        .launch("run", &[])
        .through(["setpriv", "--groups", "4,27,999"])
        .ok();
    assert_eq!(run.field("Groups:"), "");
}

fn supplementary_groups_of_the_caller_are_kept_if_the_annotation_says_so() {
    for (value, groups) in [("1", "0 4 27 999\n"), ("0", "0 5\n")] {
        let mut b = Bundle::new();
        b.set(
            "/annotations",
            json!({"run.oci.keep_original_groups": value}),
        );
        b.set("/process/user/additionalGids", json!([5]));
        b.sh("id -G").write();
        b.launch("run", &[])
            .through(["setpriv", "--groups", "4,27,999"])
            .output()
            .prints(groups);
    }
}

fn the_umask_is_set() {
    let mut b = Bundle::new();
    b.set("/process/user/umask", json!(0o027))
        .sh("umask")
        .run_ok()
        .prints("0027\n");
}

fn the_umask_is_0022_by_default() {
    let mut b = Bundle::new();
    b.sh("umask");
    let run = b
        .launch("run", &[])
        .through(["sh", "-c", "umask 0077; exec \"$@\"", "sh"])
        .ok();
    run.prints("0022\n");
}

const KILL: u64 = 1 << 5;
const CHOWN: u64 = 1;
const SETUID: u64 = 1 << 7;
const BIND: u64 = 1 << 10;

#[track_caller]
fn capability_sets(status: &runtime_tests::Output) -> [u64; 5] {
    ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"]
        .map(|k| u64::from_str_radix(status.field(k), 16).unwrap())
}

fn the_five_capability_sets_are_exactly_the_given_ones() {
    let mut b = Bundle::new();
    b.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_NET_BIND_SERVICE"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "effective": ["CAP_KILL", "CAP_CHOWN"],
            "inheritable": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
            "ambient": ["CAP_KILL"]
        }),
    );
    // As a user other than root, whose sets execve does not extend, so only the ambient ones remain.
    b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let permitted = CHOWN | KILL | BIND;
    let bounding = permitted | SETUID;
    assert_eq!(
        capability_sets(&status(&mut b)),
        [KILL | BIND, KILL, KILL, bounding, KILL]
    );
    // As root: execve would make the set inheritable | bounding, but no_new_privs keeps it from growing.
    b.set("/process/user", json!({"uid": 0, "gid": 0}))
        .set("/process/capabilities/ambient", json!([]));
    assert_eq!(
        capability_sets(&status(&mut b)),
        [KILL | BIND, permitted, permitted, bounding, 0]
    );
    // With ambient capabilities of the caller that the permitted and inheritable sets would preserve.
    let run = b
        .args(&["cat", "/proc/self/status"])
        .launch("run", &[])
        .through(["setpriv", "--inh-caps", "+kill", "--ambient-caps", "+kill"])
        .ok();
    assert_eq!(
        capability_sets(&run),
        [KILL | BIND, permitted, permitted, bounding, 0]
    );
}

fn no_capabilities_object_means_no_capabilities() {
    let mut b = Bundle::new();
    b.remove("/process/capabilities");
    assert_eq!(capability_sets(&status(&mut b)), [0; 5]);
    b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    assert_eq!(capability_sets(&status(&mut b)), [0; 5]);
}

fn another_user_keeps_ambient_capabilities_only() {
    let mut b = Bundle::new();
    b.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let all = KILL | BIND | 1 << 29;
    assert_eq!(capability_sets(&status(&mut b)), [0, 0, 0, all, 0]);
}

fn an_unknown_capability_is_a_warning() {
    let mut b = Bundle::new();
    b.set(
        "/process/capabilities/bounding",
        json!(["CAP_KILL", "CAP_OF_TOMORROW"]),
    );
    let status = status(&mut b);
    status.says(&["CAP_OF_TOMORROW"]);
    assert_eq!(capability_sets(&status)[3], KILL);
}

fn resource_limits_are_set() {
    let mut b = Bundle::new();
    let limits = [
        ("CORE", 0, 0),
        ("NOFILE", 100, 200),
        ("NPROC", 300, 400),
        ("FSIZE", 5 << 20, 6 << 20),
        ("CPU", 50, 60),
    ];
    let list: Vec<_> = limits
        .iter()
        .map(|l| json!({"type": format!("RLIMIT_{}", l.0), "soft": l.1, "hard": l.2}))
        .collect();
    b.set("/process/rlimits", json!(list))
        .args(&["helper", "rlimits"]);
    let run = b.run_ok();
    for (number, soft, hard) in [
        (4, 0, 0),
        (7, 100, 200),
        (6, 300, 400),
        (1, 5 << 20, 6 << 20),
        (0, 50, 60),
    ] {
        assert!(
            run.lines()
                .contains(&format!("{number} {soft} {hard}").as_str()),
            "{number}\n{run}"
        );
    }
}

fn hard_limits_are_raised_in_a_user_namespace_too() {
    let few = [
        host::program("prlimit").to_str().unwrap(),
        "--nofile=100:100",
    ]
    .map(String::from);
    let own = Bundle::new();
    let raise = Cmd::new(&own.dir, &few[0]).args(["--nofile=100:200", "true"]);
    if raise.through(&few).output().status != 0 {
        runtime_tests::skip!("no CAP_SYS_RESOURCE on this machine");
    }
    for user_namespace in [false, true] {
        let mut b = Bundle::new();
        if user_namespace {
            b.user_namespace();
        }
        let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 150, "hard": 200}]);
        b.set("/process/rlimits", limit)
            .sh("helper rlimits; echo up; exec sleep 1000");
        let running = b.launch("run", &[]).through(&few).spawn();
        wait_for("the process is up", || {
            running.out().contains("up") || !running.err().is_empty()
        });
        assert!(running.out().contains("7 150 200\n"), "{}", running.err());
        let exec = b.call(&["exec", &b.id, "helper", "rlimits"]).through(&few);
        assert!(exec.ok().lines().contains(&"7 150 200"));
    }
}

fn a_limit_of_five_open_files_does_not_break_the_start() {
    let mut b = Bundle::new();
    b.set(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5}]),
    );
    assert!(
        b.args(&["helper", "rlimits"])
            .run_ok()
            .lines()
            .contains(&"7 5 5")
    );
}

fn a_tiny_address_space_limit_does_not_break_the_start() {
    let mut b = Bundle::new();
    b.set(
        "/process/rlimits",
        json!([{"type": "RLIMIT_AS", "soft": 4 << 20, "hard": 4 << 20}]),
    );
    assert!(
        b.args(&["helper", "rlimits"])
            .run_ok()
            .lines()
            .contains(&"9 4194304 4194304")
    );
}

fn no_new_privileges_is_set_or_not_as_given() {
    let mut b = Bundle::new();
    assert_eq!(status(&mut b).field("NoNewPrivs:"), "1");
    b.set("/process/noNewPrivileges", json!(false));
    assert_eq!(status(&mut b).field("NoNewPrivs:"), "0");
    b.remove("/process/noNewPrivileges");
    assert_eq!(status(&mut b).field("NoNewPrivs:"), "0");
}

fn the_oom_score_adjustment_is_set() {
    let mut b = Bundle::new();
    b.set("/process/oomScoreAdj", json!(567))
        .args(&["cat", "/proc/self/oom_score_adj"])
        .run_ok()
        .prints("567\n");
}

fn the_oom_score_adjustment_is_inherited_when_absent() {
    let mut b = Bundle::new();
    b.args(&["cat", "/proc/self/oom_score_adj"]);
    let raised = b.launch("run", &[]).through([
        "sh",
        "-c",
        "echo 321 > /proc/self/oom_score_adj; exec \"$@\"",
        "sh",
    ]);
    raised.ok().prints("321\n");
}

fn hostname_and_domainname_are_set() {
    let mut b = Bundle::new();
    b.set("/hostname", json!("box.example"))
        .set("/domainname", json!("example.org"))
        .args(&["helper", "uname"]);
    b.run_ok().prints("box.example example.org\n");
}

/// The blocked and ignored signals. Signals 32 and 33, which libc reserves, are ignored in processes it has spawned.
#[track_caller]
fn blocked_and_ignored(status: &runtime_tests::Output) -> [u64; 2] {
    let field = |key| u64::from_str_radix(status.field(key), 16).unwrap();
    [field("SigBlk:"), field("SigIgn:") & 0x7fff_ffff]
}

fn signals_blocked_by_the_runtime_are_not_blocked_in_the_process() {
    let mut b = Bundle::new();
    assert_eq!(blocked_and_ignored(&status(&mut b)), [0, 0]);
}

fn blocked_and_ignored_signals_of_the_caller_do_not_reach_the_process() {
    let mut b = Bundle::new();
    b.args(&["cat", "/proc/self/status"]);
    let blocked = [host::helper().to_str().unwrap(), "blocked"];
    let run = b.launch("run", &[]).through(blocked).ok();
    assert_eq!(blocked_and_ignored(&run), [0, 0]);
}

#[track_caller]
fn descriptors(run: &runtime_tests::Output) -> Vec<u32> {
    run.lines()
        .iter()
        .map(|l| l.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

/// Makes the caller of the runtime hold `count` descriptors of a host directory, from 3 on.
fn leaking(count: &str, call: Cmd) -> Cmd {
    call.through([host::helper().to_str().unwrap(), "leak", count, "/"])
}

fn descriptors_are_exactly_the_standard_three() {
    let mut b = Bundle::new();
    b.args(&["helper", "fds"]);
    let run = leaking("20", b.launch("run", &[])).ok();
    assert_eq!(descriptors(&run), [0, 1, 2], "{run}");
    // Also through create and start, either of which could leak a descriptor.
    b.sh("helper fds > /tmp/fds; echo done > /tmp/done");
    leaking("20", b.launch("create", &[])).ok();
    leaking("20", b.call(&["start", &b.id])).ok();
    wait_for("the process is done", || {
        b.rootfs().join("tmp/done").exists()
    });
    let text = fs::read_to_string(b.rootfs().join("tmp/fds")).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
}

fn preserved_descriptors_are_passed_and_no_more() {
    let mut b = Bundle::new();
    b.args(&["helper", "fds"]);
    for flag in [&["--preserve-fds", "2"][..], &["--preserve-fds=2"]] {
        let run = leaking("5", b.launch("run", flag)).ok();
        assert_eq!(descriptors(&run), [0, 1, 2, 3, 4], "{run}");
        assert_eq!(run.field("3 "), "/");
    }
}

fn listen_fds_are_passed_with_their_environment() {
    let mut b = Bundle::new();
    b.sh("helper fds; echo LISTEN_FDS=$LISTEN_FDS LISTEN_PID=$LISTEN_PID pid=$$");
    let run = leaking("5", b.launch("run", &["--preserve-fds", "1"]))
        .env("LISTEN_FDS", "2")
        .through(["sh", "-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
        .ok();
    // The two of socket activation, then one more.
    assert!(
        run.out.contains("\n5 /\n") && !run.out.contains("\n6 "),
        "{run}"
    );
    assert!(
        run.out.contains("LISTEN_FDS=2 LISTEN_PID=1 pid=1\n"),
        "{run}"
    );
}

fn each_container_has_a_session_keyring_of_its_own() {
    let (mut b, mut other) = (Bundle::new(), Bundle::new());
    let first = b.args(&["helper", "keyring"]).run_ok().out;
    let second = other.args(&["helper", "keyring"]).run_ok().out;
    let host = Cmd::new(&b.dir, host::helper()).arg("keyring").ok().out;
    assert_ne!(first, second);
    assert!(first != host && second != host, "{first}{second}{host}");
    assert!(
        !first.contains("_uid"),
        "the user's keyring instead of a session's: {first}"
    );
}

fn no_new_keyring_keeps_the_keyring_of_the_caller() {
    let mut b = Bundle::new();
    b.args(&["helper", "keyring"]);
    let host = Cmd::new(&b.dir, host::helper()).arg("keyring").ok().out;
    b.launch("run", &["--no-new-keyring"]).ok().prints(&host);
}

fn the_process_leads_a_session_of_its_own() {
    let mut b = Bundle::new();
    // Fields 4 to 6 of stat: parent, process group, session.
    b.sh("cut -d' ' -f4-6 /proc/$$/stat")
        .run_ok()
        .prints("0 1 1\n");
}

fn a_notify_socket_of_the_caller_is_not_in_the_environment() {
    let mut b = Bundle::new();
    b.args(&["helper", "env"]);
    let run = b
        .launch("run", &[])
        .env("XDG_RUNTIME_DIR", "/run/user/0")
        .env("DBUS_SESSION_BUS_ADDRESS", "x")
        .ok();
    run.prints("PATH=/bin\nHOME=/root\n");
}

fn the_memory_policy_is_set() {
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        runtime_tests::skip!("this kernel has no NUMA");
    }
    let show = "cut -d' ' -f2 /proc/self/numa_maps | sort -u";
    for (mode, nodes, flags, shown) in [
        ("MPOL_BIND", "0", json!([]), "bind:0"),
        (
            "MPOL_PREFERRED",
            "0",
            json!(["MPOL_F_STATIC_NODES"]),
            "prefer=static:0",
        ),
        (
            "MPOL_INTERLEAVE",
            " 0-0 ,",
            json!(["MPOL_F_RELATIVE_NODES"]),
            "interleave=relative:0",
        ),
        ("MPOL_LOCAL", "", json!([]), "local"),
        ("MPOL_DEFAULT", "", json!([]), "default"),
    ] {
        let mut b = Bundle::new();
        let policy = json!({"mode": mode, "nodes": nodes, "flags": flags});
        b.set("/linux/memoryPolicy", policy).sh(show);
        b.run_ok().prints(&format!("{shown}\n"));
        b.waits();
        let _running = b.up();
        b.call(&["exec", &b.id, "sh", "-c", show])
            .output()
            .prints(&format!("{shown}\n"));
    }
}

fn an_invalid_memory_policy_is_an_error() {
    for (policy, words) in [
        (
            json!({"mode": "MPOL_BINDS"}),
            ["linux.memoryPolicy.mode", "MPOL_BINDS"],
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "x"}),
            ["linux.memoryPolicy.nodes", "0-3,7"],
        ),
        (
            json!({"mode": "MPOL_BIND", "nodes": "0", "flags": ["F"]}),
            ["linux.memoryPolicy.flags[0]", "\"F\""],
        ),
        (json!({"nodes": "0"}), ["linux.memoryPolicy", "mode"]),
        // The kernel's error: there is no such node, and MPOL_BIND needs one.
        (
            json!({"mode": "MPOL_BIND", "nodes": "900"}),
            ["linux.memoryPolicy", "invalid argument"],
        ),
        (
            json!({"mode": "MPOL_BIND"}),
            ["linux.memoryPolicy", "invalid argument"],
        ),
    ] {
        let mut b = Bundle::new();
        b.set("/linux/memoryPolicy", policy);
        b.create().fails(&words);
        b.left_nothing();
    }
}
