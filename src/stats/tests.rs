//! Statistics from the text of a cgroup's files, as the kernel writes them.

use super::*;
use alloc::collections::BTreeMap;
use alloc::string::ToString;

impl Files for BTreeMap<&str, &str> {
    fn text(&mut self, file: &str) -> Option<&str> {
        self.get(file).copied()
    }
}

/// What is in `data` for these files.
fn data(v2: bool, files: &[(&str, &str)]) -> serde_json::Value {
    let pages = [
        "hugepages-2048kB",
        "hugepages-1048576kB",
        "hugepages-64kB",
        "other",
    ];
    let stats = Stats::new(v2, &pages.map(String::from));
    let mut files: BTreeMap<&str, &str> = files.iter().copied().collect();
    let mut out = String::new();
    stats.write(&mut files, "box", &mut out).unwrap();
    let line = serde_json::from_str::<serde_json::Value>(&out).unwrap();
    assert_eq!(
        (&line["type"], &line["id"]),
        (&"stats".into(), &"box".into())
    );
    assert!(out.ends_with("}\n") && out.lines().count() == 1);
    line["data"].clone()
}

/// One part of `data`, as text.
macro_rules! stats {
    ($($name:ident $v2:literal $pointer:literal [$($file:literal $text:literal),*] $json:literal;)*) => {$(
        #[test]
        fn $name() {
            let data = data($v2, &[$(($file, $text)),*]);
            let part = data.pointer($pointer).map(ToString::to_string);
            assert_eq!(part.as_deref().unwrap_or("none"), $json);
        }
    )*};
}

stats! {
    cpu_usage_on_v2 true "/cpu/usage" ["cpu.stat" "usage_usec 30\nuser_usec 20\nsystem_usec 10\n"] r#"{"kernel":10000,"total":30000,"user":20000}"#;
    cpu_usage_without_a_file true "/cpu/usage" [] r#"{"kernel":0,"user":0}"#;
    cpu_usage_that_overflows true "/cpu/usage/total" ["cpu.stat" "usage_usec 18446744073709551615\n"] "18446744073709551615";
    cpu_usage_on_v1 false "/cpu/usage" ["cpuacct.usage" "55\n", "cpuacct.stat" "user 2\nsystem 3\n"] r#"{"kernel":30000000,"total":55,"user":20000000}"#;
    cpu_usage_of_each_cpu false "/cpu/usage/percpu" ["cpuacct.usage_percpu" "5 6 0 \n"] "[5,6,0]";
    cpu_kernel_time_of_each_cpu false "/cpu/usage/percpu_kernel" ["cpuacct.usage_all" "cpu user system\n0 1 2\n1 3 4\n"] "[2,4]";
    cpu_user_time_of_each_cpu false "/cpu/usage/percpu_user" ["cpuacct.usage_all" "cpu user system\n0 1 2\n1 3 4\n"] "[1,3]";
    throttling_on_v2 true "/cpu/throttling" ["cpu.stat" "nr_periods 4\nnr_throttled 2\nthrottled_usec 7\n"] r#"{"periods":4,"throttledPeriods":2,"throttledTime":7000}"#;
    throttling_on_v1 false "/cpu/throttling" ["cpu.stat" "nr_periods 4\nnr_throttled 2\nthrottled_time 7\n"] r#"{"periods":4,"throttledPeriods":2,"throttledTime":7}"#;
    no_throttling_is_left_out true "/cpu/throttling" ["cpu.stat" "nr_periods 0\n"] "{}";
    cpu_pressure true "/cpu/psi" ["cpu.pressure" "some avg10=1.50 avg60=0.00 avg300=0.10 total=9\n"] r#"{"some":{"avg10":1.5,"avg300":0.1,"avg60":0.0,"total":9}}"#;
    no_pressure true "/cpu/psi" [] "none";
    cpus_of_the_set_on_v2 true "/cpuset/cpus" ["cpuset.cpus.effective" "0-2,5\n", "cpuset.cpus" "7\n"] "[0,1,2,5]";
    cpus_of_the_set_on_v1 false "/cpuset/cpus" ["cpuset.cpus" "7\n"] "[7]";
    nodes_of_the_set true "/cpuset/mems" ["cpuset.mems.effective" "0\n"] "[0]";
    cpus_of_an_empty_set true "/cpuset/cpus" ["cpuset.cpus.effective" "\n"] "none";
    wrong_ranges_are_left_out true "/cpuset/cpus" ["cpuset.cpus.effective" "a,3-1,70000,4\n"] "[4]";
    flags_of_the_set false "/cpuset/cpu_exclusive" ["cpuset.cpu_exclusive" "1\n"] "1";
    the_level_of_the_set_may_be_below_0 false "/cpuset/sched_relax_domain_level" ["cpuset.sched_relax_domain_level" "-1\n"] "-1";
    memory_on_v2 true "/memory/usage" ["memory.max" "100\n", "memory.current" "50\n", "memory.peak" "70\n", "memory.events" "low 0\nmax 3\n"] r#"{"failcnt":3,"limit":100,"max":70,"usage":50}"#;
    memory_without_a_limit true "/memory/usage/limit" ["memory.max" "max\n"] "18446744073709551615";
    swap_is_with_the_memory_on_v2 true "/memory/swap" ["memory.max" "100\n", "memory.current" "50\n", "memory.swap.max" "10\n", "memory.swap.current" "5\n", "memory.swap.events" "max 2\n"] r#"{"failcnt":2,"limit":110,"usage":55}"#;
    swap_without_a_limit true "/memory/swap/limit" ["memory.max" "100\n", "memory.swap.max" "max\n"] "18446744073709551615";
    memory_on_v1 false "/memory/usage" ["memory.limit_in_bytes" "100\n", "memory.usage_in_bytes" "50\n", "memory.max_usage_in_bytes" "70\n", "memory.failcnt" "3\n"] r#"{"failcnt":3,"limit":100,"max":70,"usage":50}"#;
    swap_on_v1 false "/memory/swap/usage" ["memory.memsw.usage_in_bytes" "9\n"] "9";
    kernel_memory_on_v1 false "/memory/kernel/max" ["memory.kmem.max_usage_in_bytes" "9\n"] "9";
    tcp_memory_on_v1 false "/memory/kernelTCP/failcnt" ["memory.kmem.tcp.failcnt" "9\n"] "9";
    cache_on_v2 true "/memory/cache" ["memory.stat" "anon 1\nfile 2\n"] "2";
    cache_on_v1 false "/memory/cache" ["memory.stat" "cache 3\n"] "3";
    raw_memory true "/memory/raw" ["memory.stat" "anon 1\nfile 2\nword x\nalone\n"] r#"{"anon":1,"file":2}"#;
    pids true "/pids" ["pids.current" "4\n", "pids.max" "9\n"] r#"{"current":4,"limit":9}"#;
    pids_without_a_limit true "/pids" ["pids.current" "4\n", "pids.max" "max\n"] r#"{"current":4}"#;
    bytes_on_v2 true "/blkio/ioServiceBytesRecursive" ["io.stat" "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n"] r#"[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write","value":2}]"#;
    operations_on_v2 true "/blkio/ioServicedRecursive" ["io.stat" "8:16 rios=3 wios=0\n253:1 rios=1\n"] r#"[{"major":8,"minor":16,"op":"Read","value":3},{"major":8,"minor":16,"op":"Write"},{"major":253,"minor":1,"op":"Read","value":1}]"#;
    no_operations true "/blkio/ioServicedRecursive" ["io.stat" ""] "none";
    bytes_of_bfq_on_v1 false "/blkio/ioServiceBytesRecursive" ["blkio.bfq.io_service_bytes_recursive" "8:0 Read 7\nTotal 7\n", "blkio.throttle.io_service_bytes_recursive" "8:0 Read 9\nTotal 9\n"] r#"[{"major":8,"op":"Read","value":7}]"#;
    bytes_of_throttling_where_bfq_has_none false "/blkio/ioServiceBytesRecursive" ["blkio.bfq.io_service_bytes_recursive" "Total 0\n", "blkio.throttle.io_service_bytes_recursive" "8:0 Read 9\nTotal 9\n"] r#"[{"major":8,"op":"Read","value":9}]"#;
    huge_pages_on_v2 true "/hugetlb/2MB" ["hugetlb.2MB.current" "2097152\n", "hugetlb.2MB.events" "max 1\n"] r#"{"failcnt":1,"usage":2097152}"#;
    huge_pages_on_v1 false "/hugetlb/1GB" ["hugetlb.1GB.usage_in_bytes" "0\n", "hugetlb.1GB.max_usage_in_bytes" "5\n", "hugetlb.1GB.failcnt" "2\n"] r#"{"failcnt":2,"max":5}"#;
    small_huge_pages true "/hugetlb/64KB" ["hugetlb.64KB.current" "1\n"] r#"{"failcnt":0,"usage":1}"#;
    no_huge_pages true "/hugetlb" [] "{}";
    network_interfaces_are_null true "/network_interfaces" [] "null";
}

#[test]
fn without_a_file_a_line_has_all_its_parts() {
    for v2 in [false, true] {
        let data = data(v2, &[]);
        let keys: Vec<&String> = data.as_object().unwrap().keys().collect();
        let parts = [
            "blkio",
            "cpu",
            "cpuset",
            "hugetlb",
            "intel_rdt",
            "memory",
            "network_interfaces",
            "pids",
        ];
        assert_eq!(keys, parts);
    }
}

#[test]
fn a_number_is_found_behind_its_whole_key() {
    let text = "oom 1\noom_kill 2\noom_kill_disable 3\nbad x\n";
    assert_eq!(find(text, "oom_kill"), Some(2));
    assert_eq!(find(text, "oom_kil"), None);
    assert_eq!(find(text, "bad"), None);
    assert_eq!(find("", "oom"), None);
}
