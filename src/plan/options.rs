//! The mount options of config.md: attributes to set or clear, requests to the runtime, and options for the
//! file system. A new option is one row of `TABLE`.

use crate::error::{Result, fail};
use alloc::borrow::Cow;
use alloc::vec::Vec;
use linux_raw_sys::general::*;
use syscalls::calls::MountAttr;

/// The parsed options of a mount.
#[derive(Default)]
pub struct Options<'a> {
    /// Attributes of the mount itself (`own`), and of the mount and all mounts below it (`tree`, the `r…`
    /// options).
    pub own: MountAttr,
    pub tree: MountAttr,
    /// The propagation types (`MS_SHARED`, `MS_SLAVE`, …), and whether each is recursive, in the given order.
    pub propagation: Vec<(u64, bool)>,
    pub bind: Option<Recursion>,
    pub idmap: Option<Recursion>,
    pub remount: bool,
    pub copy_up: bool,
    /// The options of the file system and of the superblock, each with its index in the list.
    pub data: Vec<(usize, &'a str)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    One,
    All,
}

/// The effect of an option.
#[derive(Clone, Copy)]
pub enum Does {
    /// Sets and clears attributes of the mount (`MOUNT_ATTR_*`). An `r` before the name makes it recursive.
    Attribute(u32, u32),
    /// Sets the propagation type (`MS_*`). An `r` before the name makes it recursive.
    Propagation(u32),
    Bind(Recursion),
    Idmap(Recursion),
    Remount,
    CopyUp,
    /// Passes the name to the superblock, as for every word that is not in the table.
    Superblock,
    /// No effect: the option is the default of fsconfig(2), or the kernel has dropped it.
    Nothing,
}

impl Does {
    /// Whether the option has a recursive form, with an `r` before its name.
    pub fn has_recursive(self) -> bool {
        matches!(self, Does::Attribute(..) | Does::Propagation(_))
    }
}

/// Every option that is not specific to a file system.
pub const TABLE: [(&str, Does); 42] = [
    ("ro", Does::Attribute(MOUNT_ATTR_RDONLY, 0)),
    ("rw", Does::Attribute(0, MOUNT_ATTR_RDONLY)),
    ("nosuid", Does::Attribute(MOUNT_ATTR_NOSUID, 0)),
    ("suid", Does::Attribute(0, MOUNT_ATTR_NOSUID)),
    ("nodev", Does::Attribute(MOUNT_ATTR_NODEV, 0)),
    ("dev", Does::Attribute(0, MOUNT_ATTR_NODEV)),
    ("noexec", Does::Attribute(MOUNT_ATTR_NOEXEC, 0)),
    ("exec", Does::Attribute(0, MOUNT_ATTR_NOEXEC)),
    ("nodiratime", Does::Attribute(MOUNT_ATTR_NODIRATIME, 0)),
    ("diratime", Does::Attribute(0, MOUNT_ATTR_NODIRATIME)),
    ("nosymfollow", Does::Attribute(MOUNT_ATTR_NOSYMFOLLOW, 0)),
    ("symfollow", Does::Attribute(0, MOUNT_ATTR_NOSYMFOLLOW)),
    // The atime flags are one field with three values, so setting one clears the field. A `no` option gives the
    // kernel's default.
    ("relatime", access_time(MOUNT_ATTR_RELATIME)),
    ("norelatime", access_time(MOUNT_ATTR_RELATIME)),
    ("noatime", access_time(MOUNT_ATTR_NOATIME)),
    ("atime", access_time(MOUNT_ATTR_RELATIME)),
    ("strictatime", access_time(MOUNT_ATTR_STRICTATIME)),
    ("nostrictatime", access_time(MOUNT_ATTR_RELATIME)),
    ("private", Does::Propagation(MS_PRIVATE)),
    ("shared", Does::Propagation(MS_SHARED)),
    ("slave", Does::Propagation(MS_SLAVE)),
    ("unbindable", Does::Propagation(MS_UNBINDABLE)),
    ("bind", Does::Bind(Recursion::One)),
    ("rbind", Does::Bind(Recursion::All)),
    ("idmap", Does::Idmap(Recursion::One)),
    ("ridmap", Does::Idmap(Recursion::All)),
    ("remount", Does::Remount),
    ("tmpcopyup", Does::CopyUp),
    ("sync", Does::Superblock),
    ("dirsync", Does::Superblock),
    ("lazytime", Does::Superblock),
    ("acl", Does::Nothing),
    ("async", Does::Nothing),
    ("defaults", Does::Nothing),
    ("iversion", Does::Nothing),
    ("loud", Does::Nothing),
    ("mand", Does::Nothing),
    ("noacl", Does::Nothing),
    ("noiversion", Does::Nothing),
    ("nolazytime", Does::Nothing),
    ("nomand", Does::Nothing),
    ("silent", Does::Nothing),
];

const fn access_time(set: u32) -> Does {
    Does::Attribute(set, MOUNT_ATTR__ATIME)
}

/// The row of an option, and whether it is recursive.
fn find(name: &str) -> Option<(Does, bool)> {
    let row = |name: &str| {
        let row = TABLE.iter().find(|(n, _)| *n == name);
        row.map(|(_, does)| *does)
    };
    row(name).map(|does| (does, false)).or_else(|| {
        let does = row(name.strip_prefix('r')?)?;
        does.has_recursive().then_some((does, true))
    })
}

/// Parses a propagation type of the spec, with or without `r`.
pub fn propagation(name: &str) -> Option<(u64, bool)> {
    match find(name)? {
        (Does::Propagation(flag), all) => Some((flag.into(), all)),
        _ => None,
    }
}

/// Parses `mounts[n].options`.
pub fn read<'a>(options: &'a [Cow<'a, str>], field: &str) -> Result<Options<'a>> {
    let mut o = Options::default();
    for (n, option) in options.iter().enumerate() {
        let (does, all) = match find(option) {
            Some(row) => row,
            None if option.contains('\0') => {
                fail!("config.json: {field}.options[{n}]: a string with a zero byte")
            }
            None if option.is_empty() => (Does::Nothing, false),
            None => (Does::Superblock, false),
        };
        match does {
            Does::Attribute(set, clear) => {
                let attr = if all { &mut o.tree } else { &mut o.own };
                let (set, clear) = (u64::from(set), u64::from(clear));
                // The later of two conflicting options wins. One call may clear a field and set a value in it.
                attr.set = attr.set & !clear | set;
                attr.clear = attr.clear & !set | clear;
            }
            Does::Propagation(flag) => o.propagation.push((flag.into(), all)),
            Does::Bind(one) => o.bind = stronger(o.bind, one),
            Does::Idmap(one) => o.idmap = stronger(o.idmap, one),
            Does::Remount => o.remount = true,
            Does::CopyUp => o.copy_up = true,
            Does::Superblock => o.data.push((n, option)),
            Does::Nothing => {}
        }
    }
    Ok(o)
}

/// The recursive form wins.
fn stronger(old: Option<Recursion>, new: Recursion) -> Option<Recursion> {
    old.filter(|old| *old == Recursion::All).or(Some(new))
}

impl Options<'_> {
    /// Refuses options that only a new file system honours, on a mount of another kind (`what`). `mode`, `uid`
    /// and `gid` are accepted: they restrict nothing, and engines leave them in the list when they bind a
    /// directory in place of a tmpfs.
    pub fn no_data(&self, field: &str, what: &str) -> Result<()> {
        let harmless = |option: &str| {
            let key = option.split_once('=').map(|(key, _)| key);
            matches!(key, Some("mode" | "uid" | "gid"))
        };
        match self.data.iter().find(|(_, option)| !harmless(option)) {
            Some((n, option)) => {
                fail!("config.json: {field}.options[{n}]: {what} does not take {option:?}")
            }
            None => Ok(()),
        }
    }
}
