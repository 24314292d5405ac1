//! Whether a failure comes from a limit of the cgroup that was reached.

use crate::files;
use alloc::format;
use alloc::string::String;
use runtime::error::Error;
use runtime::facts::{CGROUPS, Cgroups, Location, join};
use runtime::plan::Plan;
use rustix::fs::CWD;

/// The error of a start, with the memory limit of the plan if it was reached.
pub fn of_plan(cgroups: &Cgroups, plan: &Plan, error: Error) -> Error {
    match &plan.cgroup {
        Some(planned)
            if planned
                .limits
                .values
                .iter()
                .any(|l| l.controller() == "memory") =>
        {
            with_memory_limit(cgroups, &planned.place(), error)
        }
        _ => error,
    }
}

/// Adds the memory limit of the cgroup to an error, if the cgroup has reached it.
pub fn with_memory_limit(cgroups: &Cgroups, place: &Location, error: Error) -> Error {
    let (count, key, limit) = match cgroups {
        Cgroups::V2 => ("memory.events", "max ", "memory.max"),
        Cgroups::V1(_) => ("memory.failcnt", "", "memory.limit_in_bytes"),
    };
    let read = |file| {
        let directory = match cgroups {
            Cgroups::V2 => join(CGROUPS, &place.path),
            Cgroups::V1(hierarchies) => super::v1::directory(hierarchies, "memory", place).ok()?,
        };
        let text = files::read(CWD, join(&directory, file).as_str()).ok()?;
        String::from_utf8(text).ok()
    };
    let reached = read(count).is_some_and(|text| {
        let mut counts = text.lines().filter_map(|line| line.strip_prefix(key));
        counts.next().is_some_and(|count| count.trim() != "0")
    });
    match read(limit).filter(|_| reached) {
        Some(limit) => Error::new(format!(
            "{error} (it has reached its memory limit: linux.resources.memory.limit is {})",
            limit.trim()
        ))
        .because(error.why()),
        None => error,
    }
}
