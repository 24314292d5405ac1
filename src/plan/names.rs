//! The names that the planner accepts, for `features`. Each list comes from the table that the planner itself
//! uses.

use super::{identity, namespaces, options, security};
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub fn namespaces() -> Vec<String> {
    sorted(namespaces::KINDS.iter().map(|(_, name, _)| (*name).into()))
}

/// The capabilities, with the prefix `CAP_`.
pub fn capabilities() -> Vec<String> {
    let known = identity::CAPABILITIES.iter();
    known.map(|name| format!("CAP_{name}")).collect()
}

pub fn mount_options() -> Vec<String> {
    let both = options::TABLE.iter().flat_map(|(name, does)| {
        let recursive = does.has_recursive().then(|| format!("r{name}"));
        [Some((*name).into()), recursive].into_iter().flatten()
    });
    sorted(both)
}

/// The seccomp flags for which `accepted` is true.
pub fn seccomp_flags(accepted: impl Fn(u32) -> bool) -> Vec<&'static str> {
    let flags = security::FLAGS.iter();
    flags
        .filter(|(_, flag)| accepted(*flag))
        .map(|(name, _)| *name)
        .collect()
}

/// The modes and the flags of linux.memoryPolicy.
pub fn memory_policies() -> [Vec<&'static str>; 2] {
    let names = |pairs: &[(&'static str, u32)]| pairs.iter().map(|(name, _)| *name).collect();
    [
        names(&security::MEMORY_MODES),
        names(&security::MEMORY_FLAGS),
    ]
}

pub(super) fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    BinaryHeap::from_iter(names).into_sorted_vec()
}
