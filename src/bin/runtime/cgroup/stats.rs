//! What a cgroup has used, as runc's `events` writes it. It is read and written piece by piece without
//! allocating, because `events` goes on for as long as the container and the allocator frees nothing.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use runtime::error::Result;
use runtime::facts::{CGROUPS, Cgroups, join};
use rustix::event::{EventfdFlags, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

/// The cgroup's open directories and the room its files are read into.
pub struct Source {
    v2: bool,
    /// By controllers; on v2 one for all.
    directories: Vec<(Vec<String>, OwnedFd)>,
    pages: Vec<Page>,
    buffer: Vec<u8>,
}

/// What tells that processes were killed for their memory.
pub struct Oom {
    /// Where the kernel counts them: memory.events, or memory.oom_control on v1.
    count: OwnedFd,
    told: u64,
    signal: Option<Signal>,
}

/// v1's eventfd. It is signalled before the kernel kills and counts, by everyone who asks for memory meanwhile, which
/// may be a hundred times for one kill, and once more when the cgroup is removed. So it only says when to look.
struct Signal {
    event: OwnedFd,
    /// How often the count is still looked at for what was signalled.
    looks: u32,
    found: bool,
}

/// The time between two looks, in milliseconds, and how many follow a signal.
const LOOK: i64 = 10;
const LOOKS: u32 = 100;

impl Oom {
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.signal
            .as_ref()
            .map_or(&self.count, |s| &s.event)
            .as_fd()
    }

    /// What wakes: memory.events can always be read, and is `PRI` when it changes.
    pub fn wakes_by(&self) -> PollFlags {
        match self.signal {
            Some(_) => PollFlags::IN,
            None => PollFlags::PRI,
        }
    }

    /// After how many milliseconds to look again even if nothing wakes.
    pub fn look_within(&self) -> i64 {
        match &self.signal {
            Some(signal) if signal.looks > 0 => LOOK,
            _ => i64::MAX,
        }
    }

    /// How many processes were killed since this was asked last; `last` when it will not be asked again.
    pub fn kills(&mut self, last: bool) -> u64 {
        let mut text = [0; 512];
        let signalled = self
            .signal
            .as_ref()
            .is_some_and(|s| rustix::io::read(&s.event, &mut text[..8]).is_ok());
        // Of a removed cgroup nothing can be read.
        let n = rustix::io::pread(&self.count, &mut text, 0).unwrap_or(0);
        let now = core::str::from_utf8(&text[..n])
            .ok()
            .and_then(|text| find(text, "oom_kill"))
            .unwrap_or(self.told);
        let kills = now.saturating_sub(core::mem::replace(&mut self.told, now));
        let Some(signal) = &mut self.signal else {
            return kills;
        };
        let watched = signal.looks > 0;
        signal.found = kills > 0 || signal.found && watched;
        signal.looks = match signalled && n > 0 {
            true => LOOKS,
            false => signal.looks.saturating_sub(1),
        };
        if last {
            signal.looks = 0;
        }
        // v1 counts a kill in a cgroup beneath this one there, and none where the OOM killer is disabled.
        let over = signal.looks == 0 && (watched || signalled && n > 0);
        if over && !signal.found { 1 } else { kills }
    }
}

impl Source {
    pub fn open(cgroups: &Cgroups, path: &str) -> Result<Self> {
        let directories = match cgroups {
            Cgroups::V2 => vec![(Vec::new(), super::open(&join(CGROUPS, path))?)],
            Cgroups::V1(hierarchies) => hierarchies
                .iter()
                .filter(|h| !h.is_v2())
                .map(|h| {
                    Ok((
                        h.controllers.clone(),
                        super::open(&join(&h.mountpoint, path))?,
                    ))
                })
                .collect::<Result<_>>()?,
        };
        Ok(Self {
            v2: *cgroups == Cgroups::V2,
            directories,
            pages: pages(*cgroups == Cgroups::V2),
            buffer: vec![0; 64 * 1024],
        })
    }

    fn directory(&self, controller: &str) -> Option<BorrowedFd<'_>> {
        self.directories
            .iter()
            .find(|(names, _)| self.v2 || names.iter().any(|name| name == controller))
            .map(|(_, fd)| fd.as_fd())
    }

    /// A file's text; `None` when there is none, or when it does not fit.
    fn text(&mut self, file: &str) -> Option<&str> {
        let controller = file.split('.').next()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(self.directory(controller)?, file, flags, Mode::empty()).ok()?;
        let mut used = 0;
        loop {
            match rustix::io::read(&file, &mut self.buffer[used..]).ok()? {
                0 => break,
                n => used += n,
            }
        }
        core::str::from_utf8(&self.buffer[..used]).ok()
    }

    /// A file of one number; `max` is the greatest there is.
    fn number(&mut self, file: &str) -> Option<u64> {
        match self.text(file)?.trim() {
            "max" => Some(u64::MAX),
            text => text.parse().ok(),
        }
    }

    /// The number behind a key in a file of many.
    fn keyed(&mut self, file: &str, key: &str) -> Option<u64> {
        find(self.text(file)?, key)
    }

    /// Watches for processes killed for their memory; `None` without a memory controller.
    pub fn watch_oom(&mut self) -> Option<Oom> {
        let name = match self.v2 {
            true => "memory.events",
            false => "memory.oom_control",
        };
        let directory = self.directory("memory")?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let count = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
        let signal = match self.v2 {
            true => None,
            false => {
                let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
                let event = rustix::event::eventfd(0, flags).ok()?;
                let line = format!("{} {}", event.as_raw_fd(), count.as_raw_fd());
                crate::files::write(directory, "cgroup.event_control", line.as_bytes()).ok()?;
                Some(Signal {
                    event,
                    looks: 0,
                    found: false,
                })
            }
        };
        let told = self.keyed(name, "oom_kill")?;
        Some(Oom {
            count,
            told,
            signal,
        })
    }

    /// One line of JSON: everything there is to tell.
    pub fn write(&mut self, id: &str, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{{\"type\":\"stats\",\"id\":\"{id}\",\"data\":")?;
        let mut json = Json { out, comma: false };
        json.begin()?;
        self.cpu(&mut json)?;
        self.cpuset(&mut json)?;
        self.memory(&mut json)?;
        json.open("pids")?;
        json.nonzero("current", self.number("pids.current"))?;
        let limit = self.number("pids.max").filter(|n| *n != u64::MAX);
        json.nonzero("limit", limit)?;
        json.close()?;
        self.block_io(&mut json)?;
        self.hugepages(&mut json)?;
        json.open("intel_rdt")?;
        json.close()?;
        json.key("network_interfaces")?;
        json.out.write_str("null")?;
        json.close()?;
        json.out.write_str("}\n")
    }

    fn cpu(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("cpu")?;
        json.open("usage")?;
        if self.v2 {
            let mut nanos = |key| Some(self.keyed("cpu.stat", key)? * 1000);
            json.nonzero("total", nanos("usage_usec"))?;
            json.number("kernel", nanos("system_usec"))?;
            json.number("user", nanos("user_usec"))?;
        } else {
            json.nonzero("total", self.number("cpuacct.usage"))?;
            if let Some(text) = self.text("cpuacct.usage_percpu") {
                json.list("percpu", text.split_ascii_whitespace())?;
            }
            if let Some(text) = self.text("cpuacct.usage_all") {
                // cpu user system
                let column = |n| {
                    move |line: &'_ str| -> Option<u64> { line.split(' ').nth(n)?.parse().ok() }
                };
                json.list("percpu_kernel", text.lines().skip(1).filter_map(column(2)))?;
                json.list("percpu_user", text.lines().skip(1).filter_map(column(1)))?;
            }
            // In ticks of a hundredth of a second, USER_HZ on every architecture we run on.
            let mut nanos = |key| Some(self.keyed("cpuacct.stat", key)? * 10_000_000);
            json.number("kernel", nanos("system"))?;
            json.number("user", nanos("user"))?;
        }
        json.close()?;
        json.open("throttling")?;
        json.nonzero("periods", self.keyed("cpu.stat", "nr_periods"))?;
        json.nonzero("throttledPeriods", self.keyed("cpu.stat", "nr_throttled"))?;
        let time = match self.v2 {
            true => self.keyed("cpu.stat", "throttled_usec").map(|n| n * 1000),
            false => self.keyed("cpu.stat", "throttled_time"),
        };
        json.nonzero("throttledTime", time)?;
        json.close()?;
        self.pressure(json, "cpu.pressure")?;
        json.close()
    }

    fn cpuset(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("cpuset")?;
        for (key, v1, v2) in [
            ("cpus", "cpuset.cpus", "cpuset.cpus.effective"),
            ("mems", "cpuset.mems", "cpuset.mems.effective"),
        ] {
            // 0-2,5
            let file = if self.v2 { v2 } else { v1 };
            let text = self.text(file).unwrap_or("").trim();
            let range = |part: &str| -> Option<core::ops::RangeInclusive<u16>> {
                let (first, last) = part.split_once('-').unwrap_or((part, part));
                Some(first.parse().ok()?..=last.parse().ok()?)
            };
            if !text.is_empty() {
                json.list(key, text.split(',').filter_map(range).flatten())?;
            }
        }
        for (key, file) in [
            ("cpu_exclusive", "cpuset.cpu_exclusive"),
            ("mem_hardwall", "cpuset.mem_hardwall"),
            ("mem_exclusive", "cpuset.mem_exclusive"),
            ("memory_migrate", "cpuset.memory_migrate"),
            ("memory_spread_page", "cpuset.memory_spread_page"),
            ("memory_spread_slab", "cpuset.memory_spread_slab"),
            ("memory_pressure", "cpuset.memory_pressure"),
            ("sched_load_balance", "cpuset.sched_load_balance"),
        ] {
            json.number(key, self.number(file))?;
        }
        let level = self.text("cpuset.sched_relax_domain_level");
        let level: i64 = level.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        json.key("sched_relax_domain_level")?;
        write!(json.out, "{level}")?;
        json.close()
    }

    fn memory(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("memory")?;
        let cache = if self.v2 { "file" } else { "cache" };
        json.nonzero("cache", self.keyed("memory.stat", cache))?;
        if self.v2 {
            let events = |source: &mut Self, file| source.keyed(file, "max").unwrap_or(0);
            let now = Entry {
                limit: self.number("memory.max"),
                usage: self.number("memory.current"),
                max: self.number("memory.peak"),
                failcnt: events(self, "memory.events"),
            };
            // With the swap, as v1 counts; when both together were at their most nobody has seen.
            let swap_limit = self.number("memory.swap.max");
            let both = Entry {
                limit: swap_limit.map(|n| n.saturating_add(now.limit.unwrap_or(0))),
                usage: self
                    .number("memory.swap.current")
                    .map(|n| n + now.usage.unwrap_or(0)),
                max: None,
                failcnt: events(self, "memory.swap.events"),
            };
            json.entry("usage", &now)?;
            json.entry("swap", &both)?;
            json.entry("kernel", &Entry::default())?;
            json.entry("kernelTCP", &Entry::default())?;
        } else {
            for (key, files) in [
                (
                    "usage",
                    [
                        "memory.limit_in_bytes",
                        "memory.usage_in_bytes",
                        "memory.max_usage_in_bytes",
                        "memory.failcnt",
                    ],
                ),
                (
                    "swap",
                    [
                        "memory.memsw.limit_in_bytes",
                        "memory.memsw.usage_in_bytes",
                        "memory.memsw.max_usage_in_bytes",
                        "memory.memsw.failcnt",
                    ],
                ),
                (
                    "kernel",
                    [
                        "memory.kmem.limit_in_bytes",
                        "memory.kmem.usage_in_bytes",
                        "memory.kmem.max_usage_in_bytes",
                        "memory.kmem.failcnt",
                    ],
                ),
                (
                    "kernelTCP",
                    [
                        "memory.kmem.tcp.limit_in_bytes",
                        "memory.kmem.tcp.usage_in_bytes",
                        "memory.kmem.tcp.max_usage_in_bytes",
                        "memory.kmem.tcp.failcnt",
                    ],
                ),
            ] {
                let [limit, usage, max, failcnt] = files.map(|file| self.number(file));
                let failcnt = failcnt.unwrap_or(0);
                json.entry(
                    key,
                    &Entry {
                        limit,
                        usage,
                        max,
                        failcnt,
                    },
                )?;
            }
        }
        if let Some(text) = self.text("memory.stat") {
            json.open("raw")?;
            json.all_of(text)?;
            json.close()?;
        }
        self.pressure(json, "memory.pressure")?;
        json.close()
    }

    /// Pressure stall information (Documentation/accounting/psi.rst), where the kernel keeps it.
    fn pressure(&mut self, json: &mut Json<'_>, file: &str) -> fmt::Result {
        let Some(text) = self.text(file) else {
            return Ok(());
        };
        json.open("psi")?;
        for line in text.lines() {
            let Some((who, numbers)) = line.split_once(' ') else {
                continue;
            };
            json.open(who)?;
            for (key, number) in numbers.split(' ').filter_map(|part| part.split_once('=')) {
                json.key(key)?;
                json.out.write_str(number)?;
            }
            json.close()?;
        }
        json.close()
    }

    fn block_io(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("blkio")?;
        if self.v2 {
            // 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6
            for (list, read, write) in [
                ("ioServiceBytesRecursive", "rbytes", "wbytes"),
                ("ioServicedRecursive", "rios", "wios"),
            ] {
                let text = self.text("io.stat").unwrap_or("");
                let mut entries = text.lines().flat_map(|line| {
                    let (device, fields) = line.split_once(' ').unwrap_or((line, ""));
                    fields.split(' ').filter_map(move |field| {
                        let (key, value) = field.split_once('=')?;
                        let operation = match key {
                            key if key == read => "Read",
                            key if key == write => "Write",
                            _ => return None,
                        };
                        Some((device, operation, value))
                    })
                });
                json.operations(list, &mut entries)?;
            }
            self.pressure(json, "io.pressure")?;
        } else {
            // 8:0 Read 4096
            for (list, bfq, throttle) in [
                (
                    "ioServiceBytesRecursive",
                    "blkio.bfq.io_service_bytes_recursive",
                    "blkio.throttle.io_service_bytes_recursive",
                ),
                (
                    "ioServicedRecursive",
                    "blkio.bfq.io_serviced_recursive",
                    "blkio.throttle.io_serviced_recursive",
                ),
            ] {
                let has_bfq = self.text(bfq).is_some_and(|text| text.lines().count() > 1);
                let text = self
                    .text(if has_bfq { bfq } else { throttle })
                    .unwrap_or("");
                let mut entries = text.lines().filter_map(|line| {
                    let mut words = line.split(' ');
                    let (device, operation) = (words.next()?, words.next()?);
                    Some((device, operation, words.next()?))
                });
                json.operations(list, &mut entries)?;
            }
        }
        json.close()
    }

    fn hugepages(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("hugetlb")?;
        let pages = core::mem::take(&mut self.pages);
        for page in &pages {
            let Some(usage) = self.number(&page.usage) else {
                continue;
            };
            json.open(&page.size)?;
            json.nonzero("usage", Some(usage))?;
            json.nonzero("max", self.number(&page.most))?;
            let failed = match self.v2 {
                true => self.keyed(&page.failed, "max"),
                false => self.number(&page.failed),
            };
            json.number("failcnt", failed)?;
            json.close()?;
        }
        self.pages = pages;
        json.close()
    }
}

/// One size of huge pages and the names of its files.
struct Page {
    size: String,
    usage: String,
    most: String,
    failed: String,
}

/// The sizes the kernel has, named as the cgroup files name them: `2MB`, `1GB`.
fn pages(v2: bool) -> Vec<Page> {
    let [usage, most, failed] = match v2 {
        true => ["current", "-", "events"],
        false => ["usage_in_bytes", "max_usage_in_bytes", "failcnt"],
    };
    super::open("/sys/kernel/mm/hugepages")
        .and_then(|directory| super::subdirectories(directory.as_fd()))
        .unwrap_or_default()
        .iter()
        .filter_map(|name| {
            let kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            let size = match kilobytes.parse::<u64>().ok()? {
                n if n % (1 << 20) == 0 => format!("{}GB", n >> 20),
                n if n % (1 << 10) == 0 => format!("{}MB", n >> 10),
                n => format!("{n}KB"),
            };
            let file = |name| format!("hugetlb.{size}.{name}");
            Some(Page {
                usage: file(usage),
                most: file(most),
                failed: file(failed),
                size,
            })
        })
        .collect()
}

/// The number behind a key in lines of `key number`.
fn find(text: &str, key: &str) -> Option<u64> {
    let of_line = |line: &str| match line.split_once(' ') {
        Some((name, value)) if name == key => value.trim().parse().ok(),
        _ => None,
    };
    text.lines().find_map(of_line)
}

/// One kind of memory.
#[derive(Default)]
struct Entry {
    limit: Option<u64>,
    usage: Option<u64>,
    max: Option<u64>,
    failcnt: u64,
}

/// An object being written. Keys are ours or the kernel's, so that nothing needs escaping.
struct Json<'o> {
    out: &'o mut dyn Write,
    comma: bool,
}

impl Json<'_> {
    fn key(&mut self, name: &str) -> fmt::Result {
        let comma = if self.comma { "," } else { "" };
        self.comma = true;
        write!(self.out, "{comma}\"{name}\":")
    }

    fn begin(&mut self) -> fmt::Result {
        self.comma = false;
        self.out.write_str("{")
    }

    fn open(&mut self, name: &str) -> fmt::Result {
        self.key(name)?;
        self.begin()
    }

    fn close(&mut self) -> fmt::Result {
        self.comma = true;
        self.out.write_str("}")
    }

    /// What is not known is 0, as in runc.
    fn number(&mut self, name: &str, number: Option<u64>) -> fmt::Result {
        self.key(name)?;
        write!(self.out, "{}", number.unwrap_or(0))
    }

    /// The same, left out when it is 0.
    fn nonzero(&mut self, name: &str, number: Option<u64>) -> fmt::Result {
        match number {
            None | Some(0) => Ok(()),
            number => self.number(name, number),
        }
    }

    fn list<T: fmt::Display>(
        &mut self,
        name: &str,
        members: impl Iterator<Item = T>,
    ) -> fmt::Result {
        self.key(name)?;
        self.out.write_str("[")?;
        for (n, member) in members.enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(self.out, "{comma}{member}")?;
        }
        self.out.write_str("]")
    }

    fn entry(&mut self, name: &str, entry: &Entry) -> fmt::Result {
        self.open(name)?;
        self.number("limit", entry.limit)?;
        self.nonzero("usage", entry.usage)?;
        self.nonzero("max", entry.max)?;
        self.number("failcnt", Some(entry.failcnt))?;
        self.close()
    }

    /// Every line of `key number`.
    fn all_of(&mut self, text: &str) -> fmt::Result {
        for (key, value) in text.lines().filter_map(|line| line.split_once(' ')) {
            if let Ok(number) = value.trim().parse() {
                self.number(key, Some(number))?;
            }
        }
        Ok(())
    }

    /// What block devices did: their numbers, the operation and how much; nothing is left out.
    fn operations<'t>(
        &mut self,
        name: &str,
        entries: &mut dyn Iterator<Item = (&'t str, &'t str, &'t str)>,
    ) -> fmt::Result {
        let mut any = false;
        for (device, operation, value) in entries {
            let number = |text: &str| text.parse::<u64>().ok();
            let Some((major, minor)) = device.split_once(':') else {
                continue;
            };
            match core::mem::replace(&mut any, true) {
                false => {
                    self.key(name)?;
                    self.out.write_str("[")?;
                }
                true => self.out.write_str(",")?,
            }
            self.begin()?;
            self.nonzero("major", number(major))?;
            self.nonzero("minor", number(minor))?;
            self.key("op")?;
            write!(self.out, "\"{operation}\"")?;
            self.nonzero("value", number(value))?;
            self.close()?;
        }
        if any { self.out.write_str("]") } else { Ok(()) }
    }
}
