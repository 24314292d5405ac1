//! The kernel's bits in the words of mount(8), capabilities(7) and namespaces(7), for people who read a plan.

use core::fmt;
use linux_raw_sys::general::*;

/// Names by number, as in capability.h.
pub const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities by name: `CAP_KILL CAP_CHOWN`, or `none`.
pub struct Capabilities(pub u64);

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        if self.0.count_ones() as usize == CAPABILITIES.len() {
            return f.write_str("all");
        }
        let held = (0..64).filter(|bit| self.0 & (1 << bit) != 0);
        for (n, bit) in held.enumerate() {
            let space = if n == 0 { "" } else { " " };
            match CAPABILITIES.get(bit) {
                Some(name) => write!(f, "{space}CAP_{name}")?,
                None => write!(f, "{space}{bit}")?,
            }
        }
        Ok(())
    }
}

/// The attributes of a mount (mount_setattr(2)): a bit, the word for it, the word for its absence.
const ATTRIBUTES: [(u32, &str, &str); 6] = [
    (MOUNT_ATTR_RDONLY, "ro", "rw"),
    (MOUNT_ATTR_NOSUID, "nosuid", "suid"),
    (MOUNT_ATTR_NODEV, "nodev", "dev"),
    (MOUNT_ATTR_NOEXEC, "noexec", "exec"),
    (MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"),
    (MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"),
];

/// Calls `word` for each word of these attributes.
pub fn attributes(set: u64, clear: u64, mut word: impl FnMut(&str) -> fmt::Result) -> fmt::Result {
    for (bit, on, off) in ATTRIBUTES {
        if set & u64::from(bit) != 0 {
            word(on)?;
        } else if clear & u64::from(bit) != 0 {
            word(off)?;
        }
    }
    match set as u32 & MOUNT_ATTR__ATIME {
        MOUNT_ATTR_NOATIME => word("noatime"),
        MOUNT_ATTR_STRICTATIME => word("strictatime"),
        _ if clear as u32 & MOUNT_ATTR__ATIME != 0 => word("relatime"),
        _ => Ok(()),
    }
}

/// How mounts spread (mount_namespaces(7)), from `MS_*` bits.
pub fn propagation(flags: u64) -> &'static str {
    match flags as u32 & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE) {
        MS_SHARED => "shared",
        MS_PRIVATE => "private",
        MS_SLAVE => "slave",
        MS_UNBINDABLE => "unbindable",
        _ => "unchanged",
    }
}
