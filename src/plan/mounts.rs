//! The root file system and what is mounted in it: mounts of the spec in their order, the cgroup views,
//! masked and read-only paths, sysctls. Source: config.md, Root and Mounts; config-linux.md.

use super::namespaces::{Kind, mappings};
use super::notify_socket;
use super::options::{self, Options, Recursion};
use super::{Builder, Idmap, IdmapBy, Open, What, When, leak, leak_text};
use crate::error::{Result, fail};
use crate::spec::Mount as SpecMount;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
use linux_raw_sys::general::*;
use syscalls::calls::MountAttr;
use syscalls::slots::Slot;
use syscalls::step::{Attributes, Bind, FsOption, Mount, Point, Step, Tree};

pub const RDONLY: u64 = MOUNT_ATTR_RDONLY as u64;
pub const NOSUID_NODEV_NOEXEC: u64 =
    (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC) as u64;
/// fsconfig(2) takes strings of up to 255 bytes.
const FSCONFIG_MAX: usize = 255;
/// mount(2) takes one page, with its zero byte, and cuts off the rest.
const DATA_MAX: usize = 4095;

pub fn propagate(flag: u64) -> MountAttr {
    MountAttr {
        propagation: flag,
        ..MountAttr::NONE
    }
}

impl Builder<'_> {
    /// Propagation, the root, and every mount and device in it.
    pub fn root(&mut self, cgroup: Option<&str>) -> Result<()> {
        let rootfs = leak_text(&self.rootfs, "root.path")?;
        if !self.namespaces.is_new(Kind::Mount) {
            return self.root_of_others(rootfs);
        }
        if let Some(label) = &self.spec.linux.mount_label {
            self.needs_selinux("linux.mountLabel", label)?;
        }
        let wanted = self.spec.linux.rootfs_propagation.as_deref();
        let field = "linux.rootfsPropagation";
        let propagation = match wanted.map(|name| (name, options::propagation(name))) {
            None => None,
            Some((_, Some(propagation))) => Some(propagation),
            Some((name, None)) => fail!(
                "config.json: {field}: expected shared, slave, private or unbindable, found {name:?}"
            ),
        };
        // Nothing of ours goes back to the host unless the spec says so; what happens there comes in.
        let private = propagation.is_some_and(|(flag, _)| flag == u64::from(MS_PRIVATE));
        let host = propagate(u64::from(if private { MS_PRIVATE } else { MS_SLAVE }));
        self.steps.push(Step::Propagation(host.propagation));
        // Where the root is shared, what is bound into it keeps its peers on the host. The root itself
        // becomes shared once it is entered: pivot_root(2) takes no shared one.
        let shared = propagation.is_some_and(|(flag, _)| flag == u64::from(MS_SHARED));
        let null = self.slot();
        self.steps.push(Step::NullDevice(null));
        // A slash at the end: it must be a directory.
        let path = leak_text(&format!("{}/", mount_point(&self.rootfs)), "root.path")?;
        let attributes = match shared {
            true => Attributes {
                own: propagate(u64::from(MS_PRIVATE)),
                tree: MountAttr::NONE,
            },
            false => Attributes {
                own: MountAttr::NONE,
                tree: host,
            },
        };
        let host = Tree {
            path,
            recursive: true,
            attributes,
        };
        let first = self.steps.len();
        let tree = self.tree("root.path".to_owned(), host, None, true)?;
        self.steps.push(Step::Rootfs {
            tree,
            path: rootfs,
            in_place: self.root_in_place(),
        });

        let spec = self.spec;
        for (n, mount) in spec.mounts.iter().enumerate() {
            self.mount(&format!("mounts[{n}]"), mount, shared, cgroup)?;
        }
        let dev_is_ours = !spec.mounts.iter().any(|m| {
            mount_point(&m.destination) == "/dev"
                && options::read(&m.options, "").is_ok_and(|o| is_bind(m, &o))
        });
        self.devices(dev_is_ours)?;
        self.null = Some(null);
        let rest = self.steps.split_off(first);
        self.steps.append(&mut self.copies);
        if self.opens.iter().any(|open| open.when == When::Child) {
            self.steps.push(Step::Meet(Point::Trees));
        }
        self.steps.extend(rest);
        Ok(())
    }

    /// The slot of a copy of a tree. Who makes the copy, and when, is decided here and nowhere else. With `early` it is
    /// made before the child has changed anything that it sees of the host.
    pub fn tree(
        &mut self,
        field: String,
        tree: Tree<'static>,
        idmap: Option<Idmap>,
        early: bool,
    ) -> Result<Slot> {
        let slot = self.slot();
        let path = tree.path.to_str().unwrap_or_default();
        let inside = path.strip_prefix(self.rootfs.as_str());
        let inside = inside.filter(|rest| rest.starts_with('/') && rest.len() > 1);
        let by_child = |field: String, tree, in_root| Step::Open {
            slot,
            field: field.leak(),
            tree,
            in_root,
        };
        let by_launch = |field, idmap, when| Open {
            slot,
            field,
            what: What::Tree { tree, idmap },
            when,
        };
        match (inside, idmap) {
            // What lies in the root may be mounted by now.
            (Some(rest), None) => {
                let path = leak_text(rest, &field)?;
                self.steps
                    .push(by_child(field, Tree { path, ..tree }, true));
            }
            (_, Some(_)) if !self.facts.may_mount => {
                fail!(
                    "config.json: {field}: an id-mapped mount needs CAP_SYS_ADMIN over the file system"
                )
            }
            // Launch may not copy trees. The child does it first of all: no mount of the container lies over a source yet.
            (_, None) if !self.facts.may_mount => self.copies.push(by_child(field, tree, false)),
            (_, idmap) if self.namespaces.has(Kind::User) => {
                self.opens.push(by_launch(field, idmap, When::Child));
            }
            // /proc/self/mountinfo has the order in which mounts were made, and so that of the spec.
            (_, None) if self.child_sees_the_host() && !early => {
                self.steps.push(by_child(field, tree, false));
            }
            (_, idmap) => self.opens.push(by_launch(field, idmap, When::First)),
        }
        Ok(slot)
    }

    /// Whether the child has all rights that launch has on the host's files and mounts.
    fn child_sees_the_host(&self) -> bool {
        !self.namespaces.has(Kind::User) && !self.facts.in_user_namespace
    }

    /// Whether the root lies where its path says until it is entered, and not over the host's: hooks look for it there,
    /// and where the child copies the host's root, that must have nothing on top.
    fn root_in_place(&self) -> bool {
        let hooks = &self.spec.hooks;
        self.child_sees_the_host()
            || !(hooks.prestart.is_empty()
                && hooks.create_runtime.is_empty()
                && hooks.create_container.is_empty())
    }

    /// Without a mount namespace of its own the container gets no mounts, and a root that can be written: they would
    /// stay the host's, or those of whoever is in the namespace that it joins.
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

    fn mount(
        &mut self,
        field: &str,
        mount: &SpecMount<'_>,
        shared: bool,
        cgroup: Option<&str>,
    ) -> Result<()> {
        let options = options::read(&mount.options, field)?;
        if !mount.destination.starts_with('/') {
            self.warnings.push(format!(
                "{field}.destination is not absolute: taken from the root"
            ));
        }
        // As runc: one that says where it is on the host is meant.
        let destination = match mount.destination.strip_prefix(self.rootfs.as_str()) {
            Some(rest) if rest.starts_with('/') => rest,
            _ => mount.destination.as_ref(),
        };
        let target = leak_text(destination, &format!("{field}.destination"))?;
        let after = after(&options);
        let fs_type = mount.fs_type.as_deref();
        let bind = is_bind(mount, &options);
        if !bind && (options.idmap.is_some() || has_mappings(mount)) {
            fail!("config.json: {field}: only a bind mount can be id-mapped");
        }
        if options.copy_up && (bind || fs_type != Some("tmpfs")) {
            fail!("config.json: {field}.options: tmpcopyup needs a mount of type \"tmpfs\"");
        }
        if options.remount {
            options.no_data(field, "a remount")?;
            let own = MountAttr {
                set: options.own.set,
                clear: options.own.clear,
                ..after.own
            };
            self.steps.push(Step::Remount {
                target,
                attributes: Attributes { own, ..after },
            });
            return Ok(());
        }
        if bind {
            return self.bind(field, mount, &options, target, after, shared);
        }
        let below = self.namespaces.has(Kind::User) || self.facts.in_user_namespace;
        match fs_type {
            // A user namespace may mount only what its own network or IPC namespace shows: else the host's
            // is bound, as crun does.
            Some("sysfs") if below && !self.namespaces.has(Kind::Network) => {
                self.bind_host(field, c"/sys", &options, target, after)
            }
            Some("mqueue") if below && !self.namespaces.has(Kind::Ipc) => {
                self.bind_host(field, c"/dev/mqueue", &options, target, after)
            }
            None => {
                fail!("config.json: {field}.type: required for a mount that is not a bind mount")
            }
            Some("cgroup" | "cgroup2") => self.cgroup_view((field, mount), &options, after, cgroup),
            Some(fs_type) => {
                let source = mount
                    .source
                    .as_deref()
                    .map(|source| leak_text(source, &format!("{field}.source")));
                let mut mount =
                    self.file_system(field, fs_type, source.transpose()?, &options, target, after)?;
                // As runc: what is to lie in it comes first.
                let dev = mount_point(destination) == "/dev";
                if (fs_type == "tmpfs" || dev) && mount.attr & RDONLY != 0 {
                    mount.attr &= !RDONLY;
                    let slot = self.slot();
                    mount.keep = Some(slot);
                    self.read_only.push((slot, target));
                }
                self.steps.push(Step::Mount(mount));
                Ok(())
            }
        }
    }

    fn bind(
        &mut self,
        field: &str,
        mount: &SpecMount<'_>,
        options: &Options<'_>,
        target: &'static CStr,
        after: Attributes,
        shared: bool,
    ) -> Result<()> {
        let Some(source) = mount.source.as_deref() else {
            fail!("config.json: {field}.source: required for a bind mount");
        };
        let path = super::absolute(self.options.bundle, source);
        let field_of_source = format!("{field}.source");
        let source = leak_text(&path, &field_of_source)?;
        options.no_data(field, "a bind mount")?;
        let idmap = self.idmap(field, mount, options)?;
        let base = if shared {
            MountAttr::NONE
        } else {
            propagate(u64::from(MS_SLAVE))
        };
        let attributes = Attributes {
            own: options.own,
            tree: MountAttr {
                propagation: base.propagation,
                ..options.tree
            },
        };
        let recursive = options.bind != Some(Recursion::One);
        let tree = Tree {
            path: source,
            recursive,
            attributes,
        };
        // A peer of the host's mount is copied where that is; links in procfs are each process's own.
        let early = shared || path.starts_with("/proc/");
        let tree = self.tree(field_of_source, tree, idmap, early)?;
        // What was set on the detached tree needs no second call, but for propagation.
        let after = Attributes {
            own: MountAttr {
                propagation: after.own.propagation,
                ..MountAttr::NONE
            },
            tree: MountAttr {
                propagation: after.tree.propagation,
                ..MountAttr::NONE
            },
        };
        self.steps.push(Step::Bind(Bind {
            tree,
            source,
            target,
            after,
        }));
        Ok(())
    }

    /// Binds what the host has in the place of a file system that cannot be mounted, with all below it.
    pub fn bind_host(
        &mut self,
        field: &str,
        source: &'static CStr,
        options: &Options<'_>,
        target: &'static CStr,
        after: Attributes,
    ) -> Result<()> {
        options.no_data(field, "what stands in for a file system of the host's")?;
        // The times of access stay the host's: they are locked.
        let times = u64::from(MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME);
        let tree = MountAttr {
            propagation: u64::from(MS_SLAVE),
            set: options.own.set & !times,
            clear: options.own.clear & !times,
        };
        let attributes = Attributes {
            own: MountAttr::NONE,
            tree,
        };
        let host = Tree {
            path: source,
            recursive: true,
            attributes,
        };
        let tree = self.tree(field.to_owned(), host, None, true)?;
        self.steps.push(Step::Bind(Bind {
            tree,
            source,
            target,
            after,
        }));
        Ok(())
    }

    /// The directory of the notify socket, unless the container's environment says that somebody else has seen to that.
    pub fn notify_socket(&mut self) {
        let process = self.spec.process.as_ref();
        let seen_to = process.is_none_or(|p| p.env.iter().any(|e| e.starts_with("NOTIFY_SOCKET=")));
        if !self.options.notify || seen_to || !self.namespaces.is_new(Kind::Mount) {
            return;
        }
        let tree = self.slot();
        self.steps.push(Step::Bind(Bind {
            tree,
            source: notify_socket::DIRECTORY,
            target: notify_socket::TARGET,
            after: Attributes::NONE,
        }));
        self.notify = Some(tree);
    }

    /// An id-mapped mount, by its own mappings or by those of the container.
    fn idmap(
        &self,
        field: &str,
        mount: &SpecMount<'_>,
        options: &Options<'_>,
    ) -> Result<Option<Idmap>> {
        let own = has_mappings(mount);
        if !own && options.idmap.is_none() {
            return Ok(None);
        }
        let linux = &self.spec.linux;
        let recursive = options.idmap == Some(Recursion::All);
        if !own
            && linux.uid_mappings.is_empty()
            && linux.gid_mappings.is_empty()
            && let Some(Some(path)) = self.namespaces.get(Kind::User)
        {
            let by = IdmapBy::Namespace(leak_text(path, field)?);
            return Ok(Some(Idmap { by, recursive }));
        }
        let (uid, gid, prefix) = match own {
            true => (
                &mount.uid_mappings,
                &mount.gid_mappings,
                format!("{field}."),
            ),
            false => (
                &linux.uid_mappings,
                &linux.gid_mappings,
                "linux.".to_owned(),
            ),
        };
        if uid.is_empty() || gid.is_empty() {
            fail!("config.json: {field}: an id-mapped mount needs uidMappings and gidMappings");
        }
        let by = IdmapBy::Mappings(mappings(uid, gid, &prefix)?);
        Ok(Some(Idmap { by, recursive }))
    }

    fn file_system(
        &self,
        field: &str,
        fs_type: &str,
        source: Option<&'static CStr>,
        options: &Options<'_>,
        target: &'static CStr,
        after: Attributes,
    ) -> Result<Mount<'static>> {
        let field = format!("{field}.options");
        let mut data = Vec::new();
        for (_, option) in &options.data {
            data.push(match option.split_once('=') {
                Some((key, value)) => {
                    FsOption::Value(leak_text(key, &field)?, leak_text(value, &field)?)
                }
                None => FsOption::Flag(leak_text(option, &field)?),
            });
        }
        // These have one superblock of their own or for a whole namespace: read-only is for the mount alone.
        let memory = matches!(
            fs_type,
            "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2" | "ramfs"
        );
        if !memory && options.own.set & RDONLY != 0 {
            data.push(FsOption::Flag(c"ro"));
        }
        let label = self.spec.linux.mount_label.as_deref();
        if let Some(label) = label.filter(|_| matches!(fs_type, "tmpfs" | "devpts" | "ramfs")) {
            // What is made anew has no labels of its own; those of proc, sysfs and mqueue are the policy's.
            data.push(FsOption::Value(
                c"context",
                leak_text(label, "linux.mountLabel")?,
            ));
        }
        let long = options.data.iter().any(|(_, o)| o.len() > FSCONFIG_MAX);
        let text = match long {
            true => Some(leak_text(&mount_data(&data, &field)?, &field)?),
            false => None,
        };
        Ok(Mount {
            fstype: leak_text(fs_type, &field)?,
            source,
            options: leak(data),
            data: text,
            attr: options.own.set,
            after,
            target,
            plain: matches!(fs_type, "proc" | "sysfs"),
            copy_up: options.copy_up,
            inherit_mode: fs_type == "tmpfs"
                && !options.data.iter().any(|(_, o)| o.starts_with("mode=")),
            keep: None,
        })
    }

    /// process.cwd, made when it is missing, as runc does.
    pub fn working_directory_made(&mut self) -> Result<()> {
        let Some(process) = &self.spec.process else {
            return Ok(());
        };
        if self.namespaces.is_new(Kind::Mount) && process.cwd != "/" {
            self.steps
                .push(Step::Directory(leak_text(&process.cwd, "process.cwd")?));
        }
        Ok(())
    }

    /// Kernel parameters, each of a namespace that is the container's own.
    pub fn sysctls(&mut self) -> Result<()> {
        let spec = self.spec;
        for (name, value) in &spec.linux.sysctl {
            let field = format!("linux.sysctl.{name}");
            // Dots and slashes may stand for each other (sysctl(8)); the first one tells which is which.
            let path = match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
                Some(b'/') => name.as_ref().to_owned(),
                _ => name
                    .split('/')
                    .map(|part| part.replace('.', "/"))
                    .collect::<Vec<_>>()
                    .join("."),
            };
            if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
                fail!("config.json: {field}: not the name of a kernel parameter");
            }
            let ipc = [
                "msgmax",
                "msgmnb",
                "msgmni",
                "sem",
                "shmall",
                "shmmax",
                "shmmni",
                "shm_rmid_forced",
            ];
            let needed = match path.split_once('/') {
                Some(("net", _)) => Kind::Network,
                Some(("kernel", "domainname")) => Kind::Uts,
                Some(("kernel", "hostname")) => fail!("config.json: {field}: set hostname instead"),
                Some(("kernel", rest)) if ipc.contains(&rest) => Kind::Ipc,
                Some(("fs", rest)) if rest.starts_with("mqueue/") => Kind::Ipc,
                Some(("user", _)) => Kind::User,
                _ => fail!(
                    "config.json: {field}: this kernel parameter is not of a namespace, so it would be the host's"
                ),
            };
            if !self.namespaces.has(needed) {
                let name = format!("{needed:?}").to_ascii_lowercase();
                fail!(
                    "config.json: {field}: needs a namespace of type {name:?} in linux.namespaces"
                );
            }
            let procfs = self.procfs();
            let path = leak_text(&format!("sys/{path}"), &field)?;
            self.steps.push(Step::Sysctl {
                procfs,
                path,
                value: leak_text(value, &field)?,
            });
        }
        Ok(())
    }

    /// Read-only and masked paths, and the root's own attributes.
    pub fn paths(&mut self) -> Result<()> {
        let spec = self.spec;
        let Some(null) = self.null else { return Ok(()) };
        let own = MountAttr {
            set: RDONLY,
            ..MountAttr::NONE
        };
        let attributes = Attributes {
            own,
            ..Attributes::NONE
        };
        for (mount, target) in core::mem::take(&mut self.read_only) {
            self.steps.push(Step::ReadonlyMount { mount, target });
        }
        for (n, path) in spec.linux.readonly_paths.iter().enumerate() {
            self.steps.push(Step::Readonly(plain_path(
                path,
                &format!("linux.readonlyPaths[{n}]"),
            )?));
        }
        let empty = self.slot();
        for (n, path) in spec.linux.masked_paths.iter().enumerate() {
            let path = plain_path(path, &format!("linux.maskedPaths[{n}]"))?;
            self.steps.push(Step::Mask { path, null, empty });
        }
        if spec.root.as_ref().is_some_and(|root| root.readonly) {
            self.steps.push(Step::RootAttributes(attributes));
        }
        Ok(())
    }

    /// Into the root, and its propagation.
    pub fn enter_root(&mut self) -> Result<()> {
        if !self.namespaces.is_new(Kind::Mount) {
            self.steps.push(Step::Chroot);
            return Ok(());
        }
        self.steps.push(match &self.options.no_pivot {
            None => Step::Pivot,
            Some(hidden) => {
                let paths = hidden.iter().map(|path| leak_text(path, "mountinfo"));
                Step::MoveRoot {
                    hidden: leak(paths.collect::<Result<_>>()?),
                    in_place: self.root_in_place(),
                }
            }
        });
        if let Some((flag, all)) = self
            .spec
            .linux
            .rootfs_propagation
            .as_deref()
            .and_then(options::propagation)
        {
            let (own, tree) = match all {
                true => (MountAttr::NONE, propagate(flag)),
                false => (propagate(flag), MountAttr::NONE),
            };
            self.steps
                .push(Step::RootAttributes(Attributes { own, tree }));
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

fn mount_point(destination: &str) -> &str {
    destination.trim_end_matches('/')
}

fn has_mappings(mount: &SpecMount<'_>) -> bool {
    !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty()
}

/// Options as mount(2) takes them. What is for the mount alone is none of them, and a read-only superblock is a flag
/// there.
fn mount_data(options: &[FsOption<'_>], field: &str) -> Result<String> {
    let text = |text: &CStr| String::from_utf8_lossy(text.to_bytes()).into_owned();
    let words = options.iter().filter_map(|option| match option {
        FsOption::Flag(key) if *key == c"ro" => None,
        FsOption::Flag(key) => Some(text(key)),
        // Its categories are a list too.
        FsOption::Value(key, label) if *key == c"context" => {
            Some(format!("context=\"{}\"", text(label)))
        }
        FsOption::Value(key, value) => Some(format!("{}={}", text(key), text(value))),
    });
    let data = words.collect::<Vec<_>>().join(",");
    if data.len() > DATA_MAX {
        fail!(
            "config.json: {field}: expected at most {DATA_MAX} bytes, found {}",
            data.len()
        );
    }
    Ok(data)
}

fn is_bind(mount: &SpecMount<'_>, options: &Options<'_>) -> bool {
    options.bind.is_some() || mount.fs_type.as_deref() == Some("bind")
}

/// What a mount gets once it is attached: propagation, and whatever is for a whole tree.
fn after(options: &Options<'_>) -> Attributes {
    let mut after = Attributes {
        own: MountAttr::NONE,
        tree: options.tree,
    };
    for (flag, all) in &options.propagation {
        let attr = if *all {
            &mut after.tree
        } else {
            &mut after.own
        };
        attr.propagation = *flag;
    }
    after
}
