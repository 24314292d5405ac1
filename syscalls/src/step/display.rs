//! Steps in words: what a step does as it follows "cannot" in an error, and with its numbers (`{:#}`) in `--dry-run`.

use super::{
    Attributes, Close, FsOption, Hooks, Identity, LastStep, Node, Open, Place, Point, Rlimit,
    Setting, Step,
};
use crate::calls::MountAttr;
use crate::words;
use core::ffi::CStr;
use core::fmt::{self, Display};

/// A C string as text, with what is not UTF-8 left out.
pub struct Lossy<'a>(pub &'a CStr);

impl Display for Lossy<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.to_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
        }
        Ok(())
    }
}

/// Limits, each as ` Nofile SOFT:HARD`.
struct Shown<'a>(&'a [Rlimit]);

impl Display for Shown<'_> {
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

impl Display for Attributes {
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

impl Display for Step<'_> {
    /// The step in words, as they follow "cannot".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.words(f)?;
        match f.alternate() {
            true => self.details(f),
            false => Ok(()),
        }
    }
}

impl Step<'_> {
    fn words(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Meet(Point::Mappings) => f.write_str("wait for the id mappings"),
            Step::Meet(Point::Cgroup) => f.write_str("wait for the cgroup"),
            Step::Meet(Point::NetDevices) => f.write_str("wait for the network devices"),
            Step::Meet(Point::Trees) => f.write_str("wait for the trees that are bound"),
            Step::Meet(Point::Hooks) => f.write_str("wait while the runtime runs its hooks"),
            Step::Meet(Point::Commit) => f.write_str("wait for the state to be written"),
            Step::Dumpable => f.write_str("become visible to the user who maps the ids"),
            Step::ContainerRoot => f.write_str("become root in the user namespace"),
            Step::CgroupNamespace => f.write_str("create a cgroup namespace"),
            Step::Set(setting) => setting.fmt(f),
            Step::Loopback => f.write_str("bring the loopback interface up"),
            Step::Open(_, Open::NullDevice) => f.write_str("open the null device"),
            Step::Open(_, Open::Procfs) => f.write_str("open a private procfs"),
            Step::Open(_, Open::Tree { tree, .. }) => write!(f, "open {}", Lossy(tree.path)),
            Step::Root(path) => write!(f, "open the root {}", Lossy(path)),
            Step::Rootfs { path, .. } => write!(f, "attach the root file system {}", Lossy(path)),
            Step::RootIs(_) => f.write_str("take the last mount for the root"),
            Step::Mount(m) => {
                write!(f, "mount {}", Lossy(m.fstype))?;
                if let Some(source) = m.source.filter(|s| *s != m.fstype) {
                    write!(f, " from {}", Lossy(source))?;
                }
                write!(f, " on {}", Lossy(m.target))
            }
            Step::Bind(b) => write!(f, "bind {} on {}", Lossy(b.source), Lossy(b.target)),
            Step::Attributes(place, _) => {
                f.write_str("set the attributes of ")?;
                match place {
                    Place::Host => f.write_str("all mounts"),
                    Place::Root => f.write_str("the root mount"),
                    Place::Kept(_, path) | Place::Path(path) => {
                        write!(f, "the mount on {}", Lossy(path))
                    }
                }
            }
            Step::Make(path, Node::Directory) => write!(f, "make the directory {}", Lossy(path)),
            Step::Make(path, Node::Device(_)) => write!(f, "make the device {}", Lossy(path)),
            Step::Make(path, Node::Link(to)) => write!(f, "link {} to {}", Lossy(path), Lossy(to)),
            Step::Write { field, value, .. } => write!(f, "set {field} to {}", Lossy(value)),
            Step::Hooks(hooks) => hooks.fmt(f),
            Step::Mask { path, .. } => write!(f, "mask {}", Lossy(path)),
            Step::Readonly(path) => write!(f, "make {} read-only", Lossy(path)),
            Step::Console(console) => {
                write!(f, "set up the terminal for {}", Lossy(console.name))
            }
            Step::Stdio { uid } => write!(f, "give stdio to user {uid}"),
            Step::Pivot => f.write_str("change into the root (pivot_root)"),
            Step::MoveRoot { .. } => f.write_str("change into the root (moved mount)"),
            Step::Chroot => f.write_str("change into the root (chroot)"),
            Step::LookUp(program) => write!(f, "execute {}", Lossy(program.name)),
            Step::WorkingDirectory(path) => {
                write!(f, "change to the working directory {}", Lossy(path))
            }
            Step::ListenPid(_) => f.write_str("set LISTEN_PID"),
            Step::Home { uid, .. } => write!(f, "look up the home directory of user {uid}"),
        }
    }
}

impl Step<'_> {
    /// Its numbers, which `{:#}` adds.
    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
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
            Step::Open(_, Open::Tree { tree, .. }) => write!(f, "{}", tree.attributes),
            Step::Attributes(_, attributes) => write!(f, "{attributes}"),
            Step::Make(_, Node::Device(d)) => {
                let (major, minor) = (rustix::fs::major(d.rdev), rustix::fs::minor(d.rdev));
                write!(f, " {:o} {major}:{minor} of {}:{}", d.mode, d.uid, d.gid)
            }
            _ => Ok(()),
        }
    }
}

impl Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "close the descriptors from {}", 3 + self.preserve)
    }
}

impl Display for LastStep<'_> {
    /// The same, with its numbers under `{:#}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LastStep::Wait => f.write_str("wait for start"),
            LastStep::Seccomp(filter) => {
                let length = filter.program.len();
                write!(f, "load the seccomp filter ({length} instructions)")
            }
            LastStep::Become(i) => {
                write!(f, "become user {} and group {}", i.uid, i.gid)?;
                match f.alternate() {
                    true => i.details(f),
                    false => Ok(()),
                }
            }
            LastStep::Set(setting) => setting.fmt(f),
            LastStep::Hooks(hooks) => hooks.fmt(f),
            LastStep::Ready => f.write_str("report that the exec is next"),
            LastStep::Execute(e) if e.program.name.is_empty() => {
                f.write_str("execute: config.json has no process")
            }
            LastStep::Execute(e) => {
                write!(f, "execute {}", Lossy(e.program.name))?;
                if f.alternate() {
                    for arg in e.argv.iter().skip(1).filter_map(|arg| arg.text()) {
                        write!(f, " {}", Lossy(&arg))?;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Display for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Session => f.write_str("create a session"),
            Setting::Keyring(name) => write!(f, "create the session keyring {}", Lossy(name)),
            Setting::Hostname(name) => write!(f, "set the hostname {}", Lossy(name)),
            Setting::Domainname(name) => write!(f, "set the domainname {}", Lossy(name)),
            Setting::Umask(mask) => write!(f, "set the umask {mask:03o}"),
            Setting::Limits(limits) => write!(f, "set process.rlimits{}", Shown(limits)),
            Setting::Personality(persona) => write!(f, "set the personality {persona:#x}"),
            Setting::Scheduler(attr) if f.alternate() => {
                write!(f, "set process.scheduler {attr:?}")
            }
            Setting::Scheduler(_) => f.write_str("set process.scheduler"),
            Setting::IoPriority(priority) => {
                f.write_str("set process.ioPriority")?;
                if !f.alternate() {
                    return Ok(());
                }
                let class = match priority >> 13 {
                    1 => "realtime",
                    2 => "best-effort",
                    _ => "idle",
                };
                write!(f, " {class} {}", priority & 7)
            }
            Setting::MemoryPolicy { mode, .. } if f.alternate() => {
                write!(f, "set linux.memoryPolicy {mode:#x}")
            }
            Setting::MemoryPolicy { .. } => f.write_str("set linux.memoryPolicy"),
            Setting::NoNewPrivileges => f.write_str("set no_new_privs"),
            Setting::Signals => f.write_str("reset the signals"),
        }
    }
}

impl Display for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run the {} hooks", Lossy(self.kind))?;
        let mut hooks = self
            .hooks
            .iter()
            .take(if f.alternate() { usize::MAX } else { 0 });
        hooks.try_for_each(|hook| write!(f, " {}", Lossy(hook.path)))
    }
}

impl Identity<'_> {
    /// Groups and capabilities.
    fn details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.capabilities;
        write!(f, ", groups")?;
        self.groups
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
}
