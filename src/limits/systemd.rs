//! The values for the systemd driver: the container's cgroup is a transient scope, and its limits are the scope's
//! properties. Source: systemd.scope(5), systemd.resource-control(5), org.freedesktop.systemd1(5).

use super::limit::{Current, Limit};
use super::{Limits, devices, v1, v2};
use crate::dbus::Value;
use crate::error::{Result, fail};
use alloc::borrow::{Cow, ToOwned};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bpf::{DeviceKind, DeviceRule};
use core::str::FromStr;

/// A scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The cgroup that contains the slices of this systemd instance; empty for the system's instance.
    root: String,
    pub name: String,
    slice: String,
    id: String,
    /// From the annotations `org.systemd.property.NAME`.
    given: Vec<(String, Value)>,
}

impl Unit {
    /// Parses `linux.cgroupsPath`, which is `slice:prefix:name` with this driver. Without it, the container's id is
    /// used.
    pub fn new(
        root: &str,
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
            "" if root.is_empty() => "system.slice",
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
                fail!("{field}: systemd accepts no unit named {part:?}");
            }
        }
        // This also checks the name of the slice.
        slice_path(slice)?;
        let mut given = Vec::new();
        for (key, text) in annotations {
            if let Some(property) = key.strip_prefix("org.systemd.property.") {
                given.push(annotation(property, text)?);
            }
        }
        Ok(Self {
            root: root.to_owned(),
            name,
            slice: slice.to_owned(),
            id: id.to_owned(),
            given,
        })
    }

    /// The path of the cgroup below the mount point of each hierarchy.
    pub fn path(&self) -> Result<String> {
        let (root, slice) = (&self.root, slice_path(&self.slice)?);
        Ok(format!(
            "{}{slice}/{}",
            root.trim_end_matches('/'),
            self.name
        ))
    }

    /// The properties to create the scope with.
    ///
    /// `drivers` is the text of /proc/devices, which names device numbers.
    pub fn properties(&self, pid: i32, limits: &Limits, drivers: &str) -> Vec<(String, Value)> {
        let mut all: Vec<(String, Value)> = [
            ("Description", Value::Text(format!("container {}", self.id))),
            ("Slice", Value::Text(self.slice.clone())),
            ("Delegate", Value::Bool(true)),
            ("PIDs", Value::Numbers(Vec::from([pid as u32]))),
            ("CPUAccounting", Value::Bool(true)),
            ("MemoryAccounting", Value::Bool(true)),
            ("IOAccounting", Value::Bool(true)),
            ("TasksAccounting", Value::Bool(true)),
            // At shutdown, the engine must be stopped before the scope.
            ("DefaultDependencies", Value::Bool(false)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        all.extend(properties(limits, &Current(None), drivers));
        // Annotations come last, because they may override the others.
        all.extend(self.given.iter().cloned());
        all
    }
}

/// The path of a slice: `a-b.slice` is in `a.slice` (systemd.slice(5)).
fn slice_path(slice: &str) -> Result<String> {
    let mut path = String::new();
    if slice == "-.slice" {
        return Ok(path);
    }
    let name = slice.strip_suffix(".slice").unwrap_or_default();
    if name.split('-').any(|part| part.is_empty() || part == "..") || name.contains('/') {
        fail!("config.json: linux.cgroupsPath: not a slice name: {slice:?}");
    }
    for (at, _) in name.match_indices('-').chain([(name.len(), "")]) {
        path.push('/');
        path.push_str(&name[..at]);
        path.push_str(".slice");
    }
    Ok(path)
}

/// The limits that systemd has a property for, derived from the files of the cgroup. The files are written as well,
/// because systemd rounds values and supports fewer of them.
///
/// `current` already contains the new limits, so that the period of a quota is known.
pub fn properties(limits: &Limits, current: &Current<'_>, drivers: &str) -> Vec<(String, Value)> {
    let mut all = values(&limits.values, current);
    all.extend(device_properties(limits.rules.as_deref(), drivers));
    all
}

fn values(limits: &[Limit], current: &Current<'_>) -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = Vec::new();
    let mut add = |name: &str, value| all.push((name.to_owned(), value));
    let mut quota = (None, None);
    let of = |text: &str| match text.trim() {
        "max" | "-1" => Some(u64::MAX),
        text => text.parse().ok(),
    };
    for limit in limits {
        let number = || of(&limit.value);
        match limit.file.as_ref() {
            "cpu.idle" if limit.value == "1" => {
                // The weight that means idle to systemd.
                add("CPUWeight", Value::U64(0));
            }
            "cpuset.cpus" | "cpuset.mems" => {
                let name = match limit.file.ends_with("cpus") {
                    true => "AllowedCPUs",
                    false => "AllowedMemoryNodes",
                };
                if let Some(bits) = bits(&limit.value) {
                    add(name, Value::Bytes(bits));
                }
            }
            "cpu.max" => {
                let now = current.text("cpu.max");
                let both = now.as_deref().unwrap_or(&limit.value);
                let (max, period) = both.split_once(' ').unwrap_or((both, ""));
                quota = (of(max), of(period));
            }
            file @ ("cpu.cfs_quota_us" | "cpu.cfs_period_us") => {
                let here = |name| (name == file).then(number).flatten();
                let now = |name| current.text(name).and_then(|text| of(&text)).or(here(name));
                quota.0 = now("cpu.cfs_quota_us").or(quota.0);
                quota.1 = now("cpu.cfs_period_us").or(quota.1);
            }
            file => {
                let mut known = v2::PROPERTIES.iter().chain(&v1::PROPERTIES);
                let property = known.find(|(known, _)| *known == file);
                if let (Some((_, property)), Some(number)) = (property, number()) {
                    add(property, Value::U64(number));
                }
            }
        }
    }
    if let (Some(quota), period @ 1..) = (quota.0, quota.1.unwrap_or(100_000)) {
        add("CPUQuotaPerSecUSec", Value::U64(by_second(quota, period)));
        add("CPUQuotaPeriodUSec", Value::U64(period));
    }
    all
}

/// Converts a quota to microseconds per second, in steps of 10 ms, rounded up.
fn by_second(quota: u64, period: u64) -> u64 {
    match quota {
        u64::MAX => u64::MAX,
        quota => quota
            .saturating_mul(1_000_000)
            .div_euclid(period)
            .next_multiple_of(10_000),
    }
}

/// The device rules, as far as systemd can express them. On v1 systemd rewrites the lists on every reload, and would
/// allow everything if it had no rules. On v2 its program runs in addition to ours.
fn device_properties(rules: Option<&[DeviceRule]>, drivers: &str) -> Vec<(String, Value)> {
    let Some(rules) = rules else {
        return Vec::new();
    };
    let allow = |list| ("DeviceAllow".to_owned(), Value::Pairs(list));
    let policy = |name: &str| ("DevicePolicy".to_owned(), Value::Text(name.to_owned()));
    let since = rules.iter().rposition(DeviceRule::is_about_everything);
    if since.is_none_or(|at| rules[at].allow) {
        return Vec::from([policy("auto"), allow(Vec::new())]);
    }
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
                driver(drivers, kind, major).map(|name| format!("{kind}-{name}"))
            }
            (None, Some(_)) => None,
        };
        list.extend(device.map(|device| (device, devices::letters(rule.access))));
    }
    // An empty list clears what was allowed before.
    Vec::from([policy("strict"), allow(Vec::new()), allow(list)])
}

/// The driver of a major number (proc(5), /proc/devices).
fn driver<'d>(drivers: &'d str, kind: &str, major: u32) -> Option<&'d str> {
    let (characters, blocks) = drivers.split_once("Block devices:")?;
    let list = if kind == "block" { blocks } else { characters };
    list.lines().find_map(|line| {
        let (number, name) = line.trim().split_once(' ')?;
        (number.parse() == Ok(major)).then_some(name)
    })
}

/// A list such as `0-2,5` as a bitmap.
fn bits(list: &str) -> Option<Vec<u8>> {
    let (mut bits, mut left) = (Vec::new(), 1usize << 18);
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // Larger than on any machine.
        if last >= 1 << 16 {
            return None;
        }
        // Nor does anybody name each so often.
        left = left.checked_sub(last.saturating_sub(first) + 1)?;
        for n in first..=last {
            if bits.len() <= n / 8 {
                bits.resize(n / 8 + 1, 0);
            }
            bits[n / 8] |= 1 << (n % 8);
        }
    }
    Some(bits)
}

/// A property from an annotation, with a value in the format of busctl and GVariant: `true`, `'text'`, `uint64 5`,
/// `['a', 'b']`. Times are in seconds, as in unit files, and are converted to the microseconds of systemd's D-Bus
/// API.
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

/// A quoted text, and the rest after it.
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
