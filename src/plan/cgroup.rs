//! The container's cgroup, its view of its cgroups, and the owner of its own cgroup: the container's user, if the container
//! has its own cgroup namespace and may write to it. Source: config-linux.md, Control groups and Cgroup
//! ownership.

use super::mounts::{Entry, NOSUID_NODEV_NOEXEC, RDONLY, READ_ONLY, fs_option, propagate};
use super::namespaces::Kind;
use super::{Builder, leak, leak_text};
use crate::error::Result;
use crate::facts::{CGROUPS, Cgroups, Hierarchy, Location, join};
use crate::limits::systemd::Unit;
use crate::limits::{self, Driver, Limits};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;
use core::ffi::CStr;
use linux_raw_sys::general::MS_SLAVE;
use syscalls::calls::MountAttr;
use syscalls::step::{Attributes, Bind, FsOption, Mount, Node, Place, Step, Tree};

impl Builder<'_> {
    /// The container's cgroup, unless the driver makes none.
    pub fn cgroup(&mut self) -> Result<Option<limits::Cgroup>> {
        let (spec, id) = (self.spec, self.options.id);
        let limits = match &spec.linux.resources {
            Some(resources) => {
                self.warnings.extend(limits::ignored(&resources.memory));
                Limits::new(self.facts, resources)?
            }
            None => Limits::default(),
        };
        let path = spec.linux.cgroups_path.as_deref();
        let mut base = Location::default();
        let (below, unit) = match self.options.cgroups {
            Driver::Disabled => return Ok(None),
            Driver::Cgroupfs => {
                let below = limits::path(path, id)?;
                if limits::starts_at_caller(path) {
                    base = self.base(&limits);
                }
                (below, None)
            }
            Driver::Systemd(root) => {
                let unit = Unit::new(root, path, id, &spec.annotations)?;
                (unit.path()?, Some(unit))
            }
        };
        Ok(Some(limits::Cgroup {
            base,
            path: below,
            named: path.is_some(),
            unit,
            owner: self.cgroup_owner(),
            limits,
        }))
    }

    /// The caller's cgroup, so that its limits hold for the container. If controllers are needed on cgroup v2, it is
    /// the parent: a cgroup that has processes cannot enable controllers for its children (cgroup-v2.rst, No Internal
    /// Process Constraint).
    fn base(&mut self, limits: &Limits) -> Location {
        let Some(caller) = &self.facts.caller else {
            return Location::default();
        };
        if let Some(mountpoint) = &caller.hidden {
            self.warnings.push(format!(
                "the caller's cgroup is not visible in {mountpoint}, so the container's is at its root, where the caller's limits do not apply"
            ));
        }
        let mut base = caller.place.clone();
        let limited = limits.values.iter().any(|l| l.controller() != "cgroup");
        if self.facts.cgroups == Cgroups::V2
            && limited
            && let Some(parent) = base.path.rfind('/')
        {
            self.warnings.push(format!(
                "the container's cgroup is beside the caller's cgroup {}, whose limits do not apply to it: cgroup v2 allows no limits below a cgroup that has processes (linux.cgroupsPath chooses another place)",
                base.path
            ));
            base.path.truncate(parent);
        }
        base
    }

    /// The owner's uid on the host. With `None` the cgroup is not delegated. Delegation on v1 is not safe.
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

    /// Mounts the container's view of its cgroups. Without a cgroup namespace it is read-only, because it shows
    /// the host's (CVE-2023-25809).
    pub fn cgroup_view(&mut self, mut entry: Entry<'_>, cgroup: Option<&Location>) -> Result<()> {
        entry
            .options
            .no_data(entry.field, "a mount of the cgroups")?;
        let own_namespace = self.namespaces.has(Kind::Cgroup);
        if !own_namespace {
            entry.options.own.set |= RDONLY;
        }
        // A user namespace cannot mount the host's cgroups, and an unprivileged user may have no cgroup of the
        // container to bind. So the host's whole tree is bound, read-only.
        let below = self.namespaces.has(Kind::User) || self.facts.in_user_namespace;
        let all_of_the_host = match self.facts.cgroups {
            Cgroups::V2 => below,
            Cgroups::V1(_) => !self.facts.privileged || self.facts.in_user_namespace,
        };
        if !own_namespace && all_of_the_host {
            let own = &mut entry.options.own;
            own.set |= NOSUID_NODEV_NOEXEC;
            own.clear &= !own.set;
            return self.bind_host(&entry, c"/sys/fs/cgroup");
        }
        match &self.facts.cgroups {
            Cgroups::V1(hierarchies) => self.view_of_v1(&entry, hierarchies, cgroup),
            Cgroups::V2 if own_namespace => {
                let mount = cgroup2(&entry, entry.target);
                self.steps.push(Step::Mount(mount));
                Ok(())
            }
            // A new mount from the host's cgroup namespace would reset the options of the host's mount, such as
            // `nsdelegate`. From a user namespace the kernel refuses it.
            Cgroups::V2 => self.bind_cgroup(&entry, CGROUPS, entry.target, entry.after),
        }
    }

    /// Mounts one directory for each v1 hierarchy, with links for hierarchies that have several controllers.
    fn view_of_v1(
        &mut self,
        entry: &Entry<'_>,
        hierarchies: &[Hierarchy],
        cgroup: Option<&Location>,
    ) -> Result<()> {
        let (field, target) = (entry.field, entry.target);
        let own_namespace = self.namespaces.has(Kind::Cgroup);
        let attr = entry.options.own.set;
        let keep = (attr & RDONLY != 0).then(|| self.slot());
        self.steps.push(Step::Mount(Mount {
            fstype: c"tmpfs",
            source: Some(c"tmpfs"),
            options: &[FsOption::Value(c"mode", c"755")],
            attr: attr & !RDONLY,
            keep,
            ..cgroup2(entry, target)
        }));
        let destination = target.to_str().unwrap_or_default();
        for hierarchy in hierarchies {
            let name = hierarchy.mountpoint.rsplit('/').next().unwrap_or_default();
            let below = leak_text(&join(destination, name), field)?;
            if own_namespace {
                let mount = cgroup_of(entry, hierarchy, below)?;
                self.steps.push(Step::Mount(mount));
            } else if let Some(cgroup) = cgroup {
                let path = hierarchy.directory(cgroup);
                self.bind_cgroup(entry, &path, below, Attributes::NONE)?;
            }
            if !name.contains(',') {
                continue;
            }
            for controller in &hierarchy.controllers {
                let path = leak_text(&join(destination, controller), field)?;
                let link = Node::Link(leak_text(name, field)?);
                self.steps.push(Step::Make(path, link));
            }
        }
        if let Some(mount) = keep {
            let place = Place::Kept(mount, target);
            self.steps.push(Step::Attributes(place, READ_ONLY));
        }
        Ok(())
    }

    /// Binds a directory of the host's mount of a hierarchy.
    fn bind_cgroup(
        &mut self,
        entry: &Entry<'_>,
        path: &str,
        target: &'static CStr,
        after: Attributes,
    ) -> Result<()> {
        let path = leak_text(path, entry.field)?;
        let own = MountAttr {
            set: entry.options.own.set | NOSUID_NODEV_NOEXEC,
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
        let tree = self.tree(entry.field.to_owned(), host, None, false)?;
        self.steps.push(Step::Bind(Bind {
            tree,
            source: path,
            target,
            after,
        }));
        Ok(())
    }
}

/// A new mount of cgroup v2.
fn cgroup2(entry: &Entry<'_>, target: &'static CStr) -> Mount<'static> {
    Mount {
        source: Some(c"cgroup"),
        attr: entry.options.own.set,
        after: entry.after,
        ..Mount::new(c"cgroup2", target)
    }
}

/// A new mount of a hierarchy in the container's own cgroup namespace.
fn cgroup_of(
    entry: &Entry<'_>,
    hierarchy: &Hierarchy,
    target: &'static CStr,
) -> Result<Mount<'static>> {
    let mount = cgroup2(entry, target);
    if hierarchy.is_v2() {
        return Ok(mount);
    }
    let mut data = Vec::new();
    for controller in &hierarchy.controllers {
        data.push(fs_option(controller, entry.field)?);
    }
    Ok(Mount {
        fstype: c"cgroup",
        options: leak(data),
        ..mount
    })
}
