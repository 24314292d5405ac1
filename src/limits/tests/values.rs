//! One limit each: the files and values that it becomes on v1 and on v2, or the error.

use super::*;

/// What a limit becomes: its files in the order in which they are written, or the error behind a `!`.
fn becomes(cgroups: &Cgroups, json: &str) -> String {
    match fitted(cgroups, json, &[]) {
        Ok(limits) => {
            let line = |limit: &Limit| format!("{}={}", limit.file, limit.value);
            let lines: Vec<String> = limits.values.iter().map(line).collect();
            lines.join("; ")
        }
        Err(error) => format!("!{error}"),
    }
}

macro_rules! limits {
    ($($name:ident $json:literal, $v1:literal, $v2:literal;)*) => {$(
        #[test]
        fn $name() {
            let json = concat!("{", $json, "}");
            assert_eq!([becomes(&v1(), json), becomes(&Cgroups::V2, json)], [$v1, $v2]);
        }
    )*};
}

limits! {
    memory_limit r#""memory":{"limit":7}"#, "memory.limit_in_bytes=7", "memory.max=7";
    memory_limit_0 r#""memory":{"limit":0}"#, "", "";
    memory_unlimited r#""memory":{"limit":-1}"#, "memory.limit_in_bytes=-1; memory.memsw.limit_in_bytes=-1", "memory.swap.max=max; memory.max=max";
    memory_reservation r#""memory":{"reservation":7}"#, "memory.soft_limit_in_bytes=7", "memory.low=7";
    memory_reservation_unlimited r#""memory":{"reservation":-1}"#, "memory.soft_limit_in_bytes=-1", "memory.low=max";
    swap_with_a_limit r#""memory":{"limit":7,"swap":9}"#, "memory.limit_in_bytes=7; memory.memsw.limit_in_bytes=9", "memory.swap.max=2; memory.max=7";
    swap_of_the_limit r#""memory":{"limit":7,"swap":7}"#, "memory.limit_in_bytes=7; memory.memsw.limit_in_bytes=7", "memory.swap.max=0; memory.max=7";
    swap_unlimited r#""memory":{"limit":7,"swap":-1}"#, "memory.limit_in_bytes=7; memory.memsw.limit_in_bytes=-1", "memory.swap.max=max; memory.max=7";
    swap_without_a_limit r#""memory":{"swap":9}"#, "memory.memsw.limit_in_bytes=9", "!memory.swap: needs memory.limit";
    swap_of_an_unlimited_memory r#""memory":{"limit":-1,"swap":9}"#, "memory.limit_in_bytes=-1; memory.memsw.limit_in_bytes=9", "memory.swap.max=9; memory.max=max";
    swap_below_the_limit r#""memory":{"limit":7,"swap":6}"#, "!memory.swap: 6 is less than memory.limit, which is 7", "!memory.swap: 6 is less than memory.limit, which is 7";
    kernel_memory_is_ignored r#""memory":{"kernel":7,"kernelTCP":7}"#, "", "";
    swappiness r#""memory":{"swappiness":100}"#, "memory.swappiness=100", "!memory.swappiness: cgroup v2 has none";
    swappiness_0 r#""memory":{"swappiness":0}"#, "memory.swappiness=0", "!memory.swappiness: cgroup v2 has none";
    swappiness_101 r#""memory":{"swappiness":101}"#, "!memory.swappiness: expected a number from 0 to 100, found 101", "!memory.swappiness: expected a number from 0 to 100, found 101";
    swappiness_as_engines_write_none r#""memory":{"swappiness":18446744073709551615}"#, "", "";
    oom_killer_off r#""memory":{"disableOOMKiller":true}"#, "memory.oom_control=1", "!memory.disableOOMKiller: cgroup v2 cannot disable the OOM killer";
    oom_killer_on r#""memory":{"disableOOMKiller":false}"#, "", "";

    shares r#""cpu":{"shares":1024}"#, "cpu.shares=1024", "cpu.weight=100";
    shares_0 r#""cpu":{"shares":0}"#, "", "";
    quota r#""cpu":{"quota":5000}"#, "cpu.cfs_quota_us=5000", "cpu.max=5000";
    quota_0 r#""cpu":{"quota":0}"#, "", "";
    quota_unlimited r#""cpu":{"quota":-1}"#, "cpu.cfs_quota_us=-1", "cpu.max=max";
    quota_and_period r#""cpu":{"quota":5000,"period":10000}"#, "cpu.cfs_quota_us=5000; cpu.cfs_period_us=10000", "cpu.max=5000 10000";
    period r#""cpu":{"period":10000}"#, "cpu.cfs_period_us=10000", "cpu.max=max 10000";
    burst r#""cpu":{"burst":7}"#, "cpu.cfs_burst_us=7", "cpu.max.burst=7";
    idle r#""cpu":{"idle":1}"#, "cpu.idle=1", "cpu.idle=1";
    idle_takes_no_shares r#""cpu":{"idle":1,"shares":512}"#, "cpu.idle=1", "cpu.idle=1";
    realtime r#""cpu":{"realtimeRuntime":5,"realtimePeriod":7}"#, "cpu.rt_runtime_us=5; cpu.rt_period_us=7", "!cpu.realtimeRuntime: cgroup v2 has no realtime limits";
    realtime_period r#""cpu":{"realtimePeriod":7}"#, "cpu.rt_period_us=7", "!cpu.realtimePeriod: cgroup v2 has no realtime limits";
    cpus_and_nodes r#""cpu":{"cpus":"0-3","mems":"0"}"#, "cpuset.cpus=0-3; cpuset.mems=0", "cpuset.cpus=0-3; cpuset.mems=0";
    empty_cpus r#""cpu":{"cpus":""}"#, "", "";

    pids_unlimited r#""pids":{"limit":-1}"#, "pids.max=max", "pids.max=max";
    pids_0 r#""pids":{"limit":0}"#, "pids.max=1", "pids.max=1";
    pids r#""pids":{"limit":7}"#, "pids.max=7", "pids.max=7";

    io_weight r#""blockIO":{"weight":10}"#, "blkio.weight=10", "io.bfq.weight=10";
    io_weight_0 r#""blockIO":{"weight":0}"#, "", "";
    io_weight_above_1000 r#""blockIO":{"weight":1001}"#, "!blockIO.weight: expected a number from 10 to 1000, found 1001", "!blockIO.weight: expected a number from 10 to 1000, found 1001";
    io_leaf_weight r#""blockIO":{"leafWeight":10}"#, "blkio.leaf_weight=10", "!blockIO.leafWeight: cgroup v2 has none";
    io_weight_of_a_device r#""blockIO":{"weightDevice":[{"major":8,"minor":1,"weight":10}]}"#, "blkio.weight_device=8:1 10", "io.bfq.weight=8:1 10";
    io_leaf_weight_of_a_device r#""blockIO":{"weightDevice":[{"major":8,"minor":1,"leafWeight":10}]}"#, "blkio.leaf_weight_device=8:1 10", "!blockIO.weightDevice[0].leafWeight: cgroup v2 has none";
    io_weight_of_no_device r#""blockIO":{"weightDevice":[{"major":-1,"minor":1,"weight":10}]}"#, "!blockIO.weightDevice[0]: expected the numbers of a device, found -1:1", "!blockIO.weightDevice[0]: expected the numbers of a device, found -1:1";
    read_bytes r#""blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":5}]}"#, "blkio.throttle.read_bps_device=8:1 5", "io.max=8:1 rbps=5";
    write_bytes r#""blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":1,"rate":5}]}"#, "blkio.throttle.write_bps_device=8:1 5", "io.max=8:1 wbps=5";
    read_operations r#""blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":1,"rate":5}]}"#, "blkio.throttle.read_iops_device=8:1 5", "io.max=8:1 riops=5";
    write_operations r#""blockIO":{"throttleWriteIOPSDevice":[{"major":8,"minor":1,"rate":0}]}"#, "blkio.throttle.write_iops_device=8:1 0", "io.max=8:1 wiops=max";

    huge_pages r#""hugepageLimits":[{"pageSize":"1GB","limit":7}]"#, "hugetlb.1GB.limit_in_bytes=7; hugetlb.1GB.rsvd.limit_in_bytes=7", "hugetlb.1GB.max=7; hugetlb.1GB.rsvd.max=7";
    huge_pages_of_two_units r#""hugepageLimits":[{"pageSize":"2KBMB","limit":7}]"#, r#"!hugepageLimits[0].pageSize: expected a size such as 2MB, found "2KBMB""#, r#"!hugepageLimits[0].pageSize: expected a size such as 2MB, found "2KBMB""#;
    huge_pages_that_lead_out r#""hugepageLimits":[{"pageSize":"../2MB","limit":7}]"#, r#"!hugepageLimits[0].pageSize: expected a size such as 2MB, found "../2MB""#, r#"!hugepageLimits[0].pageSize: expected a size such as 2MB, found "../2MB""#;
    rdma r#""rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":4}}"#, "rdma.max=mlx5_1 hca_handle=3 hca_object=4", "rdma.max=mlx5_1 hca_handle=3 hca_object=4";
    rdma_of_a_blank r#""rdma":{"a b":{"hcaHandles":3}}"#, r#"!rdma["a b"]: expected the name of a device"#, r#"!rdma["a b"]: expected the name of a device"#;
    network_class r#""network":{"classID":7}"#, "net_cls.classid=7", "!network: cgroup v2 has no network controller";
    network_priority r#""network":{"priorities":[{"name":"eth0","priority":7}]}"#, "net_prio.ifpriomap=eth0 7", "!network: cgroup v2 has no network controller";
    unified r#""unified":{"memory.high":"7"}"#, r#"!unified["memory.high"]: needs cgroup v2, and this host has v1"#, "memory.high=7";
    unified_without_a_dot r#""unified":{"memory":"7"}"#, r#"!unified["memory"]: needs cgroup v2, and this host has v1"#, r#"!unified["memory"]: expected the name of a file of the cgroup, such as memory.high"#;
    unified_depth r#""unified":{"cgroup.max.depth":"7"}"#, r#"!unified["cgroup.max.depth"]: needs cgroup v2, and this host has v1"#, "cgroup.max.depth=7";
    unified_kill r#""unified":{"cgroup.kill":"1"}"#, r#"!unified["cgroup.kill"]: needs cgroup v2, and this host has v1"#, r#"!unified["cgroup.kill"]: is not a limit"#;
}

/// The value of an annotation `org.systemd.property.X`.
macro_rules! annotations {
    ($($name:ident $property:literal $text:literal => $value:expr;)*) => {$(
        #[test]
        fn $name() {
            let key = concat!("org.systemd.property.", $property);
            let annotations = [(Cow::Borrowed(key), Cow::Borrowed($text))];
            let result = Unit::new("", None, "box", &annotations);
            let last = result.map(|unit| unit.properties(7, &Limits::default(), "").pop());
            let value: core::result::Result<(&str, Value), &str> = $value;
            match (last, value) {
                (Ok(Some((name, got))), Ok((expected, value))) => assert_eq!((name.as_str(), got), (expected, value)),
                (Err(error), Err(text)) => assert_eq!(
                    error.to_string(),
                    format!("config.json: annotations[{key:?}]: {text}")
                ),
                (got, expected) => panic!("{got:?}, expected {expected:?}"),
            }
        }
    )*};
}

annotations! {
    a_switch "Abc" "true" => Ok(("Abc", Value::Bool(true)));
    a_number "Abc" "5" => Ok(("Abc", Value::I32(5)));
    a_byte "Abc" "byte 5" => Ok(("Abc", Value::Byte(5)));
    a_byte_too_large "Abc" "byte 256" => Err("expected a value such as true, 'text', uint64 5 or ['a', 'b'], found \"byte 256\"");
    an_int16 "Abc" "@n -5" => Ok(("Abc", Value::I16(-5)));
    a_uint16 "Abc" "uint16 5" => Ok(("Abc", Value::U16(5)));
    a_uint32 "Abc" "@u 5" => Ok(("Abc", Value::U32(5)));
    an_int64 "Abc" "int64 -5" => Ok(("Abc", Value::I64(-5)));
    a_uint64 "Abc" "@t 5" => Ok(("Abc", Value::U64(5)));
    a_text "Abc" "'a b'" => Ok(("Abc", Value::Text("a b".into())));
    a_text_with_an_escape "Abc" r#""a\"b""# => Ok(("Abc", Value::Text("a\"b".into())));
    a_list "Abc" "['a', \"b\"]" => Ok(("Abc", Value::Texts(Vec::from(["a".into(), "b".into()]))));
    an_empty_list "Abc" "@as []" => Ok(("Abc", Value::Texts(Vec::new())));
    a_list_without_its_end "Abc" "['a'" => Err("expected a value such as true, 'text', uint64 5 or ['a', 'b'], found \"['a'\"");
    a_text_without_its_end "Abc" "'a" => Err("expected a value such as true, 'text', uint64 5 or ['a', 'b'], found \"'a\"");
    seconds_become_microseconds "TimeoutStopSec" "5" => Ok(("TimeoutStopUSec", Value::U64(5_000_000)));
    seconds_as_text "TimeoutStopSec" "'5'" => Err("expected a number of seconds, found \"'5'\"");
    too_many_seconds "TimeoutStopSec" "uint64 18446744073709551615" => Err("too many seconds, found \"uint64 18446744073709551615\"");
    a_short_name "Ab" "1" => Err("\"Ab\" is not the name of a property");
}

#[test]
fn shares_convert_to_the_weight_that_runc_computes() {
    // 10 ^ ((log2(shares)² + 125 · log2(shares)) / 612 − 7 / 34), rounded up.
    for (shares, weight) in [
        (2, 1),
        (3, 2),
        (10, 4),
        (100, 17),
        (512, 59),
        (1023, 100),
        (1024, 100),
        (1025, 101),
        (2048, 174),
        (10000, 627),
        (100000, 4340),
        (262143, 10000),
        (262144, 10000),
        (1000000, 10000),
    ] {
        let json = format!(r#"{{"cpu":{{"shares":{shares}}}}}"#);
        assert_eq!(
            values(&Cgroups::V2, &json, &[]),
            [format!("cpu.weight={weight}")]
        );
        assert_eq!(values(&v1(), &json, &[]), [format!("cpu.shares={shares}")]);
    }
}

#[test]
fn every_share_converts_as_the_standard_library_computes_it() {
    for shares in 3..262_144u32 {
        let l = f64::from(shares).log2();
        let weight = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
        let expected = (weight - 1e-9).ceil() as u64;
        assert_eq!(v2::weight(shares.into()), expected, "{shares}");
    }
}
