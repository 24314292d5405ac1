//! One mount of the spec, from its options to its steps: a new file system, or a tree of the host's that is copied and
//! bound. Each function calls those below it; walk/mounts.rs of `syscalls` goes on from there. Source: config.md, Mounts.

use super::namespaces::{Kind, mappings};
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
use syscalls::step::{self, Attributes, Bind, FsOption, Mount, Place, Step, Tree};

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
    /// A mount of config.json.
    pub fn mount(
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
            let attributes = Attributes { own, ..after };
            self.steps
                .push(Step::Attributes(Place::Path(target), attributes));
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
        let by_child = |field: String, tree, in_root| {
            let field = field.leak();
            let open = step::Open::Tree {
                field,
                tree,
                in_root,
            };
            Step::Open(slot, open)
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
    pub fn child_sees_the_host(&self) -> bool {
        !self.namespaces.has(Kind::User) && !self.facts.in_user_namespace
    }
}

pub fn mount_point(destination: &str) -> &str {
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

pub fn is_bind(mount: &SpecMount<'_>, options: &Options<'_>) -> bool {
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
