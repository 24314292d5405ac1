//! Moves network devices from our network namespace into the container's, with their configured addresses and
//! routes, and back if the start fails: a network namespace that ends destroys its virtual devices. Later, the
//! kernel alone decides what becomes of them (config-linux.md, Network Devices).

use crate::log;
use crate::netlink::Socket;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::error::{During, Error, Result, fail};
use runtime::netlink::{Address, FAMILIES, Link, Refusal, Route};
use runtime::plan::NetDevice;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

/// The devices of a plan.
pub struct NetDevices<'a> {
    here: Socket,
    devices: Vec<Device<'a>>,
    /// Our network namespace, and a socket of the container's, which also keeps that namespace alive.
    way_back: Option<(OwnedFd, Socket)>,
}

struct Device<'a> {
    plan: &'a NetDevice,
    link: Link,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    /// The index of the device in the container, once it is there.
    index_there: Option<u32>,
}

const FIND: &str = "find the network device";

impl<'a> NetDevices<'a> {
    /// Finds the devices, before anything is made.
    pub fn find(plan: &'a [NetDevice]) -> Result<Option<Self>> {
        if plan.is_empty() {
            return Ok(None);
        }
        let mut here = Socket::open()?;
        let mut devices = Vec::new();
        for plan in plan {
            let found = here.list(&Link::named(&plan.name), Link::parse);
            // The name must not be only an alternative name.
            let link = match found.map(|links| links.into_iter().find(|l| l.name == plan.name)) {
                Ok(Some(link)) => link,
                Ok(None) => return Err(failed(plan, FIND, Errno::NODEV.into())),
                Err(why) => return Err(failed(plan, FIND, why)),
            };
            devices.push(Device {
                plan,
                link,
                addresses: Vec::new(),
                routes: Vec::new(),
                index_there: None,
            });
        }
        Ok(Some(Self {
            here,
            devices,
            way_back: None,
        }))
    }

    /// Moves the devices into the network namespace of the process `pid`, and sets them up there.
    pub fn go(&mut self, pid: i32) -> Result<()> {
        let open = |path: &str| {
            rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .during(|| format!("cannot open {path}"))
        };
        let there = open(&format!("/proc/{pid}/ns/net"))?;
        let home = open("/proc/thread-self/ns/net")?;
        let mut socket = Socket::open_in(&there, &home)?;
        let mut links = socket.list(&Link::all(), Link::parse).map_err(|why| {
            Error::new(format!(
                "cannot list the network devices of the container: {why}"
            ))
        })?;
        for device in &mut self.devices {
            let name = device.plan.final_name();
            if links.iter().any(|link| link.name == name) {
                fail!(
                    "config.json: {}: the container's network namespace already has a network device {name:?}",
                    device.plan.field()
                );
            }
            device.read(&mut self.here)?;
        }
        let (_, socket) = self.way_back.insert((home, socket));
        for device in &mut self.devices {
            let (plan, index) = (device.plan, device.link.index);
            // The kernel would keep a free index and choose another for one in use. It tells nobody.
            let new_index = match links.iter().any(|link| link.index == index) {
                true => links.iter().map(|link| link.index).max().unwrap_or(index) + 1,
                false => index,
            };
            links.push(Link {
                index: new_index,
                ..device.link.clone()
            });
            let number = there.as_raw_fd() as u32;
            let request = Link::transfer(index, number, plan.final_name(), new_index);
            let moved = self.here.change(&request);
            // A move can fail halfway: the name is set after it.
            if moved.is_ok() || self.here.change(&Link::at(index)).is_err() {
                device.index_there = Some(new_index);
            }
            moved.map_err(|why| {
                failed(
                    plan,
                    "move the network device into the container's network namespace",
                    why,
                )
            })?;
            device
                .set_up(socket, new_index, true)
                .map_err(|(what, why)| failed(plan, &what, why))?;
        }
        Ok(())
    }

    /// Moves the devices back, under their old names and with all that they had. The container's process must
    /// have ended.
    pub fn undo(mut self) {
        let Some((home, socket)) = &mut self.way_back else {
            return;
        };
        for device in self.devices.iter().rev() {
            let Some(index_there) = device.index_there else {
                continue;
            };
            let Link { index, name, up } = &device.link;
            let back = Link::transfer(index_there, home.as_raw_fd() as u32, name, *index);
            let moved = socket
                .change(&back)
                .map_err(|why| ("move it".into(), why))
                .and_then(|()| device.set_up(&mut self.here, *index, *up));
            if let Err((what, why)) = moved {
                log::warn(&format!(
                    "cannot give back the network device {name}: cannot {what}: {why}"
                ));
            }
        }
    }
}

impl Device<'_> {
    /// Reads what the move takes from the device: its configured addresses and routes.
    fn read(&mut self, socket: &mut Socket) -> Result<()> {
        let (plan, index) = (self.plan, self.link.index);
        for family in FAMILIES {
            // Without IPv6 in the kernel, the answer has other families.
            let addresses = socket
                .list(&Address::of(index, family), Address::parse)
                .map_err(|why| failed(plan, "list the addresses of the network device", why))?;
            self.addresses.extend(
                addresses
                    .into_iter()
                    .filter(|a| (a.family, a.index) == (family, index) && a.is_configured()),
            );
            let routes = socket
                .list(&Route::through(index, family), Route::parse)
                .map_err(|why| failed(plan, "list the routes of the network device", why))?;
            self.routes.extend(
                routes
                    .into_iter()
                    .filter(|r| (r.family, r.index) == (family, Some(index)) && r.is_configured()),
            );
        }
        Ok(())
    }

    /// Adds the addresses, sets the device up, and adds the routes. Returns what failed.
    fn set_up(&self, socket: &mut Socket, index: u32, up: bool) -> Result<(), (String, Refusal)> {
        for address in &self.addresses {
            let added = socket.change(&address.add(index));
            added.map_err(|why| (format!("add the address {}", address.text()), why))?;
        }
        if up {
            let up = socket.change(&Link::up(index));
            up.map_err(|why| ("set the network device up".into(), why))?;
        }
        let through = |gateway| {
            self.routes
                .iter()
                .filter(move |r| r.has_gateway() == gateway)
        };
        for route in through(false).chain(through(true)) {
            match socket.change(&route.add(index)) {
                // A joined network namespace keeps its own route to the same destination.
                Err(why) if why.errno != Errno::EXIST => {
                    return Err((format!("add the route to {}", route.text()), why));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn failed(plan: &NetDevice, what: &str, why: Refusal) -> Error {
    Error::new(format!(
        "config.json: linux.netDevices.{}: cannot {what}: {why}",
        plan.name
    ))
}
