//! The end of the walk: the working directory, HOME, and the exec. Between the filter and execve
//! nothing is called that a strict profile may forbid.

use super::paths::{file_type, find, openat2};
use super::{Child, Walked};
use crate::calls;
use crate::report::{At, Call, Fault, Kind, Report, Text};
use crate::step::{Execute, Filter, Home};
use core::ffi::CStr;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{FileType, OFlags, ResolveFlags};
use rustix::io::Errno;

impl Child<'_> {
    /// Looked up beneath the root and never through a magic link, so that no descriptor of ours or of
    /// our caller's can be a working directory (CVE-2024-21626).
    pub fn working_directory(&self, path: &CStr) -> Walked {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let dir = openat2(
            self.root()?,
            path,
            OFlags::PATH | OFlags::DIRECTORY,
            resolve,
        )?;
        rustix::process::fchdir(&dir).at(Call::fchdir)
    }

    pub fn execute(&mut self, program: &Execute<'_>) -> Walked {
        if let Some((home, uid)) = program.home {
            self.find_home(uid, home);
        }
        let channel = self.channel.as_raw_fd() as u32;
        let first = 3 + program.preserve;
        for (from, to) in [
            (first, channel.saturating_sub(1)),
            (first.max(channel + 1), u32::MAX),
        ] {
            if from <= to {
                calls::close_range(from, to, false).at(Call::close_range)?;
            }
        }
        // The root and the slots are closed by now; only the channel is left, and it closes on exec.
        core::mem::forget(self.root.take());
        calls::default_signals();
        self.report(Kind::Ready)?;
        if let Some(filter) = program.filter {
            self.load(&filter)?;
        }
        calls::set_signal_mask(0);
        Err(exec_first(program))
    }

    /// Loads a filter. One with a listener is told of before: what may be called after it, nobody knows, so
    /// the parent fetches the listener by its number, which is that of the lowest free descriptor.
    pub fn load(&self, filter: &Filter<'_>) -> Walked {
        if filter.flags & calls::NEW_LISTENER == 0 {
            return calls::seccomp(filter.program, filter.flags)
                .map(drop)
                .at(Call::seccomp);
        }
        let probe = rustix::io::fcntl_dupfd_cloexec(&self.channel, 0).at(Call::seccomp)?;
        let number = probe.as_raw_fd();
        drop(probe);
        let report = Report {
            kind: Kind::Listener,
            call: Call::none,
            step: self.at,
            errno: number,
        };
        report.send(self.channel.as_fd(), b"").at(Call::send)?;
        let listener = calls::seccomp(filter.program, filter.flags).at(Call::seccomp)?;
        let mut byte = [0u8; 1];
        let heard = rustix::io::retry_on_intr(|| rustix::io::read(&self.channel, &mut byte[..]));
        // It closes on exec, without a call that the filter would see.
        core::mem::forget(listener);
        match heard.at(Call::recv)? {
            0 => calls::exit(1),
            _ => Ok(()),
        }
    }

    /// HOME from the container's passwd file, or `/`, as runc does where the environment has none.
    fn find_home(&self, uid: u32, home: &Home) {
        let Ok(root) = self.root() else { return };
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let Ok(passwd) = openat2(root, c"/etc/passwd", flags, resolve) else {
            return;
        };
        if file_type(passwd.as_fd()).ok() != Some(FileType::RegularFile) {
            return;
        }
        let mut line = Text::<1024>::new();
        let mut chunk = [0u8; 1024];
        while let Ok(n) = rustix::io::read(&passwd, &mut chunk[..]) {
            if n == 0 {
                break;
            }
            for byte in &chunk[..n] {
                if *byte != b'\n' {
                    line.push(core::slice::from_ref(byte));
                } else if entry_of(line.as_str(), uid).is_some_and(|dir| home.set(dir)) {
                    return;
                } else {
                    line.clear();
                }
            }
        }
        entry_of(line.as_str(), uid).map(|dir| home.set(dir));
    }
}

/// The home directory in a line of passwd(5), if it is this user's.
fn entry_of(line: &str, uid: u32) -> Option<&str> {
    let mut fields = line.split(':');
    let id = fields.nth(2)?;
    (id.parse() == Ok(uid))
        .then(|| fields.nth(2))
        .flatten()
        .filter(|dir| dir.starts_with('/'))
}

/// execve of the first candidate there is, as execvp(3) goes through PATH; returns why it failed.
fn exec_first(program: &Execute<'_>) -> Fault {
    let mut worst = Fault {
        call: Call::execve,
        errno: Errno::NOENT,
    };
    for candidate in program.candidates {
        let errno = calls::execve(candidate, program.argv, program.envp);
        match errno {
            // The file is there, so it is the interpreter it names that is not.
            Errno::NOENT if find(rustix::fs::CWD, candidate).is_ok() => {
                return Fault {
                    call: Call::interpreter,
                    errno,
                };
            }
            Errno::NOENT | Errno::NOTDIR => {}
            Errno::ACCESS => worst.errno = errno,
            _ => {
                return Fault {
                    call: Call::execve,
                    errno,
                };
            }
        }
    }
    worst
}
