//! cgroup v2: one directory, controllers handed down only as far as a limit asks for them; processes
//! are born in it. Source: Documentation/admin-guide/cgroup-v2.rst of the kernel.

use super::{make_directories, set};
use crate::error::{Error, Result};
use crate::files;
use crate::host::{CGROUPS, join};
use crate::spec::Resources;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use rustix::fs::CWD;

pub fn make(path: &str, resources: &Resources<'_>) -> Result<()> {
    make_directories(CGROUPS, path, |_, _| Ok(()))?;
    let limits = limits(resources)?;
    enable(path, &limits)?;
    let directory = join(CGROUPS, path);
    limits
        .iter()
        .try_for_each(|limit| set(&directory, limit.file, &limit.value, limit.field))
}

/// One file to write. The controller is what stands before the file's first dot.
struct Limit {
    file: &'static str,
    value: String,
    field: &'static str,
}

fn limits(resources: &Resources<'_>) -> Result<Vec<Limit>> {
    let mut limits = Vec::new();
    let mut push = |file, value: String, field| limits.push(Limit { file, value, field });
    let bytes = |n: i64| {
        if n < 0 {
            "max".to_owned()
        } else {
            n.to_string()
        }
    };
    let memory = &resources.memory;
    if let Some(limit) = memory.limit.filter(|n| *n != 0) {
        push("memory.max", bytes(limit), "memory.limit");
    }
    if let Some(swap) = memory.swap.filter(|n| *n != 0) {
        // The spec counts memory and swap together, v2 swap alone.
        let value = match (swap, memory.limit) {
            (-1, _) => -1,
            (swap, Some(limit)) if limit > 0 && swap >= limit => swap - limit,
            _ => {
                return Err(Error::new(
                    "config.json: linux.resources.memory.swap: needs memory.limit, and to be at least as large",
                ));
            }
        };
        push("memory.swap.max", bytes(value), "memory.swap");
    }
    if let Some(reservation) = memory.reservation.filter(|n| *n != 0) {
        push("memory.low", bytes(reservation), "memory.reservation");
    }
    let cpu = &resources.cpu;
    if let Some(shares) = cpu.shares.filter(|n| *n != 0) {
        push("cpu.weight", weight(shares).to_string(), "cpu.shares");
    }
    if cpu.quota.is_some_and(|n| n != 0) || cpu.period.is_some_and(|n| n != 0) {
        let quota = cpu
            .quota
            .filter(|n| *n > 0)
            .map_or("max".to_owned(), |n| n.to_string());
        let period = cpu.period.filter(|n| *n != 0).unwrap_or(100_000);
        push("cpu.max", format!("{quota} {period}"), "cpu.quota");
    }
    if let Some(cpus) = &cpu.cpus {
        push("cpuset.cpus", cpus.as_ref().to_owned(), "cpu.cpus");
    }
    if let Some(mems) = &cpu.mems {
        push("cpuset.mems", mems.as_ref().to_owned(), "cpu.mems");
    }
    if let Some(limit) = resources.pids.limit {
        push("pids.max", super::pids_max(limit), "pids.limit");
    }
    Ok(limits)
}

/// cpu.shares (2 to 262144) as cpu.weight (1 to 10000), as runc converts since 2025: a curve through
/// (2, 1), (1024, 100) and (262144, 10000), so that the two defaults meet:
/// 10 ^ ((log2(shares)² + 125 · log2(shares)) / 612 − 7 / 34), rounded up.
fn weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let l = log2(shares as f64);
    let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
    let weight = exp2(exponent * core::f64::consts::LOG2_10);
    // Rounds up, past the last digits of the two series.
    let floor = (weight - 1e-9) as u64;
    floor + 1
}

/// The binary logarithm of a number from 1, by its exponent and squarings of its fraction.
fn log2(x: f64) -> f64 {
    let (mut whole, mut fraction) = (0.0, x);
    while fraction >= 2.0 {
        fraction /= 2.0;
        whole += 1.0;
    }
    let mut bit = 0.5;
    for _ in 0..52 {
        fraction *= fraction;
        if fraction >= 2.0 {
            fraction /= 2.0;
            whole += bit;
        }
        bit /= 2.0;
    }
    whole
}

/// 2 to the power of x from 0 to 14, by the series of its fraction.
fn exp2(x: f64) -> f64 {
    let whole = x as u32;
    let y = (x - f64::from(whole)) * core::f64::consts::LN_2;
    let (mut sum, mut term) = (1.0, 1.0);
    for n in 1..24 {
        term *= y / f64::from(n);
        sum += term;
    }
    sum * f64::from(1u32 << whole)
}

/// Hands the controllers that the limits need down from the root to the parent of the cgroup.
fn enable(path: &str, limits: &[Limit]) -> Result<()> {
    let mut controllers: Vec<&str> = limits
        .iter()
        .filter_map(|l| l.file.split('.').next())
        .collect();
    controllers.sort_unstable();
    controllers.dedup();
    if controllers.is_empty() {
        return Ok(());
    }
    let mut at = CGROUPS.to_owned();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        let file = join(&at, "cgroup.subtree_control");
        let enabled = files::read(CWD, file.as_str())?;
        let enabled = String::from_utf8_lossy(&enabled).into_owned();
        for controller in &controllers {
            if !enabled.split_whitespace().any(|e| e == *controller) {
                files::write(CWD, file.as_str(), format!("+{controller}").as_bytes()).map_err(
                    |errno| {
                        Error::from_errno(
                            format!("cannot enable the cgroup controller {controller} in {at}"),
                            errno,
                        )
                    },
                )?;
            }
        }
        at = join(&at, name);
    }
    Ok(())
}
