//! `linux.resources` in config.json, and the file of `update --resources`: the limits of the cgroup.
//! Source: <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md#control-groups>

use crate::cli::Update;
use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::json::object;

object! {
    /// config-linux.md, "Control groups"
    pub struct Resources<'a> {
        devices: Vec<DeviceRule<'a>> = "devices",
        memory: Memory = "memory",
        cpu: Cpu<'a> = "cpu",
        pids: Pids = "pids",
        block_io: BlockIo = "blockIO",
        hugepage_limits: Vec<HugepageLimit<'a>> = "hugepageLimits",
        network: Network<'a> = "network",
        /// By device.
        rdma: Vec<(Cow<'a, str>, Rdma)> = "rdma",
        /// By file of cgroup v2.
        unified: Vec<(Cow<'a, str>, Cow<'a, str>)> = "unified",
    }
}

impl<'a> Resources<'a> {
    /// The limits of `update`'s flags.
    pub fn from_flags(args: &Update<'a>) -> Self {
        let unsigned = |value: Option<i64>| value.map(i64::unsigned_abs);
        let given = |text: Option<&'a str>| text.filter(|text| !text.is_empty()).map(Cow::Borrowed);
        let mut resources = Self::default();
        let cpu = &mut resources.cpu;
        cpu.period = unsigned(args.cpu_period);
        cpu.quota = args.cpu_quota;
        cpu.burst = unsigned(args.cpu_burst);
        cpu.shares = unsigned(args.cpu_share);
        cpu.realtime_period = unsigned(args.cpu_rt_period);
        cpu.realtime_runtime = args.cpu_rt_runtime;
        cpu.idle = args.cpu_idle;
        cpu.cpus = given(args.cpuset_cpus);
        cpu.mems = given(args.cpuset_mems);
        let memory = &mut resources.memory;
        memory.limit = args.memory;
        memory.swap = args.memory_swap;
        memory.reservation = args.memory_reservation;
        resources.pids.limit = args.pids_limit;
        resources.block_io.weight = args.blkio_weight.map(|weight| weight as u16);
        resources
    }
}

object! {
    /// One entry of the allowed device list. The order of the list matters.
    pub struct DeviceRule<'a> {
        allow: bool = required "allow",
        /// `type` in the file: `a`, `b` or `c`; absent is `a`.
        kind: Option<Cow<'a, str>> = "type",
        /// Absent means every number.
        major: Option<i64> = "major",
        minor: Option<i64> = "minor",
        /// A combination of the letters `rwm`.
        access: Option<Cow<'a, str>> = "access",
    }
}

object! {
    /// Limits in bytes. -1 means no limit.
    pub struct Memory {
        limit: Option<i64> = "limit",
        reservation: Option<i64> = "reservation",
        /// Memory plus swap.
        swap: Option<i64> = "swap",
        kernel: Option<i64> = "kernel",
        kernel_tcp: Option<i64> = "kernelTCP",
        swappiness: Option<u64> = "swappiness",
        disable_oom_killer: Option<bool> = "disableOOMKiller",
        use_hierarchy: Option<bool> = "useHierarchy",
        check_before_update: Option<bool> = "checkBeforeUpdate",
    }
}

object! {
    /// Times in microseconds.
    pub struct Cpu<'a> {
        shares: Option<u64> = "shares",
        quota: Option<i64> = "quota",
        burst: Option<u64> = "burst",
        period: Option<u64> = "period",
        realtime_runtime: Option<i64> = "realtimeRuntime",
        realtime_period: Option<u64> = "realtimePeriod",
        cpus: Option<Cow<'a, str>> = "cpus",
        mems: Option<Cow<'a, str>> = "mems",
        idle: Option<i64> = "idle",
    }
}

object! {
    /// -1 means no limit; unset and 0 are different.
    pub struct Pids {
        limit: Option<i64> = "limit",
    }
}

object! {
    /// config-linux.md, "Block IO"
    pub struct BlockIo {
        weight: Option<u16> = "weight",
        leaf_weight: Option<u16> = "leafWeight",
        weight_device: Vec<WeightDevice> = "weightDevice",
        throttle_read_bps_device: Vec<ThrottleDevice> = "throttleReadBpsDevice",
        throttle_write_bps_device: Vec<ThrottleDevice> = "throttleWriteBpsDevice",
        throttle_read_iops_device: Vec<ThrottleDevice> = "throttleReadIOPSDevice",
        throttle_write_iops_device: Vec<ThrottleDevice> = "throttleWriteIOPSDevice",
    }
}

object! {
    /// The weight of one block device.
    pub struct WeightDevice {
        major: i64 = required "major",
        minor: i64 = required "minor",
        weight: Option<u16> = "weight",
        leaf_weight: Option<u16> = "leafWeight",
    }
}

object! {
    /// The limit of one block device, in bytes or operations per second.
    pub struct ThrottleDevice {
        major: i64 = required "major",
        minor: i64 = required "minor",
        rate: u64 = required "rate",
    }
}

object! {
    /// The limit of one huge page size, in bytes.
    pub struct HugepageLimit<'a> {
        /// For example `2MB`.
        page_size: Cow<'a, str> = required "pageSize",
        limit: u64 = required "limit",
    }
}

object! {
    /// net_cls and net_prio, cgroup v1 only.
    pub struct Network<'a> {
        class_id: Option<u32> = "classID",
        priorities: Vec<InterfacePriority<'a>> = "priorities",
    }
}

object! {
    /// The priority of one network interface.
    pub struct InterfacePriority<'a> {
        name: Cow<'a, str> = required "name",
        priority: u32 = required "priority",
    }
}

object! {
    /// The limits of one RDMA device.
    pub struct Rdma {
        hca_handles: Option<u32> = "hcaHandles",
        hca_objects: Option<u32> = "hcaObjects",
    }
}
