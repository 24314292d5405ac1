//! Errors and warnings: on stderr, and in the file given by `--log`. Engines parse that file, so a failure is exactly
//! one object or line in it.

use crate::files;
use alloc::format;
use alloc::string::String;
use rustix::fs::{CWD, Mode, OFlags};
use serde::Serialize;

/// The destination and the format of messages.
#[derive(Clone, Copy, Default)]
pub struct Log<'a> {
    pub file: Option<&'a str>,
    pub json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    level: &'a str,
    msg: &'a str,
    time: &'a str,
}

impl Log<'_> {
    /// Logs the error with which the program exits.
    pub fn error(&self, text: &str) {
        let line = self.line("error", text);
        match self.file {
            Some(path) => {
                self.append(path, &line);
                tell(&format!("runtime: {}\n", OneLine(text)));
            }
            None if self.json => tell(&line),
            None => tell(&format!("runtime: {}\n", OneLine(text))),
        }
    }

    /// Logs a warning about an operation that succeeded. With `--log` it goes to the log only, because stderr then
    /// belongs to the container. After a failure the log must contain the error alone.
    pub fn warning(&self, text: &str) {
        match self.file {
            Some(path) => self.append(path, &self.line("warning", text)),
            None => warn(text),
        }
    }

    /// Logs a step, for `--debug`.
    pub fn debug(&self, text: &str) {
        let line = self.line("debug", text);
        match self.file {
            Some(path) => self.append(path, &line),
            None => tell(&line),
        }
    }

    fn append(&self, path: &str, line: &str) {
        // O_APPEND: BuildKit shares one file between runtimes.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::APPEND | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, path, flags, Mode::from_raw_mode(0o644));
        if opened
            .and_then(|file| files::write_all(&file, line.as_bytes()))
            .is_err()
        {
            tell(&format!("runtime: cannot write the log {path}\n"));
        }
    }

    fn line(&self, level: &str, msg: &str) -> String {
        let time = now();
        if self.json {
            let line = Line {
                level,
                msg,
                time: &time,
            };
            return serde_json::to_string(&line).unwrap_or_default() + "\n";
        }
        format!("time=\"{time}\" level={level} msg={msg:?}\n")
    }
}

/// Prints a warning to stderr only, because engines read the log as one failure.
pub fn warn(text: &str) {
    tell(&format!("runtime: warning: {}\n", OneLine(text)));
}

/// A text with its control characters escaped. Texts can come from files with arbitrary content.
struct OneLine<'a>(&'a str);

impl core::fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?
            } else {
                write!(f, "{c}")?
            }
        }
        Ok(())
    }
}

fn tell(text: &str) {
    let _ = files::write_all(syscalls::calls::stderr(), text.as_bytes());
}

/// The present time as RFC 3339 with nanoseconds, in UTC.
pub fn now() -> String {
    let (seconds, nanos) = syscalls::calls::realtime();
    runtime::state::rfc3339(seconds, nanos)
}
