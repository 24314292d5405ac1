//! The reader of config.json: the whole runtime-spec 1.3 for Linux, as plain structs that borrow from the file.
//! It is as tolerant as Go's reader (unknown fields, null, empty strings, letter case), and precise about errors.
//!
//! Only types are checked here. The plan checks values: a string that names a constant stays a string, an id may be
//! 4294967295, a path may contain a NUL.
//!
//! An absent field, null and, for an optional string, the empty string are the same: `None`, or an empty list.
//! Numbers that may be unset are `Option`s, so that unset, 0 and -1 remain distinct.

pub mod json;
mod linux;
mod process;
mod resources;
mod seccomp;
pub mod template;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::Result;
pub(crate) use json::object;

#[allow(unused_imports, reason = "the spec's whole vocabulary")]
pub use {linux::*, process::*, resources::*, seccomp::*};

object! {
    /// config.json, <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config.md>
    pub struct Spec<'a> {
        oci_version: Cow<'a, str> = required "ociVersion",
        process: Option<Process<'a>> = "process",
        root: Option<Root<'a>> = "root",
        hostname: Option<Cow<'a, str>> = "hostname",
        domainname: Option<Cow<'a, str>> = "domainname",
        /// In mount order.
        mounts: Vec<Mount<'a>> = "mounts",
        hooks: Hooks<'a> = "hooks",
        annotations: Vec<(Cow<'a, str>, Cow<'a, str>)> = "annotations",
        linux: Linux<'a> = "linux",
    }
}

impl<'a> Spec<'a> {
    /// Reads the text of config.json.
    pub fn read(json: &'a [u8]) -> Result<Self> {
        Self::parse("config.json", json)
    }
}

/// Documents that fill a whole file: `exec --process`, `update --resources`, `seccomp`. Each reader is instantiated
/// once, here, and not in every crate that calls it.
macro_rules! documents {
    ($($name:ident)*) => {$(
        impl<'a> $name<'a> {
            /// Reads one document. Errors refer to it as `file`.
            pub fn parse(file: &str, json: &'a [u8]) -> Result<Self> {
                json::read(file, json)
            }
        }
    )*};
}
documents! { Spec Process ProfileHead Resources Seccomp }

/// Reads a list of strings.
pub fn strings(file: &str, json: &[u8]) -> Result<Vec<String>> {
    json::read(file, json)
}

impl Spec<'_> {
    /// Whether the spec sets a label of a security module. Only then does the plan need to know which modules the
    /// kernel has.
    pub fn names_labels(&self) -> bool {
        let process = self.process.as_ref();
        self.linux.mount_label.is_some()
            || process.is_some_and(|p| p.apparmor_profile.is_some() || p.selinux_label.is_some())
    }
}

object! {
    /// config.md, "Root"
    pub struct Root<'a> {
        /// Absolute, or relative to the bundle.
        path: Cow<'a, str> = required "path",
        readonly: bool = "readonly",
    }
}

object! {
    /// config.md, "Mounts"
    pub struct Mount<'a> {
        destination: Cow<'a, str> = required "destination",
        /// `type` in the file.
        fs_type: Option<Cow<'a, str>> = "type",
        source: Option<Cow<'a, str>> = "source",
        options: Vec<Cow<'a, str>> = "options",
        /// For the options idmap and ridmap. Empty means the container's own mapping.
        uid_mappings: Vec<IdMapping> = "uidMappings",
        gid_mappings: Vec<IdMapping> = "gidMappings",
    }
}

object! {
    /// config.md, "POSIX-platform Hooks"
    pub struct Hooks<'a> {
        prestart: Vec<Hook<'a>> = "prestart",
        create_runtime: Vec<Hook<'a>> = "createRuntime",
        create_container: Vec<Hook<'a>> = "createContainer",
        start_container: Vec<Hook<'a>> = "startContainer",
        poststart: Vec<Hook<'a>> = "poststart",
        poststop: Vec<Hook<'a>> = "poststop",
    }
}

object! {
    /// One hook.
    pub struct Hook<'a> {
        path: Cow<'a, str> = required "path",
        /// Including argv[0], as for execv(3).
        args: Vec<Cow<'a, str>> = "args",
        env: Vec<Cow<'a, str>> = "env",
        /// In seconds.
        timeout: Option<i64> = "timeout",
    }
}
