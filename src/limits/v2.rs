//! The values for cgroup v2: files in one directory. Source: Documentation/admin-guide/cgroup-v2.rst of the kernel.

use super::limit::{Current, Limit, numbers, set, texts};
use crate::error::{Result, fail};
use crate::spec::{BlockIo, Cpu, Memory, Resources};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Properties of systemd for files that hold a number, which means the same there.
pub const PROPERTIES: [(&str, &str); 8] = [
    ("memory.max", "MemoryMax"),
    ("memory.high", "MemoryHigh"),
    ("memory.low", "MemoryLow"),
    ("memory.min", "MemoryMin"),
    ("memory.swap.max", "MemorySwapMax"),
    ("pids.max", "TasksMax"),
    ("cpu.weight", "CPUWeight"),
    ("io.weight", "IOWeight"),
];

pub fn limits(resources: &Resources<'_>, current: &Current<'_>) -> Result<Vec<Limit>> {
    let mut limits = Vec::new();
    memory(&resources.memory, current, &mut limits)?;
    cpu(&resources.cpu, current, &mut limits)?;
    if let Some(limit) = resources.pids.limit {
        limits.push(Limit::new("pids.max", super::pids_max(limit), "pids.limit"));
    }
    block_io(&resources.block_io, &mut limits)?;
    super::hugepages(resources, ["max", "rsvd.max"], &mut limits)?;
    super::rdma(resources, &mut limits)?;
    if resources.network.class_id.is_some() || !resources.network.priorities.is_empty() {
        fail!("network: cgroup v2 has no network controller");
    }
    unified(resources, &mut limits)?;
    // The kernel refuses a weight for an idle cgroup. Setting a weight therefore ends idle.
    let has = |file: &str| limits.iter().any(|limit| limit.file == file);
    if has("cpu.weight") && !has("cpu.idle") && current.number("cpu.idle") == Some(1) {
        limits.insert(0, Limit::new("cpu.idle", "0".into(), "cpu.shares"));
    }
    Ok(limits)
}

fn max_or(n: i64) -> String {
    match n {
        ..0 => "max".to_owned(),
        n => n.to_string(),
    }
}

fn memory(memory: &Memory, current: &Current<'_>, limits: &mut Vec<Limit>) -> Result<()> {
    let (limit, total) = (
        memory.limit.filter(|n| *n != 0),
        memory.swap.filter(|n| *n != 0),
    );
    if memory.check_before_update == Some(true)
        && let Some(usage) = current.number("memory.current")
    {
        let swapped = current.number("memory.swap.current").unwrap_or(0);
        for (field, limit, usage) in [
            ("limit", limit, usage),
            ("swap", total, usage.saturating_add(swapped)),
        ] {
            if let Some(limit) = limit.filter(|n| (0..=usage).contains(n)) {
                fail!("memory.{field}: {limit} is not above the {usage} bytes in use");
            }
        }
    }
    // The spec counts memory and swap together, v2 counts swap alone.
    let swap = match (total, limit) {
        (Some(..0), _) | (None, Some(..0)) => Some(-1),
        (Some(total), limit) => match limit.or_else(|| current.number("memory.max")) {
            // Unlimited memory, so only the swap limit remains.
            Some(..0) => Some(total),
            Some(limit) if total >= limit => Some(total - limit),
            Some(limit) => {
                fail!("memory.swap: {total} is less than memory.limit, which is {limit}")
            }
            None => fail!("memory.swap: needs memory.limit"),
        },
        // If only the memory limit changes, the sum stays the same.
        (None, Some(limit)) => match (
            current.number("memory.max"),
            current.number("memory.swap.max"),
        ) {
            (Some(memory), Some(swap)) => match memory.saturating_add(swap) {
                both if both >= limit => Some(both - limit),
                both => fail!("memory.limit: {limit} is more than memory.swap, which is {both}"),
            },
            _ => None,
        },
        (None, None) => None,
    };
    if let Some(swap) = swap {
        let limit_of_swap = Limit::new("memory.swap.max", max_or(swap), "memory.swap");
        // If the kernel does not account swap, there is no limit to set or to remove.
        limits.push(match swap {
            ..=0 => limit_of_swap.or_ignored(),
            _ => limit_of_swap,
        });
    }
    let reservation = memory.reservation.filter(|n| *n != 0).map(max_or);
    texts(
        limits,
        &[
            ("memory.max", limit.map(max_or).as_deref(), "memory.limit"),
            ("memory.low", reservation.as_deref(), "memory.reservation"),
        ],
    );
    if super::v1::swappiness(memory)?.is_some() {
        fail!("memory.swappiness: cgroup v2 has none");
    }
    if memory.disable_oom_killer == Some(true) {
        fail!("memory.disableOOMKiller: cgroup v2 cannot disable the OOM killer");
    }
    Ok(())
}

fn cpu(cpu: &Cpu<'_>, current: &Current<'_>, limits: &mut Vec<Limit>) -> Result<()> {
    for (field, asked) in [
        ("realtimeRuntime", set(cpu.realtime_runtime)),
        ("realtimePeriod", set(cpu.realtime_period)),
    ] {
        if asked.is_some() {
            fail!("cpu.{field}: cgroup v2 has no realtime limits");
        }
    }
    // The kernel refuses a weight for an idle cgroup.
    let shares = cpu.shares.filter(|n| *n != 0 && cpu.idle != Some(1));
    numbers(
        limits,
        &[
            ("cpu.idle", cpu.idle.map(Into::into), "cpu.idle"),
            ("cpu.weight", shares.map(|n| weight(n).into()), "cpu.shares"),
        ],
    );
    let quota = cpu.quota.filter(|n| *n != 0);
    let period = cpu.period.filter(|n| *n != 0);
    let now = current.text("cpu.max").unwrap_or_default();
    let max = match (quota, period) {
        (None, None) => None,
        // Without a period the kernel keeps the present one, but systemd, which may write the file meanwhile, does
        // not.
        (Some(quota), None) => {
            let period = now.find(' ').map_or("", |at| now[at..].trim_end());
            Some((format!("{}{period}", max_or(quota)), "cpu.quota"))
        }
        (Some(quota), Some(period)) => Some((format!("{} {period}", max_or(quota)), "cpu.quota")),
        (None, Some(period)) => {
            let quota = now.split(' ').next().filter(|q| !q.is_empty());
            Some((format!("{} {period}", quota.unwrap_or("max")), "cpu.period"))
        }
    };
    // The burst may never exceed the quota, so the order depends on whether the quota grows.
    let now = now.split(' ').next().and_then(|q| q.parse::<i64>().ok());
    let lower = quota.is_some_and(|quota| quota > 0 && now.is_some_and(|now| quota < now));
    let burst = cpu.burst.map(|n| n.to_string());
    let burst = ("cpu.max.burst", burst.as_deref(), "cpu.burst");
    let max = match &max {
        Some((value, field)) => ("cpu.max", Some(value.as_str()), *field),
        None => ("cpu.max", None, ""),
    };
    let order = if lower { [burst, max] } else { [max, burst] };
    texts(limits, &order);
    super::cpuset(cpu, limits);
    Ok(())
}

/// Converts cpu.shares (2 to 262144) to cpu.weight (1 to 10000) as runc does since 2025. The curve passes through (2,
/// 1), (1024, 100) and (262144, 10000), so that the two defaults correspond: 10 ^ ((log2(shares)² + 125 ·
/// log2(shares)) / 612 − 7 / 34), rounded up.
///
/// Except for the default, no weight is closer than 2·10⁻⁶ to an integer, so `libm` rounds as Go does.
pub(super) fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = libm::log2(shares as f64);
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    let weight = libm::exp(exponent * core::f64::consts::LN_10);
    // Rounds up, ignoring the error of the last digit.
    let floor = (weight - 1e-9) as u64;
    floor + 1
}

fn block_io(io: &BlockIo, limits: &mut Vec<Limit>) -> Result<()> {
    // Converts 10..1000 to 1..10000, as runc and systemd do.
    let converted = |weight: u16| 1 + (u64::from(weight) - 10) * 9999 / 990;
    if let Some(weight) = super::io_weight(io.weight, "blockIO.weight")? {
        limits.push(
            Limit::new("io.bfq.weight", weight.to_string(), "blockIO.weight")
                .or("io.weight", converted(weight).to_string()),
        );
    }
    if io.leaf_weight.is_some_and(|n| n != 0) {
        fail!("blockIO.leafWeight: cgroup v2 has none");
    }
    for (n, device) in io.weight_device.iter().enumerate() {
        let field = super::weighted(device, n)?;
        if device.leaf_weight.is_some_and(|n| n != 0) {
            fail!("{field}.leafWeight: cgroup v2 has none");
        }
        if let Some(weight) = super::io_weight(device.weight, &format!("{field}.weight"))? {
            let key = super::device_number(device.major, device.minor, &field)?;
            let other = format!("{key} {}", converted(weight));
            limits.push(
                Limit::of(
                    "io.bfq.weight".into(),
                    format!("{key} {weight}"),
                    field.into(),
                )
                .keyed()
                .or("io.weight", other),
            );
        }
    }
    for (devices, name, field) in [
        (
            &io.throttle_read_bps_device,
            "rbps",
            "throttleReadBpsDevice",
        ),
        (
            &io.throttle_write_bps_device,
            "wbps",
            "throttleWriteBpsDevice",
        ),
        (
            &io.throttle_read_iops_device,
            "riops",
            "throttleReadIOPSDevice",
        ),
        (
            &io.throttle_write_iops_device,
            "wiops",
            "throttleWriteIOPSDevice",
        ),
    ] {
        for (n, device) in devices.iter().enumerate() {
            let field = format!("blockIO.{field}[{n}]");
            let key = super::device_number(device.major, device.minor, &field)?;
            // 0 removes the limit, as on v1.
            let value = match device.rate {
                0 => format!("{key} {name}=max"),
                rate => format!("{key} {name}={rate}"),
            };
            limits.push(Limit::of("io.max".into(), value, field.into()).keyed());
        }
    }
    Ok(())
}

/// Files of the cgroup by name. Files that list or control processes are not limits.
fn unified(resources: &Resources<'_>, limits: &mut Vec<Limit>) -> Result<()> {
    for (file, value) in &resources.unified {
        let field = format!("unified[{file:?}]");
        if file.contains('/') || !file.contains('.') || file.starts_with('.') {
            fail!("{field}: expected the name of a file of the cgroup, such as memory.high");
        }
        if file.starts_with("cgroup.") && !file.starts_with("cgroup.max.") {
            fail!("{field}: is not a limit");
        }
        // The kernel accepts one line per write.
        for line in value.lines().filter(|line| !line.is_empty()) {
            let key = line.split(' ').next().unwrap_or_default();
            let name = file.as_ref().to_owned();
            let limit = Limit::of(name.into(), line.to_owned(), field.clone().into());
            let keyed = key.contains(':') || line.contains('=');
            limits.push(if keyed { limit.keyed() } else { limit });
        }
    }
    Ok(())
}
