//! Reads the files that the statistics of a cgroup come from, and watches for processes killed for their memory. Nothing
//! is allocated once it is open, because `events` goes on for as long as the container and the allocator frees nothing.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use runtime::error::Result;
use runtime::facts::{CGROUPS, Cgroups, Location, join};
use runtime::stats::{self, Files as _, Stats, find};
use rustix::event::{EventfdFlags, PollFlags};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};

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
        let huge_pages = super::open("/sys/kernel/mm/hugepages")
            .and_then(|directory| super::subdirectories(directory.as_fd()));
        Ok(Self {
            files: Files {
                v2,
                directories,
                buffer: vec![0; 64 * 1024],
            },
            stats: Stats::new(v2, &huge_pages.unwrap_or_default()),
        })
    }

    /// Watches for processes killed for their memory; `None` without a memory controller.
    pub fn watch_oom(&mut self) -> Option<Oom> {
        let name = match self.files.v2 {
            true => "memory.events",
            false => "memory.oom_control",
        };
        let directory = self.files.directory("memory")?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let count = rustix::fs::openat(directory, name, flags, Mode::empty()).ok()?;
        let signal = match self.files.v2 {
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
        let reported = find(self.files.text(name)?, "oom_kill")?;
        Some(Oom {
            count,
            reported,
            signal,
        })
    }

    /// One line of JSON: everything there is to tell.
    pub fn write(&mut self, id: &str, out: &mut dyn Write) -> fmt::Result {
        self.stats.write(&mut self.files, id, out)
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

impl stats::Files for Files {
    fn text(&mut self, file: &str) -> Option<&str> {
        let controller = file.split('.').next()?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(self.directory(controller)?, file, flags, Mode::empty()).ok()?;
        let mut used = 0;
        loop {
            match rustix::io::read(&file, &mut self.buffer[used..]).ok()? {
                // What does not fit would end in the middle of a number.
                0 if used == self.buffer.len() => return None,
                0 => break,
                n => used += n,
            }
        }
        core::str::from_utf8(&self.buffer[..used]).ok()
    }
}
