//! The container's socket for its readiness message (sd_notify(3)).

use super::Builder;
use super::namespaces::Kind;
use core::ffi::CStr;
use syscalls::step::{Attributes, Bind, Step};

/// The directory of the socket, in the container's state directory.
pub const DIRECTORY: &CStr = c"notify";
/// The mount point of this directory in the container.
pub const TARGET: &CStr = c"/run/notify";
/// The variable in the environment of the process.
pub const VARIABLE: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

impl Builder<'_> {
    /// Binds the directory of the notify socket, unless the container's environment already sets NOTIFY_SOCKET.
    pub fn notify_socket(&mut self) {
        let process = self.spec.process.as_ref();
        let seen_to = process.is_none_or(|p| p.env.iter().any(|e| e.starts_with("NOTIFY_SOCKET=")));
        if !self.options.notify || seen_to || !self.namespaces.is_new(Kind::Mount) {
            return;
        }
        let tree = self.slot();
        self.steps.push(Step::Bind(Bind {
            tree,
            source: DIRECTORY,
            target: TARGET,
            after: Attributes::NONE,
        }));
        self.notify = Some(tree);
    }
}
