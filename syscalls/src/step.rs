//! The steps a plan is made of: nouns of the OCI spec, with every string a C string and every number
//! final. `Display` says what a step does, for errors and for `--dry-run`.

mod display;

use crate::calls::{Arg, Instruction, MountAttr, SchedAttr};
use crate::hook::Hook;
use crate::slots::Slot;
use core::cell::Cell;
use core::ffi::CStr;
use core::fmt;

pub use display::Lossy;

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

/// A mount that is there already.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// Whatever the mount namespace has before the root is attached.
    Host,
    /// The root of the container.
    Root,
    /// One that an earlier step has kept, with its path for messages.
    Kept(Slot, &'a CStr),
    /// Where a path of the container leads.
    Path(&'a CStr),
}

/// What a step opens into a slot.
#[derive(Clone, Copy)]
pub enum Open<'a> {
    /// The true null device, checked while the host's tree is still in sight.
    NullDevice,
    /// A private procfs that nothing in the container can redirect.
    Procfs,
    /// A copy of a tree that launch may not make, or cannot yet: in the mount namespace that is the container's own.
    Tree {
        /// The field of config.json it comes from.
        field: &'a str,
        tree: Tree<'a>,
        /// It lies in the container's root, with what is mounted there by now.
        in_root: bool,
    },
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

/// What is made in the container's root, unless something is there.
#[derive(Clone, Copy)]
pub enum Node<'a> {
    /// With those above it that are missing.
    Directory,
    /// A symbolic link, with what it holds.
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
    /// The socket that its master is sent over, with a name.
    pub socket: Slot,
    pub name: &'a CStr,
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
    pub uid: u32,
    /// It becomes /dev/console too, unless it is for one more process.
    pub bind: bool,
    /// It goes to a relay of ours: line ends are left to the caller's terminal, which turns them once.
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

/// What outlasts execve(2) and is set by one system call that takes nothing but values.
#[derive(Clone, Copy)]
pub enum Setting<'a> {
    /// A session of its own, away from the caller's terminal.
    Session,
    /// A session keyring of its own.
    Keyring(&'a CStr),
    Hostname(&'a CStr),
    Domainname(&'a CStr),
    Umask(u32),
    Limits(&'a [Rlimit]),
    Personality(u32),
    Scheduler(SchedAttr),
    IoPriority(u32),
    /// `MPOL_*` with its flags, and the nodes as set_mempolicy(2) takes them.
    MemoryPolicy {
        mode: u32,
        nodes: &'a [u64],
    },
    NoNewPrivileges,
    /// No signal is ignored and none is blocked.
    Signals,
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
    /// The state as JSON, in two parts with the pid between them.
    pub state: [&'a [u8]; 2],
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
        // SAFETY: `set` leaves the last cell zero.
        unsafe { Arg::from_cells(&self.0) }
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

/// The child's walk: two lists, and between them the point from which no slot holds anything any more.
#[derive(Clone, Copy)]
pub struct Steps<'a> {
    pub first: &'a [Step<'a>],
    pub close: Close,
    pub last: &'a [LastStep<'a>],
}

impl<'a> Steps<'a> {
    /// Each step in words, as reports number them.
    pub fn iter(&self) -> impl Iterator<Item = &dyn fmt::Display> {
        let first = self.first.iter().map(|step| step as &dyn fmt::Display);
        let last = self.last.iter().map(|step| step as &dyn fmt::Display);
        first
            .chain(core::iter::once(&self.close as &dyn fmt::Display))
            .chain(last)
    }
}

/// Closes what the program is not to have, and every slot with it: nobody who looks into the process sees anything of
/// the host, and nobody waits for the end of what is not ours to hold.
#[derive(Clone, Copy, Default)]
pub struct Close {
    /// Descriptors from 3 that the program keeps (`--preserve-fds`).
    pub preserve: u32,
    /// What `LastStep::Wait` needs: the socket that `start` connects to, and the locked file that says that the process
    /// waits.
    pub listener: Option<[Slot; 2]>,
}

/// One step of the child's walk, while the container is made. A slot holds what launch or an earlier step has opened.
#[derive(Clone, Copy)]
pub enum Step<'a> {
    /// Wait for the parent.
    Meet(Point),
    /// Let our own user look into us, who is to write the id mappings and has no right of root's to do it by
    /// (PR_SET_DUMPABLE).
    Dumpable,
    /// Become root of the new user namespace.
    ContainerRoot,
    /// A new cgroup namespace, rooted at the cgroup the child is in by now.
    CgroupNamespace,
    Set(Setting<'a>),
    /// Bring `lo` up.
    Loopback,
    Open(Slot, Open<'a>),
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
    /// Attributes and propagation of a mount, and of those below it (mount_setattr(2)).
    Attributes(Place<'a>, Attributes),
    /// Make a node in the container's root.
    Make(&'a CStr, Node<'a>),
    /// Write to a file of the private procfs: a kernel parameter, or the label that the next execve gets.
    Write {
        procfs: Slot,
        path: &'a CStr,
        value: &'a CStr,
        /// The field of config.json, for messages.
        field: &'a str,
    },
    /// createContainer.
    Hooks(Hooks<'a>),
    /// Hide a file or directory; `empty` is the slot of the directory that all masked ones share.
    Mask {
        path: &'a CStr,
        null: Slot,
        empty: Slot,
    },
    /// Make what is at `path`, and all below, read-only.
    Readonly(&'a CStr),
    /// Make a pseudo terminal and make it stdio.
    Console(Console<'a>),
    /// Give stdio to the user, so that /dev/stdout can be opened anew.
    Stdio {
        uid: u32,
    },
    /// Change into the root: pivot_root(2).
    Pivot,
    /// Move the root over `/`, from where chroot(2) enters it: for a root that cannot be pivoted.
    MoveRoot {
        /// The host's procfs and sysfs: behind the new root they would still be seen by the kernel, which lets a user
        /// namespace mount a new one only where it sees a whole one.
        hidden: &'a [&'a CStr],
        /// The root is not over `/` yet.
        in_place: bool,
    },
    /// The same by chroot(2), where the root cannot be pivoted or the mount namespace is not new.
    Chroot,
    /// See that the program is there and may be executed, before `create` says that all is well.
    LookUp(Program<'a>),
    WorkingDirectory(&'a CStr),
    /// Complete the environment with the home directory of the user, from the container's passwd file.
    Home {
        entry: &'a Home,
        uid: u32,
    },
}

/// One step once everything is closed. It has no slot and no root: what it calls may be under the container's filter.
#[derive(Clone, Copy)]
pub enum LastStep<'a> {
    /// Wait for `start` on the listening socket.
    Wait,
    /// Load the filter. With no_new_privs this is the last thing before the exec. Without it, loading one takes
    /// CAP_SYS_ADMIN, so it comes before the capabilities are dropped.
    Seccomp(Filter<'a>),
    Become(Identity<'a>),
    Set(Setting<'a>),
    /// startContainer.
    Hooks(Hooks<'a>),
    /// Report that the exec is next: the end of the channel means success from here on.
    Ready,
    Execute(Execute<'a>),
}
