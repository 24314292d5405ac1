//! A spec in which every field for Linux is set, so that each can be tested in turn. It is only parsed, so it need
//! not make sense as a container.

use std::collections::{HashMap, HashSet};

use oci_spec::OciSpecError;
use oci_spec::runtime::*;

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

fn map<T>(key: &str, value: T) -> HashMap<String, T> {
    HashMap::from([(key.to_string(), value)])
}

fn mapping() -> Result<Vec<LinuxIdMapping>, OciSpecError> {
    let mapping = LinuxIdMappingBuilder::default()
        .container_id(0_u32)
        .host_id(1000_u32)
        .size(65536_u32);
    Ok(vec![mapping.build()?])
}

pub fn spec() -> Result<Spec, OciSpecError> {
    SpecBuilder::default()
        .version("1.3.0")
        .process(process()?)
        .root(
            RootBuilder::default()
                .path("rootfs")
                .readonly(true)
                .build()?,
        )
        .hostname("box")
        .domainname("example.org")
        .mounts(vec![mount()?])
        .hooks(hooks()?)
        .annotations(map("org.example.key", "value".to_string()))
        .linux(linux()?)
        .build()
}

fn process() -> Result<Process, OciSpecError> {
    let user = UserBuilder::default()
        .uid(1_u32)
        .gid(2_u32)
        .umask(0o22_u32)
        .additional_gids(vec![3_u32, u32::MAX - 1]);
    let capabilities = || HashSet::from([Capability::Kill]);
    let rlimit = PosixRlimitBuilder::default()
        .typ(PosixRlimitType::RlimitNofile)
        .soft(1_u64)
        .hard(u64::MAX);
    let scheduler = SchedulerBuilder::default()
        .policy(LinuxSchedulerPolicy::SchedDeadline)
        .nice(-1)
        .priority(1)
        .flags(vec![LinuxSchedulerFlag::SchedFlagReclaim])
        .runtime(1_u64)
        .deadline(2_u64)
        .period(3_u64);
    ProcessBuilder::default()
        .terminal(true)
        .console_size(BoxBuilder::default().height(25_u64).width(80_u64).build()?)
        .user(user.build()?)
        .args(strings(&["sh", "-c", "true"]))
        .env(strings(&["PATH=/bin"]))
        .cwd("/")
        .capabilities(
            LinuxCapabilitiesBuilder::default()
                .bounding(capabilities())
                .effective(capabilities())
                .inheritable(capabilities())
                .permitted(capabilities())
                .ambient(capabilities())
                .build()?,
        )
        .rlimits(vec![rlimit.build()?])
        .no_new_privileges(false)
        .apparmor_profile("unconfined")
        .oom_score_adj(-1)
        .selinux_label("label")
        .io_priority(
            LinuxIOPriorityBuilder::default()
                .class(IOPriorityClass::IoprioClassBe)
                .priority(4_i64)
                .build()?,
        )
        .scheduler(scheduler.build()?)
        .exec_cpu_affinity(
            ExecCPUAffinityBuilder::default()
                .initial("0")
                .cpu_affinity_final("0-1")
                .build()?,
        )
        .build()
}

fn mount() -> Result<Mount, OciSpecError> {
    MountBuilder::default()
        .destination("/data")
        .typ("bind")
        .source("/srv")
        .options(strings(&["rbind", "idmap"]))
        .uid_mappings(mapping()?)
        .gid_mappings(mapping()?)
        .build()
}

fn hooks() -> Result<Hooks, OciSpecError> {
    let hook = HookBuilder::default()
        .path("/bin/true")
        .args(strings(&["true"]))
        .env(strings(&["A=b"]))
        .timeout(5_i64)
        .build()?;
    let mut hooks = HooksBuilder::default()
        .create_runtime(vec![hook.clone()])
        .create_container(vec![hook.clone()])
        .start_container(vec![hook.clone()])
        .poststart(vec![hook.clone()])
        .poststop(vec![hook.clone()])
        .build()?;
    #[allow(deprecated)]
    hooks.set_prestart(Some(vec![hook]));
    Ok(hooks)
}

fn linux() -> Result<Linux, OciSpecError> {
    let namespace = LinuxNamespaceBuilder::default()
        .typ(LinuxNamespaceType::Network)
        .path("/proc/self/ns/net");
    let device = LinuxDeviceBuilder::default()
        .path("/dev/fuse")
        .typ(LinuxDeviceType::C)
        .major(10_i64)
        .minor(229_i64)
        .file_mode(0o666_u32)
        .uid(0_u32)
        .gid(0_u32);
    let offset = LinuxTimeOffsetBuilder::default()
        .secs(-1_i64)
        .nanosecs(1_u32);
    LinuxBuilder::default()
        .uid_mappings(mapping()?)
        .gid_mappings(mapping()?)
        .sysctl(map("net.ipv4.ip_forward", "1".to_string()))
        .resources(resources()?)
        .cgroups_path("/box")
        .namespaces(vec![namespace.build()?])
        .devices(vec![device.build()?])
        .net_devices(map(
            "eth0",
            LinuxNetDeviceBuilder::default().name("inside").build()?,
        ))
        .seccomp(seccomp()?)
        .rootfs_propagation("private")
        .masked_paths(strings(&["/proc/kcore"]))
        .readonly_paths(strings(&["/proc/sys"]))
        .mount_label("label")
        .intel_rdt(intel_rdt()?)
        .memory_policy(
            LinuxMemoryPolicyBuilder::default()
                .mode(MemoryPolicyModeType::MpolBind)
                .nodes("0")
                .flags(vec![MemoryPolicyFlagType::MpolFStaticNodes])
                .build()?,
        )
        .personality(
            LinuxPersonalityBuilder::default()
                .domain(LinuxPersonalityDomain::PerLinux32)
                .flags(strings(&["FLAG"]))
                .build()?,
        )
        .time_offsets(map("monotonic", offset.build()?))
        .build()
}

fn resources() -> Result<LinuxResources, OciSpecError> {
    let throttle = || {
        let device = LinuxThrottleDeviceBuilder::default();
        Ok::<_, OciSpecError>(vec![device.major(8_i64).minor(0_i64).rate(1_u64).build()?])
    };
    let weight = LinuxWeightDeviceBuilder::default()
        .major(8_i64)
        .minor(0_i64)
        .weight(10_u16)
        .leaf_weight(10_u16);
    let rule = LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(LinuxDeviceType::C)
        .major(1_i64)
        .minor(-1_i64)
        .access("rw");
    let priority = LinuxInterfacePriorityBuilder::default()
        .name("eth0")
        .priority(1_u32);
    LinuxResourcesBuilder::default()
        .devices(vec![rule.build()?])
        .memory(memory()?)
        .cpu(
            LinuxCpuBuilder::default()
                .shares(1024_u64)
                .quota(-1_i64)
                .idle(1_i64)
                .burst(1_u64)
                .period(100_000_u64)
                .realtime_runtime(1_i64)
                .realtime_period(1_u64)
                .cpus("0")
                .mems("0")
                .build()?,
        )
        .pids(LinuxPidsBuilder::default().limit(-1_i64).build()?)
        .block_io(
            LinuxBlockIoBuilder::default()
                .weight(10_u16)
                .leaf_weight(10_u16)
                .weight_device(vec![weight.build()?])
                .throttle_read_bps_device(throttle()?)
                .throttle_write_bps_device(throttle()?)
                .throttle_read_iops_device(throttle()?)
                .throttle_write_iops_device(throttle()?)
                .build()?,
        )
        .hugepage_limits(vec![
            LinuxHugepageLimitBuilder::default()
                .page_size("2MB")
                .limit(0_i64)
                .build()?,
        ])
        .network(
            LinuxNetworkBuilder::default()
                .class_id(1_u32)
                .priorities(vec![priority.build()?])
                .build()?,
        )
        .rdma(map(
            "mlx5_1",
            LinuxRdmaBuilder::default()
                .hca_handles(3_u32)
                .hca_objects(1_u32)
                .build()?,
        ))
        .unified(map("memory.high", "1".to_string()))
        .build()
}

fn memory() -> Result<LinuxMemory, OciSpecError> {
    let memory = LinuxMemoryBuilder::default()
        .limit(1_i64 << 40)
        .reservation(-1_i64)
        .swap(i64::MAX)
        .swappiness(0_u64)
        .disable_oom_killer(false)
        .use_hierarchy(false)
        .check_before_update(true);
    #[allow(deprecated)]
    memory.kernel(0_i64).kernel_tcp(0_i64).build()
}

fn seccomp() -> Result<LinuxSeccomp, OciSpecError> {
    let arg = LinuxSeccompArgBuilder::default()
        .index(1_usize)
        .value(u64::MAX)
        .value_two(u64::MAX)
        .op(LinuxSeccompOperator::ScmpCmpMaskedEq);
    let syscall = LinuxSyscallBuilder::default()
        .names(strings(&["clone", "clone3"]))
        .action(LinuxSeccompAction::ScmpActErrno)
        .errno_ret(38_u32)
        .args(vec![arg.build()?]);
    LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActAllow)
        .default_errno_ret(1_u32)
        .architectures(vec![Arch::ScmpArchX86_64])
        .flags(vec![LinuxSeccompFilterFlag::SeccompFilterFlagLog])
        .listener_path("/run/listener")
        .listener_metadata("metadata")
        .syscalls(vec![syscall.build()?])
        .build()
}

fn intel_rdt() -> Result<LinuxIntelRdt, OciSpecError> {
    let rdt = LinuxIntelRdtBuilder::default()
        .clos_id("guaranteed")
        .schemata(strings(&["L3:0=f"]))
        .l3_cache_schema("L3:0=f")
        .mem_bw_schema("MB:0=20")
        .enable_monitoring(true);
    #[allow(deprecated)]
    rdt.enable_cmt(true).enable_mbm(true).build()
}
