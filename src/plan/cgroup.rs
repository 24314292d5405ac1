//! The container's view of its cgroups, and who owns its own: the user who runs in it, when the container sees its cgroups
//! as its own and may write to them. Source: config-linux.md, Control groups and Cgroup ownership.

use super::mounts::{NOSUID_NODEV_NOEXEC, RDONLY, propagate};
use super::namespaces::Kind;
use super::options::{self, Options};
use super::{Builder, leak, leak_text};
use crate::error::Result;
use crate::facts::{CGROUPS, Cgroups, join};
use crate::spec::Mount as SpecMount;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use linux_raw_sys::general::MS_SLAVE;
use syscalls::calls::MountAttr;
use syscalls::step::{Attributes, Bind, FsOption, Mount, Node, Place, Step, Tree};

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
        field: &str,
        mount: &SpecMount<'_>,
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
        let cgroup2 = |target| Mount {
            fstype: c"cgroup2",
            source: Some(c"cgroup"),
            options: &[],
            data: None,
            attr,
            after,
            target,
            plain: false,
            copy_up: false,
            inherit_mode: false,
            keep: None,
        };
        let hierarchies = match &self.facts.cgroups {
            // A new mount from the host's cgroup namespace would reset the options of the host's own, `nsdelegate`
            // among them, and from a user namespace is refused.
            Cgroups::V2 if !own_namespace => {
                return self.bind_cgroup(field, CGROUPS, None, target, attr, after);
            }
            Cgroups::V2 => {
                self.steps.push(Step::Mount(cgroup2(target)));
                return Ok(());
            }
            Cgroups::V1(hierarchies) => hierarchies,
        };
        // v1: a directory of mounts, one for each hierarchy, and links for those that have several controllers.
        let keep = (attr & RDONLY != 0).then(|| self.slot());
        self.steps.push(Step::Mount(Mount {
            fstype: c"tmpfs",
            source: Some(c"tmpfs"),
            options: &[FsOption::Value(c"mode", c"755")],
            attr: attr & !RDONLY,
            keep,
            ..cgroup2(target)
        }));
        for hierarchy in hierarchies {
            let name = hierarchy.mountpoint.rsplit('/').next().unwrap_or_default();
            let below = leak_text(&join(&mount.destination, name), field)?;
            if own_namespace && hierarchy.is_v2() {
                self.steps.push(Step::Mount(cgroup2(below)));
            } else if own_namespace {
                let mut data = Vec::new();
                for controller in &hierarchy.controllers {
                    data.push(match controller.split_once('=') {
                        Some((key, value)) => {
                            FsOption::Value(leak_text(key, field)?, leak_text(value, field)?)
                        }
                        None => FsOption::Flag(leak_text(controller, field)?),
                    });
                }
                self.steps.push(Step::Mount(Mount {
                    fstype: c"cgroup",
                    options: leak(data),
                    ..cgroup2(below)
                }));
            } else if cgroup.is_some() {
                let none = Attributes::NONE;
                self.bind_cgroup(field, &hierarchy.mountpoint, cgroup, below, attr, none)?;
            }
            if name.contains(',') {
                for controller in &hierarchy.controllers {
                    let path = leak_text(&join(&mount.destination, controller), field)?;
                    let target = leak_text(name, field)?;
                    self.steps.push(Step::Make(path, Node::Link(target)));
                }
            }
        }
        if let Some(mount) = keep {
            let own = MountAttr {
                set: RDONLY,
                ..MountAttr::NONE
            };
            let read_only = Attributes {
                own,
                ..Attributes::NONE
            };
            let place = Place::Kept(mount, target);
            self.steps.push(Step::Attributes(place, read_only));
        }
        Ok(())
    }

    /// The container's own cgroup of one hierarchy, or all of it, from the host's mount.
    fn bind_cgroup(
        &mut self,
        field: &str,
        hierarchy: &str,
        cgroup: Option<&str>,
        target: &'static CStr,
        attr: u64,
        after: Attributes,
    ) -> Result<()> {
        let path = match cgroup {
            Some(cgroup) => leak_text(&join(hierarchy, cgroup), field)?,
            None => leak_text(hierarchy, field)?,
        };
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
