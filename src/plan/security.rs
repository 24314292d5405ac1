//! Plans the confinement and scheduling of the process: the seccomp filter, the labels of security modules, the
//! scheduler. Source: config-linux.md, Seccomp and Personality; config.md, Linux Process.

use super::names::one_of;
use super::{Builder, leak, leak_text};
use crate::error::{Error, Result, fail};
use crate::spec::{Process, Seccomp, Spec};
use crate::state::Agent;
use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use bpf::{Action, ActionError, Arch, Condition, Instruction, Operator, Profile, Program, Rule};
use rustix::thread::CpuSet;
use syscalls::CALLS_UNDER_A_FILTER;
use syscalls::calls::{NEW_LISTENER, SchedAttr};
use syscalls::step::{Filter, Setting, Step};

/// `MPOL_*` and `MPOL_F_*` (include/uapi/linux/mempolicy.h).
pub const MEMORY_MODES: [(&str, u32); 7] = [
    ("MPOL_DEFAULT", 0),
    ("MPOL_PREFERRED", 1),
    ("MPOL_BIND", 2),
    ("MPOL_INTERLEAVE", 3),
    ("MPOL_LOCAL", 4),
    ("MPOL_PREFERRED_MANY", 5),
    ("MPOL_WEIGHTED_INTERLEAVE", 6),
];
pub const MEMORY_FLAGS: [(&str, u32); 3] = [
    ("MPOL_F_NUMA_BALANCING", 1 << 13),
    ("MPOL_F_RELATIVE_NODES", 1 << 14),
    ("MPOL_F_STATIC_NODES", 1 << 15),
];

impl Builder<'_> {
    /// Compiles linux.seccomp. Also returns whether a filter that notifies can be loaded before the wait for
    /// `start`, so that its agent gets the listener from `create`, as in runc.
    pub fn filter(&mut self, seccomp: &Seccomp<'_>) -> Result<(Filter<'static>, bool)> {
        let (program, notifies, before_wait) = with_profile(seccomp, SECCOMP, |profile| {
            let notifies = profile
                .rules
                .iter()
                .any(|rule| rule.action == Action::Notify);
            let program = compiled(profile, SECCOMP)?;
            if !program.unknown.is_empty() {
                let names = program.unknown.join(", ");
                if self.is_annotated("run.oci.seccomp_fail_unknown_syscall") {
                    fail!("{SECCOMP}: unknown system calls: {names}");
                }
                self.warnings.push(format!(
                    "linux.seccomp: unknown system calls are left out: {names}"
                ));
            }
            Ok((
                leak(program.instructions.iter().map(word).collect()),
                notifies,
                notifies
                    && CALLS_UNDER_A_FILTER
                        .iter()
                        .all(|name| lets_pass(profile, name)),
            ))
        })?;
        let mut flags = flags(seccomp.flags.as_deref())?;
        match (&seccomp.listener_path, &seccomp.listener_metadata) {
            (None, _) if notifies => {
                fail!("{SECCOMP}.listenerPath: required for SCMP_ACT_NOTIFY")
            }
            (None, Some(_)) => fail!("{SECCOMP}.listenerMetadata: needs listenerPath"),
            _ if notifies => flags |= NEW_LISTENER,
            _ => {}
        }
        if flags & WAIT_KILLABLE_RECV != 0 && !notifies {
            // The kernel refuses it, and libseccomp leaves it out.
            flags &= !WAIT_KILLABLE_RECV;
            self.warnings.push(
                "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV is left out: no rule has SCMP_ACT_NOTIFY"
                    .into(),
            );
        }
        Ok((Filter { program, flags }, before_wait))
    }

    /// Plans the security labels for the next exec, which are written to the private procfs.
    pub fn labels(&mut self, process: &Process<'_>) -> Result<()> {
        if let Some(profile) = process
            .apparmor_profile
            .as_deref()
            .filter(|p| *p != "unconfined")
        {
            let field = "process.apparmorProfile";
            if !self.facts.apparmor {
                fail!("config.json: {field}: this kernel has no AppArmor, found {profile:?}");
            }
            let procfs = self.procfs();
            let value = leak_text(&format!("exec {profile}"), field)?;
            self.steps.push(Step::Write {
                procfs,
                path: c"self/attr/apparmor/exec",
                value,
                field,
            });
        }
        if let Some(label) = process.selinux_label.as_deref() {
            let field = "process.selinuxLabel";
            self.needs_selinux(field, label)?;
            let procfs = self.procfs();
            self.steps.push(Step::Write {
                procfs,
                path: c"self/attr/exec",
                value: leak_text(label, field)?,
                field,
            });
        }
        Ok(())
    }

    /// Refuses an SELinux label on a kernel without SELinux, which would not enforce it.
    pub fn needs_selinux(&self, field: &str, label: &str) -> Result<()> {
        match self.facts.selinux {
            true => Ok(()),
            false => fail!("config.json: {field}: this kernel has no SELinux, found {label:?}"),
        }
    }

    /// Plans the NUMA policy, which survives the exec (set_mempolicy(2)).
    pub fn memory_policy(&mut self) -> Result<()> {
        let Some(policy) = &self.spec.linux.memory_policy else {
            return Ok(());
        };
        const FIELD: &str = "config.json: linux.memoryPolicy";
        let Some((_, mode)) = MEMORY_MODES.iter().find(|m| m.0 == policy.mode) else {
            fail!(
                "{FIELD}.mode: expected {}, found {:?}",
                one_of(&MEMORY_MODES.map(|m| m.0)),
                policy.mode
            );
        };
        let mut mode = *mode;
        for (n, flag) in policy.flags.iter().enumerate() {
            let Some((_, bit)) = MEMORY_FLAGS.iter().find(|(name, _)| name == flag) else {
                fail!(
                    "{FIELD}.flags[{n}]: expected {}, found {flag:?}",
                    one_of(&MEMORY_FLAGS.map(|f| f.0))
                );
            };
            mode |= bit;
        }
        let nodes = match policy.nodes.as_deref().filter(|text| !text.is_empty()) {
            None => Vec::new(),
            Some(text) => match super::affinity::set(text) {
                Some(set) => mask(&set),
                None => {
                    fail!(
                        "{FIELD}.nodes: expected a list of nodes such as \"0-3,7\", found {text:?}"
                    )
                }
            },
        };
        let nodes = leak(nodes);
        let policy = Setting::MemoryPolicy { mode, nodes };
        self.steps.push(Step::Set(policy));
        Ok(())
    }

    /// Plans the scheduling policy, the I/O priority and the personality.
    pub fn scheduling(&mut self, process: &Process<'_>) -> Result<()> {
        self.scheduler(process)?;
        self.io_priority(process)?;
        self.personality()
    }

    fn scheduler(&mut self, process: &Process<'_>) -> Result<()> {
        let Some(scheduler) = &process.scheduler else {
            return Ok(());
        };
        const POLICIES: [(&str, u32); 7] = [
            ("SCHED_OTHER", 0),
            ("SCHED_FIFO", 1),
            ("SCHED_RR", 2),
            ("SCHED_BATCH", 3),
            ("SCHED_ISO", 4),
            ("SCHED_IDLE", 5),
            ("SCHED_DEADLINE", 6),
        ];
        const FLAGS: [(&str, u64); 7] = [
            ("SCHED_FLAG_RESET_ON_FORK", 0x01),
            ("SCHED_FLAG_RECLAIM", 0x02),
            ("SCHED_FLAG_DL_OVERRUN", 0x04),
            ("SCHED_FLAG_KEEP_POLICY", 0x08),
            ("SCHED_FLAG_KEEP_PARAMS", 0x10),
            ("SCHED_FLAG_UTIL_CLAMP_MIN", 0x20),
            ("SCHED_FLAG_UTIL_CLAMP_MAX", 0x40),
        ];
        let Some((_, policy)) = POLICIES.iter().find(|(name, _)| *name == scheduler.policy) else {
            fail!(
                "config.json: process.scheduler.policy: expected {}, found {:?}",
                one_of(&POLICIES.map(|p| p.0)),
                scheduler.policy
            );
        };
        let mut flags = 0;
        for (n, flag) in scheduler.flags.iter().enumerate() {
            let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == flag) else {
                fail!(
                    "config.json: process.scheduler.flags[{n}]: expected {}, found {flag:?}",
                    one_of(&FLAGS.map(|f| f.0))
                );
            };
            flags |= bit;
        }
        let attr = SchedAttr {
            size: 0,
            policy: *policy,
            flags,
            nice: scheduler.nice.unwrap_or(0),
            priority: scheduler.priority.unwrap_or(0) as u32,
            runtime: scheduler.runtime.unwrap_or(0),
            deadline: scheduler.deadline.unwrap_or(0),
            period: scheduler.period.unwrap_or(0),
        };
        self.steps.push(Step::Set(Setting::Scheduler(attr)));
        Ok(())
    }

    fn io_priority(&mut self, process: &Process<'_>) -> Result<()> {
        let Some(io) = &process.io_priority else {
            return Ok(());
        };
        const CLASSES: [(&str, u32); 3] = [
            ("IOPRIO_CLASS_RT", 1),
            ("IOPRIO_CLASS_BE", 2),
            ("IOPRIO_CLASS_IDLE", 3),
        ];
        let Some((_, class)) = CLASSES.iter().find(|(name, _)| *name == io.class) else {
            fail!(
                "config.json: process.ioPriority.class: expected IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE, found {:?}",
                io.class
            );
        };
        if !(0..=7).contains(&io.priority) {
            fail!(
                "config.json: process.ioPriority.priority: expected a number from 0 to 7, found {}",
                io.priority
            );
        }
        let priority = class << 13 | io.priority as u32;
        self.steps.push(Step::Set(Setting::IoPriority(priority)));
        Ok(())
    }

    fn personality(&mut self) -> Result<()> {
        let Some(personality) = &self.spec.linux.personality else {
            return Ok(());
        };
        let domain = match personality.domain.as_ref() {
            "LINUX" => 0,
            "LINUX32" => 8,
            other => fail!(
                "config.json: linux.personality.domain: expected LINUX or LINUX32, found {other:?}"
            ),
        };
        if let Some(flag) = personality.flags.first() {
            fail!("config.json: linux.personality.flags[0]: no flag is supported, found {flag:?}");
        }
        self.steps.push(Step::Set(Setting::Personality(domain)));
        Ok(())
    }
}

const SECCOMP: &str = "config.json: linux.seccomp";

/// Resolves every name of a profile and passes the result to `then`. `place` is the prefix of the field in
/// errors.
pub fn with_profile<'a, R>(
    seccomp: &'a Seccomp<'a>,
    place: &str,
    then: impl FnOnce(&Profile<'_, Cow<'a, str>>) -> Result<R>,
) -> Result<R> {
    let action = |field: &str, name: &str, errno: Option<u32>| {
        Action::from_name(name, errno).map_err(|e| {
            Error::new(match e {
                ActionError::Unknown => format!(
                    "{place}.{field}: expected {}, found {name:?}",
                    one_of(&Action::NAMES)
                ),
                e => format!("{place}.{field}: {e}, found {name:?}"),
            })
        })
    };
    let default = action(
        "defaultAction",
        &seccomp.default_action,
        seccomp.default_errno_ret,
    )?;
    let mut architectures = Vec::with_capacity(seccomp.architectures.len());
    for (n, name) in seccomp.architectures.iter().enumerate() {
        match Arch::from_name(name) {
            Some(arch) => architectures.push(arch),
            None => fail!("{place}.architectures[{n}]: unknown architecture {name:?}"),
        }
    }
    let mut conditions = Vec::with_capacity(seccomp.syscalls.len());
    for (n, syscall) in seccomp.syscalls.iter().enumerate() {
        let mut list = Vec::with_capacity(syscall.args.len());
        for (m, arg) in syscall.args.iter().enumerate() {
            let Some(op) = Operator::from_name(&arg.op) else {
                fail!(
                    "{place}.syscalls[{n}].args[{m}].op: expected {}, found {:?}",
                    one_of(&Operator::NAMES),
                    arg.op
                );
            };
            list.push(Condition {
                index: arg.index,
                value: arg.value,
                value_two: arg.value_two,
                op,
            });
        }
        conditions.push(list);
    }
    let mut rules = Vec::with_capacity(seccomp.syscalls.len());
    for (n, (syscall, conditions)) in seccomp.syscalls.iter().zip(&conditions).enumerate() {
        let action = action(
            &format!("syscalls[{n}].action"),
            &syscall.action,
            syscall.errno_ret,
        )?;
        if syscall.names.is_empty() {
            fail!("{place}.syscalls[{n}].names: expected at least one name, found none");
        }
        rules.push(Rule {
            names: &syscall.names,
            action,
            conditions,
        });
    }
    then(&Profile {
        default,
        architectures: &architectures,
        rules: &rules,
    })
}

/// Compiles a profile. An error names the field.
pub fn compiled<'p>(profile: &Profile<'p, Cow<'_, str>>, place: &str) -> Result<Program<'p>> {
    bpf::compile(profile).map_err(|e| match e.path() {
        path if path.is_empty() => Error::new(format!("{place}: {e}")),
        path => Error::new(format!("{place}.{path}: {e}")),
    })
}

/// Whether a profile allows every call with this name.
fn lets_pass(profile: &Profile<'_, Cow<'_, str>>, name: &str) -> bool {
    let passes = |action: &Action| matches!(action, Action::Allow | Action::Log);
    let mut rules = profile
        .rules
        .iter()
        .filter(|rule| rule.names.iter().any(|n| n == name));
    let named = rules
        .clone()
        .any(|r| passes(&r.action) && r.conditions.is_empty());
    (named || passes(&profile.default)) && rules.all(|rule| passes(&rule.action))
}

/// The agent that receives the listener of a filter that notifies.
pub fn agent(spec: &Spec<'_>) -> Option<Agent> {
    let seccomp = spec.linux.seccomp.as_ref()?;
    let path = seccomp.listener_path.as_deref()?.into();
    let metadata = seccomp
        .listener_metadata
        .as_deref()
        .unwrap_or_default()
        .into();
    Some(Agent { path, metadata })
}

/// `struct sock_filter` as one number, for `syscalls::calls::seccomp`.
pub fn word(i: &Instruction) -> u64 {
    u64::from(i.code) | u64::from(i.jt) << 16 | u64::from(i.jf) << 24 | u64::from(i.k) << 32
}

/// `SECCOMP_FILTER_FLAG_*` (seccomp(2)). TSYNC is accepted without effect, because there is only one thread.
pub const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", 0),
    ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];
const SPEC_ALLOW: u32 = 1 << 2;
const WAIT_KILLABLE_RECV: u32 = 1 << 5;

fn flags(names: Option<&[Cow<'_, str>]>) -> Result<u32> {
    let Some(names) = names else {
        // As in runc, no list means SPEC_ALLOW, which leaves speculation enabled.
        return Ok(SPEC_ALLOW);
    };
    let mut flags = 0;
    for (n, name) in names.iter().enumerate() {
        match FLAGS.iter().find(|(known, _)| known == name) {
            Some((_, flag)) => flags |= flag,
            None => fail!(
                "{SECCOMP}.flags[{n}]: expected {}, found {name:?}",
                one_of(&FLAGS.map(|f| f.0))
            ),
        }
    }
    Ok(flags)
}

/// The mask, with only the words that the highest number needs. The kernel refuses a set bit beyond its number
/// of nodes.
fn mask(set: &CpuSet) -> Vec<u64> {
    let mut words = Vec::new();
    for number in (0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number)) {
        words.resize(number / 64 + 1, 0);
        words[number / 64] |= 1u64 << (number % 64);
    }
    words
}
