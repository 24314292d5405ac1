//! The systemd driver: the container's cgroup is a transient scope that systemd makes, limits and removes when it is asked to over
//! D-Bus. Source: org.freedesktop.systemd1(5), systemd.scope(5), systemd.resource-control(5).

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

/// Which systemd makes our cgroups, and how it is reached.
#[derive(Clone)]
pub struct Manager {
    /// Paths of sockets, the first that answers is taken.
    sockets: Vec<String>,
    /// The cgroup that its slices lie in; empty for the system's.
    pub root: String,
}

impl Manager {
    /// The system's for the host's root; for everybody else, also for the root of a user namespace, the user's own.
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
                "--systemd-cgroup: where is the user's D-Bus? Neither XDG_RUNTIME_DIR nor DBUS_SESSION_BUS_ADDRESS is set"
            );
        };
        manager.sockets.push(bus);
        let mut body = Body::default();
        body.text(MANAGER.interface);
        body.text("ControlGroup");
        let answer = manager.connect()?.call(&PROPERTIES, "Get", "ss", body)?;
        let answer = answer.map_err(|refused| error("cannot ask for its cgroup", &refused))?;
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

    /// Has a scope made with this process in it, and waits until that is so.
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
            // One that failed stays in systemd's memory; it is nobody's.
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

    /// Has the scope removed. One that is gone already is no mistake.
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

    /// Has a process moved into the scope.
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

    /// Tells systemd of new limits, so that it keeps them when it is reloaded.
    pub fn update(&self, name: &str, limits: &Limits, current: &Current<'_>) -> Result<()> {
        let properties = properties(limits, current, &drivers());
        if properties.is_empty() {
            return Ok(());
        }
        let mut body = Body::default();
        body.text(name);
        // Until the next boot, or the end of the unit.
        body.bool(true);
        body.properties(&properties);
        let done = self
            .connect()?
            .call(&MANAGER, "SetUnitProperties", "sba(sv)", body)?;
        done.map(drop)
            .map_err(|refused| error(&format!("cannot limit the unit {name}"), &refused))
    }
}

/// systemd itself, for the host's root, where no bus runs.
const PRIVATE: &str = "/run/systemd/private";

/// The names of device numbers (proc(5), /proc/devices).
fn drivers() -> String {
    let text = files::read(CWD, "/proc/devices").unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

fn error(what: &str, refused: &Refused) -> Error {
    Error::new(format!("systemd: {what}: {}", refused.text))
}

/// Forgets that the unit failed, if it did.
fn reset(bus: &mut Bus, name: &str) -> Result<()> {
    let mut body = Body::default();
    body.text(name);
    bus.call(&MANAGER, "ResetFailedUnit", "s", body).map(drop)
}

/// Asks for a job and waits for its end, in whatever way it ends.
fn job(
    bus: &mut Bus,
    member: &str,
    signature: &str,
    body: Body,
) -> Result<core::result::Result<String, Refused>> {
    // Before the job is asked for: it may be done at once. Where no bus is between us nobody takes the rule, and
    // systemd tells us all the same.
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
