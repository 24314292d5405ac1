//! What confines the process: the seccomp filter, the labels of security modules, and how it is
//! scheduled. Source: config-linux.md, Seccomp and Personality; config.md, Linux Process.

use super::{Builder, leak_text};
use crate::error::{Result, fail};
use crate::host::has_lsm;
use crate::spec::{Process, Seccomp};
use alloc::format;
use syscalls::calls::SchedAttr;
use syscalls::step::{Filter, Step};

impl Builder<'_> {
    pub fn filter(&mut self, _seccomp: &Seccomp<'_>) -> Result<Filter<'static>> {
        fail!("config.json: linux.seccomp: not yet")
    }

    /// The labels of the next exec, written to the private procfs.
    pub fn labels(&mut self, process: &Process<'_>) -> Result<()> {
        if let Some(profile) = process.apparmor_profile.as_deref().filter(|p| *p != "unconfined") {
            let field = "process.apparmorProfile";
            if !has_lsm("apparmor") {
                fail!("config.json: {field}: this kernel has no AppArmor, found {profile:?}");
            }
            let procfs = self.procfs();
            let value = leak_text(&format!("exec {profile}"), field)?;
            self.steps.push(Step::Label { procfs, path: c"self/attr/apparmor/exec", value });
        }
        if let Some(label) = process.selinux_label.as_deref() {
            let field = "process.selinuxLabel";
            if !has_lsm("selinux") {
                fail!("config.json: {field}: this kernel has no SELinux, found {label:?}");
            }
            let procfs = self.procfs();
            self.steps.push(Step::Label { procfs, path: c"self/attr/exec", value: leak_text(label, field)? });
        }
        Ok(())
    }

    /// Scheduling policy, I/O priority, personality.
    pub fn scheduling(&mut self, process: &Process<'_>) -> Result<()> {
        if let Some(scheduler) = &process.scheduler {
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
                fail!("config.json: process.scheduler.policy: expected SCHED_OTHER, SCHED_FIFO, …, found {:?}", scheduler.policy);
            };
            let mut flags = 0;
            for (n, flag) in scheduler.flags.iter().enumerate() {
                let Some((_, bit)) = FLAGS.iter().find(|(name, _)| name == flag) else {
                    fail!("config.json: process.scheduler.flags[{n}]: unknown flag {flag:?}");
                };
                flags |= bit;
            }
            self.steps.push(Step::Scheduler(SchedAttr {
                size: 0,
                policy: *policy,
                flags,
                nice: scheduler.nice.unwrap_or(0),
                priority: scheduler.priority.unwrap_or(0) as u32,
                runtime: scheduler.runtime.unwrap_or(0),
                deadline: scheduler.deadline.unwrap_or(0),
                period: scheduler.period.unwrap_or(0),
            }));
        }
        if let Some(io) = &process.io_priority {
            const CLASSES: [(&str, u32); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
            let Some((_, class)) = CLASSES.iter().find(|(name, _)| *name == io.class) else {
                fail!("config.json: process.ioPriority.class: expected IOPRIO_CLASS_RT, _BE or _IDLE, found {:?}", io.class);
            };
            if !(0..=7).contains(&io.priority) {
                fail!("config.json: process.ioPriority.priority: expected a number from 0 to 7, found {}", io.priority);
            }
            self.steps.push(Step::IoPriority(class << 13 | io.priority as u32));
        }
        if let Some(personality) = &self.spec.linux.personality {
            let domain = match personality.domain.as_ref() {
                "LINUX" => 0,
                "LINUX32" => 8,
                other => fail!("config.json: linux.personality.domain: expected LINUX or LINUX32, found {other:?}"),
            };
            if let Some(flag) = personality.flags.first() {
                fail!("config.json: linux.personality.flags[0]: no flag is supported, found {flag:?}");
            }
            self.steps.push(Step::Personality(domain));
        }
        Ok(())
    }
}
