//! Plans the root file system: the attach, the mounts and devices in it, the masked and read-only paths, and
//! the entry. Source: config.md, Root; config-linux.md, Rootfs Mount Propagation, Masked Paths, Readonly Paths.

use super::mounts::{READ_ONLY, is_bind, is_root, mount_point, propagate};
use super::namespaces::Kind;
use super::{Builder, When, leak, leak_text, options};
use crate::error::{Result, fail};
use crate::facts::Location;
use crate::spec::Mount;
use alloc::borrow::ToOwned;
use alloc::format;
use core::ffi::CStr;
use linux_raw_sys::general::{MS_PRIVATE, MS_SHARED, MS_SLAVE};
use syscalls::calls::MountAttr;
use syscalls::step::{Attributes, Open, Place, Point, Step, Tree};

impl Builder<'_> {
    /// Plans the propagation, the root, and every mount and device in it.
    pub fn root(&mut self, cgroup: Option<&Location>) -> Result<()> {
        let rootfs = leak_text(&self.rootfs, "root.path")?;
        if !self.namespaces.is_new(Kind::Mount) {
            return self.root_of_others(rootfs);
        }
        if let Some(label) = &self.spec.linux.mount_label {
            self.needs_selinux("linux.mountLabel", label)?;
        }
        let propagation = self.propagation()?;
        // The container's mounts do not propagate to the host unless the spec asks for it. The host's mounts
        // propagate in, unless the spec says private.
        let private = propagation.is_some_and(|(flag, _)| flag == u64::from(MS_PRIVATE));
        let host = propagate(u64::from(if private { MS_PRIVATE } else { MS_SLAVE }));
        let everywhere = Attributes {
            own: MountAttr::NONE,
            tree: host,
        };
        self.steps.push(Step::Attributes(Place::Host, everywhere));
        // With a shared root, bind mounts stay peers of the host's mounts. The root itself becomes shared after
        // it is entered, because pivot_root(2) refuses a shared root.
        let shared = propagation.is_some_and(|(flag, _)| flag == u64::from(MS_SHARED));
        if !self.spec.linux.masked_paths.is_empty() {
            let null = self.slot();
            self.steps.push(Step::Open(null, Open::NullDevice));
            self.null = Some(null);
        }
        // The trailing slash requires a directory.
        let path = leak_text(&format!("{}/", mount_point(&self.rootfs)), "root.path")?;
        let attributes = match shared {
            true => Attributes {
                own: propagate(u64::from(MS_PRIVATE)),
                tree: MountAttr::NONE,
            },
            false => everywhere,
        };
        let host = Tree {
            path,
            recursive: true,
            attributes,
        };
        let tree = self.tree("root.path".to_owned(), host, None, true)?;
        // The mounts are planned before the attach of the root, because they add to the trees that are copied
        // first.
        let before = core::mem::take(&mut self.steps);
        let spec = self.spec;
        for (n, mount) in spec.mounts.iter().enumerate() {
            let field = format!("mounts[{n}]");
            self.mount(&field, mount, shared, cgroup)?;
            if is_root(&mount.destination) {
                self.cover_root(&field, mount)?;
            }
        }
        let dev_is_ours = !spec.mounts.iter().any(|m| {
            mount_point(&m.destination) == "/dev"
                && options::read(&m.options, "").is_ok_and(|o| is_bind(m, &o))
        });
        self.devices(dev_is_ours)?;
        let mounts = core::mem::replace(&mut self.steps, before);
        self.steps.append(&mut self.copies);
        if self.opens.iter().any(|open| open.when == When::Child) {
            self.steps.push(Step::Meet(Point::Trees));
        }
        self.steps.push(Step::Rootfs {
            tree,
            path: rootfs,
            in_place: self.root_in_place(),
        });
        self.steps.extend(mounts);
        Ok(())
    }

    /// Makes the mount that was planned last the root, as in crun: below it, nobody would see it.
    fn cover_root(&mut self, field: &str, mount: &Mount<'_>) -> Result<()> {
        if mount.destination.is_empty() {
            fail!("config.json: {field}.destination: expected a path, found \"\"");
        }
        if matches!(mount.fs_type.as_deref(), Some("cgroup" | "cgroup2")) {
            fail!("config.json: {field}.destination: the cgroups cannot be the root");
        }
        let slot = self.slot();
        let slot = match self.steps.last_mut() {
            Some(Step::Bind(bind)) => bind.tree,
            Some(Step::Mount(mount)) => *mount.keep.get_or_insert(slot),
            // A remount changes the root that is there.
            _ => return Ok(()),
        };
        self.steps.push(Step::RootIs(slot));
        Ok(())
    }

    /// linux.rootfsPropagation as `MS_*`, and whether it is recursive.
    fn propagation(&self) -> Result<Option<(u64, bool)>> {
        let Some(name) = self.spec.linux.rootfs_propagation.as_deref() else {
            return Ok(None);
        };
        match options::propagation(name) {
            None => fail!(
                "config.json: linux.rootfsPropagation: expected shared, slave, private or unbindable, found {name:?}"
            ),
            propagation => Ok(propagation),
        }
    }

    /// Whether the root is attached at its own path until it is entered, not over `/`. Hooks look for it there.
    /// A child that copies trees of the host needs an uncovered `/`.
    fn root_in_place(&self) -> bool {
        self.child_sees_the_host() || self.runs_hooks_before_root()
    }

    /// Plans the root of a container without a new mount namespace. Mounts and a read-only root are left out with
    /// a warning: they would change the host, or the other processes of a joined namespace.
    fn root_of_others(&mut self, rootfs: &'static CStr) -> Result<()> {
        let linux = &self.spec.linux;
        for (field, empty) in [
            ("maskedPaths", linux.masked_paths.is_empty()),
            ("readonlyPaths", linux.readonly_paths.is_empty()),
            ("rootfsPropagation", linux.rootfs_propagation.is_none()),
        ] {
            if !empty {
                fail!(
                    "config.json: linux.{field}: needs a new namespace of type \"mount\" in linux.namespaces"
                );
            }
        }
        let read_only = self.spec.root.as_ref().is_some_and(|root| root.readonly);
        for (field, set) in [
            ("mounts", !self.spec.mounts.is_empty()),
            ("root.readonly", read_only),
        ] {
            if set {
                self.warnings.push(format!(
                    "{field} has no effect without a new mount namespace"
                ));
            }
        }
        self.steps.push(Step::Root(rootfs));
        Ok(())
    }

    /// Plans the read-only and masked paths, and the attributes of the root.
    pub fn paths(&mut self) -> Result<()> {
        let spec = self.spec;
        if !self.namespaces.is_new(Kind::Mount) {
            return Ok(());
        }
        for (mount, path) in core::mem::take(&mut self.read_only) {
            let place = Place::Kept(mount, path);
            self.steps.push(Step::Attributes(place, READ_ONLY));
        }
        for (n, path) in spec.linux.readonly_paths.iter().enumerate() {
            self.steps.push(Step::Readonly(plain_path(
                path,
                &format!("linux.readonlyPaths[{n}]"),
            )?));
        }
        if let Some(null) = self.null {
            let empty = self.slot();
            for (n, path) in spec.linux.masked_paths.iter().enumerate() {
                let path = plain_path(path, &format!("linux.maskedPaths[{n}]"))?;
                self.steps.push(Step::Mask { path, null, empty });
            }
        }
        if spec.root.as_ref().is_some_and(|root| root.readonly) {
            self.steps.push(Step::Attributes(Place::Root, READ_ONLY));
        }
        Ok(())
    }

    /// Plans the entry into the root, and then its propagation.
    pub fn enter_root(&mut self) -> Result<()> {
        if !self.namespaces.is_new(Kind::Mount) {
            self.steps.push(Step::Chroot);
            return Ok(());
        }
        match &self.options.no_pivot {
            None => self.steps.push(Step::Pivot),
            Some(hidden) => {
                let paths = hidden.iter().map(|path| leak_text(path, "mountinfo"));
                let hidden = leak(paths.collect::<Result<_>>()?);
                let in_place = self.root_in_place();
                self.steps.push(Step::MoveRoot { hidden, in_place });
                self.steps.push(Step::Chroot);
            }
        }
        if let Some((flag, all)) = self.propagation()? {
            let (own, tree) = match all {
                true => (MountAttr::NONE, propagate(flag)),
                false => (propagate(flag), MountAttr::NONE),
            };
            let attributes = Attributes { own, tree };
            self.steps.push(Step::Attributes(Place::Root, attributes));
        }
        Ok(())
    }
}

fn plain_path(path: &str, field: &str) -> Result<&'static CStr> {
    if !path.starts_with('/') {
        fail!("config.json: {field}: expected an absolute path, found {path:?}");
    }
    leak_text(path, field)
}
