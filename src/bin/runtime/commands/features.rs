//! `features`: the features of this program, for engines (features.md, features-linux.md). The lists are those that
//! the plan uses. The host affects only the flags of seccomp.

use super::print;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bpf::{Action, Arch, Operator};
use runtime::error::{Error, Result};
use runtime::plan::{names, supports};
use runtime::state::OCI_VERSION;
use serde::Serialize;
use syscalls::calls;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Features<'a> {
    oci_version_min: &'a str,
    oci_version_max: &'a str,
    hooks: &'a [&'a str],
    mount_options: Vec<String>,
    linux: Linux<'a>,
    annotations: Annotations<'a>,
    potentially_unsafe_config_annotations: &'a [&'a str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Linux<'a> {
    namespaces: Vec<String>,
    capabilities: Vec<String>,
    cgroup: Cgroup,
    seccomp: Seccomp<'a>,
    apparmor: Enabled,
    selinux: Enabled,
    intel_rdt: Enabled,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
    memory_policy: MemoryPolicy,
}

#[derive(Serialize)]
struct MemoryPolicy {
    modes: Vec<&'static str>,
    flags: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Cgroup {
    v1: bool,
    v2: bool,
    systemd: bool,
    systemd_user: bool,
    rdma: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp<'a> {
    enabled: bool,
    actions: &'a [&'a str],
    operators: &'a [&'a str],
    archs: Vec<&'a str>,
    known_flags: Vec<&'a str>,
    supported_flags: Vec<&'a str>,
}

#[derive(Serialize)]
struct Enabled {
    enabled: bool,
}

#[derive(Serialize)]
struct MountExtensions {
    idmap: Enabled,
}

#[derive(Serialize)]
struct Annotations<'a> {
    #[serde(rename = "runtime.version")]
    version: &'a str,
    #[serde(rename = "runtime.commit")]
    commit: &'a str,
}

/// Whether systemd, the system's or a user's, can create cgroups.
const SYSTEMD: bool = true;

pub fn run() -> Result<i32> {
    let enabled = |enabled| Enabled { enabled };
    let [modes, flags] = names::memory_policies();
    let features = Features {
        oci_version_min: "1.0.0",
        oci_version_max: OCI_VERSION,
        hooks: &[
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        ],
        mount_options: names::mount_options(),
        linux: Linux {
            namespaces: names::namespaces(),
            capabilities: names::capabilities(),
            cgroup: Cgroup {
                v1: true,
                v2: true,
                systemd: SYSTEMD,
                systemd_user: SYSTEMD,
                rdma: true,
            },
            seccomp: Seccomp {
                enabled: true,
                actions: &Action::NAMES,
                operators: &Operator::NAMES,
                archs: Arch::ALL.iter().map(|arch| arch.name()).collect(),
                known_flags: names::seccomp_flags(|_| true),
                supported_flags: names::seccomp_flags(calls::seccomp_knows),
            },
            apparmor: enabled(true),
            selinux: enabled(true),
            intel_rdt: enabled(supports("intelRdt")),
            mount_extensions: MountExtensions {
                idmap: enabled(true),
            },
            net_devices: enabled(true),
            memory_policy: MemoryPolicy { modes, flags },
        },
        annotations: Annotations {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("RUNTIME_COMMIT"),
        },
        // Annotations can set any property of the scope (systemd.rs; the dot makes this a prefix), pass options to
        // criu, and keep groups of the caller.
        potentially_unsafe_config_annotations: &[
            "org.systemd.property.",
            "org.criu.config",
            "run.oci.keep_original_groups",
        ],
    };
    let json = serde_json::to_string_pretty(&features).map_err(|e| Error::new(e.to_string()))?;
    print(&(json + "\n"))
}
