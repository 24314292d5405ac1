//! Configurations that are refused: one wrong value of a small spec each, with the error it gets, whichever way cgroups are
//! mounted.

use super::*;

#[track_caller]
fn refused(pointer: &str, value: Value, text: &str) {
    for cgroups in [v1(), hybrid(), Cgroups::V2] {
        let error = error_of(&with(pointer, value.clone()), &facts(cgroups));
        assert_eq!(error, format!("config.json: {text}"));
    }
}

/// The name of a test, the value at a pointer, the error.
macro_rules! refused {
    ($($name:ident($pointer:literal, $($value:tt)+) $text:literal;)*) => {$(
        #[test]
        fn $name() {
            refused($pointer, json!($($value)+), $text);
        }
    )*};
}

refused! {
    version_absent("/ociVersion", null) "ociVersion: required field is missing";
    version_of_another_type("/ociVersion", 1) "ociVersion: expected a string, found 1";
    version_2("/ociVersion", "2.0.0") r#"ociVersion: expected a version 1.x, found "2.0.0""#;
    version_0("/ociVersion", "0.9.0") r#"ociVersion: expected a version 1.x, found "0.9.0""#;

    root_absent("/root", null) "root: required field is missing";
    root_of_another_type("/root", "rootfs") r#"root: expected an object, found "rootfs""#;
    root_path_absent("/root/path", null) "root.path: required field is missing";
    root_path_of_another_type("/root/path", 7) "root.path: expected a string, found 7";
    root_path_with_a_zero_byte("/root/path", "a\0b") "root.path: a string with a zero byte";
    root_readonly_of_another_type("/root/readonly", "yes") r#"root.readonly: expected true or false, found "yes""#;

    process_of_another_type("/process", []) "process: expected an object, found a list";
    args_absent("/process/args", null) "process.args: expected at least one argument";
    args_empty("/process/args", []) "process.args: expected at least one argument";
    args_of_another_type("/process/args", "sh") r#"process.args: expected a list of strings, found "sh""#;
    args_with_a_number("/process/args", ["sh", 1]) "process.args[1]: expected a string, found 1";
    args_with_null("/process/args", ["sh", null]) "process.args[1]: expected a string, found null";
    args_with_a_zero_byte("/process/args", ["sh", "a\0b"]) "process.args[1]: a string with a zero byte";
    args_with_an_empty_program("/process/args", [""]) r#"process.args[0]: expected the name of a program, found """#;
    env_of_another_type("/process/env", {}) "process.env: expected a list of strings, found an object";
    env_with_a_zero_byte("/process/env", ["A=\0"]) "process.env[0]: a string with a zero byte";
    env_without_a_value("/process/env", ["A"]) r#"process.env[0]: expected NAME=VALUE, found "A""#;
    env_without_a_name("/process/env", ["=A"]) r#"process.env[0]: expected NAME=VALUE, found "=A""#;
    cwd_absent("/process/cwd", null) "process.cwd: required field is missing";
    cwd_relative("/process/cwd", "relative") r#"process.cwd: expected an absolute path, found "relative""#;
    cwd_empty("/process/cwd", "") r#"process.cwd: expected an absolute path, found """#;
    cwd_of_another_type("/process/cwd", true) "process.cwd: expected a string, found true";
    cwd_with_a_zero_byte("/process/cwd", "/\0") "process.cwd: a string with a zero byte";
    terminal_of_another_type("/process/terminal", "yes") r#"process.terminal: expected true or false, found "yes""#;
    no_new_privileges_of_another_type("/process/noNewPrivileges", 1) "process.noNewPrivileges: expected true or false, found 1";
    oom_score_above_1000("/process/oomScoreAdj", 1001) "process.oomScoreAdj: expected a number from -1000 to 1000, found 1001";
    oom_score_below_minus_1000("/process/oomScoreAdj", -1001) "process.oomScoreAdj: expected a number from -1000 to 1000, found -1001";

    uid_minus_1("/process/user/uid", -1) "process.user.uid: expected an integer from 0 to 4294967295, found -1";
    uid_that_leaves_it("/process/user/uid", 4294967295u32) "process.user.uid: 4294967295 is not an id";
    uid_of_33_bits("/process/user/uid", 4294967296u64) "process.user.uid: expected an integer from 0 to 4294967295, found 4294967296";
    uid_of_11_digits("/process/user/uid", 99999999999u64) "process.user.uid: expected an integer from 0 to 4294967295, found 99999999999";
    uid_as_a_string("/process/user/uid", "0") r#"process.user.uid: expected an integer from 0 to 4294967295, found "0""#;
    uid_with_a_sign("/process/user/uid", "+5") r#"process.user.uid: expected an integer from 0 to 4294967295, found "+5""#;
    uid_with_a_fraction("/process/user/uid", 1.5) "process.user.uid: expected an integer from 0 to 4294967295, found 1.5";
    gid_minus_1("/process/user/gid", -1) "process.user.gid: expected an integer from 0 to 4294967295, found -1";
    gid_that_leaves_it("/process/user/gid", 4294967295u32) "process.user.gid: 4294967295 is not an id";
    additional_gid_that_leaves_it("/process/user/additionalGids", [1, 4294967295u32]) "process.user.additionalGids[1]: 4294967295 is not an id";
    additional_gid_as_a_string("/process/user/additionalGids", [1, " 5"]) r#"process.user.additionalGids[1]: expected an integer from 0 to 4294967295, found " 5""#;
    umask_minus_1("/process/user/umask", -1) "process.user.umask: expected an integer from 0 to 4294967295, found -1";
    umask_of_ten_bits("/process/user/umask", 512) "process.user.umask: expected at most 511 (0777), found 512";

    capabilities_of_another_type("/process/capabilities", ["CAP_KILL"]) "process.capabilities: expected an object, found a list";
    capability_set_of_another_type("/process/capabilities", { "bounding": "CAP_KILL" }) r#"process.capabilities.bounding: expected a list of strings, found "CAP_KILL""#;
    rlimit_of_no_type("/process/rlimits", [{ "soft": 1, "hard": 1 }]) "process.rlimits[0].type: required field is missing";
    rlimit_of_an_unknown_type("/process/rlimits", [{ "type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1 }]) r#"process.rlimits[0].type: expected one of RLIMIT_NOFILE, RLIMIT_CORE, …, found "RLIMIT_NONSENSE""#;
    rlimit_without_soft("/process/rlimits", [{ "type": "RLIMIT_CORE", "hard": 1 }]) "process.rlimits[0].soft: required field is missing";
    rlimit_soft_above_hard("/process/rlimits", [{ "type": "RLIMIT_CORE", "soft": 2, "hard": 1 }]) "process.rlimits[0].soft: 2 is above the hard limit 1";
    rlimit_twice("/process/rlimits", [{ "type": "RLIMIT_CORE", "soft": 1, "hard": 1 }, { "type": "RLIMIT_CORE", "soft": 2, "hard": 2 }]) r#"process.rlimits[1]: there already is a limit of type "RLIMIT_CORE""#;
    rlimit_of_minus_1("/process/rlimits", [{ "type": "RLIMIT_CORE", "soft": -1, "hard": 1 }]) "process.rlimits[0].soft: expected an integer from 0 to 18446744073709551615, found -1";

    scheduler_unknown("/process/scheduler", { "policy": "SCHED_NONE" }) r#"process.scheduler.policy: expected SCHED_OTHER, SCHED_FIFO, …, found "SCHED_NONE""#;
    scheduler_without_policy("/process/scheduler", { "nice": 1 }) "process.scheduler.policy: required field is missing";
    io_priority_above_7("/process/ioPriority", { "class": "IOPRIO_CLASS_BE", "priority": 8 }) "process.ioPriority.priority: expected a number from 0 to 7, found 8";
    apparmor_where_there_is_none("/process/apparmorProfile", "docker-default") r#"process.apparmorProfile: this kernel has no AppArmor, found "docker-default""#;
    selinux_where_there_is_none("/process/selinuxLabel", "a:b:c:s0") r#"process.selinuxLabel: this kernel has no SELinux, found "a:b:c:s0""#;
    affinity_backwards("/process/execCPUAffinity", { "initial": "3-1" }) r#"process.execCPUAffinity.initial: expected a list of CPUs below 1024 such as "0-3,7", found "3-1""#;

    hostname_of_another_type("/hostname", ["x"]) "hostname: expected a string, found a list";
    hostname_without_a_namespace("/hostname", "x") r#"hostname: needs a namespace of type "uts" in linux.namespaces"#;
    domainname_without_a_namespace("/domainname", "x") r#"domainname: needs a namespace of type "uts" in linux.namespaces"#;

    mounts_of_another_type("/mounts", {}) "mounts: expected a list of objects, found an object";
    mount_of_another_type("/mounts", ["proc"]) r#"mounts[0]: expected an object, found "proc""#;
    mount_without_destination("/mounts", [{ "type": "proc" }]) "mounts[0].destination: required field is missing";
    mount_options_of_another_type("/mounts", [{ "destination": "/a", "options": "ro" }]) r#"mounts[0].options: expected a list of strings, found "ro""#;
    mount_options_with_a_number("/mounts", [{ "destination": "/a", "options": ["ro", 5] }]) "mounts[0].options[1]: expected a string, found 5";
    mount_source_with_a_zero_byte("/mounts", [{ "destination": "/a", "type": "bind", "source": "a\0b", "options": ["bind"] }]) "mounts[0].source: a string with a zero byte";

    hooks_of_another_type("/hooks", []) "hooks: expected an object, found a list";
    hook_list_of_another_type("/hooks", { "prestart": {} }) "hooks.prestart: expected a list of objects, found an object";
    hook_without_path("/hooks", { "poststop": [{ "args": ["x"] }] }) "hooks.poststop[0].path: required field is missing";
    hook_with_a_relative_path("/hooks", { "prestart": [{ "path": "bin/x" }] }) r#"hooks.prestart[0].path: expected an absolute path, found "bin/x""#;
    hook_of_the_child_with_a_relative_path("/hooks", { "createContainer": [{ "path": "/x" }, { "path": "x" }] }) r#"hooks.createContainer[1].path: expected an absolute path, found "x""#;
    hook_timeout_0("/hooks", { "poststop": [{ "path": "/bin/true", "timeout": 0 }] }) "hooks.poststop[0].timeout: expected a number above 0, found 0";
    hook_timeout_minus_3("/hooks", { "startContainer": [{ "path": "/bin/true", "timeout": -3 }] }) "hooks.startContainer[0].timeout: expected a number above 0, found -3";

    annotation_of_another_type("/annotations", { "key": 1 }) r#"annotations["key"]: expected a string, found 1"#;

    namespace_unknown("/linux/namespaces", [{ "type": "nonsense" }]) r#"linux.namespaces[0].type: expected one of pid, network, ipc, uts, cgroup, time, mount, user, found "nonsense""#;
    namespace_twice("/linux/namespaces", [{ "type": "mount" }, { "type": "pid" }, { "type": "pid" }]) r#"linux.namespaces[2]: there already is a namespace of type "pid""#;
    namespace_with_a_relative_path("/linux/namespaces", [{ "type": "mount" }, { "type": "uts", "path": "relative" }]) r#"linux.namespaces[1].path: expected an absolute path, found "relative""#;
    mappings_without_a_namespace("/linux/uidMappings", [{ "containerID": 0, "hostID": 1, "size": 1 }]) r#"linux.uidMappings: needs a namespace of type "user" in linux.namespaces"#;
    user_namespace_without_mappings("/linux/namespaces", [{ "type": "mount" }, { "type": "user" }]) "linux.uidMappings: a new user namespace needs at least one mapping";
    time_offsets_without_a_namespace("/linux/timeOffsets", { "monotonic": { "secs": 1 } }) r#"linux.timeOffsets: needs a new namespace of type "time" in linux.namespaces"#;
    time_offsets_of_an_unknown_clock("/linux/timeOffsets", { "nonsense": { "secs": 1 } }) r#"linux.timeOffsets: expected monotonic or boottime, found "nonsense""#;
    time_offset_of_a_second_of_nanoseconds("/linux/timeOffsets", { "boottime": { "nanosecs": 1_000_000_000 } }) "linux.timeOffsets.boottime.nanosecs: expected less than a second, found 1000000000";

    device_of_an_unknown_type("/linux/devices", [{ "type": "x", "path": "/dev/x", "major": 1, "minor": 1 }]) r#"linux.devices[0].type: expected c, b, u or p, found "x""#;
    device_without_numbers("/linux/devices", [{ "type": "c", "path": "/dev/x" }]) "linux.devices[0].major: required field is missing";
    device_with_a_relative_path("/linux/devices", [{ "type": "c", "path": "dev/x", "major": 1, "minor": 1 }]) r#"linux.devices[0].path: expected an absolute path, found "dev/x""#;
    sysctl_of_another_type("/linux/sysctl", { "net.ipv4.ip_forward": 1 }) r#"linux.sysctl["net.ipv4.ip_forward"]: expected a string, found 1"#;
    propagation_unknown("/linux/rootfsPropagation", "nonsense") r#"linux.rootfsPropagation: expected shared, slave, private or unbindable, found "nonsense""#;
    masked_path_relative("/linux/maskedPaths", ["relative"]) r#"linux.maskedPaths[0]: expected an absolute path, found "relative""#;
    readonly_paths_of_another_type("/linux/readonlyPaths", "/proc") r#"linux.readonlyPaths: expected a list of strings, found "/proc""#;
    intel_rdt("/linux/intelRdt", {}) "linux.intelRdt: not supported yet";
    net_devices_without_a_namespace("/linux/netDevices", { "eth0": {} }) r#"linux.netDevices: needs a namespace of type "network" in linux.namespaces"#;
    personality_unknown("/linux/personality", { "domain": "BSD" }) r#"linux.personality.domain: expected LINUX or LINUX32, found "BSD""#;
    memory_policy_with_other_nodes("/linux/memoryPolicy", { "mode": "MPOL_BIND", "nodes": "x" }) r#"linux.memoryPolicy.nodes: expected a list of nodes such as "0-3,7", found "x""#;

    cgroups_path_of_another_type("/linux/cgroupsPath", 5) "linux.cgroupsPath: expected a string, found 5";
    cgroups_path_that_leads_out("/linux/cgroupsPath", "../x") r#"linux.cgroupsPath: ../x is not a sub cgroup path: ".." leads out of it"#;
    resources_of_another_type("/linux/resources", []) "linux.resources: expected an object, found a list";
    memory_limit_as_a_string("/linux/resources", { "memory": { "limit": "1g" } }) r#"linux.resources.memory.limit: expected an integer from -9223372036854775808 to 9223372036854775807, found "1g""#;
    memory_swap_below_the_limit("/linux/resources", { "memory": { "limit": 5, "swap": 4 } }) "linux.resources.memory.swap: 4 is less than memory.limit, which is 5";
    pids_limit_with_a_fraction("/linux/resources", { "pids": { "limit": 1.5 } }) "linux.resources.pids.limit: expected an integer from -9223372036854775808 to 9223372036854775807, found 1.5";
    cpu_shares_minus_1("/linux/resources", { "cpu": { "shares": -1 } }) "linux.resources.cpu.shares: expected an integer from 0 to 18446744073709551615, found -1";
    device_rule_without_allow("/linux/resources", { "devices": [{ "access": "r" }] }) "linux.resources.devices[0].allow: required field is missing";
    device_rule_allow_of_another_type("/linux/resources", { "devices": [{ "allow": "no" }] }) r#"linux.resources.devices[0].allow: expected true or false, found "no""#;
    device_rule_with_unknown_access("/linux/resources", { "devices": [{ "allow": false, "access": "z" }] }) r#"linux.resources.devices[0].access: expected letters of "rwm", found "z""#;

    seccomp_without_default("/linux/seccomp", { "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO" }] }) "linux.seccomp.defaultAction: required field is missing";
    seccomp_rule_without_action("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"] }] }) "linux.seccomp.syscalls[0].action: required field is missing";
    seccomp_of_argument_6("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }] }] }) "linux.seccomp.syscalls[0].args[0].index: a system call has arguments 0 to 5, found 6";
    seccomp_with_an_unknown_flag("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"] }) r#"linux.seccomp.flags[0]: unknown flag "X""#;
    seccomp_of_an_unknown_architecture("/linux/seccomp", { "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_PDP11"] }) r#"linux.seccomp.architectures[0]: unknown architecture "SCMP_ARCH_PDP11""#;
}

/// A new user namespace with these mappings of uids and gids.
macro_rules! mappings_refused {
    ($($name:ident($($map:tt)+) $text:literal;)*) => {$(
        #[test]
        fn $name() {
            let map = json!($($map)+);
            refused("/linux", json!({
                "namespaces": [{ "type": "mount" }, { "type": "user" }],
                "uidMappings": map, "gidMappings": map,
            }), $text);
        }
    )*};
}

mappings_refused! {
    mapping_of_size_0([{ "containerID": 0, "hostID": 1000, "size": 0 }]) "linux.uidMappings[0].size: expected a number above 0, found 0";
    mapping_past_the_last_id([{ "containerID": 0, "hostID": 4294967295u32, "size": 2 }]) "linux.uidMappings[0]: 2 ids from 0 to 4294967295 are not a range of ids";
    mapping_of_the_id_that_is_none([{ "containerID": 4294967295u32, "hostID": 5, "size": 1 }]) "linux.uidMappings[0]: 1 ids from 4294967295 to 5 are not a range of ids";
    mapping_without_size([{ "containerID": 0, "hostID": 1000 }]) "linux.gidMappings[0].size: required field is missing";
    mappings_that_overlap_inside([{ "containerID": 0, "hostID": 1000, "size": 10 }, { "containerID": 5, "hostID": 3000, "size": 10 }]) "linux.uidMappings[1]: overlaps another mapping";
    mappings_that_overlap_outside([{ "containerID": 0, "hostID": 1000, "size": 10 }, { "containerID": 50, "hostID": 1009, "size": 10 }]) "linux.uidMappings[1]: overlaps another mapping";
    mapping_without_the_user([{ "containerID": 5, "hostID": 1000, "size": 10 }]) "process.user.uid: 0 is not mapped in the user namespace";
}

#[test]
fn a_path_is_masked_in_a_mount_namespace_only() {
    refused(
        "/linux",
        json!({ "namespaces": [{ "type": "pid" }], "maskedPaths": ["/proc/kcore"] }),
        r#"linux.maskedPaths: needs a new namespace of type "mount" in linux.namespaces"#,
    );
}

#[test]
fn a_host_name_has_at_most_64_characters() {
    let mut spec = with("/hostname", json!("x".repeat(64)));
    let namespaces = json!([{ "type": "mount" }, { "type": "uts" }]);
    spec["linux"]["namespaces"] = namespaces;
    assert!(planned(&spec, &facts(Cgroups::V2)).is_ok());
    spec["hostname"] = json!("x".repeat(65));
    assert_eq!(
        error_of(&spec, &facts(Cgroups::V2)),
        "config.json: hostname: expected at most 64 characters, found 65"
    );
}

/// One case of linux.netDevices with a network namespace: the value and its error.
#[track_caller]
fn net_devices_refused(devices: Value, text: &str) {
    let mut spec = with("/linux/netDevices", devices);
    let namespaces = spec["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({ "type": "network" }));
    let error = error_of(&spec, &facts(Cgroups::V2));
    assert_eq!(error, format!("config.json: linux.netDevices{text}"));
}

#[test]
fn names_that_the_kernel_refuses_are_refused() {
    let expected = "expected the name of a network device, found";
    for name in [
        "a234567890123456",
        "a/b",
        "a b",
        "a\tb",
        "a:b",
        ".",
        "..",
        "",
        "eth%d",
        "a\0",
    ] {
        let text = format!(": {expected} {name:?}");
        net_devices_refused(json!({ name: {} }), &text);
    }
    // An empty new name is none.
    for name in [
        "a234567890123456",
        "a/b",
        "a b",
        ".",
        "..",
        "%d",
        "%s",
        "a%da",
        "a%d%d",
        "a2345678901234%d",
    ] {
        let text = format!(".eth0.name: {expected} {name:?}");
        net_devices_refused(json!({ "eth0": { "name": name } }), &text);
    }
}

#[test]
fn two_network_devices_of_one_name_are_refused() {
    let text = r#".b.name: there already is a network device "a""#;
    net_devices_refused(json!({ "a": {}, "b": { "name": "a" } }), text);
    let config = r#"{ "eth0": {}, "eth0": { "name": "x" } }"#;
    let spec = with("/linux/netDevices", json!({ "here": {} }));
    let spec = spec.to_string().replace(r#"{"here":{}}"#, config);
    let spec = spec.replace(r#""namespaces":["#, r#""namespaces":[{"type":"network"},"#);
    let error = plan_of(&spec, &facts(Cgroups::V2)).err().unwrap();
    let text =
        r#"config.json: linux.netDevices.eth0.name: there already is a network device "eth0""#;
    assert_eq!(error.to_string(), text);
}
