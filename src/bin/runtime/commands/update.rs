//! `update`: new limits for a container, from a file or from flags. What is not given stays as it is.

use crate::Context;
use crate::cgroup;
use crate::cgroup::systemd::Manager;
use crate::container::Container;
use crate::files;
use crate::host;
use alloc::borrow::Cow;
use alloc::format;
use runtime::cli::{Flag, Flags};
use runtime::error::{During, Error, Result, fail};
use runtime::spec::Resources;
use runtime::state::STOPPED;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags};

pub fn run(context: &Context<'_>) -> Result<i32> {
    let id = context.operands[0];
    let container = Container::open(context.root, id)?;
    let file = context.flags.text(Flag::Resources);
    let text = file.map(read).transpose()?;
    let resources = match (&file, &text) {
        (Some("-"), Some(text)) => Resources::parse("stdin", text)?,
        (Some(file), Some(text)) => Resources::parse(file, text)?,
        _ => from_flags(context.flags)?,
    };
    for flag in [Flag::L3CacheSchema, Flag::MemBwSchema] {
        if context
            .flags
            .text(flag)
            .is_some_and(|text| !text.is_empty())
        {
            fail!("update: Intel RDT is not supported");
        }
    }
    let cgroups = host::cgroups()?;
    if container.process()?.0 == STOPPED {
        fail!("container not running: {id:?} is {STOPPED}");
    }
    let manager = match &container.state.unit {
        Some(name) => Some((Manager::find(context.start)?, name.as_str())),
        None => None,
    };
    let unit = manager.as_ref().map(|(manager, name)| (manager, *name));
    cgroup::update(&cgroups, container.cgroup()?, &resources, unit)
        .map_err(|error| Error::new(format!("cannot update container {id:?}: {error}")))?;
    Ok(0)
}

/// The file, or stdin for `-`.
fn read(file: &str) -> Result<alloc::vec::Vec<u8>> {
    if file != "-" {
        return files::read(CWD, file);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let stdin: rustix::io::Result<OwnedFd> =
        rustix::fs::openat(CWD, "/proc/self/fd/0", flags, Mode::empty())
            .or_else(|_| rustix::io::fcntl_dupfd_cloexec(syscalls::calls::stdin(), 3));
    stdin
        .and_then(|stdin| files::read_open(&stdin))
        .during(|| "cannot read the resources from stdin".into())
}

fn from_flags<'a>(flags: &Flags<'a>) -> Result<Resources<'a>> {
    let mut resources = Resources::default();
    let cpu = &mut resources.cpu;
    cpu.period = number(flags, Flag::CpuPeriod, "cpu-period")?;
    cpu.quota = number(flags, Flag::CpuQuota, "cpu-quota")?;
    cpu.burst = number(flags, Flag::CpuBurst, "cpu-burst")?;
    cpu.shares = number(flags, Flag::CpuShare, "cpu-share")?;
    cpu.realtime_period = number(flags, Flag::CpuRtPeriod, "cpu-rt-period")?;
    cpu.realtime_runtime = number(flags, Flag::CpuRtRuntime, "cpu-rt-runtime")?;
    cpu.idle = number(flags, Flag::CpuIdle, "cpu-idle")?;
    cpu.cpus = given(flags, Flag::CpusetCpus).map(Cow::Borrowed);
    cpu.mems = given(flags, Flag::CpusetMems).map(Cow::Borrowed);
    let memory = &mut resources.memory;
    memory.limit = bytes(flags, Flag::Memory, "memory")?;
    memory.swap = bytes(flags, Flag::MemorySwap, "memory-swap")?;
    memory.reservation = bytes(flags, Flag::MemoryReservation, "memory-reservation")?;
    resources.pids.limit = number(flags, Flag::PidsLimit, "pids-limit")?;
    resources.block_io.weight = number(flags, Flag::BlkioWeight, "blkio-weight")?;
    Ok(resources)
}

fn given<'a>(flags: &Flags<'a>, flag: Flag) -> Option<&'a str> {
    flags.text(flag).filter(|text| !text.is_empty())
}

fn number<T: core::str::FromStr>(flags: &Flags<'_>, flag: Flag, name: &str) -> Result<Option<T>> {
    let Some(text) = given(flags, flag) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if !text.starts_with('+') => Ok(Some(number)),
        _ => fail!("update: --{name}: expected an integer, found {text:?}"),
    }
}

fn bytes(flags: &Flags<'_>, flag: Flag, name: &str) -> Result<Option<i64>> {
    let Some(text) = given(flags, flag) else {
        return Ok(None);
    };
    match size(text) {
        Some(size) => Ok(Some(size)),
        None => {
            fail!("update: --{name}: expected a number of bytes such as 512m or -1, found {text:?}")
        }
    }
}

/// Bytes with an optional unit of 1024, as engines' users write them: `1000`, `512m`, `1.5GiB`; -1 for no limit.
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.trim_start().to_ascii_lowercase();
    let letter = unit.trim_end_matches('b').trim_end_matches('i');
    let known = [letter.into(), format!("{letter}b"), format!("{letter}ib")];
    let power = ["", "k", "m", "g", "t", "p"]
        .iter()
        .position(|u| *u == letter)?;
    if !known.contains(&unit) || unit == "ib" {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let unit = 1u64 << (10 * power);
    let bytes = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    // Four digits of a fraction are as many as people write, and as many as fit.
    let digits = fraction.get(..fraction.len().min(4))?;
    let parts: u64 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    let part = unit * parts / 10u64.pow(digits.len() as u32);
    i64::try_from(bytes.checked_add(part)?).ok()
}
