//! Who the process becomes, how it is scheduled, and what confines it: the step of each value, and the error of each wrong one.

use super::*;
use syscalls::step::{LastStep, Step};

/// The first step that begins with a word, of the small spec with a value changed.
#[track_caller]
fn step(pointer: &str, value: Value, word: &str) -> String {
    let all = steps(&with(pointer, value), &facts(Cgroups::V2));
    let found = all.iter().find(|step| step.starts_with(word));
    found.unwrap_or_else(|| panic!("{word}: {all:#?}")).clone()
}

/// The name of a test, a value at a pointer, and the step it becomes; the step begins with the same word as the one looked for.
macro_rules! step_is {
    ($($name:ident($pointer:literal, $($value:tt)+) $word:literal $rest:literal;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(step($pointer, json!($($value)+), $word), concat!($word, $rest));
        }
    )*};
}

step_is! {
    rlimit_as("/process/rlimits", [{ "type": "RLIMIT_AS", "soft": 1, "hard": 2 }]) "set process.rlimits" " As 1:2";
    rlimit_core("/process/rlimits", [{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 }]) "set process.rlimits" " Core 0:0";
    rlimit_cpu("/process/rlimits", [{ "type": "RLIMIT_CPU", "soft": 1, "hard": 2 }]) "set process.rlimits" " Cpu 1:2";
    rlimit_data("/process/rlimits", [{ "type": "RLIMIT_DATA", "soft": 1, "hard": 2 }]) "set process.rlimits" " Data 1:2";
    rlimit_fsize("/process/rlimits", [{ "type": "RLIMIT_FSIZE", "soft": 1, "hard": 2 }]) "set process.rlimits" " Fsize 1:2";
    rlimit_locks("/process/rlimits", [{ "type": "RLIMIT_LOCKS", "soft": 1, "hard": 2 }]) "set process.rlimits" " Locks 1:2";
    rlimit_memlock("/process/rlimits", [{ "type": "RLIMIT_MEMLOCK", "soft": 1, "hard": 2 }]) "set process.rlimits" " Memlock 1:2";
    rlimit_msgqueue("/process/rlimits", [{ "type": "RLIMIT_MSGQUEUE", "soft": 1, "hard": 2 }]) "set process.rlimits" " Msgqueue 1:2";
    rlimit_nice("/process/rlimits", [{ "type": "RLIMIT_NICE", "soft": 1, "hard": 2 }]) "set process.rlimits" " Nice 1:2";
    rlimit_nofile("/process/rlimits", [{ "type": "RLIMIT_NOFILE", "soft": 1, "hard": 2 }]) "set process.rlimits" " Nofile 1:2";
    rlimit_nproc("/process/rlimits", [{ "type": "RLIMIT_NPROC", "soft": 1, "hard": 2 }]) "set process.rlimits" " Nproc 1:2";
    rlimit_rss("/process/rlimits", [{ "type": "RLIMIT_RSS", "soft": 1, "hard": 2 }]) "set process.rlimits" " Rss 1:2";
    rlimit_rtprio("/process/rlimits", [{ "type": "RLIMIT_RTPRIO", "soft": 1, "hard": 2 }]) "set process.rlimits" " Rtprio 1:2";
    rlimit_rttime("/process/rlimits", [{ "type": "RLIMIT_RTTIME", "soft": 1, "hard": 2 }]) "set process.rlimits" " Rttime 1:2";
    rlimit_sigpending("/process/rlimits", [{ "type": "RLIMIT_SIGPENDING", "soft": 1, "hard": 2 }]) "set process.rlimits" " Sigpending 1:2";
    rlimit_stack("/process/rlimits", [{ "type": "RLIMIT_STACK", "soft": 1, "hard": 2 }]) "set process.rlimits" " Stack 1:2";

    umask_0("/process/user/umask", 0) "set the umask" " 000";
    umask_most("/process/user/umask", 511) "set the umask" " 777";
    umask_unset("/process/user/umask", null) "set the umask" " 022";

    personality_linux("/linux/personality", { "domain": "LINUX" }) "set the personality" " 0x0";
    personality_linux32("/linux/personality", { "domain": "LINUX32" }) "set the personality" " 0x8";
    io_priority_idle("/process/ioPriority", { "class": "IOPRIO_CLASS_IDLE" }) "set process.ioPriority" " idle 0";
    io_priority_realtime("/process/ioPriority", { "class": "IOPRIO_CLASS_RT", "priority": 7 }) "set process.ioPriority" " realtime 7";
    io_priority_best_effort("/process/ioPriority", { "class": "IOPRIO_CLASS_BE", "priority": 0 }) "set process.ioPriority" " best-effort 0";
}

/// The wrong ones that depend on nothing else.
macro_rules! refused {
    ($($name:ident($pointer:literal, $($value:tt)+) $text:literal;)*) => {$(
        #[test]
        fn $name() {
            assert_eq!(error($pointer, json!($($value)+)), concat!("config.json: ", $text));
        }
    )*};
}

refused! {
    rlimit_without_its_prefix("/process/rlimits", [{ "type": "NOFILE", "soft": 1, "hard": 1 }]) r#"process.rlimits[0].type: expected RLIMIT_AS, RLIMIT_CORE, RLIMIT_CPU, RLIMIT_DATA, RLIMIT_FSIZE, RLIMIT_LOCKS, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_NOFILE, RLIMIT_NPROC, RLIMIT_RSS, RLIMIT_RTPRIO, RLIMIT_RTTIME, RLIMIT_SIGPENDING or RLIMIT_STACK, found "NOFILE""#;
    rlimit_soft_is_infinite("/process/rlimits", [{ "type": "RLIMIT_CPU", "soft": 18446744073709551615u64, "hard": 1 }]) "process.rlimits[0].soft: 18446744073709551615 is above the hard limit 1";
    effective_beyond_permitted("/process/capabilities", { "effective": ["CAP_KILL"] }) "process.capabilities.effective: CAP_KILL is not in permitted";
    scheduler_flag("/process/scheduler", { "policy": "SCHED_FIFO", "flags": ["SCHED_FLAG_RECLAIM", "X"] }) r#"process.scheduler.flags[1]: expected SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_RECLAIM, SCHED_FLAG_DL_OVERRUN, SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS, SCHED_FLAG_UTIL_CLAMP_MIN or SCHED_FLAG_UTIL_CLAMP_MAX, found "X""#;
    io_priority_class("/process/ioPriority", { "class": "best" }) r#"process.ioPriority.class: expected IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE, found "best""#;
    io_priority_below_0("/process/ioPriority", { "class": "IOPRIO_CLASS_BE", "priority": -1 }) "process.ioPriority.priority: expected a number from 0 to 7, found -1";
    personality_flag("/linux/personality", { "domain": "LINUX", "flags": ["X"] }) r#"linux.personality.flags[0]: no flag is supported, found "X""#;
    memory_mode("/linux/memoryPolicy", { "mode": "BIND" }) r#"linux.memoryPolicy.mode: expected MPOL_DEFAULT, MPOL_PREFERRED, MPOL_BIND, MPOL_INTERLEAVE, MPOL_LOCAL, MPOL_PREFERRED_MANY or MPOL_WEIGHTED_INTERLEAVE, found "BIND""#;
    memory_flag("/linux/memoryPolicy", { "mode": "MPOL_BIND", "flags": ["MPOL_F_STATIC_NODES", "X"] }) r#"linux.memoryPolicy.flags[1]: expected MPOL_F_NUMA_BALANCING, MPOL_F_RELATIVE_NODES or MPOL_F_STATIC_NODES, found "X""#;
    console_height("/process", { "cwd": "/", "args": ["a"], "terminal": true, "consoleSize": { "height": 65536, "width": 1 } }) "process.consoleSize.height: expected at most 65535, found 65536";
    console_width("/process", { "cwd": "/", "args": ["a"], "terminal": true, "consoleSize": { "height": 1, "width": 65536 } }) "process.consoleSize.width: expected at most 65535, found 65536";
    affinity_of_too_many("/process/execCPUAffinity", { "final": "1024" }) r#"process.execCPUAffinity.final: expected a list of CPUs below 1024 such as "0-3,7", found "1024""#;

    sysctl_of_the_host("/linux/sysctl", { "vm.swappiness": "1" }) "linux.sysctl.vm.swappiness: this kernel parameter is not of a namespace, so it would be the host's";
    sysctl_of_the_kernel("/linux/sysctl", { "kernel.shm_next_id": "1" }) "linux.sysctl.kernel.shm_next_id: this kernel parameter is not of a namespace, so it would be the host's";
    sysctl_hostname("/linux/sysctl", { "kernel.hostname": "x" }) "linux.sysctl.kernel.hostname: set hostname instead";
    sysctl_that_leads_out("/linux/sysctl", { "net/../kernel": "x" }) "linux.sysctl.net/../kernel: not the name of a kernel parameter";
    sysctl_empty("/linux/sysctl", { "": "x" }) "linux.sysctl.: not the name of a kernel parameter";
    sysctl_without_network("/linux/sysctl", { "net.ipv4.ip_forward": "1" }) r#"linux.sysctl.net.ipv4.ip_forward: needs a namespace of type "network" in linux.namespaces"#;
    sysctl_without_ipc("/linux/sysctl", { "kernel.shmmax": "1" }) r#"linux.sysctl.kernel.shmmax: needs a namespace of type "ipc" in linux.namespaces"#;
    sysctl_without_queues("/linux/sysctl", { "fs.mqueue.msg_max": "1" }) r#"linux.sysctl.fs.mqueue.msg_max: needs a namespace of type "ipc" in linux.namespaces"#;
    sysctl_without_uts("/linux/sysctl", { "kernel.domainname": "x" }) r#"linux.sysctl.kernel.domainname: needs a namespace of type "uts" in linux.namespaces"#;
    sysctl_without_user("/linux/sysctl", { "user.max_user_namespaces": "1" }) r#"linux.sysctl.user.max_user_namespaces: needs a namespace of type "user" in linux.namespaces"#;

    device_minor_missing("/linux/devices", [{ "type": "b", "path": "/dev/x", "major": 1 }]) "linux.devices[0].minor: required field is missing";
    device_major_below_0("/linux/devices", [{ "type": "u", "path": "/dev/x", "major": -1, "minor": 1 }]) "linux.devices[0].major: expected a device number, found -1";
    device_minor_of_33_bits("/linux/devices", [{ "type": "c", "path": "/dev/x", "major": 1, "minor": 4294967296u64 }]) "linux.devices[0].minor: expected a device number, found 4294967296";

    seccomp_default_unknown("/linux/seccomp", { "defaultAction": "ALLOW" }) r#"linux.seccomp.defaultAction: expected SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG, SCMP_ACT_NOTIFY, SCMP_ACT_TRACE or SCMP_ACT_TRAP, found "ALLOW""#;
    seccomp_action_unknown("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "X" }] }) r#"linux.seccomp.syscalls[0].action: expected SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG, SCMP_ACT_NOTIFY, SCMP_ACT_TRACE or SCMP_ACT_TRAP, found "X""#;
    seccomp_operator_unknown("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 0, "value": 0, "op": "=" }] }] }) r#"linux.seccomp.syscalls[0].args[0].op: expected SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_LE, SCMP_CMP_LT, SCMP_CMP_MASKED_EQ or SCMP_CMP_NE, found "=""#;
    seccomp_errno_beside_allow("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1 }) r#"linux.seccomp.defaultAction: only SCMP_ACT_ERRNO and SCMP_ACT_TRACE take an errno, found "SCMP_ACT_ALLOW""#;
    seccomp_notify_without_a_listener("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_NOTIFY" }] }) "linux.seccomp.listenerPath: required for SCMP_ACT_NOTIFY";
    seccomp_notify_by_default("/linux/seccomp", { "defaultAction": "SCMP_ACT_NOTIFY" }) "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default action";
    seccomp_empty_name("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read", ""], "action": "SCMP_ACT_ERRNO" }] }) "linux.seccomp.syscalls[0].names[1]: expected the name of a system call, found \"\"";
}

/// The capabilities of the process as words.
#[track_caller]
fn capabilities(sets: Value) -> String {
    let all = step("/process/capabilities", sets, "become user 0");
    all.split_once("capabilities ").unwrap().1.to_owned()
}

#[test]
fn each_capability_is_known_with_and_without_its_prefix_in_any_case() {
    for (n, name) in identity::CAPABILITIES.iter().enumerate() {
        for spelling in [
            format!("CAP_{name}"),
            (*name).to_owned(),
            format!("cap_{}", name.to_lowercase()),
        ] {
            let spec = with("/process/capabilities", json!({ "bounding": [spelling] }));
            let plan = planned(&spec, &facts(Cgroups::V2)).unwrap();
            let bits = plan.last_steps.iter().find_map(|step| match step {
                LastStep::Become(identity) => Some(identity.capabilities.bounding),
                _ => None,
            });
            assert_eq!((bits, plan.warnings.len()), (Some(1 << n), 0), "{spelling}");
        }
    }
}

#[test]
fn capabilities_above_the_kernels_last_one_are_unknown() {
    let spec = with(
        "/process/capabilities",
        json!({ "bounding": ["CAP_BPF", "CAP_KILL"] }),
    );
    let facts = Facts {
        last_capability: 38,
        ..facts(Cgroups::V2)
    };
    assert_eq!(
        planned(&spec, &facts).unwrap().warnings,
        ["unknown capabilities are left out: CAP_BPF"]
    );
}

#[test]
fn the_same_unknown_capability_is_named_once() {
    let spec = with(
        "/process/capabilities",
        json!({ "bounding": ["CAP_FLY", "cap_fly"], "permitted": ["CAP_FLY", "CAP_SWIM"] }),
    );
    assert_eq!(
        planned(&spec, &facts(Cgroups::V2)).unwrap().warnings,
        ["unknown capabilities are left out: CAP_FLY, CAP_SWIM"]
    );
}

#[test]
fn ambient_capabilities_are_those_that_are_permitted_and_inheritable() {
    assert_eq!(
        capabilities(
            json!({ "permitted": ["CAP_KILL", "CAP_CHOWN"], "inheritable": ["CAP_KILL", "CAP_FOWNER"], "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_FOWNER"] })
        ),
        "none (bounding, effective); CAP_CHOWN CAP_KILL (permitted); CAP_FOWNER CAP_KILL (inheritable); CAP_KILL (ambient)"
    );
}

/// The value that the program starts with.
fn environment(env: Value) -> Vec<String> {
    let plan = planned(&with("/process/env", env), &facts(Cgroups::V2)).unwrap();
    let execute = plan.last_steps.iter().find_map(|step| match step {
        LastStep::Execute(execute) => Some(execute.envp),
        _ => None,
    });
    let texts = execute.unwrap().iter().filter_map(|arg| arg.text());
    texts
        .map(|text| text.to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_last_of_several_equal_variables_counts() {
    assert_eq!(
        environment(json!(["HOME=/", "A=1", "AB=2", "A=3", "A=", "B=="])),
        ["HOME=/", "AB=2", "A=", "B=="]
    );
}

#[test]
fn a_weight_of_nice_is_kept_with_its_flags() {
    let value = json!({ "policy": "SCHED_DEADLINE", "nice": -5, "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"], "runtime": 1, "deadline": 2, "period": 3 });
    assert_eq!(
        step("/process/scheduler", value, "set process.scheduler"),
        "set process.scheduler SchedAttr { size: 0, policy: 6, flags: 5, nice: -5, priority: 3, runtime: 1, deadline: 2, period: 3 }"
    );
}

/// The slashes and dots of a sysctl.
#[test]
fn dots_and_slashes_of_a_sysctl_stand_for_each_other() {
    for (name, written) in [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        (
            "net.ipv4.conf.eth0/1.forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        ),
        (
            "net/ipv4/conf/eth0.1/forwarding",
            "net/ipv4/conf/eth0.1/forwarding",
        ),
    ] {
        let mut spec = with("/linux/sysctl", json!({ name: "1" }));
        spec["linux"]["namespaces"] = json!([{ "type": "mount" }, { "type": "network" }]);
        let plan = planned(&spec, &facts(Cgroups::V2)).unwrap();
        let path = plan.steps.iter().find_map(|step| match step {
            Step::Write { path, .. } => path.to_str().ok(),
            _ => None,
        });
        assert_eq!(path, Some(&*format!("sys/{written}")), "{name}");
    }
}

#[test]
fn at_most_340_mappings_are_taken() {
    let spec = |lines: u32| {
        let map: Vec<Value> = (0..lines)
            .map(|n| json!({ "containerID": n, "hostID": n, "size": 1 }))
            .collect();
        let mut spec = user_namespace(small());
        (spec["linux"]["uidMappings"], spec["linux"]["gidMappings"]) = (json!(map), json!(map));
        spec
    };
    assert!(planned(&spec(340), &facts(Cgroups::V2)).is_ok());
    assert_eq!(
        error_of(&spec(341), &facts(Cgroups::V2)),
        "config.json: linux.uidMappings: expected at most 340 mappings, found 341"
    );
}

#[test]
fn a_device_in_a_user_namespace_is_bound_and_a_fifo_made() {
    let mut spec = user_namespace(small());
    spec["linux"]["devices"] = json!([{ "type": "p", "path": "/dev/pipe" }, { "type": "c", "path": "/dev/fuse", "major": 10, "minor": 229 }]);
    let all = steps(&spec, &facts(Cgroups::V2));
    let made: Vec<_> = all
        .iter()
        .filter(|step| step.contains("/dev/pipe") || step.contains("/dev/fuse"))
        .collect();
    assert_eq!(
        made,
        [
            "make the device /dev/pipe 10666 0:0 of 0:0",
            "bind /dev/fuse on /dev/fuse",
            "make the device /dev/fuse 20666 10:229 of 0:0"
        ]
    );
}

/// What took minutes or gigabytes: a megabyte of each.
#[test]
fn a_large_environment_is_read_in_no_time() {
    let env: Vec<String> = (0..100_000).map(|n| format!("A{n}={n}")).collect();
    // HOME is added.
    assert_eq!(environment(json!(env)).len(), 100_001);
}

#[test]
fn a_path_of_too_many_directories_is_an_error() {
    let process = |dirs: usize| json!({ "cwd": "/", "args": ["a"], "env": [format!("PATH={}", ":".repeat(dirs))] });
    assert!(planned(&with("/process", process(1000)), &facts(Cgroups::V2)).is_ok());
    assert_eq!(
        error("/process", process(500_000)),
        "config.json: process.env: PATH names too many directories"
    );
}

#[test]
fn too_many_groups_are_refused_before_each_is_looked_at() {
    assert_eq!(
        error(
            "/process/user/additionalGids",
            json!(vec![u32::MAX; 65_537])
        ),
        "config.json: process.user.additionalGids: expected at most 65536, found 65537"
    );
}

/// The flags of the filter of a profile, and the warnings.
fn filter(profile: Value, annotations: Value) -> Result<(u32, Vec<String>)> {
    let mut spec = with("/linux/seccomp", profile);
    spec["annotations"] = annotations;
    let plan = planned(&spec, &facts(Cgroups::V2))?;
    let flags = plan.last_steps.iter().find_map(|step| match step {
        LastStep::Seccomp(filter) => Some(filter.flags),
        _ => None,
    });
    Ok((flags.unwrap(), plan.warnings))
}

#[test]
fn no_list_of_seccomp_flags_means_spec_allow_and_an_empty_one_none() {
    let flags = |flags: Value| {
        let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "flags": flags });
        filter(profile, json!({})).unwrap().0
    };
    assert_eq!(flags(Value::Null), 4);
    assert_eq!(flags(json!([])), 0);
    assert_eq!(flags(json!(["SECCOMP_FILTER_FLAG_LOG"])), 2);
}

#[test]
fn a_seccomp_flag_for_listeners_is_left_out_without_one() {
    let filter = |action: &str| {
        let profile = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [{ "names": ["mkdir"], "action": action }],
        });
        filter(profile, json!({})).unwrap()
    };
    // WAIT_KILLABLE_RECV and NEW_LISTENER.
    assert_eq!(filter("SCMP_ACT_NOTIFY"), (0x28, Vec::new()));
    let warning = "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is left out: no rule has SCMP_ACT_NOTIFY";
    assert_eq!(filter("SCMP_ACT_LOG"), (0, Vec::from([warning.into()])));
}

#[test]
fn unknown_system_calls_are_an_error_if_an_annotation_says_so() {
    let filter = |annotations: Value| {
        let rule = json!({ "names": ["mkdir", "nope", "nor"], "action": "SCMP_ACT_LOG" });
        filter(
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }),
            annotations,
        )
    };
    for annotations in [
        json!({}),
        json!({ "run.oci.seccomp_fail_unknown_syscall": "0" }),
    ] {
        assert_eq!(
            filter(annotations).unwrap().1,
            ["linux.seccomp: unknown system calls are left out: nope, nor"]
        );
    }
    let error = filter(json!({ "run.oci.seccomp_fail_unknown_syscall": "1" }));
    assert_eq!(
        error.unwrap_err().to_string(),
        "config.json: linux.seccomp: unknown system calls: nope, nor"
    );
}

#[test]
fn limits_of_kernel_memory_are_left_out_with_a_warning() {
    for (field, value, warns) in [
        ("kernel", 1 << 30, true),
        ("kernelTCP", -1, true),
        ("kernel", 0, false),
    ] {
        let spec = with("/linux/resources", json!({ "memory": { field: value } }));
        for cgroups in [v1(), hybrid(), Cgroups::V2] {
            let plan = planned(&spec, &facts(cgroups)).unwrap();
            let warning = format!(
                "linux.resources.memory.{field}: left out: the kernel has no such limit any more"
            );
            let warnings = Vec::from([warning]);
            assert_eq!(plan.warnings, if warns { warnings } else { Vec::new() });
            assert_eq!(plan.cgroup.unwrap().limits.values, []);
        }
    }
}

#[test]
fn capabilities_that_we_do_not_have_are_left_out_with_a_warning() {
    let names = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"]);
    let sets = json!({ "bounding": names, "permitted": names, "effective": names, "inheritable": names, "ambient": names });
    let sets = with("/process/capabilities", sets);
    let facts = Facts {
        permitted: 1,
        bounding: 0x21,
        ..facts(Cgroups::V2)
    };
    let planned = |spec: &Value| {
        let plan = planned(spec, &facts).unwrap();
        let sets = plan.last_steps.iter().find_map(|step| match step {
            LastStep::Become(identity) => Some(identity.capabilities),
            _ => None,
        });
        let sets = sets.unwrap();
        let sets = [
            sets.bounding,
            sets.permitted,
            sets.effective,
            sets.inheritable,
            sets.ambient,
        ];
        (sets, plan.warnings)
    };
    let warning =
        "capabilities that this process does not have are left out: CAP_KILL, CAP_SYS_ADMIN";
    assert_eq!(
        planned(&sets),
        ([0x21, 1, 1, 1, 1], Vec::from([warning.into()]))
    );
    // A user namespace gives all of them.
    assert_eq!(
        planned(&user_namespace(sets)),
        ([1 << 21 | 0x21; 5], Vec::new())
    );
}

#[test]
fn a_run_without_a_process_is_refused() {
    let config = with("/process", Value::Null).to_string();
    let spec = Spec::read(config.as_bytes()).unwrap();
    let options = Options {
        wait: false,
        ..options()
    };
    let error = plan(&spec, &facts(Cgroups::V2), &options).err().unwrap();
    assert_eq!(
        error.to_string(),
        "config.json: process: required field is missing"
    );
}
