//! `features`: what this program and this kernel can do, as engines ask it (features.md, features-linux.md).
//! The lists are those that the plan itself goes by.

use super::print;
use crate::Context;
use crate::error::{Error, Result};
use crate::host::{Cgroups, Host, has_lsm};
use crate::plan::names;
use crate::state::OCI_VERSION;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bpf::{Action, Arch, Operator};
use serde::Serialize;

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
    memory_policy: Enabled,
    mount_extensions: MountExtensions,
    net_devices: Enabled,
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
}

pub fn run(context: &Context<'_>) -> Result<i32> {
    let host = Host::probe(context.start)?;
    let v1 = matches!(&host.cgroups, Cgroups::V1(h) if h.iter().any(|h| !h.is_v2()));
    let v2 = match &host.cgroups {
        Cgroups::V2 => true,
        Cgroups::V1(hierarchies) => hierarchies.iter().any(|h| h.is_v2()),
    };
    let flags = names::seccomp_flags();
    let off = || Enabled { enabled: false };
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
            capabilities: names::capabilities(host.last_capability),
            cgroup: Cgroup {
                v1,
                v2,
                systemd: true,
                systemd_user: true,
                rdma: false,
            },
            seccomp: Seccomp {
                enabled: true,
                actions: &Action::NAMES,
                operators: &Operator::NAMES,
                archs: Arch::ALL.iter().map(|arch| arch.name()).collect(),
                known_flags: flags.clone(),
                supported_flags: flags,
            },
            apparmor: Enabled {
                enabled: has_lsm("apparmor"),
            },
            selinux: Enabled {
                enabled: has_lsm("selinux"),
            },
            intel_rdt: off(),
            memory_policy: off(),
            mount_extensions: MountExtensions {
                idmap: Enabled { enabled: true },
            },
            net_devices: off(),
        },
        annotations: Annotations {
            version: env!("CARGO_PKG_VERSION"),
        },
        potentially_unsafe_config_annotations: &[],
    };
    let json = serde_json::to_string_pretty(&features).map_err(|e| Error::new(e.to_string()))?;
    print(&(json + "\n"))
}
