//! The values for cgroup v1: files in several hierarchies. Source: Documentation/admin-guide/cgroup-v1 of the kernel.

use super::limit::{Current, Limit, numbers, set};
use crate::error::{Result, fail};
use crate::spec::{BlockIo, Cpu, Memory, Resources};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

/// Properties of systemd for files that hold a number, which means the same there.
pub const PROPERTIES: [(&str, &str); 3] = [
    ("memory.limit_in_bytes", "MemoryLimit"),
    ("cpu.shares", "CPUShares"),
    ("blkio.weight", "BlockIOWeight"),
];

pub fn limits(resources: &Resources<'_>, current: &Current<'_>) -> Result<Vec<Limit>> {
    if let Some((file, _)) = resources.unified.first() {
        fail!("unified[{file:?}]: needs cgroup v2, and this host has v1");
    }
    let mut limits = Vec::new();
    memory(&resources.memory, current, &mut limits)?;
    cpu(&resources.cpu, current, &mut limits);
    if let Some(limit) = resources.pids.limit {
        limits.push(Limit::new("pids.max", super::pids_max(limit), "pids.limit"));
    }
    block_io(&resources.block_io, &mut limits)?;
    super::hugepages(
        resources,
        ["limit_in_bytes", "rsvd.limit_in_bytes"],
        &mut limits,
    )?;
    super::rdma(resources, &mut limits)?;
    let network = &resources.network;
    let class = set(network.class_id);
    numbers(
        &mut limits,
        &[("net_cls.classid", class, "network.classID")],
    );
    for (n, priority) in network.priorities.iter().enumerate() {
        let value = format!("{} {}", priority.name, priority.priority);
        let field = format!("network.priorities[{n}]");
        limits.push(Limit::of("net_prio.ifpriomap".into(), value, field.into()).keyed());
    }
    Ok(limits)
}

/// The swappiness, if it is set: engines write the largest integer for unset.
pub fn swappiness(memory: &Memory) -> Result<Option<u64>> {
    match memory.swappiness {
        None | Some(u64::MAX) => Ok(None),
        Some(n @ 0..=100) => Ok(Some(n)),
        Some(n) => fail!("memory.swappiness: expected a number from 0 to 100, found {n}"),
    }
}

fn memory(memory: &Memory, current: &Current<'_>, limits: &mut Vec<Limit>) -> Result<()> {
    let (limit, total) = (
        memory.limit.filter(|n| *n != 0),
        memory.swap.filter(|n| *n != 0),
    );
    if let (Some(limit @ 0..), Some(total @ 0..)) = (limit, total)
        && total < limit
    {
        fail!("memory.swap: {total} is less than memory.limit, which is {limit}");
    }
    // Without a limit on memory there is none on memory and swap.
    let both = total.or(limit.filter(|n| *n < 0)).map(|n| {
        let both = Limit::new("memory.memsw.limit_in_bytes", n.to_string(), "memory.swap");
        if n < 0 { both.or_ignored() } else { both }
    });
    if let (Some(limit), None, Some(most)) =
        (limit, &both, current.number("memory.memsw.limit_in_bytes"))
        && limit > most
    {
        fail!("memory.limit: {limit} is more than memory.swap, which is {most}");
    }
    let alone = limit.map(|n| Limit::new("memory.limit_in_bytes", n.to_string(), "memory.limit"));
    // The limit on memory and swap may never be below the limit on memory, so it is raised first.
    let now = current.number("memory.limit_in_bytes");
    let up = now.is_some_and(|now| total.is_some_and(|total| total < 0 || now < total));
    let up = up || now.is_some() && limit.is_some_and(|n| n < 0);
    match up {
        true => limits.extend([both, alone].into_iter().flatten()),
        false => limits.extend([alone, both].into_iter().flatten()),
    }
    let no_killer = (memory.disable_oom_killer == Some(true)).then_some(1);
    numbers(
        limits,
        &[
            (
                "memory.soft_limit_in_bytes",
                set(memory.reservation),
                "memory.reservation",
            ),
            (
                "memory.swappiness",
                swappiness(memory)?.map(Into::into),
                "memory.swappiness",
            ),
            ("memory.oom_control", no_killer, "memory.disableOOMKiller"),
        ],
    );
    Ok(())
}

fn cpu(cpu: &Cpu<'_>, current: &Current<'_>, limits: &mut Vec<Limit>) {
    let now = |file, default| current.number(file).map_or(default, i128::from);
    let (quota, period) = (set(cpu.quota), set(cpu.period));
    // In this order quota/period never exceeds both its old and its new value, which a parent might refuse, and the
    // burst never exceeds the quota.
    let longer = period.is_some_and(|n| n > now("cpu.cfs_period_us", 100_000));
    let lower = quota.is_some_and(|n| n > 0 && n < now("cpu.cfs_quota_us", -1));
    // In this order the runtime never exceeds the period.
    let (rt_runtime, rt_period) = (set(cpu.realtime_runtime), set(cpu.realtime_period));
    let rt_longer = rt_period.is_none_or(|n| n > now("cpu.rt_period_us", 1_000_000));
    let rt_period = ("cpu.rt_period_us", rt_period, "cpu.realtimePeriod");
    let rt_runtime = ("cpu.rt_runtime_us", rt_runtime, "cpu.realtimeRuntime");
    let quota = ("cpu.cfs_quota_us", quota, "cpu.quota");
    let period = ("cpu.cfs_period_us", period, "cpu.period");
    let burst = |now: bool| {
        let burst = cpu.burst.filter(|_| now).map(Into::into);
        ("cpu.cfs_burst_us", burst, "cpu.burst")
    };
    numbers(
        limits,
        &[
            ("cpu.idle", cpu.idle.map(Into::into), "cpu.idle"),
            // The kernel refuses shares for an idle cgroup.
            (
                "cpu.shares",
                set(cpu.shares.filter(|_| cpu.idle != Some(1))),
                "cpu.shares",
            ),
            burst(lower),
            if longer { period } else { quota },
            if longer { quota } else { period },
            burst(!lower),
            if rt_longer { rt_period } else { rt_runtime },
            if rt_longer { rt_runtime } else { rt_period },
        ],
    );
    super::cpuset(cpu, limits);
}

fn block_io(io: &BlockIo, limits: &mut Vec<Limit>) -> Result<()> {
    if let Some(weight) = super::io_weight(io.weight, "blockIO.weight")? {
        limits.push(
            Limit::new("blkio.weight", weight.to_string(), "blockIO.weight")
                .or("blkio.bfq.weight", weight.to_string()),
        );
    }
    let leaf = super::io_weight(io.leaf_weight, "blockIO.leafWeight")?;
    numbers(
        limits,
        &[(
            "blkio.leaf_weight",
            leaf.map(Into::into),
            "blockIO.leafWeight",
        )],
    );
    for (n, device) in io.weight_device.iter().enumerate() {
        let field = super::weighted(device, n)?;
        let key = super::device_number(device.major, device.minor, &field)?;
        if let Some(weight) = super::io_weight(device.weight, &format!("{field}.weight"))? {
            let value = format!("{key} {weight}");
            limits.push(
                Limit::of(
                    "blkio.weight_device".into(),
                    value.clone(),
                    field.clone().into(),
                )
                .keyed()
                .or("blkio.bfq.weight_device", value),
            );
        }
        if let Some(weight) = super::io_weight(device.leaf_weight, &format!("{field}.leafWeight"))?
        {
            let value = format!("{key} {weight}");
            limits.push(Limit::of("blkio.leaf_weight_device".into(), value, field.into()).keyed());
        }
    }
    for (devices, file, field) in [
        (
            &io.throttle_read_bps_device,
            "blkio.throttle.read_bps_device",
            "throttleReadBpsDevice",
        ),
        (
            &io.throttle_write_bps_device,
            "blkio.throttle.write_bps_device",
            "throttleWriteBpsDevice",
        ),
        (
            &io.throttle_read_iops_device,
            "blkio.throttle.read_iops_device",
            "throttleReadIOPSDevice",
        ),
        (
            &io.throttle_write_iops_device,
            "blkio.throttle.write_iops_device",
            "throttleWriteIOPSDevice",
        ),
    ] {
        for (n, device) in devices.iter().enumerate() {
            let field = format!("blockIO.{field}[{n}]");
            let key = super::device_number(device.major, device.minor, &field)?;
            let value = format!("{key} {}", device.rate);
            limits.push(Limit::of(file.into(), value, field.into()).keyed());
        }
    }
    Ok(())
}
