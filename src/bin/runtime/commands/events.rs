//! `events`: reports the usage of a container, once or every few seconds until it stops, and out-of-memory kills. One
//! JSON object per line, in runc's format.

use crate::cgroup::stats::{Oom, Source};
use crate::container::Container;
use crate::context::Context;
use crate::host;
use core::fmt::{self, Write};
use runtime::cli::Events;
use runtime::error::{Error, Result, fail};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

pub fn run(context: &Context<'_>, args: &Events<'_>) -> Result<i32> {
    let id = args.id;
    let interval = args.interval.unwrap_or(5000);
    let container = Container::open(context.root, id)?;
    let cgroups = host::cgroups()?;
    let (_, Some(process)) = container.process()? else {
        fail!("container not running: {id:?} is stopped");
    };
    let mut source = Source::open(&cgroups, &container.cgroup()?)?;
    let mut out = Out {
        text: [0; 8192],
        used: 0,
    };
    if args.stats {
        return usage(&mut out, &mut source, id).map(|()| 0);
    }
    // From here on nothing is allocated, because the command runs as long as the container.
    let mut oom = source.watch_oom()?;
    let mut next = uptime() + interval;
    loop {
        let left = (next - uptime()).max(0);
        let left = left.min(oom.as_ref().map_or(left, Oom::look_within));
        let timeout = Timespec {
            tv_sec: left / 1000,
            tv_nsec: left % 1000 * 1_000_000,
        };
        let ended = PollFd::new(&process, PollFlags::IN);
        let (mut both, mut one);
        let fds = match &oom {
            Some(oom) => {
                both = [ended, PollFd::from_borrowed_fd(oom.fd(), oom.wakes_by())];
                &mut both[..]
            }
            None => {
                one = [ended];
                &mut one[..]
            }
        };
        match rustix::event::poll(fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::from_errno("cannot wait for events", errno)),
        }
        let ended = !fds[0].revents().is_empty();
        for _ in 0..oom.as_mut().map_or(0, |oom| oom.kills(ended)) {
            tell(&mut out, |out| {
                writeln!(out, "{{\"type\":\"oom\",\"id\":\"{id}\"}}")
            })?;
        }
        if ended {
            return Ok(0);
        }
        if uptime() >= next {
            next = uptime() + interval;
            usage(&mut out, &mut source, id)?;
        }
    }
}

/// Prints the line of statistics. Without something that there is, it would be untrue.
fn usage(out: &mut Out, source: &mut Source, id: &str) -> Result<()> {
    let written = source.write(id, out);
    match source.failure() {
        Some(errno) => Err(Error::from_errno(
            "cannot read the statistics of the cgroup",
            errno,
        )),
        None => tell(out, |_| written),
    }
}

fn tell(out: &mut Out, write: impl FnOnce(&mut Out) -> fmt::Result) -> Result<()> {
    write(out)
        .and_then(|()| out.flush())
        .map_err(|_| Error::new("cannot write to stdout"))
}

/// stdout with a buffer of fixed size.
struct Out {
    text: [u8; 8192],
    used: usize,
}

impl Out {
    fn flush(&mut self) -> fmt::Result {
        let text = &self.text[..core::mem::take(&mut self.used)];
        crate::files::write_all(syscalls::calls::stdout(), text).map_err(|_| fmt::Error)
    }
}

impl Write for Out {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        while !text.is_empty() {
            if self.used == self.text.len() {
                self.flush()?;
            }
            // A character may be split here, because both halves are written one after the other.
            let n = text.len().min(self.text.len() - self.used);
            let n = (0..=n)
                .rev()
                .find(|n| text.is_char_boundary(*n))
                .unwrap_or(0);
            if n == 0 {
                self.flush()?;
                continue;
            }
            self.text[self.used..self.used + n].copy_from_slice(&text.as_bytes()[..n]);
            self.used += n;
            text = &text[n..];
        }
        Ok(())
    }
}

fn uptime() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
