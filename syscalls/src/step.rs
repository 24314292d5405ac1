//! The steps of a plan. Each is a noun of the OCI spec, with every string a C string and every number final.
//! `Display` describes a step for errors and for `--dry-run`.

mod display;

use crate::calls::{Arg, Instruction, MountAttr, SchedAttr};
use crate::hook::Hook;
use crate::slots::Slot;
use core::cell::Cell;
use core::ffi::CStr;
use core::fmt;

pub use display::Lossy;

/// A meeting point. The child waits here until the parent has acted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// The parent writes the user namespace's mappings.
    Mappings,
    /// The parent moves the child into the v1 cgroups.
    Cgroup,
    /// The parent moves network devices into the child's network namespace.
    NetDevices,
    /// The parent copies trees in the child's mount namespace and sends them over.
    Trees,
    /// The parent records the pid, and runs the prestart and createRuntime hooks.
    Hooks,
    /// The parent has recorded the container, which now outlives the parent.
    Commit,
}

/// One option of a file system, for fsconfig(2).
#[derive(Clone, Copy)]
pub enum FsOption<'a> {
    Flag(&'a CStr),
    Value(&'a CStr, &'a CStr),
}

/// Changes to the attributes of a mount.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// For the mount itself.
    pub own: MountAttr,
    /// For the mount and all mounts below it.
    pub tree: MountAttr,
}

impl Attributes {
    pub const NONE: Self = Self {
        own: MountAttr::NONE,
        tree: MountAttr::NONE,
    };
}

/// A new file system on a directory in the container.
#[derive(Clone, Copy)]
pub struct Mount<'a> {
    pub fstype: &'a CStr,
    pub source: Option<&'a CStr>,
    pub options: &'a [FsOption<'a>],
    /// The same options for mount(2), if one is too long for fsconfig(2).
    pub data: Option<&'a CStr>,
    /// `MOUNT_ATTR_*` of the new mount.
    pub attr: u64,
    /// Applied after the attach: propagation, and attributes that fsmount(2) cannot set.
    pub after: Attributes,
    pub target: &'a CStr,
    /// For proc and sysfs: the path of the target must have no symbolic link.
    pub plain: bool,
    /// The tmpcopyup option: the files in the target are copied into the mount first.
    pub copy_up: bool,
    /// For a tmpfs without `mode=`: its root gets the mode of an existing target, as in runc.
    pub inherit_mode: bool,
    /// The slot that keeps the mount for a later step.
    pub keep: Option<Slot>,
}

impl<'a> Mount<'a> {
    /// A mount without options, as the base of a struct update.
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

/// An existing mount.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The `/` of the mount namespace before the container's root is attached.
    Host,
    /// The root of the container.
    Root,
    /// A mount that an earlier step has kept, and its path for messages.
    Kept(Slot, &'a CStr),
    /// The mount at a path of the container.
    Path(&'a CStr),
}

/// A descriptor that a step opens into a slot.
#[derive(Clone, Copy)]
pub enum Open<'a> {
    /// The host's null device, checked while the host's tree is still visible.
    NullDevice,
    /// A private procfs that nothing in the container can redirect.
    Procfs,
    /// A copy of a tree, made in the container's mount namespace: launch lacks permission to make it, or the
    /// tree does not exist before the clone.
    Tree {
        /// The field of config.json.
        field: &'a str,
        tree: Tree<'a>,
        /// The path is in the container's root, where earlier steps may have mounted.
        in_root: bool,
    },
}

/// A tree of mounts to bind. It is copied, and gets its attributes while it is detached.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    pub path: &'a CStr,
    pub recursive: bool,
    pub attributes: Attributes,
}

/// The attach of an open tree to a file or directory in the container.
#[derive(Clone, Copy)]
pub struct Bind<'a> {
    pub tree: Slot,
    /// The source, for messages.
    pub source: &'a CStr,
    pub target: &'a CStr,
    pub after: Attributes,
}

/// A node to make in the container's root, unless it exists.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    /// A directory, with its missing parents.
    Directory,
    /// A symbolic link and its target.
    Link(&'a CStr),
    Device(Device),
}

/// A device node.
#[derive(Clone, Copy)]
pub struct Device {
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, and the permission bits.
    pub mode: u32,
    pub rdev: u64,
    pub uid: u32,
    pub gid: u32,
}

/// process.terminal.
#[derive(Clone, Copy)]
pub struct Console<'a> {
    /// The socket that the master is sent over, and the name that goes with it.
    pub socket: Slot,
    pub name: &'a CStr,
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
    pub uid: u32,
    /// Bind the slave on /dev/console. Not for `exec`.
    pub bind: bool,
    /// The master goes to our own relay. ONLCR is cleared, because the caller's terminal converts line ends
    /// already.
    pub relayed: bool,
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

/// A setting that survives execve(2), made by one system call without a descriptor or a path.
#[derive(Clone, Copy)]
pub enum Setting<'a> {
    /// A new session, without the caller's terminal (setsid(2)).
    Session,
    /// A new session keyring.
    Keyring(&'a CStr),
    Hostname(&'a CStr),
    Domainname(&'a CStr),
    Umask(u32),
    Limits(&'a [Rlimit]),
    Personality(u32),
    Scheduler(SchedAttr),
    IoPriority(u32),
    /// `MPOL_*` with its flags, and the node mask (set_mempolicy(2)).
    MemoryPolicy {
        mode: u32,
        nodes: &'a [u64],
    },
    NoNewPrivileges,
    /// Default dispositions and an empty signal mask.
    Signals,
}

/// The credentials of the process.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    pub uid: u32,
    pub gid: u32,
    /// `None` if the user namespace forbids setgroups(2).
    pub groups: Option<&'a [rustix::process::Gid]>,
    /// A joined user namespace may forbid setgroups(2).
    pub groups_may_be_denied: bool,
    pub capabilities: Capabilities,
    /// The highest capability of this kernel.
    pub last_capability: u32,
}

/// The program in args[0].
#[derive(Clone, Copy)]
pub struct Program<'a> {
    pub name: &'a CStr,
    /// The name itself if it has a slash, otherwise one candidate for each entry of PATH.
    pub candidates: &'a [&'a CStr],
}

/// The program that the child becomes.
#[derive(Clone, Copy)]
pub struct Execute<'a> {
    pub program: Program<'a>,
    pub argv: &'a [Arg<'a>],
    pub envp: &'a [Arg<'a>],
}

/// Hooks that run in the container's namespaces: createContainer, startContainer.
#[derive(Clone, Copy)]
pub struct Hooks<'a> {
    pub kind: &'a CStr,
    pub hooks: &'a [Hook<'a>],
    /// The state as JSON, in two parts. The pid goes between them.
    pub state: [&'a [u8]; 2],
}

/// An environment entry whose value the child finds out: the name with `=`, and the entry.
pub struct Entry(&'static str, [Cell<u8>; Entry::SIZE]);

impl Entry {
    const SIZE: usize = 512;

    /// The entry with this value until `set`.
    pub fn new(name: &'static str, value: &str) -> Self {
        let entry = Self(name, [const { Cell::new(0) }; Self::SIZE]);
        entry.set(value);
        entry
    }

    /// The entry. Its text follows later calls of `set`.
    pub fn arg(&self) -> Arg<'_> {
        // SAFETY: `set` leaves the last cell zero.
        unsafe { Arg::from_cells(&self.1) }
    }

    /// Sets the value. Returns false if it is too long.
    pub fn set(&self, value: &str) -> bool {
        // The last cell stays zero.
        if self.0.len() + value.len() >= Self::SIZE {
            return false;
        }
        let bytes = self.0.bytes().chain(value.bytes()).chain([0]);
        for (cell, byte) in self.1.iter().zip(bytes) {
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

/// The steps of the child: two lists, with the close of every slot between them.
#[derive(Clone, Copy)]
pub struct Steps<'a> {
    pub first: &'a [Step<'a>],
    pub close: Close,
    pub last: &'a [LastStep<'a>],
}

impl<'a> Steps<'a> {
    /// Every step in the order in which reports number them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn fmt::Display> {
        let first = self.first.iter().map(|step| step as &dyn fmt::Display);
        let last = self.last.iter().map(|step| step as &dyn fmt::Display);
        first
            .chain(core::iter::once(&self.close as &dyn fmt::Display))
            .chain(last)
    }
}

/// Closes every slot and every descriptor that the program does not inherit. Processes that inspect this one
/// see no descriptor of the host, and no peer waits for an end that a leaked descriptor delays.
#[derive(Clone, Copy, Default)]
pub struct Close {
    /// The number of descriptors, counted from 3, that the program inherits (`--preserve-fds`).
    pub preserve: u32,
    /// For `LastStep::Wait`: the socket that `start` connects to, and the locked file that marks the process as
    /// waiting.
    pub listener: Option<[Slot; 2]>,
}

/// A step of the child while it sets up the container. Launch or an earlier step has filled the slots that it
/// uses.
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// Wait for the parent.
    Meet(Point),
    /// Become dumpable (PR_SET_DUMPABLE), so that an unprivileged parent can write the id mappings.
    Dumpable,
    /// Become root of the new user namespace.
    ContainerRoot,
    /// Create a cgroup namespace, rooted at the child's current cgroup.
    CgroupNamespace,
    Set(Setting<'a>),
    /// Bring `lo` up.
    Loopback,
    Open(Slot, Open<'a>),
    /// Open an existing root.
    Root(&'a CStr),
    /// Attach the root file system.
    Rootfs {
        tree: Slot,
        path: &'a CStr,
        /// Attach the root at `path`, where hooks that enter the mount namespace look for it. Otherwise attach
        /// it over `/`, which is faster.
        in_place: bool,
    },
    /// Take the mount in the slot, which covers the root, for the root.
    RootIs(Slot),
    Mount(Mount<'a>),
    Bind(Bind<'a>),
    /// Set attributes and propagation of a mount (mount_setattr(2)).
    Attributes(Place<'a>, Attributes),
    /// Make a node in the container's root.
    Make(&'a CStr, Node<'a>),
    /// Write a file of the private procfs: a kernel parameter, or the security label for the next execve.
    Write {
        procfs: Slot,
        path: &'a CStr,
        value: &'a CStr,
        /// The field of config.json, for messages.
        field: &'a str,
    },
    /// Run the createContainer hooks.
    Hooks(Hooks<'a>),
    /// Mask a file or directory. `empty` is the slot of the directory that all masked directories share.
    Mask {
        path: &'a CStr,
        null: Slot,
        empty: Slot,
    },
    /// Make `path` and all mounts below it read-only.
    Readonly(&'a CStr),
    /// Make a pseudoterminal and use it as stdio.
    Console(Console<'a>),
    /// Give stdio to the user, so that the process can reopen /dev/stdout.
    Stdio {
        uid: u32,
    },
    /// Enter the root with pivot_root(2).
    Pivot,
    /// Move the root over `/`, where chroot(2) enters it, for a root that pivot_root(2) refuses.
    MoveRoot {
        /// The host's mounts of procfs and sysfs, to be detached first. The kernel lets a user namespace mount
        /// these file systems only if a fully visible one exists, and it would count those behind the new root.
        hidden: &'a [&'a CStr],
        /// The root is attached at its own path, not over `/`.
        in_place: bool,
    },
    /// Enter the root with chroot(2), if pivot_root(2) refuses it or the mount namespace is not new.
    Chroot,
    /// Check that the program exists and is executable, so that `create` can report an error.
    LookUp(Program<'a>),
    WorkingDirectory(&'a CStr),
    /// Set HOME in the environment from the container's passwd file.
    Home {
        entry: &'a Entry,
        uid: u32,
    },
    /// Set LISTEN_PID in the environment to the process's own pid (sd_listen_fds(3)).
    ListenPid(&'a Entry),
}

/// A step after every slot is closed. It uses no slot and no root, because its system calls may run under the
/// container's filter.
#[derive(Clone, Copy)]
pub enum LastStep<'a> {
    /// Wait for `start` on the listening socket.
    Wait,
    /// Load the filter. With no_new_privs this is the last step before the exec. Without it, the load takes
    /// CAP_SYS_ADMIN, so it precedes the drop of the capabilities.
    Seccomp(Filter<'a>),
    Become(Identity<'a>),
    Set(Setting<'a>),
    /// Run the startContainer hooks.
    Hooks(Hooks<'a>),
    /// Report that the exec is next. From here on, the end of the channel means success.
    Ready,
    Execute(Execute<'a>),
}
