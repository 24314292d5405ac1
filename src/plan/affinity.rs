//! The CPUs an exec'd process may run on: before it enters the container's cgroup, and once it is there.
//! Source: config.md, Linux Process, execCPUAffinity.

use crate::error::{Result, fail};
use crate::spec::Process;
use rustix::thread::CpuSet;

/// `None`: as the caller is bound, and then every CPU of the cgroup.
#[derive(Clone, Copy, Default)]
pub struct Affinity {
    pub initial: Option<CpuSet>,
    /// `final`, which is a word of Rust's.
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

/// Reads a list such as `0-3,7`; blanks and empty places in it are allowed, as in runc. An empty one is none.
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

/// The numbers of such a list; `None` for one that is wrong or empty.
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
