//! The options of a mount, by config.md's table: what each sets, clears, or asks for, and what is left
//! for the file system itself.

use crate::error::{Result, fail};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use linux_raw_sys::general::*;
use syscalls::calls::MountAttr;

/// A mount's options, sorted out.
#[derive(Default)]
pub struct Options<'a> {
    /// Attributes of the mount itself, and of all below it (the `r…` options).
    pub own: MountAttr,
    pub tree: MountAttr,
    /// `MS_SHARED`, `MS_SLAVE`, … and whether with all below; in the order given.
    pub propagation: Vec<(u64, bool)>,
    pub bind: Option<Recursion>,
    pub idmap: Option<Recursion>,
    pub remount: bool,
    pub copy_up: bool,
    /// What the file system gets: its own options, and those of the superblock.
    pub data: Vec<&'a str>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    One,
    All,
}

/// Attribute options: name, what it sets, what it clears. Each exists with an `r` in front too.
pub const ATTRIBUTES: [(&str, u32, u32); 18] = [
    ("ro", MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, MOUNT_ATTR_RDONLY),
    ("nosuid", MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, MOUNT_ATTR_NOSUID),
    ("nodev", MOUNT_ATTR_NODEV, 0),
    ("dev", 0, MOUNT_ATTR_NODEV),
    ("noexec", MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, MOUNT_ATTR_NOEXEC),
    ("nodiratime", MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW),
    // The times of access are one field of three values; whoever sets one clears the field. A `no` leaves the
    // kernel's default.
    ("relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    ("norelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    ("noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    ("atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    ("strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    ("nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
];

/// The types of propagation; each exists with an `r` in front too.
pub const PROPAGATION: [(&str, u32); 4] = [
    ("private", MS_PRIVATE),
    ("shared", MS_SHARED),
    ("slave", MS_SLAVE),
    ("unbindable", MS_UNBINDABLE),
];

/// What the new mount API has by default, or has no more.
const NO_MORE: [&str; 11] = [
    "defaults",
    "async",
    "nomand",
    "mand",
    "nolazytime",
    "silent",
    "loud",
    "iversion",
    "noiversion",
    "acl",
    "noacl",
];

/// All other words that are not the file system's own, for `features`.
pub const OTHERS: [&str; 20] = [
    "acl",
    "async",
    "bind",
    "defaults",
    "dirsync",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noacl",
    "noiversion",
    "nolazytime",
    "nomand",
    "rbind",
    "remount",
    "ridmap",
    "silent",
    "sync",
    "tmpcopyup",
];

/// A propagation type of the spec, with or without its `r`.
pub fn propagation(name: &str) -> Option<(u64, bool)> {
    let find = |name: &str| {
        PROPAGATION
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, flag)| u64::from(*flag))
    };
    find(name)
        .map(|flag| (flag, false))
        .or_else(|| Some((find(name.strip_prefix('r')?)?, true)))
}

fn attribute(name: &str) -> Option<(u64, u64, bool)> {
    let find = |name: &str| {
        ATTRIBUTES
            .iter()
            .find(|(n, ..)| *n == name)
            .map(|(_, s, c)| (u64::from(*s), u64::from(*c)))
    };
    find(name)
        .map(|(s, c)| (s, c, false))
        .or_else(|| find(name.strip_prefix('r')?).map(|(s, c)| (s, c, true)))
}

/// Sorts out `mounts[n].options`.
pub fn read<'a>(options: &'a [Cow<'a, str>], field: &str) -> Result<Options<'a>> {
    let mut o = Options::default();
    for (n, option) in options.iter().enumerate() {
        if let Some((set, clear, recursive)) = attribute(option) {
            let attr = if recursive { &mut o.tree } else { &mut o.own };
            // The later of two that contradict wins. A field that is cleared may be set in the same call.
            attr.set = attr.set & !clear | set;
            attr.clear = attr.clear & !set | clear;
            continue;
        }
        if let Some(propagation) = propagation(option) {
            o.propagation.push(propagation);
            continue;
        }
        match option.as_ref() {
            "bind" => o.bind = o.bind.or(Some(Recursion::One)),
            "rbind" => o.bind = Some(Recursion::All),
            "idmap" => o.idmap = o.idmap.or(Some(Recursion::One)),
            "ridmap" => o.idmap = Some(Recursion::All),
            "remount" => o.remount = true,
            "tmpcopyup" => o.copy_up = true,
            option if option.is_empty() || NO_MORE.contains(&option) => {}
            data if data.contains('\0') => {
                fail!("config.json: {field}.options[{n}]: a string with a zero byte")
            }
            data => o.data.push(data),
        }
    }
    Ok(o)
}
