//! Each field of the spec: the right value is read, a wrong one is an error with its JSON path, and null (and an empty
//! string, where it is optional) is as good as absent.

use super::*;
use alloc::format;
use alloc::string::ToString;
use core::fmt::Debug;
use serde_json::{Value, json};

/// Every object and every list of objects once, with nothing but the fields that are required.
fn full() -> Value {
    let mapping = json!([{ "containerID": 0, "hostID": 0, "size": 1 }]);
    let throttle = json!([{ "major": 8, "minor": 0, "rate": 1 }]);
    let hook = json!([{ "path": "/x" }]);
    json!({
        "ociVersion": "1.3.0",
        "process": {
            "cwd": "/", "user": {}, "capabilities": {},
            "consoleSize": { "height": 1, "width": 1 },
            "rlimits": [{ "type": "x", "hard": 1, "soft": 1 }],
            "scheduler": { "policy": "x" },
            "ioPriority": { "class": "x" },
            "execCPUAffinity": {},
        },
        "root": { "path": "r" },
        "mounts": [{ "destination": "/", "uidMappings": mapping, "gidMappings": mapping }],
        "hooks": {
            "prestart": hook, "createRuntime": hook, "createContainer": hook,
            "startContainer": hook, "poststart": hook, "poststop": hook,
        },
        "annotations": { "a": "b" },
        "linux": {
            "namespaces": [{ "type": "x" }],
            "uidMappings": mapping, "gidMappings": mapping,
            "timeOffsets": { "c": {} },
            "devices": [{ "path": "/", "type": "x" }],
            "netDevices": { "d": {} },
            "sysctl": { "a": "b" },
            "intelRdt": {},
            "memoryPolicy": { "mode": "x" },
            "personality": { "domain": "x" },
            "resources": {
                "devices": [{ "allow": true }],
                "memory": {}, "cpu": {}, "pids": {},
                "blockIO": {
                    "weightDevice": [{ "major": 8, "minor": 0 }],
                    "throttleReadBpsDevice": throttle, "throttleWriteBpsDevice": throttle,
                    "throttleReadIOPSDevice": throttle, "throttleWriteIOPSDevice": throttle,
                },
                "hugepageLimits": [{ "pageSize": "x", "limit": 1 }],
                "network": { "priorities": [{ "name": "x", "priority": 1 }] },
                "rdma": { "d": {} },
                "unified": { "a": "b" },
            },
            "seccomp": {
                "defaultAction": "x",
                "syscalls": [{ "names": [], "action": "x", "args": [{ "index": 0, "value": 0, "op": "x" }] }],
            },
        },
    })
}

/// The text of `full` with `json` at a pointer, which may be a new field.
fn text_with(pointer: &str, json: &str) -> String {
    let mut spec = full();
    let (above, name) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(above).unwrap()[name] = json!("@here@");
    spec.to_string().replace("\"@here@\"", json)
}

/// The pointer as errors write it: `linux.devices[0].path`, `linux.sysctl["a"]`.
fn path_of(pointer: &str) -> String {
    let maps = [
        "timeOffsets",
        "netDevices",
        "rdma",
        "sysctl",
        "unified",
        "annotations",
    ];
    let (mut path, mut in_map) = (String::new(), false);
    for key in pointer.split('/').skip(1) {
        path += &match key.parse::<usize>() {
            Ok(n) => format!("[{n}]"),
            _ if in_map => format!("[{key:?}]"),
            _ => format!(".{key}"),
        };
        in_map = maps.contains(&key);
    }
    path.trim_start_matches('.').to_string()
}

#[track_caller]
fn refused(pointer: &str, json: &str, text: &str) {
    let config = text_with(pointer, json);
    let error = Spec::read(config.as_bytes()).unwrap_err().to_string();
    assert_eq!(error, format!("config.json: {}{text}", path_of(pointer)));
}

#[track_caller]
fn is_read<T: PartialEq + Debug>(
    pointer: &str,
    json: &str,
    get: impl Fn(&Spec<'_>) -> T,
    value: T,
) {
    let config = text_with(pointer, json);
    let spec = Spec::read(config.as_bytes()).unwrap();
    assert_eq!(get(&spec), value, "{json}");
}

type Get<T> = for<'s> fn(&'s Spec<'s>) -> &'s T;

/// Optional: empty is absent.
#[track_caller]
fn text(pointer: &str, get: for<'s> fn(&'s Spec<'s>) -> &'s Option<Cow<'s, str>>) {
    let own = |s: &Spec<'_>| get(s).as_deref().map(str::to_string);
    is_read(pointer, r#""x""#, own, Some("x".into()));
    is_read(pointer, r#""""#, own, None);
    is_read(pointer, "null", own, None);
    refused(pointer, "5", ": expected a string, found 5");
    refused(pointer, "[]", ": expected a string, found a list");
}

/// Required: empty is for the plan to judge.
#[track_caller]
fn name(pointer: &str, get: for<'s> fn(&'s Spec<'s>) -> &'s Cow<'s, str>) {
    let own = |s: &Spec<'_>| get(s).to_string();
    is_read(pointer, r#""x""#, own, "x".into());
    is_read(pointer, r#""""#, own, "".into());
    refused(pointer, "null", ": required field is missing");
    refused(pointer, "true", ": expected a string, found true");
    refused(pointer, "{}", ": expected a string, found an object");
}

#[track_caller]
fn texts(pointer: &str, get: for<'s> fn(&'s Spec<'s>) -> &'s [Cow<'s, str>]) {
    let own = |s: &Spec<'_>| get(s).join(" ");
    is_read(pointer, r#"["b","a"]"#, own, "b a".into());
    is_read(pointer, "[]", own, "".into());
    is_read(pointer, "null", own, "".into());
    refused(
        pointer,
        r#""a""#,
        r#": expected a list of strings, found "a""#,
    );
    refused(pointer, r#"["a",1]"#, "[1]: expected a string, found 1");
    refused(pointer, "[null]", "[0]: expected a string, found null");
}

/// A list that may be empty, but not absent.
#[track_caller]
fn names(pointer: &str, get: for<'s> fn(&'s Spec<'s>) -> &'s [Cow<'s, str>]) {
    is_read(pointer, r#"["b","a"]"#, |s| get(s).join(" "), "b a".into());
    refused(pointer, "null", ": required field is missing");
    refused(
        pointer,
        r#""a""#,
        r#": expected a list of strings, found "a""#,
    );
}

#[track_caller]
fn pairs(pointer: &str, get: for<'s> fn(&'s Spec<'s>) -> &'s Vec<(Cow<'s, str>, Cow<'s, str>)>) {
    let own = |s: &Spec<'_>| format!("{:?}", get(s));
    is_read(
        pointer,
        r#"{"z":"1","a":""}"#,
        own,
        r#"[("z", "1"), ("a", "")]"#.into(),
    );
    is_read(pointer, "null", own, "[]".into());
    refused(
        pointer,
        r#"{"z":1}"#,
        r#"["z"]: expected a string, found 1"#,
    );
    refused(
        pointer,
        "[]",
        ": expected an object whose values are strings, found a list",
    );
}

#[track_caller]
fn flag(pointer: &str, get: Get<bool>) {
    is_read(pointer, "true", |s| *get(s), true);
    is_read(pointer, "false", |s| *get(s), false);
    is_read(pointer, "null", |s| *get(s), false);
    refused(pointer, "1", ": expected true or false, found 1");
    refused(
        pointer,
        r#""true""#,
        r#": expected true or false, found "true""#,
    );
}

/// False and unset differ.
#[track_caller]
fn maybe(pointer: &str, get: Get<Option<bool>>) {
    is_read(pointer, "true", |s| *get(s), Some(true));
    is_read(pointer, "false", |s| *get(s), Some(false));
    is_read(pointer, "null", |s| *get(s), None);
    refused(pointer, "0", ": expected true or false, found 0");
}

trait Int: Copy + PartialEq + Debug {
    const MIN: i128;
    const MAX: i128;
    fn of(n: i128) -> Self;
}

macro_rules! ints {
    ($($int:ty)*) => {$(
        impl Int for $int {
            const MIN: i128 = <$int>::MIN as i128;
            const MAX: i128 = <$int>::MAX as i128;
            fn of(n: i128) -> Self {
                n as $int
            }
        }
    )*};
}
ints!(u16 u32 u64 i32 i64);

/// Both ends of the range are read, what lies beyond is not, nor is any other form of a number.
#[track_caller]
fn integer<T: Int>(pointer: &str, get: impl Fn(&Spec<'_>) -> T) {
    for n in [0, T::MIN, T::MAX] {
        is_read(pointer, &n.to_string(), &get, T::of(n));
    }
    let others = ["1.5", r#""1""#, "1e3", "true"].map(String::from);
    for wrong in [(T::MIN - 1).to_string(), (T::MAX + 1).to_string()]
        .into_iter()
        .chain(others)
    {
        let (min, max) = (T::MIN, T::MAX);
        refused(
            pointer,
            &wrong,
            &format!(": expected an integer from {min} to {max}, found {wrong}"),
        );
    }
}

/// Unset and 0 differ.
#[track_caller]
fn optional<T: Int>(pointer: &str, get: Get<Option<T>>) {
    integer(pointer, |s| get(s).unwrap());
    is_read(pointer, "null", |s| *get(s), None);
}

#[track_caller]
fn required<T: Int>(pointer: &str, get: Get<T>) {
    integer(pointer, |s| *get(s));
    refused(pointer, "null", ": required field is missing");
}

/// Unset is 0.
#[track_caller]
fn number<T: Int>(pointer: &str, get: Get<T>) {
    integer(pointer, |s| *get(s));
    is_read(pointer, "null", |s| *get(s), T::of(0));
}

/// A list of objects.
#[track_caller]
fn list(pointer: &str, length: fn(&Spec<'_>) -> usize) {
    is_read(pointer, "[]", length, 0);
    is_read(pointer, "null", length, 0);
    refused(
        pointer,
        "{}",
        ": expected a list of objects, found an object",
    );
    refused(pointer, "[null]", "[0]: expected an object, found null");
    refused(pointer, "[7]", "[0]: expected an object, found 7");
}

/// An object that may be absent; an empty one is not.
#[track_caller]
fn object(pointer: &str, is_there: fn(&Spec<'_>) -> bool) {
    is_read(pointer, "null", is_there, false);
    refused(pointer, "[]", ": expected an object, found a list");
    refused(pointer, "0", ": expected an object, found 0");
}

fn process<'s>(s: &'s Spec<'s>) -> &'s Process<'s> {
    s.process.as_ref().unwrap()
}

fn resources<'s>(s: &'s Spec<'s>) -> &'s Resources<'s> {
    s.linux.resources.as_ref().unwrap()
}

fn seccomp<'s>(s: &'s Spec<'s>) -> &'s Seccomp<'s> {
    s.linux.seccomp.as_ref().unwrap()
}

macro_rules! fields {
    ($($kind:ident $name:ident $pointer:literal $get:expr;)*) => {$(
        #[test]
        fn $name() {
            $kind($pointer, $get);
        }
    )*};
}

fields! {
    name oci_version "/ociVersion" |s| &s.oci_version;
    text hostname "/hostname" |s| &s.hostname;
    text domainname "/domainname" |s| &s.domainname;
    pairs annotations "/annotations" |s| &s.annotations;
    object process_itself "/process" |s| s.process.is_some();
    object root_itself "/root" |s| s.root.is_some();
    list mounts "/mounts" |s| s.mounts.len();

    name root_path "/root/path" |s| &s.root.as_ref().unwrap().path;
    flag root_readonly "/root/readonly" |s| &s.root.as_ref().unwrap().readonly;

    name mount_destination "/mounts/0/destination" |s| &s.mounts[0].destination;
    text mount_type "/mounts/0/type" |s| &s.mounts[0].fs_type;
    text mount_source "/mounts/0/source" |s| &s.mounts[0].source;
    texts mount_options "/mounts/0/options" |s| &s.mounts[0].options;
    list mount_uid_mappings "/mounts/0/uidMappings" |s| s.mounts[0].uid_mappings.len();
    list mount_gid_mappings "/mounts/0/gidMappings" |s| s.mounts[0].gid_mappings.len();

    list prestart "/hooks/prestart" |s| s.hooks.prestart.len();
    list create_runtime "/hooks/createRuntime" |s| s.hooks.create_runtime.len();
    list create_container "/hooks/createContainer" |s| s.hooks.create_container.len();
    list start_container "/hooks/startContainer" |s| s.hooks.start_container.len();
    list poststart "/hooks/poststart" |s| s.hooks.poststart.len();
    list poststop "/hooks/poststop" |s| s.hooks.poststop.len();
    name hook_path "/hooks/poststop/0/path" |s| &s.hooks.poststop[0].path;
    texts hook_args "/hooks/poststop/0/args" |s| &s.hooks.poststop[0].args;
    texts hook_env "/hooks/poststop/0/env" |s| &s.hooks.poststop[0].env;
    optional hook_timeout "/hooks/poststop/0/timeout" |s| &s.hooks.poststop[0].timeout;

    flag terminal "/process/terminal" |s| &process(s).terminal;
    object console_size "/process/consoleSize" |s| process(s).console_size.is_some();
    required console_height "/process/consoleSize/height" |s| &process(s).console_size.as_ref().unwrap().height;
    required console_width "/process/consoleSize/width" |s| &process(s).console_size.as_ref().unwrap().width;
    number uid "/process/user/uid" |s| &process(s).user.uid;
    number gid "/process/user/gid" |s| &process(s).user.gid;
    optional umask "/process/user/umask" |s| &process(s).user.umask;
    texts args "/process/args" |s| &process(s).args;
    texts env "/process/env" |s| &process(s).env;
    name cwd "/process/cwd" |s| &process(s).cwd;
    object capabilities "/process/capabilities" |s| process(s).capabilities.is_some();
    texts bounding "/process/capabilities/bounding" |s| &process(s).capabilities.as_ref().unwrap().bounding;
    texts effective "/process/capabilities/effective" |s| &process(s).capabilities.as_ref().unwrap().effective;
    texts inheritable "/process/capabilities/inheritable" |s| &process(s).capabilities.as_ref().unwrap().inheritable;
    texts permitted "/process/capabilities/permitted" |s| &process(s).capabilities.as_ref().unwrap().permitted;
    texts ambient "/process/capabilities/ambient" |s| &process(s).capabilities.as_ref().unwrap().ambient;
    list rlimits "/process/rlimits" |s| process(s).rlimits.len();
    name rlimit_type "/process/rlimits/0/type" |s| &process(s).rlimits[0].resource;
    required rlimit_hard "/process/rlimits/0/hard" |s| &process(s).rlimits[0].hard;
    required rlimit_soft "/process/rlimits/0/soft" |s| &process(s).rlimits[0].soft;
    maybe no_new_privileges "/process/noNewPrivileges" |s| &process(s).no_new_privileges;
    text apparmor_profile "/process/apparmorProfile" |s| &process(s).apparmor_profile;
    text selinux_label "/process/selinuxLabel" |s| &process(s).selinux_label;
    optional oom_score_adj "/process/oomScoreAdj" |s| &process(s).oom_score_adj;
    object scheduler "/process/scheduler" |s| process(s).scheduler.is_some();
    name scheduler_policy "/process/scheduler/policy" |s| &process(s).scheduler.as_ref().unwrap().policy;
    optional scheduler_nice "/process/scheduler/nice" |s| &process(s).scheduler.as_ref().unwrap().nice;
    optional scheduler_priority "/process/scheduler/priority" |s| &process(s).scheduler.as_ref().unwrap().priority;
    texts scheduler_flags "/process/scheduler/flags" |s| &process(s).scheduler.as_ref().unwrap().flags;
    optional scheduler_runtime "/process/scheduler/runtime" |s| &process(s).scheduler.as_ref().unwrap().runtime;
    optional scheduler_deadline "/process/scheduler/deadline" |s| &process(s).scheduler.as_ref().unwrap().deadline;
    optional scheduler_period "/process/scheduler/period" |s| &process(s).scheduler.as_ref().unwrap().period;
    object io_priority "/process/ioPriority" |s| process(s).io_priority.is_some();
    name io_priority_class "/process/ioPriority/class" |s| &process(s).io_priority.as_ref().unwrap().class;
    number io_priority_value "/process/ioPriority/priority" |s| &process(s).io_priority.as_ref().unwrap().priority;
    object affinity "/process/execCPUAffinity" |s| process(s).exec_cpu_affinity.is_some();
    text affinity_initial "/process/execCPUAffinity/initial" |s| &process(s).exec_cpu_affinity.as_ref().unwrap().initial;
    text affinity_final "/process/execCPUAffinity/final" |s| &process(s).exec_cpu_affinity.as_ref().unwrap().at_last;

    list namespaces "/linux/namespaces" |s| s.linux.namespaces.len();
    name namespace_type "/linux/namespaces/0/type" |s| &s.linux.namespaces[0].kind;
    text namespace_path "/linux/namespaces/0/path" |s| &s.linux.namespaces[0].path;
    list uid_mappings "/linux/uidMappings" |s| s.linux.uid_mappings.len();
    list gid_mappings "/linux/gidMappings" |s| s.linux.gid_mappings.len();
    required mapping_container_id "/linux/uidMappings/0/containerID" |s| &s.linux.uid_mappings[0].container_id;
    required mapping_host_id "/linux/uidMappings/0/hostID" |s| &s.linux.uid_mappings[0].host_id;
    required mapping_size "/linux/gidMappings/0/size" |s| &s.linux.gid_mappings[0].size;
    number time_offset_secs "/linux/timeOffsets/c/secs" |s| &s.linux.time_offsets[0].1.secs;
    number time_offset_nanosecs "/linux/timeOffsets/c/nanosecs" |s| &s.linux.time_offsets[0].1.nanosecs;
    list devices "/linux/devices" |s| s.linux.devices.len();
    name device_path "/linux/devices/0/path" |s| &s.linux.devices[0].path;
    name device_type "/linux/devices/0/type" |s| &s.linux.devices[0].kind;
    optional device_major "/linux/devices/0/major" |s| &s.linux.devices[0].major;
    optional device_minor "/linux/devices/0/minor" |s| &s.linux.devices[0].minor;
    optional device_mode "/linux/devices/0/fileMode" |s| &s.linux.devices[0].file_mode;
    optional device_uid "/linux/devices/0/uid" |s| &s.linux.devices[0].uid;
    optional device_gid "/linux/devices/0/gid" |s| &s.linux.devices[0].gid;
    text net_device_name "/linux/netDevices/d/name" |s| &s.linux.net_devices[0].1.name;
    text cgroups_path "/linux/cgroupsPath" |s| &s.linux.cgroups_path;
    text rootfs_propagation "/linux/rootfsPropagation" |s| &s.linux.rootfs_propagation;
    pairs sysctl "/linux/sysctl" |s| &s.linux.sysctl;
    texts masked_paths "/linux/maskedPaths" |s| &s.linux.masked_paths;
    texts readonly_paths "/linux/readonlyPaths" |s| &s.linux.readonly_paths;
    text mount_label "/linux/mountLabel" |s| &s.linux.mount_label;
    object intel_rdt "/linux/intelRdt" |s| s.linux.intel_rdt.is_some();
    text rdt_clos_id "/linux/intelRdt/closID" |s| &s.linux.intel_rdt.as_ref().unwrap().clos_id;
    texts rdt_schemata "/linux/intelRdt/schemata" |s| &s.linux.intel_rdt.as_ref().unwrap().schemata;
    text rdt_l3 "/linux/intelRdt/l3CacheSchema" |s| &s.linux.intel_rdt.as_ref().unwrap().l3_cache_schema;
    text rdt_bandwidth "/linux/intelRdt/memBwSchema" |s| &s.linux.intel_rdt.as_ref().unwrap().mem_bw_schema;
    flag rdt_cmt "/linux/intelRdt/enableCMT" |s| &s.linux.intel_rdt.as_ref().unwrap().enable_cmt;
    flag rdt_mbm "/linux/intelRdt/enableMBM" |s| &s.linux.intel_rdt.as_ref().unwrap().enable_mbm;
    flag rdt_monitoring "/linux/intelRdt/enableMonitoring" |s| &s.linux.intel_rdt.as_ref().unwrap().enable_monitoring;
    object memory_policy "/linux/memoryPolicy" |s| s.linux.memory_policy.is_some();
    name memory_policy_mode "/linux/memoryPolicy/mode" |s| &s.linux.memory_policy.as_ref().unwrap().mode;
    text memory_policy_nodes "/linux/memoryPolicy/nodes" |s| &s.linux.memory_policy.as_ref().unwrap().nodes;
    texts memory_policy_flags "/linux/memoryPolicy/flags" |s| &s.linux.memory_policy.as_ref().unwrap().flags;
    object personality "/linux/personality" |s| s.linux.personality.is_some();
    name personality_domain "/linux/personality/domain" |s| &s.linux.personality.as_ref().unwrap().domain;
    texts personality_flags "/linux/personality/flags" |s| &s.linux.personality.as_ref().unwrap().flags;

    object resources_itself "/linux/resources" |s| s.linux.resources.is_some();
    list device_rules "/linux/resources/devices" |s| resources(s).devices.len();
    text device_rule_type "/linux/resources/devices/0/type" |s| &resources(s).devices[0].kind;
    optional device_rule_major "/linux/resources/devices/0/major" |s| &resources(s).devices[0].major;
    optional device_rule_minor "/linux/resources/devices/0/minor" |s| &resources(s).devices[0].minor;
    text device_rule_access "/linux/resources/devices/0/access" |s| &resources(s).devices[0].access;
    optional memory_limit "/linux/resources/memory/limit" |s| &resources(s).memory.limit;
    optional memory_reservation "/linux/resources/memory/reservation" |s| &resources(s).memory.reservation;
    optional memory_swap "/linux/resources/memory/swap" |s| &resources(s).memory.swap;
    optional memory_kernel "/linux/resources/memory/kernel" |s| &resources(s).memory.kernel;
    optional memory_kernel_tcp "/linux/resources/memory/kernelTCP" |s| &resources(s).memory.kernel_tcp;
    optional memory_swappiness "/linux/resources/memory/swappiness" |s| &resources(s).memory.swappiness;
    maybe memory_oom_killer "/linux/resources/memory/disableOOMKiller" |s| &resources(s).memory.disable_oom_killer;
    maybe memory_hierarchy "/linux/resources/memory/useHierarchy" |s| &resources(s).memory.use_hierarchy;
    maybe memory_check "/linux/resources/memory/checkBeforeUpdate" |s| &resources(s).memory.check_before_update;
    optional cpu_shares "/linux/resources/cpu/shares" |s| &resources(s).cpu.shares;
    optional cpu_quota "/linux/resources/cpu/quota" |s| &resources(s).cpu.quota;
    optional cpu_burst "/linux/resources/cpu/burst" |s| &resources(s).cpu.burst;
    optional cpu_period "/linux/resources/cpu/period" |s| &resources(s).cpu.period;
    optional cpu_realtime_runtime "/linux/resources/cpu/realtimeRuntime" |s| &resources(s).cpu.realtime_runtime;
    optional cpu_realtime_period "/linux/resources/cpu/realtimePeriod" |s| &resources(s).cpu.realtime_period;
    text cpu_cpus "/linux/resources/cpu/cpus" |s| &resources(s).cpu.cpus;
    text cpu_mems "/linux/resources/cpu/mems" |s| &resources(s).cpu.mems;
    optional cpu_idle "/linux/resources/cpu/idle" |s| &resources(s).cpu.idle;
    optional pids_limit "/linux/resources/pids/limit" |s| &resources(s).pids.limit;
    optional io_weight "/linux/resources/blockIO/weight" |s| &resources(s).block_io.weight;
    optional io_leaf_weight "/linux/resources/blockIO/leafWeight" |s| &resources(s).block_io.leaf_weight;
    list io_weight_devices "/linux/resources/blockIO/weightDevice" |s| resources(s).block_io.weight_device.len();
    required io_weight_major "/linux/resources/blockIO/weightDevice/0/major" |s| &resources(s).block_io.weight_device[0].major;
    required io_weight_minor "/linux/resources/blockIO/weightDevice/0/minor" |s| &resources(s).block_io.weight_device[0].minor;
    optional io_device_weight "/linux/resources/blockIO/weightDevice/0/weight" |s| &resources(s).block_io.weight_device[0].weight;
    optional io_device_leaf "/linux/resources/blockIO/weightDevice/0/leafWeight" |s| &resources(s).block_io.weight_device[0].leaf_weight;
    list io_read_bps "/linux/resources/blockIO/throttleReadBpsDevice" |s| resources(s).block_io.throttle_read_bps_device.len();
    list io_write_bps "/linux/resources/blockIO/throttleWriteBpsDevice" |s| resources(s).block_io.throttle_write_bps_device.len();
    list io_read_iops "/linux/resources/blockIO/throttleReadIOPSDevice" |s| resources(s).block_io.throttle_read_iops_device.len();
    list io_write_iops "/linux/resources/blockIO/throttleWriteIOPSDevice" |s| resources(s).block_io.throttle_write_iops_device.len();
    required io_rate "/linux/resources/blockIO/throttleReadBpsDevice/0/rate" |s| &resources(s).block_io.throttle_read_bps_device[0].rate;
    list hugepage_limits "/linux/resources/hugepageLimits" |s| resources(s).hugepage_limits.len();
    name hugepage_size "/linux/resources/hugepageLimits/0/pageSize" |s| &resources(s).hugepage_limits[0].page_size;
    required hugepage_limit "/linux/resources/hugepageLimits/0/limit" |s| &resources(s).hugepage_limits[0].limit;
    optional network_class "/linux/resources/network/classID" |s| &resources(s).network.class_id;
    list network_priorities "/linux/resources/network/priorities" |s| resources(s).network.priorities.len();
    name network_name "/linux/resources/network/priorities/0/name" |s| &resources(s).network.priorities[0].name;
    required network_priority "/linux/resources/network/priorities/0/priority" |s| &resources(s).network.priorities[0].priority;
    optional rdma_handles "/linux/resources/rdma/d/hcaHandles" |s| &resources(s).rdma[0].1.hca_handles;
    optional rdma_objects "/linux/resources/rdma/d/hcaObjects" |s| &resources(s).rdma[0].1.hca_objects;
    pairs unified "/linux/resources/unified" |s| &resources(s).unified;

    object seccomp_itself "/linux/seccomp" |s| s.linux.seccomp.is_some();
    name seccomp_default "/linux/seccomp/defaultAction" |s| &seccomp(s).default_action;
    optional seccomp_default_errno "/linux/seccomp/defaultErrnoRet" |s| &seccomp(s).default_errno_ret;
    texts seccomp_architectures "/linux/seccomp/architectures" |s| &seccomp(s).architectures;
    texts seccomp_flags "/linux/seccomp/flags" |s| seccomp(s).flags.as_deref().unwrap_or_default();
    text seccomp_listener "/linux/seccomp/listenerPath" |s| &seccomp(s).listener_path;
    text seccomp_metadata "/linux/seccomp/listenerMetadata" |s| &seccomp(s).listener_metadata;
    list seccomp_syscalls "/linux/seccomp/syscalls" |s| seccomp(s).syscalls.len();
    names seccomp_names "/linux/seccomp/syscalls/0/names" |s| &seccomp(s).syscalls[0].names;
    name seccomp_action "/linux/seccomp/syscalls/0/action" |s| &seccomp(s).syscalls[0].action;
    optional seccomp_errno "/linux/seccomp/syscalls/0/errnoRet" |s| &seccomp(s).syscalls[0].errno_ret;
    list seccomp_args "/linux/seccomp/syscalls/0/args" |s| seccomp(s).syscalls[0].args.len();
    required seccomp_index "/linux/seccomp/syscalls/0/args/0/index" |s| &seccomp(s).syscalls[0].args[0].index;
    required seccomp_value "/linux/seccomp/syscalls/0/args/0/value" |s| &seccomp(s).syscalls[0].args[0].value;
    number seccomp_value_two "/linux/seccomp/syscalls/0/args/0/valueTwo" |s| &seccomp(s).syscalls[0].args[0].value_two;
    name seccomp_operator "/linux/seccomp/syscalls/0/args/0/op" |s| &seccomp(s).syscalls[0].args[0].op;
}

#[test]
fn device_rule_allow() {
    let pointer = "/linux/resources/devices/0/allow";
    is_read(pointer, "false", |s| resources(s).devices[0].allow, false);
    refused(pointer, "null", ": required field is missing");
    refused(pointer, "1", ": expected true or false, found 1");
}

#[test]
fn additional_gids() {
    let pointer = "/process/user/additionalGids";
    let get = |s: &Spec<'_>| process(s).user.additional_gids.clone();
    is_read(pointer, "[5,4294967295]", get, Vec::from([5, u32::MAX]));
    is_read(pointer, "null", get, Vec::new());
    let range = "expected an integer from 0 to 4294967295, found";
    refused(pointer, "[5,-1]", &format!("[1]: {range} -1"));
    refused(pointer, "[null]", &format!("[0]: {range} null"));
    refused(pointer, "5", ": expected a list of integers, found 5");
}

/// What is not JSON, and what is not an object: the place and the reason.
macro_rules! not_a_spec {
    ($($name:ident $text:expr, $error:literal;)*) => {$(
        #[test]
        fn $name() {
            let text = $text;
            assert_eq!(Spec::read(text.as_ref()).unwrap_err().to_string(), concat!("config.json: ", $error));
        }
    )*};
}

not_a_spec! {
    an_empty_file "", "line 1, column 0: EOF while parsing a value";
    a_list "[]", "expected an object, found a list";
    null_alone "null", "expected an object, found null";
    a_number "7", "expected an object, found 7";
    a_float "1.25", "expected an object, found 1.25";
    a_string r#""x""#, r#"expected an object, found "x""#;
    a_word "{\n  \"ociVersion\": \"1.0.2\",\n  nonsense\n}", "line 3, column 3: key must be a string";
    a_comma_at_the_end r#"{"ociVersion":"1.0.0",}"#, "line 1, column 23: trailing comma";
    two_documents r#"{"ociVersion":"1.0.0"}{}"#, "line 1, column 23: trailing characters";
    a_cut_string r#"{"ociVersion":"1."#, "line 1, column 17: EOF while parsing a string";
    bytes_that_are_not_utf8 b"{\n \"a\":\"\xff\"}", "line 2, column 7: not UTF-8";
    a_byte_order_mark "\u{feff}{}", "line 1, column 1: expected value";
    a_control_character "{\"a\":\"\u{1}\"}", "line 1, column 6: control character (\\u0000-\\u001F) found while parsing a string";
    half_a_surrogate r#"{"hostname":"\ud83d"}"#, "line 1, column 20: unexpected end of hex escape";
    a_bomb_of_lists "[".repeat(200_000), "expected an object, found a list";
    a_bomb_of_objects "{\"x\":".repeat(100_000), "line 1, column 500000: EOF while parsing a value";
    a_long_string format!("{:?}", "x".repeat(1000)), r#"expected an object, found "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"#;
}
