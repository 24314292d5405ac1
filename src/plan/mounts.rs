//! Plans one mount of the spec, from its options to its steps: a new file system, or a bound copy of a tree.
//! Each function calls those below it; walk/mounts.rs of `syscalls` executes the steps. Source: config.md,
//! Mounts.

use super::namespaces::{Kind, mappings};
use super::options::{self, Options, Recursion};
use super::{Builder, Idmap, IdmapBy, Open, What, When, leak, leak_text};
use crate::error::{Result, fail};
use crate::facts::Location;
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
/// Makes the mount itself read-only.
pub const READ_ONLY: Attributes = Attributes {
    own: MountAttr {
        set: RDONLY,
        ..MountAttr::NONE
    },
    tree: MountAttr::NONE,
};
/// The longest string of fsconfig(2).
const FSCONFIG_MAX: usize = 255;
/// The longest data of mount(2): one page with the zero byte. The kernel cuts off the rest.
const DATA_MAX: usize = 4095;

pub fn propagate(flag: u64) -> MountAttr {
    MountAttr {
        propagation: flag,
        ..MountAttr::NONE
    }
}

/// A mount of config.json with its parsed options.
pub struct Entry<'m> {
    /// The field of config.json, for messages.
    pub field: &'m str,
    pub mount: &'m SpecMount<'m>,
    pub options: Options<'m>,
    pub target: &'static CStr,
    /// The attributes to apply after the attach.
    pub after: Attributes,
}

impl Entry<'_> {
    fn is_bind(&self) -> bool {
        is_bind(self.mount, &self.options)
    }

    /// Refuses options that exclude each other.
    fn check(&self) -> Result<()> {
        let Entry { field, options, .. } = self;
        if !self.is_bind() && (options.idmap.is_some() || has_mappings(self.mount)) {
            fail!("config.json: {field}: only a bind mount can be id-mapped");
        }
        if options.copy_up && (self.is_bind() || self.mount.fs_type.as_deref() != Some("tmpfs")) {
            fail!("config.json: {field}.options: tmpcopyup needs a mount of type \"tmpfs\"");
        }
        Ok(())
    }
}

impl Builder<'_> {
    /// Plans a mount of config.json.
    pub fn mount(
        &mut self,
        field: &str,
        mount: &SpecMount<'_>,
        shared: bool,
        cgroup: Option<&Location>,
    ) -> Result<()> {
        let options = options::read(&mount.options, field)?;
        if !mount.destination.starts_with('/') {
            self.warnings.push(format!(
                "{field}.destination is not absolute: taken from the root"
            ));
        }
        // As in runc, the path of the root is removed from the start of a destination.
        let destination = match mount.destination.strip_prefix(self.rootfs.as_str()) {
            Some(rest) if rest.starts_with('/') => rest,
            _ => mount.destination.as_ref(),
        };
        let entry = Entry {
            field,
            mount,
            target: leak_text(destination, &format!("{field}.destination"))?,
            after: after(&options),
            options,
        };
        entry.check()?;
        if entry.options.remount {
            return self.remount(&entry);
        }
        if entry.is_bind() {
            return self.bind(&entry, shared);
        }
        let below = self.namespaces.has(Kind::User) || self.facts.in_user_namespace;
        match mount.fs_type.as_deref() {
            // A user namespace may mount sysfs and mqueue only for its own network and IPC namespace. Otherwise
            // the host's mount is bound, as in crun.
            Some("sysfs") if below && !self.namespaces.has(Kind::Network) => {
                self.bind_host(&entry, c"/sys")
            }
            Some("mqueue") if below && !self.namespaces.has(Kind::Ipc) => {
                self.bind_host(&entry, c"/dev/mqueue")
            }
            None => {
                fail!("config.json: {field}.type: required for a mount that is not a bind mount")
            }
            Some("cgroup" | "cgroup2") => self.cgroup_view(entry, cgroup),
            Some(fs_type) => {
                let mut mount = self.file_system(&entry, fs_type)?;
                // As in runc, the mount becomes read-only after its content is in place.
                let dev = mount_point(destination) == "/dev";
                if (fs_type == "tmpfs" || dev) && mount.attr & RDONLY != 0 {
                    mount.attr &= !RDONLY;
                    let slot = self.slot();
                    mount.keep = Some(slot);
                    self.read_only.push((slot, entry.target));
                }
                self.steps.push(Step::Mount(mount));
                Ok(())
            }
        }
    }

    /// Plans new attributes for an existing mount.
    fn remount(&mut self, entry: &Entry<'_>) -> Result<()> {
        let Entry { options, after, .. } = entry;
        options.no_data(entry.field, "a remount")?;
        let own = MountAttr {
            set: options.own.set,
            clear: options.own.clear,
            ..after.own
        };
        let attributes = Attributes { own, ..*after };
        let place = Place::Path(entry.target);
        self.steps.push(Step::Attributes(place, attributes));
        Ok(())
    }

    fn file_system(&self, entry: &Entry<'_>, fs_type: &str) -> Result<Mount<'static>> {
        let Entry { field, options, .. } = entry;
        let source = match entry.mount.source.as_deref() {
            Some(source) => Some(leak_text(source, &format!("{field}.source"))?),
            None => None,
        };
        let field = format!("{field}.options");
        let mut data = Vec::new();
        for (_, option) in &options.data {
            data.push(fs_option(option, &field)?);
        }
        // These file systems have a private superblock, or one for a whole namespace, so `ro` applies to the mount alone.
        let memory = matches!(
            fs_type,
            "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "cgroup" | "cgroup2" | "ramfs"
        );
        if !memory && options.own.set & RDONLY != 0 {
            data.push(FsOption::Flag(c"ro"));
        }
        let label = self.spec.linux.mount_label.as_deref();
        if let Some(label) = label.filter(|_| matches!(fs_type, "tmpfs" | "devpts" | "ramfs")) {
            // A new file system has no labels of its own. The policy labels proc, sysfs and mqueue.
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
            after: entry.after,
            target: entry.target,
            plain: matches!(fs_type, "proc" | "sysfs"),
            copy_up: options.copy_up,
            inherit_mode: fs_type == "tmpfs"
                && !options.data.iter().any(|(_, o)| o.starts_with("mode=")),
            keep: None,
        })
    }

    fn bind(&mut self, entry: &Entry<'_>, shared: bool) -> Result<()> {
        let Entry {
            field,
            mount,
            options,
            target,
            after,
        } = entry;
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
        // A peer of the host's mount must be copied in the host's mount namespace. Links in procfs depend on
        // the process that follows them.
        let early = shared || path.starts_with("/proc/");
        let tree = self.tree(field_of_source, tree, idmap, early)?;
        // The other attributes are already set on the detached tree.
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

    /// Binds a mount of the host, recursively, in place of a file system that cannot be mounted.
    pub fn bind_host(&mut self, entry: &Entry<'_>, source: &'static CStr) -> Result<()> {
        let options = &entry.options;
        options.no_data(
            entry.field,
            "what stands in for a file system of the host's",
        )?;
        // The host's atime flags are locked, so they stay.
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
        let tree = self.tree(entry.field.to_owned(), host, None, true)?;
        self.steps.push(Step::Bind(Bind {
            tree,
            source,
            target: entry.target,
            after: entry.after,
        }));
        Ok(())
    }

    /// The id mapping of a mount: its own, or the container's.
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

    /// Plans the copy of a tree, and returns its slot. Only this function decides whether launch or the child
    /// makes the copy, and when. With `early` it is made before the child changes its view of the host.
    pub fn tree(
        &mut self,
        field: String,
        tree: Tree<'static>,
        idmap: Option<Idmap>,
        early: bool,
    ) -> Result<Slot> {
        let slot = self.slot();
        let path = tree.path.to_str().unwrap_or_default();
        let inside = below(path, &self.rootfs);
        let by_child = |field: String, tree, in_root| {
            let field = field.leak();
            let open = step::Open::Tree {
                field,
                tree,
                in_root,
            };
            Step::Open(slot, open)
        };
        let when = match self.namespaces.has(Kind::User) {
            true => When::Child,
            false => When::First,
        };
        let by_launch = |field, tree, idmap, root| Open {
            slot,
            field,
            what: What::Tree { tree, idmap, root },
            when,
        };
        match (inside, idmap) {
            // A path in the root may be on a mount of an earlier step.
            (Some(rest), None) => {
                let path = leak_text(&rest, &field)?;
                self.steps
                    .push(by_child(field, Tree { path, ..tree }, true));
            }
            (_, Some(_)) if !self.facts.may_mount => {
                fail!(
                    "config.json: {field}: an id-mapped mount needs CAP_SYS_ADMIN over the file system"
                )
            }
            (Some(rest), idmap) => {
                let path = leak_text(&rest, &field)?;
                let root = Some(leak_text(&self.rootfs, &field)?);
                self.opens
                    .push(by_launch(field, Tree { path, ..tree }, idmap, root));
            }
            // Launch lacks the privilege to copy trees. The child copies them first, before a mount of the
            // container covers a source.
            (_, None) if !self.facts.may_mount => self.copies.push(by_child(field, tree, false)),
            // A copy at its own step keeps the order of the spec in /proc/self/mountinfo, which lists mounts in
            // the order of their creation.
            (_, None) if self.child_sees_the_host() && !early => {
                self.steps.push(by_child(field, tree, false));
            }
            (_, idmap) => self.opens.push(by_launch(field, tree, idmap, None)),
        }
        Ok(slot)
    }

    /// Whether the child has all the privileges of launch over the host's files and mounts.
    pub fn child_sees_the_host(&self) -> bool {
        !self.namespaces.has(Kind::User) && !self.facts.in_user_namespace
    }
}

/// The path below `above`, as seen from there, however the two are spelled.
fn below(path: &str, above: &str) -> Option<String> {
    let mut rest = names(path);
    let mut above = names(above).peekable();
    above.peek()?;
    if !above.all(|name| rest.next() == Some(name)) {
        return None;
    }
    let rest: String = rest.flat_map(|name| ["/", name]).collect();
    (!rest.is_empty()).then_some(rest)
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    let names = path.split('/');
    names.filter(|name| !matches!(*name, "" | "."))
}

/// Whether the destination is the root, however it is spelled.
pub fn is_root(destination: &str) -> bool {
    let mut depth = 0_usize;
    for name in names(destination) {
        depth = match name {
            ".." => depth.saturating_sub(1),
            _ => depth + 1,
        };
    }
    depth == 0
}

pub fn mount_point(destination: &str) -> &str {
    destination.trim_end_matches('/')
}

fn has_mappings(mount: &SpecMount<'_>) -> bool {
    !mount.uid_mappings.is_empty() || !mount.gid_mappings.is_empty()
}

/// One option for fsconfig(2).
pub fn fs_option(option: &str, field: &str) -> Result<FsOption<'static>> {
    Ok(match option.split_once('=') {
        Some((key, value)) => FsOption::Value(leak_text(key, field)?, leak_text(value, field)?),
        None => FsOption::Flag(leak_text(option, field)?),
    })
}

/// The options as data for mount(2). Attributes of the mount are not part of it, and a read-only superblock is
/// a flag of mount(2).
fn mount_data(options: &[FsOption<'_>], field: &str) -> Result<String> {
    let text = |text: &CStr| String::from_utf8_lossy(text.to_bytes()).into_owned();
    let words = options.iter().filter_map(|option| match option {
        FsOption::Flag(key) if *key == c"ro" => None,
        FsOption::Flag(key) => Some(text(key)),
        // Quoted, because the categories in a label are separated by commas.
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

/// The attributes to apply after the attach: propagation, and the recursive ones.
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
