//! Reads the files that the statistics of a cgroup come from, and watches for processes killed for their memory. Nothing
//! is allocated once it is open, because `events` goes on for as long as the container and the allocator frees nothing.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use runtime::error::{During, Result};
use runtime::facts::{CGROUPS, Cgroups, Location, join};
use runtime::stats::{self, Files as _, Stats, find};
use rustix::event::{EventfdFlags, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// What the statistics of a cgroup come from.
pub struct Source {
    files: Files,
    stats: Stats,
}

/// The cgroup's open directories and the room its files are read into.
struct Files {
    v2: bool,
    /// By controllers; on v2 one for all.
    directories: Vec<(Vec<String>, OwnedFd)>,
    buffer: Vec<u8>,
    /// Why a file that exists could not be read: of the last one.
    failure: Option<Errno>,
}

/// What tells that processes were killed for their memory.
pub struct Oom {
    /// Where the kernel counts them: memory.events, or memory.oom_control on v1.
    count: OwnedFd,
    reported: u64,
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
            .unwrap_or(self.reported);
        let kills = now.saturating_sub(core::mem::replace(&mut self.reported, now));
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
    pub fn open(cgroups: &Cgroups, place: &Location) -> Result<Self> {
        let directories = match cgroups {
            Cgroups::V2 => vec![(Vec::new(), super::open(&join(CGROUPS, &place.path))?)],
            Cgroups::V1(hierarchies) => hierarchies
                .iter()
                .filter(|h| !h.is_v2())
                .map(|h| Ok((h.controllers.clone(), super::open(&h.directory(place))?)))
                .collect::<Result<_>>()?,
        };
        let v2 = *cgroups == Cgroups::V2;
        let huge_pages = match super::open("/sys/kernel/mm/hugepages") {
            Err(error) if error.errno() == Some(Errno::NOENT) => Vec::new(),
            directory => super::subdirectories(directory?.as_fd())?,
        };
        Ok(Self {
            files: Files {
                v2,
                directories,
                buffer: vec![0; 64 * 1024],
                failure: None,
            },
            stats: Stats::new(v2, &huge_pages),
        })
    }

    /// Watches for processes killed for their memory; `None` without a memory controller, or if the kernel does not count them.
    pub fn watch_oom(&mut self) -> Result<Option<Oom>> {
        let name = match self.files.v2 {
            true => "memory.events",
            false => "memory.oom_control",
        };
        let what = || format!("cannot watch {name} of the cgroup");
        let Some(directory) = self.files.directory("memory") else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let count = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NODEV) => return Ok(None),
            count => count.during(what)?,
        };
        let mut signal = None;
        if !self.files.v2 {
            let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
            let event = rustix::event::eventfd(0, flags).during(what)?;
            let line = format!("{} {}", event.as_raw_fd(), count.as_raw_fd());
            crate::files::write(directory, "cgroup.event_control", line.as_bytes()).during(what)?;
            signal = Some(Signal {
                event,
                looks: 0,
                found: false,
            });
        }
        let reported = self
            .files
            .text(name)
            .and_then(|text| find(text, "oom_kill"));
        Ok(reported.map(|reported| Oom {
            count,
            reported,
            signal,
        }))
    }

    /// One line of JSON: everything there is to tell.
    pub fn write(&mut self, id: &str, out: &mut dyn Write) -> fmt::Result {
        self.stats.write(&mut self.files, id, out)
    }

    /// Why the last line lacks something that there is.
    pub fn failure(&self) -> Option<Errno> {
        self.files.failure
    }
}

impl Files {
    fn directory(&self, controller: &str) -> Option<BorrowedFd<'_>> {
        self.directories
            .iter()
            .find(|(names, _)| self.v2 || names.iter().any(|name| name == controller))
            .map(|(_, fd)| fd.as_fd())
    }
}

impl Files {
    /// Reads a file into the buffer. `None` if it does not fit, as its end would be in the middle of a number.
    fn read(&mut self, controller: &str, file: &str) -> rustix::io::Result<Option<usize>> {
        let Some(directory) = self.directory(controller) else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(directory, file, flags, Mode::empty())?;
        let mut used = 0;
        loop {
            let room = &mut self.buffer[used..];
            match rustix::io::retry_on_intr(|| rustix::io::read(&file, &mut *room))? {
                0 if used == self.buffer.len() => return Ok(None),
                0 => return Ok(Some(used)),
                n => used += n,
            }
        }
    }
}

impl stats::Files for Files {
    fn text(&mut self, file: &str) -> Option<&str> {
        let used = match self.read(file.split('.').next()?, file) {
            Ok(used) => used?,
            // This kernel has no such file, or does not keep such numbers, or the cgroup has just been removed.
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => return None,
            Err(errno) => {
                self.failure = Some(errno);
                return None;
            }
        };
        core::str::from_utf8(&self.buffer[..used]).ok()
    }
}
