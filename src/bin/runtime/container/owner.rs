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
        if self.state.inodes.is_empty() {
            return Ok(true);
        }
        let now = cgroup::inodes(cgroups, place)?;
        let ours = |(now, then): (&u64, &u64)| *now == 0 || now == then;
        let owns = now.iter().zip(&self.state.inodes).all(ours);
        if !owns {
            log::warn(&format!(
                "the cgroup {} of container {:?} is left alone: it was removed, and somebody made another one",
                place.path,
                self.id()
            ));
        }
        Ok(owns)
    }
}
