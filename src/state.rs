//! What is written down about a container, and what is told about it. What can go stale is never written: whether it
//! is created, running or stopped is asked of the kernel each time.

use crate::error::{Result, fail};
use crate::spec::object;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::Serialize;

/// As a literal, for `concat!`.
#[macro_export]
macro_rules! oci_version {
    () => {
        "1.3.0"
    };
}
pub use oci_version;

/// The version of the format of `State`.
pub const VERSION: u32 = 1;
/// The version of the runtime-spec that this program implements.
pub const OCI_VERSION: &str = oci_version!();
/// As in the OCI state and in every engine that parses it.
pub const CREATING: &str = "creating";
pub const CREATED: &str = "created";
pub const RUNNING: &str = "running";
pub const STOPPED: &str = "stopped";
/// Not of the OCI state; the engines' own word.
pub const PAUSED: &str = "paused";

object! {
    /// What is written down about a container.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    pub struct State {
        /// Of this format: 0 before there was one. A reader takes what it knows, whatever the version.
        version: u32 = "version",
        oci_version: String = required "ociVersion",
        id: String = required "id",
        /// 0 until the process exists.
        pid: i32 = required "pid",
        /// When it started, in clock ticks since boot (proc(5), stat, field 22): tells a reused pid.
        start_time: u64 = required "startTime",
        bundle: String = required "bundle",
        rootfs: String = required "rootfs",
        created: String = required "created",
        annotations: Vec<(String, String)> = required "annotations",
        /// Where `cgroupsPath` led, below the mount point of each hierarchy; `None` without a cgroup.
        cgroup: Option<String> = "cgroup",
        /// The scope that it is, where systemd made it.
        unit: Option<String> = "unit",
        poststart: Vec<Hook> = required "poststart",
        poststop: Vec<Hook> = required "poststop",
        /// `--no-new-keyring`, which holds for exec too.
        no_new_keyring: bool = required "noNewKeyring",
        /// Who gets the listener of the seccomp filter.
        agent: Option<Agent> = "agent",
    }
}

object! {
    /// A hook that runs after `create` has ended.
    #[derive(Serialize)]
    pub struct Hook {
        path: String = required "path",
        args: Vec<String> = required "args",
        env: Vec<String> = required "env",
        timeout: Option<u32> = "timeout",
    }
}

/// The state as the OCI spec shows it: `state`, `list`, and the stdin of hooks (runtime.md, State).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown<'a> {
    pub oci_version: &'a str,
    pub id: &'a str,
    pub pid: i32,
    pub status: &'a str,
    pub bundle: &'a str,
    pub rootfs: &'a str,
    pub created: &'a str,
    #[serde(serialize_with = "as_map", skip_serializing_if = "<[_]>::is_empty")]
    pub annotations: &'a [(String, String)],
}

fn as_map<S: serde::Serializer>(pairs: &&[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().map(|(k, v)| (k, v)))
}

impl State {
    /// Reads what was written down; errors call the file `file`.
    pub fn parse(file: &str, json: &[u8]) -> Result<Self> {
        crate::spec::json::read(file, json)
    }

    pub fn shown<'a>(&'a self, status: &'a str) -> Shown<'a> {
        Shown {
            oci_version: &self.oci_version,
            id: &self.id,
            pid: if status == STOPPED { 0 } else { self.pid },
            status,
            bundle: &self.bundle,
            rootfs: &self.rootfs,
            created: &self.created,
            annotations: &self.annotations,
        }
    }
}

/// Refuses an id that is not a plain name. Ids are directory names and parts of cgroup paths.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() {
        fail!("the container id is empty");
    }
    if !id.chars().all(allowed) || id.starts_with('.') && id.trim_matches('.').is_empty() {
        fail!("invalid container id {id:?}: only letters, digits and _ + - . are allowed");
    }
    if id.len() > 1024 || id.len() > 255 {
        fail!(
            "invalid container id: {} characters are more than 255",
            id.len()
        );
    }
    Ok(())
}

object! {
    /// `linux.seccomp.listenerPath` and `listenerMetadata`.
    #[derive(Serialize)]
    pub struct Agent {
        path: String = required "path",
        metadata: String = required "metadata",
    }
}

/// What is known of a process (proc(5), stat).
#[derive(Debug, PartialEq, Eq)]
pub struct Stat {
    pub status: char,
    /// In clock ticks since the machine started.
    pub started: u64,
    /// It is on its way out, or a KILL waits for it.
    pub dying: bool,
}

impl Stat {
    /// Reads the text of /proc/PID/stat.
    pub fn parse(text: &str) -> Option<Self> {
        // linux/sched.h
        const PF_EXITING: u64 = 0x4;
        const PF_SIGNALED: u64 = 0x400;
        const KILL: u64 = 1 << 8;
        // The name, in parentheses, may hold anything.
        let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
        let status = fields.next()?.chars().next()?;
        let flags: u64 = fields.nth(5)?.parse().ok()?;
        let started = fields.nth(12)?.parse().ok()?;
        let pending: u64 = fields.nth(8)?.parse().ok()?;
        Some(Self {
            status,
            started,
            dying: flags & (PF_EXITING | PF_SIGNALED) != 0 || pending & KILL != 0,
        })
    }
}

/// A time since 1970 as RFC 3339 with nanoseconds, in UTC.
pub fn rfc3339(seconds: i64, nanos: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The Gregorian date of a day since 1970-01-01. Counts in eras of 400 years that begin in March, so
/// that the leap day is the last day of a year.
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * march_month + 2) / 5 + 1)
}
