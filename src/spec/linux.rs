//! `linux` in config.json, except resources and seccomp.
//! Source: <https://github.com/opencontainers/runtime-spec/blob/v1.3.0/config-linux.md>

use alloc::borrow::Cow;
use alloc::vec::Vec;

use super::json::object;
use super::resources::Resources;
use super::seccomp::Seccomp;

object! {
    /// config-linux.md, all sections
    pub struct Linux<'a> {
        namespaces: Vec<Namespace<'a>> = "namespaces",
        uid_mappings: Vec<IdMapping> = "uidMappings",
        gid_mappings: Vec<IdMapping> = "gidMappings",
        /// By clock: `monotonic`, `boottime`.
        time_offsets: Vec<(Cow<'a, str>, TimeOffset)> = "timeOffsets",
        devices: Vec<Device<'a>> = "devices",
        /// Network devices to move into the container, by their name on the host.
        net_devices: Vec<(Cow<'a, str>, NetDevice<'a>)> = "netDevices",
        cgroups_path: Option<Cow<'a, str>> = "cgroupsPath",
        resources: Option<Resources<'a>> = "resources",
        rootfs_propagation: Option<Cow<'a, str>> = "rootfsPropagation",
        seccomp: Option<Seccomp<'a>> = "seccomp",
        sysctl: Vec<(Cow<'a, str>, Cow<'a, str>)> = "sysctl",
        masked_paths: Vec<Cow<'a, str>> = "maskedPaths",
        readonly_paths: Vec<Cow<'a, str>> = "readonlyPaths",
        mount_label: Option<Cow<'a, str>> = "mountLabel",
        intel_rdt: Option<IntelRdt<'a>> = "intelRdt",
        memory_policy: Option<MemoryPolicy<'a>> = "memoryPolicy",
        personality: Option<Personality<'a>> = "personality",
    }
}

object! {
    /// A namespace to create, or to join if it has a path.
    pub struct Namespace<'a> {
        /// `type` in the file: `pid`, `network`, …
        kind: Cow<'a, str> = required "type",
        path: Option<Cow<'a, str>> = "path",
    }
}

object! {
    /// One line of uid_map or gid_map, user_namespaces(7).
    pub struct IdMapping {
        container_id: u32 = required "containerID",
        host_id: u32 = required "hostID",
        size: u32 = required "size",
    }
}

object! {
    /// One line of timens_offsets, time_namespaces(7).
    pub struct TimeOffset {
        secs: i64 = "secs",
        nanosecs: u32 = "nanosecs",
    }
}

object! {
    /// A device node to create.
    pub struct Device<'a> {
        path: Cow<'a, str> = required "path",
        /// `type` in the file: `c`, `b`, `u` or `p`.
        kind: Cow<'a, str> = required "type",
        /// Only a FIFO may omit its numbers.
        major: Option<i64> = "major",
        minor: Option<i64> = "minor",
        file_mode: Option<u32> = "fileMode",
        uid: Option<u32> = "uid",
        gid: Option<u32> = "gid",
    }
}

object! {
    /// The properties of a network device that is moved into the container.
    pub struct NetDevice<'a> {
        /// Its new name.
        name: Option<Cow<'a, str>> = "name",
    }
}

object! {
    /// config-linux.md, "IntelRdt"
    pub struct IntelRdt<'a> {
        clos_id: Option<Cow<'a, str>> = "closID",
        /// Lines for the schemata file.
        schemata: Vec<Cow<'a, str>> = "schemata",
        l3_cache_schema: Option<Cow<'a, str>> = "l3CacheSchema",
        mem_bw_schema: Option<Cow<'a, str>> = "memBwSchema",
        enable_cmt: bool = "enableCMT",
        enable_mbm: bool = "enableMBM",
        enable_monitoring: bool = "enableMonitoring",
    }
}

object! {
    /// The arguments of set_mempolicy(2).
    pub struct MemoryPolicy<'a> {
        mode: Cow<'a, str> = required "mode",
        /// A list of nodes such as `0-3,7`.
        nodes: Option<Cow<'a, str>> = "nodes",
        flags: Vec<Cow<'a, str>> = "flags",
    }
}

object! {
    /// The argument of personality(2).
    pub struct Personality<'a> {
        domain: Cow<'a, str> = required "domain",
        flags: Vec<Cow<'a, str>> = "flags",
    }
}
