//! The words that plans understand, for `features`. Each list is read off the table the plan itself uses.

use super::{identity, namespaces, options, security};
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub fn namespaces() -> Vec<String> {
    sorted(namespaces::KINDS.iter().map(|(_, name, _)| (*name).into()))
}

/// With `CAP_`, as far as this kernel knows them.
pub fn capabilities(last: u32) -> Vec<String> {
    let known = identity::CAPABILITIES.iter().take(last as usize + 1);
    known.map(|name| format!("CAP_{name}")).collect()
}

pub fn mount_options() -> Vec<String> {
    let plain = options::ATTRIBUTES.iter().map(|(name, ..)| *name);
    let plain = plain.chain(options::PROPAGATION.iter().map(|(name, _)| *name));
    let both = plain.flat_map(|name| [name.into(), format!("r{name}")]);
    sorted(both.chain(options::OTHERS.iter().map(|name| (*name).into())))
}

pub fn seccomp_flags() -> Vec<&'static str> {
    security::FLAGS.iter().map(|(name, _)| *name).collect()
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    BinaryHeap::from_iter(names).into_sorted_vec()
}
