//! Kernel parameters. Each must belong to a namespace of the container. Source: config-linux.md, Sysctl.

use super::namespaces::Kind;
use super::{Builder, leak_text};
use crate::error::{Result, fail};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::vec::Vec;
use syscalls::step::Step;

impl Builder<'_> {
    /// Plans the writes of kernel parameters.
    pub fn sysctls(&mut self) -> Result<()> {
        let spec = self.spec;
        for (name, value) in &spec.linux.sysctl {
            let field = format!("linux.sysctl.{name}");
            // Dots and slashes are interchangeable (sysctl(8)). The first one determines the separator.
            let path = match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
                Some(b'/') => name.as_ref().to_owned(),
                _ => name
                    .split('/')
                    .map(|part| part.replace('.', "/"))
                    .collect::<Vec<_>>()
                    .join("."),
            };
            if path.split('/').any(|name| matches!(name, "" | "." | "..")) {
                fail!("config.json: {field}: not the name of a kernel parameter");
            }
            let ipc = [
                "msgmax",
                "msgmnb",
                "msgmni",
                "sem",
                "shmall",
                "shmmax",
                "shmmni",
                "shm_rmid_forced",
            ];
            let needed = match path.split_once('/') {
                Some(("net", _)) => Kind::Network,
                Some(("kernel", "domainname")) => Kind::Uts,
                Some(("kernel", "hostname")) => fail!("config.json: {field}: set hostname instead"),
                Some(("kernel", rest)) if ipc.contains(&rest) => Kind::Ipc,
                Some(("fs", rest)) if rest.starts_with("mqueue/") => Kind::Ipc,
                Some(("user", _)) => Kind::User,
                _ => fail!(
                    "config.json: {field}: this kernel parameter is not of a namespace, so it would be the host's"
                ),
            };
            if !self.namespaces.has(needed) {
                let name = format!("{needed:?}").to_ascii_lowercase();
                fail!(
                    "config.json: {field}: needs a namespace of type {name:?} in linux.namespaces"
                );
            }
            let procfs = self.procfs();
            let path = leak_text(&format!("sys/{path}"), &field)?;
            self.steps.push(Step::Write {
                procfs,
                path,
                value: leak_text(value, &field)?,
                field: field.leak(),
            });
        }
        Ok(())
    }
}
