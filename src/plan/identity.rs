//! The identity of the process: user, groups, capabilities and resource limits. Source: config.md, User,
//! Capabilities and POSIX process.

use super::names::one_of;
use super::namespaces::{Kind, maps};
use super::{Builder, leak};
use crate::error::{Result, fail};
use crate::facts::Facts;
use crate::spec::{Process, Rlimit as SpecRlimit};
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bpf::first_of_each;
use rustix::process::{Gid, Resource};
use syscalls::step::{Capabilities, Identity, Rlimit};
pub use syscalls::words::CAPABILITIES;

/// The resources of setrlimit(2), without RLIMIT_.
const RESOURCES: [(&str, Resource); 16] = [
    ("RLIMIT_AS", Resource::As),
    ("RLIMIT_CORE", Resource::Core),
    ("RLIMIT_CPU", Resource::Cpu),
    ("RLIMIT_DATA", Resource::Data),
    ("RLIMIT_FSIZE", Resource::Fsize),
    ("RLIMIT_LOCKS", Resource::Locks),
    ("RLIMIT_MEMLOCK", Resource::Memlock),
    ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
    ("RLIMIT_NICE", Resource::Nice),
    ("RLIMIT_NOFILE", Resource::Nofile),
    ("RLIMIT_NPROC", Resource::Nproc),
    ("RLIMIT_RSS", Resource::Rss),
    ("RLIMIT_RTPRIO", Resource::Rtprio),
    ("RLIMIT_RTTIME", Resource::Rttime),
    ("RLIMIT_SIGPENDING", Resource::Sigpending),
    ("RLIMIT_STACK", Resource::Stack),
];

/// For setresuid(2) this value means "no change", so it is no valid id.
const NO_ID: u32 = u32::MAX;
/// The kernel's NGROUPS_MAX.
const GROUPS_MAX: usize = 65_536;

impl Builder<'_> {
    pub fn identity(&mut self, process: &Process<'_>) -> Result<Identity<'static>> {
        let user = &process.user;
        let groups = user.additional_gids.iter().enumerate();
        let linux = &self.spec.linux;
        let mapped = self.namespaces.is_new(Kind::User);
        let check = |field: String, id: u32, mappings| {
            if id == NO_ID {
                fail!("config.json: process.user.{field}: {id} is not an id");
            }
            if mapped && !maps(mappings, id) {
                fail!(
                    "config.json: process.user.{field}: {id} is not mapped in the user namespace"
                );
            }
            Ok(())
        };
        // An annotation of crun. Podman sets it for --group-add keep-groups.
        let kept = self.is_annotated("run.oci.keep_original_groups");
        let denied = self.setgroups_is_denied();
        if denied && !kept && !user.additional_gids.is_empty() {
            fail!(
                "config.json: process.user.additionalGids: cannot set any additional groups: the user namespace forbids it where no gid but one's own is mapped"
            );
        }
        if user.additional_gids.len() > GROUPS_MAX {
            fail!(
                "config.json: process.user.additionalGids: expected at most {GROUPS_MAX}, found {}",
                user.additional_gids.len()
            );
        }
        check("uid".into(), user.uid, &linux.uid_mappings)?;
        check("gid".into(), user.gid, &linux.gid_mappings)?;
        for (n, gid) in groups {
            check(format!("additionalGids[{n}]"), *gid, &linux.gid_mappings)?;
        }
        let groups = user.additional_gids.iter();
        Ok(Identity {
            uid: user.uid,
            gid: user.gid,
            groups: (!denied && !kept)
                .then(|| leak(groups.map(|gid| Gid::from_raw(*gid)).collect())),
            groups_may_be_denied: user.additional_gids.is_empty()
                && self.namespaces.has(Kind::User)
                && (!self.starts || self.namespaces.is_joined(Kind::User)),
            capabilities: self.capabilities(process)?,
            last_capability: self.facts.last_capability,
        })
    }

    /// Leaves out the capabilities that we do not have, with a warning (config.md, Linux Process).
    fn left_out(&mut self, sets: &mut Capabilities) {
        let Facts {
            permitted,
            bounding,
            ..
        } = self.facts;
        let mut missing = 0;
        for (set, ours) in [
            (&mut sets.bounding, bounding),
            (&mut sets.effective, permitted),
            (&mut sets.inheritable, permitted),
            (&mut sets.permitted, permitted),
        ] {
            missing |= *set & !ours;
            *set &= ours;
        }
        let names = CAPABILITIES.iter().enumerate();
        let names: Vec<String> = names
            .filter(|(n, _)| missing >> n & 1 == 1)
            .map(|(_, name)| format!("CAP_{name}"))
            .collect();
        if !names.is_empty() {
            let names = names.join(", ");
            self.warnings.push(format!(
                "capabilities that this process does not have are left out: {names}"
            ));
        }
    }

    /// The five sets. A capability that the kernel does not know is left out with a warning, as in runc.
    fn capabilities(&mut self, process: &Process<'_>) -> Result<Capabilities> {
        let Some(sets) = &process.capabilities else {
            return Ok(Capabilities::default());
        };
        let mut unknown: Vec<String> = Vec::new();
        let last = self.facts.last_capability;
        let mut bits = |names: &[Cow<'_, str>]| {
            let mut bits = 0u64;
            for name in names {
                let upper = name.to_ascii_uppercase();
                let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
                match CAPABILITIES.iter().position(|known| *known == plain) {
                    Some(n) if n as u32 <= last => bits |= 1 << n,
                    _ => unknown.push(upper),
                }
            }
            bits
        };
        let mut sets = Capabilities {
            bounding: bits(&sets.bounding),
            effective: bits(&sets.effective),
            inheritable: bits(&sets.inheritable),
            permitted: bits(&sets.permitted),
            ambient: bits(&sets.ambient),
        };
        let mut first = first_of_each(unknown.iter().map(String::as_str)).into_iter();
        unknown.retain(|_| first.next() == Some(true));
        if !unknown.is_empty() {
            self.warnings.push(format!(
                "unknown capabilities are left out: {}",
                unknown.join(", ")
            ));
        }
        // A user namespace gives all of them.
        if !self.namespaces.has(Kind::User) {
            self.left_out(&mut sets);
        }
        let beyond = sets.effective & !sets.permitted;
        if beyond != 0 {
            let name = CAPABILITIES[beyond.trailing_zeros() as usize];
            fail!("config.json: process.capabilities.effective: CAP_{name} is not in permitted");
        }
        // An ambient capability must be permitted and inheritable (capabilities(7)). The default configs of
        // older runtimes request others. Those were never granted, so there is no warning.
        sets.ambient &= sets.permitted & sets.inheritable;
        Ok(sets)
    }
}

pub fn limits(limits: &[SpecRlimit<'_>]) -> Result<&'static [Rlimit]> {
    let mut ready: Vec<Rlimit> = Vec::new();
    for (n, limit) in limits.iter().enumerate() {
        let field = format!("process.rlimits[{n}]");
        let Some((_, resource)) = RESOURCES.iter().find(|(known, _)| *known == limit.resource)
        else {
            fail!(
                "config.json: {field}.type: expected {}, found {:?}",
                one_of(&RESOURCES.map(|r| r.0)),
                limit.resource
            );
        };
        if ready.iter().any(|r| r.resource == *resource) {
            fail!(
                "config.json: {field}: there already is a limit of type {:?}",
                limit.resource
            );
        }
        if limit.soft > limit.hard {
            fail!(
                "config.json: {field}.soft: {} is above the hard limit {}",
                limit.soft,
                limit.hard
            );
        }
        let value = |n: u64| (n != u64::MAX).then_some(n);
        ready.push(Rlimit {
            resource: *resource,
            soft: value(limit.soft),
            hard: value(limit.hard),
        });
    }
    Ok(leak(ready))
}
