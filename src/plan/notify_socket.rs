//! The container's socket for its readiness message (sd_notify(3)).

use super::mounts::{NOSUID_NODEV_NOEXEC, RDONLY};
use super::namespaces::Kind;
use super::{Builder, Open, What, When, leak_text};
use crate::error::Result;
use alloc::borrow::ToOwned;
use core::ffi::CStr;
use linux_raw_sys::general::MS_PRIVATE;
use syscalls::calls::MountAttr;
use syscalls::step::{self, Attributes, Bind, Step, Tree};

/// The directory of the socket, in the container's state directory.
pub const DIRECTORY: &CStr = c"notify";
/// The mount point of this directory in the container.
pub const TARGET: &CStr = c"/run/notify";
/// The variable in the environment of the process.
pub const VARIABLE: &str = "NOTIFY_SOCKET=/run/notify/notify.sock";

impl Builder<'_> {
    /// Binds the directory of the notify socket, unless the container's environment already sets NOTIFY_SOCKET.
    /// Launch makes the directory after it has opened what comes first, so the copy is made later.
    pub fn notify_socket(&mut self) -> Result<()> {
        let process = self.spec.process.as_ref();
        let seen_to = process.is_none_or(|p| p.env.iter().any(|e| e.starts_with("NOTIFY_SOCKET=")));
        let Some(path) = self.options.notify else {
            return Ok(());
        };
        if seen_to || !self.namespaces.is_new(Kind::Mount) {
            return Ok(());
        }
        let field = "NOTIFY_SOCKET";
        let path = leak_text(path, field)?;
        let own = MountAttr {
            set: RDONLY | NOSUID_NODEV_NOEXEC,
            propagation: u64::from(MS_PRIVATE),
            ..MountAttr::NONE
        };
        let attributes = Attributes {
            own,
            tree: MountAttr::NONE,
        };
        let tree = Tree {
            path,
            recursive: false,
            attributes,
        };
        let slot = self.slot();
        if self.namespaces.has(Kind::User) && self.facts.may_mount {
            self.opens.push(Open {
                slot,
                field: field.to_owned(),
                what: What::Tree {
                    tree,
                    idmap: None,
                    root: None,
                },
                when: When::Child,
            });
        } else {
            let in_root = false;
            let open = step::Open::Tree {
                field,
                tree,
                in_root,
            };
            self.steps.push(Step::Open(slot, open));
        }
        self.steps.push(Step::Bind(Bind {
            tree: slot,
            source: path,
            target: TARGET,
            after: Attributes::NONE,
        }));
        self.notify = true;
        Ok(())
    }
}
