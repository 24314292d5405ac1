//! Seccomp profiles as enforced by the kernel: Docker's default, actions, arguments, architectures, unusual call
//! numbers.
//! The compiler has tests of its own in bpf/; these cover what a process in the container observes.

use runtime_tests::{Bundle, Output, Value, host, json};

runtime_tests::tests![
    dockers_default_profile_runs_a_shell_and_refuses_forbidden_calls,
    the_filter_is_active_with_and_without_no_new_privileges_and_capabilities,
    an_errno_is_returned_as_given,
    the_default_errno_is_eperm,
    a_kill_action_kills,
    arguments_are_compared,
    rules_of_one_call_are_alternatives,
    unknown_call_names_are_skipped,
    an_unknown_action_is_refused,
    an_unknown_operator_is_refused,
    an_unknown_architecture_is_refused,
    a_32_bit_call_is_killed_unless_its_architecture_is_listed,
    an_x32_call_is_killed_unless_its_architecture_is_listed,
    numbers_above_the_largest_named_call_return_enosys,
    a_profile_that_forbids_all_but_the_needed_calls_still_starts,
    flags_are_accepted_and_unknown_ones_refused,
    an_empty_profile_allows_everything,
    a_rule_that_repeats_a_name_takes_no_more_memory,
    no_signal_is_blocked_where_a_profile_with_no_new_privileges_refuses_rt_sigprocmask,
];

pub const X86_64: &str = "SCMP_ARCH_X86_64";
const ENOSYS: u32 = 38;

fn docker() -> Value {
    serde_json::from_str(include_str!("data/docker-seccomp.json")).unwrap()
}

/// A profile that allows everything except as `rules` say.
pub fn allowing(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": [X86_64], "syscalls": rules})
}

#[track_caller]
fn with(profile: &Value, args: &[&str]) -> Output {
    let mut b = Bundle::new();
    b.set("/linux/seccomp", profile.clone()).args(args).run()
}

fn dockers_default_profile_runs_a_shell_and_refuses_forbidden_calls() {
    let mut b = Bundle::new();
    b.set("/linux/seccomp", docker()).capabilities(&[
        "CAP_SYS_ADMIN",
        "CAP_SYS_PTRACE",
        "CAP_SYS_MODULE",
    ]);
    // mount, keyctl, unshare of a user namespace, clone3 and the AF_VSOCK family (40) of socket.
    b.sh("echo a | tr a b; helper mount tmpfs /tmp; helper nr 250 0 -3 0; helper unshare 0x10000000; helper nr 435 0 0; helper nr 41 40 1 0; helper nr 41 1 1 0; grep Seccomp: /proc/self/status");
    b.run_ok()
        .prints("b\nmount: EPERM\nEPERM\nunshare: EPERM\nENOSYS\nEPERM\nok\nSeccomp:\t2\n");
}

fn the_filter_is_active_with_and_without_no_new_privileges_and_capabilities() {
    let capabilities = ["CAP_SYS_ADMIN", "CAP_KILL"];
    for no_new_privileges in [Value::Null, json!(false), json!(true)] {
        for names in [&[][..], &capabilities] {
            for (uid, in_user_namespace) in [(0, false), (1000, false), (0, true), (1000, true)] {
                let mut b = Bundle::new();
                if in_user_namespace {
                    b.user_namespace();
                }
                b.set("/linux/seccomp", docker())
                    .set("/process/user", json!({"uid": uid, "gid": uid}));
                b.capabilities(names)
                    .set("/process/noNewPrivileges", no_new_privileges.clone());
                let run = b.args(&["cat", "/proc/self/status"]).run_ok();
                let case = format!(
                    "noNewPrivileges {no_new_privileges}, capabilities {names:?}, uid {uid}, user namespace: {in_user_namespace}"
                );
                assert_eq!(run.field("Seccomp:"), "2", "{case}");
                let expected = if no_new_privileges == true { "1" } else { "0" };
                assert_eq!(run.field("NoNewPrivs:"), expected, "{case}");
            }
        }
    }
}

fn an_errno_is_returned_as_given() {
    let profile = allowing(json!([
        {"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS},
        {"names": ["getpgid"], "action": "SCMP_ACT_ERRNO", "errnoRet": 0}
    ]));
    with(&profile, &["helper", "nr", "110"])
        .ok()
        .prints("ENOSYS\n");
    with(&profile, &["helper", "nr", "121", "0"])
        .ok()
        .prints("ok\n");
    with(&profile, &["helper", "nr", "39"]).ok().prints("ok\n");
}

fn the_default_errno_is_eperm() {
    let profile = allowing(json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO"}]));
    with(&profile, &["helper", "nr", "110"])
        .ok()
        .prints("EPERM\n");
}

fn a_kill_action_kills() {
    for action in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_TRAP",
    ] {
        let profile = allowing(json!([{"names": ["getppid"], "action": action}]));
        with(&profile, &["helper", "nr", "110"])
            .ends(128 + 31)
            .prints("");
    }
}

fn arguments_are_compared() {
    // getpriority(which, who) with which = 0. The condition compares `who` as 64 bits.
    let cases = [
        ("SCMP_CMP_EQ", 5, 0, &[5][..]),
        (
            "SCMP_CMP_NE",
            5,
            0,
            &[0, 4, 6, 0x1_0000_0000, 0x1_0000_0005],
        ),
        ("SCMP_CMP_LT", 5, 0, &[0, 4]),
        ("SCMP_CMP_LE", 5, 0, &[0, 4, 5]),
        ("SCMP_CMP_GE", 5, 0, &[5, 6, 0x1_0000_0000, 0x1_0000_0005]),
        ("SCMP_CMP_GT", 5, 0, &[6, 0x1_0000_0000, 0x1_0000_0005]),
        ("SCMP_CMP_MASKED_EQ", 6, 4, &[4, 5, 0x1_0000_0005]),
    ];
    for (op, value, second, matching) in cases {
        let rule = json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS,
            "args": [{"index": 1, "value": value, "valueTwo": second, "op": op}]});
        let mut b = Bundle::new();
        let tries = [0u64, 4, 5, 6, 0x1_0000_0000, 0x1_0000_0005];
        let script: Vec<String> = tries
            .iter()
            .map(|t| format!("helper nr 140 0 {t}"))
            .collect();
        let run = b
            .set("/linux/seccomp", allowing(json!([rule])))
            .sh(&script.join("; "))
            .run_ok();
        for (number, line) in tries.iter().zip(run.lines()) {
            assert_eq!(
                line == "ENOSYS",
                matching.contains(number),
                "{op} {number:#x}\n{run}"
            );
        }
    }
}

fn rules_of_one_call_are_alternatives() {
    let rule = |value: u32| {
        json!({"names": ["getpriority"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS,
            "args": [{"index": 1, "value": value, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]})
    };
    let mut b = Bundle::new();
    b.set(
        "/linux/seccomp",
        allowing(json!([rule(7777777), rule(8888888)])),
    );
    b.sh("helper nr 140 0 7777777; helper nr 140 0 8888888; helper nr 140 0 9999999; helper nr 140 2 7777777");
    b.run_ok().prints("ENOSYS\nENOSYS\nESRCH\nESRCH\n");
}

fn unknown_call_names_are_skipped() {
    let names = json!([{"names": ["call_of_tomorrow", "getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}]);
    with(&allowing(names), &["helper", "nr", "110"])
        .ok()
        .prints("ENOSYS\n");
}

#[track_caller]
pub fn refused(profile: Value, words: &[&str]) {
    let mut b = Bundle::new();
    b.set("/linux/seccomp", profile).run().fails(words);
    b.left_nothing();
}

fn an_unknown_action_is_refused() {
    let profile = allowing(json!([{"names": ["getppid"], "action": "SCMP_ACT_NONSENSE"}]));
    refused(
        profile,
        &["linux.seccomp.syscalls[0].action", "SCMP_ACT_NONSENSE"],
    );
    refused(
        json!({"defaultAction": "nonsense"}),
        &["linux.seccomp.defaultAction", "nonsense"],
    );
}

fn an_unknown_operator_is_refused() {
    let args = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_NONSENSE"}]);
    let profile =
        allowing(json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "args": args}]));
    refused(
        profile,
        &["linux.seccomp.syscalls[0].args[0].op", "SCMP_CMP_NONSENSE"],
    );
}

fn an_unknown_architecture_is_refused() {
    let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"], "syscalls": []});
    refused(
        profile,
        &["linux.seccomp.architectures[0]", "SCMP_ARCH_PDP11"],
    );
}

/// A profile that allows everything, so that the architecture alone decides.
fn for_architectures(list: &[&str]) -> Value {
    let rule = json!([{"names": ["getppid"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS}]);
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": list, "syscalls": rule})
}

/// Skips the test if this kernel lacks the calls, as seen by a process without a filter.
fn needs(verb: &[&str]) {
    let mut b = Bundle::new();
    let run = b.args(verb).run();
    if run.out != "ok\n" {
        runtime_tests::skip!(
            "this kernel does not offer {}: {}",
            verb.join(" "),
            run.out.trim()
        );
    }
}

fn a_32_bit_call_is_killed_unless_its_architecture_is_listed() {
    needs(&["helper", "int80", "20"]);
    with(&for_architectures(&[X86_64]), &["helper", "int80", "20"])
        .ends(128 + 31)
        .prints("");
    with(
        &for_architectures(&[X86_64, "SCMP_ARCH_X86"]),
        &["helper", "int80", "20"],
    )
    .ok()
    .prints("ok\n");
    // On i386, call 64 is getppid and is refused; 110, which is getppid on x86_64, is iopl.
    with(
        &for_architectures(&[X86_64, "SCMP_ARCH_X86"]),
        &["helper", "int80", "64"],
    )
    .ok()
    .prints("ENOSYS\n");
}

fn an_x32_call_is_killed_unless_its_architecture_is_listed() {
    // The filter decides before the kernel looks for x32 calls, so the kernel need not have them.
    with(
        &for_architectures(&[X86_64]),
        &["helper", "nr", "0x4000006e"],
    )
    .ends(128 + 31)
    .prints("");
    let listed = for_architectures(&[X86_64, "SCMP_ARCH_X32"]);
    with(&listed, &["helper", "nr", "0x4000006e"])
        .ok()
        .prints("ENOSYS\n");
}

fn numbers_above_the_largest_named_call_return_enosys() {
    // A program that tries a call newer than the profile must get ENOSYS, not EPERM.
    let tries = "helper nr 600; helper nr 0x3fffffff; helper nr -1; helper nr 250 0 -3 0";
    let profile = |action: &str| {
        let mut profile = docker();
        profile["defaultAction"] = json!(action);
        profile["architectures"] = json!([X86_64]);
        let fields = profile.as_object_mut().unwrap();
        fields.retain(|name, _| !["archMap", "defaultErrnoRet"].contains(&name.as_str()));
        profile
    };
    let mut b = Bundle::new();
    let mut refusing = profile("SCMP_ACT_ERRNO");
    refusing["defaultErrnoRet"] = json!(99);
    b.set("/linux/seccomp", refusing).sh(tries);
    // keyctl is below the largest named call, so the default applies to it.
    b.run_ok().prints("ENOSYS\nENOSYS\nENOSYS\nEADDRNOTAVAIL\n");
    for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"] {
        for number in ["600", "0x3fffffff", "-1"] {
            let run = with(&profile(action), &["helper", "nr", number]);
            run.ok().prints("ENOSYS\n");
        }
        with(&profile(action), &["helper", "nr", "250"]).ends(128 + 31);
    }
    // If the default allows calls, the kernel itself returns ENOSYS.
    for action in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG"] {
        let rule = json!([{"names": ["getppid"], "action": "SCMP_ACT_KILL_PROCESS"}]);
        let profile = json!({"defaultAction": action, "architectures": [X86_64], "syscalls": rule});
        for number in ["600", "0x3fffffff", "-1"] {
            let run = with(&profile, &["helper", "nr", number]);
            run.ok().prints("ENOSYS\n");
        }
    }
}

/// The calls that a runtime may make between loading a filter that needs privileges and execve.
const TO_BECOME_THE_PROCESS: &str = "setresuid setresgid setgroups setuid setgid capset capget prctl close close_range
    read openat openat2 futex sched_yield fcntl getdents64 epoll_ctl nanosleep rt_sigaction rt_sigprocmask sigaltstack gettid
    getpid tgkill rt_sigreturn getppid fstatfs setsid fchdir chdir getcwd statfs munmap mmap madvise faccessat2 faccessat
    setrlimit umask sendto sendmsg recvfrom recvmsg poll ppoll dup3 dup2 epoll_pwait exit lseek";

fn a_profile_that_forbids_all_but_the_needed_calls_still_starts() {
    // The calls that the static helper itself needs from execve to exit, and none that we need after the load.
    let names = [
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlinkat",
        "getrandom",
        "mprotect",
        "newfstatat",
        "fstat",
        "write",
        "exit_group",
        "uname",
        "readlink",
        "ioctl",
    ];
    for no_new_privileges in [true, false] {
        let mut b = Bundle::new();
        b.set("/process/noNewPrivileges", json!(no_new_privileges));
        let mut allowed = json!([{"names": names, "action": "SCMP_ACT_ALLOW"}]);
        if !no_new_privileges {
            // Without no_new_privs the filter must be loaded before privileges are dropped, so the profile must allow
            // the remaining calls.
            let rest: Vec<&str> = TO_BECOME_THE_PROCESS.split_whitespace().collect();
            allowed
                .as_array_mut()
                .unwrap()
                .push(json!({"names": rest, "action": "SCMP_ACT_ALLOW"}));
        }
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": [X86_64], "syscalls": allowed});
        b.set("/linux/seccomp", profile)
            .args(&["/bin/helper", "args"])
            .run_ok()
            .prints("[/bin/helper][args]\n");
    }
}

fn flags_are_accepted_and_unknown_ones_refused() {
    let mut profile = for_architectures(&[X86_64]);
    profile["flags"] = json!([
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_TSYNC"
    ]);
    with(&profile, &["helper", "nr", "110"])
        .ok()
        .prints("ENOSYS\n");
    profile["flags"] = json!(["SECCOMP_FILTER_FLAG_NONSENSE"]);
    refused(
        profile,
        &["linux.seccomp.flags[0]", "SECCOMP_FILTER_FLAG_NONSENSE"],
    );
}

fn an_empty_profile_allows_everything() {
    with(
        &json!({"defaultAction": "SCMP_ACT_ALLOW"}),
        &["helper", "nr", "110"],
    )
    .ok()
    .prints("ok\n");
}

/// Every name with every condition would be 64 million checks.
fn a_rule_that_repeats_a_name_takes_no_more_memory() {
    let mut b = Bundle::new();
    let condition = |n: u32| json!({"index": 0, "value": 2 * n, "op": "SCMP_CMP_EQ"});
    let rule = json!({
        "names": vec!["read"; 8000],
        "args": (0..8000).map(condition).collect::<Vec<_>>(),
        "action": "SCMP_ACT_ALLOW",
    });
    b.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}),
    );
    b.launch("run", &["--dry-run"])
        .through([host::program("prlimit").to_str().unwrap(), "--as=67108864"])
        .output()
        .fails(&["linux.seccomp: the filter has 15782 instructions, the kernel takes 4096"]);
}

fn no_signal_is_blocked_where_a_profile_with_no_new_privileges_refuses_rt_sigprocmask() {
    let mut b = Bundle::new();
    let rule = json!([{"names": ["rt_sigprocmask"], "action": "SCMP_ACT_ERRNO"}]);
    b.set("/linux/seccomp", allowing(rule))
        .set("/process/noNewPrivileges", json!(true))
        .args(&["cat", "/proc/self/status"]);
    assert_eq!(b.run_ok().field("SigBlk:"), "0000000000000000");
}
