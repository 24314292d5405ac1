//! The steps a plan is made of: nouns of the OCI spec, with every string a C string and every number
//! final. `Display` says what a step does, for errors and for `--dry-run`.

use crate::calls::{Arg, Instruction, MountAttr, SchedAttr};
use crate::hook::Hook;
use crate::slots::Slot;
use crate::words;
use core::cell::Cell;
use core::ffi::CStr;
use core::fmt;

/// Where parent and child meet: the child waits until the parent has done its part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// The parent writes the user namespace's mappings.
    Mappings,
    /// The parent moves the child into the v1 cgroups.
    Cgroup,
    /// The parent copies trees in the child's mount namespace, and hands them over.
    Trees,
    /// The parent runs the prestart and createRuntime hooks.
    Hooks,
    /// The parent has written everything down: from here on the container outlives it.
    Commit,
}

/// One option of a file system, as fsconfig(2) takes it.
#[derive(Clone, Copy)]
pub enum FsOption<'a> {
    Flag(&'a CStr),
    Value(&'a CStr, &'a CStr),
}

/// What a mount gets once it is in place.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// On the mount itself.
    pub own: MountAttr,
    /// On it and on all below it.
    pub tree: MountAttr,
}

impl Attributes {
    pub const NONE: Self = Self {
        own: MountAttr::NONE,
        tree: MountAttr::NONE,
    };
}

/// A new file system on a directory of the container.
#[derive(Clone, Copy)]
pub struct Mount<'a> {
    pub fstype: &'a CStr,
    pub source: Option<&'a CStr>,
    pub options: &'a [FsOption<'a>],
    /// Set where an option is too long for fsconfig(2): the same options for mount(2).
    pub data: Option<&'a CStr>,
    /// `MOUNT_ATTR_*` of the new mount.
    pub attr: u64,
    /// Applied once it is attached: propagation, and what fsmount cannot set.
    pub after: Attributes,
    pub target: &'a CStr,
    /// proc and sysfs: the target must be a directory that no symbolic link leads to.
    pub plain: bool,
    /// tmpcopyup: what the target holds is copied into it first.
    pub copy_up: bool,
    /// tmpfs without `mode=`: its root gets the mode of the target, if that was there, as in runc.
    pub inherit_mode: bool,
    /// Where the mount is kept for a later step.
    pub keep: Option<Slot>,
}

impl<'a> Mount<'a> {
    /// A mount without options. Whoever makes one names only the fields that differ.
    pub const fn new(fstype: &'a CStr, target: &'a CStr) -> Self {
        Self {
            fstype,
            source: None,
            options: &[],
            data: None,
            attr: 0,
            after: Attributes::NONE,
            target,
            plain: false,
            copy_up: false,
            inherit_mode: false,
            keep: None,
        }
    }
}

/// A tree of mounts to be attached elsewhere: copied, and given its attributes while it is detached.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    pub path: &'a CStr,
    pub recursive: bool,
    pub attributes: Attributes,
}

/// A tree that is open already, attached to a file or directory of the container.
#[derive(Clone, Copy)]
pub struct Bind<'a> {
    pub tree: Slot,
    /// The source, for messages.
    pub source: &'a CStr,
    pub target: &'a CStr,
    pub after: Attributes,
}

/// A device node.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    pub path: &'a CStr,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, and the permission bits.
    pub mode: u32,
    pub rdev: u64,
    pub uid: u32,
    pub gid: u32,
}

/// One resource limit; `resource` is `RLIMIT_*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Rlimit {
    pub resource: rustix::process::Resource,
    pub soft: Option<u64>,
    pub hard: Option<u64>,
}

/// The five capability sets, bit N for capability N (capabilities(7)).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub inheritable: u64,
    pub permitted: u64,
    pub ambient: u64,
}

/// Who the process is.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub uid: u32,
    pub gid: u32,
    /// `None` where the user namespace forbids setgroups(2).
    pub groups: Option<&'a [rustix::process::Gid]>,
    /// Whether a user namespace that was joined may turn out to forbid it.
    pub groups_may_be_denied: bool,
    pub capabilities: Capabilities,
    /// The highest capability this kernel knows.
    pub last_capability: u32,
}

/// What args[0] names.
#[derive(Clone, Copy)]
pub struct Program<'a> {
    pub name: &'a CStr,
    /// Itself when it has a slash, else one candidate per entry of PATH.
    pub candidates: &'a [&'a CStr],
}

/// The last step.
#[derive(Clone, Copy)]
pub struct Execute<'a> {
    pub program: Program<'a>,
    pub argv: &'a [Arg<'a>],
    pub envp: &'a [Arg<'a>],
    /// Loaded as the last thing, with no_new_privs.
    pub filter: Option<Filter<'a>>,
}

/// An entry of the environment that the child completes: `HOME=/` until `set`.
pub struct Home([Cell<u8>; Home::SIZE]);

impl Default for Home {
    fn default() -> Self {
        let home = Self([const { Cell::new(0) }; Self::SIZE]);
        home.set("/");
        home
    }
}

impl Home {
    const SIZE: usize = 512;

    /// The entry; it reads what is set when it is read.
    pub fn arg(&self) -> Arg<'_> {
        Arg::from_cells(&self.0)
    }

    /// Sets the directory; false when it is too long.
    pub fn set(&self, dir: &str) -> bool {
        // The last cell stays zero.
        if "HOME=".len() + dir.len() >= Self::SIZE {
            return false;
        }
        let bytes = "HOME=".bytes().chain(dir.bytes()).chain([0]);
        for (cell, byte) in self.0.iter().zip(bytes) {
            cell.set(byte);
        }
        true
    }
}

/// A seccomp filter.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    pub program: &'a [Instruction],
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// One step of the child's walk.
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// Wait for the parent.
    Meet(Point),
    /// Let our own user look into us, who is to write the id mappings and has no right of root's to do it by.
    Reachable,
    /// Become root of the new user namespace.
    ContainerRoot,
    /// A session of its own, away from the caller's terminal.
    Session,
    /// A new cgroup namespace, rooted at the cgroup the child is in by now.
    CgroupNamespace,
    /// A session keyring of its own.
    Keyring(&'a CStr),
    /// Bring `lo` up.
    Loopback,
    Hostname(&'a CStr),
    Domainname(&'a CStr),
    /// How the host's mounts and ours propagate, on the whole tree (`MS_*`).
    Propagation(u64),
    /// Find and check the true null device, while the host's tree is still in sight.
    NullDevice(Slot),
    /// Copy a tree where launch may not, or cannot yet: in the mount namespace that is the container's own. `field` is
    /// the one of config.json it comes from.
    Open {
        slot: Slot,
        field: &'a str,
        tree: Tree<'a>,
        /// It lies in the container's root, with what is mounted there by now.
        in_root: bool,
    },
    /// Open a root that is there already.
    Root(&'a CStr),
    /// Attach the root file system.
    Rootfs {
        tree: Slot,
        path: &'a CStr,
        /// At that path, where hooks that enter the mount namespace look for it; else over `/`, which costs less.
        in_place: bool,
    },
    Mount(Mount<'a>),
    Bind(Bind<'a>),
    /// `remount`: new attributes for the mount at `target`.
    Remount {
        target: &'a CStr,
        attributes: Attributes,
    },
    /// A directory, with those above it that are missing.
    Directory(&'a CStr),
    Device(Device<'a>),
    /// A symbolic link, unless something is there.
    Link {
        path: &'a CStr,
        target: &'a CStr,
    },
    /// A private procfs that nothing in the container can redirect.
    Procfs(Slot),
    /// Write a kernel parameter: `path` below /proc/sys.
    Sysctl {
        procfs: Slot,
        path: &'a CStr,
        value: &'a CStr,
    },
    /// Hooks that run in the container's namespaces: createContainer, startContainer. `state` is the
    /// state as JSON, in two parts with the pid between them.
    Hooks {
        kind: &'a CStr,
        hooks: &'a [Hook<'a>],
        state: [&'a [u8]; 2],
    },
    /// Hide a file or directory; `empty` is the slot of the directory that all masked ones share.
    Mask {
        path: &'a CStr,
        null: Slot,
        empty: Slot,
    },
    /// Make what is at `path`, and all below, read-only.
    Readonly(&'a CStr),
    /// Make a mount of an earlier step read-only, now that everything in it is in place.
    ReadonlyMount {
        mount: Slot,
        target: &'a CStr,
    },
    /// Attributes and propagation of the root mount.
    RootAttributes(Attributes),
    /// Make a pseudo terminal, send its master over `socket`, and make it stdio, and /dev/console unless it
    /// is for one more process.
    Console {
        socket: Slot,
        name: &'a CStr,
        size: Option<(u16, u16)>,
        uid: u32,
        bind: bool,
        /// It goes to a relay of ours: line ends are left to the caller's terminal, which turns them once.
        relayed: bool,
    },
    /// Give stdio to the user, so that /dev/stdout can be opened anew.
    Stdio {
        uid: u32,
    },
    /// Change into the root: pivot_root(2).
    Pivot,
    /// The same by a moved mount and chroot(2), for a root that cannot be pivoted.
    MoveRoot {
        /// The host's procfs and sysfs: behind the new root they would still be seen by the kernel, which lets a user
        /// namespace mount a new one only where it sees a whole one.
        hidden: &'a [&'a CStr],
        /// The root is not over `/` yet.
        in_place: bool,
    },
    /// chroot(2) alone, where the mount namespace is not new.
    Chroot,
    /// See that the program is there and may be executed, before `create` says that all is well.
    LookUp(Program<'a>),
    /// Wait for `start` on the listening socket. Nothing else of ours stays open meanwhile, but what a later step needs:
    /// the locked file that says that we wait, and the private procfs.
    Await {
        listener: Slot,
        waiting: Slot,
        preserve: u32,
    },
    /// Raise hard limits, while it is allowed.
    Limits(&'a [Rlimit]),
    Personality(u32),
    Scheduler(SchedAttr),
    IoPriority(u32),
    /// `MPOL_*` with its flags, and the nodes as set_mempolicy(2) takes them.
    MemoryPolicy {
        mode: u32,
        nodes: &'a [u64],
    },
    /// The label the next execve gets: `path` below /proc/self/attr.
    Label {
        procfs: Slot,
        path: &'a CStr,
        value: &'a CStr,
    },
    NoNewPrivileges,
    /// Load the filter before capabilities are dropped (without no_new_privs).
    Seccomp(Filter<'a>),
    Umask(u32),
    WorkingDirectory(&'a CStr),
    Become(Identity<'a>),
    /// Close whatever the program is not to have, while a filter cannot forbid it. Before that, the entry of the
    /// environment gets the home directory of the user from the container's passwd file.
    Close {
        /// Descriptors from 3 that the program keeps (`--preserve-fds`).
        preserve: u32,
        home: Option<(&'a Home, u32)>,
    },
    Execute(Execute<'a>),
}

/// A C string as text, with what is not UTF-8 left out.
pub struct Lossy<'a>(pub &'a CStr);

impl fmt::Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.to_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
        }
        Ok(())
    }
}

/// Limits, each as ` Nofile SOFT:HARD`.
struct Shown<'a>(&'a [Rlimit]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for limit in self.0 {
            write!(f, " {:?}", limit.resource)?;
            for (mark, value) in [(' ', limit.soft), (':', limit.hard)] {
                match value {
                    Some(value) => write!(f, "{mark}{value}")?,
                    None => write!(f, "{mark}unlimited")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Attributes {
    /// ` (ro, nosuid)` and ` recursively (slave)`, whatever is not empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (how, attr) in [("", self.own), (" recursively", self.tree)] {
            if attr == MountAttr::NONE {
                continue;
            }
            write!(f, "{how}")?;
            let mut list = List::new(f);
            words::attributes(attr.set, attr.clear, |word| {
                list.item(format_args!("{word}"))
            })?;
            if attr.propagation != 0 {
                let word = words::propagation(attr.propagation);
                list.item(format_args!("{word}"))?;
            }
            list.end()?;
        }
        Ok(())
    }
}

/// Items in parentheses, ` (a, b)`; nothing when there are none.
struct List<'f, 'g> {
    f: &'f mut fmt::Formatter<'g>,
    empty: bool,
}

impl<'f, 'g> List<'f, 'g> {
    fn new(f: &'f mut fmt::Formatter<'g>) -> Self {
        Self { f, empty: true }
    }

    fn item(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        let before = if self.empty { " (" } else { ", " };
        self.empty = false;
        write!(self.f, "{before}{item}")
    }

    fn end(self) -> fmt::Result {
        match self.empty {
            true => Ok(()),
            false => self.f.write_str(")"),
        }
    }
}

/// A step with its numbers, for `--dry-run`.
pub struct Detailed<'a>(pub &'a Step<'a>);

impl fmt::Display for Detailed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.0 {
            Step::Mount(m) => {
                let mut list = List::new(f);
                words::attributes(m.attr, 0, |word| list.item(format_args!("{word}")))?;
                for option in m.options {
                    match option {
                        FsOption::Flag(key) => list.item(format_args!("{}", Lossy(key)))?,
                        FsOption::Value(key, value) => {
                            list.item(format_args!("{}={}", Lossy(key), Lossy(value)))?;
                        }
                    }
                }
                list.end()?;
                write!(f, "{}", m.after)
            }
            Step::Bind(b) => write!(f, "{}", b.after),
            Step::Open { tree, .. } => write!(f, "{}", tree.attributes),
            Step::Remount { attributes, .. } | Step::RootAttributes(attributes) => {
                write!(f, "{attributes}")
            }
            Step::Device(d) => {
                let (major, minor) = (rustix::fs::major(d.rdev), rustix::fs::minor(d.rdev));
                write!(f, " {:o} {major}:{minor} of {}:{}", d.mode, d.uid, d.gid)
            }
            Step::Hooks { hooks, .. } => hooks
                .iter()
                .try_for_each(|hook| write!(f, " {}", Lossy(hook.path))),
            Step::Scheduler(attr) => write!(f, " {attr:?}"),
            Step::IoPriority(priority) => {
                let class = match priority >> 13 {
                    1 => "realtime",
                    2 => "best-effort",
                    _ => "idle",
                };
                write!(f, " {class} {}", priority & 7)
            }
            Step::MemoryPolicy { mode, .. } => write!(f, " {mode:#x}"),
            Step::Become(i) => {
                let c = &i.capabilities;
                write!(f, ", groups")?;
                i.groups
                    .unwrap_or(&[])
                    .iter()
                    .try_for_each(|gid| write!(f, " {}", gid.as_raw()))?;
                f.write_str("; capabilities")?;
                let sets = [
                    ("bounding", c.bounding),
                    ("permitted", c.permitted),
                    ("effective", c.effective),
                    ("inheritable", c.inheritable),
                    ("ambient", c.ambient),
                ];
                // Sets that are the same stand together.
                for (n, (_, set)) in sets.iter().enumerate() {
                    if sets[..n].iter().any(|(_, earlier)| earlier == set) {
                        continue;
                    }
                    let comma = if n == 0 { "" } else { ";" };
                    write!(f, "{comma} {}", words::Capabilities(*set))?;
                    let mut list = List::new(f);
                    for (name, _) in sets.iter().filter(|(_, other)| other == set) {
                        list.item(format_args!("{name}"))?;
                    }
                    list.end()?;
                }
                Ok(())
            }
            Step::Execute(e) => {
                for arg in e.argv.iter().skip(1).filter_map(|arg| arg.get()) {
                    write!(f, " {}", Lossy(arg))?;
                }
                match e.filter {
                    Some(filter) => write!(
                        f,
                        ", with a seccomp filter of {} instructions",
                        filter.program.len()
                    ),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Step<'_> {
    /// The step in words, as it follows "cannot".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Meet(Point::Mappings) => f.write_str("wait for the id mappings"),
            Step::Meet(Point::Cgroup) => f.write_str("wait for the cgroup"),
            Step::Meet(Point::Trees) => f.write_str("wait for the trees that are bound"),
            Step::Meet(Point::Hooks) => {
                f.write_str("wait for the prestart and createRuntime hooks")
            }
            Step::Meet(Point::Commit) => f.write_str("wait for the state to be written"),
            Step::Reachable => f.write_str("become visible to the user who maps the ids"),
            Step::ContainerRoot => f.write_str("become root in the user namespace"),
            Step::Session => f.write_str("create a session"),
            Step::CgroupNamespace => f.write_str("create a cgroup namespace"),
            Step::Keyring(name) => write!(f, "create the session keyring {}", Lossy(name)),
            Step::Loopback => f.write_str("bring the loopback interface up"),
            Step::Hostname(name) => write!(f, "set the hostname {}", Lossy(name)),
            Step::Domainname(name) => write!(f, "set the domainname {}", Lossy(name)),
            Step::Propagation(flags) => write!(f, "make all mounts {}", words::propagation(*flags)),
            Step::NullDevice(_) => f.write_str("open the null device"),
            Step::Open { tree, .. } => write!(f, "open {}", Lossy(tree.path)),
            Step::Root(path) => write!(f, "open the root {}", Lossy(path)),
            Step::Rootfs { path, .. } => write!(f, "attach the root file system {}", Lossy(path)),
            Step::Mount(m) => {
                write!(f, "mount {}", Lossy(m.fstype))?;
                if let Some(source) = m.source.filter(|s| *s != m.fstype) {
                    write!(f, " from {}", Lossy(source))?;
                }
                write!(f, " on {}", Lossy(m.target))
            }
            Step::Bind(b) => write!(f, "bind {} on {}", Lossy(b.source), Lossy(b.target)),
            Step::Remount { target, .. } => write!(f, "remount {}", Lossy(target)),
            Step::Directory(path) => write!(f, "make the directory {}", Lossy(path)),
            Step::Device(d) => write!(f, "make the device {}", Lossy(d.path)),
            Step::Link { path, target } => write!(f, "link {} to {}", Lossy(path), Lossy(target)),
            Step::Procfs(_) => f.write_str("open a private procfs"),
            Step::Sysctl { path, value, .. } => {
                write!(f, "set the sysctl {} to {}", Lossy(path), Lossy(value))
            }
            Step::Hooks { kind, .. } => write!(f, "run the {} hooks", Lossy(kind)),
            Step::Mask { path, .. } => write!(f, "mask {}", Lossy(path)),
            Step::ReadonlyMount { target, .. } => {
                write!(f, "make the mount on {} read-only", Lossy(target))
            }
            Step::Readonly(path) => write!(f, "make {} read-only", Lossy(path)),
            Step::RootAttributes(_) => f.write_str("set the attributes of the root mount"),
            Step::Console { name, .. } => write!(f, "set up the terminal for {}", Lossy(name)),
            Step::Stdio { uid } => write!(f, "give stdio to user {uid}"),
            Step::Pivot => f.write_str("change into the root (pivot_root)"),
            Step::MoveRoot { .. } => f.write_str("change into the root (moved mount)"),
            Step::Chroot => f.write_str("change into the root (chroot)"),
            Step::LookUp(program) => write!(f, "execute {}", Lossy(program.name)),
            Step::Await { .. } => f.write_str("wait for start"),
            Step::Limits(limits) => write!(f, "set process.rlimits{}", Shown(limits)),
            Step::Personality(p) => write!(f, "set the personality {p:#x}"),
            Step::Scheduler(_) => f.write_str("set process.scheduler"),
            Step::IoPriority(_) => f.write_str("set process.ioPriority"),
            Step::MemoryPolicy { .. } => f.write_str("set linux.memoryPolicy"),
            Step::Label { path, value, .. } => {
                write!(f, "set the label {} ({})", Lossy(value), Lossy(path))
            }
            Step::NoNewPrivileges => f.write_str("set no_new_privs"),
            Step::Seccomp(filter) => write!(
                f,
                "load the seccomp filter ({} instructions)",
                filter.program.len()
            ),
            Step::Umask(mask) => write!(f, "set the umask {mask:03o}"),
            Step::WorkingDirectory(path) => {
                write!(f, "change to the working directory {}", Lossy(path))
            }
            Step::Become(i) => write!(f, "become user {} and group {}", i.uid, i.gid),
            Step::Close { preserve, .. } => {
                write!(f, "close the descriptors from {}", 3 + preserve)
            }
            Step::Execute(e) if e.program.name.is_empty() => {
                f.write_str("execute: config.json has no process")
            }
            Step::Execute(e) => write!(f, "execute {}", Lossy(e.program.name)),
        }
    }
}
