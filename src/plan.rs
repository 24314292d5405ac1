//! The plan: a pure function of the spec and the host's facts. It validates everything, decides
//! everything, and compiles it into the steps of the child; it makes no system call that changes anything.

mod affinity;
mod cgroup;
mod describe;
mod devices;
mod hooks;
mod identity;
mod mounts;
pub mod names;
mod namespaces;
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
use crate::limits::systemd::Unit;
use crate::limits::{self, Driver, Limits};
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
use hooks::Hooks;
use namespaces::{Kind, Namespaces, names_of};
pub use security::{compiled, with_profile, word};
use syscalls::calls::Arg;
use syscalls::slots::Slot;
use syscalls::spawn::Join;
use syscalls::step::{self, Close, LastStep, Point, Setting, Step, Steps, Tree};

/// What the command line adds to the spec.
pub struct Options<'a> {
    pub id: &'a str,
    /// Absolute, without links at its end.
    pub bundle: &'a str,
    /// `create`: the child waits for `start`.
    pub wait: bool,
    /// `--no-pivot`: where the host's procfs and sysfs are.
    pub no_pivot: Option<Vec<String>>,
    pub no_new_keyring: bool,
    pub preserve_fds: u32,
    /// Of these, how many come from a service manager (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The terminal goes to a relay of ours, not to a console socket.
    pub relays: bool,
    /// Rows and columns of the terminal we run in, for a container that relays to it.
    pub console_size: Option<(u16, u16)>,
    pub cgroups: &'a Driver,
    /// The time of creation, as RFC 3339.
    pub created: &'a str,
    /// A service manager waits to hear that the container is ready.
    pub notify: bool,
}

/// Something launch opens before the clone and puts into a slot.
pub struct Open {
    pub slot: Slot,
    /// The field it comes from, for messages.
    pub field: String,
    pub what: What,
    pub when: When,
}

/// When launch opens something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before anything is made.
    First,
    /// While the child waits (`Point::Trees`), in its mount namespace. What a user namespace gets must carry the locks that
    /// the kernel sets there (mount_namespaces(7)), and yet be looked up with our rights.
    Child,
}

pub enum What {
    /// A detached copy of a tree, with its attributes set.
    Tree {
        tree: Tree<'static>,
        idmap: Option<Idmap>,
    },
    /// A namespace.
    Namespace { path: &'static CStr },
}

/// An id-mapped mount.
pub struct Idmap {
    pub by: IdmapBy,
    pub recursive: bool,
}

pub enum IdmapBy {
    Mappings(Mappings),
    /// Those of a user namespace that the container joins.
    Namespace(&'static CStr),
}

/// The id mappings of a user namespace.
#[derive(Clone)]
pub struct Mappings {
    pub uid: Mapping,
    pub gid: Mapping,
    /// Without CAP_SETGID one's own gid can be mapped where setgroups(2) is forbidden.
    pub deny_setgroups: bool,
}

#[derive(Clone)]
pub struct Mapping {
    /// As uid_map and gid_map take it, a line for each range.
    pub text: String,
    /// Ids that are not one's own are mapped by newuidmap and newgidmap, which look up whose they are.
    pub helped: bool,
}

/// Everything that is going to happen, in the order it happens.
pub struct Plan {
    pub opens: Vec<Open>,
    /// `CLONE_NEW*` made with the child.
    pub namespaces: u64,
    pub joins: Vec<Join<'static>>,
    pub time: Option<&'static CStr>,
    pub mappings: Option<Mappings>,
    pub steps: Vec<Step<'static>>,
    pub close: Close,
    pub last_steps: Vec<LastStep<'static>>,
    pub slots: u16,
    /// The slots that launch fills by other means than `opens`, besides those of `close`.
    pub console: Option<Slot>,
    pub notify: Option<Slot>,
    /// The container's own cgroup; `None` for none.
    pub cgroup: Option<limits::Cgroup>,
    pub oom_score_adj: Option<i32>,
    /// Of exec alone.
    pub affinity: Affinity,
    pub hooks: Hooks,
    /// What is written down about the container, which has no process yet; empty for exec.
    pub state: State,
    pub warnings: Vec<String>,
}

type IsRequested = fn(&Linux<'_>) -> bool;

/// What the spec can ask for and this program cannot do yet, which is an error and not a surprise.
const MISSING: [(&str, IsRequested); 2] = [
    ("intelRdt", |linux| linux.intel_rdt.is_some()),
    ("netDevices", |linux| !linux.net_devices.is_empty()),
];

/// Whether this field of `linux` is more than refused.
pub fn supports(field: &str) -> bool {
    MISSING.iter().all(|(missing, _)| *missing != field)
}

/// What the parts of the plan build together.
struct Builder<'a> {
    spec: &'a Spec<'a>,
    facts: &'a Facts,
    options: &'a Options<'a>,
    namespaces: Namespaces,
    steps: Vec<Step<'static>>,
    last: Vec<LastStep<'static>>,
    opens: Vec<Open>,
    /// Trees that the child copies first of all.
    copies: Vec<Step<'static>>,
    slots: u16,
    warnings: Vec<String>,
    /// The null device, where paths are masked.
    null: Option<Slot>,
    /// The private procfs, once a step needs it.
    procfs: Option<Slot>,
    /// The mounts that become read-only when everything in them is in place, and where they are.
    read_only: Vec<(Slot, &'static CStr)>,
    /// Where the root is on the host.
    rootfs: String,
    /// It is the container's first process that is started, not one more.
    starts: bool,
    /// The directory of the socket that it tells on when it is ready.
    notify: Option<Slot>,
}

impl Plan {
    /// What the child does.
    pub fn walk(&self) -> Steps<'_> {
        Steps {
            first: &self.steps,
            close: self.close,
            last: &self.last_steps,
        }
    }
}

/// Makes the plan, or says what is wrong with config.json.
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
    b.root(cgroup.as_ref().map(|cgroup| cgroup.path.as_str()))?;
    b.notify_socket();
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
    // Not for the container's first process, but a wrong list is told of at once.
    affinity(spec.process.as_ref())?;
    let hooks = Hooks::new(&spec.hooks)?;
    let state = b.state(cgroup.as_ref(), &hooks);
    Ok(Plan {
        namespaces: b.namespaces.flags(),
        joins,
        time,
        mappings,
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

/// The plan of `exec`: one more process, `spec.process`, in the namespaces of a container whose first process
/// is behind the pidfd in slot 0.
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
        steps: b.steps,
        close,
        last_steps: b.last,
        slots: b.slots,
        console,
        notify: None,
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
            notify: None,
        }
    }

    fn refuse_what_is_missing(&self) -> Result<()> {
        match MISSING
            .iter()
            .find(|(_, is_requested)| is_requested(&self.spec.linux))
        {
            Some((field, _)) => fail!("config.json: linux.{field}: not supported yet"),
            None => Ok(()),
        }
    }

    /// The container's own cgroup, unless the driver makes none.
    fn cgroup(&self) -> Result<Option<limits::Cgroup>> {
        let (spec, id) = (self.spec, self.options.id);
        let path = spec.linux.cgroups_path.as_deref();
        let (path, unit) = match self.options.cgroups {
            Driver::Disabled => (None, None),
            Driver::Cgroupfs => (Some(limits::path(path, id)?), None),
            Driver::Systemd(root) => {
                let unit = Unit::new(root, path, id, &spec.annotations)?;
                (Some(unit.path()?), Some(unit))
            }
        };
        let limits = match &spec.linux.resources {
            Some(resources) => Limits::new(self.facts, resources)?,
            None => Limits::default(),
        };
        Ok(path.map(|path| limits::Cgroup {
            path,
            unit,
            owner: self.cgroup_owner(),
            limits,
        }))
    }

    /// What is written down about the container.
    fn state(&self, cgroup: Option<&limits::Cgroup>, hooks: &Hooks) -> State {
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
            cgroup: cgroup.map(|cgroup| cgroup.path.clone()),
            unit: cgroup
                .and_then(|cgroup| cgroup.unit.as_ref())
                .map(|unit| unit.name.clone()),
            poststart: hooks.poststart.clone(),
            poststop: hooks.poststop.clone(),
            no_new_keyring: self.options.no_new_keyring,
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
        // `check_numbers` tells of too many.
        self.slots = slot.saturating_add(1);
        slot
    }

    /// Steps and slots have numbers of 16 bits, of which the last stands for all that are too many.
    fn check_numbers(&self) -> Result<()> {
        let fits = |count| count < usize::from(u16::MAX);
        if !fits(self.steps.len()) || !fits(usize::from(self.slots)) {
            fail!("config.json: it takes more than 65534 steps, or as many descriptors");
        }
        Ok(())
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

    /// The slot of the private procfs; the first who asks makes the step.
    fn procfs(&mut self) -> Slot {
        if let Some(slot) = self.procfs {
            return slot;
        }
        let slot = self.slot();
        self.steps.push(Step::Open(slot, step::Open::Procfs));
        self.procfs = Some(slot);
        slot
    }

    /// Root of the user namespace, whose ids are mapped first if it is new.
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

    /// A session, and a keyring for it.
    fn session(&mut self) -> Result<()> {
        self.steps.push(Step::Set(Setting::Session));
        if !self.options.no_new_keyring {
            let name = format!("_ses.{}", self.options.id);
            let name = leak_text(&name, "the container id")?;
            self.steps.push(Step::Set(Setting::Keyring(name)));
        }
        Ok(())
    }

    /// Loopback, hostname, domainname.
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

/// Strings of the spec as owned pairs.
pub fn owned_pairs(pairs: &[(Cow<'_, str>, Cow<'_, str>)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(k, v)| (k.as_ref().to_owned(), v.as_ref().to_owned()))
        .collect()
}

/// A path of the bundle.
fn absolute(bundle: &str, path: &str) -> String {
    if path.starts_with('/') {
        path.to_owned()
    } else {
        join(bundle, path)
    }
}

/// Keeps a value for the rest of the process: a plan is made once and lives until the exec or the exit.
fn leak<T>(values: Vec<T>) -> &'static [T] {
    Box::leak(values.into_boxed_slice())
}

/// A text of config.json as a C string that lives as long as the plan.
fn leak_text(text: &str, field: &str) -> Result<&'static CStr> {
    match CString::new(text) {
        Ok(text) => Ok(Box::leak(text.into_boxed_c_str())),
        Err(_) => fail!("config.json: {field}: a string with a zero byte"),
    }
}

/// argv or envp, ended as execve wants it.
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
