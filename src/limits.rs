//! Converts `linux.resources` and `linux.cgroupsPath` into the cgroup of a plan: its path, the values of its files,
//! and its device rules. Nothing is computed again later. Source: config-linux.md, Control groups.

pub mod devices;
mod limit;
pub mod systemd;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use crate::error::{Error, Result, fail};
use crate::facts::{Cgroups, Facts, Location};
use crate::spec::{Cpu, Memory, Resources, WeightDevice};
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devices::Filter;
pub use limit::{Absent, Current, Limit, Read};
use systemd::Unit;

/// The component that creates the cgroup (`--cgroup-manager`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// None: the container stays in the runtime's cgroup.
    Disabled,
    Cgroupfs,
    /// systemd. Its slices are below this cgroup; empty for the system's instance.
    Systemd(String),
}

/// The container's cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// The existing cgroup below which it is made: the root, unless config.json has no absolute path.
    pub base: Location,
    /// The path below `base`: begins with `/`, without `.` or `..`.
    pub path: String,
    /// config.json has a path, so the cgroup is required.
    pub named: bool,
    /// The scope, if systemd creates the cgroup.
    pub unit: Option<Unit>,
    /// The uid on the host that becomes the owner of the cgroup.
    pub owner: Option<u32>,
    pub limits: Limits,
}

impl Cgroup {
    pub fn place(&self) -> Location {
        self.base.below(&self.path)
    }
}

/// The limits of a cgroup, in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub values: Vec<Limit>,
    /// The device rules for systemd. `None` if the spec has none.
    pub rules: Option<Vec<bpf::DeviceRule>>,
    /// The device rules for the kernel. `None` also if the caller is not the host's root and so cannot set any.
    pub devices: Option<Filter>,
}

impl Limits {
    /// The limits of a new cgroup.
    ///
    /// Errors name the field of config.json.
    pub fn new(facts: &Facts, resources: &Resources<'_>) -> Result<Self> {
        Self::fitted(&facts.cgroups, facts.is_root(), resources, &Current(None)).map_err(of_config)
    }

    /// The new limits of an existing cgroup, fitted to its present values, which `current` reads. `root`: the caller
    /// is the host's root.
    ///
    /// Errors name the field below `linux.resources`.
    pub fn fitted(
        cgroups: &Cgroups,
        root: bool,
        resources: &Resources<'_>,
        current: &Current<'_>,
    ) -> Result<Self> {
        let values = match cgroups {
            Cgroups::V2 => v2::limits(resources, current),
            Cgroups::V1(_) => v1::limits(resources, current),
        }?;
        if resources.devices.is_empty() {
            return Ok(Self {
                values,
                ..Self::default()
            });
        }
        let rules = devices::rules(&resources.devices)?;
        let filter = devices::filter(cgroups, &rules)?;
        Ok(Self {
            values,
            rules: Some(rules),
            devices: root.then_some(filter),
        })
    }
}

/// A warning for each limit of kernel memory, which runc ignores as well (config-linux.md, Memory: not recommended).
pub fn ignored(memory: &Memory) -> impl Iterator<Item = String> {
    let limits = [("kernel", memory.kernel), ("kernelTCP", memory.kernel_tcp)];
    let given = limits
        .into_iter()
        .filter(|(_, n)| n.is_some_and(|n| n != 0));
    given.map(|(field, _)| {
        format!("linux.resources.memory.{field}: left out: the kernel has no such limit any more")
    })
}

/// Completes the path in errors of this module, which name fields below `linux.resources`.
pub fn of_config(error: Error) -> Error {
    Error::new(format!("config.json: linux.resources.{error}"))
}

/// Whether the cgroup's path starts at the caller's cgroup, so that the caller's limits hold for the container.
/// config-linux.md lets the runtime choose where a relative path starts.
pub fn starts_at_caller(cgroups_path: Option<&str>) -> bool {
    cgroups_path.is_none_or(|path| !path.starts_with('/'))
}

/// The path: begins with `/`, without `.` or `..`.
pub fn path(cgroups_path: Option<&str>, id: &str) -> Result<String> {
    let Some(path) = cgroups_path else {
        return Ok(format!("/{id}"));
    };
    let clean = clean(path, "config.json: linux.cgroupsPath")?;
    if clean.is_empty() {
        fail!(
            "config.json: linux.cgroupsPath: the root cgroup cannot be a container's, found {path:?}"
        );
    }
    Ok(clean)
}

pub fn clean(path: &str, place: &str) -> Result<String> {
    let mut clean = String::new();
    for name in path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
    {
        if name == ".." {
            fail!("{place}: {path} is not a sub cgroup path: \"..\" leads out of it");
        }
        clean.push('/');
        clean.push_str(name);
    }
    Ok(clean)
}

/// Converts the `pids` limit of the spec: negative means no limit, and 0 allows no fork.
fn pids_max(limit: i64) -> String {
    match limit {
        ..0 => "max".to_owned(),
        // With pids.max 0 the init could not be cloned into the cgroup. With 1 it can, but it cannot fork.
        0 => "1".to_owned(),
        n => format!("{n}"),
    }
}

fn cpuset(cpu: &Cpu<'_>, limits: &mut Vec<Limit>) {
    limit::texts(
        limits,
        &[
            ("cpuset.cpus", cpu.cpus.as_deref(), "cpu.cpus"),
            ("cpuset.mems", cpu.mems.as_deref(), "cpu.mems"),
        ],
    );
}

/// Limits of huge pages, by page size. The files for reservations are newer and may be missing.
fn hugepages(resources: &Resources<'_>, files: [&str; 2], limits: &mut Vec<Limit>) -> Result<()> {
    for (n, page) in resources.hugepage_limits.iter().enumerate() {
        let field = format!("hugepageLimits[{n}]");
        let size = &page.page_size;
        let digits = size.trim_end_matches("KB").trim_end_matches("MB");
        let digits = digits.trim_end_matches("GB");
        let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_number || digits.len() + 2 != size.len() || digits.starts_with('0') {
            fail!("{field}.pageSize: expected a size such as 2MB, found {size:?}");
        }
        let [now, reserved] = files.map(|file| format!("hugetlb.{size}.{file}"));
        let (field, value) = (Cow::from(field), page.limit.to_string());
        limits.push(Limit::of(now.into(), value.clone(), field.clone()));
        limits.push(Limit::of(reserved.into(), value, field).or_ignored());
    }
    Ok(())
}

fn rdma(resources: &Resources<'_>, limits: &mut Vec<Limit>) -> Result<()> {
    for (device, limit) in &resources.rdma {
        let field = format!("rdma[{device:?}]");
        if device.is_empty() || device.contains(char::is_whitespace) {
            fail!("{field}: expected the name of a device");
        }
        let mut value = device.as_ref().to_owned();
        for (name, n) in [
            ("hca_handle", limit.hca_handles),
            ("hca_object", limit.hca_objects),
        ] {
            if let Some(n) = n {
                value += &format!(" {name}={n}");
            }
        }
        if value.len() == device.len() {
            fail!("{field}: needs hcaHandles or hcaObjects");
        }
        limits.push(Limit::of("rdma.max".into(), value, field.into()).keyed());
    }
    Ok(())
}

/// Checks a weight of blockIO. 0 means unset.
fn io_weight(weight: Option<u16>, field: &str) -> Result<Option<u16>> {
    match weight {
        None | Some(0) => Ok(None),
        Some(weight @ 10..=1000) => Ok(Some(weight)),
        Some(weight) => fail!("{field}: expected a number from 10 to 1000, found {weight}"),
    }
}

/// Refuses an entry of blockIO.weightDevice that sets no weight. Returns its field.
fn weighted(device: &WeightDevice, n: usize) -> Result<String> {
    let field = format!("blockIO.weightDevice[{n}]");
    match device.weight.max(device.leaf_weight) {
        None | Some(0) => fail!("{field}: needs weight or leafWeight"),
        Some(_) => Ok(field),
    }
}

/// `MAJOR:MINOR` of a block device.
fn device_number(major: i64, minor: i64, field: &str) -> Result<String> {
    match (u32::try_from(major), u32::try_from(minor)) {
        (Ok(major), Ok(minor)) => Ok(format!("{major}:{minor}")),
        _ => fail!("{field}: expected the numbers of a device, found {major}:{minor}"),
    }
}
