//! linux.namespaces: the new and the joined namespaces, the id mappings and the time offsets. Source:
//! config-linux.md, Namespaces, User namespace mappings, Offset for Time Namespace.

use super::{Builder, Mapping, Mappings, What, leak_text};
use crate::error::{Result, fail};
use crate::spec::{IdMapping, Spec};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::fmt::Write;
use linux_raw_sys::general::{
    CLONE_NEWCGROUP, CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWTIME,
    CLONE_NEWUSER, CLONE_NEWUTS,
};
use syscalls::spawn::Join;
use syscalls::step::Step;

/// The types of namespaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Pid,
    Network,
    Mount,
    Ipc,
    Uts,
    User,
    Cgroup,
    Time,
}

/// Every type with its name in the spec and its flag (clone(2)), in the order in which namespaces are joined.
/// The user namespace is last, because entering it drops the privilege to enter the others.
pub const KINDS: [(Kind, &str, u64); 8] = [
    (Kind::Pid, "pid", CLONE_NEWPID as u64),
    (Kind::Network, "network", CLONE_NEWNET as u64),
    (Kind::Ipc, "ipc", CLONE_NEWIPC as u64),
    (Kind::Uts, "uts", CLONE_NEWUTS as u64),
    (Kind::Cgroup, "cgroup", CLONE_NEWCGROUP as u64),
    (Kind::Time, "time", CLONE_NEWTIME as u64),
    (Kind::Mount, "mount", CLONE_NEWNS as u64),
    (Kind::User, "user", CLONE_NEWUSER as u64),
];

/// The names of the namespaces in these flags: `pid network mount`, or `none`.
pub fn names_of(flags: u64) -> String {
    let names: Vec<&str> = KINDS
        .iter()
        .filter(|(_, _, flag)| flags & flag != 0)
        .map(|(_, name, _)| *name)
        .collect();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(" "),
    }
}

/// The list of the spec: for each type no entry, a new namespace (`None`), or the path of an existing one.
pub struct Namespaces(Vec<(Kind, Option<String>)>);

pub fn read(spec: &Spec<'_>) -> Result<Namespaces> {
    let mut list: Vec<(Kind, Option<String>)> = Vec::new();
    for (n, namespace) in spec.linux.namespaces.iter().enumerate() {
        let known = KINDS.iter().find(|(_, name, _)| *name == namespace.kind);
        let Some((kind, name, _)) = known else {
            let names = KINDS.map(|(_, name, _)| name).join(", ");
            fail!(
                "config.json: linux.namespaces[{n}].type: expected one of {names}, found {:?}",
                namespace.kind
            );
        };
        if list.iter().any(|(k, _)| k == kind) {
            fail!(
                "config.json: linux.namespaces[{n}]: there already is a namespace of type {name:?}"
            );
        }
        if let Some(path) = namespace
            .path
            .as_deref()
            .filter(|path| !path.starts_with('/'))
        {
            fail!(
                "config.json: linux.namespaces[{n}].path: expected an absolute path, found {path:?}"
            );
        }
        list.push((*kind, namespace.path.as_deref().map(str::to_owned)));
    }
    Ok(Namespaces(list))
}

impl Namespaces {
    pub fn get(&self, kind: Kind) -> Option<&Option<String>> {
        self.0
            .iter()
            .find(|(k, _)| *k == kind)
            .map(|(_, path)| path)
    }

    /// Whether the namespace is new or joined, and not the runtime's own.
    pub fn has(&self, kind: Kind) -> bool {
        self.get(kind).is_some()
    }

    pub fn is_new(&self, kind: Kind) -> bool {
        self.get(kind) == Some(&None)
    }

    pub fn is_joined(&self, kind: Kind) -> bool {
        self.has(kind) && !self.is_new(kind)
    }

    /// Checks the namespaces of an unprivileged user, who needs a user namespace.
    pub fn check_ordinary(&self) -> Result<()> {
        if !self.has(Kind::User) {
            fail!(
                "config.json: linux.namespaces: an ordinary user needs a namespace of type \"user\" (runtime spec --rootless writes one)"
            );
        }
        if self.is_new(Kind::Time) {
            fail!(
                "config.json: linux.namespaces: an ordinary user cannot make a namespace of type \"time\""
            );
        }
        Ok(())
    }

    /// The flags of every namespace that is not the runtime's own.
    pub fn all(&self) -> u64 {
        KINDS
            .iter()
            .filter(|(kind, ..)| self.has(*kind))
            .fold(0, |flags, (.., flag)| flags | flag)
    }

    /// The namespaces that clone3 creates. The child creates a cgroup namespace later, inside its cgroup. The
    /// process that clones the child creates a time namespace before.
    pub fn flags(&self) -> u64 {
        KINDS
            .iter()
            .filter(|(kind, ..)| self.is_new(*kind) && !matches!(kind, Kind::Cgroup | Kind::Time))
            .fold(0, |flags, (.., flag)| flags | flag)
    }
}

impl Builder<'_> {
    pub fn joins(&mut self) -> Result<Vec<Join<'static>>> {
        let mut joins = Vec::new();
        for n in 0..KINDS.len() {
            // An unprivileged user joins the user namespace first, and gains there the privileges to join the
            // others.
            let (kind, name, flag) = match self.facts.privileged {
                true => KINDS[n],
                false => KINDS[KINDS.len() - 1 - n],
            };
            let Some(Some(path)) = self.namespaces.get(kind) else {
                continue;
            };
            let field = format!("linux.namespaces: {name}");
            let path = leak_text(path, &field)?;
            let slot = self.open(field, What::Namespace { path });
            joins.push(Join {
                slot,
                kind: flag as u32,
                name,
                path,
            });
        }
        Ok(joins)
    }

    /// The steps in the new namespaces, before the root is made.
    pub fn namespace_steps(&mut self) {
        if self.namespaces.is_new(Kind::Cgroup) {
            self.steps.push(Step::CgroupNamespace);
        }
    }

    /// The text of timens_offsets for a new time namespace (time_namespaces(7)).
    pub fn time(&self) -> Result<Option<&'static CStr>> {
        let offsets = &self.spec.linux.time_offsets;
        let mut text = String::new();
        for (clock, offset) in offsets {
            if !matches!(clock.as_ref(), "monotonic" | "boottime") {
                fail!(
                    "config.json: linux.timeOffsets: expected monotonic or boottime, found {clock:?}"
                );
            }
            if offset.nanosecs > 999_999_999 {
                fail!(
                    "config.json: linux.timeOffsets.{clock}.nanosecs: expected less than a second, found {}",
                    offset.nanosecs
                );
            }
            let _ = writeln!(text, "{clock} {} {}", offset.secs, offset.nanosecs);
        }
        if self.namespaces.is_new(Kind::Time) {
            return Ok(Some(leak_text(&text, "linux.timeOffsets")?));
        }
        if !offsets.is_empty() {
            fail!(
                "config.json: linux.timeOffsets: needs a new namespace of type \"time\" in linux.namespaces"
            );
        }
        Ok(None)
    }

    /// The mappings of a new user namespace.
    pub fn mappings(&mut self) -> Result<Option<Mappings>> {
        let linux = &self.spec.linux;
        let given = !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty();
        if !self.namespaces.has(Kind::User) {
            if given {
                fail!(
                    "config.json: linux.uidMappings: needs a namespace of type \"user\" in linux.namespaces"
                );
            }
            return Ok(None);
        }
        if self.namespaces.is_joined(Kind::User) {
            // A joined user namespace has its mappings. Those in the spec are ignored.
            return Ok(None);
        }
        if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
            let field = if linux.uid_mappings.is_empty() {
                "uidMappings"
            } else {
                "gidMappings"
            };
            fail!("config.json: linux.{field}: a new user namespace needs at least one mapping");
        }
        let mut mappings = mappings(&linux.uid_mappings, &linux.gid_mappings, "linux.")?;
        if !self.facts.privileged {
            mappings.uid.helped = !maps_only(&linux.uid_mappings, self.facts.euid);
            mappings.gid.helped = !maps_only(&linux.gid_mappings, self.facts.egid);
            mappings.deny_setgroups = !mappings.gid.helped;
        }
        Ok(Some(mappings))
    }

    /// Whether the container's process may not call setgroups(2), as far as is known before the start.
    pub fn setgroups_is_denied(&self) -> bool {
        let own_gid = || maps_only(&self.spec.linux.gid_mappings, self.facts.egid);
        self.facts.setgroups_denied
            || !self.facts.privileged && self.namespaces.is_new(Kind::User) && own_gid()
    }
}

/// Whether the mapping has only this id of the host.
fn maps_only(mappings: &[IdMapping], id: u32) -> bool {
    matches!(mappings, [m] if m.size == 1 && m.host_id == id)
}

/// Checks mappings and formats them for the kernel. `prefix` is the field that holds them.
pub fn mappings(uid: &[IdMapping], gid: &[IdMapping], prefix: &str) -> Result<Mappings> {
    Ok(Mappings {
        uid: map(uid, &format!("{prefix}uidMappings"))?,
        gid: map(gid, &format!("{prefix}gidMappings"))?,
        deny_setgroups: false,
    })
}

/// Checks one mapping: at most 340 lines, no overlap, and no id beyond 2^32 - 2 (user_namespaces(7)).
fn map(mappings: &[IdMapping], field: &str) -> Result<Mapping> {
    const LINES_MAX: usize = 340;
    if mappings.len() > LINES_MAX {
        fail!(
            "config.json: {field}: expected at most {LINES_MAX} mappings, found {}",
            mappings.len()
        );
    }
    let mut text = String::new();
    for (n, m) in mappings.iter().enumerate() {
        let end = |start: u32| u64::from(start) + u64::from(m.size);
        if m.size == 0 {
            fail!("config.json: {field}[{n}].size: expected a number above 0, found 0");
        }
        if end(m.container_id) > u64::from(u32::MAX) || end(m.host_id) > u64::from(u32::MAX) {
            fail!(
                "config.json: {field}[{n}]: {} ids from {} to {} are not a range of ids",
                m.size,
                m.container_id,
                m.host_id
            );
        }
        for other in &mappings[..n] {
            let overlap = |a: u32, b: u32| {
                u64::from(a) < u64::from(b) + u64::from(other.size) && u64::from(b) < end(a)
            };
            if overlap(m.container_id, other.container_id) || overlap(m.host_id, other.host_id) {
                fail!("config.json: {field}[{n}]: overlaps another mapping");
            }
        }
        let _ = writeln!(text, "{} {} {}", m.container_id, m.host_id, m.size);
    }
    Ok(Mapping {
        text,
        helped: false,
    })
}

/// Whether the mappings include an id of the container.
pub fn maps(mappings: &[IdMapping], id: u32) -> bool {
    mappings.iter().any(|m| {
        id >= m.container_id && u64::from(id) < u64::from(m.container_id) + u64::from(m.size)
    })
}
