//! The systemd driver: the container's cgroup is a transient scope, which systemd creates, limits and removes at our
//! request over D-Bus. Source: org.freedesktop.systemd1(5), systemd.scope(5), systemd.resource-control(5).

use crate::dbus::{Bus, Refused};
use crate::files;
use crate::host;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use runtime::dbus::{Body, Object, Reader};
use runtime::error::{Error, Result, fail};
use runtime::facts::join;
use runtime::limits::systemd::{Unit, properties};
use runtime::limits::{Current, Limits};
use rustix::fs::CWD;
use syscalls::Start;

const MANAGER: Object = Object {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};
const PROPERTIES: Object = Object {
    interface: "org.freedesktop.DBus.Properties",
    ..MANAGER
};

/// The systemd instance that creates our cgroups, and its sockets.
#[derive(Clone)]
pub struct Manager {
    /// The paths of the sockets. The first that answers is used.
    sockets: Vec<String>,
    /// The cgroup that contains its slices; empty for the system's instance.
    pub root: String,
}

impl Manager {
    /// The system's instance for the host's root; for everyone else, including root of a user namespace, the user's
    /// instance.
    pub fn find(start: Start) -> Result<Self> {
        let users = !rustix::process::geteuid().is_root() || host::in_user_namespace()?;
        let address = |name: &str| {
            let addresses = start.var(name)?;
            let mut paths = addresses
                .split(';')
                .filter_map(|a| a.strip_prefix("unix:path="));
            paths.next()?.split(',').next()
        };
        let mut manager = Self {
            sockets: Vec::new(),
            root: String::new(),
        };
        if !users {
            let bus = address("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or("/run/dbus/system_bus_socket");
            manager.sockets.extend([bus.to_owned(), PRIVATE.to_owned()]);
            return Ok(manager);
        }
        let bus = address("DBUS_SESSION_BUS_ADDRESS").map(str::to_owned);
        let bus = bus.or_else(|| start.var("XDG_RUNTIME_DIR").map(|dir| join(dir, "bus")));
        let Some(bus) = bus else {
            fail!(
                "--systemd-cgroup: cannot find the user's D-Bus: neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set"
            );
        };
        manager.sockets.push(bus);
        let mut body = Body::default();
        body.text(MANAGER.interface);
        body.text("ControlGroup");
        let answer = manager.connect()?.call(&PROPERTIES, "Get", "ss", body)?;
        let answer = answer.map_err(|refused| error("cannot query its cgroup", &refused))?;
        let mut value = Reader::new(&answer);
        let root = value.signature().and_then(|_| value.text());
        manager.root = root.unwrap_or_default().to_owned();
        Ok(manager)
    }

    fn connect(&self) -> Result<Bus> {
        let mut first = None;
        for socket in &self.sockets {
            match Bus::connect(socket, socket == PRIVATE) {
                Ok(bus) => return Ok(bus),
                Err(error) => first = first.or(Some(error)),
            }
        }
        let why = first.map_or_else(String::new, |error| format!("{error}"));
        fail!("--systemd-cgroup: {why} (is systemd running, and D-Bus?)")
    }

    /// Creates a scope that contains this process, and waits until it exists.
    pub fn start(&self, unit: &Unit, pid: i32, limits: &Limits) -> Result<()> {
        let properties = unit.properties(pid, limits, &drivers());
        let mut bus = self.connect()?;
        let what = format!("cannot start the unit {}", unit.name);
        let start = |bus: &mut Bus| {
            let mut body = Body::default();
            body.text(&unit.name);
            body.text("replace");
            body.properties(&properties);
            body.array(8, |_| ());
            job(bus, "StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        };
        let mut result = start(&mut bus)?;
        if matches!(&result, Err(refused) if refused.name.ends_with(".UnitExists")) {
            // systemd remembers a failed unit of this name, which belongs to no container.
            reset(&mut bus, &unit.name)?;
            result = start(&mut bus)?;
        }
        match result {
            Ok(done) if done == "done" => Ok(()),
            Ok(other) => {
                let _ = self.stop(&unit.name);
                fail!("systemd: {what}: the job is {other}")
            }
            Err(refused) => Err(error(&what, &refused)),
        }
    }

    /// Removes the scope. A scope that no longer exists is not an error.
    pub fn stop(&self, name: &str) -> Result<()> {
        let mut bus = self.connect()?;
        let mut body = Body::default();
        body.text(name);
        body.text("replace");
        match job(&mut bus, "StopUnit", "ss", body)? {
            Ok(_) => {}
            Err(refused) if refused.name.ends_with(".NoSuchUnit") => {}
            Err(refused) => return Err(error(&format!("cannot stop the unit {name}"), &refused)),
        }
        reset(&mut bus, name)
    }

    /// Moves a process into the scope.
    pub fn attach(&self, name: &str, pid: i32) -> Result<()> {
        let mut body = Body::default();
        body.text(name);
        body.text("");
        body.numbers(&[pid as u32]);
        let done = self
            .connect()?
            .call(&MANAGER, "AttachProcessesToUnit", "ssau", body)?;
        done.map(drop)
            .map_err(|refused| error(&format!("cannot move a process into {name}"), &refused))
    }

    /// Sets new limits on the unit, so that systemd keeps them across a reload.
    pub fn update(&self, name: &str, limits: &Limits, current: &Current<'_>) -> Result<()> {
        let properties = properties(limits, current, &drivers());
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Body::default();
        body.text(name);
        // At run time only: until the next boot or the end of the unit.
        body.bool(true);
        body.properties(&properties);
        let done = self
            .connect()?
            .call(&MANAGER, "SetUnitProperties", "sba(sv)", body)?;
        done.map(drop)
            .map_err(|refused| error(&format!("cannot limit the unit {name}"), &refused))
    }
}

/// systemd's own socket, for the host's root if no bus runs.
const PRIVATE: &str = "/run/systemd/private";

/// The names of device numbers (proc(5), /proc/devices).
fn drivers() -> String {
    let text = files::read(CWD, "/proc/devices").unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

fn error(what: &str, refused: &Refused) -> Error {
    Error::new(format!("systemd: {what}: {}", refused.text))
}

/// Clears the failed state of the unit, if any.
fn reset(bus: &mut Bus, name: &str) -> Result<()> {
    let mut body = Body::default();
    body.text(name);
    bus.call(&MANAGER, "ResetFailedUnit", "s", body).map(drop)
}

/// Starts a job and waits for its result, whatever it is.
fn job(
    bus: &mut Bus,
    member: &str,
    signature: &str,
    body: Body,
) -> Result<core::result::Result<String, Refused>> {
    // Subscribe before starting the job, because it may finish at once. Without a bus the match rule is refused, and
    // systemd sends us the signals anyway.
    let _ = bus.listen(&MANAGER);
    let _ = bus.call(&MANAGER, "Subscribe", "", Body::default())?;
    let answer = match bus.call(&MANAGER, member, signature, body)? {
        Ok(answer) => answer,
        Err(refused) => return Ok(Err(refused)),
    };
    let ours = Reader::new(&answer).text().unwrap_or_default();
    bus.wait(|member, mut signal| {
        if member != "JobRemoved" {
            return None;
        }
        let (_id, job, _unit) = (signal.number()?, signal.text()?, signal.text()?);
        (job == ours).then(|| signal.text().map(str::to_owned))?
    })
    .map(Ok)
}
