//! Tests of the values computed from resources, for both cgroup versions and for systemd.

mod values;

use super::*;
use crate::dbus::Value;
use crate::facts::{Cgroups, Hierarchy};
use alloc::collections::BTreeMap;

fn v1() -> Cgroups {
    Cgroups::V1(Vec::from([Hierarchy {
        mountpoint: "/sys/fs/cgroup/memory".into(),
        controllers: Vec::from(["memory".into()]),
    }]))
}

fn fitted(cgroups: &Cgroups, json: &str, now: &[(&str, &str)]) -> Result<Limits> {
    let files: BTreeMap<&str, &str> = now.iter().copied().collect();
    let read = |file: &str| files.get(file).map(|text| (*text).to_owned());
    let current = Current((!now.is_empty()).then_some(&read as &Read<'_>));
    let resources = Resources::parse("resources", json.as_bytes())?;
    Limits::fitted(cgroups, true, &resources, &current)
}

/// `file=value`, in the order in which they are written.
#[track_caller]
fn values(cgroups: &Cgroups, json: &str, now: &[(&str, &str)]) -> Vec<String> {
    let limits = fitted(cgroups, json, now).unwrap();
    let line = |limit: &Limit| format!("{}={}", limit.file, limit.value);
    limits.values.iter().map(line).collect()
}

#[track_caller]
fn error(cgroups: &Cgroups, json: &str) -> String {
    fitted(cgroups, json, &[]).unwrap_err().to_string()
}

#[test]
fn no_resources_give_no_values() {
    assert_eq!(values(&Cgroups::V2, "{}", &[]), [""; 0]);
    assert_eq!(values(&v1(), "{}", &[]), [""; 0]);
}

#[test]
fn shares_of_0_are_unset() {
    assert_eq!(
        values(&Cgroups::V2, r#"{"cpu":{"shares":0}}"#, &[]),
        [""; 0]
    );
}

#[test]
fn a_weight_ends_idle_first() {
    let now = [("cpu.idle", "1\n")];
    assert_eq!(
        values(&Cgroups::V2, r#"{"cpu":{"shares":1024}}"#, &now),
        ["cpu.idle=0", "cpu.weight=100"]
    );
}

#[test]
fn quota_and_period_are_one_line_on_v2() {
    for (json, line) in [
        (
            r#"{"cpu":{"quota":5000,"period":10000}}"#,
            "cpu.max=5000 10000",
        ),
        (
            r#"{"cpu":{"quota":-1,"period":10000}}"#,
            "cpu.max=max 10000",
        ),
        (r#"{"cpu":{"period":10000}}"#, "cpu.max=max 10000"),
        (r#"{"cpu":{"quota":5000}}"#, "cpu.max=5000"),
    ] {
        assert_eq!(values(&Cgroups::V2, json, &[]), [line]);
    }
}

#[test]
fn an_update_keeps_the_part_of_cpu_max_that_it_does_not_set() {
    let now = [("cpu.max", "5000 20000\n")];
    assert_eq!(
        values(&Cgroups::V2, r#"{"cpu":{"quota":-1}}"#, &now),
        ["cpu.max=max 20000"]
    );
    assert_eq!(
        values(&Cgroups::V2, r#"{"cpu":{"period":9000}}"#, &now),
        ["cpu.max=5000 9000"]
    );
}

#[test]
fn a_burst_is_written_before_a_lower_quota_and_after_a_higher_one() {
    let now = [("cpu.max", "5000 10000\n")];
    assert_eq!(
        values(&Cgroups::V2, r#"{"cpu":{"quota":4000,"burst":100}}"#, &now),
        ["cpu.max.burst=100", "cpu.max=4000 10000"]
    );
    assert_eq!(
        values(&Cgroups::V2, r#"{"cpu":{"quota":6000,"burst":100}}"#, &now),
        ["cpu.max=6000 10000", "cpu.max.burst=100"]
    );
}

#[test]
fn a_longer_period_is_written_before_the_quota_on_v1() {
    assert_eq!(
        values(&v1(), r#"{"cpu":{"quota":5000,"period":200000}}"#, &[]),
        ["cpu.cfs_period_us=200000", "cpu.cfs_quota_us=5000"]
    );
    assert_eq!(
        values(&v1(), r#"{"cpu":{"quota":5000,"period":50000}}"#, &[]),
        ["cpu.cfs_quota_us=5000", "cpu.cfs_period_us=50000"]
    );
}

#[test]
fn swap_is_counted_alone_on_v2() {
    for (json, lines) in [
        (
            r#"{"memory":{"limit":100,"swap":150}}"#,
            &["memory.swap.max=50", "memory.max=100"][..],
        ),
        (
            r#"{"memory":{"limit":100,"swap":100}}"#,
            &["memory.swap.max=0", "memory.max=100"],
        ),
        (
            r#"{"memory":{"limit":100,"swap":-1}}"#,
            &["memory.swap.max=max", "memory.max=100"],
        ),
        (
            r#"{"memory":{"limit":-1}}"#,
            &["memory.swap.max=max", "memory.max=max"],
        ),
        (r#"{"memory":{"limit":100}}"#, &["memory.max=100"]),
        (r#"{"memory":{"reservation":7}}"#, &["memory.low=7"]),
        (r#"{"memory":{"limit":0,"swap":0}}"#, &[]),
    ] {
        assert_eq!(values(&Cgroups::V2, json, &[]), lines, "{json}");
    }
}

#[test]
fn memory_and_swap_are_counted_together_on_v1() {
    for (json, lines) in [
        (
            r#"{"memory":{"limit":100,"swap":150}}"#,
            &[
                "memory.limit_in_bytes=100",
                "memory.memsw.limit_in_bytes=150",
            ][..],
        ),
        (
            r#"{"memory":{"limit":-1}}"#,
            &["memory.limit_in_bytes=-1", "memory.memsw.limit_in_bytes=-1"],
        ),
        (
            r#"{"memory":{"disableOOMKiller":true,"swappiness":10}}"#,
            &["memory.swappiness=10", "memory.oom_control=1"],
        ),
    ] {
        assert_eq!(values(&v1(), json, &[]), lines, "{json}");
    }
}

#[test]
fn memory_plus_swap_is_raised_first_on_v1() {
    let now = [
        ("memory.limit_in_bytes", "100\n"),
        ("memory.memsw.limit_in_bytes", "150\n"),
    ];
    assert_eq!(
        values(&v1(), r#"{"memory":{"limit":200,"swap":300}}"#, &now),
        [
            "memory.memsw.limit_in_bytes=300",
            "memory.limit_in_bytes=200"
        ]
    );
}

#[test]
fn an_update_of_memory_keeps_the_sum_of_memory_and_swap() {
    let now = [("memory.max", "100\n"), ("memory.swap.max", "50\n")];
    assert_eq!(
        values(&Cgroups::V2, r#"{"memory":{"limit":120}}"#, &now),
        ["memory.swap.max=30", "memory.max=120"]
    );
}

#[test]
fn pids_0_and_minus_1_differ() {
    for (limit, value) in [("-1", "max"), ("0", "1"), ("1", "1"), ("77", "77")] {
        let json = format!(r#"{{"pids":{{"limit":{limit}}}}}"#);
        for cgroups in [Cgroups::V2, v1()] {
            assert_eq!(values(&cgroups, &json, &[]), [format!("pids.max={value}")]);
        }
    }
    assert_eq!(values(&Cgroups::V2, r#"{"pids":{}}"#, &[]), [""; 0]);
}

#[test]
fn huge_pages_are_limited_by_size_with_their_reservations() {
    let json = r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#;
    assert_eq!(
        values(&Cgroups::V2, json, &[]),
        ["hugetlb.2MB.max=4194304", "hugetlb.2MB.rsvd.max=4194304"]
    );
    assert_eq!(
        values(&v1(), json, &[]),
        [
            "hugetlb.2MB.limit_in_bytes=4194304",
            "hugetlb.2MB.rsvd.limit_in_bytes=4194304"
        ]
    );
}

#[test]
fn io_limits_name_the_device() {
    let json = r#"{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],
        "throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}"#;
    assert_eq!(
        values(&Cgroups::V2, json, &[]),
        ["io.max=8:0 rbps=600", "io.max=8:16 wiops=max"]
    );
    assert_eq!(
        values(&v1(), json, &[]),
        [
            "blkio.throttle.read_bps_device=8:0 600",
            "blkio.throttle.write_iops_device=8:16 0"
        ]
    );
}

#[test]
fn an_io_weight_uses_another_file_without_bfq() {
    let limits = fitted(&Cgroups::V2, r#"{"blockIO":{"weight":1000}}"#, &[]).unwrap();
    assert_eq!(limits.values[0].file, "io.bfq.weight");
    assert_eq!(limits.values[0].value, "1000");
    assert_eq!(
        limits.values[0].absent,
        Absent::Instead("io.weight", "10000".into())
    );
}

#[test]
fn unified_files_are_written_line_by_line() {
    let json = r#"{"unified":{"memory.high":"1000","io.max":"8:0 rbps=1\n8:16 rbps=2\n"}}"#;
    assert_eq!(
        values(&Cgroups::V2, json, &[]),
        [
            "memory.high=1000",
            "io.max=8:0 rbps=1",
            "io.max=8:16 rbps=2"
        ]
    );
}

#[test]
fn a_limit_that_a_version_lacks_is_an_error_that_names_the_field() {
    for (json, text) in [
        (
            r#"{"memory":{"swappiness":10}}"#,
            "memory.swappiness: cgroup v2 has none",
        ),
        (
            r#"{"memory":{"disableOOMKiller":true}}"#,
            "memory.disableOOMKiller: cgroup v2 cannot disable the OOM killer",
        ),
        (
            r#"{"cpu":{"realtimeRuntime":5}}"#,
            "cpu.realtimeRuntime: cgroup v2 has no realtime limits",
        ),
        (
            r#"{"blockIO":{"leafWeight":10}}"#,
            "blockIO.leafWeight: cgroup v2 has none",
        ),
        (
            r#"{"network":{"classID":1}}"#,
            "network: cgroup v2 has no network controller",
        ),
        (
            r#"{"unified":{"cgroup.procs":"1"}}"#,
            r#"unified["cgroup.procs"]: is not a limit"#,
        ),
        (
            r#"{"unified":{"../x.y":"1"}}"#,
            r#"unified["../x.y"]: expected the name of a file of the cgroup, such as memory.high"#,
        ),
    ] {
        assert_eq!(error(&Cgroups::V2, json), text);
    }
    assert_eq!(
        error(&v1(), r#"{"unified":{"memory.high":"1"}}"#),
        r#"unified["memory.high"]: needs cgroup v2, and this host has v1"#
    );
}

#[test]
fn invalid_values_are_errors_on_both_versions() {
    for cgroups in [Cgroups::V2, v1()] {
        for (json, text) in [
            (
                r#"{"memory":{"limit":100,"swap":50}}"#,
                "memory.swap: 50 is less than memory.limit, which is 100",
            ),
            (
                r#"{"blockIO":{"weight":5}}"#,
                "blockIO.weight: expected a number from 10 to 1000, found 5",
            ),
            (
                r#"{"hugepageLimits":[{"pageSize":"2mb","limit":1}]}"#,
                r#"hugepageLimits[0].pageSize: expected a size such as 2MB, found "2mb""#,
            ),
            (
                r#"{"rdma":{"mlx5_1":{}}}"#,
                r#"rdma["mlx5_1"]: needs hcaHandles or hcaObjects"#,
            ),
            (
                r#"{"devices":[{"allow":true,"type":"x"}]}"#,
                r#"devices[0].type: expected a, b or c, found "x""#,
            ),
            (
                r#"{"devices":[{"allow":true,"access":"z"}]}"#,
                r#"devices[0].access: expected letters of "rwm", found "z""#,
            ),
            (
                r#"{"devices":[{"allow":true,"major":-2}]}"#,
                "devices[0].major: expected a device number or -1, found -2",
            ),
        ] {
            assert_eq!(error(&cgroups, json), text);
        }
    }
}

#[test]
fn device_rules_are_lines_on_v1_with_the_default_devices_last() {
    let json = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}"#;
    let limits = fitted(&v1(), json, &[]).unwrap();
    let Some(Filter::Lines(lines)) = limits.devices else {
        panic!("no lines");
    };
    let lines: Vec<String> = lines
        .iter()
        .map(|line| format!("{}{}", if line.allow { '+' } else { '-' }, line.text))
        .collect();
    assert_eq!(
        lines,
        [
            "-a *:* rwm",
            "+c 10:229 rw",
            "+c *:* m",
            "+b *:* m",
            "+c 1:3 rwm",
            "+c 1:5 rwm",
            "+c 1:7 rwm",
            "+c 1:8 rwm",
            "+c 1:9 rwm",
            "+c 5:0 rwm",
            "+c 5:2 rwm",
            "+c 136:* rwm"
        ]
    );
}

#[test]
fn only_the_hosts_root_gets_a_device_filter() {
    let json = r#"{"devices":[{"allow":false,"access":"rwm"}]}"#;
    let resources = Resources::parse("resources", json.as_bytes()).unwrap();
    let of = |root| Limits::fitted(&Cgroups::V2, root, &resources, &Current(None)).unwrap();
    assert!(matches!(of(true).devices, Some(Filter::Program(_))));
    assert_eq!(of(false).devices, None);
    assert_eq!(of(false).rules.map(|rules| rules.len()), Some(11));
}

#[test]
fn lists_of_devices_change_only_where_they_differ() {
    let line = |allow, text: &str| devices::Line {
        allow,
        text: text.into(),
    };
    let wanted = [
        line(false, "a *:* rwm"),
        line(true, "c 1:3 rwm"),
        line(true, "c 10:229 rw"),
    ];
    let now = "c 1:3 rwm\nc 1:5 rwm\n";
    assert_eq!(
        devices::difference(now, &wanted),
        [
            line(false, "c 1:5 rwm"),
            line(true, "c 1:3 rwm"),
            line(true, "c 10:229 rw")
        ]
    );
    assert_eq!(devices::difference("a *:* rwm\n", &wanted), wanted);
}

#[test]
fn a_cgroups_path_is_normalized_and_never_leads_out() {
    for (path_, clean) in [
        (None, "/box"),
        (Some("a/b"), "/a/b"),
        (Some("/a//./b/"), "/a/b"),
    ] {
        assert_eq!(path(path_, "box").unwrap(), clean);
    }
    assert_eq!(
        path(Some("/a/../../b"), "box").unwrap_err().to_string(),
        r#"config.json: linux.cgroupsPath: /a/../../b is not a sub cgroup path: ".." leads out of it"#
    );
    assert_eq!(
        path(Some("/"), "box").unwrap_err().to_string(),
        r#"config.json: linux.cgroupsPath: the root cgroup cannot be a container's, found "/""#
    );
}

fn unit(path: Option<&str>) -> Result<Unit> {
    Unit::new("", path, "box", &[])
}

#[test]
fn the_cgroup_of_a_unit_is_in_its_slice() {
    for (path, cgroup) in [
        (None, "/system.slice/runtime-box.scope"),
        (Some("a-b.slice:cri:x"), "/a.slice/a-b.slice/cri-x.scope"),
        (Some(":cri:x"), "/system.slice/cri-x.scope"),
        (Some("-.slice::x"), "/x.scope"),
    ] {
        assert_eq!(unit(path).unwrap().path().unwrap(), cgroup);
    }
    let user = Unit::new("/user.slice/user@1.service/", None, "box", &[]).unwrap();
    assert_eq!(
        user.path().unwrap(),
        "/user.slice/user@1.service/user.slice/runtime-box.scope"
    );
}

#[test]
fn a_unit_that_systemd_would_refuse_is_an_error() {
    for (path, text) in [
        (
            "/a/b",
            r#"config.json: linux.cgroupsPath: expected slice:prefix:name, which --systemd-cgroup takes, found "/a/b""#,
        ),
        (
            "s.slice:p:n.slice",
            r#"config.json: linux.cgroupsPath: a slice cannot hold the processes of a container, found "n.slice""#,
        ),
        (
            "a--b.slice:p:n",
            r#"config.json: linux.cgroupsPath: not a slice name: "a--b.slice""#,
        ),
        (
            "s.slice:p:a b",
            r#"config.json: linux.cgroupsPath: systemd accepts no unit named "p-a b.scope""#,
        ),
    ] {
        assert_eq!(unit(Some(path)).unwrap_err().to_string(), text);
    }
}

#[test]
fn limits_become_properties_of_the_unit() {
    let json = r#"{"memory":{"limit":100},"pids":{"limit":-1},"cpu":{"shares":1024,"quota":5001,"period":10000,"cpus":"0-2,9"}}"#;
    let limits = fitted(&Cgroups::V2, json, &[]).unwrap();
    let properties = systemd::properties(&limits, &Current(None), "");
    let expected = [
        ("CPUWeight", Value::U64(100)),
        ("AllowedCPUs", Value::Bytes(Vec::from([7, 2]))),
        ("MemoryMax", Value::U64(100)),
        ("TasksMax", Value::U64(u64::MAX)),
        ("CPUQuotaPerSecUSec", Value::U64(510_000)),
        ("CPUQuotaPeriodUSec", Value::U64(10_000)),
    ];
    for (name, value) in expected {
        assert!(
            properties.contains(&(name.into(), value.clone())),
            "{name} = {value:?} in {properties:?}"
        );
    }
    assert_eq!(properties.len(), 6);
}

#[test]
fn devices_are_passed_to_systemd_by_number_and_by_driver() {
    let json = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":136,"access":"rw"}]}"#;
    let limits = fitted(&Cgroups::V2, json, &[]).unwrap();
    let drivers = "Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n";
    let properties = systemd::properties(&limits, &Current(None), drivers);
    assert_eq!(
        properties[0],
        ("DevicePolicy".into(), Value::Text("strict".into()))
    );
    let Value::Pairs(list) = &properties[2].1 else {
        panic!("{properties:?}");
    };
    assert_eq!(list[0], ("char-pts".into(), "rw".into()));
    assert_eq!(list[1], ("char-*".into(), "m".into()));
    assert_eq!(list[3], ("/dev/char/1:3".into(), "rwm".into()));
}

#[test]
fn annotations_become_properties_of_the_unit() {
    let annotations = [(
        Cow::Borrowed("org.systemd.property.TimeoutStopSec"),
        Cow::Borrowed("uint64 5"),
    )];
    let unit = Unit::new("", None, "box", &annotations).unwrap();
    let properties = unit.properties(7, &Limits::default(), "");
    assert_eq!(
        properties.last(),
        Some(&("TimeoutStopUSec".into(), Value::U64(5_000_000)))
    );
    let wrong = [(
        Cow::Borrowed("org.systemd.property.X Y"),
        Cow::Borrowed("1"),
    )];
    assert_eq!(
        Unit::new("", None, "box", &wrong).unwrap_err().to_string(),
        r#"config.json: annotations["org.systemd.property.X Y"]: "X Y" is not the name of a property"#
    );
}

#[test]
fn undoing_a_limit_restores_the_previous_value() {
    let plain = Limit::new("pids.max", "7".into(), "pids.limit");
    assert_eq!(plain.undoing("7", "max\n"), "max");
    assert_eq!(plain.undoing("7", "default 100\n"), "100");
    assert_eq!(plain.undoing("7", ""), "\n");
    let keyed = Limit::new("io.max", "8:0 rbps=1".into(), "").keyed();
    assert_eq!(
        keyed.undoing("8:0 rbps=1", "8:0 rbps=9 wbps=max\n"),
        "8:0 rbps=9 wbps=max"
    );
    assert_eq!(keyed.undoing("8:0 rbps=1", "8:16 rbps=9\n"), "8:0 rbps=max");
    assert_eq!(keyed.undoing("8:0 100", ""), "8:0 0");
}

#[test]
fn too_many_device_rules_are_refused() {
    let rules = |n: usize| {
        let rule = |n| format!(r#"{{"allow":false,"type":"c","major":{n},"access":"r"}}"#);
        let rules: Vec<String> = (0..n).map(rule).collect();
        format!(r#"{{"devices":[{}]}}"#, rules.join(","))
    };
    assert!(fitted(&v1(), &rules(10_000), &[]).is_ok());
    for cgroups in [v1(), Cgroups::V2] {
        assert_eq!(
            error(&cgroups, &rules(10_001)),
            "devices: expected at most 10000 rules, found 10001"
        );
    }
}

#[test]
fn a_sum_of_memory_and_swap_never_overflows() {
    let most = "9223372036854775807";
    let now = [("memory.max", most), ("memory.swap.max", most)];
    assert_eq!(
        values(&Cgroups::V2, r#"{"memory":{"limit":7}}"#, &now),
        ["memory.swap.max=9223372036854775800", "memory.max=7"]
    );
}

#[test]
fn a_list_that_names_every_cpu_again_and_again_is_no_property() {
    let json = format!(r#"{{"cpu":{{"cpus":"{}"}}}}"#, "0-65535,".repeat(100_000));
    let limits = fitted(&Cgroups::V2, &json, &[]).unwrap();
    assert_eq!(systemd::properties(&limits, &Current(None), ""), []);
}
