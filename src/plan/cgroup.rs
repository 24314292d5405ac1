//! The container's view of its cgroups, and who owns its own: the user who runs in it, when the container sees its cgroups
//! as its own and may write to them. Source: config-linux.md, Control groups and Cgroup ownership.

use super::mounts::{NOSUID_NODEV_NOEXEC, RDONLY, propagate};
use super::namespaces::Kind;
use super::options::{self, Options};
use super::{Builder, leak, leak_text};
use crate::error::Result;
use crate::facts::{CGROUPS, Cgroups, Hierarchy, join};
use crate::spec::Mount as SpecMount;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use linux_raw_sys::general::MS_SLAVE;
use syscalls::calls::MountAttr;
use syscalls::step::{Attributes, Bind, FsOption, Mount, Step, Tree};

impl Builder<'_> {
    /// The owner's uid on the host; `None` leaves the cgroup to us. On v1 giving it away would not be safe.
    pub fn cgroup_owner(&self) -> Option<u32> {
        let linux = &self.spec.linux;
        let writable = self.spec.mounts.iter().any(|mount| {
            mount.source.as_deref() == Some("cgroup")
                && mount.destination == "/sys/fs/cgroup"
                && !mount.options.iter().any(|option| option == "ro")
        });
        if self.facts.cgroups != Cgroups::V2 || !self.namespaces.is_new(Kind::Cgroup) || !writable {
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

    /// The container's view of its cgroups. Without a cgroup namespace it is read-only: what it shows is
    /// the host's (CVE-2023-25809).
    pub fn cgroup_view(
        &mut self,
        (field, mount): (&str, &SpecMount<'_>),
        options: &Options<'_>,
        after: Attributes,
        cgroup: Option<&str>,
    ) -> Result<()> {
        options.no_data(field, "a mount of the cgroups")?;
        let own_namespace = self.namespaces.has(Kind::Cgroup);
        let mut attr = options.own.set;
        if !own_namespace {
            attr |= RDONLY;
        }
        let target = leak_text(&mount.destination, &format!("{field}.destination"))?;
        // The host's cgroups cannot be mounted in a user namespace, and without rights over them there may be
        // none of the container's to bind: all that the host shows, then, read-only as it must be.
        let below = self.namespaces.has(Kind::User) || self.facts.in_user_namespace;
        if !own_namespace
            && match self.facts.cgroups {
                Cgroups::V2 => below,
                Cgroups::V1(_) => !self.facts.privileged || self.facts.in_user_namespace,
            }
        {
            let mut options = options::read(&mount.options, field)?;
            options.own.set |= RDONLY | NOSUID_NODEV_NOEXEC;
            options.own.clear &= !options.own.set;
            return self.bind_host(field, c"/sys/fs/cgroup", &options, target, after);
        }
        let base = Mount {
            source: Some(c"cgroup"),
            attr,
            after,
            ..Mount::new(c"cgroup2", target)
        };
        match &self.facts.cgroups {
            // A new mount from the host's cgroup namespace would reset the options of the host's own, `nsdelegate`
            // among them, and from a user namespace is refused.
            Cgroups::V2 if !own_namespace => {
                let path = leak_text(CGROUPS, field)?;
                self.bind_cgroup(field, path, target, (attr, after))
            }
            Cgroups::V2 => {
                self.steps.push(Step::Mount(base));
                Ok(())
            }
            Cgroups::V1(hierarchies) => {
                self.cgroups_of_v1((field, mount), hierarchies, base, cgroup)
            }
        }
    }

    /// A directory of mounts, one for each hierarchy, and links for those that have several controllers.
    fn cgroups_of_v1(
        &mut self,
        (field, mount): (&str, &SpecMount<'_>),
        hierarchies: &[Hierarchy],
        base: Mount<'static>,
        cgroup: Option<&str>,
    ) -> Result<()> {
        let own_namespace = self.namespaces.has(Kind::Cgroup);
        let (attr, target) = (base.attr, base.target);
        let cgroup2 = |target| Mount { target, ..base };
        let keep = (attr & RDONLY != 0).then(|| self.slot());
        self.steps.push(Step::Mount(Mount {
            fstype: c"tmpfs",
            source: Some(c"tmpfs"),
            options: &[FsOption::Value(c"mode", c"755")],
            attr: attr & !RDONLY,
            keep,
            ..base
        }));
        for hierarchy in hierarchies {
            let name = hierarchy.mountpoint.rsplit('/').next().unwrap_or_default();
            let below = leak_text(&join(&mount.destination, name), field)?;
            if own_namespace && hierarchy.is_v2() {
                self.steps.push(Step::Mount(cgroup2(below)));
            } else if own_namespace {
                self.steps.push(Step::Mount(Mount {
                    fstype: c"cgroup",
                    options: controllers(hierarchy, field)?,
                    ..cgroup2(below)
                }));
            } else if let Some(cgroup) = cgroup {
                let path = leak_text(&join(&hierarchy.mountpoint, cgroup), field)?;
                self.bind_cgroup(field, path, below, (attr, Attributes::NONE))?;
            }
            if name.contains(',') {
                for controller in &hierarchy.controllers {
                    let path = leak_text(&join(&mount.destination, controller), field)?;
                    self.steps.push(Step::Link {
                        path,
                        target: leak_text(name, field)?,
                    });
                }
            }
        }
        if let Some(mount) = keep {
            self.steps.push(Step::ReadonlyMount { mount, target });
        }
        Ok(())
    }

    /// A cgroup from the host's mount of a hierarchy.
    fn bind_cgroup(
        &mut self,
        field: &str,
        path: &'static CStr,
        target: &'static CStr,
        (attr, after): (u64, Attributes),
    ) -> Result<()> {
        let own = MountAttr {
            set: attr | NOSUID_NODEV_NOEXEC,
            ..MountAttr::NONE
        };
        let attributes = Attributes {
            own,
            tree: propagate(u64::from(MS_SLAVE)),
        };
        let host = Tree {
            path,
            recursive: false,
            attributes,
        };
        let tree = self.tree(field.to_owned(), host, None, false)?;
        self.steps.push(Step::Bind(Bind {
            tree,
            source: path,
            target,
            after,
        }));
        Ok(())
    }
}

/// The controllers of a v1 hierarchy, as its mount takes them.
fn controllers(hierarchy: &Hierarchy, field: &str) -> Result<&'static [FsOption<'static>]> {
    let mut data = Vec::new();
    for controller in &hierarchy.controllers {
        data.push(match controller.split_once('=') {
            Some((key, value)) => FsOption::Value(leak_text(key, field)?, leak_text(value, field)?),
            None => FsOption::Flag(leak_text(controller, field)?),
        });
    }
    Ok(leak(data))
}
