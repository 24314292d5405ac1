//! The CPU affinity of an exec'd process, before and after it enters the container's cgroup. Source: config.md,
//! Linux Process, execCPUAffinity.

use crate::error::{Result, fail};
use crate::spec::Process;
use rustix::thread::CpuSet;

/// Without `initial` the caller's affinity stays. Without `at_last` the process may run on every CPU of the
/// cgroup.
#[derive(Clone, Copy, Default)]
pub struct Affinity {
    pub initial: Option<CpuSet>,
    /// `final`, a reserved word in Rust.
    pub at_last: Option<CpuSet>,
}

pub fn affinity(process: Option<&Process<'_>>) -> Result<Affinity> {
    let Some(given) = process.and_then(|process| process.exec_cpu_affinity.as_ref()) else {
        return Ok(Affinity::default());
    };
    Ok(Affinity {
        initial: list(given.initial.as_deref(), "initial")?,
        at_last: list(given.at_last.as_deref(), "final")?,
    })
}

/// Reads a list such as `0-3,7`. As in runc, blanks and empty elements are allowed, and an empty list is no
/// list.
fn list(text: Option<&str>, field: &str) -> Result<Option<CpuSet>> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let Some(set) = set(text) else {
        fail!(
            "config.json: process.execCPUAffinity.{field}: expected a list of CPUs below {} such as \"0-3,7\", found {text:?}",
            CpuSet::MAX_CPU
        );
    };
    Ok(Some(set))
}

/// Parses such a list. `None` if it is wrong or has no number.
pub fn set(text: &str) -> Option<CpuSet> {
    let number = |text: &str| crate::cli::integer(text, CpuSet::MAX_CPU as u32 - 1);
    let mut set = CpuSet::new();
    for range in text
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        (first..=last).for_each(|cpu| set.set(cpu as usize));
    }
    (set.count() > 0).then_some(set)
}
