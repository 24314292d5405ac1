//! The systemd driver: the container's cgroup is a transient scope that systemd makes, limits and removes when it is asked to over
//! D-Bus. Source: org.freedesktop.systemd1(5), systemd.scope(5), systemd.resource-control(5).

use super::devices;
use super::limit::{Current, Limit};
use crate::dbus::{Body, Bus, Object, Reader, Refused, Value};
use crate::error::{Error, Result, fail};
use crate::files;
use crate::host;
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bpf::{DeviceKind, DeviceRule};
use core::str::FromStr;
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
    root: String,
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
        let bus = bus.or_else(|| {
            start
                .var("XDG_RUNTIME_DIR")
                .map(|dir| host::join(dir, "bus"))
        });
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
    fn start(&self, unit: &Unit, properties: &[(String, Value)]) -> Result<()> {
        let mut bus = self.connect()?;
        let what = format!("cannot start the unit {}", unit.name);
        let start = |bus: &mut Bus| {
            let mut body = Body::default();
            body.text(&unit.name);
            body.text("replace");
            body.properties(properties);
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
    pub fn update(
        &self,
        name: &str,
        limits: &[Limit],
        current: &Current<'_>,
        devices: Option<&[DeviceRule]>,
    ) -> Result<()> {
        let mut properties = properties(limits, current);
        properties.extend(device_properties(devices));
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

/// A scope.
pub struct Unit {
    manager: Manager,
    pub name: String,
    slice: String,
    id: String,
    /// Annotations `org.systemd.property.NAME`.
    given: Vec<(String, Value)>,
}

impl Unit {
    /// From `linux.cgroupsPath`, which is `slice:prefix:name` with this driver, or from the container's id.
    pub fn new(
        manager: &Manager,
        cgroups_path: Option<&str>,
        id: &str,
        annotations: &[(Cow<'_, str>, Cow<'_, str>)],
    ) -> Result<Self> {
        let field = "config.json: linux.cgroupsPath";
        let (slice, prefix, name) = match cgroups_path {
            None => ("", "runtime", id),
            Some(path) => {
                let mut parts = path.split(':');
                match (parts.next(), parts.next(), parts.next(), parts.next()) {
                    (Some(slice), Some(prefix), Some(name), None) if !name.is_empty() => {
                        (slice, prefix, name)
                    }
                    _ => fail!(
                        "{field}: expected slice:prefix:name, which --systemd-cgroup takes, found {path:?}"
                    ),
                }
            }
        };
        let slice = match slice {
            "" if manager.root.is_empty() => "system.slice",
            "" => "user.slice",
            slice => slice,
        };
        if name.ends_with(".slice") {
            fail!("{field}: a slice cannot hold the processes of a container, found {name:?}");
        }
        let name = match prefix {
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        for part in [&name, slice] {
            let known = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
            if !part.chars().all(known) || part.len() > 255 {
                fail!("{field}: systemd takes no unit of the name {part:?}");
            }
        }
        // Names are checked with the slice.
        slice_path(slice)?;
        let mut given = Vec::new();
        for (key, text) in annotations {
            if let Some(property) = key.strip_prefix("org.systemd.property.") {
                given.push(annotation(property, text)?);
            }
        }
        Ok(Self {
            manager: manager.clone(),
            name,
            slice: slice.to_owned(),
            id: id.to_owned(),
            given,
        })
    }

    /// The cgroup below the mount point of each hierarchy.
    pub fn path(&self) -> Result<String> {
        let (root, slice) = (&self.manager.root, slice_path(&self.slice)?);
        Ok(format!(
            "{}{slice}/{}",
            root.trim_end_matches('/'),
            self.name
        ))
    }

    /// Has it made with this process in it, and waits until that is so.
    pub fn start(&self, pid: i32, limits: &[Limit], devices: Option<&[DeviceRule]>) -> Result<()> {
        let mut properties = self.properties(pid, limits);
        properties.extend(device_properties(devices));
        // Annotations last, for they may say otherwise.
        properties.extend(self.given.iter().cloned());
        self.manager.start(self, &properties)
    }

    pub fn stop(&self) -> Result<()> {
        self.manager.stop(&self.name)
    }

    /// What it is made with.
    fn properties(&self, pid: i32, limits: &[Limit]) -> Vec<(String, Value)> {
        let mut all: Vec<(String, Value)> = [
            ("Description", Value::Text(format!("container {}", self.id))),
            ("Slice", Value::Text(self.slice.clone())),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Numbers(Vec::from([pid as u32]))),
            ("CPUAccounting", Value::Bool(true)),
            ("MemoryAccounting", Value::Bool(true)),
            ("IOAccounting", Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            // It must not be stopped before the engine is when the host goes down.
            ("DefaultDependencies", Value::Bool(false)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        all.extend(properties(limits, &Current(None)));
        all
    }
}

/// Where a slice lies: `a-b.slice` is in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> Result<String> {
    let mut path = String::new();
    if slice == "-.slice" {
        return Ok(path);
    }
    let name = slice.strip_suffix(".slice").unwrap_or_default();
    if name.split('-').any(|part| part.is_empty() || part == "..") || name.contains('/') {
        fail!("config.json: linux.cgroupsPath: not the name of a slice: {slice:?}");
    }
    for (at, _) in name.match_indices('-').chain([(name.len(), "")]) {
        path.push('/');
        path.push_str(&name[..at]);
        path.push_str(".slice");
    }
    Ok(path)
}

/// Limits that systemd has a property for, by the files of the cgroup. The files are written as well: systemd rounds,
/// and knows fewer of them.
///
/// `current` holds the limits already, so that a quota finds the period that it is of.
fn properties(limits: &[Limit], current: &Current<'_>) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = Vec::new();
    let mut add = |name: &str, value| all.push((name.to_owned(), value));
    let mut quota = (None, None);
    let of = |text: &str| match text.trim() {
        "max" | "-1" => Some(u64::MAX),
        text => text.parse().ok(),
    };
    for limit in limits {
        let number = || of(&limit.value);
        let name = match limit.file.as_ref() {
            "memory.max" => "MemoryMax",
            "memory.high" => "MemoryHigh",
            "memory.low" => "MemoryLow",
            "memory.min" => "MemoryMin",
            "memory.swap.max" => "MemorySwapMax",
            "memory.limit_in_bytes" => "MemoryLimit",
            "pids.max" => "TasksMax",
            "cpu.weight" => "CPUWeight",
            "cpu.shares" => "CPUShares",
            "io.weight" => "IOWeight",
            "blkio.weight" => "BlockIOWeight",
            "cpu.idle" if limit.value == "1" => {
                // The weight by which systemd means idle.
                add("CPUWeight", Value::U64(0));
                continue;
            }
            "cpuset.cpus" | "cpuset.mems" => {
                let name = match limit.file.ends_with("cpus") {
                    true => "AllowedCPUs",
                    false => "AllowedMemoryNodes",
                };
                if let Some(bits) = bits(&limit.value) {
                    add(name, Value::Bytes(bits));
                }
                continue;
            }
            "cpu.max" => {
                let now = current.text("cpu.max");
                let both = now.as_deref().unwrap_or(&limit.value);
                let (max, period) = both.split_once(' ').unwrap_or((both, ""));
                quota = (of(max), of(period));
                continue;
            }
            file @ ("cpu.cfs_quota_us" | "cpu.cfs_period_us") => {
                let here = |name| (name == file).then(number).flatten();
                let now = |name| current.text(name).and_then(|text| of(&text)).or(here(name));
                quota.0 = now("cpu.cfs_quota_us").or(quota.0);
                quota.1 = now("cpu.cfs_period_us").or(quota.1);
                continue;
            }
            _ => continue,
        };
        if let Some(number) = number() {
            add(name, Value::U64(number));
        }
    }
    if let (Some(quota), period @ 1..) = (quota.0, quota.1.unwrap_or(100_000)) {
        // By the second, in steps of 10 ms, rounded up.
        let by_second = match quota {
            u64::MAX => u64::MAX,
            quota => quota
                .saturating_mul(1_000_000)
                .div_euclid(period)
                .next_multiple_of(10_000),
        };
        add("CPUQuotaPerSecUSec", Value::U64(by_second));
        add("CPUQuotaPeriodUSec", Value::U64(period));
    }
    all
}

/// The device rules, as far as systemd can say them. On v1 it writes the lists anew whenever it is reloaded, and without rules
/// of its own it would allow everything; on v2 its program stands beside ours.
fn device_properties(rules: Option<&[DeviceRule]>) -> Vec<(String, Value)> {
    let Some(rules) = rules else {
        return Vec::new();
    };
    let allow = |list| ("DeviceAllow".to_owned(), Value::Pairs(list));
    let policy = |name: &str| ("DevicePolicy".to_owned(), Value::Text(name.to_owned()));
    let since = rules.iter().rposition(DeviceRule::is_about_everything);
    if since.is_none_or(|at| rules[at].allow) {
        return Vec::from([policy("auto"), allow(Vec::new())]);
    }
    let drivers = files::read(CWD, "/proc/devices").unwrap_or_default();
    let drivers = String::from_utf8_lossy(&drivers);
    let mut list = Vec::new();
    for rule in rules.iter().filter(|rule| rule.allow) {
        let kind = match rule.kind {
            Some(DeviceKind::Block) => "block",
            _ => "char",
        };
        let device = match (rule.major, rule.minor) {
            (None, None) => Some(format!("{kind}-*")),
            (Some(major), Some(minor)) => Some(format!("/dev/{kind}/{major}:{minor}")),
            (Some(major), None) => {
                driver(&drivers, kind, major).map(|name| format!("{kind}-{name}"))
            }
            (None, Some(_)) => None,
        };
        list.extend(device.map(|device| (device, devices::letters(rule.access))));
    }
    // An empty list takes away what was allowed before.
    Vec::from([policy("strict"), allow(Vec::new()), allow(list)])
}

/// The name of the driver of this number (proc(5), /proc/devices).
fn driver<'d>(drivers: &'d str, kind: &str, major: u32) -> Option<&'d str> {
    let (characters, blocks) = drivers.split_once("Block devices:")?;
    let list = if kind == "block" { blocks } else { characters };
    list.lines().find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name)
    })
}

/// A list such as `0-2,5` as a set of bits.
fn bits(list: &str) -> Option<Vec<u8>> {
    let mut bits = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // More than any machine has.
        if last >= 1 << 16 {
            return None;
        }
        for n in first..=last {
            if bits.len() <= n / 8 {
                bits.resize(n / 8 + 1, 0);
            }
            bits[n / 8] |= 1 << (n % 8);
        }
    }
    Some(bits)
}

/// A property from an annotation, its value as busctl and GVariant write it: `true`, `'text'`, `uint64 5`, `['a', 'b']`.
/// Times in seconds, as unit files have them, become the microseconds that systemd's D-Bus takes.
fn annotation(name: &str, text: &str) -> Result<(String, Value)> {
    let field = format!("config.json: annotations[\"org.systemd.property.{name}\"]");
    if name.len() < 3 || !name.bytes().all(|b| b.is_ascii_alphabetic()) {
        fail!("{field}: {name:?} is not the name of a property");
    }
    let Some(value) = value(text.trim()) else {
        fail!(
            "{field}: expected a value such as true, 'text', uint64 5 or ['a', 'b'], found {text:?}"
        );
    };
    let Some(stem) = name
        .strip_suffix("Sec")
        .filter(|stem| stem.ends_with(|c: char| c.is_ascii_lowercase()))
    else {
        return Ok((name.to_owned(), value));
    };
    let seconds = match value {
        Value::Byte(n) => u64::from(n),
        Value::U16(n) => u64::from(n),
        Value::U32(n) => u64::from(n),
        Value::U64(n) => n,
        Value::I16(n) if n >= 0 => n as u64,
        Value::I32(n) if n >= 0 => n as u64,
        Value::I64(n) if n >= 0 => n as u64,
        _ => fail!("{field}: expected a number of seconds, found {text:?}"),
    };
    let Some(microseconds) = seconds.checked_mul(1_000_000) else {
        fail!("{field}: too many seconds, found {text:?}");
    };
    Ok((format!("{stem}USec"), Value::U64(microseconds)))
}

fn value(text: &str) -> Option<Value> {
    if let Some(list) = text.strip_prefix('[') {
        let list = list.strip_suffix(']')?.trim();
        let mut texts = Vec::new();
        let mut rest = list;
        while !rest.is_empty() {
            let (item, after) = quoted(rest)?;
            texts.push(item);
            rest = match after.trim_start() {
                "" => "",
                more => more.strip_prefix(',')?.trim_start(),
            };
        }
        return Some(Value::Texts(texts));
    }
    if let Some((text, "")) = quoted(text) {
        return Some(Value::Text(text));
    }
    fn number<T: FromStr>(text: &str) -> Option<T> {
        text.trim().parse().ok()
    }
    match text.split_once(' ') {
        None if text == "true" => Some(Value::Bool(true)),
        None if text == "false" => Some(Value::Bool(false)),
        None => number(text).map(Value::I32),
        Some(("boolean" | "@b", n)) => number(n).map(Value::Bool),
        Some(("byte" | "@y", n)) => number(n).map(Value::Byte),
        Some(("int16" | "@n", n)) => number(n).map(Value::I16),
        Some(("uint16" | "@q", n)) => number(n).map(Value::U16),
        Some(("int32" | "@i", n)) => number(n).map(Value::I32),
        Some(("uint32" | "@u", n)) => number(n).map(Value::U32),
        Some(("int64" | "@x", n)) => number(n).map(Value::I64),
        Some(("uint64" | "@t", n)) => number(n).map(Value::U64),
        Some(("string" | "@s", text)) => match quoted(text.trim())? {
            (text, "") => Some(Value::Text(text)),
            _ => None,
        },
        Some(("@as", list)) if list.trim_start().starts_with('[') => value(list.trim()),
        Some(_) => None,
    }
}

/// A quoted text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (mut out, mut chars) = (String::new(), text.char_indices().skip(1));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?.1),
            c if c == quote => return Some((out, &text[at + 1..])),
            c => out.push(c),
        }
    }
    None
}
