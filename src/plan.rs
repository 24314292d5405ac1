//! The plan: a pure function of the spec and the host's facts. It validates the spec, makes every decision, and
//! compiles the result into the steps of the child. It makes no system call that changes anything.

mod affinity;
mod cgroup;
mod describe;
mod devices;
mod hooks;
mod identity;
mod mounts;
pub mod names;
mod namespaces;
mod net_devices;
pub mod notify_socket;
mod options;
mod process;
mod root;
mod security;
mod sysctl;
#[cfg(test)]
mod tests;

use crate::error::{Result, fail};
use crate::facts::{Facts, join};
use crate::limits::{self, Driver};
use crate::spec::{Linux, Spec};
use crate::state::{self, State};
use affinity::{Affinity, affinity};
use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::CStr;
pub use hooks::Hooks;
use namespaces::{Kind, Namespaces, names_of};
pub use net_devices::NetDevice;
pub use security::{compiled, with_profile, word};
use syscalls::calls::Arg;
use syscalls::slots::Slot;
use syscalls::spawn::Join;
use syscalls::step::{self, Close, LastStep, Point, Setting, Step, Steps, Tree};

/// The options of the command line.
pub struct Options<'a> {
    pub id: &'a str,
    /// The bundle directory: absolute, and its last component is no link.
    pub bundle: &'a str,
    /// `create`: the child waits for `start`.
    pub wait: bool,
    /// `--no-pivot`: the mount points of the host's procfs and sysfs.
    pub no_pivot: Option<Vec<String>>,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
    /// The number of preserved descriptors that a service manager passed (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The terminal is sent to our own relay, not to a console socket.
    pub relays: bool,
    /// Rows and columns of the caller's terminal, for a relayed container.
    pub console_size: Option<(u16, u16)>,
    pub cgroups: &'a Driver,
    /// The time of creation (RFC 3339).
    pub created: &'a str,
    /// The directory of the socket for the readiness message, if a service manager waits for it: absolute.
    pub notify: Option<&'a str>,
}

/// A descriptor that launch opens and puts into a slot.
pub struct Open {
    pub slot: Slot,
    /// The field of config.json, for messages.
    pub field: String,
    pub what: What,
    pub when: When,
}

/// The time at which launch opens a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before launch makes anything.
    First,
    /// While the child waits (`Point::Trees`), in its mount namespace. There the kernel has locked the mounts
    /// for the user namespace (mount_namespaces(7)). Launch makes the copy, because the lookup needs its
    /// privileges.
    Child,
}

pub enum What {
    /// A detached copy of a tree with its attributes set.
    Tree {
        tree: Tree<'static>,
        idmap: Option<Idmap>,
        /// The container's root, if the path starts there. The lookup does not leave it.
        root: Option<&'static CStr>,
    },
    /// A namespace to join.
    Namespace { path: &'static CStr },
}

/// An id-mapped mount.
pub struct Idmap {
    pub by: IdmapBy,
    pub recursive: bool,
}

pub enum IdmapBy {
    Mappings(Mappings),
    /// The mappings of a joined user namespace.
    Namespace(&'static CStr),
}

/// The id mappings of a user namespace.
#[derive(Clone)]
pub struct Mappings {
    pub uid: Mapping,
    pub gid: Mapping,
    /// Deny setgroups(2) first. Without CAP_SETGID, the caller's own gid can only be mapped then
    /// (user_namespaces(7)).
    pub deny_setgroups: bool,
}

#[derive(Clone)]
pub struct Mapping {
    /// The text for uid_map or gid_map, one line for each range.
    pub text: String,
    /// newuidmap or newgidmap writes the mapping, because it has ids other than the caller's. These helpers
    /// check who may use an id.
    pub helped: bool,
}

/// The complete plan of a start, in the order of execution.
pub struct Plan {
    pub opens: Vec<Open>,
    /// The namespaces that clone3 creates (`CLONE_NEW*`).
    pub namespaces: u64,
    pub joins: Vec<Join<'static>>,
    pub time: Option<&'static CStr>,
    pub mappings: Option<Mappings>,
    /// The network devices that move into the container.
    pub net_devices: Vec<NetDevice>,
    pub steps: Vec<Step<'static>>,
    pub close: Close,
    pub last_steps: Vec<LastStep<'static>>,
    pub slots: u16,
    /// The slot that launch fills itself, besides `opens` and `close`.
    pub console: Option<Slot>,
    /// The container gets the directory with the readiness socket, which launch makes.
    pub notify: bool,
    /// The container's own cgroup, if any.
    pub cgroup: Option<limits::Cgroup>,
    pub oom_score_adj: Option<i32>,
    /// For exec only.
    pub affinity: Affinity,
    pub hooks: Hooks,
    /// The state of the container, still without a process. Empty for exec.
    pub state: State,
    pub warnings: Vec<String>,
}

type IsRequested = fn(&Linux<'_>) -> bool;

/// The fields of the spec that are not implemented. A request is an error, not ignored.
const MISSING: [(&str, IsRequested); 1] = [("intelRdt", |linux| linux.intel_rdt.is_some())];

/// Whether this field of `linux` is implemented.
pub fn supports(field: &str) -> bool {
    MISSING.iter().all(|(missing, _)| *missing != field)
}

/// The state of the planner, which each part of the plan extends.
struct Builder<'a> {
    spec: &'a Spec<'a>,
    facts: &'a Facts,
    options: &'a Options<'a>,
    namespaces: Namespaces,
    steps: Vec<Step<'static>>,
    last: Vec<LastStep<'static>>,
    opens: Vec<Open>,
    /// The steps that copy trees before the child attaches the root.
    copies: Vec<Step<'static>>,
    slots: u16,
    warnings: Vec<String>,
    /// The slot of the null device, if paths are masked.
    null: Option<Slot>,
    /// The slot of the private procfs, once a step needs it.
    procfs: Option<Slot>,
    /// The mounts that become read-only after their content is in place, and their paths.
    read_only: Vec<(Slot, &'static CStr)>,
    /// The path of the root on the host.
    rootfs: String,
    /// The plan is for the container's first process, not for exec.
    starts: bool,
    /// The container gets the directory with the readiness socket.
    notify: bool,
}

impl Plan {
    /// The steps of the child.
    pub fn walk(&self) -> Steps<'_> {
        Steps {
            first: &self.steps,
            close: self.close,
            last: &self.last_steps,
        }
    }
}

/// Makes the plan of a container, or reports the error in config.json.
pub fn plan(spec: &Spec<'_>, facts: &Facts, options: &Options<'_>) -> Result<Plan> {
    state::check_id(options.id)?;
    let version = &spec.oci_version;
    if !version.starts_with("1.") {
        fail!("config.json: ociVersion: expected a version 1.x, found {version:?}");
    }
    let Some(root) = &spec.root else {
        fail!("config.json: root: required field is missing")
    };
    let namespaces = namespaces::read(spec)?;
    if !facts.privileged {
        namespaces.check_ordinary()?;
    }
    let mut b = Builder::new(spec, facts, options, namespaces);
    b.rootfs = absolute(options.bundle, &root.path);
    b.starts = true;
    b.refuse_what_is_missing()?;
    let cgroup = b.cgroup()?;
    let joins = b.joins()?;
    let time = b.time()?;
    let mappings = b.mappings()?;
    b.user_namespace(mappings.is_some());
    if let Some(cgroup) = &cgroup
        && (facts.cgroups.has_v1() || cgroup.unit.is_some())
    {
        b.steps.push(Step::Meet(Point::Cgroup));
    }
    b.namespace_steps();
    b.session()?;
    b.names()?;
    let net_devices = b.net_devices()?;
    b.root(cgroup.as_ref().map(limits::Cgroup::place).as_ref())?;
    b.notify_socket()?;
    b.working_directory_made()?;
    b.hooks_before_root()?;
    b.sysctls()?;
    let console = b.console()?;
    b.paths()?;
    b.enter_root()?;
    let execute = b.before_commit()?;
    b.steps.push(Step::Meet(Point::Commit));
    let close = b.close();
    b.last_steps(execute)?;
    b.check_numbers()?;
    // The affinity is for exec, but a wrong list is already an error here.
    affinity(spec.process.as_ref())?;
    let hooks = Hooks::new(&spec.hooks)?;
    let state = b.state(cgroup.as_ref(), &hooks);
    Ok(Plan {
        namespaces: b.namespaces.flags(),
        joins,
        time,
        mappings,
        net_devices,
        steps: b.steps,
        close,
        last_steps: b.last,
        opens: b.opens,
        slots: b.slots,
        console,
        notify: b.notify,
        cgroup,
        oom_score_adj: oom_score_adj(spec)?,
        affinity: Affinity::default(),
        hooks,
        state,
        warnings: b.warnings,
    })
}

/// Makes the plan of `exec`: one more process (`spec.process`) in the namespaces of a container. Slot 0 holds
/// the pidfd of its first process.
pub fn plan_exec(
    spec: &Spec<'_>,
    facts: &Facts,
    options: &Options<'_>,
    in_cgroup: bool,
) -> Result<Plan> {
    let mut b = Builder::new(spec, facts, options, namespaces::read(spec)?);
    let slot = b.slot();
    let kind = b.namespaces.all() as u32;
    let mut joins = Vec::new();
    if kind != 0 {
        joins.push(Join {
            slot,
            kind,
            name: "container's",
            path: c"of its first process",
        });
    }
    b.user_namespace(false);
    let by_systemd = matches!(options.cgroups, Driver::Systemd(_));
    if in_cgroup && (facts.cgroups.has_v1() || by_systemd) {
        b.steps.push(Step::Meet(Point::Cgroup));
    }
    b.session()?;
    if b.namespaces.is_new(Kind::Mount) {
        b.steps.push(Step::Root(c"/"));
    } else {
        let root = spec.root.as_ref().map_or("", |root| &root.path);
        b.steps.push(Step::Root(leak_text(
            &absolute(options.bundle, root),
            "root.path",
        )?));
        b.steps.push(Step::Chroot);
    }
    let console = b.console()?;
    let execute = b.before_commit()?;
    b.steps.push(Step::Meet(Point::Commit));
    let close = b.close();
    b.last_steps(execute)?;
    b.check_numbers()?;
    Ok(Plan {
        opens: b.opens,
        namespaces: 0,
        joins,
        time: None,
        mappings: None,
        net_devices: Vec::new(),
        steps: b.steps,
        close,
        last_steps: b.last,
        slots: b.slots,
        console,
        notify: false,
        cgroup: None,
        oom_score_adj: oom_score_adj(spec)?,
        affinity: affinity(spec.process.as_ref())?,
        hooks: Hooks::default(),
        state: State::default(),
        warnings: b.warnings,
    })
}

impl<'a> Builder<'a> {
    fn new(
        spec: &'a Spec<'a>,
        facts: &'a Facts,
        options: &'a Options<'a>,
        namespaces: Namespaces,
    ) -> Self {
        Self {
            spec,
            facts,
            options,
            namespaces,
            steps: Vec::new(),
            last: Vec::new(),
            opens: Vec::new(),
            copies: Vec::new(),
            slots: 0,
            warnings: Vec::new(),
            null: None,
            procfs: None,
            read_only: Vec::new(),
            rootfs: String::new(),
            starts: false,
            notify: false,
        }
    }

    fn refuse_what_is_missing(&self) -> Result<()> {
        // `create` may do without (runtime.md, Start).
        if self.spec.process.is_none() && !self.options.wait {
            fail!("config.json: process: required field is missing");
        }
        match MISSING
            .iter()
            .find(|(_, is_requested)| is_requested(&self.spec.linux))
        {
            Some((field, _)) => fail!("config.json: linux.{field}: not supported yet"),
            None => Ok(()),
        }
    }

    /// The state of the container.
    fn state(&self, cgroup: Option<&limits::Cgroup>, hooks: &Hooks) -> State {
        let place = cgroup.map(limits::Cgroup::place);
        State {
            version: state::VERSION,
            oci_version: state::OCI_VERSION.to_owned(),
            id: self.options.id.to_owned(),
            pid: 0,
            start_time: 0,
            bundle: self.options.bundle.to_owned(),
            rootfs: self.rootfs.clone(),
            created: self.options.created.to_owned(),
            annotations: owned_pairs(&self.spec.annotations),
            cgroup: place.as_ref().map(|place| place.path.clone()),
            apart: place.map(|place| place.apart).unwrap_or_default(),
            unit: cgroup
                .and_then(|cgroup| cgroup.unit.as_ref())
                .map(|unit| unit.name.clone()),
            poststart: hooks.poststart.clone(),
            poststop: hooks.poststop.clone(),
            no_new_keyring: self.options.no_new_keyring,
            creating: false,
            inode: 0,
            agent: security::agent(self.spec),
        }
    }

    fn close(&mut self) -> Close {
        Close {
            preserve: self.options.preserve_fds,
            listener: self.options.wait.then(|| [self.slot(), self.slot()]),
        }
    }

    fn slot(&mut self) -> Slot {
        let slot = self.slots;
        // `check_numbers` reports an overflow.
        self.slots = slot.saturating_add(1);
        slot
    }

    /// Checks that the numbers of steps and slots fit in 16 bits. The highest value marks an overflow.
    fn check_numbers(&self) -> Result<()> {
        let fits = |count| count < usize::from(u16::MAX);
        if !fits(self.steps.len()) || !fits(usize::from(self.slots)) {
            fail!("config.json: it takes more than 65534 steps, or as many descriptors");
        }
        Ok(())
    }

    /// Whether an annotation of crun turns on an option. "0" turns it off.
    fn is_annotated(&self, option: &str) -> bool {
        let mut annotations = self.spec.annotations.iter();
        annotations.any(|(key, value)| key == option && value != "0")
    }

    fn open(&mut self, field: String, what: What) -> Slot {
        let slot = self.slot();
        self.opens.push(Open {
            slot,
            field,
            what,
            when: When::First,
        });
        slot
    }

    /// The slot of the private procfs. The first call adds the step that opens it.
    fn procfs(&mut self) -> Slot {
        if let Some(slot) = self.procfs {
            return slot;
        }
        let slot = self.slot();
        self.steps.push(Step::Open(slot, step::Open::Procfs));
        self.procfs = Some(slot);
        slot
    }

    /// Becomes root of the user namespace, after the id mappings of a new one.
    fn user_namespace(&mut self, is_new: bool) {
        if is_new && !self.facts.privileged {
            self.steps.push(Step::Dumpable);
        }
        if is_new {
            self.steps.push(Step::Meet(Point::Mappings));
        }
        if self.namespaces.has(Kind::User) {
            self.steps.push(Step::ContainerRoot);
        }
    }

    /// A new session and its keyring.
    fn session(&mut self) -> Result<()> {
        self.steps.push(Step::Set(Setting::Session));
        if !self.options.no_new_keyring {
            let name = format!("_ses.{}", self.options.id);
            let name = leak_text(&name, "the container id")?;
            self.steps.push(Step::Set(Setting::Keyring(name)));
        }
        Ok(())
    }

    /// The loopback interface, the hostname and the domainname.
    fn names(&mut self) -> Result<()> {
        if self.namespaces.is_new(Kind::Network) {
            self.steps.push(Step::Loopback);
        }
        type Named = fn(&'static CStr) -> Setting<'static>;
        let names: [(&str, _, Named); 2] = [
            ("hostname", &self.spec.hostname, Setting::Hostname),
            ("domainname", &self.spec.domainname, Setting::Domainname),
        ];
        for (field, name, setting) in names {
            let Some(name) = name else { continue };
            if !self.namespaces.has(Kind::Uts) {
                fail!(
                    "config.json: {field}: needs a namespace of type \"uts\" in linux.namespaces"
                );
            }
            if name.len() > 64 {
                fail!(
                    "config.json: {field}: expected at most 64 characters, found {}",
                    name.len()
                );
            }
            let name = leak_text(name, field)?;
            self.steps.push(Step::Set(setting(name)));
        }
        Ok(())
    }
}

fn oom_score_adj(spec: &Spec<'_>) -> Result<Option<i32>> {
    let Some(value) = spec.process.as_ref().and_then(|p| p.oom_score_adj) else {
        return Ok(None);
    };
    if !(-1000..=1000).contains(&value) {
        fail!(
            "config.json: process.oomScoreAdj: expected a number from -1000 to 1000, found {value}"
        );
    }
    Ok(Some(value as i32))
}

/// Copies pairs of strings of the spec.
pub fn owned_pairs(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| (k.as_ref().to_owned(), v.as_ref().to_owned()))
        .collect()
}

/// An absolute path. A relative one starts at the bundle.
fn absolute(bundle: &str, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        join(bundle, path)
    }
}

/// Leaks a value: a plan is made once and lives until the exec or the exit.
fn leak<T>(values: Vec<T>) -> &'static [T] {
    Box::leak(values.into_boxed_slice())
}

/// A string of config.json as a C string that lives as long as the plan.
fn leak_text(text: &str, field: &str) -> Result<&'static CStr> {
    match CString::new(text) {
        Ok(text) => Ok(Box::leak(text.into_boxed_c_str())),
        Err(_) => fail!("config.json: {field}: a string with a zero byte"),
    }
}

/// argv or envp for execve, with the null pointer at its end.
fn arguments<S: AsRef<str>>(texts: &[S], field: &str) -> Result<&'static [Arg<'static>]> {
    let mut args = Vec::with_capacity(texts.len() + 1);
    for (n, text) in texts.iter().enumerate() {
        args.push(Arg::new(leak_text(
            text.as_ref(),
            &format!("{field}[{n}]"),
        )?));
    }
    args.push(Arg::END);
    Ok(leak(args))
}
