//! The options of a mount, by config.md's table: what each sets, clears, or asks for, and what is left
//! for the file system itself. A new option is one row of `TABLE`.

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
    /// What the file system gets: its own options, and those of the superblock. Each with its place in the list.
    pub data: Vec<(usize, &'a str)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Recursion {
    One,
    All,
}

/// What an option does.
#[derive(Clone, Copy)]
pub enum Does {
    /// Sets and clears attributes of the mount (`MOUNT_ATTR_*`). With an `r` before its name, of all below it too.
    Attribute(u32, u32),
    /// Sets the type of propagation (`MS_*`). The same `r` exists.
    Propagation(u32),
    Bind(Recursion),
    Idmap(Recursion),
    Remount,
    CopyUp,
    /// Goes to the superblock, by its name. So does every word that is not in the table.
    Superblock,
    /// Nothing: it is the default of fsconfig(2), or the kernel has it no more.
    Nothing,
}

impl Does {
    /// Whether it exists with an `r` before its name, for a whole tree.
    pub fn has_recursive(self) -> bool {
        matches!(self, Does::Attribute(..) | Does::Propagation(_))
    }
}

/// Every option that is not a file system's own.
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
    // The times of access are one field of three values; whoever sets one clears the field. A `no` leaves the
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

/// The row of an option, and whether it is meant for all below the mount too.
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

/// A propagation type of the spec, with or without its `r`.
pub fn propagation(name: &str) -> Option<(u64, bool)> {
    match find(name)? {
        (Does::Propagation(flag), all) => Some((flag.into(), all)),
        _ => None,
    }
}

/// Sorts out `mounts[n].options`.
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
                // The later of two that contradict wins. A field that is cleared may be set in the same call.
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

/// All wins over one.
fn stronger(old: Option<Recursion>, new: Recursion) -> Option<Recursion> {
    old.filter(|old| *old == Recursion::All).or(Some(new))
}

impl Options<'_> {
    /// Refuses what only a new file system could honour, on a mount that is not one: `what`. The owner and the mode of a
    /// new root restrict nothing here, and engines leave them in the list when they bind a directory in place of a tmpfs.
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
