//! Settings that survive execve(2), each made by one system call without a descriptor or a path.

use super::Walked;
use crate::calls;
use crate::report::{At, Call};
use crate::step::{Rlimit, Setting};
use rustix::fs::Mode;
use rustix::io::Errno;

pub fn set(setting: &Setting<'_>) -> Walked {
    match setting {
        Setting::Session => rustix::process::setsid().map(drop).at(Call::setsid),
        Setting::Keyring(name) => match calls::keyctl_join_session_keyring(name) {
            // The kernel has no keyrings, or an outer filter forbids them to the process as well.
            Err(Errno::NOSYS | Errno::PERM) => Ok(()),
            joined => joined.at(Call::keyctl),
        },
        Setting::Hostname(name) => {
            rustix::system::sethostname(name.to_bytes()).at(Call::sethostname)
        }
        Setting::Domainname(name) => {
            rustix::system::setdomainname(name.to_bytes()).at(Call::setdomainname)
        }
        Setting::Umask(mask) => {
            rustix::process::umask(Mode::from_raw_mode(*mask));
            Ok(())
        }
        Setting::Limits(limits) => limits.iter().try_for_each(limit),
        Setting::Personality(persona) => calls::personality(*persona).at(Call::personality),
        Setting::Scheduler(attr) => calls::sched_setattr(attr).at(Call::sched_setattr),
        Setting::IoPriority(priority) => calls::ioprio_set(*priority).at(Call::ioprio_set),
        Setting::MemoryPolicy { mode, nodes } => {
            calls::set_mempolicy(*mode, nodes).at(Call::set_mempolicy)
        }
        Setting::NoNewPrivileges => rustix::thread::set_no_new_privs(true).at(Call::prctl),
        Setting::Signals => {
            calls::default_signals();
            calls::set_signal_mask(0);
            Ok(())
        }
    }
}

fn limit(limit: &Rlimit) -> Walked {
    let new = rustix::process::Rlimit {
        current: limit.soft,
        maximum: limit.hard,
    };
    rustix::process::setrlimit(limit.resource, new).at(Call::prlimit)
}
