//! Whose the cgroup at a stopped container's path is.

use super::Container;
use crate::{cgroup, log};
use alloc::format;
use runtime::error::Result;
use runtime::facts::{Cgroups, Location};

impl Container {
    /// Whether the cgroup is still the one that `create` made. While the container has a process, it is. Afterwards somebody
    /// may have removed it and made another one at its path, whose processes are not the container's: this warns of it.
    pub(super) fn owns_cgroup(&self, cgroups: &Cgroups, place: &Location) -> Result<bool> {
        let owns = self.state.inode == 0 || cgroup::inode(cgroups, place)? == self.state.inode;
        if !owns && cgroup::exists(cgroups, place) {
            log::warn(&format!(
                "the cgroup {} of container {:?} is left alone: it was removed, and somebody made another one",
                place.path,
                self.id()
            ));
        }
        Ok(owns)
    }
}
