//! cgroup v1: one directory per hierarchy, joined by writing the pid; devices by lists of rules.
//! Source: Documentation/admin-guide/cgroup-v1 of the kernel.

use super::{make_directories, set};
use crate::error::{Error, Result};
use crate::files;
use crate::host::{Hierarchy, join as path_in};
use crate::spec::Resources;
use alloc::format;
use alloc::string::ToString;
use rustix::fs::CWD;

pub fn make(hierarchies: &[Hierarchy], path: &str, resources: &Resources<'_>) -> Result<()> {
    for hierarchy in hierarchies {
        make_directories(&hierarchy.mountpoint, path, |parent, new| {
            if hierarchy.has("cpuset") {
                inherit_cpuset(parent, new)
            } else {
                Ok(())
            }
        })?;
        limit(hierarchy, &path_in(&hierarchy.mountpoint, path), resources)?;
    }
    Ok(())
}

/// A new cpuset has no CPUs and takes no process until it is given some: the parent's.
fn inherit_cpuset(parent: &str, new: &str) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let value = files::read(CWD, path_in(parent, file).as_str())?;
        files::write(CWD, path_in(new, file).as_str(), value.trim_ascii_end())
            .map_err(|errno| Error::from_errno(format!("cannot write {new}/{file}"), errno))?;
    }
    Ok(())
}

fn limit(hierarchy: &Hierarchy, directory: &str, resources: &Resources<'_>) -> Result<()> {
    if hierarchy.has("memory") {
        memory(directory, resources)?;
    }
    if hierarchy.has("cpu") {
        let cpu = &resources.cpu;
        if let Some(shares) = cpu.shares.filter(|n| *n != 0) {
            set(directory, "cpu.shares", &shares.to_string(), "cpu.shares")?;
        }
        if let Some(period) = cpu.period.filter(|n| *n != 0) {
            set(
                directory,
                "cpu.cfs_period_us",
                &period.to_string(),
                "cpu.period",
            )?;
        }
        if let Some(quota) = cpu.quota.filter(|n| *n != 0) {
            set(
                directory,
                "cpu.cfs_quota_us",
                &quota.to_string(),
                "cpu.quota",
            )?;
        }
    }
    if hierarchy.has("cpuset") {
        if let Some(cpus) = &resources.cpu.cpus {
            set(directory, "cpuset.cpus", cpus, "cpu.cpus")?;
        }
        if let Some(mems) = &resources.cpu.mems {
            set(directory, "cpuset.mems", mems, "cpu.mems")?;
        }
    }
    if hierarchy.has("pids")
        && let Some(limit) = resources.pids.limit
    {
        set(directory, "pids.max", &super::pids_max(limit), "pids.limit")?;
    }
    if hierarchy.has("devices") {
        devices(directory, resources)?;
    }
    Ok(())
}

fn memory(directory: &str, resources: &Resources<'_>) -> Result<()> {
    let memory = &resources.memory;
    if let Some(limit) = memory.limit.filter(|n| *n != 0) {
        set(
            directory,
            "memory.limit_in_bytes",
            &limit.to_string(),
            "memory.limit",
        )?;
    }
    if let Some(swap) = memory.swap.filter(|n| *n != 0) {
        set(
            directory,
            "memory.memsw.limit_in_bytes",
            &swap.to_string(),
            "memory.swap",
        )?;
    }
    if let Some(reservation) = memory.reservation.filter(|n| *n != 0) {
        set(
            directory,
            "memory.soft_limit_in_bytes",
            &reservation.to_string(),
            "memory.reservation",
        )?;
    }
    if let Some(swappiness) = memory.swappiness {
        set(
            directory,
            "memory.swappiness",
            &swappiness.to_string(),
            "memory.swappiness",
        )?;
    }
    if memory.disable_oom_killer == Some(true) {
        set(
            directory,
            "memory.oom_control",
            "1",
            "memory.disableOOMKiller",
        )?;
    }
    Ok(())
}

/// What every container may use, after the rules of the config: making any node, and the devices of
/// the spec's default list, which the runtime itself supplies.
const DEFAULT_DEVICES: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

fn devices(directory: &str, resources: &Resources<'_>) -> Result<()> {
    if resources.devices.is_empty() {
        return Ok(());
    }
    let file = |allow| {
        if allow {
            "devices.allow"
        } else {
            "devices.deny"
        }
    };
    for (n, rule) in resources.devices.iter().enumerate() {
        let number = |n: Option<i64>| {
            n.filter(|n| *n >= 0)
                .map_or("*".to_string(), |n| n.to_string())
        };
        let kind = rule.kind.as_deref().unwrap_or("a");
        let access = rule.access.as_deref().unwrap_or("rwm");
        let line = format!(
            "{kind} {}:{} {access}",
            number(rule.major),
            number(rule.minor)
        );
        set(directory, file(rule.allow), &line, &format!("devices[{n}]"))?;
    }
    for line in DEFAULT_DEVICES {
        set(directory, file(true), line, "devices")?;
    }
    Ok(())
}

pub fn join(hierarchies: &[Hierarchy], path: &str, pid: i32) -> Result<()> {
    let pid = pid.to_string();
    for hierarchy in hierarchies.iter().filter(|h| !h.is_v2()) {
        let procs = path_in(&path_in(&hierarchy.mountpoint, path), "cgroup.procs");
        files::write(CWD, procs.as_str(), pid.as_bytes()).map_err(|errno| {
            Error::from_errno(format!("cannot join the cgroup: {procs}"), errno)
        })?;
    }
    Ok(())
}
