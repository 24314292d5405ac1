//! What a cgroup has used, as runc's `events` writes it: from the text of its files to one line of JSON. Nothing is
//! allocated on the way, because `events` goes on for as long as the container and the program's allocator frees nothing.

mod json;
#[cfg(test)]
mod tests;

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use json::{Entry, Json};

/// The files of a cgroup, on v1 those of all its hierarchies.
pub trait Files {
    /// A file's text; `None` when there is none, or when it cannot be read.
    fn text(&mut self, file: &str) -> Option<&str>;
}

/// The statistics of one cgroup.
pub struct Stats {
    v2: bool,
    pages: Vec<Page>,
}

/// One line being written.
struct Line<'s> {
    v2: bool,
    pages: &'s [Page],
    files: &'s mut dyn Files,
}

impl Stats {
    /// `huge_pages`: the names in /sys/kernel/mm/hugepages, for the sizes that the kernel has.
    pub fn new(v2: bool, huge_pages: &[String]) -> Self {
        let pages = huge_pages.iter().filter_map(|name| Page::of(name, v2));
        Self {
            v2,
            pages: pages.collect(),
        }
    }

    /// One line of JSON: everything there is to tell.
    pub fn write(&self, files: &mut dyn Files, id: &str, out: &mut dyn Write) -> fmt::Result {
        write!(out, "{{\"type\":\"stats\",\"id\":\"{id}\",\"data\":")?;
        let mut line = Line {
            v2: self.v2,
            pages: &self.pages,
            files,
        };
        line.write(&mut Json::new(out))?;
        out.write_str("}\n")
    }
}

impl Line<'_> {
    fn write(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.begin()?;
        self.cpu(json)?;
        self.cpuset(json)?;
        self.memory(json)?;
        json.open("pids")?;
        json.nonzero("current", self.number("pids.current"))?;
        let limit = self.number("pids.max").filter(|n| *n != u64::MAX);
        json.nonzero("limit", limit)?;
        json.close()?;
        self.block_io(json)?;
        self.hugepages(json)?;
        json.open("intel_rdt")?;
        json.close()?;
        json.raw("network_interfaces", "null")?;
        json.close()
    }

    /// A file of one number; `max` is the greatest there is.
    fn number(&mut self, file: &str) -> Option<u64> {
        one(self.files.text(file)?)
    }

    /// The number behind a key in a file of many.
    fn keyed(&mut self, file: &str, key: &str) -> Option<u64> {
        find(self.files.text(file)?, key)
    }

    fn cpu(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("cpu")?;
        json.open("usage")?;
        if self.v2 {
            let mut nanos = |key| Some(self.keyed("cpu.stat", key)?.saturating_mul(1000));
            json.nonzero("total", nanos("usage_usec"))?;
            json.number("kernel", nanos("system_usec"))?;
            json.number("user", nanos("user_usec"))?;
        } else {
            json.nonzero("total", self.number("cpuacct.usage"))?;
            if let Some(text) = self.files.text("cpuacct.usage_percpu") {
                json.list("percpu", text.split_ascii_whitespace())?;
            }
            if let Some(text) = self.files.text("cpuacct.usage_all") {
                // cpu user system
                let column = |n| {
                    move |line: &'_ str| -> Option<u64> { line.split(' ').nth(n)?.parse().ok() }
                };
                json.list("percpu_kernel", text.lines().skip(1).filter_map(column(2)))?;
                json.list("percpu_user", text.lines().skip(1).filter_map(column(1)))?;
            }
            // In ticks of a hundredth of a second, USER_HZ on every architecture we run on.
            let mut nanos = |key| Some(self.keyed("cpuacct.stat", key)?.saturating_mul(10_000_000));
            json.number("kernel", nanos("system"))?;
            json.number("user", nanos("user"))?;
        }
        json.close()?;
        json.open("throttling")?;
        json.nonzero("periods", self.keyed("cpu.stat", "nr_periods"))?;
        json.nonzero("throttledPeriods", self.keyed("cpu.stat", "nr_throttled"))?;
        let time = match self.v2 {
            true => self
                .keyed("cpu.stat", "throttled_usec")
                .map(|n| n.saturating_mul(1000)),
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
            let text = self.files.text(file).unwrap_or("").trim();
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
        let level = self.files.text("cpuset.sched_relax_domain_level");
        let level: i64 = level.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        json.raw("sched_relax_domain_level", level)?;
        json.close()
    }

    fn memory(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("memory")?;
        let cache = if self.v2 { "file" } else { "cache" };
        json.nonzero("cache", self.keyed("memory.stat", cache))?;
        match self.v2 {
            true => self.memory_v2(json)?,
            false => self.memory_v1(json)?,
        }
        if let Some(text) = self.files.text("memory.stat") {
            json.open("raw")?;
            json.all_of(text)?;
            json.close()?;
        }
        self.pressure(json, "memory.pressure")?;
        json.close()
    }

    fn memory_v2(&mut self, json: &mut Json<'_>) -> fmt::Result {
        let failed = |line: &mut Self, file| line.keyed(file, "max").unwrap_or(0);
        let now = Entry {
            limit: self.number("memory.max"),
            usage: self.number("memory.current"),
            max: self.number("memory.peak"),
            failcnt: failed(self, "memory.events"),
        };
        // With the swap, as v1 counts; when both together were at their most nobody has seen.
        let and = |swap: u64, memory: Option<u64>| swap.saturating_add(memory.unwrap_or(0));
        let both = Entry {
            limit: self.number("memory.swap.max").map(|n| and(n, now.limit)),
            usage: self
                .number("memory.swap.current")
                .map(|n| and(n, now.usage)),
            max: None,
            failcnt: failed(self, "memory.swap.events"),
        };
        json.entry("usage", &now)?;
        json.entry("swap", &both)?;
        json.entry("kernel", &Entry::default())?;
        json.entry("kernelTCP", &Entry::default())
    }

    fn memory_v1(&mut self, json: &mut Json<'_>) -> fmt::Result {
        for (key, [limit, usage, max, failcnt]) in MEMORY_V1 {
            let entry = Entry {
                limit: self.number(limit),
                usage: self.number(usage),
                max: self.number(max),
                failcnt: self.number(failcnt).unwrap_or(0),
            };
            json.entry(key, &entry)?;
        }
        Ok(())
    }

    /// Pressure stall information (Documentation/accounting/psi.rst), where the kernel keeps it.
    fn pressure(&mut self, json: &mut Json<'_>, file: &str) -> fmt::Result {
        let Some(text) = self.files.text(file) else {
            return Ok(());
        };
        json.open("psi")?;
        for line in text.lines() {
            let Some((who, numbers)) = line.split_once(' ') else {
                continue;
            };
            json.open(who)?;
            for (key, number) in numbers.split(' ').filter_map(|part| part.split_once('=')) {
                json.raw(key, number)?;
            }
            json.close()?;
        }
        json.close()
    }

    fn block_io(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("blkio")?;
        match self.v2 {
            true => self.block_io_v2(json)?,
            false => self.block_io_v1(json)?,
        }
        json.close()
    }

    fn block_io_v2(&mut self, json: &mut Json<'_>) -> fmt::Result {
        // 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6
        for (list, read, write) in [
            ("ioServiceBytesRecursive", "rbytes", "wbytes"),
            ("ioServicedRecursive", "rios", "wios"),
        ] {
            let text = self.files.text("io.stat").unwrap_or("");
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
        self.pressure(json, "io.pressure")
    }

    fn block_io_v1(&mut self, json: &mut Json<'_>) -> fmt::Result {
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
            let has_bfq = self
                .files
                .text(bfq)
                .is_some_and(|text| text.lines().count() > 1);
            let text = self
                .files
                .text(if has_bfq { bfq } else { throttle })
                .unwrap_or("");
            let mut entries = text.lines().filter_map(|line| {
                let mut words = line.split(' ');
                let (device, operation) = (words.next()?, words.next()?);
                Some((device, operation, words.next()?))
            });
            json.operations(list, &mut entries)?;
        }
        Ok(())
    }

    fn hugepages(&mut self, json: &mut Json<'_>) -> fmt::Result {
        json.open("hugetlb")?;
        for page in self.pages {
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

impl Page {
    /// From a name such as `hugepages-2048kB`; cgroup files name the sizes `2MB`, `1GB`.
    fn of(name: &str, v2: bool) -> Option<Self> {
        let [usage, most, failed] = match v2 {
            true => ["current", "-", "events"],
            false => ["usage_in_bytes", "max_usage_in_bytes", "failcnt"],
        };
        let kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        let size = match kilobytes.parse::<u64>().ok()? {
            n if n % (1 << 20) == 0 => format!("{}GB", n >> 20),
            n if n % (1 << 10) == 0 => format!("{}MB", n >> 10),
            n => format!("{n}KB"),
        };
        let file = |name| format!("hugetlb.{size}.{name}");
        Some(Self {
            usage: file(usage),
            most: file(most),
            failed: file(failed),
            size,
        })
    }
}

/// The files of each kind of memory on v1: the limit, the usage, the most that was used, and how often the limit was hit.
const MEMORY_V1: [(&str, [&str; 4]); 4] = [
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
];

/// The one number of a text; `max` is the greatest there is.
fn one(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// The number behind a key in lines of `key number`.
pub fn find(text: &str, key: &str) -> Option<u64> {
    let of_line = |line: &str| match line.split_once(' ') {
        Some((name, value)) if name == key => value.trim().parse().ok(),
        _ => None,
    };
    text.lines().find_map(of_line)
}
