//! Sets the identity of the process: first root of its user namespace, later the user, groups and capabilities
//! of the spec, in the order that the kernel requires (credentials(7), capabilities(7)).

use super::{Child, Walked, die_with_parent, stay_closed};
use crate::report::{At, Call};
use crate::step::Identity;
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

impl Child<'_> {
    pub fn container_root(&self) -> Walked {
        let (gid, uid) = (Gid::ROOT, Uid::ROOT);
        // EINVAL: the namespace does not map root, so the ids stay.
        match rustix::thread::set_thread_res_gid(gid, gid, gid) {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => return Err(e).at(Call::setresgid),
        }
        match rustix::thread::set_thread_res_uid(uid, uid, uid) {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => return Err(e).at(Call::setresuid),
        }
        stay_closed()?;
        die_with_parent()
    }
}

pub fn become_user(identity: &Identity<'_>) -> Walked {
    let sets = &identity.capabilities;
    for capability in 0..=identity.last_capability {
        let bit = CapabilitySet::from_bits_retain(1 << capability);
        if sets.bounding >> capability & 1 == 0 {
            match rustix::thread::remove_capability_from_bounding_set(bit) {
                // Without CAP_SETPCAP, the capability may already be absent.
                Err(Errno::PERM)
                    if rustix::thread::capability_is_in_bounding_set(bit) == Ok(false) => {}
                other => other.at(Call::prctl)?,
            }
        }
    }
    rustix::thread::set_keep_capabilities(true).at(Call::prctl)?;
    if let Some(groups) = identity.groups {
        match rustix::thread::set_thread_groups(groups) {
            // The process has every capability in a user namespace that it has joined, so EPERM comes from its
            // own setgroups "deny". The caller's unmapped groups stay, and nothing can drop them.
            Err(Errno::PERM) if identity.groups_may_be_denied => {}
            other => other.at(Call::setgroups)?,
        }
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    rustix::thread::set_thread_res_gid(gid, gid, gid).at(Call::setresgid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).at(Call::setresuid)?;
    stay_closed()?;
    let set = CapabilitySet::from_bits_retain;
    let caps = CapabilitySets {
        effective: set(sets.effective),
        permitted: set(sets.permitted),
        inheritable: set(sets.inheritable),
    };
    rustix::thread::set_capabilities(None, caps).at(Call::capset)?;
    rustix::thread::clear_ambient_capability_set().at(Call::prctl)?;
    for capability in 0..=identity.last_capability {
        if sets.ambient >> capability & 1 == 1 {
            rustix::thread::configure_capability_in_ambient_set(set(1 << capability), true)
                .at(Call::prctl)?;
        }
    }
    Ok(())
}
