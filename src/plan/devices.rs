//! Device nodes and links in /dev: the spec's defaults and linux.devices. A user namespace cannot make nodes,
//! so the host's are bound there. Source: config-linux.md, Devices.

use super::namespaces::Kind;
use super::{Builder, leak_text};
use crate::error::{Result, fail};
use crate::spec::Device as SpecDevice;
use alloc::format;
use core::ffi::CStr;
use linux_raw_sys::general::{S_IFBLK, S_IFCHR, S_IFIFO};
use syscalls::step::{Attributes, Bind, Device, Node, Step, Tree};

const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// The links of runc and of config-linux.md, "Default Devices" and "Dev symbolic links".
const LINKS: [(&str, &str); 6] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
];

impl Builder<'_> {
    /// Adds the nodes of linux.devices, and with `dev_is_ours` the defaults: /dev is not a bind mount.
    pub fn devices(&mut self, dev_is_ours: bool) -> Result<()> {
        let spec = self.spec;
        for (n, device) in spec.linux.devices.iter().enumerate() {
            let field = format!("linux.devices[{n}]");
            let node = device_of(device, &field)?;
            let path = leak_text(&device.path, &format!("{field}.path"))?;
            self.device(path, node)?;
            // The bound device of the host may be another one. This step compares it.
            if !matches!(self.steps.last(), Some(Step::Make(..))) {
                self.steps.push(Step::Make(path, Node::Device(node)));
            }
        }
        if !dev_is_ours {
            return Ok(());
        }
        for (path, major, minor) in DEFAULTS {
            if spec.linux.devices.iter().any(|d| d.path == path) {
                continue;
            }
            let path = leak_text(path, "linux.devices")?;
            let rdev = rustix::fs::makedev(major, minor);
            let device = Device {
                mode: S_IFCHR | 0o666,
                rdev,
                uid: 0,
                gid: 0,
            };
            self.device(path, device)?;
        }
        for (path, target) in LINKS {
            if target == "/proc/kcore" && !self.facts.has_kcore {
                continue;
            }
            let (path, target) = (
                leak_text(path, "linux.devices")?,
                leak_text(target, "linux.devices")?,
            );
            self.steps.push(Step::Make(path, Node::Link(target)));
        }
        Ok(())
    }

    fn device(&mut self, path: &'static CStr, device: Device) -> Result<()> {
        let make = !self.namespaces.has(Kind::User) && !self.facts.in_user_namespace;
        // A FIFO needs no privilege.
        if make || device.mode & S_IFIFO == S_IFIFO {
            self.steps.push(Step::Make(path, Node::Device(device)));
            return Ok(());
        }
        let host = Tree {
            path,
            recursive: false,
            attributes: Attributes::NONE,
        };
        let field = format!("linux.devices: {path:?}");
        let tree = self.tree(field, host, None, true)?;
        self.steps.push(Step::Bind(Bind {
            tree,
            source: path,
            target: path,
            after: Attributes::NONE,
        }));
        Ok(())
    }
}

fn device_of(device: &SpecDevice<'_>, field: &str) -> Result<Device> {
    if !device.path.starts_with('/') {
        fail!(
            "config.json: {field}.path: expected an absolute path, found {:?}",
            device.path
        );
    }
    let kind = match device.kind.as_ref() {
        "c" | "u" => S_IFCHR,
        "b" => S_IFBLK,
        "p" => S_IFIFO,
        other => fail!("config.json: {field}.type: expected c, b, u or p, found {other:?}"),
    };
    let number = |name: &str, number: Option<i64>| match number.map(u32::try_from) {
        Some(Ok(number)) => Ok(number),
        None if kind == S_IFIFO => Ok(0),
        None => fail!("config.json: {field}.{name}: required field is missing"),
        Some(Err(_)) => fail!(
            "config.json: {field}.{name}: expected a device number, found {}",
            number.unwrap_or(0)
        ),
    };
    let (major, minor) = (
        number("major", device.major)?,
        number("minor", device.minor)?,
    );
    // The mode may include the file type, as in stat(2).
    let mode = device.file_mode.unwrap_or(0o666) & 0o7777;
    Ok(Device {
        mode: kind | mode,
        rdev: if kind == S_IFIFO {
            0
        } else {
            rustix::fs::makedev(major, minor)
        },
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}
