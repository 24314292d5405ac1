//! Who owns the container's cgroup: the user who runs in it, when the container sees its cgroups as its own
//! and may write to them. Source: config-linux.md, Cgroup ownership.

use super::Builder;
use super::namespaces::Kind;
use crate::host::Cgroups;

impl Builder<'_> {
    /// The owner's uid on the host; `None` leaves the cgroup to us. On v1 giving it away would not be safe.
    pub fn cgroup_owner(&self) -> Option<u32> {
        let linux = &self.spec.linux;
        let writable = self.spec.mounts.iter().any(|mount| {
            mount.source.as_deref() == Some("cgroup")
                && mount.destination == "/sys/fs/cgroup"
                && !mount.options.iter().any(|option| option == "ro")
        });
        if self.host.cgroups != Cgroups::V2 || !self.namespaces.is_new(Kind::Cgroup) || !writable {
            return None;
        }
        let uid = self.spec.process.as_ref().map_or(0, |p| p.user.uid);
        if !self.namespaces.has(Kind::User) {
            return Some(uid).filter(|uid| *uid != 0);
        }
        linux.uid_mappings.iter().find_map(|map| {
            let offset = uid
                .checked_sub(map.container_id)
                .filter(|n| *n < map.size)?;
            map.host_id.checked_add(offset)
        })
    }
}
