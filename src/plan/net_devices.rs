//! Network devices that move from the caller's network namespace into the container's. Source: config-linux.md,
//! Network Devices.

use super::Builder;
use super::names::sorted;
use super::namespaces::Kind;
use crate::error::{Result, fail};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use syscalls::step::{Point, Step};

/// A network device to move.
pub struct NetDevice {
    /// Its name outside the container.
    pub name: String,
    /// Its name in the container, if it is another. `%d` at the end stands for a number that the kernel chooses.
    pub new_name: Option<String>,
}

impl NetDevice {
    /// The field of config.json with its name in the container.
    pub fn field(&self) -> String {
        match &self.new_name {
            Some(_) => format!("linux.netDevices.{}.name", self.name),
            None => format!("linux.netDevices.{}", self.name),
        }
    }

    pub fn final_name(&self) -> &str {
        self.new_name.as_ref().unwrap_or(&self.name)
    }
}

impl Builder<'_> {
    /// Plans the move of the network devices.
    pub fn net_devices(&mut self) -> Result<Vec<NetDevice>> {
        let given = &self.spec.linux.net_devices;
        if given.is_empty() {
            return Ok(Vec::new());
        }
        if !self.namespaces.has(Kind::Network) {
            fail!(
                "config.json: linux.netDevices: needs a namespace of type \"network\" in linux.namespaces"
            );
        }
        if !self.facts.privileged {
            fail!("config.json: linux.netDevices: an ordinary user cannot move network devices");
        }
        let mut devices: Vec<NetDevice> = Vec::new();
        for (name, device) in given {
            if !is_valid(name) {
                fail!(
                    "config.json: linux.netDevices: expected the name of a network device, found {name:?}"
                );
            }
            let device = NetDevice {
                name: name.as_ref().to_owned(),
                new_name: device.name.as_deref().map(str::to_owned),
            };
            let new = device.final_name();
            if !is_valid(new.strip_suffix("%d").unwrap_or(new)) || new.len() > LENGTH_MAX {
                fail!(
                    "config.json: {}: expected the name of a network device, found {new:?}",
                    device.field()
                );
            }
            devices.push(device);
        }
        type Name = fn(&NetDevice) -> &str;
        for name in [|device| &device.name, NetDevice::final_name] as [Name; 2] {
            let names = sorted(devices.iter().map(|device| name(device).to_owned()));
            let twice = names
                .windows(2)
                .find(|two| two[0] == two[1] && !two[0].contains('%'));
            let second = twice.and_then(|two| devices.iter().rfind(|d| name(d) == two[0]));
            if let Some(device) = second {
                fail!(
                    "config.json: {}: there already is a network device {:?}",
                    device.field(),
                    name(device)
                );
            }
        }
        self.steps.push(Step::Meet(Point::NetDevices));
        Ok(devices)
    }
}

/// IFNAMSIZ without the zero byte.
const LENGTH_MAX: usize = 15;

/// Whether the kernel accepts the name (dev_valid_name), and does not take it for a template.
fn is_valid(name: &str) -> bool {
    let forbidden = |c: char| c.is_whitespace() || matches!(c, '/' | ':' | '%' | '\0' | '\x0b');
    !matches!(name, "" | "." | "..") && name.len() <= LENGTH_MAX && !name.contains(forbidden)
}
